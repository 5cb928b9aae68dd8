//! HTTP: Airflow's REST API v2 and the simple auth manager's login, on axum.
//!
//! # Adding a resource
//!
//! 1. Write `rest/RESOURCE.rs` with `pub(crate) fn routes(routes: Routes) -> Routes`, and name it in [`rest`]. Each call
//!    such as `routes.get("/dags/{dag_id}", Access::ReadDags, get)` says who may come in: the wrapper refuses everybody
//!    else before the handler runs, and the table of routes is what the test without credentials walks.
//! 2. A handler takes `State(state)`, [`args::Args`] (path and query), the [`auth::User`] if it matters who asks, and as the
//!    last one [`body::JsonBody`]. It reads every parameter in the order in which Airflow declares them; what is wrong is
//!    gathered, and `args.finish()?` answers with all of it at once, in FastAPI's shape. Parsers are in [`parse`].
//! 3. Store calls go through [`ApiState::read`], which moves to a thread that may block. Errors of the store become
//!    answers by themselves; everything else is an [`error::ApiError`] in Airflow's very words.
//! 4. Responses are structs in the resource's module, fields in the order of Airflow's model, [`wire::Moment`] for moments.

mod args;
mod auth;
mod blocking;
mod body;
mod bundle;
mod error;
mod order;
mod parse;
mod rest;
mod routes;
mod signed;
mod state;
mod ui;
mod wire;

pub use auth::{AuthSettings, Role, UserAccount};
pub use routes::{RouteInfo, route_table, router};
pub use signed::file_token;
pub use state::{ApiConfig, ApiOptions, ApiState, ConfigSection, ImportAgain, Structures, UiConfig};
