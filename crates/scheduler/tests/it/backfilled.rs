//! Random backfills beside the runs of a timetable and of people, against what Airflow's `models/backfill.py` and
//! `get_queued_dag_runs_to_set_running` say, looked at anew after every batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::timetable::Timetable;
use model::{
    AttemptId, Backfill, BackfillId, Change, Dag, DagBuilder, DagRun, DagRunState, Reprocess, RunKey, RunType, Task,
    TaskState,
};
use proptest::prelude::*;
use scheduler::{BackfillWish, Clear, Config, Event, Outcome, ReplyId};
use serde_json::json;

use crate::toy::{BackfillOptions, Step, Toy, beginning};

const MAX_ROUNDS: usize = 2000;
const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[derive(Clone, Debug)]
enum Move {
    End(u16, bool),
    Pass(i64),
    /// A run that somebody asks for, about so many hours ago.
    Trigger(i64),
    /// From and to so many hours ago.
    Backfill {
        from: i64,
        to: i64,
        reprocess: Reprocess,
        max_active_runs: i64,
        backwards: bool,
    },
    Set(BackfillWish),
    Pause(bool),
    Clear(u16),
    SetState(u16, DagRunState),
    Delete(u16),
    Restart,
}

#[derive(Clone, Debug)]
struct Plan {
    on_past: bool,
    catchup: bool,
    max_active_runs: u32,
    moves: Vec<Move>,
}

