//! Other keys for what is there already.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{SqliteStore, lock};
use crate::{FernetKeys, Result};

/// What [`SqliteStore::reencrypt`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reencrypted {
    /// Texts that are encrypted with the first key now and were not before.
    pub changed: usize,
    /// What can't be decrypted, for people: `the variable "x"`. It is left as it is.
    pub locked: Vec<String>,
}

/// A text that may be encrypted.
struct Place {
    /// What it belongs to, for people.
    what: &'static str,
    table: &'static str,
    /// What names it, for people.
    name: &'static str,
    text: &'static str,
    flag: &'static str,
}

const CONNECTION_ID: &str = "json_quote(connection_id)";
const PLACES: [Place; 4] = [
    Place { what: "variable", table: "variable", name: "json_quote(key)", text: "value", flag: "is_encrypted" },
    Place { what: "connection", table: "connection", name: CONNECTION_ID, text: "password", flag: "is_encrypted" },
    Place { what: "connection", table: "connection", name: CONNECTION_ID, text: "extra", flag: "is_extra_encrypted" },
    Place {
        what: "trigger of the task",
        table: "suspension",
        name: "json_quote(task_id)",
        text: "kwargs",
        flag: "is_kwargs_encrypted",
    },
];

impl SqliteStore {
    /// Encrypts with the first key what is not encrypted, and with `all` also what is encrypted already. Without keys
    /// nothing is changed.
    pub fn reencrypt(&self, all: bool) -> Result<Reencrypted> {
        lock(&self.writer).reencrypt(all).map_err(|error| self.error(&error))
    }
}

/// In one transaction: an error, be it of its end, leaves everything as it was, and the connection free.
pub(super) fn reencrypt(connection: &Connection, keys: &FernetKeys, all: bool) -> rusqlite::Result<Reencrypted> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let mut done = Reencrypted::default();
    PLACES.iter().try_for_each(|place| place.reencrypt(&transaction, keys, all, &mut done))?;
    transaction.commit()?;
    Ok(done)
}

impl Place {
    fn reencrypt(
        &self,
        connection: &Connection,
        keys: &FernetKeys,
        all: bool,
        done: &mut Reencrypted,
    ) -> rusqlite::Result<()> {
        let Self { what, table, name, text, flag } = self;
        let rows: Vec<(i64, String, String, bool)> = connection
            .prepare(&format!("SELECT rowid, {name}, {text}, {flag} FROM {table} WHERE {text} <> '' ORDER BY rowid"))?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut update =
            connection.prepare(&format!("UPDATE {table} SET {text} = ?2, {flag} = ?3 WHERE rowid = ?1"))?;
        for (rowid, name, stored, is_encrypted) in rows {
            let Some(open) = keys.open(stored, is_encrypted) else {
                let what = format!("the {what} {name}");
                // A connection may have two of them.
                if !done.locked.contains(&what) {
                    done.locked.push(what);
                }
                continue;
            };
            if keys.is_none() || (is_encrypted && !all) {
                continue;
            }
            let (sealed, is_encrypted) = keys.seal(&open);
            update.execute(params![rowid, sealed, is_encrypted])?;
            done.changed += 1;
        }
        Ok(())
    }
}
