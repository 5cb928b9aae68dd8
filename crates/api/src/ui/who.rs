//! Who uses the UI, and what it needs to know of the server.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Args;
use crate::auth::User;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::{ApiState, UiConfig};

/// `MenuItem`, all of them: the simple auth manager hides none.
const MENU: [&str; 14] = [
    "Required Actions",
    "Assets",
    "Audit Log",
    "Config",
    "Connections",
    "Dags",
    "Deadlines",
    "Docs",
    "Jobs",
    "Plugins",
    "Pools",
    "Providers",
    "Variables",
    "XComs",
];

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/auth/menus", Access::LoggedIn, menus)
        .get("/auth/me", Access::LoggedIn, me)
        .post("/auth/token", Access::LoggedIn, token)
        .get("/config", Access::LoggedIn, config)
        .get("/teams", Access::LoggedIn, teams)
}

async fn menus() -> Json<Value> {
    Json(json!({"authorized_menu_items": MENU, "extra_menu_items": []}))
}

async fn me(user: User) -> Json<Value> {
    Json(json!({"id": user.name, "username": user.name}))
}

/// `GenerateTokenResponse`.
#[derive(Serialize)]
struct Token {
    access_token: String,
    token_type: &'static str,
    expires_in_seconds: u64,
}

/// A token for programs that act for whoever asks.
async fn token(State(state): State<ApiState>, user: User, mut args: Args, body: JsonBody) -> ApiResult<Token> {
    let mut fields = body.fields(&mut args.issues);
    let token_type = fields.or("token_type", "api", parse::one_of(&[("api", "api"), ("cli", "cli")]));
    args.finish()?;
    let settings = state.tokens().settings();
    let seconds = if token_type == "cli" { settings.cli_expiration } else { settings.expiration };
    let role = user.role.map_or("", crate::auth::Role::name);
    let access_token = state.tokens().issue(&user.name, role, seconds);
    Ok(Json(Token { access_token, token_type, expires_in_seconds: seconds }))
}

async fn config(State(state): State<ApiState>) -> Json<Value> {
    let own = state.config();
    let UiConfig {
        auto_refresh_interval,
        default_wrap,
        enable_swagger_ui,
        hide_paused_dags_by_default,
        instance_name,
        require_confirmation_dag_change,
        test_connection,
        theme,
    } = &own.ui;
    Json(json!({
        "fallback_page_limit": own.page_limit,
        "auto_refresh_interval": auto_refresh_interval,
        "hide_paused_dags_by_default": hide_paused_dags_by_default,
        "instance_name": instance_name,
        "enable_swagger_ui": enable_swagger_ui,
        "require_confirmation_dag_change": require_confirmation_dag_change,
        "default_wrap": default_wrap,
        "test_connection": test_connection,
        "dashboard_alert": [],
        "show_external_log_redirect": false,
        "external_log_name": null,
        "theme": theme,
        "multi_team": false,
        "rerun_with_latest_version": own.rerun_with_latest_version,
    }))
}

async fn teams() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Multi-team mode is not configured in the Airflow environment")
}
