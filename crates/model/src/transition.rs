//! How a task instance may move from state to state: one table, and a typed error for every pair that it lacks.

use crate::state::TaskState;

/// What can happen to a task instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TaskTransition {
    /// What it waits for is met.
    Schedule,
    /// A slot was found; an attempt is on its way to a worker.
    Queue,
    /// Its process runs.
    Start,
    Succeed,
    Fail,
    /// Failed with a try left.
    Retry,
    /// Itself, a branch above it or its trigger rule decided that it does not run.
    Skip,
    /// Its trigger rule can no longer be met because something above it failed.
    UpstreamFail,
    /// Its task is no longer part of the run.
    Remove,
    /// Waits for a trigger, outside of any process.
    Defer,
    /// Waits for a person.
    AwaitInput,
    /// Asked to be run again at a later moment.
    Reschedule,
    /// What it was waiting for outside of a process has happened.
    Resume,
    /// Its process was lost for a reason that is not the task's own.
    Interrupt,
    /// Is to be run again. What executes is asked to end first.
    Clear,
    /// What executed when it was cleared has ended.
    Restart,
    /// Another task failed in a Dag with `fail_fast`.
    FailFast,
    /// Its run took longer than `dagrun_timeout`.
    TimeOut,
    /// Somebody has ended its run, and it is to look like that, or has given it this state.
    MarkSuccess,
    MarkFailed,
    MarkSkipped,
}

impl TaskTransition {
    pub const ALL: [TaskTransition; 21] = [
        TaskTransition::Schedule,
        TaskTransition::Queue,
        TaskTransition::Start,
        TaskTransition::Succeed,
        TaskTransition::Fail,
        TaskTransition::Retry,
        TaskTransition::Skip,
        TaskTransition::UpstreamFail,
        TaskTransition::Remove,
        TaskTransition::Defer,
        TaskTransition::AwaitInput,
        TaskTransition::Reschedule,
        TaskTransition::Resume,
        TaskTransition::Interrupt,
        TaskTransition::Clear,
        TaskTransition::Restart,
        TaskTransition::FailFast,
        TaskTransition::TimeOut,
        TaskTransition::MarkSuccess,
        TaskTransition::MarkFailed,
        TaskTransition::MarkSkipped,
    ];

    /// Whether a person decided it.
    pub fn is_by_hand(self) -> bool {
        matches!(self, TaskTransition::MarkSuccess | TaskTransition::MarkFailed | TaskTransition::MarkSkipped)
    }
}

/// A transition that the table does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a task instance that is {state} has no transition {transition:?}")]
pub struct NoTransition {
    pub state: TaskState,
    pub transition: TaskTransition,
}

