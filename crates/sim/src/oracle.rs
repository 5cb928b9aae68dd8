//! What a run must come to, worked out slowly and plainly: look at everything again until nothing changes.

use std::collections::{BTreeMap, BTreeSet};

use model::trigger_rule::{TriggerRule, UpstreamCounts, Verdict, evaluate, evaluate_indirect_setups};
use model::{
    Dag, DagRunState, Execution, MapIndex, RunKey, TaskId, TaskIndex, TaskInstance, TaskInstanceKey, TaskState,
};

use crate::dags::{Plan, left_out, returned_length, wild_branches};

/// The states of a run's task instances.
pub type States = BTreeMap<(TaskId, MapIndex), TaskState>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    pub states: States,
    pub run: DagRunState,
}

pub fn states_of(task_instances: &[TaskInstance]) -> States {
    task_instances.iter().map(|ti| ((ti.task_id.clone(), ti.map_index), ti.state)).collect()
}

/// The states of a task's instances.
pub fn of_task<'a>(states: &'a States, task_id: &'a TaskId) -> impl Iterator<Item = TaskState> + 'a {
    states.iter().filter(move |((other, _), _)| other == task_id).map(|(_, state)| *state)
}

/// What a task's rule says, given the states of a run.
pub fn verdict(dag: &Dag, task: TaskIndex, map_index: MapIndex, states: &States) -> Verdict {
    let by_rule = verdict_of_rule(dag, task, map_index, states);
    // What is mapped over must be there.
    let of_sources = dag
        .map_sources(task)
        .iter()
        .filter_map(|source| states.get(&(dag.task(*source).task_id.clone(), MapIndex::NONE)).copied());
    let of_sources: Vec<TaskState> = of_sources.collect();
    match by_rule {
        Verdict::Set(_) => by_rule,
        _ if of_sources.iter().any(|state| state.is_failure()) => Verdict::Set(TaskState::UpstreamFailed),
        _ if of_sources.contains(&TaskState::Skipped) => Verdict::Set(TaskState::Skipped),
        _ if of_sources.contains(&TaskState::Removed) => Verdict::Wait,
        _ => by_rule,
    }
}

