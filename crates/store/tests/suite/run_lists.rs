//! Lists of runs: each filter with what it must find, each order with the order it must give.

use std::sync::Arc;

use model::{Change, DagRun, DagRunState, RunType, TaskInstance};
use serde_json::json;
use store::{Direction, DurationRange, Page, RunFilter, RunOrder, Span, Store, Write};

use crate::fixtures::*;

fn fill(store: &dyn Store) {
    let a = DagRun {
        state: DagRunState::Success,
        end_date: some(5),
        conf: Arc::new(json!({"env": "Prod_1", "n": [1, 2]})),
        ..dated_run("alpha", "scheduled__a", 100)
    };
    let b = DagRun {
        state: DagRunState::Failed,
        start_date: some(4),
        end_date: some(4),
        queued_at: some(2),
        triggering_user: Some("Bob".into()),
        conf: Arc::new(json!({"env": "dev"})),
        bundle_version: Some("v2".into()),
        version: version(2),
        ..run("alpha", "manual__b")
    };
    let c = DagRun {
        triggering_user: None,
        conf: Arc::new(json!({})),
        run_after: at(300),
        last_scheduling_decision: some(9),
        version: version(3),
        ..run("beta", "manual__c")
    };
    let d = DagRun {
        state: DagRunState::Queued,
        run_type: RunType::Backfill,
        queued_at: None,
        start_date: None,
        last_scheduling_decision: None,
        bundle_version: None,
        version: version(99),
        ..dated_run("Beta_2", "backfill__d", 50)
    };
    store
        .commit(vec![
            imported("alpha.py", vec![dag("alpha", 1, "h1")]),
            imported("alpha.py", vec![dag("alpha", 2, "h2")]),
            imported("beta.py", vec![dag("beta", 3, "h")]),
        ])
        .unwrap();
    store.commit([a, b, c, d].iter().map(put_run).collect()).unwrap();
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn span(from: Option<i64>, to: Option<i64>, or_missing: bool) -> Span {
    Span { from: from.map(at), to: to.map(at), or_missing }
}

fn micros(from_seconds: Option<i64>, to_seconds: Option<i64>) -> DurationRange {
    let micros = |seconds: i64| seconds * 1_000_000;
    DurationRange { from_micros: from_seconds.map(micros), to_micros: to_seconds.map(micros) }
}

pub fn filters_of_runs(store: &dyn Store) {
    fill(store);
    let f = RunFilter::default;
    // Each run is called by the last letter of its id.
    let table = [
        (f(), "abcd"),
        (RunFilter { dag_id: Some("alpha".into()), ..f() }, "ab"),
        (RunFilter { dag_id: Some("alph".into()), ..f() }, ""),
        (RunFilter { dag_id_pattern: text("ETA"), ..f() }, "cd"),
        (RunFilter { dag_id_pattern: text("a%_2"), ..f() }, "d"),
        (RunFilter { dag_id_pattern: text(r"a\_"), ..f() }, "d"),
        (RunFilter { dag_id_pattern: text("alp | _2"), ..f() }, "abd"),
        (RunFilter { dag_id_prefix: text("beta"), ..f() }, "c"),
        (RunFilter { dag_id_prefix: text("Beta_"), ..f() }, "d"),
        (RunFilter { dag_id_prefix: text("Be|al"), ..f() }, "abd"),
        (RunFilter { dag_id_prefix: text("eta"), ..f() }, ""),
        (RunFilter { dag_id_prefix: text("_"), ..f() }, "abcd"),
        (RunFilter { run_id_pattern: text(r"L\_\_"), ..f() }, "bcd"),
        (RunFilter { run_id_prefix: text("manual__"), ..f() }, "bc"),
        (RunFilter { triggering_user_pattern: text("b"), ..f() }, "b"),
        (RunFilter { triggering_user_pattern: text("%"), ..f() }, "abd"),
        (RunFilter { triggering_user_prefix: text("B"), ..f() }, "b"),
        (RunFilter { triggering_user_prefix: text("b"), ..f() }, ""),
        (RunFilter { triggering_user_prefix: text(""), ..f() }, "abd"),
        (RunFilter { states: vec![DagRunState::Success, DagRunState::Queued], ..f() }, "ad"),
        (RunFilter { run_types: vec![RunType::Backfill, RunType::Scheduled], ..f() }, "ad"),
        (RunFilter { version_numbers: vec![1], ..f() }, "ac"),
        (RunFilter { version_numbers: vec![2, 7], ..f() }, "b"),
        (RunFilter { bundle_version: text("v1"), ..f() }, "ac"),
        (RunFilter { conf_contains: text("\"env\": \"dev\""), ..f() }, "b"),
        (RunFilter { conf_contains: text("env"), ..f() }, "ab"),
        (RunFilter { conf_contains: text("prod"), ..f() }, ""),
        (RunFilter { conf_contains: text("Prod_1\", \"n\": [1, 2]"), ..f() }, "a"),
        (RunFilter { conf_contains: text("[1%2]"), ..f() }, "a"),
        (RunFilter { logical_date: span(Some(50), None, false), ..f() }, "ad"),
        (RunFilter { logical_date: span(Some(51), None, false), ..f() }, "a"),
        (RunFilter { logical_date: span(None, Some(50), false), ..f() }, "d"),
        (RunFilter { logical_date: span(None, Some(50), true), ..f() }, "bcd"),
        (RunFilter { logical_date: span(None, None, true), ..f() }, "abcd"),
        (RunFilter { run_after: span(Some(110), Some(160), false), ..f() }, "ad"),
        (RunFilter { start_date: span(Some(3), None, false), ..f() }, "b"),
        (RunFilter { start_date: span(Some(3), None, true), ..f() }, "bd"),
        (RunFilter { end_date: span(None, Some(4), false), ..f() }, "b"),
        (RunFilter { end_date: span(Some(5), Some(6), true), ..f() }, "acd"),
        (RunFilter { updated_at: span(Some(5), None, false), ..f() }, "ac"),
        (RunFilter { updated_at: span(None, Some(4), false), ..f() }, "b"),
        (RunFilter { duration: micros(Some(0), None), ..f() }, "ab"),
        (RunFilter { duration: micros(Some(1), Some(3)), ..f() }, "a"),
        (RunFilter { duration: micros(None, Some(2)), ..f() }, "b"),
        (RunFilter { dag_id: Some("alpha".into()), states: vec![DagRunState::Failed], ..f() }, "b"),
    ];
    for (filter, expected) in table {
        let found: String = run_ids(store, &filter).iter().filter_map(|id| id.chars().last()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

pub fn orders_of_runs(store: &dyn Store) {
    fill(store);
    // What has no value comes last, and first where the order is turned round.
    let table = [
        (RunOrder::Id, "abcd"),
        (RunOrder::State, "bdca"),
        (RunOrder::DagId, "dabc"),
        (RunOrder::RunId, "dbca"),
        (RunOrder::LogicalDate, "dabc"),
        (RunOrder::RunAfter, "bdac"),
        (RunOrder::StartDate, "acbd"),
        (RunOrder::EndDate, "bacd"),
        (RunOrder::RunType, "dbca"),
        (RunOrder::Duration, "bacd"),
        (RunOrder::UpdatedAt, "bacd"),
        (RunOrder::Conf, "dabc"),
    ];
    for (key, expected) in table {
        assert_eq!(letters(store, &[(key, Direction::Ascending)]), expected, "{key:?}");
        let turned: String = expected.chars().rev().collect();
        assert_eq!(letters(store, &[(key, Direction::Descending)]), turned, "{key:?}, turned round");
    }
    let (up, down) = (Direction::Ascending, Direction::Descending);
    assert_eq!(letters(store, &[(RunOrder::RunType, up), (RunOrder::RunId, down)]), "dcba");
    assert_eq!(letters(store, &[(RunOrder::RunType, down), (RunOrder::RunId, up)]), "abcd");
}

fn letters(store: &dyn Store, order: &[(RunOrder, Direction)]) -> String {
    let (runs, _) = store.runs(&RunFilter::default(), order, Page::ALL).unwrap();
    runs.iter().filter_map(|run| run.key.run_id.as_str().chars().last()).collect()
}

pub fn pages_of_runs(store: &dyn Store) {
    fill(store);
    let page = |limit, offset| {
        let (runs, total) = store.runs(&RunFilter::default(), &[], Page { limit, offset }).unwrap();
        let letters: String = runs.iter().filter_map(|run| run.key.run_id.as_str().chars().last()).collect();
        (letters, total)
    };
    assert_eq!(page(2, 0), ("ab".into(), 4));
    assert_eq!(page(2, 3), ("d".into(), 4));
    assert_eq!(page(2, 4), (String::new(), 4));
    assert_eq!(page(0, 0), (String::new(), 4));
    assert_eq!(page(u64::MAX, u64::MAX), (String::new(), 4));
}

pub fn versions_of_runs(store: &dyn Store) {
    let (first, second, empty) = (run("a", "first"), run("a", "second"), run("b", "empty"));
    let with = |run: &DagRun, task_id: &str, id: u128, number: u128| TaskInstance {
        version: version(number),
        ..ti(&run.key, task_id, id)
    };
    let archived = Write::Decision(Change::ArchivedTry(Box::new(with(&first, "t", 1, 9))));
    store
        .commit(vec![
            put_run(&first),
            put_run(&second),
            put_run(&empty),
            put_ti(&with(&first, "t", 2, 7)),
            put_ti(&with(&first, "u", 3, 9)),
            put_ti(&with(&second, "t", 4, 7)),
            archived,
        ])
        .unwrap();
    let keys = [first.key, empty.key, second.key];
    let found = store.versions_of(&keys).unwrap();
    assert_eq!(found, [vec![version(7), version(9)], Vec::new(), vec![version(7)]]);
}
