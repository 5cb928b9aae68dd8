//! Values that JSON does not have, wrapped as `{"__type": …, "__var": …}`.

use model::Json;

/// A value without its wrapping: dates and durations become their seconds, sets and tuples lists.
pub fn decode(value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(decode).collect(),
        Json::Object(fields) => match (fields.get("__type").and_then(Json::as_str), fields.get("__var")) {
            (Some("dict"), Some(Json::Object(inner))) => {
                Json::Object(inner.iter().map(|(key, value)| (key.clone(), decode(value))).collect())
            }
            (Some(_), Some(inner)) => decode(inner),
            (Some(_), None) => Json::Null,
            _ => Json::Object(fields.iter().map(|(key, value)| (key.clone(), decode(value))).collect()),
        },
        plain => plain.clone(),
    }
}

/// Whether the value stands for "not given", which is not the same as null.
pub fn is_not_set(value: &Json) -> bool {
    value.get("__type").and_then(Json::as_str) == Some("arg_not_set")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrappings_are_taken_off_at_every_depth() {
        let wrapped = json!({"__type": "dict", "__var": {
            "a": {"__type": "timedelta", "__var": 300.0},
            "b": [{"__type": "set", "__var": [1, 2]}],
            "c": {"plain": {"__type": "tuple", "__var": ["x"]}},
        }});
        assert_eq!(decode(&wrapped), json!({"a": 300.0, "b": [[1, 2]], "c": {"plain": ["x"]}}));
        assert!(is_not_set(&json!({"__type": "arg_not_set", "__var": null})) && !is_not_set(&json!(null)));
    }
}
