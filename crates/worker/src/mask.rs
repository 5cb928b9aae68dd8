//! Secrets in logs: what a task has read or named as a secret is replaced wherever it would be written.
//!
//! The rules are those of Airflow's secrets masker (`airflow/sdk/_shared/secrets_masker`): values of sensitive names,
//! connection passwords and extras, and whatever a task asks to have masked; short texts are left alone.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use model::Json;
use model::secrets::{MASK, SENSITIVE_NAMES, normalized};

/// Airflow's default of `[logging] min_length_masked_secret`.
const MIN_LENGTH: usize = 5;
/// How deep values of sensitive names are looked into before they are replaced as a whole.
const MAX_DEPTH: usize = 5;
/// A word that is no secret although it is many a password: hiding it would hide half of every log.
const NOT_SECRET: &str = "airflow";

/// What counts as a secret in a deployment.
#[derive(Debug)]
pub struct MaskRules {
    /// `None` where nothing is a secret for its name alone (`[core] hide_sensitive_var_conn_fields`).
    names: Option<AhoCorasick>,
    min_length: usize,
}

static DEFAULT_RULES: LazyLock<Arc<MaskRules>> = LazyLock::new(Arc::default);

impl Default for MaskRules {
    /// Airflow's own.
    fn default() -> Self {
        Self::new(true, &[], MIN_LENGTH)
    }
}

impl MaskRules {
    /// `more` names are sensitive beside Airflow's own (`[core] sensitive_var_conn_names`); `min_length` is the length in
    /// characters from which on a text is masked.
    pub fn new(by_name: bool, more: &[String], min_length: usize) -> Self {
        let more = more.iter().map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty());
        let names: Vec<String> = SENSITIVE_NAMES.iter().map(|name| (*name).to_owned()).chain(more).collect();
        Self { names: by_name.then(|| AhoCorasick::new(&names).ok()).flatten(), min_length }
    }

    /// Whether a name says that its value is a secret.
    pub fn is_sensitive(&self, name: &str) -> bool {
        let Some(names) = &self.names else { return false };
        names.is_match(&normalized(name))
    }
}

/// The secrets of one attempt. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Masker {
    rules: Arc<MaskRules>,
    known: Arc<RwLock<Known>>,
}

impl Default for Masker {
    fn default() -> Self {
        Self::new(Arc::clone(&DEFAULT_RULES))
    }
}

#[derive(Default)]
struct Known {
    secrets: BTreeSet<String>,
    matcher: Option<AhoCorasick>,
}

impl Masker {
    pub fn new(rules: Arc<MaskRules>) -> Self {
        Self { rules, known: Arc::default() }
    }

    /// Remembers the secrets in a value. With a name, only if the name is sensitive; inside of objects the keys count.
    pub fn add(&self, value: &Json, name: Option<&str>) {
        let mut found = BTreeSet::new();
        self.collect(value, name, &mut found);
        self.remember(found);
    }

    /// Remembers what is secret of a connection: its password, its extra, and what in the extra has a sensitive name.
    pub fn add_connection(&self, password: Option<&str>, extra: Option<&str>) {
        let mut found = BTreeSet::new();
        for text in [password, extra].into_iter().flatten() {
            self.collect(&text.into(), None, &mut found);
        }
        if let Some(Ok(fields @ Json::Object(_))) = extra.map(serde_json::from_str) {
            self.collect(&fields, None, &mut found);
        }
        self.remember(found);
    }

