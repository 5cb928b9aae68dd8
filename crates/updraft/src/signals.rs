//! Signals that ask the process to end.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    pub fn listen() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
