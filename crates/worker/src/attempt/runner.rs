//! An attempt by the official task runner, in a child of the warm Python helper.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Json, MapIndex, TaskId};
use process::{Exit, kill_group, signal_group};
use python::import::{Answer, Answers};
use python::message::{EndState, ErrorType, Startup, ToSupervisor, server_error};
use python::{ChildSockets, FrameError, FrameReader, FrameWriter, Job};
use scheduler::Outcome;
use serde_json::json;
use store::{Write, XCom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Attempt, End, TASK_LOGGER, end_group};
use crate::answers::{OwnTask, StoreAnswers};
use crate::log::{Level, Lines, TaskLog};
use crate::{Report, Reports, Stop, TriggerFromTask, TriggerRefused};

/// How long output may trickle in after the process has ended: something that it started may hold the streams.
const DRAIN: Duration = Duration::from_secs(1);
/// The runner ends a task at its `execution_timeout` itself. One that is deaf to that is ended from outside so much
/// later.
const TIMEOUT_GRACE: Duration = Duration::from_secs(30);

/// What the child has said of its end.
#[derive(Debug, Default)]
struct Told {
    outcome: Option<Outcome>,
    rendered_map_index: Option<String>,
    writes: Vec<Write>,
    /// The end was reported when it was told; nothing is left to report.
    reported: bool,
}

pub(super) async fn run<R: Reports>(
    attempt: &mut Attempt<'_, R>,
    reason: Option<&str>,
    acknowledged: oneshot::Receiver<()>,
) {
    if let Some(reason) = reason {
        let operator = &attempt.start.ti.operator_name;
        let event = format!("Running this {operator} with the official task runner: {reason}");
        attempt.log.info(TASK_LOGGER, &event);
    }
    let job = Job::Task { env: HashMap::new() };
    let forked = tokio::select! {
        forked = attempt.worker.inner.helper.fork(&job) => forked,
        stop = attempt.stop_wanted() => {
            attempt.log_stop(stop);
            return attempt.report_end(End::new(Outcome::Interrupted)).await;
        }
    };
    let child = match forked {
        Ok(child) => child,
        Err(error) => {
            attempt.log.write(Level::Error, TASK_LOGGER, &error.to_string(), &[]);
            return attempt.report_end(End::new(Outcome::Interrupted)).await;
        }
    };
    let (pid, sockets, exited) = child.split();
    let ChildSockets { requests, stdout, stderr, logs } = sockets;
    let streams = [
        forward(stdout, attempt.log.clone(), Stream::Stdout),
        forward(stderr, attempt.log.clone(), Stream::Stderr),
        forward(logs, attempt.log.clone(), Stream::Log),
    ];
    attempt.report_started(attempt.started(pid)).await;
    let (reader, writer) = requests.into_split();
    let mut conversation = Conversation {
        attempt,
        answers: answers_for(attempt),
        writer: FrameWriter::new(writer),
        told: Told::default(),
        acknowledged: Some(acknowledged),
    };
    let ended = supervise(&mut conversation, FrameReader::new(reader), pid, exited).await;
    let told = conversation.told;
    // What the task left running in its group ends with it only if it was stopped; a normal end leaves it alone, as
    // Airflow does.
    let deadline = Instant::now() + DRAIN;
    for mut stream in streams {
        if timeout_at(deadline, &mut stream).await.is_err() {
            stream.abort();
        }
    }
    conclude(attempt, ended, told).await;
}

/// How the process came to its end.
#[derive(Debug)]
enum Ended {
    Exited(Exit),
    Nonsense(FrameError),
    Stopped(Stop),
    Overtime(Exit),
    TimedOut,
}

