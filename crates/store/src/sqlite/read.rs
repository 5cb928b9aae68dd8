//! Queries with conditions that depend on what was asked for.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::column::micros;
use crate::query::{Direction, DurationRange, Page, Span, TextFilter, alternatives, searched_prefix, somewhere};

/// As many values stand in a query's text; more go in as one document, and SQLite has a bound.
const MAX_LISTED: usize = 100;

/// Conditions with their values, joined by AND.
#[derive(Default)]
pub(super) struct Conditions {
    parts: Vec<Part>,
}

struct Part {
    text: String,
    values: Vec<Value>,
}

/// What leads the database to the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lead {
    /// The conditions: the rows that match are collected, then sorted.
    Conditions,
    /// The order: rows are taken as they come in it until the page is full, whatever the conditions.
    Order,
}

impl Conditions {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn extend(&mut self, other: Conditions) {
        self.parts.extend(other.parts);
    }

    fn add(&mut self, text: String, values: Vec<Value>) -> &mut Self {
        self.parts.push(Part { text, values });
        self
    }

    pub(super) fn fixed(&mut self, condition: &str) -> &mut Self {
        self.add(condition.to_owned(), Vec::new())
    }

    /// `condition` has one `?`.
    pub(super) fn with(&mut self, condition: &str, value: impl Into<Value>) -> &mut Self {
        self.add(condition.to_owned(), vec![value.into()])
    }

    pub(super) fn equal(&mut self, column: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.with(&format!("{column} = ?"), value);
        }
        self
    }

    /// `column` holds one of the values; an empty list asks for nothing.
    pub(super) fn one_of(&mut self, column: &str, values: impl IntoIterator<Item: Into<Value>>) -> &mut Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        match values.len() {
            0 => self,
            1..=MAX_LISTED => {
                let places = vec!["?"; values.len()].join(", ");
                self.add(format!("{column} IN ({places})"), values)
            }
            _ => self.with(&format!("{column} IN (SELECT value FROM json_each(?))"), document(&values)),
        }
    }

    /// What [`TextFilter::pattern`] says.
    pub(super) fn pattern(&mut self, column: &str, text: Option<&str>) -> &mut Self {
        let Some(text) = text else { return self };
        let texts = alternatives(text);
        let parts: Vec<String> = texts
            .iter()
            .map(|text| match is_simple(text) {
                true => format!("{column} LIKE ? ESCAPE '\\'"),
                false => format!("matches(?, {column})"),
            })
            .collect();
        let values = texts.into_iter().map(|text| Value::Text(somewhere(text))).collect();
        self.add(format!("({})", parts.join(" OR ")), values)
    }

    /// The condition holds for one of these lots of values; no lot asks for nothing.
    pub(super) fn any(&mut self, condition: &str, lots: impl IntoIterator<Item = Vec<Value>>) -> &mut Self {
        let lots: Vec<Vec<Value>> = lots.into_iter().collect();
        if lots.is_empty() {
            return self;
        }
        self.add(format!("({})", vec![condition; lots.len()].join(" OR ")), lots.concat())
    }

    /// What [`TextFilter::prefix`] says, as ranges that an index can serve.
    pub(super) fn prefix(&mut self, column: &str, text: Option<&str>) -> &mut Self {
        let Some(text) = text else { return self };
        let (mut ranges, mut values) = (Vec::new(), Vec::new());
        for prefix in alternatives(text).into_iter().map(searched_prefix) {
            let after = after_prefix(prefix);
            ranges.push(match (prefix.is_empty(), &after) {
                (true, _) => format!("{column} IS NOT NULL"),
                (false, None) => format!("{column} >= ?"),
                (false, Some(_)) => format!("({column} >= ? AND {column} < ?)"),
            });
            if !prefix.is_empty() {
                values.push(Value::Text(prefix.to_owned()));
                values.extend(after.map(Value::Text));
            }
        }
        self.add(format!("({})", ranges.join(" OR ")), values)
    }

    pub(super) fn texts(&mut self, column: &str, pattern: Option<&str>, prefix: Option<&str>) -> &mut Self {
        self.pattern(column, pattern).prefix(column, prefix)
    }

    pub(super) fn text(&mut self, column: &str, filter: &TextFilter) -> &mut Self {
        self.texts(column, filter.pattern.as_deref(), filter.prefix.as_deref())
    }

    pub(super) fn span(&mut self, column: &str, span: Span) -> &mut Self {
        let value = |at: Timestamp| Value::Integer(micros(at));
        let or_missing = if span.or_missing { format!(" OR {column} IS NULL") } else { String::new() };
        for (sign, end) in [(">=", span.from), ("<=", span.to)] {
            if let Some(end) = end {
                self.with(&format!("({column} {sign} ?{or_missing})"), value(end));
            }
        }
        self
    }

    pub(super) fn duration(&mut self, column: &str, range: DurationRange) -> &mut Self {
        for (sign, end) in [(">=", range.from_micros), ("<=", range.to_micros)] {
            if let Some(end) = end {
                self.with(&format!("{column} {sign} ?"), end);
            }
        }
        self
    }

    /// There is a row of `table` that fulfils `other`.
    pub(super) fn exists(&mut self, table: &str, other: Conditions) -> &mut Self {
        let condition = format!("EXISTS (SELECT 1 FROM {table}{})", other.clause(Lead::Conditions));
        self.add(condition, other.values().collect())
    }

    /// The clause and its values, for queries that are no lists of records.
    pub(super) fn sql(&self) -> (String, Vec<Value>) {
        (self.clause(Lead::Conditions), self.values().collect())
    }

    fn clause(&self, lead: Lead) -> String {
        // SQLite looks for no index behind a plus sign.
        let sign = if lead == Lead::Order { "+" } else { "" };
        let parts: Vec<String> = self.parts.iter().map(|part| format!("{sign}{}", part.text)).collect();
        if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
    }

    fn values(&self) -> impl Iterator<Item = Value> {
        self.parts.iter().flat_map(|part| part.values.iter().cloned())
    }
}

