//! Triggers that need Python. All of them run in one child of the Python helper, the official trigger runner
//! (`airflow/jobs/triggerer_job_runner.py`); the engine is its supervisor.
//!
//! The runner asks once a second what it is to do. What it was told and what it has said is lost with it: whoever is
//! still waited for then is told to the next one.

mod conversation;
mod logs;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Json, TriggerId};
use process::{kill_tree, signal_group};
use python::{ChildSockets, FrameReader, Job};
use scheduler::{ArmTrigger, WatchTrigger};
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};

use crate::mask::Masker;
use crate::{KILL_GRACE, Reports, Worker};
use conversation::Conversation;

pub use logs::trigger_log_path;

/// Triggers that the runner is told of at once; the others follow a second later.
const MAX_AT_ONCE: usize = 2000;
/// A runner that nobody needs ends after so long.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// A runner that has said nothing for so long is blocked by one of its triggers, and is replaced.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);
/// How often these limits are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Pauses between runners that end at once: first and longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SIGTERM: i32 = 15;

/// Pauses until a trigger of a watcher is started again that has ended or failed: first and longest.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A trigger, and whom it is for.
#[derive(Clone)]
enum Wanted {
    Task(Arc<ArmTrigger>),
    /// It fires as often as it likes, and is started again when it ends.
    Watcher(Arc<WatchTrigger>),
}

impl Wanted {
    fn id(&self) -> TriggerId {
        match self {
            Self::Task(armed) => armed.trigger.id,
            Self::Watcher(watch) => watch.trigger.id,
        }
    }
}

/// What is to run, and what the runner knows of that.
pub(crate) struct Triggers {
    state: Mutex<State>,
    /// The engine ends.
    stop: watch::Sender<bool>,
}

struct State {
    /// Those that somebody waits for.
    armed: HashMap<TriggerId, Wanted>,
    /// Of these, the ones that have fired or failed.
    answered: HashSet<TriggerId>,
    /// Those that the runner is to be told of next.
    fresh: VecDeque<TriggerId>,
    /// Those that it was told of, until it says that they have finished.
    running: HashMap<TriggerId, Wanted>,
    /// Of these, the ones that nobody waits for any more.
    cancelled: HashSet<TriggerId>,
    /// Those that have finished a moment ago: their last lines may still be on their way.
    finished: HashMap<TriggerId, Wanted>,
    /// Triggers of watchers that are to be started again, and when.
    resting: Vec<(Instant, TriggerId)>,
    /// How long each of them rests the next time.
    rests: HashMap<TriggerId, Duration>,
    /// Somebody sees to it that there is a runner.
    is_kept: bool,
    /// When the runner was heard last.
    heard: Instant,
    idle_since: Instant,
}

impl Default for Triggers {
    fn default() -> Self {
        let state = State {
            armed: HashMap::new(),
            answered: HashSet::new(),
            fresh: VecDeque::new(),
            running: HashMap::new(),
            cancelled: HashSet::new(),
            finished: HashMap::new(),
            resting: Vec::new(),
            rests: HashMap::new(),
            is_kept: false,
            heard: Instant::now(),
            idle_since: Instant::now(),
        };
        Self { state: Mutex::new(state), stop: watch::channel(false).0 }
    }
}

impl State {
    /// Has a trigger of a watcher run again in a while, and longer each time.
    fn rest(&mut self, id: TriggerId) {
        if self.armed.contains_key(&id) {
            let rest = self.rests.get(&id).copied().unwrap_or(FIRST_REST);
            self.rests.insert(id, (rest * 2).min(LONGEST_REST));
            self.resting.push((Instant::now() + rest, id));
        }
    }
}

