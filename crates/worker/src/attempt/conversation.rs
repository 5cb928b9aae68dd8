//! What an attempt's process asks for and reports, over the frames of the Task SDK.

use std::sync::Arc;
use std::time::Duration;

use model::{Json, MapIndex, Outlets, TaskId};
use python::import::{Answer, Answers};
use python::message::{EndState, ErrorType, Startup, ToSupervisor, server_error};
use python::{FrameError, FrameReader, FrameWriter};
use scheduler::{Deferral, Outcome, Waiting};
use serde_json::json;
use store::{Write, XCom};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::streams::{Stream, forward};
use super::{Attempt, End, TASK_LOGGER};
use crate::Stop;
use crate::answers::{OwnTask, StoreAnswers};
use crate::assets::told_outlets;
use crate::log::Level;
use crate::{Bundle, Report, Reports, TriggerFromTask, TriggerRefused};

/// How long the scheduler may take to make an end durable before the process goes on regardless.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(10);

/// Why a conversation ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum TalkError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The child was never told what to do.
    #[error("what the task needs to know can't be read: {0}")]
    NoStart(String),
}

type Talked = Result<(), TalkError>;

/// What the child has said of its end.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) outcome: Option<Outcome>,
    pub(super) rendered_map_index: Option<String>,
    pub(super) writes: Vec<Write>,
    pub(super) outlets: Outlets,
    /// The end was reported when it was told; nothing is left to report.
    pub(super) reported: bool,
}

fn answers_for<R: Reports>(attempt: &Attempt<'_, R>) -> StoreAnswers {
    StoreAnswers {
        store: Arc::clone(&attempt.worker.inner.store),
        masker: attempt.log.masker().clone(),
        own: Some(Arc::new(OwnTask {
            ti: attempt.start.ti.clone(),
            logical_date: attempt.start.run.logical_date,
            dag: Arc::clone(&attempt.start.dag),
        })),
        max_map_length: attempt.worker.inner.options.max_map_length,
    }
}

/// What the scheduler is told of a deferral.
fn deferral_of(told: python::message::Deferral) -> Deferral {
    let timer = python::trigger::timer_of(&told.classpath, &told.trigger_kwargs);
    Deferral {
        classpath: told.classpath,
        kwargs: told.trigger_kwargs,
        queue: told.queue,
        timer,
        timeout: told.trigger_timeout,
        next_method: told.next_method,
        next_kwargs: told.next_kwargs,
    }
}

pub(super) struct Conversation<'a, R> {
    attempt: &'a Attempt<'a, R>,
    answers: StoreAnswers,
    writer: FrameWriter<OwnedWriteHalf>,
    acknowledged: Option<oneshot::Receiver<()>>,
    /// Hears when the child has told its end.
    has_ended: Arc<Notify>,
    pub(super) told: Told,
    /// Log channels that the child asked for later.
    pub(super) streams: Vec<JoinHandle<()>>,
}

impl<'a, R: Reports> Conversation<'a, R> {
    pub(super) fn new(
        attempt: &'a Attempt<'a, R>,
        writer: OwnedWriteHalf,
        acknowledged: oneshot::Receiver<()>,
        has_ended: Arc<Notify>,
    ) -> Self {
        Self {
            attempt,
            answers: answers_for(attempt),
            writer: FrameWriter::new(writer),
            acknowledged: Some(acknowledged),
            has_ended,
            told: Told::default(),
            streams: Vec::new(),
        }
    }

    /// Tells the child what it is to do, and answers it until it closes the connection.
    pub(super) async fn hold(&mut self, reader: OwnedReadHalf) -> Talked {
        let mut reader = FrameReader::new(reader);
        self.start().await?;
        while let Some(frame) = reader.read().await? {
            self.take(frame.id, frame.body).await?;
        }
        Ok(())
    }

