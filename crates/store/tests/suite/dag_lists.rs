//! Lists of Dags and of import errors.

use model::{Change, DagRun, DagRunState, DagSchedule, DataInterval, timetable::NextRun};
use store::{
    DagFilter, DagOrder, Direction, ImportErrorFilter, ImportErrorOrder, ImportedDag, ImportedFile, Page, Span, Store,
    TextFilter, VersionFilter, VersionOrder, Write,
};

use crate::fixtures::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn fill(store: &dyn Store) {
    let a = ImportedDag { paused_upon_creation: false, owners: texts(&["Ann", "airflow"]), ..dag("a", 1, "h") };
    let b = ImportedDag {
        display_name: "Übung 1".into(),
        owners: texts(&["bob_the%"]),
        tags: texts(&["x", "y"]),
        bundle_version: None,
        timetable_type: "NullTimetable".into(),
        ..dag("b", 2, "h")
    };
    let c = ImportedDag { tags: texts(&["x", "tag", "say \"x\""]), ..dag("c", 3, "h") };
    let d = dag("d", 4, "h");
    let other = ImportedFile { bundle_name: "other".into(), ..file("b.py", vec![b]) };
    let broken = ImportedFile { errors: vec![("c.py".into(), "trace".into())], ..file("c.py", vec![c]) };
    let started = |dag_id: &str, state, start: Option<i64>, end: Option<i64>| {
        put_run(&DagRun { state, start_date: start.map(at), end_date: end.map(at), ..run(dag_id, "r") })
    };
    let interval = DataInterval { start: at(1), end: at(2) };
    let next = |dag_id: &str, seconds| {
        let next_run = Some(NextRun { run_after: at(seconds), data_interval: interval });
        let schedule = DagSchedule { next_run, ..DagSchedule::default() };
        Write::Decision(Change::Schedule { dag_id: dag_id.into(), schedule: Box::new(schedule) })
    };
    store
        .commit(vec![
            imported("a.py", vec![a]),
            Write::Imported(Box::new(other)),
            Write::Imported(Box::new(broken)),
            imported("d.py", vec![d]),
            imported("d.py", Vec::new()),
            started("a", DagRunState::Success, Some(10), Some(20)),
            started("b", DagRunState::Failed, Some(5), Some(30)),
            started("c", DagRunState::Running, Some(15), None),
            next("c", 7),
            next("a", 8),
        ])
        .unwrap();
}

