//! Values as people can read them: serialized objects as one line of text, everything else as it is.

use serde_json::{Map, Value};
use template::python;

/// An object that only Python can make, or that is none.
struct Unreadable;

/// The value of an entry in readable form; as it is where that is not possible.
pub(super) fn readable(value: &Value) -> Value {
    let parsed = value.as_str().and_then(|text| serde_json::from_str(text).ok());
    stringify(parsed.as_ref().unwrap_or(value)).unwrap_or_else(|Unreadable| value.clone())
}

fn stringify(value: &Value) -> Result<Value, Unreadable> {
    match value {
        Value::Array(items) => items.iter().map(stringify).collect(),
        Value::Object(fields) => object(fields),
        other => Ok(other.clone()),
    }
}

fn object(fields: &Map<String, Value>) -> Result<Value, Unreadable> {
    // The form of older versions.
    if let (Some(kind), Some(data)) = (fields.get("__type"), fields.get("__var")) {
        return match (kind.as_str(), data) {
            (Some("dict"), Value::Object(fields)) => object(fields),
            (Some(kind), data) => serialized(kind, 0, Some(data)),
            (None, _) => Err(Unreadable),
        };
    }
    match (fields.get("__classname__"), fields.get("__version__")) {
        (Some(name), Some(version)) => {
            let name = name.as_str().filter(|name| !name.is_empty()).ok_or(Unreadable)?;
            let version = version.as_i64().ok_or(Unreadable)?;
            serialized(name, version, fields.get("__data__"))
        }
        _ => fields.iter().map(|(key, value)| Ok((key.clone(), stringify(value)?))).collect(),
    }
}

fn serialized(name: &str, version: i64, data: Option<&Value>) -> Result<Value, Unreadable> {
    if name.starts_with("airflow.") {
        return Err(Unreadable);
    }
    if let ("builtins.tuple" | "builtins.set" | "builtins.frozenset", Some(Value::Array(items))) = (name, data) {
        return Ok(format!("({})", joined(items)?).into());
    }
    let inner = match data {
        None | Some(Value::Null) => String::new(),
        Some(Value::Array(items)) => joined(items)?,
        Some(Value::Object(fields)) => {
            let mut parts = Vec::with_capacity(fields.len());
            for (key, value) in fields {
                parts.push(match value {
                    Value::String(_) => format!("{key}={}", python::repr(value)),
                    value => format!("{key}={}", python::text(&stringify(value)?)),
                });
            }
            parts.join(", ")
        }
        Some(plain) => python::text(plain),
    };
    Ok(format!("{}@version={version}({inner})", without_module_hash(name)).into())
}

fn joined(items: &[Value]) -> Result<String, Unreadable> {
    let texts: Result<Vec<String>, Unreadable> = items.iter().map(|item| Ok(python::text(&stringify(item)?))).collect();
    Ok(texts?.join(","))
}

/// Modules of Dag files are imported under names with a hash, which is nothing for people.
fn without_module_hash(name: &str) -> String {
    const PREFIX: &str = "unusual_prefix_";
    const HASH: usize = 40;
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find(PREFIX) {
        let after = &rest[at + PREFIX.len()..];
        let is_hash = after.as_bytes().get(HASH) == Some(&b'_')
            && after.bytes().take(HASH).all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9'));
        if is_hash {
            out.push_str(&rest[..at]);
            rest = &after[HASH + 1..];
        } else {
            out.push_str(&rest[..at + PREFIX.len()]);
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn serialized_objects_become_lines_of_text() {
        let cases = [
            (json!({"a": [1, null]}), json!({"a": [1, null]})),
            (json!("[1, 2]"), json!([1, 2])),
            (json!("no json"), json!("no json")),
            (json!({"__classname__": "a.B", "__version__": 1, "__data__": 5}), json!("a.B@version=1(5)")),
            (json!({"__classname__": "a.B", "__version__": 1}), json!("a.B@version=1()")),
            (
                json!({"__classname__": "a.B", "__version__": 2, "__data__": [1, {"x": "y"}, true]}),
                json!("a.B@version=2(1,{'x': 'y'},True)"),
            ),
            (
                json!({"__classname__": "a.B", "__version__": 1, "__data__": {"s": "it's", "n": null, "l": ["q"]}}),
                json!("a.B@version=1(s=\"it's\", n=None, l=['q'])"),
            ),
            (json!({"x": {"__type": "set", "__var": [1, 2]}}), json!({"x": "set@version=0(1,2)"})),
            (json!({"__type": "dict", "__var": {"k": 1}}), json!({"k": 1})),
            (
                json!({"__classname__": "airflow.X", "__version__": 1, "__data__": 5}),
                json!({"__classname__": "airflow.X", "__version__": 1, "__data__": 5}),
            ),
            (json!({"__classname__": 5, "__version__": 1}), json!({"__classname__": 5, "__version__": 1})),
            (
                json!({"__classname__": format!("unusual_prefix_{}_mod.B", "0a".repeat(20)), "__version__": 1}),
                json!("mod.B@version=1()"),
            ),
            (
                json!({"__classname__": "unusual_prefix_short_mod.B", "__version__": 1}),
                json!("unusual_prefix_short_mod.B@version=1()"),
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(readable(&value), expected, "{value}");
        }
    }
}
