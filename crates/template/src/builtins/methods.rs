//! The methods of texts, lists, tuples and dicts.

use std::rc::Rc;

use super::format::format;
use super::strings::{self, Side};
use crate::args::{Arguments, required};
use crate::error::{Outcome, needs_python, raise, type_error, value_error};
use crate::value::{Dict, Seq, Value, View, bounded, equals, index_of, iterate, repr};

/// `value.name(...)` of a plain value; `None` where there is no such method here.
pub(crate) fn call(value: &Value, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    if arguments.all().any(|argument| matches!(argument, Value::Undefined(_)))
        && !matches!((value, name), (Value::Dict(_), "get"))
    {
        return Some(needs_python("an undefined argument"));
    }
    match value {
        Value::Str(text) => str_call(text, name, arguments),
        Value::List(seq) => seq_call(seq, name, arguments, "list"),
        Value::Tuple(seq) => seq_call(seq, name, arguments, "tuple"),
        Value::Dict(dict) => dict_call(dict, name, arguments),
        _ => None,
    }
}

fn seq_call(seq: &Rc<Seq>, name: &str, arguments: Arguments, class: &str) -> Option<Outcome<Value>> {
    Some(match name {
        "count" => arguments.bind(["value"]).and_then(|[wanted]| {
            let wanted = required(wanted)?;
            let mut count = 0;
            for item in &seq.items {
                count += i128::from(equals(item, &wanted)?);
            }
            Ok(Value::Int(count))
        }),
        "index" => arguments.bind(["value"]).and_then(|[wanted]| {
            let wanted = required(wanted)?;
            for (at, item) in seq.items.iter().enumerate() {
                if equals(item, &wanted)? {
                    return Ok(Value::Int(at as i128));
                }
            }
            if class == "list" {
                value_error(format!("{} is not in list", repr(&wanted)?))
            } else {
                value_error("tuple.index(x): x not in tuple")
            }
        }),
        "copy" if class == "list" => arguments.none().map(|()| Value::List(seq.clone())),
        _ => return None,
    })
}

fn dict_call(dict: &Rc<Dict>, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let view = |arguments: Arguments, view| arguments.none().map(|()| Value::View(view, dict.clone()));
    Some(match name {
        "get" => arguments
            .bind(["key", "default"])
            .and_then(|[key, default]| Ok(dict.get(&required(key)?)?.cloned().or(default).unwrap_or(Value::None))),
        "items" => view(arguments, View::Items),
        "keys" => view(arguments, View::Keys),
        "values" => view(arguments, View::Values),
        "copy" => arguments.none().map(|()| Value::Dict(dict.clone())),
        _ => return None,
    })
}

fn str_call(text: &Rc<str>, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let whole = |arguments: Arguments, then: fn(&str) -> Outcome<Value>| arguments.none().and_then(|()| then(text));
    Some(match name {
        "upper" => whole(arguments, |text| Ok(Value::str(text.to_uppercase()))),
        "lower" => whole(arguments, |text| Ok(Value::str(text.to_lowercase()))),
        "capitalize" => whole(arguments, |text| strings::capitalize(text).map(Value::str)),
        "title" => whole(arguments, |text| strings::title(text).map(Value::str)),
        "swapcase" => whole(arguments, |text| strings::swapcase(text).map(Value::str)),
        "isdigit" | "isdecimal" | "isnumeric" | "isalpha" | "isalnum" | "isspace" | "isupper" | "islower"
        | "isidentifier" | "isascii" => arguments.none().and_then(|()| strings::is(text, name).map(Value::Bool)),
        "strip" => stripped(text, arguments, Side::Both),
        "lstrip" => stripped(text, arguments, Side::Left),
        "rstrip" => stripped(text, arguments, Side::Right),
        "split" => split(text, arguments, false),
        "rsplit" => split(text, arguments, true),
        "splitlines" => arguments.bind(["keepends"]).and_then(|[keep]| match keep {
            None => Ok(texts(strings::split_lines(text))),
            Some(_) => needs_python("`keepends`"),
        }),
        "partition" | "rpartition" => arguments.bind(["sep"]).and_then(|[sep]| partition(text, sep, name)),
        "join" => arguments.bind(["iterable"]).and_then(|[items]| join(text, &required(items)?)),
        "replace" => arguments.bind(["old", "new", "count"]).and_then(|[old, new, count]| {
            let old = text_of(old, "replace() argument 1 must be str, not")?;
            let new = text_of(new, "replace() argument 2 must be str, not")?;
            let count = count.map_or(Ok(-1), |count| index_of(&count))?;
            strings::replace(text, &old, &new, count).map(Value::str)
        }),
        "startswith" | "endswith" => arguments.bind(["prefix"]).and_then(|[affix]| affixed(text, affix, name)),
        "removeprefix" => arguments.bind(["prefix"]).and_then(|[affix]| {
            let affix = text_of(affix, "removeprefix() argument must be str, not")?;
            Ok(Value::str(text.strip_prefix(&*affix).unwrap_or(text)))
        }),
        "removesuffix" => arguments.bind(["suffix"]).and_then(|[affix]| {
            let affix = text_of(affix, "removesuffix() argument must be str, not")?;
            Ok(Value::str(text.strip_suffix(&*affix).unwrap_or(text)))
        }),
        "find" | "rfind" | "index" | "rindex" | "count" => {
            arguments.bind(["sub"]).and_then(|[part]| find(text, &text_of(part, "must be str, not")?, name))
        }
        "zfill" => arguments.bind(["width"]).and_then(|[width]| {
            let width = width_of(&required(width)?)?;
            strings::zfill(text, width).map(Value::str)
        }),
        "ljust" | "rjust" | "center" => arguments.bind(["width", "fillchar"]).and_then(|[width, fill]| {
            let width = width_of(&required(width)?)?;
            let fill = match fill {
                None => ' ',
                Some(Value::Str(fill)) if fill.chars().count() == 1 => fill.chars().next().unwrap_or(' '),
                Some(_) => return needs_python("this fill character"),
            };
            strings::justified(text, width, fill, name).map(Value::str)
        }),
        "format" => format(text, &arguments),
        _ => return None,
    })
}

