//! Attributes, items and methods, looked up as Jinja's sandbox does: `a.b` tries the attribute and then the item,
//! `a['b']` the item and then the attribute.

use super::Machine;
use crate::args::Arguments;
use crate::builtins::call_method;
use crate::error::{Outcome, needs_python, type_error};
use crate::kind::Kind;
use crate::objects;
use crate::time;
use crate::value::{EnumMember, Loop, Object, Value, equals, get_item, repr};

/// `of.name`.
pub(super) fn attribute(machine: &Machine<'_>, of: &Value, name: &str) -> Outcome<Value> {
    match of {
        Value::Undefined(undefined) => undefined.fail(),
        Value::Proxy(None) => Ok(Value::no_attribute(Kind::Proxy, name)),
        Value::Proxy(_) => attribute(machine, &of.clone().resolved(), name),
        Value::Object(Object::Loop(state)) => loop_attribute(state, name),
        Value::Object(Object::Namespace(entries)) => {
            let found = entries.borrow().get_text(name).cloned();
            Ok(found.unwrap_or_else(|| Value::no_attribute(Kind::Namespace, name)))
        }
        Value::Object(object) => objects::attribute(machine.context, object, name).unwrap_or_else(|| unknown(of, name)),
        Value::Enum(member) => enum_attribute(*member, name),
        Value::DateTime(_) | Value::Date(_) | Value::Delta(_) | Value::Interval(_) => {
            time::attribute(of, name).map_or_else(|| unknown(of, name), Ok)
        }
        of if of.kind().is_open() => plain_attribute(of, name),
        of => unknown(of, name),
    }
}

fn unknown(of: &Value, name: &str) -> Outcome<Value> {
    needs_python(format!("the attribute `{name}` of a {}", of.type_name()))
}

fn plain_attribute(of: &Value, name: &str) -> Outcome<Value> {
    if of.kind().has_attribute(name) {
        return unknown(of, name);
    }
    // Only dicts have items with such names.
    let item = match of {
        Value::Dict(dict) => dict.get_text(name).cloned(),
        _ => None,
    };
    Ok(item.unwrap_or_else(|| Value::no_attribute(of.kind(), name)))
}

fn enum_attribute(member: EnumMember, name: &str) -> Outcome<Value> {
    match name {
        "name" => Ok(Value::str(member.name)),
        "value" => Ok(Value::str(member.value)),
        _ => needs_python(format!("the attribute `{name}` of a state")),
    }
}

/// `of[key]`.
pub(super) fn item(machine: &Machine<'_>, of: &Value, key: &Value) -> Outcome<Value> {
    match (of, key) {
        // These have no items, so that the attribute is tried.
        (Value::Object(Object::Namespace(_) | Object::VarValue | Object::VarJson | Object::Conn), Value::Str(name)) => {
            attribute(machine, of, name)
        }
        (Value::Object(_) | Value::Proxy(_), _) => needs_python(format!("an item of a {}", of.type_name())),
        _ => item_or_undefined(of, key),
    }
}

/// `of[key]` for values that are no objects.
pub(crate) fn item_or_undefined(of: &Value, key: &Value) -> Outcome<Value> {
    if let Some(found) = get_item(of, key)? {
        return Ok(found);
    }
    match key {
        Value::Str(name) if of.kind().is_open() && !of.kind().has_attribute(name) => {
            Ok(Value::no_attribute(of.kind(), name))
        }
        Value::Str(name) => unknown(of, name),
        Value::Markup(_) | Value::Enum(_) | Value::Proxy(_) | Value::Object(_) => {
            needs_python(format!("a {} as a key", key.type_name()))
        }
        key => Ok(Value::undefined(format!("{} has no element {}", of.kind().object_name(), repr(key)?))),
    }
}

/// `of.name(arguments)`.
pub(super) fn call(machine: &Machine<'_>, of: &Value, name: &str, arguments: Arguments) -> Outcome<Value> {
    let result = match of {
        Value::Proxy(Some(_)) => return call(machine, &of.clone().resolved(), name, arguments),
        Value::Proxy(None) => return raise_undefined(Value::no_attribute(Kind::Proxy, name)),
        Value::Object(Object::Loop(state)) => loop_call(state, name, arguments),
        Value::Object(object) => objects::call(machine.context, object, name, arguments),
        Value::DateTime(_) | Value::Date(_) | Value::Delta(_) | Value::Interval(_) => time::call(of, name, arguments),
        of => call_method(of, name, arguments),
    };
    if let Some(result) = result {
        return result;
    }
    if !of.kind().is_open() {
        return needs_python(format!("the method `{name}` of a {}", of.type_name()));
    }
    let other = raise_undefined(plain_attribute(of, name)?)?;
    type_error(format!("'{}' object is not callable", other.type_name()))
}

fn raise_undefined(value: Value) -> Outcome<Value> {
    match value {
        Value::Undefined(undefined) => undefined.fail(),
        other => Ok(other),
    }
}

fn loop_attribute(state: &Loop, name: &str) -> Outcome<Value> {
    let (index0, length) = (state.index0.get(), state.items.len());
    let int = |value: usize| Ok(Value::Int(value as i128));
    match name {
        "index" => int(index0 + 1),
        "index0" => int(index0),
        "revindex" => int(length - index0),
        "revindex0" => int(length - index0 - 1),
        "first" => Ok(Value::Bool(index0 == 0)),
        "last" => Ok(Value::Bool(index0 + 1 == length)),
        "length" => int(length),
        "depth" => int(1),
        "depth0" => int(0),
        "previtem" => Ok(match index0.checked_sub(1).and_then(|at| state.items.get(at)) {
            Some(item) => item.clone(),
            None => Value::undefined("there is no previous item"),
        }),
        "nextitem" => Ok(match state.items.get(index0 + 1) {
            Some(item) => item.clone(),
            None => Value::undefined("there is no next item"),
        }),
        _ => needs_python(format!("`loop.{name}`")),
    }
}

fn loop_call(state: &Loop, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    if !arguments.named.is_empty() {
        return Some(needs_python(format!("a named argument of `loop.{name}`")));
    }
    let values = arguments.positional;
    match name {
        "cycle" => Some(match values.len() {
            0 => type_error("no items for cycling given"),
            count => Ok(values[state.index0.get() % count].clone()),
        }),
        "changed" => Some((|| {
            let same = match state.last_changed.borrow().as_deref() {
                None => false,
                Some(last) => equals(&Value::tuple(last.to_vec()), &Value::tuple(values.clone()))?,
            };
            if !same {
                *state.last_changed.borrow_mut() = Some(values);
            }
            Ok(Value::Bool(!same))
        })()),
        _ => None,
    }
}
