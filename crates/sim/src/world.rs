//! One history: an engine's core, its store and its workers on virtual time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use engine::{Core, DagSource, Input, Started, TriggerRequest, facts_to_json};
use jiff::{SignedDuration, Timestamp};
use model::{Dag, DagId, MapIndex, RunId, RunType, TaskInstanceId, TaskInstanceKey, TriggeredBy, VersionId};
use scheduler::{Action, Config, Event, IdSource, NewRun, Outcome, ReplyId, StartAttempt};
use serde_json::json;
use store::memory::{CommitFault, MemoryStore};
use store::{Commit, ImportedDag, ImportedFile, Pool, Write};

use crate::checks::{self, Violation};
use crate::dags::{POOLS, Plan, SimDag, left_out, random_dag};
use crate::rng::Rng;

/// A history that has not ended by then never will.
const MAX_STEPS: usize = 200_000;
/// Faults happen for so long; then everything must come to its end.
const FAULTY_SPAN: SignedDuration = SignedDuration::from_mins(30);

/// What is going to happen.
#[derive(Debug)]
enum Pending {
    Start(Box<StartAttempt>),
    End(TaskInstanceId),
    Deliver(Input),
    Trigger(DagId),
    Pause(DagId, bool),
    Retry,
    Restart,
}

impl Pending {
    /// Whether it goes down with the engine's process.
    fn dies_with_engine(&self) -> bool {
        matches!(self, Pending::Start(_) | Pending::End(_) | Pending::Deliver(_) | Pending::Retry)
    }
}

pub(crate) struct Versions(HashMap<VersionId, Arc<Dag>>);

impl DagSource for Versions {
    fn dag(&self, version: VersionId) -> Result<Option<Arc<Dag>>, String> {
        Ok(self.0.get(&version).cloned())
    }
}

