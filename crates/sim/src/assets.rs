//! Assets: which tasks update them, and that no update is lost or counts twice.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::{
    Asset, AssetCondition, AssetEvent, AssetEventId, AssetKey, AssetMark, Dag, DagId, Execution, Json, OutletEvent,
    Outlets, QueuedAsset, RunKey, TaskInstance, TaskInstanceKey, TaskState,
};
use serde_json::json;
use store::{AssetEventFilter, AssetStore, AssetUse, DagAsset, DagStore, Page, RunFilter, RunStore};

use crate::checks::{Check, ensure, read};
use crate::dags::{Plan, SimDag};
use crate::rng::Rng;
use crate::world::World;

fn key(name: &str) -> AssetKey {
    AssetKey { name: name.to_owned(), uri: format!("sim://{name}") }
}

/// A schedule on what the Dags before it produce, so that no Dag waits for itself.
pub(crate) fn timetable(rng: &mut Rng, number: usize) -> Json {
    let mut parts = Vec::new();
    for before in 0..number {
        let name = format!("dag{before}");
        if !parts.is_empty() && rng.percent(30) {
            continue;
        }
        let uri = key(&name).uri;
        parts.push(match rng.range(0, 4) {
            0 => json!({"__type": "asset", "name": name, "uri": uri, "group": "asset", "extra": {}}),
            1 => json!({"__type": "asset_ref", "name": name}),
            2 => json!({"__type": "asset_ref", "uri": uri}),
            _ => json!({"__type": "asset_alias", "name": name, "group": "asset"}),
        });
    }
    let kind = *rng.pick(&["asset_all", "asset_any"]);
    json!({
        "__type": "airflow.timetables.simple.AssetTriggeredTimetable",
        "__var": {"asset_condition": {"__type": kind, "objects": parts}},
    })
}

/// What somebody makes of such a schedule.
pub(crate) fn edited(rng: &mut Rng, number: usize, before: &Json) -> Json {
    match rng.range(0, 9) {
        0..=3 => timetable(rng, number),
        4 => json!({"__type": "airflow.timetables.simple.NullTimetable", "__var": {}}),
        _ => before.clone(),
    }
}

/// The assets that a Dag's file names.
pub(crate) fn of_dag(sim: &SimDag) -> Vec<DagAsset> {
    let own = DagAsset { asset: Asset::new(key(sim.dag_id.as_str())), uses: vec![AssetUse::Outlet("t0".into())] };
    let condition = sim.newest().dag.timetable.asset_condition();
    let waited_for =
        condition.map(AssetCondition::parts).unwrap_or_default().into_iter().filter_map(|part| match part {
            model::AssetLike::Asset(asset) => Some(DagAsset { asset: asset.clone(), uses: vec![AssetUse::Schedule] }),
            _ => None,
        });
    waited_for.chain([own]).collect()
}

/// What a task instance produces when it succeeds: an asset of its Dag, or one by the alias that has the name of its Dag.
/// One that is deferred may be ended by its trigger, which produces nothing.
pub(crate) fn outlets_of(seed: u64, dag: &Dag, ti: &TaskInstance) -> Outlets {
    let mut rng = Rng::named(seed, &format!("outlets {} {}", ti.run.dag_id, ti.task_id));
    let begins_with_trigger = dag.find(ti.task_id.as_str()).is_some_and(|task| dag.task(task).start_trigger.is_some());
    if !rng.percent(30) || begins_with_trigger || Plan::of(seed, dag, &ti.key()).is_deferred() {
        return Outlets::default();
    }
    let name = ti.run.dag_id.to_string();
    let extra = json!({"task": ti.task_id.as_str()});
    if rng.percent(40) {
        let events = vec![OutletEvent { asset: key(&name), extra, partition_key: None, alias: None }];
        return Outlets { declared: vec![AssetMark::Asset(key(&name))], events };
    }
    let asset = key(&if rng.percent(50) { name.clone() } else { format!("{name} too") });
    let events = vec![OutletEvent { asset, extra, partition_key: None, alias: Some((name.clone(), json!({}))) }];
    Outlets { declared: vec![AssetMark::Alias(name)], events }
}

