//! The warm Python process that forks a child for each attempt and each import, and one for all triggers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use process::{Environment, Exit, Host, MAX_PACKET, PacketSocket, SpawnError, SpawnRequest};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::bundles::ConfiguredBundle;

/// How long a warm helper may take for a fork before it counts as hung.
const FORK_LIMIT: Duration = Duration::from_secs(60);
/// What the helper printed last is repeated, so many lines of it, where it ends before it is warm.
const SHOWN_LINES: usize = 30;

const HELPER: &str = include_str!("helper/updraft_helper.py");
const IMPORTER: &str = include_str!("helper/updraft_import.py");
const PLUGINS: &str = include_str!("helper/updraft_plugins.py");
const EVALUATE: &str = include_str!("helper/updraft_evaluate.py");
const TRIGGERS: &str = include_str!("helper/updraft_triggers.py");
const CALLBACKS: &str = include_str!("helper/updraft_callbacks.py");
const BUNDLES: &str = include_str!("helper/updraft_bundles.py");

#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    #[error("the Python helper can't be started: {0}")]
    Start(String),
    #[error("the Python helper could not import Airflow's packages: {0}")]
    Broken(String),
    #[error("the Python helper has ended")]
    Gone,
    #[error("the Python helper could not fork: {0}")]
    Fork(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<SpawnError> for ForkError {
    fn from(error: SpawnError) -> Self {
        ForkError::Start(error.to_string())
    }
}

/// What the helper says of itself when it is warm.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct HelperInfo {
    pub pid: u32,
    pub python: String,
    pub packages: HashMap<String, String>,
    /// The Dag bundles that Airflow's configuration names.
    pub bundles: Vec<ConfiguredBundle>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum FromHelper {
    Ready(HelperInfo),
    Broken { error: String },
    Forked { id: u64, pid: u32 },
    Failed { id: u64, error: String },
    Exited { pid: u32, status: i32 },
}

/// What a child is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Job {
    /// One attempt, by the official task runner. `env` is added to the helper's environment.
    Task { env: HashMap<String, String> },
    /// One Dag file, by the official importer, with so many bytes of private memory.
    Import { memory: u64 },
    /// All triggers that need Python, by the official trigger runner.
    Triggers,
    /// A callback of a Dag or a task, by the official Dag processor.
    Callback,
    /// Timetables of plugins, which are asked one question after the other.
    Evaluate,
    /// A Dag bundle that has to be fetched, by its official class.
    Bundle,
}

#[derive(Serialize)]
struct ForkMessage<'a> {
    id: u64,
    #[serde(flatten)]
    job: &'a Job,
}

/// Our ends of a child's sockets.
#[derive(Debug)]
pub struct ChildSockets {
    pub requests: UnixStream,
    pub stdout: UnixStream,
    pub stderr: UnixStream,
    pub logs: UnixStream,
}

/// A child of the helper, in a process group of its own.
#[derive(Debug)]
pub struct ForkedChild {
    pub pid: u32,
    pub sockets: ChildSockets,
    exit: oneshot::Receiver<Exit>,
}

impl ForkedChild {
    /// Waits for its end; [`Exit::Unknown`] if the helper ended first.
    pub async fn wait(&mut self) -> Exit {
        (&mut self.exit).await.unwrap_or(Exit::Unknown)
    }

    /// The parts, to be used from different places.
    pub fn split(self) -> (u32, ChildSockets, oneshot::Receiver<Exit>) {
        (self.pid, self.sockets, self.exit)
    }
}

#[derive(Clone, Debug)]
enum Readiness {
    Starting,
    Ready(HelperInfo),
    Broken(String),
    Gone,
}

type Forking = (oneshot::Sender<Result<u32, ForkError>>, oneshot::Sender<Exit>);

#[derive(Default)]
struct Children {
    /// Requests that were not answered yet.
    forking: HashMap<u64, Forking>,
    running: HashMap<u32, oneshot::Sender<Exit>>,
}

struct Shared {
    children: Mutex<Children>,
    readiness: watch::Sender<Readiness>,
    last_id: AtomicU64,
    /// Its end is wanted.
    is_closing: AtomicBool,
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running helper. Cheap to clone; it ends when the last clone is dropped.
#[derive(Clone)]
pub struct ForkServer {
    shared: Arc<Shared>,
    control: Arc<Control>,
    pub pid: u32,
}

/// Closes the connection when the last user is gone, which ends the helper.
struct Control {
    socket: Arc<PacketSocket>,
    shared: Arc<Shared>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        self.socket.shutdown();
    }
}

