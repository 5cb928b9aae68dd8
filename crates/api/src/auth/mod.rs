//! Airflow's simple auth manager: users and roles from the configuration, tokens that say who somebody is.

mod login;
mod token;

use std::path::PathBuf;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::routes::Access;
use crate::state::ApiState;

pub(crate) use login::{redirects, routes};
pub(crate) use token::Tokens;

/// The cookie in which browsers keep their token.
const COOKIE: &str = "_token";

/// What somebody may do; each role may do all that those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    Viewer,
    User,
    Op,
    Admin,
}

impl Role {
    /// The role of a name, in any case.
    pub fn named(name: &str) -> Option<Role> {
        match name.to_ascii_uppercase().as_str() {
            "VIEWER" => Some(Role::Viewer),
            "USER" => Some(Role::User),
            "OP" => Some(Role::Op),
            "ADMIN" => Some(Role::Admin),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "VIEWER",
            Role::User => "USER",
            Role::Op => "OP",
            Role::Admin => "ADMIN",
        }
    }
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserAccount {
    pub name: String,
    pub role: Role,
}

/// How people prove who they are.
#[derive(Clone)]
pub struct AuthSettings {
    /// `[core] simple_auth_manager_all_admins`: everybody is an administrator without logging in.
    pub all_admins: bool,
    /// `[core] simple_auth_manager_users`.
    pub users: Vec<UserAccount>,
    /// `[core] simple_auth_manager_passwords_file`: a JSON object of passwords by name. It is read at each login, so that
    /// a password that is changed counts at once.
    pub passwords_file: PathBuf,
    /// `[api_auth] jwt_secret`, or the home's own.
    pub secret: String,
    /// `[api_auth] jwt_expiration_time`, in seconds.
    pub expiration: u64,
    /// `[api_auth] jwt_cli_expiration_time`, in seconds.
    pub cli_expiration: u64,
    /// `[api_auth] jwt_audience`; empty for none.
    pub audience: String,
    /// `[api_auth] jwt_issuer`; empty for none.
    pub issuer: String,
    /// `[api_auth] jwt_leeway`, in seconds.
    pub leeway: u64,
}

impl AuthSettings {
    /// An administrator's token for a command on the server's own machine, which knows the secret.
    pub fn command_token(&self, name: &str) -> String {
        Tokens::new(self.clone()).issue(name, Role::Admin.name(), self.cli_expiration)
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) role: Option<Role>,
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let user = parts.extensions.get::<User>().cloned();
        user.ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "Not authenticated"))
    }
}

/// What stands before a route.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) tokens: ApiState,
    pub(crate) access: Access,
}

/// Lets in who may come in, and tells the handler who it is.
pub(crate) async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match who(guard.tokens.tokens(), request.headers()) {
        Err(error) => error.into_response(),
        Ok(user) if guard.access.least_role().is_some_and(|least| user.role.is_none_or(|role| role < least)) => {
            ApiError::forbidden().into_response()
        }
        Ok(user) => {
            request.extensions_mut().insert(user);
            next.run(request).await
        }
    }
}

/// The user that the request's token names. A token in the header counts more than the one in the cookie.
fn who(tokens: &Tokens, headers: &HeaderMap) -> Result<User, ApiError> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match bearer.filter(|token| !token.is_empty()) {
        Some(token) => tokens.user(token),
        None if tokens.settings().all_admins => Ok(User { name: login::ANONYMOUS.into(), role: Some(Role::Admin) }),
        None => match cookie(headers) {
            Some(token) if !token.is_empty() => tokens.user(token),
            _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Not authenticated")),
        },
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.trim_matches('"'))
}
