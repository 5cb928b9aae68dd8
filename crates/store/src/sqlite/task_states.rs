//! What task instances keep for their own later tries.

use jiff::Timestamp;
use model::{MapIndex, RunKey, TaskId, TaskInstanceKey};
use rusqlite::{OptionalExtension, Row, params};

use super::SqliteStore;
use super::column::{Columns, micros};
use crate::query::Page;
use crate::records::TaskStateEntry;
use crate::{Result, TaskStateStore};

const OF_TASK: &str = "FROM dag_run AS r JOIN task_state AS s ON s.run_rid = r.rid
     WHERE r.dag_id = ?1 AND r.run_id = ?2 AND s.task_id = ?3 AND s.map_index = ?4";
const COLUMNS: &str = "s.key, s.value, s.updated_at, s.expires_at";

fn read_entry(row: &Row<'_>) -> rusqlite::Result<TaskStateEntry> {
    let mut columns = Columns::new(row);
    Ok(TaskStateEntry {
        key: columns.get()?,
        value: columns.json()?,
        updated_at: columns.moment()?,
        expires_at: columns.opt_moment()?,
    })
}

impl TaskStateStore for SqliteStore {
    fn task_state(&self, ti: &TaskInstanceKey, key: &str) -> Result<Option<TaskStateEntry>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} {OF_TASK} AND s.key = ?5"))?
                .query_row(
                    params![ti.run.dag_id.as_str(), ti.run.run_id.as_str(), ti.task_id.as_str(), ti.map_index.0, key],
                    read_entry,
                )
                .optional()
        })
    }

    fn task_states(&self, ti: &TaskInstanceKey, page: Page) -> Result<(Vec<TaskStateEntry>, u64)> {
        let of_task = (ti.run.dag_id.as_str(), ti.run.run_id.as_str(), ti.task_id.as_str(), ti.map_index.0);
        self.snapshot(|connection| {
            let total: i64 = connection
                .prepare_cached(&format!("SELECT count(*) {OF_TASK}"))?
                .query_row(of_task, |row| row.get(0))?;
            let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
            let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
            let entries = connection
                .prepare_cached(&format!("SELECT {COLUMNS} {OF_TASK} ORDER BY s.key LIMIT ?5 OFFSET ?6"))?
                .query_map((of_task.0, of_task.1, of_task.2, of_task.3, limit, offset), read_entry)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((entries, u64::try_from(total).unwrap_or(0)))
        })
    }

    fn expired_task_states(&self, before: Timestamp, page: Page) -> Result<(Vec<(TaskInstanceKey, String)>, u64)> {
        self.snapshot(|connection| {
            let total: i64 = connection
                .prepare_cached("SELECT count(*) FROM task_state WHERE expires_at < ?1")?
                .query_row([micros(before)], |row| row.get(0))?;
            let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
            let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
            let read = |row: &Row<'_>| {
                let run = RunKey::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
                let task_id = TaskId::from(row.get::<_, String>(2)?);
                Ok((TaskInstanceKey { run, task_id, map_index: MapIndex(row.get(3)?) }, row.get(4)?))
            };
            let keys = connection
                .prepare_cached(
                    "SELECT r.dag_id, r.run_id, s.task_id, s.map_index, s.key FROM task_state AS s
                         JOIN dag_run AS r ON r.rid = s.run_rid
                     WHERE s.expires_at < ?1 ORDER BY r.dag_id, r.run_id, s.task_id, s.map_index, s.key LIMIT ?2 OFFSET ?3",
                )?
                .query_map((micros(before), limit, offset), read)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((keys, u64::try_from(total).unwrap_or(0)))
        })
    }
}
