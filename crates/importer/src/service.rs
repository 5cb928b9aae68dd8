//! The task that owns what is known of every Dag file.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{EngineHandle, Input};
use jiff::{SignedDuration, Timestamp};
use model::DagId;
use python::import::{Answers, ImportRequest, Imported, import};
use python::{Bundle, ForkError, Helper, HelperInfo};
use store::{Store, Write};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::describe::{Circumstances, describe, relative};
use crate::discover::dag_files;
use crate::fingerprint::{Change, Fingerprint};
use crate::watch::{FileWatcher, News};
use crate::{ImporterOptions, Progress, log};

/// How long to listen for more news before acting on the first: editors write in several steps.
const QUIET: Duration = Duration::from_millis(40);
/// Pause before a write that the store refused is tried again.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How often a long first import says how far it is.
const PROGRESS_STEP: usize = 50;

/// A file, by its bundle and its path below it.
type FileKey = (String, String);

#[derive(Default)]
struct FileState {
    fingerprint: Option<Fingerprint>,
    dag_ids: Vec<DagId>,
    /// Dag ids that it wants and another file has.
    refused: Vec<String>,
    failed: bool,
    importing: bool,
    /// Changed again while it was being imported.
    again: bool,
}

/// What came of an import, back at the task that owns the files.
struct Finished {
    key: FileKey,
    path: PathBuf,
    imported: Imported,
    fingerprint: Fingerprint,
    started: Timestamp,
    took: Duration,
}

pub(crate) struct Service {
    options: ImporterOptions,
    store: Arc<dyn Store>,
    engine: EngineHandle,
    helper: Helper,
    answers: Arc<dyn Answers>,
    progress: watch::Sender<Progress>,
    bundles: Vec<Bundle>,
    files: BTreeMap<FileKey, FileState>,
    queue: VecDeque<FileKey>,
    running: usize,
    /// Which files read a path while they were imported.
    readers: HashMap<PathBuf, HashSet<FileKey>>,
    watcher: FileWatcher,
    news: mpsc::Receiver<News>,
    finished: (mpsc::UnboundedSender<Finished>, mpsc::UnboundedReceiver<Finished>),
    /// Names the Python environment in fingerprints.
    importer: String,
    imported: usize,
}

