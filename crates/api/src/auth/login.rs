//! `/auth`: tokens for names and passwords.

use std::collections::HashMap;
use std::path::Path;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha512;

use super::{COOKIE, Role};
use crate::args::Args;
use crate::body::{Fields, JsonBody, read_body};
use crate::error::ApiError;
use crate::parse::{self, Issues};
use crate::routes::{Access, Routes};
use crate::state::ApiState;

/// Who everybody is where nobody needs to log in.
pub(super) const ANONYMOUS: &str = "Anonymous";

/// `/api/v2/auth`: where browsers are sent to log in or out.
pub(crate) fn redirects(routes: Routes) -> Routes {
    routes.get("/auth/login", Access::Public, go_to_login).get("/auth/logout", Access::Public, log_out)
}

/// Where people log in.
fn login_page(state: &ApiState) -> String {
    let page = if state.tokens().settings().all_admins { "/auth/token/login" } else { "/auth/login" };
    format!("{}{page}", state.config().base_path)
}

/// The server's own path, with a slash at its end where the server has none.
fn cookie_path(state: &ApiState) -> &str {
    Some(state.config().base_path.as_str()).filter(|path| !path.is_empty()).unwrap_or("/")
}

async fn go_to_login(State(state): State<ApiState>, headers: HeaderMap, args: Args) -> Result<Response, ApiError> {
    let mut target = login_page(&state);
    if let Some(next) = args.text("next").filter(|next| !next.is_empty()) {
        if !is_own(&next, &headers) {
            return Err(ApiError::bad_request("Invalid or unsafe next URL"));
        }
        target.push_str("?next=");
        target.extend(form_urlencoded::byte_serialize(next.as_bytes()));
    }
    Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response())
}

/// Takes the cookie away. The token itself is good until it expires.
async fn log_out(State(state): State<ApiState>) -> Response {
    let path = cookie_path(&state);
    let cookie = format!("{COOKIE}=\"\"; HttpOnly; Max-Age=0; Path={path}; SameSite=lax");
    let headers = [(header::LOCATION, login_page(&state)), (header::SET_COOKIE, cookie)];
    (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
}

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .post("/token", Access::Public, create_token)
        .get("/token", Access::Public, create_token_all_admins)
        .get("/token/login", Access::Public, log_in_all_admins)
        .post("/token/cli", Access::Public, create_token_cli)
}

#[derive(Serialize)]
struct LoginResponse {
    access_token: String,
}

fn created(access_token: String) -> Response {
    (StatusCode::CREATED, Json(LoginResponse { access_token })).into_response()
}

/// A name and a password from JSON or from a form.
async fn create_token(State(state): State<ApiState>, request: Request) -> Result<Response, ApiError> {
    let unsupported = || {
        ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Only application/json or application/x-www-form-urlencoded is supported",
        )
    };
    let content_type = match request.headers().get(header::CONTENT_TYPE) {
        None => "application/json".to_owned(),
        Some(value) => value.to_str().map_err(|_| unsupported())?.to_owned(),
    };
    let bytes = if content_type.starts_with("application/json") || content_type.starts_with(FORM) {
        read_body(request).await?
    } else {
        return Err(unsupported());
    };
    let body = if content_type.starts_with(FORM) {
        let mut fields =
            serde_json::Map::from_iter([("username".into(), Value::Null), ("password".into(), Value::Null)]);
        for (name, value) in form_urlencoded::parse(&bytes) {
            if let Some(field) = fields.get_mut(&*name) {
                *field = Value::String(value.into_owned());
            }
        }
        Value::Object(fields)
    } else {
        serde_json::from_slice(&bytes).map_err(|_| ApiError::bad_request("The body is no JSON"))?
    };
    let mut issues = Issues::default();
    let credentials = Credentials::read(Fields::of(&body, Vec::new(), &mut issues));
    if !issues.is_empty() {
        // This route of Airflow's tells what is wrong as one text.
        return Err(ApiError::unprocessable(issues.into_text("LoginBody")));
    }
    let seconds = state.tokens().settings().expiration;
    token_for(&state, credentials, seconds).await.map(created)
}

