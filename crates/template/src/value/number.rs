//! Python's arithmetic.

use super::{Value, bounded};
use crate::error::{Failure, Outcome, needs_python, raise, type_error, value_error};
use crate::syntax::BinaryOp;
use crate::time;

/// Integers up to here are floats without loss.
const EXACT_IN_FLOAT: i128 = 1 << 53;

/// The value of an `int` or a `bool`.
pub(crate) fn as_int(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(value) => Some(i128::from(*value)),
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

/// The value of a number, as a float.
pub(crate) fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        // `as` rounds to the nearest, ties to even, as Python does.
        _ => as_int(value).map(|value| value as f64),
    }
}

/// The value of an `int`, for a place where Python calls `__index__`.
pub(crate) fn index_of(value: &Value) -> Outcome<i128> {
    if let Value::Undefined(undefined) = value {
        return undefined.fail();
    }
    match as_int(value) {
        Some(value) => Ok(value),
        None => type_error(format!("'{}' object cannot be interpreted as an integer", value.type_name())),
    }
}

fn too_large<T>() -> Outcome<T> {
    needs_python("an integer this large")
}

/// `left op right`.
pub(crate) fn binary(op: BinaryOp, left: &Value, right: &Value) -> Outcome<Value> {
    match (op, left, right) {
        (_, Value::Undefined(undefined), _) => return undefined.fail(),
        // A text is asked first, and may have nothing to fill in.
        (BinaryOp::Rem, Value::Str(_), Value::Undefined(_)) => {}
        (_, _, Value::Undefined(undefined)) => return undefined.fail(),
        _ => {}
    }
    if let (Some(left), Some(right)) = (as_int(left), as_int(right)) {
        return integers(op, left, right);
    }
    if let (Some(left), Some(right)) = (as_float(left), as_float(right)) {
        return floats(op, left, right);
    }
    if let Some(result) = time::arithmetic(op, left, right) {
        return result;
    }
    match (op, left, right) {
        (BinaryOp::Rem, Value::Str(format), _) => Ok(Value::str(crate::builtins::percent(format, right)?)),
        (BinaryOp::Add, Value::Str(left), Value::Str(right)) => {
            bounded(left.len() + right.len())?;
            Ok(Value::str(format!("{left}{right}")))
        }
        (BinaryOp::Add, Value::List(left), Value::List(right)) => Ok(Value::list(joined(&left.items, &right.items))),
        (BinaryOp::Add, Value::Tuple(left), Value::Tuple(right)) => Ok(Value::tuple(joined(&left.items, &right.items))),
        (BinaryOp::Mul, _, _) => repeat(left, right),
        _ => unsupported(op, left, right),
    }
}

fn joined(left: &[Value], right: &[Value]) -> Vec<Value> {
    left.iter().chain(right).cloned().collect()
}

fn is_simple(value: &Value) -> bool {
    crate::kind::Kinds::PLAIN.has(value.kind())
}

fn unsupported(op: BinaryOp, left: &Value, right: &Value) -> Outcome<Value> {
    match (op, left) {
        // Pendulum and others may have operators of their own.
        _ if !is_simple(left) && !matches!(left, Value::DateTime(_) | Value::Delta(_)) => {}
        _ if !is_simple(right) && !matches!(right, Value::DateTime(_) | Value::Delta(_)) => {}
        // What `|` and `-` do to dicts and their views is not an operator of Jinja's.
        (BinaryOp::Add, Value::Str(_) | Value::List(_) | Value::Tuple(_)) => {
            let (name, other) = (left.type_name(), right.type_name());
            return type_error(format!("can only concatenate {name} (not \"{other}\") to {name}"));
        }
        _ => {
            let (sign, left, right) = (op.sign(), left.type_name(), right.type_name());
            return type_error(format!("unsupported operand type(s) for {sign}: '{left}' and '{right}'"));
        }
    }
    needs_python(format!("`{}` between {} and {}", op.sign(), left.type_name(), right.type_name()))
}

