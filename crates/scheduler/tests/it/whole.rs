//! Random Dags with everything: mapped tasks and groups, branches, setups and teardowns, retries, reschedules, triggers
//! and questions, limits, pools, `depends_on_past`, people who clear, mark, end, delete, pause and take away, and
//! processes that are killed. After every batch all that has changed is held against slow and plain reasoning, and
//! everything that has not is asked why.

mod mirror;
mod plan;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::{
    AttemptId, DagRunState, MapIndex, RunKey, TaskId, TaskIndex, TaskInstance, TaskInstanceKey, TaskState, TimerEvent,
    TriggerId, TriggerTimer,
};
use proptest::prelude::*;
use scheduler::{
    Answered, Clear, Config, Deferral, Event, Mark, MarkAs, Outcome, ReplyId, SkipDecision, TriggerEvent, TriggeredEnd,
    Waiting,
};
use serde_json::json;

use crate::toy::{Step, Toy, answer, beginning, told};
use mirror::{Mirror, Told};
use plan::{Choice, Fire, How, Move, Plan, SMALL_POOL, build};

/// A history that is not at its end after so many rounds never will be.
const MAX_ROUNDS: usize = 3000;
const MAX_RUNS: usize = 4;
const REPLY: ReplyId = ReplyId(0);

fn tens(number: i64) -> SignedDuration {
    SignedDuration::from_secs(10 * number)
}

struct Game {
    toy: Toy,
    mirror: Mirror,
    runs_made: usize,
    pool: u32,
}

impl Game {
    fn new(plan: &Plan) -> Self {
        let dag = build(&plan.dag);
        let mut toy = Toy::new(Config { parallelism: plan.parallelism, ..Config::default() });
        toy.set_pool(SMALL_POOL, Some(plan.pool));
        toy.set_pool("default_pool", Some(plan.pool + 2));
        toy.import(&dag, false);
        let pools = [(SMALL_POOL, plan.pool), ("default_pool", plan.pool + 2)];
        let mirror = Mirror {
            dag,
            runs: BTreeMap::new(),
            alive: BTreeMap::new(),
            suspensions: BTreeMap::new(),
            timers: BTreeMap::new(),
            armed: BTreeSet::new(),
            now: beginning(),
            paused: false,
            gone: false,
            parallelism: plan.parallelism,
            pools: pools.into_iter().map(|(name, slots)| (name.to_owned(), Some(slots))).collect(),
            told: Told::default(),
        };
        Self { toy, mirror, runs_made: 0, pool: plan.pool }
    }

    fn tell(&mut self, events: Vec<Event>) {
        let steps = self.toy.tell_all(events);
        self.took(steps);
    }

    /// Holds what was decided against the rules, and goes on until nothing is due at this moment.
    fn took(&mut self, steps: Vec<Step>) {
        steps.iter().for_each(|step| self.mirror.take(step));
        while self.toy.scheduler.next_wakeup().is_some_and(|at| at <= self.toy.now) {
            self.toy.tell_all(Vec::new()).iter().for_each(|step| self.mirror.take(step));
        }
        self.mirror.check_rest();
        self.mirror.told = Told::default();
    }

    fn wait_until(&mut self, until: Timestamp) {
        while self.toy.now < until {
            let next = self.toy.scheduler.next_wakeup().filter(|at| *at < until).unwrap_or(until);
            self.toy.now = self.toy.now.max(next);
            self.mirror.now = self.toy.now;
            self.tell(Vec::new());
        }
    }

