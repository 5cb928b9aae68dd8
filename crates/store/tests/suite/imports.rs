//! Files and the Dags in them.

use model::{Change, DagRunState, DagSchedule, DataInterval, timetable::NextRun};
use serde_json::json;
use store::{BundleRecord, DagFilter, ImportedDag, ImportedFile, Page, Store, Write};

use crate::fixtures::*;

fn failed(path: &str, dags: Vec<ImportedDag>, errors: &[(&str, &str)]) -> Write {
    let errors = errors.iter().map(|(name, trace)| (name.to_string(), trace.to_string())).collect();
    Write::Imported(Box::new(ImportedFile { errors, at: at(200), ..file(path, dags) }))
}

fn errors(store: &dyn Store) -> Vec<(String, String)> {
    let (errors, total) = store.import_errors(Page::ALL).unwrap();
    assert_eq!(errors.len() as u64, total);
    for error in &errors {
        assert_eq!(store.import_error(error.id).unwrap().as_ref(), Some(error));
    }
    errors.into_iter().map(|error| (error.filename, error.stack_trace)).collect()
}

fn fresh(store: &dyn Store) -> Vec<String> {
    dag_ids(store, &DagFilter { exclude_stale: true, ..DagFilter::default() })
}

pub fn a_version_is_made_only_on_change(store: &dyn Store) {
    store.commit(vec![imported("d.py", vec![dag("d", 1, "h1")])]).unwrap();
    let first = store.latest_version(&"d".into()).unwrap().unwrap();
    assert_eq!((first.id, first.number, &*first.hash), (version(1), 1, "h1"));
    assert_eq!((&*first.bundle_name, first.bundle_version.as_deref()), ("dags-folder", Some("v1")));
    assert_eq!(
        (&first.serialized, &first.extras),
        (&json!({"dag": {"dag_id": "d", "hash": "h1"}}), &json!({"native": ["a"]}))
    );
    assert_eq!((first.created_at, &first.dag_id), (at(100), &"d".into()));

    store.commit(vec![imported("d.py", vec![dag("d", 2, "h1")])]).unwrap();
    assert_eq!(store.latest_version(&"d".into()).unwrap(), Some(first.clone()));
    assert_eq!(the_dag(store, "d").version, version(1));
    assert_eq!(store.version(version(2)).unwrap(), None);

    store.commit(vec![imported("d.py", vec![dag("d", 3, "h2")])]).unwrap();
    let second = store.latest_version(&"d".into()).unwrap().unwrap();
    assert_eq!((second.id, second.number, the_dag(store, "d").version), (version(3), 2, version(3)));
    assert_eq!(store.version(version(1)).unwrap(), Some(first.clone()), "old versions stay");

    // What was there before is new again, and so is the same structure from another bundle.
    store.commit(vec![imported("d.py", vec![dag("d", 4, "h1")])]).unwrap();
    let moved = ImportedFile { bundle_name: "other".into(), ..file("d.py", vec![dag("d", 5, "h1")]) };
    store.commit(vec![Write::Imported(Box::new(moved))]).unwrap();
    assert_eq!(store.version_head(version(5)).unwrap().unwrap().bundle_name, "other");
    store.commit(vec![imported("d.py", vec![dag("d", 6, "h1")])]).unwrap();
    let last = store.version_head(version(6)).unwrap().unwrap();
    assert_eq!((last.number, last.bundle_version.as_deref(), &last.dag_id), (5, Some("v1"), &"d".into()));
    assert_eq!((last.created_at, &*last.bundle_name, last.id), (at(100), "dags-folder", version(6)));
    assert_eq!(store.version_head(version(9)).unwrap(), None);
    assert_eq!(store.latest_version(&"other".into()).unwrap(), None);
}