fn repeat(left: &Value, right: &Value) -> Outcome<Value> {
    let is_sequence = |value: &Value| matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_));
    let (sequence, count) = match (is_sequence(left), is_sequence(right)) {
        (true, _) => (left, right),
        (_, true) => (right, left),
        _ => return unsupported(BinaryOp::Mul, left, right),
    };
    let Some(count) = as_int(count) else {
        return type_error(format!("can't multiply sequence by non-int of type '{}'", count.type_name()));
    };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    Ok(match sequence {
        Value::Str(text) => {
            bounded(text.len().saturating_mul(count))?;
            Value::str(text.repeat(count))
        }
        Value::List(seq) => Value::list(repeat_items(&seq.items, count)?),
        Value::Tuple(seq) => Value::tuple(repeat_items(&seq.items, count)?),
        _ => return unsupported(BinaryOp::Mul, left, right),
    })
}

fn repeat_items(items: &[Value], count: usize) -> Outcome<Vec<Value>> {
    bounded(items.len().saturating_mul(count).saturating_mul(size_of::<Value>()))?;
    Ok(items.iter().cycle().take(items.len() * count).cloned().collect())
}

fn integers(op: BinaryOp, left: i128, right: i128) -> Outcome<Value> {
    let divided_by_zero = |message| raise("ZeroDivisionError", message);
    let result = match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Sub => left.checked_sub(right),
        BinaryOp::Mul => left.checked_mul(right),
        BinaryOp::Div if right == 0 => return divided_by_zero("division by zero"),
        BinaryOp::Div if left.abs() <= EXACT_IN_FLOAT && right.abs() <= EXACT_IN_FLOAT => {
            return Ok(Value::Float(left as f64 / right as f64));
        }
        BinaryOp::Div => return too_large(),
        BinaryOp::FloorDiv if right == 0 => return divided_by_zero("integer division or modulo by zero"),
        BinaryOp::FloorDiv => left.checked_div_euclid(right).and_then(|quotient| {
            // Euclid rounds away from the divisor's sign where it is negative and there is a rest.
            let rest = left.checked_rem_euclid(right)?;
            if right < 0 && rest != 0 { quotient.checked_sub(1) } else { Some(quotient) }
        }),
        BinaryOp::Rem if right == 0 => return divided_by_zero("integer modulo by zero"),
        BinaryOp::Rem => {
            left.checked_rem_euclid(right).map(|rest| if right < 0 && rest != 0 { rest + right } else { rest })
        }
        BinaryOp::Pow if right < 0 && left == 0 => {
            return divided_by_zero("0.0 cannot be raised to a negative power");
        }
        BinaryOp::Pow if right < 0 => return needs_python("a negative power"),
        BinaryOp::Pow => u32::try_from(right).ok().and_then(|power| left.checked_pow(power)),
    };
    result.map_or_else(too_large, |value| Ok(Value::Int(value)))
}

fn floats(op: BinaryOp, left: f64, right: f64) -> Outcome<Value> {
    let zero = right == 0.0;
    Ok(Value::Float(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div if zero => return raise("ZeroDivisionError", "float division by zero"),
        BinaryOp::Div => left / right,
        BinaryOp::FloorDiv if zero => return raise("ZeroDivisionError", "float floor division by zero"),
        BinaryOp::FloorDiv => floor_and_rest(left, right).0,
        BinaryOp::Rem if zero => return raise("ZeroDivisionError", "float modulo"),
        BinaryOp::Rem => floor_and_rest(left, right).1,
        BinaryOp::Pow => return needs_python("a power of floats"),
    }))
}

/// Python's `divmod` of floats: the rest has the divisor's sign.
fn floor_and_rest(left: f64, right: f64) -> (f64, f64) {
    let mut rest = left % right;
    let mut quotient = (left - rest) / right;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(right);
    } else if (right < 0.0) != (rest < 0.0) {
        rest += right;
        quotient -= 1.0;
    }
    let floor = if quotient == 0.0 {
        0.0_f64.copysign(left / right)
    } else {
        let floor = quotient.floor();
        if quotient - floor > 0.5 { floor + 1.0 } else { floor }
    };
    (floor, rest)
}

