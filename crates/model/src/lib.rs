//! The vocabulary of the engine: ids, Dag, task, states and their transitions, trigger rules, timetables.
//!
//! This crate does no IO, reads no clock, knows no wire format and no database.

pub mod asset;
mod backfill;
pub mod callback;
pub mod change;
pub mod dag;
pub mod deadline;
pub mod hitl;
pub mod id;
pub mod links;
pub mod mapping;
pub mod operations;
pub mod partition;
pub mod retry;
pub mod run;
pub mod secrets;
pub mod state;
mod subset;
pub mod suspension;
pub mod task;
pub mod timetable;
pub mod transition;
pub mod trigger_rule;
mod watcher;
pub mod weight;

pub use asset::{
    Asset, AssetCondition, AssetEvent, AssetKey, AssetLike, AssetMark, AssetUpdate, OutletEvent, Outlets, QueuedAsset,
};
pub use backfill::{Backfill, BackfillId, InBackfill, Reprocess};
pub use callback::{Call, Callback, CallbackId, TryName};
pub use change::{Change, DagSchedule};
pub use dag::{Dag, DagBuilder, DagError, DagLimits, Listeners};
pub use deadline::{Deadline, DeadlineAlert, DeadlineId, DeadlineInterval, DeadlineReference};
pub use hitl::{HitlDetail, HitlQuestion, HitlRefusal, HitlResponse, HitlUser};
pub use id::{
    AssetEventId, AttemptId, DagId, GroupIndex, MapIndex, RunId, RunKey, TaskId, TaskIndex, TaskInstanceId,
    TaskInstanceKey, TriggerId, VersionId,
};
pub use links::{Link, LinkKind};
pub use mapping::{ExpandInput, MapValue, MappedGroup, Relation, XComArg};
pub use partition::Partition;
pub use run::{DagRun, DataInterval, RunType, TaskInstance, TriggeredBy};
pub use state::{DagRunState, TaskState};
pub use suspension::{Suspension, TimerEvent, Trigger, TriggerTimer};
pub use task::{Execution, NativeOperator, Notices, StartTrigger, Task, WeightRule};
pub use trigger_rule::TriggerRule;
pub use watcher::Watcher;

/// A JSON document as users write it: run configuration, XCom values, param defaults. Key order is kept.
pub type Json = serde_json::Value;
