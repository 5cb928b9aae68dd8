//! The life of a run: made, queued, started, ended.

use jiff::Timestamp;
use model::transition::TaskTransition;
use model::{
    Change, Dag, DagId, DagRun, DagRunState, Execution, InBackfill, MapIndex, RunKey, RunType, Task, TaskIndex,
    TaskInstance, TaskState, TryName,
};

use crate::dags::Hold;
use crate::event::{Action, Decisions, LoadedRun, Need, NewRun, StopReason, Structure, Trigger, TriggerError};
use crate::expand::{MAX_INSTANCES, literal_count};
use crate::run_state::{RunSerial, RunState};
use crate::timers::Timer;
use crate::{Scheduler, put};

impl Scheduler {
    /// Makes a run that somebody asked for. Whether the store has one with the same id or date was checked before;
    /// what is not written yet is checked here.
    pub(crate) fn trigger(&mut self, trigger: Trigger, now: Timestamp, decisions: &mut Decisions) {
        let Trigger { reply, run, structure } = trigger;
        let answer = match self.trigger_error(&structure.dag.dag_id, &run) {
            Some(error) => Err(error),
            None => Ok(Box::new(self.create_run(run, structure, now, decisions))),
        };
        decisions.actions.push(Action::Reply { to: reply, answer });
    }

    fn trigger_error(&self, dag_id: &DagId, run: &NewRun) -> Option<TriggerError> {
        let Some(entry) = self.dags.get(dag_id) else { return Some(TriggerError::UnknownDag(dag_id.clone())) };
        let started = entry.started.iter().filter_map(|serial| self.runs.get(serial)).map(|state| &state.run);
        let mut active = entry.waiting_runs().chain(started);
        active.find_map(|other| {
            if other.key.run_id == run.run_id {
                return Some(TriggerError::RunIdTaken { dag_id: dag_id.clone(), run_id: run.run_id.clone() });
            }
            let logical_date = run.logical_date.filter(|_| other.logical_date == run.logical_date)?;
            Some(TriggerError::LogicalDateTaken { dag_id: dag_id.clone(), logical_date })
        })
    }