    fn make(&mut self, a_move: &Move) {
        match a_move {
            Move::Trigger { dated } => self.trigger(*dated),
            Move::End(which, how, also) => {
                let mut events = Vec::new();
                for (which, how) in [(which, how)].into_iter().chain(also.iter().map(|(which, how)| (which, how))) {
                    events.extend(self.end(*which, how));
                }
                self.tell(events);
            }
            Move::Start(which) => {
                let Some(attempt) = self.pick_attempt(*which) else { return };
                let (hostname, unixname) = ("host".into(), "user".into());
                self.tell(vec![Event::AttemptStarted { attempt, at: self.toy.now, hostname, unixname, pid: 1 }]);
            }
            Move::Fire(which, fire) => {
                let armed: Vec<TriggerId> = self.mirror.armed.iter().copied().collect();
                if let Some(trigger) = pick(&armed, *which) {
                    self.fire(trigger, *fire);
                }
            }
            Move::Answer(which) => {
                let asking = self.in_state(TaskState::AwaitingInput);
                if let Some(key) = pick(&asking, *which) {
                    self.answer(key);
                }
            }
            Move::Pass(number) => self.wait_until(self.toy.now + tens(*number)),
            Move::Clear { choice, restart_run, keep_running } => self.clear(*choice, *restart_run, *keep_running),
            Move::Mark { choice, mark_as, resume } => self.mark(*choice, *mark_as, *resume),
            Move::SetState(run, state) => self.set_state(*run, *state),
            Move::Delete(run) => {
                if let Some(run) = self.pick_run(*run) {
                    self.tell(vec![Event::DeleteRun { run, reply: REPLY }]);
                }
            }
            Move::Pause(paused) => self.pause(*paused),
            Move::Vanish(gone) => self.vanish(*gone),
            Move::Pool(slots) => self.set_pool(*slots),
            Move::Restart => {
                self.mirror.alive.clear();
                self.mirror.armed.clear();
                self.mirror.told.restarted = true;
                // The file is found to be gone when all else is known.
                let steps = self.toy.restart();
                self.took(steps);
            }
        }
    }

    fn trigger(&mut self, dated: bool) {
        if self.runs_made == MAX_RUNS {
            return;
        }
        let hours = [2, 4, 1, 3][self.runs_made];
        let date = beginning() - SignedDuration::from_hours(hours);
        let event = self.toy.trigger_event("d", &format!("r{}", self.runs_made), dated.then_some(date));
        self.runs_made += 1;
        self.tell(vec![event]);
    }

    fn pick_attempt(&self, which: u16) -> Option<AttemptId> {
        let alive: Vec<AttemptId> = self.toy.alive.keys().copied().collect();
        pick(&alive, which).filter(|attempt| !self.mirror.told.ended.contains_key(&self.toy.alive[attempt].ti.key()))
    }

    fn in_state(&self, state: TaskState) -> Vec<TaskInstanceKey> {
        self.mirror.all().filter(|ti| ti.state == state).map(TaskInstance::key).collect()
    }

    /// An attempt ends: what it leaves is there before.
    fn end(&mut self, which: u16, how: &How) -> Vec<Event> {
        let Some(attempt) = self.pick_attempt(which) else { return Vec::new() };
        let ti = self.toy.alive[&attempt].ti.clone();
        let place = self.mirror.place(&ti.key());
        let outcome = self.outcome(how);
        let is_cleared = self.mirror.runs[&ti.run].tis[&place].state == TaskState::Restarting;
        let mut events = Vec::new();
        if outcome == Outcome::Success && !is_cleared {
            let returns = if let How::Success(length) = how { *length } else { None };
            if let Some(length) = returns {
                self.toy.returned.insert(ti.key(), length);
                self.mirror.run(&ti.run).returned.insert(place, length);
            }
            if let (How::Branch(left_out), true) = (how, self.mirror.dag.task(place.0).can_skip_downstream) {
                events.push(self.decide(attempt, &ti, *left_out));
            }
        }
        self.mirror.told.ended.insert(ti.key(), outcome.clone());
        events.push(self.toy.end_event(attempt, outcome));
        events
    }

