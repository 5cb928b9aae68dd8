//! What pages show at a glance.

use model::{DagRun, DagRunState, DataInterval, MapIndex, TaskInstance, TaskState};
use serde_json::json;
use store::{DagCounts, DagFilter, Granularity, ImportedDag, RunsOfDate, Span, Store, Write};

use crate::fixtures::*;
use crate::hitl::{answer, asked, put, response};

const EVERYTHING: Span = Span { from: None, to: None, or_missing: false };
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

pub fn states_are_counted_up_to_a_bound(store: &dyn Store) {
    assert_eq!(store.states_within(EVERYTHING, 10).unwrap(), Default::default());
    let mut writes = Vec::new();
    let runs =
        [(0, DagRunState::Success), (10, DagRunState::Failed), (20, DagRunState::Success), (30, DagRunState::Queued)];
    for (seconds, state) in runs {
        let made = DagRun { state, run_after: at(seconds), ..run("d", &format!("r{seconds}")) };
        let tasks = [("a", TaskState::Success), ("b", TaskState::None), ("c", TaskState::Success)];
        writes.push(put_run(&made));
        let number = |at: usize| (seconds as u128) * 10 + at as u128 + 1;
        writes.extend(
            tasks
                .iter()
                .enumerate()
                .map(|(at, (name, state))| put_ti(&TaskInstance { state: *state, ..ti(&made.key, name, number(at)) })),
        );
    }
    store.commit(writes).unwrap();
    let counts = |span, most| {
        let mut found = store.states_within(span, most).unwrap();
        found.runs.sort();
        found.task_instances.sort();
        (found.runs, found.task_instances)
    };
    let all = counts(EVERYTHING, 100);
    assert_eq!(all.0, [(DagRunState::Queued, 1), (DagRunState::Success, 2), (DagRunState::Failed, 1)]);
    assert_eq!(all.1, [(TaskState::None, 4), (TaskState::Success, 8)]);
    let middle = counts(Span { from: some(10), to: some(20), or_missing: false }, 100);
    assert_eq!(middle.0, [(DagRunState::Success, 1), (DagRunState::Failed, 1)]);
    assert_eq!(middle.1, [(TaskState::None, 2), (TaskState::Success, 4)]);
    let bounded = counts(EVERYTHING, 3);
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    assert_eq!(sum(&bounded.0.iter().map(|(_, count)| *count).collect::<Vec<_>>()), 3);
    assert_eq!(sum(&bounded.1.iter().map(|(_, count)| *count).collect::<Vec<_>>()), 3);
}

pub fn dags_are_counted_by_what_they_do(store: &dyn Store) {
    assert_eq!(store.dag_counts().unwrap(), DagCounts::default());
    let awake = |name: &str, number| ImportedDag { paused_upon_creation: false, ..dag(name, number, "h") };
    let asleep = |name: &str, number| ImportedDag { paused_upon_creation: true, ..dag(name, number, "h") };
    let dated =
        |dag_id: &str, name: &str, seconds, state| put_run(&DagRun { state, ..dated_run(dag_id, name, seconds) });
    store
        .commit(vec![
            imported("f.py", vec![awake("a", 1), asleep("b", 2), awake("c", 3)]),
            imported("gone.py", vec![awake("gone", 4)]),
            imported("gone.py", Vec::new()),
            // The latest date counts, whichever was made last.
            dated("a", "late", 200, DagRunState::Failed),
            dated("a", "early", 100, DagRunState::Success),
            dated("b", "one", 100, DagRunState::Failed),
            dated("b", "two", 200, DagRunState::Running),
            put_run(&DagRun { state: DagRunState::Queued, ..run("b", "undated") }),
            put_run(&DagRun { state: DagRunState::Queued, ..run("b", "another") }),
            put_run(&DagRun { state: DagRunState::Failed, ..run("c", "undated") }),
            dated("gone", "one", 100, DagRunState::Running),
        ])
        .unwrap();
    assert_eq!(store.dag_counts().unwrap(), DagCounts { active: 2, failed: 1, running: 1, queued: 1 });
}

