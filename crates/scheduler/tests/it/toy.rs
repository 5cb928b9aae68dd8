//! The least that a scheduler needs round it: a store of maps that answers its questions, and a set of attempts that
//! run until somebody says how they end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    AssetEvent, AssetEventId, AssetKey, AttemptId, Backfill, BackfillId, Change, Dag, DagId, DagRun, DagRunState,
    DagSchedule, Deadline, DeadlineAlert, DeadlineId, DeadlineInterval, DeadlineReference, HitlResponse, HitlUser,
    Json, MapIndex, QueuedAsset, Reprocess, RunId, RunKey, RunType, Suspension, TaskId, TaskInstance, TaskInstanceKey,
    TriggerId, TriggeredBy, VersionId,
};
use scheduler::{
    Action, AskWeights, BackfillDate, BackfillWish, Config, DagFacts, Decisions, Event, HitlAnswer, IdSource, Known,
    LengthOf, LoadedRun, Need, NewBackfill, NewRun, Outcome, PreviousRun, ReplyId, Scheduler, Skip, SkipDecision,
    StartAttempt, StopReason, Structure, Trigger,
};
use serde_json::json;

use crate::partitions::Partitions;

/// 2026-01-01, a Thursday, in UTC: where every history begins.
pub fn beginning() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Somebody's answer, or nobody's.
pub fn answer(at: Timestamp, option: &str, by: Option<&str>) -> HitlResponse {
    let by = by.map(|name| HitlUser { id: name.into(), name: name.into() });
    HitlResponse { at, by, chosen_options: vec![option.into()], params_input: json!({}) }
}

/// What a task is told of an answer.
pub fn told(response: &HitlResponse) -> Json {
    json!(format!("{} by {}", response.chosen_options[0], response.by.as_ref().map_or("nobody", |user| &user.name)))
}

/// How a backfill is to be done.
pub struct BackfillOptions {
    pub reprocess: Reprocess,
    pub max_active_runs: i64,
    pub backwards: bool,
}

/// A Dag as its file has it.
#[derive(Clone, Debug)]
pub struct Imported {
    pub structure: Structure,
    pub paused: bool,
    pub gone: bool,
    pub schedule: DagSchedule,
}

#[derive(Debug)]
pub struct Toy {
    pub scheduler: Scheduler,
    pub config: Config,
    pub now: Timestamp,
    pub dags: BTreeMap<DagId, Imported>,
    pub pools: BTreeMap<Arc<str>, Option<u32>>,
    pub runs: BTreeMap<RunKey, DagRun>,
    /// Runs as they were made.
    pub order: Vec<RunKey>,
    pub task_instances: BTreeMap<TaskInstanceKey, TaskInstance>,
    pub archived: Vec<TaskInstance>,
    pub skips: HashMap<RunKey, Vec<Skip>>,
    /// The lengths of what task instances returned.
    pub returned: HashMap<TaskInstanceKey, u32>,
    pub suspensions: BTreeMap<TaskInstanceKey, Suspension>,
    /// What people were asked, and have answered.
    pub answers: BTreeMap<TaskInstanceKey, HitlResponse>,
    /// What counts when the time is up.
    pub defaults: BTreeMap<TaskInstanceKey, String>,
    pub deadlines: BTreeMap<DeadlineId, Deadline>,
    pub backfills: BTreeMap<BackfillId, Backfill>,
    pub asset_events: Vec<AssetEvent>,
    pub asset_cursors: BTreeMap<DagId, AssetEventId>,
    pub asset_queue: BTreeMap<DagId, BTreeMap<AssetKey, QueuedAsset>>,
    /// What each run was told of.
    pub consumed: BTreeMap<RunKey, Vec<AssetEventId>>,
    pub partitions: Partitions,
    /// Events about which mappers are asked.
    pub mapper_questions: BTreeSet<(DagId, AssetEventId)>,
    pub alive: BTreeMap<AttemptId, StartAttempt>,
    /// The last question for the timetable of each Dag.
    pub questions: BTreeMap<DagId, u64>,
    /// Questions about weights, the last one last.
    pub unweighed: Vec<AskWeights>,
    /// Runs whose structures can't be read.
    pub unreadable: BTreeSet<RunKey>,
    processes: u64,
    versions: u128,
}

