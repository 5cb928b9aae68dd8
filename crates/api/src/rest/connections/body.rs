//! Connections as requests have them.

use serde_json::{Value, json};
use store::Connection;
use worker::MaskRules;

use super::masking;
use crate::body::Fields;
use crate::parse::{self, Fault, Parsed};
use crate::rest::strict;

const MAX_ID: usize = 200;

/// A connection of a request. The outer `Option` says whether a field was given.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionBody {
    pub(super) connection_id: String,
    conn_type: String,
    description: Option<Option<String>>,
    host: Option<Option<String>>,
    login: Option<Option<String>>,
    schema: Option<Option<String>>,
    port: Option<Option<i64>>,
    password: Option<Option<String>>,
    extra: Option<Option<String>>,
}

fn given<T>(fields: &mut Fields<'_>, name: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<Option<T>> {
    fields.has(name).then(|| fields.optional(name, parse))
}

impl ConnectionBody {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            connection_id: fields.required("connection_id", connection_id),
            conn_type: fields.required("conn_type", parse::text),
            description: given(fields, "description", parse::text),
            host: given(fields, "host", parse::text),
            login: given(fields, "login", parse::text),
            schema: {
                let name = strict::alias(fields, "schema", "schema_");
                given(fields, name, parse::text)
            },
            port: given(fields, "port", parse::integer),
            password: given(fields, "password", parse::text),
            extra: given(fields, "extra", extra),
        }
    }

    /// The new connection.
    pub(super) fn created(&self, rules: &MaskRules) -> Connection {
        let empty = Connection { connection_id: self.connection_id.clone(), ..Connection::default() };
        self.applied(empty, &[], rules)
    }

    /// The connection with what the body gives, as far as a mask allows it; an empty mask allows everything. Where
    /// the body has `***` in the place of a secret, the secret stays.
    pub(super) fn applied(&self, mut connection: Connection, mask: &[String], rules: &MaskRules) -> Connection {
        let allowed = |field: &str| mask.is_empty() || mask.iter().any(|name| name == field);
        let change = |target: &mut Option<String>, value: &Option<Option<String>>, field: &str| {
            if let Some(value) = value
                && allowed(field)
            {
                target.clone_from(value);
            }
        };
        if allowed("conn_type") {
            connection.conn_type.clone_from(&self.conn_type);
        }
        change(&mut connection.description, &self.description, "description");
        change(&mut connection.host, &self.host, "host");
        change(&mut connection.login, &self.login, "login");
        change(&mut connection.schema, &self.schema, "schema");
        if let Some(port) = self.port
            && allowed("port")
        {
            connection.port = port;
        }
        // As in Airflow, no password and an empty one leave the old one in place.
        if let Some(Some(password)) = &self.password
            && allowed("password")
            && !password.is_empty()
            && password != model::secrets::MASK
        {
            connection.password = Some(password.clone());
        }
        // As in Airflow, a mask that names the extras clears them if the body has none.
        if (mask.is_empty() && self.extra.is_some()) || mask.iter().any(|name| name == "extra") {
            let extra = self.extra.clone().flatten();
            connection.extra = masking::merged_extra(extra, connection.extra.as_deref(), rules);
        }
        connection
    }
}

/// `^[\w.-]+$`, of at most 200 characters.
fn connection_id(input: &Value) -> Parsed<String> {
    const PATTERN: &str = r"^[\w.-]+$";
    let id = parse::text_up_to(MAX_ID)(input)?;
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-');
    if id.is_empty() || !id.chars().all(fits) {
        let message = format!("String should match pattern '{PATTERN}'");
        return Err(Fault::with("string_pattern_mismatch", message, json!({"pattern": PATTERN})));
    }
    Ok(id)
}

/// A text that is a JSON object; an empty text is an empty one.
fn extra(input: &Value) -> Parsed<String> {
    const NO_OBJECT: &str = "The `extra` field must be a valid JSON object (e.g., {'key': 'value'})";
    let text = parse::text(input)?;
    if text.is_empty() {
        return Ok("{}".to_owned());
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(_)) => Ok(text),
        Ok(_) => Err(Fault::value_error(NO_OBJECT)),
        Err(_) => Err(Fault::value_error(format!("{NO_OBJECT}, but encountered non-JSON in `extra` field"))),
    }
}
