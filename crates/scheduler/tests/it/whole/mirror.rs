//! What is known of everything, replayed change by change, and whether each change may be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    AttemptId, Change, Dag, DagRun, DagRunState, Execution, MapIndex, RunKey, Suspension, TaskIndex, TaskInstance,
    TaskInstanceId, TaskInstanceKey, TaskState, TimerEvent, TriggerId,
};
use scheduler::{Action, MAX_INSTANCES, Outcome, StartAttempt, StopReason};

use super::plan::{Fire, RETRY_DELAY};
use super::rules::{Next, Place, Run};
use crate::toy::Step;

/// What the scheduler was told in this batch.
#[derive(Default)]
pub struct Told {
    pub ended: BTreeMap<TaskInstanceKey, Outcome>,
    pub fired: BTreeMap<TriggerId, Fire>,
    pub answered: BTreeSet<TaskInstanceKey>,
    /// Task instances that a branch has said not to run.
    pub left_out: BTreeSet<TaskInstanceKey>,
    /// What must become of task instances next, because people want it, or another has failed in a Dag with
    /// `fail_fast`.
    pub wanted: BTreeMap<TaskInstanceKey, TaskState>,
    /// The state that people give a run, unless a teardown is to run first.
    pub run_ends: BTreeMap<RunKey, DagRunState>,
    /// How often runs have been cleared after this.
    pub clear_numbers: BTreeMap<RunKey, u32>,
    pub restarted: bool,
}

pub struct Mirror {
    pub dag: Arc<Dag>,
    pub runs: BTreeMap<RunKey, Run>,
    pub alive: BTreeMap<AttemptId, TaskInstance>,
    pub suspensions: BTreeMap<TaskInstanceKey, Suspension>,
    /// Moments that end what waits for them.
    pub timers: BTreeMap<TaskInstanceKey, Timestamp>,
    /// Triggers that run.
    pub armed: BTreeSet<TriggerId>,
    pub now: Timestamp,
    pub paused: bool,
    pub gone: bool,
    pub parallelism: u32,
    pub pools: BTreeMap<String, Option<u32>>,
    pub told: Told,
}

impl Mirror {
    pub fn run(&mut self, key: &RunKey) -> &mut Run {
        let dag = &self.dag;
        self.runs.entry(key.clone()).or_insert_with(|| Run::new(Arc::clone(dag)))
    }

    pub fn place(&self, key: &TaskInstanceKey) -> Place {
        (self.dag.find(key.task_id.as_str()).unwrap(), key.map_index.0)
    }

    fn state(&self, run: &RunKey) -> Option<DagRunState> {
        Some(self.runs.get(run)?.run.as_ref()?.state)
    }

    /// The run before lets a task run (`PrevDagrunDep`).
    fn past_allows(&self, key: &RunKey, task: TaskIndex) -> bool {
        let definition = self.dag.task(task);
        let date_of = |run: &Run| run.run.as_ref().and_then(|run| run.logical_date);
        let Some(date) = date_of(&self.runs[key]).filter(|_| definition.depends_on_past) else { return true };
        let before = || self.runs.values().filter(|other| date_of(other).is_some_and(|other| other < date));
        let Some(last) = before().max_by_key(|other| date_of(other)) else { return true };
        let all_good = |task: TaskIndex| last.instances(task).all(|(_, state)| state.is_success());
        if last.instances(task).next().is_none() {
            let is_first = before().all(|other| other.instances(task).next().is_none());
            return definition.ignore_first_depends_on_past && is_first;
        }
        let below = definition.downstream.iter().copied();
        all_good(task) && (!definition.wait_for_downstream || below.into_iter().all(all_good))
    }

    /// Before this a retry or a reschedule does not go on.
    fn is_due(&self, ti: &TaskInstance) -> bool {
        let at = match ti.state {
            TaskState::UpForRetry => ti.end_date.map(|end| end + ti.retry_delay_override.unwrap_or(RETRY_DELAY)),
            TaskState::UpForReschedule => ti.reschedule_date,
            _ => None,
        };
        at.is_none_or(|at| at <= self.now)
    }

    fn is_overdue(&self, run: &DagRun) -> bool {
        let timeout = self.dag.dagrun_timeout.and_then(|timeout| Some(run.start_date? + timeout));
        timeout.is_some_and(|at| at <= self.now)
    }

