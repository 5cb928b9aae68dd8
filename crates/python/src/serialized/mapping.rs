//! What tasks and task groups map over, in serialized Dags.

use std::collections::HashMap;
use std::sync::Arc;

use model::{ExpandInput, GroupIndex, Json, MapValue, MappedGroup, XComArg};

use super::{SerializedError, children, decode, inner_groups};

fn is_wrapped(value: &Json, kind: &str) -> bool {
    value.get("__type").and_then(Json::as_str) == Some(kind)
}

/// `{"type": "dict-of-lists" | "list-of-dicts", "value": …}`
pub(super) fn read_expand(place: &str, field: &str, input: &Json) -> Result<ExpandInput, SerializedError> {
    let error = || SerializedError::Field {
        place: place.to_owned(),
        field: field.to_owned(),
        expected: "what a task is expanded over",
    };
    let value = input.get("value").ok_or_else(error)?;
    match input.get("type").and_then(Json::as_str) {
        Some("dict-of-lists") => {
            let arguments = if is_wrapped(value, "dict") { value.get("__var") } else { Some(value) };
            let arguments = arguments.and_then(Json::as_object).ok_or_else(error)?;
            let argument = |(name, value): (&String, &Json)| Some((name.clone(), read_value(value)?));
            Ok(ExpandInput::Product(arguments.iter().map(argument).collect::<Option<_>>().ok_or_else(error)?))
        }
        Some("list-of-dicts") => Ok(ExpandInput::Dicts(read_dicts(value).ok_or_else(error)?)),
        _ => Err(error()),
    }
}

fn read_value(value: &Json) -> Option<MapValue> {
    if is_wrapped(value, "xcomref") {
        return Some(MapValue::XCom(read_xcom(value.get("__var")?)?));
    }
    Some(MapValue::Literal(Arc::new(decode(value))))
}

/// What `expand_kwargs` was given: of a list, items can be XComs too.
fn read_dicts(value: &Json) -> Option<MapValue> {
    let items = value.as_array().into_iter().flatten();
    let xcoms = items.filter(|item| is_wrapped(item, "xcomref")).map(|item| read_xcom(item.get("__var")?));
    let xcoms: Vec<XComArg> = xcoms.collect::<Option<_>>()?;
    if xcoms.is_empty() {
        return read_value(value);
    }
    Some(MapValue::Mixed { length: u32::try_from(value.as_array()?.len()).ok()?, xcoms })
}

fn read_xcom(arg: &Json) -> Option<XComArg> {
    let args = || arg.get("args")?.as_array()?.iter().map(read_xcom).collect::<Option<Vec<_>>>();
    Some(match arg.get("type").and_then(Json::as_str).unwrap_or_default() {
        "" => {
            XComArg::Plain { task_id: arg.get("task_id")?.as_str()?.into(), key: arg.get("key")?.as_str()?.to_owned() }
        }
        "map" => XComArg::Map(Box::new(read_xcom(arg.get("arg")?)?)),
        "zip" => XComArg::Zip { args: args()?, fill: arg.get("fillvalue").map(decode) },
        "concat" => XComArg::Concat(args()?),
        _ => return None,
    })
}

/// The mapped task groups of a Dag, and for each task in one the innermost that it is in.
#[derive(Default)]
pub(super) struct MappedGroups {
    pub(super) groups: Vec<MappedGroup>,
    pub(super) of_task: HashMap<String, GroupIndex>,
}

impl MappedGroups {
    pub(super) fn read(place: &str, root: Option<&Json>) -> Result<Self, SerializedError> {
        let mut found = Self::default();
        if let Some(root) = root {
            found.collect(place, "", root, None)?;
        }
        Ok(found)
    }

    fn collect(
        &mut self,
        place: &str,
        group_id: &str,
        group: &Json,
        parent: Option<GroupIndex>,
    ) -> Result<(), SerializedError> {
        let mut inside = parent;
        if group.get("is_mapped").and_then(Json::as_bool).unwrap_or(false) {
            let place = format!("{place}, task group {group_id}");
            let input = group.get("expand_input").unwrap_or(&Json::Null);
            let expand = read_expand(&place, "expand_input", input)?;
            inside = Some(GroupIndex(self.groups.len() as u32));
            self.groups.push(MappedGroup { group_id: group_id.to_owned(), parent, expand });
        }
        if let Some(inside) = inside {
            let tasks = children(group).filter(|(_, kind, _)| *kind == "operator");
            self.of_task.extend(tasks.filter_map(|(_, _, task)| Some((task.as_str()?.to_owned(), inside))));
        }
        inner_groups(group).try_for_each(|(name, inner)| self.collect(place, name, inner, inside))
    }
}
