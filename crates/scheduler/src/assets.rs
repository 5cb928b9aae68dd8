//! Dags that are scheduled on assets: which events wait for them, and when a run is made of these.
//!
//! Every event is queued for every Dag that names its asset, and is taken from there by exactly one run.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    AssetEvent, AssetEventId, AssetMark, AssetUpdate, AttemptId, Change, DagId, Json, Listener, RunId, RunType,
    TriggeredBy,
};

use crate::Scheduler;
use crate::event::{Action, Decisions, Need, NewRun, Refusal, Structure};

/// Letters behind a run's moment, so that two runs of one moment have ids of their own (`get_random_string`).
const RUN_ID_LETTERS: usize = 8;

#[derive(Debug)]
pub(crate) struct Assets {
    /// The number of the last event.
    last: AssetEventId,
    /// The Dags that are to hear of events.
    listeners: HashMap<AssetMark, BTreeSet<DagId>>,
    /// The other way round.
    heard: HashMap<DagId, Vec<AssetMark>>,
    queues: HashMap<DagId, Queue>,
}

impl Default for Assets {
    fn default() -> Self {
        Self { last: AssetEventId(0), listeners: HashMap::new(), heard: HashMap::new(), queues: HashMap::new() }
    }
}

/// The events that wait for one Dag.
#[derive(Debug, Default)]
struct Queue {
    /// In the order in which they came.
    events: Vec<(AssetEventId, Timestamp)>,
    /// What those say that count for the Dag's condition.
    met: HashSet<AssetMark>,
    /// When the last one came that counts.
    newest: Option<Timestamp>,
    /// The Dag's structure has been asked for.
    asked: bool,
}

impl Queue {
    fn push(&mut self, event: &AssetEvent, counts: bool) {
        self.events.push((event.id, event.at));
        if counts {
            self.met.extend(event.marks());
            self.newest = self.newest.max(Some(event.at));
        }
    }

    /// Takes out everything up to the last event that counts, and gives its moment. What came later came while the Dag
    /// was paused.
    fn take(&mut self) -> Option<(Timestamp, Vec<AssetEventId>)> {
        let newest = self.newest.take()?;
        self.met.clear();
        let (taken, left) = std::mem::take(&mut self.events).into_iter().partition(|(_, at)| *at <= newest);
        self.events = left;
        Some((newest, taken.into_iter().map(|(id, _)| id).collect()))
    }
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

    /// The Dag is in no file: events go by. What waits for it already waits on.
    pub(crate) fn dag_gone(&mut self, dag_id: &DagId) {
        self.listen(dag_id, Vec::new());
    }

    pub(crate) fn dag_deleted(&mut self, dag_id: &DagId) {
        self.listen(dag_id, Vec::new());
        self.queues.remove(dag_id);
    }

    pub(crate) fn events_from(&mut self, last: AssetEventId) {
        self.last = last;
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
        let source = self.heard_attempt(attempt).and_then(|task| Some(self.runs.get(&task.run)?.ti(task).key()));
        let Some(source) = source else {
            decisions.actions.push(Action::Refused(Refusal::StaleAttempt { attempt, message: "updated assets" }));
            return;
        };
        let mut concerned = BTreeSet::new();
        for update in updates {
            self.assets.last.0 += 1;
            let event = AssetEvent { id: self.assets.last, update, source: Some(source.clone()), at: now };
            let heard_by: BTreeSet<DagId> =
                event.marks().filter_map(|mark| self.assets.listeners.get(&mark)).flatten().cloned().collect();
            let mut listeners = Vec::with_capacity(heard_by.len());
            for dag_id in heard_by {
                let counts = self.dags.get(&dag_id).is_some_and(|entry| !entry.facts.paused);
                self.assets.queues.entry(dag_id.clone()).or_default().push(&event, counts);
                concerned.insert(dag_id.clone());
                listeners.push(Listener { dag_id, counts });
            }
            decisions.changes.push(Change::AssetEvent { event: Box::new(event), listeners });
        }
        for dag_id in concerned {
            self.look_at_assets(&dag_id);
        }
    }

