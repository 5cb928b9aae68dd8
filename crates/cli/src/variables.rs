//! Variables in files.

use serde_json::{Map, Value, json};
use store::Variable;
use template::python::dumps;

use crate::numbers::has_long_integer;

/// A variable as a file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedVariable {
    pub value: String,
    pub description: Option<String>,
}

/// What an entry of a file makes of a variable: a text is kept as it is, anything else as JSON. An object with a
/// `value` may have a `description` beside it.
pub fn variable_from_entry(entry: &Value) -> ImportedVariable {
    let (value, description) = match entry.get("value") {
        Some(value) if entry.is_object() => (value, entry.get("description").and_then(Value::as_str)),
        _ => (entry, None),
    };
    let value = value.as_str().map_or_else(|| dumps(value, Some(2)), str::to_owned);
    ImportedVariable { value, description: description.map(str::to_owned) }
}

/// All variables as one document that [`variable_from_entry`] reads back.
pub fn variables_document(variables: &[Variable]) -> Value {
    let mut sorted: Vec<&Variable> = variables.iter().collect();
    sorted.sort_by_key(|variable| &variable.key);
    let entries: Map<String, Value> =
        sorted.into_iter().map(|variable| (variable.key.clone(), entry(variable))).collect();
    Value::Object(entries)
}

fn entry(variable: &Variable) -> Value {
    let text = || Value::from(variable.value.as_str());
    let value = match serde_json::from_str::<Value>(&variable.value) {
        Ok(value) if !value.is_string() && !has_long_integer(&variable.value) => sorted(value),
        _ => text(),
    };
    let needs_object =
        variable.description.as_ref().is_some_and(|text| !text.is_empty()) || value.get("value").is_some();
    if needs_object { json!({"description": variable.description, "value": value}) } else { value }
}

/// The same document with keys in the order of the alphabet.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> =
                fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().collect())
        }
        plain => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(value: &str, description: Option<&str>) -> Variable {
        let description = description.map(str::to_owned);
        Variable { key: "k".into(), value: value.into(), description, ..Variable::default() }
    }

    #[test]
    fn entries_are_texts_documents_or_have_a_description() {
        let value = |entry: Value| variable_from_entry(&entry).value;
        assert_eq!(value(json!("text")), "text");
        assert_eq!(value(json!({"a": 1})), "{\n  \"a\": 1\n}");
        assert_eq!(value(json!(true)), "true");
        let described = variable_from_entry(&json!({"value": [1], "description": "d"}));
        assert_eq!(described, ImportedVariable { value: "[\n  1\n]".into(), description: Some("d".into()) });
    }

    #[test]
    fn what_is_exported_is_imported_again() {
        let cases = [
            "text",
            "1",
            "1.5",
            "\"quoted\"",
            "{\"value\": 1}",
            "[1, null]",
            "12345678901234567890123",
            "0.1000000000000000055",
            "",
        ];
        for text in cases {
            let document = variables_document(&[variable(text, None)]);
            let read = variable_from_entry(&document["k"]);
            let same = |text: &str| serde_json::from_str::<Value>(text).ok();
            assert!(read.value == text || (same(&read.value).is_some() && same(&read.value) == same(text)), "{text}");
        }
        assert_eq!(variables_document(&[variable("1", Some("d"))])["k"], json!({"value": 1, "description": "d"}));
        // Digits that a number of 64 bits can't keep stay a text.
        assert_eq!(
            variables_document(&[variable("12345678901234567890123", None)])["k"],
            json!("12345678901234567890123")
        );
    }
}
