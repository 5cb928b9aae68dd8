//! Records by their keys, and what hangs on them.

use model::{Change, DagRunState, MapIndex, RunType, TaskInstance, TaskInstanceKey, TaskState};
use serde_json::json;
use store::{
    ConnectionOrder, Direction, ImportedFile, Page, PoolUsage, RunExists, Store, TaskInstanceFilter, TaskStateEntry,
    TextFilter, Variable, Write,
};

use crate::fixtures::*;

pub fn a_run_is_read_back_as_it_was_written(store: &dyn Store) {
    let full = model::DagRun { note: Some("ü\"'".into()), end_date: some(9), ..dated_run("d", "full", 60) };
    let empty = model::DagRun {
        triggering_user: None,
        queued_at: None,
        start_date: None,
        last_scheduling_decision: None,
        bundle_version: None,
        conf: std::sync::Arc::new(json!({})),
        ..run("d", "empty")
    };
    store.commit(vec![put_run(&full), put_run(&empty)]).unwrap();
    assert_eq!(store.run(&full.key).unwrap(), Some(full.clone()));
    assert_eq!(store.run(&empty.key).unwrap(), Some(empty));
    assert_eq!(store.run(&run_key("d", "other")).unwrap(), None);
    assert_eq!(store.run(&run_key("e", "full")).unwrap(), None);

    // Every part of it may be put in place anew.
    let changed = model::DagRun {
        run_type: RunType::Backfill,
        triggered_by: model::TriggeredBy::Backfill,
        triggering_user: None,
        state: DagRunState::Failed,
        logical_date: some(61),
        data_interval: None,
        run_after: at(62),
        queued_at: some(63),
        start_date: None,
        end_date: some(64),
        last_scheduling_decision: None,
        conf: std::sync::Arc::new(json!({"new": true})),
        clear_number: 2,
        version: version(2),
        bundle_version: None,
        ..full
    };
    store.commit(vec![put_run(&changed)]).unwrap();
    assert_eq!(store.run(&changed.key).unwrap(), Some(changed));
    let active: Vec<String> = store.active_runs().unwrap().into_iter().map(|run| run.key.run_id.to_string()).collect();
    assert_eq!(active, ["empty"]);
}

pub fn a_task_instance_is_read_back_as_it_was_written(store: &dyn Store) {
    let made = run("d", "r");
    let full = ti(&made.key, "full", 1);
    let empty = TaskInstance {
        state: TaskState::None,
        map_index: MapIndex(2),
        try_number: 0,
        executor: None,
        scheduled_at: None,
        queued_at: None,
        start_date: None,
        hostname: None,
        unixname: None,
        pid: None,
        rendered_map_index: None,
        retry_delay_override: None,
        reschedule_date: None,
        ..ti(&made.key, "empty", 2)
    };
    store.commit(vec![put_run(&made), put_ti(&full), put_ti(&empty)]).unwrap();
    assert_eq!(store.task_instance(&full.key()).unwrap(), Some(full.clone()));
    assert_eq!(store.task_instances_of(&made.key).unwrap(), [empty.clone(), full.clone()], "by task and map index");
    assert_eq!(store.task_instance(&ti_key(&made.key, "empty")).unwrap(), None, "another map index");
    assert_eq!(store.task_instances_of(&run_key("d", "other")).unwrap(), []);

    // The same try, changed in all its parts; and then the next try.
    for id in [2, 3] {
        let changed = TaskInstance {
            state: TaskState::UpForRetry,
            try_number: 5,
            max_tries: 6,
            version: version(7),
            operator: "Other".into(),
            operator_name: "other".into(),
            pool: "p".into(),
            pool_slots: 3,
            queue: "q".into(),
            priority_weight: -1,
            end_date: some(id),
            start_date: some(id - 1),
            ..TaskInstance { map_index: MapIndex(2), ..ti(&made.key, "empty", id as u128) }
        };
        store.commit(vec![put_ti(&changed)]).unwrap();
        assert_eq!(store.task_instance(&changed.key()).unwrap(), Some(changed));
    }
    for state in TaskState::ALL {
        let changed = TaskInstance { state, ..full.clone() };
        store.commit(vec![put_ti(&changed)]).unwrap();
        assert_eq!(store.task_instance(&full.key()).unwrap(), Some(changed));
        let of_state = store::TaskInstanceFilter { states: vec![state], ..Default::default() };
        assert!(task_ids(store, &of_state).contains(&"full".to_owned()), "{state}");
    }
}