    /// At start: events that waited for a Dag before, in the order in which they came.
    pub(crate) fn asset_events_queued(
        &mut self,
        dag_id: &DagId,
        events: &[(AssetEvent, bool)],
        decisions: &mut Decisions,
    ) {
        let queue = self.assets.queues.entry(dag_id.clone()).or_default();
        for (event, counts) in events {
            queue.push(event, *counts);
        }
        self.drop_useless_events(dag_id, decisions);
        self.look_at_assets(dag_id);
    }

    /// A Dag's structure is new.
    pub(crate) fn asset_condition_changed(&mut self, dag_id: &DagId, decisions: &mut Decisions) {
        let Some(entry) = self.dags.get(dag_id) else { return };
        let condition = entry.facts.timetable.asset_condition();
        let marks = condition.map(|condition| condition.parts().into_iter().map(|part| part.mark()).collect());
        self.assets.listen(dag_id, marks.unwrap_or_default());
        self.drop_useless_events(dag_id, decisions);
        self.look_at_assets(dag_id);
    }

    /// A Dag that is no longer scheduled on assets has no use for their events.
    fn drop_useless_events(&mut self, dag_id: &DagId, decisions: &mut Decisions) {
        if self.dags.get(dag_id).is_none_or(|entry| entry.facts.timetable.asset_condition().is_some()) {
            return;
        }
        if let Some(queue) = self.assets.queues.remove(dag_id)
            && !queue.events.is_empty()
        {
            let events = queue.events.into_iter().map(|(id, _)| id).collect();
            decisions.changes.push(Change::AssetEventsTaken { dag_id: dag_id.clone(), run: None, events });
        }
    }

    /// Asks for a Dag's structure if its events are to become a run.
    pub(crate) fn look_at_assets(&mut self, dag_id: &DagId) {
        if self.has_asset_run(dag_id)
            && let Some(queue) = self.assets.queues.get_mut(dag_id)
            && !std::mem::replace(&mut queue.asked, true)
        {
            self.needs.push(Need::AssetRun { dag_id: dag_id.clone() });
        }
    }

    /// Whether a Dag's condition is met, and there is room for the run.
    fn has_asset_run(&self, dag_id: &DagId) -> bool {
        let (Some(entry), Some(queue)) = (self.dags.get(dag_id), self.assets.queues.get(dag_id)) else { return false };
        let facts = &entry.facts;
        let Some(condition) = facts.timetable.asset_condition() else { return false };
        !self.draining
            && entry.may_start_runs()
            && facts.may_follow_assets
            && queue.newest.is_some()
            && entry.active() < facts.limits.max_active_runs as usize
            && condition.is_met(&|mark| queue.met.contains(mark))
    }

    /// The structure is there: the events become a run. Without one they wait until the Dag changes.
    pub(crate) fn asset_run_ready(
        &mut self,
        dag_id: &DagId,
        structure: Option<Structure>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let is_due = self.has_asset_run(dag_id);
        let Some(queue) = self.assets.queues.get_mut(dag_id) else { return };
        queue.asked = false;
        let Some(structure) = structure.filter(|_| is_due) else { return };
        let Some((run_after, events)) = queue.take() else { return };
        if queue.events.is_empty() {
            self.assets.queues.remove(dag_id);
        }
        let moment = model::operations::python_isoformat(run_after);
        let run_id = RunId::from(format!("asset_triggered__{moment}_{}", self.ids.letters(RUN_ID_LETTERS)));
        let run = NewRun {
            run_id: run_id.clone(),
            run_type: RunType::AssetTriggered,
            triggered_by: TriggeredBy::Asset,
            triggering_user: None,
            logical_date: None,
            data_interval: None,
            run_after,
            conf: Arc::new(Json::Object(Default::default())),
            note: None,
        };
        self.create_run(run, structure, now, decisions);
        decisions.changes.push(Change::AssetEventsTaken { dag_id: dag_id.clone(), run: Some(run_id), events });
    }
}
