//! Our values as columns, and back.

use std::str::FromStr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::{DataInterval, Json, Partition};
use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};
use uuid::Uuid;

pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(super) fn opt_micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(micros)
}

pub(super) fn duration_micros(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn invalid(index: usize, what: impl Into<String>) -> rusqlite::Error {
    let error = FromSqlError::Other(what.into().into());
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

/// Reads a row's columns one after the other, so that a query's list of columns and its reader keep in step.
pub(super) struct Columns<'row> {
    row: &'row Row<'row>,
    next: usize,
}

impl<'row> Columns<'row> {
    pub(super) fn new(row: &'row Row<'row>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn get<T: rusqlite::types::FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub(super) fn shared(&mut self) -> rusqlite::Result<Arc<str>> {
        self.get::<String>().map(Arc::from)
    }

    pub(super) fn opt_shared(&mut self) -> rusqlite::Result<Option<Arc<str>>> {
        Ok(self.get::<Option<String>>()?.map(Arc::from))
    }

    pub(super) fn moment(&mut self) -> rusqlite::Result<Timestamp> {
        self.opt_moment()?.ok_or_else(|| invalid(self.next - 1, "a moment is missing"))
    }

    pub(super) fn opt_moment(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        let micros: Option<i64> = self.get()?;
        let read =
            |micros| Timestamp::from_microsecond(micros).map_err(|error| invalid(self.next - 1, error.to_string()));
        micros.map(read).transpose()
    }

    pub(super) fn interval(&mut self) -> rusqlite::Result<Option<DataInterval>> {
        let (start, end) = (self.opt_moment()?, self.opt_moment()?);
        Ok(start.zip(end).map(|(start, end)| DataInterval { start, end }))
    }

    pub(super) fn partition(&mut self) -> rusqlite::Result<Option<Partition>> {
        let (key, date) = (self.get::<Option<String>>()?, self.opt_moment()?);
        Ok(key.map(|key| Partition { key, date }))
    }

    pub(super) fn duration(&mut self) -> rusqlite::Result<SignedDuration> {
        Ok(SignedDuration::from_micros(self.get()?))
    }

    pub(super) fn opt_duration(&mut self) -> rusqlite::Result<Option<SignedDuration>> {
        Ok(self.get::<Option<i64>>()?.map(SignedDuration::from_micros))
    }

    pub(super) fn uuid(&mut self) -> rusqlite::Result<Uuid> {
        let bytes: Vec<u8> = self.get()?;
        crate::records::uuid_of(&bytes).ok_or_else(|| invalid(self.next - 1, "not 16 bytes of a UUID"))
    }

    pub(super) fn named<T: FromStr<Err: ToString>>(&mut self) -> rusqlite::Result<T> {
        let text: String = self.get()?;
        text.parse().map_err(|error: T::Err| invalid(self.next - 1, error.to_string()))
    }

    pub(super) fn opt_named<T: FromStr<Err: ToString>>(&mut self) -> rusqlite::Result<Option<T>> {
        let text: Option<String> = self.get()?;
        text.map(|text| text.parse().map_err(|error: T::Err| invalid(self.next - 1, error.to_string()))).transpose()
    }

    pub(super) fn json(&mut self) -> rusqlite::Result<Json> {
        let text: String = self.get()?;
        serde_json::from_str(&text).map_err(|error| invalid(self.next - 1, error.to_string()))
    }

    pub(super) fn opt_json(&mut self) -> rusqlite::Result<Option<Json>> {
        let text: Option<String> = self.get()?;
        let read =
            |text: String| serde_json::from_str(&text).map_err(|error| invalid(self.next - 1, error.to_string()));
        text.map(read).transpose()
    }

    pub(super) fn texts(&mut self) -> rusqlite::Result<Vec<String>> {
        let text: String = self.get()?;
        serde_json::from_str(&text).map_err(|error| invalid(self.next - 1, error.to_string()))
    }

    pub(super) fn opt_texts(&mut self) -> rusqlite::Result<Option<Vec<String>>> {
        let text: Option<String> = self.get()?;
        let read =
            |text: String| serde_json::from_str(&text).map_err(|error| invalid(self.next - 1, error.to_string()));
        text.map(read).transpose()
    }
}

/// A list of texts as a document.
pub(super) fn texts_json(texts: &[String]) -> String {
    Json::from(texts).to_string()
}