    pub fn take(&mut self, step: &Step) {
        for change in step.changes.iter().chain(&step.lazy_changes) {
            self.change(change);
        }
        let mut started = Vec::new();
        for action in &step.actions {
            match action {
                Action::Acknowledge { attempt } => drop(self.alive.remove(attempt)),
                Action::Stop { reason: StopReason::Cleared, .. } => {}
                Action::Stop { attempt, .. } => {
                    assert!(self.alive.remove(attempt).is_some(), "{attempt} is stopped and does not run");
                }
                Action::Arm(arm) => assert!(self.armed.insert(arm.trigger.id), "{} runs twice", arm.trigger.id),
                Action::Disarm(trigger) => drop(self.armed.remove(trigger)),
                Action::Start(start) => {
                    self.check_start(start);
                    started.push(start.ti.clone());
                }
                _ => {}
            }
        }
        if !step.asked {
            self.check_waiting(&started);
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Run(run) => self.run_changes(run),
            Change::TaskInstance(ti) => self.ti_changes(ti),
            Change::Expanded { run, task_id } => {
                let task = self.dag.find(task_id.as_str()).unwrap();
                self.expanded(run, task);
            }
            Change::Suspended(suspension) => {
                let timer = suspension.trigger.as_ref().and_then(|trigger| trigger.timer.as_ref());
                let ends = timer.filter(|timer| timer.event == TimerEvent::Succeed).map(|timer| timer.at);
                self.timers.remove(&suspension.key);
                self.timers.extend(ends.map(|at| (suspension.key.clone(), at)));
                self.suspensions.insert(suspension.key.clone(), (**suspension).clone());
            }
            Change::NotSuspended(key) => drop(self.suspensions.remove(key)),
            Change::Forgotten(key) => {
                let place = self.place(key);
                let run = self.run(&key.run);
                run.returned.remove(&place);
                run.skips.remove(&place);
            }
            Change::RunDeleted(key) => {
                assert!(self.state(key).is_some_and(|state| state != DagRunState::Running), "{key} runs");
                self.runs.remove(key);
            }
            Change::Paused { paused, .. } => self.paused = *paused,
            _ => {}
        }
    }

    /// All instances are there at once, whatever is decided about the first ones.
    fn expanded(&mut self, key: &RunKey, task: TaskIndex) {
        let run = self.run(key);
        let Next::Expands(count) = run.next((task, -1)) else {
            panic!("{task:?} of {key} is expanded, and it should be {:?}", run.next((task, -1)));
        };
        let stand_in = run.tis.remove(&(task, -1)).unwrap();
        assert_eq!(stand_in.state, TaskState::None);
        for index in 0..count as i32 {
            run.tis.insert((task, index), TaskInstance { map_index: MapIndex(index), ..stand_in.clone() });
        }
    }

    fn ti_changes(&mut self, ti: &TaskInstance) {
        let (key, place) = (ti.key(), self.place(&ti.key()));
        let before = self.run(&ti.run).tis.get(&place).cloned();
        match before {
            None => {
                assert_eq!(ti.state, TaskState::None, "{key} is new");
                let count = self.run(&ti.run).count(place.0);
                assert!(place.1 < 0 || count.is_some_and(|count| (place.1 as u64) < count), "{key} is one too many");
            }
            Some(before) => match self.told.wanted.remove(&key) {
                Some(wanted) => {
                    assert_eq!(ti.state, wanted, "{key} was {}, and it is decided what it is", before.state)
                }
                None => self.check_move(&before, ti),
            },
        }
        self.run(&ti.run).tis.insert(place, ti.clone());
    }

