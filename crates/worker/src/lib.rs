//! Runs attempts: in the engine's own operators, or by the official task runner in a child process. Runs triggers, by
//! the official trigger runner.
//!
//! An attempt is one task of the async runtime. It reports its start and its end; nobody tells it anything but to
//! stop.

mod answers;
mod asset_states;
mod assets;
mod attempt;
mod callbacks;
mod folders;
mod hitl;
mod log;
mod lookups;
mod mask;
mod rendered;
mod task_states;
mod triggers;

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use model::{
    AttemptId, DagRun, HitlRefusal, HitlResponse, MapIndex, Outlets, RunKey, TaskId, TaskInstance, TaskInstanceKey,
    TriggerId, VersionId,
};
use process::Host;
use python::Helper;
use scheduler::{Outcome, StartAttempt, StopReason, TriggerEvent};
use store::{DagRecord, DagVersion, Store, StoreError, Write};
use tokio::sync::{oneshot, watch};

use folders::Folders;

pub use answers::{OwnTask, StoreAnswers};
pub use log::{Level, Lines, MAX_LOG, TaskLog, log_path};
pub use mask::{MaskRules, Masker};
pub use triggers::trigger_log_path;

/// How long a process that was asked to end has before it is killed.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// Where and when an attempt began.
#[derive(Clone, Debug)]
pub struct Started {
    pub at: Timestamp,
    pub hostname: Arc<str>,
    pub unixname: Arc<str>,
    pub pid: u32,
}

/// News of an attempt.
#[derive(Debug)]
pub enum Report {
    Started {
        attempt: AttemptId,
        started: Started,
    },
    Ended {
        attempt: AttemptId,
        /// Its start, if that was not reported before.
        started: Option<Started>,
        at: Timestamp,
        outcome: Outcome,
        rendered_map_index: Option<String>,
        /// To be written together with the end.
        writes: Vec<Write>,
        /// The assets that it produced.
        outlets: Outlets,
    },
    SkipDownstream {
        attempt: AttemptId,
        tasks: Vec<(TaskId, MapIndex)>,
    },
    TriggerFired {
        trigger: TriggerId,
        event: TriggerEvent,
        /// To be written together with what follows from it.
        writes: Vec<Write>,
    },
    /// A trigger has failed, or ended without having fired.
    TriggerFailed {
        trigger: TriggerId,
        traceback: Option<Vec<String>>,
    },
    /// The trigger of a watcher has failed, and is started again.
    WatcherFailed {
        trigger: TriggerId,
        reason: String,
    },
}

/// A task asks for a run of some Dag.
#[derive(Clone, Debug)]
pub struct TriggerFromTask {
    pub key: RunKey,
    pub logical_date: Option<Timestamp>,
    pub run_after: Option<Timestamp>,
    pub conf: model::Json,
    pub note: Option<String>,
    pub partition_key: Option<String>,
    pub triggering_user: Option<String>,
    /// A run that has this id runs again, as it was made.
    pub reset: bool,
}

/// Why a task gets no run.
#[derive(Debug, thiserror::Error)]
pub enum TriggerRefused {
    #[error("A run already exists for Dag '{}' with run_id '{}'", .0.dag_id, .0.run_id)]
    Exists(RunKey),
    #[error("{message}")]
    Refused { status: u16, message: String },
}

/// Why a trigger's answer to its task's question does not count.
#[derive(Debug, thiserror::Error)]
pub enum AnswerRefused {
    #[error(transparent)]
    Refused(#[from] HitlRefusal),
    #[error("{0}")]
    Stopped(String),
}

/// Those who hear the worker's news.
pub trait Reports: Clone + Send + Sync + 'static {
    fn report(&self, report: Report) -> impl Future<Output = ()> + Send;

    /// The trigger of a watcher has fired. Returns whether what follows from that is durable.
    fn watched(&self, trigger: TriggerId, payload: model::Json) -> impl Future<Output = bool> + Send;

    /// Makes a run. Blocks.
    fn trigger(&self, trigger: TriggerFromTask) -> Result<(), TriggerRefused>;

