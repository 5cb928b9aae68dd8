//! What must hold in every history.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use model::trigger_rule::Verdict;
use model::{
    Dag, DagRun, DagRunState, DeadlineAlert, DeadlineInterval, RunKey, RunType, Task, TaskIndex, TaskInstance,
    TaskState,
};
use scheduler::{Scheduler, StartAttempt};
use store::{CallbackStore, DagStore, Page, RunFilter, RunStore, XComStore};

use crate::dags::{SimDag, Version, has_fickle_lengths, wild_branches};
use crate::hitl;
use crate::oracle::{self, States, of_task, states_of};
use crate::world::World;

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation(pub String);

pub(crate) type Check = Result<(), Violation>;

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}

/// The store of a history never fails to answer.
pub(crate) fn read<T>(result: store::Result<T>) -> Result<T, Violation> {
    result.map_err(|error| Violation(format!("the store does not answer: {error}")))
}

/// An attempt is about to run: it must be the one that the store has, and nothing may stand in its way.
pub(crate) fn at_start(world: &World, attempt: &StartAttempt) -> Check {
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
    let suspension = read(world.store.suspension(&key))?;
    ensure(suspension.as_ref() == attempt.suspension.as_deref() || world.is_behind(), || {
        format!("{key} goes on with {:?}, and the store has {suspension:?}", attempt.suspension)
    })?;
    ensure(suspension.is_none_or(|next| next.trigger.is_none()) || world.is_behind(), || {
        format!("{key} goes on while it waits for a trigger")
    })?;
    let twin = world.alive.values().find(|other| other.ti.key() == key);
    ensure(twin.is_none(), || format!("{key} runs while an attempt of it is alive"))?;
    hitl::answer_is_told(world, attempt)?;
    limits(world, attempt)?;
    nothing_before_its_time(world, attempt)
}

fn limits(world: &World, attempt: &StartAttempt) -> Check {
    let alive: Vec<&TaskInstance> = world.alive.values().map(|other| &other.ti).chain([&attempt.ti]).collect();
    let count = alive.len();
    ensure(count <= world.config.parallelism as usize, || format!("{count} attempts run at once"))?;
    // A pool may have been made smaller than what is in use; then nothing more may start in it.
    let pool = &attempt.ti.pool;
    let used: u32 = alive.iter().filter(|ti| ti.pool == *pool).map(|ti| ti.pool_slots).sum();
    let size = world.pools.get(&**pool).copied();
    ensure(size.is_some_and(|size| size.is_none_or(|size| used <= size)), || {
        format!("{used} slots of pool {pool} are in use, and it has {size:?}")
    })?;
    let in_run = alive.iter().filter(|ti| ti.run == attempt.ti.run).count();
    let limit = limits_of(world, &attempt.ti.run, |dag| dag.limits.max_active_tasks);
    ensure(in_run <= limit as usize, || format!("{in_run} attempts of {} run at once", attempt.ti.run))?;
    let (runs, _) = read(world.store.runs(&running(), &[], Page::ALL))?;
    let counts = |run: &&DagRun| run.key.dag_id == attempt.ti.run.dag_id && run.run_type != RunType::Backfill;
    let runs = runs.iter().filter(counts).count();
    crate::backfills::limit(world, &attempt.run)?;
    let limit = limits_of(world, &attempt.ti.run, |dag| dag.limits.max_active_runs);
    ensure(runs <= limit as usize, || format!("{runs} runs of {} at once", attempt.ti.run.dag_id))?;
    let task = attempt.dag.task(attempt.task);
    let same_task = |ti: &&&TaskInstance| ti.run.dag_id == attempt.ti.run.dag_id && ti.task_id == task.task_id;
    // What is deferred or waits for people counts for its task. What begins with a trigger is not asked for a slot.
    let mut outside = Vec::new();
    let is_limited = task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some();
    if is_limited && task.start_trigger.is_none() {
        let (runs, _) = read(world.store.runs(&running(), &[], Page::ALL))?;
        for run in runs.iter().filter(|run| run.key.dag_id == attempt.ti.run.dag_id) {
            outside.extend(read(world.store.task_instances_of(&run.key))?);
        }
        outside.retain(|ti| ti.state.is_suspended());
    }
    let alive: Vec<&TaskInstance> = alive.into_iter().chain(&outside).collect();
    if let Some(limit) = task.max_active_tis_per_dag {
        let same = alive.iter().filter(same_task).count();
        ensure(same <= limit as usize, || format!("{same} attempts of {} run at once, and {limit} may", task.task_id))?;
    }
    if let Some(limit) = task.max_active_tis_per_dagrun {
        let same = alive.iter().filter(same_task).filter(|ti| ti.run == attempt.ti.run).count();
        ensure(same <= limit as usize, || format!("{same} attempts of {} run in one run", task.task_id))?;
    }
    Ok(())
}

