//! A `BashOperator`, without Python.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use model::Json;
use model::task::BashSpec;
use operators::bash::{self, Command, FieldError, LOGGER, Plain, Refused, Rendered, Verdict};
use operators::pyrepr::{python_list, python_repr};
use process::{Child, Exit, SpawnError, SpawnRequest};
use scheduler::Outcome;
use store::{Write, XCom, XComKey};
use template::{Context, RenderError};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::mapped::{self, Sources};
use super::{Attempt, End, TASK_LOGGER, detail, end_group, now};
use crate::folders::Folder;
use crate::log::{Level, Lines};
use crate::lookups::StoreLookups;
use crate::rendered::shown;
use crate::{Reports, Started, Stop};

/// A task that is not done after this time is shown as running, with its rendered templates; a shorter one tells its
/// start and its end at once.
const QUIET_START: Duration = Duration::from_millis(25);

/// Says in the log who runs the command.
const IN_ENGINE: &str = "Running this BashOperator in the engine, without Python";
/// The logger of what goes wrong in templates.
const TEMPLATER_LOGGER: &str = "airflow.sdk.definitions._internal.templater";

/// The templates turned out to need Python after all.
pub(super) struct NeedsPython(pub(super) String);

static BASH: LazyLock<String> = LazyLock::new(|| {
    python::environment::find_in_path("bash")
        .and_then(|path| path.into_os_string().into_string().ok())
        .unwrap_or_else(|| "bash".into())
});

/// Runs the command to its end. What was made for it comes back too, to be removed when its end has been reported: nobody
/// should wait for that.
pub(super) async fn run<R: Reports>(
    attempt: &mut Attempt<'_, R>,
    spec: &BashSpec,
) -> Result<(End, Option<Place>), NeedsPython> {
    let resolved;
    let (spec, plain) = match resolve(attempt, spec)? {
        Some((own, plain)) => {
            resolved = own;
            (&resolved, plain)
        }
        None => (spec, Plain::default()),
    };
    let (rendered, command) = match prepare(attempt, spec, plain) {
        Ok(prepared) => prepared,
        Err(error) => match &error.error {
            RenderError::NeedsPython { .. } => return Err(NeedsPython(error.to_string())),
            _ => return Ok((not_rendered(attempt, &error), None)),
        },
    };
    let options = &attempt.worker.inner.options;
    let fields = shown(rendered.fields(), attempt.log.masker(), options.max_rendered_field);
    let write = Write::RenderedFields { key: attempt.key(), fields };
    let command = match command {
        Ok(command) => command,
        Err(Refused { exception, message }) => {
            let argv = [BASH.clone(), "-c".into(), rendered.bash_command.clone()];
            log_begin(attempt, (exception != "AirflowException").then_some(&argv));
            return Ok((fail(attempt, exception, &message, None, vec![write]), None));
        }
    };
    let Layout { request, output, place } = match lay_out(attempt, &command) {
        Ok(layout) => layout,
        Err(error) => {
            log_begin(attempt, Some(std::slice::from_ref(&*BASH)));
            return Ok((not_spawned(attempt, error, write), None));
        }
    };
    let started = now();
    let mut spawning = pin!(attempt.worker.inner.host.spawn(request));
    let early = poll_once(spawning.as_mut()).await;
    if let Some(Err(error @ SpawnError::TooLong { .. })) = &early {
        // More than one message to the host takes, though not more than Linux does. Nobody has been asked.
        return Err(NeedsPython(error.to_string()));
    }
    // The host has been asked. While the command starts, the log's first lines cost it nothing.
    log_begin(attempt, Some(&place.argv));
    let spawned = match early {
        Some(spawned) => spawned,
        None => spawning.await,
    };
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ok((not_spawned(attempt, error.into(), write), None)),
    };
    attempt.log.info(LOGGER, "Output:");
    let mut told = Told { started: Some(Started { at: started, ..attempt.started(child.pid) }), rendered: Some(write) };
    let watched = watch(attempt, &mut child, output, &mut told).await;
    Ok((finish(attempt, spec, watched, told), Some(place)))
}

/// The log of a task whose templates raise an exception.
fn not_rendered<R: Reports>(attempt: &Attempt<'_, R>, error: &FieldError) -> End {
    attempt.log.info(TASK_LOGGER, "::group::Pre Execute");
    attempt.log.info(TASK_LOGGER, IN_ENGINE);
    let (exception, message) = error.exception();
    let mut template = error.template.clone();
    attempt.log.masker().redact(&mut template, Some(error.field));
    let event = format!(
        "Exception rendering Jinja template for task '{}', field '{}'. Template: {}",
        attempt.start.ti.task_id,
        error.field,
        python_repr(&template)
    );
    attempt.log.write(Level::Error, TEMPLATER_LOGGER, &event, &[("error_detail", detail(exception, &message))]);
    fail(attempt, exception, &message, None, Vec::new())
}

/// What the engine has not been told yet.
struct Told {
    started: Option<Started>,
    rendered: Option<Write>,
}

/// Where the command runs. What was made for it is removed with this.
pub(super) struct Place {
    /// First, so that the folder is empty when it goes.
    _script: Option<tempfile::NamedTempFile>,
    _folder: Option<Folder>,
    argv: Vec<String>,
}

enum Watched {
    Ended { exit: Exit, last_line: String },
    TimedOut { pid: u32 },
    Stopped(Stop),
}

