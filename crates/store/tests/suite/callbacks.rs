//! Callbacks that are due, and deadlines that will be.

use model::{Call, Callback, CallbackId, Change, Deadline, DeadlineId, MapIndex, RunKey, TaskInstanceId, TryName};
use store::{DeadlineFilter, DeadlineOrder, Direction, Page, Span, Store, Write};
use uuid::Uuid;

use crate::fixtures::{at, put_run, run, some};

fn due(callback: &Callback) -> Write {
    Write::Decision(Change::CallbackDue(Box::new(callback.clone())))
}

fn callback(run: &RunKey, number: u128, call: Call, of: Option<TryName>) -> Callback {
    let id = CallbackId(Uuid::from_u128(number));
    Callback { id, run: run.clone(), created_at: at(number as i64), call, of, message: format!("message {number}") }
}

pub fn callbacks_are_owed_until_they_are_called(store: &dyn Store) {
    let (one, two) = (run("d", "one"), run("d", "two"));
    let of = |id| TryName { task_id: "t".into(), map_index: MapIndex(3), id: TaskInstanceId(Uuid::from_u128(id)) };
    let mut all: Vec<Callback> = Call::ALL
        .into_iter()
        .zip(1..)
        .map(|(call, number)| callback(&one.key, number, call, (number % 2 == 0).then(|| of(number))))
        .collect();
    all.push(callback(&two.key, 90, Call::DagSuccess, None));
    store.commit([put_run(&one), put_run(&two)].into_iter().chain(all.iter().rev().map(due)).collect()).unwrap();
    assert_eq!(store.callbacks().unwrap(), all);
    // Written twice it is owed once; done twice it is done.
    store.commit(vec![due(&all[1]), Write::CallbackDone(all[0].id)]).unwrap();
    assert_eq!(store.callbacks().unwrap(), all[1..]);
    store.commit(vec![Write::CallbackDone(all[0].id)]).unwrap();
    store.commit(vec![Write::Decision(Change::RunDeleted(one.key.clone()))]).unwrap();
    assert_eq!(store.callbacks().unwrap(), all[all.len() - 1..]);
    store.commit(vec![Write::Decision(Change::DagDeleted("d".into()))]).unwrap();
    assert_eq!(store.callbacks().unwrap(), []);
}

pub fn deadlines_are_kept_until_they_are_gone(store: &dyn Store) {
    let (one, two) = (run("d", "one"), run("e", "two"));
    let deadline = |run: &RunKey, number: u128, at| {
        let id = DeadlineId(Uuid::from_u128(number));
        Deadline { id, run: run.clone(), alert: number as u32, at }
    };
    let put = |deadline: &Deadline| Write::Decision(Change::Deadline(Box::new(deadline.clone())));
    let open = deadline(&one.key, 1, None);
    let (later, other) = (deadline(&one.key, 2, some(5)), deadline(&two.key, 3, some(4)));
    store.commit(vec![put_run(&one), put_run(&two), put(&other), put(&later), put(&open)]).unwrap();
    assert_eq!(store.deadlines().unwrap(), [open.clone(), later.clone(), other.clone()]);
    // What was missed is kept for people, and found by nobody who waits.
    store.commit(vec![Write::Decision(Change::DeadlineMissed(other.id))]).unwrap();
    assert_eq!(store.deadlines().unwrap(), [open.clone(), later.clone()]);
    let listed = |filter: DeadlineFilter, order| {
        let (found, total) = store.list_deadlines(&filter, &[order], Page::ALL).unwrap();
        assert_eq!(found.len() as u64, total);
        found
    };
    let (up, down) = (Direction::Ascending, Direction::Descending);
    let all = [(later.clone(), false), (other.clone(), true)];
    let turned = [(other.clone(), true), (later.clone(), false)];
    let everything = DeadlineFilter::default;
    assert_eq!(listed(everything(), (DeadlineOrder::Id, up)), all);
    assert_eq!(listed(everything(), (DeadlineOrder::At, up)), turned);
    assert_eq!(listed(everything(), (DeadlineOrder::Missed, down)), turned);
    assert_eq!(listed(everything(), (DeadlineOrder::DagId, up)), all);
    assert_eq!(listed(everything(), (DeadlineOrder::RunId, down)), turned);
    for filter in [
        DeadlineFilter { dag_id: Some(two.key.dag_id.clone()), run_id: Some(two.key.run_id.clone()), ..everything() },
        DeadlineFilter { missed: Some(true), ..everything() },
        DeadlineFilter { at: Span { from: None, to: some(4), or_missing: false }, ..everything() },
    ] {
        assert_eq!(listed(filter, (DeadlineOrder::Id, up)), all[1..]);
    }
    assert_eq!(listed(DeadlineFilter { missed: Some(false), ..everything() }, (DeadlineOrder::Id, up)), all[..1]);
    let missed = store.runs_with_missed_deadlines(&[one.key.clone(), two.key.clone()]).unwrap();
    assert_eq!(missed, std::slice::from_ref(&two.key));
    store.commit(vec![put(&other)]).unwrap();
    let set = Deadline { at: some(9), ..open };
    for _ in 0..2 {
        store.commit(vec![put(&set), Write::Decision(Change::DeadlineGone(later.id))]).unwrap();
        assert_eq!(store.deadlines().unwrap(), [set.clone(), other.clone()]);
    }
    store.commit(vec![Write::Decision(Change::RunDeleted(one.key.clone()))]).unwrap();
    assert_eq!(store.deadlines().unwrap(), [other]);
    store.commit(vec![Write::Decision(Change::DagDeleted("e".into()))]).unwrap();
    assert_eq!(store.deadlines().unwrap(), []);
}
