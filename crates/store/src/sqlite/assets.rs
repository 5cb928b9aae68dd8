//! Assets and their events.

use std::sync::Arc;

use model::{
    Asset, AssetEvent, AssetEventId, AssetKey, AssetUpdate, DagId, DagRun, Json, MapIndex, QueuedAsset, RunKey, TaskId,
    TaskInstanceKey,
};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, params, params_from_iter};

use super::SqliteStore;
use super::column::{Columns, micros};
use super::runs::{RUN_COLUMNS, read_run};
use crate::query::AssetEventFilter;
use crate::records::AssetRecord;
use crate::{AssetStore, Result};

pub(super) const ASSET: &str = "a.name, a.uri, a.grp, a.extra";
pub(super) const EVENT: &str = "a.name, a.uri, a.grp, a.extra, e.id, e.extra, e.at, e.source_dag_id, e.source_run_id, \
     e.source_task_id, e.source_map_index, e.aliases, e.active, e.partition_key, e.partition_date";
pub(super) const EVENTS: &str = "asset_event AS e JOIN asset AS a ON a.id = e.asset_id";

pub(super) fn read_asset(columns: &mut Columns<'_>) -> rusqlite::Result<Asset> {
    let key = AssetKey { name: columns.get()?, uri: columns.get()? };
    Ok(Asset { key, group: columns.get()?, extra: columns.json()? })
}

pub(super) fn read_event(columns: &mut Columns<'_>) -> rusqlite::Result<AssetEvent> {
    let asset = read_asset(columns)?;
    let id = AssetEventId(columns.get()?);
    let (extra, at) = (columns.json()?, columns.moment()?);
    let (dag_id, run_id): (Option<String>, Option<String>) = (columns.get()?, columns.get()?);
    let (task_id, map_index): (Option<String>, Option<i32>) = (columns.get()?, columns.get()?);
    let (aliases, active) = (columns.texts()?, columns.get()?);
    let partition = columns.partition()?;
    let source = dag_id.zip(run_id).zip(task_id).map(|((dag_id, run_id), task_id)| TaskInstanceKey {
        run: RunKey::new(dag_id, run_id),
        task_id: TaskId::from(task_id),
        map_index: map_index.map_or(MapIndex::NONE, MapIndex),
    });
    Ok(AssetEvent { id, update: AssetUpdate { asset, extra, aliases, active, partition }, source, at })
}

