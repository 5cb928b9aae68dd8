//! What is secret is in no answer, whoever asks and however.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use api::{ApiConfig, ConfigSection};
use jiff::Timestamp;
use model::TaskState;
use serde_json::json;
use store::{Connection, Variable, Write};
use support::Server;

/// Planted everywhere; stands in no answer.
const SECRET: &str = "pl4nted-secret";
/// Planted where only digits are.
const DIGITS: &str = "9081726354";

fn planted() -> Server {
    let exposed = vec![
        ConfigSection {
            name: "core".into(),
            options: [("fernet_key", SECRET), ("parallelism", "32"), ("my_password", SECRET)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        },
        ConfigSection { name: "secrets".into(), options: vec![("backend_kwarg__role_id".into(), SECRET.into())] },
    ];
    let config = ApiConfig { secret_key: SECRET.into(), exposed: Some(exposed), ..ApiConfig::default() };
    let server = Server::with(config, false);
    let variable =
        |key: &str, value: String| Write::Variable(Variable { key: key.into(), value, ..Variable::default() });
    let connection = |id: &str, password: Option<&str>, extra: String| {
        Write::Connection(Box::new(Connection {
            connection_id: id.into(),
            conn_type: "http".into(),
            password: password.map(str::to_owned),
            extra: Some(extra),
            ..Connection::default()
        }))
    };
    let run = support::run("letters", "a", None, Timestamp::UNIX_EPOCH);
    let ti = support::task_instance(&run.key, "one", -1, TaskState::Success, 1);
    server.write(vec![
        support::imported("letters", "letters"),
        support::decided_run(run),
        support::decided(ti),
        variable("api_key", SECRET.into()),
        variable("API-KEY.2", SECRET.into()),
        variable("secret_digits", DIGITS.into()),
        variable("plain", json!({"password": SECRET, "list": [{"token": {"deep": [SECRET]}}]}).to_string()),
        connection("a", Some(SECRET), json!({"url": format!("db://me:{SECRET}@host")}).to_string()),
        connection("b", None, json!({"nested": {"private_key": SECRET}, "secrets": [SECRET, [SECRET]]}).to_string()),
        connection("c", None, format!("no JSON, but {SECRET}")),
    ]);
    server
}

async fn ask(server: &Server, method: &str, path: &str, body: Option<&str>) -> u16 {
    let answer = server.send(method, &format!("/api/v2{path}"), body, &[]).await;
    for secret in [SECRET, DIGITS] {
        assert!(!answer.text.contains(secret), "{method} {path}: {}", answer.text);
        let headers = format!("{:?}", answer.headers);
        assert!(!headers.contains(secret), "{method} {path}: {headers}");
    }
    answer.status.as_u16()
}

const LISTS: [&str; 12] = [
    "/variables",
    "/variables?order_by=_val",
    "/variables/api_key",
    "/variables/API-KEY.2",
    "/variables/secret_digits",
    "/variables/plain",
    "/connections",
    "/connections/a",
    "/connections/b",
    "/connections/c",
    "/config",
    "/config/section/core/option/fernet_key",
];

#[tokio::test]
async fn answers_show_no_secret() {
    let mut server = planted();
    server.log_in("admin").await;
    for path in LISTS {
        assert_eq!(ask(&server, "GET", path, None).await, 200, "{path}");
    }
    for path in [
        "/config/section/core/option/my_password",
        "/config/section/secrets/option/backend_kwarg__role_id",
        "/dags",
        "/dags/letters",
        "/dags/letters/dagRuns",
        "/dags/~/dagRuns/~/taskInstances",
        "/monitor/health",
        "/jobs",
        "/version",
        "/importErrors",
        "/pools",
        "/providers",
        "/plugins",
        "/dags/letters/dagRuns/a/taskInstances/one/logs/1",
        "/dags/letters/dagRuns/a/taskInstances/one/xcomEntries",
    ] {
        assert_eq!(ask(&server, "GET", path, None).await, 200, "{path}");
    }
    let text = server.send("GET", "/api/v2/config", None, &[("accept", "text/plain")]).await;
    assert!(text.text.contains("fernet_key = < hidden >\nparallelism = 32\n"), "{}", text.text);
    assert!(!text.text.contains(SECRET), "{}", text.text);
}

/// What changes a secret, or something beside it, does not tell it.
#[tokio::test]
async fn answers_to_changes_show_no_secret() {
    let mut server = planted();
    server.log_in("admin").await;
    let changes = [
        (
            "PATCH",
            "/variables/api_key?update_mask=description",
            json!({"key": "api_key", "value": "", "description": "d"}),
        ),
        ("PATCH", "/connections/a", json!({"connection_id": "a", "conn_type": "x", "password": "***"})),
        (
            "PATCH",
            "/connections/b",
            json!({
                "connection_id": "b", "conn_type": "x",
                "extra": json!({"nested": {"private_key": "***"}, "secrets": ["***", ["***"]]}).to_string(),
            }),
        ),
        ("PATCH", "/connections/c?update_mask=host", json!({"connection_id": "c", "conn_type": "x", "host": "h"})),
        (
            "PATCH",
            "/connections",
            json!({"actions": [
            {"action": "update", "entities": [{"connection_id": "a", "conn_type": "y", "password": "***"}]}]}),
        ),
        (
            "PATCH",
            "/connections",
            json!({"actions": [{"action": "create", "action_on_existence": "overwrite",
            "entities": [{"connection_id": "a", "conn_type": "z", "password": "***"}]}]}),
        ),
    ];
    for (method, path, body) in changes {
        assert_eq!(ask(&server, method, path, Some(&body.to_string())).await, 200, "{path}");
    }
    // The secrets are still what they were.
    use store::ConnectionStore;
    let stored = |id: &str| server.store.connection(id).unwrap().unwrap();
    assert_eq!((stored("a").password.unwrap(), stored("a").conn_type), (SECRET.to_owned(), "z".to_owned()));
    let kept = json!({"nested": {"private_key": SECRET}, "secrets": [SECRET, [SECRET]]});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&stored("b").extra.unwrap()).unwrap(), kept);
    assert!(stored("c").extra.unwrap().contains(SECRET));
}

/// A role that may not see them sees nothing of them.
#[tokio::test]
async fn roles_without_the_right_are_refused() {
    let mut server = planted();
    for (name, allowed) in [("viewer", false), ("user", false), ("op", true), ("admin", true)] {
        server.log_in(name).await;
        for path in LISTS {
            let readable = allowed || path.starts_with("/config");
            assert_eq!(ask(&server, "GET", path, None).await, if readable { 200 } else { 403 }, "{name} {path}");
        }
    }
    let nobody = planted();
    for path in LISTS {
        assert_eq!(ask(&nobody, "GET", path, None).await, 401, "{path}");
    }
}
