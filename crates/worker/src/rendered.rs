//! Template fields as people see them.

use model::Json;
use operators::pyrepr::python_str;

use crate::mask::Masker;

const PREFIX: &str = "Truncated. You can change this behaviour in [core]max_templated_field_length. ";
const SUFFIX: &str = "...";
/// The least of a text that is worth showing.
const MIN_CONTENT: usize = 7;

/// The fields without secrets, and those that are too long as texts that are cut to `max` characters
/// (`_serialize_template_field`, `truncate_rendered_value`).
pub(crate) fn shown(mut fields: Json, masker: &Masker, max: usize) -> Json {
    for (name, value) in fields.as_object_mut().into_iter().flatten() {
        let is_long = python_str(value).chars().nth(max).is_some();
        masker.redact(value, Some(name));
        if is_long {
            *value = truncated(&python_str(value), max).into();
        }
    }
    fields
}

fn truncated(text: &str, max: usize) -> String {
    let room = max.saturating_sub(PREFIX.len() + SUFFIX.len());
    match max {
        0 => String::new(),
        _ if room < MIN_CONTENT => format!("{PREFIX}{SUFFIX}"),
        _ => {
            let content: String = text.chars().take(room).collect();
            format!("{PREFIX}{}{SUFFIX}", content.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn long_fields_are_cut_and_secrets_are_hidden_first() {
        let masker = Masker::default();
        masker.add(&json!("hidden-text"), None);
        let fields =
            json!({"a": "x".repeat(100), "b": "hidden-text", "env": {"token": "t", "n": "y".repeat(99)}, "c": null});
        let shown = shown(fields, &masker, 100);
        assert_eq!(shown["a"], json!("x".repeat(100)));
        assert_eq!((&shown["b"], &shown["c"]), (&json!("***"), &json!(null)));
        assert_eq!(shown["env"], json!(format!("{PREFIX}{{'token': '***', 'n...")));
        assert_eq!(truncated("abc", 0), "");
        assert_eq!(truncated("abc", 10), format!("{PREFIX}{SUFFIX}"));
    }
}