pub struct World {
    pub(crate) seed: u64,
    rng: Rng,
    pub(crate) now: Timestamp,
    start: Timestamp,
    pub(crate) config: Config,
    pub(crate) store: Arc<MemoryStore>,
    core: Option<Core<MemoryStore, Versions>>,
    pub(crate) dags: Vec<(VersionId, SimDag)>,
    queue: BTreeMap<(Timestamp, u64), Pending>,
    scheduled: u64,
    pub(crate) alive: HashMap<TaskInstanceId, Box<StartAttempt>>,
    /// Every try that was ever started, and by which attempt.
    pub(crate) tries: HashMap<(TaskInstanceKey, u32), TaskInstanceId>,
    rescheduled: HashMap<TaskInstanceKey, u32>,
    pub(crate) may_start_again: HashSet<TaskInstanceId>,
    triggers: u64,
    /// What people asked for and nobody has confirmed yet.
    unconfirmed: BTreeMap<u64, (DagId, bool)>,
    /// What the engine is told while it waits for its store, in order.
    held: Vec<Input>,
    trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, with_trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let start = Timestamp::from_second(1_700_000_000).unwrap_or_default();
        let dags: Vec<(VersionId, SimDag)> = (0..rng.range(1, 3) as usize)
            .map(|number| {
                let version = VersionId(uuid::Builder::from_u128(u128::from(rng.next()) + 1).into_uuid());
                (version, random_dag(&mut rng, number, start))
            })
            .collect();
        let mut world = Self {
            seed,
            now: start,
            start,
            config: Config { parallelism: rng.range(1, 6) as u32 },
            rng,
            store: Arc::new(MemoryStore::new()),
            core: None,
            dags,
            queue: BTreeMap::new(),
            scheduled: 0,
            alive: HashMap::new(),
            tries: HashMap::new(),
            rescheduled: HashMap::new(),
            may_start_again: HashSet::new(),
            triggers: 0,
            unconfirmed: BTreeMap::new(),
            held: Vec::new(),
            trace: with_trace.then(Vec::new),
        };
        world.prepare();
        world
    }

    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let at = model::operations::total_seconds(self.now.duration_since(self.start));
            trace.push(format!("{at:10.3}  {}", line()));
        }
    }

    fn prepare(&mut self) {
        let pools = POOLS.iter().map(|(name, slots)| {
            Write::Pool(Pool {
                name: (*name).into(),
                slots: i64::from(*slots),
                description: None,
                include_deferred: false,
            })
        });
        let files =
            self.dags.iter().map(|(version, dag)| Write::Imported(Box::new(import_of(*version, dag, self.start))));
        let writes: Vec<Write> = pools.chain(files).collect();
        if let Err(error) = self.store.commit(writes) {
            unreachable!("an empty store takes Dags: {error}");
        }
        for dag in self.dags.clone() {
            let dag_id = dag.1.dag.dag_id.clone();
            for _ in 0..self.rng.range(0, 4) {
                let at = self.random_moment(1200);
                self.schedule(at, Pending::Trigger(dag_id.clone()));
            }
            if self.rng.percent(15) {
                let at = self.random_moment(600);
                self.schedule(at, Pending::Pause(dag_id.clone(), true));
                let later = at.checked_add(SignedDuration::from_secs(self.rng.range(1, 900) as i64)).unwrap_or(at);
                self.schedule(later, Pending::Pause(dag_id.clone(), false));
            }
            // Whatever became of that, in the end nobody wants it paused.
            let end = self.start.checked_add(FAULTY_SPAN * 2).unwrap_or(self.start);
            self.schedule(end, Pending::Pause(dag_id, false));
        }
        self.schedule(self.start, Pending::Restart);
    }

    fn random_moment(&mut self, seconds: u64) -> Timestamp {
        let after = SignedDuration::from_millis(self.rng.range(0, seconds * 1000) as i64);
        self.now.checked_add(after).unwrap_or(self.now)
    }

    fn schedule(&mut self, at: Timestamp, pending: Pending) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), pending);
    }

    fn soon(&mut self, milliseconds: u64, pending: Pending) {
        let after = SignedDuration::from_millis(self.rng.range(0, milliseconds) as i64);
        let at = self.now.checked_add(after).unwrap_or(self.now);
        self.schedule(at, pending);
    }

    /// Whether the engine waits for its store.
    pub(crate) fn is_behind(&self) -> bool {
        self.core.as_ref().is_some_and(Core::is_behind)
    }

    fn is_faulty(&self) -> bool {
        self.now.duration_since(self.start) < FAULTY_SPAN
    }

    /// Lives the history to its end.
    pub fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..MAX_STEPS {
            let wakeup =
                self.core.as_ref().filter(|core| !core.is_behind()).and_then(|core| core.scheduler().next_wakeup());
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let Some(next) = next.into_iter().chain(wakeup).min() else {
                return checks::at_the_end(self);
            };
            self.now = self.now.max(next);
            self.step()?;
        }
        Err(Violation(format!("the history has not ended after {MAX_STEPS} steps")))
    }

    fn step(&mut self) -> Result<(), Violation> {
        let mut inputs = Vec::new();
        let mut retry = false;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Pending::Start(attempt) => self.attempt_starts(attempt)?,
                Pending::End(attempt) => self.attempt_ends(attempt),
                Pending::Deliver(input) => inputs.push(input),
                Pending::Trigger(dag_id) => inputs.extend(self.trigger(dag_id)),
                Pending::Pause(dag_id, paused) => inputs.extend(self.pause(dag_id, paused)),
                Pending::Retry => retry = true,
                Pending::Restart => self.restart()?,
            }
        }
        let Some(core) = &mut self.core else { return Ok(()) };
        if core.is_behind() && !retry {
            // The engine waits for its store; what it is told meanwhile waits with it.
            self.held.extend(inputs);
            return Ok(());
        }
        let fault = self.is_faulty() && self.rng.percent(3);
        if fault {
            let fault = if self.rng.percent(50) { CommitFault::Before } else { CommitFault::After };
            self.store.fail_next_commit(fault);
        }
        let mut told = std::mem::take(&mut self.held);
        told.extend(inputs);
        let Some(core) = &mut self.core else { return Ok(()) };
        let result = core.step(told, self.now);
        self.take_result(result)
    }

    fn take_result(&mut self, result: Result<Vec<Action>, store::StoreError>) -> Result<(), Violation> {
        match result {
            Ok(actions) => {
                if self.is_faulty() && !actions.is_empty() && self.rng.percent(2) {
                    self.crash("after the commit, before acting");
                    return Ok(());
                }
                for action in actions {
                    self.act(action)?;
                }
            }
            Err(error) if self.is_faulty() && self.rng.percent(60) => {
                self.crash(&format!("while committing ({error})"))
            }
            Err(error) => {
                self.note(|| format!("the store failed: {error}"));
                self.soon(500, Pending::Retry);
            }
        }
        Ok(())
    }

    fn crash(&mut self, when: &str) {
        self.note(|| format!("CRASH {when}"));
        self.core = None;
        self.alive.clear();
        self.held.clear();
        self.queue.retain(|_, pending| !pending.dies_with_engine());
        self.soon(5000, Pending::Restart);
        // Whoever got no answer asks again.
        for (_, (dag_id, paused)) in std::mem::take(&mut self.unconfirmed) {
            self.soon(10_000, Pending::Pause(dag_id, paused));
        }
    }

    fn restart(&mut self) -> Result<(), Violation> {
        self.note(|| "the engine starts".into());
        let versions = self.dags.iter().map(|(version, dag)| (*version, Arc::clone(&dag.dag))).collect();
        let ids = IdSource::new(self.rng.next());
        let mut core = Core::new(self.config.clone(), ids, Arc::clone(&self.store), Versions(versions));
        let recovered = core.recover(self.now);
        self.core = Some(core);
        self.take_result(recovered)
    }

    fn trigger(&mut self, dag_id: DagId) -> Option<Input> {
        if self.core.is_none() {
            self.soon(1000, Pending::Trigger(dag_id));
            return None;
        }
        self.triggers += 1;
        let number = self.triggers;
        let dated = self.rng.percent(60);
        self.note(|| format!("somebody triggers {dag_id}"));
        let run = NewRun {
            run_id: RunId::from(format!("manual__{number}")),
            run_type: RunType::Manual,
            triggered_by: TriggeredBy::RestApi,
            triggering_user: None,
            logical_date: dated.then_some(self.now),
            data_interval: None,
            run_after: self.now,
            conf: Arc::new(json!({})),
            note: None,
        };
        Some(Input::Trigger(Box::new(TriggerRequest { reply: ReplyId(number), dag_id, run })))
    }

    fn pause(&mut self, dag_id: DagId, paused: bool) -> Option<Input> {
        if self.core.is_none() {
            self.soon(1000, Pending::Pause(dag_id, paused));
            return None;
        }
        self.note(|| format!("{dag_id} is {}", if paused { "paused" } else { "let go on" }));
        self.triggers += 1;
        self.unconfirmed.insert(self.triggers, (dag_id.clone(), paused));
        Some(Input::Event(Event::DagPaused { dag_id, paused, reply: ReplyId(self.triggers) }))
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Start(attempt) => self.soon(50, Pending::Start(attempt)),
            Action::Stop { attempt, reason } => {
                self.note(|| format!("stop {attempt} ({reason:?})"));
                if let Some(stopped) = self.alive.remove(&attempt)
                    && self.rng.percent(50)
                {
                    // Its last words come too late.
                    let input = ended(stopped.ti.id, self.now, Outcome::Success, None);
                    self.soon(3000, Pending::Deliver(input));
                }
                self.queue.retain(|_, pending| !matches!(pending, Pending::Start(start) if start.ti.id == attempt));
            }
            Action::RunFinished { run, reason } => self.note(|| format!("{} is {} ({reason})", run.key, run.state)),
            Action::Refused(refusal) => self.note(|| format!("refused: {refusal:?}")),
            Action::Reply { answer: Ok(run), .. } => self.note(|| format!("{} was made", run.key)),
            Action::Reply { answer: Err(error), .. } => self.note(|| format!("no run: {error}")),
            Action::AutoPaused { dag_id, failed_runs } => {
                self.note(|| format!("{dag_id} is paused: its last {failed_runs} runs have failed"));
            }
            Action::Stuck { ti, obstacle } => self.note(|| format!("{} is stuck: {obstacle}", ti.key())),
            Action::Done { to } => drop(self.unconfirmed.remove(&to.0)),
            Action::Acknowledge { .. } => {}
        }
        Ok(())
    }

    fn attempt_starts(&mut self, attempt: Box<StartAttempt>) -> Result<(), Violation> {
        checks::at_start(self, &attempt)?;
        let ti = attempt.ti.clone();
        self.note(|| format!("{} try {} starts as {}", ti.key(), ti.try_number, ti.id));
        self.tries.insert((ti.key(), ti.try_number), ti.id);
        self.may_start_again.remove(&ti.id);
        self.alive.insert(ti.id, attempt);
        if self.rng.percent(60) {
            let told = started(self.now);
            let Started { at, hostname, unixname, pid } = told;
            let event = Event::AttemptStarted { attempt: ti.id, at, hostname, unixname, pid };
            self.soon(40, Pending::Deliver(Input::Event(event)));
        }
        let longest = if self.rng.percent(20) { 60_000 } else { 3_000 };
        self.soon(longest, Pending::End(ti.id));
        Ok(())
    }

    fn attempt_ends(&mut self, id: TaskInstanceId) {
        let Some(attempt) = self.alive.get(&id) else { return };
        let (ti, dag) = (attempt.ti.clone(), Arc::clone(&attempt.dag));
        let retries = dag.find(ti.task_id.as_str()).map_or(0, |task| dag.task(task).retries);
        let cut_off = ti.max_tries - retries;
        let consumed = ti.try_number.saturating_sub(1 + cut_off);
        let rescheduled = self.rescheduled.get(&ti.key()).copied().unwrap_or(0);
        let lost = self.is_faulty() && self.rng.percent(4);
        let outcome =
            if lost { Outcome::Interrupted } else { Plan::of(self.seed, &ti).outcome(consumed, rescheduled, self.now) };
        self.note(|| format!("{} try {} ends: {outcome:?}", ti.key(), ti.try_number));
        self.alive.remove(&id);
        if let Outcome::Reschedule { .. } = outcome {
            *self.rescheduled.entry(ti.key()).or_default() += 1;
            self.may_start_again.insert(id);
        }
        if outcome == Outcome::Success {
            let skipped = left_out(self.seed, &dag, &ti);
            if !skipped.is_empty() {
                let tasks = skipped.into_iter().map(|task| (task, MapIndex::NONE)).collect();
                self.schedule(self.now, Pending::Deliver(Input::Event(Event::SkipDownstream { attempt: id, tasks })));
            }
        }
        let told = self.rng.percent(50).then(|| started(self.now));
        self.schedule(self.now, Pending::Deliver(ended(id, self.now, outcome.clone(), told)));
        if self.rng.percent(5) {
            self.soon(2000, Pending::Deliver(ended(id, self.now, outcome, None)));
        }
    }
}

