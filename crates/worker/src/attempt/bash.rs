//! A `BashOperator`, without Python.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use model::Json;
use model::task::BashSpec;
use operators::bash::{self, BashError, Command, LOGGER, Verdict};
use operators::pyrepr::python_list;
use process::{Child, Exit, SpawnRequest};
use scheduler::Outcome;
use store::{Write, XCom, XComKey};
use tempfile::TempDir;
use template::{Context, RenderError};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::runner::MARK;
use super::{Attempt, End, TASK_LOGGER, end_group, now};
use crate::log::{Level, Lines};
use crate::lookups::StoreLookups;
use crate::rendered::shown;
use crate::{Reports, Started, Stop};

/// A task that is not done after this time is shown as running, with its rendered templates; a shorter one tells its
/// start and its end at once.
const QUIET_START: Duration = Duration::from_millis(25);

/// The templates turned out to need Python after all.
pub(super) struct NeedsPython(pub(super) String);

static BASH: LazyLock<String> = LazyLock::new(|| {
    python::environment::find_in_path("bash")
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| "bash".into())
});

pub(super) async fn run<R: Reports>(attempt: &mut Attempt<'_, R>, spec: &BashSpec) -> Result<End, NeedsPython> {
    let command = match prepare(attempt, spec) {
        Ok(command) => command,
        Err(BashError::Render(error @ RenderError::NeedsPython { .. })) => return Err(NeedsPython(error.to_string())),
        Err(error) => {
            attempt.log.info(TASK_LOGGER, "::group::Pre Execute");
            return Ok(fail(attempt, error.exception(), &error.to_string(), None, Vec::new()));
        }
    };
    let (mut child, output, place) = match spawn(attempt, &command).await {
        Ok(spawned) => spawned,
        Err(reason) => {
            attempt.log.info(TASK_LOGGER, "::group::Pre Execute");
            return Ok(fail(attempt, "OSError", &reason, None, Vec::new()));
        }
    };
    let started = attempt.started(child.pid);
    // The command runs already; the log's first lines cost it nothing.
    log_start(attempt, &place);
    let options = &attempt.worker.inner.options;
    let fields = shown(command.rendered_fields, attempt.log.masker(), options.max_rendered_field);
    let rendered = Write::RenderedFields { key: attempt.key(), fields };
    let mut told = Told { started: Some(started), rendered: Some(rendered) };
    let watched = watch(attempt, &mut child, output, &mut told).await;
    let end = finish(attempt, spec, watched, told);
    // Removed when everything is told: nobody waits for it.
    drop(place);
    Ok(end)
}

/// What the engine has not been told yet.
struct Told {
    started: Option<Started>,
    rendered: Option<Write>,
}

/// Where the command runs. What was made for it is removed with this.
struct Place {
    _folder: Option<TempDir>,
    _script: Option<tempfile::NamedTempFile>,
    argv: Vec<String>,
}

enum Watched {
    Ended { exit: Exit, last_line: String },
    TimedOut { pid: u32 },
    Stopped(Stop),
}

fn prepare<R: Reports>(attempt: &Attempt<'_, R>, spec: &BashSpec) -> Result<Command, BashError> {
    let start = &attempt.start;
    let params = start.dag.params_of(start.task, &start.run.conf);
    let lookups = StoreLookups { store: &*attempt.worker.inner.store, masker: attempt.log.masker(), run: &start.run };
    let context = Context::new(&start.run, &start.ti, start.dag.task(start.task), &params, &lookups);
    bash::prepare(spec, &context)
}

async fn spawn<R: Reports>(
    attempt: &Attempt<'_, R>,
    command: &Command,
) -> Result<(Child, pipe::Receiver, Place), String> {
    let io = |error: std::io::Error| error.to_string();
    let temporary = match &command.cwd {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("airflowtmp").tempdir().map_err(io)?),
    };
    let folder = temporary.as_ref().map(|folder| folder.path().to_string_lossy().into_owned());
    let cwd = command.cwd.clone().or(folder).unwrap_or_else(|| "/".into());
    let (args, script) = if command.is_script() {
        let mut file = tempfile::Builder::new().suffix(".sh").tempfile_in(&cwd).map_err(io)?;
        file.write_all(command.bash_command.as_bytes()).map_err(io)?;
        let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        (vec![name], Some(file))
    } else {
        (vec!["-c".to_owned(), command.bash_command.clone()], None)
    };
    let (read, write) = std::io::pipe().map_err(io)?;
    let null = std::fs::File::open("/dev/null").map_err(io)?;
    let request = SpawnRequest {
        program: BASH.clone(),
        args: args.clone(),
        environment: command.environment.clone(),
        cwd: Some(cwd),
        stdin: null.into(),
        stdout: write.try_clone().map_err(io)?.into(),
        stderr: write.into(),
    };
    let child = attempt.worker.inner.host.spawn(request).await.map_err(|error| error.to_string())?;
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(read)).map_err(io)?;
    let argv = std::iter::once(BASH.clone()).chain(args).collect();
    Ok((child, output, Place { _folder: temporary, _script: script, argv }))
}

fn log_start<R: Reports>(attempt: &Attempt<'_, R>, place: &Place) {
    let log = &attempt.log;
    log.info(TASK_LOGGER, "::group::Pre Execute");
    log.info(TASK_LOGGER, "Running this BashOperator in the engine, without Python");
    log.info(TASK_LOGGER, "::endgroup::");
    log.info(LOGGER, &format!("Tmp dir root location: {}", std::env::temp_dir().display()));
    let argv: Vec<&str> = place.argv.iter().map(String::as_str).collect();
    log.info(LOGGER, &format!("Running command: {}", python_list(&argv)));
    log.info(LOGGER, "Output:");
}

