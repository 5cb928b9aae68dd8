//! What the scheduler does is counted, not timed: looking at a task instance is the unit of its work.

use std::sync::Arc;

use model::timetable::Timetable;
use model::{
    AttemptId, Dag, DagBuilder, ExpandInput, GroupIndex, MapValue, MappedGroup, Task, TaskInstanceKey, TriggerRule,
};
use scheduler::{Clear, Config, Event, Mark, MarkAs, Outcome, ReplyId, StartAttempt};
use serde_json::json;

use crate::toy::Toy;

/// A chain of five tasks with a fan of three in its middle.
fn dag(name: &str, tasks: usize) -> Arc<Dag> {
    let mut builder = DagBuilder::new(name, Timetable::Null);
    for position in 0..tasks {
        builder.task(Task::new(format!("t{position}")));
    }
    for position in 1..tasks {
        builder.edge("t0", format!("t{position}"));
    }
    builder.build().unwrap()
}

/// Ends one task with three successors and says how many task instances were looked at.
fn looked_at(known: usize, waiting: usize) -> u64 {
    let mut toy = Toy::new(Config { parallelism: 4, ..Config::default() });
    for number in 0..known {
        toy.import(&dag(&format!("known{number}"), 4), false);
    }
    // One run that has many tasks waiting for a slot, and many runs that have one.
    toy.set_pool("busy", Some(0));
    let mut builder = DagBuilder::new("waiting", Timetable::Null);
    builder.dag_mut().limits.max_active_runs = u32::MAX;
    builder.dag_mut().limits.max_active_tasks = u32::MAX;
    for position in 0..waiting / 2 {
        let mut task = Task::new(format!("t{position}"));
        task.pool = if position % 2 == 0 { "busy".to_owned() } else { "default_pool".to_owned() };
        builder.task(task);
    }
    toy.import(&dag("measured", 4), false);
    toy.trigger("measured", "r", None);
    toy.import(&builder.build().unwrap(), false);
    toy.trigger("waiting", "r", None);
    let mut builder = DagBuilder::new("many", Timetable::Null);
    builder.dag_mut().limits.max_active_runs = u32::MAX;
    builder.task(Task::new("t"));
    toy.import(&builder.build().unwrap(), false);
    for number in 0..waiting / 2 {
        toy.trigger("many", &format!("r{number}"), None);
    }
    let attempt = toy.alive.values().find(|start| start.ti.run.dag_id.as_str() == "measured").unwrap().attempt;
    let before = toy.scheduler.evaluations();
    toy.end(attempt, Outcome::Success);
    toy.scheduler.evaluations() - before
}

#[test]
fn a_task_that_ends_is_looked_at_only_by_its_successors_however_much_is_known_or_waits() {
    assert_eq!(looked_at(0, 0), 3);
    assert_eq!(looked_at(10_000, 5_000), 3);
}

/// `above` is mapped, and so is `below`, over as much; the two of a mapped group go item by item; `last` waits for all.
fn wide(width: usize, retries: u32) -> Arc<Dag> {
    let mut builder = DagBuilder::new("wide", Timetable::Null);
    builder.dag_mut().limits.max_active_tasks = u32::MAX;
    let over = || ExpandInput::Product(vec![("x".into(), MapValue::Literal(Arc::new(json!(vec![0; width]))))]);
    builder.dag_mut().groups.push(MappedGroup { group_id: "g".into(), parent: None, expand: over() });
    for name in ["above", "below", "first", "second", "last"] {
        let mut task = Task::new(name);
        task.pool = "wide".into();
        task.retries = retries;
        match name {
            "above" | "below" => task.expand = Some(Arc::new(over())),
            "first" | "second" => task.mapped_group = Some(GroupIndex(0)),
            _ => task.trigger_rule = TriggerRule::AllDone,
        }
        builder.task(task);
    }
    builder.edge("above", "below").edge("first", "second").edge("second", "last").edge("below", "last");
    builder.build().unwrap()
}

/// What happens to one of many task instances, or to its attempt.
type Happens = fn(&mut Toy, AttemptId, TaskInstanceKey);

/// How many task instances are looked at when something happens to one of so many.
fn looked_at_in_wide(width: usize, what: Happens) -> u64 {
    let mut toy = Toy::new(Config { parallelism: u32::MAX, ..Config::default() });
    toy.set_pool("wide", None);
    toy.import(&wide(width, 1), false);
    // A pool without bound.
    toy.tell(Event::PoolChanged { name: "wide".into(), slots: None, include_deferred: false });
    toy.trigger("wide", "r", None);
    assert_eq!(toy.alive.len(), 2 * width);
    let of = |toy: &Toy, task: &str, index: i32| {
        let is_it = |start: &&StartAttempt| start.ti.task_id.as_str() == task && start.ti.map_index.0 == index;
        toy.alive.values().find(is_it).map(|start| (start.attempt, start.ti.key())).unwrap()
    };
    // Some have ended before.
    for index in 0..width as i32 / 2 {
        for task in ["above", "first"] {
            let (attempt, _) = of(&toy, task, index);
            toy.end(attempt, Outcome::Success);
        }
    }
    let mut most = 0;
    for task in ["above", "first"] {
        let (attempt, key) = of(&toy, task, width as i32 - 2);
        let before = toy.scheduler.evaluations();
        what(&mut toy, attempt, key);
        most = most.max(toy.scheduler.evaluations() - before);
    }
    most
}

#[test]
fn what_happens_to_one_of_many_instances_costs_the_same_however_many_there_are() {
    let events: [(&str, Happens); 6] = [
        ("success", |toy, attempt, _| drop(toy.end(attempt, Outcome::Success))),
        ("a retry", |toy, attempt, _| drop(toy.end(attempt, Outcome::Failed))),
        ("cut off", |toy, attempt, _| drop(toy.end(attempt, Outcome::Interrupted))),
        ("later again", |toy, attempt, _| {
            let at = toy.now;
            toy.end(attempt, Outcome::Reschedule { at });
        }),
        ("marked", |toy, _, key| {
            let mark_as = MarkAs::Success;
            let tasks = vec![(key.task_id.clone(), Some(key.map_index))];
            let mark = Mark { reply: ReplyId(0), run: key.run, mark_as, tasks, resume: vec![] };
            toy.tell(Event::Mark(Box::new(mark)));
        }),
        ("cleared", |toy, attempt, key| {
            toy.end(attempt, Outcome::Success);
            let (reply, run, tasks) = (ReplyId(0), key.run, vec![(key.task_id, Some(key.map_index))]);
            let (restart_run, on_latest_version, keep_running) = (true, false, false);
            let clear = Clear { reply, run, tasks, restart_run, on_latest_version, keep_running };
            toy.tell(Event::Clear(Box::new(clear)));
        }),
    ];
    for (name, what) in events {
        let counts = [10, 100, 1000].map(|width| looked_at_in_wide(width, what));
        assert!(counts.iter().all(|count| *count == counts[0]), "{name}: {counts:?}");
    }
}