pub fn a_newer_version_of_a_bundle_makes_no_version_of_its_dags(store: &dyn Store) {
    let found =
        |version: u128, commit: &str| ImportedDag { bundle_version: Some(commit.into()), ..dag("d", version, "h") };
    store.commit(vec![imported("d.py", vec![found(1, "c1")]), imported("e.py", vec![dag("e", 2, "h")])]).unwrap();
    store.commit(vec![imported("d.py", vec![found(3, "c2")])]).unwrap();
    let of = |id: u128| store.version_head(version(id)).unwrap().unwrap();
    assert_eq!((of(1).number, of(1).bundle_version.as_deref()), (1, Some("c2")), "the structure is the same");
    assert_eq!(store.version_head(version(3)).unwrap(), None);

    // An older structure stays with the code that it is from.
    store.commit(vec![imported("d.py", vec![ImportedDag { hash: "h2".into(), ..found(4, "c3") }])]).unwrap();
    let files = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<Vec<String>>();
    let advanced = |name: &str, commit: Option<&str>, names: &[&str]| Write::BundleAdvanced {
        bundle_name: name.into(),
        bundle_version: commit.map(Into::into),
        files: files(names),
    };
    store.commit(vec![advanced("dags-folder", Some("c4"), &["d.py", "none.py"])]).unwrap();
    assert_eq!((of(1).bundle_version.as_deref(), of(4).bundle_version.as_deref()), (Some("c2"), Some("c4")));
    assert_eq!((the_dag(store, "d").bundle_version.as_deref(), the_dag(store, "d").version), (Some("c4"), version(4)));
    assert_eq!(
        (of(2).bundle_version.as_deref(), the_dag(store, "e").bundle_version.as_deref()),
        (Some("v1"), Some("v1"))
    );
    store.commit(vec![advanced("other", Some("c5"), &["d.py"])]).unwrap();
    assert_eq!(the_dag(store, "d").bundle_version.as_deref(), Some("c4"), "that is a file of another bundle");
    store.commit(vec![imported("d.py", vec![]), advanced("dags-folder", None, &["d.py", "e.py"])]).unwrap();
    assert_eq!(the_dag(store, "d").bundle_version.as_deref(), Some("c4"), "it is in no file any more");
    assert_eq!((of(2).bundle_version, the_dag(store, "e").bundle_version), (None, None));
}

pub fn bundles_are_as_they_were_fetched_last(store: &dyn Store) {
    assert_eq!(store.bundle("b").unwrap(), None);
    let plain = BundleRecord { name: "b".into(), ..BundleRecord::default() };
    store.commit(vec![Write::Bundle(Box::new(plain.clone()))]).unwrap();
    assert_eq!(store.bundle("b").unwrap(), Some(plain));
    let full = BundleRecord {
        name: "b".into(),
        version: Some("abc".into()),
        version_path: Some("/b/versions/abc".into()),
        url: Some("https://x/{version}".into()),
        url_params: [("subdir".to_owned(), "dags \"x\"".to_owned())].into(),
    };
    store.commit(vec![Write::Bundle(Box::new(full.clone()))]).unwrap();
    assert_eq!(store.bundle("b").unwrap(), Some(full));
    assert_eq!(store.bundle("other").unwrap(), None);
}

pub fn what_people_and_the_scheduler_decided_is_kept(store: &dyn Store) {
    store.commit(vec![imported("d.py", vec![dag("d", 1, "h")])]).unwrap();
    let new = the_dag(store, "d");
    assert!(new.paused, "as the file says of a Dag that is new");
    assert_eq!((new.schedule, new.last_run_state), (DagSchedule::default(), None));

    let interval = DataInterval { start: at(1), end: at(2) };
    let schedule = DagSchedule {
        next_run: Some(NextRun { run_after: at(3), data_interval: interval }),
        last_interval: Some(interval),
    };
    let ended = model::DagRun { state: DagRunState::Success, end_date: some(7), ..run("d", "r") };
    store
        .commit(vec![
            Write::Decision(Change::Paused { dag_id: "d".into(), paused: false }),
            Write::Decision(Change::Schedule { dag_id: "d".into(), schedule: Box::new(schedule.clone()) }),
            put_run(&ended),
        ])
        .unwrap();
    let changed = ImportedDag {
        display_name: "Another".into(),
        description: None,
        owners: vec!["a".into(), "b\"c".into()],
        tags: Vec::new(),
        timetable_summary: None,
        allowed_run_types: None,
        facts: json!({"new": 1}),
        ..dag("d", 2, "h2")
    };
    store.commit(vec![imported("d.py", vec![changed])]).unwrap();
    let dag = the_dag(store, "d");
    assert!(!dag.paused);
    assert_eq!(dag.schedule, schedule);
    assert_eq!((dag.last_run_state, dag.last_run_start), (Some(DagRunState::Success), some(2)));
    assert_eq!(dag.last_run_end, some(7));
    assert_eq!((&*dag.display_name, dag.description, dag.timetable_summary), ("Another", None, None));
    assert_eq!((dag.owners, dag.tags), (vec!["a".to_owned(), "b\"c".to_owned()], Vec::new()));
    assert_eq!((dag.allowed_run_types, dag.facts, dag.version), (None, json!({"new": 1}), version(2)));
    assert_eq!((dag.last_parsed_at, dag.last_parse_duration.as_millis()), (at(100), 250));
    assert_eq!((dag.max_active_tasks, dag.max_active_runs, dag.max_consecutive_failed_dag_runs), (16, 2, 5));
    assert!(dag.has_task_concurrency_limits && !dag.has_import_errors && !dag.stale);
    assert_eq!((&*dag.bundle_name, &*dag.relative_fileloc, &*dag.fileloc), ("dags-folder", "d.py", "/dags/d.py"));

    let files = store.files().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!((&*files[0].bundle_name, &*files[0].relative_fileloc), ("dags-folder", "d.py"));
    assert_eq!((&files[0].fingerprint, &files[0].dag_ids), (&json!({"hash": "abc"}), &vec!["d".into()]));
    assert_eq!((files[0].imported_at, files[0].duration.as_millis()), (at(100), 250));
}