pub fn tries_are_archived_in_the_order_they_were_made(store: &dyn Store) {
    let made = run("d", "r");
    let tries: Vec<TaskInstance> =
        (1..=3).map(|id| TaskInstance { try_number: id as u32, ..ti(&made.key, "t", id) }).collect();
    let other = TaskInstance { map_index: MapIndex(0), ..ti(&made.key, "t", 9) };
    let archive = |ti: &TaskInstance| Write::Decision(Change::ArchivedTry(Box::new(ti.clone())));
    store
        .commit(vec![put_run(&made), archive(&tries[1]), archive(&tries[2]), archive(&tries[0]), archive(&other)])
        .unwrap();
    let found = |store: &dyn Store| -> Vec<TaskInstance> {
        store.archived_tries(&tries[0].key()).unwrap().into_iter().map(|found| found.task_instance).collect()
    };
    assert_eq!(found(store), tries);
    let changed = TaskInstance { state: TaskState::Failed, end_date: some(99), ..tries[1].clone() };
    store.commit(vec![archive(&changed)]).unwrap();
    assert_eq!(found(store), [tries[0].clone(), changed, tries[2].clone()]);
    assert_eq!(store.task_instance(&tries[0].key()).unwrap(), None, "an archived try is no current one");
}

pub fn reschedules_are_those_of_the_current_try(store: &dyn Store) {
    let made = run("d", "r");
    let task = ti(&made.key, "t", 1);
    let rescheduled = |try_number, start| Write::Rescheduled {
        key: ti_key(&made.key, "t"),
        try_number,
        start: at(start),
        end: at(start + 1),
        until: at(start + 60),
    };
    store.commit(vec![put_run(&made), put_ti(&task)]).unwrap();
    assert_eq!(store.reschedules(&task.key()).unwrap(), (0, None));
    store.commit(vec![rescheduled(1, 20), rescheduled(1, 10), rescheduled(2, 5)]).unwrap();
    assert_eq!(store.reschedules(&task.key()).unwrap(), (2, some(10)));
    store.commit(vec![put_ti(&TaskInstance { try_number: 2, ..ti(&made.key, "t", 2) })]).unwrap();
    assert_eq!(store.reschedules(&task.key()).unwrap(), (1, some(5)));
    assert_eq!(store.reschedules(&ti_key(&made.key, "other")).unwrap(), (0, None));
}

pub fn rendered_fields_are_replaced(store: &dyn Store) {
    let made = run("d", "r");
    let key = ti_key(&made.key, "t");
    store.commit(vec![put_run(&made)]).unwrap();
    assert_eq!(store.rendered_fields(&key).unwrap(), None);
    for fields in [json!({"z": 1, "a": [2]}), json!({"bash_command": "echo"})] {
        store.commit(vec![Write::RenderedFields { key: key.clone(), fields: fields.clone() }]).unwrap();
        assert_eq!(store.rendered_fields(&key).unwrap(), Some(fields));
    }
    assert_eq!(store.rendered_fields(&ti_key(&made.key, "other")).unwrap(), None);
}

