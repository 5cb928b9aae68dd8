//! One attempt, from its start to its end.

mod bash;
mod conversation;
pub(crate) mod mapped;
mod native;
mod runner;
pub(crate) mod streams;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use model::{Execution, Json, NativeOperator, Outlets, TaskInstanceKey};
use process::{Mark, kill_marked, kill_tree, signal_group};
use scheduler::{Outcome, StartAttempt, StopReason};
use serde_json::json;
use store::Write;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::log::{Level, TaskLog};
use crate::mask::Masker;
use crate::{KILL_GRACE, Report, Reports, Started, Stop, Worker};

/// The logger of the lines that the official task runner writes.
pub(crate) const TASK_LOGGER: &str = "task";
/// Tells the processes of an attempt from others, also when they have got away.
pub(crate) const MARK: &str = "UPDRAFT_ATTEMPT";
/// Where the database would be.
const NO_DATABASE: &str = "airflow-db-not-allowed:///";
const SIGTERM: i32 = 15;

/// What an attempt works with.
pub(crate) struct Attempt<'a, R> {
    pub(crate) worker: &'a Worker<R>,
    pub(crate) start: Box<StartAttempt>,
    pub(crate) log: TaskLog,
    pub(crate) stopped: watch::Receiver<Option<Stop>>,
}

/// How an attempt ended.
pub(crate) struct End {
    pub(crate) started: Option<Started>,
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) rendered_map_index: Option<String>,
    pub(crate) writes: Vec<Write>,
    pub(crate) outlets: Outlets,
}

impl End {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self {
            started: None,
            at: now(),
            outcome,
            rendered_map_index: None,
            writes: Vec::new(),
            outlets: Outlets::default(),
        }
    }
}

pub(crate) fn now() -> Timestamp {
    model::operations::to_microseconds(Timestamp::now())
}

pub(crate) async fn run<R: Reports>(
    worker: &Worker<R>,
    start: Box<StartAttempt>,
    stopped: watch::Receiver<Option<Stop>>,
    acknowledged: oneshot::Receiver<()>,
) {
    let options = &worker.inner.options;
    let masker = Masker::new(Arc::clone(&options.mask_rules));
    let log = TaskLog::open(&options.log_folder, &start.ti, masker);
    let execution = start.dag.task(start.task).execution.clone();
    let mut attempt = Attempt { worker, start, log, stopped };
    if let Err(panic) = caught(work(&mut attempt, execution, acknowledged)).await {
        attempt.broke_down(&panic).await;
    }
}

/// Runs the attempt the way its task asks for, and reports its end.
async fn work<R: Reports>(attempt: &mut Attempt<'_, R>, execution: Execution, acknowledged: oneshot::Receiver<()>) {
    if matches!(execution, Execution::Native(_))
        && let Some(end) = native::refused(attempt).await
    {
        return attempt.report_end(end).await;
    }
    match execution {
        Execution::Native(NativeOperator::Empty) => attempt.report_end(native::empty(attempt)).await,
        Execution::Native(NativeOperator::Bash(spec)) => match bash::run(attempt, &spec).await {
            Ok((end, place)) => {
                attempt.report_end(native::with_outlets(attempt, end)).await;
                drop(place);
            }
            Err(bash::NeedsPython(reason)) => runner::run(attempt, Some(&reason), acknowledged).await,
        },
        Execution::Runner { reason } => runner::run(attempt, reason.as_deref(), acknowledged).await,
        Execution::Unsupported { reason } => {
            attempt.log.write(Level::Error, TASK_LOGGER, &format!("The task can't run here: {reason}"), &[]);
            attempt.report_end(End::new(Outcome::FailedForGood)).await;
        }
        // The scheduler ends these itself.
        Execution::Empty => attempt.report_end(End::new(Outcome::Success)).await,
    }
}

/// Waits for a future; a panic in it comes back as its message. What the future held is dropped either way, and what it
/// borrowed may be half changed: fit only for the attempt that is about to end.
async fn caught(future: impl Future<Output = ()>) -> Result<(), String> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(payload) => Poll::Ready(Err(panic_message(&*payload))),
    })
    .await
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

