//! One attempt, from its start to its end.

mod bash;
mod runner;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{Execution, Json, NativeOperator, TaskInstanceKey};
use process::signal_group;
use scheduler::{Outcome, StartAttempt, StopReason};
use serde_json::json;
use store::Write;
use tokio::sync::{oneshot, watch};

use crate::log::{Level, TaskLog};
use crate::mask::Masker;
use crate::{KILL_GRACE, Report, Reports, Started, Stop, Worker};

/// The logger of the lines that the official task runner writes.
pub(crate) const TASK_LOGGER: &str = "task";
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// Airflow's default of `[core] max_templated_field_length`.
const MAX_RENDERED_FIELD: usize = 4096;

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
}

impl End {
    pub(crate) fn new(outcome: Outcome) -> Self {
        Self { started: None, at: now(), outcome, rendered_map_index: None, writes: Vec::new() }
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
    let masker = Masker::default();
    let log = TaskLog::open(&options.log_folder, &start.ti, masker.clone()).unwrap_or_else(|error| {
        tracing::error!(ti = %start.ti.key(), %error, "the task runs without a log");
        TaskLog::nowhere(&start.ti, masker)
    });
    let execution = start.dag.task(start.task).execution.clone();
    let mut attempt = Attempt { worker, start, log, stopped };
    match execution {
        Execution::Native(NativeOperator::Bash(spec)) => match bash::run(&mut attempt, &spec).await {
            Ok(end) => attempt.report_end(end).await,
            Err(bash::NeedsPython(reason)) => runner::run(&mut attempt, Some(&reason), acknowledged).await,
        },
        Execution::Runner { reason } => runner::run(&mut attempt, reason.as_deref(), acknowledged).await,
        // The scheduler ends these itself.
        Execution::Empty => attempt.report_end(End::new(Outcome::Success)).await,
    }
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
        let attempt = self.start.ti.id;
        self.worker.inner.reports.report(Report::Started { attempt, started }).await;
    }

    /// Reports the end, unless the scheduler has decided it already.
    pub(crate) async fn report_end(&self, end: End) {
        if matches!(*self.stopped.borrow(), Some(Stop::Decided(_))) {
            return;
        }
        let End { started, at, outcome, rendered_map_index, writes } = end;
        let attempt = self.start.ti.id;
        let report = Report::Ended { attempt, started, at, outcome, rendered_map_index, writes };
        self.worker.inner.reports.report(report).await;
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

    /// Says in the log why the attempt is being ended.
    pub(crate) fn log_stop(&self, stop: Stop) {
        let why = match stop {
            Stop::Decided(StopReason::RunTimedOut) => "its Dag run took longer than dagrun_timeout",
            Stop::Decided(StopReason::FailFast) => "another task failed, and the Dag has fail_fast",
            Stop::Decided(StopReason::Removed) => "it is no longer part of its Dag",
            Stop::Interrupted => "the engine is being shut down; the task will run again when it is back",
        };
        self.log.write(Level::Error, TASK_LOGGER, &format!("Task is stopped: {why}"), &[]);
    }

    /// A failure in the words of an exception, as the official runner logs it.
    pub(crate) fn log_exception(&self, exception: &str, message: &str) {
        let detail = json!([{
            "exc_type": exception,
            "exc_value": message,
            "exc_notes": [],
            "syntax_error": null,
            "is_cause": false,
            "frames": [],
            "is_group": false,
            "exceptions": [],
        }]);
        self.log.write(Level::Error, TASK_LOGGER, "Task failed with exception", &[("error_detail", detail)]);
    }

    /// The template fields as they may be shown: without secrets, and cut to a length.
    pub(crate) fn rendered_fields(&self, fields: &Json) -> Write {
        let masker = self.log.masker();
        let shown = fields.as_object().into_iter().flatten().map(|(name, value)| {
            let redacted = masker.redact(value, Some(name));
            let text = redacted.as_str().map_or_else(|| redacted.to_string(), str::to_owned);
            let short = if text.len() > MAX_RENDERED_FIELD { truncated(&text).into() } else { redacted };
            (name.clone(), short)
        });
        Write::RenderedFields { key: self.key(), fields: Json::Object(shown.collect()) }
    }
}

fn truncated(text: &str) -> String {
    let notice = "Truncated. You can change this behaviour in [core]max_templated_field_length. ";
    let end = (0..=MAX_RENDERED_FIELD - notice.len() - 5).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{notice}'{}'... ", &text[..end])
}

/// Asks a process group to end, and kills it when it has not after a while.
pub(crate) async fn end_group(pid: u32, ended: impl Future<Output = ()>) {
    signal_group(pid, SIGTERM);
    if tokio::time::timeout(KILL_GRACE, ended).await.is_err() {
        signal_group(pid, SIGKILL);
    } else {
        // What the process started may be deaf to the request.
        tokio::time::sleep(Duration::from_millis(1)).await;
        signal_group(pid, SIGKILL);
    }
}
