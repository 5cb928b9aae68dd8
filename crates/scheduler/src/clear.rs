//! Task instances that are to run again, "as if they never ran" (Airflow's `clear_task_instances`).
//!
//! What executes is asked to end, and starts anew when it has; everything else waits for its turn at once. The try that
//! was goes into the history, and the task instance gets all its retries back.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use model::transition::TaskTransition;
use model::{
    Change, Dag, DagRun, DagRunState, MapIndex, RunKey, TaskId, TaskIndex, TaskInstance, TaskState, WeightRule,
};

use crate::by_hand::Wish;
use crate::evaluate::self_transition;
use crate::event::{Action, Decisions, LoadedRun, Need, ReplyId, RunRefusal, StopReason, TasksChanged};
use crate::run_state::{RunSerial, RunState, TaskRef};
use crate::{Scheduler, put};

/// A request to run task instances of a run again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clear {
    pub reply: ReplyId,
    pub run: RunKey,
    /// All instances of a task, or one of them.
    pub tasks: Vec<(TaskId, Option<MapIndex>)>,
    /// A run that has ended goes back into the queue.
    pub restart_run: bool,
    /// The run goes on with the newest version of its Dag.
    pub on_latest_version: bool,
    /// Nothing is changed if one of them executes.
    pub keep_running: bool,
}

/// Task instances by name, found without looking at all names.
pub(crate) struct Named<'a> {
    /// `None` for all instances.
    tasks: HashMap<&'a TaskId, Option<HashSet<MapIndex>>>,
}

impl<'a> Named<'a> {
    pub(crate) fn new(names: &'a [(TaskId, Option<MapIndex>)]) -> Self {
        let mut tasks: HashMap<&TaskId, Option<HashSet<MapIndex>>> = HashMap::new();
        for (task_id, map_index) in names {
            let indexes = tasks.entry(task_id).or_insert_with(|| Some(HashSet::new()));
            match (indexes.as_mut(), map_index) {
                (Some(indexes), Some(map_index)) => drop(indexes.insert(*map_index)),
                _ => *indexes = None,
            }
        }
        Self { tasks }
    }

    /// Those of a run that is under way, in their order.
    pub(crate) fn refs(&self, state: &RunState, serial: RunSerial) -> Vec<TaskRef> {
        let mut refs = Vec::new();
        for (task_id, indexes) in &self.tasks {
            let Some(task) = state.dag.find(task_id.as_str()) else { continue };
            let named = |instance| TaskRef { run: serial, task, instance };
            match indexes {
                None => refs.extend(state.refs_of(serial, task)),
                Some(indexes) => {
                    let slot = &state.tasks[task.at()];
                    refs.extend(indexes.iter().filter_map(|index| slot.find(*index)).map(named));
                }
            }
        }
        refs.sort_unstable();
        refs
    }

    pub(crate) fn includes(&self, ti: &TaskInstance) -> bool {
        self.tasks
            .get(&ti.task_id)
            .is_some_and(|indexes| indexes.as_ref().is_none_or(|indexes| indexes.contains(&ti.map_index)))
    }
}

impl Clear {
    /// Whether the newest structure must be asked for: a run whose bundle has versions keeps to its own otherwise.
    pub(crate) fn wants_newest(&self, run: &DagRun) -> bool {
        self.on_latest_version && run.bundle_version.is_some()
    }
}

impl Scheduler {
    pub(crate) fn clear(&mut self, clear: Clear, now: Timestamp, decisions: &mut Decisions) {
        let under_way = self.run_serials.get(&clear.run).and_then(|serial| Some((*serial, self.runs.get(serial)?)));
        match under_way {
            Some((_, state)) if clear.wants_newest(&state.run) => {
                self.needs.push(Need::Structure { run: clear.run.clone() });
                let key = clear.run.clone();
                self.wishes.entry(key).or_default().add(Wish::Clear(clear));
            }
            Some((serial, _)) => self.clear_under_way(serial, &clear, now, decisions),
            None => {
                let key = clear.run.clone();
                self.wish(&key, Wish::Clear(clear));
            }
        }
    }

