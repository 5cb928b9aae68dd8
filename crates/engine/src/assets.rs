//! Which assets a task has updated, and which events wait for whom. The rules are those of Airflow's
//! `TaskInstance.register_asset_changes_in_db`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::{Asset, AssetKey, AssetMark, AssetUpdate, DagId, Json, Outlets, Partition, QueuedAsset};
use scheduler::{Event, FoundPartition};
use store::{Store, StoreError};

/// The updates that a task's success means: one for each of its outlets that is an active asset, or as many as it said of
/// it; and those that it made by way of aliases. What is no active asset is left out.
pub(crate) fn resolve<S: Store + ?Sized>(store: &S, outlets: &Outlets) -> Result<Vec<AssetUpdate>, StoreError> {
    let mut updates: Vec<AssetUpdate> = Vec::new();
    let mut seen = BTreeSet::new();
    for declared in &outlets.declared {
        if !seen.insert(declared) {
            continue;
        }
        let asset = match declared {
            AssetMark::Asset(key) => store.active_asset(Some(&key.name), Some(&key.uri))?,
            AssetMark::Name(name) => store.active_asset(Some(name), None)?,
            AssetMark::Uri(uri) => store.active_asset(None, Some(uri))?,
            AssetMark::Alias(_) => continue,
        };
        let Some(asset) = asset else {
            tracing::warn!(?declared, "a task has an inactive asset among its outlets; it makes no event");
            continue;
        };
        let said = outlets.events.iter().filter(|event| event.alias.is_none() && event.asset == asset.key);
        let before = updates.len();
        updates.extend(said.map(|event| AssetUpdate {
            asset: asset.clone(),
            extra: event.extra.clone(),
            aliases: vec![],
            active: true,
            partition: event.partition_key.as_ref().map(|key| Partition::new(key.as_str(), None)),
        }));
        if updates.len() == before {
            let extra = Json::Object(Default::default());
            updates.push(AssetUpdate { asset, extra, aliases: vec![], active: true, partition: None });
        }
    }
    updates.extend(by_aliases(store, outlets)?);
    Ok(updates)
}

/// Aliases that say the same of the same asset make one update together. How many there are is bounded by the frame in
/// which a task says them.
fn by_aliases<S: Store + ?Sized>(store: &S, outlets: &Outlets) -> Result<Vec<AssetUpdate>, StoreError> {
    let aliases: HashSet<&str> = outlets.declared.iter().filter_map(alias_of).collect();
    let mut places: HashMap<(&AssetKey, String, String), usize> = HashMap::new();
    let mut found: Vec<(&AssetKey, &Json, &Json, BTreeSet<String>)> = Vec::new();
    for event in &outlets.events {
        let Some((alias, of_asset)) = event.alias.as_ref().filter(|(alias, _)| aliases.contains(alias.as_str())) else {
            continue;
        };
        let place = places.entry((&event.asset, of_asset.to_string(), event.extra.to_string())).or_insert(found.len());
        if *place == found.len() {
            found.push((&event.asset, of_asset, &event.extra, BTreeSet::new()));
        }
        found[*place].3.insert(alias.clone());
    }
    let mut known: HashMap<&AssetKey, (Option<Asset>, bool)> = HashMap::new();
    let mut updates = Vec::with_capacity(found.len());
    for (key, of_asset, extra, aliases) in found {
        let (asset, active) = match known.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(as_it_will_be(store, key)?),
        };
        let asset = asset.clone().unwrap_or_else(|| Asset { extra: of_asset.clone(), ..Asset::new(key.clone()) });
        let aliases = aliases.into_iter().collect();
        updates.push(AssetUpdate { asset, extra: extra.clone(), aliases, active: *active, partition: None });
    }
    Ok(updates)
}

fn alias_of(mark: &AssetMark) -> Option<&str> {
    match mark {
        AssetMark::Alias(name) => Some(name),
        _ => None,
    }
}

/// An asset, if there is one, and whether it is active when its alias has updated it: it is, unless another one has its name
/// or its URI.
fn as_it_will_be<S: Store + ?Sized>(store: &S, key: &AssetKey) -> Result<(Option<Asset>, bool), StoreError> {
    let record = store.asset(key)?;
    let active = record.as_ref().is_some_and(|record| record.active)
        || store.active_asset(Some(&key.name), None)?.is_none() && store.active_asset(None, Some(&key.uri))?.is_none();
    Ok((record.map(|record| record.asset), active))
}