async fn supervise<R: Reports, Rd: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    conversation: &mut Conversation<'_, R, W>,
    mut reader: FrameReader<Rd>,
    pid: u32,
    mut exited: oneshot::Receiver<Exit>,
) -> Ended {
    let attempt = conversation.attempt;
    let timeout = attempt.start.dag.task(attempt.start.task).execution_timeout;
    let deadline = timeout
        .and_then(|timeout| Duration::try_from(timeout).ok())
        .map(|timeout| Instant::now() + timeout + TIMEOUT_GRACE);
    let talk = async {
        conversation.start().await?;
        while let Some(frame) = reader.read().await? {
            conversation.take(frame.id, frame.body).await?;
        }
        Ok::<(), FrameError>(())
    };
    tokio::pin!(talk);
    let talked = tokio::select! {
        talked = &mut talk => talked,
        stop = attempt.stop_wanted() => {
            attempt.log_stop(stop);
            end_group(pid, async { let _ = (&mut exited).await; }).await;
            return Ended::Stopped(stop);
        }
        () = sleep_until(deadline) => {
            let event = "The task has not ended by itself after its execution_timeout and is killed";
            attempt.log.write(Level::Error, TASK_LOGGER, event, &[]);
            end_group(pid, async { let _ = (&mut exited).await; }).await;
            return Ended::TimedOut;
        }
    };
    match talked {
        Err(FrameError::Io(_)) | Ok(()) => {}
        Err(error) => {
            kill_group(pid);
            return Ended::Nonsense(error);
        }
    }
    // The runner has closed its connection; its process is about to end.
    tokio::select! {
        exit = &mut exited => Ended::Exited(exit.unwrap_or(Exit::Unknown)),
        stop = attempt.stop_wanted() => {
            attempt.log_stop(stop);
            end_group(pid, async { let _ = (&mut exited).await; }).await;
            Ended::Stopped(stop)
        }
        () = tokio::time::sleep(attempt.worker.inner.options.overtime) => {
            let event = "The task has ended, but its process has not; it is killed";
            attempt.log.write(Level::Warning, TASK_LOGGER, event, &[]);
            signal_group(pid, super::SIGTERM);
            let exit = timeout_at(Instant::now() + crate::KILL_GRACE, &mut exited).await;
            kill_group(pid);
            Ended::Overtime(exit.ok().and_then(Result::ok).unwrap_or(Exit::Unknown))
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Reports the end, if the child has not told it, and says in the log what happened.
async fn conclude<R: Reports>(attempt: &Attempt<'_, R>, ended: Ended, told: Told) {
    let log = &attempt.log;
    if told.reported {
        if let Ended::Exited(exit) = &ended
            && *exit != Exit::Code(0)
        {
            log_exit(log, *exit);
        }
        return;
    }
    let outcome = match (ended, told.outcome) {
        // What is told only by the process's end.
        (Ended::Exited(Exit::Code(0)) | Ended::Overtime(_), Some(outcome)) => outcome,
        (Ended::Exited(Exit::Unknown), _) => {
            log.write(
                Level::Error,
                TASK_LOGGER,
                "The process was lost with the Python helper; the task runs again",
                &[],
            );
            Outcome::Interrupted
        }
        (Ended::Stopped(Stop::Interrupted), _) => Outcome::Interrupted,
        (Ended::Stopped(Stop::Decided(_)), _) => return,
        (Ended::Exited(Exit::Code(0)), None) => {
            let event = "The process ended without saying how the task ended; that counts as a failure";
            log.write(Level::Error, TASK_LOGGER, event, &[]);
            Outcome::Failed
        }
        (Ended::Exited(exit) | Ended::Overtime(exit), _) => {
            log_exit(log, exit);
            Outcome::Failed
        }
        (Ended::Nonsense(error), _) => {
            let event = "The process broke the task protocol and was killed";
            log.write(Level::Error, TASK_LOGGER, event, &[("reason", error.to_string().into())]);
            Outcome::Failed
        }
        (Ended::TimedOut, _) => Outcome::Failed,
    };
    let Told { rendered_map_index, writes, .. } = told;
    attempt.report_end(End { rendered_map_index, writes, ..End::new(outcome) }).await;
}

fn log_exit(log: &TaskLog, exit: Exit) {
    match exit {
        Exit::Code(code) => {
            log.write(Level::Warning, TASK_LOGGER, "Process exited abnormally", &[("exit_code", code.into())]);
        }
        Exit::Signal(signal) => {
            let hint = match signal {
                9 => " Most often that is the system's doing, for want of memory.",
                11 => " It crashed in compiled code.",
                _ => "",
            };
            let level = if signal == 9 || signal == 11 { Level::Critical } else { Level::Error };
            let event = format!("Process terminated by signal.{hint}");
            let name = nix::sys::signal::Signal::try_from(signal).map_or("unknown", nix::sys::signal::Signal::as_str);
            log.write(level, TASK_LOGGER, &event, &[("signal", (-signal).into()), ("signal_name", name.into())]);
        }
        Exit::Unknown => log.write(Level::Error, TASK_LOGGER, "The process was lost", &[]),
    }
}

fn answers_for<R: Reports>(attempt: &Attempt<'_, R>) -> StoreAnswers {
    StoreAnswers {
        store: Arc::clone(&attempt.worker.inner.store),
        masker: attempt.log.masker().clone(),
        own: Some(Arc::new(OwnTask {
            ti: attempt.start.ti.clone(),
            logical_date: attempt.start.run.logical_date,
            groups: Default::default(),
        })),
    }
}

struct Conversation<'a, R, W> {
    attempt: &'a Attempt<'a, R>,
    answers: StoreAnswers,
    writer: FrameWriter<W>,
    told: Told,
    acknowledged: Option<oneshot::Receiver<()>>,
}

impl<R: Reports, W: AsyncWrite + Unpin> Conversation<'_, R, W> {
    /// Tells the child what it is to do.
    async fn start(&mut self) -> Result<(), FrameError> {
        let attempt = self.attempt;
        let start = &attempt.start;
        let store = Arc::clone(&attempt.worker.inner.store);
        let ti = start.ti.clone();
        let is_first = ti.try_number <= 1 && ti.reschedule_date.is_none();
        let gathered = tokio::task::spawn_blocking(move || -> Result<_, store::StoreError> {
            let version = store.version(ti.version)?;
            let dag = store.dag(&ti.run.dag_id)?;
            let (count, _) = store.reschedules(&ti.key())?;
            let keys: Vec<String> = if is_first && count == 0 {
                Vec::new()
            } else {
                let left: Vec<XCom> = store.xcoms(&ti.run, Some(&ti.task_id), Some(ti.map_index), None)?;
                left.into_iter().map(|xcom| xcom.key.key).collect()
            };
            Ok((version, dag, count, keys))
        })
        .await;
        let (version, dag, task_reschedule_count, xcom_keys_to_clear) = match gathered {
            Ok(Ok(gathered)) => gathered,
            Ok(Err(error)) => return Err(FrameError::Invalid(error.to_string())),
            Err(error) => return Err(FrameError::Invalid(error.to_string())),
        };
        let bundle_name = version.as_ref().map(|version| version.bundle_name.clone());
        let startup = Startup {
            ti: start.ti.clone(),
            run: start.run.clone(),
            hostname: Arc::clone(&attempt.worker.inner.options.hostname),
            bundle_name: bundle_name.or(dag.as_ref().map(|dag| dag.bundle_name.clone())).unwrap_or_default(),
            bundle_version: version.and_then(|version| version.bundle_version),
            dag_rel_path: dag.map(|dag| dag.relative_fileloc).unwrap_or_default(),
            start_date: super::now(),
            should_retry: start.should_retry,
            task_reschedule_count,
            xcom_keys_to_clear,
        };
        self.writer.answer(0, Some(&startup.message())).await
    }

    async fn take(&mut self, id: i64, body: Json) -> Result<(), FrameError> {
        let kind = body.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
        let request: ToSupervisor = match serde_json::from_value(body) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("Unhandled request {kind}: {error}");
                return self.writer.refuse(id, &server_error(400, &message)).await;
            }
        };
        match request {
            ToSupervisor::SucceedTask { rendered_map_index, .. } => {
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
                // The next attempt has the same id: it must not begin before this process is gone.
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
                let attempt = self.attempt.start.ti.id;
                self.attempt.worker.inner.reports.report(Report::SkipDownstream { attempt, tasks }).await;
                self.writer.answer(id, None).await
            }
            ToSupervisor::SetRenderedFields { rendered_fields } => {
                let write = self.attempt.rendered_fields(&rendered_fields);
                self.written(id, write).await
            }
            ToSupervisor::SetRenderedMapIndex { rendered_map_index } => {
                self.told.rendered_map_index = Some(rendered_map_index);
                self.writer.answer(id, None).await
            }
            ToSupervisor::TriggerDagRun { dag_id, run_id, logical_date, run_after, conf, note, .. } => {
                let trigger = TriggerFromTask {
                    key: model::RunKey::new(dag_id, run_id),
                    logical_date,
                    run_after,
                    conf: conf.filter(|conf| !conf.is_null()).unwrap_or_else(|| json!({})),
                    note,
                    triggering_user: self.attempt.start.run.triggering_user.clone(),
                };
                self.trigger(id, trigger).await
            }
            other => {
                let answers = self.answers.clone();
                let answer = tokio::task::spawn_blocking(move || answers.answer(other)).await;
                match answer {
                    Ok(Answer::Done) => self.writer.answer(id, None).await,
                    Ok(Answer::Body(body)) => self.writer.answer(id, Some(&body)).await,
                    Ok(Answer::Refused(error)) => {
                        self.log_refusal(&kind, &error);
                        self.writer.refuse(id, &error).await
                    }
                    Err(error) => self.writer.refuse(id, &server_error(500, &error.to_string())).await,
                }
            }
        }
    }

    fn log_refusal(&self, kind: &str, error: &Json) {
        let detail = error.get("detail").cloned().unwrap_or(Json::Null);
        let event = format!("The request {kind} was refused");
        self.attempt.log.write(Level::Error, TASK_LOGGER, &event, &[("detail", detail)]);
    }

    /// The task has ended, as far as it is concerned: the scheduler is told at once, so that what waits for it need
    /// not wait for its process. Returns when the end is durable.
    async fn end_told(&mut self, outcome: Outcome, rendered_map_index: Option<String>) {
        if self.told.reported {
            return;
        }
        self.told.reported = true;
        let rendered_map_index = rendered_map_index.or(self.told.rendered_map_index.take());
        let writes = std::mem::take(&mut self.told.writes);
        let acknowledged = self.acknowledged.take();
        self.attempt.report_end(End { rendered_map_index, writes, ..End::new(outcome) }).await;
        if let Some(acknowledged) = acknowledged {
            // A scheduler that never answers has moved on without this attempt.
            let _ = timeout(Duration::from_secs(10), acknowledged).await;
        }
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

enum Stream {
    Stdout,
    Stderr,
    Log,
}

/// Writes a stream of the child to the task's log, to its end.
fn forward(mut stream: impl AsyncRead + Unpin + Send + 'static, log: TaskLog, kind: Stream) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = Lines::default();
        let mut buffer = vec![0; 16 * 1024];
        let take = |line: &[u8]| match kind {
            Stream::Stdout => log.stream("task.stdout", Level::Info, line),
            Stream::Stderr => log.stream("task.stderr", Level::Error, line),
            Stream::Log => log.record(line),
        };
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            lines.push(&buffer[..length], take);
        }
        lines.finish(take);
    })
}
