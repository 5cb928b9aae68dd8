//! Python's `json` module.

use super::filters::sorted_pairs;
use crate::error::{Outcome, needs_python, type_error};
use crate::value::{Dict, Value, bounded, float_text};

/// How JSON is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Style {
    /// Spaces for each level; `None` for all on one line.
    pub indent: Option<usize>,
    pub sort_keys: bool,
}

/// `json.dumps(value)`.
pub(super) fn dumps(value: &Value, style: Style) -> Outcome<String> {
    let mut out = String::new();
    write(&mut out, value, style, 0)?;
    Ok(out)
}

fn write(out: &mut String, value: &Value, style: Style, level: usize) -> Outcome<()> {
    bounded(out.len())?;
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::List(seq) | Value::Tuple(seq) => {
            let items = seq.items.iter().map(|item| (None, item)).collect::<Vec<_>>();
            write_all(out, ('[', ']'), &items, style, level)?;
        }
        Value::Dict(dict) => {
            let pairs = if style.sort_keys {
                sorted_pairs(dict, false)?
            } else {
                dict.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            let mut items = Vec::with_capacity(pairs.len());
            for (key, value) in &pairs {
                items.push((Some(key_text(key)?), value));
            }
            write_all(out, ('{', '}'), &items, style, level)?;
        }
        value => match value.as_str() {
            Some(text) => write_text(out, text),
            None => {
                let name = value.type_name();
                let name = name.rsplit('.').next().unwrap_or(name);
                return type_error(format!("Object of type {name} is not JSON serializable"));
            }
        },
    }
    Ok(())
}

fn write_all(
    out: &mut String,
    (open, close): (char, char),
    items: &[(Option<String>, &Value)],
    style: Style,
    level: usize,
) -> Outcome<()> {
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent * level));
        }
    };
    out.push(open);
    for (at, (key, value)) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(if style.indent.is_some() { "," } else { ", " });
        }
        line(out, level + 1);
        if let Some(key) = key {
            write_text(out, key);
            out.push_str(": ");
        }
        write(out, value, style, level + 1)?;
    }
    if !items.is_empty() {
        line(out, level);
    }
    out.push(close);
    Ok(())
}

/// A float as `json.dumps` writes it.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        float_text(value)
    }
}

fn key_text(key: &Value) -> Outcome<String> {
    Ok(match key {
        Value::None => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float(*value),
        key => match key.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let name = key.type_name();
                return type_error(format!("keys must be str, int, float, bool or None, not {name}"));
            }
        },
    })
}

/// A text as `json.dumps` writes it.
pub(crate) fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

/// `json.loads(text)`; `None` where Python raises a JSONDecodeError.
pub(crate) fn loads(text: &str) -> Outcome<Option<Value>> {
    // Python reads numbers of any size, and some texts that are no JSON.
    if has_long_integer(text) {
        return needs_python("JSON with a number this long");
    }
    match serde_json::from_str(text) {
        Ok(json) => Value::from_json(&json).map(Some),
        Err(error) => {
            let doubtful = ["NaN", "Infinity", "\\u", "\\U"].iter().any(|part| text.contains(part))
                || error.to_string().contains("recursion")
                || error.to_string().contains("out of range");
            if doubtful { needs_python("JSON that only Python may read") } else { Ok(None) }
        }
    }
}

/// Whether there is an integer with more digits than are sure to fit, outside of texts.
fn has_long_integer(text: &str) -> bool {
    let mut in_text = false;
    let mut escaped = false;
    let mut digits = 0;
    let mut is_float = false;
    for byte in text.bytes().chain([b' ']) {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' | b'e' | b'E' | b'+' | b'-' => is_float = is_float || digits > 0,
            _ => {
                if digits > 18 && !is_float {
                    return true;
                }
                (digits, is_float) = (0, false);
                in_text = byte == b'"';
            }
        }
    }
    false
}

/// An empty dict, as `extra_dejson` is for a connection without extras.
pub(crate) fn empty() -> Value {
    Value::dict(Dict::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = loads(r#"{"b": [1, 2.50, true, null, "é\n<\ud83d\ude00"], "a": {}}"#).unwrap().unwrap();
        let style = Style::default();
        assert_eq!(dumps(&value, style).unwrap(), r#"{"b": [1, 2.5, true, null, "\u00e9\n<\ud83d\ude00"], "a": {}}"#);
        let style = Style { indent: Some(1), sort_keys: true };
        assert_eq!(
            dumps(&value, style).unwrap(),
            "{\n \"a\": {},\n \"b\": [\n  1,\n  2.5,\n  true,\n  null,\n  \"\\u00e9\\n<\\ud83d\\ude00\"\n ]\n}"
        );
    }
}
