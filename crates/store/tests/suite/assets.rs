//! Assets, their events, and the Dags that wait for these.

use model::{Asset, AssetEvent, AssetEventId, AssetKey, AssetUpdate, Change, DagRun, Listener, RunType, TriggeredBy};
use serde_json::json;
use store::{AssetEventFilter, DagAsset, ImportedDag, Store, StoreError, Write};

use crate::fixtures::{at, dag, imported, put_run, run, run_key, some, ti_key};

fn key(name: &str, uri: &str) -> AssetKey {
    AssetKey { name: name.into(), uri: uri.into() }
}

fn asset(name: &str, uri: &str) -> Asset {
    Asset { key: key(name, uri), group: "g".into(), extra: json!({"z": 1, "a": name}) }
}

fn event(id: i64, asset: &Asset, aliases: &[&str]) -> AssetEvent {
    let update = AssetUpdate {
        asset: asset.clone(),
        extra: json!({"row": id, "a": null}),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    };
    AssetEvent { id: AssetEventId(id), update, source: Some(ti_key(&run_key("p", "r"), "t")), at: at(id) }
}

fn put(event: &AssetEvent, listeners: &[(&str, bool)]) -> Write {
    let listeners = listeners.iter().map(|(dag_id, counts)| Listener { dag_id: (*dag_id).into(), counts: *counts });
    Write::Decision(Change::AssetEvent { event: Box::new(event.clone()), listeners: listeners.collect() })
}

fn take(dag_id: &str, run: Option<&str>, events: &[i64]) -> Write {
    let events = events.iter().map(|id| AssetEventId(*id)).collect();
    Write::Decision(Change::AssetEventsTaken { dag_id: dag_id.into(), run: run.map(Into::into), events })
}

fn triggered(dag_id: &str, run_id: &str) -> DagRun {
    DagRun { run_type: RunType::AssetTriggered, triggered_by: TriggeredBy::Asset, ..run(dag_id, run_id) }
}

fn with(dag_id: &str, version: u128, assets: Vec<Asset>) -> ImportedDag {
    let assets = assets.into_iter().map(|asset| DagAsset { asset, produced: false }).collect();
    ImportedDag { assets, ..dag(dag_id, version, &format!("h{version}")) }
}

fn is_active(store: &dyn Store, key: &AssetKey) -> Option<bool> {
    store.asset(key).unwrap().map(|record| record.active)
}

fn queued(store: &dyn Store) -> Vec<(String, i64, bool)> {
    let queued = store.queued_asset_events().unwrap();
    queued.into_iter().map(|(dag_id, event, counts)| (dag_id.to_string(), event.id.0, counts)).collect()
}

fn ids(store: &dyn Store, filter: &AssetEventFilter) -> Vec<i64> {
    store.asset_events(filter).unwrap().into_iter().map(|event| event.id.0).collect()
}

pub fn assets_are_active_while_a_dag_has_them(store: &dyn Store) {
    let (first, same_name, same_uri) = (asset("a", "u"), asset("a", "other"), asset("b", "u"));
    store.commit(vec![imported("one.py", vec![with("one", 1, vec![first.clone()])])]).unwrap();
    let both = vec![same_name.clone(), same_uri.clone()];
    store.commit(vec![imported("two.py", vec![with("two", 2, both)])]).unwrap();
    let active = |asset: &Asset| is_active(store, &asset.key);
    assert_eq!((active(&first), active(&same_name), active(&same_uri)), (Some(true), Some(false), Some(false)));
    assert_eq!(store.active_asset(Some("a"), None).unwrap(), Some(first.clone()));
    assert_eq!(store.active_asset(None, Some("u")).unwrap(), Some(first.clone()));
    assert_eq!(store.active_asset(Some("b"), None).unwrap(), None);
    assert_eq!(store.active_asset(Some("a"), Some("other")).unwrap(), None);
    // The first one leaves its Dag, and makes room for both others, which have nothing in common.
    store.commit(vec![imported("one.py", vec![with("one", 3, vec![])])]).unwrap();
    assert_eq!((active(&first), active(&same_name), active(&same_uri)), (Some(false), Some(true), Some(true)));
    let gone = Write::FileGone { bundle_name: "dags-folder".into(), relative_fileloc: "two.py".into() };
    store.commit(vec![gone]).unwrap();
    assert_eq!((active(&same_name), active(&same_uri)), (Some(false), Some(false)));
    let changed = Asset { group: "h".into(), extra: json!({}), ..first.clone() };
    store.commit(vec![imported("one.py", vec![with("one", 4, vec![changed.clone()])])]).unwrap();
    assert_eq!(store.active_asset(Some("a"), None).unwrap(), Some(changed));
    store.commit(vec![Write::Decision(Change::DagDeleted("one".into()))]).unwrap();
    assert_eq!(active(&first), Some(false));
    assert_eq!(is_active(store, &key("never", "seen")), None);
}

