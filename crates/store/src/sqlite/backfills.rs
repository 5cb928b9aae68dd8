//! Backfills.

use model::{Backfill, BackfillId, DagId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::column::Columns;
use crate::query::{Direction, Page};
use crate::{BackfillStore, Result};

const COLUMNS: &str = "id, dag_id, from_date, to_date, conf, is_paused, reprocess, max_active_runs, created_at, updated_at, \
    completed_at, triggering_user";

fn read(row: &Row<'_>) -> rusqlite::Result<Backfill> {
    let mut columns = Columns::new(row);
    Ok(Backfill {
        id: BackfillId(columns.get()?),
        dag_id: DagId::from(columns.get::<String>()?),
        from_date: columns.moment()?,
        to_date: columns.moment()?,
        conf: columns.opt_json()?.map(Into::into),
        is_paused: columns.get()?,
        reprocess: columns.named()?,
        max_active_runs: columns.get()?,
        created_at: columns.moment()?,
        updated_at: columns.moment()?,
        completed_at: columns.opt_moment()?,
        triggering_user: columns.get()?,
    })
}

fn list(connection: &Connection, rest: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Vec<Backfill>> {
    connection.prepare_cached(&format!("SELECT {COLUMNS} FROM backfill {rest}"))?.query_map(values, read)?.collect()
}

impl BackfillStore for SqliteStore {
    fn backfill(&self, id: BackfillId) -> Result<Option<Backfill>> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM backfill WHERE id = ?1");
            connection.prepare_cached(&sql)?.query_row([id.0], read).optional()
        })
    }

    fn backfills(&self, dag_id: &DagId, direction: Direction, page: Page) -> Result<(Vec<Backfill>, u64)> {
        self.snapshot(|connection| {
            let total: i64 = connection
                .prepare_cached("SELECT count(*) FROM backfill WHERE dag_id = ?1")?
                .query_row([dag_id.as_str()], |row| row.get(0))?;
            let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
            let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
            let direction = if direction == Direction::Descending { "DESC" } else { "ASC" };
            let rest = format!("WHERE dag_id = ?1 ORDER BY id {direction} LIMIT ?2 OFFSET ?3");
            let found = list(connection, &rest, params![dag_id.as_str(), limit, offset])?;
            Ok((found, u64::try_from(total).unwrap_or(0)))
        })
    }

    fn open_backfills(&self) -> Result<Vec<Backfill>> {
        self.read(|connection| list(connection, "WHERE completed_at IS NULL ORDER BY id", &[]))
    }

    fn last_backfill(&self) -> Result<BackfillId> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT max(id) FROM backfill_last")?
                .query_row([], |row| row.get(0).map(BackfillId))
        })
    }
}