pub fn dags_that_left_their_file_are_stale(store: &dyn Store) {
    store
        .commit(vec![
            imported("f.py", vec![dag("a", 1, "h"), dag("b", 2, "h")]),
            imported("g.py", vec![dag("c", 3, "h")]),
        ])
        .unwrap();
    store.commit(vec![imported("f.py", vec![dag("b", 4, "h")])]).unwrap();
    assert_eq!(fresh(store), ["b", "c"]);
    assert!(the_dag(store, "a").stale, "it is still known");
    store.commit(vec![imported("f.py", vec![dag("a", 5, "h")])]).unwrap();
    assert_eq!(fresh(store), ["a", "c"]);
    assert_eq!(the_dag(store, "a").version, version(1), "and comes back as it was");
}

pub fn a_file_that_fails_keeps_its_last_good_dags(store: &dyn Store) {
    store.commit(vec![imported("f.py", vec![dag("a", 1, "h"), dag("b", 2, "h")])]).unwrap();
    let before = the_dag(store, "a");
    store.commit(vec![failed("f.py", vec![dag("b", 3, "h2")], &[("f.py", "line 1")])]).unwrap();
    assert_eq!(fresh(store), ["a", "b"]);
    assert_eq!(the_dag(store, "a"), store::DagRecord { has_import_errors: true, ..before });
    assert!(the_dag(store, "b").has_import_errors);
    assert_eq!(the_dag(store, "b").version, version(3));
    store.commit(vec![imported("f.py", vec![dag("b", 4, "h2")])]).unwrap();
    assert_eq!(fresh(store), ["b"]);
    assert!(!the_dag(store, "a").has_import_errors && !the_dag(store, "b").has_import_errors);
    assert_eq!(errors(store), []);
}

pub fn a_dag_that_is_new_in_a_file_with_errors_is_stale_until_they_are_gone(store: &dyn Store) {
    let unproven = |dag_id, number, hash| ImportedDag { unproven: true, ..dag(dag_id, number, hash) };
    store.commit(vec![imported("f.py", vec![dag("old", 1, "h")])]).unwrap();
    let both = vec![unproven("old", 2, "h2"), unproven("new", 3, "h")];
    store.commit(vec![failed("f.py", both, &[("f.py", "a cycle")])]).unwrap();
    assert_eq!(fresh(store), ["old"]);
    assert_eq!(the_dag(store, "old").version, version(2));
    assert!(the_dag(store, "new").stale && the_dag(store, "new").has_import_errors);
    store.commit(vec![imported("f.py", vec![dag("old", 4, "h2"), dag("new", 5, "h")])]).unwrap();
    assert_eq!(fresh(store), ["new", "old"]);
    // One that has left its file and comes back with errors is as one that is new.
    store.commit(vec![imported("f.py", vec![dag("old", 6, "h2")])]).unwrap();
    let both = vec![unproven("old", 7, "h2"), unproven("new", 8, "h")];
    store.commit(vec![failed("f.py", both, &[("f.py", "a cycle")])]).unwrap();
    assert_eq!(fresh(store), ["old"]);
}

pub fn a_file_that_is_gone_takes_its_dags_along(store: &dyn Store) {
    let gone = |path: &str| Write::FileGone { bundle_name: "dags-folder".into(), relative_fileloc: path.into() };
    let member = ImportedDag { relative_fileloc: "z.zip/a.py".into(), ..dag("a", 1, "h") };
    store
        .commit(vec![
            failed("z.zip", vec![member], &[("z.zip/b.py", "broken")]),
            failed("g.py", vec![dag("c", 2, "h")], &[("g.py", "broken too")]),
        ])
        .unwrap();
    assert_eq!(the_dag(store, "a").relative_fileloc, "z.zip/a.py");
    store.commit(vec![gone("z.zip"), gone("never.py")]).unwrap();
    assert_eq!(fresh(store), ["c"]);
    assert_eq!(errors(store), [("g.py".to_owned(), "broken too".to_owned())]);
    assert_eq!(store.files().unwrap().len(), 1);
}

