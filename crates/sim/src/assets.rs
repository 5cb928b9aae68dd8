//! Assets: which tasks update them, and that no update is lost or counts twice.

use std::collections::{HashMap, HashSet};

use model::{
    AssetEventId, AssetKey, AssetMark, Dag, DagId, Execution, Json, OutletEvent, Outlets, TaskInstance,
    TaskInstanceKey, TaskState,
};
use serde_json::json;
use store::{AssetEventFilter, AssetStore, DagStore, Page, RunFilter, RunStore};

use crate::checks::{Check, ensure, read};
use crate::dags::Plan;
use crate::rng::Rng;
use crate::world::World;

/// A schedule on what the Dags before it produce, so that no Dag waits for itself.
pub(crate) fn timetable(rng: &mut Rng, number: usize) -> Json {
    let aliases = (0..number).map(|before| json!({"__type": "asset_alias", "name": format!("dag{before}")}));
    let kind = *rng.pick(&["asset_all", "asset_any"]);
    json!({
        "__type": "airflow.timetables.simple.AssetTriggeredTimetable",
        "__var": {"asset_condition": {"__type": kind, "objects": aliases.collect::<Vec<_>>()}},
    })
}

/// What a task instance produces when it succeeds. One that is deferred may be ended by its trigger, which produces
/// nothing.
pub(crate) fn outlets_of(seed: u64, dag: &Dag, ti: &TaskInstance) -> Outlets {
    let mut rng = Rng::named(seed, &format!("outlets {} {}", ti.run.dag_id, ti.task_id));
    if !rng.percent(30) || Plan::of(seed, dag, ti).is_deferred() {
        return Outlets::default();
    }
    let name = ti.run.dag_id.to_string();
    Outlets {
        declared: vec![AssetMark::Alias(name.clone())],
        events: vec![OutletEvent {
            asset: AssetKey { name: name.clone(), uri: name.clone() },
            extra: json!({"task": ti.task_id.as_str()}),
            alias: Some((name, json!({}))),
        }],
    }
}

pub(crate) fn at_the_end(world: &World) -> Check {
    one_event_for_each_success(world)?;
    let mut taken: HashSet<(DagId, AssetEventId)> = HashSet::new();
    for run in read(world.store.runs(&RunFilter::default(), &[], Page::ALL))?.0 {
        let is_from_assets = run.run_type == model::RunType::AssetTriggered;
        let consumed = read(world.store.consumed_asset_events(&run.key))?;
        ensure(is_from_assets != consumed.is_empty(), || format!("{} is made of {consumed:?}", run.key))?;
        for event in consumed {
            let is_new = taken.insert((run.key.dag_id.clone(), event.id));
            ensure(is_new, || format!("event {} was taken by {} and another run", event.id, run.key))?;
        }
    }
    let mut waiting: HashMap<DagId, HashSet<AssetMark>> = HashMap::new();
    for (dag_id, event, counts) in read(world.store.queued_asset_events())? {
        let is_new = !taken.contains(&(dag_id.clone(), event.id));
        ensure(is_new, || format!("event {} was taken by a run of {dag_id} and waits for another", event.id))?;
        if counts {
            waiting.entry(dag_id).or_default().extend(event.marks());
        }
    }
    waiting.iter().try_for_each(|(dag_id, marks)| nothing_is_due(world, dag_id, marks))
}

fn one_event_for_each_success(world: &World) -> Check {
    let mut made: HashMap<TaskInstanceKey, usize> = HashMap::new();
    for event in read(world.store.asset_events(&AssetEventFilter::default()))? {
        if let Some(source) = event.source {
            *made.entry(source).or_default() += 1;
        }
    }
    for run in read(world.store.runs(&RunFilter::default(), &[], Page::ALL))?.0 {
        let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == run.key.dag_id) else { continue };
        let was_changed = world.by_hand.contains(&run.key) || world.thinned.contains(&run.key.dag_id);
        if was_changed || sim.versions.len() > 1 {
            // Its tasks run again, perhaps: somebody put it back or deleted it, or they left the Dag and came back.
            continue;
        }
        let dag = &sim.newest().dag;
        for ti in read(world.store.task_instances_of(&run.key))? {
            let count = made.get(&ti.key()).copied().unwrap_or(0);
            // What is empty is ended by the engine itself.
            let is_run =
                dag.find(ti.task_id.as_str()).is_some_and(|task| !matches!(dag.task(task).execution, Execution::Empty));
            // What is cleared runs again, and succeeds more than once.
            let tries = read(world.store.archived_tries(&ti.key()))?.into_iter().map(|old| old.task_instance);
            let produces = |ti: &TaskInstance| {
                is_run && ti.state == TaskState::Success && !outlets_of(world.seed, dag, ti).is_empty()
            };
            let expected = tries.chain([ti.clone()]).filter(produces).count();
            ensure(count == expected, || format!("{} is {} and has made {count} asset events", ti.key(), ti.state))?;
        }
    }
    Ok(())
}

fn nothing_is_due(world: &World, dag_id: &DagId, marks: &HashSet<AssetMark>) -> Check {
    let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == *dag_id) else { return Ok(()) };
    let dag = &sim.newest().dag;
    let Some(condition) = dag.timetable.asset_condition() else { return Ok(()) };
    let Some(record) = read(world.store.dag(dag_id))? else { return Ok(()) };
    let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
    let runs = read(world.store.runs(&filter, &[], Page::ALL))?.0;
    let active = runs.iter().filter(|run| !run.state.is_finished()).count();
    let has_room = active < dag.limits.max_active_runs as usize && !record.paused && !record.stale;
    ensure(!(has_room && condition.is_met(&|mark| marks.contains(mark))), || {
        format!("{dag_id} is left without the run that its assets ask for: {marks:?}")
    })
}
