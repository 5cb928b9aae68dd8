//! Assets, their events, and the Dags that wait for these.

use model::{
    Asset, AssetEvent, AssetEventId, AssetKey, AssetMark, AssetUpdate, Change, DagRun, QueuedAsset, RunType,
    TriggeredBy,
};
use serde_json::json;
use store::{AssetEventFilter, AssetUse, DagAsset, ImportedDag, Store, StoreError, Write};

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
        active: true,
        partition: None,
    };
    AssetEvent { id: AssetEventId(id), update, source: Some(ti_key(&run_key("p", "r"), "t")), at: at(id) }
}

fn put(event: &AssetEvent) -> Write {
    Write::Decision(Change::AssetEvent(Box::new(event.clone())))
}

fn queue(dag_id: &str, queued: &QueuedAsset) -> Write {
    Write::Decision(Change::AssetQueued { dag_id: dag_id.into(), queued: Box::new(queued.clone()) })
}

fn cursor(dag_id: &str, cursor: Option<i64>) -> Write {
    Write::Decision(Change::AssetCursor { dag_id: dag_id.into(), cursor: cursor.map(AssetEventId) })
}

fn take(dag_id: &str, run_id: &str, marks: &[AssetMark], upto: i64) -> Write {
    let (run, marks) = (run_key(dag_id, run_id), marks.to_vec());
    Write::Decision(Change::AssetEventsTaken { run, marks, upto: AssetEventId(upto) })
}

fn triggered(dag_id: &str, run_id: &str) -> DagRun {
    DagRun { run_type: RunType::AssetTriggered, triggered_by: TriggeredBy::Asset, ..run(dag_id, run_id) }
}

fn with(dag_id: &str, version: u128, assets: Vec<Asset>) -> ImportedDag {
    let assets = assets.into_iter().map(|asset| DagAsset { asset, uses: vec![AssetUse::Schedule] }).collect();
    ImportedDag { assets, ..dag(dag_id, version, &format!("h{version}")) }
}

fn is_active(store: &dyn Store, key: &AssetKey) -> Option<bool> {
    store.asset(key).unwrap().map(|record| record.active)
}

fn queued(store: &dyn Store) -> Vec<(String, i64)> {
    let queued = store.queued_assets().unwrap();
    queued.into_iter().map(|(dag_id, queued)| (dag_id.to_string(), queued.last_event.0)).collect()
}

fn cursors(store: &dyn Store) -> Vec<(String, i64)> {
    store.asset_cursors().unwrap().into_iter().map(|(dag_id, event)| (dag_id.to_string(), event.0)).collect()
}