pub fn task_states_outlive_tries(store: &dyn Store) {
    let made = run("d", "r");
    let mapped = |index| TaskInstanceKey { map_index: MapIndex(index), ..ti_key(&made.key, "t") };
    let put =
        |ti: &TaskInstanceKey, entry: TaskStateEntry| store.commit(vec![Write::TaskState { ti: ti.clone(), entry }]);
    store.commit(vec![put_run(&made)]).unwrap();
    for (index, key) in [(0, "b"), (0, "a"), (1, "a"), (0, "c/d")] {
        put(&mapped(index), task_state(key, 1, None)).unwrap();
    }
    put(&mapped(0), task_state("a", 2, some(9))).unwrap();
    assert_eq!(store.task_state(&mapped(0), "a").unwrap(), Some(task_state("a", 2, some(9))));
    assert_eq!(store.task_state(&mapped(0), "A").unwrap(), None);
    let keys = |ti: &TaskInstanceKey, limit, offset| {
        let (entries, total) = store.task_states(ti, Page { limit, offset }).unwrap();
        (entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>().join(" "), total)
    };
    assert_eq!(keys(&mapped(0), 9, 0), ("a b c/d".into(), 3));
    assert_eq!(keys(&mapped(0), 1, 1), ("b".into(), 3));
    let delete = || Write::DeleteTaskState { ti: mapped(0), key: "b".into() };
    store.commit(vec![delete(), delete()]).unwrap();
    assert_eq!(keys(&mapped(0), 9, 0), ("a c/d".into(), 2));
    store.commit(vec![Write::ClearTaskState { ti: mapped(0), all_map_indices: false }]).unwrap();
    assert_eq!((keys(&mapped(0), 9, 0).1, keys(&mapped(1), 9, 0).1), (0, 1));
    put(&mapped(0), task_state("a", 3, None)).unwrap();
    put(&ti_key(&made.key, "other"), task_state("a", 3, None)).unwrap();
    store.commit(vec![Write::ClearTaskState { ti: ti_key(&made.key, "t"), all_map_indices: true }]).unwrap();
    assert_eq!((keys(&mapped(0), 9, 0).1, keys(&mapped(1), 9, 0).1), (0, 0));
    assert_eq!(keys(&ti_key(&made.key, "other"), 9, 0).1, 1);
}

pub fn a_task_instance_is_deleted_with_its_tries_and_what_it_left(store: &dyn Store) {
    let made = run("d", "r");
    let (gone, other) = (ti(&made.key, "gone", 1), ti(&made.key, "other", 2));
    store.commit(vec![put_run(&made)]).unwrap();
    for ti in [&gone, &other] {
        let task_id = ti.task_id.as_str();
        store
            .commit(vec![
                put_ti(ti),
                Write::Decision(Change::ArchivedTry(Box::new(ti.clone()))),
                put_xcom(&xcom(&made.key, task_id, "k")),
                Write::RenderedFields { key: ti.key(), fields: json!({"a": 1}) },
                Write::TaskNote { ti: ti.key(), note: Some("n".into()) },
                Write::TaskState { ti: ti.key(), entry: task_state("k", 1, None) },
            ])
            .unwrap();
    }
    let delete = || Write::DeleteTaskInstance(gone.key());
    store.commit(vec![delete(), delete()]).unwrap();
    assert_eq!(store.task_instances_of(&made.key).unwrap(), std::slice::from_ref(&other));
    let left = |key: &TaskInstanceKey| {
        let tries = store.archived_tries(key).unwrap().len();
        let xcoms = store.xcoms(&key.run, Some(&key.task_id), None, None).unwrap().len();
        let rendered = store.rendered_fields(key).unwrap().is_some();
        (tries, xcoms, rendered, store.task_note(key).unwrap().is_some(), store.task_state(key, "k").unwrap().is_some())
    };
    // What it kept for later tries is there for the next one of that name.
    assert_eq!(left(&gone.key()), (0, 0, false, false, true));
    assert_eq!(left(&other.key()), (1, 1, true, true, true));
    let counted = store.task_instances(&TaskInstanceFilter::default(), &[], Page::ALL).unwrap().1;
    assert_eq!(counted, 1);
    store.check().unwrap();
}

pub fn task_states_expire(store: &dyn Store) {
    let made = run("d", "r");
    let ti = ti_key(&made.key, "t");
    store.commit(vec![put_run(&made)]).unwrap();
    for (key, expires_at) in [("never", None), ("late", some(9)), ("soon", some(5)), ("sooner", some(4))] {
        store.commit(vec![Write::TaskState { ti: ti.clone(), entry: task_state(key, 1, expires_at) }]).unwrap();
    }
    let expired = |before, limit, offset| {
        let (keys, total) = store.expired_task_states(at(before), Page { limit, offset }).unwrap();
        assert!(keys.iter().all(|(own, _)| *own == ti));
        (keys.into_iter().map(|(_, key)| key).collect::<Vec<_>>().join(" "), total)
    };
    assert_eq!(expired(4, 9, 0), (String::new(), 0));
    assert_eq!(expired(6, 9, 0), ("soon sooner".into(), 2));
    assert_eq!(expired(6, 1, 1), ("sooner".into(), 2));
    store.commit(vec![Write::ExpiredTaskStates { before: at(6), limit: 1 }]).unwrap();
    assert_eq!(expired(10, 9, 0).1, 2);
    store.commit(vec![Write::ExpiredTaskStates { before: at(6), limit: 9 }]).unwrap();
    assert_eq!(expired(10, 9, 0), ("late".into(), 1));
    let left = store.task_states(&ti, Page::ALL).unwrap().0;
    assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["late", "never"]);
}

