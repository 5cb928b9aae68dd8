//! `…/state-store`: what is kept with task instances and with assets.

mod assets;
mod tasks;

use serde_json::Value;
use template::python;

use crate::body::{Fields, JsonBody};
use crate::error::ApiError;
use crate::parse::{Fault, Parsed, python_repr};
use crate::routes::Routes;
use crate::state::ApiState;
use crate::{args::Args, rest::strict};

/// The longest key that Airflow's tables take, in characters.
const MAX_KEY: usize = 512;

pub(crate) fn routes(routes: Routes) -> Routes {
    assets::routes(tasks::routes(routes))
}

/// A value that may be kept: no null, and no longer than `[state_store] max_value_storage_bytes` as Python writes it.
fn kept_value(limit: usize) -> impl Fn(&Value) -> Parsed<Value> {
    move |input| match input {
        Value::Null => Err(Fault::value_error("value cannot be null")),
        value if limit > 0 && python::dumps(value, None).len() > limit => Err(Fault::value_error(format!(
            "value exceeds max_value_storage_bytes ({limit}); raise [state_store] max_value_storage_bytes or set it to 0 \
             to disable the limit"
        ))),
        value => Ok(value.clone()),
    }
}

/// The body of a request that keeps a value, with what else `more` reads of it.
fn read<T>(
    state: &ApiState,
    body: &JsonBody,
    args: &mut Args,
    more: impl Fn(&mut Fields<'_>) -> T,
) -> Result<(Value, T), ApiError> {
    let limit = state.config().max_state_bytes;
    let fields = strict::of_body(body, args, |fields| (fields.required("value", kept_value(limit)), more(fields)));
    strict::checked(args, fields)
}

/// The key in the path.
fn key(args: &Args) -> String {
    args.path("key")
}

/// Refuses a key that can't be kept. Airflow's database does, with an error of its own.
fn check_key(key: &str) -> Result<(), ApiError> {
    if key.chars().count() <= MAX_KEY {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("A key has at most {MAX_KEY} characters")))
}

fn not_found(what: &str, key: &str) -> ApiError {
    ApiError::not_found(format!("{what} state store key {} not found", python_repr(key)))
}
