//! `depends_on_past` and `wait_for_downstream`: what a task instance waits for in the run before.

use model::{Dag, DagRun, RunType, Task, TaskIndex, TaskState};

use crate::Scheduler;
use crate::event::{Need, PreviousRun};
use crate::run_state::{Previous, RunSerial, RunState, TaskRef};

impl Scheduler {
    /// Whether the run before lets this task instance run.
    pub(crate) fn past_allows(&mut self, task: TaskRef) -> bool {
        let Some(state) = self.runs.get(&task.run) else { return false };
        !state.dag.task(task.task).depends_on_past || self.past_is_met(task)
    }

    /// Whether a task instance that is to be skipped may be skipped now.
    pub(crate) fn may_be_skipped(&mut self, task: TaskRef) -> bool {
        let Some(state) = self.runs.get(&task.run) else { return false };
        let definition = state.dag.task(task.task);
        !(definition.depends_on_past && definition.wait_for_past_depends_before_skipping) || self.past_is_met(task)
    }

    fn past_is_met(&mut self, task: TaskRef) -> bool {
        let Some(state) = self.runs.get(&task.run) else { return false };
        let definition = state.dag.task(task.task);
        match &state.previous {
            Previous::Asked => false,
            Previous::None => true,
            Previous::Finished(previous) => finished_allows(state, definition, previous),
            Previous::Active(serial) => match self.runs.get(serial) {
                Some(previous) => active_allows(state, task.task, previous),
                None => false,
            },
            Previous::Unknown => {
                let Some(logical_date) = state.run.logical_date else {
                    // A run without a date has no run before it.
                    return true;
                };
                let scheduled_only = state.dag.catchup;
                self.needs.push(Need::PreviousRun { run: state.run.key.clone(), logical_date, scheduled_only });
                if let Some(state) = self.runs.get_mut(&task.run) {
                    state.previous = Previous::Asked;
                }
                false
            }
        }
    }

    pub(crate) fn previous_loaded(&mut self, run: &model::RunKey, previous: Option<PreviousRun>) {
        let Some(serial) = self.run_serials.get(run).copied() else { return };
        // A run that was made since may have come between; then the question is asked again.
        if !self.runs.get(&serial).is_some_and(|state| matches!(state.previous, Previous::Asked)) {
            return;
        }
        let known = match previous {
            None => Previous::None,
            Some(previous) => match self.run_serials.get(&previous.key) {
                Some(active) => Previous::Active(*active),
                None => Previous::Finished(Box::new(previous)),
            },
        };
        if let Previous::Active(before) = known
            && let Some(before) = self.runs.get_mut(&before)
        {
            before.later.push(serial);
        }
        let Some(state) = self.runs.get_mut(&serial) else { return };
        state.previous = known;
        self.dirty.extend(state.refs(serial));
    }

    /// A run has ended: those after it keep what they need of it.
    pub(crate) fn keep_as_previous(&mut self, serial: RunSerial, ended: &RunState) {
        for later in &ended.later {
            let Some(state) = self.runs.get_mut(later) else { continue };
            if matches!(state.previous, Previous::Active(previous) if previous == serial) {
                state.previous = Previous::Finished(Box::new(PreviousRun {
                    key: ended.run.key.clone(),
                    logical_date: ended.run.logical_date,
                    task_instances: ended
                        .tasks
                        .iter()
                        .flat_map(|slot| &slot.instances)
                        .map(|instance| (instance.ti.task_id.clone(), instance.ti.state))
                        .collect(),
                    first_timers: Vec::new(),
                }));
            }
        }
    }

    /// A new run may be the one before others: they ask again.
    pub(crate) fn new_run_before_others(&mut self, new: &DagRun, dag: &Dag) {
        if !dag.depends_on_past() || new.logical_date.is_none() {
            return;
        }
        let Some(entry) = self.dags.get(&new.key.dag_id) else { return };
        for serial in entry.started.clone() {
            let Some(state) = self.runs.get_mut(&serial) else { continue };
            if state.run.logical_date > new.logical_date {
                state.previous = Previous::Unknown;
                self.dirty.extend(state.refs(serial));
            }
        }
    }

    /// A task instance has ended: in runs that have this one before them, its task is looked at again, and with
    /// `wait_for_downstream` the tasks above it.
    pub(crate) fn wake_later_runs(&mut self, task: TaskRef) {
        let Some(ended) = self.runs.get(&task.run) else { return };
        let task_id = &ended.dag.task(task.task).task_id;
        for serial in &ended.later {
            let Some(state) = self.runs.get(serial) else { continue };
            let Some(same) = state.dag.find(task_id.as_str()) else { continue };
            for woken in std::iter::once(&same).chain(&state.dag.task(same).upstream) {
                self.dirty.extend(state.refs_of(*serial, *woken));
            }
        }
    }
}

fn is_done(state: TaskState) -> bool {
    matches!(state, TaskState::Success | TaskState::Skipped)
}

fn finished_allows(state: &RunState, task: &Task, previous: &PreviousRun) -> bool {
    let of_task = |task_id| previous.task_instances.iter().filter(move |(other, _)| other == task_id);
    if is_first_by_date(state, task, previous) {
        return true;
    }
    if of_task(&task.task_id).next().is_none() {
        return task.ignore_first_depends_on_past && previous.first_timers.contains(&task.task_id);
    }
    let mut own = of_task(&task.task_id);
    own.all(|(_, state)| is_done(*state))
        && (!task.wait_for_downstream
            || task
                .downstream
                .iter()
                .all(|below| of_task(&state.dag.task(*below).task_id).all(|(_, state)| is_done(*state))))
}

/// With catchup, a task that starts later than the run before does not wait for it.
fn is_first_by_date(state: &RunState, task: &Task, previous: &PreviousRun) -> bool {
    state.dag.catchup
        && match (task.start_date, previous.logical_date) {
            (Some(start), Some(logical_date)) => logical_date < start,
            _ => false,
        }
}

fn active_allows(state: &RunState, task: TaskIndex, previous: &RunState) -> bool {
    let definition = state.dag.task(task);
    let all_done = |task_id: &str| {
        let Some(index) = previous.dag.find(task_id) else { return None };
        let instances = &previous.tasks[index.at()].instances;
        (!instances.is_empty()).then(|| instances.iter().all(|instance| is_done(instance.ti.state)))
    };
    let catchup_first = state.dag.catchup
        && previous.run.run_type != RunType::Manual
        && matches!((definition.start_date, previous.run.logical_date), (Some(start), Some(date)) if date < start);
    if catchup_first {
        return true;
    }
    match all_done(definition.task_id.as_str()) {
        None => definition.ignore_first_depends_on_past,
        Some(false) => false,
        Some(true) => {
            !definition.wait_for_downstream
                || definition
                    .downstream
                    .iter()
                    .all(|below| all_done(state.dag.task(*below).task_id.as_str()).unwrap_or(true))
        }
    }
}
