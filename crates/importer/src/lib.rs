//! Keeps Dags in step with their files.
//!
//! One task of the async runtime owns what is known of every file. It hears of changes from the file system, scans the
//! folders now and then for file systems that tell nothing, and imports what has changed, several files at once, each
//! in a child process. What an import finds is committed; then the engine is told.

mod describe;
mod discover;
mod fingerprint;
mod log;
mod service;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::EngineHandle;
use python::Helper;
use python::import::{Answers, ImportLimits};
use store::Store;
use tokio::sync::watch as watch_channel;

pub use describe::describe_file;
pub use discover::{IgnoreSyntax, Rules, dag_files, may_hold_dags};
pub use fingerprint::{Change, Fingerprint};

#[derive(Clone, Debug)]
pub struct ImporterOptions {
    pub rules: Rules,
    pub limits: ImportLimits,
    /// Files that are imported at once (`[dag_processor] parsing_processes`).
    pub concurrency: usize,
    pub log_folder: PathBuf,
    /// `[core] dags_are_paused_at_creation`.
    pub paused_at_creation: bool,
    /// How often folders are scanned although nothing was heard of them (`[dag_processor] refresh_interval`).
    pub scan_interval: Duration,
}

/// How far the importer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Whether every file that was there at the start has been looked at.
    pub is_settled: bool,
    pub files: usize,
    /// Files that wait for their import, or are being imported.
    pub waiting: usize,
    pub imported: usize,
    pub failed: usize,
}

/// A running importer. It ends when this is dropped.
pub struct Importer {
    progress: watch_channel::Receiver<Progress>,
    task: tokio::task::JoinHandle<()>,
}

impl Importer {
    /// Starts on the current async runtime.
    pub fn start(
        options: ImporterOptions,
        store: Arc<dyn Store>,
        engine: EngineHandle,
        helper: Helper,
        answers: Arc<dyn Answers>,
    ) -> Self {
        let (progress, receiver) = watch_channel::channel(Progress::default());
        let service = service::Service::new(options, store, engine, helper, answers, progress);
        Self { progress: receiver, task: tokio::spawn(service.run()) }
    }

    pub fn progress(&self) -> watch_channel::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until every file that was there at the start has been looked at.
    pub async fn settled(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| progress.is_settled).await;
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
