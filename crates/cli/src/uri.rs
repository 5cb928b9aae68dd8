//! Connections written as URIs, as Airflow's `Connection` and Python's `urllib.parse` read them.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use store::Connection;
use template::python::dumps;

/// The key of a query that holds all extras as one text.
const EXTRA_KEY: &str = "__extra__";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UriError {
    #[error("Invalid connection string.")]
    Invalid,
    #[error("Port {0:?} is no number from 0 to 65535")]
    Port(String),
    #[error("Invalid IPv6 URL")]
    Brackets,
}

#[derive(Default)]
struct Parts<'a> {
    scheme: String,
    netloc: &'a str,
    path: &'a str,
    query: &'a str,
}

/// Python's `urlsplit`.
fn split(url: &str) -> Result<Parts<'_>, UriError> {
    let mut parts = Parts::default();
    let mut rest = url;
    if let Some((scheme, after)) = url.split_once(':')
        && scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
    {
        parts.scheme = scheme.to_ascii_lowercase();
        rest = after;
    }
    if let Some(after) = rest.strip_prefix("//") {
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        (parts.netloc, rest) = after.split_at(end);
        if parts.netloc.contains('[') != parts.netloc.contains(']') {
            return Err(UriError::Brackets);
        }
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    (parts.path, parts.query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(parts)
}

impl<'a> Parts<'a> {
    fn user(&self) -> (Option<&'a str>, Option<&'a str>) {
        match self.netloc.rsplit_once('@') {
            None => (None, None),
            Some((user, _)) => match user.split_once(':') {
                Some((login, password)) => (Some(login), Some(password)),
                None => (Some(user), None),
            },
        }
    }

    fn host_and_port(&self) -> (&'a str, &'a str) {
        let place = self.netloc.rsplit_once('@').map_or(self.netloc, |(_, place)| place);
        match place.split_once('[') {
            Some((_, bracketed)) => {
                let (host, after) = bracketed.split_once(']').unwrap_or((bracketed, ""));
                (host, after.split_once(':').map_or("", |(_, port)| port))
            }
            None => place.split_once(':').unwrap_or((place, "")),
        }
    }

    fn port(&self) -> Result<Option<i64>, UriError> {
        let (_, port) = self.host_and_port();
        if port.is_empty() {
            return Ok(None);
        }
        let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten();
        number.map(|number| Some(number.into())).ok_or_else(|| UriError::Port(port.to_owned()))
    }

    /// Lower case, unless it is a path such as that of a socket.
    fn host(&self) -> String {
        let (host, _) = self.host_and_port();
        let lower = match host.split_once('%') {
            Some((name, zone)) => format!("{}%{zone}", name.to_lowercase()),
            None => host.to_lowercase(),
        };
        let decoded = unquote(&lower);
        if !decoded.contains('/') {
            return decoded;
        }
        let place = self.netloc.rsplit_once('@').map_or(self.netloc, |(_, place)| place);
        unquote(place.split_once(':').map_or(place, |(host, _)| host))
    }
}

fn unquote(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether a text names a scheme, which becomes the type of the connection.
pub fn has_scheme(uri: &str) -> bool {
    split(uri).is_ok_and(|parts| !parts.scheme.is_empty())
}

/// `postgresql` is `postgres`, and dashes are underscores.
pub(crate) fn normalized_type(conn_type: &str) -> String {
    if conn_type == "postgresql" { "postgres".into() } else { conn_type.replace('-', "_") }
}

/// Reads `type://login:password@host:port/schema?extra=value`. A second scheme stays with the host.
pub fn connection_from_uri(connection_id: &str, uri: &str) -> Result<Connection, UriError> {
    let schemes = uri.matches("://").count();
    if schemes > 2 {
        return Err(UriError::Invalid);
    }
    let has_protocol = schemes == 2;
    let scheme = split(uri)?.scheme;
    let rest = uri.replace(&format!("{scheme}://"), if has_protocol { "" } else { "//" });
    let before = rest.split_once("://").map_or(rest.as_str(), |(before, _)| before);
    if has_protocol && before.contains(['@', ':']) {
        return Err(UriError::Invalid);
    }
    let parts = split(&rest)?;
    let host = parts.host();
    let host = if has_protocol && !host.is_empty() { format!("{}://{host}", parts.scheme) } else { host };
    let (login, password) = parts.user();
    Ok(Connection {
        connection_id: connection_id.to_owned(),
        conn_type: normalized_type(&scheme),
        host: Some(host),
        login: login.map(unquote),
        password: password.filter(|text| !text.is_empty()).map(unquote),
        schema: Some(unquote(parts.path.get(1..).unwrap_or_default())),
        port: parts.port()?,
        extra: extra_of(parts.query),
        ..Connection::default()
    })
}

fn extra_of(query: &str) -> Option<String> {
    if query.is_empty() {
        return None;
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut extras: Map<String, Value> = Map::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |text: &str| unquote(&text.replace('+', " "));
        extras.insert(text(key), text(value).into());
    }
    if let Some(Value::String(all)) = extras.get(EXTRA_KEY) {
        return Some(all.clone());
    }
    for value in extras.values_mut() {
        if let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *value = parsed;
        }
    }
    Some(dumps(&Value::Object(extras), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> String {
        match connection_from_uri("c", uri) {
            Ok(c) => {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
                let port = c.port.map_or_else(|| "-".into(), |port| port.to_string());
                let parts = [
                    c.conn_type.clone(),
                    or(&c.host),
                    or(&c.login),
                    or(&c.password),
                    or(&c.schema),
                    port,
                    or(&c.extra),
                ];
                parts.join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    /// Recorded from `airflow.models.Connection(uri=…)` of Airflow 3.3.2; `-` stands for None.
    #[test]
    fn uris_are_read_as_airflow_reads_them() {
        let cases = include_str!("../tests/uris.txt").lines().filter(|line| !line.is_empty());
        let mut count = 0;
        for case in cases {
            let (uri, want) = case.split_once('\t').expect("a URI, a tab and what it stands for");
            assert_eq!(read(uri), want, "{uri}");
            count += 1;
        }
        assert!(count >= 20, "{count}");
    }

    #[test]
    fn uris_that_are_none_are_refused() {
        assert_eq!(read("a://b://c://d"), "Invalid connection string.");
        assert_eq!(read("http://user:pw@https://host"), "Invalid connection string.");
        assert_eq!(read("a://h:port"), "Port \"port\" is no number from 0 to 65535");
        assert_eq!(read("a://h:70000"), "Port \"70000\" is no number from 0 to 65535");
        assert_eq!(read("a://[::1/x"), "Invalid IPv6 URL");
        assert!(has_scheme("a://h") && !has_scheme("h/p") && !has_scheme("a_b://h"));
    }
}
