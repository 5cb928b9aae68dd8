//! Callbacks of Dags, and those of tasks whose processes could not call them.

use jiff::Timestamp;
use model::{Call, Callback, Change, DagRun, TaskInstance, TaskState, TryName};

use crate::Scheduler;
use crate::event::{Action, Decisions};
use crate::run_state::{RunState, TaskRef};

/// What Airflow says of a process that it finds dead.
const KILLED: &str = "The task's process ended without saying how the task ended";
const TRIGGERED: &str = "The task's trigger has failed the task";

impl Scheduler {
    /// A run has come to its end by itself (`DagRun.update_state`).
    pub(crate) fn call_for_run(
        &mut self,
        state: &RunState,
        last: Option<TryName>,
        reason: &'static str,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let (wanted, call) = match reason {
            "success" => (state.dag.has_on_success_callback, Call::DagSuccess),
            "task_failure" | "all_tasks_deadlocked" | "timed_out" => {
                (state.dag.has_on_failure_callback, Call::DagFailure)
            }
            // Airflow calls nobody when people have ended it.
            _ => return,
        };
        if !wanted {
            return;
        }
        let of = last.or_else(|| relevant(state, reason).map(name_of));
        self.call(&state.run, call, of, reason.to_owned(), now, decisions);
    }

    /// A task has failed, and its process has not told anybody.
    pub(crate) fn call_for_task(
        &mut self,
        task: TaskRef,
        will_retry: bool,
        triggered: bool,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let notices = state.dag.task(task.task).notices;
        let calls = match will_retry {
            true => [(notices.on_retry, Call::TaskRetry), (notices.email_on_retry, Call::EmailRetry)],
            false => [(notices.on_failure, Call::TaskFailure), (notices.email_on_failure, Call::EmailFailure)],
        };
        // Airflow sends no e-mails about what triggers have decided.
        let wanted = calls
            .into_iter()
            .filter(|(wanted, call)| *wanted && !(triggered && matches!(call, Call::EmailRetry | Call::EmailFailure)));
        let message = if triggered { TRIGGERED } else { KILLED };
        let (run, of) = (state.run.clone(), name_of(state.ti(task)));
        for (_, call) in wanted {
            self.call(&run, call, Some(of.clone()), message.to_owned(), now, decisions);
        }
    }

    pub(crate) fn call(
        &mut self,
        run: &DagRun,
        call: Call,
        of: Option<TryName>,
        message: String,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let id = self.ids.callback(now);
        let callback = Callback { id, run: run.key.clone(), created_at: now, call, of, message };
        decisions.changes.push(Change::CallbackDue(Box::new(callback.clone())));
        decisions.actions.push(Action::Call { callback: Box::new(callback), run: Some(Box::new(run.clone())) });
    }

    /// The one of a run's unfinished task instances that began last: what a run that took too long is told by.
    pub(crate) fn last_unfinished(&self, state: &RunState) -> Option<TryName> {
        let unfinished = instances(state).filter(|ti| !ti.state.is_finished());
        first_max(unfinished, |ti| ti.start_date).map(name_of)
    }
}

fn name_of(ti: &TaskInstance) -> TryName {
    TryName { task_id: ti.task_id.clone(), map_index: ti.map_index, id: ti.id }
}

fn instances(state: &RunState) -> impl Iterator<Item = &TaskInstance> {
    state.tasks.iter().flat_map(|slot| slot.instances.iter().map(|instance| &instance.ti))
}

/// Python's `max`: of several the first one, and what has no moment comes before all that has.
fn first_max<'a>(
    all: impl Iterator<Item = &'a TaskInstance>,
    moment: impl Fn(&TaskInstance) -> Option<Timestamp>,
) -> Option<&'a TaskInstance> {
    all.reduce(|best, ti| if moment(ti) > moment(best) { ti } else { best })
}

/// The task instance that the callback is told of.
fn relevant<'a>(state: &'a RunState, reason: &str) -> Option<&'a TaskInstance> {
    let last_in = |wanted: TaskState| first_max(instances(state).filter(|ti| ti.state == wanted), |ti| ti.end_date);
    match reason {
        "success" => last_in(TaskState::Success),
        "task_failure" => last_in(TaskState::Failed),
        _ => {
            // One that is stuck behind something that has finished.
            let is_blocked = |task: &model::TaskIndex| {
                let above = &state.dag.task(*task).upstream;
                above.iter().any(|above| state.tasks[above.at()].is_finished())
            };
            let blocked = state.dag.indices().filter(is_blocked);
            let of_task = |task: model::TaskIndex| state.tasks[task.at()].instances.iter().map(|found| &found.ti);
            blocked.flat_map(of_task).find(|ti| !ti.state.is_finished())
        }
    }
}