fn started(at: Timestamp) -> Started {
    Started { at, hostname: "host".into(), unixname: "user".into(), pid: 1 }
}

fn ended(attempt: TaskInstanceId, at: Timestamp, outcome: Outcome, started: Option<Started>) -> Input {
    Input::AttemptEnded { attempt, started, at, outcome, rendered_map_index: None, writes: Vec::new() }
}

fn import_of(version: VersionId, sim: &SimDag, at: Timestamp) -> ImportedFile {
    let dag = &sim.dag;
    ImportedFile {
        bundle_name: "sim".into(),
        relative_fileloc: format!("{}.py", dag.dag_id),
        fingerprint: json!(null),
        at,
        duration: SignedDuration::ZERO,
        errors: Vec::new(),
        dags: vec![ImportedDag {
            dag_id: dag.dag_id.clone(),
            display_name: dag.dag_id.to_string(),
            description: None,
            paused_upon_creation: false,
            bundle_version: None,
            relative_fileloc: String::new(),
            fileloc: String::new(),
            owners: Vec::new(),
            tags: Vec::new(),
            timetable_type: String::new(),
            timetable_summary: None,
            timetable_description: None,
            max_active_tasks: dag.limits.max_active_tasks,
            max_active_runs: dag.limits.max_active_runs,
            max_consecutive_failed_dag_runs: 0,
            has_task_concurrency_limits: false,
            allowed_run_types: None,
            facts: facts_to_json(dag, &sim.timetable, true),
            version,
            hash: version.to_string(),
            serialized: json!(null),
            extras: json!(null),
        }],
    }
}
