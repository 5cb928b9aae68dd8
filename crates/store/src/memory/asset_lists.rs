//! Lists of assets and of what happened to them.

use std::cmp::Reverse;

use model::{AssetEvent, AssetEventId, AssetKey, DagId, MapIndex, RunKey};

use super::order::{compare, compare_optional, fits, is, sort};
use super::{MemoryStore, Numbered, State};
use crate::query::{AliasFilter, AliasOrder, AssetFilter, AssetOrder, Direction, EventListFilter, EventOrder, Page};
use crate::records::{AssetAlias, AssetUse, ListedAsset, ListedEvent, ListedQueued, ListedUse, NumberedAlias};
use crate::{AssetListStore, Result};

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn numbered(alias: &Numbered<AssetAlias>) -> NumberedAlias {
    NumberedAlias { number: signed(alias.number), alias: alias.record.clone() }
}

/// What no task has made has that of a task that is not mapped, as in Airflow.
fn map_index(event: &AssetEvent) -> MapIndex {
    event.source.as_ref().map_or(MapIndex::NONE, |source| source.map_index)
}

impl State {
    fn asset_number(&self, key: &AssetKey) -> i64 {
        self.assets.get(key).map_or(0, |known| signed(known.number))
    }

    fn listed_uses(&self, key: &AssetKey) -> Vec<ListedUse> {
        let is_listed = |dag_id: &DagId| self.dags.get(dag_id).is_some_and(|dag| !dag.record.stale);
        let uses = self.asset_uses.iter().filter(|((dag_id, asset, _), _)| asset == key && is_listed(dag_id));
        let mut uses: Vec<ListedUse> = uses
            .map(|((dag_id, _, by), at)| ListedUse {
                dag_id: dag_id.clone(),
                by: by.clone(),
                created_at: *at,
                updated_at: *at,
            })
            .collect();
        uses.sort_by_key(|found| {
            let role = match found.by {
                AssetUse::Schedule => 0,
                AssetUse::Inlet(_) => 1,
                AssetUse::Outlet(_) => 2,
            };
            (role, found.dag_id.clone(), found.by.clone())
        });
        uses
    }

    fn listed_asset(&self, known: &Numbered<crate::AssetRecord>) -> ListedAsset {
        let key = &known.record.asset.key;
        let of_asset = self.asset_events.values().filter(|event| event.update.asset.key == *key);
        let last = of_asset.max_by_key(|event| (event.at, event.id));
        let aliases = self.alias_assets.iter().filter(|((_, asset), ())| asset == key);
        let mut aliases: Vec<NumberedAlias> =
            aliases.filter_map(|((name, _), ())| self.asset_aliases.get(name)).map(numbered).collect();
        aliases.sort_by_key(|alias| alias.number);
        let (created_at, updated_at) = self.asset_moments.get(key).copied().unwrap_or_default();
        ListedAsset {
            number: signed(known.number),
            asset: known.record.asset.clone(),
            created_at,
            updated_at,
            uses: self.listed_uses(key),
            aliases,
            last_event: last.map(|event| (event.id, event.at)),
        }
    }
}

