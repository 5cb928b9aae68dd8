//! What Airflow's OpenAPI document says of bodies (`golden/distil_openapi.py`).

use std::sync::LazyLock;

use serde_json::{Map, Value};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../golden/openapi.json")).unwrap());

/// What is wrong with the body of a success; nothing if the document does not know the request.
pub fn faults(method: &str, path: &str, body: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(shape) = operation(method, path) {
        check(shape, body, "body", &mut faults);
    }
    faults
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let operations = DOCUMENT["operations"].as_object().unwrap();
    let fits = |name: &str| {
        let (own, template) = name.split_once(' ').unwrap();
        own == method && is_path_of(path, template)
    };
    // A path that is written out counts more than one with names in it.
    let mut found: Vec<(&String, &Value)> = operations.iter().filter(|(name, _)| fits(name)).collect();
    found.sort_by_key(|(name, _)| name.matches('{').count());
    found.first().map(|(_, shape)| *shape)
}

fn is_path_of(path: &str, template: &str) -> bool {
    let (path, template): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), template.split('/').collect());
    path.len() == template.len()
        && path
            .iter()
            .zip(&template)
            .all(|(part, wanted)| part == wanted || (wanted.starts_with('{') && !part.is_empty()))
}

fn check(shape: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let words = shape.as_array().unwrap();
    let mut best: Option<Vec<String>> = None;
    for word in words {
        let mut own = Vec::new();
        check_word(word, value, place, &mut own);
        if best.as_ref().is_none_or(|best| own.len() < best.len()) {
            best = Some(own);
        }
    }
    faults.extend(best.unwrap_or_default());
}

fn check_word(word: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let Some(word) = word.as_str() else {
        match value.as_array() {
            Some(items) => {
                let each = items.iter().enumerate();
                each.for_each(|(at, item)| check(word, item, &format!("{place}[{at}]"), faults));
            }
            None => faults.push(format!("{place} is no list: {value}")),
        }
        return;
    };
    let is = match word {
        "any" => true,
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "date-time" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        "uuid" => value.as_str().is_some_and(|text| text.parse::<uuid::Uuid>().is_ok()),
        name => return check_schema(name.trim_start_matches('#'), value, place, faults),
    };
    if !is {
        faults.push(format!("{place} is no {word}: {value}"));
    }
}

/// Airflow writes every field of a model, and no other.
fn check_schema(name: &str, value: &Value, place: &str, faults: &mut Vec<String>) {
    let schema = &DOCUMENT["schemas"][name];
    if let Some(shape) = schema.get("is") {
        return check(shape, value, place, faults);
    }
    let empty = Map::new();
    let fields = schema["fields"].as_object().unwrap_or(&empty);
    let Some(found) = value.as_object() else {
        faults.push(format!("{place} is no {name}: {value}"));
        return;
    };
    for (field, shape) in fields {
        match found.get(field) {
            Some(value) => check(shape, value, &format!("{place}.{field}"), faults),
            None => faults.push(format!("{place}.{field} is missing")),
        }
    }
    let others = found.keys().filter(|field| !fields.contains_key(*field));
    faults.extend(others.map(|field| format!("{place}.{field} is no field of {name}")));
}

#[test]
fn faults_are_found() {
    let wrong = serde_json::json!({"tags": ["a", 1], "more": true});
    let found = faults("GET", "/api/v2/dagTags?limit=1", &wrong);
    let expected = ["body.tags[1] is no string: 1", "body.total_entries is missing", "body.more is no field of"];
    assert!(found.len() == 3 && expected.iter().all(|fault| found.iter().any(|own| own.contains(fault))), "{found:?}");
}
