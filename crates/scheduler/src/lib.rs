//! The brain: events go in together with the time, decisions come out.
//!
//! This crate reads no clock, draws no random numbers, knows no SQL and no tokio: the same events at the same moments
//! always lead to the same decisions, so that any history can be replayed from a seed. It holds in memory what is
//! under way and nothing else: runs that have ended, and the structure of Dags that do not run, are the store's.
//!
//! One call of [`Scheduler::step`] takes a batch of events and changes the state; what must be written, and what is to
//! be done once it is written, comes back as [`Decisions`]. What the scheduler must know first (the structure of a Dag
//! that is due, a queued run's task instances) it asks for as [`Need`]s; the answers are events too.

mod assets;
mod attempts;
mod backfill;
mod by_hand;
mod callbacks;
mod clear;
mod dags;
mod deadlines;
mod evaluate;
mod event;
mod expand;
mod ids;
mod input;
mod inputs;
mod listeners;
mod mark;
mod partitions;
mod previous;
mod run_queue;
mod run_state;
mod runs;
mod slots;
mod structure;
mod suspend;
mod timers;
mod timetables;
mod watchers;
mod weights;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use model::{AttemptId, BackfillId, Change, DagId, RunKey, TaskInstanceKey, TriggerId};

pub use backfill::{BackfillDate, BackfillRefusal, BackfillWish, Known, NewBackfill, backfill_run_id};
pub use clear::Clear;
pub use dags::DagFacts;
pub use event::{
    Action, Answered, ArmTrigger, Decisions, Deferral, Event, HitlAnswer, LengthOf, LoadedRun, Need, NewRun, Obstacle,
    Outcome, PreviousRun, Refusal, ReplyId, RunRefusal, Skip, SkipDecision, StartAttempt, StopReason, Structure,
    TasksChanged, Trigger, TriggerError, TriggerEvent, TriggeredEnd, UnqueueAssets, Waiting,
};
pub use expand::MAX_INSTANCES;
pub use ids::IdSource;
pub use mark::{Mark, MarkAs};
pub use partitions::{AskMapper, FoundPartition, MapperAnswer, MapperSays};
pub use timetables::AskTimetable;
pub use watchers::WatchTrigger;
pub use weights::{AskWeights, WeightOf};

use dags::DagEntry;
use run_state::{RunSerial, RunState, TaskRef};
use slots::{Pools, WaitKey, WaitLists};
use structure::NewestStructure;
use timers::Timers;

/// What does not change while the scheduler lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// Attempts that may execute at once, over all Dags.
    pub parallelism: u32,
    /// How many runs of a Dag may follow from one event, where its mapper has no limit of its own.
    pub partition_mapper_max_downstream_keys: u64,
}

impl Default for Config {
    /// Airflow's defaults.
    fn default() -> Self {
        Self { parallelism: 32, partition_mapper_max_downstream_keys: 1000 }
    }
}

#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    ids: IdSource,
    dags: HashMap<DagId, DagEntry>,
    runs: HashMap<RunSerial, RunState>,
    run_serials: HashMap<RunKey, RunSerial>,
    next_serial: u64,
    attempts: HashMap<AttemptId, TaskRef>,
    /// Triggers that are waited for, and by whom.
    triggers: HashMap<TriggerId, TaskRef>,
    last_trigger: TriggerId,
    last_backfill: BackfillId,
    /// Dags whose backfills may be complete.
    backfills_touched: BTreeSet<DagId>,
    /// The number of the last question for a timetable.
    last_question: u64,
    assets: assets::Assets,
    partitions: partitions::Partitions,
    watchers: watchers::Watchers,
    deadlines: deadlines::Deadlines,
    pools: Pools,
    waiting: WaitLists,
    /// Task instances that became ready in this step; admitted in order of priority when the step ends.
    fresh: BTreeMap<WaitKey, TaskRef>,
    timers: Timers,
    /// The moment of the step at hand.
    moment: Timestamp,
    /// Nothing new is started while this is set.
    draining: bool,
    /// Task instances to look at again in this step, in the order in which something happened to them.
    dirty: VecDeque<TaskRef>,
    /// Runs that are being fetched because people want something of them.
    wishes: HashMap<RunKey, by_hand::Wishes>,
    /// Runs whose end to look at in this step.
    touched: Vec<RunSerial>,
    /// Task instances whose weights are to be asked for in this step.
    unweighed: Vec<TaskRef>,
    needs: Vec<Need>,
    /// How often a task instance was looked at.
    evaluations: u64,
}

