//! Partitions of runs and events, and the runs that wait for them.

use model::partition::{PartitionChange, PendingPartition, Told};
use model::{Asset, AssetEvent, AssetEventId, AssetKey, AssetUpdate, Change, DagRun, Partition};
use serde_json::json;
use store::{Direction, Page, RunFilter, RunOrder, Span, Store, StoreError, Write};

use crate::fixtures::{at, put_run, run, run_key, some, ti_key};

fn event(id: i64, partition: Option<Partition>) -> AssetEvent {
    let asset = Asset::new(AssetKey { name: "a".into(), uri: "u".into() });
    let update = AssetUpdate { asset, extra: json!({}), aliases: vec![], active: true, partition };
    AssetEvent { id: AssetEventId(id), update, source: Some(ti_key(&run_key("p", "r"), "t")), at: at(id) }
}

fn put(event: &AssetEvent) -> Write {
    Write::Decision(Change::AssetEvent(Box::new(event.clone())))
}

fn change(change: PartitionChange) -> Write {
    Write::Decision(Change::Partition(Box::new(change)))
}

fn pending(key: &str, first: i64) -> PendingPartition {
    PendingPartition {
        dag_id: "d".into(),
        key: key.into(),
        first: AssetEventId(first),
        carried: some(7),
        fingerprint: "f".into(),
    }
}

fn add(pending: &PendingPartition, event: i64, told: Option<Told>) -> Write {
    change(PartitionChange::Pending { pending: pending.clone(), event: AssetEventId(event), told })
}

/// A run that waits, with the numbers of its events and what was told of them.
type Waiting = (PendingPartition, Vec<(i64, Option<Told>)>);

fn waiting(store: &dyn Store) -> Vec<Waiting> {
    let waiting = store.pending_partitions(&"d".into()).unwrap().into_iter();
    waiting
        .map(|waiting| {
            let events = waiting.events.into_iter().map(|(event, told)| (event.id.0, told)).collect();
            (waiting.pending, events)
        })
        .collect()
}

pub fn events_wait_for_runs_and_are_taken_once(store: &dyn Store) {
    let events =
        [event(1, Some(Partition::new("k", some(3)))), event(2, Some(Partition::new("l", None))), event(3, None)];
    store.commit(events.iter().map(put).collect()).unwrap();
    let told = Told { upstream: Some(vec!["k".into()]), date: some(5), no_date: true, never: true };
    let (day, week) = (pending("day", 2), pending("week", 1));
    let batch = vec![add(&day, 2, Some(told.clone())), add(&week, 1, None), add(&week, 2, None)];
    store.commit(batch.clone()).unwrap();
    // Writing it twice changes nothing.
    store.commit(batch).unwrap();
    let expected = vec![(week.clone(), vec![(1, None), (2, None)]), (day.clone(), vec![(2, Some(told))])];
    assert_eq!(waiting(store), expected);
    let found = store.pending_partitions(&"d".into()).unwrap();
    assert_eq!(found[0].events[0].0, events[0]);
    let other = PendingPartition { carried: None, fingerprint: "g".into(), ..week };
    store.commit(vec![add(&other, 1, None)]).unwrap();
    assert_eq!(waiting(store)[0].0, other);
    let take = || change(PartitionChange::Taken { dag_id: "d".into(), key: "week".into(), run: "made".into() });
    assert!(matches!(store.commit(vec![take()]), Err(StoreError::Missing { .. })));
    store.commit(vec![put_run(&run("d", "made")), take()]).unwrap();
    let consumed = store.consumed_asset_events(&run_key("d", "made")).unwrap();
    assert_eq!(consumed, events[..2]);
    assert_eq!(waiting(store).len(), 1);
    store.commit(vec![change(PartitionChange::Dropped { dag_id: "d".into(), keys: vec!["day".into()] })]).unwrap();
    assert_eq!(waiting(store), vec![]);
    assert_eq!(store.consumed_asset_events(&run_key("d", "made")).unwrap().len(), 2);
}

pub fn events_wait_for_python(store: &dyn Store) {
    let first = event(1, Some(Partition::new("k", None)));
    store.commit(vec![put(&first), put(&event(2, None))]).unwrap();
    let unmapped = |event: i64| change(PartitionChange::Unmapped { dag_id: "d".into(), event: AssetEventId(event) });
    store.commit(vec![unmapped(2), unmapped(1), unmapped(1)]).unwrap();
    let ids = |dag_id: &str| -> Vec<i64> {
        store.unmapped_events(&dag_id.into()).unwrap().into_iter().map(|event| event.id.0).collect()
    };
    assert_eq!((ids("d"), ids("e")), (vec![1, 2], vec![]));
    assert_eq!(store.unmapped_events(&"d".into()).unwrap()[0], first);
    let mapped = change(PartitionChange::Mapped { dag_id: "d".into(), event: AssetEventId(1) });
    store.commit(vec![mapped, add(&pending("x", 2), 2, None)]).unwrap();
    assert_eq!(ids("d"), [2]);
    store.commit(vec![Write::Decision(Change::DagDeleted("d".into()))]).unwrap();
    assert_eq!((ids("d"), waiting(store)), (vec![], vec![]));
}

pub fn runs_are_found_by_their_partitions(store: &dyn Store) {
    let made = |name: &str, partition| DagRun { partition, ..run("d", name) };
    let runs = [
        made("one", Some(Partition::new("2024-01", some(10)))),
        made("two", Some(Partition::new("2024-02", some(20)))),
        made("three", Some(Partition::new("eu", None))),
        made("four", None),
    ];
    store.commit(runs.iter().map(put_run).collect()).unwrap();
    assert_eq!(store.run(&runs[1].key).unwrap().unwrap(), runs[1]);
    let names = |filter: RunFilter, order: &[(RunOrder, Direction)]| -> Vec<String> {
        let (runs, total) = store.runs(&filter, order, Page::ALL).unwrap();
        assert_eq!(runs.len() as u64, total);
        runs.into_iter().map(|run| run.key.run_id.to_string()).collect()
    };
    let all = RunFilter::default;
    assert_eq!(names(RunFilter { partition_key_pattern: Some("%-0%".into()), ..all() }, &[]), ["one", "two"]);
    assert_eq!(names(RunFilter { partition_key_prefix: Some("e".into()), ..all() }, &[]), ["three"]);
    let span = Span { from: some(20), ..Span::default() };
    assert_eq!(names(RunFilter { partition_date: span, ..all() }, &[]), ["two"]);
    let order = [(RunOrder::PartitionDate, Direction::Descending)];
    assert_eq!(names(all(), &order), ["four", "three", "two", "one"]);
    // A run may be about something else, or about nothing, later.
    let other = DagRun { partition: None, ..runs[0].clone() };
    store.commit(vec![put_run(&other)]).unwrap();
    assert_eq!(store.run(&other.key).unwrap().unwrap(), other);
}
