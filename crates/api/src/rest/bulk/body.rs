//! Reading the actions.

use serde_json::{Value, json};

use super::{Action, Bulk, OnExistence};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::ApiError;
use crate::parse::{self, Fault, Issues, Place};
use crate::rest::strict;

const KINDS: [&str; 3] = ["create", "update", "delete"];
const ON_EXISTENCE: [(&str, OnExistence); 3] =
    [("fail", OnExistence::Fail), ("skip", OnExistence::Skip), ("overwrite", OnExistence::Overwrite)];
/// Whether what is missing is skipped.
const ON_NON_EXISTENCE: [(&str, bool); 2] = [("fail", false), ("skip", true)];

/// The actions of a body, or everything that is wrong with it.
pub(crate) fn read<B: Bulk>(body: &JsonBody, mut args: Args) -> Result<Vec<Action<B::Body>>, ApiError> {
    let actions = strict::of_body(body, &mut args, actions_of::<B>);
    // Airflow reads the body twice, once to see whether the caller may do that, and tells of every fault twice.
    let again = args.issues.clone();
    args.issues.extend(again);
    strict::checked(&mut args, actions)
}

fn actions_of<B: Bulk>(fields: &mut Fields<'_>) -> Vec<Action<B::Body>> {
    let items = list(fields, "actions");
    let place = fields.place_of("actions");
    items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| action::<B>(item, below(&place, [json!(at)]), fields.issues()))
        .collect()
}

fn action<B: Bulk>(value: &Value, place: Place, issues: &mut Issues) -> Option<Action<B::Body>> {
    let kind = value.get("action").and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
        // Airflow fails on this with a fault of its own.
        let expected = "'create', 'update', 'delete'";
        let message = format!("Input tag '{kind}' does not match any of the expected tags: {expected}");
        issues.add(&place, Fault::with("union_tag_invalid", message, json!({"expected_tags": expected})), value);
        return None;
    };
    strict::of_value(value, below(&place, [json!(kind)]), issues, |fields| match kind {
        "create" => {
            let entities = entities::<B>(fields);
            let on_existence = fields.or("action_on_existence", OnExistence::Fail, parse::one_of(&ON_EXISTENCE));
            Action::Create { entities, on_existence }
        }
        "update" => {
            let entities = entities::<B>(fields);
            let mask = fields.optional_list("update_mask", parse::text).unwrap_or_default();
            Action::Update { entities, mask, skip_missing: skips_missing(fields) }
        }
        _ => {
            let ids = ids::<B>(fields);
            Action::Delete { ids, skip_missing: skips_missing(fields) }
        }
    })
}

fn skips_missing(fields: &mut Fields<'_>) -> bool {
    fields.or("action_on_non_existence", false, parse::one_of(&ON_NON_EXISTENCE))
}

fn below<const N: usize>(place: &Place, parts: [Value; N]) -> Place {
    place.iter().cloned().chain(parts).collect()
}

/// A list that must be there; the kind of action is known by now.
fn list<'a>(fields: &mut Fields<'a>, name: &'static str) -> &'a [Value] {
    fields.raw("action");
    let items = |value: &Value| match value {
        Value::Array(_) => Ok(()),
        _ => Err(Fault::new("list_type", "Input should be a valid list")),
    };
    fields.required(name, items);
    fields.raw(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn entities<B: Bulk>(fields: &mut Fields<'_>) -> Vec<B::Body> {
    let items = list(fields, "entities");
    let place = fields.place_of("entities");
    items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| entity::<B>(item, below(&place, [json!(at)]), fields.issues()))
        .collect()
}

fn entity<B: Bulk>(value: &Value, place: Place, issues: &mut Issues) -> Option<B::Body> {
    strict::of_value_with_team(value, place, issues, B::read)
}

/// What is to be deleted is named by its id, or shown whole.
fn ids<B: Bulk>(fields: &mut Fields<'_>) -> Vec<String> {
    let items = list(fields, "entities");
    let place = fields.place_of("entities");
    let mut ids = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if let Value::String(id) = item {
            ids.push(id.clone());
            continue;
        }
        let mut own = Issues::default();
        let model = format!("function-after[validate_team_name(), {}]", B::MODEL);
        match entity::<B>(item, below(&place, [json!(at), json!(model)]), &mut own) {
            Some(body) => ids.push(B::id(&body).to_owned()),
            None => {
                let no_text = Fault::new("string_type", "Input should be a valid string");
                fields.issues().add(&below(&place, [json!(at), json!("str")]), no_text, item);
                fields.issues().extend(own);
            }
        }
    }
    ids
}
