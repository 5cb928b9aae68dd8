//! The store in memory: for tests and for the simulation. It keeps nothing beyond its own life.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use model::{
    Change, DagId, DagRun, DagRunState, DagSchedule, Json, MapIndex, RunKey, RunType, TaskId, TaskInstance,
    TaskInstanceKey, TaskState, VersionId,
};

use crate::query::{
    ConnectionOrder, DagFilter, DagOrder, Direction, ImportErrorFilter, ImportErrorOrder, Page, PoolOrder, RunFilter,
    RunOrder, TaskInstanceFilter, TaskInstanceOrder, TextFilter, VariableOrder, XComFilter, XComOrder, like,
    run_updated_at,
};
use crate::records::{
    Connection, DagRecord, DagVersion, FileRecord, ImportError, Pool, PoolUsage, TaskTry, Variable, VersionHead, XCom,
    XComHead, XComKey,
};
use crate::write::{ImportedDag, ImportedFile};
use crate::{
    Commit, ConnectionStore, DagStore, PoolStore, Result, RunExists, RunStore, Store, StoreError, VariableStore, Write,
    XComStore,
};

#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    fault: Mutex<Option<CommitFault>>,
}

/// A fault that the simulation asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitFault {
    /// Fails, and nothing was written.
    Before,
    /// Fails after everything was written: the caller can't tell.
    After,
}

#[derive(Clone, Default)]
struct State {
    dags: BTreeMap<DagId, (String, DagRecord)>,
    versions: Vec<DagVersion>,
    files: BTreeMap<(String, String), FileRecord>,
    import_errors: BTreeMap<i64, (String, ImportError)>,
    last_import_error: i64,
    /// With the order in which they were made.
    runs: BTreeMap<RunKey, (u64, DagRun)>,
    task_instances: BTreeMap<TaskInstanceKey, TaskInstance>,
    tries: BTreeMap<TaskInstanceKey, Vec<TaskInstance>>,
    reschedules: BTreeMap<(TaskInstanceKey, u32), Vec<Timestamp>>,
    rendered: BTreeMap<TaskInstanceKey, Json>,
    xcoms: BTreeMap<XComKey, XCom>,
    variables: Numbered<Variable>,
    connections: Numbered<Connection>,
    pools: Numbered<Pool>,
}

impl MemoryStore {
    /// An empty store, but for the default pool.
    pub fn new() -> Self {
        let store = Self::default();
        let pool = Pool {
            name: "default_pool".into(),
            slots: 128,
            description: Some("Default pool".into()),
            include_deferred: false,
        };
        put(&mut store.state().pools, pool.name.clone(), pool);
        store
    }

    /// Lets the next commit fail.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
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
        self.write(batch)?;
        match fault {
            Some(CommitFault::After) => Err(StoreError::Failed("simulated: written, but nobody was told".into())),
            _ => Ok(()),
        }
    }
}

