//! Everything that is ever written.

use model::{Change, DagId, DagRun, DagSchedule, MapIndex, RunKey, TaskInstanceId, TaskInstanceKey, VersionId};

use super::{Dag, Numbered, State};
use crate::records::{
    Connection, DagRecord, DagVersion, DagWarning, FileRecord, ImportError, Pool, TaskStateEntry, Variable, XComKey,
};
use crate::write::{ImportedDag, ImportedFile};
use crate::{Result, StoreError, Write};

fn conflict(what: String) -> Result<()> {
    Err(StoreError::Conflict { what })
}

fn missing(what: String) -> Result<()> {
    Err(StoreError::Missing { what })
}

impl State {
    pub(super) fn apply(&mut self, write: Write) -> Result<()> {
        match write {
            Write::Decision(change) => return self.change(change),
            Write::XCom(xcom) => {
                self.require_run(&xcom.key.run)?;
                self.xcoms.put(xcom.key.clone(), *xcom);
            }
            Write::DeleteXCom(key) => {
                self.require_run(&key.run)?;
                self.xcoms.remove(&key);
            }
            Write::ClearXComs(key) => return self.clear_xcoms(&key),
            Write::TaskState { ti, entry } => {
                self.require_run(&ti.run)?;
                self.task_states.put((ti, entry.key.clone()), entry);
            }
            Write::DeleteTaskState { ti, key } => {
                self.require_run(&ti.run)?;
                self.task_states.remove(&(ti, key));
            }
            Write::ClearTaskState { ti, all_map_indices } => {
                self.require_run(&ti.run)?;
                self.task_states.remove_where(|(other, _), _| {
                    (&other.run, &other.task_id) == (&ti.run, &ti.task_id)
                        && (all_map_indices || other.map_index == ti.map_index)
                });
            }
            Write::DeleteTaskInstance(key) => {
                self.require_run(&key.run)?;
                self.delete_task_instance(&key);
            }
            Write::ExpiredTaskStates { before, limit } => {
                let is_over = |_: &_, entry: &TaskStateEntry| entry.expires_at.is_some_and(|at| at < before);
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                for key in self.task_states.keys_where(is_over).into_iter().take(limit) {
                    self.task_states.remove(&key);
                }
            }
            Write::AssetState { asset, entry } => return self.asset_state(asset, entry),
            Write::DeleteAssetState { asset, key } => return self.delete_asset_states(&asset, Some(&key)),
            Write::ClearAssetState(asset) => return self.delete_asset_states(&asset, None),
            Write::RenderedFields { key, fields } => {
                self.require_run(&key.run)?;
                self.rendered.put(key, fields);
            }
            Write::HitlAsked(detail) => {
                self.require_run(&detail.key.run)?;
                self.hitl_asked(*detail);
            }
            Write::CallbackDone(id) => drop(self.callbacks.remove(&id)),
            Write::Rescheduled { key, try_number, start, .. } => {
                self.require_run(&key.run)?;
                let key = (key, try_number);
                let mut starts = self.reschedules.get(&key).cloned().unwrap_or_default();
                starts.push(start);
                self.reschedules.put(key, starts);
            }
            Write::Imported(file) => self.imported(*file),
            Write::FileGone { bundle_name, relative_fileloc } => self.file_gone(&bundle_name, &relative_fileloc),
            Write::Bundle(bundle) => self.bundles.put(bundle.name.clone(), *bundle),
            Write::BundleAdvanced { bundle_name, bundle_version, files } => {
                self.bundle_advanced(&bundle_name, bundle_version.as_ref(), &files);
            }
            Write::RunNote { run, note } => {
                if !self.runs.change(&run, |run| run.record.note = note) {
                    return missing(format!("the run {run}"));
                }
            }
            Write::TaskNote { ti, note } => {
                self.require_run(&ti.run)?;
                match note {
                    Some(note) => self.task_notes.put(ti, note),
                    None => drop(self.task_notes.remove(&ti)),
                }
            }
            write => return self.setting(write),
        }
        Ok(())
    }