    fn remember(&self, found: BTreeSet<String>) {
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

    fn collect(&self, value: &Json, name: Option<&str>, found: &mut BTreeSet<String>) {
        match value {
            Json::String(text) => {
                let is_long = text.chars().nth(self.rules.min_length.saturating_sub(1)).is_some();
                let is_named = name.is_none_or(|name| name.is_empty() || self.rules.is_sensitive(name));
                if is_long && is_named && !text.eq_ignore_ascii_case(NOT_SECRET) {
                    found.insert(text.clone());
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.collect(item, name, found)),
            Json::Object(fields) => fields.iter().for_each(|(key, value)| self.collect(value, Some(key), found)),
            _ => {}
        }
    }

    /// The text without the secrets that are known.
    pub fn mask(&self, text: &str) -> String {
        let mut masked = Json::from(text);
        self.redact(&mut masked, None);
        masked.as_str().unwrap_or_default().to_owned()
    }

    /// Replaces secrets in a value: those that are known, and the values of sensitive names.
    pub fn redact(&self, value: &mut Json, name: Option<&str>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.redact_value(value, name, known.matcher.as_ref());
    }

    fn redact_value(&self, value: &mut Json, name: Option<&str>, matcher: Option<&AhoCorasick>) {
        if name.is_some_and(|name| self.rules.is_sensitive(name)) {
            return redact_all(value, 0);
        }
        match value {
            Json::String(text) => {
                if let Some(matcher) = matcher.filter(|matcher| matcher.is_match(text.as_str())) {
                    *text = replace_all(matcher, text);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item, None, matcher)),
            Json::Object(fields) => {
                fields.iter_mut().for_each(|(key, value)| self.redact_value(value, Some(key), matcher));
            }
            _ => {}
        }
    }
}

fn redact_all(value: &mut Json, depth: usize) {
    match value {
        Json::Array(items) if depth <= MAX_DEPTH => items.iter_mut().for_each(|item| redact_all(item, depth + 1)),
        Json::Object(fields) if depth <= MAX_DEPTH => {
            fields.values_mut().for_each(|value| redact_all(value, depth + 1));
        }
        Json::String(_) | Json::Array(_) | Json::Object(_) => *value = MASK.into(),
        _ => {}
    }
}

fn replace_all(matcher: &AhoCorasick, text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    matcher.replace_all_with(text, &mut masked, |_, _, out| {
        out.push_str(MASK);
        true
    });
    masked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redacted(masker: &Masker, mut value: Json) -> Json {
        masker.redact(&mut value, None);
        value
    }

    #[test]
    fn what_was_named_a_secret_is_replaced_and_short_texts_are_not() {
        let masker = Masker::default();
        masker.add(&json!("s3cret-value"), None);
        masker.add(&json!(["abcd", "Airflow", "äöüßé"]), None);
        masker.add(&json!("plain text"), Some("greeting"));
        masker.add(&json!({"user": "somebody", "api_key": "key-12345", "more": [{"TOKEN": ["tok-en-1"]}]}), Some("x"));
        let line = "s3cret-value abcd airflow äöüßé plain text somebody key-12345 tok-en-1";
        assert_eq!(masker.mask(line), "*** abcd airflow *** plain text somebody *** ***");
    }

    #[test]
    fn the_longest_secret_wins() {
        let masker = Masker::default();
        masker.add(&json!(["secret", "secret-and-more"]), None);
        assert_eq!(masker.mask("secret-and-more secret"), "*** ***");
    }

    #[test]
    fn a_deployment_has_rules_of_its_own() {
        assert!(MaskRules::new(true, &[], 5).is_sensitive("Api-Key"));
        assert!(!MaskRules::new(false, &[], 5).is_sensitive("password"));
        let rules = MaskRules::new(true, &["Pin".into(), " ".into()], 3);
        assert!(rules.is_sensitive("my_pin") && !rules.is_sensitive("plain name"));
        let masker = Masker::new(Arc::new(rules));
        masker.add(&json!("abc"), None);
        assert_eq!(masker.mask("abc ab"), "*** ab");
    }

    #[test]
    fn values_of_sensitive_names_are_hidden_at_every_depth() {
        let masker = Masker::default();
        let value = json!({"token": "x", "a": ["y", {"password": {"n": 1, "t": ["z"]}}], "ok": {"secret": true}});
        let want = json!({"token": "***", "a": ["y", {"password": {"n": 1, "t": ["***"]}}], "ok": {"secret": true}});
        assert_eq!(redacted(&masker, value), want);
    }

    #[test]
    fn of_a_connection_the_password_and_the_extra_are_secret() {
        let masker = Masker::default();
        let extra = r#"{"password": "inner-pass", "region": "europe"}"#;
        masker.add_connection(Some("outer-pass"), Some(extra));
        assert_eq!(masker.mask(&format!("outer-pass inner-pass europe {extra}")), "*** *** europe ***");
    }
}
