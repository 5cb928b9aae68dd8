//! What the store keeps beside runs and task instances.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::partition::{PendingPartition, Told};
use model::{
    Asset, AssetEvent, AssetEventId, DagId, DagRunState, DagSchedule, Json, MapIndex, QueuedAsset, RunKey, TaskId,
    TaskInstance, TaskInstanceKey, VersionId,
};
use uuid::Uuid;

use crate::{Result, StoreError};

/// A Dag as it is listed.
#[derive(Clone, PartialEq, Debug)]
pub struct DagRecord {
    pub dag_id: DagId,
    pub display_name: String,
    pub description: Option<String>,
    pub paused: bool,
    /// In no file any more.
    pub stale: bool,
    pub bundle_name: String,
    pub bundle_version: Option<String>,
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
    pub has_import_errors: bool,
    pub allowed_run_types: Option<Vec<String>>,
    pub last_parsed_at: Timestamp,
    pub last_parse_duration: SignedDuration,
    pub version: VersionId,
    pub schedule: DagSchedule,
    /// What the scheduler needs of a Dag that does not run: opaque to the store.
    pub facts: Json,
    /// Of the run that was made last.
    pub last_run_state: Option<DagRunState>,
    pub last_run_start: Option<Timestamp>,
    pub last_run_end: Option<Timestamp>,
}

/// A run that waits for partitions, with its events and what Python said of each.
#[derive(Clone, PartialEq, Debug)]
pub struct WaitingPartition {
    pub pending: PendingPartition,
    pub events: Vec<(AssetEvent, Option<Told>)>,
}

/// An asset, and whether some Dag in a file has it.
#[derive(Clone, PartialEq, Debug)]
pub struct AssetRecord {
    pub asset: Asset,
    pub active: bool,
}

/// An asset that a Dag waits for, or that is among the inlets and outlets of its tasks.
#[derive(Clone, PartialEq, Debug)]
pub struct DagAsset {
    pub asset: Asset,
    /// Each once.
    pub uses: Vec<AssetUse>,
}

/// What an asset is to a Dag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AssetUse {
    /// The Dag waits for it.
    Schedule,
    /// It is among the inlets of a task.
    Inlet(TaskId),
    Outlet(TaskId),
}

impl DagAsset {
    /// Whether a task produces it.
    pub fn is_produced(&self) -> bool {
        self.uses.iter().any(|found| matches!(found, AssetUse::Outlet(_)))
    }
}

/// An alias, as Dags have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssetAlias {
    pub name: String,
    /// Empty for one that no Dag has, and that a task has updated an asset by.
    pub group: String,
}

/// An alias with its number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberedAlias {
    pub number: i64,
    pub alias: AssetAlias,
}

/// An asset with what there is to say about it.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedAsset {
    pub number: i64,
    pub asset: Asset,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// By Dags that are in files, in the order of their ids and of their tasks' ids.
    pub uses: Vec<ListedUse>,
    /// The aliases that it was ever updated by.
    pub aliases: Vec<NumberedAlias>,
    pub last_event: Option<(AssetEventId, Timestamp)>,
}

/// Who names an asset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedUse {
    pub dag_id: DagId,
    pub by: AssetUse,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An event with the number of its asset.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedEvent {
    pub asset_number: i64,
    pub event: AssetEvent,
}

/// An asset that waits for a Dag, with its number.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedQueued {
    pub dag_id: DagId,
    pub asset_number: i64,
    pub queued: QueuedAsset,
}

/// One version of a Dag's structure.
#[derive(Clone, PartialEq, Debug)]
pub struct DagVersion {
    pub id: VersionId,
    pub dag_id: DagId,
    pub number: u32,
    /// Of the structure; equal hashes are the same version.
    pub hash: String,
    pub bundle_name: String,
    pub bundle_version: Option<String>,
    pub created_at: Timestamp,
    /// The official serializer's output.
    pub serialized: Json,
    /// What the engine learnt beyond it when the Dag was imported.
    pub extras: Json,
}

/// A version of a Dag without its documents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionHead {
    pub id: VersionId,
    pub dag_id: DagId,
    pub number: u32,
    pub bundle_name: String,
    pub bundle_version: Option<String>,
    pub created_at: Timestamp,
}

/// A bundle, as it was fetched last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BundleRecord {
    pub name: String,
    /// The newest one; `None` where there are none.
    pub version: Option<String>,
    /// Where the copy of just this version is.
    pub version_path: Option<String>,
    /// Where people can look at a version: a template in the form of Python's `str.format`.
    pub url: Option<String>,
    /// What the template is filled in with beside `version`.
    pub url_params: BTreeMap<String, String>,
}

