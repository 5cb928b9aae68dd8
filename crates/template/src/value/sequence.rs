//! Walking through values, and taking them apart.

use super::{Value, View, as_int};
use crate::error::{Outcome, needs_python, type_error, value_error};
use crate::kind::Kinds;

/// `str.isspace()` of one character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `list(value)`.
pub(crate) fn iterate(value: &Value) -> Outcome<Vec<Value>> {
    Ok(match value {
        Value::Str(text) => chars(text),
        Value::List(seq) | Value::Tuple(seq) => seq.items.clone(),
        Value::Dict(dict) | Value::View(View::Keys, dict) => dict.iter().map(|(key, _)| key.clone()).collect(),
        Value::View(View::Values, dict) => dict.iter().map(|(_, value)| value.clone()).collect(),
        Value::View(View::Items, dict) => {
            dict.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()])).collect()
        }
        Value::Range(range) => (0..range.len()).map(|index| range.get(index)).collect(),
        Value::Generator(generator) => generator.drain()?,
        Value::Undefined(undefined) if undefined.strict => return undefined.fail(),
        Value::Undefined(_) => Vec::new(),
        value if Kinds::PLAIN.has(value.kind()) || matches!(value, Value::DateTime(_) | Value::Delta(_)) => {
            return type_error(format!("'{}' object is not iterable", value.type_name()));
        }
        value => return needs_python(format!("walking through a {}", value.type_name())),
    })
}

fn chars(text: &str) -> Vec<Value> {
    text.chars().map(|c| Value::str(c.to_string())).collect()
}

/// `len(value)`.
pub(crate) fn length(value: &Value) -> Outcome<i128> {
    let length = match value {
        Value::Str(text) | Value::Markup(text) => text.chars().count(),
        Value::Enum(member) => member.value.chars().count(),
        Value::List(seq) | Value::Tuple(seq) => seq.items.len(),
        Value::Dict(dict) | Value::View(_, dict) => dict.len(),
        Value::Range(range) => return Ok(range.len()),
        Value::Undefined(undefined) if undefined.strict => return undefined.fail(),
        Value::Undefined(_) => 0,
        Value::Object(_) | Value::Proxy(_) => return needs_python(format!("the length of a {}", value.type_name())),
        // There are several kinds of these, each with a name of its own.
        Value::Generator(_) => return needs_python("the length of what is made one by one"),
        value => return type_error(format!("object of type '{}' has no len()", value.type_name())),
    };
    Ok(length as i128)
}

/// `reversed(value)`, as a list; `None` where Python raises a TypeError.
pub(crate) fn reversed(value: &Value) -> Outcome<Option<Vec<Value>>> {
    match value {
        Value::Str(_)
        | Value::List(_)
        | Value::Tuple(_)
        | Value::Dict(_)
        | Value::Range(_)
        | Value::View(View::Keys | View::Values | View::Items, _) => {
            let mut items = iterate(value)?;
            items.reverse();
            Ok(Some(items))
        }
        _ => Ok(None),
    }
}

/// The items that are assigned to `count` names.
pub(crate) fn unpack(value: &Value, count: usize) -> Outcome<Vec<Value>> {
    let items = match value {
        Value::Undefined(_) => iterate(value)?,
        value if matches!(value, Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
            return type_error(format!("cannot unpack non-iterable {} object", value.type_name()));
        }
        value => iterate(value)?,
    };
    if items.len() > count {
        return value_error(format!("too many values to unpack (expected {count})"));
    }
    if items.len() < count {
        return value_error(format!("not enough values to unpack (expected {count}, got {})", items.len()));
    }
    Ok(items)
}

