//! Keys that Airflow's serialization keeps for itself: a value of a client's must not have them, or a task that pulls
//! it would make objects of a client's choice.

use serde_json::Value;

use crate::parse::{Fault, Parsed};

/// `FORBIDDEN_XCOM_KEYS`, in the order of the alphabet.
const RESERVED: [&str; 8] =
    ["__cache__", "__classname__", "__data__", "__id__", "__source", "__type", "__var", "__version__"];

/// Any value, unless there is such a key in it, also in JSON inside of its texts.
pub(super) fn free_of_reserved_keys(input: &Value) -> Parsed<Value> {
    walk(input, "value")?;
    Ok(input.clone())
}

fn walk(value: &Value, path: &str) -> Parsed<()> {
    match value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => walk(&inner, path),
            _ => Ok(()),
        },
        Value::Object(fields) => {
            let found: Vec<&str> = RESERVED.into_iter().filter(|key| fields.contains_key(*key)).collect();
            if !found.is_empty() {
                return Err(Fault::value_error(format!(
                    "XCom {path} contains reserved serialization keys: {}. These keys are reserved for internal use.",
                    found.join(", ")
                )));
            }
            fields.iter().try_for_each(|(key, item)| walk(item, &format!("{path}.{key}")))
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| walk(item, &format!("{path}[{at}]"))),
        _ => Ok(()),
    }
}
