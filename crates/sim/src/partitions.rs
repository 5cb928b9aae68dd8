//! Partitions: runs about parts, Dags that wait for them, and that no part is lost or counts twice.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::partition::Told;
use model::{AssetEventId, AssetMark, DagId, Json, Partition, RunType};
use scheduler::{AskMapper, Event, MapperSays};
use serde_json::json;
use store::{AssetEventFilter, AssetStore, DagStore, Page, PartitionStore, RunFilter, RunStore};

use crate::checks::{Check, ensure, read};
use crate::rng::Rng;
use crate::world::{Pending, World};

/// The keys of runs that people ask for.
const KEYS: [&str; 3] = ["north", "south", "west"];

/// What a run is about that somebody asks for.
pub(crate) fn of_run(rng: &mut Rng) -> Option<Partition> {
    rng.percent(60).then(|| Partition { key: (*rng.pick(&KEYS)).to_owned(), date: None })
}

fn class(name: &str, data: Json) -> Json {
    json!({"__type": name, "__var": data})
}

/// One that gives one key, so that no event is taken twice.
fn mapper(rng: &mut Rng) -> Json {
    let own = |name: &str| format!("airflow.partition_mappers.{name}");
    match rng.range(0, 3) {
        0 => class(&own("identity.IdentityMapper"), json!({})),
        1 => class(&own("allowed_key.AllowedKeyMapper"), json!({"allowed_keys": [KEYS[0], KEYS[1]]})),
        2 => class(
            &own("base.RollupMapper"),
            json!({
                "upstream_mapper": class(&own("fixed_key.FixedKeyMapper"), json!({"downstream_key": "all"})),
                "window": class(&own("window.SegmentWindow"), json!({"segments": [KEYS[0], KEYS[2]]})),
                "wait_policy": class(&own("wait_policy.WaitForAll"), json!({})),
            }),
        ),
        _ => class("plugins.Mapper", json!({})),
    }
}

/// A schedule on parts of what the Dags before it produce.
pub(crate) fn timetable(rng: &mut Rng, number: usize) -> Json {
    let aliases = (0..number).map(|before| json!({"__type": "asset_alias", "name": format!("dag{before}")}));
    let kind = *rng.pick(&["asset_all", "asset_any"]);
    class(
        "airflow.timetables.simple.PartitionedAssetTimetable",
        json!({
            "asset_condition": {"__type": kind, "objects": aliases.collect::<Vec<_>>()},
            "partition_mapper_config": [],
            "default_partition_mapper": mapper(rng),
        }),
    )
}

impl World {
    /// Python answers, sometimes that it does not know; sometimes more than one key is waited for.
    pub(crate) fn ask_mapper(&mut self, question: &AskMapper) {
        let AskMapper { dag_id, event, partition, .. } = question;
        let key = &partition.key;
        let answer = if *key == KEYS[2] {
            Err("west is not known".to_owned())
        } else {
            let told = Told { upstream: Some(vec![KEYS[0].to_owned(), KEYS[1].to_owned()]), ..Told::default() };
            Ok(MapperSays { count: 1, keys: vec![("both".to_owned(), told)], carried: None, problems: vec![] })
        };
        self.note(|| format!("the mapper of {dag_id} answers {answer:?} for event {event}"));
        let event = Event::MapperAnswered { dag_id: dag_id.clone(), event: *event, answer };
        let longest = if self.rng.percent(80) { 50 } else { 5000 };
        self.soon(longest, Pending::Deliver(engine::Input::Event(event)));
    }
}

pub(crate) fn at_the_end(world: &World) -> Check {
    for sim in &world.dags {
        let dag = &sim.newest().dag;
        let Some(partitioned) = dag.timetable.partitioned_assets() else { continue };
        let filter = RunFilter { dag_id: Some(sim.dag_id.clone()), ..RunFilter::default() };
        let mut taken: HashMap<AssetEventId, usize> = HashMap::new();
        for run in read(world.store.runs(&filter, &[], Page::ALL))?.0 {
            let consumed = read(world.store.consumed_asset_events(&run.key))?;
            for event in &consumed {
                *taken.entry(event.id).or_default() += 1;
            }
            if run.run_type != RunType::AssetTriggered {
                continue;
            }
            ensure(run.partition.is_some(), || format!("{} is about no partition", run.key))?;
            let marks: HashSet<AssetMark> =
                consumed.iter().flat_map(|event| event.marks().collect::<Vec<_>>()).collect();
            ensure(partitioned.condition.is_met(&|mark| marks.contains(mark)), || {
                format!("{} was made before all was there: {marks:?}", run.key)
            })?;
        }
        for waiting in read(world.store.pending_partitions(&sim.dag_id))? {
            ensure(!waiting.events.is_empty(), || format!("{:?} waits for nothing", waiting.pending))?;
            for (event, _) in &waiting.events {
                *taken.entry(event.id).or_default() += 1;
            }
        }
        let twice = taken.iter().find(|(_, count)| **count > 1);
        ensure(twice.is_none(), || format!("event {twice:?} counts more than once for {}", sim.dag_id))?;
        all_are_heard(world, &sim.dag_id, sim.held_back, &taken)?;
        nothing_is_asked(world, &sim.dag_id)?;
    }
    Ok(())
}

