//! Bodies that allow no fields but their own.

use serde_json::{Value, json};

use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::ApiError;
use crate::parse::{self, Fault, Issues, Place};

/// The longest name of a team.
const MAX_TEAM: usize = 50;
const NO_TEAMS: &str = "team_name cannot be set when multi_team mode is disabled. Please contact your administrator.";

/// Reads the body of a request. What is wrong goes to the issues, and `None` is the answer then.
pub(crate) fn of_body<T>(body: &JsonBody, args: &mut Args, read: impl Fn(&mut Fields<'_>) -> T) -> Option<T> {
    match body.value() {
        Some(value) => of_value(value, vec![json!("body")], &mut args.issues, read),
        None => {
            body.fields(&mut args.issues);
            None
        }
    }
}

/// Reads an object that stands somewhere in a body.
pub(crate) fn of_value<T>(
    value: &Value,
    place: Place,
    issues: &mut Issues,
    read: impl Fn(&mut Fields<'_>) -> T,
) -> Option<T> {
    let mut own = Issues::default();
    let mut fields = Fields::of(value, place, &mut own);
    let model = read(&mut fields);
    fields.forbid_others();
    let is_good = own.is_empty();
    issues.extend(own);
    is_good.then_some(model)
}

/// As [`of_body`], for models that may name a team. Deployments with several teams are not supported: as in Airflow
/// without `[core] multi_team`, any name is refused.
pub(crate) fn of_body_with_team<T>(body: &JsonBody, args: &mut Args, read: impl Fn(&mut Fields<'_>) -> T) -> Option<T> {
    match body.value() {
        Some(value) => of_value_with_team(value, vec![json!("body")], &mut args.issues, read),
        None => of_body(body, args, read),
    }
}

pub(crate) fn of_value_with_team<T>(
    value: &Value,
    place: Place,
    issues: &mut Issues,
    read: impl Fn(&mut Fields<'_>) -> T,
) -> Option<T> {
    let with_team = |fields: &mut Fields<'_>| (read(fields), fields.optional("team_name", parse::text_up_to(MAX_TEAM)));
    let (model, team) = of_value(value, place.clone(), issues, with_team)?;
    if team.is_some() {
        issues.add(&place, Fault::value_error(NO_TEAMS), value);
        return None;
    }
    Some(model)
}

/// What was read, once it is known that nothing was wrong with it.
pub(crate) fn checked<T>(args: &mut Args, read: Option<T>) -> Result<T, ApiError> {
    args.finish()?;
    read.ok_or_else(|| ApiError::internal("a body is refused without a reason"))
}

/// The name by which a field is given that has two: its own or, first, its alias.
pub(crate) fn alias(fields: &Fields<'_>, alias: &'static str, own: &'static str) -> &'static str {
    if !fields.has(alias) && fields.has(own) { own } else { alias }
}
