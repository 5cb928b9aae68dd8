//! Who may come in where, and what those get who knock at no door.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Json, Router};
use serde_json::json;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::auth::{self, Role};
use crate::error::ApiError;
use crate::rest;
use crate::state::ApiState;
use crate::ui;

/// What a route asks of whoever calls it: the rules of Airflow's simple auth manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing.
    Public,
    /// A valid token.
    LoggedIn,
    ReadDags,
    WriteDags,
    ReadAssets,
    WriteAssets,
    ReadConfiguration,
    Connections,
    ReadPools,
    WritePools,
    Variables,
    /// A page such as import errors or providers.
    View,
}

impl Access {
    /// The least role that may do it; `None` where any valid token will do.
    pub(crate) fn least_role(self) -> Option<Role> {
        match self {
            Access::Public | Access::LoggedIn => None,
            Access::ReadDags | Access::ReadAssets | Access::ReadConfiguration | Access::ReadPools | Access::View => {
                Some(Role::Viewer)
            }
            Access::WriteDags => Some(Role::User),
            Access::WriteAssets | Access::Connections | Access::WritePools | Access::Variables => Some(Role::Op),
        }
    }
}

/// One route, as it was registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteInfo {
    pub method: &'static str,
    pub path: String,
    pub access: Access,
}

/// Gathers routes. Paths under `/api/v2` are written without it.
pub(crate) struct Routes {
    state: ApiState,
    router: Router<ApiState>,
    table: Vec<RouteInfo>,
    prefix: &'static str,
}

impl Routes {
    fn new(state: &ApiState) -> Self {
        Self { state: state.clone(), router: Router::new(), table: Vec::new(), prefix: "" }
    }

    fn under(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    pub(crate) fn get<T: 'static>(self, path: &str, access: Access, handler: impl Handler<T, ApiState>) -> Self {
        self.add("GET", MethodFilter::GET, path, access, handler)
    }

    pub(crate) fn post<T: 'static>(self, path: &str, access: Access, handler: impl Handler<T, ApiState>) -> Self {
        self.add("POST", MethodFilter::POST, path, access, handler)
    }

    pub(crate) fn put<T: 'static>(self, path: &str, access: Access, handler: impl Handler<T, ApiState>) -> Self {
        self.add("PUT", MethodFilter::PUT, path, access, handler)
    }

    pub(crate) fn patch<T: 'static>(self, path: &str, access: Access, handler: impl Handler<T, ApiState>) -> Self {
        self.add("PATCH", MethodFilter::PATCH, path, access, handler)
    }

    pub(crate) fn delete<T: 'static>(self, path: &str, access: Access, handler: impl Handler<T, ApiState>) -> Self {
        self.add("DELETE", MethodFilter::DELETE, path, access, handler)
    }

    fn add<T: 'static>(
        mut self,
        method: &'static str,
        filter: MethodFilter,
        path: &str,
        access: Access,
        handler: impl Handler<T, ApiState>,
    ) -> Self {
        let path = format!("{}{path}", self.prefix);
        let mut route: MethodRouter<ApiState, Infallible> = on(filter, handler);
        if access != Access::Public {
            let guard = auth::Guard { tokens: self.state.clone(), access };
            route = route.route_layer(from_fn_with_state(guard, auth::admit));
        }
        self.router = self.router.route(&path, route);
        self.table.push(RouteInfo { method, path, access });
        self
    }
}

fn all_routes(state: &ApiState) -> Routes {
    let routes = auth::routes(Routes::new(state).under("/auth"));
    let routes = ui::routes(routes.under("/ui"));
    rest::routes(routes.under("/api/v2"))
}

/// Every route with what it asks for.
pub fn route_table(state: &ApiState) -> Vec<RouteInfo> {
    all_routes(state).table
}

