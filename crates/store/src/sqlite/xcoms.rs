//! Reading XComs.

use jiff::Timestamp;
use model::{DagId, MapIndex, RunId, RunKey, TaskId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::column::{Columns, micros};
use super::read::{Again, Conditions, Key, Lead, MAX_FOUND_AGAIN, Source, count, order_by, rows, sum};
use super::{SqliteStore, runs};
use crate::query::{Direction, Page, XComFilter, XComOrder};
use crate::records::{XCom, XComHead, XComKey};
use crate::{Result, XComStore};

/// Runs first, then what belongs to them.
const BY_RUN: &str = "dag_run AS r CROSS JOIN xcom AS x ON x.run_rid = r.rid";
const BY_XCOM: &str = "xcom AS x CROSS JOIN dag_run AS r ON r.rid = x.run_rid";
const ALONE: &str = "xcom AS x";
const BY_DAG: &str = "dag_run AS r INDEXED BY dag_run_key CROSS JOIN xcom AS x ON x.run_rid = r.rid";

const HEAD_COLUMNS: &str = "r.dag_id, r.run_id, x.task_id, x.map_index, x.key, x.at, r.logical_date, r.run_after";

const XCOM_COLUMNS: &str =
    "r.dag_id, r.run_id, x.task_id, x.map_index, x.key, x.value, x.at, x.mapped_length, x.dag_result";

fn read_xcom_key(columns: &mut Columns<'_>) -> rusqlite::Result<XComKey> {
    Ok(XComKey {
        run: RunKey { dag_id: DagId::from(columns.get::<String>()?), run_id: RunId::from(columns.get::<String>()?) },
        task_id: TaskId::from(columns.get::<String>()?),
        map_index: MapIndex(columns.get()?),
        key: columns.get()?,
    })
}

fn read_xcom(row: &Row<'_>) -> rusqlite::Result<XCom> {
    let mut columns = Columns::new(row);
    Ok(XCom {
        key: read_xcom_key(&mut columns)?,
        value: columns.json()?,
        at: columns.moment()?,
        mapped_length: columns.get()?,
        dag_result: columns.get()?,
    })
}

fn read_xcom_head(row: &Row<'_>) -> rusqlite::Result<XComHead> {
    let mut columns = Columns::new(row);
    Ok(XComHead {
        key: read_xcom_key(&mut columns)?,
        at: columns.moment()?,
        logical_date: columns.opt_moment()?,
        run_after: columns.moment()?,
    })
}

fn xcom_order(order: XComOrder) -> Key {
    Key::Full(match order {
        XComOrder::Key => "x.key",
        XComOrder::DagId => "r.dag_id",
        XComOrder::RunId => "r.run_id",
        XComOrder::TaskId => "x.task_id",
        XComOrder::MapIndex => "x.map_index",
        XComOrder::At => "x.at",
        XComOrder::RunAfter => "r.run_after",
    })
}

/// What is asked of the runs, and what of the entries themselves. The Dag stands apart: it is known how many a Dag has.
fn conditions_of(filter: &XComFilter) -> (Conditions, Conditions) {
    let (mut of_run, mut of_xcom) = (Conditions::default(), Conditions::default());
    of_run
        .equal("r.run_id", filter.run_id.as_ref().map(RunId::to_string))
        .text("r.run_id", &filter.run_ids)
        .span("r.logical_date", filter.logical_date)
        .span("r.run_after", filter.run_after);
    let mut display_name = Conditions::default();
    display_name.text("d.display_name", &filter.dag_display_names);
    if !display_name.is_empty() {
        display_name.fixed("d.dag_id = r.dag_id");
        of_run.exists("dag AS d", display_name);
    }
    of_xcom
        .equal("x.task_id", filter.task_id.as_ref().map(TaskId::to_string))
        .equal("x.map_index", filter.map_index)
        .equal("x.key", filter.key.clone())
        .text("x.key", &filter.keys)
        .text("x.task_id", &filter.task_ids);
    (of_run, of_xcom)
}

fn tally(connection: &Connection, filter: &XComFilter) -> rusqlite::Result<u64> {
    let mut conditions = Conditions::default();
    conditions.fixed("kind = 'xcom'").equal("dag_id", filter.dag_id.as_ref().map(DagId::to_string));
    sum(connection, "tally", "count", &conditions)
}

fn list(
    connection: &Connection,
    filter: &XComFilter,
    order: &[(XComOrder, Direction)],
    page: Page,
) -> rusqlite::Result<(Vec<XComHead>, u64)> {
    let (of_run, of_xcom) = conditions_of(filter);
    let is_tallied = of_run.is_empty() && of_xcom.is_empty();
    let needs_run = !of_run.is_empty() || filter.dag_id.is_some();
    let mut conditions = Conditions::default();
    conditions.equal("r.dag_id", filter.dag_id.as_ref().map(DagId::to_string));
    conditions.extend(of_run);
    conditions.extend(of_xcom);
    let total = match (is_tallied, needs_run) {
        (true, _) => tally(connection, filter)?,
        (false, true) => count(connection, BY_RUN, &conditions)?,
        (false, false) => count(connection, ALONE, &conditions)?,
    };
    if total <= page.offset {
        return Ok((Vec::new(), total));
    }
    let order_needs_run =
        order.iter().any(|(key, _)| matches!(key, XComOrder::DagId | XComOrder::RunId | XComOrder::RunAfter));
    let from = match order.first() {
        // Over all Dags, one Dag after the other is sorted, and only until the page is full.
        Some((XComOrder::DagId, _)) if filter.dag_id.is_none() => BY_DAG,
        _ if needs_run || order_needs_run || page.limit > MAX_FOUND_AGAIN => BY_RUN,
        _ => ALONE,
    };
    let order = order_by(order, xcom_order, &["x.run_rid", "x.task_id", "x.map_index", "x.key"]);
    let again = Some(Again { from: BY_XCOM, number: "x.rowid" });
    let lead = if from == BY_DAG { Lead::Order } else { Lead::Conditions };
    let source = Source { columns: HEAD_COLUMNS, from, conditions: &conditions, lead, order: &order, again };
    Ok((rows(connection, &source, page, read_xcom_head)?, total))
}

/// The newest entry of a task among runs that are not after the given one. A run without a logical date counts by when it
/// was due.
fn newest(connection: &Connection, key: &XComKey) -> rusqlite::Result<Option<XCom>> {
    let Some(run) = runs::one(connection, &key.run)? else { return Ok(None) };
    let until = micros(run.logical_date.unwrap_or(run.run_after));
    // Each of the two is the first hit of a walk back along an index.
    let newest_by = |date: &str, which: &str| -> rusqlite::Result<Option<(i64, i64, XCom)>> {
        let sql = format!(
            "SELECT {XCOM_COLUMNS}, r.{date}, r.rid FROM dag_run AS r CROSS JOIN xcom AS x ON x.run_rid = r.rid
             WHERE r.dag_id = ?1 AND r.logical_date {which} AND r.{date} <= ?2 AND x.task_id = ?3 AND x.map_index = ?4
                 AND x.key = ?5
             ORDER BY r.{date} DESC, x.at DESC, r.rid DESC LIMIT 1"
        );
        connection
            .prepare_cached(&sql)?
            .query_row(params![key.run.dag_id.as_str(), until, key.task_id.as_str(), key.map_index.0, key.key], |row| {
                Ok((row.get(date)?, row.get("rid")?, read_xcom(row)?))
            })
            .optional()
    };
    let dated = newest_by("logical_date", "IS NOT NULL")?;
    let undated = newest_by("run_after", "IS NULL")?;
    let found = [dated, undated].into_iter().flatten().max_by_key(|(date, rid, xcom)| (*date, xcom.at, *rid));
    Ok(found.map(|(_, _, xcom)| xcom))
}

/// Some columns of one entry.
fn one<T>(
    connection: &Connection,
    columns: &str,
    key: &XComKey,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    let sql = format!(
        "SELECT {columns} FROM dag_run AS r JOIN xcom AS x ON x.run_rid = r.rid
         WHERE r.dag_id = ?1 AND r.run_id = ?2 AND x.task_id = ?3 AND x.map_index = ?4 AND x.key = ?5"
    );
    let XComKey { run, task_id, map_index, key } = key;
    connection
        .prepare_cached(&sql)?
        .query_row(params![run.dag_id.as_str(), run.run_id.as_str(), task_id.as_str(), map_index.0, key], read)
        .optional()
}

impl XComStore for SqliteStore {
    fn xcom(&self, key: &XComKey) -> Result<Option<XCom>> {
        self.read(|connection| one(connection, XCOM_COLUMNS, key, read_xcom))
    }

    fn xcoms(
        &self,
        run: &RunKey,
        task_id: Option<&TaskId>,
        map_index: Option<MapIndex>,
        key: Option<&str>,
    ) -> Result<Vec<XCom>> {
        let mut conditions = Conditions::default();
        conditions
            .with("r.dag_id = ?", run.dag_id.to_string())
            .with("r.run_id = ?", run.run_id.to_string())
            .equal("x.task_id", task_id.map(TaskId::to_string))
            .equal("x.map_index", map_index.map(|index| index.0))
            .equal("x.key", key.map(str::to_owned));
        let source = Source {
            columns: XCOM_COLUMNS,
            from: BY_RUN,
            conditions: &conditions,
            lead: Lead::Conditions,
            order: " ORDER BY x.task_id, x.map_index, x.key",
            again: None,
        };
        self.read(|connection| rows(connection, &source, Page::ALL, read_xcom))
    }

    fn count_xcoms(&self, run: &RunKey, task_id: &TaskId, key: &str, mapped_only: bool) -> Result<u64> {
        let lowest = if mapped_only { 0 } else { i32::MIN };
        let count: i64 = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*) FROM dag_run AS r CROSS JOIN xcom AS x ON x.run_rid = r.rid
                     WHERE r.dag_id = ?1 AND r.run_id = ?2 AND x.task_id = ?3 AND x.map_index >= ?4 AND x.key = ?5",
                )?
                .query_row(params![run.dag_id.as_str(), run.run_id.as_str(), task_id.as_str(), lowest, key], |row| {
                    row.get(0)
                })
        })?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn xcom_at(&self, run: &RunKey, task_id: &TaskId, key: &str, offset: i64) -> Result<Option<XCom>> {
        let (direction, offset) = if offset >= 0 { ("ASC", offset) } else { ("DESC", -1 - offset) };
        // The index alone finds the entry; only then its value is read.
        let sql = format!(
            "SELECT {XCOM_COLUMNS} FROM dag_run AS r CROSS JOIN xcom AS x ON x.rowid = (
                 SELECT y.rowid FROM xcom AS y WHERE y.run_rid = r.rid AND y.task_id = ?3 AND y.key = ?4
                 ORDER BY y.map_index {direction} LIMIT 1 OFFSET ?5)
             WHERE r.dag_id = ?1 AND r.run_id = ?2"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(params![run.dag_id.as_str(), run.run_id.as_str(), task_id.as_str(), key, offset], read_xcom)
                .optional()
        })
    }

    fn some_xcoms(&self, run: &RunKey, task_id: &TaskId, key: &str, offset: u64, limit: u64) -> Result<Vec<XCom>> {
        let sql = format!(
            "SELECT {XCOM_COLUMNS} FROM dag_run AS r CROSS JOIN xcom AS x ON x.rowid IN (
                 SELECT y.rowid FROM xcom AS y WHERE y.run_rid = r.rid AND y.task_id = ?3 AND y.key = ?4
                 ORDER BY y.map_index LIMIT ?6 OFFSET ?5)
             WHERE r.dag_id = ?1 AND r.run_id = ?2 ORDER BY x.map_index"
        );
        let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (dag_id, run_id, task_id) = (run.dag_id.as_str(), run.run_id.as_str(), task_id.as_str());
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(params![dag_id, run_id, task_id, key, bound(offset), bound(limit)], read_xcom)?
                .collect()
        })
    }

    fn xcom_pushed(&self, key: &XComKey) -> Result<Option<Timestamp>> {
        self.read(|connection| one(connection, "x.at", key, |row| Columns::new(row).moment()))
    }

    fn mapped_length(&self, key: &XComKey) -> Result<Option<u32>> {
        self.read(|connection| Ok(one(connection, "x.mapped_length", key, |row| row.get(0))?.flatten()))
    }

    fn list_xcoms(
        &self,
        filter: &XComFilter,
        order: &[(XComOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<XComHead>, u64)> {
        self.snapshot(|connection| list(connection, filter, order, page))
    }

    fn xcom_with_prior_dates(&self, key: &XComKey) -> Result<Option<XCom>> {
        self.snapshot(|connection| newest(connection, key))
    }

    fn xcoms_with_prior_dates(&self, run: &RunKey, task_id: &TaskId, key: &str) -> Result<Vec<XCom>> {
        let sql = format!(
            "SELECT {XCOM_COLUMNS} FROM {BY_DAG} WHERE r.dag_id = ?1 AND coalesce(r.logical_date, r.run_after) <= ?2
                 AND x.task_id = ?3 AND x.key = ?4
             ORDER BY x.map_index, coalesce(r.logical_date, r.run_after), r.rid"
        );
        self.snapshot(|connection| {
            let Some(found) = runs::one(connection, run)? else { return Ok(Vec::new()) };
            let until = micros(found.logical_date.unwrap_or(found.run_after));
            connection
                .prepare_cached(&sql)?
                .query_map(params![run.dag_id.as_str(), until, task_id.as_str(), key], read_xcom)?
                .collect()
        })
    }
}
