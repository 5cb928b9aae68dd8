//! Secrets in extras: hidden in answers, and put back where a request has what an answer hid.

use std::sync::Arc;

use model::secrets::MASK;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use store::Connection;
use template::python;
use worker::{MaskRules, Masker};

/// What Python's `quote` leaves as it is.
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b'/');

/// The extras as anybody may see them: without the texts of sensitive keys, and without the connection's password.
pub(super) fn shown_extra(connection: &Connection, rules: &Arc<MaskRules>) -> Option<String> {
    let extra = connection.extra.as_deref()?;
    if extra.is_empty() {
        return Some(String::new());
    }
    // What is no document can't be looked into: it may be a secret as a whole.
    let Ok(mut shown) = serde_json::from_str::<Value>(extra) else { return Some(MASK.to_owned()) };
    let masker = Masker::new(Arc::clone(rules));
    if let Some(password) = &connection.password {
        let quoted = utf8_percent_encode(password, QUOTED).to_string();
        masker.add(&Value::from(vec![password.clone(), quoted]), None);
    }
    masker.redact(&mut shown, None);
    Some(python::dumps(&shown, None))
}

/// The extras of a request, with the secrets that they leave as they were.
pub(super) fn merged_extra(new: Option<String>, old: Option<&str>, rules: &MaskRules) -> Option<String> {
    let (Some(new), Some(old)) = (&new, old) else { return new };
    match (serde_json::from_str(new), serde_json::from_str(old)) {
        (Ok(new), Ok(old)) => Some(python::dumps(&merged(&new, &old, false, rules), None)),
        _ => Some(new.clone()),
    }
}

fn merged(new: &Value, old: &Value, is_secret: bool, rules: &MaskRules) -> Value {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let field = |(key, value): (&String, &Value)| {
                let value = match old.get(key) {
                    Some(old) => merged(value, old, is_secret || rules.is_sensitive(key), rules),
                    None => value.clone(),
                };
                (key.clone(), value)
            };
            new.iter().map(field).collect()
        }
        (Value::Array(new), Value::Array(old)) => new
            .iter()
            .enumerate()
            .map(|(at, item)| old.get(at).map_or_else(|| item.clone(), |old| merged(item, old, is_secret, rules)))
            .collect(),
        (Value::String(text), old) if is_secret && text == MASK => old.clone(),
        _ => new.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules() -> Arc<MaskRules> {
        Arc::default()
    }

    #[test]
    fn masked_secrets_come_back_and_new_ones_replace_them() {
        let old = json!({"token": "t", "keys": {"secret": ["a", "b"]}, "plain": "p", "password": {"in": "deep"}});
        let cases = [
            (json!({"token": "***"}), json!({"token": "t"})),
            (json!({"token": "new"}), json!({"token": "new"})),
            (json!({"keys": {"secret": ["***", "c", "***"]}}), json!({"keys": {"secret": ["a", "c", "***"]}})),
            (json!({"plain": "***"}), json!({"plain": "***"})),
            (json!({"password": {"in": "***"}}), json!({"password": {"in": "deep"}})),
            (json!({"api_key": "***"}), json!({"api_key": "***"})),
        ];
        for (new, expected) in cases {
            assert_eq!(merged(&new, &old, false, &rules()), expected, "{new}");
        }
    }

    #[test]
    fn a_password_is_hidden_wherever_the_extras_repeat_it() {
        let connection = Connection {
            password: Some("p@ss word".into()),
            extra: Some(r#"{"url": "db://me:p%40ss%20word@host", "note": ["is p@ss word"], "token": "x"}"#.into()),
            ..Connection::default()
        };
        let shown = r#"{"url": "db://me:***@host", "note": ["is ***"], "token": "***"}"#;
        assert_eq!(shown_extra(&connection, &rules()).unwrap(), shown);
        let unreadable = Connection { extra: Some("secret text".into()), ..Connection::default() };
        assert_eq!(shown_extra(&unreadable, &rules()).unwrap(), "***");
    }
}
