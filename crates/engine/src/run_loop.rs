//! The one loop that owns the engine's state.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::{AttemptId, Callback, DagRun, TriggerId};
use scheduler::{
    Action, ArmTrigger, AskMapper, AskTimetable, AskWeights, Config, Event, IdSource, Obstacle, StartAttempt,
    StopReason, WatchTrigger,
};
use store::{Store, StoreError};

use crate::core::{Core, Input};
use crate::handle::{EngineHandle, EngineStopped, Replies};
use crate::lookup::DagSource;
use crate::pulse::Pulse;

/// Inputs that may wait; whoever brings more waits himself.
const QUEUE_LENGTH: usize = 4096;
/// Inputs that are decided in one batch: enough to share a commit, few enough to answer soon.
const BATCH: usize = 512;
/// How long a write that may wait for company does.
const LAZY_DELAY: Duration = Duration::from_millis(20);
/// The longest sleep; wall clocks can be set.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// Pauses between attempts to commit when the store fails: first and longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Starts and stops attempts. Must not block.
pub trait Dispatch: Send {
    fn start(&mut self, attempt: Box<StartAttempt>);
    fn stop(&mut self, attempt: AttemptId, reason: StopReason);
    /// A timetable is to say when the next run of its Dag is due; the answer is an [`Event::TimetableAnswered`].
    fn ask_timetable(&mut self, question: Box<AskTimetable>);
    /// A mapper is to say which keys follow from that of an event; the answer is an [`Event::MapperAnswered`].
    fn ask_mapper(&mut self, question: Box<AskMapper>);
    /// A class of a plugin is to say what task instances weigh; the answer is an [`Event::Weighed`].
    fn ask_weights(&mut self, question: Box<AskWeights>);
    /// A trigger is to run until it fires or is disarmed.
    fn arm(&mut self, trigger: Box<ArmTrigger>);
    fn disarm(&mut self, trigger: TriggerId);
    /// A trigger of a watcher is to run, however often it fires, until it is disarmed.
    fn watch(&mut self, watch: Box<WatchTrigger>);
    /// The end that the attempt reported is durable.
    fn acknowledge(&mut self, attempt: AttemptId);
    /// A callback is to be called, and to be owed until it has been.
    fn call(&mut self, callback: Box<Callback>, run: Option<Box<DagRun>>);
    /// A run has ended.
    fn run_finished(&mut self, run: &model::DagRun, reason: &str);
    /// A task instance waits for somebody to do something; the try's log is where people look for why.
    fn stuck(&mut self, ti: &model::TaskInstance, obstacle: &Obstacle);
}

/// The time. The engine's moments never run backwards and have microseconds.
pub trait Clock: Send {
    fn now(&mut self) -> Timestamp;
}

#[derive(Default)]
pub struct SystemClock {
    last: Timestamp,
}

impl Clock for SystemClock {
    fn now(&mut self) -> Timestamp {
        self.last = self.last.max(model::operations::to_microseconds(Timestamp::now()));
        self.last
    }
}

pub struct EngineOptions {
    pub config: Config,
    /// From the operating system's randomness.
    pub seed: u64,
}

/// What the engine will read.
pub struct EngineInbox {
    handle: EngineHandle,
    receiver: flume::Receiver<Input>,
}

impl EngineInbox {
    /// Takes what waits to be read, for tests that have no engine.
    pub fn waiting(&self) -> Vec<Input> {
        self.receiver.drain().collect()
    }
}

/// A running engine.
pub struct Engine {
    handle: EngineHandle,
    thread: JoinHandle<()>,
}

impl Engine {
    /// The engine's ends before it runs: what is told to the handle waits in the inbox.
    pub fn channel() -> (EngineHandle, EngineInbox) {
        let (inputs, receiver) = flume::bounded(QUEUE_LENGTH);
        let handle = EngineHandle { inputs, replies: Arc::new(Replies::default()), pulse: Pulse::default() };
        (handle.clone(), EngineInbox { handle, receiver })
    }

    /// Takes up what the store has and starts the loop on a thread of its own.
    pub fn start<S, D>(
        inbox: EngineInbox,
        options: EngineOptions,
        store: Arc<S>,
        dags: D,
        dispatch: impl Dispatch + 'static,
    ) -> Result<Engine, StoreError>
    where
        S: Store + ?Sized + 'static,
        D: DagSource + 'static,
    {
        let EngineInbox { handle, receiver } = inbox;
        let (replies, pulse) = (Arc::clone(&handle.replies), handle.pulse.clone());
        let mut clock = SystemClock::default();
        let mut core = Core::new(options.config, IdSource::new(options.seed), store, dags);
        let recovered = core.recover(clock.now())?;
        let mut run_loop = RunLoop { core, inputs: receiver, replies, pulse, clock, dispatch, lazy_since: None };
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                run_loop.act(recovered);
                run_loop.run();
            })
            .map_err(|error| StoreError::Failed(format!("the engine's thread can't be started: {error}")))?;
        Ok(Engine { handle, thread })
    }

    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Lets nothing new begin.
    pub async fn drain(&self) -> Result<(), EngineStopped> {
        self.handle.tell(Input::Event(Event::Drain)).await
    }

    /// Ends the loop when every handle is gone and every input is dealt with. Blocks.
    pub fn join(self) {
        let Engine { handle, thread } = self;
        drop(handle);
        if thread.join().is_err() {
            tracing::error!("the engine's thread ended with a panic");
        }
    }
}

