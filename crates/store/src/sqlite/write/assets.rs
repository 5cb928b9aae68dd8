//! Writing assets and their events.

use model::{Asset, AssetEvent, AssetEventId, DagId, Listener, RunId, RunKey};
use rusqlite::params;

use super::super::column::{micros, texts_json};
use super::{WriteResult, Writer};
use crate::records::DagAsset;

impl Writer {
    /// An asset is there, and stays as it is if it was there before.
    fn need_asset(&self, asset: &Asset) -> WriteResult<i64> {
        let (name, uri) = (&asset.key.name, &asset.key.uri);
        self.connection
            .prepare_cached(
                "INSERT INTO asset (name, uri, grp, extra, active) VALUES (?1, ?2, ?3, ?4, 0)
                 ON CONFLICT (name, uri) DO NOTHING",
            )?
            .execute(params![name, uri, asset.group, asset.extra.to_string()])?;
        let sql = "SELECT id FROM asset WHERE name = ?1 AND uri = ?2";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![name, uri], |row| row.get(0))?)
    }

    /// The assets that a Dag has in its file now.
    pub(super) fn dag_assets(&self, dag_id: &DagId, assets: &[DagAsset]) -> WriteResult<()> {
        self.connection.prepare_cached("DELETE FROM dag_asset WHERE dag_id = ?1")?.execute([dag_id.as_str()])?;
        for DagAsset { asset, produced } in assets {
            let id = self.need_asset(asset)?;
            self.connection.prepare_cached("UPDATE asset SET grp = ?2, extra = ?3 WHERE id = ?1")?.execute(params![
                id,
                asset.group,
                asset.extra.to_string()
            ])?;
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO dag_asset (dag_id, asset_id, produced) VALUES (?1, ?2, ?3)")?
                .execute(params![dag_id.as_str(), id, produced])?;
        }
        Ok(())
    }

    /// Assets that no Dag has any more give way; of those that share a name or a URI one is active: the first
    /// one that some task produces, or else the first one.
    pub(super) fn activate_assets(&self) -> WriteResult<()> {
        const IS_USED: &str = "EXISTS (SELECT 1 FROM dag_asset AS u JOIN dag AS d ON d.dag_id = u.dag_id
             WHERE u.asset_id = asset.id AND NOT d.stale)";
        let unused = format!("UPDATE asset SET active = 0 WHERE active AND NOT {IS_USED}");
        self.connection.prepare_cached(&unused)?.execute([])?;
        let is_produced = |asset: &str| {
            format!(
                "EXISTS (SELECT 1 FROM dag_asset AS u JOIN dag AS d ON d.dag_id = u.dag_id
                     WHERE u.asset_id = {asset}.id AND u.produced AND NOT d.stale)"
            )
        };
        let (produced, other_is_produced) = (is_produced("asset"), is_produced("other"));
        let outranked = format!(
            "UPDATE asset SET active = 0 WHERE active AND NOT {produced} AND EXISTS (SELECT 1 FROM asset AS other
                 WHERE other.id <> asset.id AND (other.name = asset.name OR other.uri = asset.uri) AND {other_is_produced})"
        );
        self.connection.prepare_cached(&outranked)?.execute([])?;
        let waiting = format!("SELECT id FROM asset WHERE NOT active AND {IS_USED} ORDER BY {produced} DESC, id");
        let waiting: Vec<i64> = self
            .connection
            .prepare_cached(&waiting)?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in waiting {
            self.connection
                .prepare_cached(
                    "UPDATE asset SET active = 1 WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM asset AS other
                         WHERE other.active AND (other.name = asset.name OR other.uri = asset.uri))",
                )?
                .execute([id])?;
        }
        Ok(())
    }

    pub(super) fn asset_event(&self, event: &AssetEvent, listeners: &[Listener]) -> WriteResult<()> {
        let asset_id = self.need_asset(&event.update.asset)?;
        let source = event.source.as_ref();
        self.connection
            .prepare_cached(
                "INSERT INTO asset_event (id, asset_id, extra, at, source_dag_id, source_run_id, source_task_id,
                     source_map_index, aliases)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                event.id.0,
                asset_id,
                event.update.extra.to_string(),
                micros(event.at),
                source.map(|source| source.run.dag_id.as_str()),
                source.map(|source| source.run.run_id.as_str()),
                source.map(|source| source.task_id.as_str()),
                source.map(|source| source.map_index.0),
                texts_json(&event.update.aliases),
            ])?;
        for alias in &event.update.aliases {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO asset_event_alias (alias, event_id) VALUES (?1, ?2)")?
                .execute(params![alias, event.id.0])?;
        }
        for listener in listeners {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO asset_queue (dag_id, event_id, counts) VALUES (?1, ?2, ?3)")?
                .execute(params![listener.dag_id.as_str(), event.id.0, listener.counts])?;
        }
        Ok(())
    }

    pub(super) fn asset_events_taken(
        &mut self,
        dag_id: &DagId,
        run: Option<&RunId>,
        events: &[AssetEventId],
    ) -> WriteResult<()> {
        let rid = run.map(|run_id| self.rid(&RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() })).transpose()?;
        for event in events {
            self.connection
                .prepare_cached("DELETE FROM asset_queue WHERE dag_id = ?1 AND event_id = ?2")?
                .execute(params![dag_id.as_str(), event.0])?;
            if let Some(rid) = rid {
                self.connection
                    .prepare_cached("INSERT OR IGNORE INTO asset_consumed (run_rid, event_id) VALUES (?1, ?2)")?
                    .execute(params![rid, event.0])?;
            }
        }
        Ok(())
    }
}
