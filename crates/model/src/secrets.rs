//! What is a secret by its name, and values without their secrets.
//!
//! The rules are those of Airflow's secrets masker (`DEFAULT_SENSITIVE_FIELDS`, `redact`).

use crate::Json;

/// What stands in a secret's place.
pub const MASK: &str = "***";

/// How deep the value of a sensitive name is walked through; what lies deeper is masked as a whole.
const MAX_DEPTH: usize = 5;
/// Names whose values are secrets: those that one of these stands in.
pub const SENSITIVE_NAMES: [&str; 21] = [
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "auth_header",
    "authorization",
    "bearer",
    "connection_string",
    "dsn",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy",
    "secret",
    "service_account",
    "service_key",
    "token",
    "webhook_url",
];

/// Whether a name (of a variable, or a key in a document) says that its value is a secret.
pub fn is_sensitive(name: &str) -> bool {
    let name = normalized(name);
    SENSITIVE_NAMES.iter().any(|sensitive| name.contains(sensitive))
}

/// Lower case, with one `_` for every run of letters that can't stand in a word: `Api-Key` is `api_key`.
pub fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut between = false;
    for letter in name.trim().to_lowercase().chars() {
        if letter.is_alphanumeric() || letter == '_' {
            out.push(letter);
            between = false;
        } else if !between {
            out.push('_');
            between = true;
        }
    }
    out
}

/// The value without the texts that sensitive names have, its own name included.
pub fn redact(value: &Json, name: Option<&str>) -> Json {
    if name.is_some_and(is_sensitive) {
        return redact_all(value, 0);
    }
    match value {
        Json::Array(items) => items.iter().map(|item| redact(item, None)).collect(),
        Json::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), redact(value, Some(key)))).collect(),
        other => other.clone(),
    }
}

fn redact_all(value: &Json, depth: usize) -> Json {
    match value {
        _ if depth > MAX_DEPTH => MASK.into(),
        Json::String(_) => MASK.into(),
        Json::Array(items) => items.iter().map(|item| redact_all(item, depth + 1)).collect(),
        Json::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), redact_all(value, depth + 1))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_sensitive_however_they_are_written() {
        for name in
            ["password", "DB_PASSWORD", " Api-Key ", "api -- key", "webhook.url", "x-access.token", "myproxyhost"]
        {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["", "pass", "key", "api__key", "apis_key", "name", "web_hook_url"] {
            assert!(!is_sensitive(name), "{name}");
        }
    }

    #[test]
    fn only_texts_under_sensitive_names_are_masked() {
        let value = json!({"user": "u", "token": {"a": ["b", 1, null], "c": true}, "list": [{"secret": "s"}, "plain"]});
        let masked =
            json!({"user": "u", "token": {"a": ["***", 1, null], "c": true}, "list": [{"secret": "***"}, "plain"]});
        assert_eq!(redact(&value, None), masked);
        assert_eq!(redact(&json!(["a", {"b": "c"}]), Some("my_secret")), json!(["***", {"b": "***"}]));
        assert_eq!(redact(&json!("a"), Some("plain")), json!("a"));
    }

    #[test]
    fn sensitive_keys_are_found_at_any_depth_and_what_is_too_deep_is_masked_whole() {
        let mut deep = json!({"password": "p"});
        let mut secret = json!(1);
        for _ in 0..20 {
            deep = json!({"in": [deep]});
            secret = json!([secret]);
        }
        assert!(!redact(&deep, None).to_string().contains("\"p\""));
        assert_eq!(redact(&secret, Some("token")), json!([[[[[["***"]]]]]]));
    }
}
