//! Task instances that wait outside of a process.

use std::sync::Arc;

use model::{Change, Json, RunKey, Suspension, TimerEvent, Trigger, TriggerId, TriggerTimer};
use serde_json::json;
use store::{Store, StoreError, Write};

use crate::fixtures::{at, put_run, run, run_key, some, ti_key};

fn put(suspension: &Suspension) -> Write {
    Write::Decision(Change::Suspended(Box::new(suspension.clone())))
}

fn end(suspension: &Suspension) -> Write {
    Write::Decision(Change::NotSuspended(suspension.key.clone()))
}

fn trigger(id: i64) -> Trigger {
    Trigger {
        id: TriggerId(id),
        classpath: "pack.age.Trigger".into(),
        kwargs: json!({"b": [1, {"__classname__": "x"}], "a": null}),
        queue: Some("q".into()),
        created_at: at(7),
        timer: None,
    }
}

fn deferred(run: &RunKey, task_id: &str, trigger: Trigger) -> Suspension {
    Suspension {
        key: ti_key(run, task_id),
        trigger: Some(Arc::new(trigger)),
        timeout: some(9),
        next_method: "execute_complete".into(),
        next_kwargs: json!({"z": 1, "a": {}}),
    }
}

/// A task that waits for a trigger with these arguments.
pub fn trigger_with(run: &RunKey, kwargs: Json) -> Suspension {
    deferred(run, "t", Trigger { kwargs, ..trigger(1) })
}

pub fn a_suspension_is_read_back_as_it_was_written(store: &dyn Store) {
    let made = run("d", "r").key;
    let timer = |event| Some(TriggerTimer { at: at(12), event });
    let resumes = TimerEvent::Resume(json!({"moment": 1.5}));
    let all = [
        deferred(&made, "a", trigger(1)),
        deferred(&made, "b", Trigger { queue: None, timer: timer(TimerEvent::Succeed), ..trigger(2) }),
        deferred(&made, "c", Trigger { timer: timer(resumes), ..trigger(3) }),
        deferred(&made, "d", Trigger { timer: timer(TimerEvent::Resume(Json::Null)), ..trigger(4) }),
        Suspension { trigger: None, timeout: None, ..deferred(&made, "e", trigger(0)) },
    ];
    store.commit([put_run(&run("d", "r"))].into_iter().chain(all.iter().rev().map(put)).collect()).unwrap();
    assert_eq!(store.suspensions_of(&made).unwrap(), all);
    for suspension in &all {
        assert_eq!(store.suspension(&suspension.key).unwrap().as_ref(), Some(suspension));
    }
    assert_eq!(store.suspension(&ti_key(&made, "f")).unwrap(), None);
    assert_eq!(store.suspensions_of(&run_key("d", "other")).unwrap(), []);
    let lost = store.commit(vec![put(&deferred(&run_key("d", "nowhere"), "a", trigger(9)))]);
    assert!(matches!(lost, Err(StoreError::Missing { .. })), "{lost:?}");
}

pub fn suspensions_are_replaced_and_end(store: &dyn Store) {
    let made = run("d", "r");
    let first = deferred(&made.key, "t", trigger(5));
    let other = deferred(&made.key, "other", trigger(6));
    store.commit(vec![put_run(&made), put(&first), put(&other)]).unwrap();
    let fired = Suspension { trigger: None, timeout: None, next_kwargs: json!({"event": 1}), ..first.clone() };
    for _ in 0..2 {
        store.commit(vec![put(&fired)]).unwrap();
        assert_eq!(store.suspension(&first.key).unwrap(), Some(fired.clone()));
    }
    let again = deferred(&made.key, "t", trigger(7));
    store.commit(vec![put(&again)]).unwrap();
    assert_eq!(store.suspension(&first.key).unwrap(), Some(again));
    store.commit(vec![end(&first), end(&first)]).unwrap();
    assert_eq!(store.suspensions_of(&made.key).unwrap(), [other]);
}

pub fn the_last_trigger_is_the_highest_that_is_waited_for(store: &dyn Store) {
    let made = run("d", "r");
    assert_eq!(store.last_trigger().unwrap(), TriggerId(0));
    let all = [deferred(&made.key, "a", trigger(12)), deferred(&made.key, "b", trigger(3))];
    store.commit(vec![put_run(&made), put(&all[0]), put(&all[1])]).unwrap();
    assert_eq!(store.last_trigger().unwrap(), TriggerId(12));
    store.commit(vec![put(&Suspension { trigger: None, ..all[0].clone() })]).unwrap();
    assert_eq!(store.last_trigger().unwrap(), TriggerId(3));
}
