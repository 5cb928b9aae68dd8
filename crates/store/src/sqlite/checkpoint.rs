//! Moving the write-ahead log into the database, and keeping its file long enough.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
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
/// A log of so many pages (16 MiB) is begun anew even if committers have to wait for it. Its file keeps its length.
const MAX_LOG_PAGES: i64 = 4 * 1024;
/// A log's file that has become so much longer, because readers held on to it, is cut off.
const MAX_FILE_PAGES: i64 = 4 * MAX_LOG_PAGES;
/// The file of a log that is in use is made longer than the log by so many pages (4 MiB), before they are needed. A commit
/// that writes over what the file has is on the disk in two thirds of the time of one that makes the file longer: the file
/// system has no new length and no new blocks to write down.
const RESERVED_PAGES: i64 = 1024;
/// What SQLite's file format adds to the pages: <https://www.sqlite.org/fileformat2.html#walformat>.
const LOG_HEADER: i64 = 32;
const FRAME_HEADER: i64 = 24;
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
        let work = Work {
            path: path.into(),
            max_log_pages: MAX_LOG_PAGES,
            max_file_pages: MAX_FILE_PAGES,
            written: Arc::clone(&written),
        };
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
    max_file_pages: i64,
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
            run(if pages > self.max_file_pages { "TRUNCATE" } else { "RESTART" }).map_err(failed)?;
        } else if moved < pages {
            // A reader was in the way.
            self.written.store(true, Ordering::Relaxed);
        }
        // What has been moved is written over.
        let used = if moved < pages { pages } else { 0 };
        if let Err(error) = self.reserve(open, used) {
            // Commits make the file longer themselves, or say why they can't.
            tracing::debug!(%error, "the file of the write-ahead log can't be made longer");
        }
        Ok(())
    }

    /// Makes the log's file longer with zeros, which SQLite takes for no frames, unless it is long enough for `used`
    /// pages and some more.
    fn reserve(&self, connection: &Connection, used: i64) -> io::Result<()> {
        let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(io::Error::other)?;
        let length = |pages: i64| u64::try_from(LOG_HEADER + pages * (FRAME_HEADER + page)).unwrap_or(0);
        let path = log_path(&self.path);
        if std::fs::metadata(&path)?.len() >= length(used + RESERVED_PAGES / 2) {
            return Ok(());
        }
        // Whoever else would write waits, here and in other processes: zeros must not fall on a frame.
        connection.execute_batch("BEGIN IMMEDIATE").map_err(io::Error::other)?;
        let extended = extend(&path, length(used + RESERVED_PAGES));
        connection.execute_batch("ROLLBACK").map_err(io::Error::other)?;
        extended
    }
}

fn log_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-wal");
    name.into()
}

fn extend(path: &Path, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut file = File::options().write(true).open(path)?;
    let mut rest = length.saturating_sub(file.seek(SeekFrom::End(0))?);
    while rest > 0 {
        let part = usize::try_from(rest).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all(&ZEROS[..part])?;
        rest -= part as u64;
    }
    // Not left to the next commit.
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::sqlite::SqliteStore;
    use crate::{Commit, Variable, Write};

    const COMMITS: usize = 100;

    fn write(store: &SqliteStore, key: &str, length: usize) {
        let value = "x".repeat(length);
        let variable = Variable { key: key.into(), value, ..Variable::default() };
        store.commit(vec![Write::Variable(variable)]).unwrap();
    }

    fn work(path: &Path, max_log_pages: i64, max_file_pages: i64) -> Work {
        Work { path: path.into(), max_log_pages, max_file_pages, written: Arc::default() }
    }

    #[test]
    fn a_log_that_has_grown_too_long_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updraft.db");
        let store = SqliteStore::open(&path).unwrap();
        let log = || std::fs::metadata(log_path(&path)).unwrap().len();
        write(&store, "a", 100_000);
        let before = log();
        assert!(before > 100_000);
        work(&path, 1000, 1000).checkpoint(&mut None).unwrap();
        let reserved = log();
        assert_eq!(reserved, 32 + 1024 * (24 + 4096), "longer than what was written");
        write(&store, "b", 100_000);
        work(&path, 10, 1000).checkpoint(&mut None).unwrap();
        assert_eq!(log(), reserved, "it is written over from its beginning");
        write(&store, "c", 6_000_000);
        assert!(log() > 6_000_000);
        work(&path, 10, 1000).checkpoint(&mut None).unwrap();
        assert_eq!(log(), reserved, "what is much too long is cut off");
    }

    #[test]
    fn making_the_file_longer_harms_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updraft.db");
        let store = SqliteStore::open(&path).unwrap();
        let commits = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..COMMITS {
                    write(&store, &format!("{number}"), 20_000);
                    commits.store(number + 1, Ordering::Relaxed);
                }
            });
            let connection = open(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, READER_CACHE_KIB).unwrap();
            let (mut used, mut seen) = (0, 0);
            while seen < COMMITS {
                // Each time it has to be made longer, while the other thread does the same by its commits.
                work(&path, 1000, 1000).reserve(&connection, used).unwrap();
                used += RESERVED_PAGES / 2;
                if used > 10 * RESERVED_PAGES {
                    used = 0;
                    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                }
                // Both take turns, however busy the machine is: SQLite's locks are not fair.
                while commits.load(Ordering::Relaxed) == seen {
                    std::thread::sleep(Duration::from_micros(100));
                }
                seen = commits.load(Ordering::Relaxed);
            }
        });
        // As after a crash: from the log alone.
        let copy = folder.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(log_path(&path), log_path(&copy)).unwrap();
        let connection = Connection::open(&copy).unwrap();
        let count: i64 = connection.query_row("SELECT count(*) FROM variable", [], |row| row.get(0)).unwrap();
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((count, verdict.as_str()), (COMMITS as i64, "ok"));
    }
}
