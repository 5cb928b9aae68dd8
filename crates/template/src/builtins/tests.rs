//! Jinja's tests.

use super::strings;
use crate::args::{Arguments, required};
use crate::error::{Outcome, needs_python};
use crate::render::Machine;
use crate::syntax::{BinaryOp, CompareOp};
use crate::value::{Value, binary, contains, equals, order, text};

/// `value is name(arguments)`.
pub(crate) fn apply(machine: &Machine<'_>, name: &str, value: Value, arguments: Arguments) -> Outcome<bool> {
    machine.charge(&value, &arguments)?;
    if let Some(known) = about_the_value(name, &value) {
        arguments.none()?;
        return known;
    }
    let rest = |divisor: Value| binary(BinaryOp::Rem, &value.clone().resolved(), &divisor);
    match name {
        "odd" | "even" => {
            arguments.none()?;
            equals(&rest(Value::Int(2))?, &Value::Int(i128::from(name == "odd")))
        }
        "divisibleby" => {
            let [divisor] = arguments.bind(["num"])?;
            equals(&rest(required(divisor)?)?, &Value::Int(0))
        }
        "in" => {
            let [container] = arguments.bind(["seq"])?;
            contains(&required(container)?, &value)
        }
        _ => {
            let [other] = arguments.bind(["other"])?;
            let other = required(other)?;
            match name {
                "eq" | "equalto" => equals(&value, &other),
                "ne" => Ok(!equals(&value, &other)?),
                "gt" | "greaterthan" => order(CompareOp::Gt, &value, &other),
                "ge" => order(CompareOp::Ge, &value, &other),
                "lt" | "lessthan" => order(CompareOp::Lt, &value, &other),
                "le" => order(CompareOp::Le, &value, &other),
                _ => needs_python(format!("the test `{name}`")),
            }
        }
    }
}

/// Tests without arguments; `None` if it is none of them.
fn about_the_value(name: &str, value: &Value) -> Option<Outcome<bool>> {
    let is = match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_)),
        "string" => value.as_str().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => match value {
            Value::Undefined(undefined) => !undefined.strict,
            Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Range(_) => true,
            value => value.as_str().is_some(),
        },
        "iterable" => match value {
            Value::Undefined(undefined) if undefined.strict => return Some(undefined.fail()),
            Value::Undefined(_)
            | Value::List(_)
            | Value::Tuple(_)
            | Value::Dict(_)
            | Value::View(..)
            | Value::Range(_)
            | Value::Generator(_)
            | Value::Interval(_) => true,
            value => value.as_str().is_some(),
        },
        "lower" | "upper" => {
            return Some(text(value).and_then(|text| strings::is(&text, &format!("is{name}"))));
        }
        _ => return None,
    };
    Some(Ok(is))
}
