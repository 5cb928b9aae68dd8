//! Lists of assets and of what happened to them.

use jiff::Timestamp;
use model::{
    Asset, AssetEvent, AssetEventId, AssetKey, AssetMark, AssetUpdate, Change, QueuedAsset, RunType, TriggeredBy,
};
use serde_json::json;
use store::{
    AliasFilter, AliasOrder, AssetAlias, AssetFilter, AssetOrder, AssetUse, DagAsset, Direction, EventListFilter,
    EventOrder, ImportedDag, Page, Span, Store, TextFilter, Write,
};

use crate::fixtures::{at, dag, imported, put_run, run, run_key, some, ti_key};

fn asset(name: &str) -> Asset {
    Asset::new(AssetKey { name: name.into(), uri: format!("s3://{name}") })
}

fn event(id: i64, name: &str, task: Option<(&str, &str)>, aliases: &[&str]) -> AssetEvent {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let update = AssetUpdate { asset: asset(name), extra: json!({}), aliases, active: true, partition: None };
    let source = task.map(|(dag_id, task)| ti_key(&run_key(dag_id, "r"), task));
    AssetEvent { id: AssetEventId(id), update, source, at: at(id) }
}

fn put(event: &AssetEvent) -> Write {
    Write::Decision(Change::AssetEvent(Box::new(event.clone())))
}

/// Two Dags: `c` waits for what a task of `p` produces.
fn fill(store: &dyn Store) {
    let named = |name: &str, uses: Vec<AssetUse>| DagAsset { asset: asset(name), uses };
    let producer = ImportedDag {
        assets: vec![
            named("b", vec![AssetUse::Inlet("t".into()), AssetUse::Outlet("t".into())]),
            named("a", vec![AssetUse::Outlet("t".into())]),
        ],
        aliases: vec![AssetAlias { name: "zz".into(), group: "own".into() }],
        ..dag("p", 1, "1")
    };
    let consumer = ImportedDag { assets: vec![named("a", vec![AssetUse::Schedule])], ..dag("c", 2, "2") };
    store.commit(vec![imported("p.py", vec![producer]), imported("c.py", vec![consumer])]).unwrap();
    let events = [
        event(1, "a", Some(("p", "t")), &[]),
        event(2, "b", Some(("p", "t")), &["zz", "new"]),
        event(3, "a", None, &["zz"]),
        event(4, "made", Some(("q", "u")), &["zz"]),
    ];
    let made = model::DagRun { run_type: RunType::AssetTriggered, triggered_by: TriggeredBy::Asset, ..run("c", "r") };
    let marks = vec![AssetMark::Asset(asset("a").key)];
    let mut writes: Vec<Write> = events.iter().map(put).collect();
    writes.extend([
        Write::Decision(Change::AssetCursor { dag_id: "c".into(), cursor: Some(AssetEventId(0)) }),
        put_run(&made),
        Write::Decision(Change::AssetEventsTaken { run: made.key.clone(), marks, upto: AssetEventId(3) }),
    ]);
    store.commit(writes).unwrap();
}

fn names(store: &dyn Store, filter: &AssetFilter, order: &[(AssetOrder, Direction)], page: Page) -> (String, u64) {
    let (found, total) = store.list_assets(filter, order, page).unwrap();
    (found.iter().map(|listed| listed.asset.key.name.as_str()).collect::<Vec<_>>().join(" "), total)
}

