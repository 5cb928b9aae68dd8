//! Which assets a task has updated, and which events wait for whom. The rules are those of Airflow's
//! `TaskInstance.register_asset_changes_in_db`.

use std::collections::BTreeSet;

use model::{Asset, AssetEvent, AssetKey, AssetMark, AssetUpdate, DagId, Json, Outlets};
use scheduler::Event;
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
        let mut extras: Vec<Json> = said.map(|event| event.extra.clone()).collect();
        if extras.is_empty() {
            extras.push(Json::Object(Default::default()));
        }
        updates.extend(extras.into_iter().map(|extra| AssetUpdate { asset: asset.clone(), extra, aliases: vec![] }));
    }
    updates.extend(by_aliases(store, outlets)?);
    Ok(updates)
}

/// Aliases that say the same of the same asset make one update together.
fn by_aliases<S: Store + ?Sized>(store: &S, outlets: &Outlets) -> Result<Vec<AssetUpdate>, StoreError> {
    let is_declared = |alias: &String| outlets.declared.contains(&AssetMark::Alias(alias.clone()));
    let mut found: Vec<(&AssetKey, &Json, &Json, BTreeSet<String>)> = Vec::new();
    for event in &outlets.events {
        let Some((alias, asset_extra)) = event.alias.as_ref().filter(|(alias, _)| is_declared(alias)) else { continue };
        let same = found
            .iter_mut()
            .find(|(key, of_asset, extra, _)| (*key, *of_asset, *extra) == (&event.asset, asset_extra, &event.extra));
        match same {
            Some((.., aliases)) => drop(aliases.insert(alias.clone())),
            None => found.push((&event.asset, asset_extra, &event.extra, BTreeSet::from([alias.clone()]))),
        }
    }
    let mut updates = Vec::with_capacity(found.len());
    for (key, asset_extra, extra, aliases) in found {
        let asset = match store.asset(key)? {
            Some(record) => record.asset,
            None => Asset { extra: asset_extra.clone(), ..Asset::new(key.clone()) },
        };
        updates.push(AssetUpdate { asset, extra: extra.clone(), aliases: aliases.into_iter().collect() });
    }
    Ok(updates)
}

/// The events that wait for each Dag.
pub(crate) fn queued<S: Store + ?Sized>(store: &S) -> Result<Vec<Event>, StoreError> {
    let mut of_dags: Vec<(DagId, Vec<(AssetEvent, bool)>)> = Vec::new();
    for (dag_id, event, counts) in store.queued_asset_events()? {
        match of_dags.last_mut() {
            Some((last, events)) if *last == dag_id => events.push((event, counts)),
            _ => of_dags.push((dag_id, vec![(event, counts)])),
        }
    }
    Ok(of_dags.into_iter().map(|(dag_id, events)| Event::AssetEventsQueued { dag_id, events }).collect())
}

#[cfg(test)]
mod tests {
    use model::{Change, OutletEvent};
    use serde_json::json;
    use store::memory::MemoryStore;
    use store::{Commit, Write};

    use super::*;

    fn key(name: &str) -> AssetKey {
        AssetKey { name: name.into(), uri: format!("s3://{name}") }
    }

    fn said(name: &str, extra: Json, alias: Option<&str>) -> OutletEvent {
        let alias = alias.map(|alias| (alias.to_owned(), json!({"new": true})));
        OutletEvent { asset: key(name), extra, alias }
    }

    fn shown(updates: &[AssetUpdate]) -> Vec<String> {
        let show = |update: &AssetUpdate| {
            let AssetUpdate { asset, extra, aliases } = update;
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
        let update = AssetUpdate { asset: known, extra: json!({}), aliases: vec![] };
        let event = AssetEvent { id: model::AssetEventId(1), update, source: None, at: jiff::Timestamp::UNIX_EPOCH };
        let change = Change::AssetEvent { event: Box::new(event), listeners: vec![] };
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