/// Remembers from when on each Dag waits for assets, and which have stopped to. Only what is durable counts.
pub(crate) fn look_at_cursors(world: &mut World) -> Check {
    let cursors: HashMap<DagId, AssetEventId> = read(world.store.asset_cursors())?.into_iter().collect();
    for dag_id in world.first_cursors.keys().filter(|dag_id| !cursors.contains_key(*dag_id)) {
        world.stopped_waiting.insert(dag_id.clone());
    }
    for (dag_id, cursor) in cursors {
        let first = *world.first_cursors.entry(dag_id.clone()).or_insert(cursor);
        ensure(first <= cursor, || format!("the cursor of {dag_id} went back from {first} to {cursor}"))?;
    }
    Ok(())
}

pub(crate) fn at_the_end(world: &World) -> Check {
    one_event_for_each_success(world)?;
    let events = read(world.store.asset_events(&AssetEventFilter::default()))?;
    let mut told: BTreeMap<DagId, Vec<(RunKey, Vec<AssetEventId>)>> = BTreeMap::new();
    for run in read(world.store.runs(&RunFilter::default(), &[], Page::ALL))?.0 {
        let is_from_assets = run.run_type == model::RunType::AssetTriggered;
        let consumed: Vec<AssetEventId> =
            read(world.store.consumed_asset_events(&run.key))?.iter().map(|event| event.id).collect();
        ensure(is_from_assets != consumed.is_empty(), || format!("{} is made of {consumed:?}", run.key))?;
        if is_from_assets {
            told.entry(run.key.dag_id.clone()).or_default().push((run.key, consumed));
        }
    }
    let cursors: HashMap<DagId, AssetEventId> = read(world.store.asset_cursors())?.into_iter().collect();
    for sim in &world.dags {
        let told = told.remove(&sim.dag_id).unwrap_or_default();
        let cursor = cursors.get(&sim.dag_id).copied();
        in_order_and_once(&sim.dag_id, &told, cursor)?;
        if let Some(cursor) = cursor {
            nothing_is_lost(world, sim, &events, &told, cursor)?;
        }
    }
    what_waits_is_right(world, &events, &cursors)
}

/// Every run is told of events that came after those of the run before.
fn in_order_and_once(dag_id: &DagId, told: &[(RunKey, Vec<AssetEventId>)], cursor: Option<AssetEventId>) -> Check {
    let mut last = AssetEventId(0);
    for (run, events) in told {
        ensure(events.iter().all(|event| *event > last), || format!("{run} is told of {events:?}, after {last}"))?;
        last = events.iter().copied().fold(last, AssetEventId::max);
    }
    ensure(cursor.is_none_or(|cursor| last <= cursor), || format!("{dag_id} was told of {last}, behind its cursor"))
}

/// What a Dag names by its newest version, if it has always named the same.
fn always_named(sim: &SimDag) -> Option<HashSet<AssetMark>> {
    let marks = |dag: &Dag| {
        let condition = dag.timetable.asset_condition()?;
        Some(condition.parts().into_iter().map(model::AssetLike::mark).collect::<HashSet<_>>())
    };
    let newest = marks(&sim.newest().dag)?;
    sim.versions.iter().all(|version| marks(&version.dag).as_ref() == Some(&newest)).then_some(newest)
}

fn nothing_is_lost(
    world: &World,
    sim: &SimDag,
    events: &[AssetEvent],
    told: &[(RunKey, Vec<AssetEventId>)],
    cursor: AssetEventId,
) -> Check {
    let first = world.first_cursors.get(&sim.dag_id).copied().unwrap_or(cursor);
    let is_plain = !world.thinned.contains(&sim.dag_id) && !world.stopped_waiting.contains(&sim.dag_id);
    let Some(named) = always_named(sim).filter(|_| is_plain) else { return Ok(()) };
    let is_owed =
        |event: &&AssetEvent| event.id > first && event.id <= cursor && event.marks().any(|mark| named.contains(&mark));
    let owed: Vec<AssetEventId> = events.iter().filter(is_owed).map(|event| event.id).collect();
    let told: Vec<AssetEventId> =
        told.iter().flat_map(|(_, events)| events).copied().filter(|event| *event > first).collect();
    ensure(owed == told, || format!("{} was to be told of {owed:?}, and was of {told:?}", sim.dag_id))
}

