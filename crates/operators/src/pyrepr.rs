//! Values as Python writes them.

use model::Json;

/// `str()` of a value.
pub fn python_str(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => python_repr(other),
    }
}

/// `repr()` of a value.
pub fn python_repr(value: &Json) -> String {
    match value {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(items) => format!("[{}]", items.iter().map(python_repr).collect::<Vec<_>>().join(", ")),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{}: {}", quoted(key), python_repr(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A list of texts as Python writes it.
pub fn python_list(items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// `repr()` of a text.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            c if c == quote => quoted.extend(['\\', c]),
            c if is_printable(c) => quoted.push(c),
            c => quoted.push_str(&match u32::from(c) {
                code @ ..=0xff => format!("\\x{code:02x}"),
                code @ ..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    quoted.push(quote);
    quoted
}

/// As Python's `str.isprintable`: the standard library's debug form escapes the same characters, when they are not the
/// first of a text.
fn is_printable(c: char) -> bool {
    !['a', c].iter().collect::<String>().escape_debug().skip(1).collect::<String>().starts_with("\\u{")
        && !c.is_control()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_quoted_as_python_quotes_them() {
        assert_eq!(python_list(&["/bin/bash", "it's", "a\n\"b'"]), r#"['/bin/bash', "it's", 'a\n"b\'']"#);
        // As Python 3.11 gives them.
        let text = "\0\x1b\x7f\u{85}\u{a0}\u{ad}é\u{301}\u{200b}\u{2028}\u{e000}\u{1f600}\u{e0001}\\";
        let want = r"'\x00\x1b\x7f\x85\xa0\xadé\u0301\u200b\u2028\ue000😀\U000e0001\\'".replace("\\u0301", "\u{301}");
        assert_eq!(python_repr(&json!(text)), want);
    }

    #[test]
    fn containers_are_written_as_python_writes_them() {
        let value = json!({"a": [1, 2.5, null, true, false], "b": {"c": "x"}});
        assert_eq!(python_str(&value), "{'a': [1, 2.5, None, True, False], 'b': {'c': 'x'}}");
        assert_eq!(python_str(&json!("plain")), "plain");
    }
}
