//! The task that keeps Dags in step with their files.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineHandle, Input};
use jiff::{SignedDuration, Timestamp};
use model::DagId;
use python::bundles::Bundles;
use python::import::{Answers, ImportRequest, Imported, import};
use python::{ForkError, Helper, HelperInfo};
use store::{Store, Write};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::bundles::{Bundle, WHOLE};
use crate::describe::{Circumstances, describe, relative};
use crate::discover::{Discovery, IGNORE_FILE, may_hold_dags};
use crate::fetch::Fetched;
use crate::files::{FileKey, FileState, Files, to_record};
use crate::fingerprint::{Change, Fingerprint};
use crate::scan::Departure;
use crate::watch::{FileWatcher, News};
use crate::{ImporterOptions, Progress, log};

/// How long to listen for more news before acting on the first: editors write in several steps.
const QUIET: Duration = Duration::from_millis(40);
/// News that never stop are acted upon after this time.
const LONGEST_QUIET: Duration = Duration::from_millis(160);
/// How often the import of a file is begun anew because its process was killed: most often for want of memory, which
/// may be others' doing.
const MAX_KILLS: u32 = 2;
/// Pause before a write that the store refused is tried again.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How often a long first import says how far it is.
const PROGRESS_STEP: usize = 50;

/// What came of an import, back at the task that owns the files.
struct Finished {
    key: FileKey,
    path: PathBuf,
    /// The version of its bundle.
    version: Option<String>,
    imported: Imported,
    fingerprint: Fingerprint,
    started: Timestamp,
    took: Duration,
}

pub(crate) struct Service {
    pub(crate) options: ImporterOptions,
    pub(crate) store: Arc<dyn Store>,
    engine: EngineHandle,
    helper: Helper,
    pub(crate) fetcher: Bundles,
    answers: Arc<dyn Answers>,
    progress: watch::Sender<Progress>,
    pub(crate) bundles: Vec<Bundle>,
    pub(crate) files: Files,
    pub(crate) queue: VecDeque<FileKey>,
    running: usize,
    pub(crate) discovery: Discovery,
    watcher: FileWatcher,
    news: mpsc::Receiver<News>,
    finished: (mpsc::UnboundedSender<Finished>, mpsc::UnboundedReceiver<Finished>),
    pub(crate) fetched: (mpsc::UnboundedSender<Fetched>, mpsc::UnboundedReceiver<Fetched>),
    /// Names the Python environment in fingerprints.
    importer: String,
    imported: usize,
    pub(crate) departures: Vec<Departure>,
    /// Files that are to be imported again although they are as they were.
    asked: mpsc::UnboundedReceiver<FileKey>,
}

impl Service {
    pub(crate) fn new(
        options: ImporterOptions,
        store: Arc<dyn Store>,
        engine: EngineHandle,
        helper: Helper,
        answers: Arc<dyn Answers>,
        progress: watch::Sender<Progress>,
        asked: mpsc::UnboundedReceiver<FileKey>,
    ) -> Self {
        let (watcher, news) = FileWatcher::new();
        Self {
            options,
            store,
            engine,
            fetcher: Bundles::new(helper.clone(), Arc::clone(&answers)),
            helper,
            answers,
            progress,
            bundles: Vec::new(),
            files: Files::default(),
            queue: VecDeque::new(),
            running: 0,
            discovery: Discovery::default(),
            watcher,
            news,
            finished: mpsc::unbounded_channel(),
            fetched: mpsc::unbounded_channel(),
            importer: String::new(),
            imported: 0,
            departures: Vec::new(),
            asked,
        }
    }

