//! The one connection that writes.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use model::{Change, DagId, DagRun, DagSchedule, MapIndex, RunKey, TaskInstance, TaskInstanceKey};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::column::{duration_micros, micros, opt_micros, texts_json};
use super::to_store_error;
use crate::records::{Pool, Variable, XCom, XComKey};
use crate::write::{ImportedDag, ImportedFile};
use crate::{Result, StoreError, Write};

/// Run numbers that are remembered between batches; runs that are under way at once are far fewer.
const REMEMBERED_RUNS: usize = 10_000;

pub(super) struct Writer {
    connection: Connection,
    run_rids: HashMap<RunKey, i64>,
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
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, run_rids: HashMap::new() }
    }

    /// Writes the batches in one transaction. Each has its own result: one that fails is undone alone.
    pub(super) fn write(&mut self, batches: &[Vec<Write>], path: &Path) -> Vec<Result<()>> {
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
            Write::ClearXComs(key) => {
                self.of_task("DELETE FROM xcom WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3", key, &[])
            }
            Write::RenderedFields { key, fields } => self.of_task(
                "INSERT OR REPLACE INTO rendered_fields (run_rid, task_id, map_index, fields) VALUES (?1, ?2, ?3, ?4)",
                key,
                &[&fields.to_string()],
            ),
            Write::Rescheduled { key, try_number, start, end, until } => self.of_task(
                "INSERT INTO task_reschedule (run_rid, task_id, map_index, try_number, start_date, end_date, reschedule_date)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                key,
                &[try_number, &micros(*start), &micros(*end), &micros(*until)],
            ),
            Write::Imported(file) => self.imported(file),
            Write::FileGone { bundle_name, relative_fileloc } => self.file_gone(bundle_name, relative_fileloc),
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
        }
    }

    fn change(&mut self, change: &Change) -> WriteResult<()> {
        match change {
            Change::Run(run) => self.run(run),
            Change::TaskInstance(ti) => self.task_instance("task_instance", ti),
            Change::ArchivedTry(ti) => self.task_instance("task_try", ti),
            Change::Schedule { dag_id, schedule } => self.schedule(dag_id, schedule),
            Change::Paused { dag_id, paused } => {
                self.connection
                    .prepare_cached("UPDATE dag SET paused = ?2 WHERE dag_id = ?1")?
                    .execute(params![dag_id.as_str(), paused])?;
                Ok(())
            }
        }
    }

    fn run(&mut self, run: &DagRun) -> WriteResult<()> {
        // The conflict target keeps a second run with the same logical date an error.
        let rid = self
            .connection
            .prepare_cached(
                "INSERT INTO dag_run (dag_id, run_id, run_type, triggered_by, triggering_user, state, logical_date,
                     interval_start, interval_end, run_after, queued_at, start_date, end_date, last_scheduling_decision,
                     conf, note, clear_number, version_id, bundle_version)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
                 ON CONFLICT (dag_id, run_id) DO UPDATE SET state = excluded.state, queued_at = excluded.queued_at,
                     start_date = excluded.start_date, end_date = excluded.end_date, note = coalesce(excluded.note, note),
                     last_scheduling_decision = excluded.last_scheduling_decision, conf = excluded.conf,
                     clear_number = excluded.clear_number, version_id = excluded.version_id,
                     bundle_version = excluded.bundle_version
                 RETURNING rid",
            )?
            .query_row(
                params![
                    run.key.dag_id.as_str(),
                    run.key.run_id.as_str(),
                    run.run_type.name(),
                    run.triggered_by.name(),
                    run.triggering_user,
                    run.state.name(),
                    opt_micros(run.logical_date),
                    opt_micros(run.data_interval.map(|interval| interval.start)),
                    opt_micros(run.data_interval.map(|interval| interval.end)),
                    micros(run.run_after),
                    opt_micros(run.queued_at),
                    opt_micros(run.start_date),
                    opt_micros(run.end_date),
                    opt_micros(run.last_scheduling_decision),
                    run.conf.to_string(),
                    run.note,
                    run.clear_number,
                    run.version.0.as_bytes(),
                    run.bundle_version,
                ],
                |row| row.get(0),
            )
            .map_err(|error| conflict(error, || format!("a run of Dag {} with this logical date", run.key.dag_id)))?;
        self.run_rids.insert(run.key.clone(), rid);
        self.connection
            .prepare_cached(
                "UPDATE dag SET last_run_state = ?2, last_run_start = ?3
                 WHERE dag_id = ?1 AND ?4 >= (SELECT max(run_after) FROM dag_run WHERE dag_id = ?1)",
            )?
            .execute(params![
                run.key.dag_id.as_str(),
                run.state.name(),
                opt_micros(run.start_date),
                micros(run.run_after)
            ])?;
        Ok(())
    }

    fn task_instance(&mut self, table: &str, ti: &TaskInstance) -> WriteResult<()> {
        let rid = self.rid(&ti.run)?;
        let sql = format!(
            "INSERT OR REPLACE INTO {table} (run_rid, task_id, map_index, id, state, try_number, max_tries, version_id,
                 operator, operator_name, pool, pool_slots, queue, priority_weight, executor, scheduled_at, queued_at,
                 start_date, end_date, hostname, unixname, pid, rendered_map_index, retry_delay_override, reschedule_date)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                 ?22, ?23, ?24, ?25)"
        );
        self.connection.prepare_cached(&sql)?.execute(params![
            rid,
            ti.task_id.as_str(),
            ti.map_index.0,
            ti.id.0.as_bytes(),
            ti.state.name(),
            ti.try_number,
            ti.max_tries,
            ti.version.0.as_bytes(),
            &*ti.operator,
            &*ti.operator_name,
            &*ti.pool,
            ti.pool_slots,
            &*ti.queue,
            ti.priority_weight,
            ti.executor.as_deref(),
            opt_micros(ti.scheduled_at),
            opt_micros(ti.queued_at),
            opt_micros(ti.start_date),
            opt_micros(ti.end_date),
            ti.hostname.as_deref(),
            ti.unixname.as_deref(),
            ti.pid,
            ti.rendered_map_index,
            ti.retry_delay_override.map(duration_micros),
            opt_micros(ti.reschedule_date),
        ])?;
        Ok(())
    }

    fn schedule(&self, dag_id: &DagId, schedule: &DagSchedule) -> WriteResult<()> {
        let next = schedule.next_run;
        self.connection
            .prepare_cached(
                "UPDATE dag SET next_run_after = ?2, next_interval_start = ?3, next_interval_end = ?4,
                     last_interval_start = ?5, last_interval_end = ?6 WHERE dag_id = ?1",
            )?
            .execute(params![
                dag_id.as_str(),
                opt_micros(next.map(|next| next.run_after)),
                opt_micros(next.map(|next| next.data_interval.start)),
                opt_micros(next.map(|next| next.data_interval.end)),
                opt_micros(schedule.last_interval.map(|interval| interval.start)),
                opt_micros(schedule.last_interval.map(|interval| interval.end)),
            ])?;
        Ok(())
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

    /// Runs a statement whose first three parameters name a task instance.
    fn of_task(&mut self, sql: &str, key: &TaskInstanceKey, more: &[&dyn ToSql]) -> WriteResult<()> {
        let rid = self.rid(&key.run)?;
        let task_id = key.task_id.as_str();
        let mut values: Vec<&dyn ToSql> = vec![&rid, &task_id, &key.map_index.0];
        values.extend(more);
        self.connection.prepare_cached(sql)?.execute(values.as_slice())?;
        Ok(())
    }

    fn xcom(&mut self, xcom: &XCom) -> WriteResult<()> {
        let key = TaskInstanceKey {
            run: xcom.key.run.clone(),
            task_id: xcom.key.task_id.clone(),
            map_index: xcom.key.map_index,
        };
        self.of_task(
            "INSERT OR REPLACE INTO xcom (run_rid, task_id, map_index, key, value, at, mapped_length, dag_result)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            &key,
            &[&xcom.key.key, &xcom.value.to_string(), &micros(xcom.at), &xcom.mapped_length, &xcom.dag_result],
        )
    }

    fn delete_xcom(&mut self, key: &XComKey) -> WriteResult<()> {
        let XComKey { run, task_id, map_index, key } = key;
        let ti = TaskInstanceKey { run: run.clone(), task_id: task_id.clone(), map_index: MapIndex(map_index.0) };
        self.of_task(
            "DELETE FROM xcom WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3 AND key = ?4",
            &ti,
            &[key],
        )
    }

    fn imported(&mut self, file: &ImportedFile) -> WriteResult<()> {
        let dag_ids: Vec<String> = file.dags.iter().map(|dag| dag.dag_id.to_string()).collect();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO file (bundle_name, relative_fileloc, fingerprint, imported_at, duration, dag_ids)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                file.bundle_name,
                file.relative_fileloc,
                file.fingerprint.to_string(),
                micros(file.at),
                duration_micros(file.duration),
                texts_json(&dag_ids),
            ])?;
        self.set_import_errors(file)?;
        for dag in &file.dags {
            let version = self.version(file, dag)?;
            self.dag(file, dag, version)?;
        }
        let has_errors = !file.errors.is_empty();
        // What a file that failed no longer shows is kept as it was: those are its last good Dags.
        let statement = if has_errors {
            "UPDATE dag SET has_import_errors = 1
             WHERE bundle_name = ?1 AND source_file = ?2 AND dag_id NOT IN (SELECT value FROM json_each(?3))"
        } else {
            "UPDATE dag SET stale = 1
             WHERE bundle_name = ?1 AND source_file = ?2 AND dag_id NOT IN (SELECT value FROM json_each(?3))"
        };
        self.connection.prepare_cached(statement)?.execute(params![
            file.bundle_name,
            file.relative_fileloc,
            texts_json(&dag_ids)
        ])?;
        Ok(())
    }

    fn set_import_errors(&self, file: &ImportedFile) -> WriteResult<()> {
        self.connection
            .prepare_cached("DELETE FROM import_error WHERE bundle_name = ?1 AND source_file = ?2")?
            .execute(params![file.bundle_name, file.relative_fileloc])?;
        for (filename, stack_trace) in &file.errors {
            self.connection
                .prepare_cached(
                    "INSERT INTO import_error (bundle_name, source_file, filename, at, stack_trace)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![file.bundle_name, file.relative_fileloc, filename, micros(file.at), stack_trace])?;
        }
        Ok(())
    }

    /// The id of the Dag's current version: the last one if nothing has changed since, or a new one.
    fn version(&self, file: &ImportedFile, dag: &ImportedDag) -> WriteResult<Vec<u8>> {
        let last: Option<(Vec<u8>, i64, String, Option<String>)> = self
            .connection
            .prepare_cached(
                "SELECT id, number, hash, bundle_version FROM dag_version WHERE dag_id = ?1 ORDER BY number DESC LIMIT 1",
            )?
            .query_row(params![dag.dag_id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let number = match last {
            Some((id, _, hash, bundle_version)) if hash == dag.hash && bundle_version == dag.bundle_version => {
                return Ok(id);
            }
            Some((_, number, _, _)) => number + 1,
            None => 1,
        };
        self.connection
            .prepare_cached(
                "INSERT INTO dag_version (id, dag_id, number, hash, bundle_name, bundle_version, created_at, serialized, extras)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                dag.version.0.as_bytes(),
                dag.dag_id.as_str(),
                number,
                dag.hash,
                file.bundle_name,
                dag.bundle_version,
                micros(file.at),
                dag.serialized.to_string(),
                dag.extras.to_string(),
            ])?;
        Ok(dag.version.0.as_bytes().to_vec())
    }

    fn dag(&self, file: &ImportedFile, dag: &ImportedDag, version: Vec<u8>) -> WriteResult<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO dag (dag_id, display_name, description, paused, stale, bundle_name, bundle_version, source_file,
                     relative_fileloc, fileloc, owners, tags, timetable_type, timetable_summary, timetable_description,
                     max_active_tasks, max_active_runs, max_consecutive_failed_dag_runs, has_task_concurrency_limits,
                     has_import_errors, allowed_run_types, last_parsed_at, last_parse_duration, version_id, facts)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                     ?22, ?23, ?24)
                 ON CONFLICT (dag_id) DO UPDATE SET display_name = excluded.display_name,
                     description = excluded.description, stale = 0, bundle_name = excluded.bundle_name,
                     bundle_version = excluded.bundle_version, source_file = excluded.source_file,
                     relative_fileloc = excluded.relative_fileloc, fileloc = excluded.fileloc, owners = excluded.owners,
                     tags = excluded.tags, timetable_type = excluded.timetable_type,
                     timetable_summary = excluded.timetable_summary,
                     timetable_description = excluded.timetable_description,
                     max_active_tasks = excluded.max_active_tasks, max_active_runs = excluded.max_active_runs,
                     max_consecutive_failed_dag_runs = excluded.max_consecutive_failed_dag_runs,
                     has_task_concurrency_limits = excluded.has_task_concurrency_limits,
                     has_import_errors = excluded.has_import_errors, allowed_run_types = excluded.allowed_run_types,
                     last_parsed_at = excluded.last_parsed_at, last_parse_duration = excluded.last_parse_duration,
                     version_id = excluded.version_id, facts = excluded.facts",
            )?
            .execute(params![
                dag.dag_id.as_str(),
                dag.display_name,
                dag.description,
                dag.paused_upon_creation,
                file.bundle_name,
                dag.bundle_version,
                file.relative_fileloc,
                dag.relative_fileloc,
                dag.fileloc,
                texts_json(&dag.owners),
                texts_json(&dag.tags),
                dag.timetable_type,
                dag.timetable_summary,
                dag.timetable_description,
                dag.max_active_tasks,
                dag.max_active_runs,
                dag.max_consecutive_failed_dag_runs,
                dag.has_task_concurrency_limits,
                !file.errors.is_empty(),
                dag.allowed_run_types.as_deref().map(texts_json),
                micros(file.at),
                duration_micros(file.duration),
                version,
                dag.facts.to_string(),
            ])?;
        Ok(())
    }

    fn file_gone(&self, bundle_name: &str, relative_fileloc: &str) -> WriteResult<()> {
        for statement in [
            "DELETE FROM file WHERE bundle_name = ?1 AND relative_fileloc = ?2",
            "DELETE FROM import_error WHERE bundle_name = ?1 AND source_file = ?2",
            "UPDATE dag SET stale = 1 WHERE bundle_name = ?1 AND source_file = ?2",
        ] {
            self.connection.prepare_cached(statement)?.execute(params![bundle_name, relative_fileloc])?;
        }
        Ok(())
    }

    fn variable(&self, variable: &Variable, new: bool) -> WriteResult<()> {
        let update = " ON CONFLICT (key) DO UPDATE SET value = excluded.value, description = excluded.description,
             is_encrypted = excluded.is_encrypted";
        let sql = format!(
            "INSERT INTO variable (key, value, description, is_encrypted) VALUES (?1, ?2, ?3, ?4){}",
            if new { "" } else { update }
        );
        self.connection
            .prepare_cached(&sql)?
            .execute(params![variable.key, variable.value, variable.description, variable.is_encrypted])
            .map_err(|error| conflict(error, || format!("the variable {:?}", variable.key)))?;
        Ok(())
    }

    fn put_connection(&self, connection: &crate::Connection, new: bool) -> WriteResult<()> {
        let update = " ON CONFLICT (connection_id) DO UPDATE SET conn_type = excluded.conn_type,
             description = excluded.description, host = excluded.host, login = excluded.login,
             password = excluded.password, schema = excluded.schema, port = excluded.port, extra = excluded.extra,
             is_encrypted = excluded.is_encrypted";
        let sql = format!(
            "INSERT INTO connection (connection_id, conn_type, description, host, login, password, schema, port, extra,
                 is_encrypted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10){}",
            if new { "" } else { update }
        );
        self.connection
            .prepare_cached(&sql)?
            .execute(params![
                connection.connection_id,
                connection.conn_type,
                connection.description,
                connection.host,
                connection.login,
                connection.password,
                connection.schema,
                connection.port,
                connection.extra,
                connection.is_encrypted,
            ])
            .map_err(|error| conflict(error, || format!("the connection {:?}", connection.connection_id)))?;
        Ok(())
    }

    fn pool(&self, pool: &Pool, new: bool) -> WriteResult<()> {
        let update = " ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, description = excluded.description,
             include_deferred = excluded.include_deferred";
        let sql = format!(
            "INSERT INTO pool (name, slots, description, include_deferred) VALUES (?1, ?2, ?3, ?4){}",
            if new { "" } else { update }
        );
        self.connection
            .prepare_cached(&sql)?
            .execute(params![pool.name, pool.slots, pool.description, pool.include_deferred])
            .map_err(|error| conflict(error, || format!("the pool {:?}", pool.name)))?;
        Ok(())
    }

    fn delete(&self, sql: &str, kind: &str, name: &str) -> WriteResult<()> {
        match self.connection.prepare_cached(sql)?.execute([name])? {
            0 => Err(missing(format!("the {kind} {name:?}"))),
            _ => Ok(()),
        }
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

/// The moment before which an unbounded search looks.
pub(super) fn far_future() -> i64 {
    micros(Timestamp::MAX)
}
