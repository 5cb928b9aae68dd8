//! Everything that is ever written.

use jiff::{SignedDuration, Timestamp};
use model::{AssetKey, CallbackId, Change, DagId, HitlDetail, Json, TaskInstanceKey, VersionId};

use crate::records::{
    AssetAlias, AssetStateEntry, BundleRecord, Connection, DagAsset, Pool, TaskStateEntry, Variable, XCom, XComKey,
};

#[derive(Clone, PartialEq, Debug)]
pub enum Write {
    /// A decision of the scheduler.
    Decision(Change),
    XCom(Box<XCom>),
    DeleteXCom(XComKey),
    /// Every entry that a task instance has pushed.
    ClearXComs(TaskInstanceKey),
    /// What a task instance keeps under a key from now on.
    TaskState {
        ti: TaskInstanceKey,
        entry: TaskStateEntry,
    },
    /// Nothing, if there is no such key.
    DeleteTaskState {
        ti: TaskInstanceKey,
        key: String,
    },
    /// All that a task instance keeps, or all that the instances of its task keep in its run.
    ClearTaskState {
        ti: TaskInstanceKey,
        all_map_indices: bool,
    },
    /// A task instance with its tries and what it has left; what it kept for later tries stays with its run. Only of runs
    /// that are not under way.
    DeleteTaskInstance(TaskInstanceKey),
    /// What no task instance need keep any more: what was to be kept until a moment before this one, so many at most.
    ExpiredTaskStates {
        before: Timestamp,
        limit: u32,
    },
    /// What is kept with an asset under a key from now on.
    AssetState {
        asset: AssetKey,
        entry: AssetStateEntry,
    },
    /// Nothing, if there is no such key.
    DeleteAssetState {
        asset: AssetKey,
        key: String,
    },
    /// All that is kept with an asset.
    ClearAssetState(AssetKey),
    RenderedFields {
        key: TaskInstanceKey,
        fields: Json,
    },
    /// What a task instance asks people, and it is not answered; but see [`HitlDetail::asked_again`].
    HitlAsked(Box<HitlDetail>),
    /// A callback has been called, whatever came of it. Nothing, if it was done before.
    CallbackDone(CallbackId),
    /// A try of a task instance asked to be run again later.
    Rescheduled {
        key: TaskInstanceKey,
        try_number: u32,
        start: Timestamp,
        end: Timestamp,
        until: Timestamp,
    },
    /// What an import found. Dags of the file that are not in it any more become stale, unless it failed.
    Imported(Box<ImportedFile>),
    /// The file is gone, and its Dags with it.
    FileGone {
        bundle_name: String,
        relative_fileloc: String,
    },
    /// What a bundle is like since it was fetched last.
    Bundle(Box<BundleRecord>),
    /// A new version of a bundle has these files as they were: their Dags run with its code from now on, and their
    /// structures stay the versions that they are.
    BundleAdvanced {
        bundle_name: String,
        bundle_version: Option<String>,
        files: Vec<String>,
    },
    /// A new variable; a conflict if it exists.
    NewVariable(Variable),
    /// A variable, new or not.
    Variable(Variable),
    DeleteVariable(String),
    NewConnection(Box<Connection>),
    Connection(Box<Connection>),
    DeleteConnection(String),
    NewPool(Pool),
    Pool(Pool),
    DeletePool(String),
    RunNote {
        run: model::RunKey,
        note: Option<String>,
    },
    /// What people write about a task instance stays over its tries.
    TaskNote {
        ti: TaskInstanceKey,
        note: Option<String>,
    },
}

/// A file and what came of its import.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportedFile {
    pub bundle_name: String,
    pub relative_fileloc: String,
    pub fingerprint: Json,
    pub at: Timestamp,
    pub duration: SignedDuration,
    pub dags: Vec<ImportedDag>,
    /// File names (the file itself or members of an archive) with what went wrong there.
    pub errors: Vec<(String, String)>,
}

/// A Dag as an import found it. What people and the scheduler decide about it (paused, schedule) is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct ImportedDag {
    pub dag_id: DagId,
    pub display_name: String,
    pub description: Option<String>,
    /// For a Dag that is new.
    pub paused_upon_creation: bool,
    pub bundle_version: Option<String>,
    /// Relative to the bundle; for a member of an archive, a path through it.
    pub relative_fileloc: String,
    pub fileloc: String,
    pub owners: Vec<String>,
    pub tags: Vec<String>,
    pub timetable_type: String,
    pub timetable_summary: Option<String>,
    pub timetable_description: Option<String>,
    pub max_active_tasks: u32,
    pub max_active_runs: u32,
    pub max_consecutive_failed_dag_runs: u32,
    pub has_task_concurrency_limits: bool,
    pub allowed_run_types: Option<Vec<String>>,
    pub facts: Json,
    pub assets: Vec<DagAsset>,
    /// The aliases that it waits for, or that are among the inlets and outlets of its tasks; each once.
    pub aliases: Vec<AssetAlias>,
    /// Its file has errors: unless it was listed before, it is stale until they are gone.
    pub unproven: bool,
    /// The version to make if the structure has changed. Its number follows the last one.
    pub version: VersionId,
    pub hash: String,
    pub serialized: Json,
    pub extras: Json,
}