    fn check_move(&mut self, before: &TaskInstance, ti: &TaskInstance) {
        use TaskState::{Deferred, None, Queued, Removed, Running, Scheduled, Skipped, Success};
        let (from, to) = (before.state, ti.state);
        if from.is_executing() {
            if from == to && before.id == ti.id {
                return;
            }
            if let Some(outcome) = self.told.ended.remove(&ti.key()) {
                return self.check_end(before, ti, &outcome);
            }
            match (from, to) {
                (Queued, Running) => return,
                (Queued | Running, Scheduled | Queued) if self.told.restarted => return check_again(before, ti),
                (TaskState::Restarting, None) if self.told.restarted => return,
                _ => {}
            }
        }
        if from == to {
            // Those that a mapped task has just become get their ids with their first change.
            assert!(before.id == ti.id || from == None, "{} is another", ti.key());
            return;
        }
        match to {
            Scheduled | Queued if from.is_suspended() => self.check_resumed(before),
            Scheduled | Queued if from.is_schedulable() => self.check_begins(before),
            Queued if from == Scheduled => {}
            Deferred if from.is_schedulable() => {
                self.check_begins(before);
                assert!(self.task(ti).start_trigger.is_some(), "{} is deferred without having run", ti.key());
            }
            Success if from.is_schedulable() => {
                self.check_begins(before);
                assert_eq!(self.task(ti).execution, Execution::Empty, "{}", ti.key());
            }
            _ if from == Deferred && self.is_end_of_trigger(before, ti) => self.fail_fast(ti),
            Skipped if self.told.left_out.contains(&ti.key()) => {}
            Skipped if self.runs[&ti.run].run.as_ref().is_some_and(|run| self.is_overdue(run)) => {
                assert!(!from.is_finished(), "{} had ended", ti.key());
            }
            Removed if self.is_beyond(ti) => {}
            _ => {
                assert!(from.is_schedulable(), "{} from {from} to {to}", ti.key());
                let next = self.runs[&ti.run].next(self.place(&ti.key()));
                assert_eq!(next, Next::Becomes(to), "{}: {:?}", ti.key(), self.runs[&ti.run].states());
            }
        }
    }

    fn task(&self, ti: &TaskInstance) -> &model::Task {
        self.dag.task(self.dag.find(ti.task_id.as_str()).unwrap())
    }

    /// There are fewer instances now.
    fn is_beyond(&self, ti: &TaskInstance) -> bool {
        let (task, index) = self.place(&ti.key());
        let count = self.runs[&ti.run].count(task).filter(|count| *count <= MAX_INSTANCES);
        index >= 0 && count.is_some_and(|count| index as u64 >= count)
    }

    /// What waited begins: all conditions are met.
    fn check_begins(&self, ti: &TaskInstance) {
        let place = self.place(&ti.key());
        let run = &self.runs[&ti.run];
        assert_eq!(run.next(place), Next::Runs, "{} begins: {:?}", ti.key(), run.states());
        assert!(self.is_due(ti), "{} begins too early", ti.key());
        assert!(self.past_allows(&ti.run, place.0), "{} does not wait for the run before", ti.key());
        assert!(!self.paused && !self.gone, "{} begins although its Dag is held", ti.key());
        assert_eq!(self.state(&ti.run), Some(DagRunState::Running), "{} begins", ti.key());
    }

