//! Dags that are scheduled on assets: which assets wait for them, and when a run is made.
//!
//! Each such Dag has a cursor in the store: of the events behind it no run has been told. A run is told of those up to the
//! newest one that counts, and moves the cursor there. Here is kept only what counts: which assets have such events.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    AssetCondition, AssetEvent, AssetEventId, AssetKey, AssetMark, AssetUpdate, AttemptId, Change, DagId, Json,
    Partition, QueuedAsset, RunId, RunKey, RunType, TaskInstanceKey, TriggeredBy,
};

use crate::Scheduler;
use crate::event::{Action, Decisions, Need, NewRun, Refusal, ReplyId, Structure, UnqueueAssets};

/// Letters behind a run's moment, so that two runs of one moment have ids of their own (`get_random_string`).
pub(crate) const RUN_ID_LETTERS: usize = 8;

#[derive(Debug)]
pub(crate) struct Assets {
    /// The number of the last event.
    last: AssetEventId,
    /// The assets that were ever updated by an alias.
    of_aliases: HashMap<String, HashSet<AssetKey>>,
    /// The Dags that events may queue something for.
    listeners: HashMap<AssetMark, BTreeSet<DagId>>,
    /// The other way round.
    heard: HashMap<DagId, Vec<AssetMark>>,
    /// Every Dag that has a cursor, also while it is in no file.
    consumers: HashMap<DagId, Consumer>,
}

impl Default for Assets {
    fn default() -> Self {
        Self {
            last: AssetEventId(0),
            of_aliases: HashMap::new(),
            listeners: HashMap::new(),
            heard: HashMap::new(),
            consumers: HashMap::new(),
        }
    }
}

/// A Dag that waits for assets.
#[derive(Debug, Default)]
struct Consumer {
    /// What counts for its condition.
    queue: BTreeMap<AssetKey, QueuedAsset>,
    /// The names and URIs of those that references mean.
    references: HashSet<AssetMark>,
    /// The Dag's structure has been asked for.
    asked: bool,
}

impl Consumer {
    fn put(&mut self, queued: QueuedAsset) {
        self.references.extend(queued.marks().filter(is_reference));
        self.queue.insert(queued.key.clone(), queued);
    }

    fn add(&mut self, event: &AssetEvent) {
        self.references.extend(event.marks().filter(is_reference));
        self.queue
            .entry(event.update.asset.key.clone())
            .and_modify(|queued| queued.add(event))
            .or_insert_with(|| QueuedAsset::new(event));
    }

    /// Takes out what does not fit.
    fn retain(&mut self, fits: impl Fn(&QueuedAsset) -> bool) -> Vec<AssetKey> {
        let out: Vec<AssetKey> = self.queue.extract_if(.., |_, queued| !fits(queued)).map(|(key, _)| key).collect();
        if !out.is_empty() {
            self.references = self.queue.values().flat_map(QueuedAsset::marks).filter(is_reference).collect();
        }
        out
    }

    /// Takes out everything, and gives the last event and the moment of the newest one.
    fn take(&mut self) -> Option<(AssetEventId, Timestamp)> {
        self.references.clear();
        let queue = std::mem::take(&mut self.queue);
        let newest = queue.values().map(|queued| queued.last_at).max()?;
        Some((queue.values().map(|queued| queued.last_event).max()?, newest))
    }
}

fn is_reference(mark: &AssetMark) -> bool {
    matches!(mark, AssetMark::Name(_) | AssetMark::Uri(_))
}

/// Everything that a condition names, each once.
fn marks_of(condition: &AssetCondition) -> Vec<AssetMark> {
    let mut seen = HashSet::new();
    condition.parts().into_iter().map(|part| part.mark()).filter(|mark| seen.insert(mark.clone())).collect()
}

impl Assets {
    /// Says what a Dag listens to from now on.
    fn listen(&mut self, dag_id: &DagId, marks: Vec<AssetMark>) {
        for mark in self.heard.remove(dag_id).unwrap_or_default() {
            if let Some(dags) = self.listeners.get_mut(&mark) {
                dags.remove(dag_id);
                if dags.is_empty() {
                    self.listeners.remove(&mark);
                }
            }
        }
        if marks.is_empty() {
            return;
        }
        for mark in &marks {
            self.listeners.entry(mark.clone()).or_default().insert(dag_id.clone());
        }
        self.heard.insert(dag_id.clone(), marks);
    }

    /// The Dag is in no file: events no longer count. They stay behind its cursor.
    pub(crate) fn dag_gone(&mut self, dag_id: &DagId) {
        self.listen(dag_id, Vec::new());
    }

    pub(crate) fn dag_deleted(&mut self, dag_id: &DagId) {
        self.listen(dag_id, Vec::new());
        self.consumers.remove(dag_id);
    }

    /// At start, before any Dag is known.
    pub(crate) fn found(&mut self, last: AssetEventId, aliases: Vec<(String, AssetKey)>, consumers: Vec<DagId>) {
        self.last = last;
        for (alias, key) in aliases {
            self.of_aliases.entry(alias).or_default().insert(key);
        }
        self.consumers.extend(consumers.into_iter().map(|dag_id| (dag_id, Consumer::default())));
    }

