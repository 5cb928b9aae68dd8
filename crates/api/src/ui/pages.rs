//! The pages: those of the UI, and the login page of the simple auth manager, from Airflow's packages.

use std::path::{Path, PathBuf};

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use tower_http::services::ServeDir;

use crate::state::ApiState;

/// What stands in an index page for the server's base path.
const BASE_MARK: &str = "{{ backend_server_base_url }}";
/// Files whose names change with their contents.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Everything else is asked for again, and found unchanged by its date.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Site {
    Ui,
    Login,
}

impl Site {
    fn of(path: &str) -> Self {
        if path == "/auth" || path.starts_with("/auth/") { Site::Login } else { Site::Ui }
    }

    /// Where its files are below the folder of the package `airflow`.
    fn folder(self, airflow: &Path) -> PathBuf {
        airflow.join(match self {
            Site::Ui => "ui/dist",
            Site::Login => "api_fastapi/auth/managers/simple/ui/dist",
        })
    }

    fn static_path(self) -> &'static str {
        match self {
            Site::Ui => "/static/",
            Site::Login => "/auth/static/",
        }
    }
}

/// Whatever nothing else takes: a file, or the page that finds its way by itself.
pub(crate) async fn page(state: &ApiState, request: Request) -> Response {
    let site = Site::of(request.uri().path());
    let Some(airflow) = state.airflow_folder() else { return not_yet() };
    let folder = site.folder(airflow);
    let file = request.uri().path().strip_prefix(site.static_path()).map(str::to_owned);
    match file {
        Some(file) => file_of(&folder, &file, request).await,
        None => index(state, &folder).await,
    }
}

async fn file_of(folder: &Path, file: &str, request: Request) -> Response {
    let is_named_by_content = file.starts_with("assets/");
    let (mut parts, body) = request.into_parts();
    // What is left of a path is one, too.
    parts.uri = format!("/{file}").parse().unwrap_or_default();
    let mut response = match ServeDir::new(folder).try_call(Request::from_parts(parts, body)).await {
        Ok(response) => response.into_response(),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), file, "a file of the UI can't be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    if response.status() == StatusCode::NOT_FOUND {
        return crate::error::ApiError::not_found("Not Found").into_response();
    }
    let caching = if is_named_by_content { FOR_EVER } else { ASK_AGAIN };
    response.headers_mut().insert(header::CACHE_CONTROL, caching);
    response
}

async fn index(state: &ApiState, folder: &Path) -> Response {
    let file = folder.join("index.html");
    match tokio::fs::read_to_string(&file).await {
        Ok(text) => {
            let base = format!("{}/", state.config().base_path);
            ([(header::CACHE_CONTROL, ASK_AGAIN)], Html(text.replace(BASE_MARK, &base))).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the UI's page can't be read");
            told(
                StatusCode::NOT_FOUND,
                "The Python environment has no web UI",
                &format!("{} can't be read: {error}. Install apache-airflow-core into it again.", file.display()),
            )
        }
    }
}

/// The Python environment, which has the pages, is not known yet.
fn not_yet() -> Response {
    let mut response = told(
        StatusCode::SERVICE_UNAVAILABLE,
        "Updraft has just started",
        "The web UI comes with the Python environment, which is being prepared; the server's output says how far it is. \
         This page looks again by itself.",
    );
    response.headers_mut().insert("refresh", HeaderValue::from_static("2"));
    response
}

fn told(status: StatusCode, title: &str, text: &str) -> Response {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"UTF-8\"><title>{title}</title></head>\
         <body style=\"font-family: sans-serif; margin: 4em\"><h1>{title}</h1><p>{text}</p></body></html>"
    );
    (status, [(header::CACHE_CONTROL, ASK_AGAIN)], Html(page)).into_response()
}
