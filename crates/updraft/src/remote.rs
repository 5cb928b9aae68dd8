//! The server that runs on the home, through its REST API.

use std::time::Duration;

use anyhow::Result;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};

use crate::home::Server;

/// How long a server may take for an answer: its database may wait for a disk.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// What need not be written otherwise in a part of a path.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub struct Remote {
    agent: Agent,
    server: Server,
    token: String,
}

/// There was no answer; whether the request was heard is not known.
#[derive(Debug, thiserror::Error)]
#[error("the server at {url} (process {pid}) does not answer: {reason}")]
pub struct NoAnswer {
    url: String,
    pid: i64,
    reason: String,
}

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    pub status: u16,
    pub detail: String,
}

impl Remote {
    pub fn new(server: Server, token: String) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(PATIENCE))
            // A connection of an earlier request may be closed by now, which would look like a lost answer.
            .max_idle_connections(0)
            // The server is on this machine.
            .proxy(None);
        Self { agent: config.build().into(), server, token }
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PATCH, path, Some(body))
    }

    pub fn put(&self, path: &str) -> Result<Value> {
        self.call(Method::PUT, path, None)
    }

    pub fn delete(&self, path: &str) -> Result<Value> {
        self.call(Method::DELETE, path, None)
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, body) = self.send(method, path, body)?;
        if (200..300).contains(&status) {
            Ok(body)
        } else {
            Err(Refused { status, detail: detail(status, &body) }.into())
        }
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let Server { pid, url } = &self.server;
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/json")
            .body(body.map(Value::to_string).unwrap_or_default())?;
        let failed = |error: ureq::Error| NoAnswer { url: url.clone(), pid: *pid, reason: error.to_string() };
        let mut response = self.agent.run(request).map_err(failed)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}

/// What an answer says was wrong.
fn detail(status: u16, body: &Value) -> String {
    match &body["detail"] {
        Value::String(text) => text.clone(),
        Value::Array(errors) => {
            let message = |error: &Value| {
                let place =
                    error["loc"].as_array().and_then(|loc| loc.last()).map(|last| last.as_str().unwrap_or_default());
                format!("{}: {}", place.unwrap_or_default(), error["msg"].as_str().unwrap_or_default())
            };
            errors.iter().map(message).collect::<Vec<_>>().join("; ")
        }
        Value::Object(fields) => {
            let text = ["reason", "message"].iter().find_map(|key| fields.get(*key)?.as_str());
            text.map_or_else(|| body["detail"].to_string(), str::to_owned)
        }
        _ => format!("the server answered with status {status}: {body}"),
    }
}

/// A part of a path.
pub fn quoted(text: &str) -> String {
    utf8_percent_encode(text, &PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_say_what_was_wrong() {
        assert_eq!(detail(404, &json!({"detail": "no such Dag"})), "no such Dag");
        assert_eq!(detail(422, &json!({"detail": [{"loc": ["body", "slots"], "msg": "too few"}]})), "slots: too few");
        assert_eq!(
            detail(409, &json!({"detail": {"reason": "Unique constraint violation"}})),
            "Unique constraint violation"
        );
        assert_eq!(detail(500, &json!("x")), "the server answered with status 500: \"x\"");
    }

    #[test]
    fn parts_of_paths_are_quoted() {
        assert_eq!(quoted("a/b c+é.~"), "a%2Fb%20c%2B%C3%A9.~");
    }
}