/// What one call of [`Scheduler::step`] decided.
pub struct Step {
    pub changes: Vec<Change>,
    pub lazy_changes: Vec<Change>,
    pub actions: Vec<Action>,
    /// The scheduler has asked something: it has not let anybody in yet.
    pub asked: bool,
}

impl Toy {
    pub fn new(config: Config) -> Self {
        let mut toy = Self {
            scheduler: Scheduler::new(config.clone(), IdSource::new(0)),
            config,
            now: beginning(),
            dags: BTreeMap::new(),
            pools: BTreeMap::new(),
            runs: BTreeMap::new(),
            order: Vec::new(),
            task_instances: BTreeMap::new(),
            archived: Vec::new(),
            skips: HashMap::new(),
            returned: HashMap::new(),
            suspensions: BTreeMap::new(),
            answers: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            defaults: BTreeMap::new(),
            backfills: BTreeMap::new(),
            asset_events: Vec::new(),
            asset_cursors: BTreeMap::new(),
            asset_queue: BTreeMap::new(),
            consumed: BTreeMap::new(),
            partitions: Partitions::default(),
            mapper_questions: BTreeSet::new(),
            alive: BTreeMap::new(),
            questions: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            unweighed: Vec::new(),
            processes: 0,
            versions: 0,
        };
        toy.set_pool("default_pool", Some(128));
        toy
    }

    pub fn set_pool(&mut self, name: &str, slots: Option<u32>) -> Vec<Step> {
        self.pools.insert(name.into(), slots);
        self.tell(Event::PoolChanged { name: name.into(), slots, include_deferred: false })
    }

    pub fn remove_pool(&mut self, name: &str) -> Vec<Step> {
        self.pools.remove(name);
        self.tell(Event::PoolGone { name: name.into() })
    }

    /// Imports a Dag, or its new version.
    pub fn import(&mut self, dag: &Arc<Dag>, paused: bool) -> Vec<Step> {
        self.versions += 1;
        let version = VersionId(uuid::Uuid::from_u128(self.versions));
        let structure = Structure { version, bundle_version: None, dag: Arc::clone(dag) };
        let known = self.dags.get(&dag.dag_id);
        let imported = Imported {
            structure,
            paused: known.map_or(paused, |known| known.paused),
            gone: false,
            schedule: known.map(|known| known.schedule.clone()).unwrap_or_default(),
        };
        self.dags.insert(dag.dag_id.clone(), imported);
        self.tell(Event::DagChanged(Box::new(self.facts(&dag.dag_id))))
    }

    fn facts(&self, dag_id: &DagId) -> DagFacts {
        let imported = &self.dags[dag_id];
        let dag = &imported.structure.dag;
        DagFacts {
            dag_id: dag_id.clone(),
            version: imported.structure.version,
            timetable: dag.timetable.clone(),
            restriction: dag.restriction(),
            limits: dag.limits,
            paused: imported.paused,
            schedule: imported.schedule.clone(),
            may_schedule: true,
            may_follow_assets: true,
            watchers: Vec::new(),
        }
    }

    pub fn vanish(&mut self, dag_id: &str) -> Vec<Step> {
        self.dags.get_mut(dag_id).unwrap().gone = true;
        self.tell(Event::DagGone(dag_id.into()))
    }

    pub fn come_back(&mut self, dag_id: &str) -> Vec<Step> {
        self.dags.get_mut(dag_id).unwrap().gone = false;
        let dag_id = DagId::from(dag_id);
        let is_known = self.scheduler.knows(&dag_id);
        let mut events = vec![Event::DagChanged(Box::new(self.facts(&dag_id)))];
        // As the engine does it: the scheduler forgets Dags that are in no file and have nothing under way.
        if !is_known {
            let open = self.backfills.values().filter(|backfill| backfill.dag_id == dag_id);
            let open = open.filter(|backfill| backfill.completed_at.is_none());
            events.extend(open.map(|backfill| Event::BackfillFound(Box::new(backfill.clone()))));
            events.extend(self.active_runs().filter(|event| run_of(event).dag_id == dag_id));
        }
        self.tell_all(events)
    }

