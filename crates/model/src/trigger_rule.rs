//! Trigger rules: what a task instance does, given the states of the task instances above it.
//!
//! The rules are those of Airflow 3.3 (`ti_deps/deps/trigger_rule_dep.py`). They look at counts only, so that a
//! scheduler can keep the counts up to date as states change and never has to look at all upstreams again.

use std::fmt;
use std::str::FromStr;

use crate::state::TaskState;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TriggerRule {
    #[default]
    AllSuccess,
    AllFailed,
    AllDone,
    AllDoneMinOneSuccess,
    AllDoneSetupSuccess,
    AllSkipped,
    OneSuccess,
    OneFailed,
    OneDone,
    NoneFailed,
    NoneFailedMinOneSuccess,
    NoneSkipped,
    Always,
}

/// A text that names no trigger rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a trigger rule")]
pub struct UnknownTriggerRule(pub String);

impl TriggerRule {
    pub const ALL: [TriggerRule; 13] = [
        TriggerRule::AllSuccess,
        TriggerRule::AllFailed,
        TriggerRule::AllDone,
        TriggerRule::AllDoneMinOneSuccess,
        TriggerRule::AllDoneSetupSuccess,
        TriggerRule::AllSkipped,
        TriggerRule::OneSuccess,
        TriggerRule::OneFailed,
        TriggerRule::OneDone,
        TriggerRule::NoneFailed,
        TriggerRule::NoneFailedMinOneSuccess,
        TriggerRule::NoneSkipped,
        TriggerRule::Always,
    ];

    pub fn name(self) -> &'static str {
        match self {
            TriggerRule::AllSuccess => "all_success",
            TriggerRule::AllFailed => "all_failed",
            TriggerRule::AllDone => "all_done",
            TriggerRule::AllDoneMinOneSuccess => "all_done_min_one_success",
            TriggerRule::AllDoneSetupSuccess => "all_done_setup_success",
            TriggerRule::AllSkipped => "all_skipped",
            TriggerRule::OneSuccess => "one_success",
            TriggerRule::OneFailed => "one_failed",
            TriggerRule::OneDone => "one_done",
            TriggerRule::NoneFailed => "none_failed",
            TriggerRule::NoneFailedMinOneSuccess => "none_failed_min_one_success",
            TriggerRule::NoneSkipped => "none_skipped",
            TriggerRule::Always => "always",
        }
    }
}

impl fmt::Display for TriggerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TriggerRule {
    type Err = UnknownTriggerRule;

    fn from_str(text: &str) -> Result<Self, UnknownTriggerRule> {
        Self::ALL.into_iter().find(|rule| rule.name() == text).ok_or_else(|| UnknownTriggerRule(text.to_owned()))
    }
}

/// How many of the task instances directly above one task instance there are, and in which final states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpstreamCounts {
    /// All of them, finished or not.
    pub total: u32,
    /// Those of `total` that are setups.
    pub total_setup: u32,
    pub success: u32,
    pub skipped: u32,
    pub failed: u32,
    pub upstream_failed: u32,
    pub removed: u32,
    /// Those of `success` that are setups.
    pub success_setup: u32,
    /// Those of `skipped` that are setups.
    pub skipped_setup: u32,
}

impl UpstreamCounts {
    /// The finished ones.
    pub fn done(&self) -> u32 {
        self.success + self.skipped + self.failed + self.upstream_failed + self.removed
    }

    /// Counts one upstream instance that came to `state`; unfinished states count nowhere.
    pub fn add(&mut self, state: TaskState, is_setup: bool) {
        self.shift(state, is_setup, 1);
    }

    /// Takes back what [`Self::add`] counted.
    pub fn remove(&mut self, state: TaskState, is_setup: bool) {
        self.shift(state, is_setup, -1);
    }

    fn shift(&mut self, state: TaskState, is_setup: bool, by: i32) {
        let (count, setup_count) = match state {
            TaskState::Success => (&mut self.success, Some(&mut self.success_setup)),
            TaskState::Skipped => (&mut self.skipped, Some(&mut self.skipped_setup)),
            TaskState::Failed => (&mut self.failed, None),
            TaskState::UpstreamFailed => (&mut self.upstream_failed, None),
            TaskState::Removed => (&mut self.removed, None),
            _ => return,
        };
        *count = count.saturating_add_signed(by);
        if let (true, Some(setup_count)) = (is_setup, setup_count) {
            *setup_count = setup_count.saturating_add_signed(by);
        }
    }
}

/// What a trigger rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not decided yet.
    Wait,
    /// May run.
    Run,
    /// Will not run: this is its final state.
    Set(TaskState),
}