/// The most generous of the limits that a Dag has had: the engine may not have heard of the last one yet.
fn limits_of(world: &World, run: &RunKey, limit: fn(&Dag) -> u32) -> u32 {
    let sim = world.dags.iter().find(|sim| sim.dag_id == run.dag_id);
    sim.and_then(|sim| sim.versions.iter().map(|version| limit(&version.dag)).max()).unwrap_or(0)
}

fn nothing_before_its_time(world: &World, attempt: &StartAttempt) -> Check {
    let ti = &attempt.ti;
    // What goes on was found ready when it began.
    if world.is_behind() || attempt.suspension.is_some() {
        return Ok(());
    }
    let of_run = read(world.store.task_instances_of(&ti.run))?;
    let states = states_of(&of_run);
    let verdict = oracle::verdict(&attempt.dag, attempt.task, ti.map_index, &states);
    // What was found ready stays ready, though its Dag is changed, or a branch makes a skip of what had failed above.
    let skipped_since = |other: &TaskInstance| other.state == TaskState::Skipped && other.end_date >= ti.scheduled_at;
    let cut_off = was_cut_off(world, ti)?;
    let skipped_meanwhile = wild_branches(world.seed) && (cut_off || of_run.iter().any(skipped_since));
    // And so does what was cleared above it.
    let is_meddled = world.by_hand.contains(&ti.run);
    // Other instances of a task that failed go on, while that ends everything else.
    let goes_on = attempt.dag.fail_fast && of_task(&states, &ti.task_id).any(|state| state == TaskState::Failed);
    let was_ready = was_changed(world, &ti.run) || skipped_meanwhile || is_meddled || goes_on;
    ensure(verdict == Verdict::Run || was_ready, || {
        format!("{} runs although its trigger rule says {verdict:?}: {states:?}", ti.key())
    })?;
    // What executed when the branch spoke is not touched; if it was cut off, it runs again.
    // And an instance that was ready by then is not found by the name that the branch has for its task.
    let was_found = !(wild_branches(world.seed) && ti.map_index.is_mapped());
    let left_out = was_found && !cut_off && is_left_out(world, attempt, &states)?;
    ensure(!left_out || was_changed(world, &ti.run) || is_meddled, || {
        format!("{} runs although a branch left it out", ti.key())
    })?;
    let run = read(world.store.run(&ti.run))?;
    let date = run.as_ref().and_then(|run| run.logical_date);
    ensure(run.as_ref().is_some_and(|run| run.state == DagRunState::Running), || {
        format!("{} runs although its run is {:?}", ti.key(), run.as_ref().map(|run| run.state))
    })?;
    ensure(run.is_some_and(|run| run.run_after <= world.now) && date.is_none_or(|date| date <= world.now), || {
        format!("{} runs although its run's time has not come", ti.key())
    })?;
    let failed = states.values().any(|state| *state == TaskState::Failed);
    let is_too_late = attempt.dag.fail_fast && failed && !attempt.dag.task(attempt.task).is_teardown;
    let is_cleared = world.cleared.contains_key(&ti.run);
    ensure(!is_too_late || goes_on || was_changed(world, &ti.run) || is_cleared, || {
        format!("{} runs although another task failed", ti.key())
    })?;
    ensure(is_cleared || delay_is_over(world, attempt)?, || format!("{} tries again too early", ti.key()))?;
    let task = attempt.dag.task(attempt.task);
    if past_allows(world, &attempt.dag, task, &attempt.run)? {
        return Ok(());
    }
    // A run with an earlier date that was made after this task had been found ready has come too late.
    let before = run_before(world, &attempt.dag, &attempt.run)?;
    let tries = read(world.store.archived_tries(&ti.key()))?;
    let found_ready = tries.iter().map(|old| old.task_instance.scheduled_at).chain([ti.scheduled_at]).min().flatten();
    let came_before = world.thinned.contains(&ti.run.dag_id)
        || world.by_hand.iter().any(|run| run.dag_id == ti.run.dag_id)
        || world.cleared.keys().any(|run| run.dag_id == ti.run.dag_id);
    let came_later = came_before || before.as_ref().is_some_and(|before| before.queued_at >= found_ready);
    // And so has a Dag that began to ask for it.
    ensure(came_later || was_changed(world, &ti.run), || {
        format!("{} runs although it failed, or has not ended, in {:?}", ti.key(), before.map(|before| before.key))
    })
}