pub fn runs_before_a_date(store: &dyn Store) {
    let failed = model::DagRun { state: DagRunState::Failed, ..dated_run("d", "r3", 30) };
    let manual = model::DagRun { run_type: RunType::Manual, state: DagRunState::Success, ..dated_run("d", "r2", 20) };
    let runs = [
        model::DagRun { state: DagRunState::Success, ..dated_run("d", "r1", 10) },
        failed,
        manual,
        run("d", "undated"),
        model::DagRun { state: DagRunState::Success, ..dated_run("e", "other", 29) },
    ];
    store.commit(runs.iter().map(put_run).collect()).unwrap();
    let with_task = [ti(&runs[0].key, "old", 1), ti(&runs[1].key, "new", 2), ti(&runs[3].key, "dateless", 3)];
    store.commit(with_task.iter().map(put_ti).collect()).unwrap();

    let dag = "d".into();
    let id = |run: Option<model::DagRun>| run.map(|run| run.key.run_id.to_string());
    let before = |seconds, scheduled| id(store.run_before(&dag, at(seconds), scheduled).unwrap());
    assert_eq!(before(31, false).as_deref(), Some("r3"));
    assert_eq!(before(30, false).as_deref(), Some("r2"), "before means before");
    assert_eq!(before(30, true).as_deref(), Some("r1"));
    assert_eq!(before(10, false), None);
    let successful = |seconds| id(store.last_successful_run(&dag, at(seconds)).unwrap());
    assert_eq!(successful(99).as_deref(), Some("r2"));
    assert_eq!(successful(20).as_deref(), Some("r1"));
    assert_eq!(successful(10), None);
    let ran = |task: &str, seconds| store.task_ran_before(&dag, &task.into(), at(seconds)).unwrap();
    assert!(ran("old", 11) && !ran("old", 10) && !ran("new", 30) && ran("new", 31));
    assert!(!ran("dateless", 99) && !ran("nowhere", 99));
}

pub fn a_run_is_known_by_its_id_and_by_its_date(store: &dyn Store) {
    store.commit(vec![put_run(&dated_run("d", "r", 60)), put_run(&run("d", "undated"))]).unwrap();
    let exists = |dag: &str, run: &str, date| store.run_exists(&run_key(dag, run), date).unwrap();
    assert_eq!(exists("d", "r", None), RunExists::SameId);
    assert_eq!(exists("d", "r", some(60)), RunExists::SameId);
    assert_eq!(exists("d", "other", some(60)), RunExists::SameLogicalDate);
    assert_eq!(exists("d", "other", some(61)), RunExists::No);
    assert_eq!(exists("d", "other", None), RunExists::No, "having no date is not having the same one");
    assert_eq!(exists("e", "r", some(60)), RunExists::No);
}

pub fn notes_belong_to_people(store: &dyn Store) {
    let made = model::DagRun { note: Some("first".into()), ..run("d", "r") };
    let note = |store: &dyn Store| store.run(&made.key).unwrap().unwrap().note;
    let write = |text: Option<&str>| Write::RunNote { run: made.key.clone(), note: text.map(str::to_owned) };
    store.commit(vec![put_run(&made)]).unwrap();
    assert_eq!(note(store).as_deref(), Some("first"));
    // The scheduler goes on with the run as it knew it.
    store.commit(vec![write(Some("second")), put_run(&made)]).unwrap();
    assert_eq!(note(store).as_deref(), Some("second"));
    store.commit(vec![write(None)]).unwrap();
    store.commit(vec![put_run(&made)]).unwrap();
    assert_eq!(note(store), None);
}

