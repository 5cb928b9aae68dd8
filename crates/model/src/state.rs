//! States of runs and task instances, with the names that Airflow gives them.

use std::fmt;
use std::str::FromStr;

/// A text that is no state.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {kind} state; states are: {known}")]
pub struct UnknownState {
    pub kind: &'static str,
    pub text: String,
    pub known: String,
}

/// The state of a task instance. Airflow writes [`TaskState::None`] as null.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum TaskState {
    /// Created; what it waits for has not been met.
    None,
    /// May run; waits for a slot.
    Scheduled,
    /// Has its slots; not started yet.
    Queued,
    Running,
    Success,
    /// Was cleared while running; starts again when its process has ended.
    Restarting,
    Failed,
    UpForRetry,
    UpForReschedule,
    UpstreamFailed,
    Skipped,
    Removed,
    Deferred,
    AwaitingInput,
}

impl TaskState {
    pub const ALL: [TaskState; 14] = [
        TaskState::None,
        TaskState::Scheduled,
        TaskState::Queued,
        TaskState::Running,
        TaskState::Success,
        TaskState::Restarting,
        TaskState::Failed,
        TaskState::UpForRetry,
        TaskState::UpForReschedule,
        TaskState::UpstreamFailed,
        TaskState::Skipped,
        TaskState::Removed,
        TaskState::Deferred,
        TaskState::AwaitingInput,
    ];

    /// Airflow's name, or `None` for the state that Airflow writes as null.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            TaskState::None => return None,
            TaskState::Scheduled => "scheduled",
            TaskState::Queued => "queued",
            TaskState::Running => "running",
            TaskState::Success => "success",
            TaskState::Restarting => "restarting",
            TaskState::Failed => "failed",
            TaskState::UpForRetry => "up_for_retry",
            TaskState::UpForReschedule => "up_for_reschedule",
            TaskState::UpstreamFailed => "upstream_failed",
            TaskState::Skipped => "skipped",
            TaskState::Removed => "removed",
            TaskState::Deferred => "deferred",
            TaskState::AwaitingInput => "awaiting_input",
        })
    }

    /// Nothing more will happen by itself.
    pub fn is_finished(self) -> bool {
        matches!(
            self,
            TaskState::Success
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::UpstreamFailed
                | TaskState::Removed
        )
    }

    pub fn is_failure(self) -> bool {
        matches!(self, TaskState::Failed | TaskState::UpstreamFailed)
    }

    pub fn is_success(self) -> bool {
        matches!(self, TaskState::Success | TaskState::Skipped)
    }

    /// Holds a slot of its pool, its run and its worker.
    pub fn is_executing(self) -> bool {
        matches!(self, TaskState::Running | TaskState::Queued | TaskState::Restarting)
    }

    /// Waits outside of any process: for a trigger or for a person.
    pub fn is_suspended(self) -> bool {
        matches!(self, TaskState::Deferred | TaskState::AwaitingInput)
    }

    /// A scheduler may move it on as soon as what it waits for is met.
    pub fn is_schedulable(self) -> bool {
        matches!(self, TaskState::None | TaskState::UpForRetry | TaskState::UpForReschedule)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("none"))
    }
}

impl FromStr for TaskState {
    type Err = UnknownState;

    /// Reads Airflow's name; `none` stands for [`TaskState::None`].
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.name().unwrap_or("none") == text).ok_or_else(|| UnknownState {
            kind: "task instance",
            text: text.to_owned(),
            known: Self::ALL.map(|state| state.to_string()).join(", "),
        })
    }
}

/// The state of a Dag run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DagRunState {
    Queued,
    Running,
    Success,
    Failed,
}

impl DagRunState {
    pub const ALL: [DagRunState; 4] =
        [DagRunState::Queued, DagRunState::Running, DagRunState::Success, DagRunState::Failed];

    pub fn name(self) -> &'static str {
        match self {
            DagRunState::Queued => "queued",
            DagRunState::Running => "running",
            DagRunState::Success => "success",
            DagRunState::Failed => "failed",
        }
    }

    pub fn is_finished(self) -> bool {
        matches!(self, DagRunState::Success | DagRunState::Failed)
    }
}

impl fmt::Display for DagRunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DagRunState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| UnknownState {
            kind: "Dag run",
            text: text.to_owned(),
            known: Self::ALL.map(|state| state.to_string()).join(", "),
        })
    }
}