fn a_move() -> impl Strategy<Value = Move> {
    let reprocess = proptest::sample::select(vec![Reprocess::None, Reprocess::Failed, Reprocess::Completed]);
    let wish = proptest::sample::select(vec![BackfillWish::Pause, BackfillWish::Unpause, BackfillWish::Cancel]);
    let state = proptest::sample::select(vec![DagRunState::Success, DagRunState::Failed, DagRunState::Queued]);
    let backfill = (0..8_i64, 0..8_i64, reprocess, 1..4_i64, any::<bool>()).prop_map(
        |(one, other, reprocess, max_active_runs, backwards)| Move::Backfill {
            from: one.max(other),
            to: one.min(other),
            reprocess,
            max_active_runs,
            backwards,
        },
    );
    prop_oneof![
        12 => (any::<u16>(), prop_oneof![3 => Just(true), 1 => Just(false)]).prop_map(|(which, well)| Move::End(which, well)),
        2 => (1..90_i64).prop_map(Move::Pass),
        1 => (0..8_i64).prop_map(Move::Trigger),
        4 => backfill,
        2 => wish.prop_map(Move::Set),
        1 => any::<bool>().prop_map(Move::Pause),
        2 => any::<u16>().prop_map(Move::Clear),
        1 => (any::<u16>(), state).prop_map(|(which, state)| Move::SetState(which, state)),
        1 => any::<u16>().prop_map(Move::Delete),
        1 => Just(Move::Restart),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    (any::<bool>(), any::<bool>(), 1..3_u32, proptest::collection::vec(a_move(), 0..60))
        .prop_map(|(on_past, catchup, max_active_runs, moves)| Plan { on_past, catchup, max_active_runs, moves })
}

/// One task, every hour of the day before and of the first hours of this one.
fn build(plan: &Plan) -> Arc<Dag> {
    let cron = json!({"expression": "0 * * * *", "timezone": "UTC", "interval": 0.0, "run_immediately": false});
    let timetable = Timetable::from_serialized("airflow.timetables.trigger.CronTriggerTimetable", &cron).unwrap();
    let mut builder = DagBuilder::new("d", timetable);
    let dag = builder.dag_mut();
    dag.start_date = Some(beginning() - HOUR * 2);
    dag.end_date = Some(beginning() + HOUR);
    dag.catchup = plan.catchup;
    dag.limits.max_active_runs = plan.max_active_runs;
    let mut task = Task::new("a");
    task.depends_on_past = plan.on_past;
    builder.task(task);
    builder.build().unwrap()
}

struct Game {
    plan: Plan,
    toy: Toy,
    runs: BTreeMap<RunKey, DagRun>,
    states: BTreeMap<RunKey, TaskState>,
    backfills: BTreeMap<BackfillId, Backfill>,
    /// Runs as a backfill is to find or make them next.
    wanted: BTreeMap<Timestamp, u32>,
    /// Runs that have begun in this batch.
    begun: Vec<RunKey>,
    cancelled: Option<BackfillId>,
    by_hand: Option<(RunKey, DagRunState)>,
    paused: bool,
}

impl Game {
    fn new(plan: Plan) -> Self {
        let mut toy = Toy::new(Config { parallelism: 100, ..Config::default() });
        let steps = toy.import(&build(&plan), false);
        let mut game = Self {
            plan,
            toy,
            runs: BTreeMap::new(),
            states: BTreeMap::new(),
            backfills: BTreeMap::new(),
            wanted: BTreeMap::new(),
            begun: Vec::new(),
            cancelled: None,
            by_hand: None,
            paused: false,
        };
        game.took(steps);
        game
    }

    fn tell(&mut self, event: Event) {
        let steps = self.toy.tell(event);
        self.took(steps);
    }

    fn took(&mut self, steps: Vec<Step>) {
        steps.iter().for_each(|step| self.take(step));
        while self.toy.scheduler.next_wakeup().is_some_and(|at| at <= self.toy.now) {
            self.toy.tell_all(Vec::new()).iter().for_each(|step| self.take(step));
        }
        self.check_rest();
        self.begun.iter().for_each(|run| self.check_order(run));
        self.begun.clear();
        (self.cancelled, self.by_hand) = (None, None);
    }

    /// The one that is under way.
    fn open(&self) -> Option<&Backfill> {
        self.backfills.values().find(|backfill| backfill.completed_at.is_none())
    }

    fn of<'a>(&'a self, backfill: &'a Backfill) -> impl Iterator<Item = &'a DagRun> {
        self.runs.values().filter(|run| run.backfill.is_some_and(|place| place.id == backfill.id))
    }

    fn counted(&self) -> usize {
        let is_counted = |run: &&DagRun| run.state == DagRunState::Running && run.run_type != RunType::Backfill;
        self.runs.values().filter(is_counted).count()
    }

    fn take(&mut self, step: &Step) {
        for change in &step.changes {
            match change {
                Change::Run(run) => self.run_changes(run),
                Change::TaskInstance(ti) => {
                    let before = self.states.insert(ti.run.clone(), ti.state);
                    let begins = matches!(ti.state, TaskState::Scheduled | TaskState::Queued);
                    if begins && before == Some(TaskState::None) {
                        assert!(self.past_allows(&ti.run), "{} does not wait for the run before", ti.run);
                    }
                }
                Change::Backfill(backfill) => self.backfill_changes(backfill),
                Change::RunDeleted(key) => {
                    self.runs.remove(key);
                    self.states.remove(key);
                }
                Change::Paused { paused, .. } => self.paused = *paused,
                _ => {}
            }
        }
    }

    fn past_allows(&self, key: &RunKey) -> bool {
        let run = &self.runs[key];
        // "Task instance is first run in a backfill."
        if !self.plan.on_past || run.backfill.is_some_and(|place| place.ordinal == 1) {
            return true;
        }
        let scheduled_only = self.plan.catchup;
        let is_before = |other: &&DagRun| {
            other.logical_date < run.logical_date && !(scheduled_only && other.run_type == RunType::Manual)
        };
        let last = self.runs.values().filter(is_before).max_by_key(|other| other.logical_date);
        last.is_none_or(|last| self.states.get(&last.key).is_some_and(|state| state.is_success()))
    }

    fn run_changes(&mut self, run: &DagRun) {
        let before = self.runs.insert(run.key.clone(), run.clone());
        let was = before.as_ref().map(|before| before.state);
        if run.state == DagRunState::Running && was != Some(DagRunState::Running) {
            self.check_begin(run);
            self.begun.push(run.key.clone());
        }
        let is_taken = before.as_ref().is_none_or(|before| before.backfill != run.backfill);
        if let (Some(place), true) = (run.backfill, is_taken) {
            let wanted = self.wanted.remove(&run.logical_date.unwrap());
            assert_eq!(wanted, Some(place.ordinal), "{} is of a backfill", run.key);
            assert_eq!(run.run_type, RunType::Backfill, "{}", run.key);
        }
        if run.state == DagRunState::Failed && was == Some(DagRunState::Queued) {
            let is_cancelled = run.backfill.map(|place| place.id) == self.cancelled && self.cancelled.is_some();
            let by_hand = self.by_hand.as_ref().is_some_and(|(key, _)| *key == run.key);
            assert!(is_cancelled || by_hand, "{} fails without having run", run.key);
        }
    }

    /// A run leaves its queue: nobody before it waits, and there is room.
    fn check_begin(&self, run: &DagRun) {
        assert!(!self.paused, "{} begins although its Dag is paused", run.key);
        let limit = self.plan.max_active_runs as usize;
        assert!(self.counted() <= limit, "{} begins beyond the Dag's limit", run.key);
        let Some(backfill) = self.open().filter(|open| run.backfill.is_some_and(|place| place.id == open.id)) else {
            return;
        };
        assert!(!backfill.is_paused, "{} begins although its backfill is paused", run.key);
        let running = self.of(backfill).filter(|run| run.state == DagRunState::Running).count() as i64;
        assert!(running <= backfill.max_active_runs, "{} begins beyond the limit of its backfill", run.key);
    }

    /// A run that is fetched first begins later in the same batch.
    fn check_order(&self, begun: &RunKey) {
        let (Some(run), Some(backfill)) = (self.runs.get(begun), self.open()) else { return };
        let ordinal = |run: &DagRun| run.backfill.filter(|place| place.id == backfill.id).map(|place| place.ordinal);
        let Some(own) = ordinal(run) else { return };
        let waits = |other: &&DagRun| {
            other.state == DagRunState::Queued
                && ordinal(other).is_some_and(|ordinal| ordinal < own)
                && other.run_after <= self.toy.now
        };
        let passed = self.runs.values().find(waits);
        assert!(passed.is_none(), "{begun} passes {:?}", passed.map(|run| &run.key));
    }

    fn backfill_changes(&mut self, backfill: &Backfill) {
        if backfill.completed_at.is_some() && self.cancelled != Some(backfill.id) {
            let open = self.of(backfill).find(|run| !run.state.is_finished());
            assert!(open.is_none(), "backfill {} is complete before {:?}", backfill.id, open);
        }
        self.backfills.insert(backfill.id, backfill.clone());
    }

    /// Nothing waits that could go on.
    fn check_rest(&self) {
        assert!(self.wanted.is_empty(), "these were to be of the backfill: {:?}", self.wanted);
        let now = self.toy.now;
        let has_room = self.counted() < self.plan.max_active_runs as usize;
        let open = self.open();
        for run in self.runs.values().filter(|run| run.state == DagRunState::Queued && run.run_after <= now) {
            let own = open.filter(|open| run.backfill.is_some_and(|place| place.id == open.id));
            let may_begin = match own {
                Some(backfill) => {
                    let running = self.of(backfill).filter(|run| run.state == DagRunState::Running).count() as i64;
                    !backfill.is_paused && running < backfill.max_active_runs
                }
                None => run.run_type == RunType::Backfill || has_room,
            };
            assert!(self.paused || !may_begin, "{} waits although there is room", run.key);
        }
        for run in self.runs.values().filter(|run| run.state == DagRunState::Running) {
            let state = self.states[&run.key];
            assert!(!state.is_finished(), "{} has not ended", run.key);
            let waits = state == TaskState::None && !self.paused && self.past_allows(&run.key);
            let is_future = run.logical_date.is_some_and(|date| date > now);
            assert!(!waits || is_future, "the task of {} waits for nothing", run.key);
        }
        let has_open_run = open.is_none_or(|open| self.of(open).any(|run| !run.state.is_finished()));
        assert!(has_open_run, "{open:?} has nothing left to do and is not complete");
    }

    fn make(&mut self, a_move: &Move) {
        match a_move {
            Move::End(which, well) => self.end(*which, *well),
            Move::Pass(minutes) => self.wait_until(self.toy.now + SignedDuration::from_mins(*minutes)),
            Move::Trigger(hours) => {
                let date = beginning() - HOUR * (*hours as i32);
                if self.runs.values().all(|run| run.logical_date != Some(date)) {
                    let run_id = format!("m{}", self.toy.order.len() + self.toy.archived.len());
                    if self.runs.keys().all(|key| key.run_id.as_str() != run_id) {
                        let event = self.toy.trigger_event("d", &run_id, Some(date));
                        self.tell(event);
                    }
                }
            }
            Move::Backfill { from, to, reprocess, max_active_runs, backwards } => {
                // Airflow refuses what waits for later runs.
                let backwards = *backwards && !self.plan.on_past;
                let how = BackfillOptions { reprocess: *reprocess, max_active_runs: *max_active_runs, backwards };
                self.backfill((beginning() - HOUR * (*from as i32), beginning() - HOUR * (*to as i32)), how);
            }
            Move::Set(wish) => {
                let Some(open) = self.open() else { return };
                self.cancelled = (*wish == BackfillWish::Cancel).then_some(open.id);
                let steps = self.toy.set_backfill("d", *wish);
                self.took(steps);
            }
            Move::Pause(paused) => self.pause(*paused),
            Move::Clear(which) => {
                let Some(run) = self.pick(*which) else { return };
                self.tell(Event::Clear(Box::new(Clear {
                    reply: ReplyId(0),
                    run,
                    tasks: vec![("a".into(), None)],
                    restart_run: true,
                    on_latest_version: false,
                    keep_running: false,
                })));
            }
            Move::SetState(which, state) => {
                let Some(run) = self.pick(*which) else { return };
                self.by_hand = Some((run.clone(), *state));
                self.tell(Event::SetRunState { run, state: *state, reply: ReplyId(0) });
            }
            Move::Delete(which) => {
                let Some(run) = self.pick(*which) else { return };
                self.tell(Event::DeleteRun { run, reply: ReplyId(0) });
            }
            Move::Restart => {
                let steps = self.toy.restart();
                self.took(steps);
            }
        }
    }

    /// What becomes of each date is known beforehand (`_create_backfill_dag_run`).
    fn backfill(&mut self, (from, to): (Timestamp, Timestamp), how: BackfillOptions) {
        if self.open().is_none() {
            let mut dates: Vec<Timestamp> =
                (0..).map(|hours| from + HOUR * hours).take_while(|date| *date <= to).collect();
            if how.backwards {
                dates.reverse();
            }
            for (ordinal, date) in (1..).zip(dates) {
                let known = self.runs.values().find(|run| run.logical_date == Some(date)).map(|run| run.state);
                let is_taken = matches!(
                    (known, how.reprocess),
                    (None, _)
                        | (Some(DagRunState::Failed), Reprocess::Failed | Reprocess::Completed)
                        | (Some(DagRunState::Success), Reprocess::Completed)
                );
                if is_taken {
                    self.wanted.insert(date, ordinal);
                }
            }
        }
        let steps = self.toy.backfill("d", (from, to), how);
        self.took(steps);
    }

    fn pick(&self, which: u16) -> Option<RunKey> {
        let keys: Vec<&RunKey> = self.runs.keys().collect();
        (!keys.is_empty()).then(|| keys[usize::from(which) % keys.len()].clone())
    }

    fn end(&mut self, which: u16, well: bool) {
        let alive: Vec<AttemptId> = self.toy.alive.keys().copied().collect();
        if !alive.is_empty() {
            let outcome = if well { Outcome::Success } else { Outcome::Failed };
            let steps = self.toy.end(alive[usize::from(which) % alive.len()], outcome);
            self.took(steps);
        }
    }

    fn pause(&mut self, paused: bool) {
        self.tell(Event::DagPaused { dag_id: "d".into(), paused, reply: ReplyId(0) });
    }

    fn wait_until(&mut self, until: Timestamp) {
        while self.toy.now < until {
            let next = self.toy.scheduler.next_wakeup().filter(|at| *at < until).unwrap_or(until);
            self.toy.now = self.toy.now.max(next);
            self.tell(Event::Tick);
        }
    }

    /// Nothing else happens, and everything comes to its end.
    fn end_everything(&mut self) {
        self.pause(false);
        for _ in 0..MAX_ROUNDS {
            if self.open().is_some_and(|open| open.is_paused) {
                let steps = self.toy.set_backfill("d", BackfillWish::Unpause);
                self.took(steps);
            } else if !self.toy.alive.is_empty() {
                self.end(0, true);
            } else if let Some(next) = self.toy.scheduler.next_wakeup() {
                self.wait_until(next);
            } else {
                let open = self.runs.values().find(|run| !run.state.is_finished());
                assert!(open.is_none() || self.plan.on_past, "{open:?} never ends");
                return;
            }
        }
        panic!("this never ends");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(500), ..ProptestConfig::default() })]

    #[test]
    fn backfills_make_and_start_the_runs_that_plain_reasoning_says(plan in plan()) {
        let mut game = Game::new(plan.clone());
        plan.moves.iter().for_each(|a_move| game.make(a_move));
        game.end_everything();
    }
}
