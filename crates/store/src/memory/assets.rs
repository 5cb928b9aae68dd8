//! Assets and their events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Asset, AssetEvent, AssetEventId, AssetKey, AssetMark, DagId, DagRun, QueuedAsset, RunKey};

use super::{MemoryStore, Numbered, State};
use crate::query::AssetEventFilter;
use crate::records::{AssetAlias, AssetRecord, AssetUse, DagAsset};
use crate::{AssetStore, Result, StoreError};

fn clash(one: &AssetKey, other: &AssetKey) -> bool {
    one != other && (one.name == other.name || one.uri == other.uri)
}

impl State {
    /// An asset is there, and stays as it is if it was there before.
    fn need_asset(&mut self, asset: &Asset, at: Timestamp) {
        if !self.assets.contains(&asset.key) {
            self.made.assets += 1;
            let number = self.made.assets;
            let record = AssetRecord { asset: asset.clone(), active: false };
            self.assets.put(asset.key.clone(), Numbered { number, record });
            self.asset_moments.put(asset.key.clone(), (at, at));
        }
    }

    /// The assets that a Dag has in its file now.
    pub(super) fn dag_assets(&mut self, dag_id: &DagId, assets: &[DagAsset], at: Timestamp) {
        let mut uses: BTreeSet<(DagId, AssetKey, AssetUse)> = BTreeSet::new();
        for found in assets {
            let asset = &found.asset;
            self.need_asset(asset, at);
            if self.assets.get(&asset.key).is_some_and(|known| known.record.asset != *asset) {
                self.assets.change(&asset.key, |known| known.record.asset = asset.clone());
                self.asset_moments.change(&asset.key, |(_, updated_at)| *updated_at = at);
            }
            uses.extend(found.uses.iter().map(|by| (dag_id.clone(), asset.key.clone(), by.clone())));
        }
        self.asset_uses.remove_where(|key, _| key.0 == *dag_id && !uses.contains(key));
        for key in uses {
            if !self.asset_uses.contains(&key) {
                self.asset_uses.put(key, at);
            }
        }
        let produced = assets.iter().map(|found| (found.asset.key.clone(), found.is_produced())).collect();
        self.dag_assets.put(dag_id.clone(), produced);
    }

    /// An alias is there. Dags say which group it has.
    pub(super) fn need_alias(&mut self, alias: &AssetAlias, of_dag: bool) {
        if !self.asset_aliases.contains(&alias.name) {
            let number = self.made.next_setting();
            self.asset_aliases.put(alias.name.clone(), Numbered { number, record: alias.clone() });
        } else if of_dag {
            self.asset_aliases.change(&alias.name, |known| known.record = alias.clone());
        }
    }

    /// Assets that no Dag has any more, and no alias was ever the name of, give way; of those that share a name or a URI one is active: the first
    /// one that some task produces, or else the first one.
    pub(super) fn activate_assets(&mut self) {
        let is_listed = |dag_id: &DagId| self.dags.get(dag_id).is_some_and(|dag| !dag.record.stale);
        let mut used: BTreeMap<AssetKey, bool> = BTreeMap::new();
        for (_, keys) in self.dag_assets.iter().filter(|(dag_id, _)| is_listed(dag_id)) {
            for (key, produced) in keys {
                *used.entry(key.clone()).or_default() |= produced;
            }
        }
        for (_, key) in self.alias_assets.keys_where(|_, ()| true) {
            used.entry(key).or_default();
        }
        let is_produced = |key: &AssetKey| used.get(key).copied().unwrap_or(false);
        let is_outranked =
            |key: &AssetKey| !is_produced(key) && used.iter().any(|(other, produced)| *produced && clash(key, other));
        let gives_way = |key: &AssetKey, known: &Numbered<AssetRecord>| {
            known.record.active && (!used.contains_key(key) || is_outranked(key))
        };
        for key in self.assets.keys_where(gives_way) {
            self.assets.change(&key, |known| known.record.active = false);
        }
        let mut waiting = self.assets.keys_where(|key, known| !known.record.active && used.contains_key(key));
        waiting.sort_by_key(|key| (!is_produced(key), self.assets.get(key).map(|known| known.number)));
        waiting.iter().for_each(|key| self.activate_asset(key));
    }