impl AssetListStore for MemoryStore {
    fn list_assets(
        &self,
        filter: &AssetFilter,
        order: &[(AssetOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ListedAsset>, u64)> {
        let state = self.read()?;
        let mut found: Vec<ListedAsset> = Vec::new();
        for known in state.assets.values() {
            let AssetKey { name, uri } = &known.record.asset.key;
            let matches = is(&signed(known.number), filter.number.as_ref())
                && is(name, filter.name.as_ref())
                && is(uri, filter.uri.as_ref())
                && fits(Some(name), &filter.names)
                && fits(Some(uri), &filter.uris)
                && (!filter.active_only || known.record.active);
            if matches {
                found.push(state.listed_asset(known));
            }
        }
        if let Some(dag_ids) = &filter.dag_ids {
            found.retain(|asset| asset.uses.iter().any(|found| dag_ids.contains(&found.dag_id)));
        }
        sort(
            &mut found,
            order,
            |a, b| a.number.cmp(&b.number),
            |key, a, b| match key {
                AssetOrder::Number => compare(a.number, b.number),
                AssetOrder::Name => compare(&a.asset.key.name, &b.asset.key.name),
                AssetOrder::Uri => compare(&a.asset.key.uri, &b.asset.key.uri),
                AssetOrder::CreatedAt => compare(a.created_at, b.created_at),
                AssetOrder::UpdatedAt => compare(a.updated_at, b.updated_at),
            },
        );
        Ok(page.cut(found))
    }

    fn list_aliases(
        &self,
        filter: &AliasFilter,
        order: &[(AliasOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<NumberedAlias>, u64)> {
        let state = self.read()?;
        let matches = |alias: &NumberedAlias| {
            let name = &alias.alias.name;
            is(&alias.number, filter.number.as_ref())
                && is(name, filter.name.as_ref())
                && fits(Some(name), &filter.names)
        };
        let mut found: Vec<NumberedAlias> = state.asset_aliases.values().map(numbered).filter(matches).collect();
        sort(
            &mut found,
            order,
            |a, b| a.number.cmp(&b.number),
            |key, a, b| match key {
                AliasOrder::Number => compare(a.number, b.number),
                AliasOrder::Name => compare(&a.alias.name, &b.alias.name),
            },
        );
        Ok(page.cut(found))
    }

    fn list_asset_events(
        &self,
        filter: &EventListFilter,
        order: &[(EventOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ListedEvent>, u64)> {
        let state = self.read()?;
        let matches = |event: &&AssetEvent| {
            let key = &event.update.asset.key;
            let source = event.source.as_ref();
            let of_run = |run: &RunKey| state.asset_consumed.contains(&(run.clone(), event.id));
            is(&state.asset_number(key), filter.asset_number.as_ref())
                && filter.source_dag_id.as_ref().is_none_or(|id| source.is_some_and(|ti| ti.run.dag_id == *id))
                && filter.source_run_id.as_ref().is_none_or(|id| source.is_some_and(|ti| ti.run.run_id == *id))
                && filter.source_task_id.as_ref().is_none_or(|id| source.is_some_and(|ti| ti.task_id == *id))
                && filter.source_map_index.is_none_or(|index| i64::from(map_index(event).0) == index)
                && fits(Some(&key.name), &filter.names)
                && filter.at.contains(Some(event.at))
                && filter.consumed_by.as_ref().is_none_or(of_run)
        };
        let mut found: Vec<&AssetEvent> = state.asset_events.values().filter(matches).collect();
        let source = |event: &AssetEvent| event.source.clone();
        sort(
            &mut found,
            order,
            |a, b| a.id.cmp(&b.id),
            |key, a, b| match key {
                EventOrder::Id => compare(a.id, b.id),
                EventOrder::At => compare(a.at, b.at),
                EventOrder::SourceDagId => {
                    compare_optional(source(a).map(|ti| ti.run.dag_id), source(b).map(|ti| ti.run.dag_id))
                }
                EventOrder::SourceRunId => {
                    compare_optional(source(a).map(|ti| ti.run.run_id), source(b).map(|ti| ti.run.run_id))
                }
                EventOrder::SourceTaskId => {
                    compare_optional(source(a).map(|ti| ti.task_id), source(b).map(|ti| ti.task_id))
                }
                EventOrder::SourceMapIndex => compare(map_index(a), map_index(b)),
            },
        );
        let (found, total) = page.cut(found);
        let listed = |event: &AssetEvent| ListedEvent {
            asset_number: state.asset_number(&event.update.asset.key),
            event: state.current(event),
        };
        Ok((found.into_iter().map(listed).collect(), total))
    }

    fn last_consumed(&self, run: &RunKey) -> Result<Option<AssetEventId>> {
        let state = self.read()?;
        let of_run = state.asset_consumed.iter().filter(|((other, _), ())| other == run);
        Ok(of_run.map(|((_, id), ())| *id).min_by_key(|id| Reverse(*id)))
    }

    fn list_queued(&self, dag_id: Option<&DagId>, asset_number: Option<i64>) -> Result<Vec<ListedQueued>> {
        let state = self.read()?;
        let mut found: Vec<ListedQueued> = state
            .asset_queue
            .iter()
            .map(|((dag_id, key), queued)| ListedQueued {
                dag_id: dag_id.clone(),
                asset_number: state.asset_number(key),
                queued: queued.clone(),
            })
            .filter(|row| is(&row.dag_id, dag_id) && is(&row.asset_number, asset_number.as_ref()))
            .collect();
        found.sort_by(|a, b| (a.asset_number, &a.dag_id).cmp(&(b.asset_number, &b.dag_id)));
        Ok(found)
    }
}