    fn outcome(&self, how: &How) -> Outcome {
        let now = self.toy.now;
        match how {
            How::Success(_) | How::Branch(_) => Outcome::Success,
            How::Skip => Outcome::Skipped,
            How::Fail => Outcome::Failed,
            How::FailForGood => Outcome::FailedForGood,
            How::Retry(delay) => Outcome::Retry { delay: delay.map(tens) },
            How::Reschedule(after) => Outcome::Reschedule { at: now + tens(*after) },
            How::Interrupted => Outcome::Interrupted,
            How::Removed => Outcome::Removed,
            How::Ask(timeout) => Outcome::AwaitingInput(Box::new(Waiting {
                timeout: timeout.map(tens),
                next_method: "execute_complete".into(),
                next_kwargs: json!({}),
            })),
            How::Defer { timer, timeout } => {
                let timer = timer.map(|(after, ends)| TriggerTimer {
                    at: now + tens(after),
                    event: if ends { TimerEvent::Succeed } else { TimerEvent::Resume(json!("moment")) },
                });
                Outcome::Deferred(Box::new(Deferral {
                    classpath: "pack.Age".into(),
                    kwargs: json!({}),
                    queue: None,
                    timer,
                    timeout: timeout.map(tens),
                    next_method: "execute_complete".into(),
                    next_kwargs: json!({}),
                }))
            }
        }
    }

    /// A branch leaves out some of those directly below it. One that has several instances only writes that down.
    fn decide(&mut self, attempt: AttemptId, ti: &TaskInstance, left_out: u8) -> Event {
        let place = self.mirror.place(&ti.key());
        let below = self.mirror.dag.task(place.0).downstream.clone();
        let is_out = |at: &usize| left_out & (1 << (at % 8)) != 0;
        let skipped: Vec<TaskId> =
            (0..below.len()).filter(is_out).map(|at| self.mirror.dag.task(below[at]).task_id.clone()).collect();
        let decision = SkipDecision::Skipped(skipped.clone());
        let skip = scheduler::Skip { branch: ti.task_id.clone(), map_index: ti.map_index, decision: decision.clone() };
        let of_run = self.toy.skips.entry(ti.run.clone()).or_default();
        of_run.retain(|other| (&other.branch, other.map_index) != (&ti.task_id, ti.map_index));
        of_run.push(skip);
        self.mirror.run(&ti.run).skips.insert(place, skipped.clone());
        if ti.map_index.is_mapped() {
            return Event::BranchDecided { attempt, decision };
        }
        let names = skipped.iter().map(|task_id| TaskInstanceKey {
            run: ti.run.clone(),
            task_id: task_id.clone(),
            map_index: MapIndex::NONE,
        });
        self.mirror.told.left_out.extend(names);
        Event::SkipDownstream { attempt, tasks: skipped.into_iter().map(|task| (task, MapIndex::NONE)).collect() }
    }

    fn fire(&mut self, trigger: TriggerId, fire: Fire) {
        self.mirror.told.fired.insert(trigger, fire);
        let end = |end| Event::TriggerFired { trigger, event: TriggerEvent::End(end) };
        self.mirror.armed.remove(&trigger);
        self.tell(vec![match fire {
            Fire::Resume => Event::TriggerFired { trigger, event: TriggerEvent::Resume(json!("payload")) },
            Fire::Break => Event::TriggerFailed { trigger, traceback: None },
            Fire::Success => end(TriggeredEnd::Success),
            Fire::Failed => end(TriggeredEnd::Failed),
            Fire::Skipped => end(TriggeredEnd::Skipped),
        }]);
    }

    fn answer(&mut self, key: TaskInstanceKey) {
        self.mirror.told.answered.insert(key.clone());
        let response = answer(self.toy.now, "yes", Some("eve"));
        let (payload, response) = (told(&response), Box::new(response));
        self.tell(vec![Event::HitlAnswered(Box::new(Answered {
            key,
            response,
            payload,
            resumes: true,
            reply: REPLY,
        }))]);
        // The question is answered; another try asks anew.
        self.toy.answers.clear();
    }

    fn pick_run(&self, which: u8) -> Option<RunKey> {
        let runs: Vec<&RunKey> = self.mirror.runs.keys().collect();
        pick(&runs, u16::from(which)).cloned()
    }