    fn check_resumed(&self, ti: &TaskInstance) {
        let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at <= self.now);
        let suspension = &self.suspensions[&ti.key()];
        let trigger = suspension.trigger.as_ref();
        let fired = trigger.and_then(|trigger| self.told.fired.get(&trigger.id));
        let is_woken = is_over(suspension.timeout)
            || trigger.is_some_and(|trigger| is_over(trigger.timer.as_ref().map(|timer| timer.at)))
            || matches!(fired, Some(Fire::Resume | Fire::Break))
            || self.told.answered.contains(&ti.key());
        assert!(is_woken, "{} goes on although nothing happened", ti.key());
    }

    /// A trigger has ended its task.
    fn is_end_of_trigger(&self, before: &TaskInstance, ti: &TaskInstance) -> bool {
        // How it was to go on is forgotten first.
        let fired = self.told.fired.values().next();
        let may_retry = before.max_tries > 0 && before.try_number <= before.max_tries;
        match ti.state {
            TaskState::Success if matches!(fired, Some(Fire::Success)) => true,
            TaskState::Success => self.timers.get(&ti.key()).is_some_and(|at| *at <= self.now),
            TaskState::Skipped => matches!(fired, Some(Fire::Skipped)),
            TaskState::Failed => matches!(fired, Some(Fire::Failed)) && !may_retry,
            TaskState::UpForRetry => matches!(fired, Some(Fire::Failed)) && may_retry,
            _ => false,
        }
    }

    /// What becomes of a task instance when its attempt has ended.
    fn check_end(&mut self, before: &TaskInstance, ti: &TaskInstance, outcome: &Outcome) {
        let may_retry = before.max_tries > 0 && before.try_number <= before.max_tries;
        let key = ti.key();
        let wanted = match outcome {
            _ if before.state == TaskState::Restarting => TaskState::None,
            Outcome::Success => TaskState::Success,
            Outcome::Skipped => TaskState::Skipped,
            Outcome::Removed => TaskState::Removed,
            Outcome::Failed if may_retry => TaskState::UpForRetry,
            Outcome::Failed | Outcome::FailedForGood => TaskState::Failed,
            Outcome::Retry { .. } => TaskState::UpForRetry,
            Outcome::Reschedule { .. } => TaskState::UpForReschedule,
            Outcome::Deferred(_) => TaskState::Deferred,
            Outcome::AwaitingInput(_) => TaskState::AwaitingInput,
            Outcome::Interrupted => {
                assert!(matches!(ti.state, TaskState::Scheduled | TaskState::Queued), "{key} is {}", ti.state);
                return check_again(before, ti);
            }
        };
        assert_eq!(ti.state, wanted, "{key} after {outcome:?}");
        assert_eq!(ti.try_number, before.try_number, "{key}");
        self.fail_fast(ti);
    }

    /// A failure ends everything else in a Dag that is to fail fast.
    fn fail_fast(&mut self, failed: &TaskInstance) {
        if failed.state != TaskState::Failed || !self.dag.fail_fast {
            return;
        }
        let (place, run) = (self.place(&failed.key()), &self.runs[&failed.run]);
        let others = run.tis.iter().filter(|((task, _), _)| *task != place.0 && !self.dag.task(*task).is_teardown);
        for (_, ti) in others {
            let becomes = match ti.state {
                TaskState::Success | TaskState::Failed | TaskState::Skipped => continue,
                TaskState::Running => TaskState::Failed,
                _ => TaskState::Skipped,
            };
            self.told.wanted.insert(ti.key(), becomes);
        }
    }

    fn run_changes(&mut self, run: &DagRun) {
        let before = self.runs.get(&run.key).and_then(|known| known.run.clone());
        if before.is_none() {
            self.check_new_run(run);
        }
        let was_running = before.as_ref().is_some_and(|before| before.state == DagRunState::Running);
        if run.state == DagRunState::Running && !was_running {
            assert!(!self.paused && !self.gone, "{} begins although its Dag is held", run.key);
        }
        if run.state.is_finished() && was_running {
            self.check_run_end(run);
        }
        self.run(&run.key).run = Some(run.clone());
        let running = self.runs.keys().filter(|key| self.state(key) == Some(DagRunState::Running)).count();
        assert!(running <= self.dag.limits.max_active_runs as usize, "{running} runs at once");
    }

    /// Every task has one instance, or as many as its Dag alone says.
    fn check_new_run(&mut self, new: &DagRun) {
        let run = Run::new(Arc::clone(&self.dag));
        let made = self.runs.get(&new.key).map(|made| made.tis.keys().copied().collect()).unwrap_or_default();
        let mut places: BTreeSet<Place> = BTreeSet::new();
        for task in self.dag.indices() {
            let literal = self.dag.task(task).needs_expansion().then(|| run.literal_count(task)).flatten();
            match literal.filter(|count| *count > 0) {
                Some(count) => places.extend((0..count as i32).map(|index| (task, index))),
                None => drop(places.insert((task, -1))),
            }
        }
        assert_eq!(places, made, "{}", new.key);
    }

    fn check_run_end(&self, run: &DagRun) {
        let known = &self.runs[&run.key];
        if let Some(state) = self.told.run_ends.get(&run.key) {
            assert_eq!(run.state, *state, "{} was ended by hand", run.key);
            return;
        }
        let unfinished: Vec<&TaskInstance> = known.tis.values().filter(|ti| !ti.state.is_finished()).collect();
        // Whether one took too long is not looked at while its Dag is paused.
        let is_held = self.paused || self.gone;
        if unfinished.is_empty() && !is_held && self.is_overdue(known.run.as_ref().unwrap()) {
            assert_eq!(run.state, DagRunState::Failed, "{} has taken too long", run.key);
            return;
        }
        if !unfinished.is_empty() {
            assert!(self.is_deadlocked(&run.key), "{} ends: {:?}", run.key, known.states());
        }
        let failed = known.leaves().iter().any(|leaf| known.instances(*leaf).any(|(_, state)| state.is_failure()));
        let wanted = if failed || !unfinished.is_empty() { DagRunState::Failed } else { DagRunState::Success };
        assert_eq!(run.state, wanted, "{}: {:?}", run.key, known.states());
    }

    /// Nothing happens in a run any more, and nothing outside of it can change that.
    fn is_deadlocked(&self, key: &RunKey) -> bool {
        let run = &self.runs[key];
        let unfinished: Vec<&TaskInstance> = run.tis.values().filter(|ti| !ti.state.is_finished()).collect();
        !unfinished.is_empty()
            && unfinished.iter().all(|ti| {
                let task = self.task(ti);
                let waits_outside = task.depends_on_past
                    || task.max_active_tis_per_dag.is_some()
                    || task.max_active_tis_per_dagrun.is_some();
                ti.state.is_schedulable() && !waits_outside && run.next(self.place(&ti.key())) == Next::Waits
            })
    }

    fn check_start(&mut self, start: &StartAttempt) {
        let ti = &start.ti;
        let key = ti.key();
        let known = &self.runs[&ti.run].tis[&self.place(&key)];
        assert_eq!((known.id, known.state), (ti.id, TaskState::Queued), "{key} starts");
        assert_eq!(self.suspensions.get(&key), start.suspension.as_deref(), "{key} goes on");
        assert!(!self.paused && !self.gone, "{key} starts although its Dag is held");
        let alive: Vec<&TaskInstance> = self.alive.values().collect();
        assert!(alive.iter().all(|other| other.key() != key), "{key} runs twice");
        assert!(self.fits(ti, &alive), "{key} starts beyond a limit");
        self.alive.insert(start.attempt, ti.clone());
    }

    /// Whether a task instance could start beside those that are alive.
    fn fits(&self, ti: &TaskInstance, alive: &[&TaskInstance]) -> bool {
        let task = self.task(ti);
        let count = |test: &dyn Fn(&TaskInstance) -> bool| alive.iter().filter(|other| test(other)).count() as u32;
        let slots: u32 = alive.iter().filter(|other| other.pool == ti.pool).map(|other| other.pool_slots).sum();
        let running =
            self.runs.values().filter(|run| run.run.as_ref().is_some_and(|run| run.state == DagRunState::Running));
        let suspended: Vec<&TaskInstance> =
            running.flat_map(|run| run.tis.values()).filter(|other| other.state.is_suspended()).collect();
        let of_task = |in_run: bool| {
            let is_same = |other: &&&TaskInstance| other.task_id == ti.task_id && (!in_run || other.run == ti.run);
            (alive.iter().filter(is_same).count() + suspended.iter().filter(is_same).count()) as u32
        };
        count(&|_| true) < self.parallelism
            && self.pools[&*ti.pool].is_some_and(|size| slots + ti.pool_slots <= size)
            && count(&|other| other.run == ti.run) < self.dag.limits.max_active_tasks
            && task.max_active_tis_per_dag.is_none_or(|limit| of_task(false) < limit)
            && task.max_active_tis_per_dagrun.is_none_or(|limit| of_task(true) < limit)
    }

    /// Nobody waits who has room, not even if those who are less important had not been let in.
    fn check_waiting(&self, started: &[TaskInstance]) {
        if self.paused || self.gone {
            return;
        }
        let order = |ti: &TaskInstance| {
            let date = self.runs[&ti.run].run.as_ref().and_then(|run| run.logical_date);
            (Reverse(ti.priority_weight), date.is_none(), date, ti.map_index)
        };
        let all = self.runs.values().flat_map(|run| run.tis.values());
        for waiting in all.filter(|ti| ti.state == TaskState::Scheduled) {
            let is_late = |other: &&TaskInstance| order(other) > order(waiting);
            let late: Vec<TaskInstanceId> = started.iter().filter(is_late).map(|other| other.id).collect();
            let alive: Vec<&TaskInstance> = self.alive.values().filter(|other| !late.contains(&other.id)).collect();
            assert!(!self.fits(waiting, &alive), "{} waits although there is room", waiting.key());
        }
    }
}