    /// Tells the child what it is to do.
    async fn start(&mut self) -> Talked {
        let attempt = self.attempt;
        let start = &attempt.start;
        let worker = attempt.worker.clone();
        let (ti, run) = (start.ti.clone(), start.run.clone());
        let is_first = ti.try_number <= 1 && ti.reschedule_date.is_none();
        let goes_on = start.suspension.is_some();
        let gathered = tokio::task::spawn_blocking(move || -> Result<_, store::StoreError> {
            let store = &worker.inner.store;
            let bundle = worker.bundle_of(&run, ti.version)?;
            let dag = store.dag(&ti.run.dag_id)?;
            let file = dag.as_ref().map(|dag| worker.file_of(&run, ti.version, dag)).transpose()?.unwrap_or_default();
            // Without its version there is no more to go by than its Dag.
            let bundle = bundle.unwrap_or_else(|| Bundle {
                name: dag.map(|dag| dag.bundle_name).unwrap_or_default(),
                version: run.bundle_version.clone(),
            });
            let (count, _) = store.reschedules(&ti.key())?;
            let keys: Vec<String> = if goes_on || (is_first && count == 0) {
                Vec::new()
            } else {
                let left: Vec<XCom> = store.xcoms(&ti.run, Some(&ti.task_id), Some(ti.map_index), None)?;
                left.into_iter().map(|xcom| xcom.key.key).collect()
            };
            let consumed = store.consumed_asset_events(&ti.run)?;
            Ok((bundle, file, count, keys, consumed))
        });
        let gathered = gathered.await.map_err(|error| TalkError::NoStart(error.to_string()))?;
        let (bundle, dag_rel_path, task_reschedule_count, xcom_keys_to_clear, consumed_asset_events) =
            gathered.map_err(|error| TalkError::NoStart(error.to_string()))?;
        let startup = Startup {
            ti: start.ti.clone(),
            run: start.run.clone(),
            hostname: Arc::clone(&attempt.worker.inner.options.hostname),
            bundle_name: bundle.name,
            bundle_version: bundle.version,
            dag_rel_path,
            // What goes on keeps the moment when it first began.
            start_date: start.ti.start_date.filter(|_| start.suspension.is_some()).unwrap_or_else(super::now),
            should_retry: start.should_retry,
            task_reschedule_count,
            xcom_keys_to_clear,
            consumed_asset_events,
            next: start.suspension.as_ref().map(|next| (next.next_method.clone(), next.next_kwargs.clone())),
        };
        Ok(self.writer.answer(0, Some(&startup.message())).await?)
    }

    async fn take(&mut self, id: i64, body: Json) -> Result<(), FrameError> {
        let kind = body.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
        let request: ToSupervisor = match serde_json::from_value(body) {
            Ok(request) => request,
            Err(error) if error.to_string().starts_with("unknown variant") => return self.unsupported(id, &kind).await,
            Err(error) => {
                let message = format!("Unhandled request {kind}: {error}");
                return self.writer.refuse(id, &server_error(400, &message)).await;
            }
        };
        match request {
            ToSupervisor::SucceedTask { rendered_map_index, task_outlets, outlet_events, .. } => {
                self.told.outlets = told_outlets(task_outlets.as_deref(), outlet_events.as_deref());
                if self.attempt.worker.inner.options.clear_state_on_success {
                    self.told.writes.push(Write::ClearTaskState { ti: self.attempt.key(), all_map_indices: false });
                }
                self.end_told(Outcome::Success, rendered_map_index).await;
                self.writer.answer(id, None).await
            }
            ToSupervisor::TaskState { state, rendered_map_index, .. } => {
                let outcome = match state {
                    EndState::Failed => Outcome::FailedForGood,
                    EndState::Skipped => Outcome::Skipped,
                    EndState::Removed => Outcome::Removed,
                };
                self.end_told(outcome, rendered_map_index).await;
                self.writer.answer(id, None).await
            }
            ToSupervisor::RetryTask { rendered_map_index, retry_delay_seconds, .. } => {
                let delay = retry_delay_seconds.and_then(model::operations::from_total_seconds);
                self.end_told(Outcome::Retry { delay }, rendered_map_index).await;
                self.writer.answer(id, None).await
            }
            ToSupervisor::RescheduleTask { reschedule_date, end_date } => {
                // The next attempt works on the same try: it must not begin before this process is gone.
                let now = super::now();
                self.told.writes.push(Write::Rescheduled {
                    key: self.attempt.key(),
                    try_number: self.attempt.start.ti.try_number,
                    start: now,
                    end: end_date.unwrap_or(now),
                    until: reschedule_date,
                });
                self.told.outcome = Some(Outcome::Reschedule { at: reschedule_date });
                self.writer.answer(id, None).await
            }
            ToSupervisor::SkipDownstreamTasks { tasks } => {
                let tasks: Vec<(TaskId, MapIndex)> = tasks.into_iter().map(|task| task.parts()).collect();
                let attempt = self.attempt.start.attempt;
                self.attempt.worker.inner.reports.report(Report::SkipDownstream { attempt, tasks }).await;
                self.writer.answer(id, None).await
            }
            ToSupervisor::SetRenderedFields { rendered_fields } => {
                let write = self.attempt.rendered_fields(rendered_fields);
                self.written(id, write).await
            }
            ToSupervisor::SetRenderedMapIndex { rendered_map_index } => {
                self.told.rendered_map_index = Some(rendered_map_index);
                self.writer.answer(id, None).await
            }
            ToSupervisor::TriggerDagRun {
                dag_id,
                run_id,
                logical_date,
                run_after,
                conf,
                note,
                reset_dag_run,
                partition_key,
            } => {
                let trigger = TriggerFromTask {
                    key: model::RunKey::new(dag_id, run_id),
                    logical_date,
                    run_after,
                    conf: conf.filter(|conf| !conf.is_null()).unwrap_or_else(|| json!({})),
                    note,
                    partition_key,
                    triggering_user: self.attempt.start.run.triggering_user.clone(),
                    reset: reset_dag_run.unwrap_or(false),
                };
                self.trigger(id, trigger).await
            }
            ToSupervisor::DeferTask(deferral) => {
                self.told.rendered_map_index =
                    deferral.rendered_map_index.clone().or(self.told.rendered_map_index.take());
                self.told.outcome = Some(Outcome::Deferred(Box::new(deferral_of(deferral))));
                self.writer.answer(id, None).await
            }
            ToSupervisor::AwaitInputTask(awaited) => {
                self.told.rendered_map_index = awaited.rendered_map_index.or(self.told.rendered_map_index.take());
                self.told.outcome = Some(Outcome::AwaitingInput(Box::new(Waiting {
                    timeout: awaited.timeout,
                    next_method: awaited.next_method,
                    next_kwargs: awaited.next_kwargs.unwrap_or_else(|| json!({})),
                })));
                self.writer.answer(id, None).await
            }
            ToSupervisor::ResendLoggingFD {} => self.new_log_channel(id).await,
            other => self.ask_store(id, other).await,
        }
    }

