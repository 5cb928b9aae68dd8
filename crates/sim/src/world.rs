//! One history: an engine's core, its store and its workers on virtual time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Core, DagSource, Input};
use jiff::{SignedDuration, Timestamp};
use model::{
    AssetEventId, AttemptId, BackfillId, CallbackId, Dag, DagId, DagRunState, HitlResponse, RunKey, TaskInstanceId,
    TaskInstanceKey, TriggerId, VersionId,
};
use scheduler::{Action, ArmTrigger, BackfillWish, Config, Event, IdSource, NewRun, Outcome, StartAttempt};
use store::memory::{CommitFault, MemoryStore};

use crate::checks::{self, Violation};
use crate::coverage::Coverage;
use crate::dags::{POOLS, SimDag};
use crate::rng::Rng;

/// A history that has not ended by then never will.
const MAX_STEPS: usize = 200_000;
/// Faults happen for so long; then everything must come to its end.
const FAULTY_SPAN: SignedDuration = SignedDuration::from_mins(30);

/// When everything has come to its end that ever will.
const LONG_OVER: SignedDuration = SignedDuration::from_hours(4);

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Pending {
    /// A commit took its time; now its actions are done.
    Act(Vec<Action>),
    End(AttemptId),
    /// A trigger fires.
    Fire(TriggerId),
    Deliver(Input),
    /// A message of an attempt whose engine is gone, to whoever is there.
    DeliverLate(AttemptId),
    Trigger(DagId, Box<NewRun>),
    Pause(DagId, bool),
    /// A callback has been called.
    Called(CallbackId),
    /// Somebody answers what a task has asked.
    Answer(TaskInstanceKey),
    /// Somebody ends some run of a Dag, or puts it back into the queue.
    SetState(DagId, DagRunState),
    /// Somebody deletes some run of a Dag.
    Delete(DagId),
    /// Somebody has some task instances of some run of a Dag run again.
    Clear(DagId),
    /// Somebody asks for a backfill of a Dag.
    Backfill(usize),
    /// Somebody wants something of a Dag's backfill.
    SetBackfill(DagId, BackfillWish),
    /// Somebody gives some task instances of some run of a Dag a state.
    Mark(DagId),
    /// The process of an attempt that was cleared has ended.
    Gone(AttemptId),
    Pool(&'static str, Option<u32>),
    Edit(usize),
    Vanish(usize),
    Break(usize),
    Repair(usize),
    Retry,
    /// The engine looks whether it was told something.
    Wake,
    Drain,
    Grace,
    ShutDown,
    Restart,
}

impl Pending {
    /// Whether it goes down with the engine's process.
    fn dies_with_engine(&self) -> bool {
        matches!(
            self,
            Pending::Act(_)
                | Pending::End(_)
                | Pending::Gone(_)
                | Pending::Fire(_)
                | Pending::Deliver(_)
                | Pending::Called(_)
                | Pending::Retry
                | Pending::Wake
                | Pending::Drain
                | Pending::Grace
                | Pending::ShutDown
        )
    }
}

/// The structures of Dags; shared, because they are written while the engine runs.
#[derive(Clone, Default)]
pub(crate) struct Versions(Arc<Mutex<HashMap<VersionId, Arc<Dag>>>>);

impl Versions {
    pub(crate) fn add(&self, id: VersionId, dag: &Arc<Dag>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(dag));
    }
}

impl DagSource for Versions {
    fn dag(&self, version: VersionId) -> Result<Option<Arc<Dag>>, String> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned())
    }
}

