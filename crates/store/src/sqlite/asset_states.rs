//! What is kept with assets.

use model::{Asset, AssetKey, MapIndex, RunKey, TaskId, TaskInstanceKey};
use rusqlite::{OptionalExtension, Row, params};

use super::SqliteStore;
use super::assets::{ASSET, read_asset};
use super::column::Columns;
use crate::query::Page;
use crate::records::{AssetStateEntry, StateWriter};
use crate::{AssetStateStore, Result};

const OF_ASSET: &str = "FROM asset AS a JOIN asset_state AS s ON s.asset_id = a.id WHERE a.name = ?1 AND a.uri = ?2";
const COLUMNS: &str = "s.key, s.value, s.updated_at, s.kind, s.dag_id, s.run_id, s.task_id, s.map_index";

/// The names of the kinds of writers (`AssetStateStoreWriterKind`).
pub(super) fn kind(writer: &StateWriter) -> &'static str {
    match writer {
        StateWriter::Task(_) => "task",
        StateWriter::Watcher => "watcher",
        StateWriter::Api => "api",
    }
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<AssetStateEntry> {
    let mut columns = Columns::new(row);
    let (key, value, updated_at) = (columns.get()?, columns.json()?, columns.moment()?);
    let kind: String = columns.get()?;
    let (dag_id, run_id): (Option<String>, Option<String>) = (columns.get()?, columns.get()?);
    let (task_id, map_index): (Option<String>, Option<i32>) = (columns.get()?, columns.get()?);
    let task = dag_id.zip(run_id).zip(task_id).map(|((dag_id, run_id), task_id)| TaskInstanceKey {
        run: RunKey::new(dag_id, run_id),
        task_id: TaskId::from(task_id),
        map_index: map_index.map_or(MapIndex::NONE, MapIndex),
    });
    let updated_by = match (kind.as_str(), task) {
        ("task", Some(ti)) => StateWriter::Task(ti),
        ("watcher", _) => StateWriter::Watcher,
        _ => StateWriter::Api,
    };
    Ok(AssetStateEntry { key, value, updated_at, updated_by })
}

impl AssetStateStore for SqliteStore {
    fn asset_numbered(&self, number: i64) -> Result<Option<Asset>> {
        let sql = format!("SELECT {ASSET} FROM asset AS a WHERE a.id = ?1");
        self.read(|connection| {
            let read = |row: &Row<'_>| read_asset(&mut Columns::new(row));
            connection.prepare_cached(&sql)?.query_row([number], read).optional()
        })
    }

    fn asset_state(&self, asset: &AssetKey, key: &str) -> Result<Option<AssetStateEntry>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} {OF_ASSET} AND s.key = ?3"))?
                .query_row(params![asset.name, asset.uri, key], read_entry)
                .optional()
        })
    }

    fn asset_states(&self, asset: &AssetKey, page: Page) -> Result<(Vec<AssetStateEntry>, u64)> {
        self.snapshot(|connection| {
            let total: i64 = connection
                .prepare_cached(&format!("SELECT count(*) {OF_ASSET}"))?
                .query_row(params![asset.name, asset.uri], |row| row.get(0))?;
            let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
            let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
            let entries = connection
                .prepare_cached(&format!("SELECT {COLUMNS} {OF_ASSET} ORDER BY s.key LIMIT ?3 OFFSET ?4"))?
                .query_map(params![asset.name, asset.uri, limit, offset], read_entry)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((entries, u64::try_from(total).unwrap_or(0)))
        })
    }
}
