//! The life of a run: made, queued, started, ended.

use std::sync::Arc;

use jiff::Timestamp;
use model::transition::TaskTransition;
use model::{
    Change, Dag, DagId, DagRun, DagRunState, Execution, MapIndex, RunKey, RunType, Task, TaskIndex, TaskInstance,
    TaskState,
};

use crate::dags::counts_as_active;
use crate::event::{Action, Decisions, LoadedRun, Need, NewRun, StopReason, Trigger, TriggerError};
use crate::run_state::{RunSerial, RunState};
use crate::timers::Timer;
use crate::{Scheduler, put};

impl Scheduler {
    /// Makes a run that somebody asked for. Whether the store has one with the same id or date was checked before;
    /// what is not written yet is checked here.
    pub(crate) fn trigger(&mut self, trigger: Trigger, now: Timestamp, decisions: &mut Decisions) {
        let Trigger { reply, run, dag } = trigger;
        let answer = match self.trigger_error(&dag.dag_id, &run) {
            Some(error) => Err(error),
            None => Ok(Box::new(self.create_run(run, dag, now, decisions))),
        };
        decisions.actions.push(Action::Reply { to: reply, answer });
    }

    fn trigger_error(&self, dag_id: &DagId, run: &NewRun) -> Option<TriggerError> {
        let entry = match self.dags.get(dag_id) {
            None => return Some(TriggerError::UnknownDag(dag_id.clone())),
            Some(entry) => entry,
        };
        let key = RunKey::new(dag_id.clone(), run.run_id.clone());
        if self.run_serials.contains_key(&key) || entry.queued.values().any(|queued| queued.key == key) {
            return Some(TriggerError::RunIdTaken { dag_id: dag_id.clone(), run_id: run.run_id.clone() });
        }
        let logical_date = run.logical_date?;
        let taken = entry.queued.values().any(|queued| queued.logical_date == Some(logical_date))
            || self
                .runs
                .values()
                .any(|active| active.run.key.dag_id == *dag_id && active.run.logical_date == Some(logical_date));
        taken.then(|| TriggerError::LogicalDateTaken { dag_id: dag_id.clone(), logical_date })
    }

    /// Makes a run with all its task instances, and starts it if it may start. Returns it as it was when it was made.
    pub(crate) fn create_run(
        &mut self,
        new: NewRun,
        dag: Arc<Dag>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) -> DagRun {
        let (version, bundle_version) = match self.dags.get(&dag.dag_id) {
            Some(entry) => (entry.facts.version, entry.facts.bundle_version.clone()),
            None => (self.ids.version(now), None),
        };
        let run = DagRun {
            key: RunKey { dag_id: dag.dag_id.clone(), run_id: new.run_id },
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
            version,
            bundle_version,
        };
        let task_instances = self.new_task_instances(&run, &dag, now);
        for ti in &task_instances {
            put(decisions, ti, Change::TaskInstance);
        }
        if self.may_start(&run, now) {
            let loaded = LoadedRun { run: run.clone(), dag, task_instances, skips: Vec::new() };
            self.start_run(loaded, now, decisions);
        } else {
            put(decisions, &run, Change::Run);
            self.new_run_before_others(&run, &dag);
            self.enqueue_run(run.clone(), now);
        }
        run
    }

    fn new_task_instances(&mut self, run: &DagRun, dag: &Dag, now: Timestamp) -> Vec<TaskInstance> {
        dag.indices()
            .filter(|task| belongs_to_run(dag.task(*task), run))
            .map(|task| self.new_task_instance(run, dag, task, MapIndex::NONE, now))
            .collect()
    }

