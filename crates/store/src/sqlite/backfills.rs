//! Backfills.

use model::{Backfill, BackfillId, DagId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use super::column::Columns;
use super::dags::all;
use super::read::{Conditions, Key, order_by, page};
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

    fn backfills(
        &self,
        dag_id: Option<&DagId>,
        open: Option<bool>,
        direction: Direction,
        cut: Page,
    ) -> Result<(Vec<Backfill>, u64)> {
        let mut conditions = Conditions::default();
        conditions.equal("dag_id", dag_id.map(DagId::to_string));
        match open {
            Some(true) => drop(conditions.fixed("completed_at IS NULL")),
            Some(false) => drop(conditions.fixed("completed_at IS NOT NULL")),
            None => {}
        }
        let order = order_by(&[((), direction)], |()| Key::Full("id"), &["id"]);
        let source = all("backfill", COLUMNS, &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, read))
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
