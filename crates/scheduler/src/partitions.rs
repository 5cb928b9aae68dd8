//! Dags that are scheduled on partitions: which runs follow from which events, and when all has come that a run waits for.
//!
//! An event becomes keys of a Dag's runs as soon as it comes; what these wait for is asked of its mappers, or of Python where
//! only that can tell. A run is made when all is there, whatever limit there is on runs: it waits in the queue, where runs
//! begin in the order in which they were made.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::partition::{MapError, Mapper, Partition, PartitionChange, PendingPartition, Told};
use model::timetable::PartitionedAssets;
use model::{AssetEvent, AssetEventId, AssetKey, AssetMark, Change, DagId, Json, RunId, RunType, TriggeredBy};

use crate::Scheduler;
use crate::assets::RUN_ID_LETTERS;
use crate::event::{Action, Decisions, Need, NewRun, Structure};

/// A question for a mapper that only Python can evaluate: which keys follow from that of an event?
#[derive(Clone, Debug)]
pub struct AskMapper {
    pub dag_id: DagId,
    pub event: AssetEventId,
    pub mapper: Mapper,
    pub partition: Partition,
    /// If more keys follow, only their number is of interest.
    pub max_keys: u64,
}

/// What Python says of an event.
#[derive(Clone, PartialEq, Debug)]
pub struct MapperSays {
    /// How many keys follow from it.
    pub count: u64,
    /// These keys, unless they are too many, and of each what its run waits for.
    pub keys: Vec<(String, Told)>,
    /// The date that the event brings with it.
    pub carried: Option<Timestamp>,
    /// What went wrong beside, for people.
    pub problems: Vec<String>,
}

/// The error is for people.
pub type MapperAnswer = Result<MapperSays, String>;