/// Whether a branch above that has ended left the task out.
fn is_left_out(world: &World, attempt: &StartAttempt, states: &States) -> Result<bool, Violation> {
    let task = attempt.dag.task(attempt.task);
    for branch in task.upstream.iter().map(|above| attempt.dag.task(*above)) {
        let has_ended = of_task(states, &branch.task_id).any(TaskState::is_finished);
        if !branch.can_skip_downstream || !has_ended {
            continue;
        }
        let left = read(world.store.xcoms(&attempt.ti.run, Some(&branch.task_id), None, None))?;
        let names = left.iter().filter_map(|xcom| xcom.value["skipped"].as_array()).flatten();
        if names.into_iter().any(|name| name.as_str() == Some(task.task_id.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the delay after the last failure, if the try before failed by itself, is over.
fn delay_is_over(world: &World, attempt: &StartAttempt) -> Result<bool, Violation> {
    let task = attempt.dag.task(attempt.task);
    let tries = read(world.store.archived_tries(&attempt.ti.key()))?;
    let Some(last) = tries.last().map(|last| &last.task_instance) else { return Ok(true) };
    let plain = task.retry_exponential_backoff == 0.0 && !was_cut_off(world, &attempt.ti)?;
    let due = last.end_date.and_then(|end| end.checked_add(task.retry_delay).ok());
    Ok(!plain || was_changed(world, &attempt.ti.run) || due.is_none_or(|due| due <= world.now))
}

/// Whether the try before was cut off: then it got a try more.
fn was_cut_off(world: &World, ti: &TaskInstance) -> Result<bool, Violation> {
    let tries = read(world.store.archived_tries(&ti.key()))?;
    Ok(tries.last().is_some_and(|last| last.task_instance.max_tries != ti.max_tries))
}

/// Whether a run's Dag has ever been written anew.
fn was_changed(world: &World, run: &RunKey) -> bool {
    world.dags.iter().any(|sim| sim.dag_id == run.dag_id && sim.versions.len() > 1)
}

fn run_before(world: &World, dag: &Dag, run: &DagRun) -> Result<Option<DagRun>, Violation> {
    let Some(logical_date) = run.logical_date else { return Ok(None) };
    read(world.store.run_before(&run.key.dag_id, logical_date, dag.catchup))
}

/// Whether the run before lets a task run.
fn past_allows(world: &World, dag: &Dag, task: &Task, run: &DagRun) -> Result<bool, Violation> {
    // A backfill begins by itself.
    if !task.depends_on_past || run.backfill.is_some_and(|place| place.ordinal == 1) {
        return Ok(true);
    }
    let Some(before) = run_before(world, dag, run)? else { return Ok(true) };
    let past = states_of(&read(world.store.task_instances_of(&before.key))?);
    let below = task.downstream.iter().map(|below| &dag.task(*below).task_id);
    let downstream_done =
        !task.wait_for_downstream || below.into_iter().all(|below| of_task(&past, below).all(TaskState::is_success));
    // If it was in no run before, it begins, or it waits for ever.
    let is_new = of_task(&past, &task.task_id).next().is_none();
    let has_succeeded = of_task(&past, &task.task_id).all(TaskState::is_success);
    Ok(if is_new { task.ignore_first_depends_on_past } else { has_succeeded && downstream_done })
}

/// A run ends by its time being up when it is, and does not go on when it is. What a run may have lost while nobody
/// could look at it is made allowance for.
pub(crate) fn time_of_run(world: &World, run: &DagRun, reason: &str) -> Check {
    let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == run.key.dag_id) else { return Ok(()) };
    if was_changed(world, &run.key) {
        return Ok(());
    }
    let (Some(timeout), Some(took)) = (sim.newest().dag.dagrun_timeout, run.duration()) else {
        return ensure(reason != "timed_out", || format!("{} has no timeout and timed out", run.key));
    };
    ensure(reason != "timed_out" || took >= timeout, || format!("{} timed out too early", run.key))?;
    let latest = timeout + world.deafness() + SignedDuration::from_secs(1);
    ensure(took <= latest || sim.held_back, || format!("{} took {took:?} and may take {timeout:?}", run.key))
}

/// Every run that people were told of exists.
pub(crate) fn promises(world: &World) -> Check {
    for key in &world.promised {
        ensure(read(world.store.run(key))?.is_some(), || format!("{key} was promised and is lost"))?;
    }
    for (key, count) in &world.cleared {
        let cleared = read(world.store.run(key))?.map_or(0, |run| run.clear_number);
        ensure(cleared >= *count, || format!("{key} was cleared {count} times, and knows of {cleared}"))?;
    }
    Ok(())
}

/// Nobody waits for a slot that is free, and nobody has taken one before somebody who is more important: whoever is
/// scheduled must find no room beside those who execute and are at least as important.
pub(crate) fn nobody_waits_for_nothing(world: &World) -> Check {
    let Some(core) = world.core.as_ref().filter(|_| !world.is_behind()) else { return Ok(()) };
    if world.has_news() {
        return Ok(());
    }
    triggers_run(world, core.scheduler())?;
    crate::backfills::nobody_waits_for_nothing(world)?;
    hitl::answers_are_kept(world)?;
    let executing = core.scheduler().attempts_in_flight().count();
    if executing >= world.config.parallelism as usize {
        return Ok(());
    }
    let (runs, _) = read(world.store.runs(&running(), &[], Page::ALL))?;
    let mut all = Vec::new();
    for run in &runs {
        all.extend(read(world.store.task_instances_of(&run.key))?);
    }
    hitl::nobody_waits_for_an_answer(world, &all)?;
    let holding: Vec<&TaskInstance> = all.iter().filter(|ti| ti.state.is_executing()).collect();
    let active: Vec<&TaskInstance> =
        all.iter().filter(|ti| ti.state.is_executing() || ti.state.is_suspended()).collect();
    for waiting in all.iter().filter(|ti| ti.state == TaskState::Scheduled) {
        let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == waiting.run.dag_id) else { continue };
        let record = read(world.store.dag(&sim.dag_id))?;
        let Some(run) = read(world.store.run(&waiting.run))? else { continue };
        let (dag, held) = (sim.structure_of(&run), record.is_none_or(|record| record.paused || record.stale));
        let Some(task) = dag.find(waiting.task_id.as_str()) else { continue };
        let free = has_room(world, dag, task, waiting, &holding, &active);
        ensure(held || sim.broken || world.is_draining() || !free, || {
            format!("{} waits for a slot, and there is room", waiting.key())
        })?;
    }
    Ok(())
}

/// Whatever is deferred has a trigger that runs, or that the engine waits for; and nothing else runs.
fn triggers_run(world: &World, scheduler: &Scheduler) -> Check {
    let (runs, _) = read(world.store.runs(&running(), &[], Page::ALL))?;
    let mut awaited = BTreeSet::new();
    for suspension in
        runs.iter().map(|run| read(world.store.suspensions_of(&run.key))).collect::<Result<Vec<_>, _>>()?.concat()
    {
        let Some(trigger) = &suspension.trigger else { continue };
        let sim = world.dags.iter().find(|sim| sim.dag_id == suspension.key.run.dag_id);
        let is_loaded = sim.is_some_and(|sim| !sim.broken);
        let runs =
            scheduler.is_awaited(trigger.id) && (trigger.timer.is_some() || world.armed.contains_key(&trigger.id));
        ensure(runs || !is_loaded, || format!("{} waits for {trigger:?}, which does not run", suspension.key))?;
        awaited.insert(trigger.id);
    }
    let idle = world.armed.keys().find(|trigger| !awaited.contains(*trigger));
    ensure(idle.is_none(), || format!("trigger {idle:?} runs, and nobody waits for it"))
}

fn running() -> RunFilter {
    RunFilter { states: vec![DagRunState::Running], ..RunFilter::default() }
}

/// `holding` are those that execute; with those that wait outside of a process they are `active`.
fn has_room(
    world: &World,
    dag: &Dag,
    task: TaskIndex,
    ti: &TaskInstance,
    holding: &[&TaskInstance],
    active: &[&TaskInstance],
) -> bool {
    let task = dag.task(task);
    let used: u32 = holding.iter().filter(|other| other.pool == ti.pool).map(|other| other.pool_slots).sum();
    let fits = match world.pools.get(&*ti.pool) {
        Some(Some(size)) => used + ti.pool_slots <= *size,
        Some(None) => true,
        None => false,
    };
    let in_run = holding.iter().filter(|other| other.run == ti.run).count();
    let same = |other: &&&TaskInstance| other.run.dag_id == ti.run.dag_id && other.task_id == ti.task_id;
    let below = |limit: Option<u32>, count: usize| limit.is_none_or(|limit| count < limit as usize);
    // This one limit is always that of the newest structure.
    let newest = world.dags.iter().find(|sim| sim.dag_id == ti.run.dag_id).map_or(dag, |sim| &sim.newest().dag);
    fits && in_run < newest.limits.max_active_tasks as usize
        && below(task.max_active_tis_per_dag, active.iter().filter(same).count())
        && below(task.max_active_tis_per_dagrun, active.iter().filter(same).filter(|other| other.run == ti.run).count())
}

/// Of those that one step has started, nobody may have passed somebody who waits on and is more important.
pub(crate) fn order_of_starts(world: &World, started: &[&StartAttempt]) -> Check {
    for start in started {
        let dag = &start.dag;
        let run = &start.run;
        for other in read(world.store.task_instances_of(&run.key))? {
            let Some(task) = dag.find(other.task_id.as_str()).filter(|_| other.state == TaskState::Scheduled) else {
                continue;
            };
            // Within one run and one pool, with as many slots and no limits of their own, weight alone decides.
            let (a, b) = (dag.task(start.task), dag.task(task));
            let alike = other.pool == start.ti.pool && other.pool_slots <= start.ti.pool_slots;
            let free = b.max_active_tis_per_dag.is_none() && b.max_active_tis_per_dagrun.is_none();
            let passed = Reverse(start.ti.priority_weight) > Reverse(other.priority_weight);
            ensure(!(alike && free && passed), || {
                format!("{} starts before {}, which weighs more", a.task_id, other.key())
            })?;
        }
    }
    Ok(())
}

/// Nothing is going to happen any more: everything must have come to its end, and to the right one.
pub(crate) fn at_the_end(world: &World) -> Check {
    promises(world)?;
    hitl::answers_are_kept(world)?;
    let owed = read(world.store.callbacks())?;
    let open = read(world.store.deadlines())?;
    ensure(open.is_empty(), || format!("these deadlines were never met or missed: {open:?}"))?;
    ensure(owed.is_empty(), || format!("these callbacks were never called: {owed:?}"))?;
    let (runs, _) = read(world.store.runs(&RunFilter::default(), &[], Page::ALL))?;
    for run in &runs {
        let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == run.key.dag_id) else { continue };
        match run.state {
            DagRunState::Queued if crate::backfills::may_wait(world, run) => {}
            DagRunState::Queued => queued_for_ever(sim, run, &runs)?,
            DagRunState::Running => running_for_ever(world, sim, run)?,
            _ => finished_run(world, sim, run)?,
        }
    }
    world.dags.iter().try_for_each(|sim| schedule_is_served(world, sim, &runs))?;
    crate::backfills::at_the_end(world)?;
    crate::assets::at_the_end(world)?;
    crate::partitions::at_the_end(world)
}

/// A run may wait behind others that wait for people.
fn queued_for_ever(sim: &SimDag, run: &DagRun, runs: &[DagRun]) -> Check {
    let same_dag = |other: &&DagRun| other.key.dag_id == run.key.dag_id;
    let running = runs.iter().filter(same_dag).filter(|other| other.state == DagRunState::Running).count();
    ensure(running >= sim.newest().dag.limits.max_active_runs as usize, || format!("{} never starts", run.key))
}

/// A run may wait for a past that failed: that is waiting for people.
fn running_for_ever(world: &World, sim: &SimDag, run: &DagRun) -> Check {
    let dag = sim.structure_of(run);
    let states = states_of(&read(world.store.task_instances_of(&run.key))?);
    let mut waits_for_past = false;
    for ((task_id, map_index), state) in states.iter().filter(|(_, state)| !state.is_finished()) {
        let Some(task) = dag.find(task_id.as_str()) else { return Err(Violation(format!("{task_id} is left behind"))) };
        let verdict = oracle::verdict(dag, task, *map_index, &states);
        let past = past_allows(world, dag, dag.task(task), run)?;
        let stands_still = matches!(state, TaskState::None | TaskState::UpForRetry | TaskState::UpForReschedule);
        let first_is_possible = dag.task(task).ignore_first_depends_on_past;
        ensure(
            stands_still && (verdict == Verdict::Wait || (verdict == Verdict::Run && (!past || first_is_possible))),
            || format!("{}/{task_id} is left as {state}, and its rule says {verdict:?}", run.key),
        )?;
        waits_for_past |= dag.task(task).depends_on_past
            || dag.task(task).max_active_tis_per_dag.is_some()
            || dag.task(task).max_active_tis_per_dagrun.is_some();
    }
    ensure(waits_for_past, || format!("{} never ends", run.key))
}

fn finished_run(world: &World, sim: &SimDag, run: &DagRun) -> Check {
    let task_instances = read(world.store.task_instances_of(&run.key))?;
    let left = read(world.store.suspensions_of(&run.key))?;
    ensure(left.is_empty(), || format!("{} has ended, and left behind {left:?}", run.key))?;
    for ti in &task_instances {
        let is_over = !ti.state.is_executing() && !ti.state.is_suspended() && ti.state != TaskState::Scheduled;
        ensure(is_over, || format!("{} has ended, and {} is {}", run.key, ti.task_id, ti.state))?;
        let tries = read(world.store.archived_tries(&ti.key()))?;
        ensure(tries.iter().all(|old| old.task_instance.id != ti.id), || {
            format!("the current try of {} is among its old ones", ti.key())
        })?;
    }
    keeps_to_its_version(world, run, &task_instances)?;
    was_told(world, sim, run)?;
    deadline(world, sim, run)?;
    if world.by_hand.contains(&run.key) {
        // What it came to depends on when.
        return Ok(());
    }
    let is_cleared = world.cleared.contains_key(&run.key);
    // It may say that it is of a version that some of its tasks have not run with; and what is mapped over what was
    // cleared stays as it is, however long that is now.
    if is_cleared && (was_changed(world, &run.key) || has_fickle_lengths(world.seed)) {
        return Ok(());
    }
    // What a run comes to whose Dag was changed on the way depends on when.
    let all_of = |version: &&Version| {
        version.id == run.version
            && task_instances.iter().all(|ti| ti.version == run.version && ti.state != TaskState::Removed)
    };
    let Some(version) = sim.versions.iter().find(all_of) else { return Ok(()) };
    let Some(expected) = oracle::expected(world.seed, &version.dag, &task_instances) else { return Ok(()) };
    let states = states_of(&task_instances);
    ensure(states == expected.states, || differing(&run.key, &states, &expected.states))?;
    ensure(run.state == expected.run, || format!("{} is {} and should be {}", run.key, run.state, expected.run))
}

/// A run that has a version of its bundle has the structure of just that version, and so have its task instances.
fn keeps_to_its_version(world: &World, run: &DagRun, task_instances: &[TaskInstance]) -> Check {
    let Some(bundle_version) = &run.bundle_version else { return Ok(()) };
    ensure(*bundle_version == run.version.to_string(), || {
        format!("{} is of version {}, and its bundle of {bundle_version}", run.key, run.version)
    })?;
    // What was cleared may have gone on with the newest one; what had ended before stayed as it was.
    let stray = task_instances.iter().find(|ti| ti.version != run.version);
    let may_stray = world.cleared.contains_key(&run.key) || world.by_hand.contains(&run.key) || run.backfill.is_some();
    ensure(stray.is_none() || may_stray, || {
        format!("{} is of version {}, and a task instance is not: {stray:?}", run.key, run.version)
    })
}

/// Whoever wants to know of a run's end was called.
fn was_told(world: &World, sim: &SimDag, run: &DagRun) -> Check {
    let dag = &sim.newest().dag;
    let wanted =
        if run.state == DagRunState::Success { dag.has_on_success_callback } else { dag.has_on_failure_callback };
    let may_differ = sim.versions.len() > 1 || world.by_hand.contains(&run.key);
    ensure(!wanted || may_differ || world.called.contains(&run.key), || {
        format!("{} is {}, and nobody was called", run.key, run.state)
    })
}

/// Somebody was told of a run that did not succeed in time, and of no other.
fn deadline(world: &World, sim: &SimDag, run: &DagRun) -> Check {
    let alert = sim.newest().dag.deadlines.first();
    let Some(DeadlineAlert { interval: DeadlineInterval::Fixed(interval), .. }) = alert else { return Ok(()) };
    let may_differ = sim.versions.len() > 1 || world.by_hand.contains(&run.key) || run.clear_number > 0;
    let at = run.queued_at.and_then(|queued_at| queued_at.checked_add(*interval).ok());
    let in_time = run.state == DagRunState::Success && at.is_some_and(|at| run.end_date.is_some_and(|end| end <= at));
    let missed = world.missed.contains(&(run.key.clone(), 0));
    ensure(may_differ || missed != in_time, || {
        format!("{} is {} at {:?}, its deadline was {at:?}, and missed is {missed}", run.key, run.state, run.end_date)
    })
}

/// The timetable has nothing left to ask for; with catchup every one of its dates has a run.
fn schedule_is_served(world: &World, sim: &SimDag, runs: &[DagRun]) -> Check {
    let dag = &sim.newest().dag;
    let of_dag: Vec<&DagRun> = runs.iter().filter(|run| run.key.dag_id == sim.dag_id).collect();
    let active = of_dag.iter().filter(|run| !run.state.is_finished()).count();
    if active >= dag.limits.max_active_runs as usize {
        return Ok(());
    }
    let Some(record) = read(world.store.dag(&sim.dag_id))? else { return Ok(()) };
    let left = sim.next_run(record.schedule.last_interval, world.now);
    ensure(left.is_none(), || format!("{} is left without its run of {left:?}", sim.dag_id))?;
    let dates: Vec<Option<Timestamp>> = of_dag.iter().map(|run| run.logical_date).collect();
    let mut last = None;
    while sim.versions.len() == 1
        && !world.thinned.contains(&sim.dag_id)
        && dag.catchup
        && let Some(next) = sim.next_run(last, world.now)
    {
        ensure(dates.contains(&Some(next.logical_date())), || {
            format!("{} has no run of {}", sim.dag_id, next.logical_date())
        })?;
        last = Some(next.data_interval);
    }
    let scheduled = of_dag.iter().filter(|run| run.run_type == RunType::Scheduled);
    let early = scheduled.into_iter().find(|run| run.queued_at.is_some_and(|made| made < run.run_after));
    ensure(early.is_none(), || format!("{:?} was made before its time", early.map(|run| &run.key)))
}

fn differing(run: &RunKey, states: &States, expected: &States) -> String {
    let lines: Vec<String> = expected
        .iter()
        .filter(|(place, state)| states.get(*place) != Some(*state))
        .map(|(place, state)| format!("{}[{}] is {:?} and should be {state}", place.0, place.1.0, states.get(place)))
        .chain(
            states
                .keys()
                .filter(|place| !expected.contains_key(*place))
                .map(|place| format!("{place:?} should not be")),
        )
        .collect();
    format!("{run}: {}", lines.join("; "))
}