struct RunLoop<S: ?Sized, D, P> {
    core: Core<S, D>,
    inputs: flume::Receiver<Input>,
    replies: Arc<Replies>,
    pulse: Pulse,
    clock: SystemClock,
    dispatch: P,
    /// Since when writes wait for company.
    lazy_since: Option<Instant>,
}

impl<S: Store + ?Sized, D: DagSource, P: Dispatch> RunLoop<S, D, P> {
    fn run(&mut self) {
        loop {
            let sleep = self.sleep();
            let first = match self.inputs.recv_timeout(sleep) {
                Ok(input) => Some(input),
                Err(flume::RecvTimeoutError::Timeout) => None,
                Err(flume::RecvTimeoutError::Disconnected) => break,
            };
            let mut batch: Vec<Input> = first.into_iter().collect();
            batch.extend(self.inputs.try_iter().take(BATCH));
            let now = self.clock.now();
            self.pulse.beat(now);
            let result = self.core.step(batch, now);
            self.act_or_retry(result);
            self.flush_lazy();
        }
        let now = self.clock.now();
        let result = self.core.flush_lazy(now);
        self.act_or_retry(result);
        self.replies.close();
    }

    /// How long there is nothing to do if nothing is told.
    fn sleep(&mut self) -> Duration {
        let now = self.clock.now();
        let due = self
            .core
            .scheduler()
            .next_wakeup()
            .map_or(MAX_SLEEP, |at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        let lazy = if self.core.has_lazy_writes() { LAZY_DELAY } else { MAX_SLEEP };
        due.min(lazy).min(MAX_SLEEP)
    }

    fn flush_lazy(&mut self) {
        if !self.core.has_lazy_writes() {
            self.lazy_since = None;
            return;
        }
        let since = *self.lazy_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= LAZY_DELAY {
            let now = self.clock.now();
            let result = self.core.flush_lazy(now);
            self.act_or_retry(result);
            self.lazy_since = None;
        }
    }

    /// Acts on what is durable. What the store would not take is tried again until it does: nothing may happen
    /// before, and nothing that was decided may be lost.
    fn act_or_retry(&mut self, mut result: Result<Vec<Action>, StoreError>) {
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            match result {
                Ok(actions) => {
                    if told {
                        tracing::info!("the database takes writes again; the scheduler goes on");
                    }
                    self.act(actions);
                    if !self.core.is_behind() {
                        return;
                    }
                    let now = self.clock.now();
                    result = self.core.retry(now);
                }
                Err(error) => {
                    if !told {
                        tracing::error!(%error, "the scheduler waits for the database; running tasks go on");
                        told = true;
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    let now = self.clock.now();
                    result = self.core.retry(now);
                }
            }
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(attempt) => self.dispatch.start(attempt),
                Action::Stop { attempt, reason } => self.dispatch.stop(attempt, reason),
                Action::AskTimetable(question) => self.dispatch.ask_timetable(question),
                Action::AskMapper(question) => self.dispatch.ask_mapper(question),
                Action::Watch(watch) => self.dispatch.watch(watch),
                Action::DagProblem { dag_id, message } => tracing::warn!(%dag_id, "{message}"),
                Action::AskWeights(question) => self.dispatch.ask_weights(question),
                Action::Arm(trigger) => self.dispatch.arm(trigger),
                Action::Disarm(trigger) => self.dispatch.disarm(trigger),
                Action::Acknowledge { attempt } => self.dispatch.acknowledge(attempt),
                Action::Reply { to, answer } => self.replies.answer(to, answer),
                Action::Done { to } => self.replies.done(to),
                Action::HitlAnswered { to, answer } => self.replies.hitl(to, answer),
                Action::RunChanged { to, answer } => self.replies.changed(to, answer),
                Action::BackfillChanged { to, answer } => self.replies.backfill_changed(to, answer),
                Action::TasksChanged { to, answer } => self.replies.tasks_changed(to, answer),
                Action::AssetRecorded { to, event } => self.replies.asset_recorded(to, event),
                Action::AssetsUnqueued { to, count } => self.replies.assets_unqueued(to, count),
                Action::Call { callback, run } => self.dispatch.call(callback, run),
                Action::RunFinished { run, reason } => self.dispatch.run_finished(&run, reason),
                Action::AutoPaused { dag_id, failed_runs } => {
                    tracing::warn!("Pausing Dag {dag_id} because its last {failed_runs} runs have failed");
                }
                Action::Stuck { ti, obstacle } => {
                    tracing::warn!("{} waits. {obstacle}", ti.key());
                    self.dispatch.stuck(&ti, &obstacle);
                }
                Action::Refused(refusal) => tracing::warn!(?refusal, "a message was refused"),
            }
        }
    }
}
