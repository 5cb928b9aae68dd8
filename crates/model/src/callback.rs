//! What people want to be called when a run or a task has ended, where the task's own process can't do it.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

use crate::id::{MapIndex, RunKey, TaskId, TaskInstanceId};

/// Names a callback that is due.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CallbackId(pub Uuid);

impl fmt::Display for CallbackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A callback that is due, until it has been called. A crash while it is called means that it is called again.
#[derive(Clone, PartialEq, Debug)]
pub struct Callback {
    pub id: CallbackId,
    pub run: RunKey,
    pub created_at: Timestamp,
    pub call: Call,
    /// The try that it tells of.
    pub of: Option<TryName>,
    /// Why it is called, for the one who is. Of a deadline a JSON document that says which one was missed.
    pub message: String,
}

/// A try of a task instance; whether it is still the current one does not matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TryName {
    pub task_id: TaskId,
    pub map_index: MapIndex,
    pub id: TaskInstanceId,
}

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// `on_success_callback` of the Dag.
    DagSuccess,
    /// `on_failure_callback` of the Dag.
    DagFailure,
    /// `on_failure_callback` of a task whose process could not call it.
    TaskFailure,
    /// `on_retry_callback` of such a task.
    TaskRetry,
    /// An e-mail about such a task.
    EmailFailure,
    EmailRetry,
    /// That of a deadline of the Dag that was missed.
    Deadline,
    /// Listeners of plugins, about a run that begins or has ended.
    RunRunning,
    RunSuccess,
    RunFailed,
    /// Listeners of plugins, about an asset that a task has updated; the message says which.
    AssetEvent,
}

impl Call {
    pub const ALL: [Call; 11] = [
        Call::DagSuccess,
        Call::DagFailure,
        Call::TaskFailure,
        Call::TaskRetry,
        Call::EmailFailure,
        Call::EmailRetry,
        Call::Deadline,
        Call::RunRunning,
        Call::RunSuccess,
        Call::RunFailed,
        Call::AssetEvent,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Call::DagSuccess => "dag_success",
            Call::DagFailure => "dag_failure",
            Call::TaskFailure => "task_failure",
            Call::TaskRetry => "task_retry",
            Call::EmailFailure => "email_failure",
            Call::EmailRetry => "email_retry",
            Call::Deadline => "deadline",
            Call::RunRunning => "run_running",
            Call::RunSuccess => "run_success",
            Call::RunFailed => "run_failed",
            Call::AssetEvent => "asset_event",
        }
    }

    /// Whether it is for listeners of plugins, who hear of everything in the order in which it happened.
    pub fn is_for_listeners(self) -> bool {
        matches!(self, Call::RunRunning | Call::RunSuccess | Call::RunFailed | Call::AssetEvent)
    }

    pub fn named(name: &str) -> Option<Call> {
        Self::ALL.into_iter().find(|call| call.name() == name)
    }
}
