//! Batches: whole or not at all, alone or with others.

use std::sync::Barrier;

use model::{AssetKey, Change, DagSchedule, DataInterval, TaskState};
use store::{RunFilter, Store, StoreError, TaskInstanceFilter, Write};

use crate::fixtures::*;

pub fn a_batch_is_written_whole_or_not_at_all(store: &dyn Store) {
    let first = run("d", "first");
    store
        .commit(vec![imported("d.py", vec![dag("d", 1, "h")]), put_run(&first), put_ti(&ti(&first.key, "t", 1))])
        .unwrap();
    let before = (the_dag(store, "d"), store.task_instances_of(&first.key).unwrap());

    // One of everything, and at its end something that can't be.
    let second = run("d", "second");
    let schedule = DagSchedule { last_interval: Some(DataInterval::exact(at(1))), next_run: None };
    let failed = store.commit(vec![
        put_run(&second),
        put_ti(&ti(&second.key, "t", 2)),
        put_ti(&model::TaskInstance { state: TaskState::Failed, ..ti(&first.key, "t", 1) }),
        Write::Decision(Change::ArchivedTry(Box::new(ti(&first.key, "t", 3)))),
        Write::Decision(Change::Schedule { dag_id: "d".into(), schedule: Box::new(schedule) }),
        Write::Decision(Change::Paused { dag_id: "d".into(), paused: false }),
        put_xcom(&xcom(&first.key, "t", "k")),
        Write::RenderedFields { key: ti_key(&first.key, "t"), fields: serde_json::json!({"a": 1}) },
        Write::Rescheduled { key: ti_key(&first.key, "t"), try_number: 1, start: at(1), end: at(2), until: at(3) },
        Write::RunNote { run: first.key.clone(), note: Some("lost".into()) },
        imported("d.py", vec![dag("d", 9, "other"), dag("e", 10, "h")]),
        Write::Variable(variable("v", "1")),
        Write::Connection(Box::new(connection("c"))),
        Write::Pool(pool("p")),
        put_ti(&ti(&run_key("d", "nowhere"), "t", 4)),
    ]);
    assert!(matches!(failed, Err(StoreError::Missing { .. })), "{failed:?}");
    assert_eq!((the_dag(store, "d"), store.task_instances_of(&first.key).unwrap()), before);
    assert_eq!(run_ids(store, &RunFilter::default()), ["first"]);
    assert_eq!(task_ids(store, &TaskInstanceFilter::default()), ["t"], "and the count has not moved");
    assert_eq!(store.archived_tries(&ti_key(&first.key, "t")).unwrap(), []);
    assert_eq!(store.xcom(&xcom_key(&first.key, "t", "k")).unwrap(), None);
    assert_eq!(store.rendered_fields(&ti_key(&first.key, "t")).unwrap(), None);
    assert_eq!(store.reschedules(&ti_key(&first.key, "t")).unwrap(), (0, None));
    assert_eq!(store.run(&first.key).unwrap().unwrap().note, None);
    assert_eq!(store.latest_version(&"d".into()).unwrap().unwrap().number, 1);
    assert_eq!(store.dag(&"e".into()).unwrap(), None);
    assert_eq!(
        (store.variable("v").unwrap(), store.connection("c").unwrap(), store.pool("p").unwrap()),
        (None, None, None)
    );

    // What the failed batch had to do with is as good as new.
    store.commit(vec![put_run(&second), put_ti(&ti(&second.key, "t", 2))]).unwrap();
    assert_eq!(run_ids(store, &RunFilter::default()), ["first", "second"]);
    store.commit(Vec::new()).unwrap();
}

pub fn a_batch_that_fails_takes_nothing_of_others_with_it(store: &dyn Store) {
    const THREADS: usize = 8;
    const ROUNDS: usize = 25;
    store.commit(vec![put_run(&run("d", "r"))]).unwrap();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for round in 0..ROUNDS {
                    let name = format!("{thread}-{round}");
                    let mut batch = vec![Write::NewVariable(variable(&name, "1")), Write::NewPool(pool(&name))];
                    if thread % 2 == 1 {
                        batch.push(Write::DeletePool("nowhere".into()));
                    }
                    assert_eq!(store.commit(batch).is_ok(), thread % 2 == 0, "{name}");
                    assert_eq!(store.variable(&name).unwrap().is_some(), thread % 2 == 0, "{name}");
                    assert_eq!(store.pool(&name).unwrap().is_some(), thread % 2 == 0, "{name}");
                }
            });
        }
    });
    let (_, total) = store.variables(None, store::Page::ALL).unwrap();
    assert_eq!(total as usize, THREADS / 2 * ROUNDS);
}