    /// Answers a task's question for people, because their time is up. Returns when the answer is durable. Blocks.
    fn answer(&self, key: TaskInstanceKey, response: HitlResponse) -> Result<Box<HitlResponse>, AnswerRefused>;
}

/// Where the worker finds things.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    pub log_folder: PathBuf,
    pub hostname: Arc<str>,
    pub unixname: Arc<str>,
    /// After a task has told its end its process may go on for so long (`[core] task_success_overtime`).
    pub overtime: Duration,
    /// How long a callback of a Dag may take (`[dag_processor] dag_file_processor_timeout`).
    pub callback_timeout: Duration,
    pub mask_rules: Arc<MaskRules>,
    /// The longest text of a template field that is shown (`[core] max_templated_field_length`), in characters.
    pub max_rendered_field: usize,
    /// The most items that a value may have that is pushed for another task to map over (`[core] max_map_length`).
    pub max_map_length: u32,
    /// Whether a task that succeeds forgets what it kept for later tries (`[state_store] clear_on_success`).
    pub clear_state_on_success: bool,
    /// The class that is asked for variables and connections first (`[workers] secrets_backend`, or `[secrets] backend`).
    pub secrets_backend: Option<String>,
}

impl WorkerOptions {
    /// For this machine and this user.
    pub fn here(log_folder: PathBuf) -> Self {
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
        Self {
            log_folder,
            hostname: hostname.unwrap_or_else(|| "localhost".into()).into(),
            unixname: user.unwrap_or_else(|| nix::unistd::getuid().to_string()).into(),
            overtime: Duration::from_secs(20),
            callback_timeout: Duration::from_secs(50),
            mask_rules: Arc::new(MaskRules::new(true, &[], 5)),
            max_rendered_field: 4096,
            max_map_length: 1024,
            clear_state_on_success: false,
            secrets_backend: None,
        }
    }
}

/// Cheap to clone.
pub struct Worker<R> {
    inner: Arc<Inner<R>>,
}

impl<R> Clone for Worker<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<R> {
    options: WorkerOptions,
    host: Host,
    helper: Helper,
    store: Arc<dyn Store>,
    reports: R,
    running: Mutex<HashMap<AttemptId, Running>>,
    /// How often task instances that are not done were lost with the Python helper.
    losses: Mutex<HashMap<TaskInstanceKey, u32>>,
    folders: Folders,
    triggers: triggers::Triggers,
    callbacks: callbacks::Callbacks,
    /// What mapped tasks are mapped over, for a while.
    mapped: attempt::mapped::Kept,
    /// How many attempts are under way.
    count: watch::Sender<usize>,
}

/// The bundle whose code a task runs, and its version, where it has any.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

/// The worker's ends of an attempt.
struct Running {
    stop: watch::Sender<Option<Stop>>,
    acknowledged: Option<oneshot::Sender<()>>,
}

/// Why an attempt is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The scheduler has ended the task instance already.
    Decided(StopReason),
    /// The task instance is to run again, as soon as this attempt has ended.
    Cleared,
    /// The engine ends; the attempt will run again.
    Interrupted,
}

