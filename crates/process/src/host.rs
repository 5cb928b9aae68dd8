//! The host process.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::packet::{MAX_PACKET, PacketSocket};
use crate::table::{ProcessTable, kill_one};

/// How long the host goes on killing what the engine left behind. What survives this is not killable by us.
const CLEAN_UP_LIMIT: Duration = Duration::from_secs(10);

/// From the engine. Descriptors that come with it: stdin, stdout, stderr.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct SpawnMessage {
    pub(crate) id: u64,
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    /// Whether the host's own environment is kept under `env`.
    pub(crate) inherit_env: bool,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: Option<String>,
}

/// To the engine.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) enum HostMessage {
    Spawned {
        id: u64,
        pid: u32,
    },
    Failed {
        id: u64,
        errno: i32,
        reason: String,
    },
    /// `status` as `waitpid` gives it.
    Exited {
        id: u64,
        status: i32,
    },
}

/// The host's whole life: spawns what it is told to until the engine's end of `control` closes, then kills every
/// descendant. Descriptors that it was given beyond `control` (the lock of the home) stay open until the last
/// descendant is gone.
pub fn run(control: OwnedFd) -> io::Result<()> {
    let control = PacketSocket::from_fd(control);
    // A session of its own: signals from the engine's terminal must not reach the children directly.
    let _ = setsid();
    prctl::set_child_subreaper(true)?;
    // Handlers rather than a signal mask or ignored signals: children inherit the latter two, but not handlers.
    SigSet::all().thread_unblock()?;
    let (mut child_ended, wake) = UnixStream::pair()?;
    child_ended.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, wake)?;
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // The engine decides when the host ends.
        signal_hook::flag::register(signal, Arc::default())?;
    }
    let mut host = Host { control, children: HashMap::new(), buffer: vec![0; MAX_PACKET] };
    let result = host.serve(&mut child_ended);
    kill_everything();
    result
}

struct Host {
    control: PacketSocket,
    /// The request that each child came from.
    children: HashMap<u32, u64>,
    buffer: Vec<u8>,
}

impl Host {
    fn serve(&mut self, child_ended: &mut UnixStream) -> io::Result<()> {
        loop {
            let (has_request, has_ended) = {
                let mut polled = [
                    PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                    PollFd::new(child_ended.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut polled, PollTimeout::NONE) {
                    Ok(_) | Err(nix::Error::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
                let ready = |index: usize| polled[index].any().unwrap_or(false);
                (ready(0), ready(1))
            };
            if has_ended {
                while matches!(child_ended.read(&mut [0; 64]), Ok(1..)) {}
                self.reap()?;
            }
            if has_request && !self.request()? {
                return Ok(());
            }
        }
    }

    /// Takes one request; `false` when the engine is gone.
    fn request(&mut self) -> io::Result<bool> {
        let Some((length, descriptors)) = self.control.receive(&mut self.buffer)? else { return Ok(false) };
        let message: SpawnMessage = serde_json::from_slice(&self.buffer[..length])?;
        let id = message.id;
        let answer = match spawn(message, descriptors) {
            Ok(pid) => {
                self.children.insert(pid, id);
                HostMessage::Spawned { id, pid }
            }
            Err(error) => {
                HostMessage::Failed { id, errno: error.raw_os_error().unwrap_or(0), reason: error.to_string() }
            }
        };
        self.answer(&answer)?;
        Ok(true)
    }

    fn answer(&self, message: &HostMessage) -> io::Result<()> {
        match self.control.send(&serde_json::to_vec(message)?, &[]) {
            // The engine is gone; the next look at the socket says so.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            result => result,
        }
    }

    /// Tells the engine of its children's ends. Orphans that were left to the host are only buried.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code << 8),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signal as i32),
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return Ok(()),
                Ok(_) | Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let ended = u32::try_from(pid.as_raw()).ok().and_then(|pid| self.children.remove(&pid));
            if let Some(id) = ended {
                self.answer(&HostMessage::Exited { id, status })?;
            }
        }
    }
}

/// Spawns a child in a process group of its own, whose number is that of the child.
fn spawn(message: SpawnMessage, descriptors: Vec<OwnedFd>) -> io::Result<u32> {
    let mut command = Command::new(&message.program);
    command.args(&message.args);
    if !message.inherit_env {
        command.env_clear();
    }
    command.envs(message.env);
    if let Some(cwd) = &message.cwd {
        command.current_dir(cwd);
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().map_or_else(Stdio::null, Stdio::from);
    command.stdin(next()).stdout(next()).stderr(next());
    command.process_group(0);
    command.spawn().map(|child| child.id())
}

/// Kills every descendant, also those that come to be while it does so.
fn kill_everything() {
    let start = Instant::now();
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    while start.elapsed() < CLEAN_UP_LIMIT {
        ProcessTable::read().descendants(me).into_iter().for_each(kill_one);
        // Orphans become our own children, so an empty set of children means that nobody is left.
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(nix::Error::ECHILD) => return,
                Ok(WaitStatus::StillAlive) => break std::thread::sleep(Duration::from_millis(1)),
                _ => {}
            }
        }
    }
}