pub fn a_dag_moves_to_the_file_that_had_it_last(store: &dyn Store) {
    store.commit(vec![imported("old.py", vec![dag("d", 1, "h")])]).unwrap();
    store.commit(vec![imported("new.py", vec![dag("d", 2, "h")])]).unwrap();
    store.commit(vec![imported("old.py", Vec::new())]).unwrap();
    assert_eq!(fresh(store), ["d"]);
    store.commit(vec![imported("new.py", Vec::new())]).unwrap();
    assert_eq!(fresh(store), [""; 0]);
    // A folder of the same name in another bundle is another one.
    let other = ImportedFile { bundle_name: "other".into(), ..file("new.py", vec![dag("e", 3, "h")]) };
    store.commit(vec![Write::Imported(Box::new(other)), imported("new.py", Vec::new())]).unwrap();
    assert_eq!(fresh(store), ["e"]);
}

pub fn errors_are_replaced(store: &dyn Store) {
    store
        .commit(vec![
            failed("z.zip", Vec::new(), &[("z.zip/a.py", "1"), ("z.zip/b.py", "2")]),
            failed("g.py", Vec::new(), &[("g.py", "3")]),
        ])
        .unwrap();
    let (first, _) = store.import_errors(Page::ALL).unwrap();
    store.commit(vec![failed("z.zip", Vec::new(), &[("z.zip/b.py", "4")])]).unwrap();
    assert_eq!(errors(store), [("g.py".into(), "3".into()), ("z.zip/b.py".into(), "4".into())]);
    let (second, _) = store.import_errors(Page::ALL).unwrap();
    assert!(first.iter().all(|old| old.id < second[1].id), "an id is never used again");
    assert_eq!(store.import_error(first[0].id).unwrap(), None);
    assert_eq!((second[1].at, &*second[1].bundle_name), (at(200), "dags-folder"));
}

pub fn the_last_run_is_the_one_made_last(store: &dyn Store) {
    let last = |store: &dyn Store| (the_dag(store, "d").last_run_state, the_dag(store, "d").last_run_start);
    store.commit(vec![imported("d.py", vec![dag("d", 1, "h")])]).unwrap();
    let newer = dated_run("d", "newer", 100);
    // Made later, though it is about an earlier date.
    let made_last = model::DagRun { state: DagRunState::Queued, start_date: None, ..dated_run("d", "older", 50) };
    store.commit(vec![put_run(&newer)]).unwrap();
    assert_eq!(last(store), (Some(DagRunState::Running), some(2)));
    store.commit(vec![put_run(&made_last)]).unwrap();
    assert_eq!(last(store), (Some(DagRunState::Queued), None));
    store.commit(vec![put_run(&model::DagRun { state: DagRunState::Failed, ..newer })]).unwrap();
    assert_eq!(last(store), (Some(DagRunState::Queued), None));
    store
        .commit(vec![put_run(&model::DagRun { state: DagRunState::Success, start_date: some(9), ..made_last })])
        .unwrap();
    assert_eq!(last(store), (Some(DagRunState::Success), some(9)));
}

pub fn warnings_last_until_the_next_import(store: &dyn Store) {
    let warn = |dag_id: &str, warning: Option<&str>, seconds: i64| {
        let change = Change::DagWarning { dag_id: dag_id.into(), warning: warning.map(str::to_owned), at: at(seconds) };
        store.commit(vec![Write::Decision(change)]).unwrap();
    };
    let warnings = || -> Vec<(String, String, jiff::Timestamp)> {
        let warnings = store.dag_warnings().unwrap().into_iter();
        warnings.map(|warning| (warning.dag_id.to_string(), warning.message, warning.at)).collect()
    };
    let of = |dag_id: &str, message: &str, seconds: i64| (dag_id.to_owned(), message.to_owned(), at(seconds));
    store.commit(vec![imported("d.py", vec![dag("d", 1, "h"), dag("c", 2, "h")])]).unwrap();
    warn("d", Some("one"), 1);
    warn("c", Some("two"), 2);
    warn("nowhere", Some("three"), 3);
    assert_eq!(warnings(), [of("c", "two", 2), of("d", "one", 1)]);
    warn("d", Some("another"), 4);
    warn("c", None, 5);
    assert_eq!(warnings(), [of("d", "another", 4)]);
    store.commit(vec![imported("d.py", vec![dag("c", 2, "h")])]).unwrap();
    assert_eq!(warnings(), [], "its Dag is in no file");
    store.commit(vec![imported("d.py", vec![dag("d", 1, "h"), dag("c", 2, "h")])]).unwrap();
    assert_eq!(warnings(), [], "whoever said it says it again if it is still so");
    warn("d", Some("one"), 6);
    store.commit(vec![Write::Decision(Change::DagDeleted("d".into()))]).unwrap();
    store.commit(vec![imported("d.py", vec![dag("d", 3, "h")])]).unwrap();
    assert_eq!(warnings(), []);
}