impl MemoryStore {
    fn write(&self, batch: Vec<Write>) -> Result<()> {
        let mut state = self.state();
        // A decision of the scheduler can't fail half way: what it could collide with is looked for first.
        let needs_undo = batch.iter().any(|write| !matches!(write, Write::Decision(_) | Write::XCom(_)));
        let undo = needs_undo.then(|| state.clone());
        for write in batch {
            if let Err(error) = state.apply(write) {
                if let Some(undo) = undo {
                    *state = undo;
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn conflict(what: String) -> Result<()> {
    Err(StoreError::Conflict { what })
}

fn remove<T>(map: &mut BTreeMap<String, T>, kind: &str, name: &str) -> Result<()> {
    match map.remove(name) {
        Some(_) => Ok(()),
        None => Err(StoreError::Missing { what: format!("the {kind} {name:?}") }),
    }
}

impl State {
    fn apply(&mut self, write: Write) -> Result<()> {
        match write {
            Write::Decision(change) => return self.change(change),
            Write::XCom(xcom) => {
                self.require_run(&xcom.key.run)?;
                self.xcoms.insert(xcom.key.clone(), *xcom);
            }
            Write::DeleteXCom(key) => {
                self.require_run(&key.run)?;
                self.xcoms.remove(&key);
            }
            Write::ClearXComs(key) => {
                self.require_run(&key.run)?;
                self.xcoms.retain(|xcom, _| {
                    xcom.run != key.run || xcom.task_id != key.task_id || xcom.map_index != key.map_index
                });
            }
            Write::RenderedFields { key, fields } => {
                self.require_run(&key.run)?;
                self.rendered.insert(key, fields);
            }
            Write::Rescheduled { key, try_number, start, .. } => {
                self.require_run(&key.run)?;
                self.reschedules.entry((key, try_number)).or_default().push(start);
            }
            Write::Imported(file) => self.imported(*file),
            Write::FileGone { bundle_name, relative_fileloc } => self.file_gone(&bundle_name, &relative_fileloc),
            Write::NewVariable(variable) if self.variables.contains_key(&variable.key) => {
                return conflict(format!("the variable {:?}", variable.key));
            }
            Write::NewVariable(variable) | Write::Variable(variable) => {
                put(&mut self.variables, variable.key.clone(), variable);
            }
            Write::DeleteVariable(key) => return remove(&mut self.variables, "variable", &key),
            Write::NewConnection(connection) if self.connections.contains_key(&connection.connection_id) => {
                return conflict(format!("the connection {:?}", connection.connection_id));
            }
            Write::NewConnection(connection) | Write::Connection(connection) => {
                put(&mut self.connections, connection.connection_id.clone(), *connection);
            }
            Write::DeleteConnection(id) => return remove(&mut self.connections, "connection", &id),
            Write::NewPool(pool) if self.pools.contains_key(&pool.name) => {
                return conflict(format!("the pool {:?}", pool.name));
            }
            Write::NewPool(pool) | Write::Pool(pool) => {
                put(&mut self.pools, pool.name.clone(), pool);
            }
            Write::DeletePool(name) => return remove(&mut self.pools, "pool", &name),
            Write::RunNote { run, note } => match self.runs.get_mut(&run) {
                Some((_, run)) => run.note = note,
                None => return Err(StoreError::Missing { what: format!("the run {run}") }),
            },
        }
        Ok(())
    }

    fn require_run(&self, run: &RunKey) -> Result<()> {
        if self.runs.contains_key(run) { Ok(()) } else { Err(StoreError::Missing { what: format!("the run {run}") }) }
    }

    fn change(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Run(run) => return self.run(*run),
            Change::TaskInstance(ti) => {
                self.require_run(&ti.run)?;
                self.task_instances.insert(ti.key(), *ti);
            }
            Change::ArchivedTry(ti) => {
                self.require_run(&ti.run)?;
                let tries = self.tries.entry(ti.key()).or_default();
                tries.retain(|other| other.id != ti.id);
                tries.push(*ti);
                tries.sort_by_key(|ti| ti.id);
            }
            Change::Schedule { dag_id, schedule } => {
                if let Some((_, dag)) = self.dags.get_mut(&dag_id) {
                    dag.schedule = *schedule;
                }
            }
            Change::Paused { dag_id, paused } => {
                if let Some((_, dag)) = self.dags.get_mut(&dag_id) {
                    dag.paused = paused;
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, mut run: DagRun) -> Result<()> {
        let of_dag = |other: &RunKey| other.dag_id == run.key.dag_id;
        let same_date = |other: &DagRun| other.logical_date.is_some() && other.logical_date == run.logical_date;
        if self.runs.iter().any(|(key, (_, other))| of_dag(key) && *key != run.key && same_date(other)) {
            return conflict(format!("a run of Dag {} with this logical date", run.key.dag_id));
        }
        let newest =
            self.runs.iter().filter(|(key, _)| of_dag(key)).all(|(_, (_, other))| other.run_after <= run.run_after);
        if let (true, Some((_, dag))) = (newest, self.dags.get_mut(&run.key.dag_id)) {
            dag.last_run_state = Some(run.state);
            dag.last_run_start = run.start_date;
        }
        let number = self.runs.len() as u64;
        match self.runs.entry(run.key.clone()) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((number, run));
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                run.note = run.note.or_else(|| entry.get().1.note.clone());
                entry.get_mut().1 = run;
            }
        }
        Ok(())
    }

    fn imported(&mut self, file: ImportedFile) {
        let place = (file.bundle_name.clone(), file.relative_fileloc.clone());
        let dag_ids: Vec<DagId> = file.dags.iter().map(|dag| dag.dag_id.clone()).collect();
        self.import_errors.retain(|_, (source, error)| (&error.bundle_name, &*source) != (&place.0, &place.1));
        for (filename, stack_trace) in &file.errors {
            self.last_import_error += 1;
            let error = ImportError {
                id: self.last_import_error,
                bundle_name: file.bundle_name.clone(),
                filename: filename.clone(),
                at: file.at,
                stack_trace: stack_trace.clone(),
            };
            self.import_errors.insert(error.id, (file.relative_fileloc.clone(), error));
        }
        let failed = !file.errors.is_empty();
        for (source, dag) in self.dags.values_mut() {
            if dag.bundle_name == place.0 && *source == place.1 && !dag_ids.contains(&dag.dag_id) {
                if failed {
                    dag.has_import_errors = true;
                } else {
                    dag.stale = true;
                }
            }
        }
        for dag in &file.dags {
            let version = self.version(&file, dag);
            let known = self.dags.get(&dag.dag_id).map(|(_, dag)| dag.clone());
            let record = record_of(&file, dag, version, known);
            self.dags.insert(dag.dag_id.clone(), (file.relative_fileloc.clone(), record));
        }
        let record = FileRecord {
            bundle_name: file.bundle_name,
            relative_fileloc: file.relative_fileloc,
            fingerprint: file.fingerprint,
            imported_at: file.at,
            duration: file.duration,
            dag_ids,
        };
        self.files.insert(place, record);
    }

    fn version(&mut self, file: &ImportedFile, dag: &ImportedDag) -> VersionId {
        let last =
            self.versions.iter().filter(|version| version.dag_id == dag.dag_id).max_by_key(|version| version.number);
        let number = match last {
            Some(last) if last.hash == dag.hash && last.bundle_version == dag.bundle_version => return last.id,
            Some(last) => last.number + 1,
            None => 1,
        };
        self.versions.push(DagVersion {
            id: dag.version,
            dag_id: dag.dag_id.clone(),
            number,
            hash: dag.hash.clone(),
            bundle_name: file.bundle_name.clone(),
            bundle_version: dag.bundle_version.clone(),
            created_at: file.at,
            serialized: dag.serialized.clone(),
            extras: dag.extras.clone(),
        });
        dag.version
    }

    fn file_gone(&mut self, bundle_name: &str, relative_fileloc: &str) {
        self.files.remove(&(bundle_name.to_owned(), relative_fileloc.to_owned()));
        self.import_errors.retain(|_, (source, error)| error.bundle_name != bundle_name || source != relative_fileloc);
        for (source, dag) in self.dags.values_mut() {
            dag.stale |= dag.bundle_name == bundle_name && source == relative_fileloc;
        }
    }

    fn first_run(&self, matches: impl Fn(&DagRun) -> bool) -> Option<DagRun> {
        self.runs.values().map(|(_, run)| run).filter(|run| matches(run)).max_by_key(|run| run.logical_date).cloned()
    }
}

fn record_of(file: &ImportedFile, dag: &ImportedDag, version: VersionId, known: Option<DagRecord>) -> DagRecord {
    DagRecord {
        dag_id: dag.dag_id.clone(),
        display_name: dag.display_name.clone(),
        description: dag.description.clone(),
        paused: known.as_ref().map_or(dag.paused_upon_creation, |known| known.paused),
        stale: false,
        bundle_name: file.bundle_name.clone(),
        bundle_version: dag.bundle_version.clone(),
        relative_fileloc: dag.relative_fileloc.clone(),
        fileloc: dag.fileloc.clone(),
        owners: dag.owners.clone(),
        tags: dag.tags.clone(),
        timetable_type: dag.timetable_type.clone(),
        timetable_summary: dag.timetable_summary.clone(),
        timetable_description: dag.timetable_description.clone(),
        max_active_tasks: dag.max_active_tasks,
        max_active_runs: dag.max_active_runs,
        max_consecutive_failed_dag_runs: dag.max_consecutive_failed_dag_runs,
        has_task_concurrency_limits: dag.has_task_concurrency_limits,
        has_import_errors: !file.errors.is_empty(),
        allowed_run_types: dag.allowed_run_types.clone(),
        last_parsed_at: file.at,
        last_parse_duration: file.duration,
        version,
        schedule: known.as_ref().map_or_else(DagSchedule::default, |known| known.schedule.clone()),
        facts: dag.facts.clone(),
        last_run_state: known.as_ref().and_then(|known| known.last_run_state),
        last_run_start: known.and_then(|known| known.last_run_start),
    }
}

/// Sorts by the keys in turn, and then by `last`, which goes the way of the first key. What has no value comes last in
/// either direction.
fn sort<T, O: Copy>(
    rows: &mut [T],
    order: &[(O, Direction)],
    last: impl Fn(&T, &T) -> Ordering,
    compare: impl Fn(O, &T, &T) -> Compared,
) {
    let backwards = order.first().is_some_and(|(_, direction)| *direction == Direction::Descending);
    rows.sort_by(|a, b| {
        order
            .iter()
            .map(|(key, direction)| match (compare(*key, a, b), direction) {
                (Compared::Missing(ordering), _) => ordering,
                (Compared::Values(ordering), Direction::Ascending) => ordering,
                (Compared::Values(ordering), Direction::Descending) => ordering.reverse(),
            })
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| if backwards { last(b, a) } else { last(a, b) })
    });
}

enum Compared {
    Values(Ordering),
    /// At least one has no value.
    Missing(Ordering),
}

fn compare<V: Ord>(a: V, b: V) -> Compared {
    Compared::Values(a.cmp(&b))
}

fn compare_optional<V: Ord>(a: Option<V>, b: Option<V>) -> Compared {
    match (a, b) {
        (Some(a), Some(b)) => Compared::Values(a.cmp(&b)),
        (a, b) => Compared::Missing(a.is_none().cmp(&b.is_none())),
    }
}

fn like_if(text: &str, pattern: Option<&str>) -> bool {
    pattern.is_none_or(|pattern| like(text, pattern))
}

fn among<T: PartialEq>(value: &T, allowed: &[T]) -> bool {
    allowed.is_empty() || allowed.contains(value)
}

impl RunStore for MemoryStore {
    fn run(&self, key: &RunKey) -> Result<Option<DagRun>> {
        Ok(self.state().runs.get(key).map(|(_, run)| run.clone()))
    }

    fn runs(&self, filter: &RunFilter, order: &[(RunOrder, Direction)], page: Page) -> Result<(Vec<DagRun>, u64)> {
        let mut found: Vec<(u64, DagRun)> = self
            .state()
            .runs
            .values()
            .filter(|(_, run)| {
                filter.dag_id.as_ref().is_none_or(|dag_id| *dag_id == run.key.dag_id)
                    && like_if(run.key.run_id.as_str(), filter.run_id_pattern.as_deref())
                    && among(&run.state, &filter.states)
                    && among(&run.run_type, &filter.run_types)
                    && filter.logical_date.contains(run.logical_date)
                    && filter.run_after.contains(Some(run.run_after))
                    && filter.start_date.contains(run.start_date)
                    && filter.end_date.contains(run.end_date)
                    && filter.updated_at.contains(run_updated_at(run))
                    && filter.duration.contains(run.duration())
            })
            .cloned()
            .collect();
        sort(
            &mut found,
            order,
            |(a, _), (b, _)| a.cmp(b),
            |key, (number_a, a), (number_b, b)| match key {
                RunOrder::Id => compare(number_a, number_b),
                RunOrder::State => compare(a.state.name(), b.state.name()),
                RunOrder::DagId => compare(&a.key.dag_id, &b.key.dag_id),
                RunOrder::RunId => compare(&a.key.run_id, &b.key.run_id),
                RunOrder::LogicalDate => compare_optional(a.logical_date, b.logical_date),
                RunOrder::RunAfter => compare(a.run_after, b.run_after),
                RunOrder::StartDate => compare_optional(a.start_date, b.start_date),
                RunOrder::EndDate => compare_optional(a.end_date, b.end_date),
                RunOrder::RunType => compare(a.run_type.name(), b.run_type.name()),
                RunOrder::Duration => compare_optional(a.duration(), b.duration()),
                RunOrder::UpdatedAt => compare_optional(run_updated_at(a), run_updated_at(b)),
                RunOrder::Conf => compare(a.conf.to_string(), b.conf.to_string()),
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().map(|(_, run)| run).collect(), total))
    }

    fn active_runs(&self) -> Result<Vec<DagRun>> {
        let states = vec![DagRunState::Queued, DagRunState::Running];
        self.runs(&RunFilter { states, ..RunFilter::default() }, &[], Page::ALL).map(|(runs, _)| runs)
    }

    fn run_exists(&self, key: &RunKey, logical_date: Option<Timestamp>) -> Result<RunExists> {
        let state = self.state();
        if state.runs.contains_key(key) {
            return Ok(RunExists::SameId);
        }
        let same_date = |run: &DagRun| run.key.dag_id == key.dag_id && run.logical_date == logical_date;
        Ok(if logical_date.is_some() && state.runs.values().any(|(_, run)| same_date(run)) {
            RunExists::SameLogicalDate
        } else {
            RunExists::No
        })
    }

    fn run_before(&self, dag_id: &DagId, before: Timestamp, scheduled_only: bool) -> Result<Option<DagRun>> {
        Ok(self.state().first_run(|run| {
            run.key.dag_id == *dag_id
                && run.logical_date.is_some_and(|date| date < before)
                && !(scheduled_only && run.run_type == RunType::Manual)
        }))
    }

    fn task_ran_before(&self, dag_id: &DagId, task_id: &TaskId, before: Timestamp) -> Result<bool> {
        let state = self.state();
        let is_before =
            |run: &RunKey| state.runs.get(run).and_then(|(_, run)| run.logical_date).is_some_and(|date| date < before);
        Ok(state
            .task_instances
            .keys()
            .any(|key| key.run.dag_id == *dag_id && key.task_id == *task_id && is_before(&key.run)))
    }

    fn last_successful_run(&self, dag_id: &DagId, before: Timestamp) -> Result<Option<DagRun>> {
        Ok(self.state().first_run(|run| {
            run.key.dag_id == *dag_id
                && run.state == DagRunState::Success
                && run.logical_date.is_some_and(|date| date < before)
        }))
    }

    fn task_instance(&self, key: &TaskInstanceKey) -> Result<Option<TaskInstance>> {
        Ok(self.state().task_instances.get(key).cloned())
    }

    fn task_instances_of(&self, run: &RunKey) -> Result<Vec<TaskInstance>> {
        let first = TaskInstanceKey { run: run.clone(), task_id: TaskId::from(""), map_index: MapIndex(i32::MIN) };
        let state = self.state();
        Ok(state
            .task_instances
            .range(first..)
            .take_while(|(key, _)| key.run == *run)
            .map(|(_, ti)| ti.clone())
            .collect())
    }

    fn task_instances(
        &self,
        filter: &TaskInstanceFilter,
        order: &[(TaskInstanceOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<TaskInstance>, u64)> {
        let state = self.state();
        let run_of = |ti: &TaskInstance| state.runs.get(&ti.run).map(|(_, run)| run);
        let mut found: Vec<TaskInstance> = state
            .task_instances
            .values()
            .filter(|ti| {
                filter.dag_id.as_ref().is_none_or(|dag_id| *dag_id == ti.run.dag_id)
                    && filter.run_id.as_ref().is_none_or(|run_id| *run_id == ti.run.run_id)
                    && (filter.task_ids.is_empty() || filter.task_ids.iter().any(|id| id == ti.task_id.as_str()))
                    && like_if(ti.task_id.as_str(), filter.task_id_pattern.as_deref())
                    && among(&ti.state, &filter.states)
                    && (filter.pools.is_empty() || filter.pools.iter().any(|pool| **pool == *ti.pool))
                    && (filter.queues.is_empty() || filter.queues.iter().any(|queue| **queue == *ti.queue))
                    && (filter.operators.is_empty() || filter.operators.iter().any(|name| **name == *ti.operator))
                    && filter.map_index.is_none_or(|index| index == ti.map_index.0)
                    && filter.start_date.contains(ti.start_date)
                    && filter.end_date.contains(ti.end_date)
                    && filter.duration.contains(ti.duration())
                    && filter.logical_date.contains(run_of(ti).and_then(|run| run.logical_date))
            })
            .cloned()
            .collect();
        sort(
            &mut found,
            order,
            |a, b| a.id.cmp(&b.id),
            |key, a, b| match key {
                TaskInstanceOrder::Id => compare(a.id, b.id),
                TaskInstanceOrder::State => compare_optional(a.state.name(), b.state.name()),
                TaskInstanceOrder::Duration => compare_optional(a.duration(), b.duration()),
                TaskInstanceOrder::StartDate => compare_optional(a.start_date, b.start_date),
                TaskInstanceOrder::EndDate => compare_optional(a.end_date, b.end_date),
                TaskInstanceOrder::MapIndex => compare(a.map_index, b.map_index),
                TaskInstanceOrder::TaskId => compare(&a.task_id, &b.task_id),
                TaskInstanceOrder::RunAfter => {
                    compare_optional(run_of(a).map(|run| run.run_after), run_of(b).map(|run| run.run_after))
                }
                TaskInstanceOrder::LogicalDate => compare_optional(
                    run_of(a).and_then(|run| run.logical_date),
                    run_of(b).and_then(|run| run.logical_date),
                ),
                TaskInstanceOrder::TryNumber => compare(a.try_number, b.try_number),
                TaskInstanceOrder::IntervalStart => {
                    let start = |ti| run_of(ti).and_then(|run| run.data_interval).map(|interval| interval.start);
                    compare_optional(start(a), start(b))
                }
                TaskInstanceOrder::IntervalEnd => {
                    let end = |ti| run_of(ti).and_then(|run| run.data_interval).map(|interval| interval.end);
                    compare_optional(end(a), end(b))
                }
                TaskInstanceOrder::RenderedMapIndex => {
                    compare_optional(a.rendered_map_index.as_ref(), b.rendered_map_index.as_ref())
                }
                TaskInstanceOrder::Operator => compare(&a.operator, &b.operator),
            },
        );
        Ok(page.cut(found))
    }

    fn archived_tries(&self, key: &TaskInstanceKey) -> Result<Vec<TaskTry>> {
        let tries = self.state().tries.get(key).cloned().unwrap_or_default();
        Ok(tries.into_iter().map(|task_instance| TaskTry { task_instance }).collect())
    }

    fn rendered_fields(&self, key: &TaskInstanceKey) -> Result<Option<Json>> {
        Ok(self.state().rendered.get(key).cloned())
    }

    fn reschedules(&self, key: &TaskInstanceKey) -> Result<(u32, Option<Timestamp>)> {
        let state = self.state();
        let try_number = state.task_instances.get(key).map_or(0, |ti| ti.try_number);
        let starts = state.reschedules.get(&(key.clone(), try_number));
        Ok(starts.map_or((0, None), |starts| (starts.len() as u32, starts.iter().min().copied())))
    }
}

impl DagStore for MemoryStore {
    fn dag(&self, dag_id: &DagId) -> Result<Option<DagRecord>> {
        Ok(self.state().dags.get(dag_id).map(|(_, dag)| dag.clone()))
    }

    fn dags(&self, filter: &DagFilter, order: &[(DagOrder, Direction)], page: Page) -> Result<(Vec<DagRecord>, u64)> {
        let tags: BTreeSet<&String> = filter.tags.iter().collect();
        let mut found: Vec<DagRecord> = self
            .state()
            .dags
            .values()
            .map(|(_, dag)| dag)
            .filter(|dag| {
                let has = |tag: &&String| dag.tags.contains(tag);
                let tags_match =
                    if filter.all_tags { tags.iter().all(has) } else { tags.is_empty() || tags.iter().any(has) };
                tags_match
                    && !(filter.exclude_stale && dag.stale)
                    && filter.paused.is_none_or(|paused| paused == dag.paused)
                    && like_if(dag.dag_id.as_str(), filter.dag_id_pattern.as_deref())
                    && like_if(&dag.display_name, filter.display_name_pattern.as_deref())
                    && (filter.owners.is_empty() || filter.owners.iter().any(|owner| dag.owners.contains(owner)))
                    && filter.bundle_name.as_ref().is_none_or(|name| *name == dag.bundle_name)
                    && filter.has_import_errors.is_none_or(|has| has == dag.has_import_errors)
                    && filter.last_run_state.is_none_or(|state| dag.last_run_state == Some(state))
            })
            .cloned()
            .collect();
        sort(
            &mut found,
            order,
            |a, b| a.dag_id.cmp(&b.dag_id),
            |key, a, b| match key {
                DagOrder::DagId => compare(&a.dag_id, &b.dag_id),
                DagOrder::DisplayName => compare(&a.display_name, &b.display_name),
                DagOrder::NextRun => {
                    let next = |dag: &DagRecord| dag.schedule.next_run.map(|next| next.run_after);
                    compare_optional(next(a), next(b))
                }
                DagOrder::LastRunState => {
                    compare_optional(a.last_run_state.map(DagRunState::name), b.last_run_state.map(DagRunState::name))
                }
                DagOrder::LastRunStart => compare_optional(a.last_run_start, b.last_run_start),
            },
        );
        Ok(page.cut(found))
    }

    fn version(&self, id: VersionId) -> Result<Option<DagVersion>> {
        Ok(self.state().versions.iter().find(|version| version.id == id).cloned())
    }

    fn latest_version(&self, dag_id: &DagId) -> Result<Option<DagVersion>> {
        let state = self.state();
        Ok(state
            .versions
            .iter()
            .filter(|version| version.dag_id == *dag_id)
            .max_by_key(|version| version.number)
            .cloned())
    }

    fn files(&self) -> Result<Vec<FileRecord>> {
        Ok(self.state().files.values().cloned().collect())
    }

    fn version_head(&self, id: VersionId) -> Result<Option<VersionHead>> {
        Ok(self.version(id)?.map(|version| VersionHead {
            id: version.id,
            dag_id: version.dag_id,
            number: version.number,
            bundle_name: version.bundle_name,
            bundle_version: version.bundle_version,
            created_at: version.created_at,
        }))
    }

    fn import_errors(&self, page: Page) -> Result<(Vec<ImportError>, u64)> {
        self.list_import_errors(&ImportErrorFilter::default(), &[], page)
    }

    fn import_error(&self, id: i64) -> Result<Option<ImportError>> {
        Ok(self.state().import_errors.get(&id).map(|(_, error)| error.clone()))
    }

    fn list_import_errors(
        &self,
        filter: &ImportErrorFilter,
        order: &[(ImportErrorOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ImportError>, u64)> {
        let state = self.state();
        let matches = |error: &&ImportError| {
            filter.filename.as_ref().is_none_or(|name| *name == error.filename)
                && filter.filenames.matches(Some(&error.filename))
                && filter.bundle_name.as_ref().is_none_or(|name| *name == error.bundle_name)
        };
        let mut found: Vec<ImportError> =
            state.import_errors.values().map(|(_, error)| error).filter(matches).cloned().collect();
        sort(
            &mut found,
            order,
            |a, b| a.id.cmp(&b.id),
            |key, a, b| match key {
                ImportErrorOrder::Id => compare(a.id, b.id),
                ImportErrorOrder::At => compare(a.at, b.at),
                ImportErrorOrder::Filename => compare(&a.filename, &b.filename),
                ImportErrorOrder::BundleName => compare(&a.bundle_name, &b.bundle_name),
                ImportErrorOrder::StackTrace => compare(&a.stack_trace, &b.stack_trace),
            },
        );
        Ok(page.cut(found))
    }
}

fn xcom_matches(filter: &XComFilter, key: &XComKey, run: &DagRun, display_name: Option<&str>) -> bool {
    filter.dag_id.as_ref().is_none_or(|dag_id| *dag_id == key.run.dag_id)
        && filter.run_id.as_ref().is_none_or(|run_id| *run_id == key.run.run_id)
        && filter.task_id.as_ref().is_none_or(|task_id| *task_id == key.task_id)
        && filter.map_index.is_none_or(|index| index == i64::from(key.map_index.0))
        && filter.key.as_ref().is_none_or(|wanted| *wanted == key.key)
        && filter.keys.matches(Some(&key.key))
        && filter.dag_display_names.matches(display_name)
        && filter.run_ids.matches(Some(key.run.run_id.as_str()))
        && filter.task_ids.matches(Some(key.task_id.as_str()))
        && filter.logical_date.contains(run.logical_date)
        && filter.run_after.contains(Some(run.run_after))
}

impl XComStore for MemoryStore {
    fn xcom(&self, key: &XComKey) -> Result<Option<XCom>> {
        Ok(self.state().xcoms.get(key).cloned())
    }

    fn xcoms(
        &self,
        run: &RunKey,
        task_id: Option<&TaskId>,
        map_index: Option<MapIndex>,
        key: Option<&str>,
    ) -> Result<Vec<XCom>> {
        Ok(self
            .state()
            .xcoms
            .values()
            .filter(|xcom| {
                xcom.key.run == *run
                    && task_id.is_none_or(|task_id| *task_id == xcom.key.task_id)
                    && map_index.is_none_or(|map_index| map_index == xcom.key.map_index)
                    && key.is_none_or(|key| key == xcom.key.key)
            })
            .cloned()
            .collect())
    }

    fn list_xcoms(
        &self,
        filter: &XComFilter,
        order: &[(XComOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<XComHead>, u64)> {
        let state = self.state();
        let mut found: Vec<(u64, XComHead)> = Vec::new();
        for xcom in state.xcoms.values() {
            let Some((number, run)) = state.runs.get(&xcom.key.run) else { continue };
            let display_name = state.dags.get(&xcom.key.run.dag_id).map(|(_, dag)| dag.display_name.as_str());
            if xcom_matches(filter, &xcom.key, run, display_name) {
                let (logical_date, run_after) = (run.logical_date, run.run_after);
                found.push((*number, XComHead { key: xcom.key.clone(), at: xcom.at, logical_date, run_after }));
            }
        }
        // What has the same rank stays in the order of task, map index and key, whichever way the rest goes.
        sort(
            &mut found,
            order,
            |(a, _), (b, _)| a.cmp(b),
            |key, (_, a), (_, b)| match key {
                XComOrder::Key => compare(&a.key.key, &b.key.key),
                XComOrder::DagId => compare(&a.key.run.dag_id, &b.key.run.dag_id),
                XComOrder::RunId => compare(&a.key.run.run_id, &b.key.run.run_id),
                XComOrder::TaskId => compare(&a.key.task_id, &b.key.task_id),
                XComOrder::MapIndex => compare(a.key.map_index, b.key.map_index),
                XComOrder::At => compare(a.at, b.at),
                XComOrder::RunAfter => compare(a.run_after, b.run_after),
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().map(|(_, head)| head).collect(), total))
    }

    fn xcom_with_prior_dates(&self, key: &XComKey) -> Result<Option<XCom>> {
        let state = self.state();
        let run_of = |key: &RunKey| state.runs.get(key).map(|(_, run)| run);
        let until = run_of(&key.run).and_then(|run| run.logical_date).unwrap_or(Timestamp::MAX);
        let in_time = |run: &DagRun| run.logical_date.unwrap_or(run.run_after) <= until;
        Ok(state
            .xcoms
            .values()
            .filter(|xcom| {
                xcom.key.run.dag_id == key.run.dag_id
                    && (&xcom.key.task_id, xcom.key.map_index, &xcom.key.key) == (&key.task_id, key.map_index, &key.key)
                    && run_of(&xcom.key.run).is_some_and(in_time)
            })
            .max_by_key(|xcom| (run_of(&xcom.key.run).and_then(|run| run.logical_date), xcom.at))
            .cloned())
    }
}

/// What came into a table, with the order in which it was made.
type Numbered<T> = BTreeMap<String, (u64, T)>;

/// Puts a record in place; one that is there keeps its place in the order of making.
fn put<T>(map: &mut Numbered<T>, name: String, value: T) {
    let next = map.values().map(|(number, _)| number + 1).max().unwrap_or(0);
    let number = map.get(&name).map_or(next, |(number, _)| *number);
    map.insert(name, (number, value));
}

/// The records whose names match, in order.
fn list<T: Clone, O: Copy>(
    map: &Numbered<T>,
    names: &TextFilter,
    order: &[(O, Direction)],
    page: Page,
    compared: impl Fn(O, &(u64, T), &(u64, T)) -> Compared,
) -> (Vec<T>, u64) {
    let mut found: Vec<(u64, T)> =
        map.iter().filter(|(name, _)| names.matches(Some(name))).map(|(_, value)| value.clone()).collect();
    sort(&mut found, order, |(a, _), (b, _)| a.cmp(b), compared);
    let (found, total) = page.cut(found);
    (found.into_iter().map(|(_, value)| value).collect(), total)
}

fn by_pattern(pattern: Option<&str>) -> TextFilter {
    TextFilter { pattern: pattern.map(str::to_owned), prefix: None }
}

impl VariableStore for MemoryStore {
    fn variable(&self, key: &str) -> Result<Option<Variable>> {
        Ok(self.state().variables.get(key).map(|(_, variable)| variable.clone()))
    }

    fn variables(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Variable>, u64)> {
        self.list_variables(&by_pattern(pattern), &[(VariableOrder::Key, Direction::Ascending)], page)
    }

    fn list_variables(
        &self,
        keys: &TextFilter,
        order: &[(VariableOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<Variable>, u64)> {
        Ok(list(&self.state().variables, keys, order, page, |order, (number_a, a), (number_b, b)| match order {
            VariableOrder::Created => compare(number_a, number_b),
            VariableOrder::Key => compare(&a.key, &b.key),
            VariableOrder::Value => compare(&a.value, &b.value),
            VariableOrder::Description => compare_optional(a.description.as_ref(), b.description.as_ref()),
            VariableOrder::IsEncrypted => compare(a.is_encrypted, b.is_encrypted),
        }))
    }
}

impl ConnectionStore for MemoryStore {
    fn connection(&self, connection_id: &str) -> Result<Option<Connection>> {
        Ok(self.state().connections.get(connection_id).map(|(_, connection)| connection.clone()))
    }

    fn connections(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Connection>, u64)> {
        self.list_connections(&by_pattern(pattern), &[(ConnectionOrder::ConnectionId, Direction::Ascending)], page)
    }

    fn list_connections(
        &self,
        ids: &TextFilter,
        order: &[(ConnectionOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<Connection>, u64)> {
        Ok(list(&self.state().connections, ids, order, page, |order, (number_a, a), (number_b, b)| match order {
            ConnectionOrder::Created => compare(number_a, number_b),
            ConnectionOrder::ConnectionId => compare(&a.connection_id, &b.connection_id),
            ConnectionOrder::ConnType => compare(&a.conn_type, &b.conn_type),
            ConnectionOrder::Description => compare_optional(a.description.as_ref(), b.description.as_ref()),
            ConnectionOrder::Host => compare_optional(a.host.as_ref(), b.host.as_ref()),
            ConnectionOrder::Port => compare_optional(a.port, b.port),
        }))
    }
}

impl PoolStore for MemoryStore {
    fn pool(&self, name: &str) -> Result<Option<Pool>> {
        Ok(self.state().pools.get(name).map(|(_, pool)| pool.clone()))
    }

    fn pools(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Pool>, u64)> {
        self.list_pools(&by_pattern(pattern), &[(PoolOrder::Name, Direction::Ascending)], page)
    }

    fn list_pools(&self, names: &TextFilter, order: &[(PoolOrder, Direction)], page: Page) -> Result<(Vec<Pool>, u64)> {
        Ok(list(&self.state().pools, names, order, page, |order, (number_a, a), (number_b, b)| match order {
            PoolOrder::Created => compare(number_a, number_b),
            PoolOrder::Name => compare(&a.name, &b.name),
        }))
    }

    fn pool_usage(&self) -> Result<Vec<(String, PoolUsage)>> {
        let mut usage: BTreeMap<String, PoolUsage> = BTreeMap::new();
        for ti in self.state().task_instances.values() {
            let count = |usage: &mut PoolUsage| match ti.state {
                TaskState::Running | TaskState::Restarting => usage.running += i64::from(ti.pool_slots),
                TaskState::Queued => usage.queued += i64::from(ti.pool_slots),
                TaskState::Scheduled => usage.scheduled += i64::from(ti.pool_slots),
                TaskState::Deferred => usage.deferred += i64::from(ti.pool_slots),
                _ => {}
            };
            let counts = matches!(
                ti.state,
                TaskState::Running
                    | TaskState::Restarting
                    | TaskState::Queued
                    | TaskState::Scheduled
                    | TaskState::Deferred
            );
            if counts {
                count(usage.entry(ti.pool.to_string()).or_default());
            }
        }
        Ok(usage.into_iter().collect())
    }
}