fn what_waits_is_right(world: &World, events: &[AssetEvent], cursors: &HashMap<DagId, AssetEventId>) -> Check {
    let mut queues: HashMap<DagId, Vec<QueuedAsset>> = HashMap::new();
    for (dag_id, queued) in read(world.store.queued_assets())? {
        queues.entry(dag_id).or_default().push(queued);
    }
    for sim in &world.dags {
        let queue = queues.remove(&sim.dag_id).unwrap_or_default();
        let Some(condition) = sim.newest().dag.timetable.asset_condition() else {
            ensure(queue.is_empty(), || format!("{queue:?} waits for {}, which does not wait", sim.dag_id))?;
            continue;
        };
        let named: HashSet<AssetMark> = condition.parts().into_iter().map(model::AssetLike::mark).collect();
        let cursor = cursors.get(&sim.dag_id).copied().unwrap_or(AssetEventId(0));
        for queued in &queue {
            let is_right = queued.last_event > cursor && queued.marks().any(|mark| named.contains(&mark));
            ensure(is_right || sim.gone || sim.broken, || format!("{queued:?} waits for {}", sim.dag_id))?;
        }
        if !sim.held_back && always_named(sim).is_some() && !world.stopped_waiting.contains(&sim.dag_id) {
            let waits = |event: &AssetEvent| {
                queue.iter().any(|queued| queued.key == event.update.asset.key && queued.last_event >= event.id)
            };
            // What is about a part of an asset waits for Dags that are scheduled on parts alone.
            let is_due = |event: &&AssetEvent| {
                event.id > cursor && event.update.partition.is_none() && event.marks().any(|mark| named.contains(&mark))
            };
            let missing: Vec<AssetEventId> =
                events.iter().filter(is_due).filter(|event| !waits(event)).map(|event| event.id).collect();
            ensure(missing.is_empty(), || format!("{missing:?} do not wait for {}", sim.dag_id))?;
        }
        nothing_is_due(world, sim, condition, &queue)?;
    }
    Ok(())
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
            let produces = |ti: &&TaskInstance| {
                is_run && ti.state == TaskState::Success && !outlets_of(world.seed, dag, ti).is_empty()
            };
            let tries: Vec<TaskInstance> = tries.chain([ti.clone()]).collect();
            let expected = tries.iter().filter(produces).count();
            // An asset that only a Dag in no file has is not active, and makes no event.
            let by_alias = |ti: &&TaskInstance| {
                let declared = outlets_of(world.seed, dag, ti).declared;
                declared.iter().any(|mark| matches!(mark, AssetMark::Alias(_)))
            };
            let least = if sim.held_back { tries.iter().filter(produces).filter(by_alias).count() } else { expected };
            ensure((least..=expected).contains(&count), || {
                format!("{} is {} and has made {count} asset events", ti.key(), ti.state)
            })?;
        }
    }
    Ok(())
}

fn nothing_is_due(world: &World, sim: &SimDag, condition: &AssetCondition, queue: &[QueuedAsset]) -> Check {
    let dag_id = &sim.dag_id;
    let aliases = read(world.store.alias_assets())?;
    let waits = |key: &AssetKey| queue.iter().any(|queued| queued.key == *key);
    let is_there = |mark: &AssetMark| match mark {
        AssetMark::Alias(alias) => aliases.iter().any(|(name, key)| name == alias && waits(key)),
        other => queue.iter().any(|queued| queued.marks().any(|mark| mark == *other)),
    };
    let Some(record) = read(world.store.dag(dag_id))? else { return Ok(()) };
    let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
    let runs = read(world.store.runs(&filter, &[], Page::ALL))?.0;
    let active = runs.iter().filter(|run| !run.state.is_finished()).count();
    let has_room = active < sim.newest().dag.limits.max_active_runs as usize && !record.paused && !record.stale;
    ensure(!(has_room && !queue.is_empty() && condition.is_met(&is_there)), || {
        format!("{dag_id} is left without the run that its assets ask for: {queue:?}")
    })
}
