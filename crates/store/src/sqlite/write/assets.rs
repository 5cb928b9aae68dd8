//! Writing assets and their events.

use std::collections::HashSet;

use jiff::Timestamp;
use model::{Asset, AssetEvent, AssetEventId, AssetKey, AssetMark, DagId, QueuedAsset, RunKey};
use rusqlite::{OptionalExtension, ToSql, params};

use super::super::column::{micros, opt_micros, texts_json};
use super::{WriteResult, Writer, missing};
use crate::records::{AssetAlias, AssetUse, DagAsset};

/// How a use is written.
fn place_of(found: &AssetUse) -> (i64, &str) {
    match found {
        AssetUse::Schedule => (0, ""),
        AssetUse::Inlet(task_id) => (1, task_id.as_str()),
        AssetUse::Outlet(task_id) => (2, task_id.as_str()),
    }
}

impl Writer {
    /// An asset is there, and stays as it is if it was there before.
    fn need_asset(&self, asset: &Asset, at: Timestamp) -> WriteResult<i64> {
        let (name, uri) = (&asset.key.name, &asset.key.uri);
        self.connection
            .prepare_cached(
                "INSERT INTO asset (name, uri, grp, extra, active, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?5) ON CONFLICT (name, uri) DO NOTHING",
            )?
            .execute(params![name, uri, asset.group, asset.extra.to_string(), micros(at)])?;
        let sql = "SELECT id FROM asset WHERE name = ?1 AND uri = ?2";
        Ok(self.connection.prepare_cached(sql)?.query_row(params![name, uri], |row| row.get(0))?)
    }

    /// The assets that a Dag has in its file now.
    pub(super) fn dag_assets(&self, dag_id: &DagId, assets: &[DagAsset], at: Timestamp) -> WriteResult<()> {
        self.connection.prepare_cached("DELETE FROM dag_asset WHERE dag_id = ?1")?.execute([dag_id.as_str()])?;
        let mut gone = self.references(dag_id)?;
        for found in assets {
            let DagAsset { asset, uses } = found;
            let id = self.need_asset(asset, at)?;
            self.connection
                .prepare_cached(
                    "UPDATE asset SET grp = ?2, extra = ?3, updated_at = ?4 WHERE id = ?1 AND (grp <> ?2 OR extra <> ?3)",
                )?
                .execute(params![id, asset.group, asset.extra.to_string(), micros(at)])?;
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO dag_asset (dag_id, asset_id, produced) VALUES (?1, ?2, ?3)")?
                .execute(params![dag_id.as_str(), id, found.is_produced()])?;
            for (role, task_id) in uses.iter().map(place_of) {
                if !gone.remove(&(id, role, task_id.to_owned())) {
                    self.connection
                        .prepare_cached(
                            "INSERT INTO asset_reference (asset_id, role, dag_id, task_id, created_at, updated_at)
                             VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO NOTHING",
                        )?
                        .execute(params![id, role, dag_id.as_str(), task_id, micros(at)])?;
                }
            }
        }
        for (id, role, task_id) in gone {
            self.connection
                .prepare_cached(
                    "DELETE FROM asset_reference WHERE asset_id = ?1 AND role = ?2 AND dag_id = ?3 AND task_id = ?4",
                )?
                .execute(params![id, role, dag_id.as_str(), task_id])?;
        }
        Ok(())
    }

    /// By asset, role and task: how a Dag has named assets before.
    fn references(&self, dag_id: &DagId) -> WriteResult<HashSet<(i64, i64, String)>> {
        let sql = "SELECT asset_id, role, task_id FROM asset_reference WHERE dag_id = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = self.connection.prepare_cached(sql)?.query_map([dag_id.as_str()], read)?.collect::<Result<_, _>>();
        Ok(found?)
    }

    /// An alias is there. Dags say which group it has.
    pub(super) fn need_alias(&self, alias: &AssetAlias, of_dag: bool) -> WriteResult<()> {
        self.connection
            .prepare_cached("INSERT INTO asset_alias (name, grp) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")?
            .execute(params![alias.name, alias.group])?;
        if of_dag {
            self.connection
                .prepare_cached("UPDATE asset_alias SET grp = ?2 WHERE name = ?1 AND grp <> ?2")?
                .execute(params![alias.name, alias.group])?;
        }
        Ok(())
    }