/// Follows the command to its end: first that of its output, then its own.
async fn watch<R: Reports>(
    attempt: &Attempt<'_, R>,
    child: &mut Child,
    mut output: pipe::Receiver,
    told: &mut Told,
) -> Watched {
    let pid = child.pid;
    let follow = async {
        let mut last_line = String::new();
        let mut lines = Lines::default();
        let mut buffer = vec![0; 16 * 1024];
        let mut take = |line: &[u8]| {
            last_line = bash::decode_line(line);
            attempt.log.info(LOGGER, &last_line);
        };
        while let Ok(length @ 1..) = output.read(&mut buffer).await {
            lines.push(&buffer[..length], &mut take);
        }
        lines.finish(&mut take);
        Watched::Ended { exit: child.wait().await, last_line }
    };
    tokio::pin!(follow);
    tokio::select! {
        biased;
        ended = &mut follow => return ended,
        () = tokio::time::sleep(QUIET_START) => {}
    }
    tell_start(attempt, told).await;
    let timeout = attempt.execution_timeout();
    let timed_out = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout.saturating_sub(QUIET_START)).await,
            None => std::future::pending().await,
        }
    };
    let cut = tokio::select! {
        ended = &mut follow => return ended,
        () = timed_out => Watched::TimedOut { pid },
        stop = attempt.stop_wanted() => Watched::Stopped(stop),
    };
    match &cut {
        Watched::Stopped(stop) => attempt.log_stop(*stop),
        _ => attempt.log.write(Level::Error, TASK_LOGGER, "Process timed out", &[("pid", pid.into())]),
    }
    attempt.log.info(LOGGER, "Sending SIGTERM signal to process group");
    end_group(pid, async {
        follow.await;
    })
    .await;
    attempt.kill_leftovers(MARK).await;
    cut
}

/// Shows that the command runs, and with which templates.
async fn tell_start<R: Reports>(attempt: &Attempt<'_, R>, told: &mut Told) {
    if let Some(started) = told.started.take() {
        attempt.report_started(started).await;
    }
    if let Some(rendered) = told.rendered.take() {
        let store = Arc::clone(&attempt.worker.inner.store);
        let written = tokio::task::spawn_blocking(move || store.commit(vec![rendered])).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(ti = %attempt.key(), %error, "the rendered templates can't be shown");
        }
    }
}

fn finish<R: Reports>(attempt: &Attempt<'_, R>, spec: &BashSpec, watched: Watched, told: Told) -> End {
    let Told { started, rendered } = told;
    let writes: Vec<Write> = rendered.into_iter().collect();
    let (exit, last_line) = match watched {
        Watched::Ended { exit, last_line } => (exit, last_line),
        Watched::TimedOut { pid } => {
            let message = format!("Timeout, PID: {pid}");
            return fail(attempt, "AirflowTaskTimeout", &message, started, writes);
        }
        Watched::Stopped(Stop::Interrupted) => {
            return End { started, writes, ..End::new(Outcome::Interrupted) };
        }
        Watched::Stopped(Stop::Decided(_)) => return End { started, writes, ..End::new(Outcome::FailedForGood) },
    };
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => -signal,
        Exit::Unknown => {
            attempt.log.write(Level::Error, TASK_LOGGER, "The command's process was lost; it will run again", &[]);
            return End { started, writes, ..End::new(Outcome::Interrupted) };
        }
    };
    attempt.log.info(LOGGER, &format!("Command exited with return code {code}"));
    match bash::judge(spec, code) {
        Verdict::Success => succeed(attempt, last_line, started, writes),
        Verdict::Skipped(reason) => {
            attempt.log.info(TASK_LOGGER, "::group::Post Execute");
            attempt.log.write(Level::Info, TASK_LOGGER, "Skipping task.", &[("reason", reason.into())]);
            attempt.log.info(TASK_LOGGER, "::endgroup::");
            End { started, writes, ..End::new(Outcome::Skipped) }
        }
        Verdict::Failed(message) => fail(attempt, "AirflowException", &message, started, writes),
    }
}

fn succeed<R: Reports>(
    attempt: &Attempt<'_, R>,
    last_line: String,
    started: Option<Started>,
    mut writes: Vec<Write>,
) -> End {
    attempt.log.info(TASK_LOGGER, "::group::Post Execute");
    let end = End::new(Outcome::Success);
    if attempt.start.dag.task(attempt.start.task).do_xcom_push {
        attempt.log.info(TASK_LOGGER, "Pushing xcom");
        let ti = &attempt.start.ti;
        let key = XComKey {
            run: ti.run.clone(),
            task_id: ti.task_id.clone(),
            map_index: ti.map_index,
            key: "return_value".into(),
        };
        let value = Json::from(last_line);
        writes.push(Write::XCom(Box::new(XCom { key, value, at: end.at, mapped_length: None, dag_result: false })));
    }
    attempt.log.info(TASK_LOGGER, "::endgroup::");
    End { started, writes, ..end }
}

fn fail<R: Reports>(
    attempt: &Attempt<'_, R>,
    exception: &str,
    message: &str,
    started: Option<Started>,
    writes: Vec<Write>,
) -> End {
    attempt.log_exception(exception, message);
    attempt.log.info(TASK_LOGGER, "::group::Post Execute");
    attempt.log.info(TASK_LOGGER, "::endgroup::");
    End { started, writes, at: now(), ..End::new(Outcome::Failed) }
}