impl Scheduler {
    pub fn new(config: Config, ids: IdSource) -> Self {
        Self {
            config,
            ids,
            dags: HashMap::new(),
            runs: HashMap::new(),
            run_serials: HashMap::new(),
            next_serial: 0,
            attempts: HashMap::new(),
            triggers: HashMap::new(),
            last_trigger: TriggerId(0),
            last_backfill: BackfillId(0),
            backfills_touched: BTreeSet::new(),
            last_question: 0,
            assets: assets::Assets::default(),
            partitions: partitions::Partitions::default(),
            watchers: watchers::Watchers::default(),
            deadlines: deadlines::Deadlines::default(),
            pools: Pools::default(),
            waiting: WaitLists::default(),
            fresh: BTreeMap::new(),
            timers: Timers::default(),
            moment: Timestamp::MIN,
            draining: false,
            dirty: VecDeque::new(),
            wishes: HashMap::new(),
            touched: Vec::new(),
            unweighed: Vec::new(),
            needs: Vec::new(),
            evaluations: 0,
        }
    }

    /// Takes a batch of events at the moment `now` and adds what follows from them to `decisions`.
    ///
    /// The answers to what it returns must be given, as events, in further steps before the decisions are committed;
    /// no answer may be left out.
    pub fn step(&mut self, events: Vec<Event>, now: Timestamp, decisions: &mut Decisions) -> Vec<Need> {
        self.moment = now;
        for event in events {
            self.take(event, now, decisions);
        }
        self.due_timers(now, decisions);
        self.settle(now, decisions);
        self.ask_weights(decisions);
        self.finish_touched_runs(now, decisions);
        // What the answers let in may be more important than what is ready now.
        if self.needs.is_empty() {
            self.complete_backfills(now, decisions);
            self.admit_all(now, decisions);
        }
        std::mem::take(&mut self.needs)
    }

    /// When [`Self::step`] must be called again if no event comes before; `None` if there is nothing to wait for.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Runs that are queued or running.
    pub fn active_runs(&self) -> usize {
        self.run_serials.len()
    }

    /// The attempts that hold a slot.
    pub fn attempts_in_flight(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.attempts.keys().copied()
    }

    /// How often a task instance was looked at since the start: the measure of the scheduler's work.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// Whether the Dag's facts are known, so that its runs can be taken up.
    pub fn knows(&self, dag_id: &DagId) -> bool {
        self.dags.contains_key(dag_id)
    }

    /// Whether an attempt is the current one of its task instance. Messages from any other are refused.
    pub fn is_current(&self, attempt: AttemptId) -> bool {
        self.attempts.contains_key(&attempt)
    }

    /// The task instance that an attempt works on, if it is one of several of a branch. What that decides it does not
    /// say, but only leaves (`SkipMixin` of the standard provider).
    pub fn instance_of_branch(&self, attempt: AttemptId) -> Option<TaskInstanceKey> {
        let task = *self.attempts.get(&attempt)?;
        let state = self.runs.get(&task.run)?;
        let ti = state.ti(task);
        (ti.map_index.is_mapped() && state.dag.task(task.task).can_skip_downstream).then(|| ti.key())
    }

    /// Whether a task instance waits for a trigger.
    pub fn is_awaited(&self, trigger: TriggerId) -> bool {
        self.triggers.contains_key(&trigger)
    }

