//! `depends_on_past` and `wait_for_downstream`: what a task instance waits for in the run before.

use jiff::Timestamp;
use model::{Dag, DagRun, Task, TaskId, TaskIndex};

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
        // A backfill begins by itself.
        if state.run.backfill.is_some_and(|place| place.ordinal == 1) {
            return true;
        }
        match &state.previous {
            Previous::Asked => false,
            Previous::None => true,
            Previous::Finished(previous) => finished_allows(state, task.task, previous),
            Previous::Active(serial) => match self.runs.get(serial) {
                Some(previous) => active_allows(state, task.task, previous),
                None => false,
            },
            Previous::Unknown => {
                let Some(logical_date) = state.run.logical_date else {
                    // A run without a date has no run before it.
                    return true;
                };
                self.needs.push(Need::PreviousRun {
                    run: state.run.key.clone(),
                    logical_date,
                    scheduled_only: state.dag.catchup,
                    newcomers: newcomers(&state.dag),
                });
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
        let first_timers = previous.as_ref().map(|previous| previous.first_timers.clone()).unwrap_or_default();
        let known = match previous {
            None => Previous::None,
            Some(previous) => match self.run_serials.get(&previous.key) {
                Some(active) => Previous::Active(*active),
                None => Previous::Finished(Box::new(previous)),
            },
        };
        if let Previous::Active(before) = known
            && let Some(before) = self.runs.get_mut(&before)
            && !before.later.contains(&serial)
        {
            before.later.push(serial);
        }
        let Some(state) = self.runs.get_mut(&serial) else { return };
        state.previous = known;
        state.first_timers = first_timers;
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
                    tasks: ended
                        .dag
                        .indices()
                        .filter_map(|task| {
                            let all_succeeded = ended.tasks[task.at()].all_succeeded()?;
                            Some((ended.dag.task(task).task_id.clone(), all_succeeded))
                        })
                        .collect(),
                    first_timers: Vec::new(),
                }));
            }
        }
    }

    /// A new run may be the one before others: they ask again.
    pub(crate) fn new_run_before_others(&mut self, new: &DagRun) {
        if new.logical_date.is_none() {
            return;
        }
        let Some(entry) = self.dags.get(&new.key.dag_id) else { return };
        for serial in &entry.started {
            let Some(state) = self.runs.get_mut(serial) else { continue };
            if state.dag.depends_on_past() && state.run.logical_date > new.logical_date {
                state.previous = Previous::Unknown;
                self.dirty.extend(state.refs(*serial));
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

/// Tasks that do not wait for a run before if they are new.
fn newcomers(dag: &Dag) -> Vec<TaskId> {
    let is_newcomer = |task: &&Task| task.depends_on_past && task.ignore_first_depends_on_past;
    dag.tasks().iter().filter(is_newcomer).map(|task| task.task_id.clone()).collect()
}

/// The rules of Airflow's `PrevDagrunDep`. `done` says whether every instance of a task in the run before has succeeded
/// or was skipped; `None` if there is none.
fn allows(
    state: &RunState,
    task: TaskIndex,
    previous_date: Option<Timestamp>,
    done: impl Fn(&TaskId) -> Option<bool>,
) -> bool {
    let definition = state.dag.task(task);
    // With catchup, a task that starts later than the run before does not wait for it.
    let starts_later =
        matches!((definition.start_date, previous_date), (Some(start), Some(previous)) if previous < start);
    if state.dag.catchup && starts_later {
        return true;
    }
    match done(&definition.task_id) {
        None => definition.ignore_first_depends_on_past && state.first_timers.contains(&definition.task_id),
        Some(false) => false,
        Some(true) => {
            !definition.wait_for_downstream
                || definition.downstream.iter().all(|below| done(&state.dag.task(*below).task_id).unwrap_or(true))
        }
    }
}

fn finished_allows(state: &RunState, task: TaskIndex, previous: &PreviousRun) -> bool {
    allows(state, task, previous.logical_date, |task_id| previous.tasks.get(task_id).copied())
}

fn active_allows(state: &RunState, task: TaskIndex, previous: &RunState) -> bool {
    allows(state, task, previous.run.logical_date, |task_id| {
        previous.tasks[previous.dag.find(task_id.as_str())?.at()].all_succeeded()
    })
}
