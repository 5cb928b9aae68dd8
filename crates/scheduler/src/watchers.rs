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
    /// Those that a Dag has watchers of; Dags without any are left out.
    by_dag: HashMap<DagId, BTreeSet<TriggerId>>,
}

#[derive(Debug)]
struct Watched {
    like: (String, String),
    /// The assets that it is watched for, by the Dags that wait for them.
    of: BTreeMap<DagId, BTreeMap<AssetKey, Asset>>,
    /// What was said last of its failures.
    warning: Option<String>,
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
        let before = self.watchers.by_dag.remove(dag_id).unwrap_or_default();
        for id in &before {
            let Some(watched) = self.watchers.watched.get_mut(id) else { continue };
            // The import has taken back what was said.
            watched.warning = None;
            watched.of.remove(dag_id);
        }
        for like in alike {
            if !self.watchers.ids.contains_key(&like) {
                self.watch(dag_id, like, &wanted, now, decisions);
            }
        }
        for watcher in wanted {
            let Some(id) = self.watchers.ids.get(&likeness(&watcher)).copied() else { continue };
            if let Some(watched) = self.watchers.watched.get_mut(&id) {
                watched.of.entry(dag_id.clone()).or_default().insert(watcher.asset.key.clone(), watcher.asset);
                self.watchers.by_dag.entry(dag_id.clone()).or_default().insert(id);
            }
        }
        for id in before {
            if self.watchers.watched.get(&id).is_some_and(|watched| watched.of.is_empty())
                && let Some(watched) = self.watchers.watched.remove(&id)
            {
                self.watchers.ids.remove(&watched.like);
                decisions.actions.push(Action::Disarm(id));
            }
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
            for dag_id in watched.of.keys() {
                decisions.changes.push(Change::DagWarning { dag_id: dag_id.clone(), warning: None, at: now });
            }
        }
        let assets: BTreeMap<AssetKey, Asset> =
            watched.of.values().flatten().map(|(key, asset)| (key.clone(), asset.clone())).collect();
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
        for dag_id in watched.of.keys() {
            let warning = Some(message.clone());
            decisions.changes.push(Change::DagWarning { dag_id: dag_id.clone(), warning, at: now });
            decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message: message.clone() });
        }
        watched.warning = Some(message);
    }
}

#[cfg(test)]
mod tests {
    use model::timetable::{Restriction, Timetable};
    use model::{DagLimits, DagSchedule, VersionId};
    use uuid::Uuid;

    use super::*;
    use crate::{Config, DagFacts, Event, IdSource};

    fn watcher(asset: &str, path: &str) -> Watcher {
        let key = AssetKey { name: asset.into(), uri: asset.into() };
        let kwargs = json!({"path": path});
        Watcher { asset: Asset::new(key), name: format!("{asset}'s"), classpath: "own.T".into(), kwargs }
    }

    fn dag(dag_id: &str, watchers: Vec<Watcher>) -> Event {
        Event::DagChanged(Box::new(DagFacts {
            dag_id: dag_id.into(),
            version: VersionId(Uuid::from_u128(1)),
            timetable: Timetable::Null,
            restriction: Restriction { earliest: None, latest: None, catchup: false },
            limits: DagLimits { max_active_runs: 1, max_active_tasks: 1, max_consecutive_failed_dag_runs: 0 },
            paused: false,
            schedule: DagSchedule::default(),
            may_schedule: true,
            may_follow_assets: true,
            watchers,
        }))
    }

    /// What begins and ends to run.
    fn told(scheduler: &mut Scheduler, event: Event) -> (Vec<i64>, Vec<i64>, Decisions) {
        let mut decisions = Decisions::default();
        scheduler.step(vec![event], Timestamp::UNIX_EPOCH, &mut decisions);
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for action in &decisions.actions {
            match action {
                Action::Watch(watch) => begun.push(watch.trigger.id.0),
                Action::Disarm(id) => ended.push(id.0),
                _ => {}
            }
        }
        (begun, ended, decisions)
    }

    #[test]
    fn triggers_run_while_somebody_needs_them_and_alike_ones_are_one() {
        let mut scheduler = Scheduler::new(Config::default(), IdSource::new(1));
        let mut tell = |event| {
            let (begun, ended, _) = told(&mut scheduler, event);
            (begun, ended)
        };
        assert_eq!(
            tell(dag("a", vec![watcher("x", "/1"), watcher("y", "/1"), watcher("z", "/2")])),
            (vec![1, 2], vec![])
        );
        assert_eq!(tell(dag("b", vec![watcher("x", "/1")])), (vec![], vec![]));
        // The Dag no longer names a watcher; another one still does.
        assert_eq!(tell(dag("a", vec![watcher("z", "/3")])), (vec![3], vec![2]));
        let paused = |paused| Event::DagPaused { dag_id: "b".into(), paused, reply: ReplyId(0) };
        assert_eq!(tell(paused(true)), (vec![], vec![1]));
        assert_eq!(tell(paused(false)), (vec![4], vec![]));
        assert_eq!(tell(Event::DagGone("b".into())), (vec![], vec![4]));
    }

    #[test]
    fn an_event_updates_every_asset_once_and_is_answered_in_any_case() {
        let mut scheduler = Scheduler::new(Config::default(), IdSource::new(1));
        told(&mut scheduler, dag("a", vec![watcher("x", "/1"), watcher("y", "/1")]));
        told(&mut scheduler, dag("b", vec![watcher("x", "/1")]));
        let failed = || Event::WatcherFailed { trigger: TriggerId(1), reason: "KeyError".into() };
        let warned = told(&mut scheduler, failed()).2.changes.len();
        assert_eq!((warned, told(&mut scheduler, failed()).2.changes.len()), (2, 0), "each Dag is warned once");
        let mut fire = |trigger| {
            let fired = Event::WatcherFired { trigger: TriggerId(trigger), payload: json!(7), reply: ReplyId(5) };
            let decisions = told(&mut scheduler, fired).2;
            let is_answered = decisions.actions.iter().any(|action| matches!(action, Action::Done { to: ReplyId(5) }));
            assert!(is_answered);
            let events = decisions.changes.into_iter().filter_map(|change| match change {
                Change::AssetEvent(event) => Some((event.update.asset.key.name, event.update.extra)),
                _ => None,
            });
            events.collect::<Vec<_>>()
        };
        let extra = json!({"from_trigger": true, "payload": 7});
        assert_eq!(fire(1), [("x".to_owned(), extra.clone()), ("y".to_owned(), extra)]);
        assert_eq!(fire(9), [], "nobody needs that one any more");
    }
}
