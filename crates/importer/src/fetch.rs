//! Fetching bundles, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::{DagRunState, Json};
use python::bundles::{RefreshError, Refreshed};
use store::{BundleRecord, DagFilter, ImportedFile, Page, RunFilter, Store, StoreError, Write};
use tokio::time::Instant;

use crate::bundles::{Bundle, Source, WHOLE};
use crate::files::FileKey;
use crate::service::Service;

/// What came of fetching a bundle.
pub(crate) struct Fetched {
    name: String,
    result: Result<Refreshed, RefreshError>,
}

impl Service {
    /// Begins to fetch the bundles whose time has come, unless one of their files is being imported: it must not change
    /// meanwhile.
    pub(crate) fn start_fetching(&mut self) {
        let now = Instant::now();
        for bundle in &mut self.bundles {
            let Bundle { name, source: Source::Fetched(fetch), .. } = bundle else { continue };
            let may_clean = fetch.version.is_some() && fetch.clean_due <= now;
            if let Some(interval) = self.options.clean_interval.filter(|_| may_clean) {
                fetch.clean_due = now + interval;
                tokio::spawn(clean(self.fetcher.clone(), Arc::clone(&self.store), name.clone()));
            }
            if fetch.is_due(now) && !self.files.is_importing(name) {
                fetch.is_under_way = true;
                let (fetcher, fetched, name) = (self.fetcher.clone(), self.fetched.0.clone(), name.clone());
                tokio::spawn(async move {
                    let result = fetcher.refresh(&name).await;
                    let _ = fetched.send(Fetched { name, result });
                });
            }
        }
    }

    /// When the next bundle is to be fetched; those that wait for an import are not meant.
    pub(crate) fn next_fetch(&self) -> Option<Instant> {
        let now = Instant::now();
        let waiting = self.bundles.iter().filter_map(Bundle::fetch).filter(|fetch| !fetch.is_under_way);
        waiting.map(|fetch| fetch.due).filter(|due| *due > now).min()
    }

    pub(crate) async fn take_fetched(&mut self, fetched: Fetched) {
        let Fetched { name, result } = fetched;
        let Some(at) = self.bundles.iter().position(|bundle| bundle.name == name) else { return };
        let check_interval = self.options.check_interval;
        let refreshed = match result {
            Ok(refreshed) => refreshed,
            Err(error) => {
                if let Some(fetch) = self.bundles[at].fetch_mut() {
                    fetch.failed(check_interval);
                }
                return self.tell_error(at, &error).await;
            }
        };
        let bundle = &mut self.bundles[at];
        let has_moved = bundle.path.as_ref() != Some(&refreshed.path)
            || refreshed.version.is_none()
            || bundle.version() != refreshed.version.as_deref();
        let record = BundleRecord {
            name,
            version: refreshed.version.clone(),
            version_path: refreshed.version_path.map(|path| path.to_string_lossy().into_owned()),
            url: refreshed.page.url,
            url_params: refreshed.page.url_params.into_iter().collect(),
        };
        if let Some(fetch) = bundle.fetch_mut() {
            fetch.succeeded(&refreshed.path, refreshed.version, refreshed.interval, check_interval);
        }
        bundle.path = Some(refreshed.path);
        self.take_error_back(at).await;
        self.record(record).await;
        if has_moved {
            self.look_at_fetched(at).await;
        }
    }

    /// Looks for what is different in a bundle that has just been fetched.
    async fn look_at_fetched(&mut self, at: usize) {
        let bundle = &self.bundles[at];
        let Some(path) = bundle.path.clone() else { return };
        let (name, version) = (bundle.name.clone(), bundle.version().map(str::to_owned));
        match &version {
            Some(version) => tracing::info!(bundle = %name, "The bundle is at version {version}"),
            None => tracing::debug!(bundle = %name, "the bundle was fetched"),
        }
        let Some(present) = self.look(vec![(name.clone(), path)]).await else { return };
        let unchanged = self.take_present(present, |key| key.0 == name, true).await;
        if version.is_none() {
            return;
        }
        // What failed may be good by now, and its Dags stay with the version that they are from until it is.
        let (failed, good): (Vec<FileKey>, Vec<FileKey>) =
            unchanged.into_iter().partition(|key| self.files.get(key).is_some_and(|state| state.failed));
        for key in failed {
            self.enqueue(&key, false);
        }
        let files = good.into_iter().map(|(_, file)| file).collect();
        self.commit(vec![Write::BundleAdvanced { bundle_name: name, bundle_version: version, files }]).await;
    }

