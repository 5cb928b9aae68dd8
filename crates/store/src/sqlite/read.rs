//! Queries with conditions that depend on what was asked for.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::column::micros;
use crate::query::{Direction, Page, Span, TextFilter, alternatives, searched_prefix};

/// Conditions with their values, joined by AND.
#[derive(Default)]
pub(super) struct Conditions {
    parts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    pub(super) fn fixed(&mut self, condition: &str) -> &mut Self {
        self.parts.push(condition.to_owned());
        self
    }

    /// `condition` has one `?`.
    pub(super) fn with(&mut self, condition: &str, value: impl Into<Value>) -> &mut Self {
        self.parts.push(condition.to_owned());
        self.values.push(value.into());
        self
    }

    pub(super) fn optional(&mut self, condition: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.with(condition, value);
        }
        self
    }

    /// `column` holds one of the values; an empty list asks for nothing.
    pub(super) fn one_of(&mut self, column: &str, values: impl IntoIterator<Item: Into<Value>>) -> &mut Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self.parts.push(format!("{column} IN ({})", vec!["?"; values.len()].join(", ")));
            self.values.extend(values);
        }
        self
    }

    /// `column` is a list, one of whose texts is among these; an empty list asks for nothing.
    pub(super) fn any_of(&mut self, column: &str, texts: &[String]) -> &mut Self {
        if !texts.is_empty() {
            let places = vec!["?"; texts.len()].join(", ");
            self.parts.push(format!("EXISTS (SELECT 1 FROM json_each({column}) WHERE value IN ({places}))"));
            self.values.extend(texts.iter().map(|text| Value::Text(text.clone())));
        }
        self
    }

    /// What [`TextFilter::pattern`] says.
    pub(super) fn pattern(&mut self, column: &str, text: Option<&str>) -> &mut Self {
        let Some(text) = text else { return self };
        let texts = alternatives(text);
        self.parts.push(format!("({})", vec![format!("{column} LIKE ? ESCAPE '\\'"); texts.len()].join(" OR ")));
        self.values.extend(texts.iter().map(|text| Value::Text(format!("%{text}%"))));
        self
    }

    /// What [`TextFilter::prefix`] says, as ranges that an index can serve.
    pub(super) fn prefix(&mut self, column: &str, text: Option<&str>) -> &mut Self {
        let Some(text) = text else { return self };
        let mut ranges = Vec::new();
        for prefix in alternatives(text).into_iter().map(searched_prefix) {
            let range = match (prefix.is_empty(), after_prefix(prefix)) {
                (true, _) => format!("{column} IS NOT NULL"),
                (false, None) => format!("{column} >= ?"),
                (false, Some(_)) => format!("({column} >= ? AND {column} < ?)"),
            };
            ranges.push(range);
            if !prefix.is_empty() {
                self.values.push(Value::Text(prefix.to_owned()));
                self.values.extend(after_prefix(prefix).map(Value::Text));
            }
        }
        self.parts.push(format!("({})", ranges.join(" OR ")));
        self
    }

    pub(super) fn text(&mut self, column: &str, filter: &TextFilter) -> &mut Self {
        self.pattern(column, filter.pattern.as_deref()).prefix(column, filter.prefix.as_deref())
    }

    pub(super) fn span(&mut self, column: &str, span: Span) -> &mut Self {
        let value = |at: Timestamp| Value::Integer(micros(at));
        self.optional(&format!("{column} >= ?"), span.from.map(value));
        self.optional(&format!("{column} <= ?"), span.to.map(value))
    }

    fn clause(&self) -> String {
        if self.parts.is_empty() { String::new() } else { format!(" WHERE {}", self.parts.join(" AND ")) }
    }
}

/// The first text after all that begin with the prefix, if there is one.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        // The step over the surrogates, which are no letters, is the only gap.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

/// `ORDER BY` of what was asked for, then of `last`, which makes the order whole and goes the way of the first.
pub(super) fn order_by<O: Copy>(order: &[(O, Direction)], column: impl Fn(O) -> &'static str, last: &str) -> String {
    let part = |column: &str, direction: Direction| match direction {
        Direction::Ascending => format!("{column} ASC NULLS LAST"),
        Direction::Descending => format!("{column} DESC NULLS LAST"),
    };
    let last_direction = order.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    let parts: Vec<String> = order
        .iter()
        .map(|(order, direction)| part(column(*order), *direction))
        .chain([part(last, last_direction)])
        .collect();
    format!(" ORDER BY {}", parts.join(", "))
}

/// One page of what matches, and how many match in all.
pub(super) fn page<T>(
    connection: &Connection,
    columns: &str,
    from: &str,
    conditions: &Conditions,
    order: &str,
    page: Page,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<(Vec<T>, u64)> {
    let filter = conditions.clause();
    let total: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM {from}{filter}"))?
        .query_row(params_from_iter(&conditions.values), |row| row.get(0))?;
    let sql = format!("SELECT {columns} FROM {from}{filter}{order} LIMIT ? OFFSET ?");
    let clamp = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let values = conditions.values.iter().cloned().chain([clamp(page.limit), clamp(page.offset)]);
    let rows = connection.prepare_cached(&sql)?.query_map(params_from_iter(values), read)?.collect::<Result<_, _>>()?;
    Ok((rows, u64::try_from(total).unwrap_or(0)))
}