pub struct World {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) now: Timestamp,
    pub(crate) start: Timestamp,
    pub(crate) config: Config,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) core: Option<Core<MemoryStore, Versions>>,
    pub(crate) versions: Versions,
    pub(crate) dags: Vec<SimDag>,
    queue: BTreeMap<(Timestamp, u64), Pending>,
    scheduled: u64,
    /// Attempts that run.
    pub(crate) alive: BTreeMap<AttemptId, Box<StartAttempt>>,
    /// Every try that was ever started, and by which attempt.
    pub(crate) tries: HashMap<(TaskInstanceKey, u32), TaskInstanceId>,
    pub(crate) rescheduled: HashMap<TaskInstanceKey, u32>,
    pub(crate) deferred: HashMap<TaskInstanceKey, u32>,
    /// Task instances that have asked people in their first try.
    pub(crate) asked: HashSet<TaskInstanceKey>,
    /// Answers that people were told are taken, and those that they do not know about.
    pub(crate) answers: BTreeMap<TaskInstanceKey, HitlResponse>,
    pub(crate) unanswered_answers: BTreeMap<u64, TaskInstanceKey>,
    /// Callbacks that are being called, and the runs of which some were.
    pub(crate) calling: BTreeMap<CallbackId, RunKey>,
    pub(crate) called: BTreeSet<RunKey>,
    /// Runs of which a deadline was missed, by its place in the Dag.
    pub(crate) missed: BTreeSet<(RunKey, u64)>,
    /// Triggers that run.
    pub(crate) armed: BTreeMap<TriggerId, Box<ArmTrigger>>,
    pub(crate) may_start_again: HashSet<TaskInstanceId>,
    pub(crate) requests: u64,
    /// Runs that people have asked for and have no answer about.
    pub(crate) unanswered: BTreeMap<u64, (DagId, Box<NewRun>)>,
    /// Runs that people were told exist.
    pub(crate) promised: BTreeSet<RunKey>,
    /// What was chosen where a process asked anew.
    pub(crate) asked_over: BTreeMap<TaskInstanceKey, Vec<String>>,
    /// Runs that somebody deletes before whoever asked for them has an answer.
    pub(crate) withdrawn: BTreeSet<RunKey>,
    /// Runs that people have ended or put back, and Dags of which they have deleted runs.
    pub(crate) by_hand: BTreeSet<RunKey>,
    pub(crate) thinned: BTreeSet<DagId>,
    /// The first cursor that each Dag had in the store, and the Dags that have had none again.
    pub(crate) first_cursors: BTreeMap<DagId, AssetEventId>,
    pub(crate) stopped_waiting: BTreeSet<DagId>,
    /// Runs that people have cleared something of, and how often they were told that it is done.
    pub(crate) cleared: BTreeMap<RunKey, u32>,
    /// Backfills that people were told exist.
    pub(crate) promised_backfills: BTreeSet<BackfillId>,
    /// Clears that people have no answer about.
    pub(crate) unanswered_clears: BTreeSet<u64>,
    /// Whether people want a Dag paused, where nobody has confirmed it yet.
    pub(crate) unconfirmed: BTreeMap<u64, (DagId, bool)>,
    /// Pools as the engine was told of them.
    pub(crate) pools: BTreeMap<&'static str, Option<u32>>,
    /// What the engine is told while it is busy, in order.
    held: Vec<Input>,
    /// The engine waits for its disk.
    busy: bool,
    /// How long the engine has not been there or has not listened, and since when it does not.
    deaf: SignedDuration,
    deaf_since: Option<Timestamp>,
    draining: bool,
    trace: Option<Vec<String>>,
    /// How often what happened, if anybody wants to know.
    pub(crate) coverage: Option<Coverage>,
}

impl World {
    pub fn new(seed: u64, with_trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let start = Timestamp::from_second(1_700_000_000).unwrap_or_default();
        let dags: Vec<SimDag> =
            (0..rng.range(1, 3) as usize).map(|number| SimDag::new(&mut rng, seed, number, start)).collect();
        let versions = Versions::default();
        for version in dags.iter().flat_map(|sim| &sim.versions) {
            versions.add(version.id, &version.dag);
        }
        let mut world = Self {
            seed,
            now: start,
            start,
            config: Config { parallelism: rng.range(1, 6) as u32, ..Config::default() },
            rng,
            store: Arc::new(MemoryStore::new()),
            core: None,
            versions,
            dags,
            queue: BTreeMap::new(),
            scheduled: 0,
            alive: BTreeMap::new(),
            tries: HashMap::new(),
            rescheduled: HashMap::new(),
            deferred: HashMap::new(),
            asked: HashSet::new(),
            answers: BTreeMap::new(),
            unanswered_answers: BTreeMap::new(),
            calling: BTreeMap::new(),
            called: BTreeSet::new(),
            missed: BTreeSet::new(),
            armed: BTreeMap::new(),
            may_start_again: HashSet::new(),
            requests: 0,
            unanswered: BTreeMap::new(),
            promised: BTreeSet::new(),
            asked_over: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            by_hand: BTreeSet::new(),
            thinned: BTreeSet::new(),
            first_cursors: BTreeMap::new(),
            stopped_waiting: BTreeSet::new(),
            cleared: BTreeMap::new(),
            promised_backfills: BTreeSet::new(),
            unanswered_clears: BTreeSet::new(),
            unconfirmed: BTreeMap::new(),
            pools: POOLS.iter().map(|(name, slots)| (*name, Some(*slots))).collect(),
            held: Vec::new(),
            busy: false,
            deaf: SignedDuration::ZERO,
            deaf_since: None,
            draining: false,
            trace: with_trace.then(Vec::new),
            coverage: None,
        };
        world.prepare();
        world
    }

