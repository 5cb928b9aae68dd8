//! Asking classes of plugins, in a warm child of the helper: when a timetable's next run is due, what a run is about; and
//! classes of bundles, what the newest version is.
//!
//! Every class, and every bundle, has a child of its own, which is asked one question after the other: a class that hangs or dies keeps nobody
//! else waiting. A child that has nothing to do for a while ends, and so does one whose plugins have changed; the next
//! question finds a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Json;
use process::Exit;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::forkserver::{ChildSockets, Job};
use crate::frame::{FrameError, FrameReader, FrameWriter};
use crate::helper_process::Helper;
use crate::import::{Answers, answer_request, how_it_ended};

/// A child that evaluates timetables and that nobody has asked for so long ends.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// A child that keeps a bundle ends later: most are refreshed every few minutes, and to begin anew is to fetch anew.
const BUNDLE_IDLE_LIMIT: Duration = Duration::from_secs(900);
/// How long a child may take to end.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// How often a question is put: a child may have ended for a reason that is not the question's.
const TRIES: u32 = 3;
/// What a class prints is told line by line, each cut to this length.
const MAX_LINE: u64 = 4096;

/// Cheap to clone; all clones share their children.
#[derive(Clone)]
pub struct Evaluator(Arc<Inner>);

struct Inner {
    helper: Helper,
    answers: Arc<dyn Answers>,
    limit: Duration,
    job: Job,
    idle_limit: Duration,
    lanes: Mutex<HashMap<String, mpsc::UnboundedSender<Asked>>>,
}

struct Asked {
    question: Json,
    reply: oneshot::Sender<Result<Json, Unanswered>>,
}

/// Why there is no answer. Told to people, with the traceback where there is one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// The class raised an exception. The summary is one line of it, more or less.
    #[error("{traceback}")]
    Raised { summary: String, traceback: String },
    #[error("{0}")]
    NoAnswer(String),
}

impl Unanswered {
    /// What went wrong, without where.
    pub fn summary(&self) -> &str {
        match self {
            Self::Raised { summary, .. } => summary,
            Self::NoAnswer(reason) => reason,
        }
    }
}

impl Evaluator {
    /// `answers` are for what plugins ask for; a question may take as long as `limit`.
    pub fn new(helper: Helper, answers: Arc<dyn Answers>, limit: Duration) -> Self {
        Self::of_job(helper, answers, limit, Job::Evaluate, IDLE_LIMIT)
    }

    /// For bundles, by their names.
    pub(crate) fn of_bundles(helper: Helper, answers: Arc<dyn Answers>, limit: Duration) -> Self {
        Self::of_job(helper, answers, limit, Job::Bundle, BUNDLE_IDLE_LIMIT)
    }

    fn of_job(helper: Helper, answers: Arc<dyn Answers>, limit: Duration, job: Job, idle_limit: Duration) -> Self {
        Self(Arc::new(Inner { helper, answers, limit, job, idle_limit, lanes: Mutex::default() }))
    }

    /// Asks a class something. Must be called inside of the async runtime.
    pub async fn ask(&self, class: &str, question: Json) -> Result<Json, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.put(class, Asked { question, reply });
        let ending = || Unanswered::NoAnswer("nobody answers: the server is about to end".to_owned());
        let answer = answer.await.map_err(|_| ending())??;
        match answer.get("error").and_then(Json::as_str) {
            None => Ok(answer),
            Some(error) => {
                let traceback = answer.get("traceback").and_then(Json::as_str).unwrap_or(error).trim_end();
                Err(Unanswered::Raised { summary: error.to_owned(), traceback: traceback.to_owned() })
            }
        }
    }

    fn put(&self, class: &str, mut asked: Asked) {
        let mut lanes = self.0.lanes();
        if let Some(lane) = lanes.get(class) {
            match lane.send(asked) {
                Ok(()) => return,
                Err(unsent) => asked = unsent.0,
            }
        }
        let (lane, questions) = mpsc::unbounded_channel();
        // The receiver is right here.
        let _ = lane.send(asked);
        lanes.insert(class.to_owned(), lane);
        tokio::spawn(serve(Arc::clone(&self.0), class.to_owned(), questions));
    }
}

