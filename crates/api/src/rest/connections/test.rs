//! Trying out connections.
//!
//! That needs the hooks of provider packages, which run in Python; it is always as it is in Airflow by default:
//! `[core] test_connection` is `Disabled`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::body::ConnectionBody;
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::ApiError;
use crate::parse::{self, Fault};
use crate::rest::strict;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

const TOKEN: &str = "Airflow-Connection-Test-Token";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post("/connections/test", Access::Connections, test)
        .get("/connections/enqueue-test", Access::LoggedIn, queued)
        .post("/connections/enqueue-test", Access::LoggedIn, enqueue)
}

fn disabled() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "Testing connections is disabled in Airflow configuration. Contact your deployment admin to enable it.",
    )
}

async fn test(State(_): State<ApiState>, mut args: Args, body: JsonBody) -> Result<(), ApiError> {
    let body = strict::of_body_with_team(&body, &mut args, ConnectionBody::read);
    strict::checked(&mut args, body)?;
    Err(disabled())
}

async fn enqueue(State(_): State<ApiState>, mut args: Args, body: JsonBody) -> Result<(), ApiError> {
    let read = |fields: &mut Fields<'_>| {
        ConnectionBody::read(fields);
        fields.or("commit_on_success", false, parse::boolean);
        fields.optional("executor", parse::text);
        fields.optional("queue", parse::text);
    };
    let body = strict::of_body_with_team(&body, &mut args, read);
    strict::checked(&mut args, body)?;
    Err(disabled())
}

/// No test is ever queued.
async fn queued(State(_): State<ApiState>, mut args: Args, headers: HeaderMap) -> Result<(), ApiError> {
    let Some(token) = headers.get(TOKEN) else {
        let missing = Fault::new("missing", "Field required");
        args.issues.add(&vec![json!("header"), json!(TOKEN)], missing, &Value::Null);
        return args.finish();
    };
    let token = String::from_utf8_lossy(token.as_bytes());
    Err(ApiError::not_found(format!("No connection test found for token: `{token}`")))
}
