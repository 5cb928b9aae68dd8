//! The REST API, as tests call it.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    pub fn new(url: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30)));
        Self { agent: config.build().into(), url: url.to_owned(), token: None }
    }

    /// The same client with a token, as a server without passwords gives it to anybody.
    pub fn log_in(mut self) -> Self {
        let reply = self.get("/auth/token");
        self.token = reply.body["access_token"].as_str().map(str::to_owned);
        assert!(self.token.is_some(), "no token: {reply:?}");
        self
    }

    /// The same client with the token of somebody who has a password.
    pub fn with_password(mut self, username: &str, password: &str) -> Self {
        let body = serde_json::json!({"username": username, "password": password});
        let reply = self.post("/auth/token", &body);
        self.token = reply.body["access_token"].as_str().map(str::to_owned);
        assert!(self.token.is_some(), "no token: {reply:?}");
        self
    }

    pub fn get(&self, path: &str) -> Reply {
        self.try_get(path).expect("an answer")
    }

    /// `None` while nobody listens.
    pub fn try_get(&self, path: &str) -> Option<Reply> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().ok().and_then(reply_of)
    }

    pub fn delete(&self, path: &str) -> Reply {
        let mut request = self.agent.delete(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().ok().and_then(reply_of).expect("an answer")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_send("POST", path, body).expect("an answer")
    }

    pub fn patch(&self, path: &str, body: &Value) -> Reply {
        self.try_send("PATCH", path, body).expect("an answer")
    }

    pub fn put(&self, path: &str) -> Reply {
        let mut request = self.agent.put(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.send_empty().ok().and_then(reply_of).expect("an answer")
    }

    /// `None` when the connection was cut before the answer was whole.
    pub fn try_send(&self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let url = format!("{}{path}", self.url);
        let mut request = if method == "PATCH" { self.agent.patch(url) } else { self.agent.post(url) };
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.send_json(body).ok().and_then(reply_of)
    }
}

fn reply_of(mut response: ureq::http::Response<ureq::Body>) -> Option<Reply> {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().ok()?;
    Some(Reply { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}