/// `value[key]`; `None` where Python raises a TypeError or a LookupError.
pub(crate) fn get_item(value: &Value, key: &Value) -> Outcome<Option<Value>> {
    Ok(match value {
        Value::Dict(dict) => match key {
            Value::Undefined(undefined) if !undefined.strict => None,
            // Not hashable, which is a TypeError.
            Value::List(_) | Value::Dict(_) => None,
            key => dict.get(key)?.cloned(),
        },
        Value::List(seq) | Value::Tuple(seq) => {
            index(key, seq.items.len()).and_then(|index| seq.items.get(index)).cloned()
        }
        Value::Str(text) => index(key, text.chars().count())
            .and_then(|index| text.chars().nth(index))
            .map(|c| Value::str(c.to_string())),
        Value::Range(range) => {
            let length = usize::try_from(range.len()).unwrap_or(usize::MAX);
            index(key, length).map(|index| range.get(index as i128))
        }
        Value::Undefined(undefined) => return undefined.fail(),
        value if Kinds::PLAIN.has(value.kind()) || matches!(value, Value::View(..) | Value::Generator(_)) => None,
        value => return needs_python(format!("an item of a {}", value.type_name())),
    })
}

/// The position that an index means, counted from the end where it is negative.
fn index(key: &Value, length: usize) -> Option<usize> {
    let index = as_int(key)?;
    let index = if index < 0 { index + length as i128 } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

/// `value[start:stop:step]`.
pub(crate) fn get_slice(value: &Value, bounds: [&Value; 3]) -> Outcome<Value> {
    match value {
        Value::Str(_) | Value::List(_) | Value::Tuple(_) => {}
        Value::Undefined(undefined) => return undefined.fail(),
        Value::Dict(_) => return needs_python("a slice of a dict"),
        value if Kinds::PLAIN.has(value.kind()) => {
            return type_error(format!("'{}' object is not subscriptable", value.type_name()));
        }
        value => return needs_python(format!("a slice of a {}", value.type_name())),
    }
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = match bound {
            Value::None => None,
            bound => match as_int(bound) {
                Some(bound) => Some(bound.clamp(-(1 << 62), 1 << 62)),
                None => {
                    return type_error("slice indices must be integers or None or have an __index__ method");
                }
            },
        };
    }
    let [start, stop, step] = numbers;
    if step == Some(0) {
        return value_error("slice step cannot be zero");
    }
    Ok(match value {
        Value::Str(text) => {
            let chars: Vec<char> = text.chars().collect();
            let taken = positions(chars.len(), start, stop, step).into_iter().filter_map(|at| chars.get(at));
            Value::str(taken.collect::<String>())
        }
        Value::List(seq) => Value::list(take(&seq.items, start, stop, step)),
        Value::Tuple(seq) => Value::tuple(take(&seq.items, start, stop, step)),
        _ => Value::None,
    })
}

fn take(items: &[Value], start: Option<i128>, stop: Option<i128>, step: Option<i128>) -> Vec<Value> {
    positions(items.len(), start, stop, step).into_iter().filter_map(|at| items.get(at)).cloned().collect()
}

/// The positions that a slice takes of `length` items.
fn positions(length: usize, start: Option<i128>, stop: Option<i128>, step: Option<i128>) -> Vec<usize> {
    let length = length as i128;
    let step = step.unwrap_or(1);
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |bound: i128| (if bound < 0 { bound + length } else { bound }).clamp(lowest, highest);
    let start = start.map_or(if step > 0 { 0 } else { length - 1 }, place);
    let stop = stop.map_or(if step > 0 { length } else { -1 }, place);
    let mut taken = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        taken.extend(usize::try_from(at));
        at += step;
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_take_what_python_takes() {
        type Case<'a> = (Option<i128>, Option<i128>, Option<i128>, &'a [usize]);
        let all: [Case<'_>; 8] = [
            (None, None, None, &[0, 1, 2, 3]),
            (Some(-2), None, None, &[2, 3]),
            (None, Some(-1), None, &[0, 1, 2]),
            (None, None, Some(-1), &[3, 2, 1, 0]),
            (Some(9), None, Some(-2), &[3, 1]),
            (Some(1), Some(99), Some(2), &[1, 3]),
            (Some(-9), Some(2), None, &[0, 1]),
            (Some(2), Some(-9), Some(-1), &[2, 1, 0]),
        ];
        for (start, stop, step, want) in all {
            assert_eq!(positions(4, start, stop, step), want, "{start:?}:{stop:?}:{step:?}");
        }
    }
}
