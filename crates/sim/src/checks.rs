//! What must hold in every history.

use std::collections::BTreeMap;

use model::trigger_rule::Verdict;
use model::{Dag, DagRun, DagRunState, RunKey, TaskId, TaskInstance, TaskState};
use scheduler::StartAttempt;
use store::{Page, RunFilter, RunStore};

use crate::dags::POOLS;
use crate::oracle;
use crate::world::World;

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation(pub String);

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}

/// The store of a history never fails to answer.
fn read<T>(result: store::Result<T>) -> Result<T, Violation> {
    result.map_err(|error| Violation(format!("the store does not answer: {error}")))
}

/// An attempt is about to run: it must be the one that the store has, and nothing may stand in its way.
pub(crate) fn at_start(world: &World, attempt: &StartAttempt) -> Result<(), Violation> {
    let ti = &attempt.ti;
    let key = ti.key();
    let known = read(world.store.task_instance(&key))?;
    let is_queued = known.as_ref().is_some_and(|known| known.id == ti.id && known.state == TaskState::Queued);
    // A store that took a batch and could not say so is ahead of what is done.
    ensure(is_queued || world.is_behind(), || {
        format!("{key} starts as {} before that is durable; the store has {known:?}", ti.id)
    })?;
    let same_try = world.tries.get(&(key.clone(), ti.try_number));
    ensure(same_try.is_none() || world.may_start_again.contains(&ti.id), || {
        format!("{key} runs its try {} twice", ti.try_number)
    })?;
    let twin = world.alive.values().find(|other| other.ti.key() == key);
    ensure(twin.is_none(), || format!("{key} runs while an attempt of it is alive"))?;
    limits(world, attempt)?;
    nothing_before_its_time(world, attempt)
}

fn limits(world: &World, attempt: &StartAttempt) -> Result<(), Violation> {
    let alive = || world.alive.values().map(|other| &other.ti).chain([&attempt.ti]);
    let count = alive().count();
    ensure(count <= world.config.parallelism as usize, || format!("{count} attempts run at once"))?;
    for (pool, size) in POOLS {
        let used: u32 = alive().filter(|ti| &*ti.pool == pool).map(|ti| ti.pool_slots).sum();
        ensure(used <= size, || format!("{used} slots of pool {pool} are in use, and it has {size}"))?;
    }
    let in_run = alive().filter(|ti| ti.run == attempt.ti.run).count();
    let limit = attempt.dag.limits.max_active_tasks as usize;
    ensure(in_run <= limit, || format!("{in_run} attempts of {} run at once, and {limit} may", attempt.ti.run))?;
    let task = attempt.dag.task(attempt.task);
    if let Some(limit) = task.max_active_tis_per_dag {
        let same = alive().filter(|ti| ti.run.dag_id == attempt.ti.run.dag_id && ti.task_id == task.task_id).count();
        ensure(same <= limit as usize, || format!("{same} attempts of {} run at once, and {limit} may", task.task_id))?;
    }
    Ok(())
}

fn nothing_before_its_time(world: &World, attempt: &StartAttempt) -> Result<(), Violation> {
    let ti = &attempt.ti;
    if world.is_behind() {
        return Ok(());
    }
    let states = states_of(&read(world.store.task_instances_of(&ti.run))?);
    let verdict = oracle::verdict(&attempt.dag, attempt.task, &states);
    ensure(verdict == Verdict::Run, || {
        format!("{} runs although its trigger rule says {verdict:?}: {states:?}", ti.key())
    })?;
    let run = read(world.store.run(&ti.run))?;
    ensure(run.as_ref().is_some_and(|run| run.state == DagRunState::Running), || {
        format!("{} runs although its run is {:?}", ti.key(), run.map(|run| run.state))
    })?;
    let task = attempt.dag.task(attempt.task);
    let (true, Some(logical_date)) = (task.depends_on_past, attempt.run.logical_date) else { return Ok(()) };
    let before = read(world.store.run_before(&ti.run.dag_id, logical_date, attempt.dag.catchup))?;
    let Some(before) = before else { return Ok(()) };
    let past = states_of(&read(world.store.task_instances_of(&before.key))?);
    let done = past.get(&task.task_id).is_none_or(|state| state.is_success());
    // A run with an earlier date that was made after this task had been found ready has come too late.
    let tries = read(world.store.archived_tries(&ti.key()))?;
    let found_ready = tries.iter().map(|old| old.task_instance.scheduled_at).chain([ti.scheduled_at]).min().flatten();
    let came_later = before.queued_at >= found_ready;
    ensure(done || came_later, || format!("{} runs although it failed, or has not ended, in {}", ti.key(), before.key))
}

fn states_of(task_instances: &[TaskInstance]) -> BTreeMap<TaskId, TaskState> {
    task_instances.iter().map(|ti| (ti.task_id.clone(), ti.state)).collect()
}

/// Nothing is going to happen any more: everything must have come to its end, and to the right one.
pub(crate) fn at_the_end(world: &World) -> Result<(), Violation> {
    let (runs, _) = read(world.store.runs(&RunFilter::default(), &[], Page::ALL))?;
    for run in &runs {
        let Some((_, sim)) = world.dags.iter().find(|(_, sim)| sim.dag.dag_id == run.key.dag_id) else { continue };
        if !run.state.is_finished() {
            // Waiting for a past that failed is waiting for a person, and so is waiting behind one who does.
            ensure(sim.dag.depends_on_past(), || format!("{} never ends", run.key))?;
            continue;
        }
        finished_run(world, &sim.dag, run)?;
    }
    Ok(())
}

fn finished_run(world: &World, dag: &Dag, run: &DagRun) -> Result<(), Violation> {
    let task_instances = read(world.store.task_instances_of(&run.key))?;
    for ti in &task_instances {
        ensure(!ti.state.is_executing() && ti.state != TaskState::Scheduled, || {
            format!("{} has ended, and {} is {}", run.key, ti.task_id, ti.state)
        })?;
        let tries = read(world.store.archived_tries(&ti.key()))?;
        ensure(tries.iter().all(|old| old.task_instance.id != ti.id), || {
            format!("the current try of {} is among its old ones", ti.key())
        })?;
    }
    let Some(expected) = oracle::expected(world.seed, dag, &task_instances) else { return Ok(()) };
    let states = states_of(&task_instances);
    ensure(states == expected.states, || differing(&run.key, &states, &expected.states))?;
    ensure(run.state == expected.run, || format!("{} is {} and should be {}", run.key, run.state, expected.run))
}

fn differing(run: &RunKey, states: &BTreeMap<TaskId, TaskState>, expected: &BTreeMap<TaskId, TaskState>) -> String {
    let lines: Vec<String> = expected
        .iter()
        .filter(|(task, state)| states.get(*task) != Some(*state))
        .map(|(task, state)| format!("{task} is {:?} and should be {state}", states.get(task)))
        .collect();
    format!("{run}: {}", lines.join("; "))
}
