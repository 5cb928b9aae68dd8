//! The host as the engine sees it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::host::{HostMessage, SpawnMessage};
use crate::packet::{MAX_PACKET, PacketSocket};
use crate::table::{ProcessTable, kill_one, kill_tree};

/// How long a child that is to be started waits for a new host.
const RESTART_LIMIT: Duration = Duration::from_secs(30);
/// A host that ends sooner than this after its start is started again only after a pause.
const QUICK_END: Duration = Duration::from_secs(1);
/// How long the rest of a host is being killed before a new one is started beside it.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

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
    /// Once it runs.
    pid: Option<u32>,
    started: Option<oneshot::Sender<Started>>,
    exit: oneshot::Sender<Exit>,
}

/// How to start a host.
struct StartOptions {
    program: OsString,
    args: Vec<String>,
    env: Vec<(OsString, OsString)>,
    keep_open: Option<OwnedFd>,
}

/// One running host process.
struct Link {
    pid: u32,
    /// Read by a task of the async runtime rather than a thread of its own: news are one wake-up away from those who wait.
    control: AsyncFd<PacketSocket>,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

impl Link {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Inner {
    options: StartOptions,
    last_id: AtomicU64,
    /// The host process of the moment; `None` while it is being replaced.
    link: watch::Sender<Option<Arc<Link>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closes the connection, whoever else holds the socket: that ends the host.
        if let Some(link) = self.link.borrow().as_ref() {
            link.control.get_ref().shutdown();
        }
    }
}

/// A running host. When the last clone is dropped, the host kills every descendant and ends.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

impl Host {
    /// Starts the host: `program` with `args` must call [`crate::run_host`] with descriptor 0. `keep_open` is inherited
    /// and stays open until every descendant is gone. `env` is added to what the host and all children inherit. Must be
    /// called inside of the async runtime on which its news are wanted soonest.
    pub fn start(
        program: &OsStr,
        args: &[&str],
        env: &[(&str, &OsStr)],
        keep_open: Option<OwnedFd>,
    ) -> io::Result<Host> {
        // What a host that was killed leaves behind becomes this process's own, to be ended here.
        prctl::set_child_subreaper(true)?;
        let options = StartOptions {
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(name, value)| (OsString::from(name), (*value).to_owned())).collect(),
            keep_open,
        };
        let (link, _) = watch::channel(None);
        let inner = Arc::new(Inner { options, last_id: AtomicU64::new(0), link });
        inner.start_process()?;
        Ok(Host { inner })
    }

    /// The process of the moment; everything that is spawned is below it. `None` while it is being replaced.
    pub fn pid(&self) -> Option<u32> {
        self.inner.link.borrow().as_ref().map(|link| link.pid)
    }

    /// Starts a child. A host that ends meanwhile is replaced, and asked again.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Child, SpawnError> {
        let id = self.inner.last_id.fetch_add(1, Ordering::Relaxed);
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
        let descriptors = [request.stdin.as_fd(), request.stdout.as_fd(), request.stderr.as_fd()];
        let deadline = Instant::now() + RESTART_LIMIT;
        loop {
            let mut links = self.inner.link.subscribe();
            let link = timeout_at(deadline, links.wait_for(Option::is_some)).await;
            let link = link.ok().and_then(|link| link.ok()?.clone()).ok_or(SpawnError::HostGone)?;
            match ask(&link, id, &request.program, &packet, &descriptors).await {
                Err(SpawnError::HostGone) if Instant::now() < deadline => {
                    let is_replaced = |now: &Option<Arc<Link>>| now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &link));
                    let _ = timeout_at(deadline, links.wait_for(is_replaced)).await;
                }
                result => return result,
            }
        }
    }
}

async fn ask(
    link: &Link,
    id: u64,
    program: &str,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<Child, SpawnError> {
    let (started, has_started) = oneshot::channel();
    let (exit, exited) = oneshot::channel();
    let waiting = Waiting { program: program.to_owned(), pid: None, started: Some(started), exit };
    link.waiting().insert(id, waiting);
    let sent = link.control.async_io(Interest::WRITABLE, |control| control.try_send(packet, descriptors)).await;
    if let Err(error) = sent {
        link.waiting().remove(&id);
        return Err(match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => SpawnError::HostGone,
            _ => error.into(),
        });
    }
    let pid = has_started.await.map_err(|_| SpawnError::HostGone)??;
    Ok(Child { pid, exit: exited })
}

