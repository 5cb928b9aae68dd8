//! What the engine looks up in the store for the scheduler: the structures of Dags, runs, and the answers to its needs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Dag, DagId, DagRun, DagRunState, RunKey, TaskId, TaskInstanceKey, VersionId};
use scheduler::{Event, LengthOf, LoadedRun, Need, PreviousRun, Skip, SkipDecision, Structure};
use store::{Direction, Page, RunExists, RunFilter, RunOrder, Store, StoreError};

use crate::deadlines;
use crate::hitl;
use crate::lengths::map_lengths;

/// The key under which branching tasks leave their decision (`SkipMixin` of the standard provider).
const SKIP_KEY: &str = "skipmixin_key";
/// Dag structures that are kept when no run needs them.
const CACHED_DAGS: usize = 256;

/// Where the structures of Dags come from.
pub trait DagSource: Send {
    /// The Dag as that version has it; `None` if there is no such version. The error is for people.
    fn dag(&self, version: VersionId) -> Result<Option<Arc<Dag>>, String>;
}

/// The store, and the structures of Dags that were read from it last.
pub(crate) struct Lookup<S: ?Sized, D> {
    store: Arc<S>,
    dags: DagCache<D>,
}

impl<S: Store + ?Sized, D: DagSource> Lookup<S, D> {
    pub(crate) fn new(store: Arc<S>, source: D) -> Self {
        Self { store, dags: DagCache { source, dags: HashMap::new(), order: VecDeque::new() } }
    }

    /// A run that was under way before.
    pub(crate) fn take_up(&mut self, run: DagRun) -> Result<Option<Event>, StoreError> {
        Ok(match run.state {
            DagRunState::Queued => Some(Event::RunFound(Box::new(run))),
            _ => Some(match self.load_run(&run.key)? {
                Some(loaded) => Event::RunLoaded(Box::new(loaded)),
                None => Event::RunUnreadable(Box::new(run)),
            }),
        })
    }

    pub(crate) fn active_runs_of(&self, dag_id: &DagId) -> Result<Vec<DagRun>, StoreError> {
        let states = vec![DagRunState::Queued, DagRunState::Running];
        let filter = RunFilter { dag_id: Some(dag_id.clone()), states, ..RunFilter::default() };
        Ok(self.store.runs(&filter, &[], Page::ALL)?.0)
    }