/// What was cut off runs again, with a try more.
fn check_again(before: &TaskInstance, ti: &TaskInstance) {
    let wanted = (before.try_number + 1, before.max_tries + 1);
    assert_eq!((ti.try_number, ti.max_tries), wanted, "{} was cut off", ti.key());
    assert_ne!(ti.id, before.id, "{} was cut off", ti.key());
}

impl Mirror {
    /// Nothing is left undone that could be done now.
    pub fn check_rest(&self) {
        assert!(self.told.wanted.is_empty(), "this was to happen: {:?}", self.told.wanted);
        for (key, number) in &self.told.clear_numbers {
            let cleared = self.runs[key].run.as_ref().unwrap().clear_number;
            assert_eq!(cleared, *number, "{key} was cleared so often");
        }
        let is_running = |key: &&RunKey| self.state(key) == Some(DagRunState::Running);
        let running: Vec<&RunKey> = self.runs.keys().filter(is_running).collect();
        for key in &running {
            self.check_run_at_rest(key);
        }
        let has_room = running.len() < self.dag.limits.max_active_runs as usize;
        let queued = self.runs.keys().find(|key| self.state(key) == Some(DagRunState::Queued));
        assert!(!has_room || self.paused || self.gone || queued.is_none(), "{queued:?} waits although there is room");
        let executing: BTreeSet<TaskInstanceKey> =
            self.all().filter(|ti| ti.state.is_executing()).map(TaskInstance::key).collect();
        let alive: BTreeSet<TaskInstanceKey> = self.alive.values().map(TaskInstance::key).collect();
        assert_eq!(executing, alive, "what executes runs");
        let waiting: BTreeSet<TriggerId> = self
            .all()
            .filter(|ti| ti.state.is_suspended() && running.contains(&&ti.run))
            .filter_map(|ti| self.suspensions[&ti.key()].trigger.as_ref())
            .filter(|trigger| trigger.timer.is_none())
            .map(|trigger| trigger.id)
            .collect();
        assert_eq!(waiting, self.armed, "what is waited for runs");
    }