/// `-value`.
pub(crate) fn negate(value: &Value) -> Outcome<Value> {
    match value {
        Value::Bool(value) => Ok(Value::Int(-i128::from(*value))),
        Value::Int(value) => value.checked_neg().map_or_else(too_large, |value| Ok(Value::Int(value))),
        Value::Float(value) => Ok(Value::Float(-value)),
        Value::Delta(delta) => Ok(Value::Delta(delta.negated()?)),
        Value::Undefined(undefined) => undefined.fail(),
        value if is_simple(value) => type_error(format!("bad operand type for unary -: '{}'", value.type_name())),
        value => needs_python(format!("`-` before a {}", value.type_name())),
    }
}

/// `round(value, digits)`.
pub(crate) fn round(value: &Value, digits: i128) -> Outcome<Value> {
    match value {
        Value::Float(value) if !value.is_finite() => Ok(Value::Float(*value)),
        Value::Float(value) if (0..=300).contains(&digits) => {
            let digits = usize::try_from(digits).unwrap_or(0);
            // Rust writes the exact decimal value rounded half to even, as Python's `round` does.
            let text = format!("{value:.digits$}");
            Ok(Value::Float(text.parse().unwrap_or(*value)))
        }
        value => match as_int(value) {
            Some(value) if digits >= 0 => Ok(Value::Int(value)),
            None if matches!(value, Value::Undefined(_)) || (is_simple(value) && !matches!(value, Value::Float(_))) => {
                type_error(format!("type {} doesn't define __round__ method", value.type_name()))
            }
            _ => needs_python("rounding like this"),
        },
    }
}

/// `int(text, 10)`; `None` where Python raises a ValueError.
pub(crate) fn int_from_text(text: &str) -> Outcome<Option<i128>> {
    if !text.is_ascii() {
        return needs_python("digits beyond ASCII");
    }
    let text = text.trim_matches(super::sequence::is_space);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let well_formed = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && !digits.starts_with('_')
        && !digits.ends_with('_')
        && !digits.contains("__");
    if !well_formed {
        return Ok(None);
    }
    match text.replace('_', "").parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => too_large(),
    }
}

/// `float(text)`; `None` where Python raises a ValueError.
pub(crate) fn float_from_text(text: &str) -> Outcome<Option<f64>> {
    if !text.is_ascii() {
        return needs_python("digits beyond ASCII");
    }
    let text = text.trim_matches(super::sequence::is_space);
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let underscores_between_digits =
        bytes.iter().enumerate().all(|(at, byte)| *byte != b'_' || (digit(at.checked_sub(1)) && digit(Some(at + 1))));
    if !underscores_between_digits {
        return Ok(None);
    }
    Ok(text.replace('_', "").parse().ok())
}

/// `int(float)`.
pub(crate) fn truncate(value: f64) -> Outcome<Value> {
    if value.is_nan() {
        return value_error("cannot convert float NaN to integer");
    }
    if value.is_infinite() {
        return Err(Failure::Raised {
            kind: "OverflowError",
            message: "cannot convert float infinity to integer".into(),
        });
    }
    if value.abs() >= 1e38 { too_large() } else { Ok(Value::Int(value.trunc() as i128)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_down() {
        let int = |op, left, right| match integers(op, left, right).unwrap() {
            Value::Int(value) => value,
            other => panic!("{other:?}"),
        };
        for (left, right, floor, rest) in
            [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1), (6, -2, -3, 0)]
        {
            assert_eq!(int(BinaryOp::FloorDiv, left, right), floor, "{left} // {right}");
            assert_eq!(int(BinaryOp::Rem, left, right), rest, "{left} % {right}");
            assert_eq!(floor_and_rest(left as f64, right as f64), (floor as f64, rest as f64));
        }
    }
}