/// Each event with a key that has a meaning is in a run or waits for one, if the Dag was there all the time.
fn all_are_heard(world: &World, dag_id: &DagId, held_back: bool, taken: &HashMap<AssetEventId, usize>) -> Check {
    let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == *dag_id) else { return Ok(()) };
    let was_changed = world.thinned.contains(dag_id) || world.by_hand.iter().any(|run| run.dag_id == *dag_id);
    if held_back || was_changed {
        return Ok(());
    }
    let dag = &sim.newest().dag;
    let Some(partitioned) = dag.timetable.partitioned_assets() else { return Ok(()) };
    let heard: BTreeSet<AssetMark> = partitioned.condition.parts().into_iter().map(|part| part.mark()).collect();
    for event in read(world.store.asset_events(&AssetEventFilter::default()))? {
        let Some(partition) = &event.update.partition else { continue };
        if !event.marks().any(|mark| heard.contains(&mark)) {
            continue;
        }
        let mapper = partitioned.mapper(&event.update.asset.key.name, &event.update.asset.key.uri);
        let is_known = match mapper.to_downstream(&partition.key) {
            Ok(_) => true,
            Err(model::partition::MapError::Python) => partition.key != KEYS[2],
            Err(_) => false,
        };
        let is_taken = taken.contains_key(&event.id);
        ensure(is_taken == is_known, || format!("event {} ({partition:?}) is lost to {dag_id}", event.id))?;
    }
    Ok(())
}

/// Python has answered all that it was asked, and no run that could be made is missing.
fn nothing_is_asked(world: &World, dag_id: &DagId) -> Check {
    let Some(record) = read(world.store.dag(dag_id))? else { return Ok(()) };
    let Some(sim) = world.dags.iter().find(|sim| sim.dag_id == *dag_id) else { return Ok(()) };
    if record.stale || sim.gone {
        return Ok(());
    }
    let unmapped = read(world.store.unmapped_events(dag_id))?;
    ensure(unmapped.is_empty(), || format!("{} events of {dag_id} wait for Python", unmapped.len()))?;
    let timetable = &sim.newest().dag.timetable;
    let Some(partitioned) = timetable.partitioned_assets() else { return Ok(()) };
    for waiting in read(world.store.pending_partitions(dag_id))? {
        let mut keys: HashMap<model::AssetKey, BTreeSet<String>> = HashMap::new();
        let mut marks: HashMap<model::AssetKey, HashSet<AssetMark>> = HashMap::new();
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for (event, told) in &waiting.events {
            let asset = event.update.asset.key.clone();
            keys.entry(asset.clone()).or_default().extend(event.update.partition.iter().map(|own| own.key.clone()));
            marks.entry(asset.clone()).or_default().extend(event.marks());
            let rollup = partitioned.mapper(&asset.name, &asset.uri).rollup();
            let upstream = rollup.and_then(|rollup| rollup.to_upstream(&waiting.pending.key).ok());
            expected.extend(upstream.into_iter().flatten());
            expected.extend(told.iter().filter_map(|told| told.upstream.clone()).flatten());
        }
        let complete = |asset: &&model::AssetKey| keys.get(*asset).is_some_and(|keys| expected.is_subset(keys));
        let met: HashSet<&AssetMark> =
            keys.keys().filter(complete).filter_map(|asset| marks.get(asset)).flatten().collect();
        ensure(!partitioned.condition.is_met(&|mark| met.contains(mark)), || {
            format!("{dag_id} is left without its run of {:?}", waiting.pending)
        })?;
    }
    Ok(())
}
