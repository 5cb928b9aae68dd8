//! The schema and its versions, kept in SQLite's `user_version`.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::open_error;
use crate::{Result, StoreError};

/// One script for each version; a database of version n has had the first n.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql")];

/// The schema version that this program writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

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