/// A file that Dags come from, as it was when it was imported.
#[derive(Clone, PartialEq, Debug)]
pub struct FileRecord {
    pub bundle_name: String,
    pub relative_fileloc: String,
    /// Of the file's content and of everything it read while it was imported.
    pub fingerprint: Json,
    pub imported_at: Timestamp,
    pub duration: SignedDuration,
    pub dag_ids: Vec<DagId>,
}

/// What there is to say about a Dag beside errors of its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DagWarning {
    pub dag_id: DagId,
    pub message: String,
    pub at: Timestamp,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ImportError {
    pub id: i64,
    pub bundle_name: String,
    pub filename: String,
    pub at: Timestamp,
    pub stack_trace: String,
}

/// A try of a task instance that gave way to a later one.
#[derive(Clone, PartialEq, Debug)]
pub struct TaskTry {
    pub task_instance: TaskInstance,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct XComKey {
    pub run: RunKey,
    pub task_id: TaskId,
    pub map_index: MapIndex,
    pub key: String,
}

#[derive(Clone, PartialEq, Debug)]
pub struct XCom {
    pub key: XComKey,
    pub value: Json,
    pub at: Timestamp,
    /// How many instances a task that maps over this value gets.
    pub mapped_length: Option<u32>,
    /// Whether it is the run's result.
    pub dag_result: bool,
}

/// An entry as it is listed: without its value, and with the dates of its run.
#[derive(Clone, PartialEq, Debug)]
pub struct XComHead {
    pub key: XComKey,
    pub at: Timestamp,
    pub logical_date: Option<Timestamp>,
    pub run_after: Timestamp,
}

/// What a task instance keeps for its later tries under a key (`task_state_store` of Airflow 3.3).
#[derive(Clone, PartialEq, Debug)]
pub struct TaskStateEntry {
    pub key: String,
    /// Never null.
    pub value: Json,
    pub updated_at: Timestamp,
    /// From when on a clean-up may delete it; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// What is kept with an asset under a key, over all runs (`asset_state_store` of Airflow 3.3).
#[derive(Clone, PartialEq, Debug)]
pub struct AssetStateEntry {
    pub key: String,
    /// Never null.
    pub value: Json,
    pub updated_at: Timestamp,
    pub updated_by: StateWriter,
}

/// Who wrote an entry of an asset last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateWriter {
    Task(TaskInstanceKey),
    /// A trigger.
    Watcher,
    /// People, through the API.
    Api,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Variable {
    pub key: String,
    pub value: String,
    pub description: Option<String>,
    /// Whether the store keeps the value encrypted. The store says so; what is written is as its keys have it.
    pub is_encrypted: bool,
    /// The value is encrypted with a key that is not known, and empty here. Only lists have such records.
    pub locked: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Connection {
    pub connection_id: String,
    pub conn_type: String,
    pub description: Option<String>,
    pub host: Option<String>,
    pub login: Option<String>,
    pub password: Option<String>,
    pub schema: Option<String>,
    pub port: Option<i64>,
    /// JSON text, or any text that people gave.
    pub extra: Option<String>,
    /// Whether the store keeps the password encrypted, as [`Variable::is_encrypted`].
    pub is_encrypted: bool,
    /// The same of `extra`.
    pub is_extra_encrypted: bool,
    /// The password or the extra is encrypted with a key that is not known, and missing here. Only lists have such records.
    pub locked: bool,
}

impl Variable {
    /// The record, unless it is locked: [`StoreError::Locked`] says so to people.
    pub fn unlocked(self) -> Result<Self> {
        if self.locked { Err(StoreError::Locked { what: format!("the variable {:?}", self.key) }) } else { Ok(self) }
    }
}

impl Connection {
    /// As [`Variable::unlocked`].
    pub fn unlocked(self) -> Result<Self> {
        if !self.locked {
            return Ok(self);
        }
        Err(StoreError::Locked { what: format!("the connection {:?}", self.connection_id) })
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    pub name: String,
    /// -1 for no bound.
    pub slots: i64,
    pub description: Option<String>,
    pub include_deferred: bool,
}

/// Slots that task instances of a pool take or wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolUsage {
    pub running: i64,
    pub queued: i64,
    pub scheduled: i64,
    pub deferred: i64,
}

/// A run's configuration as Python's `json.dumps` lays it out, which is what people search in.
pub(crate) fn conf_text(conf: &Json) -> String {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: std::io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }

        fn begin_object_key<W: std::io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }

        fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, out: &mut W) -> std::io::Result<()> {
            out.write_all(b": ")
        }
    }
    let mut text = Vec::new();
    let written = serde::Serialize::serialize(conf, &mut serde_json::Serializer::with_formatter(&mut text, Spaced));
    // Writing JSON into memory has no way to fail; the compact layout says the same if it ever does.
    written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_else(|| conf.to_string())
}

/// Reads a UUID that the store wrote.
pub(crate) fn uuid_of(bytes: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(bytes).ok()
}