    pub(crate) fn answer(&mut self, need: &Need) -> Result<Option<Event>, StoreError> {
        Ok(Some(match need {
            Need::ScheduleCheck { dag_id, run_id, logical_date } => {
                let key = RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() };
                let taken = self.store.run_exists(&key, *logical_date)? != RunExists::No;
                Event::ScheduleChecked { dag_id: dag_id.clone(), structure: self.newest(dag_id)?, taken }
            }
            Need::AssetRun { dag_id } => {
                Event::AssetRunReady { dag_id: dag_id.clone(), structure: self.newest(dag_id)? }
            }
            Need::PartitionRuns { dag_id } => {
                Event::PartitionRunsReady { dag_id: dag_id.clone(), structure: self.newest(dag_id)? }
            }
            Need::Run(key) => match self.load_run(key)? {
                Some(loaded) => Event::RunLoaded(Box::new(loaded)),
                None => Event::RunUnavailable(key.clone()),
            },
            Need::PreviousRun { run, logical_date, scheduled_only, newcomers } => {
                let previous = self.store.run_before(&run.dag_id, *logical_date, *scheduled_only)?;
                let previous =
                    previous.map(|previous| self.previous(previous, *logical_date, newcomers)).transpose()?;
                Event::PreviousLoaded { run: run.clone(), previous }
            }
            Need::Structure { run } => {
                let structure = self.newest(&run.dag_id)?;
                let (skips, lengths) = match &structure {
                    Some(structure) => {
                        let lengths = map_lengths(&*self.store, run, &LengthOf::all(&structure.dag))?;
                        (self.skips(run, &structure.dag)?, lengths)
                    }
                    None => (Vec::new(), Vec::new()),
                };
                Event::StructureLoaded { run: run.clone(), structure, skips, lengths }
            }
            Need::MapLengths { run, tasks } => {
                Event::MapLengths { run: run.clone(), lengths: map_lengths(&*self.store, run, tasks)? }
            }
            Need::Deadlines { run, at } => {
                let moments = match self.store.run(run)? {
                    Some(made) => match self.dags.get(made.version) {
                        Some(dag) => deadlines::moments(&*self.store, &dag, &made, *at)?,
                        None => Vec::new(),
                    },
                    None => Vec::new(),
                };
                Event::DeadlinesSet { run: run.clone(), moments }
            }
            Need::HitlAnswer { key, at } => hitl::found(&*self.store, key, *at)?,
            Need::LastRuns { dag_id, count } => {
                let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
                let newest_first = [(RunOrder::RunAfter, Direction::Descending), (RunOrder::Id, Direction::Descending)];
                let page = Page { limit: u64::from(*count), offset: 0 };
                let (runs, _) = self.store.runs(&filter, &newest_first, page)?;
                let states = runs.into_iter().map(|run| run.state).collect();
                Event::LastRuns { dag_id: dag_id.clone(), states }
            }
        }))
    }

    /// The newest structure of a Dag that is in a file.
    pub(crate) fn newest(&mut self, dag_id: &DagId) -> Result<Option<Structure>, StoreError> {
        let record = self.store.dag(dag_id)?.filter(|record| !record.stale);
        let structure = record.and_then(|record| self.structure_of(record.version, record.bundle_version));
        Ok(structure.map(|structure| {
            let pinned = !structure.dag.disable_bundle_versioning;
            Structure { bundle_version: structure.bundle_version.filter(|_| pinned), ..structure }
        }))
    }

    fn structure_of(&mut self, version: VersionId, bundle_version: Option<String>) -> Option<Structure> {
        Some(Structure { version, bundle_version, dag: self.dags.get(version)? })
    }

    pub(crate) fn load_run(&mut self, key: &RunKey) -> Result<Option<LoadedRun>, StoreError> {
        let Some(run) = self.store.run(key)? else { return Ok(None) };
        // Where the bundle has no versions, runs follow the newest structure.
        let version = match &run.bundle_version {
            None => self.store.dag(&key.dag_id)?.map_or(run.version, |record| record.version),
            Some(_) => run.version,
        };
        let Some(structure) = self.structure_of(version, run.bundle_version.clone()) else {
            tracing::error!(run = %key, %version, "the run waits: the Dag's structure can't be read");
            return Ok(None);
        };
        let task_instances = self.store.task_instances_of(key)?;
        let skips = self.skips(key, &structure.dag)?;
        let lengths = map_lengths(&*self.store, key, &LengthOf::all(&structure.dag))?;
        let suspensions = self.store.suspensions_of(key)?;
        Ok(Some(LoadedRun { run, structure, task_instances, skips, lengths, suspensions }))
    }

    /// What an instance of a branch has decided.
    pub(crate) fn decision_of(&self, branch: &TaskInstanceKey) -> Result<Option<SkipDecision>, StoreError> {
        let TaskInstanceKey { run, task_id, map_index } = branch;
        let left = self.store.xcoms(run, Some(task_id), Some(*map_index), Some(SKIP_KEY))?;
        Ok(left.first().and_then(decision))
    }

    /// What the branches of a run have decided so far.
    fn skips(&self, run: &RunKey, dag: &Dag) -> Result<Vec<Skip>, StoreError> {
        if !dag.tasks().iter().any(|task| task.can_skip_downstream) {
            return Ok(Vec::new());
        }
        let entries = self.store.xcoms(run, None, None, Some(SKIP_KEY))?;
        let skip = |xcom: store::XCom| {
            Some(Skip { decision: decision(&xcom)?, branch: xcom.key.task_id, map_index: xcom.key.map_index })
        };
        Ok(entries.into_iter().filter_map(skip).collect())
    }

    fn previous(
        &mut self,
        previous: DagRun,
        before: Timestamp,
        newcomers: &[TaskId],
    ) -> Result<PreviousRun, StoreError> {
        let mut tasks: HashMap<TaskId, bool> = HashMap::new();
        for ti in self.store.task_instances_of(&previous.key)? {
            *tasks.entry(ti.task_id).or_insert(true) &= ti.state.is_success();
        }
        let mut first_timers = Vec::new();
        for task_id in newcomers {
            if !tasks.contains_key(task_id) && !self.store.task_ran_before(&previous.key.dag_id, task_id, before)? {
                first_timers.push(task_id.clone());
            }
        }
        Ok(PreviousRun { key: previous.key, logical_date: previous.logical_date, tasks, first_timers })
    }
}

fn decision(xcom: &store::XCom) -> Option<SkipDecision> {
    let texts = |name: &str| -> Option<Vec<TaskId>> {
        let list = xcom.value.get(name)?.as_array()?;
        Some(list.iter().filter_map(|task| task.as_str()).map(TaskId::from).collect())
    };
    texts("followed").map(SkipDecision::Followed).or_else(|| texts("skipped").map(SkipDecision::Skipped))
}

/// The structures that were used last.
struct DagCache<D> {
    source: D,
    dags: HashMap<VersionId, Arc<Dag>>,
    order: VecDeque<VersionId>,
}

impl<D: DagSource> DagCache<D> {
    fn get(&mut self, version: VersionId) -> Option<Arc<Dag>> {
        if let Some(dag) = self.dags.get(&version) {
            return Some(Arc::clone(dag));
        }
        match self.source.dag(version) {
            Ok(Some(dag)) => {
                if self.order.len() >= CACHED_DAGS
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.dags.remove(&oldest);
                }
                self.order.push_back(version);
                self.dags.insert(version, Arc::clone(&dag));
                Some(dag)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%version, %error, "the structure of a Dag can't be read");
                None
            }
        }
    }
}