impl<R: Reports> Worker<R> {
    /// Must be called inside of the async runtime that attempts are to run on.
    pub fn new(options: WorkerOptions, host: Host, helper: Helper, store: Arc<dyn Store>, reports: R) -> Self {
        let (count, _) = watch::channel(0);
        let inner = Inner {
            options,
            host,
            helper,
            store,
            reports,
            running: Mutex::default(),
            losses: Mutex::default(),
            folders: Folders::default(),
            triggers: triggers::Triggers::default(),
            callbacks: callbacks::Callbacks::default(),
            mapped: attempt::mapped::Kept::default(),
            count,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs what blocks on a thread that may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Failed(error.to_string())),
        }
    }

    /// The bundle for a run, with the version that the run keeps to; a run that keeps to none gets the one that its
    /// structure was seen in last, whose copy is there whether or not its source can be reached now. Blocks.
    pub(crate) fn bundle_of(&self, run: &DagRun, id: VersionId) -> Result<Option<Bundle>, StoreError> {
        let Some(head) = self.inner.store.version_head(id)? else { return Ok(None) };
        let version = run.bundle_version.clone().or(head.bundle_version);
        Ok(Some(Bundle { name: head.bundle_name, version }))
    }

    /// The file of a Dag, below its bundle: a run that keeps to a version has it where it was then. Blocks.
    pub(crate) fn file_of(&self, run: &DagRun, id: VersionId, newest: &DagRecord) -> Result<String, StoreError> {
        let path = |version: DagVersion| version.serialized["dag"]["relative_fileloc"].as_str().map(str::to_owned);
        let then = match &run.bundle_version {
            Some(_) if id != newest.version => self.inner.store.version(id)?.and_then(path),
            _ => None,
        };
        Ok(then.unwrap_or_else(|| newest.relative_fileloc.clone()))
    }

    fn losses(&self) -> MutexGuard<'_, HashMap<TaskInstanceKey, u32>> {
        self.inner.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts that a task instance was lost through no fault of its own; returns how often that has happened.
    pub(crate) fn count_loss(&self, key: TaskInstanceKey) -> u32 {
        let mut losses = self.losses();
        let count = losses.entry(key).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn forget_losses(&self, key: &TaskInstanceKey) {
        self.losses().remove(key);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<AttemptId, Running>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an attempt on `runtime`. Returns at once.
    pub fn start(&self, runtime: &tokio::runtime::Handle, attempt: Box<StartAttempt>) {
        let id = attempt.attempt;
        let (stop, stopped) = watch::channel(None);
        let (acknowledge, acknowledged) = oneshot::channel();
        self.running().insert(id, Running { stop, acknowledged: Some(acknowledge) });
        self.inner.count.send_modify(|count| *count += 1);
        let worker = self.clone();
        runtime.spawn(async move {
            // A guard, because an attempt that panics has ended too.
            let _ended = Ended { worker: worker.clone(), id };
            attempt::run(&worker, attempt, stopped, acknowledged).await;
        });
    }

    /// Says something about a task instance in the log of its current try, which has not begun yet.
    pub fn note(&self, ti: &TaskInstance, message: &str) {
        let log = TaskLog::open(&self.inner.options.log_folder, ti, Masker::default());
        log.write(Level::Warning, attempt::TASK_LOGGER, message, &[]);
    }

    /// Ends an attempt that the scheduler has decided about.
    pub fn stop(&self, attempt: AttemptId, reason: StopReason) {
        if let Some(running) = self.running().get(&attempt) {
            let stop = if reason == StopReason::Cleared { Stop::Cleared } else { Stop::Decided(reason) };
            running.stop.send_replace(Some(stop));
        }
    }

    /// The end that the attempt reported is durable.
    pub fn acknowledge(&self, attempt: AttemptId) {
        let waiting = self.running().get_mut(&attempt).and_then(|running| running.acknowledged.take());
        if let Some(waiting) = waiting {
            let _ = waiting.send(());
        }
    }

    /// Waits for the attempts that are under way, for `grace` at most; what has not ended by then is interrupted.
    pub async fn drain(&self, grace: Duration) {
        self.stop_triggers();
        let _stop = StopCallbacks(self);
        let mut count = self.inner.count.subscribe();
        let deadline = tokio::time::Instant::now() + grace;
        if tokio::time::timeout_at(deadline, count.wait_for(|count| *count == 0)).await.is_ok() {
            return self.callbacks_called(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
        }
        for running in self.running().values() {
            running.stop.send_replace(Some(Stop::Interrupted));
        }
        // Their processes get a chance to clean up; then they are killed, which needs no patience.
        let _ = tokio::time::timeout(KILL_GRACE * 2, count.wait_for(|count| *count == 0)).await;
    }

    /// How many attempts are under way.
    pub fn count(&self) -> usize {
        *self.inner.count.borrow()
    }
}

/// Stops what is called when the worker has ended.
struct StopCallbacks<'a, R: Reports>(&'a Worker<R>);

impl<R: Reports> Drop for StopCallbacks<'_, R> {
    fn drop(&mut self) {
        self.0.stop_callbacks();
    }
}

struct Ended<R: Reports> {
    worker: Worker<R>,
    id: AttemptId,
}

impl<R: Reports> Drop for Ended<R> {
    fn drop(&mut self) {
        self.worker.running().remove(&self.id);
        self.worker.inner.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}
