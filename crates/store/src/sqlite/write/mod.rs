//! The one connection that writes.

mod asset_states;
mod assets;
mod hitl;
mod imports;
mod partitions;
mod runs;
mod settings;
mod suspensions;

use std::collections::HashMap;
use std::path::Path;

use model::{Change, MapIndex, RunKey, TaskInstanceKey};
use rusqlite::{Connection, OptionalExtension, params};

use super::column::{micros, opt_micros};
use super::locks::{Reencrypted, reencrypt};
use super::to_store_error;
use crate::{FernetKeys, Result, StoreError, Write};

/// Run numbers that are remembered between batches; runs that are under way at once are far fewer.
const REMEMBERED_RUNS: usize = 10_000;

pub(super) struct Writer {
    connection: Connection,
    keys: FernetKeys,
    run_rids: HashMap<RunKey, i64>,
    /// The last batches did not fit on the disk.
    is_full: bool,
}

/// What goes wrong inside a batch.
enum WriteError {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        WriteError::Sql(error)
    }
}

type WriteResult<T> = std::result::Result<T, WriteError>;

impl Writer {
    pub(super) fn new(connection: Connection, keys: FernetKeys) -> Self {
        Self { connection, keys, run_rids: HashMap::new(), is_full: false }
    }

    pub(super) fn limit_pages(&self, pages: u32, path: &Path) -> Result<()> {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&sql, [], |_| Ok(())).map_err(|error| to_store_error(path, &error))
    }

    pub(super) fn reencrypt(&self, all: bool) -> rusqlite::Result<Reencrypted> {
        reencrypt(&self.connection, &self.keys, all)
    }

    /// Whether it could write; the error says why not.
    pub(super) fn check(&mut self, path: &Path) -> Result<()> {
        let tried = self.execute("BEGIN IMMEDIATE").and_then(|()| self.execute("ROLLBACK"));
        tried.map_err(|error| to_store_error(path, &error))?;
        // Only a commit shows that a disk is full, and only the next one that it no longer is.
        if self.is_full { Err(StoreError::Full { path: path.to_owned() }) } else { Ok(()) }
    }

    /// Writes the batches in one transaction. Each has its own result: one that fails is undone alone.
    pub(super) fn write(&mut self, batches: &[Vec<Write>], path: &Path) -> Vec<Result<()>> {
        let results = self.write_all(batches, path);
        self.is_full = results.iter().any(|result| matches!(result, Err(StoreError::Full { .. })));
        results
    }

    fn write_all(&mut self, batches: &[Vec<Write>], path: &Path) -> Vec<Result<()>> {
        let failed = |error: rusqlite::Error| to_store_error(path, &error);
        if self.run_rids.len() > REMEMBERED_RUNS {
            self.run_rids.clear();
        }
        if let Err(error) = self.execute("BEGIN IMMEDIATE") {
            return batches.iter().map(|_| Err(to_store_error(path, &error))).collect();
        }
        let mut results: Vec<Result<()>> = Vec::with_capacity(batches.len());
        for batch in batches {
            results.push(self.write_batch(batch).map_err(|error| match error {
                WriteError::Sql(error) => failed(error),
                WriteError::Store(error) => error,
            }));
            if self.connection.is_autocommit() {
                // SQLite gave up the whole transaction (a full disk does that): nothing of anybody's was written.
                self.run_rids.clear();
                let reason = "the transaction that it was part of was undone";
                let last = results.pop().unwrap_or(Ok(()));
                let lost = |_: &Vec<Write>| Err(StoreError::Failed(reason.to_owned()));
                let mut all: Vec<Result<()>> = batches.iter().map(lost).collect();
                if let (Err(error), Some(own)) = (last, all.get_mut(results.len())) {
                    *own = Err(error);
                }
                return all;
            }
        }
        if let Err(error) = self.execute("COMMIT") {
            // Nobody's writes are durable, whatever became of each.
            let _ = self.execute("ROLLBACK");
            self.run_rids.clear();
            return batches.iter().map(|_| Err(to_store_error(path, &error))).collect();
        }
        results
    }

    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(|_| ())
    }

    fn write_batch(&mut self, batch: &[Write]) -> WriteResult<()> {
        self.execute("SAVEPOINT batch")?;
        let result = batch.iter().try_for_each(|write| self.write_one(write));
        if result.is_err() {
            self.run_rids.clear();
            self.execute("ROLLBACK TO batch")?;
        }
        self.execute("RELEASE batch")?;
        result
    }

    fn write_one(&mut self, write: &Write) -> WriteResult<()> {
        match write {
            Write::Decision(change) => self.change(change),
            Write::XCom(xcom) => self.xcom(xcom),
            Write::DeleteXCom(key) => self.delete_xcom(key),
            Write::ClearXComs(key) => self.clear_xcoms(key),
            Write::TaskState { ti, entry } => self.of_task(
                "INSERT INTO task_state (run_rid, task_id, map_index, key, value, updated_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (run_rid, task_id, map_index, key) DO UPDATE SET value = excluded.value,
                     updated_at = excluded.updated_at, expires_at = excluded.expires_at",
                ti,
                &[&entry.key, &entry.value.to_string(), &micros(entry.updated_at), &opt_micros(entry.expires_at)],
            ),
            Write::DeleteTaskState { ti, key } => self.of_task(
                "DELETE FROM task_state WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3 AND key = ?4",
                ti,
                &[key],
            ),
            Write::ClearTaskState { ti, all_map_indices } => self.of_task(
                "DELETE FROM task_state WHERE run_rid = ?1 AND task_id = ?2 AND (?4 OR map_index = ?3)",
                ti,
                &[all_map_indices],
            ),
            Write::DeleteTaskInstance(key) => self.delete_task_instance(key),
            Write::ExpiredTaskStates { before, limit } => {
                let sql = "DELETE FROM task_state WHERE (run_rid, task_id, map_index, key) IN
                     (SELECT run_rid, task_id, map_index, key FROM task_state WHERE expires_at < ?1 LIMIT ?2)";
                self.connection.prepare_cached(sql)?.execute(params![micros(*before), limit])?;
                Ok(())
            }
            Write::AssetState { asset, entry } => self.asset_state(asset, entry),
            Write::DeleteAssetState { asset, key } => self.delete_asset_states(asset, Some(key)),
            Write::ClearAssetState(asset) => self.delete_asset_states(asset, None),
            Write::RenderedFields { key, fields } => self.of_task(
                "INSERT INTO rendered_fields (run_rid, task_id, map_index, fields) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (run_rid, task_id, map_index) DO UPDATE SET fields = excluded.fields",
                key,
                &[&fields.to_string()],
            ),
            Write::HitlAsked(detail) => self.hitl_asked(detail),
            Write::CallbackDone(id) => {
                self.connection.prepare_cached("DELETE FROM callback WHERE id = ?1")?.execute([id.0.as_bytes()])?;
                Ok(())
            }
            Write::Rescheduled { key, try_number, start, end, until } => self.of_task(
                "INSERT INTO task_reschedule (run_rid, task_id, map_index, try_number, start_date, end_date, reschedule_date)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                key,
                &[try_number, &micros(*start), &micros(*end), &micros(*until)],
            ),
            Write::Imported(file) => self.imported(file),
            Write::FileGone { bundle_name, relative_fileloc } => self.file_gone(bundle_name, relative_fileloc),
            Write::Bundle(bundle) => self.bundle(bundle),
            Write::BundleAdvanced { bundle_name, bundle_version, files } => {
                self.bundle_advanced(bundle_name, bundle_version.as_deref(), files)
            }
            Write::NewVariable(variable) => self.variable(variable, true),
            Write::Variable(variable) => self.variable(variable, false),
            Write::DeleteVariable(key) => self.delete("DELETE FROM variable WHERE key = ?1", "variable", key),
            Write::NewConnection(connection) => self.put_connection(connection, true),
            Write::Connection(connection) => self.put_connection(connection, false),
            Write::DeleteConnection(id) => self.delete("DELETE FROM connection WHERE connection_id = ?1", "connection", id),
            Write::NewPool(pool) => self.pool(pool, true),
            Write::Pool(pool) => self.pool(pool, false),
            Write::DeletePool(name) => self.delete("DELETE FROM pool WHERE name = ?1", "pool", name),
            Write::RunNote { run, note } => {
                let rid = self.rid(run)?;
                self.connection.prepare_cached("UPDATE dag_run SET note = ?2 WHERE rid = ?1")?.execute(params![rid, note])?;
                Ok(())
            }
            Write::TaskNote { ti, note: Some(note) } => self.of_task(
                "INSERT INTO task_note (run_rid, task_id, map_index, note) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (run_rid, task_id, map_index) DO UPDATE SET note = excluded.note",
                ti,
                &[note],
            ),
            Write::TaskNote { ti, note: None } => {
                self.of_task("DELETE FROM task_note WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3", ti, &[])
            }
        }
    }

    fn change(&mut self, change: &Change) -> WriteResult<()> {
        match change {
            Change::Run(run) => self.run(run),
            Change::TaskInstance(ti) => self.task_instance(ti),
            Change::ArchivedTry(ti) => {
                self.archived_try(ti)?;
                self.hitl_archived(ti)
            }
            Change::HitlAnswered { key, response, untold } => self.hitl_answered(key, response, *untold),
            Change::HitlTold(key) => self.hitl_told(key),
            Change::Forgotten(key) => self.clear_xcoms(key),
            Change::Expanded { run, task_id } => {
                let key = TaskInstanceKey { run: run.clone(), task_id: task_id.clone(), map_index: MapIndex::NONE };
                let sql = "DELETE FROM task_instance WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3";
                self.of_task(sql, &key, &[])?;
                // What was written about it is about the first one now.
                let sql = "UPDATE OR REPLACE task_note SET map_index = 0 WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3";
                self.of_task(sql, &key, &[])
            }
            Change::Backfill(backfill) => self.backfill(backfill),
            Change::RunDeleted(key) => self.delete_run(key),
            Change::DagDeleted(dag_id) => self.delete_dag(dag_id),
            Change::Suspended(suspension) => self.suspended(suspension),
            Change::NotSuspended(key) => self.not_suspended(key),
            Change::Partition(change) => self.partition(change),
            Change::AssetEvent(event) => self.asset_event(event),
            Change::AssetQueued { dag_id, queued } => self.asset_queued(dag_id, queued),
            Change::AssetsUnqueued { dag_id, assets } => self.assets_unqueued(dag_id, assets),
            Change::AssetCursor { dag_id, cursor } => self.asset_cursor(dag_id, *cursor),
            Change::AssetEventsTaken { run, marks, upto } => self.asset_events_taken(run, marks, *upto),
            Change::Deadline(deadline) => self.deadline(deadline),
            Change::DeadlineMissed(id) => {
                self.connection
                    .prepare_cached("UPDATE deadline SET missed = 1 WHERE id = ?1")?
                    .execute([id.0.as_bytes()])?;
                Ok(())
            }
            Change::DeadlineGone(id) => {
                self.connection.prepare_cached("DELETE FROM deadline WHERE id = ?1")?.execute([id.0.as_bytes()])?;
                Ok(())
            }
            Change::CallbackDue(callback) => self.callback_due(callback),
            Change::Schedule { dag_id, schedule } => self.schedule(dag_id, schedule),
            Change::DagWarning { dag_id, warning, at } => self.dag_warning(dag_id, warning.as_deref(), *at),
            Change::Paused { dag_id, paused } => {
                self.connection
                    .prepare_cached("UPDATE dag SET paused = ?2 WHERE dag_id = ?1")?
                    .execute(params![dag_id.as_str(), paused])?;
                Ok(())
            }
        }
    }

    /// The number of a run that was written before.
    fn rid(&mut self, run: &RunKey) -> WriteResult<i64> {
        if let Some(rid) = self.run_rids.get(run) {
            return Ok(*rid);
        }
        let rid: Option<i64> = self
            .connection
            .prepare_cached("SELECT rid FROM dag_run WHERE dag_id = ?1 AND run_id = ?2")?
            .query_row(params![run.dag_id.as_str(), run.run_id.as_str()], |row| row.get(0))
            .optional()?;
        let rid = rid.ok_or_else(|| missing(format!("the run {run}")))?;
        self.run_rids.insert(run.clone(), rid);
        Ok(rid)
    }
}

fn missing(what: String) -> WriteError {
    WriteError::Store(StoreError::Missing { what })
}

fn conflict(error: rusqlite::Error, what: impl FnOnce() -> String) -> WriteError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => WriteError::Store(StoreError::Conflict { what: what() }),
        _ => WriteError::Sql(error),
    }
}
