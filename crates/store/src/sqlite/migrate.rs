//! The schema and its versions, kept in SQLite's `user_version`.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{READER_CACHE_KIB, open, open_error};
use crate::{Result, StoreError};

/// One script for each version; a database of version n has had the first n.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("task_state_store.sql"),
    include_str!("suspension.sql"),
    include_str!("asset.sql"),
    include_str!("hitl.sql"),
    include_str!("task_note.sql"),
    include_str!("callback.sql"),
    include_str!("deadline.sql"),
    include_str!("backfill.sql"),
    include_str!("encryption.sql"),
    include_str!("asset_uri.sql"),
    include_str!("dag_warning.sql"),
    include_str!("asset_state.sql"),
    include_str!("trigger_encryption.sql"),
    include_str!("asset_cursor.sql"),
    include_str!("bundle.sql"),
    include_str!("partition.sql"),
    include_str!("deadline_missed.sql"),
    include_str!("asset_listing.sql"),
];

/// The schema version that this program writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// The schema version of a database; `None` if there is no such file.
pub fn schema_version(path: &Path) -> Result<Option<i64>> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_CACHE_KIB)?;
    version(&connection).map(Some).map_err(|error| open_error(path, &error))
}

/// Deletes a database that nobody uses.
pub fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Failed(format!("{} can't be deleted: {error}", Path::new(&file).display())));
            }
            _ => {}
        }
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether the database is one that this program may write.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| open_error(path, &error);
    let found = version(connection).map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerVersion { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    let has_tables: bool =
        connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0)).map_err(failed)?;
    if found <= 0 && has_tables {
        let reason = "it holds tables of another program".to_owned();
        return Err(StoreError::Open { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Brings the schema up to date, all or nothing: a process that dies here leaves the old version behind.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| open_error(path, &error);
    if version(connection).map_err(failed)? == SCHEMA_VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been quicker.
    let found = version(&transaction).map_err(failed)?;
    for script in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(script).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}