pub fn runs_are_counted_by_their_dates(store: &dyn Store) {
    let mut writes: Vec<Write> = [0, HOUR, HOUR + 1, DAY, 2 * DAY - 1, -DAY * 30_000 + 5]
        .iter()
        .map(|seconds| {
            put_run(&DagRun { state: DagRunState::Success, ..dated_run("d", &seconds.to_string(), *seconds) })
        })
        .collect();
    writes.push(put_run(&DagRun { state: DagRunState::Failed, ..dated_run("d", "failed", 5) }));
    writes.push(put_run(&DagRun { data_interval: None, ..dated_run("d", "no interval", 3 * DAY) }));
    writes.push(put_run(&run("d", "undated")));
    writes.push(put_run(&dated_run("other", "r", 0)));
    store.commit(writes).unwrap();
    let row = |date, state, count, last: Option<i64>| RunsOfDate {
        date: at(date),
        state,
        count,
        interval: last.map(|start| DataInterval { start: at(start), end: at(start + 60) }),
    };
    let (good, bad, open) = (DagRunState::Success, DagRunState::Failed, DagRunState::Running);
    let long_ago = row(-DAY * 30_000, good, 1, Some(-DAY * 30_000 + 5));
    assert_eq!(
        store.runs_by_date(&"d".into(), EVERYTHING, Granularity::Day).unwrap(),
        [
            long_ago,
            row(0, bad, 1, Some(5)),
            row(0, good, 3, Some(HOUR + 1)),
            row(DAY, good, 2, Some(2 * DAY - 1)),
            row(3 * DAY, open, 1, None),
        ]
    );
    let span = Span { from: some(0), to: some(DAY), or_missing: false };
    assert_eq!(
        store.runs_by_date(&"d".into(), span, Granularity::Hour).unwrap(),
        [
            row(0, bad, 1, Some(5)),
            row(0, good, 1, Some(0)),
            row(HOUR, good, 2, Some(HOUR + 1)),
            row(DAY, good, 1, Some(DAY))
        ]
    );
    assert_eq!(store.runs_by_date(&"nothing".into(), EVERYTHING, Granularity::Day).unwrap(), []);
}

pub fn dependencies_are_those_of_the_newest_versions(store: &dyn Store) {
    let with = |name: &str, number, hash: &str, found: serde_json::Value| ImportedDag {
        serialized: json!({"dag": {"dag_dependencies": found}}),
        ..dag(name, number, hash)
    };
    store
        .commit(vec![
            imported("b.py", vec![with("b", 1, "h", json!([{"source": "old"}]))]),
            imported(
                "a.py",
                vec![with("a", 2, "h", json!([])), ImportedDag { serialized: json!({"dag": {}}), ..dag("c", 3, "h") }],
            ),
            imported("gone.py", vec![with("gone", 4, "h", json!([1]))]),
            imported("gone.py", Vec::new()),
            imported("b.py", vec![with("b", 5, "other", json!([{"source": "new", "label": "é"}]))]),
        ])
        .unwrap();
    let expected = [("a".into(), json!([])), ("b".into(), json!([{"source": "new", "label": "é"}]))];
    assert_eq!(store.dag_dependencies().unwrap(), expected);
}

pub fn notes_and_numbers_of_a_run(store: &dyn Store) {
    let (one, two) = (run("d", "one"), run("d", "two"));
    let mapped = TaskInstance { map_index: MapIndex(3), ..ti(&one.key, "m", 1) };
    let note = |ti: &TaskInstance| Write::TaskNote { ti: ti.key(), note: Some("n".into()) };
    let other = ti(&two.key, "t", 3);
    store
        .commit(vec![
            put_run(&one),
            put_run(&two),
            put_ti(&mapped),
            put_ti(&ti(&one.key, "a", 2)),
            put_ti(&other),
            note(&mapped),
            note(&other),
        ])
        .unwrap();
    assert_eq!(store.noted_task_instances(&one.key).unwrap(), [("m".into(), MapIndex(3))]);
    assert_eq!(store.noted_task_instances(&run_key("d", "nothing")).unwrap(), []);
    let numbers = store.run_numbers(&[two.key.clone(), run_key("d", "nothing"), one.key.clone()]).unwrap();
    assert!(numbers.len() == 2 && numbers[0] > numbers[1], "{numbers:?}");
    store.commit(vec![put_run(&two)]).unwrap();
    assert_eq!(store.run_numbers(&[two.key]).unwrap(), numbers[..1]);
}

pub fn dags_that_wait_for_people(store: &dyn Store) {
    let (waiting, answered, failed) = (run("a", "r"), run("b", "r"), run("c", "r"));
    let in_state = |run: &DagRun, id, state| put_ti(&TaskInstance { state, ..ti(&run.key, "t", id) });
    let key = |run: &DagRun| ti_key(&run.key, "t");
    store
        .commit(vec![
            imported("f.py", vec![dag("a", 1, "h"), dag("b", 2, "h"), dag("c", 3, "h"), dag("d", 4, "h")]),
            put_run(&waiting),
            put_run(&answered),
            put_run(&failed),
            in_state(&waiting, 1, TaskState::AwaitingInput),
            in_state(&answered, 2, TaskState::AwaitingInput),
            in_state(&failed, 3, TaskState::Failed),
            put(&asked(&key(&waiting), "?", 1)),
            put(&asked(&key(&answered), "?", 1)),
            put(&asked(&key(&failed), "?", 1)),
            answer(&key(&answered), &response(None, 2), false),
        ])
        .unwrap();
    let of = |awaits| dag_ids(store, &DagFilter { awaits_people: Some(awaits), ..DagFilter::default() });
    assert_eq!(of(true), ["a"]);
    assert_eq!(of(false), ["b", "c", "d"]);
}