    /// An asset that is used is active, unless another one that is has its name or its URI.
    fn activate_asset(&mut self, key: &AssetKey) {
        if !self.assets.values().any(|other| other.record.active && clash(key, &other.record.asset.key)) {
            self.assets.change(key, |known| known.record.active = true);
        }
    }

    pub(super) fn asset_event(&mut self, event: AssetEvent) {
        let key = event.update.asset.key.clone();
        self.need_asset(&event.update.asset, event.at);
        let mut is_new_to_an_alias = false;
        for alias in &event.update.aliases {
            self.need_alias(&AssetAlias { name: alias.clone(), group: String::new() }, false);
            let place = (alias.clone(), key.clone());
            is_new_to_an_alias |= !self.alias_assets.contains(&place);
            self.alias_assets.put(place, ());
        }
        if is_new_to_an_alias {
            self.activate_asset(&key);
        }
        self.asset_events.put(event.id, event);
    }

    pub(super) fn asset_queued(&mut self, dag_id: DagId, queued: QueuedAsset) -> Result<()> {
        if !self.assets.contains(&queued.key) {
            return Err(StoreError::Missing { what: format!("the asset {:?}", queued.key) });
        }
        self.asset_queue.put((dag_id, queued.key.clone()), queued);
        Ok(())
    }

    pub(super) fn asset_cursor(&mut self, dag_id: DagId, cursor: Option<AssetEventId>) {
        match cursor {
            Some(cursor) => self.asset_cursors.put(dag_id, cursor),
            None => {
                self.asset_cursors.remove(&dag_id);
                self.asset_queue.remove_where(|(other, _), _| *other == dag_id);
            }
        }
    }

    /// Written twice, it changes nothing the second time: nothing is between the cursor and itself.
    pub(super) fn asset_events_taken(&mut self, run: &RunKey, marks: &[AssetMark], upto: AssetEventId) -> Result<()> {
        self.require_run(run)?;
        let Some(cursor) = self.asset_cursors.get(&run.dag_id).copied() else {
            return Err(StoreError::Missing { what: format!("the cursor of Dag {}", run.dag_id) });
        };
        let is_taken = |id: &AssetEventId, event: &AssetEvent| {
            *id > cursor && *id <= upto && event.marks().any(|mark| marks.contains(&mark))
        };
        for id in self.asset_events.keys_where(is_taken) {
            self.asset_consumed.put((run.clone(), id), ());
        }
        self.asset_cursors.put(run.dag_id.clone(), cursor.max(upto));
        self.asset_queue.remove_where(|(dag_id, _), queued| *dag_id == run.dag_id && queued.last_event <= upto);
        Ok(())
    }

    /// An event with its asset as that is now.
    pub(super) fn current(&self, event: &AssetEvent) -> AssetEvent {
        let mut event = event.clone();
        if let Some(known) = self.assets.get(&event.update.asset.key) {
            event.update.asset = known.record.asset.clone();
        }
        event
    }
}

impl AssetStore for MemoryStore {
    fn asset(&self, key: &AssetKey) -> Result<Option<AssetRecord>> {
        Ok(self.read()?.assets.get(key).map(|known| known.record.clone()))
    }

    fn active_asset(&self, name: Option<&str>, uri: Option<&str>) -> Result<Option<Asset>> {
        let is_it = |key: &AssetKey| name.is_none_or(|name| key.name == name) && uri.is_none_or(|uri| key.uri == uri);
        let state = self.read()?;
        let mut active = state.assets.values().map(|known| &known.record).filter(|record| record.active);
        Ok(active.find(|record| is_it(&record.asset.key)).map(|record| record.asset.clone()))
    }

