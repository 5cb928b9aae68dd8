//! What a run must come to, worked out slowly and plainly: look at everything again until nothing changes.

use std::collections::BTreeMap;

use model::trigger_rule::{TriggerRule, UpstreamCounts, Verdict, evaluate, evaluate_indirect_setups};
use model::{Dag, DagRunState, Execution, TaskId, TaskIndex, TaskInstance, TaskState};

use crate::dags::{Plan, left_out, wild_branches};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    pub states: BTreeMap<TaskId, TaskState>,
    pub run: DagRunState,
}

/// What a task's rule says, given the states of a run. `None` for a task that the run does not have.
pub fn verdict(dag: &Dag, task: TaskIndex, states: &BTreeMap<TaskId, TaskState>) -> Verdict {
    let definition = dag.task(task);
    let count = |tasks: &[TaskIndex]| {
        let mut counts = UpstreamCounts::default();
        for above in tasks {
            let above = dag.task(*above);
            counts.total += 1;
            counts.total_setup += u32::from(above.is_setup);
            if let Some(state) = states.get(&above.task_id) {
                counts.add(*state, above.is_setup);
            }
        }
        counts
    };
    if definition.upstream.is_empty() || definition.trigger_rule == TriggerRule::Always {
        return Verdict::Run;
    }
    let setups = evaluate_indirect_setups(&count(dag.indirect_setups(task)), -1);
    if let Verdict::Set(_) = setups {
        return setups;
    }
    let scope = count(dag.teardown_scope(task));
    match evaluate(definition.trigger_rule, &count(&definition.upstream), -1) {
        Verdict::Run if setups == Verdict::Wait || scope.done() < scope.total => Verdict::Wait,
        verdict => verdict,
    }
}

/// The end of a run, or `None` where it depends on who comes first.
pub fn expected(seed: u64, dag: &Dag, task_instances: &[TaskInstance]) -> Option<Expected> {
    if dag.fail_fast || dag.dagrun_timeout.is_some() || dag.depends_on_past() {
        return None;
    }
    if wild_branches(seed) && dag.tasks().iter().any(|task| task.can_skip_downstream) {
        return None;
    }
    let mut states: BTreeMap<TaskId, TaskState> =
        task_instances.iter().map(|ti| (ti.task_id.clone(), TaskState::None)).collect();
    loop {
        let before = states.clone();
        for ti in task_instances {
            let Some(task) = dag.find(ti.task_id.as_str()) else { continue };
            if states.get(&ti.task_id) != Some(&TaskState::None) {
                continue;
            }
            if depends_on_order(dag, task, &states) {
                return None;
            }
            let state = match verdict(dag, task, &states) {
                Verdict::Wait => continue,
                Verdict::Set(state) => state,
                Verdict::Run if matches!(dag.task(task).execution, Execution::Empty) => TaskState::Success,
                Verdict::Run => run(seed, dag, ti, &mut states),
            };
            states.insert(ti.task_id.clone(), state);
        }
        if states == before {
            break;
        }
    }
    let unfinished = states.values().any(|state| !state.is_finished());
    let failed = dag
        .indices()
        .filter(|task| dag.is_leaf(*task))
        .any(|task| states.get(&dag.task(task).task_id).is_some_and(|state| state.is_failure()));
    let run = if unfinished || failed { DagRunState::Failed } else { DagRunState::Success };
    Some(Expected { states, run })
}

fn run(seed: u64, dag: &Dag, ti: &TaskInstance, states: &mut BTreeMap<TaskId, TaskState>) -> TaskState {
    let retries = dag.find(ti.task_id.as_str()).map_or(0, |task| dag.task(task).retries);
    let state = Plan::of(seed, dag, ti).final_state(retries);
    if state == TaskState::Success {
        for skipped in left_out(seed, dag, ti) {
            states.insert(skipped, TaskState::Skipped);
        }
    }
    state
}

/// With a failure and a skip above, `all_success` takes the state of whichever came first.
fn depends_on_order(dag: &Dag, task: TaskIndex, states: &BTreeMap<TaskId, TaskState>) -> bool {
    let definition = dag.task(task);
    let above = definition.upstream.iter().chain(dag.indirect_setups(task));
    let of: Vec<TaskState> = above.filter_map(|above| states.get(&dag.task(*above).task_id).copied()).collect();
    let early = matches!(
        definition.trigger_rule,
        TriggerRule::AllSuccess | TriggerRule::NoneFailedMinOneSuccess | TriggerRule::AllDoneMinOneSuccess
    ) || !dag.indirect_setups(task).is_empty();
    early && of.iter().any(|state| state.is_failure()) && of.contains(&TaskState::Skipped)
}
