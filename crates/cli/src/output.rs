//! Rows as people and as programs read them.
//!
//! The forms are those of Airflow's command line, so that scripts can be kept: in JSON and YAML every value is a text
//! (`"True"`, `"16"`) or null, and keys come in the order of the columns (in YAML in that of the alphabet).

use serde_json::Value;
use template::python;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::yaml;

/// What stands where a table or a plain list would have rows.
const NO_ROWS: &str = "No data found\n";

/// A row: columns with their values, in order.
pub type Row = serde_json::Map<String, Value>;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Aligned columns with rules, for people.
    #[default]
    Table,
    /// Aligned columns without rules, for `awk` and its like.
    Plain,
    Json,
    Yaml,
}

/// Makes a row of columns and values.
pub fn row<const N: usize>(columns: [(&str, Value); N]) -> Row {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The rows as text, with an end of line at its end. All rows have the columns of the first one.
pub fn render(rows: &[Row], format: Format) -> String {
    match format {
        Format::Json => document(rows, |rows| format!("{rows:#}\n")),
        Format::Yaml => document(rows, |rows| yaml::write(&rows)),
        Format::Table if !rows.is_empty() => table(rows, &Style { gap: " | ", rule: Some("=+=") }),
        Format::Plain if !rows.is_empty() => table(rows, &Style { gap: "  ", rule: None }),
        Format::Table | Format::Plain => NO_ROWS.to_owned(),
    }
}

fn document(rows: &[Row], write: impl Fn(Value) -> String) -> String {
    write(rows.iter().map(|row| as_texts(&Value::Object(row.clone()))).collect())
}

/// The value with every part of it a text, as Python's `str` writes it, or null.
fn as_texts(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Array(items) => items.iter().map(as_texts).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), as_texts(value))).collect(),
        plain => python::text(plain).into(),
    }
}

/// The beginning of a text that fits into so many columns.
pub fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, letter) in text.char_indices() {
        taken += letter.width().unwrap_or(0);
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

struct Style {
    gap: &'static str,
    /// What joins the rules below the headings; rules have the same width as the gap.
    rule: Option<&'static str>,
}

/// What a cell shows.
fn cell(value: &Value, style: &Style) -> String {
    match value {
        Value::Null if style.rule.is_some() => "None".into(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(|item| cell(item, style)).collect::<Vec<_>>().join(","),
        other => python::text(other),
    }
}

/// Lines of a cell, without what would move the cursor of a terminal.
fn lines_of(text: &str) -> Vec<String> {
    let clean = |line: &str| -> String {
        line.replace('\t', "    ").chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
    };
    if text.is_empty() { vec![String::new()] } else { text.lines().map(clean).collect() }
}

fn table(rows: &[Row], style: &Style) -> String {
    let headings: Vec<&str> = rows.first().into_iter().flat_map(|row| row.keys().map(String::as_str)).collect();
    let cells: Vec<Vec<Vec<String>>> = rows
        .iter()
        .map(|row| headings.iter().map(|name| lines_of(&cell(row.get(*name).unwrap_or(&Value::Null), style))).collect())
        .collect();
    let width_of = |column: usize| {
        let lines = cells.iter().flat_map(|row| row[column].iter());
        lines.map(|line| line.width()).chain([headings[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width_of).collect();
    let line = |texts: &[&str]| {
        let pad = |(text, width): (&&str, &usize)| format!("{text}{}", " ".repeat(width - text.width()));
        let padded: Vec<String> = texts.iter().zip(&widths).map(pad).collect();
        format!("{}\n", padded.join(style.gap).trim_end())
    };
    let mut out = line(&headings);
    if let Some(join) = style.rule {
        out.push_str(&widths.iter().map(|width| "=".repeat(*width)).collect::<Vec<_>>().join(join));
        out.push('\n');
    }
    for row in &cells {
        let height = row.iter().map(Vec::len).max().unwrap_or(1);
        for number in 0..height {
            let texts: Vec<&str> = row.iter().map(|lines| lines.get(number).map_or("", String::as_str)).collect();
            out.push_str(&line(&texts));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            row([("dag_id", "a".into()), ("owners", json!(["x", "y"])), ("is_paused", true.into())]),
            row([("dag_id", "long".into()), ("owners", json!([])), ("is_paused", Value::Null)]),
        ]
    }

    #[test]
    fn tables_are_aligned_and_end_without_blanks() {
        let want = "dag_id | owners | is_paused\n=======+========+==========\na      | x,y    | True\nlong   |        | None\n";
        assert_eq!(render(&rows(), Format::Table), want);
        assert_eq!(render(&rows(), Format::Plain), "dag_id  owners  is_paused\na       x,y     True\nlong\n");
    }

    #[test]
    fn cells_of_several_lines_and_wide_letters_keep_the_columns() {
        let rows = [row([("name", "名前".into()), ("error", "one\ntwo\u{1b}[0m".into()), ("end", 1.into())])];
        let want = "name | error   | end\n=====+=========+====\n名前 | one     | 1\n     | two\u{fffd}[0m |\n";
        assert_eq!(render(&rows, Format::Table), want);
    }

    #[test]
    fn documents_hold_texts_and_nulls() {
        let want = json!([
            {"dag_id": "a", "owners": ["x", "y"], "is_paused": "True"},
            {"dag_id": "long", "owners": [], "is_paused": null},
        ]);
        assert_eq!(serde_json::from_str::<Value>(&render(&rows(), Format::Json)).unwrap(), want);
        let want = "- dag_id: a\n  is_paused: 'True'\n  owners:\n  - x\n  - y\n- dag_id: long\n  is_paused: null\n  owners: []\n";
        assert_eq!(render(&rows(), Format::Yaml), want);
    }

    #[test]
    fn texts_are_cut_by_what_they_take_on_the_screen() {
        assert_eq!((cut("abc", 2), cut("abc", 3), cut("名前", 3), cut("", 0)), ("ab", "abc", "名", ""));
    }

    #[test]
    fn no_rows_are_said_to_people_and_empty_for_programs() {
        let all = [Format::Table, Format::Plain, Format::Json, Format::Yaml].map(|format| render(&[], format));
        assert_eq!(all, ["No data found\n", "No data found\n", "[]\n", "[]\n"]);
    }
}