fn told(store: &dyn Store, dag_id: &str, run_id: &str) -> Vec<i64> {
    store.consumed_asset_events(&run_key(dag_id, run_id)).unwrap().into_iter().map(|event| event.id.0).collect()
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
            assets: vec![DagAsset { asset: found.clone(), uses: vec![AssetUse::Outlet("t".into())] }],
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
    let (one, two, three) = (event(1, &known, &[]), event(2, &known, &["al"]), event(3, &known, &[]));
    let mut waiting = QueuedAsset::new(&one);
    let is_known = [AssetMark::Asset(known.key.clone())];
    for _ in 0..2 {
        // Written twice, as after an error that left open whether it was written.
        store.commit(vec![cursor("c", Some(0)), cursor("d", Some(1)), put(&one), queue("c", &waiting)]).unwrap();
    }
    waiting.add(&two);
    store.commit(vec![put(&two), queue("c", &waiting), put(&three), queue("d", &QueuedAsset::new(&three))]).unwrap();
    assert_eq!(queued(store), [("c".into(), 2), ("d".into(), 3)]);
    assert_eq!(store.queued_assets().unwrap()[0].1, waiting);
    assert_eq!(store.last_asset_event().unwrap(), AssetEventId(3));
    for _ in 0..2 {
        store.commit(vec![put_run(&triggered("c", "r1")), take("c", "r1", &is_known, 2)]).unwrap();
    }
    assert_eq!((queued(store), told(store, "c", "r1")), (vec![("d".into(), 3)], vec![1, 2]));
    assert_eq!(cursors(store), [("c".into(), 2), ("d".into(), 1)]);
    assert_eq!(store.consumed_asset_events(&run_key("c", "r1")).unwrap(), [one.clone(), two.clone()]);
    assert_eq!(told(store, "c", "r2"), Vec::<i64>::new());
    store.commit(vec![put_run(&triggered("d", "r0")), take("d", "r0", &is_known, 3)]).unwrap();
    store.commit(vec![put_run(&triggered("c", "r3")), take("c", "r3", &is_known, 3)]).unwrap();
    assert_eq!((told(store, "d", "r0"), told(store, "c", "r3")), (vec![2, 3], vec![3]));
    let runs = || {
        let runs = store.runs_of_asset_events(&[one.id, two.id]).unwrap();
        runs.into_iter().map(|(event, run)| (event.0, run.key.run_id.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(runs(), [(1, "r1".into()), (2, "r1".into()), (2, "r0".into())]);
    store.commit(vec![Write::Decision(Change::RunDeleted(run_key("c", "r1")))]).unwrap();
    assert_eq!(runs(), [(2, "r0".into())]);
    let lost = store.commit(vec![take("c", "nowhere", &is_known, 3)]);
    assert!(matches!(lost, Err(StoreError::Missing { .. })), "{lost:?}");
    let unknown = QueuedAsset { key: key("never", "seen"), ..waiting };
    let lost = store.commit(vec![queue("c", &unknown)]);
    assert!(matches!(lost, Err(StoreError::Missing { .. })), "{lost:?}");
}

pub fn assets_stop_waiting(store: &dyn Store) {
    let (a, b) = (asset("a", "u"), asset("b", "v"));
    let events = [event(1, &a, &[]), event(2, &b, &[])];
    let mut writes: Vec<Write> = events.iter().map(put).collect();
    for dag_id in ["c", "d", "e"] {
        writes.push(cursor(dag_id, Some(0)));
        writes.extend(events.iter().map(|event| queue(dag_id, &QueuedAsset::new(event))));
    }
    store.commit(writes).unwrap();
    let no_longer = Change::AssetsUnqueued { dag_id: "c".into(), assets: vec![a.key.clone(), key("never", "seen")] };
    store.commit(vec![Write::Decision(no_longer), cursor("d", None)]).unwrap();
    assert_eq!(queued(store), [("c".into(), 2), ("e".into(), 1), ("e".into(), 2)]);
    assert_eq!(cursors(store), [("c".into(), 0), ("e".into(), 0)]);
    store.commit(vec![imported("e.py", vec![dag("e", 1, "1")])]).unwrap();
    store.commit(vec![Write::Decision(Change::DagDeleted("e".into()))]).unwrap();
    assert_eq!((queued(store), cursors(store)), (vec![("c".into(), 2)], vec![("c".into(), 0)]));
}

pub fn runs_are_told_of_what_their_dag_names(store: &dyn Store) {
    let (a, same_name, b) = (asset("a", "u"), asset("a", "other"), asset("b", "v"));
    let mut inactive = event(2, &same_name, &["al"]);
    inactive.update.active = false;
    let events = [event(1, &a, &[]), inactive, event(3, &b, &["al", "more"]), event(4, &b, &[]), event(5, &a, &[])];
    let mut writes = vec![cursor("c", Some(0))];
    writes.extend(events.iter().map(put));
    store.commit(writes).unwrap();
    let by = |mark: AssetMark| vec![mark];
    for (number, (marks, expected)) in [
        (by(AssetMark::Asset(a.key.clone())), vec![1]),
        (by(AssetMark::Asset(same_name.key.clone())), vec![2]),
        (by(AssetMark::Name("a".into())), vec![1]),
        (by(AssetMark::Uri("other".into())), vec![]),
        (by(AssetMark::Uri("v".into())), vec![3, 4]),
        (by(AssetMark::Alias("al".into())), vec![2, 3]),
        (
            vec![AssetMark::Alias("al".into()), AssetMark::Name("a".into()), AssetMark::Uri("v".into())],
            vec![1, 2, 3, 4],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let run_id = format!("r{number}");
        store
            .commit(vec![cursor("c", Some(0)), put_run(&triggered("c", &run_id)), take("c", &run_id, &marks, 4)])
            .unwrap();
        assert_eq!(told(store, "c", &run_id), expected, "{marks:?}");
    }
}

pub fn assets_of_aliases_are_active(store: &dyn Store) {
    let (made, taken) = (asset("made", "m"), asset("read", "x"));
    store.commit(vec![imported("one.py", vec![with("one", 1, vec![asset("read", "r")])])]).unwrap();
    store
        .commit(vec![put(&event(1, &made, &["al"])), put(&event(2, &taken, &["al"])), put(&event(3, &made, &[]))])
        .unwrap();
    let active = |asset: &Asset| is_active(store, &asset.key);
    assert_eq!((active(&made), active(&taken)), (Some(true), Some(false)));
    let of = |alias: &str, asset: &Asset| (alias.to_owned(), asset.key.clone());
    assert_eq!(store.alias_assets().unwrap(), [of("al", &made), of("al", &taken)]);
    // No other Dag's import takes that away, and when there is room the other one is active too.
    store.commit(vec![imported("one.py", vec![with("one", 2, vec![])])]).unwrap();
    assert_eq!((active(&made), active(&taken)), (Some(true), Some(true)));
}

pub fn filters_of_asset_events(store: &dyn Store) {
    let (a, b) = (asset("a", "u"), asset("b", "v"));
    store.commit(vec![imported("one.py", vec![with("one", 1, vec![a.clone()])])]).unwrap();
    let aliased = [event(2, &b, &["al", "other"]), event(3, &b, &["al"])];
    // One whose name another asset has is not active.
    let late = event(5, &asset("a", "w"), &[]);
    let writes = [event(1, &a, &[]), aliased[0].clone(), aliased[1].clone(), event(4, &a, &["al"]), late];
    store.commit(writes.iter().map(put).collect()).unwrap();
    let all = AssetEventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (all(), vec![1, 2, 3, 4, 5]),
        (AssetEventFilter { newest_first: true, limit: 3, ..all() }, vec![5, 4, 3]),
        (AssetEventFilter { name: text("a"), ..all() }, vec![1, 4, 5]),
        (AssetEventFilter { uri: text("v"), ..all() }, vec![2, 3]),
        (AssetEventFilter { name: text("a"), uri: text("v"), ..all() }, vec![]),
        (AssetEventFilter { alias: text("al"), ..all() }, vec![2, 3, 4]),
        (AssetEventFilter { alias: text("other"), ..all() }, vec![2]),
        (AssetEventFilter { active_only: true, ..all() }, vec![1, 2, 3, 4]),
        (AssetEventFilter { after: some(2), before: some(3), ..all() }, vec![2, 3]),
    ] {
        assert_eq!(ids(store, &filter), expected, "{filter:?}");
    }
    // The asset that no Dag has was made by its event.
    assert_eq!(is_active(store, &b.key), Some(true));
    assert_eq!(store.assets_of_alias("al").unwrap(), [a, b.clone()]);
    assert_eq!(store.assets_of_alias("other").unwrap(), [b]);
    assert_eq!(store.assets_of_alias("none").unwrap(), []);
}
