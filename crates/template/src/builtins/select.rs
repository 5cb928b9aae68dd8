//! The filters that apply other filters and tests to each item: `map`, `select` and their like.

use super::filters::Getter;
use super::{apply_filter, apply_test};
use crate::args::Arguments;
use crate::error::{Outcome, needs_python, raise};
use crate::render::Machine;
use crate::value::{Value, is_true, iterate};

/// Applies a filter; `None` if it is none of these.
pub(super) fn apply(machine: &Machine<'_>, name: &str, input: &Value, arguments: &Arguments) -> Option<Outcome<Value>> {
    let (keep, by_attribute) = match name {
        "map" => return Some(map(machine, input, arguments)),
        "select" => (true, false),
        "reject" => (false, false),
        "selectattr" => (true, true),
        "rejectattr" => (false, true),
        _ => return None,
    };
    Some(select(machine, input, arguments, keep, by_attribute))
}

/// Goes through the items when the first is asked for, in Python; here at once, keeping the error for its place.
fn lazily(input: &Value, mut each: impl FnMut(Value) -> Outcome<Option<Value>>) -> Value {
    let mut made = Vec::new();
    let mut go = || {
        if !is_true(input)? {
            return Ok(());
        }
        for item in iterate(input)? {
            made.extend(each(item)?);
        }
        Ok(())
    };
    let error = go().err();
    Value::generator(made, error)
}

fn map(machine: &Machine<'_>, input: &Value, arguments: &Arguments) -> Outcome<Value> {
    let Some((name, rest)) = arguments.positional.split_first() else {
        let [attribute, default] = arguments.clone().bind(["attribute", "default"])?;
        if attribute.is_none() {
            return raise("FilterArgumentError", "map requires a filter argument");
        }
        let (getter, default) = (Getter::new(attribute)?, default.unwrap_or(Value::None));
        return Ok(lazily(input, |item| getter.get_or(item, &default).map(Some)));
    };
    let Value::Str(name) = name else {
        return needs_python("a filter that is not named by a text");
    };
    let rest = Arguments { positional: rest.to_vec(), named: arguments.named.clone() };
    Ok(lazily(input, |item| apply_filter(machine, name, item, rest.clone()).map(Some)))
}

fn select(
    machine: &Machine<'_>,
    input: &Value,
    arguments: &Arguments,
    keep: bool,
    by_attribute: bool,
) -> Outcome<Value> {
    if !arguments.named.is_empty() {
        return needs_python("a named argument of a test");
    }
    let mut rest = arguments.positional.as_slice();
    let mut getter = Getter::new(None)?;
    if by_attribute {
        let Some((attribute, others)) = rest.split_first() else {
            return raise("FilterArgumentError", "Missing parameter for attribute name");
        };
        getter = Getter::new(Some(attribute.clone()))?;
        rest = others;
    }
    let test = match rest.split_first() {
        None => None,
        Some((Value::Str(name), others)) => Some((name.clone(), others.to_vec())),
        Some(_) => return needs_python("a test that is not named by a text"),
    };
    Ok(lazily(input, |item| {
        let value = getter.get(item.clone())?;
        let passes = match &test {
            None => is_true(&value)?,
            Some((name, others)) => {
                let arguments = Arguments { positional: others.clone(), named: Vec::new() };
                apply_test(machine, name, value, arguments)?
            }
        };
        Ok((passes == keep).then_some(item))
    }))
}
