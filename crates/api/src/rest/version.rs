//! The version that clients ask for before anything else.

use axum::Json;
use serde::Serialize;

use crate::routes::{Access, Routes};

/// The version of Airflow whose API this is.
const AIRFLOW_VERSION: &str = "3.3.2";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/version", Access::Public, get)
}

/// `VersionInfo`.
#[derive(Serialize)]
struct VersionInfo {
    version: &'static str,
    git_version: Option<&'static str>,
}

async fn get() -> Json<VersionInfo> {
    Json(VersionInfo { version: AIRFLOW_VERSION, git_version: None })
}