    pub(crate) fn clear_under_way(
        &mut self,
        serial: RunSerial,
        clear: &Clear,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get(&serial) else { return };
        let named = Named::new(&clear.tasks);
        let tasks = named.refs(state, serial);
        let to = clear.reply;
        if clear.keep_running && tasks.iter().any(|task| is_running(state.ti(*task).state)) {
            let answer = Err(RunRefusal::TasksRun(clear.run.clone()));
            decisions.actions.push(Action::TasksChanged { to, answer });
            return;
        }
        for task in &tasks {
            self.clear_instance(*task, now, decisions);
        }
        self.wake(serial);
        self.touched.push(serial);
        let Some(state) = self.runs.get_mut(&serial) else { return };
        if !tasks.is_empty() && clear.restart_run {
            state.run.clear_number += 1;
            state.run.queued_at = Some(now);
            if clear.on_latest_version {
                state.run.version = state.version;
            }
            put(decisions, &state.run, Change::Run);
            let (run, dag) = (state.run.clone(), state.dag.clone());
            self.deadlines_requeued(&run, &dag, decisions);
        }
        let Some(state) = self.runs.get(&serial) else { return };
        let task_instances = tasks.iter().map(|task| state.ti(*task).clone()).collect();
        let answer = Ok(Box::new(TasksChanged { run: state.run.clone(), task_instances }));
        decisions.actions.push(Action::TasksChanged { to, answer });
    }

    pub(crate) fn clear_instance(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let is_cleared = |state: &RunState| state.ti(task).state == TaskState::Restarting;
        if self.runs.get(&task.run).is_none_or(is_cleared) {
            return;
        }
        self.leave_waiting(task);
        self.forget_suspension(task, decisions);
        let id = self.ids.task_instance(now);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let (version, dag) = (state.version, state.dag.clone());
        archive(state.ti_mut(task), now, decisions);
        let Some(next) = self_transition(state, task, TaskTransition::Clear, decisions) else { return };
        let ti = state.ti_mut(task);
        ti.id = id;
        decisions.changes.push(Change::Forgotten(ti.key()));
        if next == TaskState::Restarting {
            // It keeps its slots until its process has ended.
            let stop =
                state.instance(task).attempt.map(|attempt| Action::Stop { attempt, reason: StopReason::Cleared });
            decisions.actions.extend(stop);
        } else {
            ti.version = version;
            renew(ti, &dag, task.task);
            state.instance_mut(task).told = false;
            self.dirty.push_back(task);
        }
        let Some(state) = self.runs.get(&task.run) else { return };
        put(decisions, state.ti(task), Change::TaskInstance);
    }