    /// As [`Self::new`], counting what happens.
    pub fn counting(seed: u64) -> Self {
        let mut world = Self::new(seed, false);
        world.coverage = Some(Coverage::default());
        world
    }

    pub fn coverage(&self) -> Option<&Coverage> {
        self.coverage.as_ref()
    }

    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = model::operations::total_seconds(self.now.duration_since(self.start));
            trace.push(format!("{at:10.3}  {}", line()));
        }
    }

    pub(crate) fn random_moment(&mut self, seconds: u64) -> Timestamp {
        let after = SignedDuration::from_millis(self.rng.range(0, seconds * 1000) as i64);
        self.now.checked_add(after).unwrap_or(self.now)
    }

    pub(crate) fn schedule(&mut self, at: Timestamp, pending: Pending) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), pending);
    }

    pub(crate) fn soon(&mut self, milliseconds: u64, pending: Pending) {
        let after = SignedDuration::from_millis(self.rng.range(0, milliseconds) as i64);
        let at = self.now.checked_add(after).unwrap_or(self.now);
        self.schedule(at, pending);
    }

    /// Whether the engine waits for its store: then the store may be ahead of what is done.
    pub(crate) fn is_behind(&self) -> bool {
        self.busy || self.core.as_ref().is_some_and(Core::is_behind)
    }

    /// Whether the engine has been told something that it has not heard yet.
    pub(crate) fn has_news(&self) -> bool {
        !self.held.is_empty()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Until when the world is unkind.
    pub(crate) fn end_of_faults(&self) -> Timestamp {
        self.start.checked_add(FAULTY_SPAN).unwrap_or(self.start)
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.now < self.end_of_faults()
    }

    /// Lives the history to its end.
    pub fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..MAX_STEPS {
            let idle = self.core.as_ref().filter(|core| !core.is_behind() && !self.busy);
            let wakeup = idle.and_then(|core| core.scheduler().next_wakeup());
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let Some(next) = next.into_iter().chain(wakeup).min() else {
                return checks::at_the_end(self);
            };
            if self.only_timetables_are_asked() {
                return checks::at_the_end(self);
            }
            self.now = self.now.max(next);
            self.step()?;
            self.count_deafness();
        }
        Err(Violation(format!("the history has not ended after {MAX_STEPS} steps")))
    }

    /// A timetable of a plugin that has no run any more is asked again for ever.
    fn only_timetables_are_asked(&self) -> bool {
        let is_long_over = self.now > self.end_of_faults().checked_add(LONG_OVER).unwrap_or(self.now);
        is_long_over && self.queue.is_empty() && self.dags.iter().any(SimDag::is_custom)
    }

    /// For how long nobody could look at what was due.
    pub(crate) fn deafness(&self) -> SignedDuration {
        self.deaf + self.deaf_since.map_or(SignedDuration::ZERO, |since| self.now.duration_since(since))
    }

    fn count_deafness(&mut self) {
        let is_deaf = self.core.is_none() || self.is_behind() || self.draining;
        match self.deaf_since {
            Some(since) if !is_deaf => {
                self.deaf += self.now.duration_since(since);
                self.deaf_since = None;
            }
            None if is_deaf => self.deaf_since = Some(self.now),
            _ => {}
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        let mut retry = false;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let pending = entry.remove();
            self.count("people and the world", &format!("{pending:?}"));
            match pending {
                Pending::Act(actions) => {
                    self.busy = false;
                    self.act_all(actions)?;
                }
                Pending::End(attempt) => self.attempt_ends(attempt),
                Pending::Fire(trigger) => self.fire(trigger),
                Pending::Deliver(input) => self.held.push(input),
                Pending::DeliverLate(attempt) => self.last_words(attempt),
                Pending::Trigger(dag_id, run) => self.trigger(dag_id, run),
                Pending::Called(id) => self.called(id),
                Pending::Answer(key) => self.answer(key),
                Pending::Pause(dag_id, paused) => self.pause(dag_id, paused),
                Pending::SetState(dag_id, state) => self.set_state(dag_id, state),
                Pending::Delete(dag_id) => self.delete(dag_id),
                Pending::Clear(dag_id) => self.clear(&dag_id),
                Pending::Backfill(dag) => self.ask_for_backfill(dag),
                Pending::SetBackfill(dag_id, wish) => self.set_backfill(dag_id, wish),
                Pending::Mark(dag_id) => self.mark(&dag_id),
                Pending::Gone(attempt) => self.cleared_attempt_ends(attempt),
                Pending::Pool(name, slots) => self.change_pool(name, slots),
                Pending::Edit(dag) => self.edit(dag),
                Pending::Vanish(dag) => self.vanish(dag),
                Pending::Break(dag) => self.break_file(dag),
                Pending::Repair(dag) => self.repair(dag),
                Pending::Retry => retry = true,
                Pending::Wake => {}
                Pending::Drain => self.drain(),
                Pending::Grace => self.grace_ends(),
                Pending::ShutDown => self.shut_down(),
                Pending::Restart => self.restart()?,
            }
        }
        let Some(core) = &self.core else { return Ok(()) };
        if self.busy || (core.is_behind() && !retry) {
            // The engine waits for its store; what it is told meanwhile waits with it.
            return Ok(());
        }
        if self.is_faulty() && self.rng.percent(3) {
            let fault = if self.rng.percent(50) { CommitFault::Before } else { CommitFault::After };
            self.store.fail_next_commit(fault);
        }
        let is_behind = core.is_behind();
        self.let_a_read_fail();
        if is_behind {
            // First what it has decided already; then it hears what is new.
            let Some(core) = &mut self.core else { return Ok(()) };
            let result = core.retry(self.now);
            self.soon(0, Pending::Wake);
            return self.take_result(result);
        }
        let told = std::mem::take(&mut self.held);
        self.heed(&told);
        let Some(core) = &mut self.core else { return Ok(()) };
        let result = core.step(told, self.now);
        self.take_result(result)
    }

    /// Now and then the engine can't read something that it asks the store for.
    fn let_a_read_fail(&mut self) {
        if self.is_faulty() && self.rng.percent(6) {
            let others = self.rng.range(0, 3) as u32;
            self.store.fail_read_after(Some(others));
        }
    }

    /// Tells the engine something, if it is there.
    pub(crate) fn tell(&mut self, input: Input) {
        if self.core.is_some() {
            self.held.push(input);
        }
    }

    /// What the engine knows from here on.
    fn heed(&mut self, told: &[Input]) {
        for input in told {
            match input {
                Input::Event(Event::Drain) => self.draining = true,
                Input::Event(Event::PoolChanged { name, slots, .. }) => {
                    if let Some((pool, _)) = POOLS.iter().find(|(pool, _)| *pool == &**name) {
                        self.pools.insert(pool, *slots);
                    }
                }
                Input::Event(Event::PoolGone { name }) => {
                    self.pools.retain(|pool, _| *pool != &**name);
                }
                _ => {}
            }
        }
    }

    fn take_result(&mut self, result: Result<Vec<Action>, store::StoreError>) -> Result<(), Violation> {
        self.store.fail_read_after(None);
        match result {
            Ok(actions) => {
                self.count_moves(false);
                let starts = actions.iter().any(|action| matches!(action, Action::Start(_)));
                if starts && self.draining {
                    return Err(Violation("something starts although the engine is draining".into()));
                }
                if self.is_faulty() && !actions.is_empty() && self.rng.percent(2) {
                    self.crash("after the commit, before acting");
                    return Ok(());
                }
                if self.rng.percent(70) {
                    return self.act_all(actions);
                }
                // A slow disk: what happens meanwhile waits.
                self.busy = true;
                let longest = if self.rng.percent(20) { 4000 } else { 200 };
                self.soon(longest, Pending::Act(actions));
                Ok(())
            }
            Err(error) if self.is_faulty() && self.rng.percent(60) => {
                self.count_moves(true);
                self.crash(&format!("while committing ({error})"));
                Ok(())
            }
            Err(error) => {
                self.note(|| format!("the store failed: {error}"));
                self.soon(500, Pending::Retry);
                Ok(())
            }
        }
    }

    fn act_all(&mut self, actions: Vec<Action>) -> Result<(), Violation> {
        crate::assets::look_at_cursors(self)?;
        let started = actions.iter().filter_map(|action| match action {
            Action::Start(start) => Some(&**start),
            _ => None,
        });
        if !self.is_behind() {
            checks::order_of_starts(self, &started.collect::<Vec<_>>())?;
        }
        for action in actions {
            self.act(action)?;
        }
        if self.rng.percent(20) { checks::nobody_waits_for_nothing(self) } else { Ok(()) }
    }

    fn crash(&mut self, when: &str) {
        self.count("crash", when);
        self.note(|| format!("CRASH {when}"));
        self.stop_engine();
    }

    /// The process is gone, with all that it ran.
    fn stop_engine(&mut self) {
        self.core = None;
        self.busy = false;
        self.draining = false;
        self.held.clear();
        self.armed.clear();
        self.calling.clear();
        self.queue.retain(|_, pending| !pending.dies_with_engine());
        // Now and then something that it ran has not noticed, and speaks to the next one.
        for attempt in std::mem::take(&mut self.alive).into_keys() {
            if self.rng.percent(20) {
                self.soon(8000, Pending::DeliverLate(attempt));
            }
        }
        self.soon(5000, Pending::Restart);
        // Whoever got no answer asks again.
        for (_, (dag_id, paused)) in std::mem::take(&mut self.unconfirmed) {
            self.soon(10_000, Pending::Pause(dag_id, paused));
        }
        self.unanswered_answers.clear();
        for (_, (dag_id, run)) in std::mem::take(&mut self.unanswered) {
            self.soon(10_000, Pending::Trigger(dag_id, run));
        }
    }

    /// The engine is asked to end in good order.
    fn drain(&mut self) {
        if self.core.is_some() {
            self.note(|| "the engine is asked to end".into());
            self.tell(Input::Event(Event::Drain));
            self.soon(20_000, Pending::Grace);
        }
    }

    /// What has not ended by itself is interrupted.
    fn grace_ends(&mut self) {
        for (attempt, start) in std::mem::take(&mut self.alive) {
            self.note(|| format!("{attempt} is interrupted"));
            self.may_start_again.remove(&start.ti.id);
            self.tell(crate::workers::ended(attempt, self.now, Outcome::Interrupted, None));
        }
        self.soon(1000, Pending::ShutDown);
    }

    fn shut_down(&mut self) {
        if !self.held.is_empty() || self.is_behind() {
            // It deals with everything that it was told.
            self.soon(1000, Pending::ShutDown);
            return;
        }
        self.note(|| "the engine ends".into());
        self.stop_engine();
    }

    fn restart(&mut self) -> Result<(), Violation> {
        self.note(|| "the engine starts".into());
        checks::promises(self)?;
        let ids = IdSource::new(self.rng.next());
        let mut core = Core::new(self.config.clone(), ids, Arc::clone(&self.store), self.versions.clone());
        self.pools = self.pools_in_store();
        self.let_a_read_fail();
        let recovered = core.recover(self.now);
        if recovered.is_err() && !core.is_behind() {
            // It does not know what there is, and gives up.
            self.store.fail_read_after(None);
            self.crash("while starting");
            return Ok(());
        }
        self.core = Some(core);
        self.take_result(recovered)
    }
}
