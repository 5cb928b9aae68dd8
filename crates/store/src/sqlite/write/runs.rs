//! Writing runs, task instances and what belongs to them.
//!
//! The hot path changes rows that are there. It names only columns that no index has where it can: SQLite renews an
//! index's entry whenever one of its columns is assigned, even to what it was.

use std::sync::LazyLock;

use jiff::Timestamp;
use model::{Callback, DagId, DagRun, DagSchedule, Deadline, RunKey, TaskInstance, TaskInstanceKey};
use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::super::column::{duration_micros, micros, opt_micros};
use super::{WriteError, WriteResult, Writer, conflict};
use crate::StoreError;
use crate::records::{XCom, XComKey, conf_text};

/// The columns of a task instance behind those of its key, in the order in which `values_of` has them.
const TASK_COLUMNS: &str = "id, state, try_number, max_tries, version_id, operator, operator_name, pool, pool_slots, queue, priority_weight, \
     executor, scheduled_at, queued_at, start_date, end_date, hostname, unixname, pid, rendered_map_index, \
     retry_delay_override, reschedule_date";

/// The tables that hold what belongs to runs.
const OF_RUNS: [&str; 13] = [
    "task_instance",
    "task_try",
    "task_reschedule",
    "suspension",
    "rendered_fields",
    "xcom",
    "task_state",
    "task_note",
    "asset_consumed",
    "hitl_detail",
    "hitl_detail_try",
    "callback",
    "deadline",
];

/// Those that go with a task instance.
const OF_TASK_INSTANCES: [&str; 9] = [
    "task_instance",
    "task_try",
    "task_reschedule",
    "suspension",
    "rendered_fields",
    "xcom",
    "task_note",
    "hitl_detail",
    "hitl_detail_try",
];

static PUT_TASK_INSTANCE: LazyLock<String> = LazyLock::new(|| put_try("task_instance", "run_rid, task_id, map_index"));
static PUT_ARCHIVED_TRY: LazyLock<String> = LazyLock::new(|| put_try("task_try", "run_rid, task_id, map_index, id"));

fn put_try(table: &str, key: &str) -> String {
    let assigned: Vec<String> = TASK_COLUMNS.split(", ").map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO {table} (run_rid, task_id, map_index, {TASK_COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
             ?24, ?25)
         ON CONFLICT ({key}) DO UPDATE SET {}",
        assigned.join(", ")
    )
}

impl Writer {
    pub(super) fn run(&mut self, run: &DagRun) -> WriteResult<()> {
        let rid = match self.change_run(run)? {
            Some(rid) => rid,
            None => self.put_run(run)?,
        };
        self.run_rids.insert(run.key.clone(), rid);
        self.connection
            .prepare_cached(
                "UPDATE dag SET last_run_rid = ?2, last_run_state = ?3, last_run_start = ?4, last_run_end = ?5
                 WHERE dag_id = ?1 AND coalesce(last_run_rid, 0) <= ?2",
            )?
            .execute(params![
                run.key.dag_id.as_str(),
                rid,
                run.state.name(),
                opt_micros(run.start_date),
                opt_micros(run.end_date)
            ])?;
        Ok(())
    }

    /// Writes what may change about a run that is there and is still due when it was. The note is people's.
    fn change_run(&self, run: &DagRun) -> WriteResult<Option<i64>> {
        let rid = self
            .connection
            .prepare_cached(
                "UPDATE dag_run SET state = ?3, queued_at = ?4, start_date = ?5, end_date = ?6,
                     last_scheduling_decision = ?7, conf = ?8, clear_number = ?9, version_id = ?10, bundle_version = ?11
                 WHERE dag_id = ?1 AND run_id = ?2 AND logical_date IS ?12 AND run_after = ?13 AND run_type = ?14
                     AND triggered_by = ?15 AND triggering_user IS ?16 AND interval_start IS ?17 AND interval_end IS ?18
                     AND backfill_id IS ?19 AND backfill_ordinal IS ?20 AND partition_key IS ?21
                     AND partition_date IS ?22
                 RETURNING rid",
            )?
            .query_row(
                params![
                    run.key.dag_id.as_str(),
                    run.key.run_id.as_str(),
                    run.state.name(),
                    opt_micros(run.queued_at),
                    opt_micros(run.start_date),
                    opt_micros(run.end_date),
                    opt_micros(run.last_scheduling_decision),
                    conf_text(&run.conf),
                    run.clear_number,
                    run.version.0.as_bytes(),
                    run.bundle_version,
                    opt_micros(run.logical_date),
                    micros(run.run_after),
                    run.run_type.name(),
                    run.triggered_by.name(),
                    run.triggering_user,
                    opt_micros(run.data_interval.map(|interval| interval.start)),
                    opt_micros(run.data_interval.map(|interval| interval.end)),
                    run.backfill.map(|backfill| backfill.id.0),
                    run.backfill.map(|backfill| backfill.ordinal),
                    run.partition.as_ref().map(|partition| &partition.key),
                    opt_micros(run.partition.as_ref().and_then(|partition| partition.date)),
                ],
                |row| row.get(0),
            )
            .optional()?;
        Ok(rid)
    }