pub fn filters_of_dags(store: &dyn Store) {
    fill(store);
    let f = DagFilter::default;
    let span = |from: Option<i64>, to: Option<i64>, or_missing| Span { from: from.map(at), to: to.map(at), or_missing };
    let table = [
        (f(), "abcd"),
        (DagFilter { dag_ids: texts(&["d", "a", "z"]), ..f() }, "ad"),
        (DagFilter { any_run_state: Some(DagRunState::Failed), ..f() }, "b"),
        (DagFilter { any_run_state: Some(DagRunState::Success), ..f() }, "a"),
        (DagFilter { any_run_state: Some(DagRunState::Queued), ..f() }, ""),
        (DagFilter { awaits_people: Some(true), ..f() }, ""),
        (DagFilter { awaits_people: Some(false), ..f() }, "abcd"),
        (DagFilter { paused: Some(true), ..f() }, "bcd"),
        (DagFilter { paused: Some(false), ..f() }, "a"),
        (DagFilter { exclude_stale: true, ..f() }, "abc"),
        (DagFilter { dag_id_pattern: text("A | d"), ..f() }, "ad"),
        (DagFilter { dag_id_prefix: text("a|b"), ..f() }, "ab"),
        (DagFilter { display_name_pattern: text("übung"), ..f() }, "b"),
        (DagFilter { display_name_pattern: text("the _"), ..f() }, "acd"),
        (DagFilter { display_name_prefix: text("Ü"), ..f() }, "b"),
        (DagFilter { display_name_prefix: text("The c"), ..f() }, "c"),
        (DagFilter { tags: texts(&["x", "tag"]), ..f() }, "abcd"),
        (DagFilter { tags: texts(&["x"]), ..f() }, "bc"),
        (DagFilter { tags: texts(&["x", "tag"]), all_tags: true, ..f() }, "c"),
        (DagFilter { tags: texts(&["say \"x\""]), ..f() }, "c"),
        (DagFilter { tags: texts(&["X"]), ..f() }, ""),
        (DagFilter { all_tags: true, ..f() }, "abcd"),
        (DagFilter { owners: texts(&["ANN", "b_the%"]), ..f() }, "ab"),
        (DagFilter { owners: texts(&["AIR"]), ..f() }, "acd"),
        (DagFilter { owners: texts(&["a%w"]), ..f() }, ""),
        (DagFilter { bundle_name: text("other"), ..f() }, "b"),
        (DagFilter { bundle_version: text("v1"), ..f() }, "acd"),
        (DagFilter { has_import_errors: Some(true), ..f() }, "c"),
        (DagFilter { has_import_errors: Some(false), ..f() }, "abd"),
        (DagFilter { timetable_types: texts(&["NullTimetable", "x"]), ..f() }, "b"),
        (DagFilter { last_run_state: Some(DagRunState::Failed), ..f() }, "b"),
        (DagFilter { last_run_states: vec![None, Some(DagRunState::Running)], ..f() }, "cd"),
        (DagFilter { last_run_states: vec![Some(DagRunState::Success)], ..f() }, "a"),
        (DagFilter { last_run_start: span(Some(10), None, false), ..f() }, "ac"),
        (DagFilter { last_run_start: span(Some(11), None, true), ..f() }, "cd"),
        (DagFilter { last_run_end: span(None, Some(20), false), ..f() }, "a"),
        (DagFilter { last_run_end: span(Some(25), Some(90), true), ..f() }, "bcd"),
    ];
    for (filter, expected) in table {
        assert_eq!(dag_ids(store, &filter).concat(), expected, "{filter:?}");
    }
}

pub fn orders_of_dags(store: &dyn Store) {
    fill(store);
    let table = [
        (DagOrder::DagId, "abcd"),
        (DagOrder::DisplayName, "acdb"),
        (DagOrder::NextRun, "cabd"),
        (DagOrder::LastRunState, "bcad"),
        (DagOrder::LastRunStart, "bacd"),
    ];
    let all = |order: &[(DagOrder, Direction)], page| {
        let (dags, total) = store.dags(&DagFilter::default(), order, page).unwrap();
        assert_eq!(total, 4);
        dags.iter().map(|dag| dag.dag_id.as_str()).collect::<String>()
    };
    for (key, expected) in table {
        assert_eq!(all(&[(key, Direction::Ascending)], Page::ALL), expected, "{key:?}");
        let turned: String = expected.chars().rev().collect();
        assert_eq!(all(&[(key, Direction::Descending)], Page::ALL), turned, "{key:?}, turned round");
    }
    assert_eq!(all(&[(DagOrder::DisplayName, Direction::Descending)], Page { limit: 2, offset: 1 }), "dc");
}