    fn learn_aliases(&mut self, event: &AssetEvent) {
        for alias in &event.update.aliases {
            let known = self.of_aliases.entry(alias.clone()).or_default();
            if !known.contains(&event.update.asset.key) {
                known.insert(event.update.asset.key.clone());
            }
        }
    }

    /// Whether what waits for a Dag is all that it asks for. An alias is there if any asset is that it was ever the name of
    /// (`AssetEvaluator` of `airflow.assets.evaluation`).
    fn meets(&self, consumer: &Consumer, condition: &AssetCondition) -> bool {
        let queue = &consumer.queue;
        condition.is_met(&|mark| match mark {
            AssetMark::Asset(key) => queue.contains_key(key),
            AssetMark::Name(_) | AssetMark::Uri(_) => consumer.references.contains(mark),
            AssetMark::Alias(alias) => self.of_aliases.get(alias).is_some_and(|assets| {
                if assets.len() < queue.len() {
                    assets.iter().any(|key| queue.contains_key(key))
                } else {
                    queue.keys().any(|key| assets.contains(key))
                }
            }),
        })
    }
}

impl Scheduler {
    /// A task instance that is about to succeed has updated assets.
    pub(crate) fn assets_updated(
        &mut self,
        attempt: AttemptId,
        updates: Vec<AssetUpdate>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let source = self.heard_attempt(attempt).and_then(|task| {
            let state = self.runs.get(&task.run)?;
            Some((state.ti(task).key(), state.run.partition.clone()))
        });
        let Some((source, of_run)) = source else {
            decisions.actions.push(Action::Refused(Refusal::StaleAttempt { attempt, message: "updated assets" }));
            return;
        };
        let of_run = of_run.as_ref();
        let updates = updates.into_iter();
        let updates = updates.map(|update| AssetUpdate { partition: partition_of(update.partition, of_run), ..update });
        self.record_updates(updates.collect(), Some(&source), now, decisions);
    }

    /// Makes events of updates. They count for the Dags that name their assets and are not paused.
    pub(crate) fn record_updates(
        &mut self,
        updates: Vec<AssetUpdate>,
        source: Option<&TaskInstanceKey>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let mut queued: BTreeMap<DagId, BTreeSet<AssetKey>> = BTreeMap::new();
        for update in updates {
            self.assets.last.0 += 1;
            let event = AssetEvent { id: self.assets.last, update, source: source.cloned(), at: now };
            self.assets.learn_aliases(&event);
            let heard_by: BTreeSet<&DagId> =
                event.marks().filter_map(|mark| self.assets.listeners.get(&mark)).flatten().collect();
            for dag_id in heard_by {
                let is_paused = self.dags.get(dag_id).is_none_or(|entry| entry.facts.paused);
                // What is about a part of an asset counts for nobody but those that are scheduled on parts.
                let counts = !is_paused && event.update.partition.is_none();
                if let Some(consumer) = self.assets.consumers.get_mut(dag_id).filter(|_| counts) {
                    consumer.add(&event);
                    queued.entry(dag_id.clone()).or_default().insert(event.update.asset.key.clone());
                }
            }
            self.tell_of_asset(&event, now, decisions);
            decisions.changes.push(Change::AssetEvent(Box::new(event.clone())));
            self.partition_updated(&event, decisions);
        }
        for (dag_id, assets) in queued {
            let queue = self.assets.consumers.get(&dag_id).map(|consumer| &consumer.queue);
            for queued in queue.into_iter().flat_map(|queue| assets.iter().filter_map(|key| queue.get(key))) {
                let queued = Box::new(queued.clone());
                decisions.changes.push(Change::AssetQueued { dag_id: dag_id.clone(), queued });
            }
            self.look_at_assets(&dag_id);
        }
    }

    /// Somebody who is no task has updated an asset.
    pub(crate) fn asset_updated(
        &mut self,
        reply: ReplyId,
        update: AssetUpdate,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let from = decisions.changes.len();
        self.record_updates(vec![update], None, now, decisions);
        let made = decisions.changes[from..].iter().find_map(|change| match change {
            Change::AssetEvent(event) => Some(event.clone()),
            _ => None,
        });
        decisions.actions.extend(made.map(|event| Action::AssetRecorded { to: reply, event }));
    }

    /// Somebody wants assets to wait no longer.
    pub(crate) fn unqueue_assets(&mut self, reply: ReplyId, unqueue: &UnqueueAssets, decisions: &mut Decisions) {
        let UnqueueAssets { dag_id, asset, before } = unqueue;
        let stays = |queued: &QueuedAsset| {
            asset.as_ref().is_some_and(|asset| queued.key != *asset)
                || before.is_some_and(|before| queued.first_at >= before)
        };
        let mut dag_ids: Vec<DagId> = match dag_id {
            Some(dag_id) => vec![dag_id.clone()],
            None => self.assets.consumers.keys().cloned().collect(),
        };
        dag_ids.sort_unstable();
        let mut count = 0;
        for dag_id in dag_ids {
            let Some(consumer) = self.assets.consumers.get_mut(&dag_id) else { continue };
            let assets = consumer.retain(stays);
            count += assets.len();
            if !assets.is_empty() {
                decisions.changes.push(Change::AssetsUnqueued { dag_id, assets });
            }
        }
        decisions.actions.push(Action::AssetsUnqueued { to: reply, count });
    }

