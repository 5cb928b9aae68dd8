//! Lists of task instances: each filter with what it must find, each order with the order it must give.

use model::{DagRun, MapIndex, TaskInstance, TaskState};
use store::{Direction, DurationRange, Page, Span, Store, TaskInstanceFilter, TaskInstanceOrder};

use crate::fixtures::*;

fn fill(store: &dyn Store) {
    let first = dated_run("alpha", "scheduled__1", 100);
    let second = DagRun { run_after: at(50), ..run("beta", "manual__2") };
    let a = TaskInstance {
        state: TaskState::Success,
        end_date: some(20),
        rendered_map_index: None,
        ..ti(&first.key, "extract", 1)
    };
    let b = TaskInstance {
        map_index: MapIndex(3),
        state: TaskState::Failed,
        try_number: 2,
        start_date: some(14),
        end_date: some(15),
        pool: "Big_Pool".into(),
        queue: "gpu".into(),
        executor: Some("KubernetesExecutor".into()),
        rendered_map_index: None,
        version: version(2),
        ..ti(&first.key, "load", 2)
    };
    let c = TaskInstance {
        map_index: MapIndex(0),
        operator: "PythonOperator".into(),
        operator_name: "@Task".into(),
        rendered_map_index: Some("Zurich".into()),
        version: version(99),
        ..ti(&second.key, "load", 3)
    };
    let d = TaskInstance {
        state: TaskState::None,
        try_number: 0,
        executor: None,
        scheduled_at: None,
        queued_at: None,
        start_date: None,
        rendered_map_index: None,
        ..ti(&second.key, "Notify_all", 4)
    };
    store
        .commit(vec![
            imported("alpha.py", vec![dag("alpha", 1, "h1")]),
            imported("alpha.py", vec![dag("alpha", 2, "h2")]),
            put_run(&first),
            put_run(&second),
        ])
        .unwrap();
    store.commit([c, a, d, b].iter().map(put_ti).collect()).unwrap();
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn span(from: Option<i64>, to: Option<i64>, or_missing: bool) -> Span {
    Span { from: from.map(at), to: to.map(at), or_missing }
}

fn letters(found: &[TaskInstance]) -> String {
    found.iter().map(|ti| char::from(b'a' - 1 + ti.id.0.as_u128() as u8)).collect()
}

pub fn filters_of_task_instances(store: &dyn Store) {
    fill(store);
    let f = TaskInstanceFilter::default;
    let seconds = |from: Option<i64>, to: Option<i64>| DurationRange {
        from_micros: from.map(|seconds| seconds * 1_000_000),
        to_micros: to.map(|seconds| seconds * 1_000_000),
    };
    let table = [
        (f(), "abcd"),
        (TaskInstanceFilter { dag_id: Some("alpha".into()), ..f() }, "ab"),
        (TaskInstanceFilter { dag_id: Some("none".into()), ..f() }, ""),
        (TaskInstanceFilter { dag_id_pattern: text("ET"), ..f() }, "cd"),
        (TaskInstanceFilter { dag_id_prefix: text("al"), ..f() }, "ab"),
        (TaskInstanceFilter { run_id: Some("manual__2".into()), ..f() }, "cd"),
        (TaskInstanceFilter { run_id_pattern: text("SCHED"), ..f() }, "ab"),
        (TaskInstanceFilter { run_id_prefix: text("manual"), ..f() }, "cd"),
        (TaskInstanceFilter { task_ids: texts(&["load", "extract"]), ..f() }, "abc"),
        (TaskInstanceFilter { task_id_pattern: text("_ALL | xtr"), ..f() }, "ad"),
        (TaskInstanceFilter { task_id_prefix: text("Notify_|ex"), ..f() }, "ad"),
        (TaskInstanceFilter { task_id_prefix: text("notify"), ..f() }, ""),
        (TaskInstanceFilter { states: vec![TaskState::None], ..f() }, "d"),
        (TaskInstanceFilter { states: vec![TaskState::Success, TaskState::Failed], ..f() }, "ab"),
        (TaskInstanceFilter { states: vec![TaskState::Running, TaskState::None], ..f() }, "cd"),
        (TaskInstanceFilter { dag_id: Some("beta".into()), states: vec![TaskState::Running], ..f() }, "c"),
        (TaskInstanceFilter { dag_id: Some("alpha".into()), states: vec![TaskState::Running], ..f() }, ""),
        (TaskInstanceFilter { pools: texts(&["Big_Pool", "x"]), ..f() }, "b"),
        (TaskInstanceFilter { pool_pattern: text("big"), ..f() }, "b"),
        (TaskInstanceFilter { pool_prefix: text("def"), ..f() }, "acd"),
        (TaskInstanceFilter { queues: texts(&["gpu"]), ..f() }, "b"),
        (TaskInstanceFilter { queue_pattern: text("G_U"), ..f() }, "b"),
        (TaskInstanceFilter { queue_prefix: text("g"), ..f() }, "b"),
        (TaskInstanceFilter { executors: texts(&["LocalExecutor"]), ..f() }, "ac"),
        (TaskInstanceFilter { executors: texts(&["LocalExecutor", "KubernetesExecutor"]), ..f() }, "abc"),
        (TaskInstanceFilter { operators: texts(&["PythonOperator"]), ..f() }, "c"),
        (TaskInstanceFilter { operator_name_pattern: text("TASK"), ..f() }, "abcd"),
        (TaskInstanceFilter { operator_name_prefix: text("@task"), ..f() }, "abd"),
        (TaskInstanceFilter { version_numbers: vec![1], ..f() }, "ad"),
        (TaskInstanceFilter { version_numbers: vec![1, 2], ..f() }, "abd"),
        (TaskInstanceFilter { try_numbers: vec![0, 2], ..f() }, "bd"),
        (TaskInstanceFilter { map_index: Some(-1), ..f() }, "ad"),
        (TaskInstanceFilter { map_indexes: vec![0, 3, 7], ..f() }, "bc"),
        (TaskInstanceFilter { mapped_only: true, ..f() }, "bc"),
        (TaskInstanceFilter { rendered_map_index_pattern: text("3|ZUR"), ..f() }, "bc"),
        (TaskInstanceFilter { rendered_map_index_pattern: text("0"), ..f() }, ""),
        (TaskInstanceFilter { rendered_map_index_prefix: text("Z"), ..f() }, "c"),
        (TaskInstanceFilter { rendered_map_index_prefix: text(""), ..f() }, "bc"),
        (TaskInstanceFilter { start_date: span(Some(13), None, false), ..f() }, "b"),
        (TaskInstanceFilter { start_date: span(Some(13), None, true), ..f() }, "bd"),
        (TaskInstanceFilter { end_date: span(None, Some(15), false), ..f() }, "b"),
        (TaskInstanceFilter { end_date: span(Some(16), None, true), ..f() }, "acd"),
        (TaskInstanceFilter { logical_date: span(Some(100), Some(100), false), ..f() }, "ab"),
        (TaskInstanceFilter { run_after: span(None, Some(60), false), ..f() }, "cd"),
        (TaskInstanceFilter { updated_at: span(Some(15), None, false), ..f() }, "ab"),
        (TaskInstanceFilter { updated_at: span(None, Some(12), false), ..f() }, "c"),
        (TaskInstanceFilter { duration: seconds(Some(1), Some(1)), ..f() }, "b"),
        (TaskInstanceFilter { duration: seconds(Some(2), None), ..f() }, "a"),
    ];
    for (filter, expected) in table {
        let (found, total) = store.task_instances(&filter, &[], Page::ALL).unwrap();
        assert_eq!((&*letters(&found), total), (expected, expected.len() as u64), "{filter:?}");
    }
    // More values than a query's text should hold.
    let many: Vec<String> = (0..50_000).map(|number| format!("task{number}")).chain(texts(&["load"])).collect();
    let filter = TaskInstanceFilter { task_ids: many, try_numbers: (0..2000).collect(), ..f() };
    assert_eq!(letters(&store.task_instances(&filter, &[], Page::ALL).unwrap().0), "bc");
}

pub fn orders_of_task_instances(store: &dyn Store) {
    fill(store);
    let table = [
        (TaskInstanceOrder::Id, "abcd"),
        (TaskInstanceOrder::State, "bcad"),
        (TaskInstanceOrder::Duration, "bacd"),
        (TaskInstanceOrder::StartDate, "acbd"),
        (TaskInstanceOrder::EndDate, "bacd"),
        (TaskInstanceOrder::MapIndex, "adcb"),
        (TaskInstanceOrder::TaskId, "dabc"),
        (TaskInstanceOrder::RunAfter, "cdab"),
        (TaskInstanceOrder::LogicalDate, "abcd"),
        (TaskInstanceOrder::TryNumber, "dacb"),
        (TaskInstanceOrder::IntervalStart, "abcd"),
        (TaskInstanceOrder::IntervalEnd, "abcd"),
        (TaskInstanceOrder::RenderedMapIndex, "cadb"),
        (TaskInstanceOrder::Operator, "abdc"),
    ];
    let all = |order: &[(TaskInstanceOrder, Direction)]| {
        letters(&store.task_instances(&TaskInstanceFilter::default(), order, Page::ALL).unwrap().0)
    };
    for (key, expected) in table {
        assert_eq!(all(&[(key, Direction::Ascending)]), expected, "{key:?}");
        let turned: String = expected.chars().rev().collect();
        assert_eq!(all(&[(key, Direction::Descending)]), turned, "{key:?}, turned round");
    }
    let order =
        [(TaskInstanceOrder::TaskId, Direction::Descending), (TaskInstanceOrder::MapIndex, Direction::Ascending)];
    assert_eq!(all(&order), "cbad");
    let page = Page { limit: 2, offset: 1 };
    let (found, total) = store.task_instances(&TaskInstanceFilter::default(), &order, page).unwrap();
    assert_eq!((&*letters(&found), total), ("ba", 4));
}
