//! Effective priority weights.

use std::collections::VecDeque;

use crate::dag::Dag;
use crate::id::TaskIndex;
use crate::task::WeightRule;

/// The weight that decides who goes first when slots are short. It saturates like Airflow's 32-bit column.
pub fn effective_weight(dag: &Dag, task: TaskIndex) -> i32 {
    let own = dag.task(task).priority_weight;
    match dag.task(task).weight_rule {
        // A strategy in Python is asked before its tasks run; where it does not answer they weigh what they say.
        WeightRule::Absolute | WeightRule::Custom(_) => own,
        WeightRule::Downstream => saturating_sum(dag, own, task, |dag, task| &dag.task(task).downstream),
        WeightRule::Upstream => saturating_sum(dag, own, task, |dag, task| &dag.task(task).upstream),
    }
}

fn saturating_sum(dag: &Dag, own: i32, start: TaskIndex, next: fn(&Dag, TaskIndex) -> &Vec<TaskIndex>) -> i32 {
    let sum =
        reachable(dag, start, next).into_iter().map(|task| i64::from(dag.task(task).priority_weight)).sum::<i64>();
    (i64::from(own) + sum).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Every task that can be reached from `start` by steps of `next`, each once, `start` itself left out.
pub fn reachable(dag: &Dag, start: TaskIndex, next: fn(&Dag, TaskIndex) -> &Vec<TaskIndex>) -> Vec<TaskIndex> {
    let mut seen = vec![false; dag.tasks().len()];
    let mut found = Vec::new();
    let mut queue: VecDeque<TaskIndex> = next(dag, start).iter().copied().collect();
    while let Some(task) = queue.pop_front() {
        if !std::mem::replace(&mut seen[task.at()], true) {
            found.push(task);
            queue.extend(next(dag, task));
        }
    }
    found
}
