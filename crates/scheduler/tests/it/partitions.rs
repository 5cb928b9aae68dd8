//! What the toy store keeps of partitions, and timetables on them written as text.

use std::collections::BTreeMap;

use model::partition::{PartitionChange, PendingPartition, Told};
use model::timetable::Timetable;
use model::{AssetEvent, AssetEventId, DagId};
use scheduler::{Event, FoundPartition, MapperAnswer, MapperSays};
use serde_json::{Value, json};

/// A run that waits, with its events and what was told of them.
type Waiting = (PendingPartition, Vec<(AssetEventId, Option<Told>)>);

#[derive(Debug, Default)]
pub struct Partitions {
    pub events: BTreeMap<AssetEventId, AssetEvent>,
    pending: BTreeMap<(DagId, String), Waiting>,
    unmapped: BTreeMap<(DagId, AssetEventId), ()>,
}

impl Partitions {
    pub fn write(&mut self, change: &PartitionChange) {
        match change.clone() {
            PartitionChange::Unmapped { dag_id, event } => drop(self.unmapped.insert((dag_id, event), ())),
            PartitionChange::Mapped { dag_id, event } => drop(self.unmapped.remove(&(dag_id, event))),
            PartitionChange::Pending { pending, event, told } => {
                let key = (pending.dag_id.clone(), pending.key.clone());
                let (known, events) = self.pending.entry(key).or_insert_with(|| (pending.clone(), Vec::new()));
                *known = pending;
                events.push((event, told));
            }
            PartitionChange::Taken { dag_id, key, .. } => drop(self.pending.remove(&(dag_id, key))),
            PartitionChange::Dropped { dag_id, keys } => {
                self.pending.retain(|(other, key), _| *other != dag_id || !keys.contains(key));
            }
        }
    }

    /// What waits for a Dag, for a new process.
    pub fn found(&self, dag_id: &DagId) -> Event {
        let event = |id: &AssetEventId| self.events[id].clone();
        let own = self.pending.iter().filter(|((other, _), _)| other == dag_id);
        let found = own.map(|(_, (pending, events))| FoundPartition {
            pending: pending.clone(),
            events: events.iter().map(|(id, told)| (event(id), told.clone())).collect(),
        });
        let unmapped = self.unmapped.keys().filter(|(other, _)| other == dag_id).map(|(_, id)| event(id));
        Event::PartitionsFound { dag_id: dag_id.clone(), found: found.collect(), unmapped: unmapped.collect() }
    }
}

fn class(name: &str, data: Value) -> Value {
    json!({"__type": name, "__var": data})
}

/// `identity`, `custom`, `hour`, `only:a,b` or `all:a,b`: one run when both have come.
fn mapper(text: &str) -> Value {
    let own = |name: &str, data: Value| class(&format!("airflow.partition_mappers.{name}"), data);
    let keys = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    match text.split_once(':').unwrap_or((text, "")) {
        ("identity", _) => own("identity.IdentityMapper", json!({})),
        ("only", allowed) => own("allowed_key.AllowedKeyMapper", json!({"allowed_keys": keys(allowed)})),
        ("hour", _) => own(
            "temporal.StartOfHourMapper",
            json!({"timezone": "UTC", "input_format": "%Y-%m-%dT%H:%M:%S", "output_format": "%Y-%m-%dT%H"}),
        ),
        ("all", segments) => own(
            "base.RollupMapper",
            json!({
                "upstream_mapper": own("fixed_key.FixedKeyMapper", json!({"downstream_key": "all"})),
                "window": own("window.SegmentWindow", json!({"segments": keys(segments)})),
                "wait_policy": own("wait_policy.WaitForAll", json!({})),
            }),
        ),
        _ => class("plugins.Mapper", json!({})),
    }
}

/// `a&b;identity`.
pub fn timetable(text: &str) -> Timetable {
    let (assets, mapping) = text.split_once(';').unwrap();
    let asset = |name: &str| json!({"__type": "asset", "name": name, "uri": name, "group": "asset", "extra": {}});
    let objects: Vec<Value> = assets.split('&').map(asset).collect();
    let data = json!({
        "asset_condition": {"__type": "asset_all", "objects": objects},
        "partition_mapper_config": [],
        "default_partition_mapper": mapper(mapping),
    });
    Timetable::from_serialized("airflow.timetables.simple.PartitionedAssetTimetable", &data).unwrap()
}

/// `key`, `key+needs,these`, or `error`.
pub fn answer(texts: &[&str]) -> MapperAnswer {
    if texts == ["error"] {
        return Err("ValueError: too short".to_owned());
    }
    let key = |text: &&str| {
        let (key, upstream) = text.split_once('+').map_or((*text, None), |(key, keys)| (key, Some(keys)));
        let upstream = upstream.map(|keys| keys.split(',').map(str::to_owned).collect());
        (key.to_owned(), Told { upstream, ..Told::default() })
    };
    let keys: Vec<_> = texts.iter().map(key).collect();
    Ok(MapperSays { count: keys.len() as u64, keys, carried: None, problems: Vec::new() })
}
