//! Connections in files and in JSON.

use serde_json::{Map, Value, json};
use store::Connection;
use template::python::dumps;

use crate::uri::{UriError, connection_from_uri, normalized_type};
use crate::yaml;

/// What an object that describes a connection may have.
const FIELDS: [&str; 12] = [
    "conn_id",
    "conn_type",
    "description",
    "host",
    "login",
    "password",
    "schema",
    "port",
    "extra",
    "uri",
    "team_name",
    "extra_dejson",
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConnectionError {
    #[error("The object has illegal keys: {0}. It can only have the following keys: {fields}", fields = FIELDS.join(", "))]
    IllegalKeys(String),
    #[error("The extra and extra_dejson parameters are mutually exclusive. Please provide only one parameter.")]
    TwoExtras,
    #[error("Mismatch conn_id. The key has the value: {key}. The item has the value: {item}.")]
    OtherId { key: String, item: String },
    #[error("A connection has a uri or individual values (conn_type, host, login and so on); these two can't be mixed")]
    UriAndFields,
    #[error("Expected integer value for `port`, but got {0} instead.")]
    Port(Value),
    #[error("`{field}` must be a text, and is {value}")]
    NoText { field: &'static str, value: Value },
    #[error("Encountered non-JSON in `extra` field for connection {0:?}.")]
    ExtraNoJson(String),
    #[error("The `extra` field of connection {0:?} must contain a JSON object.")]
    ExtraNoObject(String),
    #[error("The connection can only be defined using a string or an object, and is {0}")]
    Kind(Value),
    #[error("{0}")]
    Json(String),
    #[error(transparent)]
    Uri(#[from] UriError),
}

/// A connection as a file has it: a URI, or an object. A list of one of them counts as that one.
pub fn connection_from_value(id: &str, value: &Value) -> Result<Connection, ConnectionError> {
    match value {
        Value::String(uri) => Ok(connection_from_uri(id, uri)?),
        Value::Object(fields) => from_fields(id, fields),
        Value::Array(list) => match list.as_slice() {
            [only] => connection_from_value(id, only),
            _ => Err(ConnectionError::Kind(value.clone())),
        },
        other => Err(ConnectionError::Kind(other.clone())),
    }
}

/// A connection as `--conn-json` gives it.
pub fn connection_from_json(id: &str, text: &str) -> Result<Connection, ConnectionError> {
    let value: Value = serde_json::from_str(text).map_err(|error| ConnectionError::Json(error.to_string()))?;
    let Value::Object(fields) = value else { return Err(ConnectionError::Kind(value)) };
    let mut connection = from_fields(id, &fields)?;
    connection.conn_type = normalized_type(&connection.conn_type);
    Ok(connection)
}

fn from_fields(id: &str, fields: &Map<String, Value>) -> Result<Connection, ConnectionError> {
    let illegal: Vec<&str> = fields.keys().map(String::as_str).filter(|key| !FIELDS.contains(key)).collect();
    if !illegal.is_empty() {
        return Err(ConnectionError::IllegalKeys(illegal.join(", ")));
    }
    if fields.contains_key("extra") && fields.contains_key("extra_dejson") {
        return Err(ConnectionError::TwoExtras);
    }
    if let Some(item) = fields.get("conn_id").and_then(Value::as_str).filter(|item| *item != id) {
        return Err(ConnectionError::OtherId { key: id.to_owned(), item: item.to_owned() });
    }
    let text = |field: &'static str| match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(value) => Err(ConnectionError::NoText { field, value: value.clone() }),
    };
    if let Some(uri) = text("uri")?.filter(|uri| !uri.is_empty()) {
        let own = ["conn_type", "host", "login", "password", "schema", "port", "extra", "extra_dejson"];
        if own.iter().any(|field| fields.get(*field).is_some_and(|value| !is_empty(value))) {
            return Err(ConnectionError::UriAndFields);
        }
        return Ok(Connection { description: text("description")?, ..connection_from_uri(id, &uri)? });
    }
    let extra = fields.get("extra").or_else(|| fields.get("extra_dejson"));
    let extra = match extra.filter(|extra| !is_empty(extra)) {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(document) => Some(dumps(document, None)),
    };
    let connection = Connection {
        connection_id: id.to_owned(),
        conn_type: text("conn_type")?.unwrap_or_default(),
        description: text("description")?,
        host: text("host")?,
        login: text("login")?,
        password: text("password")?,
        schema: text("schema")?,
        port: port_of(fields.get("port"))?,
        extra,
        ..Connection::default()
    };
    check_extra(&connection)?;
    Ok(connection)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

fn port_of(value: Option<&Value>) -> Result<Option<i64>, ConnectionError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => {
            text.trim().parse().map(Some).map_err(|_| ConnectionError::Port(Value::from(text.as_str())))
        }
        Some(value) => value.as_i64().map(Some).ok_or_else(|| ConnectionError::Port(value.clone())),
    }
}

/// Extras must be a JSON object, if there are any.
pub fn check_extra(connection: &Connection) -> Result<(), ConnectionError> {
    let Some(extra) = connection.extra.as_deref().filter(|extra| !extra.is_empty()) else { return Ok(()) };
    match serde_json::from_str::<Value>(extra) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(ConnectionError::ExtraNoObject(connection.connection_id.clone())),
        Err(_) => Err(ConnectionError::ExtraNoJson(connection.connection_id.clone())),
    }
}