    pub(crate) async fn run(mut self) {
        let info = self.helper_info().await;
        self.importer = name_of_importer(&info);
        let clean_interval = self.options.clean_interval.unwrap_or(self.options.scan_interval);
        let bundle = |configured| {
            let bundle = Bundle::new(configured, self.options.scan_interval, clean_interval);
            let is_meant = self.options.only.is_empty() || self.options.only.contains(&bundle.name);
            if is_meant { bundle } else { bundle.leave_alone() }
        };
        self.bundles = info.bundles.into_iter().map(bundle).collect();
        for folder in self.bundles.iter().filter_map(Bundle::folder) {
            self.watcher.watch_tree(folder);
        }
        self.recall().await;
        self.introduce_bundles().await;
        self.scan(true).await;
        let mut next_scan = Instant::now() + self.options.scan_interval;
        loop {
            self.start_fetching();
            self.start_imports();
            self.tell_progress();
            let next_departure = self.departures.iter().map(|departure| departure.until).min();
            let next_fetch = self.next_fetch().unwrap_or(next_scan);
            tokio::select! {
                Some(fetched) = self.fetched.1.recv() => self.take_fetched(fetched).await,
                () = tokio::time::sleep_until(next_fetch) => {}
                Some(finished) = self.finished.1.recv() => self.take_finished(finished).await,
                Some(news) = self.news.recv() => self.take_news(news).await,
                Some(file) = self.asked.recv() => self.import_again(&file),
                () = tokio::time::sleep_until(next_departure.unwrap_or(next_scan)), if next_departure.is_some() => {
                    self.settle_departures(None).await;
                }
                () = tokio::time::sleep_until(next_scan) => {
                    self.scan(true).await;
                    next_scan = Instant::now() + self.options.scan_interval;
                }
            }
        }
    }

    async fn helper_info(&self) -> HelperInfo {
        loop {
            let ready = match self.helper.server().await {
                Ok(server) => server.ready().await,
                Err(error) => Err(error),
            };
            match ready {
                Ok(info) => return info,
                Err(_) => tokio::time::sleep(STORE_PAUSE).await,
            }
        }
    }

    /// Takes up what earlier processes have imported.
    async fn recall(&mut self) {
        let store = Arc::clone(&self.store);
        let records = loop {
            let reader = Arc::clone(&store);
            match tokio::task::spawn_blocking(move || reader.files()).await {
                Ok(Ok(records)) => break records,
                Ok(Err(error)) => tracing::error!(%error, "what was imported before can't be read"),
                Err(error) => tracing::error!(%error, "what was imported before can't be read"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        };
        for record in records {
            let of = self.bundles.iter_mut().find(|bundle| bundle.name == record.bundle_name);
            if let (Some(bundle), WHOLE) = (of, &*record.relative_fileloc) {
                bundle.has_error = true;
                continue;
            }
            let paths = self.files.recall(record);
            self.follow(&paths);
        }
    }

    /// Puts those files in the queue that have changed since their last import; the others are returned.
    pub(crate) async fn check(&mut self, keys: Vec<FileKey>, is_urgent: bool) -> Vec<FileKey> {
        let mut known: Vec<(FileKey, Option<Fingerprint>)> = Vec::with_capacity(keys.len());
        for key in keys {
            let fingerprint = self.files.entry(&key).fingerprint.take();
            known.push((key, fingerprint));
        }
        let importer = self.importer.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let compare = |(key, mut print): (FileKey, Option<Fingerprint>)| {
                let change = print.as_mut().map_or(Change::Changed, |print| print.compare(&importer));
                (key, print, change)
            };
            known.into_iter().map(compare).collect::<Vec<_>>()
        });
        let mut unchanged = Vec::new();
        for (key, fingerprint, change) in compared.await.unwrap_or_default() {
            self.files.entry(&key).fingerprint = fingerprint;
            if change == Change::Changed {
                self.enqueue(&key, is_urgent);
            } else {
                unchanged.push(key);
            }
        }
        unchanged
    }

