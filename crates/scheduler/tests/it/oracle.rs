//! What a trigger rule says, written down from Airflow's documentation and from what `trigger_rule_dep.py` does to a
//! task instance, over plain lists of states: slow, and without any of the engine's own counting.

use model::TaskState::{self, *};
use model::TriggerRule;

/// A task instance directly above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// `None` for a task that the run does not have.
    pub state: Option<TaskState>,
    pub is_setup: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    Waits,
    Runs,
    Becomes(TaskState),
}

/// What becomes of a task that is not mapped, with these upstreams.
pub fn expected(rule: TriggerRule, upstreams: &[Upstream]) -> Expected {
    use Expected::{Becomes, Runs, Waits};
    let states: Vec<Option<TaskState>> = upstreams.iter().map(|upstream| upstream.state).collect();
    let any = |wanted: &[TaskState]| states.iter().flatten().any(|state| wanted.contains(state));
    let all = |wanted: &[TaskState]| states.iter().all(|state| state.is_some_and(|state| wanted.contains(&state)));
    let everything_ended = all(&[Success, Failed, Skipped, UpstreamFailed, Removed]);
    let something_failed = any(&[Failed, UpstreamFailed]);
    let setups: Vec<Upstream> = upstreams.iter().copied().filter(|upstream| upstream.is_setup).collect();
    if upstreams.is_empty() {
        return Runs;
    }
    match rule {
        TriggerRule::Always => Runs,

        // (default) All upstream tasks have succeeded. Failures and skips go on to those below, at once.
        TriggerRule::AllSuccess if something_failed => Becomes(UpstreamFailed),
        TriggerRule::AllSuccess if any(&[Skipped]) => Becomes(Skipped),
        TriggerRule::AllSuccess if all(&[Success, Removed]) => Runs,

        // All upstream tasks are in a failed or upstream_failed state.
        TriggerRule::AllFailed if any(&[Success, Skipped]) => Becomes(Skipped),
        TriggerRule::AllFailed if all(&[Failed, UpstreamFailed, Removed]) => Runs,

        // All upstream tasks are done with their execution.
        TriggerRule::AllDone if everything_ended => Runs,

        // All upstream tasks are in a skipped state.
        TriggerRule::AllSkipped if something_failed || any(&[Success]) => Becomes(Skipped),
        TriggerRule::AllSkipped if all(&[Skipped]) => Runs,

        // At least one upstream task has failed (does not wait for all upstream tasks to be done).
        TriggerRule::OneFailed if something_failed => Runs,
        TriggerRule::OneFailed if everything_ended => Becomes(Skipped),

        // At least one upstream task has succeeded (does not wait for all upstream tasks to be done).
        TriggerRule::OneSuccess if any(&[Success]) => Runs,
        TriggerRule::OneSuccess if all(&[Skipped]) => Becomes(Skipped),
        TriggerRule::OneSuccess if everything_ended => Becomes(UpstreamFailed),

        // At least one upstream task succeeded or failed.
        TriggerRule::OneDone if any(&[Success, Failed]) => Runs,
        TriggerRule::OneDone if everything_ended => Becomes(Skipped),

        // All upstream tasks have not failed or upstream_failed: they have succeeded or been skipped.
        TriggerRule::NoneFailed if something_failed => Becomes(UpstreamFailed),
        TriggerRule::NoneFailed if everything_ended => Runs,

        // The same, and at least one upstream task has succeeded.
        TriggerRule::NoneFailedMinOneSuccess if something_failed => Becomes(UpstreamFailed),
        TriggerRule::NoneFailedMinOneSuccess if all(&[Skipped]) => Becomes(Skipped),
        TriggerRule::NoneFailedMinOneSuccess if everything_ended && !any(&[Success]) => Becomes(UpstreamFailed),
        TriggerRule::NoneFailedMinOneSuccess if everything_ended => Runs,

        // No upstream task is in a skipped state: all are success, failed, or upstream_failed.
        TriggerRule::NoneSkipped if any(&[Skipped]) => Becomes(Skipped),
        TriggerRule::NoneSkipped if everything_ended => Runs,

        // All non-skipped upstream tasks are done and at least one has succeeded; a skip is passed on.
        TriggerRule::AllDoneMinOneSuccess if any(&[Skipped]) => Becomes(Skipped),
        TriggerRule::AllDoneMinOneSuccess if everything_ended && !any(&[Success]) => Becomes(UpstreamFailed),
        TriggerRule::AllDoneMinOneSuccess if everything_ended => Runs,

        // What teardowns have: everything is done, and of the setups, if there are any, one has succeeded.
        TriggerRule::AllDoneSetupSuccess if !everything_ended => Waits,
        TriggerRule::AllDoneSetupSuccess if setups.is_empty() => Runs,
        TriggerRule::AllDoneSetupSuccess if setups.iter().all(|setup| setup.state == Some(Skipped)) => Becomes(Skipped),
        TriggerRule::AllDoneSetupSuccess if setups.iter().any(|setup| setup.state == Some(Success)) => Runs,
        TriggerRule::AllDoneSetupSuccess => Becomes(UpstreamFailed),

        _ => Waits,
    }
}

/// What the setups say that a task needs without being directly below them: each of them must have succeeded.
pub fn expected_of_setups(setups: &[Option<TaskState>]) -> Expected {
    let any = |wanted: &[TaskState]| setups.iter().flatten().any(|state| wanted.contains(state));
    if any(&[Failed, UpstreamFailed]) {
        Expected::Becomes(UpstreamFailed)
    } else if any(&[Skipped]) {
        Expected::Becomes(Skipped)
    } else if setups.iter().all(|state| *state == Some(Success)) {
        Expected::Runs
    } else {
        Expected::Waits
    }
}
