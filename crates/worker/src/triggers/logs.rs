//! What triggers log: each into a file beside the log of the try that waits for it, as Airflow's triggerer does it.

use std::path::{Path, PathBuf};

use model::{Json, TaskInstance, TriggerId};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

use super::Wanted;
use crate::log::{Lines, TaskLog, log_path};
use crate::mask::Masker;
use crate::{Reports, Worker};

/// The number of the triggerer, which Airflow puts into the name of the file. There is only one.
const TRIGGERER: u32 = 1;
/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// The log file of the triggers of a try.
pub fn trigger_log_path(base: &Path, ti: &TaskInstance) -> PathBuf {
    let mut path = log_path(base, ti, ti.try_number).into_os_string();
    path.push(format!(".trigger.{TRIGGERER}.log"));
    path.into()
}

fn each_line(
    mut stream: impl AsyncRead + Unpin + Send + 'static,
    mut take: impl FnMut(&[u8]) + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = Lines::default();
        let mut buffer = vec![0; PIECE];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            lines.push(&buffer[..length], &mut take);
        }
        lines.finish(take);
    })
}

/// What triggers print belongs to nobody.
pub(super) fn printed(stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
    each_line(stream, |line| {
        tracing::info!(target: "trigger_runner", "{}", String::from_utf8_lossy(line).trim_end());
    })
}

/// Writes each line of the runner's log where it belongs. Files are not kept open: there may be thousands of triggers,
/// and few of them say much.
pub(super) fn logged<R: Reports>(
    worker: Worker<R>,
    stream: impl AsyncRead + Unpin + Send + 'static,
    masker: Masker,
) -> JoinHandle<()> {
    each_line(stream, move |line| {
        let Ok(Json::Object(mut fields)) = serde_json::from_slice(line) else {
            return tracing::info!(target: "trigger_runner", "{}", String::from_utf8_lossy(line).trim_end());
        };
        let id = fields.shift_remove("trigger_id").and_then(|id| id.as_i64()).map(TriggerId);
        let trigger = id.and_then(|id| worker.inner.triggers.known(id));
        let trigger = match trigger {
            Some(Wanted::Task(trigger)) => trigger,
            // There is no task whose log it would belong to.
            Some(Wanted::Watcher(watch)) => {
                let _watcher = tracing::info_span!("watcher", name = %watch.name).entered();
                return of_runner(&Json::Object(fields), &masker);
            }
            None => return of_runner(&Json::Object(fields), &masker),
        };
        let path = trigger_log_path(&worker.inner.options.log_folder, &trigger.ti);
        TaskLog::at(path, &trigger.ti, masker.clone()).record(Json::Object(fields).to_string().as_bytes());
    })
}

/// What the runner says of itself.
fn of_runner(line: &Json, masker: &Masker) {
    let mut line = line.clone();
    masker.redact(&mut line, None);
    let text = |key: &str| line.get(key).and_then(Json::as_str).unwrap_or_default();
    let more = [("classpath", text("classpath")), ("error", text("error"))];
    let more: String =
        more.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!(" {key}={value}")).collect();
    match text("level") {
        "error" | "critical" => tracing::error!(target: "trigger_runner", "{}{more}", text("event")),
        "warning" => tracing::warn!(target: "trigger_runner", "{}{more}", text("event")),
        _ => tracing::debug!(target: "trigger_runner", "{}{more}", text("event")),
    }
}