    /// Assets that no Dag has any more, and no alias was ever the name of, give way; of those that share a name or a URI one is active: the first
    /// one that some task produces, or else the first one.
    pub(super) fn activate_assets(&self) -> WriteResult<()> {
        const IS_USED: &str = "(EXISTS (SELECT 1 FROM dag_asset AS u JOIN dag AS d ON d.dag_id = u.dag_id
             WHERE u.asset_id = asset.id AND NOT d.stale)
             OR EXISTS (SELECT 1 FROM asset_alias_asset AS l WHERE l.asset_id = asset.id))";
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
        waiting.into_iter().try_for_each(|id| self.activate_asset(id))
    }

    /// An asset that is used is active, unless another one that is has its name or its URI.
    fn activate_asset(&self, id: i64) -> WriteResult<()> {
        self.connection
            .prepare_cached(
                "UPDATE asset SET active = 1 WHERE id = ?1 AND NOT active
                     AND NOT EXISTS (SELECT 1 FROM asset AS other WHERE other.active AND other.name = asset.name)
                     AND NOT EXISTS (SELECT 1 FROM asset AS other WHERE other.active AND other.uri = asset.uri)",
            )?
            .execute([id])?;
        Ok(())
    }

    pub(super) fn asset_event(&self, event: &AssetEvent) -> WriteResult<()> {
        let asset_id = self.need_asset(&event.update.asset, event.at)?;
        let source = event.source.as_ref();
        self.connection
            .prepare_cached(
                "INSERT INTO asset_event (id, asset_id, extra, at, source_dag_id, source_run_id, source_task_id,
                     source_map_index, aliases, active, partition_key, partition_date)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
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
                event.update.active,
                event.update.partition.as_ref().map(|partition| &partition.key),
                opt_micros(event.update.partition.as_ref().and_then(|partition| partition.date)),
            ])?;
        let mut is_new_to_an_alias = false;
        for alias in &event.update.aliases {
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO asset_event_alias (alias, event_id) VALUES (?1, ?2)")?
                .execute(params![alias, event.id.0])?;
            self.need_alias(&AssetAlias { name: alias.clone(), group: String::new() }, false)?;
            is_new_to_an_alias |= self
                .connection
                .prepare_cached("INSERT OR IGNORE INTO asset_alias_asset (alias, asset_id) VALUES (?1, ?2)")?
                .execute(params![alias, asset_id])?
                > 0;
        }
        if is_new_to_an_alias { self.activate_asset(asset_id) } else { Ok(()) }
    }

    pub(super) fn asset_queued(&self, dag_id: &DagId, queued: &QueuedAsset) -> WriteResult<()> {
        let aliases: Vec<String> = queued.aliases.iter().cloned().collect();
        let asset_id = self.asset_id(&queued.key)?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO asset_queue (dag_id, asset_id, named, aliases, first_at, last_event, last_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                dag_id.as_str(),
                asset_id,
                queued.named,
                texts_json(&aliases),
                micros(queued.first_at),
                queued.last_event.0,
                micros(queued.last_at),
            ])?;
        Ok(())
    }

    pub(super) fn assets_unqueued(&self, dag_id: &DagId, assets: &[AssetKey]) -> WriteResult<()> {
        for key in assets {
            self.connection
                .prepare_cached(
                    "DELETE FROM asset_queue WHERE dag_id = ?1
                         AND asset_id = (SELECT id FROM asset WHERE name = ?2 AND uri = ?3)",
                )?
                .execute(params![dag_id.as_str(), key.name, key.uri])?;
        }
        Ok(())
    }

    pub(super) fn asset_cursor(&self, dag_id: &DagId, cursor: Option<AssetEventId>) -> WriteResult<()> {
        match cursor {
            Some(cursor) => {
                self.connection
                    .prepare_cached("INSERT OR REPLACE INTO asset_cursor (dag_id, event_id) VALUES (?1, ?2)")?
                    .execute(params![dag_id.as_str(), cursor.0])?;
            }
            None => {
                for table in ["asset_cursor", "asset_queue"] {
                    let sql = format!("DELETE FROM {table} WHERE dag_id = ?1");
                    self.connection.prepare_cached(&sql)?.execute([dag_id.as_str()])?;
                }
            }
        }
        Ok(())
    }

    /// Written twice, it changes nothing the second time: nothing is between the cursor and itself.
    pub(super) fn asset_events_taken(
        &mut self,
        run: &RunKey,
        marks: &[AssetMark],
        upto: AssetEventId,
    ) -> WriteResult<()> {
        let rid = self.rid(run)?;
        let dag_id = run.dag_id.as_str();
        let cursor: Option<i64> = self
            .connection
            .prepare_cached("SELECT event_id FROM asset_cursor WHERE dag_id = ?1")?
            .query_row([dag_id], |row| row.get(0))
            .optional()?;
        let cursor = cursor.ok_or_else(|| missing(format!("the cursor of Dag {dag_id}")))?;
        for mark in marks {
            // One statement for each mark, so that each has its index.
            let (of_mark, values): (&str, Vec<&dyn ToSql>) = match mark {
                AssetMark::Asset(key) => (
                    "asset_event AS e WHERE e.asset_id = (SELECT id FROM asset WHERE name = ?4 AND uri = ?5)",
                    vec![&key.name, &key.uri],
                ),
                AssetMark::Name(name) => {
                    ("asset AS a JOIN asset_event AS e ON e.asset_id = a.id WHERE a.name = ?4 AND e.active", vec![name])
                }
                AssetMark::Uri(uri) => {
                    ("asset AS a JOIN asset_event AS e ON e.asset_id = a.id WHERE a.uri = ?4 AND e.active", vec![uri])
                }
                AssetMark::Alias(alias) => {
                    ("(SELECT event_id AS id, alias FROM asset_event_alias) AS e WHERE e.alias = ?4", vec![alias])
                }
            };
            let sql = format!(
                "INSERT OR IGNORE INTO asset_consumed (run_rid, event_id)
                     SELECT ?1, e.id FROM {of_mark} AND e.id > ?2 AND e.id <= ?3"
            );
            let mut params: Vec<&dyn ToSql> = vec![&rid, &cursor, &upto.0];
            params.extend(values);
            self.connection.prepare_cached(&sql)?.execute(params.as_slice())?;
        }
        self.connection
            .prepare_cached("UPDATE asset_cursor SET event_id = max(event_id, ?2) WHERE dag_id = ?1")?
            .execute(params![dag_id, upto.0])?;
        self.connection
            .prepare_cached("DELETE FROM asset_queue WHERE dag_id = ?1 AND last_event <= ?2")?
            .execute(params![dag_id, upto.0])?;
        Ok(())
    }
}