/// Where the helper's own files are written before it is started.
pub struct HelperFiles;

impl HelperFiles {
    /// Writes the helper's files below `folder` and returns the path of the one to run.
    pub fn write(folder: &Path) -> io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let main = folder.join("updraft_helper.py");
        let files = [
            ("updraft_import.py", IMPORTER),
            ("updraft_plugins.py", PLUGINS),
            ("updraft_evaluate.py", EVALUATE),
            ("updraft_triggers.py", TRIGGERS),
            ("updraft_callbacks.py", CALLBACKS),
            ("updraft_bundles.py", BUNDLES),
            ("updraft_helper.py", HELPER),
        ];
        for (name, content) in files {
            let path = &folder.join(name);
            // Written only if it differs: another engine may be starting from the same files.
            if std::fs::read_to_string(path).ok().as_deref() != Some(content) {
                let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
                std::fs::write(&temporary, content)?;
                std::fs::rename(&temporary, path)?;
            }
        }
        Ok(main)
    }
}

impl ForkServer {
    /// Starts the helper with `interpreter`; its files go below `folder`. It warms up in the background: children can
    /// be asked for at once and wait until it is ready.
    pub async fn start(
        host: &Host,
        interpreter: &Path,
        folder: &Path,
        env: Vec<(String, String)>,
    ) -> Result<ForkServer, ForkError> {
        let script = HelperFiles::write(folder)?;
        let (ours, theirs) = PacketSocket::pair()?;
        let (output, helper_output) = std::os::unix::net::UnixStream::pair()?;
        let interpreter = interpreter.to_str().ok_or_else(|| ForkError::Start("its path is not UTF-8".into()))?;
        let script = script.to_str().ok_or_else(|| ForkError::Start("the home's path is not UTF-8".into()))?;
        let mut child = host
            .spawn(SpawnRequest {
                program: interpreter.to_owned(),
                args: vec!["-u".into(), script.to_owned()],
                environment: Environment::Inherited(env),
                cwd: None,
                stdin: theirs.into_fd(),
                stdout: helper_output.try_clone()?.into(),
                stderr: helper_output.into(),
            })
            .await?;
        let pid = child.pid;
        let (readiness, _) = watch::channel(Readiness::Starting);
        let shared = Arc::new(Shared {
            children: Mutex::default(),
            readiness,
            last_id: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
        });
        let control = Arc::new(ours);
        let (reader, listener) = (Arc::clone(&shared), Arc::clone(&control));
        std::thread::Builder::new().name("python-helper".into()).spawn(move || listen(&reader, &listener))?;
        output.set_nonblocking(true)?;
        let output = UnixStream::from_std(output)?;
        let listened = tokio::spawn(last_lines(output));
        let ended = Arc::clone(&shared);
        tokio::spawn(async move {
            let exit = child.wait().await;
            // Whatever it started in groups of its own is the host's to end.
            let said = timeout(Duration::from_secs(1), listened).await.ok().and_then(Result::ok).unwrap_or_default();
            let was_starting = matches!(*ended.readiness.borrow(), Readiness::Starting | Readiness::Broken(_));
            if ended.is_closing.load(Ordering::Relaxed) {
                tracing::debug!(pid, "the Python helper has ended");
            } else if was_starting {
                tracing::error!(?exit, pid, "the Python helper has ended before it was warm:\n{}", said.join("\n"));
            } else {
                tracing::warn!(?exit, pid, "the Python helper has ended");
            }
            ended.readiness.send_if_modified(|state| {
                let change = !matches!(state, Readiness::Broken(_));
                if change {
                    *state = Readiness::Gone;
                }
                change
            });
        });
        let control = Arc::new(Control { socket: control, shared: Arc::clone(&shared) });
        Ok(ForkServer { shared, control, pid })
    }

    /// Waits until the helper is warm, or says why it never will be.
    pub async fn ready(&self) -> Result<HelperInfo, ForkError> {
        let mut readiness = self.shared.readiness.subscribe();
        loop {
            match &*readiness.borrow_and_update() {
                Readiness::Starting => {}
                Readiness::Ready(info) => return Ok(info.clone()),
                Readiness::Broken(error) => return Err(ForkError::Broken(error.clone())),
                Readiness::Gone => return Err(ForkError::Gone),
            }
            readiness.changed().await.map_err(|_| ForkError::Gone)?;
        }
    }