impl Service {
    pub(crate) fn new(
        options: ImporterOptions,
        store: Arc<dyn Store>,
        engine: EngineHandle,
        helper: Helper,
        answers: Arc<dyn Answers>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let (watcher, news) = FileWatcher::new();
        Self {
            options,
            store,
            engine,
            helper,
            answers,
            progress,
            bundles: Vec::new(),
            files: BTreeMap::new(),
            queue: VecDeque::new(),
            running: 0,
            readers: HashMap::new(),
            watcher,
            news,
            finished: mpsc::unbounded_channel(),
            importer: String::new(),
            imported: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        let info = self.helper_info().await;
        self.importer = name_of_importer(&info);
        self.bundles = info.bundles;
        for bundle in self.bundles.clone() {
            self.watcher.watch_tree(&bundle.path);
        }
        self.recall().await;
        self.scan(true).await;
        let mut next_scan = Instant::now() + self.options.scan_interval;
        loop {
            self.start_imports();
            self.tell_progress();
            tokio::select! {
                Some(finished) = self.finished.1.recv() => self.take_finished(finished).await,
                Some(news) = self.news.recv() => self.take_news(news).await,
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
            let fingerprint = Fingerprint::from_json(&record.fingerprint);
            let key = (record.bundle_name, record.relative_fileloc);
            if let Some(fingerprint) = &fingerprint {
                self.follow(&key, fingerprint);
            }
            self.files.insert(key, FileState { fingerprint, dag_ids: record.dag_ids, ..FileState::default() });
        }
    }

    /// Looks at every folder: what is new or gone, and with `compare` also what has changed.
    async fn scan(&mut self, compare: bool) {
        let (bundles, rules) = (self.bundles.clone(), self.options.rules);
        let found = tokio::task::spawn_blocking(move || {
            let files_of = |path: &Path| dag_files(path, rules).into_iter().map(|file| relative(path, &file)).collect();
            bundles
                .into_iter()
                .map(|bundle| (bundle.name, files_of(&bundle.path)))
                .collect::<Vec<(String, Vec<String>)>>()
        })
        .await
        .unwrap_or_default();
        let present: HashSet<FileKey> = found
            .into_iter()
            .flat_map(|(bundle, files)| files.into_iter().map(move |file| (bundle.clone(), file)))
            .collect();
        let gone: Vec<FileKey> = self.files.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for key in gone {
            self.forget(key).await;
        }
        let mut present: Vec<FileKey> = present.into_iter().collect();
        present.sort();
        for key in present {
            if compare || !self.files.contains_key(&key) {
                self.check(&key);
            }
        }
    }

    /// Puts a file in the queue if it has changed since its last import.
    fn check(&mut self, key: &FileKey) {
        let importer = self.importer.clone();
        let state = self.files.entry(key.clone()).or_default();
        let change = state.fingerprint.as_mut().map_or(Change::Changed, |print| print.compare(&importer));
        if change == Change::Changed {
            self.enqueue(key);
        }
    }

    fn enqueue(&mut self, key: &FileKey) {
        let state = self.files.entry(key.clone()).or_default();
        if state.importing {
            state.again = true;
        } else if !self.queue.contains(key) {
            self.queue.push_back(key.clone());
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
        while let Ok(Some(news)) = tokio::time::timeout(QUIET, self.news.recv()).await {
            take(news);
        }
        if lost {
            return self.scan(true).await;
        }
        let mut affected: HashSet<FileKey> = HashSet::new();
        let mut needs_scan = false;
        for path in &changed {
            let known = self.readers.get(path);
            affected.extend(known.into_iter().flatten().cloned());
            // A folder whose names were read has changed with what is in it.
            affected.extend(path.parent().and_then(|folder| self.readers.get(folder)).into_iter().flatten().cloned());
            needs_scan |= known.is_none() || !path.exists();
        }
        if needs_scan {
            self.scan(false).await;
        }
        for key in affected {
            if self.files.contains_key(&key) {
                self.check(&key);
            }
        }
    }

    fn path_of(&self, key: &FileKey) -> Option<(PathBuf, PathBuf)> {
        let bundle = self.bundles.iter().find(|bundle| bundle.name == key.0)?;
        Some((bundle.path.clone(), bundle.path.join(&key.1)))
    }

    fn start_imports(&mut self) {
        while self.running < self.options.concurrency {
            let Some(key) = self.queue.pop_front() else { return };
            let Some((bundle_path, path)) = self.path_of(&key) else { continue };
            let Some(state) = self.files.get_mut(&key) else { continue };
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
                    let _ = finished.send(Finished { key, path, imported, fingerprint, started, took });
                }
            });
        }
    }

    async fn take_finished(&mut self, finished: Finished) {
        let Finished { key, path, imported, fingerprint, started, took } = finished;
        self.running -= 1;
        self.imported += 1;
        // What changed while it was imported was perhaps not seen by the import.
        let meanwhile = modified_after(&path, started);
        if let Some(state) = self.files.get_mut(&key) {
            state.importing = false;
            if std::mem::take(&mut state.again) || meanwhile {
                self.queue.push_back(key.clone());
            }
        } else {
            // It is gone already.
            return;
        }
        log::append(&self.options.log_folder, &key.0, &key.1, &imported.output, &imported.errors);
        self.follow(&key, &fingerprint);
        let owners: HashMap<String, String> = self.other_owners(&key);
        let described = describe(
            imported,
            &Circumstances {
                bundle_name: &key.0,
                relative_fileloc: &key.1,
                fingerprint: fingerprint.to_json(),
                at: model::operations::to_microseconds(started),
                duration: SignedDuration::try_from(took).unwrap_or_default(),
                paused_at_creation: self.options.paused_at_creation,
                owner_of: &|dag_id| owners.get(dag_id).cloned(),
            },
        );
        for (name, error) in &described.errors {
            let last = error.trim_end().lines().last().unwrap_or_default();
            tracing::error!(file = %name, "{last} (the whole error: updraft dags list-import-errors)");
        }
        let failed = !described.errors.is_empty();
        let now: Vec<DagId> = described.dags.iter().map(|dag| dag.dag_id.clone()).collect();
        let refused: Vec<String> = owners.into_keys().filter(|dag_id| error_names(&described.errors, dag_id)).collect();
        let state = self.files.entry(key.clone()).or_default();
        let before = std::mem::replace(&mut state.dag_ids, now.clone());
        state.fingerprint = Some(fingerprint);
        state.failed = failed;
        state.refused = refused;
        let vanished: Vec<DagId> = before.into_iter().filter(|dag_id| !now.contains(dag_id)).collect();
        if failed {
            // Its last good Dags go on.
            state.dag_ids.extend(vanished.iter().cloned());
        }
        self.commit(vec![Write::Imported(Box::new(described))]).await;
        self.tell_engine(now.into_iter().chain(vanished.iter().cloned()).collect()).await;
        if !failed {
            self.offer(&vanished);
        }
    }

