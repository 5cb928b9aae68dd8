//! What the scheduler does is counted, not timed: looking at a task instance is the unit of its work.

use std::sync::Arc;

use model::timetable::Timetable;
use model::{Dag, DagBuilder, Task};
use scheduler::{Config, Outcome};

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
    let mut toy = Toy::new(Config { parallelism: 4 });
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