    /// The runs that have not ended, as a process that does not know them finds them.
    fn active_runs(&self) -> impl Iterator<Item = Event> + '_ {
        self.order.iter().filter_map(|key| match self.runs[key].state {
            DagRunState::Queued => Some(Event::RunFound(Box::new(self.runs[key].clone()))),
            DagRunState::Running if self.unreadable.contains(key) => {
                Some(Event::RunUnreadable(Box::new(self.runs[key].clone())))
            }
            DagRunState::Running => Some(Event::RunLoaded(Box::new(self.load(key)))),
            _ => None,
        })
    }

    /// Asks for a backfill of all dates of a span, as the engine works them out.
    pub fn backfill(&mut self, dag_id: &str, span: (Timestamp, Timestamp), how: BackfillOptions) -> Vec<Step> {
        let structure = self.dags[dag_id].structure.clone();
        let (from_date, to_date) = span;
        let mut dates: Vec<BackfillDate> = structure
            .dag
            .timetable
            .between(Some(from_date), to_date, self.now)
            .map(|next| {
                let of_date =
                    |run: &&DagRun| run.key.dag_id.as_str() == dag_id && run.logical_date == Some(next.logical_date());
                let known = match self.runs.values().find(of_date) {
                    None => Known::Nothing,
                    Some(run)
                        if how.reprocess == Reprocess::Completed && run.state.is_finished()
                            || how.reprocess == Reprocess::Failed && run.state == DagRunState::Failed =>
                    {
                        Known::Again(Box::new(self.load(&run.key)))
                    }
                    Some(_) => Known::Kept,
                };
                BackfillDate { next, known }
            })
            .collect();
        if how.backwards {
            dates.reverse();
        }
        self.tell(Event::Backfill(Box::new(NewBackfill {
            reply: ReplyId(0),
            structure,
            from_date,
            to_date,
            conf: None,
            reprocess: how.reprocess,
            max_active_runs: how.max_active_runs,
            triggering_user: None,
            on_latest_version: true,
            dates,
        })))
    }

    /// What people want of the backfill of a Dag that was made last.
    pub fn set_backfill(&mut self, dag_id: &str, wish: BackfillWish) -> Vec<Step> {
        let id = self.backfills.values().rev().find(|backfill| backfill.dag_id.as_str() == dag_id).unwrap().id;
        self.tell(Event::SetBackfill { dag_id: dag_id.into(), id, wish, reply: ReplyId(0) })
    }

    pub fn trigger_event(&self, dag_id: &str, run_id: &str, logical_date: Option<Timestamp>) -> Event {
        let run = NewRun {
            run_id: RunId::from(run_id),
            run_type: RunType::Manual,
            triggered_by: TriggeredBy::RestApi,
            triggering_user: None,
            logical_date,
            data_interval: None,
            run_after: self.now,
            conf: Arc::new(Json::Null),
            note: None,
            partition: None,
        };
        let structure = self.dags[dag_id].structure.clone();
        Event::Trigger(Box::new(Trigger { reply: ReplyId(0), run, structure }))
    }

    pub fn trigger(&mut self, dag_id: &str, run_id: &str, logical_date: Option<Timestamp>) -> Vec<Step> {
        self.tell(self.trigger_event(dag_id, run_id, logical_date))
    }

    pub fn end(&mut self, attempt: AttemptId, outcome: Outcome) -> Vec<Step> {
        self.tell(self.end_event(attempt, outcome))
    }

    pub fn end_event(&self, attempt: AttemptId, outcome: Outcome) -> Event {
        Event::AttemptEnded { attempt, at: self.now, outcome, rendered_map_index: None }
    }

    /// A branch decides; what it leaves behind is kept as the real ones leave it.
    pub fn branch(&mut self, attempt: AttemptId, skipped: &[TaskId]) -> Vec<Step> {
        let ti = self.alive[&attempt].ti.clone();
        let decision = SkipDecision::Skipped(skipped.to_vec());
        let skip = Skip { branch: ti.task_id, map_index: ti.map_index, decision: decision.clone() };
        self.skips.entry(ti.run).or_default().push(skip);
        if ti.map_index.is_mapped() {
            return self.tell(Event::BranchDecided { attempt, decision });
        }
        let tasks = skipped.iter().map(|task| (task.clone(), MapIndex::NONE)).collect();
        self.tell(Event::SkipDownstream { attempt, tasks })
    }

    pub fn tell(&mut self, event: Event) -> Vec<Step> {
        self.tell_all(vec![event])
    }

    /// Steps until the scheduler has no more questions.
    pub fn tell_all(&mut self, events: Vec<Event>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut events = events;
        loop {
            let mut decisions = Decisions::default();
            let needs = self.scheduler.step(events, self.now, &mut decisions);
            for change in decisions.changes.iter().chain(&decisions.lazy_changes) {
                self.write(change);
            }
            for action in &decisions.actions {
                self.act(action);
            }
            let asked = !needs.is_empty();
            let Decisions { changes, lazy_changes, actions } = decisions;
            steps.push(Step { changes, lazy_changes, actions, asked });
            if !asked {
                return steps;
            }
            events = needs.into_iter().map(|need| self.answer(need)).collect();
        }
    }

    /// Lets time pass until `until`, with a step whenever the scheduler wants one.
    pub fn wait_until(&mut self, until: Timestamp) -> Vec<(Timestamp, Step)> {
        let mut steps = Vec::new();
        loop {
            let next = self.scheduler.next_wakeup().filter(|at| *at <= until);
            self.now = self.now.max(next.unwrap_or(until));
            let now = self.now;
            steps.extend(self.tell_all(Vec::new()).into_iter().map(|step| (now, step)));
            if next.is_none() {
                return steps;
            }
        }
    }

    /// The process ends, with everything that it ran, and another one takes its place.
    pub fn restart(&mut self) -> Vec<Step> {
        self.alive.clear();
        self.unweighed.clear();
        self.processes += 1;
        self.scheduler = Scheduler::new(self.config.clone(), IdSource::new(self.processes));
        let triggers = self.suspensions.values().filter_map(|suspension| suspension.trigger.as_ref());
        let last = triggers.map(|trigger| trigger.id).max().unwrap_or(TriggerId(0));
        let aliases = |event: &AssetEvent| {
            let key = event.update.asset.key.clone();
            event.update.aliases.iter().map(|alias| (alias.clone(), key.clone())).collect::<Vec<_>>()
        };
        let mut events = vec![Event::AssetsFound {
            last: self.asset_events.last().map_or(AssetEventId(0), |event| event.id),
            aliases: self.asset_events.iter().flat_map(aliases).collect(),
            consumers: self.asset_cursors.keys().cloned().collect(),
        }];
        events.extend(self.pools.iter().map(|(name, slots)| Event::PoolChanged {
            name: Arc::clone(name),
            slots: *slots,
            include_deferred: false,
        }));
        events.extend(self.dags.keys().map(|dag_id| Event::DagChanged(Box::new(self.facts(dag_id)))));
        events.push(Event::TriggersFrom(last));
        events.push(Event::DeadlinesFound(self.deadlines.values().cloned().collect()));
        events.push(Event::BackfillsFrom(self.backfills.keys().max().copied().unwrap_or(BackfillId(0))));
        let open = self.backfills.values().filter(|backfill| backfill.completed_at.is_none());
        events.extend(open.map(|backfill| Event::BackfillFound(Box::new(backfill.clone()))));
        events.extend(self.active_runs());
        let queued = self.asset_queue.iter().map(|(dag_id, queue)| (dag_id.clone(), queue.values().cloned().collect()));
        events.extend(queued.map(|(dag_id, queued)| Event::AssetsQueued { dag_id, queued }));
        self.mapper_questions.clear();
        events.extend(self.dags.keys().map(|dag_id| self.partitions.found(dag_id)));
        let gone = self.dags.iter().filter(|(_, imported)| imported.gone);
        events.extend(gone.map(|(dag_id, _)| Event::DagGone(dag_id.clone())));
        self.tell_all(events)
    }

    fn write(&mut self, change: &Change) {
        match change {
            Change::Run(run) => {
                if self.runs.insert(run.key.clone(), (**run).clone()).is_none() {
                    self.order.push(run.key.clone());
                }
            }
            Change::TaskInstance(ti) => drop(self.task_instances.insert(ti.key(), (**ti).clone())),
            Change::Forgotten(ti) => {
                self.returned.remove(ti);
                if let Some(skips) = self.skips.get_mut(&ti.run) {
                    skips.retain(|skip| skip.branch != ti.task_id || skip.map_index != ti.map_index);
                }
            }
            Change::ArchivedTry(ti) => self.archived.push((**ti).clone()),
            Change::Expanded { run, task_id } => {
                let stand_in =
                    TaskInstanceKey { run: run.clone(), task_id: task_id.clone(), map_index: MapIndex::NONE };
                self.task_instances.remove(&stand_in);
            }
            Change::Schedule { dag_id, schedule } => {
                self.dags.get_mut(dag_id).unwrap().schedule = (**schedule).clone();
            }
            Change::Suspended(suspension) => {
                self.suspensions.insert(suspension.key.clone(), (**suspension).clone());
            }
            Change::NotSuspended(key) => drop(self.suspensions.remove(key)),
            Change::CallbackDue(_) => {}
            Change::Partition(change) => self.partitions.write(change),
            Change::Deadline(deadline) => drop(self.deadlines.insert(deadline.id, (**deadline).clone())),
            Change::DeadlineGone(id) | Change::DeadlineMissed(id) => drop(self.deadlines.remove(id)),
            Change::HitlAnswered { key, response, .. } => drop(self.answers.insert(key.clone(), (**response).clone())),
            Change::HitlTold(key) => assert!(self.answers.contains_key(key), "{key} is told what nobody has said"),
            Change::DagWarning { .. } => {}
            Change::Paused { dag_id, paused } => self.dags.get_mut(dag_id).unwrap().paused = *paused,
            Change::AssetEvent(event) => {
                self.partitions.events.insert(event.id, (**event).clone());
                self.asset_events.push((**event).clone());
            }
            Change::AssetQueued { dag_id, queued } => {
                let queue = self.asset_queue.entry(dag_id.clone()).or_default();
                queue.insert(queued.key.clone(), (**queued).clone());
            }
            Change::AssetsUnqueued { dag_id, assets } => {
                let queue = self.asset_queue.get_mut(dag_id).unwrap();
                assets
                    .iter()
                    .for_each(|key| assert!(queue.remove(key).is_some(), "{key:?} does not wait for {dag_id}"));
            }
            Change::AssetCursor { dag_id, cursor: Some(cursor) } => {
                assert_eq!(self.asset_cursors.insert(dag_id.clone(), *cursor), None);
            }
            Change::AssetCursor { dag_id, cursor: None } => {
                self.asset_cursors.remove(dag_id);
                self.asset_queue.remove(dag_id);
            }
            Change::AssetEventsTaken { run, marks, upto } => {
                let cursor = self.asset_cursors.get_mut(&run.dag_id).unwrap();
                let is_taken = |event: &&AssetEvent| {
                    event.id > *cursor && event.id <= *upto && event.marks().any(|mark| marks.contains(&mark))
                };
                let taken: Vec<AssetEventId> =
                    self.asset_events.iter().filter(is_taken).map(|event| event.id).collect();
                assert!(!taken.is_empty(), "{run} is made of nothing");
                *cursor = *upto;
                self.consumed.insert(run.clone(), taken);
                let left = self.asset_queue.remove(&run.dag_id).unwrap_or_default();
                assert!(left.values().all(|queued| queued.last_event <= *upto), "{run} leaves {left:?}");
            }
            Change::Backfill(backfill) => drop(self.backfills.insert(backfill.id, (**backfill).clone())),
            Change::DagDeleted(dag_id) => {
                self.backfills.retain(|_, backfill| backfill.dag_id != *dag_id);
                self.asset_cursors.remove(dag_id);
                self.asset_queue.remove(dag_id);
                self.dags.remove(dag_id);
                self.runs.retain(|key, _| key.dag_id != *dag_id);
                self.order.retain(|key| key.dag_id != *dag_id);
                self.task_instances.retain(|ti, _| ti.run.dag_id != *dag_id);
            }
            Change::RunDeleted(key) => {
                self.runs.remove(key);
                self.order.retain(|run| run != key);
                self.task_instances.retain(|ti, _| ti.run != *key);
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Start(start) => drop(self.alive.insert(start.attempt, (**start).clone())),
            // Its end is still to come.
            Action::Stop { reason: StopReason::Cleared, .. } => {}
            Action::Stop { attempt, .. } | Action::Acknowledge { attempt } => drop(self.alive.remove(attempt)),
            Action::AskMapper(ask) => drop(self.mapper_questions.insert((ask.dag_id.clone(), ask.event))),
            Action::AskWeights(asked) => self.unweighed.push((**asked).clone()),
            Action::AskTimetable(ask) => drop(self.questions.insert(ask.dag_id.clone(), ask.number)),
            _ => {}
        }
    }

    fn load(&self, key: &RunKey) -> LoadedRun {
        LoadedRun {
            run: self.runs[key].clone(),
            structure: self.dags[&key.dag_id].structure.clone(),
            task_instances: self.task_instances_of(key).cloned().collect(),
            skips: self.skips.get(key).cloned().unwrap_or_default(),
            lengths: self.lengths_of(key, &LengthOf::all(&self.dags[&key.dag_id].structure.dag)),
            suspensions: self.suspensions.values().filter(|suspension| suspension.key.run == *key).cloned().collect(),
        }
    }

    /// The lengths as Airflow's `task_map` and XComs have them.
    fn lengths_of(&self, run: &RunKey, tasks: &[LengthOf]) -> Vec<(TaskId, Option<u32>)> {
        let length = |of: &LengthOf| {
            let returned = |map_index| {
                self.returned.get(&TaskInstanceKey { run: run.clone(), task_id: of.task_id.clone(), map_index })
            };
            let instances =
                self.task_instances_of(run).filter(|ti| ti.task_id == of.task_id && ti.map_index.is_mapped());
            let length = if of.of_instances {
                Some(instances.filter(|ti| returned(ti.map_index).is_some()).count() as u32)
            } else {
                returned(MapIndex::NONE).copied()
            };
            (of.task_id.clone(), length)
        };
        tasks.iter().map(length).collect()
    }

    pub fn task_instances_of<'a>(&'a self, run: &'a RunKey) -> impl Iterator<Item = &'a TaskInstance> {
        self.task_instances.values().filter(move |ti| ti.run == *run)
    }

    fn answer(&self, need: Need) -> Event {
        match need {
            Need::ScheduleCheck { dag_id, run_id, logical_date } => {
                let taken = self.runs.values().any(|run| {
                    run.key.dag_id == dag_id
                        && (run.key.run_id == run_id || logical_date.is_some() && run.logical_date == logical_date)
                });
                Event::ScheduleChecked { structure: Some(self.dags[&dag_id].structure.clone()), dag_id, taken }
            }
            Need::PartitionRuns { dag_id } => {
                Event::PartitionRunsReady { structure: Some(self.dags[&dag_id].structure.clone()), dag_id }
            }
            Need::AssetRun { dag_id } => {
                Event::AssetRunReady { structure: Some(self.dags[&dag_id].structure.clone()), dag_id }
            }
            Need::Run(key) => Event::RunLoaded(Box::new(self.load(&key))),
            Need::PreviousRun { run, logical_date, scheduled_only, newcomers } => {
                let is_before = |other: &&DagRun| {
                    other.key.dag_id == run.dag_id
                        && other.logical_date.is_some_and(|date| date < logical_date)
                        && !(scheduled_only && other.run_type == RunType::Manual)
                };
                let previous = self.runs.values().filter(is_before).max_by_key(|run| run.logical_date);
                let previous = previous.map(|previous| PreviousRun {
                    key: previous.key.clone(),
                    logical_date: previous.logical_date,
                    tasks: self.task_instances_of(&previous.key).fold(HashMap::new(), |mut tasks, ti| {
                        *tasks.entry(ti.task_id.clone()).or_insert(true) &= ti.state.is_success();
                        tasks
                    }),
                    first_timers: newcomers
                        .into_iter()
                        .filter(|task| !self.ran_before(&run.dag_id, task, logical_date))
                        .collect(),
                });
                Event::PreviousLoaded { run, previous }
            }
            Need::Structure { run } => Event::StructureLoaded {
                structure: Some(self.dags[&run.dag_id].structure.clone()),
                skips: self.skips.get(&run).cloned().unwrap_or_default(),
                lengths: self.lengths_of(&run, &LengthOf::all(&self.dags[&run.dag_id].structure.dag)),
                run,
            },
            Need::MapLengths { run, tasks } => Event::MapLengths { lengths: self.lengths_of(&run, &tasks), run },
            Need::Deadlines { run, .. } => {
                let queued_at = self.runs[&run].queued_at.unwrap();
                let alerts = &self.dags[&run.dag_id].structure.dag.deadlines;
                let moment = |alert: &DeadlineAlert| match (&alert.reference, &alert.interval) {
                    (DeadlineReference::QueuedAt, DeadlineInterval::Fixed(interval)) => Some(queued_at + *interval),
                    _ => None,
                };
                let moments = alerts.iter().enumerate().map(|(at, alert)| (at as u32, moment(alert))).collect();
                Event::DeadlinesSet { run, moments }
            }
            Need::HitlAnswer { key, at } => {
                let given = self.answers.get(&key).map(|given| HitlAnswer::Given { payload: told(given) });
                let default = self.defaults.get(&key).map(|option| {
                    let response = answer(at, option, None);
                    HitlAnswer::Default { payload: told(&response), response: Box::new(response) }
                });
                Event::HitlFound { answer: given.or(default), key }
            }
            Need::LastRuns { dag_id, count } => {
                let mut runs: Vec<(Timestamp, usize)> = self
                    .order
                    .iter()
                    .enumerate()
                    .filter(|(_, key)| key.dag_id == dag_id)
                    .map(|(position, key)| (self.runs[key].run_after, position))
                    .collect();
                runs.sort_unstable_by(|a, b| b.cmp(a));
                let last = runs.iter().take(count as usize);
                let states = last.map(|(_, position)| self.runs[&self.order[*position]].state).collect();
                Event::LastRuns { dag_id, states }
            }
        }
    }

    fn ran_before(&self, dag_id: &DagId, task: &TaskId, before: Timestamp) -> bool {
        let dates: BTreeSet<&RunKey> = self
            .runs
            .values()
            .filter(|run| run.logical_date.is_some_and(|date| date < before))
            .map(|run| &run.key)
            .collect();
        self.task_instances
            .values()
            .any(|ti| ti.run.dag_id == *dag_id && ti.task_id == *task && dates.contains(&ti.run))
    }
}

fn run_of(event: &Event) -> &RunKey {
    match event {
        Event::RunFound(run) | Event::RunUnreadable(run) => &run.key,
        Event::RunLoaded(loaded) => &loaded.run.key,
        _ => panic!("{event:?} is about no run"),
    }
}