    fn put_run(&self, run: &DagRun) -> WriteResult<i64> {
        // The conflict target keeps a second run with the same logical date an error.
        self.connection
            .prepare_cached(
                "INSERT INTO dag_run (dag_id, run_id, run_type, triggered_by, triggering_user, state, logical_date,
                     interval_start, interval_end, run_after, queued_at, start_date, end_date, last_scheduling_decision,
                     conf, note, clear_number, version_id, bundle_version, backfill_id, backfill_ordinal,
                     partition_key, partition_date)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                     ?22, ?23)
                 ON CONFLICT (dag_id, run_id) DO UPDATE SET run_type = excluded.run_type,
                     triggered_by = excluded.triggered_by, triggering_user = excluded.triggering_user,
                     state = excluded.state, logical_date = excluded.logical_date,
                     interval_start = excluded.interval_start, interval_end = excluded.interval_end,
                     run_after = excluded.run_after, queued_at = excluded.queued_at, start_date = excluded.start_date,
                     end_date = excluded.end_date, last_scheduling_decision = excluded.last_scheduling_decision,
                     conf = excluded.conf, clear_number = excluded.clear_number, version_id = excluded.version_id,
                     bundle_version = excluded.bundle_version, backfill_id = excluded.backfill_id,
                     backfill_ordinal = excluded.backfill_ordinal, partition_key = excluded.partition_key,
                     partition_date = excluded.partition_date
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
                    conf_text(&run.conf),
                    run.note,
                    run.clear_number,
                    run.version.0.as_bytes(),
                    run.bundle_version,
                    run.backfill.map(|backfill| backfill.id.0),
                    run.backfill.map(|backfill| backfill.ordinal),
                    run.partition.as_ref().map(|partition| &partition.key),
                    opt_micros(run.partition.as_ref().and_then(|partition| partition.date)),
                ],
                |row| row.get(0),
            )
            .map_err(|error| conflict(error, || format!("a run of Dag {} with this logical date", run.key.dag_id)))
    }

    /// Deletes a run with all that belongs to it; the triggers that count need the run to be there until the end.
    pub(super) fn delete_run(&mut self, key: &RunKey) -> WriteResult<()> {
        let rid = match self.rid(key) {
            Ok(rid) => rid,
            // It is gone already.
            Err(WriteError::Store(StoreError::Missing { .. })) => return Ok(()),
            Err(error) => return Err(error),
        };
        for table in OF_RUNS {
            self.connection.prepare_cached(&format!("DELETE FROM {table} WHERE run_rid = ?1"))?.execute([rid])?;
        }
        self.connection.prepare_cached("DELETE FROM dag_run WHERE rid = ?1")?.execute([rid])?;
        self.run_rids.remove(key);
        self.connection
            .prepare_cached(
                "UPDATE dag SET (last_run_rid, last_run_state, last_run_start, last_run_end) =
                     (SELECT rid, state, start_date, end_date FROM dag_run WHERE dag_id = ?1 ORDER BY rid DESC LIMIT 1)
                 WHERE dag_id = ?1 AND last_run_rid = ?2",
            )?
            .execute(params![key.dag_id.as_str(), rid])?;
        Ok(())
    }

    /// Deletes a task instance with its tries and what it has left.
    pub(super) fn delete_task_instance(&mut self, key: &TaskInstanceKey) -> WriteResult<()> {
        for table in OF_TASK_INSTANCES {
            let sql = format!("DELETE FROM {table} WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3");
            self.of_task(&sql, key, &[])?;
        }
        Ok(())
    }

    /// Deletes a Dag with its runs, its versions, and what is known of its file.
    pub(super) fn delete_dag(&mut self, dag_id: &DagId) -> WriteResult<()> {
        let of_runs = OF_RUNS
            .map(|table| format!("DELETE FROM {table} WHERE run_rid IN (SELECT rid FROM dag_run WHERE dag_id = ?1)"));
        let file = |table: &str, column: &str| {
            format!(
                "DELETE FROM {table} WHERE (bundle_name, {column}) = (SELECT bundle_name, source_file FROM dag WHERE dag_id = ?1)"
            )
        };
        let of_dag = [
            "DELETE FROM dag_run WHERE dag_id = ?1".to_owned(),
            "DELETE FROM dag_document WHERE version_id IN (SELECT id FROM dag_version WHERE dag_id = ?1)".to_owned(),
            "DELETE FROM dag_version WHERE dag_id = ?1".to_owned(),
            file("import_error", "source_file"),
            file("file", "relative_fileloc"),
            "DELETE FROM dag WHERE dag_id = ?1".to_owned(),
            "DELETE FROM tally WHERE dag_id = ?1".to_owned(),
            "DELETE FROM dag_asset WHERE dag_id = ?1".to_owned(),
            "DELETE FROM asset_cursor WHERE dag_id = ?1".to_owned(),
            "DELETE FROM asset_reference WHERE dag_id = ?1".to_owned(),
            "DELETE FROM asset_queue WHERE dag_id = ?1".to_owned(),
            "DELETE FROM backfill WHERE dag_id = ?1".to_owned(),
            "DELETE FROM partition_pending WHERE dag_id = ?1".to_owned(),
            "DELETE FROM partition_event WHERE dag_id = ?1".to_owned(),
            "DELETE FROM partition_unmapped WHERE dag_id = ?1".to_owned(),
            "DELETE FROM dag_warning WHERE dag_id = ?1".to_owned(),
        ];
        for sql in of_runs.iter().chain(&of_dag) {
            self.connection.prepare_cached(sql)?.execute([dag_id.as_str()])?;
        }
        self.run_rids.clear();
        self.activate_assets()
    }

    pub(super) fn task_instance(&mut self, ti: &TaskInstance) -> WriteResult<()> {
        let Some(moved) = self.change_try(ti)? else { return self.put_try(&PUT_TASK_INSTANCE, ti) };
        if moved.start {
            self.set_date("start_date", ti, ti.start_date)?;
        }
        if moved.end {
            self.set_date("end_date", ti, ti.end_date)?;
        }
        Ok(())
    }

    pub(super) fn archived_try(&mut self, ti: &TaskInstance) -> WriteResult<()> {
        let rid = self.rid(&ti.run)?;
        let sql = "SELECT EXISTS (SELECT 1 FROM task_try
             WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3 AND try_number = ?4 AND id <> ?5)";
        let is_known: bool =
            self.connection.prepare_cached(sql)?.query_row(
                params![rid, ti.task_id.as_str(), ti.map_index.0, ti.try_number, ti.id.0.as_bytes()],
                |row| row.get(0),
            )?;
        if is_known { Ok(()) } else { self.put_try(&PUT_ARCHIVED_TRY, ti) }
    }

    fn put_try(&mut self, sql: &str, ti: &TaskInstance) -> WriteResult<()> {
        let rid = self.rid(&ti.run)?;
        with_values(rid, ti, |values| self.connection.prepare_cached(sql)?.execute(values))?;
        Ok(())
    }

    /// Writes what may change while a try is the current one, but for its dates. Says which of these are others now;
    /// `None` if the try is not the current one.
    fn change_try(&mut self, ti: &TaskInstance) -> WriteResult<Option<MovedDates>> {
        let rid = self.rid(&ti.run)?;
        let sql = "UPDATE task_instance SET
                 state = ?5, try_number = ?6, max_tries = ?7, version_id = ?8, operator = ?9, operator_name = ?10,
                 pool = ?11, pool_slots = ?12, queue = ?13, priority_weight = ?14, executor = ?15, scheduled_at = ?16,
                 queued_at = ?17, hostname = ?20, unixname = ?21, pid = ?22, rendered_map_index = ?23,
                 retry_delay_override = ?24, reschedule_date = ?25
             WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3 AND id = ?4
             RETURNING start_date IS NOT ?18, end_date IS NOT ?19";
        let changed = with_values(rid, ti, |values| {
            let moved = |row: &Row<'_>| Ok(MovedDates { start: row.get(0)?, end: row.get(1)? });
            self.connection.prepare_cached(sql)?.query_row(values, moved).optional()
        })?;
        Ok(changed)
    }

    /// Sets a date that lists are ordered by.
    fn set_date(&mut self, column: &str, ti: &TaskInstance, date: Option<Timestamp>) -> WriteResult<()> {
        let sql =
            format!("UPDATE task_instance SET {column} = ?4 WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3");
        self.of_task(&sql, &ti.key(), &[&opt_micros(date)])
    }

    pub(super) fn deadline(&mut self, deadline: &Deadline) -> WriteResult<()> {
        let rid = self.rid(&deadline.run)?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO deadline (id, run_rid, alert, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![deadline.id.0.as_bytes(), rid, deadline.alert, opt_micros(deadline.at)])?;
        Ok(())
    }

    pub(super) fn callback_due(&mut self, callback: &Callback) -> WriteResult<()> {
        let rid = self.rid(&callback.run)?;
        let of = callback.of.as_ref();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO callback (id, run_rid, created_at, call, message, task_id, map_index, ti_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                callback.id.0.as_bytes(),
                rid,
                micros(callback.created_at),
                callback.call.name(),
                callback.message,
                of.map(|of| of.task_id.as_str()),
                of.map(|of| of.map_index.0),
                of.map(|of| of.id.0.as_bytes()),
            ])?;
        Ok(())
    }

    pub(super) fn schedule(&self, dag_id: &DagId, schedule: &DagSchedule) -> WriteResult<()> {
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

    /// Runs a statement whose first three parameters name a task instance.
    pub(super) fn of_task(&mut self, sql: &str, key: &TaskInstanceKey, more: &[&dyn ToSql]) -> WriteResult<()> {
        let rid = self.rid(&key.run)?;
        let task_id = key.task_id.as_str();
        let mut values: Vec<&dyn ToSql> = vec![&rid, &task_id, &key.map_index.0];
        values.extend(more);
        self.connection.prepare_cached(sql)?.execute(values.as_slice())?;
        Ok(())
    }

    pub(super) fn xcom(&mut self, xcom: &XCom) -> WriteResult<()> {
        let key = TaskInstanceKey {
            run: xcom.key.run.clone(),
            task_id: xcom.key.task_id.clone(),
            map_index: xcom.key.map_index,
        };
        self.of_task(
            "INSERT INTO xcom (run_rid, task_id, map_index, key, value, at, mapped_length, dag_result)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (run_rid, task_id, map_index, key) DO UPDATE SET value = excluded.value, at = excluded.at,
                 mapped_length = excluded.mapped_length, dag_result = excluded.dag_result",
            &key,
            &[&xcom.key.key, &xcom.value.to_string(), &micros(xcom.at), &xcom.mapped_length, &xcom.dag_result],
        )
    }

    pub(super) fn backfill(&self, backfill: &model::Backfill) -> WriteResult<()> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO backfill (id, dag_id, from_date, to_date, conf, is_paused, reprocess, max_active_runs,
                     created_at, updated_at, completed_at, triggering_user)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                backfill.id.0,
                backfill.dag_id.as_str(),
                micros(backfill.from_date),
                micros(backfill.to_date),
                backfill.conf.as_ref().map(|conf| conf.to_string()),
                backfill.is_paused,
                backfill.reprocess.name(),
                backfill.max_active_runs,
                micros(backfill.created_at),
                micros(backfill.updated_at),
                opt_micros(backfill.completed_at),
                backfill.triggering_user,
            ])?;
        self.connection.prepare_cached("UPDATE backfill_last SET id = max(id, ?1)")?.execute([backfill.id.0])?;
        Ok(())
    }

    pub(super) fn clear_xcoms(&mut self, key: &TaskInstanceKey) -> WriteResult<()> {
        self.of_task("DELETE FROM xcom WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3", key, &[])
    }

    pub(super) fn delete_xcom(&mut self, key: &XComKey) -> WriteResult<()> {
        let XComKey { run, task_id, map_index, key } = key;
        let ti = TaskInstanceKey { run: run.clone(), task_id: task_id.clone(), map_index: *map_index };
        self.of_task(
            "DELETE FROM xcom WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3 AND key = ?4",
            &ti,
            &[key],
        )
    }
}

/// Which dates of a try are others than before.
struct MovedDates {
    start: bool,
    end: bool,
}

/// Runs a statement whose parameters are a task instance's key and all its columns.
fn with_values<T>(
    rid: i64,
    ti: &TaskInstance,
    run: impl FnOnce(&[&dyn ToSql]) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    run(params![
        rid,
        ti.task_id.as_str(),
        ti.map_index.0,
        ti.id.0.as_bytes(),
        ti.state.name().unwrap_or("none"),
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
    ])
}
