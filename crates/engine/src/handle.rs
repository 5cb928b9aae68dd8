//! The engine as others see it: a queue to put inputs in, and answers that come when they are durable.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::timetable::NextRun;
use model::{
    AssetEvent, AssetUpdate, Backfill, BackfillId, DagId, DagRun, DagRunState, HitlRefusal, HitlResponse, Json, RunKey,
    TaskInstanceKey, TriggerId,
};
use scheduler::{
    BackfillRefusal, BackfillWish, Clear, Event, Mark, NewRun, ReplyId, RunRefusal, TasksChanged, TriggerError,
    UnqueueAssets,
};
use tokio::sync::oneshot;

use crate::backfilling::BackfillRequest;
use crate::core::{Input, TriggerRequest};
use crate::hitl::AnswerRequest;
use crate::pulse::Pulse;

/// The engine's loop has ended.
#[derive(Debug, thiserror::Error)]
#[error("the engine has stopped")]
pub struct EngineStopped;

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum TriggerFailure {
    #[error(transparent)]
    Refused(#[from] TriggerError),
    #[error(transparent)]
    Stopped(#[from] EngineStopped),
}

/// Why a run is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeFailure {
    #[error(transparent)]
    Refused(#[from] RunRefusal),
    #[error(transparent)]
    Stopped(#[from] EngineStopped),
}

/// Why an answer to a task does not count.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFailure {
    #[error(transparent)]
    Refused(#[from] HitlRefusal),
    #[error(transparent)]
    Stopped(#[from] EngineStopped),
}

/// Why there is no backfill, or it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackfillFailure {
    #[error(transparent)]
    Refused(#[from] BackfillRefusal),
    #[error(transparent)]
    Stopped(#[from] EngineStopped),
}

enum Answer {
    Hitl(Result<Box<HitlResponse>, HitlRefusal>),
    Run(Result<Box<DagRun>, TriggerError>),
    Changed(Result<Option<Box<DagRun>>, RunRefusal>),
    TasksChanged(Result<Box<TasksChanged>, RunRefusal>),
    Backfill(Result<Box<Backfill>, BackfillRefusal>),
    Asset(Box<AssetEvent>),
    Unqueued(usize),
    Done,
}

/// Those who wait for an answer.
#[derive(Default)]
pub(crate) struct Replies {
    waiting: Mutex<HashMap<ReplyId, oneshot::Sender<Answer>>>,
    last: AtomicU64,
}

impl Replies {
    fn expect(&self) -> (ReplyId, oneshot::Receiver<Answer>) {
        let id = ReplyId(self.last.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        (id, receiver)
    }

    pub(crate) fn answer(&self, id: ReplyId, answer: Result<Box<DagRun>, TriggerError>) {
        self.send(id, Answer::Run(answer));
    }

    pub(crate) fn changed(&self, id: ReplyId, answer: Result<Option<Box<DagRun>>, RunRefusal>) {
        self.send(id, Answer::Changed(answer));
    }

    pub(crate) fn hitl(&self, id: ReplyId, answer: Result<Box<HitlResponse>, HitlRefusal>) {
        self.send(id, Answer::Hitl(answer));
    }

    pub(crate) fn tasks_changed(&self, id: ReplyId, answer: Result<Box<TasksChanged>, RunRefusal>) {
        self.send(id, Answer::TasksChanged(answer));
    }

    pub(crate) fn backfill_changed(&self, id: ReplyId, answer: Result<Box<Backfill>, BackfillRefusal>) {
        self.send(id, Answer::Backfill(answer));
    }

    pub(crate) fn asset_recorded(&self, id: ReplyId, event: Box<AssetEvent>) {
        self.send(id, Answer::Asset(event));
    }

    pub(crate) fn assets_unqueued(&self, id: ReplyId, count: usize) {
        self.send(id, Answer::Unqueued(count));
    }

    pub(crate) fn done(&self, id: ReplyId) {
        self.send(id, Answer::Done);
    }

    fn send(&self, id: ReplyId, answer: Answer) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(waiting) = waiting {
            // Whoever asked may have gone away; the run exists all the same.
            let _ = waiting.send(answer);
        }
    }

    /// Nobody will be answered any more.
    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Cheap to clone; every clone speaks to the same engine.
#[derive(Clone)]
pub struct EngineHandle {
    pub(crate) inputs: flume::Sender<Input>,
    pub(crate) replies: Arc<Replies>,
    pub(crate) pulse: Pulse,
}

impl EngineHandle {
    /// Whether somebody still reads what the engine is told.
    pub fn is_running(&self) -> bool {
        !self.inputs.is_disconnected()
    }

    /// When the engine's loop last turned; it does so every second, unless it waits for the database.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Tells the engine something. Waits while its queue is full.
    pub async fn tell(&self, input: Input) -> Result<(), EngineStopped> {
        self.inputs.send_async(input).await.map_err(|_| EngineStopped)
    }

    /// As [`Self::tell`], from a thread that may block.
    pub fn tell_blocking(&self, input: Input) -> Result<(), EngineStopped> {
        self.inputs.send(input).map_err(|_| EngineStopped)
    }

    /// Makes a run. The answer comes when the run is durable; it is the run as it was made.
    pub async fn trigger(&self, dag_id: DagId, run: NewRun) -> Result<Box<DagRun>, TriggerFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Trigger(Box::new(TriggerRequest { reply, dag_id, run }))).await?;
        run_of(answer.await.map_err(|_| EngineStopped)?)
    }

    /// As [`Self::trigger`], from a thread that may block.
    pub fn trigger_blocking(&self, dag_id: DagId, run: NewRun) -> Result<Box<DagRun>, TriggerFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell_blocking(Input::Trigger(Box::new(TriggerRequest { reply, dag_id, run })))?;
        run_of(answer.blocking_recv().map_err(|_| EngineStopped)?)
    }

    /// Pauses a Dag, or lets it go on. Returns when that is durable.
    pub async fn set_paused(&self, dag_id: DagId, paused: bool) -> Result<(), EngineStopped> {
        let (reply, done) = self.replies.expect();
        self.tell(Input::Event(Event::DagPaused { dag_id, paused, reply })).await?;
        done.await.map(|_| ()).map_err(|_| EngineStopped)
    }

    /// Ends a run, or puts it back into the queue, with all that follows for its tasks. Gives it as it was then, when
    /// that is durable; nothing if it was deleted meanwhile.
    pub async fn set_run_state(&self, run: RunKey, state: DagRunState) -> Result<Option<Box<DagRun>>, ChangeFailure> {
        self.change_run(|reply| Event::SetRunState { run, state, reply }).await
    }

    /// Makes a backfill of these dates. The answer comes when it is durable with all its runs.
    pub async fn backfill(
        &self,
        request: BackfillRequest,
        dates: Vec<NextRun>,
    ) -> Result<Box<Backfill>, BackfillFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Backfill { reply, request: Box::new(request), dates }).await?;
        backfill_of(answer.await.map_err(|_| EngineStopped)?)
    }

    /// Pauses a backfill that is under way, lets it go on or cancels it. Gives it as it is then, when that is durable.
    pub async fn set_backfill(
        &self,
        dag_id: DagId,
        id: BackfillId,
        wish: BackfillWish,
    ) -> Result<Box<Backfill>, BackfillFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Event(Event::SetBackfill { dag_id, id, wish, reply })).await?;
        backfill_of(answer.await.map_err(|_| EngineStopped)?)
    }

    /// Has task instances run again. Gives them as they were then, when that is durable; the reply's id is set here.
    pub async fn clear(&self, clear: Clear) -> Result<TasksChanged, ChangeFailure> {
        self.change_tasks(|reply| Event::Clear(Box::new(Clear { reply, ..clear }))).await
    }

    /// As [`Self::clear`], from a thread that may block.
    pub fn clear_blocking(&self, clear: Clear) -> Result<TasksChanged, ChangeFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell_blocking(Input::Event(Event::Clear(Box::new(Clear { reply, ..clear }))))?;
        tasks_of(answer.blocking_recv().map_err(|_| EngineStopped)?)
    }

    /// Gives task instances a state. Gives those that were in another one, as they were then, when that is durable; the
    /// reply's id is set here.
    pub async fn mark(&self, mark: Mark) -> Result<TasksChanged, ChangeFailure> {
        self.change_tasks(|reply| Event::Mark(Box::new(Mark { reply, ..mark }))).await
    }

    async fn change_tasks(&self, event: impl FnOnce(ReplyId) -> Event) -> Result<TasksChanged, ChangeFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Event(event(reply))).await?;
        tasks_of(answer.await.map_err(|_| EngineStopped)?)
    }

    /// Deletes a run that is not running. Returns when that is durable.
    pub async fn delete_run(&self, run: RunKey) -> Result<(), ChangeFailure> {
        self.change_run(|reply| Event::DeleteRun { run, reply }).await.map(drop)
    }

    /// Deletes a Dag of which no task is running. Returns when that is durable.
    pub async fn delete_dag(&self, dag_id: DagId) -> Result<(), ChangeFailure> {
        self.change_run(|reply| Event::DeleteDag { dag_id, reply }).await.map(drop)
    }

    /// Gives a task what it has asked people for. Returns when that is durable; of several answers the first one counts.
    /// `anybody` may answer what others are asked.
    pub async fn answer(
        &self,
        key: TaskInstanceKey,
        response: HitlResponse,
        anybody: bool,
    ) -> Result<Box<HitlResponse>, AnswerFailure> {
        let (reply, answer) = self.replies.expect();
        let request = AnswerRequest { reply, key, response, anybody, resumes: true };
        self.tell(Input::Answer(Box::new(request))).await?;
        response_of(answer.await.map_err(|_| EngineStopped)?)
    }

    /// The answer of a trigger, which lets its task go on itself; from a thread that may block.
    pub fn answer_blocking(
        &self,
        key: TaskInstanceKey,
        response: HitlResponse,
    ) -> Result<Box<HitlResponse>, AnswerFailure> {
        let (reply, answer) = self.replies.expect();
        let request = AnswerRequest { reply, key, response, anybody: true, resumes: false };
        self.tell_blocking(Input::Answer(Box::new(request)))?;
        response_of(answer.blocking_recv().map_err(|_| EngineStopped)?)
    }

    /// Records that an asset was updated by somebody who is no task. Gives the event when it is durable.
    pub async fn update_asset(&self, update: AssetUpdate) -> Result<Box<AssetEvent>, EngineStopped> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Event(Event::AssetUpdated { reply, update: Box::new(update) })).await?;
        match answer.await.map_err(|_| EngineStopped)? {
            Answer::Asset(event) => Ok(event),
            // Nobody answers such a request like that.
            _ => Err(EngineStopped),
        }
    }

    /// Lets assets no longer wait for Dags. Says how many there were, when that is durable.
    pub async fn unqueue_assets(&self, unqueue: UnqueueAssets) -> Result<usize, EngineStopped> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Event(Event::UnqueueAssets { reply, unqueue })).await?;
        match answer.await.map_err(|_| EngineStopped)? {
            Answer::Unqueued(count) => Ok(count),
            // Nobody answers such a request like that.
            _ => Err(EngineStopped),
        }
    }

    /// The trigger of a watcher has fired. Returns when what follows from that is durable.
    pub async fn watcher_fired(&self, trigger: TriggerId, payload: Json) -> Result<(), EngineStopped> {
        let (reply, done) = self.replies.expect();
        self.tell(Input::Event(Event::WatcherFired { trigger, payload, reply })).await?;
        done.await.map(|_| ()).map_err(|_| EngineStopped)
    }

    async fn change_run(&self, event: impl FnOnce(ReplyId) -> Event) -> Result<Option<Box<DagRun>>, ChangeFailure> {
        let (reply, answer) = self.replies.expect();
        self.tell(Input::Event(event(reply))).await?;
        match answer.await.map_err(|_| EngineStopped)? {
            Answer::Changed(answer) => Ok(answer?),
            // Nobody answers such a request like that.
            _ => Err(EngineStopped.into()),
        }
    }
}

fn tasks_of(answer: Answer) -> Result<TasksChanged, ChangeFailure> {
    match answer {
        Answer::TasksChanged(answer) => Ok(*answer?),
        // Nobody answers such a request like that.
        _ => Err(EngineStopped.into()),
    }
}

fn response_of(answer: Answer) -> Result<Box<HitlResponse>, AnswerFailure> {
    match answer {
        Answer::Hitl(answer) => Ok(answer?),
        // Nobody answers an answer like that.
        _ => Err(EngineStopped.into()),
    }
}

fn backfill_of(answer: Answer) -> Result<Box<Backfill>, BackfillFailure> {
    match answer {
        Answer::Backfill(answer) => Ok(answer?),
        // Nobody answers such a request like that.
        _ => Err(EngineStopped.into()),
    }
}

fn run_of(answer: Answer) -> Result<Box<DagRun>, TriggerFailure> {
    match answer {
        Answer::Run(run) => Ok(run?),
        // Nobody answers a request for a run like that.
        _ => Err(EngineStopped.into()),
    }
}
