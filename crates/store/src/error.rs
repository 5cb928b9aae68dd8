//! What can go wrong with a store, by what the caller can do about it.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else made the same thing first.
    #[error("{what} exists already")]
    Conflict { what: String },
    /// The write refers to something that is not there.
    #[error("{what} does not exist")]
    Missing { what: String },
    /// Nothing was written; it can be tried again when there is room.
    #[error("the disk is full: nothing can be written to the database {path} until there is room on its disk")]
    Full { path: PathBuf },
    #[error(
        "the database {path} was written by a newer version (schema {found}, this version knows up to {known}); \
         start that version, or give this one another --home"
    )]
    NewerVersion { path: PathBuf, found: i64, known: i64 },
    #[error("the database {path} can't be opened: {reason}")]
    Open { path: PathBuf, reason: String },
    /// A record that this version can't read.
    #[error("the database holds a record that can't be read: {what}")]
    Corrupt { what: String },
    /// Encrypted with a key that this deployment does not give.
    #[error(
        "{what} can't be decrypted: the Fernet key that encrypted it is not among those of [core] fernet_key. \
         Put that key behind the others there (new,old) and start again, or delete {what} and set it anew"
    )]
    Locked { what: String },
    #[error("the database failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the same write may succeed later without any change.
    pub fn is_temporary(&self) -> bool {
        matches!(self, StoreError::Full { .. } | StoreError::Failed(_))
    }
}