const FORM: &str = "application/x-www-form-urlencoded";

async fn create_token_cli(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> Result<Response, ApiError> {
    let credentials = Credentials::read(body.fields(&mut args.issues));
    args.finish()?;
    let seconds = state.tokens().settings().cli_expiration;
    token_for(&state, credentials, seconds).await.map(created)
}

async fn create_token_all_admins(State(state): State<ApiState>) -> Result<Response, ApiError> {
    anonymous_token(&state).map(created)
}

/// Sets the cookie of a browser that need not log in, and sends it on.
async fn log_in_all_admins(
    State(state): State<ApiState>,
    headers: HeaderMap,
    args: Args,
) -> Result<Response, ApiError> {
    let token = anonymous_token(&state)?;
    let target = args.text("next").filter(|target| is_own(target, &headers));
    let target = target.unwrap_or_else(|| format!("{}/", state.config().base_path));
    let cookie = format!("{COOKIE}={token}; HttpOnly; Path={}; SameSite=lax", cookie_path(&state));
    Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target), (header::SET_COOKIE, cookie)]).into_response())
}

/// Whether a page to go on to belongs to this server.
fn is_own(target: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let path = match (target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")), host) {
        (Some(rest), Some(host)) => rest.strip_prefix(host),
        (Some(_), None) => None,
        (None, _) => Some(target),
    };
    path.is_some_and(|path| {
        let safe = |letter: char| letter.is_ascii_graphic() && letter != '\\';
        path.starts_with('/') && !path.starts_with("//") && !path.contains("..") && path.chars().all(safe)
    })
}

struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    fn read(mut fields: Fields<'_>) -> Self {
        let credentials = Self {
            username: fields.required("username", parse::text),
            password: fields.required("password", parse::text),
        };
        fields.forbid_others();
        credentials
    }
}

fn anonymous_token(state: &ApiState) -> Result<String, ApiError> {
    let tokens = state.tokens();
    if !tokens.settings().all_admins {
        let detail = "This method is only allowed if ``[core] simple_auth_manager_all_admins`` is True";
        return Err(ApiError::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(tokens.issue(ANONYMOUS, Role::Admin.name(), tokens.settings().expiration))
}

async fn token_for(state: &ApiState, credentials: Credentials, seconds: u64) -> Result<String, ApiError> {
    let settings = state.tokens().settings();
    if settings.all_admins {
        return Ok(state.tokens().issue(ANONYMOUS, Role::Admin.name(), seconds));
    }
    let Credentials { username, password } = credentials;
    if username.is_empty() || password.is_empty() {
        return Err(ApiError::bad_request("Username and password must be provided"));
    }
    let file = settings.passwords_file.clone();
    let mut passwords = state.blocking(move || read_passwords(&file)).await?;
    let known = passwords.remove(&username).unwrap_or_default();
    let is_right = is_same(&known, &password);
    match settings.users.iter().find(|account| is_right && account.name == username) {
        Some(account) => Ok(state.tokens().issue(&account.name, account.role.name(), seconds)),
        None => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Invalid credentials")),
    }
}

fn read_passwords(file: &Path) -> Result<HashMap<String, String>, ApiError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| ApiError::internal(format!("{} can't be read: {error}", file.display())))?;
    serde_json::from_str(&text)
        .map_err(|error| ApiError::internal(format!("{} is no JSON object of passwords: {error}", file.display())))
}

/// Compares without telling by its duration how much of it was right.
fn is_same(known: &str, given: &str) -> bool {
    let mac = |text: &str| {
        let mut mac = Hmac::<Sha512>::new_from_slice(b"compare").ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    };
    let tag = mac(given).map(|mac| mac.finalize().into_bytes());
    mac(known).zip(tag).is_some_and(|(mac, tag)| mac.verify(&tag).is_ok())
}