impl Triggers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether somebody must be found who keeps a runner.
    fn arm(&self, trigger: Wanted) -> bool {
        let mut state = self.state();
        let id = trigger.id();
        if state.armed.insert(id, trigger).is_none() {
            state.fresh.push_back(id);
        }
        !std::mem::replace(&mut state.is_kept, true)
    }

    fn disarm(&self, id: TriggerId) {
        let mut state = self.state();
        state.armed.remove(&id);
        state.answered.remove(&id);
        state.rests.remove(&id);
        if state.running.contains_key(&id) {
            state.cancelled.insert(id);
        }
        state.idle_since = Instant::now();
    }

    /// The runner is gone: the next one is told of all that have not had their say.
    fn forget_runner(&self) {
        let mut state = self.state();
        let State { armed, answered, .. } = &*state;
        let mut fresh: Vec<TriggerId> = armed.keys().filter(|id| !answered.contains(id)).copied().collect();
        fresh.sort_unstable();
        state.fresh = fresh.into();
        state.running.clear();
        state.cancelled.clear();
        state.resting.clear();
    }

    /// Notes that a trigger has fired or failed; returns whether that is news.
    fn answered(&self, id: TriggerId) -> bool {
        let mut state = self.state();
        state.armed.contains_key(&id) && state.answered.insert(id)
    }

    /// What the runner is to do next, after it has said which triggers have finished.
    fn sync(&self, finished: &[TriggerId]) -> (Vec<Wanted>, Vec<TriggerId>) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.finished.clear();
        for id in finished {
            state.cancelled.remove(id);
            let Some(trigger) = state.running.remove(id) else { continue };
            match &trigger {
                // One that has ended itself without a word runs again, as in Airflow.
                Wanted::Task(_) if state.armed.contains_key(id) && !state.answered.contains(id) => {
                    state.fresh.push_back(*id);
                }
                Wanted::Task(_) => {}
                Wanted::Watcher(_) => state.rest(*id),
            }
            state.finished.insert(*id, trigger);
        }
        let now = Instant::now();
        let rested = state.resting.extract_if(.., |(until, _)| *until <= now).map(|(_, id)| id);
        state.fresh.extend(rested);
        let mut create = Vec::new();
        while create.len() < MAX_AT_ONCE
            && let Some(id) = state.fresh.pop_front()
        {
            if let Some(trigger) = state.armed.get(&id) {
                state.running.insert(id, trigger.clone());
                create.push(trigger.clone());
            }
        }
        (create, state.cancelled.iter().copied().collect())
    }

    /// A trigger of a watcher has failed: it is no longer running.
    fn failed(&self, id: TriggerId) {
        let mut state = self.state();
        if let Some(trigger) = state.running.remove(&id) {
            state.rest(id);
            state.finished.insert(id, trigger);
        }
    }

    /// A trigger of a watcher has fired: it works, and begins again at once when it ends.
    fn works(&self, id: TriggerId) {
        self.state().rests.remove(&id);
    }

    /// The runner was not told of a trigger after all.
    fn postpone(&self, id: TriggerId) {
        let mut state = self.state();
        state.running.remove(&id);
        state.cancelled.remove(&id);
        if state.armed.contains_key(&id) {
            state.fresh.push_back(id);
        }
    }

    /// A trigger that the runner may speak of.
    fn known(&self, id: TriggerId) -> Option<Wanted> {
        let state = self.state();
        state.running.get(&id).or_else(|| state.finished.get(&id)).cloned()
    }

    /// Whether nobody has needed the runner for long.
    fn is_idle(&self) -> bool {
        let state = self.state();
        state.armed.is_empty() && state.running.is_empty() && state.idle_since.elapsed() > IDLE_LIMIT
    }

    /// Whoever keeps the runner wants to stop that; returns whether nobody has come to need it meanwhile.
    fn release(&self) -> bool {
        let mut state = self.state();
        state.is_kept = !state.armed.is_empty();
        !state.is_kept
    }
}

/// How a runner came to its end.
enum End {
    /// Nobody needs it.
    Idle,
    /// The engine ends.
    Stopped,
    /// There is to be another one.
    Lost(String),
}

/// Whoever keeps the runner may be gone in whatever way: the next trigger finds somebody else.
struct Kept<'a> {
    triggers: &'a Triggers,
    is_released: bool,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if !self.is_released {
            self.triggers.state().is_kept = false;
        }
    }
}

