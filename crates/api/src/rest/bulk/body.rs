//! Reading the actions.

use serde_json::{Value, json};

use super::{Action, Entity, OnExistence, Target};
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
pub(crate) fn read<B: Entity>(body: &JsonBody, mut args: Args) -> Result<Vec<Action<B::Body>>, ApiError> {
    let actions = strict::of_body(body, &mut args, actions_of::<B>);
    if B::READ_TWICE {
        let again = args.issues.clone();
        args.issues.extend(again);
    }
    strict::checked(&mut args, actions)
}

fn actions_of<B: Entity>(fields: &mut Fields<'_>) -> Vec<Action<B::Body>> {
    let items = list(fields, "actions");
    let place = fields.place_of("actions");
    items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| action::<B>(item, below(&place, [json!(at)]), fields.issues()))
        .collect()
}

fn action<B: Entity>(value: &Value, place: Place, issues: &mut Issues) -> Option<Action<B::Body>> {
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
            let targets = targets::<B>(fields);
            Action::Delete { targets, skip_missing: skips_missing(fields) }
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

fn entities<B: Entity>(fields: &mut Fields<'_>) -> Vec<B::Body> {
    let items = list(fields, "entities");
    let place = fields.place_of("entities");
    items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| entity::<B>(item, below(&place, [json!(at)]), fields.issues()))
        .collect()
}

fn entity<B: Entity>(value: &Value, place: Place, issues: &mut Issues) -> Option<B::Body> {
    if B::HAS_TEAM {
        strict::of_value_with_team(value, place, issues, B::read)
    } else {
        strict::of_value(value, place, issues, B::read)
    }
}

fn targets<B: Entity>(fields: &mut Fields<'_>) -> Vec<Target<B::Body>> {
    let items = list(fields, "entities");
    let place = fields.place_of("entities");
    let mut targets = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if let Value::String(id) = item {
            targets.push(Target::Id(id.clone()));
            continue;
        }
        let mut own = Issues::default();
        let model =
            if B::HAS_TEAM { format!("function-after[validate_team_name(), {}]", B::MODEL) } else { B::MODEL.into() };
        match entity::<B>(item, below(&place, [json!(at), json!(model)]), &mut own) {
            Some(body) => targets.push(Target::Body(body)),
            None => {
                let no_text = Fault::new("string_type", "Input should be a valid string");
                fields.issues().add(&below(&place, [json!(at), json!("str")]), no_text, item);
                fields.issues().extend(own);
            }
        }
    }
    targets
}
