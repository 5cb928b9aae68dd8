//! Params of a run, checked against their schemas, with the verdicts and the words of Python's `jsonschema`.

mod message;

use jsonschema::{ValidationOptions, Validator};
use model::Json;
use model::dag::Param;

use crate::triggering::InvalidTrigger;

/// Formats that Python's `FormatChecker` does not look at as Airflow installs it.
const UNCHECKED_FORMATS: [&str; 9] = [
    "date-time",
    "hostname",
    "iri",
    "iri-reference",
    "json-pointer",
    "relative-json-pointer",
    "uri",
    "uri-reference",
    "uri-template",
];

/// Checks the params of a Dag as a run with this configuration would have them.
pub fn check_params(params: &[Param], conf: &Json) -> Result<(), InvalidTrigger> {
    for param in params {
        let invalid = |reason: String| InvalidTrigger::Param { name: param.name.clone(), reason };
        let value = conf.get(&param.name).or(param.value.as_ref());
        let value = value.ok_or_else(|| invalid("No value passed".into()))?;
        if param.schema.as_object().is_none_or(serde_json::Map::is_empty) {
            continue;
        }
        let validator = validator(&param.schema).map_err(|error| invalid(format!("its schema is wrong: {error}")))?;
        if let Some(error) = message::best_match(validator.iter_errors(value)) {
            return Err(invalid(message::text_of(&error, &param.schema, value)));
        }
    }
    Ok(())
}

fn validator(schema: &Json) -> Result<Validator, String> {
    let mut options: ValidationOptions = jsonschema::options().should_validate_formats(true);
    for name in UNCHECKED_FORMATS {
        options = options.with_format(name, |_: &str| true);
    }
    options = options.with_format("email", |text: &str| text.contains('@'));
    options = options.with_format("idn-email", |text: &str| text.contains('@'));
    options = options.with_format("time", is_time);
    // A dialect that nobody knows is the newest one, as `jsonschema.validate` has it.
    let dialect = schema.get("$schema").and_then(Json::as_str);
    if dialect.is_none_or(|dialect| dialect.contains("json-schema.org/")) {
        return options.build(schema).map_err(|error| error.to_string());
    }
    let mut plain = schema.clone();
    plain.as_object_mut().map(|fields| fields.remove("$schema"));
    options.build(&plain).map_err(|error| error.to_string())
}

/// `strptime(text, "%H:%M:%S")`.
fn is_time(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let below = |part: &str, bound: u8| {
        (1..=2).contains(&part.len())
            && part.bytes().all(|digit| digit.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|number| number < bound)
    };
    matches!(parts.as_slice(), [hour, minute, second] if below(hour, 24) && below(minute, 60) && below(second, 62))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn param(value: Option<Json>, schema: Json) -> Param {
        Param { name: "p".into(), value, description: None, schema }
    }

    /// What Python says of many schemas and values (`tests/golden/record_params.py`). The words of rare keywords are the
    /// library's own; verdicts are not.
    #[test]
    fn verdicts_are_those_of_python() {
        let cases: Vec<(Json, Json, Json)> = serde_json::from_str(include_str!("../tests/golden/params.json")).unwrap();
        let mut differences = Vec::new();
        for (schema, value, said) in &cases {
            let own = match check_params(&[param(Some(value.clone()), schema.clone())], &json!({})) {
                Ok(()) => "fits",
                Err(InvalidTrigger::Param { reason, .. }) if reason.starts_with("its schema is wrong") => {
                    "wrong schema"
                }
                Err(_) => "does not fit",
            };
            let wanted = match said {
                Json::Null => "fits",
                Json::Bool(_) => "wrong schema",
                _ => "does not fit",
            };
            if own != wanted {
                differences.push(format!("{schema} {value}: {own}, but {said}"));
            }
        }
        assert!(cases.len() > 1500 && differences.is_empty(), "{}", differences.join("\n"));
    }

    #[test]
    fn params_must_fit_their_schemas() {
        let check = |param: Param, conf: Json| check_params(&[param], &conf);
        let integer = || json!({"type": "integer"});
        assert!(check(param(Some(json!(1)), integer()), json!({})).is_ok());
        assert!(check(param(Some(json!("no")), json!({})), json!({})).is_ok());
        let missing = check(param(None, json!({})), json!({})).unwrap_err();
        assert_eq!(missing.to_string(), "Invalid input for param p: No value passed");
        assert!(check(param(Some(json!(1)), integer()), json!({"p": "x"})).is_err());
        assert!(check(param(None, integer()), json!({"p": 2})).is_ok());
    }

    #[test]
    fn formats_are_checked_as_airflow_does() {
        let is_valid = |format: &str, text: &str| {
            check_params(&[param(Some(json!(text)), json!({"type": "string", "format": format}))], &json!({})).is_ok()
        };
        assert!(is_valid("date", "2024-02-29") && !is_valid("date", "2023-02-29") && !is_valid("date", "tomorrow"));
        assert!(is_valid("time", "1:2:3") && !is_valid("time", "24:00:00") && !is_valid("time", "12:00"));
        assert!(is_valid("email", "a@b") && !is_valid("email", "a"));
        assert!(is_valid("date-time", "whenever") && is_valid("uri", "no uri"));
    }
}