    fn clear_xcoms(&mut self, ti: &TaskInstanceKey) -> Result<()> {
        self.require_run(&ti.run)?;
        self.xcoms
            .remove_where(|xcom, _| (&xcom.run, &xcom.task_id, xcom.map_index) == (&ti.run, &ti.task_id, ti.map_index));
        Ok(())
    }

    fn setting(&mut self, write: Write) -> Result<()> {
        match write {
            Write::NewVariable(variable) if self.variables.contains(&variable.key) => {
                return conflict(format!("the variable {:?}", variable.key));
            }
            Write::NewVariable(variable) | Write::Variable(variable) => self.put_variable(variable),
            Write::NewConnection(connection) if self.connections.contains(&connection.connection_id) => {
                return conflict(format!("the connection {:?}", connection.connection_id));
            }
            Write::NewConnection(connection) | Write::Connection(connection) => self.put_connection(*connection),
            Write::NewPool(pool) if self.pools.contains(&pool.name) => {
                return conflict(format!("the pool {:?}", pool.name));
            }
            Write::NewPool(pool) | Write::Pool(pool) => self.put_pool(pool),
            Write::DeleteVariable(key) if !self.variables.remove(&key) => {
                return missing(format!("the variable {key:?}"));
            }
            Write::DeleteConnection(id) if !self.connections.remove(&id) => {
                return missing(format!("the connection {id:?}"));
            }
            Write::DeletePool(name) if !self.pools.remove(&name) => return missing(format!("the pool {name:?}")),
            _ => {}
        }
        Ok(())
    }

    /// Nothing is encrypted in memory.
    fn put_variable(&mut self, variable: Variable) {
        let variable = Variable { is_encrypted: false, ..variable };
        let number = self.variables.get(&variable.key).map_or_else(|| self.made.next_setting(), |known| known.number);
        self.variables.put(variable.key.clone(), Numbered { number, record: variable });
    }

    fn put_connection(&mut self, connection: Connection) {
        let connection = Connection { is_encrypted: false, is_extra_encrypted: false, ..connection };
        let known = self.connections.get(&connection.connection_id);
        let number = known.map_or_else(|| self.made.next_setting(), |known| known.number);
        self.connections.put(connection.connection_id.clone(), Numbered { number, record: connection });
    }

    pub(super) fn put_pool(&mut self, pool: Pool) {
        let number = self.pools.get(&pool.name).map_or_else(|| self.made.next_setting(), |known| known.number);
        self.pools.put(pool.name.clone(), Numbered { number, record: pool });
    }

    pub(super) fn require_run(&self, run: &RunKey) -> Result<()> {
        if self.runs.contains(run) { Ok(()) } else { missing(format!("the run {run}")) }
    }

