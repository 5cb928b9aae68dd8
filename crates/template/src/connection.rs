//! The attributes of a connection.

use crate::builtins::{empty_dict, loads, quote};
use crate::error::Outcome;
use crate::lookups::Connection;
use crate::value::{Value, text};

impl Connection {
    /// `connection.name`; `None` where there is no such attribute here.
    pub(crate) fn attribute(&self, name: &str) -> Option<Outcome<Value>> {
        let optional = |text: &Option<String>| Some(Ok(Value::optional_str(text.as_deref())));
        match name {
            "conn_id" => Some(Ok(Value::str(self.conn_id.as_str()))),
            "conn_type" => optional(&self.conn_type),
            "host" => optional(&self.host),
            "schema" => optional(&self.schema),
            "login" => optional(&self.login),
            "password" => optional(&self.password),
            "extra" => optional(&self.extra),
            "port" => Some(Ok(self.port.map_or(Value::None, |port| Value::Int(port.into())))),
            "extra_dejson" => Some(self.extra_value()),
            _ => None,
        }
    }

    /// The document in `extra`; an empty dict where there is none or it can't be read.
    pub(crate) fn extra_value(&self) -> Outcome<Value> {
        match self.extra.as_deref().filter(|extra| !extra.is_empty()) {
            Some(extra) => Ok(loads(extra)?.unwrap_or_else(empty_dict)),
            None => Ok(empty_dict()),
        }
    }

    /// The connection as a URI. Extras that no query can hold are left out.
    pub fn get_uri(&self) -> String {
        self.uri().or_else(|_| Self { extra: None, ..self.clone() }.uri()).unwrap_or_default()
    }

    /// `connection.get_uri()`.
    pub(crate) fn uri(&self) -> Outcome<String> {
        let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut uri = match present(&self.conn_type) {
            Some(conn_type) => format!("{}://", conn_type.to_lowercase().replace('_', "-")),
            None => "//".to_owned(),
        };
        let mut host = present(&self.host);
        // A scheme in the host goes before it, unless it is the connection's own.
        let scheme_of_host = host.as_deref().and_then(|host| host.split_once("://"));
        if let Some((scheme, rest)) = scheme_of_host.map(|(scheme, rest)| (scheme.to_owned(), rest.to_owned()))
            && self.conn_type.as_deref() != Some(&scheme)
        {
            uri.push_str(&scheme);
            uri.push_str("://");
            host = Some(rest).filter(|rest| !rest.is_empty());
        }
        let mut authority = String::new();
        if let Some(login) = &self.login {
            authority.push_str(&quote(login, ""));
        }
        if let Some(password) = &self.password {
            authority.push(':');
            authority.push_str(&quote(password, ""));
        }
        if !authority.is_empty() {
            authority.push('@');
        }
        uri.push_str(&authority);
        let mut place = host.map(|host| quote(&host, "")).unwrap_or_default();
        if let Some(port) = self.port.filter(|port| *port != 0) {
            if place.is_empty() && authority.is_empty() {
                place.push('@');
            }
            place.push_str(&format!(":{port}"));
        }
        let schema = present(&self.schema);
        if let Some(schema) = &schema {
            place.push('/');
            place.push_str(&quote(schema, ""));
        }
        uri.push_str(&place);
        if let Some(extra) = present(&self.extra) {
            uri.push_str(if schema.is_some() { "?" } else { "/?" });
            uri.push_str(&self.query(&extra)?);
        }
        Ok(uri)
    }

    /// The extras as a query, if they are texts that can be read back from one, and otherwise as one JSON text.
    fn query(&self, extra: &str) -> Outcome<String> {
        let plus = |text: &str| quote(text, "").replace("%20", "+");
        if let Value::Dict(dict) = self.extra_value()? {
            let mut pairs = Vec::new();
            let mut readable = dict.len() > 0;
            for (key, value) in dict.iter() {
                readable = readable && matches!(value, Value::Str(_));
                pairs.push(format!("{}={}", plus(&text(key)?), plus(&text(value)?)));
            }
            if readable {
                return Ok(pairs.join("&"));
            }
        }
        Ok(format!("__extra__={}", plus(extra)))
    }
}