    async fn ask_store(&mut self, id: i64, request: ToSupervisor) -> Result<(), FrameError> {
        let answers = self.answers.clone();
        match tokio::task::spawn_blocking(move || answers.answer(request)).await {
            Ok(Answer::Done) => self.writer.answer(id, None).await,
            Ok(Answer::Body(body)) => self.writer.answer(id, Some(&body)).await,
            Ok(Answer::Refused(error)) => {
                self.log_fault(&error);
                self.writer.refuse(id, &error).await
            }
            Err(error) => self.writer.refuse(id, &server_error(500, &error.to_string())).await,
        }
    }

    /// A fault of ours is in the task's log even where the Task SDK goes on as if nothing had been found.
    fn log_fault(&self, error: &Json) {
        let detail = &error["detail"];
        if let (Some(500..), Some(message)) = (detail["status_code"].as_u64(), detail["message"].as_str()) {
            self.attempt.log.write(Level::Error, TASK_LOGGER, message, &[]);
        }
    }

    async fn unsupported(&mut self, id: i64, kind: &str) -> Result<(), FrameError> {
        let message = format!("This version of Updraft does not answer {kind}");
        self.attempt.log.write(Level::Error, TASK_LOGGER, &message, &[]);
        self.writer.refuse(id, &server_error(400, &message)).await
    }

    /// A process that the child started, or that it has become, wants a log channel of its own.
    async fn new_log_channel(&mut self, id: i64) -> Result<(), FrameError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        self.streams.push(forward(ours, self.attempt.log.clone(), Stream::Log));
        self.writer.answer_with_descriptor(id, theirs.into()).await
    }

    /// The task has ended, as far as it is concerned: the scheduler is told at once, so that what waits for it need
    /// not wait for its process. Returns when the end is durable.
    async fn end_told(&mut self, outcome: Outcome, rendered_map_index: Option<String>) {
        if self.told.reported {
            return;
        }
        if matches!(*self.attempt.stopped.borrow(), Some(Stop::Cleared)) {
            // Whatever came of it; the next attempt waits for the process to end.
            self.has_ended.notify_one();
            return;
        }
        self.told.reported = true;
        let rendered_map_index = rendered_map_index.or(self.told.rendered_map_index.take());
        let writes = std::mem::take(&mut self.told.writes);
        let outlets = std::mem::take(&mut self.told.outlets);
        let acknowledged = self.acknowledged.take();
        self.attempt.report_end(End { rendered_map_index, writes, outlets, ..End::new(outcome) }).await;
        if let Some(acknowledged) = acknowledged {
            // A scheduler that never answers has moved on without this attempt.
            let _ = timeout(ACKNOWLEDGE_LIMIT, acknowledged).await;
        }
        self.has_ended.notify_one();
    }

    async fn written(&mut self, id: i64, write: Write) -> Result<(), FrameError> {
        let store = Arc::clone(&self.attempt.worker.inner.store);
        match tokio::task::spawn_blocking(move || store.commit(vec![write])).await {
            Ok(Ok(())) => self.writer.answer(id, None).await,
            Ok(Err(error)) => self.writer.refuse(id, &server_error(500, &error.to_string())).await,
            Err(error) => self.writer.refuse(id, &server_error(500, &error.to_string())).await,
        }
    }

    async fn trigger(&mut self, id: i64, trigger: TriggerFromTask) -> Result<(), FrameError> {
        let reports = self.attempt.worker.inner.reports.clone();
        let dag_id = trigger.key.dag_id.to_string();
        match tokio::task::spawn_blocking(move || reports.trigger(trigger)).await {
            Ok(Ok(())) => self.writer.answer(id, Some(&json!({"type": "OKResponse", "ok": true}))).await,
            Ok(Err(TriggerRefused::Exists(_))) => {
                let error = ErrorType::DagRunAlreadyExists.response(json!({"dag_id": dag_id}));
                self.writer.answer(id, Some(&error)).await
            }
            Ok(Err(TriggerRefused::Refused { status, message })) => {
                self.writer.refuse(id, &server_error(status, &message)).await
            }
            Err(error) => self.writer.refuse(id, &server_error(500, &error.to_string())).await,
        }
    }
}