/// The document in the extras; an empty object where there is none, or no object.
pub fn extra_of(connection: &Connection) -> Value {
    let extra = connection.extra.as_deref().and_then(|extra| serde_json::from_str(extra).ok());
    extra.filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// The connection as a URI (`Connection.get_uri`).
pub fn uri_of(connection: &Connection) -> String {
    let connection = connection.clone();
    let described = template::Connection {
        conn_id: connection.connection_id,
        conn_type: Some(connection.conn_type),
        host: connection.host,
        schema: connection.schema,
        login: connection.login,
        password: connection.password,
        port: connection.port,
        extra: connection.extra,
    };
    described.get_uri()
}

fn fields_of(connection: &Connection) -> Value {
    json!({
        "conn_type": connection.conn_type,
        "description": connection.description,
        "login": connection.login,
        "password": connection.password,
        "host": connection.host,
        "port": connection.port,
        "schema": connection.schema,
        "extra": connection.extra,
    })
}

/// The forms that connections are exported in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportFormat {
    Json,
    Yaml,
    /// A line for each, with its URI.
    Env,
    /// A line for each, with its fields as JSON.
    EnvJson,
}

/// Connections as a file has them.
pub fn connections_text(connections: &[Connection], format: ExportFormat) -> String {
    let document = || -> Value {
        connections.iter().map(|one| (one.connection_id.clone(), fields_of(one))).collect::<Map<_, _>>().into()
    };
    let lines = |value: fn(&Connection) -> String| {
        connections.iter().map(|one| format!("{}={}\n", one.connection_id, value(one))).collect()
    };
    match format {
        ExportFormat::Json => dumps(&document(), Some(2)),
        ExportFormat::Yaml => yaml::write(&document()),
        ExportFormat::Env => lines(uri_of),
        ExportFormat::EnvJson => lines(|one| dumps(&fields_of(one), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(value: Value) -> String {
        connection_from_value("c", &value).unwrap_err().to_string()
    }

    #[test]
    fn objects_uris_and_lists_of_one_are_connections() {
        let object = json!({"conn_type": "http", "host": "h", "port": "80", "extra": {"a": 1}});
        let connection = connection_from_value("c", &object).unwrap();
        assert_eq!((connection.port, connection.extra.as_deref()), (Some(80), Some("{\"a\": 1}")));
        assert_eq!(connection_from_value("c", &json!(["a://h"])).unwrap().conn_type, "a");
        assert_eq!(
            connection_from_value("c", &json!({"uri": "a://h", "description": "d"})).unwrap().description.as_deref(),
            Some("d")
        );
        assert_eq!(connection_from_json("c", "{\"conn_type\": \"google-cloud\"}").unwrap().conn_type, "google_cloud");
    }

    #[test]
    fn wrong_ones_are_refused() {
        assert!(error(json!({"hots": "h"})).starts_with("The object has illegal keys: hots. "));
        assert!(error(json!({"extra": {}, "extra_dejson": {}})).starts_with("The extra and extra_dejson"));
        assert_eq!(
            error(json!({"conn_id": "d"})),
            "Mismatch conn_id. The key has the value: c. The item has the value: d."
        );
        assert!(error(json!({"uri": "a://h", "host": "h"})).contains("can't be mixed"));
        assert_eq!(error(json!({"port": "x"})), "Expected integer value for `port`, but got \"x\" instead.");
        assert_eq!(error(json!({"extra": "x"})), "Encountered non-JSON in `extra` field for connection \"c\".");
        assert_eq!(error(json!({"extra": "[1]"})), "The `extra` field of connection \"c\" must contain a JSON object.");
        assert!(error(json!(1)).starts_with("The connection can only be defined"));
    }

    #[test]
    fn what_is_exported_is_imported_again() {
        let connection = Connection {
            connection_id: "c".into(),
            conn_type: "postgres".into(),
            host: Some("h".into()),
            login: Some("me@x".into()),
            password: Some("p/w".into()),
            schema: Some("db".into()),
            port: Some(5432),
            extra: Some("{\"a\": {\"b\": 1}}".into()),
            ..Connection::default()
        };
        let all = std::slice::from_ref(&connection);
        assert_eq!(
            connections_text(all, ExportFormat::Env),
            "c=postgres://me%40x:p%2Fw@h:5432/db?__extra__=%7B%22a%22%3A+%7B%22b%22%3A+1%7D%7D\n"
        );
        for (format, name) in
            [(ExportFormat::Json, "c.json"), (ExportFormat::Yaml, "c.yaml"), (ExportFormat::Env, "c.env")]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, connections_text(all, format)).unwrap();
            let entries = crate::load(&path).unwrap();
            assert_eq!(connection_from_value("c", &entries["c"]).unwrap(), connection, "{format:?}");
        }
    }
}