pub fn assets_that_are_produced_outrank_others(store: &dyn Store) {
    let (read, made, also_made) = (asset("a", "u"), asset("b", "u"), asset("c", "u"));
    store.commit(vec![imported("one.py", vec![with("one", 1, vec![read.clone()])])]).unwrap();
    for (number, found) in [(2, &made), (3, &also_made)] {
        let dag_id = format!("dag{number}");
        let producer = ImportedDag {
            assets: vec![DagAsset { asset: found.clone(), produced: true }],
            ..dag(&dag_id, number, "h")
        };
        store.commit(vec![imported(&format!("{dag_id}.py"), vec![producer])]).unwrap();
        let active = |asset: &Asset| is_active(store, &asset.key).unwrap_or(false);
        assert_eq!((active(&read), active(&made), active(&also_made)), (false, true, false));
    }
}

pub fn events_wait_until_a_run_takes_them(store: &dyn Store) {
    let known = asset("a", "u");
    assert_eq!(store.last_asset_event().unwrap(), AssetEventId(0));
    let (one, two) = (event(1, &known, &[]), event(2, &known, &["al"]));
    for _ in 0..2 {
        // Written twice, as after an error that left open whether it was written.
        store.commit(vec![put(&one, &[("c", true), ("d", false)]), put(&two, &[("c", false)])]).unwrap();
    }
    let of = |dag_id: &str, id, counts| (dag_id.to_owned(), id, counts);
    assert_eq!(queued(store), [of("c", 1, true), of("c", 2, false), of("d", 1, false)]);
    assert_eq!(store.queued_asset_events().unwrap()[1].1, two);
    assert_eq!(store.last_asset_event().unwrap(), AssetEventId(2));
    for _ in 0..2 {
        store.commit(vec![put_run(&triggered("c", "r1")), take("c", Some("r1"), &[2, 1])]).unwrap();
    }
    assert_eq!(queued(store), [of("d", 1, false)]);
    assert_eq!(store.consumed_asset_events(&run_key("c", "r1")).unwrap(), [one.clone(), two]);
    assert_eq!(store.consumed_asset_events(&run_key("c", "r2")).unwrap(), []);
    store.commit(vec![put_run(&triggered("d", "r0")), take("d", Some("r0"), &[1])]).unwrap();
    assert_eq!(store.runs_of_asset_event(one.id).unwrap(), [run_key("c", "r1"), run_key("d", "r0")]);
    store.commit(vec![Write::Decision(Change::RunDeleted(run_key("c", "r1")))]).unwrap();
    assert_eq!(store.runs_of_asset_event(one.id).unwrap(), [run_key("d", "r0")]);
    store.commit(vec![put(&event(3, &known, &[]), &[("c", true), ("d", true)]), take("c", None, &[3])]).unwrap();
    assert_eq!(queued(store), [of("d", 3, true)]);
    store.commit(vec![imported("d.py", vec![dag("d", 1, "1")])]).unwrap();
    store.commit(vec![Write::Decision(Change::DagDeleted("d".into()))]).unwrap();
    assert_eq!(queued(store), []);
    let lost = store.commit(vec![take("c", Some("nowhere"), &[3])]);
    assert!(matches!(lost, Err(StoreError::Missing { .. })), "{lost:?}");
}

pub fn filters_of_asset_events(store: &dyn Store) {
    let (a, b) = (asset("a", "u"), asset("b", "v"));
    store.commit(vec![imported("one.py", vec![with("one", 1, vec![a.clone()])])]).unwrap();
    let aliased = [event(2, &b, &["al", "other"]), event(3, &b, &["al"])];
    let writes = [event(1, &a, &[]), aliased[0].clone(), aliased[1].clone(), event(4, &a, &["al"])];
    store.commit(writes.iter().map(|event| put(event, &[])).collect()).unwrap();
    let all = AssetEventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (all(), vec![1, 2, 3, 4]),
        (AssetEventFilter { newest_first: true, limit: 3, ..all() }, vec![4, 3, 2]),
        (AssetEventFilter { name: text("a"), ..all() }, vec![1, 4]),
        (AssetEventFilter { uri: text("v"), ..all() }, vec![2, 3]),
        (AssetEventFilter { name: text("a"), uri: text("v"), ..all() }, vec![]),
        (AssetEventFilter { alias: text("al"), ..all() }, vec![2, 3, 4]),
        (AssetEventFilter { alias: text("other"), ..all() }, vec![2]),
        (AssetEventFilter { active_only: true, ..all() }, vec![1, 4]),
        (AssetEventFilter { after: some(2), before: some(3), ..all() }, vec![2, 3]),
    ] {
        assert_eq!(ids(store, &filter), expected, "{filter:?}");
    }
    // The asset that no Dag has was made by its event.
    assert_eq!(is_active(store, &b.key), Some(false));
    assert_eq!(store.assets_of_alias("al").unwrap(), [a, b.clone()]);
    assert_eq!(store.assets_of_alias("other").unwrap(), [b]);
    assert_eq!(store.assets_of_alias("none").unwrap(), []);
}
