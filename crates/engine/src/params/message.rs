//! What Python's `jsonschema` says of a value that does not fit its schema: `str()` of its `ValidationError`.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use model::Json;
use template::python::repr;

/// Lines of the schema and the value are not longer where that can be helped.
const WIDTH: usize = 72;

/// The error that Python would name: the least deep one, and of those on one level the most telling.
pub(super) fn best_match<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Option<ValidationError<'a>> {
    let errors: Vec<ValidationError<'a>> = errors.collect();
    let best = errors.iter().enumerate().max_by(|(a_at, a), (b_at, b)| {
        // Of equals the first counts.
        relevance(a).cmp(&relevance(b)).then(b_at.cmp(a_at))
    });
    let at = best.map(|(at, _)| at)?;
    errors.into_iter().nth(at)
}

/// `jsonschema.exceptions.by_relevance`.
fn relevance(error: &ValidationError<'_>) -> (std::cmp::Reverse<usize>, Vec<String>, bool) {
    let path: Vec<String> = segments(error.instance_path().as_str()).collect();
    let is_weak =
        matches!(error.kind(), Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. });
    (std::cmp::Reverse(path.len()), path, !is_weak)
}

/// The whole message about a value and its schema.
pub(super) fn text_of(error: &ValidationError<'_>, schema: &Json, value: &Json) -> String {
    let path: Vec<String> = segments(error.schema_path().as_str()).collect();
    let (keyword, place) = path.split_last().map_or(("", &path[..0]), |(last, rest)| (last.as_str(), rest));
    let mut own = schema;
    let mut schema_place = String::from("schema");
    for segment in place {
        schema_place.push_str(&index(own, segment));
        own = child(own, segment).unwrap_or(&Json::Null);
    }
    let mut path: Vec<String> = segments(error.instance_path().as_str()).collect();
    let is_extra = matches!(error.kind(), Kind::FalseSchema) && keyword == "additionalProperties";
    if is_extra {
        // Said of the object, not of its property.
        path.pop();
    }
    let mut instance = value;
    let mut instance_place = String::from("instance");
    for segment in &path {
        instance_place.push_str(&index(instance, segment));
        instance = child(instance, segment).unwrap_or(&Json::Null);
    }
    let message = if is_extra { unexpected_text(instance, own) } else { short_text(error, keyword, own) };
    format!(
        "{message}\n\nFailed validating {} in {schema_place}:\n    {}\n\nOn {instance_place}:\n    {}",
        repr(&Json::from(keyword)),
        pretty(&as_stored(own)).replace('\n', "\n    "),
        pretty(instance).replace('\n', "\n    "),
    )
}

fn segments(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

fn child<'a>(value: &'a Json, segment: &str) -> Option<&'a Json> {
    match value {
        Json::Array(items) => items.get(segment.parse::<usize>().ok()?),
        Json::Object(fields) => fields.get(segment),
        _ => None,
    }
}

/// `[0]` of a list, `['name']` of an object.
fn index(container: &Json, segment: &str) -> String {
    if container.is_array() { format!("[{segment}]") } else { format!("[{}]", repr(&Json::from(segment))) }
}