/// The state that follows, or the error that this pair does not exist.
pub fn next_state(state: TaskState, transition: TaskTransition) -> Result<TaskState, NoTransition> {
    use TaskState as S;
    use TaskTransition as T;
    Ok(match (transition, state) {
        (T::Schedule, S::None | S::UpForRetry | S::UpForReschedule) => S::Scheduled,
        (T::Queue, S::Scheduled) => S::Queued,
        (T::Start, S::Queued) => S::Running,

        (T::Succeed, S::Running) => S::Success,
        // An EmptyOperator succeeds without ever having been scheduled; it may have been another operator before.
        (T::Succeed, S::None | S::UpForRetry | S::UpForReschedule) => S::Success,
        // A queued attempt fails when its process can't be started.
        (T::Fail, S::Queued | S::Running) => S::Failed,
        (T::Retry, S::Queued | S::Running) => S::UpForRetry,
        // A trigger may end its task without letting it run again.
        (T::Succeed, S::Deferred) => S::Success,
        (T::Fail, S::Deferred) => S::Failed,
        (T::Retry, S::Deferred) => S::UpForRetry,

        (T::Skip, S::None | S::Scheduled | S::Running | S::UpForRetry | S::UpForReschedule) => S::Skipped,
        // A branch may speak when another task has already had its say.
        (T::Skip, S::UpstreamFailed | S::Removed | S::Deferred | S::AwaitingInput) => S::Skipped,
        (T::UpstreamFail, S::None | S::UpForRetry | S::UpForReschedule) => S::UpstreamFailed,
        (T::Remove, _) => S::Removed,

        (T::Defer, S::Running) => S::Deferred,
        // A task that starts from its trigger never had a process.
        (T::Defer, S::None | S::UpForRetry | S::UpForReschedule) => S::Deferred,
        (T::AwaitInput, S::Running) => S::AwaitingInput,
        (T::Reschedule, S::Running) => S::UpForReschedule,
        (T::Resume, S::Deferred | S::AwaitingInput) => S::Scheduled,

        (T::Interrupt, S::Queued | S::Running) => S::Scheduled,

        // What is queued is on its way to a worker, and may run by now.
        (T::Clear, S::Queued | S::Running | S::Restarting) => S::Restarting,
        (T::Clear, _) => S::None,
        (T::Restart, S::Restarting) => S::None,

        (T::FailFast, S::Running) => S::Failed,
        (T::FailFast, S::UpstreamFailed | S::Removed) => S::Skipped,
        (T::FailFast | T::TimeOut, state) if !state.is_finished() => S::Skipped,

        // Instances of a mapped task share what is decided about those that run.
        (T::MarkSuccess, state) if state != S::Success => S::Success,
        (T::MarkFailed, state) if state != S::Failed => S::Failed,
        (T::MarkSkipped, state) if state != S::Skipped => S::Skipped,

        _ => return Err(NoTransition { state, transition }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair, written out once by hand: `-` stands for a pair that must not exist.
    /// Columns are the states in the order of `TaskState::ALL`.
    const TABLE: &str = "
        Schedule     scheduled - - - - - - scheduled scheduled - - - - -
        Queue        - queued - - - - - - - - - - - -
        Start        - - running - - - - - - - - - - -
        Succeed      success - - success - - - success success - - - success -
        Fail         - - failed failed - - - - - - - - failed -
        Retry        - - up_for_retry up_for_retry - - - - - - - - up_for_retry -
        Skip         skipped skipped - skipped - - - skipped skipped skipped - skipped skipped skipped
        UpstreamFail upstream_failed - - - - - - upstream_failed upstream_failed - - - - -
        Remove       removed removed removed removed removed removed removed removed removed removed removed removed removed removed
        Defer        deferred - - deferred - - - deferred deferred - - - - -
        AwaitInput   - - - awaiting_input - - - - - - - - - -
        Reschedule   - - - up_for_reschedule - - - - - - - - - -
        Resume       - - - - - - - - - - - - scheduled scheduled
        Interrupt    - - scheduled scheduled - - - - - - - - - -
        Clear        none none restarting restarting none restarting none none none none none none none none
        Restart      - - - - - none - - - - - - - -
        FailFast     skipped skipped skipped failed - skipped - skipped skipped skipped - skipped skipped skipped
        TimeOut      skipped skipped skipped skipped - skipped - skipped skipped - - - skipped skipped
        MarkSuccess  success success success success - success success success success success success success success success
        MarkFailed   failed failed failed failed failed failed - failed failed failed failed failed failed failed
        MarkSkipped  skipped skipped skipped skipped skipped skipped skipped skipped skipped skipped - skipped skipped skipped
    ";

    #[test]
    fn every_pair_is_as_the_table_says() {
        let rows: Vec<Vec<&str>> = TABLE
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|row: &Vec<&str>| !row.is_empty())
            .collect();
        assert_eq!(rows.len(), TaskTransition::ALL.len());
        for (row, transition) in rows.iter().zip(TaskTransition::ALL) {
            assert_eq!(row[0], format!("{transition:?}"));
            assert_eq!(row.len(), 1 + TaskState::ALL.len(), "{transition:?}");
            for (cell, state) in row[1..].iter().zip(TaskState::ALL) {
                let got = next_state(state, transition).map(|next| next.to_string());
                match *cell {
                    "-" => assert_eq!(got, Err(NoTransition { state, transition })),
                    want => assert_eq!(got.as_deref(), Ok(want), "{transition:?} on {state}"),
                }
            }
        }
    }
}
