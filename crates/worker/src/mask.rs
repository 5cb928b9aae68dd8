//! Secrets in logs: what a task has read or named as a secret is replaced wherever it would be written.
//!
//! The rules are those of Airflow's secrets masker: values of sensitive names, connection passwords and extras,
//! and whatever a task asks to have masked; texts shorter than five characters are left alone.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use model::Json;
use model::secrets::{self, MASK, is_sensitive};

/// Airflow's default of `[logging] min_length_masked_secret`.
const MIN_LENGTH: usize = 5;
/// How deep containers are searched for secrets.
const MAX_DEPTH: usize = 5;
/// Values of sensitive names that are no secrets: hiding them would only confuse.
const NOT_SECRET: [&str; 6] = ["None", "none", "null", "true", "false", "airflow"];

/// The secrets of one attempt. Cheap to clone; clones share what they know.
#[derive(Clone, Default)]
pub struct Masker {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    secrets: BTreeSet<String>,
    matcher: Option<AhoCorasick>,
}

impl Masker {
    /// Remembers the secrets in a value. With a name, only if the name is sensitive; inside of objects the keys count.
    pub fn add(&self, value: &Json, name: Option<&str>) {
        let mut found = BTreeSet::new();
        collect(value, name, 0, &mut found);
        if found.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.secrets.len();
        known.secrets.extend(found);
        if known.secrets.len() > before {
            // The longest secret wins where one is part of another.
            known.matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&known.secrets).ok();
        }
    }

    /// The text without secrets.
    pub fn mask(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match &known.matcher {
            Some(matcher) => matcher.replace_all_with_text(text),
            None => text.to_owned(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).matcher.is_none()
    }

    /// The value without secrets: those that are known, and the texts of sensitive names.
    pub fn redact(&self, value: &Json, name: Option<&str>) -> Json {
        let mut value = secrets::redact(value, name);
        self.mask_texts(&mut value);
        value
    }

    /// Masks every text in a value, in place.
    pub fn mask_texts(&self, value: &mut Json) {
        match value {
            Json::String(text) => {
                let masked = self.mask(text);
                if masked != *text {
                    *text = masked;
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.mask_texts(item)),
            Json::Object(fields) => fields.values_mut().for_each(|value| self.mask_texts(value)),
            _ => {}
        }
    }
}

/// Replaces every match by the mask.
trait ReplaceWithText {
    fn replace_all_with_text(&self, text: &str) -> String;
}

impl ReplaceWithText for AhoCorasick {
    fn replace_all_with_text(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        self.replace_all_with(text, &mut masked, |_, _, out| {
            out.push_str(MASK);
            true
        });
        masked
    }
}

fn collect(value: &Json, name: Option<&str>, depth: usize, found: &mut BTreeSet<String>) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Json::String(text) => {
            if name.is_none_or(is_sensitive) {
                add_text(text, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, name, depth + 1, found)),
        Json::Object(fields) => {
            for (key, value) in fields {
                let sensitive = name.is_some_and(is_sensitive) || is_sensitive(key);
                collect(value, if sensitive { None } else { Some(key) }, depth + 1, found);
            }
        }
        Json::Number(number) if name.is_none_or(is_sensitive) => add_text(&number.to_string(), found),
        _ => {}
    }
}

fn add_text(text: &str, found: &mut BTreeSet<String>) {
    if text.chars().count() < MIN_LENGTH || NOT_SECRET.contains(&text) {
        return;
    }
    found.insert(text.to_owned());
    // JSON inside of a text (a connection's extra) hides secrets of its own.
    if text.trim_start().starts_with('{')
        && let Ok(Json::Object(fields)) = serde_json::from_str(text)
    {
        for (key, value) in fields {
            if is_sensitive(&key) {
                collect(&value, None, 1, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_named_a_secret_is_replaced_and_short_texts_are_not() {
        let masker = Masker::default();
        masker.add(&json!("s3cret-value"), None);
        masker.add(&json!("abc"), None);
        masker.add(&json!("plain text"), Some("greeting"));
        masker.add(&json!({"user": "somebody", "api_key": "key-12345"}), Some("settings"));
        let line = "s3cret-value abc plain text somebody key-12345";
        assert_eq!(masker.mask(line), "*** abc plain text somebody ***");
    }

    #[test]
    fn the_longest_secret_wins() {
        let masker = Masker::default();
        masker.add(&json!(["secret", "secret-and-more"]), None);
        assert_eq!(masker.mask("secret-and-more secret"), "*** ***");
    }

    #[test]
    fn sensitive_keys_are_hidden_and_extras_are_looked_into() {
        let masker = Masker::default();
        masker.add(&json!(r#"{"password": "inner-pass", "n": 1}"#), None);
        assert_eq!(masker.mask("inner-pass"), "***");
        assert_eq!(masker.redact(&json!({"token": "x", "a": ["y"]}), None), json!({"token": "***", "a": ["y"]}));
    }
}