    pub fn all(&self) -> impl Iterator<Item = &TaskInstance> {
        self.runs.values().flat_map(|run| run.tis.values())
    }

    fn check_run_at_rest(&self, key: &RunKey) {
        let run = &self.runs[key];
        if self.gone {
            return;
        }
        for (place, ti) in &run.tis {
            if ti.state.is_suspended() {
                let suspension = &self.suspensions[&ti.key()];
                let timer = suspension.trigger.as_ref().and_then(|trigger| trigger.timer.as_ref());
                let at = timer.map(|timer| timer.at).into_iter().chain(suspension.timeout).min();
                assert!(at.is_none_or(|at| at > self.now), "{} waits for what has happened", ti.key());
            }
            if !ti.state.is_schedulable() {
                continue;
            }
            let next = run.next(*place);
            let may_begin = !self.paused && self.is_due(ti) && self.past_allows(key, place.0);
            let is_left = match next {
                // That there are more instances than have succeeded above is looked at when one above ends, and not when one is
                // cleared: in Airflow it is a race whether those below are removed before it has run again.
                Next::Waits | Next::Becomes(TaskState::Removed) => false,
                // Whether there is anything to expand is looked at when the task may run.
                Next::Becomes(_) if place.1 < 0 && self.dag.task(place.0).needs_expansion() => may_begin,
                Next::Becomes(_) => true,
                Next::Runs | Next::Expands(_) => may_begin,
            };
            assert!(!is_left, "{} is left as {}, and {next:?}: {:?}", ti.key(), ti.state, run.states());
        }
        let is_over = run.tis.values().all(|ti| ti.state.is_finished());
        assert!(!is_over, "{key} has not ended: {:?}", run.states());
        assert!(self.paused || !self.is_deadlocked(key), "{key} is stuck: {:?}", run.states());
        assert!(self.paused || !self.is_overdue(run.run.as_ref().unwrap()), "{key} takes too long");
    }
}
