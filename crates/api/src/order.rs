//! `order_by`, with the rules and words of Airflow's `SortParam`.

use crate::parse::python_list_repr;
use store::Direction;

use crate::error::ApiError;

/// How many attributes a list may be ordered by (`SortParam.MAX_SORT_PARAMS`).
const MAX_ATTRIBUTES: usize = 10;

/// Turns the values of `order_by` into the store's order. `allowed` has the public names; `renamed` says which name
/// Airflow looks at instead, which is the one it complains about. Whatever is asked for, the primary key comes last and
/// makes the order a total one.
pub(crate) fn resolve<O: Copy + PartialEq>(
    asked: &[String],
    default: &str,
    allowed: &[(&str, &[O])],
    renamed: &[(&str, &str)],
    primary: O,
) -> Result<Vec<(O, Direction)>, ApiError> {
    if asked.len() > MAX_ATTRIBUTES {
        let provided = python_list_repr(asked);
        return Err(ApiError::bad_request(format!(
            "Ordering with more than {MAX_ATTRIBUTES} parameters is not allowed. Provided: {provided}"
        )));
    }
    let default = [default.to_owned()];
    let asked = if asked.is_empty() { &default } else { asked };
    let mut order: Vec<(O, Direction)> = Vec::with_capacity(asked.len() + 1);
    for value in asked {
        let name = value.trim_start_matches('-');
        let name = renamed.iter().find(|(public, _)| *public == name).map_or(name, |(_, own)| own);
        let Some((_, columns)) = allowed.iter().find(|(known, _)| *known == name) else {
            return Err(disallowed(name));
        };
        order.extend(columns.iter().map(|column| (*column, direction(value))));
    }
    if !order.iter().any(|(column, _)| *column == primary) {
        order.push((primary, direction(&asked[0])));
    }
    Ok(order)
}

/// Airflow's words for an attribute that a list can't be ordered by.
pub(crate) fn disallowed(name: &str) -> ApiError {
    ApiError::bad_request(format!("Ordering with '{name}' is disallowed or the attribute does not exist on the model"))
}

fn direction(value: &str) -> Direction {
    if value.starts_with('-') { Direction::Descending } else { Direction::Ascending }
}