/// The arguments of an instance of a mapped task; `None` for one that is not mapped.
fn resolve<R: Reports>(attempt: &Attempt<'_, R>, spec: &BashSpec) -> Result<Option<(BashSpec, Plain)>, NeedsPython> {
    let start = &attempt.start;
    let Some(expand) = &start.dag.task(start.task).expand else { return Ok(None) };
    let inner = &attempt.worker.inner;
    let sources = Sources { store: &*inner.store, kept: &inner.mapped, run: &start.run.key, dag: &start.dag };
    let arguments = sources.arguments(expand, start.ti.map_index).map_err(NeedsPython)?;
    mapped::bash(spec, arguments).map(Some).map_err(NeedsPython)
}

/// The rendered templates, and what is to be run if it can be.
type Prepared = (Rendered, Result<Command, Refused>);

fn prepare<R: Reports>(attempt: &Attempt<'_, R>, spec: &BashSpec, plain: Plain) -> Result<Prepared, Box<FieldError>> {
    let start = &attempt.start;
    let params = start.dag.params_of(start.task, &start.run.conf);
    let inner = &attempt.worker.inner;
    let lookups = StoreLookups {
        store: &*inner.store,
        masker: attempt.log.masker(),
        run: &start.run,
        secrets_backend: inner.options.secrets_backend.as_deref(),
    };
    let context = Context::new(&start.run, &start.ti, start.dag.task(start.task), &params, &lookups);
    let rendered = bash::render(spec, plain, &context)?;
    let command = bash::command(spec, &rendered, &context, attempt.base_environment());
    Ok((rendered, command))
}

/// Why there is no process, as Python says it.
struct NotSpawned {
    exception: &'static str,
    message: String,
}

impl From<SpawnError> for NotSpawned {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Failed { errno, .. } if errno != 0 => os_error(errno, &BASH),
            error => Self { exception: "OSError", message: error.to_string() },
        }
    }
}

fn not_spawned<R: Reports>(attempt: &Attempt<'_, R>, error: NotSpawned, rendered: Write) -> End {
    fail(attempt, error.exception, &error.message, None, vec![rendered])
}

/// An error of the system, as Python's exception for it.
fn os_error(errno: i32, path: &str) -> NotSpawned {
    let exception = match errno {
        2 => "FileNotFoundError",
        13 | 1 => "PermissionError",
        20 => "NotADirectoryError",
        11 => "BlockingIOError",
        _ => "OSError",
    };
    let what = nix::errno::Errno::from_raw(errno).desc();
    NotSpawned { exception, message: format!("[Errno {errno}] {what}: {}", python_repr(&path.into())) }
}

/// What a command needs before it can be started.
struct Layout {
    request: SpawnRequest,
    output: pipe::Receiver,
    place: Place,
}

fn lay_out<R: Reports>(attempt: &Attempt<'_, R>, command: &Command) -> Result<Layout, NotSpawned> {
    let io = |error: std::io::Error, path: &str| os_error(error.raw_os_error().unwrap_or(0), path);
    let temporary = match &command.cwd {
        Some(_) => None,
        None => {
            let folder = attempt.worker.inner.folders.take();
            Some(folder.map_err(|error| io(error, &std::env::temp_dir().to_string_lossy()))?)
        }
    };
    let folder = temporary.as_ref().map(|folder| folder.path().to_string_lossy().into_owned());
    let cwd = command.cwd.clone().or(folder).unwrap_or_else(|| "/".into());
    let (args, script) = if command.is_script() {
        let mut file =
            tempfile::Builder::new().prefix("tmp").suffix(".sh").tempfile_in(&cwd).map_err(|error| io(error, &cwd))?;
        file.write_all(command.bash_command.as_bytes()).map_err(|error| io(error, &cwd))?;
        let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        (vec![name], Some(file))
    } else {
        (vec!["-c".to_owned(), command.bash_command.clone()], None)
    };
    let argv = std::iter::once(BASH.clone()).chain(args.iter().cloned()).collect();
    let (read, write) = std::io::pipe().map_err(|error| io(error, "pipe"))?;
    let null = std::fs::File::open("/dev/null").map_err(|error| io(error, "/dev/null"))?;
    let request = SpawnRequest {
        program: BASH.clone(),
        args,
        environment: command.environment.clone(),
        cwd: Some(cwd),
        stdin: null.into(),
        stdout: write.try_clone().map_err(|error| io(error, "pipe"))?.into(),
        stderr: write.into(),
    };
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(read)).map_err(|error| io(error, "pipe"))?;
    Ok(Layout { request, output, place: Place { _script: script, _folder: temporary, argv } })
}

/// Polls a future once: what it can do without waiting is done then.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// The log's first lines, in one write.
fn log_begin<R: Reports>(attempt: &Attempt<'_, R>, argv: Option<&[String]>) {
    let log = &attempt.log;
    let _together = log.hold();
    log.info(TASK_LOGGER, "::group::Pre Execute");
    log.info(TASK_LOGGER, IN_ENGINE);
    log.info(TASK_LOGGER, "::endgroup::");
    if let Some(argv) = argv {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        log.info(LOGGER, &format!("Tmp dir root location: {}", std::env::temp_dir().display()));
        log.info(LOGGER, &format!("Running command: {}", python_list(&argv)));
    }
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
    attempt.kill_leftovers().await;
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
    let _together = attempt.log.hold();
    let Told { started, rendered } = told;
    let writes: Vec<Write> = rendered.into_iter().collect();
    let (exit, last_line) = match watched {
        Watched::Ended { exit, last_line } => (exit, last_line),
        Watched::TimedOut { pid } => {
            let message = format!("Timeout, PID: {pid}");
            return fail(attempt, "AirflowTaskTimeout", &message, started, writes);
        }
        Watched::Stopped(Stop::Cleared | Stop::Interrupted) => {
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