pub fn lists_of_assets(store: &dyn Store) {
    fill(store);
    let (found, total) = store.list_assets(&AssetFilter::default(), &[], Page::ALL).unwrap();
    assert_eq!(total, 3);
    let a = found.iter().find(|listed| listed.asset.key.name == "a").unwrap();
    let uses: Vec<_> = a.uses.iter().map(|found| (found.dag_id.as_str(), found.by.clone())).collect();
    assert_eq!(uses, [("c", AssetUse::Schedule), ("p", AssetUse::Outlet("t".into()))]);
    assert_eq!(a.last_event, Some((AssetEventId(3), at(3))));
    assert_eq!(a.aliases.iter().map(|alias| alias.alias.name.as_str()).collect::<Vec<_>>(), ["zz"]);
    assert_ne!(a.created_at, Timestamp::UNIX_EPOCH);
    let made = found.iter().find(|listed| listed.asset.key.name == "made").unwrap();
    assert_eq!((made.created_at, made.uses.len()), (at(4), 0));
    let by_name = [(AssetOrder::Name, Direction::Descending)];
    let all = AssetFilter::default;
    let dags = |dag_ids: &[&str]| Some(dag_ids.iter().map(|id| (*id).into()).collect());
    for (filter, expected) in [
        (all(), "made b a"),
        (AssetFilter { number: Some(a.number), ..all() }, "a"),
        (AssetFilter { name: Some("b".into()), ..all() }, "b"),
        (AssetFilter { uri: Some("s3://made".into()), ..all() }, "made"),
        (AssetFilter { names: TextFilter { pattern: Some("A".into()), prefix: None }, ..all() }, "made a"),
        (AssetFilter { uris: TextFilter { pattern: None, prefix: Some("s3://b".into()) }, ..all() }, "b"),
        (AssetFilter { dag_ids: dags(&["c"]), ..all() }, "a"),
        (AssetFilter { dag_ids: dags(&["p", "x"]), ..all() }, "b a"),
        (AssetFilter { dag_ids: dags(&[]), ..all() }, ""),
    ] {
        assert_eq!(names(store, &filter, &by_name, Page::ALL).0, expected, "{filter:?}");
    }
    assert_eq!(names(store, &all(), &by_name, Page { limit: 1, offset: 1 }), ("b".into(), 3));
    // A Dag that is in no file names nothing, and one that has changed what it has now.
    store.commit(vec![Write::FileGone { bundle_name: "dags-folder".into(), relative_fileloc: "c.py".into() }]).unwrap();
    store.commit(vec![imported("p.py", vec![dag("p", 3, "3")])]).unwrap();
    assert_eq!(store.list_assets(&all(), &[], Page::ALL).unwrap().0.iter().map(|one| one.uses.len()).sum::<usize>(), 0);
    assert_eq!(names(store, &AssetFilter { active_only: true, ..all() }, &by_name, Page::ALL).0, "made b a");
}

pub fn lists_of_aliases(store: &dyn Store) {
    fill(store);
    let list = |filter: &AliasFilter, order| {
        let (found, total) = store.list_aliases(filter, &[(order, Direction::Ascending)], Page::ALL).unwrap();
        let shown: Vec<String> =
            found.into_iter().map(|alias| format!("{}/{}", alias.alias.name, alias.alias.group)).collect();
        (shown.join(" "), total)
    };
    let all = AliasFilter::default;
    assert_eq!(list(&all(), AliasOrder::Number), ("zz/own new/".into(), 2));
    assert_eq!(list(&all(), AliasOrder::Name), ("new/ zz/own".into(), 2));
    assert_eq!(list(&AliasFilter { name: Some("new".into()), ..all() }, AliasOrder::Name).0, "new/");
    let names = TextFilter { pattern: Some("Z".into()), prefix: None };
    assert_eq!(list(&AliasFilter { names, ..all() }, AliasOrder::Name).0, "zz/own");
    let number = store.list_aliases(&all(), &[], Page::ALL).unwrap().0[1].number;
    assert_eq!(list(&AliasFilter { number: Some(number), ..all() }, AliasOrder::Name).0, "new/");
}