pub(super) fn read_queued(columns: &mut Columns<'_>) -> rusqlite::Result<QueuedAsset> {
    let key = AssetKey { name: columns.get()?, uri: columns.get()? };
    let (named, aliases) = (columns.get()?, columns.texts()?.into_iter().collect());
    let (first_at, last_event) = (columns.moment()?, AssetEventId(columns.get()?));
    Ok(QueuedAsset { key, named, aliases, first_at, last_event, last_at: columns.moment()? })
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<AssetEvent> {
    read_event(&mut Columns::new(row))
}

/// The condition for events, and its values.
fn condition(filter: &AssetEventFilter) -> (String, Vec<Value>) {
    let (mut terms, mut values): (Vec<&str>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut add = |term, value: Value| {
        terms.push(term);
        values.push(value);
    };
    if let Some(name) = &filter.name {
        add("a.name = ?", name.clone().into());
    }
    if let Some(uri) = &filter.uri {
        add("a.uri = ?", uri.clone().into());
    }
    if let Some(alias) = &filter.alias {
        add("e.id IN (SELECT event_id FROM asset_event_alias WHERE alias = ?)", alias.clone().into());
    }
    if let Some(after) = filter.after {
        add("e.at >= ?", micros(after).into());
    }
    if let Some(before) = filter.before {
        add("e.at <= ?", micros(before).into());
    }
    if filter.active_only {
        terms.push("a.active");
    }
    let sql = if terms.is_empty() { String::new() } else { format!("WHERE {}", terms.join(" AND ")) };
    (sql, values)
}

impl AssetStore for SqliteStore {
    fn asset(&self, key: &AssetKey) -> Result<Option<AssetRecord>> {
        let sql = format!("SELECT {ASSET}, a.active FROM asset AS a WHERE a.name = ?1 AND a.uri = ?2");
        self.read(|connection| {
            let read = |row: &Row<'_>| {
                let mut columns = Columns::new(row);
                Ok(AssetRecord { asset: read_asset(&mut columns)?, active: columns.get()? })
            };
            connection.prepare_cached(&sql)?.query_row(params![key.name, key.uri], read).optional()
        })
    }

    fn active_asset(&self, name: Option<&str>, uri: Option<&str>) -> Result<Option<Asset>> {
        // One statement for each, so that each has its index.
        let (condition, values) = match (name, uri) {
            (Some(name), Some(uri)) => ("a.name = ?1 AND a.uri = ?2", vec![name, uri]),
            (Some(name), None) => ("a.name = ?1", vec![name]),
            (None, Some(uri)) => ("a.uri = ?1", vec![uri]),
            (None, None) => return Ok(None),
        };
        let sql = format!("SELECT {ASSET} FROM asset AS a WHERE a.active AND {condition}");
        self.read(|connection| {
            let read = |row: &Row<'_>| read_asset(&mut Columns::new(row));
            connection.prepare_cached(&sql)?.query_row(params_from_iter(values), read).optional()
        })
    }

    fn assets_of_alias(&self, alias: &str) -> Result<Vec<Asset>> {
        let sql = format!(
            "SELECT {ASSET} FROM asset_alias_asset AS l JOIN asset AS a ON a.id = l.asset_id
             WHERE l.alias = ?1 ORDER BY a.id"
        );
        self.read(|connection| {
            let read = |row: &Row<'_>| read_asset(&mut Columns::new(row));
            connection.prepare_cached(&sql)?.query_map([alias], read)?.collect()
        })
    }

    fn asset_events(&self, filter: &AssetEventFilter) -> Result<Vec<AssetEvent>> {
        let (condition, mut values) = condition(filter);
        let direction = if filter.newest_first { "DESC" } else { "ASC" };
        let sql =
            format!("SELECT {EVENT} FROM {EVENTS} {condition} ORDER BY e.at {direction}, e.id {direction} LIMIT ?");
        values.push(i64::try_from(filter.limit).unwrap_or(i64::MAX).into());
        self.read(|connection| {
            connection.prepare_cached(&sql)?.query_map(params_from_iter(&values), event_row)?.collect()
        })
    }

    fn consumed_asset_events(&self, run: &RunKey) -> Result<Vec<AssetEvent>> {
        let sql = format!(
            "SELECT {EVENT} FROM dag_run AS r JOIN asset_consumed AS c ON c.run_rid = r.rid
                 JOIN asset_event AS e ON e.id = c.event_id JOIN asset AS a ON a.id = e.asset_id
             WHERE r.dag_id = ?1 AND r.run_id = ?2 ORDER BY e.id"
        );
        self.read(|connection| {
            let params = params![run.dag_id.as_str(), run.run_id.as_str()];
            connection.prepare_cached(&sql)?.query_map(params, event_row)?.collect()
        })
    }

    fn runs_of_asset_events(&self, events: &[AssetEventId]) -> Result<Vec<(AssetEventId, Arc<DagRun>)>> {
        let sql = format!(
            "SELECT {RUN_COLUMNS}, c.event_id AS event_id, r.rid AS rid FROM asset_consumed AS c
                 JOIN dag_run AS r ON r.rid = c.run_rid
             WHERE c.event_id IN (SELECT value FROM json_each(?1)) ORDER BY r.rid, c.event_id"
        );
        let events: Vec<i64> = events.iter().map(|event| event.0).collect();
        self.read(|connection| {
            let mut found: Vec<(AssetEventId, Arc<DagRun>)> = Vec::new();
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([Json::from(events).to_string()])?;
            let mut last: Option<(i64, Arc<DagRun>)> = None;
            while let Some(row) = rows.next()? {
                // A run may have been made of thousands of events, and is read once.
                let rid: i64 = row.get("rid")?;
                let run = match &last {
                    Some((known, run)) if *known == rid => Arc::clone(run),
                    _ => Arc::new(read_run(row)?),
                };
                last = Some((rid, Arc::clone(&run)));
                found.push((AssetEventId(row.get("event_id")?), run));
            }
            Ok(found)
        })
    }

    fn asset_cursors(&self) -> Result<Vec<(DagId, AssetEventId)>> {
        let sql = "SELECT dag_id, event_id FROM asset_cursor ORDER BY dag_id";
        self.read(|connection| {
            let read = |row: &Row<'_>| Ok((DagId::from(row.get::<_, String>(0)?), AssetEventId(row.get::<_, i64>(1)?)));
            connection.prepare_cached(sql)?.query_map([], read)?.collect()
        })
    }

    fn queued_assets(&self) -> Result<Vec<(DagId, QueuedAsset)>> {
        let sql = "SELECT q.dag_id, a.name, a.uri, q.named, q.aliases, q.first_at, q.last_event, q.last_at
             FROM asset_queue AS q JOIN asset AS a ON a.id = q.asset_id ORDER BY q.dag_id, q.asset_id";
        self.read(|connection| {
            let read = |row: &Row<'_>| {
                let mut columns = Columns::new(row);
                let dag_id = DagId::from(columns.get::<String>()?);
                Ok((dag_id, read_queued(&mut columns)?))
            };
            connection.prepare_cached(sql)?.query_map([], read)?.collect()
        })
    }

    fn alias_assets(&self) -> Result<Vec<(String, AssetKey)>> {
        let sql = "SELECT l.alias, a.name, a.uri FROM asset_alias_asset AS l JOIN asset AS a ON a.id = l.asset_id
             ORDER BY l.alias, a.id";
        self.read(|connection| {
            let read = |row: &Row<'_>| Ok((row.get(0)?, AssetKey { name: row.get(1)?, uri: row.get(2)? }));
            connection.prepare_cached(sql)?.query_map([], read)?.collect()
        })
    }

    fn last_asset_event(&self) -> Result<AssetEventId> {
        self.read(|connection| {
            let last = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
            let last = connection.prepare_cached("SELECT max(id) FROM asset_event")?.query_row([], last)?;
            Ok(AssetEventId(last.unwrap_or(0)))
        })
    }
}
