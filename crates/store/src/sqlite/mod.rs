//! The store on an embedded SQLite database.
//!
//! Commits are durable when they return: the write-ahead log is synchronised with the disk each time. Batches from
//! several threads that meet share one transaction, each in a savepoint of its own, so that one that fails takes
//! nothing of the others with it. Moving the log into the database proper is a background thread's work and never a
//! committer's.

mod asset_lists;
mod asset_states;
mod assets;
mod backfills;
mod callbacks;
mod checkpoint;
mod column;
mod dags;
mod functions;
mod hitl;
mod locks;
mod migrate;
mod overview;
mod partitions;
mod read;
mod runs;
mod settings;
mod suspensions;
mod task_instances;
mod task_states;
mod write;
mod xcoms;

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use locks::Reencrypted;
pub use migrate::{SCHEMA_VERSION, remove, schema_version};

use crate::{Commit, FernetKeys, Result, Store, StoreError, Write};
use checkpoint::Checkpointer;

/// Readers that may be open at once; each holds a page cache of at most `READER_CACHE_KIB`.
const MAX_IDLE_READERS: usize = 4;
const READER_CACHE_KIB: i64 = 1024;
const WRITER_CACHE_KIB: i64 = 4096;
/// How long to wait for another process that holds the database, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept for each connection: all that the code has, with some to spare.
const STATEMENT_CACHE: usize = 128;

pub struct SqliteStore {
    path: PathBuf,
    keys: FernetKeys,
    queue: Mutex<Vec<Arc<Ticket>>>,
    // Dropped in this order: the last connection moves the rest of the log, which one that only reads can't.
    readers: Mutex<Vec<Connection>>,
    checkpointer: Checkpointer,
    writer: Mutex<write::Writer>,
}

/// A batch that waits to be written, and then its result.
struct Ticket {
    state: Mutex<TicketState>,
}

enum TicketState {
    Waiting(Vec<Write>),
    /// Somebody is writing it.
    Taken,
    Done(Result<()>),
}

/// Makes a database that is new readable by its owner only: it holds passwords. The files that SQLite puts beside it get
/// the same rights. What stands in the way SQLite meets too, and says better.
fn make_private(path: &Path) {
    let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
}

impl SqliteStore {
    /// [`Self::open_with`] without keys: for databases that hold no secrets.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, FernetKeys::default())
    }

    /// Opens the database file, makes it if it does not exist, and brings its schema up to date. The values of variables and
    /// the passwords and extras of connections are encrypted with the keys.
    pub fn open_with(path: &Path, keys: FernetKeys) -> Result<Self> {
        make_private(path);
        let mut connection =
            open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, WRITER_CACHE_KIB)?;
        let failed = |error: rusqlite::Error| open_error(path, &error);
        // Looked at before anything is written: it may belong to somebody else.
        migrate::check(&connection, path)?;
        if connection.is_readonly("main").map_err(failed)? {
            return Err(no_rights(path));
        }
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
        if mode != "wal" {
            let reason = format!("its file system does not carry a write-ahead log (SQLite answers {mode:?})");
            return Err(StoreError::Open { path: path.to_owned(), reason });
        }
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        // The checkpointer does it; a committer must not stop for it.
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
        migrate::migrate(&mut connection, path)?;
        let checkpointer = Checkpointer::start(path)?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(write::Writer::new(connection, keys.clone())),
            keys,
            queue: Mutex::new(Vec::new()),
            readers: Mutex::new(Vec::new()),
            checkpointer,
        })
    }

    /// Lets the database grow to so many pages only, for tests of what happens when it is full.
    #[doc(hidden)]
    pub fn limit_pages(&self, pages: u32) -> Result<()> {
        lock(&self.writer).limit_pages(pages, &self.path)
    }

    /// Runs `work` on a connection that only reads.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)?,
        };
        let result = work(&connection).map_err(|error| self.error(&error));
        let mut readers = lock(&self.readers);
        if readers.len() < MAX_IDLE_READERS {
            readers.push(connection);
        }
        result
    }

    /// As [`Self::read`], where all that `work` reads is as it was at one moment.
    fn snapshot<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        to_store_error(&self.path, error)
    }
}