pub fn lists_of_asset_events(store: &dyn Store) {
    fill(store);
    let number = |name: &str| {
        let filter = AssetFilter { name: Some(name.into()), ..AssetFilter::default() };
        store.list_assets(&filter, &[], Page::ALL).unwrap().0[0].number
    };
    let list = |filter: &EventListFilter, order: &[(EventOrder, Direction)], page: Page| {
        let (found, total) = store.list_asset_events(filter, order, page).unwrap();
        assert!(found.iter().all(|listed| listed.asset_number == number(&listed.event.update.asset.key.name)));
        (found.iter().map(|listed| listed.event.id.0).collect::<Vec<_>>(), total)
    };
    let all = EventListFilter::default;
    let newest = [(EventOrder::At, Direction::Descending)];
    for (filter, expected) in [
        (all(), vec![4, 3, 2, 1]),
        (EventListFilter { asset_number: Some(number("a")), ..all() }, vec![3, 1]),
        (EventListFilter { source_dag_id: Some("p".into()), ..all() }, vec![2, 1]),
        (EventListFilter { source_task_id: Some("u".into()), ..all() }, vec![4]),
        (EventListFilter { source_run_id: Some("r".into()), ..all() }, vec![4, 2, 1]),
        (EventListFilter { source_map_index: Some(-1), ..all() }, vec![4, 3, 2, 1]),
        (EventListFilter { source_map_index: Some(0), ..all() }, vec![]),
        (EventListFilter { names: TextFilter { pattern: Some("MAD".into()), prefix: None }, ..all() }, vec![4]),
        (EventListFilter { at: Span { from: some(2), to: some(3), or_missing: false }, ..all() }, vec![3, 2]),
        (EventListFilter { consumed_by: Some(run_key("c", "r")), ..all() }, vec![3, 1]),
        (EventListFilter { consumed_by: Some(run_key("c", "other")), ..all() }, vec![]),
    ] {
        assert_eq!(list(&filter, &newest, Page::ALL), (expected.clone(), expected.len() as u64), "{filter:?}");
    }
    let by_source = [(EventOrder::SourceDagId, Direction::Ascending)];
    assert_eq!(list(&all(), &by_source, Page { limit: 3, offset: 1 }), (vec![2, 4, 3], 4));
    assert_eq!(list(&all(), &[(EventOrder::SourceTaskId, Direction::Descending)], Page::ALL).0, [3, 4, 2, 1]);
    assert_eq!(list(&all(), &[(EventOrder::SourceRunId, Direction::Ascending)], Page::ALL).0, [1, 2, 4, 3]);
    assert_eq!(store.last_consumed(&run_key("c", "r")).unwrap(), Some(AssetEventId(3)));
    assert_eq!(store.last_consumed(&run_key("c", "other")).unwrap(), None);
}

pub fn lists_of_what_waits(store: &dyn Store) {
    fill(store);
    let queue = |dag_id: &str, of: &AssetEvent| {
        let queued = Box::new(QueuedAsset::new(of));
        Write::Decision(Change::AssetQueued { dag_id: dag_id.into(), queued })
    };
    let (a, b) = (event(1, "a", None, &[]), event(2, "b", None, &[]));
    store.commit(vec![queue("d", &b), queue("d", &a), queue("c", &a)]).unwrap();
    let all = store.list_queued(None, None).unwrap();
    let shown = |rows: &[store::ListedQueued]| {
        rows.iter().map(|row| format!("{} {}", row.queued.key.name, row.dag_id)).collect::<Vec<_>>().join(", ")
    };
    // By the assets' numbers: the producer names b first.
    assert_eq!(shown(&all), "b d, a c, a d");
    let number = all[1].asset_number;
    assert_eq!(shown(&store.list_queued(Some(&"d".into()), None).unwrap()), "b d, a d");
    assert_eq!(shown(&store.list_queued(None, Some(number)).unwrap()), "a c, a d");
    assert_eq!(shown(&store.list_queued(Some(&"c".into()), Some(number)).unwrap()), "a c");
    assert_eq!(store.list_queued(Some(&"x".into()), None).unwrap(), []);
}
