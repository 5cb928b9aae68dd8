//! The connections that Airflow offers to begin with (`get_default_connections`).

use serde::Deserialize;
use store::Connection;

use crate::error::ApiError;

const DEFAULTS: &str = include_str!("defaults.json");
/// Stands for the folder of temporary files.
const TEMPORARY: &str = "{temp}";

#[derive(Deserialize)]
struct Default {
    connection_id: String,
    conn_type: String,
    host: Option<String>,
    login: Option<String>,
    password: Option<String>,
    schema: Option<String>,
    port: Option<i64>,
    extra: Option<String>,
}

pub(super) fn connections() -> Result<Vec<Connection>, ApiError> {
    let defaults: Vec<Default> = serde_json::from_str(DEFAULTS).map_err(ApiError::internal)?;
    let temporary = std::env::temp_dir().display().to_string();
    let connection = |default: Default| Connection {
        connection_id: default.connection_id,
        conn_type: default.conn_type,
        description: None,
        host: default.host.map(|host| host.replace(TEMPORARY, &temporary)),
        login: default.login,
        password: default.password,
        schema: default.schema,
        port: default.port,
        extra: default.extra,
        ..Connection::default()
    };
    Ok(defaults.into_iter().map(connection).collect())
}