/// Whether SQLite's own LIKE finds the same, which is quicker: it knows capitals of ASCII only, and each `%` multiplies
/// what it may have to try.
fn is_simple(pattern: &str) -> bool {
    pattern.is_ascii() && pattern.len() <= 100 && pattern.matches('%').count() <= 1
}

/// Values as one JSON list.
fn document(values: &[Value]) -> String {
    let json = |value: &Value| match value {
        Value::Integer(number) => model::Json::from(*number),
        Value::Text(text) => model::Json::from(text.as_str()),
        // Lists of other kinds are not asked for.
        _ => model::Json::Null,
    };
    model::Json::from_iter(values.iter().map(json)).to_string()
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

/// What a list can be ordered by.
#[derive(Clone, Copy)]
pub(super) enum Key {
    /// A column that always has a value.
    Full(&'static str),
    /// A column that may have none.
    Gaps(&'static str),
    /// A column that may have none, and then a full one.
    GapsThen(&'static str, &'static str),
}

impl Key {
    fn column(self) -> &'static str {
        match self {
            Key::Full(column) | Key::Gaps(column) | Key::GapsThen(column, _) => column,
        }
    }

    fn sql(self, direction: Direction) -> String {
        // Said only where it matters: an index serves it for the first column of an order alone.
        let (way, nulls) = match direction {
            Direction::Ascending => ("ASC", "NULLS LAST"),
            Direction::Descending => ("DESC", "NULLS FIRST"),
        };
        match self {
            Key::Full(column) => format!("{column} {way}"),
            Key::Gaps(column) => format!("{column} {way} {nulls}"),
            Key::GapsThen(column, then) => format!("{column} {way} {nulls}, {then} {way}"),
        }
    }
}

/// `ORDER BY` of what was asked for, then of `last`, which makes the order whole and goes the way of the first.
pub(super) fn order_by<O: Copy>(order: &[(O, Direction)], key: impl Fn(O) -> Key, last: &[&'static str]) -> String {
    let last_direction = order.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    let asked = order.iter().map(|(order, direction)| (key(*order), *direction));
    let mut parts: Vec<(&str, String)> = Vec::new();
    for (key, direction) in asked.chain(last.iter().map(|column| (Key::Full(column), last_direction))) {
        // A column decides nothing the second time, but a sort would carry it along.
        if parts.iter().all(|(column, _)| *column != key.column()) {
            parts.push((key.column(), key.sql(direction)));
        }
    }
    let parts: Vec<String> = parts.into_iter().map(|(_, sql)| sql).collect();
    format!(" ORDER BY {}", parts.join(", "))
}

/// How many rows there are.
pub(super) fn count(connection: &Connection, from: &str, conditions: &Conditions) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM {from}{}", conditions.clause(Lead::Conditions));
    let total: i64 =
        connection.prepare_cached(&sql)?.query_row(params_from_iter(conditions.values()), |row| row.get(0))?;
    Ok(u64::try_from(total).unwrap_or(0))
}

/// The sum of a column.
pub(super) fn sum(connection: &Connection, from: &str, column: &str, conditions: &Conditions) -> rusqlite::Result<u64> {
    let sql = format!("SELECT coalesce(sum({column}), 0) FROM {from}{}", conditions.clause(Lead::Conditions));
    let sum: i64 =
        connection.prepare_cached(&sql)?.query_row(params_from_iter(conditions.values()), |row| row.get(0))?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// Where a page comes from.
pub(super) struct Source<'a> {
    pub(super) columns: &'a str,
    /// The tables that the conditions and the order speak of.
    pub(super) from: &'a str,
    pub(super) conditions: &'a Conditions,
    pub(super) lead: Lead,
    pub(super) order: &'a str,
    /// How rows are found again once it is known which ones are on the page: where they have to be sorted.
    pub(super) again: Option<Again<'a>>,
}

/// The tables that all columns come from, and the number of a row in them.
#[derive(Clone, Copy)]
pub(super) struct Again<'a> {
    pub(super) from: &'a str,
    pub(super) number: &'a str,
}

/// Pages up to this length are found by their rows' numbers first: a sort that carries whole rows is slow.
pub(super) const MAX_FOUND_AGAIN: u64 = 1000;

impl Source<'_> {
    fn sql(&self, page: Page) -> String {
        let Source { columns, from, conditions, lead, order, again } = self;
        let filter = conditions.clause(*lead);
        match again.filter(|_| page.limit <= MAX_FOUND_AGAIN) {
            Some(Again { from: again, number }) => format!(
                "SELECT {columns} FROM {again} WHERE {number} IN
                     (SELECT {number} FROM {from}{filter}{order} LIMIT ? OFFSET ?){order}"
            ),
            None => format!("SELECT {columns} FROM {from}{filter}{order} LIMIT ? OFFSET ?"),
        }
    }

    /// What SQLite sorts to answer, in its own words.
    #[cfg(test)]
    pub(super) fn sorts(&self, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let sql = format!("EXPLAIN QUERY PLAN {}", self.sql(Page { limit: 50, offset: 0 }));
        let values = self.conditions.values().chain([Value::Integer(50), Value::Integer(0)]);
        let steps: rusqlite::Result<Vec<String>> =
            connection.prepare(&sql)?.query_map(params_from_iter(values), |row| row.get("detail"))?.collect();
        Ok(steps?.into_iter().filter(|step| step.contains("TEMP B-TREE")).collect())
    }
}