impl Inner {
    fn start_process(self: &Arc<Self>) -> io::Result<()> {
        let (ours, theirs) = PacketSocket::pair()?;
        let options = &self.options;
        let mut command = Command::new(&options.program);
        let env = options.env.iter().map(|(name, value)| (name, value));
        command.args(&options.args).envs(env).stdin(Stdio::from(theirs.into_fd())).stdout(match &options.keep_open {
            // It has to sit somewhere, and the host writes nothing.
            Some(fd) => Stdio::from(fd.try_clone()?),
            None => Stdio::null(),
        });
        let child = command.spawn()?;
        // Not to be waited for by whoever drops the command's ends.
        drop(command);
        let control = watched(ours)?;
        let link = Arc::new(Link { pid: child.id(), control, waiting: Mutex::default() });
        tokio::spawn(watch_over(Arc::downgrade(self), Arc::clone(&link), child));
        self.link.send_replace(Some(link));
        Ok(())
    }
}

/// Lets the async runtime watch a socket.
#[allow(unsafe_code, reason = "the runtime can't see for itself that a descriptor stays the same")]
fn watched(socket: PacketSocket) -> io::Result<AsyncFd<PacketSocket>> {
    // SAFETY: a `PacketSocket` owns one descriptor from its beginning to its end and never changes it.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Hands the news of one host process to those who wait for it, and replaces the process when it has ended by itself.
async fn watch_over(inner: Weak<Inner>, link: Arc<Link>, child: std::process::Child) {
    let start = Instant::now();
    listen(&link).await;
    // From here on it waits for processes.
    tokio::task::spawn_blocking(move || replace(&inner, &link, child, start));
}

fn replace(inner: &Weak<Inner>, link: &Link, mut child: std::process::Child, start: Instant) {
    let status = child.wait();
    let Some(inner) = inner.upgrade() else { return };
    inner.link.send_replace(None);
    tracing::error!(
        pid = link.pid,
        status = %status.map_or_else(|error| error.to_string(), |status| status.to_string()),
        "the process that starts children has ended; what it had started is killed, and it is started again"
    );
    let pids: Vec<u32> = link.waiting().values().filter_map(|waiting| waiting.pid).collect();
    pids.into_iter().for_each(kill_tree);
    kill_orphans();
    // Only now: whoever waited may start anew what it had lost.
    link.waiting().clear();
    while let Err(error) = {
        if start.elapsed() < QUICK_END {
            std::thread::sleep(QUICK_END);
        }
        inner.start_process()
    } {
        tracing::error!(%error, "the process that starts children can't be started");
        std::thread::sleep(QUICK_END);
    }
}

/// Kills what a host left behind. It had a session of its own, and so has everything that it started: what belongs to
/// our session was started by ourselves.
fn kill_orphans() {
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    let start = Instant::now();
    while start.elapsed() < ORPHAN_LIMIT {
        let table = ProcessTable::read();
        let own = table.get(me).map(|entry| entry.session);
        let is_orphan = |pid: &&i32| table.get(**pid).map(|entry| entry.session) != own;
        let orphans: Vec<i32> = table.children(me).iter().filter(is_orphan).copied().collect();
        if orphans.is_empty() {
            return;
        }
        for pid in orphans {
            table.descendants(pid).into_iter().for_each(kill_one);
            kill_one(pid);
            let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Takes what a host process tells until it is gone.
async fn listen(link: &Link) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(Some((length, _))) =
        link.control.async_io(Interest::READABLE, |control| control.try_receive(&mut buffer)).await
    {
        match serde_json::from_slice(&buffer[..length]) {
            Ok(message) => deliver(link, message),
            Err(error) => tracing::error!(%error, "a message of the host can't be read"),
        }
    }
    // Whoever waits for a start learns that there is none.
    link.waiting().values_mut().for_each(|waiting| drop(waiting.started.take()));
}

fn deliver(link: &Link, message: HostMessage) {
    let mut waiting = link.waiting();
    match message {
        HostMessage::Spawned { id, pid } => {
            if let Some(found) = waiting.get_mut(&id)
                && let Some(started) = found.started.take()
            {
                found.pid = Some(pid);
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