    pub(crate) fn new_task_instance(
        &mut self,
        run: &DagRun,
        dag: &Dag,
        task: TaskIndex,
        map_index: MapIndex,
        now: Timestamp,
    ) -> TaskInstance {
        let priority_weight = dag.weight(task);
        let task = dag.task(task);
        TaskInstance {
            id: self.ids.task_instance(now),
            run: run.key.clone(),
            task_id: task.task_id.clone(),
            map_index,
            state: TaskState::None,
            try_number: 0,
            max_tries: task.retries,
            version: run.version,
            operator: task.operator.as_str().into(),
            operator_name: task.operator_name.as_str().into(),
            pool: task.pool.as_str().into(),
            pool_slots: task.pool_slots,
            queue: task.queue.as_str().into(),
            priority_weight,
            executor: task.executor.as_deref().map(Arc::from),
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
        !self.draining
            && !entry.facts.paused
            && earliest_start(run) <= now
            && (!counts_as_active(run) || entry.running < entry.facts.limits.max_active_runs)
    }

    fn enqueue_run(&mut self, run: DagRun, now: Timestamp) {
        let due = earliest_start(&run);
        if due > now {
            self.timers.set(due, Timer::RunAfter(run.key.clone()));
        }
        if let Some(entry) = self.dags.get_mut(&run.key.dag_id) {
            entry.queued_count += 1;
            entry.queued.insert((run.run_after, entry.queued_count), run);
        }
    }

    /// At start: a run that was queued before.
    pub(crate) fn run_found(&mut self, run: DagRun, now: Timestamp) {
        let dag_id = run.key.dag_id.clone();
        self.enqueue_run(run, now);
        self.ask_for_queued_runs(&dag_id, now);
    }

    pub(crate) fn queued_run_is_due(&mut self, key: &RunKey, now: Timestamp, decisions: &mut Decisions) {
        self.start_queued_runs(&key.dag_id, now, decisions);
    }

    /// Fetches the queued runs of a Dag that there is room for.
    pub(crate) fn start_queued_runs(&mut self, dag_id: &DagId, now: Timestamp, _decisions: &mut Decisions) {
        self.ask_for_queued_runs(dag_id, now);
    }

    fn ask_for_queued_runs(&mut self, dag_id: &DagId, now: Timestamp) {
        loop {
            let Some(entry) = self.dags.get(dag_id) else { return };
            let Some(position) = entry.queued.iter().find(|(_, run)| self.may_start(run, now)).map(|(key, _)| *key)
            else {
                return;
            };
            let Some(entry) = self.dags.get_mut(dag_id) else { return };
            if let Some(run) = entry.queued.remove(&position) {
                // It counts as running from here on, so that no other takes its place while it is fetched.
                entry.running += u32::from(counts_as_active(&run));
                self.needs.push(Need::Run(run.key));
            }
        }
    }

    /// A run's task instances are there: one that waited for its turn, or one that was running at the last end.
    pub(crate) fn run_loaded(&mut self, loaded: LoadedRun, now: Timestamp, decisions: &mut Decisions) {
        if let Some(entry) = self.dags.get_mut(&loaded.run.key.dag_id)
            && loaded.run.state == DagRunState::Queued
        {
            // `start_run` counts it again.
            entry.running = entry.running.saturating_sub(u32::from(counts_as_active(&loaded.run)));
        }
        self.start_run(loaded, now, decisions);
    }

    /// A run that was taken out of its queue can't be started: it takes nobody's place.
    pub(crate) fn run_unavailable(&mut self, key: &RunKey, now: Timestamp, decisions: &mut Decisions) {
        if let Some(entry) = self.dags.get_mut(&key.dag_id) {
            entry.running = entry.running.saturating_sub(1);
        }
        self.start_queued_runs(&key.dag_id, now, decisions);
    }

    fn start_run(&mut self, mut loaded: LoadedRun, now: Timestamp, decisions: &mut Decisions) {
        if loaded.run.state == DagRunState::Queued {
            loaded.run.state = DagRunState::Running;
            loaded.run.start_date = Some(now);
            loaded.run.last_scheduling_decision = Some(now);
            put(decisions, &loaded.run, Change::Run);
        }
        let serial = RunSerial(self.next_serial);
        self.next_serial += 1;
        if let Some(entry) = self.dags.get_mut(&loaded.run.key.dag_id) {
            entry.running += u32::from(counts_as_active(&loaded.run));
            entry.started.push(serial);
        }
        if let (Some(timeout), Some(start)) = (loaded.dag.dagrun_timeout, loaded.run.start_date) {
            let at = start.saturating_add(timeout).unwrap_or(Timestamp::MAX);
            self.timers.set(at, Timer::RunTimeout(serial));
        }
        self.run_serials.insert(loaded.run.key.clone(), serial);
        let state = RunState::new(loaded);
        let tasks = state.refs(serial);
        self.new_run_before_others(&state.run, &state.dag);
        self.runs.insert(serial, state);
        self.touched.push(serial);
        for task in tasks {
            self.resume(task, now, decisions);
        }
    }

    /// Ends the runs that have nothing left to do.
    pub(crate) fn finish_touched_runs(&mut self, now: Timestamp, decisions: &mut Decisions) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for serial in touched {
            let Some(state) = self.runs.get(&serial) else { continue };
            let end = if state.unfinished == 0 {
                let failed = state.failed_leaves > 0;
                Some(if failed { (DagRunState::Failed, "task_failure") } else { (DagRunState::Success, "success") })
            } else if is_deadlocked(state) {
                Some((DagRunState::Failed, "all_tasks_deadlocked"))
            } else {
                None
            };
            if let Some((end, reason)) = end {
                self.finish_run(serial, end, reason, now, decisions);
            }
        }
    }

    fn finish_run(
        &mut self,
        serial: RunSerial,
        end: DagRunState,
        reason: &'static str,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(mut state) = self.runs.remove(&serial) else { return };
        state.run.state = end;
        state.run.end_date = Some(now);
        state.run.last_scheduling_decision = Some(now);
        put(decisions, &state.run, Change::Run);
        self.run_serials.remove(&state.run.key);
        self.keep_as_previous(serial, &state);
        self.run_ended_in_dag(serial, &state.run, now, decisions);
        decisions.actions.push(Action::RunFinished { run: Box::new(state.run), reason });
    }

    pub(crate) fn run_timed_out(&mut self, serial: RunSerial, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&serial) else { return };
        for task in state.refs(serial) {
            self.force(task, TaskTransition::TimeOut, StopReason::RunTimedOut, now, decisions);
        }
        self.finish_run(serial, DagRunState::Failed, "timed_out", now, decisions);
    }
}

/// A run does not begin before its logical date either.
fn earliest_start(run: &DagRun) -> Timestamp {
    run.logical_date.map_or(run.run_after, |logical_date| logical_date.max(run.run_after))
}

/// Whether a task takes part in a run: its own dates say so.
fn belongs_to_run(task: &Task, run: &DagRun) -> bool {
    let Some(logical_date) = run.logical_date else { return true };
    run.run_type == RunType::Backfill
        || (task.start_date.is_none_or(|start| start <= logical_date)
            && task.end_date.is_none_or(|end| logical_date <= end))
}

/// Nothing happens any more, and nothing outside of the run can change that.
fn is_deadlocked(state: &RunState) -> bool {
    if state.live > 0 || state.unfinished == 0 {
        return false;
    }
    let waits_outside = |task: &Task| {
        task.depends_on_past || task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some()
    };
    !state.dag.indices().any(|task| {
        waits_outside(state.dag.task(task))
            && state.tasks[task.at()].instances.iter().any(|instance| !instance.ti.state.is_finished())
    })
}

/// Whether the engine ends a task by itself as soon as it may run.
pub(crate) fn is_empty(task: &Task) -> bool {
    matches!(task.execution, Execution::Empty)
}