    fn assets_of_alias(&self, alias: &str) -> Result<Vec<Asset>> {
        let state = self.read()?;
        let mut found: Vec<&Numbered<AssetRecord>> = state
            .alias_assets
            .iter()
            .filter(|((name, _), ())| name == alias)
            .filter_map(|((_, key), ())| state.assets.get(key))
            .collect();
        found.sort_by_key(|known| known.number);
        Ok(found.into_iter().map(|known| known.record.asset.clone()).collect())
    }

    fn asset_events(&self, filter: &AssetEventFilter) -> Result<Vec<AssetEvent>> {
        let state = self.read()?;
        let matches = |event: &&AssetEvent| {
            let AssetKey { name, uri } = &event.update.asset.key;
            filter.name.as_ref().is_none_or(|wanted| wanted == name)
                && filter.uri.as_ref().is_none_or(|wanted| wanted == uri)
                && filter.alias.as_ref().is_none_or(|wanted| event.update.aliases.contains(wanted))
                && filter.after.is_none_or(|after| event.at >= after)
                && filter.before.is_none_or(|before| event.at <= before)
                && (!filter.active_only
                    || state.assets.get(&event.update.asset.key).is_some_and(|known| known.record.active))
        };
        let mut found: Vec<&AssetEvent> = state.asset_events.values().filter(matches).collect();
        found.sort_by_key(|event| (event.at, event.id));
        if filter.newest_first {
            found.reverse();
        }
        found.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
        Ok(found.into_iter().map(|event| state.current(event)).collect())
    }

    fn consumed_asset_events(&self, run: &RunKey) -> Result<Vec<AssetEvent>> {
        let state = self.read()?;
        let of_run = state.asset_consumed.iter().filter(|((other, _), ())| other == run);
        let events = of_run.filter_map(|((_, id), ())| state.asset_events.get(id));
        Ok(events.map(|event| state.current(event)).collect())
    }

    fn runs_of_asset_events(&self, events: &[AssetEventId]) -> Result<Vec<(AssetEventId, Arc<DagRun>)>> {
        let state = self.read()?;
        let consumed = state.asset_consumed.iter().filter(|((_, id), ())| events.contains(id));
        let mut runs: Vec<(u64, AssetEventId, DagRun)> = consumed
            .filter_map(|((run, id), ())| state.runs.get(run).map(|run| (run.number, *id, run.record.clone())))
            .collect();
        runs.sort_by_key(|(number, id, _)| (*number, *id));
        Ok(runs.into_iter().map(|(_, id, run)| (id, Arc::new(run))).collect())
    }

    fn asset_cursors(&self) -> Result<Vec<(DagId, AssetEventId)>> {
        Ok(self.read()?.asset_cursors.iter().map(|(dag_id, cursor)| (dag_id.clone(), *cursor)).collect())
    }

    fn queued_assets(&self) -> Result<Vec<(DagId, QueuedAsset)>> {
        let state = self.read()?;
        let mut queued: Vec<(&DagId, &QueuedAsset)> =
            state.asset_queue.iter().map(|((dag_id, _), queued)| (dag_id, queued)).collect();
        queued.sort_by_key(|(dag_id, queued)| (*dag_id, state.assets.get(&queued.key).map(|known| known.number)));
        Ok(queued.into_iter().map(|(dag_id, queued)| (dag_id.clone(), queued.clone())).collect())
    }

    fn alias_assets(&self) -> Result<Vec<(String, AssetKey)>> {
        let state = self.read()?;
        let mut found: Vec<(String, AssetKey)> = state.alias_assets.iter().map(|(place, ())| place.clone()).collect();
        found.sort_by_key(|(alias, key)| (alias.clone(), state.assets.get(key).map(|known| known.number)));
        Ok(found)
    }

    fn last_asset_event(&self) -> Result<AssetEventId> {
        let state = self.read()?;
        Ok(state.asset_events.iter().next_back().map_or(AssetEventId(0), |(id, _)| *id))
    }
}
