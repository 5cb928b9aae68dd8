//! The store in memory: for tests and for the simulation. It keeps nothing beyond its own life.

mod asset_lists;
mod asset_states;
mod assets;
mod backfills;
mod dags;
mod hitl;
mod order;
mod overview;
mod partitions;
mod runs;
mod settings;
mod table;
mod task_instances;
mod task_states;
mod write;
mod xcoms;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use model::partition::{PendingPartition, Told};
use model::{
    AssetEvent, AssetEventId, AssetKey, Backfill, BackfillId, Callback, CallbackId, DagId, DagRun, Deadline,
    DeadlineId, HitlDetail, Json, QueuedAsset, RunKey, Suspension, TaskInstance, TaskInstanceId, TaskInstanceKey,
    VersionId,
};

use crate::records::{
    AssetAlias, AssetRecord, AssetStateEntry, AssetUse, BundleRecord, Connection, DagRecord, DagVersion, DagWarning,
    FileRecord, ImportError, Pool, TaskStateEntry, Variable, XCom, XComKey,
};
use crate::{CallbackStore, Commit, Result, Store, StoreError, Write};
use table::{Journal, Table};

/// A store whose every operation is simple enough to be seen to be right.
pub struct MemoryStore {
    state: Mutex<State>,
    fault: Mutex<Option<CommitFault>>,
    /// How many reads succeed before one fails.
    reads_left: Mutex<Option<u32>>,
}

/// A fault that the simulation asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitFault {
    /// Fails, and nothing was written.
    Before,
    /// Fails after everything was written: the caller can't tell.
    After,
}

/// A record with its place in the order in which the records of its table were made.
#[derive(Clone)]
struct Numbered<T> {
    number: u64,
    record: T,
}

#[derive(Clone)]
struct Dag {
    /// The file that it came from, which is an archive where the Dag's own path goes on through it.
    source_file: String,
    /// The number of the run that `last_run_state` is of.
    last_run: Option<u64>,
    record: DagRecord,
}

#[derive(Default)]
struct State {
    dags: Table<DagId, Dag>,
    versions: Table<VersionId, DagVersion>,
    files: Table<(String, String), FileRecord>,
    /// With the file whose import failed.
    import_errors: Table<i64, (String, ImportError)>,
    runs: Table<RunKey, Numbered<DagRun>>,
    task_instances: Table<TaskInstanceKey, TaskInstance>,
    tries: Table<(TaskInstanceKey, TaskInstanceId), TaskInstance>,
    /// By try: when each of its stretches began.
    reschedules: Table<(TaskInstanceKey, u32), Vec<Timestamp>>,
    rendered: Table<TaskInstanceKey, Json>,
    suspensions: Table<TaskInstanceKey, Suspension>,
    hitl: Table<TaskInstanceKey, HitlDetail>,
    hitl_tries: Table<(TaskInstanceKey, TaskInstanceId), HitlDetail>,
    callbacks: Table<CallbackId, Callback>,
    /// With whether they were missed.
    deadlines: Table<DeadlineId, (Deadline, bool)>,
    xcoms: Table<XComKey, XCom>,
    assets: Table<AssetKey, Numbered<AssetRecord>>,
    /// With whether some task produces it.
    dag_assets: Table<DagId, Vec<(AssetKey, bool)>>,
    asset_events: Table<AssetEventId, AssetEvent>,
    asset_states: Table<(AssetKey, String), AssetStateEntry>,
    asset_cursors: Table<DagId, AssetEventId>,
    asset_queue: Table<(DagId, AssetKey), QueuedAsset>,
    alias_assets: Table<(String, AssetKey), ()>,
    asset_aliases: Table<String, Numbered<AssetAlias>>,
    /// When an asset was made, and when it was changed.
    asset_moments: Table<AssetKey, (Timestamp, Timestamp)>,
    /// Since when.
    asset_uses: Table<(DagId, AssetKey, AssetUse), Timestamp>,
    /// Events that a run was made of.
    asset_consumed: Table<(RunKey, AssetEventId), ()>,
    partitions_pending: Table<(DagId, String), PendingPartition>,
    partition_events: Table<(DagId, String, AssetEventId), Option<Told>>,
    /// Events of which Python has not said yet which keys follow from them.
    partitions_unmapped: Table<(DagId, AssetEventId), ()>,
    task_states: Table<(TaskInstanceKey, String), TaskStateEntry>,
    task_notes: Table<TaskInstanceKey, String>,
    backfills: Table<BackfillId, Backfill>,
    dag_warnings: Table<DagId, DagWarning>,
    bundles: Table<String, BundleRecord>,
    variables: Table<String, Numbered<Variable>>,
    connections: Table<String, Numbered<Connection>>,
    pools: Table<String, Numbered<Pool>>,
    made: Made,
}