/// The message without the places.
fn short_text(error: &ValidationError<'_>, keyword: &str, schema: &Json) -> String {
    let instance = repr(error.instance());
    let wanted = schema.get(keyword).unwrap_or(&Json::Null);
    let listed = |value: &Json| match value {
        Json::Array(items) => items.iter().map(repr).collect::<Vec<_>>().join(", "),
        one => repr(one),
    };
    let sized =
        |few: &str, empty: &str, bound: u64, at: u64| if bound == at { empty.to_owned() } else { few.to_owned() };
    match error.kind() {
        Kind::Type { .. } => format!("{instance} is not of type {}", listed(wanted)),
        Kind::Enum { options } => format!("{instance} is not one of {}", repr(options)),
        Kind::Constant { expected_value } => format!("{} was expected", repr(expected_value)),
        Kind::Maximum { limit } => format!("{instance} is greater than the maximum of {}", repr(limit)),
        Kind::Minimum { limit } => format!("{instance} is less than the minimum of {}", repr(limit)),
        Kind::ExclusiveMaximum { limit } => {
            format!("{instance} is greater than or equal to the maximum of {}", repr(limit))
        }
        Kind::ExclusiveMinimum { limit } => {
            format!("{instance} is less than or equal to the minimum of {}", repr(limit))
        }
        Kind::MultipleOf { .. } => format!("{instance} is not a multiple of {}", repr(wanted)),
        Kind::MinLength { limit } | Kind::MinItems { limit } => {
            format!("{instance} {}", sized("is too short", "should be non-empty", *limit, 1))
        }
        Kind::MaxLength { limit } | Kind::MaxItems { limit } => {
            format!("{instance} {}", sized("is too long", "is expected to be empty", *limit, 0))
        }
        Kind::MinProperties { limit } => {
            format!("{instance} {}", sized("does not have enough properties", "should be non-empty", *limit, 1))
        }
        Kind::MaxProperties { limit } => {
            format!("{instance} {}", sized("has too many properties", "is expected to be empty", *limit, 0))
        }
        Kind::Pattern { pattern } => format!("{instance} does not match {}", repr(&Json::from(pattern.as_str()))),
        Kind::Format { format } => format!("{instance} is not a {}", repr(&Json::from(format.as_str()))),
        Kind::Required { property } => format!("{} is a required property", repr(property)),
        Kind::UniqueItems => format!("{instance} has non-unique elements"),
        Kind::Contains => format!("{instance} does not contain items matching the given schema"),
        Kind::Not { schema } => format!("{instance} should not be valid under {}", repr(&as_stored(schema))),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            format!("{instance} is not valid under any of the given schemas")
        }
        Kind::AdditionalProperties { .. } => unexpected_text(error.instance(), schema),
        Kind::FalseSchema => format!("False schema does not allow {instance}"),
        _ => error.to_string(),
    }
}

/// About the properties of an object that its schema does not have.
fn unexpected_text(instance: &Json, schema: &Json) -> String {
    let fields = |name: &str| schema.get(name).and_then(Json::as_object);
    let patterns = fields("patternProperties");
    let is_known = |name: &&String| {
        fields("properties").is_some_and(|known| known.contains_key(*name))
            || patterns.is_some_and(|patterns| {
                patterns.keys().any(|pattern| regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(name)))
            })
    };
    let mut names: Vec<&String> = instance.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
    names.retain(|name| !is_known(name));
    names.sort();
    let quoted: Vec<String> = names.iter().map(|name| repr(&Json::from(name.as_str()))).collect();
    let (quoted, one) = (quoted.join(", "), names.len() == 1);
    match patterns {
        Some(patterns) => {
            let mut patterns: Vec<&String> = patterns.keys().collect();
            patterns.sort();
            let patterns: Vec<String> = patterns.iter().map(|pattern| repr(&Json::from(pattern.as_str()))).collect();
            let verb = if one { "does" } else { "do" };
            format!("{quoted} {verb} not match any of the regexes: {}", patterns.join(", "))
        }
        None => {
            let verb = if one { "was" } else { "were" };
            format!("Additional properties are not allowed ({quoted} {verb} unexpected)")
        }
    }
}

/// A schema as Airflow has it out of its database, whose documents keep short keys before long ones, and equally long
/// ones in the order of the alphabet.
fn as_stored(value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(as_stored).collect(),
        Json::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
            Json::Object(sorted.into_iter().map(|(key, value)| (key.clone(), as_stored(value))).collect())
        }
        plain => plain.clone(),
    }
}

/// `pprint.pformat(value, width=72, sort_dicts=False)`, but that long texts are not broken.
fn pretty(value: &Json) -> String {
    let mut out = String::new();
    write_pretty(&mut out, value, 0, 0);
    out
}