impl<R: Reports> Worker<R> {
    /// Has a trigger run until it fires or is disarmed. Returns at once.
    pub fn arm(&self, runtime: &tokio::runtime::Handle, trigger: Box<ArmTrigger>) {
        self.want(runtime, Wanted::Task(Arc::from(trigger)));
    }

    /// Has a trigger of a watcher run until it is disarmed. Returns at once.
    pub fn watch(&self, runtime: &tokio::runtime::Handle, watch: Box<WatchTrigger>) {
        self.want(runtime, Wanted::Watcher(Arc::from(watch)));
    }

    fn want(&self, runtime: &tokio::runtime::Handle, trigger: Wanted) {
        if self.inner.triggers.arm(trigger) {
            let worker = self.clone();
            runtime.spawn(async move { keep(&worker).await });
        }
    }

    /// Nobody waits for a trigger any more.
    pub fn disarm(&self, trigger: TriggerId) {
        self.inner.triggers.disarm(trigger);
    }

    /// The engine ends: the triggers' process gets a chance to clean up.
    pub(crate) fn stop_triggers(&self) {
        self.inner.triggers.stop.send_replace(true);
    }
}

/// Sees to it that there is a runner while somebody needs one.
async fn keep<R: Reports>(worker: &Worker<R>) {
    let triggers = &worker.inner.triggers;
    let mut kept = Kept { triggers, is_released: false };
    let mut stop = triggers.stop.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        match run(worker).await {
            End::Stopped => return,
            End::Idle if triggers.release() => {
                // From here on somebody else may keep one.
                kept.is_released = true;
                return;
            }
            End::Idle => {}
            End::Lost(reason) => {
                tracing::error!("the trigger runner has ended, and is started again with all its triggers: {reason}");
            }
        }
        triggers.forget_runner();
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        if timeout(pause, stopped(&mut stop)).await.is_ok() {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One runner, from its start to its end.
async fn run<R: Reports>(worker: &Worker<R>) -> End {
    let triggers = &worker.inner.triggers;
    let mut stop = triggers.stop.subscribe();
    let forked = tokio::select! {
        forked = worker.inner.helper.fork(&Job::Triggers) => forked,
        () = stopped(&mut stop) => return End::Stopped,
    };
    let (pid, sockets, mut exited) = match forked {
        Ok(child) => child.split(),
        Err(error) => return End::Lost(error.to_string()),
    };
    let ChildSockets { requests, stdout, stderr, logs } = sockets;
    let masker = Masker::new(Arc::clone(&worker.inner.options.mask_rules));
    let printed = [logs::printed(stdout), logs::printed(stderr)];
    let logged = logs::logged(worker.clone(), logs, masker.clone());
    let (reader, writer) = requests.into_split();
    triggers.state().heard = Instant::now();
    let mut conversation = Conversation::new(worker, masker, writer);
    let mut talk = std::pin::pin!(conversation.hold(FrameReader::new(reader)));
    let mut look = interval(LOOK);
    let end = loop {
        tokio::select! {
            talked = &mut talk => break End::Lost(match talked {
                Ok(()) => "it closed its connection".to_owned(),
                Err(error) => error.to_string(),
            }),
            () = stopped(&mut stop) => {
                signal_group(pid, SIGTERM);
                // It goes on asking while it ends its triggers.
                let _ = timeout(KILL_GRACE, &mut talk).await;
                break End::Stopped;
            }
            _ = look.tick() => {
                if triggers.is_idle() {
                    break End::Idle;
                }
                if triggers.state().heard.elapsed() > SILENCE_LIMIT {
                    let seconds = SILENCE_LIMIT.as_secs();
                    break End::Lost(format!("one of its triggers has blocked all others for {seconds} seconds"));
                }
            }
        }
    };
    let _ = tokio::task::spawn_blocking(move || kill_tree(pid)).await;
    let exit = timeout(KILL_GRACE, &mut exited).await;
    tracing::debug!(pid, ?exit, "the trigger runner has ended");
    for task in printed.into_iter().chain([logged]) {
        task.abort();
    }
    end
}

/// Waits for the engine's end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The numbers in a list.
fn ids(list: Option<&Json>) -> Vec<TriggerId> {
    list.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_i64).map(TriggerId).collect()
}