/// The whole of HTTP.
pub fn router(state: ApiState) -> Router {
    let Routes { router, table, .. } = all_routes(&state);
    let table: Arc<[RouteInfo]> = table.into();
    let same = Arc::clone(&table);
    let base_path = state.config().base_path.clone();
    let router = router
        .fallback(move |state, request: Request| async move { other(state, request, &table).await })
        .method_not_allowed_fallback(move |request: Request| async move { no_route(&request, &same) })
        .layer(from_fn(finish))
        .layer(compression())
        .with_state(state);
    if base_path.is_empty() {
        return router;
    }
    // Proxies send the path as they got it, or without what stands before it.
    Router::new().nest(&base_path, router.clone()).fallback_service(router)
}

/// Answers of some size are compressed for clients that can read that, as Airflow does. Lines that are sent one by one go
/// out at once.
fn compression() -> CompressionLayer<impl Predicate> {
    let by_kind = NotForContentType::new("application/x-ndjson").and(NotForContentType::IMAGES);
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(COMPRESSED).and(by_kind))
}

/// The least size in bytes that is worth it (`GZipMiddleware`).
const COMPRESSED: u16 = 1024;

/// What no route takes: a page, unless it looks like a call.
async fn other(State(state): State<ApiState>, request: Request, table: &[RouteInfo]) -> Response {
    let path = request.uri().path();
    let is_page = matches!(*request.method(), Method::GET | Method::HEAD)
        && !path.starts_with("/api/")
        && !path.starts_with("/ui/")
        && path != "/health";
    if is_page { ui::pages::page(&state, request).await } else { no_route(&request, table) }
}

fn airflow_error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

/// Airflow catches every GET that nothing else takes. What other methods find is the first route of that path, or the one
/// that catches all.
fn no_route(request: &Request, table: &[RouteInfo]) -> Response {
    let path = request.uri().path();
    match *request.method() {
        Method::GET if path.starts_with("/api/v1/") => airflow_error(
            StatusCode::NOT_FOUND,
            "/api/v1 has been removed in Airflow 3, please use its upgraded version /api/v2 instead.",
        ),
        Method::GET if path.starts_with("/api/") => airflow_error(StatusCode::NOT_FOUND, "API route not found"),
        Method::GET if path == "/health" => airflow_error(
            StatusCode::NOT_FOUND,
            "Moved in Airflow 3. Please change config to check `/api/v2/monitor/health`",
        ),
        Method::GET => ApiError::not_found("Not Found").into_response(),
        _ => {
            let allowed = table.iter().find(|route| is_path_of(path, &route.path)).map_or("GET", |route| route.method);
            let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
            ([(header::ALLOW, allowed)], error).into_response()
        }
    }
}

/// Whether a path is one of a route's.
fn is_path_of(path: &str, template: &str) -> bool {
    let (mut parts, mut wanted) = (path.split('/'), template.split('/'));
    loop {
        match (parts.next(), wanted.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if name.starts_with("{*") => return !part.is_empty(),
            (Some(part), Some(name)) if name.starts_with('{') && !part.is_empty() => {}
            (Some(part), Some(name)) if part == name => {}
            _ => return false,
        }
    }
}

/// A handler that panics costs its own request, nothing else.
async fn finish(request: Request, next: Next) -> Response {
    let mut answer = Box::pin(next.run(request));
    let result = std::future::poll_fn(|context| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(())),
        }
    });
    let mut response = match result.await {
        Ok(response) => response,
        Err(()) => ApiError::internal("a handler panicked").into_response(),
    };
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        // The router adds it to whatever a path answers to a method that it lacks.
        response.headers_mut().remove(header::ALLOW);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::is_path_of;

    #[test]
    fn paths_are_matched_part_by_part() {
        assert!(is_path_of("/a/b", "/a/{x}") && is_path_of("/a/b/c", "/a/{*rest}") && is_path_of("/a", "/a"));
        assert!(!is_path_of("/a/", "/a/{x}") && !is_path_of("/a/b/c", "/a/{x}") && !is_path_of("/a", "/a/{x}"));
    }
}
