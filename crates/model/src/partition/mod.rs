//! Partitions: what part of an asset a run or an event is about, and which part of another one follows from it.
//!
//! The rules are those of Airflow's `partition_mappers`. What is beyond them (classes of plugins, formats that only Python
//! reads) is an error of its own, [`MapError::Python`]: whoever gets it asks Python.

mod format;
mod mapper;
mod pending;
mod temporal;
mod window;

use std::fmt;

use jiff::Timestamp;
use jiff::civil;

pub use mapper::{Keys, Mapper, Rollup};
pub use pending::{PartitionChange, PendingPartition, Told};
pub use window::{WaitPolicy, Window};

pub(crate) use format::{parse, write};

/// The longest key (the width of Airflow's column), in characters.
pub const MAX_KEY: usize = 250;

/// The part that a run or an event is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Partition {
    pub key: String,
    /// When the period begins that the key stands for, if it stands for one.
    pub date: Option<Timestamp>,
}

impl Partition {
    pub fn new(key: impl Into<String>, date: Option<Timestamp>) -> Self {
        Self { key: key.into(), date }
    }
}

/// Why a key is not mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MapError {
    /// Only Python can tell.
    Python,
    /// The exception that Airflow raises, by its class and its text.
    Raised { class: &'static str, message: String },
}

impl MapError {
    fn value(message: impl Into<String>) -> Self {
        Self::Raised { class: "ValueError", message: message.into() }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python => f.write_str("only Python can tell"),
            Self::Raised { class, message } => write!(f, "{class}: {message}"),
        }
    }
}

/// A downstream key as a mapper reads it back.
#[derive(Clone, PartialEq, Debug)]
pub enum Decoded {
    Text(String),
    /// A time on the clock of the mapper's zone.
    Date(civil::DateTime),
}

/// `repr()` of a text of ordinary characters.
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\\' => quoted.push_str("\\\\"),
            c if c == quote => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}