pub fn notes_of_tasks_stay_over_their_tries(store: &dyn Store) {
    let made = run("d", "r");
    let (task, other) = (ti(&made.key, "t", 1), ti(&made.key, "other", 2));
    let write = |ti: &TaskInstance, text: Option<&str>| Write::TaskNote { ti: ti.key(), note: text.map(str::to_owned) };
    store.commit(vec![put_run(&made), put_ti(&task), put_ti(&other), write(&task, Some("first"))]).unwrap();
    assert_eq!(store.task_note(&task.key()).unwrap().as_deref(), Some("first"));
    assert_eq!(store.task_note(&other.key()).unwrap(), None);
    let next_try = TaskInstance { try_number: 2, ..ti(&made.key, "t", 3) };
    store.commit(vec![put_ti(&next_try), write(&other, Some("o"))]).unwrap();
    assert_eq!(store.task_note(&task.key()).unwrap().as_deref(), Some("first"));
    // When a task gets its instances, the note goes to the first of them.
    let first = TaskInstance { map_index: MapIndex(0), ..next_try.clone() };
    let expanded = Change::Expanded { run: made.key.clone(), task_id: "t".into() };
    store.commit(vec![write(&task, Some("second")), Write::Decision(expanded), put_ti(&first)]).unwrap();
    assert_eq!(store.task_note(&task.key()).unwrap(), None);
    assert_eq!(store.task_note(&first.key()).unwrap().as_deref(), Some("second"));
    store.commit(vec![write(&first, None), write(&first, None)]).unwrap();
    assert_eq!(store.task_note(&first.key()).unwrap(), None);
    assert!(store.commit(vec![write(&ti(&run_key("d", "nowhere"), "t", 1), Some("x"))]).is_err());
    store.commit(vec![Write::Decision(Change::RunDeleted(made.key.clone())), put_run(&made)]).unwrap();
    assert_eq!(store.task_note(&other.key()).unwrap(), None);
}

pub fn a_try_is_archived_once(store: &dyn Store) {
    let made = run("d", "r");
    let archive = |ti: &TaskInstance| Write::Decision(Change::ArchivedTry(Box::new(ti.clone())));
    let first = TaskInstance { try_number: 1, state: TaskState::Failed, ..ti(&made.key, "t", 1) };
    // What waits for its next try, and is cleared then, has no second history of the try that was.
    let again = TaskInstance { state: TaskState::Success, ..TaskInstance { try_number: 1, ..ti(&made.key, "t", 2) } };
    let other = TaskInstance { map_index: MapIndex(0), ..again.clone() };
    store.commit(vec![put_run(&made), archive(&first), archive(&again), archive(&other)]).unwrap();
    store.commit(vec![archive(&first), archive(&again)]).unwrap();
    let found =
        |key| store.archived_tries(&key).unwrap().into_iter().map(|found| found.task_instance).collect::<Vec<_>>();
    assert_eq!(found(first.key()), [first]);
    assert_eq!(found(other.key()), [other]);
}

pub fn pools_are_used_by_what_is_under_way(store: &dyn Store) {
    let made = run("d", "r");
    let in_pool = |pool: &str, id: u128, state, pool_slots| {
        put_ti(&TaskInstance { pool: pool.into(), state, pool_slots, ..ti(&made.key, &format!("t{id}"), id) })
    };
    let mut batch = vec![put_run(&made)];
    batch.extend(TaskState::ALL.into_iter().zip(1..).map(|(state, id)| in_pool("a", id, state, 2)));
    batch.push(in_pool("a", 30, TaskState::Running, 3));
    batch.push(in_pool("b", 31, TaskState::Deferred, 1));
    batch.push(in_pool("c", 32, TaskState::Success, 1));
    store.commit(batch).unwrap();
    let expected = [
        ("a".to_owned(), PoolUsage { running: 7, queued: 2, scheduled: 2, deferred: 2 }),
        ("b".to_owned(), PoolUsage { deferred: 1, ..PoolUsage::default() }),
    ];
    assert_eq!(store.pool_usage().unwrap(), expected);
    store.commit(vec![in_pool("b", 31, TaskState::Success, 1), in_pool("a", 30, TaskState::Failed, 3)]).unwrap();
    let expected = [("a".to_owned(), PoolUsage { running: 4, queued: 2, scheduled: 2, deferred: 2 })];
    assert_eq!(store.pool_usage().unwrap(), expected);
}

