//! Keeps Dags in step with their files.
//!
//! One task of the async runtime owns what is known of every file. It hears of changes from the file system, scans the
//! folders now and then for file systems that tell nothing, and imports what has changed, several files at once, each
//! in a child process. What an import finds is committed; then the engine is told.

mod bundles;
mod describe;
mod discover;
mod fetch;
mod files;
mod fingerprint;
mod log;
mod scan;
mod service;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineHandle, Pulse};
use jiff::Timestamp;
use python::Helper;
use python::import::{Answers, ImportLimits};
use store::Store;
use tokio::sync::{mpsc, watch as watch_channel};

pub use describe::describe_file;
pub use discover::{Discovery, IgnoreSyntax, Rules, dag_files, may_hold_dags};
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
    /// No bundle is fetched more often (`[dag_processor] bundle_refresh_check_interval`).
    pub check_interval: Duration,
    /// How often copies of old versions are cleaned up, if at all (`[dag_processor] stale_bundle_cleanup_interval`).
    pub clean_interval: Option<Duration>,
    /// The bundles to look at; none for all of them. What is known of the others stays.
    pub only: Vec<String>,
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

/// How often it gives a sign of life, as Airflow's Dag processor does.
const PULSE_INTERVAL: Duration = Duration::from_secs(5);

/// A running importer. It ends when this is dropped.
pub struct Importer {
    progress: watch_channel::Receiver<Progress>,
    pulse: Pulse,
    again: ImportAgain,
    task: tokio::task::JoinHandle<()>,
}

/// Asks for the import of a file although nothing about it has changed: by its bundle and its path below it, or that of a
/// member of it.
pub type ImportAgain = mpsc::UnboundedSender<(String, String)>;

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
        let (again, asked) = mpsc::unbounded_channel();
        let service = service::Service::new(options, store, engine, helper, answers, progress, asked);
        let pulse = Pulse::default();
        let task = tokio::spawn(with_pulse(service.run(), pulse.clone()));
        Self { progress: receiver, pulse, again, task }
    }

    pub fn progress(&self) -> watch_channel::Receiver<Progress> {
        self.progress.clone()
    }

    /// Beats for as long as the importer goes on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    pub fn again(&self) -> ImportAgain {
        self.again.clone()
    }

    /// Waits until every file that was there at the start has been looked at.
    pub async fn settled(&self) {
        let mut progress = self.progress.clone();
        let _ = progress.wait_for(|progress| progress.is_settled).await;
    }
}

/// Beats between the steps of the work, in the same task: if one of them never ends, it stops.
async fn with_pulse(work: impl Future<Output = ()>, pulse: Pulse) {
    let beat = async {
        loop {
            pulse.beat(Timestamp::now());
            tokio::time::sleep(PULSE_INTERVAL).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = beat => {}
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