/// What the store has of a run that waits: what is known of its events.
#[derive(Clone, Debug)]
pub struct FoundPartition {
    pub pending: PendingPartition,
    pub events: Vec<(AssetEvent, Option<Told>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Partitions {
    listeners: HashMap<AssetMark, BTreeSet<DagId>>,
    consumers: BTreeMap<DagId, Consumer>,
}

/// A Dag that is scheduled on partitions.
#[derive(Debug)]
struct Consumer {
    timetable: Arc<PartitionedAssets>,
    pending: BTreeMap<String, Pending>,
    /// Keys of runs that can be made, in the order of their first events.
    ready: BTreeSet<(AssetEventId, String)>,
    /// The Dag's structure has been asked for.
    asked: bool,
    /// Events that wait for Python.
    unmapped: BTreeMap<AssetEventId, AssetEvent>,
    /// What was said of it last.
    warning: Option<String>,
    /// Assets of which it was said that no keys will ever be enough.
    unreachable: HashSet<AssetKey>,
}

#[derive(Debug)]
struct Pending {
    first: AssetEventId,
    carried: Option<Timestamp>,
    arrived: BTreeMap<AssetKey, Arrived>,
}

/// What has come of one asset.
#[derive(Debug, Default)]
struct Arrived {
    /// What conditions may know its events by.
    marks: BTreeSet<AssetMark>,
    /// Its keys, as far as they are counted.
    keys: BTreeSet<String>,
    told: Option<Told>,
}

impl Pending {
    fn add(&mut self, event: &AssetEvent, told: Option<Told>, counted: bool) {
        let arrived = self.arrived.entry(event.update.asset.key.clone()).or_default();
        arrived.marks.extend(event.marks());
        if let (true, Some(partition)) = (counted, &event.update.partition) {
            arrived.keys.insert(partition.key.clone());
        }
        arrived.told = told.or(arrived.told.take());
    }
}

impl Consumer {
    fn new(timetable: Arc<PartitionedAssets>) -> Self {
        Self {
            timetable,
            pending: BTreeMap::new(),
            ready: BTreeSet::new(),
            asked: false,
            unmapped: BTreeMap::new(),
            warning: None,
            unreachable: HashSet::new(),
        }
    }

    fn mapper(&self, asset: &AssetKey) -> &Mapper {
        self.timetable.mapper(&asset.name, &asset.uri)
    }

    /// Whether all has come of an asset that a run waits for; otherwise the error says what is wrong with the mapper, if
    /// something is.
    fn is_satisfied(&self, key: &str, asset: &AssetKey, arrived: &Arrived) -> Result<bool, String> {
        let Some(rollup) = self.mapper(asset).rollup() else {
            // A class from a plugin may wait, too.
            return match &arrived.told {
                Some(Told { never: true, .. }) => Ok(false),
                Some(Told { upstream: Some(upstream), .. }) => {
                    Ok(upstream.iter().all(|key| arrived.keys.contains(key)))
                }
                _ => Ok(true),
            };
        };
        let expected = match &arrived.told {
            Some(Told { never: true, .. }) => return Ok(false),
            Some(Told { upstream: Some(upstream), .. }) => upstream.iter().cloned().collect(),
            _ => rollup.to_upstream(key).map_err(|error| {
                format!("Failed to evaluate rollup status for asset; treating as not-yet-satisfied. {error}")
            })?,
        };
        let AssetKey { name, uri } = asset;
        if let Some(reason) = rollup.policy.unreachable(expected.len()) {
            return Err(format!("Rollup asset (name='{name}', uri='{uri}') is permanently unreachable: {reason}"));
        }
        Ok(rollup.policy.is_satisfied(expected.intersection(&arrived.keys).count(), expected.len()))
    }

    /// Whether a run can be made; what is wrong with mappers is added to `problems`.
    fn is_ready(&mut self, key: &str, problems: &mut Vec<String>) -> bool {
        let Some(pending) = self.pending.get(key) else { return false };
        let mut met: HashSet<AssetMark> = HashSet::new();
        let mut unreachable = Vec::new();
        for (asset, arrived) in &pending.arrived {
            match self.is_satisfied(key, asset, arrived) {
                Ok(false) => {}
                Ok(true) => met.extend(arrived.marks.iter().cloned()),
                Err(problem) => unreachable.push((asset.clone(), problem)),
            }
        }
        let is_met = self.timetable.condition.is_met(&|mark| met.contains(mark));
        // Said once of each asset, as every key has the same trouble.
        for (asset, problem) in unreachable {
            if self.unreachable.insert(asset) {
                problems.push(problem);
            }
        }
        is_met
    }

    /// When the period of a run begins, by Airflow's `_resolve_partition_date`.
    fn date_of(&self, key: &str, pending: &Pending) -> Result<Option<Timestamp>, String> {
        let mut dates = BTreeSet::new();
        for (asset, arrived) in &pending.arrived {
            match &arrived.told {
                Some(Told { no_date: true, .. }) => return Ok(None),
                Some(told) => dates.extend(told.date),
                None => dates.extend(self.mapper(asset).date_of(key).map_err(|error| {
                    format!("Failed to resolve partition_date for partition key '{key}'; it will be None. {error}")
                })?),
            }
        }
        match dates.len() {
            0 => Ok(pending.carried),
            1 => Ok(dates.pop_first()),
            _ => Err(format!(
                "Upstream partition mappers resolved conflicting partition_date values for partition key '{key}': {}; \
                 leaving it unset",
                dates.iter().map(Timestamp::to_string).collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

impl Partitions {
    fn listen(&mut self, dag_id: &DagId) {
        let Some(consumer) = self.consumers.get(dag_id) else { return };
        for part in consumer.timetable.condition.parts() {
            self.listeners.entry(part.mark()).or_default().insert(dag_id.clone());
        }
    }

    fn stop_listening(&mut self, dag_id: &DagId) {
        let Some(consumer) = self.consumers.get(dag_id) else { return };
        for part in consumer.timetable.condition.parts() {
            if let Some(dags) = self.listeners.get_mut(&part.mark()) {
                dags.remove(dag_id);
                if dags.is_empty() {
                    self.listeners.remove(&part.mark());
                }
            }
        }
    }

    /// The Dag is in no file: events go by. What waits for it already waits on.
    pub(crate) fn dag_gone(&mut self, dag_id: &DagId) {
        self.stop_listening(dag_id);
    }

    /// The Dag is not known any more. The store has what waits for it, unless the Dag is deleted.
    pub(crate) fn forget(&mut self, dag_id: &DagId) {
        self.stop_listening(dag_id);
        self.consumers.remove(dag_id);
    }

    /// The Dags that are to know of an event.
    fn heard_by(&self, event: &AssetEvent) -> BTreeSet<DagId> {
        event.marks().filter_map(|mark| self.listeners.get(&mark)).flatten().cloned().collect()
    }
}

impl Scheduler {
    /// A Dag's structure is new.
    pub(crate) fn partition_timetable_changed(&mut self, dag_id: &DagId, decisions: &mut Decisions) {
        let timetable = self.dags.get(dag_id).and_then(|entry| entry.facts.timetable.partitioned_assets()).cloned();
        self.partitions.stop_listening(dag_id);
        let Some(timetable) = timetable.map(Arc::new) else {
            if let Some(consumer) = self.partitions.consumers.remove(dag_id) {
                let unmapped = consumer.unmapped.keys().map(|event| mapped(dag_id, *event));
                decisions.changes.extend(unmapped);
                drop_pending(dag_id, consumer.pending.into_keys().collect(), decisions);
            }
            return;
        };
        let consumer =
            self.partitions.consumers.entry(dag_id.clone()).or_insert_with(|| Consumer::new(Arc::clone(&timetable)));
        let is_other = consumer.timetable.fingerprint != timetable.fingerprint;
        // The import has taken back what was said.
        *consumer = Consumer {
            pending: std::mem::take(&mut consumer.pending),
            unmapped: std::mem::take(&mut consumer.unmapped),
            asked: consumer.asked,
            ..Consumer::new(timetable)
        };
        let (mut stale, mut again) = (Vec::new(), Vec::new());
        if is_other {
            stale.extend(std::mem::take(&mut consumer.pending).into_keys());
            again.extend(std::mem::take(&mut consumer.unmapped).into_values());
        }
        self.partitions.listen(dag_id);
        drop_pending(dag_id, stale, decisions);
        for event in again {
            self.map_event(dag_id, event, decisions);
        }
        self.look_at_partitions(dag_id, decisions);
    }

    /// At start, or when a Dag is known again: what waits for it.
    pub(crate) fn partitions_found(
        &mut self,
        dag_id: &DagId,
        found: Vec<FoundPartition>,
        unmapped: Vec<AssetEvent>,
        decisions: &mut Decisions,
    ) {
        let Some(consumer) = self.partitions.consumers.get_mut(dag_id) else {
            decisions.changes.extend(unmapped.iter().map(|event| mapped(dag_id, event.id)));
            return drop_pending(dag_id, found.into_iter().map(|found| found.pending.key).collect(), decisions);
        };
        let mut stale = Vec::new();
        for FoundPartition { pending: PendingPartition { key, first, carried, fingerprint, .. }, events } in found {
            if fingerprint != consumer.timetable.fingerprint {
                stale.push(key);
                continue;
            }
            let mut pending = Pending { first, carried, arrived: BTreeMap::new() };
            for (event, told) in events {
                let counted = is_counted(consumer.mapper(&event.update.asset.key), told.as_ref());
                pending.add(&event, told, counted);
            }
            consumer.pending.insert(key, pending);
        }
        drop_pending(dag_id, stale, decisions);
        for event in unmapped {
            self.map_event(dag_id, event, decisions);
        }
        self.look_at_partitions(dag_id, decisions);
    }

    /// An asset was updated: Dags that are scheduled on its partitions may have runs to make. Those that are paused do not
    /// hear of it, as in Airflow.
    pub(crate) fn partition_updated(&mut self, event: &AssetEvent, decisions: &mut Decisions) {
        for dag_id in self.partitions.heard_by(event) {
            if self.dags.get(&dag_id).is_some_and(|entry| !entry.facts.paused) {
                self.map_event(&dag_id, event.clone(), decisions);
            }
        }
    }

    fn map_event(&mut self, dag_id: &DagId, event: AssetEvent, decisions: &mut Decisions) {
        let Some(consumer) = self.partitions.consumers.get_mut(dag_id) else { return };
        let AssetKey { name, uri } = &event.update.asset.key;
        let Some(Partition { key, date }) = event.update.partition.clone() else {
            let message = format!(
                "An event of asset (name='{name}', uri='{uri}') has no partition key, and Dag '{dag_id}' listens to \
                         partitions: no run follows from it"
            );
            decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message });
            return;
        };
        let mapper = consumer.mapper(&event.update.asset.key);
        match map_here(mapper, &key) {
            Ok(keys) => {
                let brought =
                    event.update.partition.as_ref().filter(|_| mapper.carries_date()).and_then(|own| own.date);
                let keys: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
                self.event_mapped(dag_id, &event, keys.len() as u64, keys, brought, decisions);
            }
            Err(MapError::Python) => {
                let mapper = mapper.clone();
                let max_keys = mapper.max_downstream_keys.unwrap_or(self.config.partition_mapper_max_downstream_keys);
                let partition = Partition { key, date };
                let unmapped = PartitionChange::Unmapped { dag_id: dag_id.clone(), event: event.id };
                decisions.changes.push(Change::Partition(Box::new(unmapped)));
                let question = AskMapper { dag_id: dag_id.clone(), event: event.id, mapper, partition, max_keys };
                decisions.actions.push(Action::AskMapper(Box::new(question)));
                consumer.unmapped.insert(event.id, event);
            }
            Err(error) => {
                let message = not_mapped(&key, &event.update.asset.key, dag_id, &error.to_string());
                self.partition_problem(dag_id, message, decisions);
            }
        }
    }

    /// The answer to [`Action::AskMapper`].
    pub(crate) fn mapper_answered(
        &mut self,
        dag_id: &DagId,
        event: AssetEventId,
        answer: MapperAnswer,
        decisions: &mut Decisions,
    ) {
        let consumer = self.partitions.consumers.get_mut(dag_id);
        let Some(event) = consumer.and_then(|consumer| consumer.unmapped.remove(&event)) else { return };
        decisions.changes.push(mapped(dag_id, event.id));
        match answer {
            Ok(MapperSays { count, keys, carried, problems }) => {
                for problem in problems {
                    self.partition_problem(dag_id, problem, decisions);
                }
                let keys = keys.into_iter().map(|(key, told)| (key, Some(told))).collect();
                self.event_mapped(dag_id, &event, count, keys, carried, decisions);
            }
            Err(error) => {
                let key = event.update.partition.as_ref().map_or("", |partition| &partition.key);
                let message = not_mapped(key, &event.update.asset.key, dag_id, &error);
                self.partition_problem(dag_id, message, decisions);
            }
        }
    }

    /// These keys follow from an event, which brings a date with it.
    fn event_mapped(
        &mut self,
        dag_id: &DagId,
        event: &AssetEvent,
        count: u64,
        keys: Vec<(String, Option<Told>)>,
        brought: Option<Timestamp>,
        decisions: &mut Decisions,
    ) {
        let Some(consumer) = self.partitions.consumers.get_mut(dag_id) else { return };
        let mapper = consumer.mapper(&event.update.asset.key);
        let own = mapper.max_downstream_keys;
        let most = own.unwrap_or(self.config.partition_mapper_max_downstream_keys);
        if count > most {
            let source = match own {
                Some(own) => format!("max_downstream_keys={own}"),
                None => format!("[scheduler] partition_mapper_max_downstream_keys={most}"),
            };
            let AssetKey { name, uri } = &event.update.asset.key;
            let key = event.update.partition.as_ref().map_or("", |partition| &partition.key);
            let message = format!(
                "Partition mapper for asset (name='{name}', uri='{uri}') in target Dag '{dag_id}' produced {count} downstream \
                 keys from partition_key='{key}', exceeding {source}. No Dag runs were queued for this event."
            );
            return self.partition_problem(dag_id, message, decisions);
        }
        let fingerprint = consumer.timetable.fingerprint.clone();
        let mut touched = BTreeSet::new();
        for (key, told) in keys {
            if !touched.insert(key.clone()) {
                continue;
            }
            let counted = is_counted(consumer.mapper(&event.update.asset.key), told.as_ref());
            let pending = consumer.pending.entry(key.clone()).or_insert_with(|| Pending {
                first: event.id,
                carried: None,
                arrived: BTreeMap::new(),
            });
            // Events that disagree leave none.
            pending.carried = match (pending.carried, brought) {
                (None, date) | (date, None) => date,
                (Some(known), Some(date)) => (known == date).then_some(date),
            };
            pending.add(event, told.clone(), counted);
            let pending = PendingPartition {
                dag_id: dag_id.clone(),
                key,
                first: pending.first,
                carried: pending.carried,
                fingerprint: fingerprint.clone(),
            };
            let change = PartitionChange::Pending { pending, event: event.id, told };
            decisions.changes.push(Change::Partition(Box::new(change)));
        }
        self.look_at_keys(dag_id, touched, decisions);
    }

    fn look_at_partitions(&mut self, dag_id: &DagId, decisions: &mut Decisions) {
        let keys = self.partitions.consumers.get(dag_id).map(|consumer| consumer.pending.keys().cloned().collect());
        self.look_at_keys(dag_id, keys.unwrap_or_default(), decisions);
    }

    /// Finds out which runs can be made, and asks for the Dag's structure if there are any.
    fn look_at_keys(&mut self, dag_id: &DagId, keys: BTreeSet<String>, decisions: &mut Decisions) {
        let Some(consumer) = self.partitions.consumers.get_mut(dag_id) else { return };
        let mut problems = Vec::new();
        for key in keys {
            if consumer.is_ready(&key, &mut problems)
                && let Some(pending) = consumer.pending.get(&key)
            {
                consumer.ready.insert((pending.first, key));
            }
        }
        for problem in problems {
            self.partition_problem(dag_id, problem, decisions);
        }
        self.ask_for_partition_runs(dag_id);
    }

    /// Asks for a Dag's structure if it has runs to make.
    pub(crate) fn ask_for_partition_runs(&mut self, dag_id: &DagId) {
        let may = !self.draining
            && self.dags.get(dag_id).is_some_and(|entry| !entry.is_gone() && entry.facts.may_follow_assets);
        let Some(consumer) =
            self.partitions.consumers.get_mut(dag_id).filter(|consumer| may && !consumer.ready.is_empty())
        else {
            return;
        };
        if !std::mem::replace(&mut consumer.asked, true) {
            self.needs.push(Need::PartitionRuns { dag_id: dag_id.clone() });
        }
    }

    /// The structure is there: the runs are made. Without one they wait until the Dag changes.
    pub(crate) fn partition_runs_ready(
        &mut self,
        dag_id: &DagId,
        structure: Option<Structure>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(consumer) = self.partitions.consumers.get_mut(dag_id) else { return };
        consumer.asked = false;
        let Some(structure) = structure else { return };
        for (_, key) in std::mem::take(&mut consumer.ready) {
            self.make_partition_run(dag_id, key, &structure, now, decisions);
        }
    }

    fn make_partition_run(
        &mut self,
        dag_id: &DagId,
        key: String,
        structure: &Structure,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(consumer) = self.partitions.consumers.get_mut(dag_id) else { return };
        let Some(pending) = consumer.pending.remove(&key) else { return };
        let date = consumer.date_of(&key, &pending).unwrap_or_else(|message| {
            decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message });
            None
        });
        let moment = model::operations::python_isoformat(now);
        let run_id = RunId::from(format!("asset_triggered__{moment}_{}", self.ids.letters(RUN_ID_LETTERS)));
        let run = NewRun {
            run_id: run_id.clone(),
            run_type: RunType::AssetTriggered,
            triggered_by: TriggeredBy::Asset,
            triggering_user: None,
            logical_date: None,
            data_interval: None,
            run_after: now,
            conf: Arc::new(Json::Object(Default::default())),
            note: None,
            partition: Some(Partition { key: key.clone(), date }),
        };
        self.create_run(run, structure.clone(), now, decisions);
        let taken = PartitionChange::Taken { dag_id: dag_id.clone(), key, run: run_id };
        decisions.changes.push(Change::Partition(Box::new(taken)));
    }

    /// Something is wrong with a mapper: people find it with the Dag, and in the log.
    fn partition_problem(&mut self, dag_id: &DagId, message: String, decisions: &mut Decisions) {
        if let Some(consumer) = self.partitions.consumers.get_mut(dag_id)
            && consumer.warning.as_ref() != Some(&message)
        {
            consumer.warning = Some(message.clone());
            let (dag_id, warning) = (dag_id.clone(), Some(message.clone()));
            decisions.changes.push(Change::DagWarning { dag_id, warning, at: self.moment });
        }
        decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message });
    }
}

/// Maps a key, and sees to it that all else about the keys that follow can be told here, too.
fn map_here(mapper: &Mapper, key: &str) -> Result<Vec<String>, MapError> {
    let keys = mapper.to_downstream(key)?.into_vec();
    for key in &keys {
        let needs_python = |error: &MapError| *error == MapError::Python;
        let upstream = mapper.rollup().map(|rollup| rollup.to_upstream(key));
        if upstream.is_some_and(|upstream| upstream.as_ref().is_err_and(needs_python))
            || mapper.date_of(key).as_ref().is_err_and(needs_python)
        {
            return Err(MapError::Python);
        }
    }
    Ok(keys)
}

/// Whether it matters which keys of an asset have come.
fn is_counted(mapper: &Mapper, told: Option<&Told>) -> bool {
    mapper.rollup().is_some() || told.is_some_and(|told| told.upstream.is_some())
}

fn mapped(dag_id: &DagId, event: AssetEventId) -> Change {
    Change::Partition(Box::new(PartitionChange::Mapped { dag_id: dag_id.clone(), event }))
}

fn drop_pending(dag_id: &DagId, keys: Vec<String>, decisions: &mut Decisions) {
    if !keys.is_empty() {
        let message = format!(
            "{} runs that waited for partitions are not made, because the mappers of the Dag have changed",
            keys.len()
        );
        decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message });
        let dropped = PartitionChange::Dropped { dag_id: dag_id.clone(), keys };
        decisions.changes.push(Change::Partition(Box::new(dropped)));
    }
}

fn not_mapped(key: &str, asset: &AssetKey, dag_id: &DagId, error: &str) -> String {
    let AssetKey { name, uri } = asset;
    format!(
        "Could not map partition_key '{key}' for asset (name='{name}', uri='{uri}') in target Dag '{dag_id}'. This likely \
         indicates that the partition mapper in the target Dag is misconfigured or does not support this partition key.\n{error}"
    )
}