    fn import_again(&mut self, (bundle, file): &FileKey) {
        let is_meant = |(of, known): &&FileKey| {
            let rest = file.strip_prefix(known.as_str()).filter(|_| of == bundle);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let meant = self.files.keys().find(is_meant).cloned();
        let Some(key) = meant else { return };
        let Some(bundle) = self.bundles.iter_mut().find(|of| of.name == *bundle && of.path.is_some()) else { return };
        if let Some(fetch) = bundle.fetch_mut() {
            // Whoever asks wants what there is by now.
            fetch.due = Instant::now();
        }
        self.enqueue(&key, true);
    }

    /// What somebody has just edited goes before a long first import.
    pub(crate) fn enqueue(&mut self, key: &FileKey, is_urgent: bool) {
        let state = self.files.entry(key);
        if state.gone {
            // There is nothing to import.
        } else if state.importing {
            state.again = true;
        } else if !std::mem::replace(&mut state.queued, true) {
            if is_urgent {
                self.queue.push_front(key.clone());
            } else {
                self.queue.push_back(key.clone());
            }
        }
    }

    async fn take_news(&mut self, first: News) {
        let mut changed: HashSet<PathBuf> = HashSet::new();
        let mut lost = false;
        let mut take = |news: News| match news {
            News::Changed(paths) => changed.extend(paths),
            News::Lost => lost = true,
        };
        take(first);
        let latest = Instant::now() + LONGEST_QUIET;
        while let Ok(Some(news)) = tokio::time::timeout_at(latest.min(Instant::now() + QUIET), self.news.recv()).await {
            take(news);
        }
        if lost {
            return self.scan(true).await;
        }
        let mut affected: HashSet<FileKey> = HashSet::new();
        let mut needs_scan = false;
        for path in &changed {
            affected.extend(self.files.affected_by(path));
            needs_scan |= self.concerns_discovery(path);
        }
        if needs_scan {
            self.scan(false).await;
        }
        let affected = affected.into_iter().filter(|key| self.files.contains(key)).collect();
        self.check(affected, true).await;
    }

    /// Whether what happened to a path may add or remove Dag files. Most of what is written beside them does not.
    fn concerns_discovery(&self, path: &Path) -> bool {
        let of = |bundle: &Bundle| {
            Some((bundle.name.clone(), bundle.folder().filter(|own| path.starts_with(own))?.to_owned()))
        };
        let Some((bundle, folder)) = self.bundles.iter().find_map(of) else { return false };
        let name = relative(&folder, path);
        let is_known = self.is_there(&(bundle.clone(), name.clone()));
        if path.file_name().is_some_and(|name| name == IGNORE_FILE) || path.is_dir() {
            return true;
        }
        if !path.exists() {
            return is_known || self.files.has_below(&bundle, &name);
        }
        is_known != may_hold_dags(path, self.options.rules.safe_mode)
    }

    /// The next file to import: those of a bundle that is to be fetched wait.
    fn next_in_queue(&mut self) -> Option<FileKey> {
        let now = Instant::now();
        let restless: Vec<&str> =
            self.bundles.iter().filter(|bundle| !bundle.is_still(now)).map(|bundle| &*bundle.name).collect();
        let at = self.queue.iter().position(|key| !restless.contains(&&*key.0))?;
        self.queue.remove(at)
    }

    fn start_imports(&mut self) {
        while self.running < self.options.concurrency {
            let Some(key) = self.next_in_queue() else { return };
            let Some(bundle) = self.bundles.iter().find(|bundle| bundle.name == key.0) else { continue };
            let Some(bundle_path) = bundle.path.clone() else { continue };
            let (path, version) = (bundle_path.join(&key.1), bundle.version().map(str::to_owned));
            let Some(state) = self.files.get_mut(&key) else { continue };
            state.queued = false;
            state.importing = true;
            self.running += 1;
            let request = ImportRequest {
                file: path.clone(),
                bundle_path,
                bundle_name: key.0.clone(),
                limits: self.options.limits.clone(),
            };
            let (helper, answers, importer) = (self.helper.clone(), Arc::clone(&self.answers), self.importer.clone());
            let finished = self.finished.0.clone();
            tokio::spawn(async move {
                let started = Timestamp::now();
                let clock = Instant::now();
                let imported = import_until_done(&helper, &request, answers).await;
                let took = clock.elapsed();
                let (file, files, folders) = (path.clone(), imported.files.clone(), imported.folders.clone());
                let take = move || Fingerprint::take(&importer, &file, &files, &folders);
                if let Ok(fingerprint) = tokio::task::spawn_blocking(take).await {
                    let _ = finished.send(Finished { key, path, version, imported, fingerprint, started, took });
                }
            });
        }
    }

    async fn take_finished(&mut self, finished: Finished) {
        let Finished { key, path, version, imported, fingerprint, started, took } = finished;
        self.running -= 1;
        self.imported += 1;
        // It may be gone already.
        let Some(state) = self.files.get_mut(&key) else { return };
        state.importing = false;
        if state.gone {
            return;
        }
        // What changed while it was imported was perhaps not seen by the import.
        let again = std::mem::take(&mut state.again) || modified_after(&path, started);
        if again {
            self.enqueue(&key, true);
        }
        log::append(&self.options.log_folder, &key.0, &key.1, &imported.output, &imported.errors);
        let owner_of = |dag_id: &str| {
            self.files.other_owner(dag_id, &key).map(|(bundle, file)| {
                if *bundle == key.0 { file.clone() } else { format!("{file} of the bundle {bundle}") }
            })
        };
        let mut described = describe(
            imported,
            &Circumstances {
                bundle_name: &key.0,
                bundle_version: version.as_deref(),
                relative_fileloc: &key.1,
                at: model::operations::to_microseconds(started),
                duration: SignedDuration::try_from(took).unwrap_or_default(),
                paused_at_creation: self.options.paused_at_creation,
                owner_of: &owner_of,
            },
        );
        for (name, error) in &described.file.errors {
            tracing::error!(file = %name, "{} (the whole error: updraft dags list-import-errors)", gist(error));
        }
        let failed = !described.file.errors.is_empty();
        described.file.fingerprint = to_record(&fingerprint, failed, &described.refused);
        let paths = self.files.set_fingerprint(&key, fingerprint);
        self.follow(&paths);
        let now: Vec<DagId> = described.file.dags.iter().map(|dag| dag.dag_id.clone()).collect();
        let before = self.files.get(&key).map(|state| state.dag_ids.clone()).unwrap_or_default();
        let vanished: Vec<DagId> = before.into_iter().filter(|dag_id| !now.contains(dag_id)).collect();
        // A file that fails keeps its last good Dags.
        let kept = if failed { vanished.as_slice() } else { &[] };
        self.files.set_dags(&key, now.iter().chain(kept).cloned().collect());
        let state = self.files.entry(&key);
        state.failed = failed;
        state.refused = described.refused;
        self.commit(vec![Write::Imported(Box::new(described.file))]).await;
        self.tell_engine(now.into_iter().chain(vanished.iter().cloned()).collect()).await;
        if !failed {
            self.offer(&vanished);
        }
        self.settle_departures(Some(&key)).await;
    }

    /// Dag ids are free again: files that were refused them are imported again.
    fn offer(&mut self, dag_ids: &[DagId]) {
        for key in self.files.wanting(dag_ids) {
            self.enqueue(&key, true);
        }
    }

    /// A file is gone, and its Dags with it.
    pub(crate) async fn forget(&mut self, key: FileKey) {
        let Some(FileState { dag_ids, queued, .. }) = self.files.remove(&key) else { return };
        if queued {
            self.queue.retain(|other| *other != key);
        }
        let (bundle_name, relative_fileloc) = key;
        self.commit(vec![Write::FileGone { bundle_name, relative_fileloc }]).await;
        self.offer(&dag_ids);
        self.tell_engine(dag_ids).await;
    }

    /// Watches what a file has read.
    fn follow(&mut self, paths: &[PathBuf]) {
        let is_watched = |path: &&PathBuf| !self.bundles.iter().any(|bundle| bundle.has_fetched(path));
        let folders = paths.iter().filter(is_watched).filter_map(|path| path.parent());
        folders.for_each(|folder| self.watcher.watch_folder(folder));
    }

    /// Writes until the store takes it: an import is not worth less because the disk is full.
    pub(crate) async fn commit(&self, batch: Vec<Write>) {
        let mut told = false;
        loop {
            let (store, writes) = (Arc::clone(&self.store), batch.clone());
            let result = tokio::task::spawn_blocking(move || store.commit(writes)).await;
            match result {
                Ok(Ok(())) => return,
                Ok(Err(error)) if !error.is_temporary() => {
                    return tracing::error!(%error, "what an import found can't be written");
                }
                Ok(Err(error)) if !told => {
                    tracing::error!(%error, "what an import found waits for the database");
                    told = true;
                }
                Ok(Err(_)) => {}
                Err(error) => return tracing::error!(%error, "what an import found can't be written"),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    async fn tell_engine(&self, dag_ids: Vec<DagId>) {
        if !dag_ids.is_empty() && self.engine.tell(Input::DagsChanged(dag_ids)).await.is_err() {
            tracing::debug!("the engine has stopped; it will find what changed when it starts");
        }
    }

    fn tell_progress(&self) {
        let importing = self.running;
        let waiting = self.queue.len() + importing;
        let failed = self.files.states().filter(|state| state.failed).count();
        let was_tried = |bundle: &Bundle| bundle.fetch().is_none_or(|fetch| fetch.was_tried);
        let is_settled = (waiting == 0 && self.bundles.iter().all(was_tried)) || self.progress.borrow().is_settled;
        let progress = Progress { is_settled, files: self.files.len(), waiting, imported: self.imported, failed };
        if !is_settled && self.imported > 0 && self.imported.is_multiple_of(PROGRESS_STEP) {
            tracing::info!("Imported {} Dag files, {waiting} to go", self.imported);
        }
        self.progress.send_if_modified(|told| std::mem::replace(told, progress) != progress);
    }
}

/// The form of what an import leaves in the store. Raise it whenever that changes: files are imported again then, although
/// they are as they were. It was 1 before assets, 2 before timetables of plugins, 3 before classes that
/// give weights to mapped tasks, 4 before it was kept who names an asset,
/// and 5 before the hooks of listeners.
const STORED_FORM: u32 = 6;

/// The packages that serialize Dags are part of what an import depends on, and so is the form of what is stored.
fn name_of_importer(info: &HelperInfo) -> String {
    let mut packages: Vec<String> = info.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
    packages.sort();
    let version = env!("CARGO_PKG_VERSION");
    format!("{version} form {STORED_FORM} python {} {}", info.python, packages.join(" "))
}

/// The line of an error that says most: of a traceback the last one.
fn gist(error: &str) -> &str {
    let mut lines = error.trim().lines();
    let first = lines.next().unwrap_or_default();
    if first.starts_with("Traceback") { lines.last().unwrap_or(first) } else { first }
}

fn modified_after(path: &Path, moment: Timestamp) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|modified| Timestamp::try_from(modified).ok()).is_some_and(|modified| modified > moment)
}

/// Imports a file; a helper that ends meanwhile is replaced, and the import begins again. One whose process is killed again
/// and again has failed.
async fn import_until_done(helper: &Helper, request: &ImportRequest, answers: Arc<dyn Answers>) -> Imported {
    let mut kills = 0;
    loop {
        let result = match helper.server().await {
            Ok(server) => import(&server, request, Arc::clone(&answers)).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(imported) if imported.was_killed && kills < MAX_KILLS => {
                kills += 1;
                tracing::warn!(file = %request.file.display(), "the import was killed, and is tried again");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            Ok(imported) => return imported,
            Err(ForkError::Gone | ForkError::Broken(_)) => tokio::time::sleep(STORE_PAUSE).await,
            Err(error) => {
                tracing::warn!(file = %request.file.display(), %error, "the import is tried again");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_in_an_earlier_form_is_imported_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dag.py");
        std::fs::write(&file, "x").unwrap();
        let info = HelperInfo { pid: 1, python: "3.11".into(), packages: Default::default(), bundles: Vec::new() };
        // As versions without assets named themselves.
        let before = format!("{} python 3.11 ", env!("CARGO_PKG_VERSION"));
        let now = name_of_importer(&info);
        assert_eq!(Fingerprint::take(&before, &file, &[], &[]).compare(&now), Change::Changed);
        assert_eq!(Fingerprint::take(&now, &file, &[], &[]).compare(&now), Change::Unchanged);
    }
}
