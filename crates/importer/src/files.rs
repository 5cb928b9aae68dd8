//! What is known of every Dag file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use model::{DagId, Json};
use store::FileRecord;

use crate::fingerprint::Fingerprint;

/// A file, by its bundle and its path below it.
pub(crate) type FileKey = (String, String);

#[derive(Default)]
pub(crate) struct FileState {
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) dag_ids: Vec<DagId>,
    /// Dag ids that it wants and another file has.
    pub(crate) refused: Vec<String>,
    pub(crate) failed: bool,
    pub(crate) queued: bool,
    pub(crate) importing: bool,
    /// Changed again while it was being imported.
    pub(crate) again: bool,
    /// It is no longer there, and forgotten once it is known where its Dags went: until then they are anybody's.
    pub(crate) gone: bool,
}

/// All files, with what leads to them.
#[derive(Default)]
pub(crate) struct Files {
    files: BTreeMap<FileKey, FileState>,
    /// Which files read a path while they were imported.
    readers: HashMap<PathBuf, HashSet<FileKey>>,
    /// Which file has a Dag id.
    owners: HashMap<DagId, FileKey>,
}

/// What is remembered of a file beside its fingerprint, in the same place.
const REFUSED: &str = "refused";
const FAILED: &str = "failed";

/// A fingerprint with what else is to be remembered of its file.
pub(crate) fn to_record(fingerprint: &Fingerprint, failed: bool, refused: &[String]) -> Json {
    let mut record = fingerprint.to_json();
    record[REFUSED] = refused.into();
    record[FAILED] = failed.into();
    record
}

impl Files {
    pub(crate) fn get(&self, key: &FileKey) -> Option<&FileState> {
        self.files.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &FileKey) -> Option<&mut FileState> {
        self.files.get_mut(key)
    }

    pub(crate) fn entry(&mut self, key: &FileKey) -> &mut FileState {
        self.files.entry(key.clone()).or_default()
    }

    pub(crate) fn contains(&self, key: &FileKey) -> bool {
        self.files.contains_key(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &FileKey> {
        self.files.keys()
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &FileState> {
        self.files.values()
    }

    /// Whether a file of a bundle is being imported.
    pub(crate) fn is_importing(&self, bundle: &str) -> bool {
        self.files.iter().any(|((of, _), state)| state.importing && of == bundle)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Takes up what an earlier process has recorded. Returns the paths to follow.
    pub(crate) fn recall(&mut self, record: FileRecord) -> Vec<PathBuf> {
        let key = (record.bundle_name, record.relative_fileloc);
        let refused = record.fingerprint[REFUSED].as_array().into_iter().flatten();
        let state = FileState {
            refused: refused.filter_map(Json::as_str).map(str::to_owned).collect(),
            failed: record.fingerprint[FAILED].as_bool().unwrap_or(false),
            ..FileState::default()
        };
        self.files.insert(key.clone(), state);
        self.set_dags(&key, record.dag_ids);
        Fingerprint::from_json(&record.fingerprint).map(|print| self.set_fingerprint(&key, print)).unwrap_or_default()
    }

    /// Remembers what a file has read. Returns the paths to follow.
    pub(crate) fn set_fingerprint(&mut self, key: &FileKey, fingerprint: Fingerprint) -> Vec<PathBuf> {
        self.forget_readings(key);
        let mut paths: Vec<PathBuf> = fingerprint.paths().map(Path::to_owned).collect();
        // What lies behind a link changes in its own place.
        let behind: Vec<PathBuf> =
            paths.iter().filter_map(|path| path.canonicalize().ok().filter(|real| real != path)).collect();
        paths.extend(behind);
        for path in &paths {
            self.readers.entry(path.clone()).or_default().insert(key.clone());
        }
        self.entry(key).fingerprint = Some(fingerprint);
        paths
    }

    fn forget_readings(&mut self, key: &FileKey) {
        let Some(before) = self.files.get_mut(key).and_then(|state| state.fingerprint.take()) else { return };
        for path in before.paths() {
            let real = path.canonicalize().ok();
            for path in std::iter::once(path).chain(real.as_deref()) {
                if let Some(readers) = self.readers.get_mut(path) {
                    readers.remove(key);
                    if readers.is_empty() {
                        self.readers.remove(path);
                    }
                }
            }
        }
    }

    /// Says which Dags a file has; returns those that it had.
    pub(crate) fn set_dags(&mut self, key: &FileKey, dag_ids: Vec<DagId>) -> Vec<DagId> {
        let before = std::mem::take(&mut self.entry(key).dag_ids);
        for dag_id in &before {
            if self.owners.get(dag_id) == Some(key) {
                self.owners.remove(dag_id);
            }
        }
        for dag_id in &dag_ids {
            self.owners.insert(dag_id.clone(), key.clone());
        }
        self.entry(key).dag_ids = dag_ids;
        before
    }

    /// Forgets a file; what is returned still says which Dags it had.
    pub(crate) fn remove(&mut self, key: &FileKey) -> Option<FileState> {
        let dag_ids = self.set_dags(key, Vec::new());
        self.forget_readings(key);
        self.files.remove(key).map(|state| FileState { dag_ids, ..state })
    }

    /// The other file that has a Dag id, and is there.
    pub(crate) fn other_owner(&self, dag_id: &str, key: &FileKey) -> Option<&FileKey> {
        let is_there = |owner: &FileKey| self.files.get(owner).is_some_and(|state| !state.gone);
        self.owners.get(&DagId::from(dag_id)).filter(|owner| *owner != key && is_there(owner))
    }

    /// The files that want one of these Dag ids and did not get it.
    pub(crate) fn wanting(&self, dag_ids: &[DagId]) -> Vec<FileKey> {
        let wants = |state: &FileState| state.refused.iter().any(|name| dag_ids.iter().any(|id| id.as_str() == name));
        self.files.iter().filter(|(_, state)| wants(state)).map(|(key, _)| key.clone()).collect()
    }

    /// The files whose import may come out differently for what happened to a path.
    pub(crate) fn affected_by(&self, path: &Path) -> HashSet<FileKey> {
        let mut affected: HashSet<FileKey> = HashSet::new();
        let mut add = |readers: Option<&HashSet<FileKey>>| affected.extend(readers.into_iter().flatten().cloned());
        add(self.readers.get(path));
        // A folder whose names were read has changed with what is in it.
        add(path.parent().and_then(|folder| self.readers.get(folder)));
        if path.is_dir() || !path.exists() {
            // With a folder comes or goes what is below it.
            self.readers.iter().filter(|(read, _)| read.starts_with(path)).for_each(|(_, readers)| add(Some(readers)));
        }
        affected
    }

    /// Whether a path is that of a known file, or of a folder above one.
    pub(crate) fn has_below(&self, bundle: &str, relative: &str) -> bool {
        let from = (bundle.to_owned(), relative.to_owned());
        let first = self.files.range(from..).map(|(key, _)| key).next();
        first.is_some_and(|(of, file)| of == bundle && (file == relative || file.starts_with(&format!("{relative}/"))))
            || self.files.keys().any(|(of, file)| of == bundle && file.starts_with(&format!("{relative}/")))
    }
}
