//! What one commit writes. Every change puts a whole record in place, so that writing it twice changes nothing.

use jiff::Timestamp;

use crate::asset::{AssetEvent, AssetKey, AssetMark, QueuedAsset};
use crate::backfill::Backfill;
use crate::callback::Callback;
use crate::deadline::{Deadline, DeadlineId};
use crate::hitl::HitlResponse;
use crate::id::{AssetEventId, DagId, RunKey, TaskId, TaskInstanceKey};
use crate::partition::PartitionChange;
use crate::run::{DagRun, DataInterval, TaskInstance};
use crate::suspension::Suspension;
use crate::timetable::NextRun;

/// Where a Dag's schedule stands.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DagSchedule {
    pub next_run: Option<NextRun>,
    /// The data interval of the newest run that the timetable made.
    pub last_interval: Option<DataInterval>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    Run(Box<DagRun>),
    TaskInstance(Box<TaskInstance>),
    /// A try that has ended and gave way to the next one; its id is no longer current.
    ArchivedTry(Box<TaskInstance>),
    /// A task instance was cleared: what it has left for others is gone.
    Forgotten(TaskInstanceKey),
    /// A mapped task has its instances now: the one that stood for them all is no more.
    Expanded {
        run: RunKey,
        task_id: TaskId,
    },
    /// A task instance waits outside of a process, or has waited and goes on.
    Suspended(Box<Suspension>),
    /// What a task instance left behind when it was suspended has no meaning any more.
    NotSuspended(TaskInstanceKey),
    /// What a task instance asked people is answered. `untold` as in [`crate::HitlDetail`].
    HitlAnswered {
        key: TaskInstanceKey,
        response: Box<HitlResponse>,
        untold: bool,
    },
    /// The task instance goes on with the answer.
    HitlTold(TaskInstanceKey),
    /// A run has a deadline, or has it at another moment.
    Deadline(Box<Deadline>),
    /// A deadline is met, or is none.
    DeadlineGone(DeadlineId),
    DeadlineMissed(DeadlineId),
    /// A callback is due.
    CallbackDue(Box<Callback>),
    Schedule {
        dag_id: DagId,
        schedule: Box<DagSchedule>,
    },
    /// What there is to say about a Dag beside errors of its file; nothing takes back what was said.
    DagWarning {
        dag_id: DagId,
        warning: Option<String>,
        at: Timestamp,
    },
    /// An asset was updated. It is made if it is not there, and belongs to the event's aliases from now on.
    AssetEvent(Box<AssetEvent>),
    /// Events of an asset wait for a Dag.
    AssetQueued {
        dag_id: DagId,
        queued: Box<QueuedAsset>,
    },
    /// Assets no longer wait for a Dag.
    AssetsUnqueued {
        dag_id: DagId,
        assets: Vec<AssetKey>,
    },
    /// A Dag is told of events with higher numbers than this one, or of none, and nothing waits for it then.
    AssetCursor {
        dag_id: DagId,
        cursor: Option<AssetEventId>,
    },
    /// A run was made of the events of these marks behind its Dag's cursor, up to this one, where the cursor is now.
    AssetEventsTaken {
        run: RunKey,
        marks: Vec<AssetMark>,
        upto: AssetEventId,
    },
    /// Something about runs that wait for partitions.
    Partition(Box<PartitionChange>),
    Paused {
        dag_id: DagId,
        paused: bool,
    },
    Backfill(Box<Backfill>),
    /// A run is deleted, and everything that belongs to it.
    RunDeleted(RunKey),
    /// A Dag is deleted with all its runs and versions, and its file is to be imported again.
    DagDeleted(DagId),
}