/// `indent` is where the value begins in its line, `allowance` what must still fit behind its end.
fn write_pretty(out: &mut String, value: &Json, indent: usize, allowance: usize) {
    let short = repr(value);
    if short.chars().count() <= WIDTH.saturating_sub(indent + allowance) {
        out.push_str(&short);
        return;
    }
    let newline = format!(",\n{}", " ".repeat(indent + 1));
    match value {
        Json::Object(fields) => {
            out.push('{');
            for (number, (key, value)) in fields.iter().enumerate() {
                if number > 0 {
                    out.push_str(&newline);
                }
                let key = repr(&Json::from(key.as_str()));
                out.push_str(&format!("{key}: "));
                let last = number + 1 == fields.len();
                write_pretty(out, value, indent + 3 + key.chars().count(), if last { allowance + 1 } else { 1 });
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push_str(&newline);
                }
                let last = number + 1 == items.len();
                write_pretty(out, item, indent + 1, if last { allowance + 1 } else { 1 });
            }
            out.push(']');
        }
        _ => out.push_str(&short),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: Json, value: Json) -> String {
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        text_of(&best_match(validator.iter_errors(&value)).unwrap(), &schema, &value)
    }

    /// The expected texts are those of Python's `jsonschema` 4 for schemas that PostgreSQL has stored.
    #[test]
    fn the_words_are_those_of_python() {
        let cases = [
            (
                json!({"type": "integer", "minimum": 1, "maximum": 9}),
                json!(100),
                "100 is greater than the maximum of 9\n\nFailed validating 'maximum' in schema:\n    {'type': 'integer', 'maximum': 9, 'minimum': 1}\n\nOn instance:\n    100",
            ),
            (
                json!({"type": ["null", "string"], "minLength": 2}),
                json!("x"),
                "'x' is too short\n\nFailed validating 'minLength' in schema:\n    {'type': ['null', 'string'], 'minLength': 2}\n\nOn instance:\n    'x'",
            ),
            (
                json!({"type": ["integer", "string"]}),
                json!([1]),
                "[1] is not of type 'integer', 'string'\n\nFailed validating 'type' in schema:\n    {'type': ['integer', 'string']}\n\nOn instance:\n    [1]",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
                json!({"a": "x"}),
                "'x' is not of type 'integer'\n\nFailed validating 'type' in schema['properties']['a']:\n    {'type': 'integer'}\n\nOn instance['a']:\n    'x'",
            ),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                json!(["a", 1]),
                "1 is not of type 'string'\n\nFailed validating 'type' in schema['items']:\n    {'type': 'string'}\n\nOn instance[1]:\n    1",
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
                json!(3),
                "3 is not valid under any of the given schemas\n\nFailed validating 'anyOf' in schema:\n    {'anyOf': [{'type': 'string'}, {'type': 'null'}]}\n\nOn instance:\n    3",
            ),
            (
                json!({"const": 5}),
                json!(6),
                "5 was expected\n\nFailed validating 'const' in schema:\n    {'const': 5}\n\nOn instance:\n    6",
            ),
            (
                json!({"multipleOf": 2}),
                json!(3),
                "3 is not a multiple of 2\n\nFailed validating 'multipleOf' in schema:\n    {'multipleOf': 2}\n\nOn instance:\n    3",
            ),
            (
                json!({"type": "string", "enum": ["alpha-long-value-number-one", "alpha-long-value-number-two", "alpha-long-value-number-three"]}),
                json!("b"),
                "'b' is not one of ['alpha-long-value-number-one', 'alpha-long-value-number-two', 'alpha-long-value-number-three']\n\nFailed validating 'enum' in schema:\n    {'enum': ['alpha-long-value-number-one',\n              'alpha-long-value-number-two',\n              'alpha-long-value-number-three'],\n     'type': 'string'}\n\nOn instance:\n    'b'",
            ),
            (
                json!({"type": "string", "format": "date"}),
                json!("tomorrow"),
                "'tomorrow' is not a 'date'\n\nFailed validating 'format' in schema:\n    {'type': 'string', 'format': 'date'}\n\nOn instance:\n    'tomorrow'",
            ),
            (
                json!({"type": "object", "additionalProperties": false}),
                json!({"c": 1}),
                "Additional properties are not allowed ('c' was unexpected)\n\nFailed validating 'additionalProperties' in schema:\n    {'type': 'object', 'additionalProperties': False}\n\nOn instance:\n    {'c': 1}",
            ),
        ];
        for (schema, value, expected) in cases {
            assert_eq!(said(schema, value), expected);
        }
    }

    #[test]
    fn the_least_deep_error_is_named() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]});
        assert!(said(schema, json!({"a": "x"})).starts_with("'b' is a required property"));
    }
}