    /// The task instances that people mean, as names; and these instances.
    fn chosen(&self, run: &RunKey, choice: Choice) -> (Vec<(TaskId, Option<MapIndex>)>, Vec<TaskInstance>) {
        let known = &self.mirror.runs[run];
        let mut tasks: BTreeSet<TaskIndex> =
            known.dag.indices().filter(|task| choice.tasks & (1 << task.at()) != 0).collect();
        let mut names: BTreeMap<TaskIndex, Option<i32>> = tasks.iter().map(|task| (*task, choice.instance)).collect();
        let own = tasks.clone();
        for task in &own {
            let directions = [(choice.upstream, true), (choice.downstream, false)];
            for (_, upwards) in directions.into_iter().filter(|(wanted, _)| *wanted) {
                tasks.extend(known.reach(*task, upwards));
            }
        }
        for task in tasks.difference(&own) {
            names.insert(*task, None);
        }
        let is_meant = |ti: &&TaskInstance| {
            let task = known.dag.find(ti.task_id.as_str()).unwrap();
            let of_task = names.get(&task).is_some_and(|index| index.is_none_or(|index| index == ti.map_index.0));
            of_task && (!choice.only_failed || ti.state.is_failure())
        };
        let meant: Vec<TaskInstance> = known.tis.values().filter(is_meant).cloned().collect();
        let texts = if choice.only_failed {
            meant.iter().map(|ti| (ti.task_id.clone(), Some(ti.map_index))).collect()
        } else {
            let name = |task: &TaskIndex| known.dag.task(*task).task_id.clone();
            names.iter().map(|(task, index)| (name(task), index.map(MapIndex))).collect()
        };
        (texts, meant)
    }

    fn want_cleared(&mut self, ti: &TaskInstance) {
        let becomes = match ti.state {
            TaskState::Restarting => return,
            TaskState::Queued | TaskState::Running => TaskState::Restarting,
            _ => TaskState::None,
        };
        self.mirror.told.wanted.insert(ti.key(), becomes);
    }

    fn clear(&mut self, choice: Choice, restart_run: bool, keep_running: bool) {
        let Some(run) = self.pick_run(choice.run) else { return };
        let (tasks, meant) = self.chosen(&run, choice);
        let is_running = |ti: &TaskInstance| matches!(ti.state, TaskState::Queued | TaskState::Running);
        if !(keep_running && meant.iter().any(is_running)) {
            meant.iter().for_each(|ti| self.want_cleared(ti));
            let number = self.mirror.runs[&run].run.as_ref().unwrap().clear_number;
            let number = number + u32::from(restart_run && !meant.is_empty());
            self.mirror.told.clear_numbers.insert(run.clone(), number);
        }
        let clear = Clear { reply: REPLY, run, tasks, restart_run, on_latest_version: false, keep_running };
        self.tell(vec![Event::Clear(Box::new(clear))]);
    }

    fn mark(&mut self, choice: Choice, mark_as: MarkAs, resume: u8) {
        let Some(run) = self.pick_run(choice.run) else { return };
        let (tasks, meant) = self.chosen(&run, choice);
        let state = match mark_as {
            MarkAs::Success => TaskState::Success,
            MarkAs::Failed => TaskState::Failed,
            MarkAs::Skipped => TaskState::Skipped,
        };
        let marked: Vec<TaskInstance> = meant.into_iter().filter(|ti| ti.state != state).collect();
        for ti in &marked {
            self.mirror.told.wanted.insert(ti.key(), state);
        }
        let known = &self.mirror.runs[&run];
        let resumed: Vec<TaskIndex> = known.dag.indices().filter(|task| resume & (1 << task.at()) != 0).collect();
        let goes_on = |ti: &&TaskInstance| {
            let task = known.dag.find(ti.task_id.as_str()).unwrap();
            ti.state.is_failure() && resumed.contains(&task) && marked.iter().all(|other| other.key() != ti.key())
        };
        let going_on: Vec<TaskInstance> = known.tis.values().filter(goes_on).cloned().collect();
        going_on.iter().for_each(|ti| self.want_cleared(ti));
        let resume = resumed.iter().map(|task| self.mirror.dag.task(*task).task_id.clone()).collect();
        self.tell(vec![Event::Mark(Box::new(Mark { reply: REPLY, run, mark_as, tasks, resume }))]);
    }