impl Arguments {
    fn all(&self) -> impl Iterator<Item = &Value> {
        self.positional.iter().chain(self.named.iter().map(|(_, value)| value))
    }
}

/// The text that a parameter asks for; `complaint` is what Python says of anything else.
fn text_of(value: Option<Value>, complaint: &str) -> Outcome<Rc<str>> {
    match required(value)? {
        Value::Str(text) => Ok(text),
        Value::Markup(_) | Value::Enum(_) => needs_python("this kind of text"),
        other => type_error(format!("{complaint} {}", other.type_name())),
    }
}

pub(super) fn width_of(value: &Value) -> Outcome<usize> {
    bounded(usize::try_from(index_of(value)?.max(0)).unwrap_or(usize::MAX))
}

pub(super) fn texts(parts: Vec<&str>) -> Value {
    Value::list(parts.into_iter().map(Value::str).collect())
}

fn stripped(text: &str, arguments: Arguments, side: Side) -> Outcome<Value> {
    let [chars] = arguments.bind(["chars"])?;
    match chars {
        None | Some(Value::None) => Ok(Value::str(strings::strip(text, None, side))),
        Some(Value::Str(chars)) => Ok(Value::str(strings::strip(text, Some(&chars), side))),
        Some(_) => type_error(match side {
            Side::Both => "strip arg must be None or str",
            Side::Left => "lstrip arg must be None or str",
            Side::Right => "rstrip arg must be None or str",
        }),
    }
}

fn partition(text: &Rc<str>, separator: Option<Value>, name: &str) -> Outcome<Value> {
    let separator = text_of(separator, "must be str, not")?;
    if separator.is_empty() {
        return value_error("empty separator");
    }
    let last = name == "rpartition";
    let parts = if last { text.rsplit_once(&*separator) } else { text.split_once(&*separator) };
    Ok(Value::tuple(match (parts, last) {
        (Some((left, right)), _) => vec![Value::str(left), Value::Str(separator), Value::str(right)],
        (None, false) => vec![Value::Str(text.clone()), Value::str(""), Value::str("")],
        (None, true) => vec![Value::str(""), Value::str(""), Value::Str(text.clone())],
    }))
}

fn split(text: &str, arguments: Arguments, from_right: bool) -> Outcome<Value> {
    let [separator, most] = arguments.bind(["sep", "maxsplit"])?;
    let most = most.map_or(Ok(-1), |most| index_of(&most))?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match separator {
        None | Some(Value::None) => Ok(texts(strings::split_space(text, most, from_right))),
        Some(Value::Str(separator)) if separator.is_empty() => value_error("empty separator"),
        Some(Value::Str(separator)) => {
            let parts = most.saturating_add(1);
            Ok(texts(if from_right {
                let mut parts: Vec<&str> = text.rsplitn(parts, &*separator).collect();
                parts.reverse();
                parts
            } else {
                text.splitn(parts, &*separator).collect()
            }))
        }
        Some(other) => type_error(format!("must be str or None, not {}", other.type_name())),
    }
}

fn join(separator: &str, items: &Value) -> Outcome<Value> {
    let items = match items {
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            return type_error("can only join an iterable");
        }
        items => iterate(items)?,
    };
    let mut out = String::new();
    for (at, item) in items.iter().enumerate() {
        match item {
            Value::Str(text) => {
                if at > 0 {
                    out.push_str(separator);
                }
                out.push_str(text);
                bounded(out.len())?;
            }
            Value::Markup(_) | Value::Enum(_) => return needs_python("joining this kind of text"),
            other => {
                let found = other.type_name();
                return type_error(format!("sequence item {at}: expected str instance, {found} found"));
            }
        }
    }
    Ok(Value::str(out))
}

fn affixed(text: &str, affix: Option<Value>, name: &str) -> Outcome<Value> {
    let matches = |affix: &str| if name == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) };
    match required(affix)? {
        Value::Str(affix) => Ok(Value::Bool(matches(&affix))),
        Value::Tuple(seq) => {
            let mut any = false;
            for affix in &seq.items {
                match affix {
                    Value::Str(affix) => any = any || matches(affix),
                    _ => return needs_python("this tuple of affixes"),
                }
            }
            Ok(Value::Bool(any))
        }
        other => {
            let found = other.type_name();
            type_error(format!("{name} first arg must be str or a tuple of str, not {found}"))
        }
    }
}

fn find(text: &str, part: &str, name: &str) -> Outcome<Value> {
    let position = |at: usize| text[..at].chars().count() as i128;
    let found = match name {
        "count" if part.is_empty() => Some(text.chars().count() as i128 + 1),
        "count" => Some(text.matches(part).count() as i128),
        "find" | "index" => text.find(part).map(position),
        _ => text.rfind(part).map(position),
    };
    match found {
        Some(found) => Ok(Value::Int(found)),
        None if name.ends_with("index") => raise("ValueError", "substring not found"),
        None => Ok(Value::Int(-1)),
    }
}