    fn take(&mut self, event: Event, now: Timestamp, decisions: &mut Decisions) {
        match event {
            Event::DagChanged(facts) => self.dag_changed(*facts, now, decisions),
            Event::DagGone(dag_id) => {
                self.dag_gone(&dag_id);
                self.look_at_watchers(&dag_id, now, decisions);
            }
            Event::DagPaused { dag_id, paused, reply } => {
                self.dag_paused(&dag_id, paused, now, decisions);
                decisions.actions.push(Action::Done { to: reply });
            }
            Event::ScheduleChecked { dag_id, structure, taken } => {
                self.schedule_checked(&dag_id, structure, taken, now, decisions);
            }
            Event::TimetableAnswered { dag_id, number, answer } => {
                self.timetable_answered(&dag_id, number, answer, now, decisions);
            }
            Event::Weighed { asked, answer } => self.weighed(&asked, answer, now, decisions),
            Event::Trigger(trigger) => self.trigger(*trigger, now, decisions),
            Event::RunFound(run) => self.run_found(*run, now),
            Event::RunUnreadable(run) => self.run_unreadable(*run),
            Event::RunLoaded(loaded) => self.run_loaded(*loaded, now, decisions),
            Event::RunUnavailable(key) => {
                self.refuse_wishes(&key, decisions);
                self.run_unavailable(&key, now);
            }
            Event::SetRunState { run, state, reply } => self.set_run_state(&run, state, reply, now, decisions),
            Event::Mark(mark) => self.mark(*mark, now, decisions),
            Event::Clear(clear) => self.clear(*clear, now, decisions),
            Event::DeleteRun { run, reply } => self.delete_run(&run, reply, now, decisions),
            Event::DeleteDag { dag_id, reply } => self.delete_dag(&dag_id, reply, decisions),
            Event::StructureLoaded { run, structure, skips, lengths } => {
                let newest = structure.map(|structure| NewestStructure { structure, skips, lengths });
                self.structure_loaded(&run, newest, now, decisions);
            }
            Event::MapLengths { run, lengths } => self.lengths_known(&run, lengths),
            Event::LastRuns { dag_id, states } => self.last_runs(&dag_id, &states, now, decisions),
            Event::PreviousLoaded { run, previous } => self.previous_loaded(&run, previous),
            Event::AttemptStarted { attempt, at, hostname, unixname, pid } => {
                self.attempt_started(attempt, at, hostname, unixname, pid, decisions);
            }
            Event::AttemptEnded { attempt, at, outcome, rendered_map_index } => {
                self.attempt_ended(attempt, at, outcome, rendered_map_index, now, decisions);
            }
            Event::SkipDownstream { attempt, tasks } => self.skip_downstream(attempt, &tasks, now, decisions),
            Event::BranchDecided { attempt, decision } => self.branch_decided(attempt, decision, decisions),
            Event::AssetsUpdated { attempt, updates } => self.assets_updated(attempt, updates, now, decisions),
            Event::AssetUpdated { reply, update } => self.asset_updated(reply, *update, now, decisions),
            Event::UnqueueAssets { reply, unqueue } => self.unqueue_assets(reply, &unqueue, decisions),
            Event::AssetsFound { last, aliases, consumers } => self.assets.found(last, aliases, consumers),
            Event::AssetsQueued { dag_id, queued } => self.assets_queued(&dag_id, queued, decisions),
            Event::AssetRunReady { dag_id, structure } => self.asset_run_ready(&dag_id, structure, now, decisions),
            Event::WatcherFired { trigger, payload, reply } => {
                self.watcher_fired(trigger, payload, reply, now, decisions);
            }
            Event::WatcherFailed { trigger, reason } => self.watcher_failed(trigger, &reason, now, decisions),
            Event::PartitionsFound { dag_id, found, unmapped } => {
                self.partitions_found(&dag_id, found, unmapped, decisions);
            }
            Event::MapperAnswered { dag_id, event, answer } => {
                self.mapper_answered(&dag_id, event, answer, decisions);
            }
            Event::PartitionRunsReady { dag_id, structure } => {
                self.partition_runs_ready(&dag_id, structure, now, decisions);
            }
            Event::TriggersFrom(last) => self.last_trigger = last,
            Event::TriggerFired { trigger, event } => self.trigger_fired(trigger, event, now, decisions),
            Event::TriggerFailed { trigger, traceback } => self.trigger_failed(trigger, traceback, now, decisions),
            Event::DeadlinesFound(found) => self.deadlines_found(found, now),
            Event::DeadlinesSet { run, moments } => self.deadlines_set(&run, &moments, decisions),
            Event::HitlAnswered(answered) => self.hitl_answered(*answered, now, decisions),
            Event::HitlFound { key, answer } => self.hitl_found(&key, answer, now, decisions),
            Event::PoolChanged { name, slots, include_deferred } => {
                self.pool_changed(&name, slots, include_deferred, decisions);
            }
            Event::PoolGone { name } => self.pool_gone(&name, decisions),
            Event::Backfill(request) => self.backfill(*request, now, decisions),
            Event::BackfillsFrom(last) => self.last_backfill = self.last_backfill.max(last),
            Event::BackfillFound(backfill) => self.backfill_found(*backfill),
            Event::SetBackfill { dag_id, id, wish, reply } => {
                self.set_backfill(&dag_id, id, wish, reply, now, decisions);
            }
            Event::Drain => self.draining = true,
            Event::Tick => {}
        }
    }

    fn due_timers(&mut self, now: Timestamp, decisions: &mut Decisions) {
        while let Some((at, timer)) = self.timers.pop_due(now) {
            match timer {
                timers::Timer::NextRun(dag_id) => self.schedule_is_due(&dag_id, at, now, decisions),
                timers::Timer::RunAfter(dag_id) => self.start_queued_runs(&dag_id, now),
                timers::Timer::RunTimeout(serial) => self.run_timed_out(serial, now, decisions),
                timers::Timer::LogicalDate(serial) => self.logical_date_is_due(serial),
                timers::Timer::TryAgain(task) => self.dirty.push_back(task),
                timers::Timer::Trigger(trigger) => self.timer_fired(trigger, now, decisions),
                timers::Timer::Deadline(id) => self.deadline_is_due(id, now, decisions),
                timers::Timer::WaitTimeout(task) => self.waited_too_long(task, now, decisions),
            }
        }
    }

    /// Looks at every task instance for which something changed, and at those for which that changes something.
    fn settle(&mut self, now: Timestamp, decisions: &mut Decisions) {
        while let Some(task) = self.dirty.pop_front() {
            self.evaluate(task, now, decisions);
        }
    }
}

/// Adds a change that holds the whole of a record.
fn put<T: Clone>(decisions: &mut Decisions, record: &T, as_change: fn(Box<T>) -> Change) {
    decisions.changes.push(as_change(Box::new(record.clone())));
}