pub fn many_threads_commit_at_once(store: &dyn Store) {
    const THREADS: u128 = 16;
    const ROUNDS: u128 = 20;
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for round in 0..ROUNDS {
                    let made = run(&format!("d{}", thread % 4), &format!("{thread}-{round}"));
                    let task = ti(&made.key, "t", thread * ROUNDS + round);
                    store.commit(vec![put_run(&made), put_ti(&task)]).unwrap();
                    // What a commit has acknowledged everybody sees, the committer first of all.
                    assert_eq!(store.task_instance(&task.key()).unwrap(), Some(task));
                }
            });
        }
    });
    assert_eq!(run_ids(store, &RunFilter::default()).len() as u128, THREADS * ROUNDS);
    assert_eq!(task_ids(store, &TaskInstanceFilter::default()).len() as u128, THREADS * ROUNDS);
    let of_one = TaskInstanceFilter { dag_id: Some("d1".into()), ..TaskInstanceFilter::default() };
    assert_eq!(task_ids(store, &of_one).len() as u128, THREADS * ROUNDS / 4);
}

pub fn what_is_missing_is_named(store: &dyn Store) {
    let nowhere = run_key("d", "nowhere");
    let key = ti_key(&nowhere, "t");
    let table = [
        (put_ti(&ti(&nowhere, "t", 1)), "the run d/nowhere"),
        (Write::Decision(Change::ArchivedTry(Box::new(ti(&nowhere, "t", 1)))), "the run d/nowhere"),
        (put_xcom(&xcom(&nowhere, "t", "k")), "the run d/nowhere"),
        (Write::DeleteXCom(xcom_key(&nowhere, "t", "k")), "the run d/nowhere"),
        (Write::ClearXComs(key.clone()), "the run d/nowhere"),
        (Write::TaskState { ti: key.clone(), entry: task_state("k", 1, None) }, "the run d/nowhere"),
        (Write::DeleteTaskState { ti: key.clone(), key: "k".into() }, "the run d/nowhere"),
        (Write::ClearTaskState { ti: key.clone(), all_map_indices: true }, "the run d/nowhere"),
        (Write::ClearAssetState(AssetKey { name: "a".into(), uri: "u".into() }), "the asset \"a\""),
        (Write::RenderedFields { key: key.clone(), fields: serde_json::json!({}) }, "the run d/nowhere"),
        (Write::Rescheduled { key, try_number: 1, start: at(1), end: at(2), until: at(3) }, "the run d/nowhere"),
        (Write::RunNote { run: nowhere.clone(), note: None }, "the run d/nowhere"),
        (Write::DeleteVariable("v".into()), "the variable \"v\""),
        (Write::DeleteConnection("c".into()), "the connection \"c\""),
        (Write::DeletePool("p".into()), "the pool \"p\""),
    ];
    for (write, expected) in table {
        match store.commit(vec![write.clone()]) {
            Err(StoreError::Missing { what }) => assert_eq!(what, expected, "{write:?}"),
            other => panic!("{write:?}: {other:?}"),
        }
    }
    // A Dag that is not known is left alone: it may be gone by the time a decision about it is written.
    store.commit(vec![Write::Decision(Change::Paused { dag_id: "gone".into(), paused: true })]).unwrap();
    assert_eq!(store.dag(&"gone".into()).unwrap(), None);
}

pub fn what_exists_already_is_a_conflict(store: &dyn Store) {
    store
        .commit(vec![
            put_run(&dated_run("d", "first", 60)),
            Write::NewVariable(variable("v", "1")),
            Write::NewConnection(Box::new(connection("c"))),
            Write::NewPool(pool("p")),
        ])
        .unwrap();
    let table = [
        (put_run(&dated_run("d", "second", 60)), "a run of Dag d with this logical date"),
        (Write::NewVariable(variable("v", "2")), "the variable \"v\""),
        (Write::NewConnection(Box::new(connection("c"))), "the connection \"c\""),
        (Write::NewPool(pool("p")), "the pool \"p\""),
        (Write::NewPool(pool("default_pool")), "the pool \"default_pool\""),
    ];
    for (write, expected) in table {
        match store.commit(vec![write.clone()]) {
            Err(StoreError::Conflict { what }) => assert_eq!(what, expected),
            other => panic!("{write:?}: {other:?}"),
        }
    }
    assert_eq!(store.variable("v").unwrap().unwrap().value, "1");
    // Another Dag may have it, and so may any number of runs that have no date.
    let others = [dated_run("e", "second", 60), run("d", "third"), run("d", "fourth")];
    store.commit(others.iter().map(put_run).collect()).unwrap();
    // A known run can't move to a date that is taken either.
    store.commit(vec![put_run(&dated_run("d", "fifth", 120))]).unwrap();
    let moved = store.commit(vec![put_run(&dated_run("d", "fifth", 60))]);
    assert!(matches!(moved, Err(StoreError::Conflict { .. })), "{moved:?}");
}

pub fn a_decision_can_be_written_twice(store: &dyn Store) {
    let made = dated_run("d", "r", 60);
    let task = ti(&made.key, "t", 1);
    let batch =
        vec![put_run(&made), put_ti(&task), Write::Decision(Change::ArchivedTry(Box::new(ti(&made.key, "t", 0))))];
    store.commit(batch.clone()).unwrap();
    store.commit(batch).unwrap();
    assert_eq!(run_ids(store, &RunFilter::default()), ["r"]);
    assert_eq!(task_ids(store, &TaskInstanceFilter::default()), ["t"]);
    assert_eq!(store.archived_tries(&task.key()).unwrap().len(), 1);
    assert_eq!(store.run(&made.key).unwrap(), Some(made));
}