impl<R: Reports> Attempt<'_, R> {
    pub(crate) fn key(&self) -> TaskInstanceKey {
        self.start.ti.key()
    }

    pub(crate) fn started(&self, pid: u32) -> Started {
        let options = &self.worker.inner.options;
        Started { at: now(), hostname: Arc::clone(&options.hostname), unixname: Arc::clone(&options.unixname), pid }
    }

    pub(crate) async fn report_started(&self, started: Started) {
        let attempt = self.start.attempt;
        self.worker.inner.reports.report(Report::Started { attempt, started }).await;
    }

    /// Reports the end, unless the scheduler has decided it already.
    pub(crate) async fn report_end(&self, end: End) {
        if matches!(*self.stopped.borrow(), Some(Stop::Decided(_))) {
            return;
        }
        let End { started, at, outcome, rendered_map_index, writes, outlets } = end;
        let attempt = self.start.attempt;
        let report = Report::Ended { attempt, started, at, outcome, rendered_map_index, writes, outlets };
        self.worker.inner.reports.report(report).await;
    }

    /// Ends an attempt whose own code in the engine has failed: what it started is killed, and the try has failed.
    async fn broke_down(&self, panic: &str) {
        let ti = self.start.ti.id;
        tracing::error!(attempt = %ti, panic, "an attempt ended by a fault in the engine; this is a bug");
        self.kill_leftovers().await;
        let event = format!("The engine failed while it ran the task, which is a bug in Updraft: {panic}");
        self.log.write(Level::Error, TASK_LOGGER, &event, &[]);
        self.report_end(End::new(Outcome::Failed)).await;
    }

    /// Waits until somebody wants the attempt to end.
    pub(crate) async fn stop_wanted(&self) -> Stop {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await.map(|stop| *stop) {
            Ok(Some(stop)) => stop,
            // The worker is gone, and with it everybody who could want anything.
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn execution_timeout(&self) -> Option<Duration> {
        let timeout = self.start.dag.task(self.start.task).execution_timeout;
        timeout.and_then(|timeout| Duration::try_from(timeout).ok())
    }

    /// Kills what the attempt's process started and left behind: what says so in its environment, which has [`MARK`] or
    /// the variables that Airflow gives to every process of a task, or has the title that the task runner gives itself.
    pub(crate) async fn kill_leftovers(&self) {
        let Some(root) = self.worker.inner.host.pid() else { return };
        let ti = &self.start.ti;
        let mut variables = vec![vec![format!("{MARK}={}", self.start.attempt)]];
        if !ti.map_index.is_mapped() {
            // The instances of a mapped task can't be told from each other by these.
            variables.push(vec![
                format!("AIRFLOW_CTX_DAG_ID={}", ti.run.dag_id),
                format!("AIRFLOW_CTX_DAG_RUN_ID={}", ti.run.run_id),
                format!("AIRFLOW_CTX_TASK_ID={}", ti.task_id),
                format!("AIRFLOW_CTX_TRY_NUMBER={}", ti.try_number),
            ]);
        }
        let mark = Mark { variables, title: Some(format!("airflow worker -- {}", ti.id)) };
        let killed = tokio::task::spawn_blocking(move || kill_marked(root, &mark)).await.unwrap_or(0);
        if killed > 0 {
            let what = if killed == 1 { "a process".to_owned() } else { format!("{killed} processes") };
            let event = format!("Killed {what} that the task had left behind");
            self.log.write(Level::Warning, TASK_LOGGER, &event, &[]);
        }
    }

    /// Says in the log why the attempt is being ended.
    pub(crate) fn log_stop(&self, stop: Stop) {
        let why = match stop {
            Stop::Decided(StopReason::RunTimedOut) => "its Dag run took longer than dagrun_timeout",
            Stop::Decided(StopReason::FailFast) => "another task failed, and the Dag has fail_fast",
            Stop::Decided(StopReason::Removed) => "it is no longer part of its Dag",
            Stop::Decided(StopReason::SetByHand) => "somebody has ended its Dag run",
            Stop::Decided(StopReason::MarkedByHand) => "somebody has given it another state",
            Stop::Cleared | Stop::Decided(StopReason::Cleared) => "it was cleared, and will run again",
            Stop::Interrupted => "the engine is being shut down; the task will run again when it is back",
        };
        self.log.write(Level::Error, TASK_LOGGER, &format!("Task is stopped: {why}"), &[]);
    }

    /// What the environment of every task has beyond that of the engine, as the task runner gives it to what it starts.
    pub(crate) fn base_environment(&self) -> Vec<(String, String)> {
        let ti = &self.start.ti;
        let mut env = self.worker.inner.helper.env();
        let own = [
            // Tasks have no business in the database.
            ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", NO_DATABASE.to_owned()),
            ("AIRFLOW__CORE__SQL_ALCHEMY_CONN", NO_DATABASE.to_owned()),
            ("_AIRFLOW_PROCESS_CONTEXT", "client".to_owned()),
            ("_AIRFLOW_PARSING_CONTEXT_DAG_ID", ti.run.dag_id.to_string()),
            ("_AIRFLOW_PARSING_CONTEXT_TASK_ID", ti.task_id.to_string()),
            (MARK, self.start.attempt.to_string()),
        ];
        env.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        env
    }

    /// A failure in the words of an exception, as the official runner logs it.
    pub(crate) fn log_exception(&self, exception: &str, message: &str) {
        let detail = detail(exception, message);
        self.log.write(Level::Error, TASK_LOGGER, "Task failed with exception", &[("error_detail", detail)]);
    }

    /// The template fields as they may be shown: without secrets. The task runner has cut them to a length already.
    pub(crate) fn rendered_fields(&self, mut fields: Json) -> Write {
        self.log.masker().redact(&mut fields, None);
        Write::RenderedFields { key: self.key(), fields }
    }
}

/// An exception as structured logs have it.
pub(crate) fn detail(exception: &str, message: &str) -> Json {
    json!([{
        "exc_type": exception,
        "exc_value": message,
        "exc_notes": [],
        "syntax_error": null,
        "is_cause": false,
        "frames": [],
        "is_group": false,
        "exceptions": [],
    }])
}

/// Asks a process group to end, and kills it with everything that it started when it has not after a while.
pub(crate) async fn end_group(pid: u32, ended: impl Future<Output = ()>) {
    signal_group(pid, SIGTERM);
    let _ = tokio::time::timeout(KILL_GRACE, ended).await;
    // What the process started may be deaf to the request.
    let _ = tokio::task::spawn_blocking(move || kill_tree(pid)).await;
}

pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
