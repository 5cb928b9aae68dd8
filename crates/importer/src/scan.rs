//! Which files there are: those that are new, those that are gone, and those that have moved.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::bundles::Bundle;
use crate::describe::relative;
use crate::files::FileKey;
use crate::service::Service;

/// A file that is gone is forgotten after this time, whatever the new ones are that its Dags may have gone to.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// Files that are gone, and the new ones that were found in the same moment: a Dag that has moved from one to another was
/// never away.
pub(crate) struct Departure {
    gone: Vec<FileKey>,
    /// Those that are still to be imported.
    found: HashSet<FileKey>,
    pub(crate) until: Instant,
}

impl Service {
    /// Looks at every folder: what is new or gone, and with `compare` also what has changed. Bundles that nobody has
    /// configured any more are gone as a whole.
    pub(crate) async fn scan(&mut self, compare: bool) {
        let folder = |bundle: &Bundle| Some((bundle.name.clone(), bundle.folder()?.to_owned()));
        let Some(present) = self.look(self.bundles.iter().filter_map(folder).collect()).await else { return };
        let others: HashSet<String> =
            self.bundles.iter().filter(|bundle| bundle.folder().is_none()).map(|bundle| bundle.name.clone()).collect();
        self.take_present(present, |key| !others.contains(&key.0), compare).await;
    }

    /// These are the files that are there, of those that are meant: what is new or gone, and with `compare` also what has
    /// changed. Those that are as they were are returned, as far as they were compared.
    pub(crate) async fn take_present(
        &mut self,
        present: Vec<FileKey>,
        is_meant: impl Fn(&FileKey) -> bool,
        compare: bool,
    ) -> Vec<FileKey> {
        let is_present: HashSet<&FileKey> = present.iter().collect();
        let is_gone = |key: &&FileKey| is_meant(key) && !is_present.contains(key);
        let gone: Vec<FileKey> = self.files.keys().filter(is_gone).cloned().collect();
        let (found, known): (Vec<FileKey>, Vec<FileKey>) = present.into_iter().partition(|key| !self.is_there(key));
        self.depart(gone, &found);
        for key in &found {
            let state = self.files.entry(key);
            if std::mem::take(&mut state.gone) {
                // It is back, and its Dags may be in another file by now.
                state.fingerprint = None;
            }
        }
        let mut unchanged = self.check(found, !self.departures.is_empty()).await;
        unchanged.append(&mut self.check(if compare { known } else { Vec::new() }, false).await);
        self.settle_departures(None).await;
        unchanged
    }

    /// Whether a file is known, and was there when somebody looked last.
    pub(crate) fn is_there(&self, key: &FileKey) -> bool {
        self.files.get(key).is_some_and(|state| !state.gone)
    }

    /// Files are gone, and others are new. Those that were refused a Dag of one that is gone are as good as new.
    fn depart(&mut self, gone: Vec<FileKey>, found: &[FileKey]) {
        let gone: Vec<FileKey> =
            gone.into_iter().filter(|key| !std::mem::replace(&mut self.files.entry(key).gone, true)).collect();
        if gone.is_empty() {
            return;
        }
        let mut found: HashSet<FileKey> = found.iter().cloned().collect();
        for key in &gone {
            let state = self.files.entry(key);
            state.queued = false;
            let dag_ids = state.dag_ids.clone();
            for heir in self.files.wanting(&dag_ids).into_iter().filter(|heir| self.is_there(heir)).collect::<Vec<_>>()
            {
                self.enqueue(&heir, true);
                found.insert(heir);
            }
        }
        self.queue.retain(|key| !gone.contains(key));
        self.departures.push(Departure { gone, found, until: Instant::now() + LONGEST_HOLD });
    }

    /// Forgets the files that are gone, as soon as those are imported that were found with them.
    pub(crate) async fn settle_departures(&mut self, imported: Option<&FileKey>) {
        let (files, now) = (&self.files, Instant::now());
        let mut settled: Vec<FileKey> = Vec::new();
        self.departures.retain_mut(|departure| {
            departure.found.retain(|key| {
                Some(key) != imported && files.get(key).is_some_and(|state| state.queued || state.importing)
            });
            let is_settled = departure.found.is_empty() || departure.until <= now;
            if is_settled {
                settled.append(&mut departure.gone);
            }
            !is_settled
        });
        for key in settled {
            if self.files.get(&key).is_some_and(|state| state.gone) {
                self.forget(key).await;
            }
        }
    }

    /// The files that may hold Dags, in bundles with their paths.
    pub(crate) async fn look(&mut self, bundles: Vec<(String, PathBuf)>) -> Option<Vec<FileKey>> {
        let rules = self.options.rules;
        let mut discovery = std::mem::take(&mut self.discovery);
        let looked = tokio::task::spawn_blocking(move || {
            let mut present: Vec<FileKey> = Vec::new();
            for (name, path) in bundles {
                let found = discovery.dag_files(&path, rules);
                present.extend(found.iter().map(|file| (name.clone(), relative(&path, file))));
            }
            (discovery, present)
        });
        let (discovery, present) = looked.await.ok()?;
        self.discovery = discovery;
        Some(present)
    }
}