pub fn settings_are_replaced_and_deleted(store: &dyn Store) {
    let default = store.pool("default_pool").unwrap().unwrap();
    assert_eq!((default.slots, default.include_deferred), (128, false));
    let empty = store::Connection { connection_id: "b".into(), conn_type: "ssh".into(), ..Default::default() };
    store
        .commit(vec![
            Write::NewVariable(variable("b", "1")),
            Write::Variable(variable("a", "2")),
            Write::NewConnection(Box::new(empty.clone())),
            Write::Connection(Box::new(connection("a"))),
            Write::Pool(pool("a")),
        ])
        .unwrap();
    assert_eq!(store.variable("b").unwrap(), Some(variable("b", "1")));
    assert_eq!(store.connection("a").unwrap(), Some(connection("a")));
    assert_eq!(store.connection("b").unwrap(), Some(empty));
    assert_eq!(store.pool("a").unwrap(), Some(pool("a")));

    let changed = Variable { description: None, ..variable("b", "3") };
    let moved = store::Connection { connection_id: "b".into(), ..connection("a") };
    let wider = store::Pool { slots: -1, description: None, include_deferred: false, ..pool("a") };
    store
        .commit(vec![
            Write::Variable(changed.clone()),
            Write::Connection(Box::new(moved.clone())),
            Write::Pool(wider.clone()),
        ])
        .unwrap();
    assert_eq!(store.variable("b").unwrap(), Some(changed));
    assert_eq!(store.connection("b").unwrap(), Some(moved));
    assert_eq!(store.pool("a").unwrap(), Some(wider));
    // A change leaves a record where it stands in the order of making.
    let order = [(ConnectionOrder::Created, Direction::Ascending)];
    let (connections, _) = store.list_connections(&TextFilter::default(), &order, Page::ALL).unwrap();
    assert_eq!(connections.iter().map(|found| &*found.connection_id).collect::<Vec<_>>(), ["b", "a"]);

    store
        .commit(vec![
            Write::DeleteVariable("b".into()),
            Write::DeleteConnection("b".into()),
            Write::DeletePool("a".into()),
        ])
        .unwrap();
    assert_eq!(
        (store.variable("b").unwrap(), store.connection("b").unwrap(), store.pool("a").unwrap()),
        (None, None, None)
    );
    assert!(store.variable("a").unwrap().is_some() && store.connection("a").unwrap().is_some());
    store.check().unwrap();
}

pub fn xcoms_are_replaced_and_cleared(store: &dyn Store) {
    let (first, second) = (run("d", "first"), run("d", "second"));
    let mapped = |index, key: &str| {
        let mut entry = xcom(&first.key, "t", key);
        entry.key.map_index = MapIndex(index);
        entry
    };
    let entries =
        [xcom(&first.key, "a", "k"), xcom(&first.key, "t", "k"), mapped(0, "a"), mapped(0, "k"), mapped(1, "k")];
    store.commit(vec![put_run(&first), put_run(&second), put_xcom(&xcom(&second.key, "t", "k"))]).unwrap();
    store.commit(entries.iter().rev().map(put_xcom).collect()).unwrap();
    assert_eq!(store.xcom(&entries[0].key).unwrap(), Some(entries[0].clone()));
    let (task, key) = ("t".into(), Some("k"));
    assert_eq!(store.xcoms(&first.key, None, None, None).unwrap(), entries, "by task, map index and key");
    assert_eq!(store.xcoms(&first.key, Some(&task), None, None).unwrap(), entries[1..]);
    assert_eq!(store.xcoms(&first.key, Some(&task), Some(MapIndex(0)), None).unwrap(), entries[2..4]);
    assert_eq!(store.xcoms(&first.key, Some(&task), Some(MapIndex(0)), key).unwrap(), entries[3..4]);
    assert_eq!(store.xcoms(&first.key, None, None, Some("none")).unwrap(), []);

    let changed = store::XCom { value: json!(null), mapped_length: None, dag_result: false, ..entries[1].clone() };
    store.commit(vec![put_xcom(&changed), Write::DeleteXCom(entries[0].key.clone())]).unwrap();
    assert_eq!(store.xcom(&changed.key).unwrap(), Some(changed));
    assert_eq!(store.xcom(&entries[0].key).unwrap(), None);
    let all = store.list_xcoms(&Default::default(), &[], Page::ALL).unwrap();
    assert_eq!((all.0.len(), all.1), (5, 5));
    // An entry that is not there is as good as deleted.
    let ti = model::TaskInstanceKey { map_index: MapIndex(0), ..ti_key(&first.key, "t") };
    store.commit(vec![Write::DeleteXCom(entries[0].key.clone()), Write::ClearXComs(ti)]).unwrap();
    assert_eq!(store.xcoms(&first.key, None, None, None).unwrap().len(), 2);
    assert_eq!(store.xcoms(&second.key, None, None, None).unwrap().len(), 1);
    assert_eq!(store.list_xcoms(&Default::default(), &[], Page::ALL).unwrap().1, 3);
    // What is cleared has left nothing.
    let forgotten = Change::Forgotten(ti_key(&second.key, "t"));
    store.commit(vec![Write::Decision(forgotten)]).unwrap();
    assert_eq!(store.xcoms(&second.key, None, None, None).unwrap(), []);
    assert_eq!(store.xcoms(&first.key, None, None, None).unwrap().len(), 2);
}