fn verdict_of_rule(dag: &Dag, task: TaskIndex, map_index: MapIndex, states: &States) -> Verdict {
    let definition = dag.task(task);
    let count = |tasks: &[TaskIndex]| {
        let counts_instances = tasks.iter().any(|above| dag.task(*above).needs_expansion());
        let mut counts = UpstreamCounts::default();
        for above in tasks {
            let above = dag.task(*above);
            let of_above: Vec<TaskState> = of_task(states, &above.task_id).collect();
            // A task that the run does not have counts, unless there may be several instances of some.
            let total = if counts_instances { of_above.len() as u32 } else { 1 };
            counts.total += total;
            counts.total_setup += if above.is_setup { total } else { 0 };
            of_above.iter().for_each(|state| counts.add(*state, above.is_setup));
        }
        counts
    };
    if definition.upstream.is_empty() || definition.trigger_rule == TriggerRule::Always {
        return Verdict::Run;
    }
    let setups = evaluate_indirect_setups(&count(dag.indirect_setups(task)), map_index.0);
    if let Verdict::Set(_) = setups {
        return setups;
    }
    let scope = count(dag.teardown_scope(task));
    match evaluate(definition.trigger_rule, &count(&definition.upstream), map_index.0) {
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
    let run = task_instances.first().map(|ti| ti.run.clone())?;
    let ids: BTreeSet<&TaskId> = task_instances.iter().map(|ti| &ti.task_id).collect();
    let mut states = States::new();
    for task_id in ids {
        let literal = dag.find(task_id.as_str()).and_then(|task| dag.count_instances(task, &|_| None));
        let is_mapped = dag.find(task_id.as_str()).is_some_and(|task| dag.task(task).needs_expansion());
        put_instances(&mut states, task_id, literal.filter(|count| is_mapped && *count > 0));
    }
    loop {
        let before = states.clone();
        for ((task_id, map_index), _) in before.iter().filter(|(_, state)| **state == TaskState::None) {
            let key = TaskInstanceKey { run: run.clone(), task_id: task_id.clone(), map_index: *map_index };
            move_on(seed, dag, &key, task_instances, &mut states)?;
        }
        if states == before {
            break;
        }
    }
    // What is mapped takes more than one round to come to its end.
    if dag.indices().any(|task| depends_on_order(dag, task, &states)) {
        return None;
    }
    let unfinished = states.values().any(|state| !state.is_finished());
    let failed = dag
        .indices()
        .filter(|task| dag.is_leaf(*task))
        .any(|task| of_task(&states, &dag.task(task).task_id).any(TaskState::is_failure));
    let run = if unfinished || failed { DagRunState::Failed } else { DagRunState::Success };
    Some(Expected { states, run })
}

/// One that stands for all, or so many.
fn put_instances(states: &mut States, task_id: &TaskId, count: Option<u64>) {
    let indexes = count.map_or(-1..0, |count| 0..i32::try_from(count).unwrap_or(i32::MAX));
    states.extend(indexes.map(|index| ((task_id.clone(), MapIndex(index)), TaskState::None)));
}

/// `None` where it depends on who comes first.
fn move_on(
    seed: u64,
    dag: &Dag,
    key: &TaskInstanceKey,
    task_instances: &[TaskInstance],
    states: &mut States,
) -> Option<()> {
    let place = (key.task_id.clone(), key.map_index);
    let Some(task) = dag.find(key.task_id.as_str()).filter(|_| states.get(&place) == Some(&TaskState::None)) else {
        return Some(());
    };
    if depends_on_order(dag, task, states) {
        return None;
    }
    let is_stand_in = dag.task(task).needs_expansion() && !key.map_index.is_mapped();
    let state = match verdict(dag, task, key.map_index, states) {
        Verdict::Wait => return Some(()),
        Verdict::Set(state) => state,
        Verdict::Run if is_stand_in => match length_of(seed, dag, task, &key.run, task_instances, states) {
            None => TaskState::UpstreamFailed,
            Some(0) => TaskState::Skipped,
            count => {
                states.remove(&place);
                put_instances(states, &key.task_id, count);
                return Some(());
            }
        },
        Verdict::Run if matches!(dag.task(task).execution, Execution::Empty) => TaskState::Success,
        Verdict::Run => run(seed, dag, key, states),
    };
    states.insert(place, state);
    Some(())
}

/// How many instances a task gets, when what it maps over has ended.
fn length_of(
    seed: u64,
    dag: &Dag,
    task: TaskIndex,
    run: &RunKey,
    task_instances: &[TaskInstance],
    states: &States,
) -> Option<u64> {
    let left = |source: &TaskId| -> Option<u32> {
        let definition = dag.task(dag.find(source.as_str())?);
        let returns = !matches!(definition.execution, Execution::Empty);
        let succeeded = |state: &TaskState| *state == TaskState::Success && returns;
        if definition.is_mapped() {
            return Some(
                states
                    .iter()
                    .filter(|((other, index), state)| other == source && index.is_mapped() && succeeded(state))
                    .count() as u32,
            );
        }
        let key = TaskInstanceKey { run: run.clone(), task_id: source.clone(), map_index: MapIndex::NONE };
        let tries = task_instances.iter().find(|ti| ti.key() == key).map_or(0, |ti| ti.try_number);
        states.get(&(source.clone(), MapIndex::NONE)).filter(|state| succeeded(state))?;
        returned_length(seed, &key, tries)
    };
    dag.count_instances(task, &left)
}

fn run(seed: u64, dag: &Dag, key: &TaskInstanceKey, states: &mut States) -> TaskState {
    let retries = dag.find(key.task_id.as_str()).map_or(0, |task| dag.task(task).retries);
    let state = Plan::of(seed, dag, key).final_state(retries);
    if state == TaskState::Success {
        let skipped = left_out(seed, dag, key);
        states
            .iter_mut()
            .filter(|((task, _), _)| skipped.contains(task))
            .for_each(|(_, state)| *state = TaskState::Skipped);
    }
    state
}

/// With a failure and a skip above, `all_success` takes the state of whichever came first.
fn depends_on_order(dag: &Dag, task: TaskIndex, states: &States) -> bool {
    let definition = dag.task(task);
    let above = definition.upstream.iter().chain(dag.indirect_setups(task));
    let of: Vec<TaskState> = above.flat_map(|above| of_task(states, &dag.task(*above).task_id)).collect();
    let early = matches!(
        definition.trigger_rule,
        TriggerRule::AllSuccess | TriggerRule::NoneFailedMinOneSuccess | TriggerRule::AllDoneMinOneSuccess
    ) || !dag.indirect_setups(task).is_empty();
    early && of.iter().any(|state| state.is_failure()) && of.contains(&TaskState::Skipped)
}
