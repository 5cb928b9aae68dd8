//! The host as the engine sees it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::oneshot;

use crate::host::{HostMessage, SpawnMessage};
use crate::packet::{MAX_PACKET, PacketSocket};

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("{program} can't be started: {reason}")]
    Failed { program: String, errno: i32, reason: String },
    #[error("the command line and its environment are too long for one process ({length} bytes)")]
    TooLong { length: usize },
    #[error("the process that starts the engine's children is gone")]
    HostGone,
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Environment {
    /// The engine's own environment, with these on top.
    Inherited(Vec<(String, String)>),
    /// These and nothing else.
    Exactly(Vec<(String, String)>),
}

#[derive(Debug)]
pub struct SpawnRequest {
    /// A path, or a name to look for in `PATH`.
    pub program: String,
    pub args: Vec<String>,
    pub environment: Environment,
    pub cwd: Option<String>,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// The host went away, and with it the news.
    Unknown,
}

impl Exit {
    /// From a status as `waitpid` gives it.
    pub fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Exit::Code((status >> 8) & 0xff),
            signal => Exit::Signal(signal),
        }
    }
}

/// A child that was started. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Child {
    pub pid: u32,
    exit: oneshot::Receiver<Exit>,
}

impl Child {
    /// Waits for its end.
    pub async fn wait(&mut self) -> Exit {
        (&mut self.exit).await.unwrap_or(Exit::Unknown)
    }

    /// Sends a signal to its process group. A group that is gone is none the worse.
    pub fn signal_group(&self, signal: i32) {
        signal_group(self.pid, signal);
    }
}

/// Kills a process group for good.
pub fn kill_group(pid: u32) {
    signal_group(pid, Signal::SIGKILL as i32);
}

/// Sends a signal to a process group. A group that is gone is none the worse.
pub fn signal_group(pid: u32, signal: i32) {
    if let (Ok(pid), Ok(signal)) = (i32::try_from(pid), Signal::try_from(signal))
        && pid > 1
    {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

type Started = Result<u32, SpawnError>;

struct Waiting {
    program: String,
    started: Option<oneshot::Sender<Started>>,
    exit: oneshot::Sender<Exit>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, Waiting>>,
    last_id: AtomicU64,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running host. When the last clone is dropped, the host kills every descendant and ends.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
    control: Arc<Control>,
    pub pid: u32,
}

/// Closes the connection when the last user is gone; the listener's own hold on the socket does not count.
struct Control(Arc<PacketSocket>);

impl Drop for Control {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

impl Host {
    /// Starts the host: `program` with `args` must call [`crate::run_host`] with descriptor 0. `keep_open` is inherited
    /// and stays open until every descendant is gone. `env` is added to what the host and all children inherit.
    pub fn start(
        program: &OsStr,
        args: &[&str],
        env: &[(&str, &OsStr)],
        keep_open: Option<OwnedFd>,
    ) -> io::Result<Host> {
        let (ours, theirs) = PacketSocket::pair()?;
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().copied()).stdin(Stdio::from(theirs.into_fd())).stdout(match keep_open {
            // It has to sit somewhere, and the host writes nothing.
            Some(fd) => Stdio::from(fd),
            None => Stdio::null(),
        });
        let mut child = command.spawn()?;
        let pid = child.id();
        let shared = Arc::new(Shared::default());
        let control = Arc::new(ours);
        let (reader, listener) = (Arc::clone(&shared), Arc::clone(&control));
        std::thread::Builder::new().name("host".into()).spawn(move || {
            listen(&reader, &listener);
            let _ = child.wait();
        })?;
        Ok(Host { shared, control: Arc::new(Control(control)), pid })
    }

    /// Starts a child.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Child, SpawnError> {
        let id = self.shared.last_id.fetch_add(1, Ordering::Relaxed);
        let (inherit_env, env) = match request.environment {
            Environment::Inherited(env) => (true, env),
            Environment::Exactly(env) => (false, env),
        };
        let message = SpawnMessage {
            id,
            program: request.program.clone(),
            args: request.args,
            inherit_env,
            env,
            cwd: request.cwd,
        };
        let packet = serde_json::to_vec(&message).map_err(io::Error::from)?;
        if packet.len() > MAX_PACKET {
            return Err(SpawnError::TooLong { length: packet.len() });
        }
        let (started, has_started) = oneshot::channel();
        let (exit, exited) = oneshot::channel();
        let waiting = Waiting { program: request.program, started: Some(started), exit };
        self.shared.waiting().insert(id, waiting);
        let descriptors = [request.stdin.as_fd(), request.stdout.as_fd(), request.stderr.as_fd()];
        if let Err(error) = self.control.0.send(&packet, &descriptors) {
            self.shared.waiting().remove(&id);
            return Err(match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SpawnError::HostGone,
                _ => error.into(),
            });
        }
        let pid = has_started.await.map_err(|_| SpawnError::HostGone)??;
        Ok(Child { pid, exit: exited })
    }
}

/// Hands the host's news to those who wait for it, until the host is gone.
fn listen(shared: &Shared, control: &PacketSocket) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(Some((length, _))) = control.receive(&mut buffer) {
        match serde_json::from_slice(&buffer[..length]) {
            Ok(message) => deliver(shared, message),
            Err(error) => tracing::error!(%error, "a message of the host can't be read"),
        }
    }
    // Whoever still waits learns that there is nobody to tell.
    shared.waiting().clear();
}

fn deliver(shared: &Shared, message: HostMessage) {
    let mut waiting = shared.waiting();
    match message {
        HostMessage::Spawned { id, pid } => {
            if let Some(started) = waiting.get_mut(&id).and_then(|waiting| waiting.started.take()) {
                let _ = started.send(Ok(pid));
            }
        }
        HostMessage::Failed { id, errno, reason } => {
            if let Some(Waiting { program, started: Some(started), .. }) = waiting.remove(&id) {
                let _ = started.send(Err(SpawnError::Failed { program, errno, reason }));
            }
        }
        HostMessage::Exited { id, status } => {
            if let Some(waiting) = waiting.remove(&id) {
                let _ = waiting.exit.send(Exit::from_wait_status(status));
            }
        }
    }
}
