//! Truth, equality, order and membership.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Object, Seq, Value, View, as_int, iterate};
use crate::error::{Failure, Outcome, needs_python, type_error};
use crate::kind::Kinds;
use crate::syntax::CompareOp;

/// `bool(value)`.
pub(crate) fn is_true(value: &Value) -> Outcome<bool> {
    Ok(match value {
        Value::None | Value::Proxy(None) => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(text) | Value::Markup(text) => !text.is_empty(),
        Value::Enum(member) => !member.value.is_empty(),
        Value::List(seq) | Value::Tuple(seq) => !seq.items.is_empty(),
        Value::Dict(dict) | Value::View(_, dict) => dict.len() > 0,
        Value::Range(range) => range.len() > 0,
        Value::Delta(delta) => delta.micros != 0,
        Value::Undefined(undefined) if undefined.strict => return undefined.fail(),
        Value::Undefined(_) => false,
        Value::Interval(_) => return needs_python("the truth of an Interval"),
        Value::Object(Object::Loop(_)) => return needs_python("the truth of `loop`"),
        Value::Generator(_)
        | Value::DateTime(_)
        | Value::Date(_)
        | Value::Proxy(Some(_))
        | Value::NotSet
        | Value::Object(_) => true,
    })
}

/// `left == right`.
pub(crate) fn equals(left: &Value, right: &Value) -> Outcome<bool> {
    Ok(match (left, right) {
        (Value::Undefined(left), _) if left.strict => return left.fail(),
        (_, Value::Undefined(right)) if right.strict => return right.fail(),
        (Value::Undefined(_), other) | (other, Value::Undefined(_)) => matches!(other, Value::Undefined(_)),
        (Value::Proxy(_), _) => return equals(&left.clone().resolved(), right),
        (_, Value::Proxy(_)) => return equals(left, &right.clone().resolved()),
        (Value::None, Value::None) | (Value::NotSet, Value::NotSet) => true,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Float(float), int) | (int, Value::Float(float)) => match as_int(int) {
            Some(int) => compare_int_float(int, *float) == Some(Ordering::Equal),
            None => false,
        },
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => same_items(left, right)?,
        (Value::Dict(left), Value::Dict(right)) => {
            if Rc::ptr_eq(left, right) {
                return Ok(true);
            }
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, value) in left.iter() {
                match right.get(key)? {
                    Some(other) if equals(value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Range(left), Value::Range(right)) => {
            left.len() == right.len()
                && (left.len() == 0 || (left.start == right.start && (left.len() == 1 || left.step == right.step)))
        }
        (Value::DateTime(left), Value::DateTime(right)) => left.same_moment(right)?,
        (Value::Date(left), Value::Date(right)) => left.day == right.day,
        (Value::Delta(left), Value::Delta(right)) => left == right,
        (Value::View(..) | Value::Interval(_) | Value::Object(_) | Value::Generator(_), _)
        | (_, Value::View(..) | Value::Interval(_) | Value::Object(_) | Value::Generator(_)) => {
            // None is the one thing that none of them is.
            if matches!(left, Value::None) || matches!(right, Value::None) {
                return Ok(false);
            }
            return needs_python(format!("comparing {} and {}", left.type_name(), right.type_name()));
        }
        _ => match (as_int(left), as_int(right)) {
            (Some(left), Some(right)) => left == right,
            _ => match (left.as_str(), right.as_str()) {
                (Some(left), Some(right)) => left == right,
                _ => false,
            },
        },
    })
}

fn same_items(left: &Rc<Seq>, right: &Rc<Seq>) -> Outcome<bool> {
    if Rc::ptr_eq(left, right) {
        return Ok(true);
    }
    if left.items.len() != right.items.len() {
        return Ok(false);
    }
    for (left, right) in left.items.iter().zip(&right.items) {
        if !equals(left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn compare_int_float(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float.abs() >= 1.7e38 {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = float.trunc();
    Some(int.cmp(&(whole as i128)).then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)))
}

/// `left op right` for `<`, `<=`, `>` and `>=`.
pub(crate) fn order(op: CompareOp, left: &Value, right: &Value) -> Outcome<bool> {
    Ok(match compare(op, left, right)? {
        None => false,
        Some(ordering) => match op {
            CompareOp::Lt => ordering.is_lt(),
            CompareOp::Le => ordering.is_le(),
            CompareOp::Gt => ordering.is_gt(),
            _ => ordering.is_ge(),
        },
    })
}

/// How the two stand to each other; `None` if one is not a number.
fn compare(op: CompareOp, left: &Value, right: &Value) -> Outcome<Option<Ordering>> {
    for operand in [left, right] {
        if let Value::Undefined(undefined) = operand {
            return undefined.fail();
        }
    }
    Ok(Some(match (left, right) {
        (Value::Proxy(_), _) => return compare(op, &left.clone().resolved(), right),
        // Asked the other way round, with other words.
        (_, Value::Proxy(None)) => return needs_python("comparing with a date that there is none of"),
        (_, Value::Proxy(_)) => return compare(op, left, &right.clone().resolved()),
        (Value::Float(left), Value::Float(right)) => return Ok(left.partial_cmp(right)),
        (Value::Float(float), int) if as_int(int).is_some() => {
            return Ok(as_int(int).and_then(|int| compare_int_float(int, *float)).map(Ordering::reverse));
        }
        (int, Value::Float(float)) if as_int(int).is_some() => {
            return Ok(as_int(int).and_then(|int| compare_int_float(int, *float)));
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            return compare_items(op, &left.items, &right.items);
        }
        (Value::DateTime(left), Value::DateTime(right)) => left.compare(right, sign(op))?,
        (Value::Date(left), Value::Date(right)) => left.day.cmp(&right.day),
        (Value::Delta(left), Value::Delta(right)) => left.micros.cmp(&right.micros),
        _ => match (as_int(left), as_int(right), left.as_str(), right.as_str()) {
            (Some(left), Some(right), _, _) => left.cmp(&right),
            (_, _, Some(left), Some(right)) => left.cmp(right),
            _ => return not_ordered(op, left, right),
        },
    }))
}

fn sign(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        CompareOp::Gt => ">",
        _ => ">=",
    }
}

fn not_ordered<T>(op: CompareOp, left: &Value, right: &Value) -> Outcome<T> {
    let known = |value: &Value| {
        Kinds::PLAIN.has(value.kind()) || matches!(value, Value::DateTime(_) | Value::Delta(_) | Value::Range(_))
    };
    // Pendulum's datetimes and the standard library's dates have words of their own for this.
    let both_dates = |value: &Value| matches!(value, Value::DateTime(_) | Value::Date(_));
    if !known(left) || !known(right) || (both_dates(left) && both_dates(right)) {
        return needs_python(format!("comparing {} and {}", left.type_name(), right.type_name()));
    }
    let (sign, left, right) = (sign(op), left.type_name(), right.type_name());
    type_error(format!("'{sign}' not supported between instances of '{left}' and '{right}'"))
}

fn compare_items(op: CompareOp, left: &[Value], right: &[Value]) -> Outcome<Option<Ordering>> {
    for (left, right) in left.iter().zip(right) {
        if !equals(left, right)? {
            return compare(op, left, right);
        }
    }
    Ok(Some(left.len().cmp(&right.len())))
}

/// `item in container`.
pub(crate) fn contains(container: &Value, item: &Value) -> Outcome<bool> {
    match container {
        Value::Str(text) | Value::Markup(text) => match item {
            Value::Undefined(undefined) => undefined.fail_as_needle(),
            _ => match item.as_str() {
                Some(part) => Ok(text.contains(part)),
                None => type_error(format!("'in <string>' requires string as left operand, not {}", item.type_name())),
            },
        },
        Value::List(seq) | Value::Tuple(seq) => {
            for other in &seq.items {
                if equals(other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(item)?.is_some()),
        Value::View(View::Items, dict) => match item {
            Value::Tuple(pair) => match pair.items.as_slice() {
                [key, value] => match dict.get(key)? {
                    Some(found) => equals(found, value),
                    None => Ok(false),
                },
                _ => Ok(false),
            },
            _ => Ok(false),
        },
        Value::Range(_) | Value::View(..) => {
            for other in iterate(container)? {
                if equals(&other, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Undefined(undefined) if undefined.strict => undefined.fail(),
        Value::Undefined(_) => Ok(false),
        Value::Enum(_) | Value::Generator(_) | Value::Object(_) => {
            needs_python(format!("`in` with a {}", container.type_name()))
        }
        _ if Kinds::PLAIN.has(container.kind()) => {
            type_error(format!("argument of type '{}' is not iterable", container.type_name()))
        }
        _ => needs_python(format!("`in` with a {}", container.type_name())),
    }
}

impl super::Undefined {
    /// `undefined in 'text'`: Python asks for a text before Jinja has a say.
    fn fail_as_needle<T>(&self) -> Outcome<T> {
        let name = if self.strict { "StrictUndefined" } else { "Undefined" };
        type_error(format!("'in <string>' requires string as left operand, not {name}"))
    }
}

/// Sorts as Python does: stable, with `<` alone; `reverse` keeps equal items in their order.
pub(crate) fn sort_by(items: &mut [(Value, Value)], reverse: bool) -> Outcome<()> {
    if items.len() == 2 {
        // One comparison, of the second with the first: the one case where a mixed pair's message is known.
        let (left, right) = if reverse { (0, 1) } else { (1, 0) };
        if order(CompareOp::Lt, &items[left].0, &items[right].0)? {
            items.swap(0, 1);
        }
        return Ok(());
    }
    let mut failure: Option<Failure> = None;
    let mut unordered = false;
    items.sort_by(|(left, _), (right, _)| {
        let ordering = match compare(CompareOp::Lt, left, right) {
            Ok(Some(ordering)) => ordering,
            Ok(None) => {
                unordered = true;
                Ordering::Equal
            }
            Err(error) => {
                failure.get_or_insert(error);
                Ordering::Equal
            }
        };
        if reverse { ordering.reverse() } else { ordering }
    });
    match failure {
        // Which pair Python meets first depends on its way of sorting.
        Some(Failure::Raised { .. }) => needs_python("sorting values of different types"),
        Some(error) => Err(error),
        None if unordered => needs_python("sorting what is not a number"),
        None => Ok(()),
    }
}