pub(super) fn rows<T>(
    connection: &Connection,
    source: &Source<'_>,
    page: Page,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let clamp = |value: u64| Value::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let values = source.conditions.values().chain([clamp(page.limit), clamp(page.offset)]);
    connection.prepare_cached(&source.sql(page))?.query_map(params_from_iter(values), read)?.collect()
}

/// One page of what matches, and how many match in all.
pub(super) fn page<T>(
    connection: &Connection,
    source: &Source<'_>,
    page: Page,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<(Vec<T>, u64)> {
    let total = count(connection, source.from, source.conditions)?;
    let rows = if total > page.offset { rows(connection, source, page, read)? } else { Vec::new() };
    Ok((rows, total))
}

/// Which of the two ways is the shorter one, for a table of `size` rows of which `total` match, if those that match are
/// spread evenly: to collect them all, or to take rows in order until the page is full.
pub(super) fn shorter_lead(total: u64, size: u64, page: Page) -> Lead {
    let needed = u128::from(page.offset) + u128::from(page.limit.min(total));
    let (total, size) = (u128::from(total), u128::from(size));
    if total * total > needed * size { Lead::Order } else { Lead::Conditions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_way_is_taken() {
        let first = Page { limit: 50, offset: 0 };
        assert_eq!(shorter_lead(0, 500_000, first), Lead::Conditions);
        assert_eq!(shorter_lead(40, 500_000, first), Lead::Conditions, "few are sorted quickly");
        assert_eq!(shorter_lead(500_000, 500_000, first), Lead::Order);
        assert_eq!(shorter_lead(100_000, 500_000, first), Lead::Order, "one in five fits");
        assert_eq!(shorter_lead(100_000, 500_000, Page { limit: 50, offset: 90_000 }), Lead::Conditions);
        assert_eq!(shorter_lead(100_000, 500_000, Page::ALL), Lead::Conditions);
    }

    #[test]
    fn nothing_begins_like_a_prefix_after_it() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
