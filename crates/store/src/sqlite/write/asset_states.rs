//! Writing what is kept with assets.

use model::AssetKey;
use rusqlite::{OptionalExtension, params};

use super::super::asset_states::kind;
use super::super::column::micros;
use super::{WriteResult, Writer, missing};
use crate::records::{AssetStateEntry, StateWriter};

impl Writer {
    pub(super) fn asset_id(&self, asset: &AssetKey) -> WriteResult<i64> {
        let sql = "SELECT id FROM asset WHERE name = ?1 AND uri = ?2";
        let found: Option<i64> = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![asset.name, asset.uri], |row| row.get(0))
            .optional()?;
        found.ok_or_else(|| missing(format!("the asset {:?}", asset.name)))
    }

    pub(super) fn asset_state(&self, asset: &AssetKey, entry: &AssetStateEntry) -> WriteResult<()> {
        let id = self.asset_id(asset)?;
        let task = match &entry.updated_by {
            StateWriter::Task(ti) => Some(ti),
            StateWriter::Watcher | StateWriter::Api => None,
        };
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO asset_state (asset_id, key, value, updated_at, kind, dag_id, run_id, task_id, map_index)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                id,
                entry.key,
                entry.value.to_string(),
                micros(entry.updated_at),
                kind(&entry.updated_by),
                task.map(|ti| ti.run.dag_id.as_str()),
                task.map(|ti| ti.run.run_id.as_str()),
                task.map(|ti| ti.task_id.as_str()),
                task.map(|ti| ti.map_index.0),
            ])?;
        Ok(())
    }

    /// One key, or all of them.
    pub(super) fn delete_asset_states(&self, asset: &AssetKey, key: Option<&str>) -> WriteResult<()> {
        let id = self.asset_id(asset)?;
        self.connection
            .prepare_cached("DELETE FROM asset_state WHERE asset_id = ?1 AND (?2 IS NULL OR key = ?2)")?
            .execute(params![id, key])?;
        Ok(())
    }
}
