//! What SQLite does not bring along: patterns that ignore the case of all letters and know an escape.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{FromSqlError, ValueRef};
use rusqlite::{Connection, Error, Result};

use crate::query::{Letters, Pattern};

/// Registers `matches(pattern, text)` and `matches_exactly(pattern, text)`; of no text they say null.
pub(super) fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("matches", 2, flags, |context| matches(context, Letters::AnyCase))?;
    connection.create_scalar_function("matches_exactly", 2, flags, |context| matches(context, Letters::Exact))
}

fn matches(context: &Context<'_>, letters: Letters) -> Result<Option<bool>> {
    let text = match context.get_raw(1) {
        ValueRef::Null => return Ok(None),
        text => text.as_str().map_err(user_error)?,
    };
    // The pattern is the same for every row.
    let pattern =
        context.get_or_create_aux(0, |pattern| pattern.as_str().map(|pattern| Pattern::new(pattern, letters)))?;
    Ok(Some(pattern.matches(text)))
}

fn user_error(error: FromSqlError) -> Error {
    Error::UserFunctionError(Box::new(error))
}