/// How many records of each kind have ever been made.
#[derive(Clone, Copy, Default)]
struct Made {
    runs: u64,
    import_errors: i64,
    settings: u64,
    assets: u64,
    backfills: i64,
}

impl State {
    fn tables(&mut self) -> [&mut dyn Journal; 37] {
        [
            &mut self.dags,
            &mut self.versions,
            &mut self.files,
            &mut self.import_errors,
            &mut self.runs,
            &mut self.task_instances,
            &mut self.tries,
            &mut self.reschedules,
            &mut self.rendered,
            &mut self.suspensions,
            &mut self.hitl,
            &mut self.hitl_tries,
            &mut self.callbacks,
            &mut self.deadlines,
            &mut self.xcoms,
            &mut self.assets,
            &mut self.dag_assets,
            &mut self.asset_events,
            &mut self.asset_states,
            &mut self.asset_cursors,
            &mut self.asset_queue,
            &mut self.alias_assets,
            &mut self.asset_aliases,
            &mut self.asset_moments,
            &mut self.asset_uses,
            &mut self.asset_consumed,
            &mut self.partitions_pending,
            &mut self.partition_events,
            &mut self.partitions_unmapped,
            &mut self.task_states,
            &mut self.task_notes,
            &mut self.backfills,
            &mut self.dag_warnings,
            &mut self.bundles,
            &mut self.variables,
            &mut self.connections,
            &mut self.pools,
        ]
    }

    fn commit(&mut self, batch: Vec<Write>) -> Result<()> {
        let made = self.made;
        let result = batch.into_iter().try_for_each(|write| self.apply(write));
        for table in self.tables() {
            match result {
                Ok(()) => table.keep(),
                Err(_) => table.undo(),
            }
        }
        if result.is_err() {
            self.made = made;
        }
        result
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store, but for the default pool.
    pub fn new() -> Self {
        let mut state = State::default();
        state.put_pool(Pool {
            name: "default_pool".into(),
            slots: 128,
            description: Some("Default pool".into()),
            include_deferred: false,
        });
        state.tables().into_iter().for_each(Journal::keep);
        Self { state: Mutex::new(state), fault: Mutex::default(), reads_left: Mutex::default() }
    }

    /// Lets the next commit fail.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Lets one read fail, after so many others; `None` takes that back.
    pub fn fail_read_after(&self, others: Option<u32>) {
        *self.reads_left.lock().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// The state for a read, which may be one that is to fail.
    fn read(&self) -> Result<MutexGuard<'_, State>> {
        let mut reads_left = self.reads_left.lock().unwrap_or_else(PoisonError::into_inner);
        match *reads_left {
            Some(0) => {
                *reads_left = None;
                return Err(StoreError::Failed("simulated: nothing can be read".into()));
            }
            Some(left) => *reads_left = Some(left - 1),
            None => {}
        }
        drop(reads_left);
        Ok(self.state())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Commit for MemoryStore {
    fn commit(&self, batch: Vec<Write>) -> Result<()> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        if fault == Some(CommitFault::Before) {
            return Err(StoreError::Failed("simulated: nothing was written".into()));
        }
        self.state().commit(batch)?;
        match fault {
            Some(CommitFault::After) => Err(StoreError::Failed("simulated: written, but nobody was told".into())),
            _ => Ok(()),
        }
    }
}

impl CallbackStore for MemoryStore {
    fn callbacks(&self) -> Result<Vec<Callback>> {
        Ok(self.state().callbacks.values().cloned().collect())
    }

    fn deadlines(&self) -> Result<Vec<Deadline>> {
        let state = self.state();
        Ok(state.deadlines.values().filter(|(_, missed)| !missed).map(|(deadline, _)| deadline.clone()).collect())
    }
}

impl Store for MemoryStore {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
