//! Moving the write-ahead log into the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{READER_CACHE_KIB, open};
use crate::{Result, StoreError};

/// How often the log is moved into the database.
const INTERVAL: Duration = Duration::from_millis(500);
/// A log of so many pages (64 MiB) is emptied even if committers have to wait for it.
const MAX_LOG_PAGES: i64 = 16 * 1024;
/// How long committers may wait for readers that still need a log that is too long.
const MAX_HOLD: Duration = Duration::from_millis(100);

/// The thread that does it, so that a committer never has to. Has ended when it is dropped.
pub(super) struct Checkpointer {
    written: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that moves the write-ahead log into the database has panicked; this is a bug");
        }
    }
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self> {
        let (stop, stopped) = channel();
        // A log that the last process left behind is moved as well.
        let written = Arc::new(AtomicBool::new(true));
        let work = Work { path: path.into(), max_log_pages: MAX_LOG_PAGES, written: Arc::clone(&written) };
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || work.until(&stopped))
            .map_err(|error| StoreError::Open { path: path.to_owned(), reason: error.to_string() })?;
        Ok(Self { written, stop: Some(stop), thread: Some(thread) })
    }

    /// There is something in the log again.
    pub(super) fn written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }
}

struct Work {
    path: Box<Path>,
    max_log_pages: i64,
    written: Arc<AtomicBool>,
}

impl Work {
    fn until(&self, stopped: &Receiver<()>) {
        let mut connection = None;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
            if !self.written.swap(false, Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.checkpoint(&mut connection) {
                self.written.store(true, Ordering::Relaxed);
                tracing::warn!(%error, "the write-ahead log could not be moved into the database; tried again soon");
            }
        }
    }

    fn checkpoint(&self, connection: &mut Option<Connection>) -> Result<()> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(open(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE, READER_CACHE_KIB)?),
        };
        let failed = |error: rusqlite::Error| super::to_store_error(&self.path, &error);
        let run = |mode: &str| -> rusqlite::Result<(i64, i64)> {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            open.query_row(&sql, [], |row| Ok((row.get(1)?, row.get(2)?)))
        };
        // Passive: it takes what it can get and hinders nobody. As long as commits follow each other without a pause it
        // never gets all, and the log grows; so now and then everybody has to wait for the rest.
        let (pages, moved) = run("PASSIVE").map_err(failed)?;
        if pages > self.max_log_pages {
            open.busy_timeout(MAX_HOLD).map_err(failed)?;
            run("TRUNCATE").map_err(failed)?;
        } else if moved < pages {
            // A reader was in the way.
            self.written.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SqliteStore;
    use crate::{Commit, Variable, Write};

    #[test]
    fn a_log_that_has_grown_too_long_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updraft.db");
        let store = SqliteStore::open(&path).unwrap();
        let log = || std::fs::metadata(folder.path().join("updraft.db-wal")).unwrap().len();
        let write = |key: &str| {
            let value = "x".repeat(100_000);
            let variable = Variable { key: key.into(), value, description: None, is_encrypted: false };
            store.commit(vec![Write::Variable(variable)]).unwrap();
        };
        let work = |max_log_pages| Work { path: path.as_path().into(), max_log_pages, written: Arc::default() };
        write("a");
        let before = log();
        assert!(before > 100_000);
        work(1000).checkpoint(&mut None).unwrap();
        assert_eq!(log(), before, "a short one is written over from its beginning");
        work(10).checkpoint(&mut None).unwrap();
        assert_eq!(log(), 0);
        write("b");
        assert!(log() > 100_000);
    }
}
