//! JSON documents as Python writes them, for whoever must not be told from it.

use model::Json;

use crate::builtins::{json_float, write_json_text};
use crate::value::{float_text, str_repr};

/// `json.dumps(value, indent=indent)`.
pub fn dumps(value: &Json, indent: Option<usize>) -> String {
    let mut out = String::new();
    write_json(&mut out, value, indent, 0);
    out
}

/// `str(value)`.
pub fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        value => repr(value),
    }
}

/// `repr(value)`.
pub fn repr(value: &Json) -> String {
    let mut out = String::new();
    write_repr(&mut out, value);
    out
}

fn write_json(out: &mut String, value: &Json, indent: Option<usize>, level: usize) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Json::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.push_str(&json_float(float)),
            _ => out.push_str(&number.to_string()),
        },
        Json::String(text) => write_json_text(out, text),
        Json::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            write_json_items(out, ('[', ']'), items, indent, level);
        }
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (Some(key.as_str()), value));
            write_json_items(out, ('{', '}'), fields, indent, level);
        }
    }
}

fn write_json_items<'a>(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = (Option<&'a str>, &'a Json)>,
    indent: Option<usize>,
    level: usize,
) {
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    };
    out.push(open);
    let mut empty = true;
    for (key, value) in items {
        if !empty {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        empty = false;
        line(out, level + 1);
        if let Some(key) = key {
            write_json_text(out, key);
            out.push_str(": ");
        }
        write_json(out, value, indent, level + 1);
    }
    if !empty {
        line(out, level);
    }
    out.push(close);
}

fn write_repr(out: &mut String, value: &Json) {
    match value {
        Json::Null => out.push_str("None"),
        Json::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
        Json::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => out.push_str(&float_text(float)),
            _ => out.push_str(&number.to_string()),
        },
        Json::String(text) => out.push_str(&str_repr(text)),
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_repr(out, item);
            }
            out.push(']');
        }
        Json::Object(fields) => {
            out.push('{');
            for (at, (key, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(&str_repr(key));
                out.push_str(": ");
                write_repr(out, value);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_look_as_python_writes_them() {
        let value = json!({"a": [1, 2.0, 1e22, -1e-7], "é": "it's", "n": null, "t": true, "e": {}, "l": []});
        assert_eq!(
            dumps(&value, None),
            r#"{"a": [1, 2.0, 1e+22, -1e-07], "\u00e9": "it's", "n": null, "t": true, "e": {}, "l": []}"#
        );
        assert_eq!(dumps(&json!({"a": [1, {}]}), Some(2)), "{\n  \"a\": [\n    1,\n    {}\n  ]\n}");
        assert_eq!(
            text(&value),
            r#"{'a': [1, 2.0, 1e+22, -1e-07], 'é': "it's", 'n': None, 't': True, 'e': {}, 'l': []}"#
        );
        assert_eq!(text(&json!("it's")), "it's");
        assert_eq!(repr(&json!("it's")), "\"it's\"");
    }
}