    /// What becomes of task instances when people end their run (`_set_dag_run_terminal_state`).
    fn set_state(&mut self, run: u8, state: DagRunState) {
        let Some(run) = self.pick_run(run) else { return };
        if state != DagRunState::Queued {
            let known = &self.mirror.runs[&run];
            let is_running = |state: TaskState| {
                matches!(
                    state,
                    TaskState::Running | TaskState::Deferred | TaskState::UpForReschedule | TaskState::AwaitingInput
                )
            };
            let as_run = if state == DagRunState::Success { TaskState::Success } else { TaskState::Failed };
            let mut wanted = Vec::new();
            let mut teardown_is_open = false;
            for ((task, _), ti) in &known.tis {
                if known.dag.task(*task).is_teardown {
                    teardown_is_open |= !ti.state.is_finished();
                } else if known.instances(*task).any(|(_, state)| is_running(state)) {
                    wanted.extend((ti.state != as_run).then(|| (ti.key(), as_run)));
                } else if !ti.state.is_finished() {
                    wanted.push((ti.key(), TaskState::Skipped));
                }
            }
            self.mirror.told.wanted.extend(wanted);
            if !teardown_is_open {
                self.mirror.told.run_ends.insert(run.clone(), state);
            }
        }
        self.tell(vec![Event::SetRunState { run, state, reply: REPLY }]);
    }

    fn pause(&mut self, paused: bool) {
        self.tell(vec![Event::DagPaused { dag_id: "d".into(), paused, reply: REPLY }]);
    }

    fn vanish(&mut self, gone: bool) {
        self.mirror.gone = gone;
        let steps = if gone { self.toy.vanish("d") } else { self.toy.come_back("d") };
        self.took(steps);
    }

    fn set_pool(&mut self, slots: Option<u32>) {
        self.mirror.pools.insert(SMALL_POOL.to_owned(), slots);
        let steps = match slots {
            None => self.toy.remove_pool(SMALL_POOL),
            Some(_) => self.toy.set_pool(SMALL_POOL, slots),
        };
        self.took(steps);
    }

    /// Nothing else goes wrong, and everything comes to its end.
    fn end_everything(&mut self) {
        if self.runs_made == 0 {
            self.trigger(true);
        }
        self.vanish(false);
        self.pause(false);
        self.set_pool(Some(self.pool));
        for _ in 0..MAX_ROUNDS {
            if !self.toy.alive.is_empty() {
                let events = self.end(0, &How::Success(Some(1)));
                self.tell(events);
            } else if let Some(trigger) = self.mirror.armed.first().copied() {
                self.fire(trigger, Fire::Resume);
            } else if let Some(key) = self.in_state(TaskState::AwaitingInput).pop() {
                self.answer(key);
            } else if let Some(next) = self.toy.scheduler.next_wakeup() {
                self.wait_until(next);
            } else {
                return;
            }
        }
        panic!("this never ends");
    }

    fn check_end(&self) {
        for (key, run) in &self.mirror.runs {
            let stored: BTreeMap<(TaskIndex, i32), &TaskInstance> =
                self.toy.task_instances_of(key).map(|ti| (self.mirror.place(&ti.key()), ti)).collect();
            let known: BTreeMap<(TaskIndex, i32), &TaskInstance> =
                run.tis.iter().map(|(place, ti)| (*place, ti)).collect();
            assert_eq!(stored, known, "{key}");
            let waits_outside = |task: &model::Task| {
                task.depends_on_past
                    || task.max_active_tis_per_dag.is_some()
                    || task.max_active_tis_per_dagrun.is_some()
            };
            let may_wait = run.dag.tasks().iter().any(waits_outside);
            let state = run.run.as_ref().unwrap().state;
            assert!(state.is_finished() || may_wait, "{key} never ends: {:?}", run.states());
        }
    }
}

fn pick<T: Clone>(among: &[T], which: u16) -> Option<T> {
    (!among.is_empty()).then(|| among[usize::from(which) % among.len()].clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(1000), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_runs_is_what_slow_reasoning_says(plan in plan::plan()) {
        let mut game = Game::new(&plan);
        plan.moves.iter().for_each(|a_move| game.make(a_move));
        game.end_everything();
        game.check_end();
    }
}
