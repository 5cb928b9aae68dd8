//! What the server says of itself: `/version`, `/plugins`, `/providers`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Args;
use crate::error::ApiResult;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

/// The version of Airflow whose API this is.
pub const AIRFLOW_VERSION: &str = "3.3.2";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/version", Access::Public, version)
        .get("/plugins", Access::View, plugins)
        .get("/plugins/importErrors", Access::View, plugin_import_errors)
        .get("/providers", Access::View, providers)
}

#[derive(Serialize)]
struct VersionInfo {
    version: &'static str,
    git_version: Option<String>,
}

async fn version() -> Json<VersionInfo> {
    let git_version = Some(format!("updraft:{}", env!("CARGO_PKG_VERSION")));
    Json(VersionInfo { version: AIRFLOW_VERSION, git_version })
}

/// The server loads no Python, and with it no plugins and no providers.
fn none(state: &ApiState, mut args: Args, name: &str) -> ApiResult<Value> {
    args.page(state);
    args.finish()?;
    Ok(Json(json!({name: [], "total_entries": 0})))
}

async fn plugins(State(state): State<ApiState>, args: Args) -> ApiResult<Value> {
    none(&state, args, "plugins")
}

async fn plugin_import_errors() -> Json<Value> {
    Json(json!({"import_errors": [], "total_entries": 0}))
}

async fn providers(State(state): State<ApiState>, args: Args) -> ApiResult<Value> {
    none(&state, args, "providers")
}
