//! Importing one Dag file, in a forked child, through the official importer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::Json;
use process::Exit;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::forkserver::{ChildSockets, ForkError, ForkServer, Job};
use crate::frame::{FrameError, FrameReader, FrameWriter};
use crate::message::{ToSupervisor, server_error};

/// What a file prints is kept up to this length; the rest is read and dropped.
const MAX_OUTPUT: usize = 64 * 1024;
/// How much of the output an error repeats.
const SHOWN_OUTPUT: usize = 2000;
/// How long a child may take to end after it has given its result.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Answers what code in a child asks for: variables, connections, XComs and the like. May block.
pub trait Answers: Send + Sync {
    fn answer(&self, request: ToSupervisor) -> Answer;
}

#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// All went well, and there is nothing more to say.
    Done,
    Body(Json),
    /// An error that the SDK raises in the child.
    Refused(Json),
}

#[derive(Clone, Debug)]
pub struct ImportLimits {
    pub timeout: Duration,
    /// Bytes of private memory that the child may have.
    pub memory: u64,
}

#[derive(Clone, Debug)]
pub struct ImportRequest {
    pub file: PathBuf,
    pub bundle_path: PathBuf,
    pub bundle_name: String,
    pub limits: ImportLimits,
}

/// What came of an import.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The official serialized Dags.
    pub dags: Vec<Json>,
    /// For each Dag id, what the serialized form leaves out.
    pub extras: HashMap<String, Json>,
    /// File names relative to the bundle with what went wrong there, most often a traceback.
    pub errors: Vec<(String, String)>,
    pub warnings: Vec<Json>,
    /// Files and folders that were read meanwhile, beside the file itself.
    pub files: Vec<PathBuf>,
    pub folders: Vec<PathBuf>,
    /// Whether the file asked for variables, connections or the like: its Dags depend on them.
    pub asked: bool,
    /// What it printed, cut to a bound.
    pub output: String,
    /// Its process was killed before it gave a result: that need not be the file's fault.
    pub was_killed: bool,
}

/// Imports a file. What goes wrong inside of it is part of the result; an error means that the helper is gone.
pub async fn import(
    server: &ForkServer,
    request: &ImportRequest,
    answers: Arc<dyn Answers>,
) -> Result<Imported, ForkError> {
    let deadline = Instant::now() + request.limits.timeout;
    let child = server.fork(&Job::Import { memory: request.limits.memory }).await?;
    let (pid, ChildSockets { requests, stdout, stderr, logs }, exited) = child.split();
    let output = [collect(stdout), collect(stderr), collect(logs)];
    let (reader, writer) = requests.into_split();
    let mut conversation =
        Conversation { writer: FrameWriter::new(writer), answers, imported: Imported::default(), has_result: false };
    let talked = timeout_at(deadline, conversation.hold(FrameReader::new(reader), request)).await;
    // Only a child that has said all that it had to say, or is about to end, is worth waiting for.
    let exit_by = if has_closed(&talked) { Instant::now() + EXIT_GRACE } else { Instant::now() };
    let exit = timeout_at(exit_by, exited).await.map(|exit| exit.unwrap_or(Exit::Unknown));
    // Whatever the file started goes with it.
    process::kill_group(pid);
    let Conversation { mut imported, has_result, .. } = conversation;
    let (printed, logged) = gather(output).await;
    if !has_result {
        imported.was_killed = has_closed(&talked) && matches!(exit, Ok(Exit::Signal(9) | Exit::Unknown));
        let reason = match (&talked, exit) {
            (Err(_), _) => format!(
                "Importing this file took longer than {} seconds and was stopped. Move slow work out of the top level \
                 of the file, or raise [dag_processor] dag_file_processor_timeout.",
                request.limits.timeout.as_secs_f64()
            ),
            (_, Ok(exit)) if has_closed(&talked) => how_it_died(exit),
            (Ok(Err(error)), _) => format!("The process that imported this file broke the protocol: {error}"),
            (Ok(Ok(())), _) => "The process that imported this file closed its connection and hung.".to_owned(),
        };
        let file = relative_name(&request.bundle_path, &request.file);
        imported.errors = vec![(file, with_output(reason, &printed))];
        imported.dags.clear();
    }
    imported.output = printed + &logged;
    Ok(imported)
}

/// Whether a process has closed its connection; that of one that was killed may be found broken.
fn has_closed<E>(talked: &Result<Result<(), FrameError>, E>) -> bool {
    matches!(talked, Ok(Ok(()) | Err(FrameError::Io(_))))
}

struct Conversation<W> {
    writer: FrameWriter<W>,
    answers: Arc<dyn Answers>,
    imported: Imported,
    has_result: bool,
}