    /// Every Dag id that another file has, with the name of that file.
    fn other_owners(&self, key: &FileKey) -> HashMap<String, String> {
        let others = self.files.iter().filter(|(other, _)| *other != key);
        others
            .flat_map(|((_, file), state)| state.dag_ids.iter().map(move |dag_id| (dag_id.to_string(), file.clone())))
            .collect()
    }

    /// Dag ids are free again: files that were refused them are imported again.
    fn offer(&mut self, dag_ids: &[DagId]) {
        let wanting: Vec<FileKey> = self
            .files
            .iter()
            .filter(|(_, state)| state.refused.iter().any(|wanted| dag_ids.iter().any(|id| id.as_str() == wanted)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in wanting {
            self.enqueue(&key);
        }
    }

    /// A file is gone, and its Dags with it.
    async fn forget(&mut self, key: FileKey) {
        let Some(state) = self.files.remove(&key) else { return };
        self.queue.retain(|queued| *queued != key);
        for readers in self.readers.values_mut() {
            readers.remove(&key);
        }
        self.readers.retain(|_, readers| !readers.is_empty());
        let (bundle_name, relative_fileloc) = key;
        self.commit(vec![Write::FileGone { bundle_name, relative_fileloc }]).await;
        self.offer(&state.dag_ids);
        self.tell_engine(state.dag_ids).await;
    }

    /// Remembers what a file read, and watches it.
    fn follow(&mut self, key: &FileKey, fingerprint: &Fingerprint) {
        for path in fingerprint.paths() {
            self.readers.entry(path.to_owned()).or_default().insert(key.clone());
            if let Some(folder) = path.parent() {
                self.watcher.watch_folder(folder);
            }
        }
    }

    /// Writes until the store takes it: an import is not worth less because the disk is full.
    async fn commit(&self, batch: Vec<Write>) {
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
        let importing = self.files.values().filter(|state| state.importing).count();
        let waiting = self.queue.len() + importing;
        let failed = self.files.values().filter(|state| state.failed).count();
        let is_settled = waiting == 0 || self.progress.borrow().is_settled;
        let progress = Progress { is_settled, files: self.files.len(), waiting, imported: self.imported, failed };
        if !is_settled && self.imported > 0 && self.imported.is_multiple_of(PROGRESS_STEP) {
            tracing::info!("Imported {} Dag files, {waiting} to go", self.imported);
        }
        self.progress.send_if_modified(|told| std::mem::replace(told, progress) != progress);
    }
}

/// The packages that serialize Dags are part of what an import depends on.
fn name_of_importer(info: &HelperInfo) -> String {
    let mut packages: Vec<String> = info.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
    packages.sort();
    format!("{} python {} {}", env!("CARGO_PKG_VERSION"), info.python, packages.join(" "))
}

fn error_names(errors: &[(String, String)], dag_id: &str) -> bool {
    errors.iter().any(|(_, error)| error.starts_with(&format!("Dag {dag_id} is defined in ")))
}

fn modified_after(path: &Path, moment: Timestamp) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|modified| Timestamp::try_from(modified).ok()).is_some_and(|modified| modified > moment)
}

/// Imports a file; a helper that ends meanwhile is replaced, and the import begins again.
async fn import_until_done(helper: &Helper, request: &ImportRequest, answers: Arc<dyn Answers>) -> Imported {
    loop {
        let result = match helper.server().await {
            Ok(server) => import(&server, request, Arc::clone(&answers)).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(imported) => return imported,
            Err(ForkError::Gone | ForkError::Broken(_)) => tokio::time::sleep(STORE_PAUSE).await,
            Err(error) => {
                tracing::warn!(file = %request.file.display(), %error, "the import is tried again");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}