/// What is known of assets before any Dag is.
pub(crate) fn found<S: Store + ?Sized>(store: &S) -> Result<Event, StoreError> {
    Ok(Event::AssetsFound {
        last: store.last_asset_event()?,
        aliases: store.alias_assets()?,
        consumers: store.asset_cursors()?.into_iter().map(|(dag_id, _)| dag_id).collect(),
    })
}

/// The assets that wait for each Dag.
pub(crate) fn queued<S: Store + ?Sized>(store: &S) -> Result<Vec<Event>, StoreError> {
    let mut of_dags: BTreeMap<DagId, Vec<QueuedAsset>> = BTreeMap::new();
    for (dag_id, queued) in store.queued_assets()? {
        of_dags.entry(dag_id).or_default().push(queued);
    }
    Ok(of_dags.into_iter().map(|(dag_id, queued)| Event::AssetsQueued { dag_id, queued }).collect())
}

/// What waits for a Dag that is scheduled on partitions.
pub(crate) fn partitions_of<S: Store + ?Sized>(store: &S, dag_id: &DagId) -> Result<Option<Event>, StoreError> {
    let found = store.pending_partitions(dag_id)?.into_iter();
    let found: Vec<_> =
        found.map(|waiting| FoundPartition { pending: waiting.pending, events: waiting.events }).collect();
    let unmapped = store.unmapped_events(dag_id)?;
    let is_any = !(found.is_empty() && unmapped.is_empty());
    Ok(is_any.then(|| Event::PartitionsFound { dag_id: dag_id.clone(), found, unmapped }))
}

#[cfg(test)]
mod tests {
    use model::{AssetEvent, Change, OutletEvent};
    use serde_json::json;
    use store::memory::MemoryStore;
    use store::{Commit, Write};

    use super::*;

    fn key(name: &str) -> AssetKey {
        AssetKey { name: name.into(), uri: format!("s3://{name}") }
    }

    fn said(name: &str, extra: Json, alias: Option<&str>) -> OutletEvent {
        let alias = alias.map(|alias| (alias.to_owned(), json!({"new": true})));
        OutletEvent { asset: key(name), extra, partition_key: None, alias }
    }

    fn shown(updates: &[AssetUpdate]) -> Vec<String> {
        let show = |update: &AssetUpdate| {
            let AssetUpdate { asset, extra, aliases, .. } = update;
            format!("{} {} {extra} {}", asset.key.name, asset.extra, aliases.join("+"))
        };
        updates.iter().map(show).collect()
    }

    #[test]
    fn outlets_that_are_no_active_assets_make_no_events() {
        let store = MemoryStore::new();
        let declared = vec![
            AssetMark::Asset(key("a")),
            AssetMark::Name("a".into()),
            AssetMark::Uri("s3://a".into()),
            AssetMark::Alias("al".into()),
        ];
        let outlets = Outlets { declared, events: vec![said("a", json!({"x": 1}), None)] };
        assert_eq!(shown(&resolve(&store, &outlets).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn aliases_make_assets_and_share_what_is_the_same() {
        let store = MemoryStore::new();
        // An asset that was once made by an alias, and is not active.
        let known = Asset { extra: json!({"old": 1}), ..Asset::new(key("known")) };
        let update = AssetUpdate { asset: known, extra: json!({}), aliases: vec![], active: false, partition: None };
        let event = AssetEvent { id: model::AssetEventId(1), update, source: None, at: jiff::Timestamp::UNIX_EPOCH };
        let change = Change::AssetEvent(Box::new(event));
        store.commit(vec![Write::Decision(change)]).unwrap();
        let declared = vec![AssetMark::Alias("one".into()), AssetMark::Alias("two".into())];
        let events = vec![
            said("made", json!({"x": 1}), Some("two")),
            said("known", json!({}), Some("one")),
            said("made", json!({"x": 1}), Some("one")),
            said("made", json!({"x": 2}), Some("one")),
            said("made", json!({"x": 3}), Some("not declared")),
        ];
        let expected =
            [r#"made {"new":true} {"x":1} one+two"#, r#"known {"old":1} {} one"#, r#"made {"new":true} {"x":2} one"#];
        assert_eq!(shown(&resolve(&store, &Outlets { declared, events }).unwrap()), expected);
    }
}