impl Inner {
    fn lanes(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Asked>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the questions for one class, until none has come for a while.
async fn serve(inner: Arc<Inner>, class: String, mut questions: mpsc::UnboundedReceiver<Asked>) {
    let mut child = None;
    loop {
        match timeout(inner.idle_limit, questions.recv()).await {
            Ok(Some(asked)) if asked.reply.is_closed() => {}
            Ok(Some(asked)) => {
                let answer = answer(&inner, &mut child, &asked.question).await;
                // Whoever asked may have gone away.
                let _ = asked.reply.send(answer);
            }
            Ok(None) => return,
            Err(_) => {
                drop(child.take());
                let mut lanes = inner.lanes();
                // Who asks holds the lock, so that no question is lost here.
                if questions.is_empty() {
                    lanes.remove(&class);
                    return;
                }
            }
        }
    }
}

async fn answer(inner: &Inner, slot: &mut Option<Child>, question: &Json) -> Result<Json, Unanswered> {
    let mut reason = String::new();
    for _ in 0..TRIES {
        // Until the helper is warm everything waits that needs Python: that is nobody's fault.
        let child = match slot.take() {
            Some(child) => child,
            None => match Child::start(inner).await {
                Ok(child) => child,
                Err(error) => {
                    reason = error;
                    continue;
                }
            },
        };
        let child = slot.insert(child);
        match timeout(inner.limit, child.ask(inner, question)).await {
            Ok(Ok(Said::Answer(answer))) => return Ok(answer),
            Ok(Ok(Said::Outdated)) => *slot = None,
            Ok(Ok(Said::Ended)) => {
                reason = match slot.take() {
                    Some(child) => format!("The process that was asked {}.", how_it_ended(child.end().await)),
                    None => "There is no process that could be asked.".to_owned(),
                };
            }
            Ok(Err(error)) => {
                *slot = None;
                reason = error;
            }
            Err(_) => {
                *slot = None;
                let seconds = inner.limit.as_secs_f64();
                let advice = match inner.job {
                    Job::Evaluate => " Answer faster, or raise [core] dagbag_import_timeout.",
                    _ => "",
                };
                let reason = format!("It did not answer within {seconds} seconds and was stopped.{advice}");
                return Err(Unanswered::NoAnswer(reason));
            }
        }
    }
    Err(Unanswered::NoAnswer(reason))
}

enum Said {
    Answer(Json),
    /// Its plugins are no longer as they were.
    Outdated,
    Ended,
}

/// A process that answers. It ends when this is dropped.
struct Child {
    pid: u32,
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
    exited: oneshot::Receiver<Exit>,
    /// The message that the next question answers.
    turn: Option<i64>,
}

impl Drop for Child {
    fn drop(&mut self) {
        process::kill_group(self.pid);
    }
}

impl Child {
    async fn start(inner: &Inner) -> Result<Self, String> {
        let forked = inner.helper.fork(&inner.job).await.map_err(|error| error.to_string())?;
        let (pid, ChildSockets { requests, stdout, stderr, logs }, exited) = forked.split();
        let is_bundle = inner.job == Job::Bundle;
        tell(stdout, is_bundle);
        tell(stderr, is_bundle);
        tell(logs, is_bundle);
        let (reader, writer) = requests.into_split();
        Ok(Self { pid, reader: FrameReader::new(reader), writer: FrameWriter::new(writer), exited, turn: None })
    }

    async fn ask(&mut self, inner: &Inner, question: &Json) -> Result<Said, String> {
        self.converse(inner, question).await.map_err(|error| format!("The process that was asked: {error}"))
    }

    async fn converse(&mut self, inner: &Inner, question: &Json) -> Result<Said, FrameError> {
        // It says first that it is there.
        if self.turn.is_none() && self.listen(inner).await?.is_none() {
            return Ok(Said::Ended);
        }
        if let Some(turn) = self.turn.take()
            && let Err(error) = self.writer.answer(turn, Some(question)).await
        {
            tracing::debug!(%error, "a process that was asked has ended");
            return Ok(Said::Ended);
        }
        Ok(match self.listen(inner).await? {
            None => Said::Ended,
            Some(answer) if answer.get("outdated").is_some() => Said::Outdated,
            Some(answer) => Said::Answer(answer),
        })
    }

    /// Its next answer; serves what it asks for until then. `None` at its end.
    async fn listen(&mut self, inner: &Inner) -> Result<Option<Json>, FrameError> {
        while let Some(mut frame) = self.reader.read().await? {
            if frame.body.get("type").and_then(Json::as_str) == Some("UpdraftAnswer") {
                self.turn = Some(frame.id);
                return Ok(Some(frame.body.get_mut("answer").map_or(Json::Null, Json::take)));
            }
            answer_request(&mut self.writer, &inner.answers, frame.id, frame.body).await?;
        }
        Ok(None)
    }

    /// How it ended, once it has closed its connection.
    async fn end(mut self) -> Exit {
        timeout(EXIT_GRACE, &mut self.exited).await.ok().and_then(Result::ok).unwrap_or(Exit::Unknown)
    }
}

/// Repeats what a class prints or logs. A bundle's says the same each time that it is fetched; what matters of it is told
/// as its error.
fn tell(stream: impl AsyncRead + Unpin + Send + 'static, is_bundle: bool) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match tokio::io::AsyncReadExt::take(&mut lines, MAX_LINE).read_until(b'\n', &mut line).await {
                Ok(1..) if is_bundle => {
                    tracing::debug!(target: "bundles", "{}", String::from_utf8_lossy(&line).trim_end());
                }
                Ok(1..) => tracing::info!(target: "plugins", "{}", String::from_utf8_lossy(&line).trim_end()),
                _ => return,
            }
        }
    });
}