impl Commit for SqliteStore {
    fn commit(&self, batch: Vec<Write>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let ticket = Arc::new(Ticket { state: Mutex::new(TicketState::Waiting(batch)) });
        lock(&self.queue).push(Arc::clone(&ticket));
        // Whoever gets the writer first writes for everybody who waits; the others find their work done.
        let mut writer = lock(&self.writer);
        if matches!(&*lock(&ticket.state), TicketState::Waiting(_)) {
            let tickets = std::mem::take(&mut *lock(&self.queue));
            let batches: Vec<Vec<Write>> = tickets.iter().map(|ticket| ticket.take()).collect();
            let results = writer.write(&batches, &self.path);
            self.checkpointer.written();
            for (ticket, result) in tickets.iter().zip(results) {
                *lock(&ticket.state) = TicketState::Done(result);
            }
        }
        drop(writer);
        match std::mem::replace(&mut *lock(&ticket.state), TicketState::Taken) {
            TicketState::Done(result) => result,
            TicketState::Waiting(_) | TicketState::Taken => {
                Err(StoreError::Failed("a batch was lost between two writers; this is a bug".into()))
            }
        }
    }
}

impl Ticket {
    fn take(&self) -> Vec<Write> {
        match std::mem::replace(&mut *lock(&self.state), TicketState::Taken) {
            TicketState::Waiting(batch) => batch,
            _ => Vec::new(),
        }
    }
}

impl Store for SqliteStore {
    fn check(&self) -> Result<()> {
        self.read(|connection| connection.query_row("SELECT count(*) FROM pool", [], |_| Ok(())))?;
        lock(&self.writer).check(&self.path)
    }
}

/// A panic elsewhere leaves nothing half done behind these locks: SQLite rolls back what was not committed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(path: &Path, flags: OpenFlags, cache_kib: i64) -> Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| open_error(path, &error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| connection.pragma_update(None, "cache_size", -cache_kib))
        .and_then(|()| connection.pragma_update(None, "temp_store", "memory"))
        .and_then(|()| functions::register(&connection))
        .map_err(|error| open_error(path, &error))?;
    Ok(connection)
}

fn open_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let reason = match (to_store_error(path, error), error.sqlite_error_code()) {
        (_, Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly)) => return no_rights(path),
        (_, Some(ErrorCode::NotADatabase)) => "the file is not a database".to_owned(),
        (StoreError::Failed(reason), _) => reason,
        (other, _) => return other,
    };
    StoreError::Open { path: path.to_owned(), reason }
}

/// SQLite does not say why it can't open a file.
fn no_rights(path: &Path) -> StoreError {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let reason = if path.is_dir() {
        "it is a folder".to_owned()
    } else if !folder.is_dir() {
        format!("the folder {} does not exist", folder.display())
    } else {
        format!("this user needs the rights to read and write it, and to make files in {}", folder.display())
    };
    StoreError::Open { path: path.to_owned(), reason }
}

fn to_store_error(path: &Path, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path: path.to_owned() },
        _ => match error {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                StoreError::Corrupt { what: error.to_string() }
            }
            other => StoreError::Failed(other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::read::{Conditions, Lead, Source};
    use super::*;
    use crate::query::{Direction, RunFilter, RunOrder, TaskInstanceFilter, TaskInstanceOrder};

    fn sorts(store: &SqliteStore, from: &str, conditions: &Conditions, order: &str) -> Vec<String> {
        let source = Source { columns: "1", from, conditions, lead: Lead::Order, order, again: None };
        store.read(|connection| source.sorts(connection)).unwrap()
    }

    /// Lists over everything take their rows from an index as they come, whatever they are filtered by.
    #[test]
    fn lists_over_everything_sort_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("updraft.db")).unwrap();
        for direction in [Direction::Ascending, Direction::Descending] {
            let filter =
                RunFilter { dag_id: Some("d".into()), states: vec![model::DagRunState::Failed], ..Default::default() };
            for key in [RunOrder::Id, RunOrder::RunAfter, RunOrder::StartDate, RunOrder::LogicalDate] {
                let (from, conditions, order) = runs::led_by_order(&filter, &[(key, direction)]);
                assert_eq!(sorts(&store, from, &conditions, &order), [""; 0], "{key:?} {direction:?}");
            }
            let states = vec![model::TaskState::Failed];
            let filter = TaskInstanceFilter { dag_id: Some("d".into()), states, ..Default::default() };
            let keys = [
                TaskInstanceOrder::Id,
                TaskInstanceOrder::MapIndex,
                TaskInstanceOrder::StartDate,
                TaskInstanceOrder::EndDate,
            ];
            for key in keys {
                let (from, conditions, order) = task_instances::led_by_order(&filter, &[(key, direction)]);
                assert_eq!(sorts(&store, &from, &conditions, &order), [""; 0], "{key:?} {direction:?}");
            }
            // The task instances of one moment are few.
            for key in [TaskInstanceOrder::RunAfter, TaskInstanceOrder::LogicalDate] {
                let (from, conditions, order) = task_instances::led_by_order(&filter, &[(key, direction)]);
                let last = "USE TEMP B-TREE FOR LAST TERM OF ORDER BY";
                assert_eq!(sorts(&store, &from, &conditions, &order), [last], "{key:?} {direction:?}");
            }
        }
    }
}