pub fn xcoms_of_prior_dates(store: &dyn Store) {
    // The undated run counts by when it was due.
    let undated = model::DagRun { run_after: at(25), ..run("d", "undated") };
    let runs = [
        dated_run("d", "r1", 10),
        dated_run("d", "r2", 20),
        undated,
        dated_run("d", "r3", 30),
        dated_run("d", "r4", 40),
        dated_run("e", "other", 29),
    ];
    store.commit(runs.iter().map(put_run).collect()).unwrap();
    let put = |run: usize, task: &str, key: &str| put_xcom(&xcom(&runs[run].key, task, key));
    store
        .commit(vec![
            put(0, "t", "everywhere"),
            put(1, "t", "everywhere"),
            put(2, "t", "everywhere"),
            put(5, "t", "everywhere"),
            put(0, "t", "once"),
            put(1, "other", "once"),
            put(4, "t", "later"),
        ])
        .unwrap();
    let found = |run: usize, key: &str| {
        let found = store.xcom_with_prior_dates(&xcom_key(&runs[run].key, "t", key)).unwrap();
        found.map(|xcom| xcom.key.run.run_id.to_string())
    };
    assert_eq!(found(3, "everywhere").as_deref(), Some("undated"));
    assert_eq!(found(2, "everywhere").as_deref(), Some("undated"), "its own");
    assert_eq!(found(1, "everywhere").as_deref(), Some("r2"), "its own");
    assert_eq!(found(0, "everywhere").as_deref(), Some("r1"));
    assert_eq!(found(3, "once").as_deref(), Some("r1"));
    assert_eq!(found(3, "later"), None);
    assert_eq!(found(5, "once"), None, "other Dags have their own");
    assert_eq!(store.xcom_with_prior_dates(&xcom_key(&run_key("d", "nowhere"), "t", "once")).unwrap(), None);
    let all = |run: usize, key: &str| {
        let found = store.xcoms_with_prior_dates(&runs[run].key, &"t".into(), key).unwrap();
        found.iter().map(|xcom| xcom.key.run.run_id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(all(3, "everywhere"), "r1 r2 undated");
    assert_eq!(all(1, "everywhere"), "r1 r2");
    assert_eq!(all(3, "later"), "");
    let nowhere = store.xcoms_with_prior_dates(&run_key("d", "nowhere"), &"t".into(), "once");
    assert_eq!(nowhere.unwrap(), Vec::new());
}

pub fn a_run_is_deleted_with_all_that_belongs_to_it(store: &dyn Store) {
    let (first, last, other) = (dated_run("d", "first", 10), dated_run("d", "last", 20), run("e", "last"));
    store.commit(vec![imported("d.py", vec![dag("d", 1, "h")])]).unwrap();
    for (number, run) in [&first, &last, &other].into_iter().enumerate() {
        let ti = ti(&run.key, "t", number as u128);
        let key = ti.key();
        store
            .commit(vec![
                put_run(run),
                put_ti(&ti),
                Write::Decision(Change::ArchivedTry(Box::new(TaskInstance { try_number: 0, ..ti }))),
                put_xcom(&xcom(&run.key, "t", "k")),
                Write::RenderedFields { key: key.clone(), fields: json!({"a": 1}) },
                Write::TaskState { ti: key.clone(), entry: task_state("k", 1, None) },
                Write::Rescheduled { key, try_number: 1, start: at(1), end: at(2), until: at(3) },
            ])
            .unwrap();
    }
    let deleted = || Write::Decision(Change::RunDeleted(last.key.clone()));
    // Written twice it is gone as well; and with nothing there it can't be written to.
    store.commit(vec![deleted(), deleted()]).unwrap();
    assert!(store.commit(vec![put_xcom(&xcom(&last.key, "t", "k"))]).is_err());
    assert_eq!(store.run(&last.key).unwrap(), None);
    let key = ti_key(&last.key, "t");
    assert_eq!(store.task_instance(&key).unwrap(), None);
    assert_eq!(store.archived_tries(&key).unwrap(), []);
    assert_eq!(store.rendered_fields(&key).unwrap(), None);
    assert_eq!(store.reschedules(&key).unwrap().0, 0);
    assert_eq!(store.task_state(&key, "k").unwrap(), None);
    assert_eq!(store.xcoms(&last.key, None, None, None).unwrap(), []);
    for run in [&first, &other] {
        let key = ti_key(&run.key, "t");
        assert!(store.task_instance(&key).unwrap().is_some() && store.rendered_fields(&key).unwrap().is_some());
        assert_eq!(
            (store.reschedules(&key).unwrap().0, store.xcoms(&run.key, None, None, None).unwrap().len()),
            (1, 1)
        );
        assert_eq!(store.archived_tries(&key).unwrap().len(), 1);
        assert!(store.task_state(&key, "k").unwrap().is_some());
    }
    // Lists count what is left, and the Dag's last run is the one before.
    let of_dag = TaskInstanceFilter { dag_id: Some("d".into()), ..TaskInstanceFilter::default() };
    assert_eq!(store.task_instances(&of_dag, &[], Page::ALL).unwrap().1, 1);
    assert_eq!(store.list_xcoms(&Default::default(), &[], Page::ALL).unwrap().1, 2);
    assert_eq!(the_dag(store, "d").last_run_start, first.start_date);
    store.commit(vec![Write::Decision(Change::RunDeleted(first.key.clone()))]).unwrap();
    assert_eq!(the_dag(store, "d").last_run_state, None);
    // The same id again is another run.
    store.commit(vec![put_run(&last)]).unwrap();
    assert_eq!(store.task_instances_of(&last.key).unwrap(), []);
    store.check().unwrap();
}

pub fn a_dag_is_deleted_with_all_that_belongs_to_it(store: &dyn Store) {
    let (gone, other) = (dated_run("d", "r", 10), run("e", "r"));
    let errors = vec![("d.py".to_owned(), "trace".to_owned())];
    let failed = ImportedFile { errors, ..file("d.py", vec![dag("d", 1, "h")]) };
    store.commit(vec![Write::Imported(Box::new(failed)), imported("e.py", vec![dag("e", 2, "h")])]).unwrap();
    for (number, run) in [&gone, &other].into_iter().enumerate() {
        let ti = ti(&run.key, "t", number as u128);
        store.commit(vec![put_run(run), put_ti(&ti), put_xcom(&xcom(&run.key, "t", "k"))]).unwrap();
    }
    let deleted = || Write::Decision(Change::DagDeleted("d".into()));
    store.commit(vec![deleted(), deleted()]).unwrap();
    assert_eq!(store.dag(&"d".into()).unwrap(), None);
    assert_eq!((store.run(&gone.key).unwrap(), store.version(version(1)).unwrap()), (None, None));
    assert_eq!(store.xcoms(&gone.key, None, None, None).unwrap(), []);
    assert_eq!(store.import_errors(Page::ALL).unwrap().1, 0);
    // Its file is as one that was never imported.
    let files: Vec<String> = store.files().unwrap().into_iter().map(|file| file.relative_fileloc).collect();
    assert_eq!(files, ["e.py"]);
    let all = store.task_instances(&TaskInstanceFilter::default(), &[], Page::ALL).unwrap();
    assert_eq!((all.0.len(), all.1), (1, 1));
    assert!(store.run(&other.key).unwrap().is_some() && store.version(version(2)).unwrap().is_some());
    // It comes back as one that is new.
    store.commit(vec![imported("d.py", vec![dag("d", 3, "h")])]).unwrap();
    let back = store.latest_version(&"d".into()).unwrap().unwrap();
    assert_eq!((back.id, back.number, the_dag(store, "d").last_run_state), (version(3), 1, None));
    store.commit(vec![put_run(&gone)]).unwrap();
    assert_eq!(store.task_instances_of(&gone.key).unwrap(), []);
    store.check().unwrap();
}