/// What `rule` says about a task instance with these upstreams. `map_index` is the instance's own, -1 if not mapped.
///
/// A task without upstreams may run whatever its rule.
pub fn evaluate(rule: TriggerRule, counts: &UpstreamCounts, map_index: i32) -> Verdict {
    if counts.total == 0 || rule == TriggerRule::Always {
        return Verdict::Run;
    }
    if let Some(state) = final_state(rule, counts, map_index) {
        return Verdict::Set(state);
    }
    if is_met(rule, counts) { Verdict::Run } else { Verdict::Wait }
}

/// The state that a task instance takes at once because its rule can't be met any more.
fn final_state(rule: TriggerRule, c: &UpstreamCounts, map_index: i32) -> Option<TaskState> {
    use TaskState::{Removed, Skipped, UpstreamFailed};
    let all_done = c.done() >= c.total;
    let any_failed = c.failed > 0 || c.upstream_failed > 0;
    let first = |choices: &[(bool, TaskState)]| choices.iter().find(|(met, _)| *met).map(|(_, state)| *state);
    match rule {
        TriggerRule::AllSuccess => first(&[
            (any_failed, UpstreamFailed),
            (c.skipped > 0, Skipped),
            (c.removed > 0 && c.success > 0 && map_index >= 0 && map_index.unsigned_abs() >= c.success, Removed),
        ]),
        TriggerRule::AllFailed => first(&[(c.success > 0 || c.skipped > 0, Skipped)]),
        TriggerRule::OneSuccess => {
            first(&[(all_done && c.done() == c.skipped, Skipped), (all_done && c.success == 0, UpstreamFailed)])
        }
        TriggerRule::OneFailed => first(&[(all_done && !any_failed, Skipped)]),
        TriggerRule::OneDone => first(&[(all_done && c.failed == 0 && c.success == 0, Skipped)]),
        TriggerRule::NoneFailed => first(&[(any_failed, UpstreamFailed)]),
        TriggerRule::NoneFailedMinOneSuccess => first(&[
            (any_failed, UpstreamFailed),
            (c.skipped == c.total, Skipped),
            (all_done && c.success == 0, UpstreamFailed),
        ]),
        TriggerRule::NoneSkipped => first(&[(c.skipped > 0, Skipped)]),
        TriggerRule::AllSkipped => first(&[(c.success > 0 || any_failed, Skipped)]),
        TriggerRule::AllDoneMinOneSuccess => {
            let done_not_skipped = c.done() - c.skipped;
            let not_skipped = c.total.saturating_sub(c.skipped);
            first(&[(c.skipped > 0, Skipped), (done_not_skipped >= not_skipped && c.success == 0, UpstreamFailed)])
        }
        TriggerRule::AllDoneSetupSuccess => {
            let setups_decide = all_done && c.total_setup > 0;
            first(&[
                (setups_decide && c.skipped_setup >= c.total_setup, Skipped),
                (setups_decide && c.success_setup == 0, UpstreamFailed),
            ])
        }
        TriggerRule::AllDone | TriggerRule::Always => None,
    }
}

/// Whether the rule is met, given that [`final_state`] did not decide otherwise.
fn is_met(rule: TriggerRule, c: &UpstreamCounts) -> bool {
    let all_done = c.done() >= c.total;
    match rule {
        TriggerRule::OneSuccess => c.success > 0,
        TriggerRule::OneFailed => c.failed > 0 || c.upstream_failed > 0,
        TriggerRule::OneDone => c.success + c.failed > 0,
        TriggerRule::AllSuccess => c.success + c.removed >= c.total,
        TriggerRule::AllFailed => c.failed + c.upstream_failed + c.removed >= c.total,
        TriggerRule::AllDone => all_done,
        TriggerRule::NoneFailed => c.success + c.skipped + c.removed >= c.total,
        TriggerRule::NoneFailedMinOneSuccess => c.success + c.skipped + c.removed >= c.total && c.success > 0,
        TriggerRule::NoneSkipped => all_done && c.skipped == 0,
        TriggerRule::AllSkipped => c.skipped >= c.total,
        TriggerRule::AllDoneMinOneSuccess => {
            let done_not_skipped = c.success + c.failed + c.upstream_failed;
            let expected = c.total.saturating_sub(c.skipped + c.removed);
            c.skipped == 0 && done_not_skipped >= expected && c.success > 0
        }
        TriggerRule::AllDoneSetupSuccess => all_done && (c.total_setup == 0 || c.success_setup > 0),
        TriggerRule::Always => true,
    }
}

/// What the setups that a task needs, but that are not directly above it, say about it: all of them must succeed.
/// `Run` means that they do not stand in its way.
pub fn evaluate_indirect_setups(counts: &UpstreamCounts, map_index: i32) -> Verdict {
    if let Some(state) = final_state(TriggerRule::AllSuccess, counts, map_index) {
        return Verdict::Set(state);
    }
    // Unlike for the rule itself, a setup that was removed is missing to a task that is not mapped.
    let excused = if map_index >= 0 { counts.removed } else { 0 };
    if counts.success + excused >= counts.total { Verdict::Run } else { Verdict::Wait }
}