    /// Says what is wrong with bundles that there can't be, and remembers what the others say of themselves.
    pub(crate) async fn introduce_bundles(&mut self) {
        for at in 0..self.bundles.len() {
            let bundle = &self.bundles[at];
            match &bundle.source {
                Source::Broken(error) => {
                    let error = RefreshError { summary: error.clone(), details: String::new() };
                    self.tell_error(at, &error).await;
                }
                Source::Folder => {
                    let url_params = bundle.page.url_params.clone().into_iter().collect::<BTreeMap<_, _>>();
                    let (name, url) = (bundle.name.clone(), bundle.page.url.clone());
                    self.take_error_back(at).await;
                    self.record(BundleRecord { name, url, url_params, ..BundleRecord::default() }).await;
                }
                Source::Fetched(_) | Source::LeftAlone => {}
            }
        }
    }

    /// What is wrong with a bundle stands among the errors of its files, until it is gone, and in the log once.
    async fn tell_error(&mut self, at: usize, error: &RefreshError) {
        let bundle = &mut self.bundles[at];
        if bundle.told.as_ref() == Some(&error.summary) {
            return;
        }
        bundle.told = Some(error.summary.clone());
        bundle.has_error = true;
        let next = match (&bundle.source, bundle.version()) {
            (Source::Fetched(_), Some(version)) => format!("Version {version} goes on, and it is tried again."),
            (Source::Fetched(_), None) => "What was imported before goes on, and it is tried again.".to_owned(),
            _ => "Mend the configuration, and start the server again.".to_owned(),
        };
        let text = format!("The bundle {} can't be had: {}\n{next}\n\n{}", bundle.name, error.summary, error.details);
        tracing::error!(bundle = %bundle.name, "the bundle can't be had: {}", error.summary);
        let file = ImportedFile {
            bundle_name: bundle.name.clone(),
            relative_fileloc: WHOLE.to_owned(),
            fingerprint: Json::Null,
            at: model::operations::to_microseconds(Timestamp::now()),
            duration: SignedDuration::ZERO,
            dags: Vec::new(),
            errors: vec![(WHOLE.to_owned(), text.trim_end().to_owned())],
        };
        self.commit(vec![Write::Imported(Box::new(file))]).await;
    }

    async fn take_error_back(&mut self, at: usize) {
        let bundle = &mut self.bundles[at];
        if bundle.told.take().is_some() {
            tracing::info!(bundle = %bundle.name, "The bundle is there again");
        }
        if std::mem::take(&mut bundle.has_error) {
            let (bundle_name, relative_fileloc) = (bundle.name.clone(), WHOLE.to_owned());
            self.commit(vec![Write::FileGone { bundle_name, relative_fileloc }]).await;
        }
    }

    /// Writes what a bundle is like, if it is not as the store has it.
    async fn record(&self, record: BundleRecord) {
        let (store, name) = (Arc::clone(&self.store), record.name.clone());
        let kept = tokio::task::spawn_blocking(move || store.bundle(&name)).await;
        let is_plain = record == BundleRecord { name: record.name.clone(), ..BundleRecord::default() };
        match kept {
            Ok(Ok(Some(kept))) if kept == record => {}
            // Most are folders that have nothing to say.
            Ok(Ok(None)) if is_plain => {}
            _ => self.commit(vec![Write::Bundle(Box::new(record))]).await,
        }
    }
}

/// Removes copies of versions that nothing needs.
async fn clean(fetcher: python::bundles::Bundles, store: Arc<dyn Store>, name: String) {
    let of = name.clone();
    let keep = match tokio::task::spawn_blocking(move || versions_in_use(&*store, &of)).await {
        Ok(Ok(keep)) => keep,
        // Then another time.
        _ => return,
    };
    if let Err(error) = fetcher.clean(&name, &keep).await {
        tracing::warn!(bundle = %name, %error, "copies of old versions can't be cleaned up");
    }
}

/// The versions that runs under way keep to, and those that Dags are from.
fn versions_in_use(store: &dyn Store, name: &str) -> Result<Vec<String>, StoreError> {
    let filter = RunFilter { states: vec![DagRunState::Queued, DagRunState::Running], ..RunFilter::default() };
    let (runs, _) = store.runs(&filter, &[], Page::ALL)?;
    let filter = DagFilter { bundle_name: Some(name.to_owned()), exclude_stale: true, ..DagFilter::default() };
    let (dags, _) = store.dags(&filter, &[], Page::ALL)?;
    let versions = runs.into_iter().map(|run| run.bundle_version).chain(dags.into_iter().map(|dag| dag.bundle_version));
    let versions: BTreeSet<String> = versions.flatten().collect();
    Ok(versions.into_iter().collect())
}