pub fn lists_of_import_errors(store: &dyn Store) {
    let failed = |bundle: &str, seconds, name: &str, trace: &str| {
        let errors = vec![(name.to_owned(), trace.to_owned())];
        let failed = ImportedFile { bundle_name: bundle.into(), at: at(seconds), errors, ..file(name, Vec::new()) };
        Write::Imported(Box::new(failed))
    };
    store
        .commit(vec![
            failed("main", 3, "b/a.py", "z"),
            failed("other", 2, "A.py", "y"),
            failed("main", 1, "c_d.py", "x"),
        ])
        .unwrap();
    let names = |filter: &ImportErrorFilter, order: &[(ImportErrorOrder, Direction)], page| {
        let (errors, total) = store.list_import_errors(filter, order, page).unwrap();
        (errors.iter().map(|error| &*error.filename).collect::<Vec<_>>().join(" "), total)
    };
    let f = ImportErrorFilter::default;
    let pattern = |pattern: &str| TextFilter { pattern: text(pattern), prefix: None };
    let prefix = |prefix: &str| TextFilter { pattern: None, prefix: text(prefix) };
    let table = [
        (f(), "b/a.py A.py c_d.py"),
        (ImportErrorFilter { filename: text("A.py"), ..f() }, "A.py"),
        (ImportErrorFilter { filenames: pattern("a.PY"), ..f() }, "b/a.py A.py"),
        (ImportErrorFilter { filenames: pattern(r"\_|b/"), ..f() }, "b/a.py c_d.py"),
        (ImportErrorFilter { filenames: prefix("b/"), ..f() }, "b/a.py"),
        (ImportErrorFilter { bundle_name: text("main"), ..f() }, "b/a.py c_d.py"),
    ];
    for (filter, expected) in table {
        assert_eq!(names(&filter, &[], Page::ALL).0, expected, "{filter:?}");
    }
    let table = [
        (ImportErrorOrder::Id, "b/a.py A.py c_d.py"),
        (ImportErrorOrder::At, "c_d.py A.py b/a.py"),
        (ImportErrorOrder::Filename, "A.py b/a.py c_d.py"),
        (ImportErrorOrder::BundleName, "b/a.py c_d.py A.py"),
        (ImportErrorOrder::StackTrace, "c_d.py A.py b/a.py"),
    ];
    for (key, expected) in table {
        assert_eq!(names(&f(), &[(key, Direction::Ascending)], Page::ALL), (expected.to_owned(), 3), "{key:?}");
    }
    let newest = [(ImportErrorOrder::Id, Direction::Descending)];
    assert_eq!(names(&f(), &newest, Page { limit: 1, offset: 1 }), ("A.py".to_owned(), 3));
}

pub fn lists_of_versions_and_tags(store: &dyn Store) {
    fill(store);
    store.commit(vec![imported("a.py", vec![dag("a", 5, "other")])]).unwrap();
    let versions = |filter: VersionFilter, order: &[(VersionOrder, Direction)], page| {
        let (found, total) = store.versions(&filter, order, page).unwrap();
        let words: Vec<String> = found.iter().map(|head| format!("{}{}", head.dag_id, head.number)).collect();
        (words.join(" "), total)
    };
    let f = VersionFilter::default;
    let by = |order| [(order, Direction::Descending)];
    assert_eq!(versions(f(), &[], Page::ALL), ("a1 b1 c1 d1 a2".into(), 5));
    assert_eq!(versions(f(), &by(VersionOrder::Id), Page { limit: 2, offset: 1 }), ("d1 c1".into(), 5));
    assert_eq!(versions(f(), &by(VersionOrder::Number), Page { limit: 2, offset: 0 }).0, "a2 d1");
    assert_eq!(versions(f(), &by(VersionOrder::BundleName), Page { limit: 1, offset: 0 }).0, "b1");
    assert_eq!(versions(VersionFilter { dag_id: Some("a".into()), ..f() }, &[], Page::ALL).0, "a1 a2");
    assert_eq!(versions(VersionFilter { number: Some(2), ..f() }, &[], Page::ALL).0, "a2");
    assert_eq!(versions(VersionFilter { bundle_name: text("other"), ..f() }, &[], Page::ALL).0, "b1");
    assert_eq!(versions(VersionFilter { bundle_version: text("v1"), ..f() }, &[], Page::ALL).0, "a1 c1 d1 a2");

    let tags = |filter: TextFilter, direction, page| store.tags(&filter, direction, page).unwrap();
    let (up, down) = (Direction::Ascending, Direction::Descending);
    assert_eq!(tags(TextFilter::default(), up, Page::ALL), (texts(&["say \"x\"", "tag", "x", "y"]), 4));
    let page = Page { limit: 1, offset: 1 };
    assert_eq!(tags(TextFilter::default(), down, page), (texts(&["x"]), 4));
    assert_eq!(tags(TextFilter { pattern: text("X"), prefix: None }, up, Page::ALL).0, texts(&["say \"x\"", "x"]));
    assert_eq!(tags(TextFilter { pattern: None, prefix: text("ta") }, up, Page::ALL).0, texts(&["tag"]));
}
