//! Watchers of assets: which triggers run for them, and that their events become events of the assets.
//!
//! A trigger runs while some Dag that is in a file and not paused waits for an asset that it watches; watchers whose triggers
//! are made alike share one. Which triggers run follows from the Dags alone, so that nothing of it is written down: a new
//! process finds the same. An event is acknowledged when the updates of all its assets are durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Asset, AssetKey, AssetUpdate, Change, DagId, Json, Trigger, TriggerId, Watcher};
use serde_json::json;

use crate::Scheduler;
use crate::event::{Action, Decisions, ReplyId};

/// A trigger that is to run until nobody needs it any more, however often it fires.
#[derive(Clone, Debug)]
pub struct WatchTrigger {
    pub trigger: Arc<Trigger>,
    /// The names of its watchers, for people.
    pub name: String,
    pub assets: Vec<AssetKey>,
}

#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// By class and arguments.
    ids: HashMap<(String, String), TriggerId>,
    watched: BTreeMap<TriggerId, Watched>,
}

#[derive(Debug)]
struct Watched {
    like: (String, String),
    /// The assets that it is watched for, and by which Dags.
    of: BTreeMap<(DagId, AssetKey), Asset>,
    /// What was said last of its failures.
    warning: Option<String>,
}

impl Watched {
    fn dags(&self) -> BTreeSet<&DagId> {
        self.of.keys().map(|(dag_id, _)| dag_id).collect()
    }
}

fn likeness(watcher: &Watcher) -> (String, String) {
    (watcher.classpath.clone(), watcher.kwargs.to_string())
}

impl Scheduler {
    /// A Dag is new, changed, paused, let go on, or gone: other triggers may be needed.
    pub(crate) fn look_at_watchers(&mut self, dag_id: &DagId, now: Timestamp, decisions: &mut Decisions) {
        let entry = self.dags.get(dag_id).filter(|entry| !entry.is_gone() && !entry.facts.paused);
        let wanted: Vec<Watcher> = entry.map(|entry| entry.facts.watchers.clone()).unwrap_or_default();
        let alike: BTreeSet<(String, String)> = wanted.iter().map(likeness).collect();
        for watched in self.watchers.watched.values_mut().filter(|watched| watched.dags().contains(dag_id)) {
            // The import has taken back what was said.
            watched.warning = None;
            watched.of.retain(|(other, _), _| other != dag_id);
        }
        for like in alike {
            if !self.watchers.ids.contains_key(&like) {
                self.watch(dag_id, like, &wanted, now, decisions);
            }
        }
        for watcher in wanted {
            let watched = self.watchers.ids.get(&likeness(&watcher)).and_then(|id| self.watchers.watched.get_mut(id));
            if let Some(watched) = watched {
                watched.of.insert((dag_id.clone(), watcher.asset.key.clone()), watcher.asset);
            }
        }
        let unwatched = |_: &TriggerId, watched: &mut Watched| watched.of.is_empty();
        for (id, watched) in self.watchers.watched.extract_if(.., unwatched) {
            self.watchers.ids.remove(&watched.like);
            decisions.actions.push(Action::Disarm(id));
        }
    }

    fn watch(
        &mut self,
        dag_id: &DagId,
        like: (String, String),
        wanted: &[Watcher],
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let own: Vec<&Watcher> = wanted.iter().filter(|watcher| likeness(watcher) == like).collect();
        let Some(first) = own.first() else { return };
        self.last_trigger.0 += 1;
        let id = self.last_trigger;
        let trigger = Trigger {
            id,
            classpath: first.classpath.clone(),
            kwargs: first.kwargs.clone(),
            queue: None,
            created_at: now,
            timer: None,
        };
        let names: BTreeSet<&str> = own.iter().map(|watcher| watcher.name.as_str()).collect();
        decisions.actions.push(Action::Watch(Box::new(WatchTrigger {
            trigger: Arc::new(trigger),
            name: format!("{} of {dag_id}", names.into_iter().collect::<Vec<_>>().join(", ")),
            assets: own.iter().map(|watcher| watcher.asset.key.clone()).collect(),
        })));
        self.watchers.ids.insert(like.clone(), id);
        self.watchers.watched.insert(id, Watched { like, of: BTreeMap::new(), warning: None });
    }

    /// A watcher's trigger has fired: its assets were updated. The answer is an [`Action::Done`].
    pub(crate) fn watcher_fired(
        &mut self,
        trigger: TriggerId,
        payload: Json,
        reply: ReplyId,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        decisions.actions.push(Action::Done { to: reply });
        let Some(watched) = self.watchers.watched.get_mut(&trigger) else { return };
        if watched.warning.take().is_some() {
            for dag_id in watched.dags() {
                decisions.changes.push(Change::DagWarning { dag_id: dag_id.clone(), warning: None, at: now });
            }
        }
        let assets: BTreeMap<AssetKey, Asset> =
            watched.of.iter().map(|((_, key), asset)| (key.clone(), asset.clone())).collect();
        let extra = json!({"from_trigger": true, "payload": payload});
        let update =
            |asset| AssetUpdate { asset, extra: extra.clone(), aliases: vec![], active: true, partition: None };
        self.record_updates(assets.into_values().map(update).collect(), None, now, decisions);
    }

    /// A watcher's trigger has failed. It is started again in a while.
    pub(crate) fn watcher_failed(
        &mut self,
        trigger: TriggerId,
        reason: &str,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(watched) = self.watchers.watched.get_mut(&trigger) else { return };
        let message = format!("The trigger {} of a watcher has failed, and is started again: {reason}", watched.like.0);
        if watched.warning.as_ref() == Some(&message) {
            return;
        }
        for dag_id in watched.dags() {
            let warning = Some(message.clone());
            decisions.changes.push(Change::DagWarning { dag_id: dag_id.clone(), warning, at: now });
            decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message: message.clone() });
        }
        watched.warning = Some(message);
    }
}
