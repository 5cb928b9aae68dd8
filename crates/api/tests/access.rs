//! Who may come in, and what those get who may not.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use api::{ApiConfig, route_table};
use axum::http::StatusCode;
use serde_json::{Value, json};
use support::Server;

/// Everything that needs no token.
const PUBLIC: [&str; 8] = [
    // Where browsers are sent to log in or out.
    "GET /api/v2/auth/login",
    "GET /api/v2/auth/logout",
    "POST /auth/token",
    "GET /auth/token",
    "GET /auth/token/login",
    "POST /auth/token/cli",
    "GET /api/v2/monitor/health",
    "GET /api/v2/version",
];

fn with_login() -> Server {
    Server::with(ApiConfig::default(), false)
}

/// A path of a route, with something in each of its places.
fn path_of(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn no_route_answers_without_a_token_but_the_public_ones() {
    let server = with_login();
    let mut public = Vec::new();
    for route in route_table(&server.state) {
        let name = format!("{} {}", route.method, route.path);
        let answer = server.send(route.method, &path_of(&route.path), None, &[]).await;
        if answer.status == StatusCode::UNAUTHORIZED && !route.path.starts_with("/auth") {
            assert_eq!(answer.json(), json!({"detail": "Not authenticated"}), "{name}");
        } else {
            public.push(name);
        }
    }
    public.sort();
    let mut expected = PUBLIC.map(str::to_owned);
    expected.sort();
    assert_eq!(public, expected);
}

#[tokio::test]
async fn each_role_may_do_what_it_may_do_in_airflow() {
    // By the least role that gets past the door.
    let cases = [
        ("viewer", "GET", "/dags"),
        ("user", "PATCH", "/dags/none"),
        ("user", "POST", "/dags/none/dagRuns"),
        ("user", "DELETE", "/dags/none/dagRuns/r"),
        ("user", "DELETE", "/dags/none"),
        ("viewer", "GET", "/dags/none/dagRuns/r/wait"),
        ("viewer", "POST", "/dags/~/dagRuns/list"),
        ("viewer", "GET", "/dags/none/dagRuns/x"),
        ("user", "PATCH", "/dags/none/dagRuns/x"),
        ("viewer", "GET", "/pools"),
        ("op", "POST", "/pools"),
        ("op", "GET", "/connections"),
        ("op", "GET", "/variables"),
        ("viewer", "GET", "/dags/none/dagRuns/r/taskInstances/t/state-store/k"),
        ("user", "PUT", "/dags/none/dagRuns/r/taskInstances/t/state-store/k"),
        ("user", "PATCH", "/dags/none/dagRuns/r/taskInstances/t/state-store/k"),
        ("user", "DELETE", "/dags/none/dagRuns/r/taskInstances/t/state-store"),
        ("viewer", "GET", "/assets/1/state-store"),
        ("op", "PUT", "/assets/1/state-store/k"),
        ("op", "DELETE", "/assets/1/state-store"),
    ];
    let roles = ["viewer", "user", "op", "admin"];
    for (least, method, path) in cases {
        let at = roles.iter().position(|role| *role == least).unwrap();
        for (number, role) in roles.iter().enumerate() {
            let mut server = with_login();
            server.log_in(role).await;
            let body = (method != "GET").then_some("{}");
            let answer = server.send(method, &format!("/api/v2{path}"), body, &[]).await;
            let is_forbidden = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(is_forbidden, number < at, "{method} {path} as {role}: {}", answer.text);
            if is_forbidden {
                assert_eq!(answer.json(), json!({"detail": "Forbidden"}));
            }
        }
    }
}

async fn token(server: &Server, body: &Value) -> (u16, Value) {
    let answer = server.send("POST", "/auth/token", Some(&body.to_string()), &[]).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn names_and_passwords_are_checked() {
    let server = with_login();
    let (status, body) = token(&server, &json!({"username": "op", "password": "op-login-secret"})).await;
    assert_eq!(status, 201);
    assert!(body["access_token"].as_str().unwrap().split('.').count() == 3, "{body}");
    let wrong = (401, json!({"detail": "Invalid credentials"}));
    assert_eq!(token(&server, &json!({"username": "op", "password": "no"})).await, wrong);
    assert_eq!(token(&server, &json!({"username": "nobody", "password": "op-login-secret"})).await, wrong);
    assert_eq!(token(&server, &json!({"username": "op", "password": "viewer-login-secret"})).await, wrong);
    let empty = json!({"detail": "Username and password must be provided"});
    assert_eq!(token(&server, &json!({"username": "", "password": ""})).await, (400, empty));
    let (status, body) = token(&server, &json!({"username": "op"})).await;
    let said = "1 validation error for LoginBody\npassword\n  Field required [type=missing, \
        input_value={'username': 'op'}, input_type=dict]\n    For further information visit ";
    assert!(status == 422 && body["detail"].as_str().unwrap().starts_with(said), "{status} {body}");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = server.send("POST", "/auth/token", None, &form).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
}

#[tokio::test]
async fn a_token_is_needed_only_where_there_are_passwords() {
    let closed = with_login().send("GET", "/auth/token", None, &[]).await;
    let words = "This method is only allowed if ``[core] simple_auth_manager_all_admins`` is True";
    assert_eq!((closed.status, closed.json()), (StatusCode::FORBIDDEN, json!({"detail": words})));
    let open = Server::new();
    assert_eq!(open.send("GET", "/auth/token", None, &[]).await.status, StatusCode::CREATED);
    assert_eq!(open.get("/api/v2/dags").await.status, StatusCode::OK);
    // A token that is given must be a good one, even there.
    let bad = open.send("GET", "/api/v2/dags", None, &[("Authorization", "Bearer x")]).await;
    assert_eq!((bad.status, bad.json()), (StatusCode::FORBIDDEN, json!({"detail": "Invalid JWT token"})));
}

#[tokio::test]
async fn browsers_bring_their_token_in_a_cookie() {
    let server = with_login();
    let (_, body) = token(&server, &json!({"username": "viewer", "password": "viewer-login-secret"})).await;
    let cookie = format!("theme=dark; _token={}", body["access_token"].as_str().unwrap());
    let answer = server.send("GET", "/api/v2/dags", None, &[("Cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let both = [("Cookie", cookie.as_str()), ("Authorization", "Bearer x")];
    let answer = server.send("GET", "/api/v2/dags", None, &both).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "the header counts more");
}

#[tokio::test]
async fn browsers_are_sent_to_the_login_page_and_to_no_other_server() {
    let server = with_login();
    let go = async |path: &str| {
        let answer = server.send("GET", path, None, &[("Host", "here:8080")]).await;
        let target = answer.headers.get("location").map(|target| target.to_str().unwrap().to_owned());
        (answer.status.as_u16(), target)
    };
    assert_eq!(go("/api/v2/auth/login").await, (307, Some("/auth/login".into())));
    assert_eq!(go("/api/v2/auth/login?next=/dags").await, (307, Some("/auth/login?next=%2Fdags".into())));
    assert_eq!(go("/api/v2/auth/login?next=http://here:8080/x").await.0, 307);
    for elsewhere in ["http://evil/x", "//evil/x", "http://here:8080.evil/x", "javascript:1", "/a/../b", "/%5Cevil"] {
        assert_eq!(go(&format!("/api/v2/auth/login?next={elsewhere}")).await, (400, None), "{elsewhere}");
    }
    assert_eq!(go("/api/v2/auth/logout").await, (307, Some("/auth/login".into())));
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let long = format!("\"{}\"", "x".repeat(9 << 20));
    let answer = Server::new().send("PATCH", "/api/v2/dags/none", Some(&long), &[]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text);
}