impl<W: tokio::io::AsyncWrite + Unpin> Conversation<W> {
    /// Hands the request over and answers the child until it has given its result or closed the connection.
    async fn hold<R: AsyncRead + Unpin>(
        &mut self,
        mut reader: FrameReader<R>,
        request: &ImportRequest,
    ) -> Result<(), FrameError> {
        let start = json!({
            "type": "DagFileParseRequest",
            "file": request.file,
            "bundle_path": request.bundle_path,
            "bundle_name": request.bundle_name,
            "callback_requests": [],
        });
        self.writer.answer(0, Some(&start)).await?;
        while let Some(frame) = reader.read().await? {
            match frame.body.get("type").and_then(Json::as_str) {
                Some("DagFileParsingResult") => {
                    self.result(&frame.body);
                    self.writer.answer(frame.id, None).await?;
                    return Ok(());
                }
                Some("UpdraftImportDetails") => {
                    self.details(frame.body);
                    self.writer.answer(frame.id, None).await?;
                }
                _ => self.other(frame.id, frame.body).await?,
            }
        }
        Ok(())
    }

    fn result(&mut self, body: &Json) {
        let list = |name: &str| body.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
        self.imported.dags =
            list("serialized_dags").into_iter().filter_map(|mut dag| dag.get_mut("data").map(Json::take)).collect();
        self.imported.warnings = list("warnings");
        let errors = body.get("import_errors").and_then(Json::as_object);
        self.imported.errors = errors
            .into_iter()
            .flatten()
            .map(|(file, error)| (file.clone(), error.as_str().map_or_else(|| error.to_string(), str::to_owned)))
            .collect();
        self.has_result = true;
    }

    fn details(&mut self, mut body: Json) {
        let paths = |value: Option<&Json>| -> Vec<PathBuf> {
            value.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).map(PathBuf::from).collect()
        };
        self.imported.files = paths(body.get("files"));
        self.imported.folders = paths(body.get("folders"));
        if let Some(Json::Object(dags)) = body.get_mut("dags").map(Json::take) {
            self.imported.extras = dags.into_iter().collect();
        }
    }

    async fn other(&mut self, id: i64, body: Json) -> Result<(), FrameError> {
        self.imported.asked |= body.get("type").and_then(Json::as_str) != Some("MaskSecret");
        answer_request(&mut self.writer, &self.answers, id, body).await
    }
}

/// Answers what code in a child asks for.
pub(crate) async fn answer_request<W: tokio::io::AsyncWrite + Unpin>(
    writer: &mut FrameWriter<W>,
    answers: &Arc<dyn Answers>,
    id: i64,
    body: Json,
) -> Result<(), FrameError> {
    let request: ToSupervisor = match serde_json::from_value(body) {
        Ok(request) => request,
        Err(error) => return writer.refuse(id, &server_error(400, &error.to_string())).await,
    };
    let answers = Arc::clone(answers);
    match tokio::task::spawn_blocking(move || answers.answer(request)).await {
        Ok(Answer::Done) => writer.answer(id, None).await,
        Ok(Answer::Body(body)) => writer.answer(id, Some(&body)).await,
        Ok(Answer::Refused(error)) => writer.refuse(id, &error).await,
        Err(error) => writer.refuse(id, &server_error(500, &error.to_string())).await,
    }
}

/// Of a process that imported a file.
fn how_it_died(exit: Exit) -> String {
    let how = how_it_ended(exit);
    format!("The process that imported this file {how} before it gave a result.")
}

/// What became of a process, as a part of a sentence.
pub(crate) fn how_it_ended(exit: Exit) -> String {
    match exit {
        Exit::Code(0) => "ended by itself, with exit code 0,".to_owned(),
        Exit::Code(code) => format!("ended with exit code {code}"),
        Exit::Signal(9) => "was killed (SIGKILL: most often for want of memory)".to_owned(),
        Exit::Signal(11) => "crashed (SIGSEGV, in compiled code)".to_owned(),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::Unknown => "was lost".to_owned(),
    }
}

fn with_output(reason: String, output: &str) -> String {
    if output.trim().is_empty() {
        return reason;
    }
    let start = output.len().saturating_sub(SHOWN_OUTPUT);
    let start = (start..output.len()).find(|index| output.is_char_boundary(*index)).unwrap_or(0);
    format!("{reason}\nThe last of what it printed:\n{}", output[start..].trim_end())
}

/// Reads a stream to its end, so that the child never waits for us, and keeps the last part of it.
fn collect(mut stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..length]);
            if kept.len() > 2 * MAX_OUTPUT {
                kept.drain(..kept.len() - MAX_OUTPUT);
            }
        }
        kept
    })
}

/// What was collected, as text: of the standard streams, and of the log. A process that got away and still holds the
/// streams is not waited for.
async fn gather(output: [JoinHandle<Vec<u8>>; 3]) -> (String, String) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut texts = Vec::new();
    for mut task in output {
        let bytes = match timeout_at(deadline, &mut task).await {
            Ok(Ok(bytes)) => bytes,
            _ => {
                task.abort();
                Vec::new()
            }
        };
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    let logged = texts.pop().unwrap_or_default();
    (texts.concat(), logged)
}

/// The bundle-relative name of a file, as Airflow writes it.
pub fn relative_name(bundle: &Path, file: &Path) -> String {
    file.strip_prefix(bundle).unwrap_or(file).to_string_lossy().into_owned()
}
