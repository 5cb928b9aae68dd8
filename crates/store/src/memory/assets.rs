//! Assets and their events.

use std::collections::BTreeMap;

use model::{Asset, AssetEvent, AssetEventId, AssetKey, DagId, Listener, RunId, RunKey};

use super::{MemoryStore, Numbered, State};
use crate::query::AssetEventFilter;
use crate::records::{AssetRecord, DagAsset};
use crate::{AssetStore, Result};

impl State {
    /// An asset is there, and stays as it is if it was there before.
    fn need_asset(&mut self, asset: &Asset) {
        if !self.assets.contains(&asset.key) {
            self.made.assets += 1;
            let number = self.made.assets;
            let record = AssetRecord { asset: asset.clone(), active: false };
            self.assets.put(asset.key.clone(), Numbered { number, record });
        }
    }

    /// The assets that a Dag has in its file now.
    pub(super) fn dag_assets(&mut self, dag_id: &DagId, assets: &[DagAsset]) {
        for DagAsset { asset, .. } in assets {
            self.need_asset(asset);
            self.assets.change(&asset.key, |known| known.record.asset = asset.clone());
        }
        self.dag_assets
            .put(dag_id.clone(), assets.iter().map(|used| (used.asset.key.clone(), used.produced)).collect());
    }

    /// Assets that no Dag has any more give way; of those that share a name or a URI one is active: the first
    /// one that some task produces, or else the first one.
    pub(super) fn activate_assets(&mut self) {
        let is_listed = |dag_id: &DagId| self.dags.get(dag_id).is_some_and(|dag| !dag.record.stale);
        let mut used: BTreeMap<AssetKey, bool> = BTreeMap::new();
        for (_, keys) in self.dag_assets.iter().filter(|(dag_id, _)| is_listed(dag_id)) {
            for (key, produced) in keys {
                *used.entry(key.clone()).or_default() |= produced;
            }
        }
        let is_produced = |key: &AssetKey| used.get(key).copied().unwrap_or(false);
        let clash = |one: &AssetKey, other: &AssetKey| one != other && (one.name == other.name || one.uri == other.uri);
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
        for key in waiting {
            if !self.assets.values().any(|other| other.record.active && clash(&key, &other.record.asset.key)) {
                self.assets.change(&key, |known| known.record.active = true);
            }
        }
    }

    pub(super) fn asset_event(&mut self, event: AssetEvent, listeners: Vec<Listener>) {
        self.need_asset(&event.update.asset);
        for listener in listeners {
            self.asset_queue.put((listener.dag_id, event.id), listener.counts);
        }
        self.asset_events.put(event.id, event);
    }

    pub(super) fn asset_events_taken(
        &mut self,
        dag_id: &DagId,
        run: Option<RunId>,
        events: &[AssetEventId],
    ) -> Result<()> {
        let run = run.map(|run_id| RunKey { dag_id: dag_id.clone(), run_id });
        run.as_ref().map_or(Ok(()), |run| self.require_run(run))?;
        for event in events {
            self.asset_queue.remove(&(dag_id.clone(), *event));
            if let Some(run) = &run {
                self.asset_consumed.put((run.clone(), *event), ());
            }
        }
        Ok(())
    }

    /// An event with its asset as that is now.
    fn current(&self, event: &AssetEvent) -> AssetEvent {
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
        let has_alias = |event: &&AssetEvent| event.update.aliases.iter().any(|name| name == alias);
        let mut found: Vec<&Numbered<AssetRecord>> = Vec::new();
        for event in state.asset_events.values().filter(has_alias) {
            found.extend(state.assets.get(&event.update.asset.key));
        }
        found.sort_by_key(|known| known.number);
        found.dedup_by_key(|known| known.number);
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

    fn runs_of_asset_event(&self, event: AssetEventId) -> Result<Vec<RunKey>> {
        let state = self.read()?;
        let mut runs: Vec<RunKey> = state
            .asset_consumed
            .iter()
            .filter(|((_, id), ())| *id == event)
            .map(|((run, _), ())| run.clone())
            .collect();
        runs.sort_by_key(|run| state.runs.get(run).map(|run| run.number));
        Ok(runs)
    }

    fn queued_asset_events(&self) -> Result<Vec<(DagId, AssetEvent, bool)>> {
        let state = self.read()?;
        let queued = state.asset_queue.iter().filter_map(|((dag_id, id), counts)| {
            Some((dag_id.clone(), state.current(state.asset_events.get(id)?), *counts))
        });
        Ok(queued.collect())
    }

    fn last_asset_event(&self) -> Result<AssetEventId> {
        let state = self.read()?;
        Ok(state.asset_events.iter().next_back().map_or(AssetEventId(0), |(id, _)| *id))
    }
}
