//! Durable state. Nothing above this crate knows SQL.
//!
//! Writing goes through one door: [`Commit::commit`] takes a batch of [`Write`]s and makes all of them durable or
//! none. Reading has one trait per concern. Every method blocks; callers on an async runtime move to a thread that
//! may block. [`Store`] is all of it together; [`sqlite::SqliteStore`] keeps it in a file, [`memory::MemoryStore`] for
//! tests and for the simulation.
//!
//! # One more back end
//!
//! It implements the traits of [`Store`] and becomes one more line in `tests/suite/main.rs`, whose cases say the rest;
//! `tests/suite/agreement.rs` asks all back ends the same questions and wants the same answers. What they have in common:
//!
//! - A batch is written whole or not at all, and has its own result: batches that share a transaction are set apart by
//!   savepoints. What `commit` has acknowledged survives a crash of the machine, and every reader sees it from then on.
//! - Errors are told apart by what the caller can do ([`StoreError`]): a conflict and a missing record leave the store as
//!   it was and will fail again; what [`StoreError::is_temporary`] may be tried again as it is. An error that leaves open
//!   whether the batch was written counts as temporary: every write puts whole records in place, so that writing a batch
//!   again does no harm.
//! - Runs, variables, connections, pools and import errors have numbers that grow in the order in which they are made; a
//!   change leaves a record its number. Texts are compared byte by byte (`COLLATE "C"`, not a database's language), moments
//!   have microseconds, JSON documents are kept as they are written, the order of their keys included (`json`, not `jsonb`).
//! - Orders and filters follow the descriptions in the query types. Missing values stand where PostgreSQL has them, `LIKE`
//!   knows the escape `\`, patterns ignore the case of all letters. The text of a run's configuration that filters look at
//!   is laid out as Python does.
//! - A list's total and its page are of one moment. Lists over everything must not read everything: at 500,000 task
//!   instances they answer within 50 ms (`examples/scale.rs`), which takes indexes for the orders in use and counts that
//!   are kept instead of counted. A commit costs the same however much history there is.
//! - Opening brings an older schema up to date, all or nothing, refuses a newer one, and reads no history.

mod crypt;
mod error;
pub mod memory;
mod overview;
mod query;
mod records;
pub mod sqlite;
mod write;

use std::sync::Arc;

use jiff::Timestamp;
use model::{
    Asset, AssetEvent, AssetEventId, AssetKey, Backfill, BackfillId, Callback, DagId, DagRun, Deadline, HitlDetail,
    MapIndex, QueuedAsset, RunKey, Suspension, TaskId, TaskInstance, TaskInstanceId, TaskInstanceKey, TriggerId,
    VersionId,
};

pub use crypt::{BadFernetKey, FernetKeys};
pub use error::StoreError;
pub use overview::{DagCounts, Granularity, OverviewStore, RunsOfDate, StateCounts};
pub use query::{
    AliasFilter, AliasOrder, AssetEventFilter, AssetFilter, AssetOrder, ConnectionOrder, DagFilter, DagOrder,
    DeadlineFilter, DeadlineOrder, Direction, DurationRange, EventListFilter, EventOrder, HitlFilter, HitlOrder,
    ImportErrorFilter, ImportErrorOrder, Page, PoolOrder, RunFilter, RunOrder, Span, TaskInstanceFilter,
    TaskInstanceOrder, TextFilter, VariableOrder, VersionFilter, VersionOrder, XComFilter, XComOrder,
};
pub use records::{
    AssetAlias, AssetRecord, AssetStateEntry, AssetUse, BundleRecord, Connection, DagAsset, DagRecord, DagVersion,
    DagWarning, FileRecord, ImportError, ListedAsset, ListedEvent, ListedQueued, ListedUse, NumberedAlias, Pool,
    PoolUsage, StateWriter, TaskStateEntry, TaskTry, Variable, VersionHead, WaitingPartition, XCom, XComHead, XComKey,
};
pub use write::{ImportedDag, ImportedFile, Write};

pub type Result<T> = std::result::Result<T, StoreError>;

/// Makes batches of writes durable.
pub trait Commit {
    /// Writes the whole batch and returns when it can't be lost any more, or writes nothing. Batches that arrive
    /// while another one is being written share one synchronisation of the disk.
    fn commit(&self, batch: Vec<Write>) -> Result<()>;
}

/// Runs and task instances.
pub trait RunStore {
    fn run(&self, key: &RunKey) -> Result<Option<DagRun>>;

    /// Runs that match, in order, and how many match in all.
    fn runs(&self, filter: &RunFilter, order: &[(RunOrder, Direction)], page: Page) -> Result<(Vec<DagRun>, u64)>;