    /// Makes a run with all its task instances, and starts it if it may start. Returns it as it was when it was made.
    pub(crate) fn create_run(
        &mut self,
        new: NewRun,
        structure: Structure,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> DagRun {
        self.make_run(new, structure, None, true, now, decisions)
    }

    /// As [`Self::create_run`], for a run that may belong to a backfill. Without its task instances it waits, and gets
    /// them when it begins.
    pub(crate) fn make_run(
        &mut self,
        new: NewRun,
        structure: Structure,
        backfill: Option<InBackfill>,
        with_tasks: bool,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> DagRun {
        let run = DagRun {
            key: RunKey { dag_id: structure.dag.dag_id.clone(), run_id: new.run_id },
            run_type: new.run_type,
            triggered_by: new.triggered_by,
            triggering_user: new.triggering_user,
            state: DagRunState::Queued,
            logical_date: new.logical_date,
            data_interval: new.data_interval,
            run_after: new.run_after,
            queued_at: Some(now),
            start_date: None,
            end_date: None,
            last_scheduling_decision: None,
            conf: new.conf,
            note: new.note,
            clear_number: 0,
            version: structure.version,
            bundle_version: structure.bundle_version.clone(),
            backfill,
            partition: new.partition,
        };
        if !with_tasks {
            self.promise_deadlines(&run.key, structure.dag.deadlines.len(), now, decisions);
            put(decisions, &run, Change::Run);
            self.new_run_before_others(&run);
            self.enqueue_run(run.clone(), now);
            self.start_queued_runs(&run.key.dag_id, now);
            return run;
        }
        let mut task_instances = Vec::new();
        for task in structure.dag.indices().filter(|task| belongs_to_run(structure.dag.task(*task), &run)) {
            for map_index in map_indexes(literal_count(&structure.dag, task), structure.dag.task(task)) {
                task_instances.push(self.new_task_instance(&run, &structure, task, map_index, now));
            }
        }
        for ti in &task_instances {
            put(decisions, ti, Change::TaskInstance);
        }
        self.promise_deadlines(&run.key, structure.dag.deadlines.len(), now, decisions);
        if self.may_start(&run, now) {
            let loaded = LoadedRun {
                run: run.clone(),
                structure,
                task_instances,
                skips: vec![],
                lengths: vec![],
                suspensions: vec![],
            };
            self.start_run(loaded, now, decisions);
        } else {
            put(decisions, &run, Change::Run);
            self.new_run_before_others(&run);
            self.enqueue_run(run.clone(), now);
        }
        run
    }

    pub(crate) fn new_task_instance(
        &mut self,
        run: &DagRun,
        structure: &Structure,
        task: TaskIndex,
        map_index: MapIndex,
        now: Timestamp,
    ) -> TaskInstance {
        let priority_weight = structure.dag.weight(task);
        let task = structure.dag.task(task);
        TaskInstance {
            id: self.ids.task_instance(now),
            run: run.key.clone(),
            task_id: task.task_id.clone(),
            map_index,
            state: TaskState::None,
            try_number: 0,
            max_tries: task.retries,
            version: structure.version,
            operator: task.operator.as_str().into(),
            operator_name: task.operator_name.as_str().into(),
            pool: task.pool.as_str().into(),
            pool_slots: task.pool_slots,
            queue: task.queue.as_str().into(),
            priority_weight,
            executor: task.executor.as_deref().map(std::sync::Arc::from),
            scheduled_at: None,
            queued_at: None,
            start_date: None,
            end_date: None,
            hostname: None,
            unixname: None,
            pid: None,
            rendered_map_index: None,
            retry_delay_override: None,
            reschedule_date: None,
        }
    }

    fn may_start(&self, run: &DagRun, now: Timestamp) -> bool {
        let Some(entry) = self.dags.get(&run.key.dag_id) else { return false };
        !self.draining && entry.may_start_runs() && run.run_after <= now && entry.has_room_for(run)
    }

    pub(crate) fn enqueue_run(&mut self, run: DagRun, now: Timestamp) {
        if run.run_after > now {
            self.timers.set(run.run_after, Timer::RunAfter(run.key.dag_id.clone()));
        }
        if let Some(entry) = self.dags.get_mut(&run.key.dag_id) {
            entry.queue.push(run);
        }
    }

    /// At start: a run that was queued before.
    pub(crate) fn run_found(&mut self, run: DagRun, now: Timestamp) {
        // Not started before every run that is running has been counted.
        self.timers.set(run.run_after.max(now), Timer::RunAfter(run.key.dag_id.clone()));
        if let Some(entry) = self.dags.get_mut(&run.key.dag_id) {
            entry.queue.push(run);
        }
    }

    /// Fetches the queued runs of a Dag that there is room for.
    pub(crate) fn start_queued_runs(&mut self, dag_id: &DagId, now: Timestamp) {
        let draining = self.draining;
        let Some(entry) = self.dags.get_mut(dag_id).filter(|entry| !draining && entry.may_start_runs()) else { return };
        while let Some(run) = entry.queue.next(now, entry.has_room(), entry.has_backfill_room()) {
            // It counts as running from here on, so that no other takes its place while it is fetched.
            entry.count_running(&run);
            self.needs.push(Need::Run(run.key.clone()));
            entry.loading.push(run);
        }
    }

    /// A run's task instances are there: one that waited for its turn, or one that was running at the last end.
    pub(crate) fn run_loaded(&mut self, mut loaded: LoadedRun, now: Timestamp, decisions: &mut Decisions) {
        // `start_run` counts it again.
        self.no_longer_loading(&loaded.run.key);
        let Some(given_back) = self.grant_wishes(loaded, now, decisions) else { return };
        loaded = given_back;
        self.fit(&mut loaded, now, decisions);
        self.start_run(loaded, now, decisions);
    }

    fn no_longer_loading(&mut self, key: &RunKey) -> Option<DagRun> {
        let entry = self.dags.get_mut(&key.dag_id)?;
        let position = entry.loading.iter().position(|run| run.key == *key)?;
        let run = entry.loading.remove(position);
        entry.uncount_running(&run);
        Some(run)
    }

    /// A run that was taken out of its queue can't be started: it takes nobody's place.
    pub(crate) fn run_unavailable(&mut self, key: &RunKey, now: Timestamp) {
        let run = self.no_longer_loading(key);
        if let (Some(run), Some(entry)) = (run, self.dags.get_mut(&key.dag_id)) {
            entry.unavailable.push(run);
        }
        self.start_queued_runs(&key.dag_id, now);
    }

    /// At start: a run that was running waits for its Dag to change. Its backfill is not complete before.
    pub(crate) fn run_unreadable(&mut self, run: DagRun) {
        if let Some(entry) = self.dags.get_mut(&run.key.dag_id) {
            entry.unavailable.push(run);
        }
    }

    fn start_run(&mut self, mut loaded: LoadedRun, now: Timestamp, decisions: &mut Decisions) {
        if loaded.run.state == DagRunState::Queued {
            loaded.run.state = DagRunState::Running;
            loaded.run.start_date = Some(now);
            loaded.run.last_scheduling_decision = Some(now);
            put(decisions, &loaded.run, Change::Run);
            let dag = std::sync::Arc::clone(&loaded.structure.dag);
            self.tell_of_start(&dag, &loaded.run, now, decisions);
        }
        let serial = self.next_serial();
        if let Some(entry) = self.dags.get_mut(&loaded.run.key.dag_id) {
            entry.count_running(&loaded.run);
            entry.started.push(serial);
        }
        let state = RunState::new(loaded);
        self.set_run_timers(serial, &state, now);
        self.run_serials.insert(state.run.key.clone(), serial);
        let tasks = state.refs(serial);
        self.new_run_before_others(&state.run);
        self.runs.insert(serial, state);
        self.touched.push(serial);
        self.weigh_run(serial);
        for task in tasks {
            self.resume(task, now, decisions);
        }
    }

    pub(crate) fn next_serial(&mut self) -> RunSerial {
        let serial = RunSerial(self.next_serial);
        self.next_serial += 1;
        serial
    }

    pub(crate) fn set_run_timers(&mut self, serial: RunSerial, state: &RunState, now: Timestamp) {
        if let Some(at) = timeout_of(state) {
            self.timers.set(at, Timer::RunTimeout(serial));
        }
        if let Some(logical_date) = state.run.logical_date.filter(|logical_date| *logical_date > now) {
            self.timers.set(logical_date, Timer::LogicalDate(serial));
        }
    }

    /// A run was started before its logical date, and now that has come.
    pub(crate) fn logical_date_is_due(&mut self, serial: RunSerial) {
        if let Some(state) = self.runs.get(&serial) {
            self.dirty.extend(state.refs(serial));
            self.touched.push(serial);
        }
    }

    /// Ends the runs that have nothing left to do.
    pub(crate) fn finish_touched_runs(&mut self, now: Timestamp, decisions: &mut Decisions) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for serial in touched {
            let Some(state) = self.runs.get(&serial) else { continue };
            let hold = self.hold(state, now);
            let end = if hold == Hold::Everything {
                None
            } else if state.unfinished == 0 {
                let failed = state.failed_leaves > 0;
                Some(if failed { (DagRunState::Failed, "task_failure") } else { (DagRunState::Success, "success") })
            } else if hold == Hold::Nothing && is_deadlocked(state) {
                Some((DagRunState::Failed, "all_tasks_deadlocked"))
            } else {
                None
            };
            if let Some((end, reason)) = end {
                self.finish_run(serial, end, reason, None, now, decisions);
            }
        }
    }

    /// Ends a run that is under way; gives it as it is then. Its callbacks are told of `last`, if that is known.
    pub(crate) fn finish_run(
        &mut self,
        serial: RunSerial,
        end: DagRunState,
        reason: &'static str,
        last: Option<TryName>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> Option<DagRun> {
        let mut state = self.runs.remove(&serial)?;
        state.run.state = end;
        state.run.end_date = Some(now);
        state.run.last_scheduling_decision = Some(now);
        put(decisions, &state.run, Change::Run);
        self.call_for_run(&state, last, reason, now, decisions);
        self.tell_of_end(&state.dag, &state.run, reason, now, decisions);
        if end == DagRunState::Success {
            self.deadlines_met(&state.run, decisions);
        }
        self.run_serials.remove(&state.run.key);
        self.keep_as_previous(serial, &state);
        self.run_ended_in_dag(serial, &state.run, reason, now);
        decisions.actions.push(Action::RunFinished { run: Box::new(state.run.clone()), reason });
        Some(state.run)
    }

    /// Ends a run that has taken too long. One whose Dag is paused or gone is looked at when the Dag goes on.
    pub(crate) fn run_timed_out(&mut self, serial: RunSerial, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&serial) else { return };
        match timeout_of(state) {
            Some(at) if at <= now && !self.is_dag_held(&state.run.key.dag_id) => {}
            _ => return,
        }
        let last = self.last_unfinished(state);
        for task in state.refs(serial) {
            self.force(task, TaskTransition::TimeOut, StopReason::RunTimedOut, now, decisions);
        }
        self.finish_run(serial, DagRunState::Failed, "timed_out", last, now, decisions);
    }
}

/// When a run will have taken longer than its Dag allows.
pub(crate) fn timeout_of(state: &RunState) -> Option<Timestamp> {
    let (timeout, start) = (state.dag.dagrun_timeout?, state.run.start_date?);
    Some(start.saturating_add(timeout).unwrap_or(Timestamp::MAX))
}

/// Whether a task takes part in a run: its own dates say so.
pub(crate) fn belongs_to_run(task: &Task, run: &DagRun) -> bool {
    let Some(logical_date) = run.logical_date else { return true };
    run.run_type == RunType::Backfill
        || (task.start_date.is_none_or(|start| start <= logical_date)
            && task.end_date.is_none_or(|end| logical_date <= end))
}

/// Nothing happens any more, and nothing outside of the run can change that.
fn is_deadlocked(state: &RunState) -> bool {
    let is_live = state.live as usize > state.stalled.len();
    if is_live || state.unfinished == 0 || !state.asked_lengths.is_empty() || !state.weighing.is_empty() {
        return false;
    }
    !state.dag.indices().any(|task| waits_outside(&state.dag, task) && !state.tasks[task.at()].is_over())
}

/// The instances that a task begins with: all of them if their number is known, and otherwise one that stands for them.
pub(crate) fn map_indexes(count: Option<u64>, task: &Task) -> impl Iterator<Item = MapIndex> + use<> {
    let known = count.filter(|count| task.needs_expansion() && (1..=MAX_INSTANCES).contains(count));
    let indexes = known.map_or(-1..0, |count| 0..i32::try_from(count).unwrap_or(i32::MAX));
    indexes.map(MapIndex)
}

/// Whether a task may wait for something that is not in its run.
fn waits_outside(dag: &Dag, task: TaskIndex) -> bool {
    let task = dag.task(task);
    task.depends_on_past || task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some()
}

/// Whether the engine ends a task by itself as soon as it may run.
pub(crate) fn is_empty(task: &Task) -> bool {
    matches!(task.execution, Execution::Empty)
}
