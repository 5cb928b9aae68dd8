//! News from the file system.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Paths that may wait; more than that means that everything is looked at anyway.
const QUEUE: usize = 10_000;

pub(crate) enum News {
    Changed(Vec<PathBuf>),
    /// News were lost: everything has to be looked at.
    Lost,
}

pub(crate) struct FileWatcher {
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
}

impl FileWatcher {
    pub(crate) fn new() -> (Self, mpsc::Receiver<News>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let news = match event {
                Ok(event) if event.need_rescan() => News::Lost,
                Ok(event) if matters(&event.kind) => {
                    let paths: Vec<PathBuf> = event.paths.into_iter().filter(|path| !is_noise(path)).collect();
                    if paths.is_empty() {
                        return;
                    }
                    News::Changed(paths)
                }
                Ok(_) => return,
                Err(_) => News::Lost,
            };
            // A queue that is full is being worked off, and what is in it leads to the same scan.
            let _ = sender.try_send(news);
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "the file system can't be watched; changed files are found by scanning");
            })
            .ok();
        (Self { watcher, watched: HashSet::new() }, receiver)
    }

    /// Watches a folder with everything below it.
    pub(crate) fn watch_tree(&mut self, path: &Path) {
        self.watch(path, RecursiveMode::Recursive);
    }

    /// Watches one folder.
    pub(crate) fn watch_folder(&mut self, path: &Path) {
        self.watch(path, RecursiveMode::NonRecursive);
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) {
        let is_covered = path.ancestors().any(|above| self.watched.contains(above));
        let Some(watcher) = self.watcher.as_mut().filter(|_| !is_covered) else { return };
        match watcher.watch(path, mode) {
            Ok(()) if mode == RecursiveMode::Recursive => drop(self.watched.insert(path.to_owned())),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "this folder can't be watched; it is scanned instead");
            }
        }
    }
}

fn matters(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// What Python and editors write beside the files that matter.
fn is_noise(path: &Path) -> bool {
    let in_cache = path.components().any(|part| part.as_os_str() == "__pycache__" || part.as_os_str() == ".git");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    in_cache || name.ends_with(".pyc") || name.ends_with('~') || name.ends_with(".swp") || name.ends_with(".swx")
}
