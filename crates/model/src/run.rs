//! Dag runs and task instances: what is known of them between two events, and what a store keeps.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::Json;
use crate::backfill::InBackfill;
use crate::id::{MapIndex, RunKey, TaskId, TaskInstanceId, TaskInstanceKey, VersionId};
use crate::partition::Partition;
use crate::state::{DagRunState, TaskState};

/// The span of time whose data a run is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DataInterval {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl DataInterval {
    pub fn exact(at: Timestamp) -> Self {
        Self { start: at, end: at }
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|value| value.name() == text).ok_or_else(|| UnknownName(text.to_owned()))
            }
        }
    };
}

/// A text that names none of the possible values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a known name")]
pub struct UnknownName(pub String);

named!(
    /// What kind of thing made a run.
    RunType {
        Backfill = "backfill",
        Scheduled = "scheduled",
        Manual = "manual",
        OperatorTriggered = "operator_triggered",
        AssetTriggered = "asset_triggered",
        AssetMaterialization = "asset_materialization",
    }
);

named!(
    /// Who or what asked for a run.
    TriggeredBy {
        Cli = "cli",
        Operator = "operator",
        RestApi = "rest_api",
        Ui = "ui",
        Test = "test",
        Timetable = "timetable",
        Asset = "asset",
        Backfill = "backfill",
    }
);

impl RunType {
    /// The kind that a run id's prefix stands for; manual where it stands for none.
    pub fn of_run_id(run_id: &str) -> RunType {
        run_id.split_once("__").and_then(|(prefix, _)| prefix.parse().ok()).unwrap_or(RunType::Manual)
    }
}

/// One run of a Dag.
#[derive(Clone, PartialEq, Debug)]
pub struct DagRun {
    pub key: RunKey,
    pub run_type: RunType,
    pub triggered_by: TriggeredBy,
    pub triggering_user: Option<String>,
    pub state: DagRunState,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    /// The run does not begin before this moment.
    pub run_after: Timestamp,
    pub queued_at: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub last_scheduling_decision: Option<Timestamp>,
    pub conf: Arc<Json>,
    pub note: Option<String>,
    pub clear_number: u32,
    /// The version of the Dag that the run was made with.
    pub version: VersionId,
    pub bundle_version: Option<String>,
    /// The backfill that it belongs to, or belonged to last.
    pub backfill: Option<InBackfill>,
    /// What part of its Dag's data it is about.
    pub partition: Option<Partition>,
}

impl DagRun {
    /// How long it took; `None` while it has not ended.
    pub fn duration(&self) -> Option<SignedDuration> {
        Some(self.end_date?.duration_since(self.start_date?))
    }
}

/// One task instance: the current try, whose id is [`TaskInstance::id`].
#[derive(Clone, PartialEq, Debug)]
pub struct TaskInstance {
    pub id: TaskInstanceId,
    pub run: RunKey,
    pub task_id: TaskId,
    pub map_index: MapIndex,
    pub state: TaskState,
    /// 0 until the first try is scheduled.
    pub try_number: u32,
    /// How many retries it may have in all; grows when it is cleared.
    pub max_tries: u32,
    pub version: VersionId,

    pub operator: Arc<str>,
    pub operator_name: Arc<str>,
    pub pool: Arc<str>,
    pub pool_slots: u32,
    pub queue: Arc<str>,
    pub priority_weight: i32,
    pub executor: Option<Arc<str>>,

    pub scheduled_at: Option<Timestamp>,
    pub queued_at: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub hostname: Option<Arc<str>>,
    pub unixname: Option<Arc<str>>,
    pub pid: Option<u32>,
    pub rendered_map_index: Option<String>,
    /// The delay that a retry policy chose for the next try.
    pub retry_delay_override: Option<SignedDuration>,
    /// When it asked to be run again, while it is up for reschedule.
    pub reschedule_date: Option<Timestamp>,
}

impl TaskInstance {
    pub fn key(&self) -> TaskInstanceKey {
        TaskInstanceKey { run: self.run.clone(), task_id: self.task_id.clone(), map_index: self.map_index }
    }

    /// How long the try took; `None` while it has not ended.
    pub fn duration(&self) -> Option<SignedDuration> {
        Some(self.end_date?.duration_since(self.start_date?))
    }
}