    /// Every run that is queued or running, the oldest first.
    fn active_runs(&self) -> Result<Vec<DagRun>>;

    /// Whether a Dag has a run with this id, or with this logical date.
    fn run_exists(&self, key: &RunKey, logical_date: Option<Timestamp>) -> Result<RunExists>;

    /// The newest run of a Dag before a date; `scheduled_only` leaves manual runs out.
    fn run_before(&self, dag_id: &DagId, before: Timestamp, scheduled_only: bool) -> Result<Option<DagRun>>;

    /// Whether any run of a Dag before a date had an instance of this task.
    fn task_ran_before(&self, dag_id: &DagId, task_id: &TaskId, before: Timestamp) -> Result<bool>;

    /// The newest run before `before` that succeeded.
    fn last_successful_run(&self, dag_id: &DagId, before: Timestamp) -> Result<Option<DagRun>>;

    fn task_instance(&self, key: &TaskInstanceKey) -> Result<Option<TaskInstance>>;

    /// All task instances of a run, in the order of task id and map index.
    fn task_instances_of(&self, run: &RunKey) -> Result<Vec<TaskInstance>>;

    fn task_instances(
        &self,
        filter: &TaskInstanceFilter,
        order: &[(TaskInstanceOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<TaskInstance>, u64)>;

    /// For each run the versions that its task instances had in any of their tries, the oldest first.
    fn versions_of(&self, runs: &[RunKey]) -> Result<Vec<Vec<VersionId>>>;

    /// The tries of a task instance that have given way to a later one, the first one first. Of each number there is one:
    /// the first that was archived.
    fn archived_tries(&self, key: &TaskInstanceKey) -> Result<Vec<TaskTry>>;

    /// What people have written about a task instance.
    fn task_note(&self, key: &TaskInstanceKey) -> Result<Option<String>>;

    /// The template fields of a task instance as they were rendered for its current try.
    fn rendered_fields(&self, key: &TaskInstanceKey) -> Result<Option<model::Json>>;

    /// How often the current try of a task instance has been rescheduled, and when it first started.
    fn reschedules(&self, key: &TaskInstanceKey) -> Result<(u32, Option<Timestamp>)>;

    /// What a task instance waits for outside of a process, or how it goes on.
    fn suspension(&self, key: &TaskInstanceKey) -> Result<Option<Suspension>>;

    /// Those of a run, in the order of task id and map index.
    fn suspensions_of(&self, run: &RunKey) -> Result<Vec<Suspension>>;

    /// The highest number of a trigger that is waited for; 0 if there is none.
    fn last_trigger(&self) -> Result<TriggerId>;
}

/// What [`RunStore::run_exists`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunExists {
    No,
    SameId,
    SameLogicalDate,
}

/// Dags, their versions, and the files that they come from.
pub trait DagStore {
    fn dag(&self, dag_id: &DagId) -> Result<Option<DagRecord>>;
    fn dags(&self, filter: &DagFilter, order: &[(DagOrder, Direction)], page: Page) -> Result<(Vec<DagRecord>, u64)>;
    fn version(&self, id: VersionId) -> Result<Option<DagVersion>>;
    fn latest_version(&self, dag_id: &DagId) -> Result<Option<DagVersion>>;
    /// As [`Self::version`], without the documents.
    fn version_head(&self, id: VersionId) -> Result<Option<VersionHead>>;
    fn versions(
        &self,
        filter: &VersionFilter,
        order: &[(VersionOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<VersionHead>, u64)>;
    /// The names of tags that a Dag of some file has, each once, in their order.
    fn tags(&self, names: &TextFilter, direction: Direction, page: Page) -> Result<(Vec<String>, u64)>;
    /// Everything known of the files that were imported.
    fn files(&self) -> Result<Vec<FileRecord>>;
    /// A bundle that has been fetched.
    fn bundle(&self, name: &str) -> Result<Option<BundleRecord>>;
    /// The warnings about Dags that are in a file, by Dag id.
    fn dag_warnings(&self) -> Result<Vec<DagWarning>>;
    fn import_errors(&self, page: Page) -> Result<(Vec<ImportError>, u64)>;
    fn import_error(&self, id: i64) -> Result<Option<ImportError>>;
    fn list_import_errors(
        &self,
        filter: &ImportErrorFilter,
        order: &[(ImportErrorOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ImportError>, u64)>;
}

/// What tasks leave for each other.
pub trait XComStore {
    fn xcom(&self, key: &XComKey) -> Result<Option<XCom>>;

    /// Every entry of a run that matches, by task, map index and key. `None` leaves a part open.
    fn xcoms(
        &self,
        run: &RunKey,
        task_id: Option<&TaskId>,
        map_index: Option<MapIndex>,
        key: Option<&str>,
    ) -> Result<Vec<XCom>>;

    /// How many entries with this key a task has in a run; `mapped_only` leaves out that of an instance that is not mapped.
    fn count_xcoms(&self, run: &RunKey, task_id: &TaskId, key: &str, mapped_only: bool) -> Result<u64>;

    /// One of the entries with this key that a task has in a run, in the order of map indexes; a negative offset counts
    /// from the end.
    fn xcom_at(&self, run: &RunKey, task_id: &TaskId, key: &str, offset: i64) -> Result<Option<XCom>>;

    /// So many of these entries from an offset on; no other is read.
    fn some_xcoms(&self, run: &RunKey, task_id: &TaskId, key: &str, offset: u64, limit: u64) -> Result<Vec<XCom>>;

    /// When an entry was pushed.
    fn xcom_pushed(&self, key: &XComKey) -> Result<Option<Timestamp>>;

    /// How many instances a task gets that maps over this entry; `None` if it is not there or was not pushed for that.
    fn mapped_length(&self, key: &XComKey) -> Result<Option<u32>>;

    /// Entries of any runs, without their values.
    fn list_xcoms(
        &self,
        filter: &XComFilter,
        order: &[(XComOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<XComHead>, u64)>;

    /// The newest entry of a task over the runs whose logical date is not after that of `run`.
    fn xcom_with_prior_dates(&self, key: &XComKey) -> Result<Option<XCom>>;
    /// All entries of a task over the runs whose logical date is not after that of `run`, by map index, then by date.
    fn xcoms_with_prior_dates(&self, run: &RunKey, task_id: &TaskId, key: &str) -> Result<Vec<XCom>>;
}

/// Assets, and what happened to them.
pub trait AssetStore {
    fn asset(&self, key: &AssetKey) -> Result<Option<AssetRecord>>;

    /// The active asset with this name and this URI; no two have the same.
    fn active_asset(&self, name: Option<&str>, uri: Option<&str>) -> Result<Option<Asset>>;

    /// The assets that were ever updated by this alias, in the order in which they were made.
    fn assets_of_alias(&self, alias: &str) -> Result<Vec<Asset>>;

    fn asset_events(&self, filter: &AssetEventFilter) -> Result<Vec<AssetEvent>>;

    /// The events that a run was made of, in the order in which they came.
    fn consumed_asset_events(&self, run: &RunKey) -> Result<Vec<AssetEvent>>;

    /// The runs that were made of these events, with the events, in the order in which the runs were made.
    fn runs_of_asset_events(&self, events: &[AssetEventId]) -> Result<Vec<(AssetEventId, Arc<DagRun>)>>;

    /// For each Dag that waits for assets the last event that its runs were told of, or that it did not wait for.
    fn asset_cursors(&self) -> Result<Vec<(DagId, AssetEventId)>>;

    /// The assets that wait for Dags, by Dag.
    fn queued_assets(&self) -> Result<Vec<(DagId, QueuedAsset)>>;

    /// Every alias with the assets that it ever was the name of, in the order in which these were made.
    fn alias_assets(&self) -> Result<Vec<(String, AssetKey)>>;

    /// The highest number of an event; 0 if there is none.
    fn last_asset_event(&self) -> Result<AssetEventId>;
}

/// Runs that wait for partitions of assets.
pub trait PartitionStore {
    /// Those of a Dag, in the order of their first events, with all their events and what Python said of these.
    fn pending_partitions(&self, dag_id: &DagId) -> Result<Vec<WaitingPartition>>;

    /// The events of which Python has not said yet which keys follow from them for a Dag, in the order in which they came.
    fn unmapped_events(&self, dag_id: &DagId) -> Result<Vec<AssetEvent>>;
}

/// What task instances ask people, and what people answer.
pub trait HitlStore {
    /// What a task instance has asked last.
    fn hitl_detail(&self, key: &TaskInstanceKey) -> Result<Option<HitlDetail>>;

    /// As it was when that try gave way to a later one.
    fn hitl_detail_of_try(&self, key: &TaskInstanceKey, id: TaskInstanceId) -> Result<Option<HitlDetail>>;

    /// What task instances have asked, with them as they are now.
    fn hitl_details(
        &self,
        filter: &HitlFilter,
        order: &[(HitlOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<(HitlDetail, TaskInstance)>, u64)>;

    /// The task instance whose current try has this id.
    fn task_instance_named(&self, id: TaskInstanceId) -> Result<Option<TaskInstanceKey>>;
}

/// Callbacks that are due, and deadlines that will be.
pub trait CallbackStore {
    /// Those that have not been called yet, in the order in which they became due.
    fn callbacks(&self) -> Result<Vec<Callback>>;

    /// The deadlines of runs that are neither met nor missed, in the order in which they were made.
    fn deadlines(&self) -> Result<Vec<Deadline>>;
}

/// What task instances keep for their own later tries.
pub trait TaskStateStore {
    fn task_state(&self, ti: &TaskInstanceKey, key: &str) -> Result<Option<TaskStateEntry>>;
    /// In the order of their keys.
    fn task_states(&self, ti: &TaskInstanceKey, page: Page) -> Result<(Vec<TaskStateEntry>, u64)>;
    /// The keys that were to be kept until a moment before this one, and how many there are in all.
    fn expired_task_states(&self, before: Timestamp, page: Page) -> Result<(Vec<(TaskInstanceKey, String)>, u64)>;
}

/// Lists of assets and of what happened to them.
pub trait AssetListStore {
    fn list_assets(
        &self,
        filter: &AssetFilter,
        order: &[(AssetOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ListedAsset>, u64)>;

    fn list_aliases(
        &self,
        filter: &AliasFilter,
        order: &[(AliasOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<NumberedAlias>, u64)>;

    fn list_asset_events(
        &self,
        filter: &EventListFilter,
        order: &[(EventOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ListedEvent>, u64)>;

    /// The last of the events that a run was made of.
    fn last_consumed(&self, run: &RunKey) -> Result<Option<AssetEventId>>;

    /// What waits for Dags, or for one; all assets, or one: by asset and then by Dag.
    fn list_queued(&self, dag_id: Option<&DagId>, asset_number: Option<i64>) -> Result<Vec<ListedQueued>>;
}

/// What is kept with assets, over all runs.
pub trait AssetStateStore {
    /// The asset with this number, which is what the API calls it by.
    fn asset_numbered(&self, number: i64) -> Result<Option<Asset>>;
    fn asset_state(&self, asset: &AssetKey, key: &str) -> Result<Option<AssetStateEntry>>;
    /// In the order of their keys.
    fn asset_states(&self, asset: &AssetKey, page: Page) -> Result<(Vec<AssetStateEntry>, u64)>;
}

pub trait BackfillStore {
    fn backfill(&self, id: BackfillId) -> Result<Option<Backfill>>;
    /// Those of a Dag, or of all, by number, and how many there are in all; only those that are not completed, or are.
    fn backfills(
        &self,
        dag_id: Option<&DagId>,
        open: Option<bool>,
        direction: Direction,
        page: Page,
    ) -> Result<(Vec<Backfill>, u64)>;
    /// Those that are not completed, by number.
    fn open_backfills(&self) -> Result<Vec<Backfill>>;
    /// The highest number that a backfill ever had; 0 if there was none.
    fn last_backfill(&self) -> Result<BackfillId>;
}

pub trait VariableStore {
    fn variable(&self, key: &str) -> Result<Option<Variable>>;
    /// In the order of their keys. `pattern` must stand somewhere in the key.
    fn variables(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Variable>, u64)>;
    fn list_variables(
        &self,
        keys: &TextFilter,
        order: &[(VariableOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<Variable>, u64)>;
}

pub trait ConnectionStore {
    fn connection(&self, connection_id: &str) -> Result<Option<Connection>>;
    fn connections(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Connection>, u64)>;
    fn list_connections(
        &self,
        ids: &TextFilter,
        order: &[(ConnectionOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<Connection>, u64)>;
}

pub trait PoolStore {
    fn pool(&self, name: &str) -> Result<Option<Pool>>;
    fn pools(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Pool>, u64)>;
    fn list_pools(&self, names: &TextFilter, order: &[(PoolOrder, Direction)], page: Page) -> Result<(Vec<Pool>, u64)>;
    /// How many slots of each pool are taken by task instances in which state.
    fn pool_usage(&self) -> Result<Vec<(String, PoolUsage)>>;
}

/// All of it.
pub trait Store:
    Commit
    + RunStore
    + DagStore
    + XComStore
    + AssetStore
    + PartitionStore
    + AssetListStore
    + HitlStore
    + CallbackStore
    + TaskStateStore
    + AssetStateStore
    + OverviewStore
    + BackfillStore
    + VariableStore
    + ConnectionStore
    + PoolStore
    + Send
    + Sync
{
    /// Answers if the store can be read and written; the error says why not.
    fn check(&self) -> Result<()>;
}