    /// What executed when it was cleared has ended, whatever came of it.
    pub(crate) fn start_anew(&mut self, task: TaskRef, decisions: &mut Decisions) {
        self.forget_suspension(task, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let (version, dag) = (state.version, state.dag.clone());
        if self_transition(state, task, TaskTransition::Restart, decisions).is_none() {
            return;
        }
        let ti = state.ti_mut(task);
        ti.version = version;
        renew(ti, &dag, task.task);
        put(decisions, ti, Change::TaskInstance);
        // It may have left something since.
        decisions.changes.push(Change::Forgotten(ti.key()));
        self.dirty.push_back(task);
        self.touched.push(task.run);
        self.wake(task.run);
    }

    /// Clears in a run that is not under way and was fetched for that.
    pub(crate) fn clear_fetched(
        &mut self,
        loaded: &mut LoadedRun,
        clear: &Clear,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        if clear.restart_run {
            // Tasks that are new since the run ended are part of it when it goes on.
            self.fit(loaded, now, decisions);
        }
        let named = Named::new(&clear.tasks);
        let follows = clear.restart_run || clear.on_latest_version;
        let cleared = self.clear_where(loaded, |ti| named.includes(ti), follows, now, decisions);
        let LoadedRun { run, structure, .. } = loaded;
        if !cleared.is_empty() && clear.restart_run {
            if clear.on_latest_version {
                run.version = structure.version;
            }
            requeue_cleared(run, now);
            put(decisions, run, Change::Run);
            self.deadlines_requeued(run, &structure.dag, decisions);
        }
        let answer = Ok(Box::new(TasksChanged { run: run.clone(), task_instances: cleared }));
        decisions.actions.push(Action::TasksChanged { to: clear.reply, answer });
    }

    /// Clears some task instances of a run that is not under way, and gives them as they are then. `follows`: they go to
    /// the version that the run goes on with.
    pub(crate) fn clear_where(
        &mut self,
        loaded: &mut LoadedRun,
        is_meant: impl Fn(&TaskInstance) -> bool,
        follows: bool,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> Vec<TaskInstance> {
        let LoadedRun { structure, task_instances, suspensions, .. } = loaded;
        let mut cleared = Vec::new();
        for ti in task_instances.iter_mut().filter(|ti| is_meant(ti)) {
            // What the Dag no longer has can't run.
            if let Some(task) = structure.dag.find(ti.task_id.as_str()) {
                archive(ti, now, decisions);
                ti.id = self.ids.task_instance(now);
                ti.state = TaskState::None;
                if follows {
                    ti.version = structure.version;
                }
                renew(ti, &structure.dag, task);
                put(decisions, ti, Change::TaskInstance);
                decisions.changes.push(Change::Forgotten(ti.key()));
                let gone = suspensions.extract_if(.., |suspension| suspension.key == ti.key());
                decisions.changes.extend(gone.map(|suspension| Change::NotSuspended(suspension.key)));
            }
            cleared.push(ti.clone());
        }
        cleared
    }
}

/// Puts a run of which something was cleared back into the queue, unless it has not ended.
pub(crate) fn requeue_cleared(run: &mut DagRun, now: Timestamp) {
    run.clear_number += 1;
    run.queued_at = Some(now);
    if run.state.is_finished() {
        run.state = DagRunState::Queued;
        run.start_date = None;
        run.end_date = None;
        run.last_scheduling_decision = None;
    }
}

/// Whether a process works on it, or may do so by now.
fn is_running(state: TaskState) -> bool {
    matches!(state, TaskState::Running | TaskState::Queued)
}

/// Puts the try that was into the history (`TaskInstanceHistory.record_ti`). What never had a try has none there.
fn archive(ti: &mut TaskInstance, now: Timestamp, decisions: &mut Decisions) {
    if ti.state == TaskState::None && ti.try_number == 0 {
        return;
    }
    let mut archived = ti.clone();
    if !ti.state.is_finished() {
        ti.end_date = ti.end_date.or(Some(now));
        archived.end_date = ti.end_date;
        archived.state = TaskState::Failed;
    }
    put(decisions, &archived, Change::ArchivedTry);
}

/// A task instance that is to run again is as its task is now, and has all its retries.
fn renew(ti: &mut TaskInstance, dag: &Dag, task: TaskIndex) {
    // What a class of a plugin says of it is asked for before it runs.
    if !matches!(dag.task(task).weight_rule, WeightRule::Custom(_)) {
        ti.priority_weight = dag.weight(task);
    }
    let task = dag.task(task);
    ti.max_tries = ti.try_number.saturating_add(task.retries);
    ti.operator = task.operator.as_str().into();
    ti.operator_name = task.operator_name.as_str().into();
    ti.pool = task.pool.as_str().into();
    ti.pool_slots = task.pool_slots;
    ti.queue = task.queue.as_str().into();
    ti.executor = task.executor.as_deref().map(std::sync::Arc::from);
    ti.reschedule_date = None;
    ti.retry_delay_override = None;
}