    fn change(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Run(run) => return self.run(*run),
            Change::TaskInstance(ti) => {
                self.require_run(&ti.run)?;
                self.task_instances.put(ti.key(), *ti);
            }
            Change::ArchivedTry(ti) => {
                self.require_run(&ti.run)?;
                self.hitl_archived(&ti);
                let first = (ti.key(), TaskInstanceId(uuid::Uuid::nil()));
                let tries = self.tries.range(first..).take_while(|((key, _), _)| *key == ti.key());
                let is_known = { tries }.any(|(_, known)| known.try_number == ti.try_number && known.id != ti.id);
                if !is_known {
                    self.tries.put((ti.key(), ti.id), *ti);
                }
            }
            Change::Forgotten(key) => return self.clear_xcoms(&key),
            Change::Expanded { run, task_id } => {
                self.require_run(&run)?;
                let stand_in = TaskInstanceKey { run, task_id, map_index: MapIndex::NONE };
                self.task_instances.remove(&stand_in);
                // What was written about it is about the first one now.
                if let Some(note) = self.task_notes.get(&stand_in).cloned() {
                    self.task_notes.remove(&stand_in);
                    self.task_notes.put(TaskInstanceKey { map_index: MapIndex(0), ..stand_in }, note);
                }
            }
            Change::Suspended(suspension) => {
                self.require_run(&suspension.key.run)?;
                self.suspensions.put(suspension.key.clone(), *suspension);
            }
            Change::NotSuspended(key) => {
                self.require_run(&key.run)?;
                self.suspensions.remove(&key);
            }
            Change::HitlAnswered { key, response, untold } => self.hitl_answered(&key, *response, untold),
            Change::HitlTold(key) => {
                self.hitl.change(&key, |detail| detail.untold = false);
            }
            Change::Deadline(deadline) => {
                self.require_run(&deadline.run)?;
                self.deadlines.put(deadline.id, (*deadline, false));
            }
            Change::DeadlineGone(id) => drop(self.deadlines.remove(&id)),
            Change::DeadlineMissed(id) => drop(self.deadlines.change(&id, |(_, missed)| *missed = true)),
            Change::CallbackDue(callback) => {
                self.require_run(&callback.run)?;
                self.callbacks.put(callback.id, *callback);
            }
            Change::AssetEvent(event) => self.asset_event(*event),
            Change::Partition(change) => return self.partition(*change),
            Change::AssetQueued { dag_id, queued } => return self.asset_queued(dag_id, *queued),
            Change::AssetsUnqueued { dag_id, assets } => {
                for key in assets {
                    self.asset_queue.remove(&(dag_id.clone(), key));
                }
            }
            Change::AssetCursor { dag_id, cursor } => self.asset_cursor(dag_id, cursor),
            Change::AssetEventsTaken { run, marks, upto } => return self.asset_events_taken(&run, &marks, upto),
            Change::Schedule { dag_id, schedule } => {
                self.dags.change(&dag_id, |dag| dag.record.schedule = *schedule);
            }
            Change::DagWarning { dag_id, warning: None, .. } => {
                self.dag_warnings.remove(&dag_id);
            }
            Change::DagWarning { dag_id, warning: Some(message), at } => {
                self.dag_warnings.put(dag_id.clone(), DagWarning { dag_id, message, at });
            }
            Change::Paused { dag_id, paused } => {
                self.dags.change(&dag_id, |dag| dag.record.paused = paused);
            }
            Change::Backfill(backfill) => self.backfill(*backfill),
            Change::RunDeleted(key) => self.delete_run(&key),
            Change::DagDeleted(dag_id) => self.delete_dag(&dag_id),
        }
        Ok(())
    }

    fn run(&mut self, mut run: DagRun) -> Result<()> {
        let same_date = |other: &DagRun| other.logical_date.is_some() && other.logical_date == run.logical_date;
        if self.runs_of(&run.key.dag_id).any(|other| other.record.key != run.key && same_date(&other.record)) {
            return conflict(format!("a run of Dag {} with this logical date", run.key.dag_id));
        }
        let number = match self.runs.get(&run.key) {
            Some(known) => {
                // What people write about a run is theirs alone once it is there.
                run.note = known.record.note.clone();
                known.number
            }
            None => {
                self.made.runs += 1;
                self.made.runs
            }
        };
        if self.dags.get(&run.key.dag_id).is_some_and(|dag| dag.last_run.is_none_or(|last| last <= number)) {
            self.dags.change(&run.key.dag_id, |dag| {
                dag.last_run = Some(number);
                dag.record.last_run_state = Some(run.state);
                dag.record.last_run_start = run.start_date;
                dag.record.last_run_end = run.end_date;
            });
        }
        self.runs.put(run.key.clone(), Numbered { number, record: run });
        Ok(())
    }

    /// A run that is gone already is none the worse.
    fn delete_task_instance(&mut self, key: &TaskInstanceKey) {
        self.task_instances.remove(key);
        self.tries.remove_where(|(ti, _), _| ti == key);
        self.reschedules.remove_where(|(ti, _), _| ti == key);
        self.suspensions.remove(key);
        self.hitl.remove(key);
        self.hitl_tries.remove_where(|(ti, _), _| ti == key);
        self.rendered.remove(key);
        let is_its =
            |xcom: &XComKey| (&xcom.run, &xcom.task_id, xcom.map_index) == (&key.run, &key.task_id, key.map_index);
        self.xcoms.remove_where(|xcom, _| is_its(xcom));
        self.task_notes.remove(key);
    }

    fn delete_run(&mut self, key: &RunKey) {
        self.task_instances.remove_where(|ti, _| ti.run == *key);
        self.tries.remove_where(|(ti, _), _| ti.run == *key);
        self.reschedules.remove_where(|(ti, _), _| ti.run == *key);
        self.suspensions.remove_where(|ti, _| ti.run == *key);
        self.hitl.remove_where(|ti, _| ti.run == *key);
        self.callbacks.remove_where(|_, callback| callback.run == *key);
        self.deadlines.remove_where(|_, (deadline, _)| deadline.run == *key);
        self.hitl_tries.remove_where(|(ti, _), _| ti.run == *key);
        self.rendered.remove_where(|ti, _| ti.run == *key);
        self.xcoms.remove_where(|xcom, _| xcom.run == *key);
        self.task_states.remove_where(|(ti, _), _| ti.run == *key);
        self.task_notes.remove_where(|ti, _| ti.run == *key);
        self.asset_consumed.remove_where(|(run, _), ()| run == key);
        self.runs.remove(key);
        let last = self.runs_of(&key.dag_id).max_by_key(|run| run.number).cloned();
        self.dags.change(&key.dag_id, |dag| {
            let run = last.as_ref().map(|run| &run.record);
            dag.last_run = last.as_ref().map(|run| run.number);
            dag.record.last_run_state = run.map(|run| run.state);
            dag.record.last_run_start = run.and_then(|run| run.start_date);
            dag.record.last_run_end = run.and_then(|run| run.end_date);
        });
    }

    fn delete_dag(&mut self, dag_id: &DagId) {
        for key in self.runs.keys_where(|key, _| key.dag_id == *dag_id) {
            self.delete_run(&key);
        }
        self.versions.remove_where(|_, version| version.dag_id == *dag_id);
        self.asset_cursor(dag_id.clone(), None);
        self.dag_assets.remove(dag_id);
        self.partitions_pending.remove_where(|(other, _), _| other == dag_id);
        self.partition_events.remove_where(|(other, ..), _| other == dag_id);
        self.partitions_unmapped.remove_where(|(other, _), _| other == dag_id);
        self.asset_uses.remove_where(|(other, ..), _| other == dag_id);
        self.backfills.remove_where(|_, backfill| backfill.dag_id == *dag_id);
        self.dag_warnings.remove(dag_id);
        let Some(dag) = self.dags.get(dag_id) else { return };
        let (bundle_name, source_file) = (dag.record.bundle_name.clone(), dag.source_file.clone());
        self.dags.remove(dag_id);
        self.forget_errors(&bundle_name, &source_file);
        self.files.remove(&(bundle_name, source_file));
        self.activate_assets();
    }

    fn imported(&mut self, file: ImportedFile) {
        let place = (file.bundle_name.clone(), file.relative_fileloc.clone());
        let dag_ids: Vec<DagId> = file.dags.iter().map(|dag| dag.dag_id.clone()).collect();
        self.forget_errors(&place.0, &place.1);
        for (filename, stack_trace) in &file.errors {
            self.made.import_errors += 1;
            let error = ImportError {
                id: self.made.import_errors,
                bundle_name: file.bundle_name.clone(),
                filename: filename.clone(),
                at: file.at,
                stack_trace: stack_trace.clone(),
            };
            self.import_errors.put(error.id, (file.relative_fileloc.clone(), error));
        }
        // What a file that failed no longer shows is kept as it was: those are its last good Dags.
        let failed = !file.errors.is_empty();
        for dag_id in self.dags_of_file(&place.0, &place.1).into_iter().filter(|dag_id| !dag_ids.contains(dag_id)) {
            self.dags.change(&dag_id, |dag| {
                dag.record.has_import_errors = failed;
                dag.record.stale |= !failed;
            });
        }
        for dag in &file.dags {
            let version = self.version(&file, dag);
            self.imported_dag(&file, dag, version);
            self.dag_assets(&dag.dag_id, &dag.assets, file.at);
            dag.aliases.iter().for_each(|alias| self.need_alias(alias, true));
            self.dag_warnings.remove(&dag.dag_id);
        }
        let record = FileRecord {
            bundle_name: file.bundle_name,
            relative_fileloc: file.relative_fileloc,
            fingerprint: file.fingerprint,
            imported_at: file.at,
            duration: file.duration,
            dag_ids,
        };
        self.files.put(place, record);
        self.activate_assets();
    }

    fn forget_errors(&mut self, bundle_name: &str, source_file: &str) {
        self.import_errors.remove_where(|_, (source, error)| error.bundle_name == bundle_name && source == source_file);
    }

    fn dags_of_file(&self, bundle_name: &str, source_file: &str) -> Vec<DagId> {
        self.dags.keys_where(|_, dag| dag.record.bundle_name == bundle_name && dag.source_file == source_file)
    }

    fn version(&mut self, file: &ImportedFile, dag: &ImportedDag) -> VersionId {
        let number = match self.newest_version(&dag.dag_id) {
            Some(last) if last.hash == dag.hash && last.bundle_name == file.bundle_name => {
                // The same structure in a newer version of its bundle, as Airflow has it.
                let id = last.id;
                self.versions.change(&id, |version| version.bundle_version.clone_from(&dag.bundle_version));
                return id;
            }
            Some(last) => last.number + 1,
            None => 1,
        };
        let version = DagVersion {
            id: dag.version,
            dag_id: dag.dag_id.clone(),
            number,
            hash: dag.hash.clone(),
            bundle_name: file.bundle_name.clone(),
            bundle_version: dag.bundle_version.clone(),
            created_at: file.at,
            serialized: dag.serialized.clone(),
            extras: dag.extras.clone(),
        };
        self.versions.put(version.id, version);
        dag.version
    }

    fn imported_dag(&mut self, file: &ImportedFile, dag: &ImportedDag, version: VersionId) {
        let known = self.dags.get(&dag.dag_id);
        let last_run = known.and_then(|known| known.last_run);
        let record = record_of(file, dag, version, known.map(|known| &known.record));
        self.dags.put(dag.dag_id.clone(), Dag { source_file: file.relative_fileloc.clone(), last_run, record });
    }

    fn bundle_advanced(&mut self, bundle_name: &str, bundle_version: Option<&String>, files: &[String]) {
        let meant =
            |dag: &Dag| dag.record.bundle_name == bundle_name && !dag.record.stale && files.contains(&dag.source_file);
        for dag_id in self.dags.keys_where(|_, dag| meant(dag)) {
            let Some(version) = self.dags.get(&dag_id).map(|dag| dag.record.version) else { continue };
            self.dags.change(&dag_id, |dag| dag.record.bundle_version = bundle_version.cloned());
            self.versions.change(&version, |version| version.bundle_version = bundle_version.cloned());
        }
    }

    fn file_gone(&mut self, bundle_name: &str, relative_fileloc: &str) {
        self.files.remove(&(bundle_name.to_owned(), relative_fileloc.to_owned()));
        self.forget_errors(bundle_name, relative_fileloc);
        for dag_id in self.dags_of_file(bundle_name, relative_fileloc) {
            self.dags.change(&dag_id, |dag| dag.record.stale = true);
        }
        self.activate_assets();
    }
}

impl super::Made {
    pub(super) fn next_setting(&mut self) -> u64 {
        self.settings += 1;
        self.settings
    }
}

fn record_of(file: &ImportedFile, dag: &ImportedDag, version: VersionId, known: Option<&DagRecord>) -> DagRecord {
    DagRecord {
        dag_id: dag.dag_id.clone(),
        display_name: dag.display_name.clone(),
        description: dag.description.clone(),
        paused: known.map_or(dag.paused_upon_creation, |known| known.paused),
        stale: dag.unproven && known.is_none_or(|known| known.stale),
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
        schedule: known.map_or_else(DagSchedule::default, |known| known.schedule.clone()),
        facts: dag.facts.clone(),
        last_run_state: known.and_then(|known| known.last_run_state),
        last_run_start: known.and_then(|known| known.last_run_start),
        last_run_end: known.and_then(|known| known.last_run_end),
    }
}