    /// Waits for the helper's end.
    pub async fn gone(&self) {
        let mut readiness = self.shared.readiness.subscribe();
        let _ = readiness.wait_for(|state| matches!(state, Readiness::Broken(_) | Readiness::Gone)).await;
    }

    /// Forks a child, once the helper is warm.
    pub async fn fork(&self, job: &Job) -> Result<ForkedChild, ForkError> {
        self.ready().await?;
        let id = self.shared.last_id.fetch_add(1, Ordering::Relaxed);
        let mut ours = Vec::with_capacity(4);
        let mut theirs: Vec<OwnedFd> = Vec::with_capacity(4);
        for _ in 0..4 {
            let (a, b) = std::os::unix::net::UnixStream::pair()?;
            a.set_nonblocking(true)?;
            ours.push(UnixStream::from_std(a)?);
            theirs.push(b.into());
        }
        let (forked, is_forked) = oneshot::channel();
        let (exit, exited) = oneshot::channel();
        self.shared.children().forking.insert(id, (forked, exit));
        let packet = serde_json::to_vec(&ForkMessage { id, job }).map_err(io::Error::from)?;
        let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        if let Err(error) = self.control.socket.send(&packet, &descriptors) {
            self.shared.children().forking.remove(&id);
            return Err(match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ForkError::Gone,
                _ => error.into(),
            });
        }
        drop(theirs);
        let Ok(is_forked) = timeout(FORK_LIMIT, is_forked).await else {
            tracing::error!(pid = self.pid, "the Python helper does not answer; it is killed and started again");
            process::kill_group(self.pid);
            return Err(ForkError::Gone);
        };
        let pid = is_forked.map_err(|_| ForkError::Gone)??;
        let mut ours = ours.into_iter();
        match (ours.next(), ours.next(), ours.next(), ours.next()) {
            (Some(requests), Some(stdout), Some(stderr), Some(logs)) => {
                let sockets = ChildSockets { requests, stdout, stderr, logs };
                Ok(ForkedChild { pid, sockets, exit: exited })
            }
            _ => Err(ForkError::Fork("sockets are missing".into())),
        }
    }
}

/// Follows what the helper prints, and keeps the end of it.
async fn last_lines(output: UnixStream) -> Vec<String> {
    let mut kept = VecDeque::new();
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while let Ok(1..) = output.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&std::mem::take(&mut line)).trim_end().to_owned();
        tracing::debug!(target: "python_helper", "{text}");
        if kept.len() == SHOWN_LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    }
    kept.into()
}

fn listen(shared: &Shared, control: &PacketSocket) {
    let mut buffer = vec![0; MAX_PACKET];
    while let Ok(Some((length, _))) = control.receive(&mut buffer) {
        match serde_json::from_slice(&buffer[..length]) {
            Ok(message) => take(shared, message),
            Err(error) => tracing::error!(%error, "a message of the Python helper can't be read"),
        }
    }
    // Nobody would ever learn how the children end: they go with the helper. Whoever waits for one hears of it after.
    let pids: Vec<u32> = shared.children().running.keys().copied().collect();
    pids.into_iter().for_each(process::kill_tree);
    *shared.children() = Children::default();
}

fn take(shared: &Shared, message: FromHelper) {
    match message {
        FromHelper::Ready(info) => {
            shared.readiness.send_replace(Readiness::Ready(info));
        }
        FromHelper::Broken { error } => {
            shared.readiness.send_replace(Readiness::Broken(error));
        }
        FromHelper::Forked { id, pid } => {
            let mut children = shared.children();
            if let Some((forked, exit)) = children.forking.remove(&id) {
                children.running.insert(pid, exit);
                let _ = forked.send(Ok(pid));
            }
        }
        FromHelper::Failed { id, error } => {
            if let Some((forked, _)) = shared.children().forking.remove(&id) {
                let _ = forked.send(Err(ForkError::Fork(error)));
            }
        }
        FromHelper::Exited { pid, status } => {
            if let Some(exit) = shared.children().running.remove(&pid) {
                let _ = exit.send(Exit::from_wait_status(status));
            }
        }
    }
}