    /// At start: what waited for a Dag before.
    pub(crate) fn assets_queued(&mut self, dag_id: &DagId, queued: Vec<QueuedAsset>, decisions: &mut Decisions) {
        let consumer = self.assets.consumers.entry(dag_id.clone()).or_default();
        queued.into_iter().for_each(|queued| consumer.put(queued));
        if self.dags.contains_key(dag_id) {
            self.drop_useless_assets(dag_id, decisions);
            self.look_at_assets(dag_id);
        }
    }

    /// A Dag's structure is new, or the Dag is back in a file.
    pub(crate) fn asset_condition_changed(&mut self, dag_id: &DagId, decisions: &mut Decisions) {
        let Some(entry) = self.dags.get(dag_id) else { return };
        let marks = entry.facts.timetable.asset_condition().map(marks_of);
        let waits = marks.is_some();
        self.assets.listen(dag_id, marks.unwrap_or_default());
        if waits != self.assets.consumers.contains_key(dag_id) {
            // It is told of what happens from now on, or of nothing any more.
            let cursor = waits.then_some(self.assets.last);
            decisions.changes.push(Change::AssetCursor { dag_id: dag_id.clone(), cursor });
            if waits {
                self.assets.consumers.insert(dag_id.clone(), Consumer::default());
            } else {
                self.assets.consumers.remove(dag_id);
            }
        }
        self.drop_useless_assets(dag_id, decisions);
        self.look_at_assets(dag_id);
    }

    /// A Dag has no use for what it does not name any more.
    fn drop_useless_assets(&mut self, dag_id: &DagId, decisions: &mut Decisions) {
        let heard = self.assets.heard.get(dag_id).map(Vec::as_slice).unwrap_or_default();
        let heard: HashSet<&AssetMark> = heard.iter().collect();
        let Some(consumer) = self.assets.consumers.get_mut(dag_id) else { return };
        let assets = consumer.retain(|queued| queued.marks().any(|mark| heard.contains(&mark)));
        if !assets.is_empty() {
            decisions.changes.push(Change::AssetsUnqueued { dag_id: dag_id.clone(), assets });
        }
    }

    /// Asks for a Dag's structure if what waits for it is to become a run.
    pub(crate) fn look_at_assets(&mut self, dag_id: &DagId) {
        if self.has_asset_run(dag_id)
            && let Some(consumer) = self.assets.consumers.get_mut(dag_id)
            && !std::mem::replace(&mut consumer.asked, true)
        {
            self.needs.push(Need::AssetRun { dag_id: dag_id.clone() });
        }
    }

    /// Whether a Dag's condition is met, and there is room for the run.
    fn has_asset_run(&self, dag_id: &DagId) -> bool {
        let (Some(entry), Some(consumer)) = (self.dags.get(dag_id), self.assets.consumers.get(dag_id)) else {
            return false;
        };
        let facts = &entry.facts;
        let Some(condition) = facts.timetable.asset_condition() else { return false };
        !self.draining
            && entry.may_start_runs()
            && facts.may_follow_assets
            && !consumer.queue.is_empty()
            && entry.active() < facts.limits.max_active_runs as usize
            && self.assets.meets(consumer, condition)
    }

    /// The structure is there: what waits becomes a run. Without one it waits until the Dag changes.
    pub(crate) fn asset_run_ready(
        &mut self,
        dag_id: &DagId,
        structure: Option<Structure>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let is_due = self.has_asset_run(dag_id);
        let Some(consumer) = self.assets.consumers.get_mut(dag_id) else { return };
        consumer.asked = false;
        let Some(structure) = structure.filter(|_| is_due) else { return };
        let Some((upto, run_after)) = consumer.take() else { return };
        let marks = self.assets.heard.get(dag_id).cloned().unwrap_or_default();
        let moment = model::operations::python_isoformat(run_after);
        let run_id = RunId::from(format!("asset_triggered__{moment}_{}", self.ids.letters(RUN_ID_LETTERS)));
        let key = RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() };
        let run = NewRun {
            run_id,
            run_type: RunType::AssetTriggered,
            triggered_by: TriggeredBy::Asset,
            triggering_user: None,
            logical_date: None,
            data_interval: None,
            run_after,
            conf: Arc::new(Json::Object(Default::default())),
            note: None,
            partition: None,
        };
        self.create_run(run, structure, now, decisions);
        decisions.changes.push(Change::AssetEventsTaken { run: key, marks, upto });
    }
}

/// The part of an asset that a task has updated: what it says itself, or what its run is about. The date is that of the run's
/// key, and of no other.
fn partition_of(said: Option<Partition>, of_run: Option<&Partition>) -> Option<Partition> {
    match said {
        Some(said) if of_run.is_none_or(|of_run| of_run.key != said.key) => Some(said),
        _ => of_run.cloned(),
    }
}
