//! Jinja's filters of texts.

use std::rc::Rc;

use super::methods::width_of;
use super::strings::{self, Side, split_lines};
use crate::args::{Arguments, required};
use crate::error::{Outcome, needs_python, raise, type_error};
use crate::value::{Value, bounded, index_of, is_space, is_true, iterate, length as length_of, text};

/// Applies a filter; `None` if it is none of texts.
pub(super) fn apply(name: &str, input: &Value, arguments: Arguments) -> Option<Outcome<Value>> {
    Some(match name {
        "upper" => with_text(input, arguments, |text| Ok(text.to_uppercase())),
        "lower" => with_text(input, arguments, |text| Ok(text.to_lowercase())),
        "capitalize" => with_text(input, arguments, strings::capitalize),
        "title" => with_text(input, arguments, title),
        "string" => arguments.none().and_then(|()| match input {
            Value::Enum(_) | Value::Markup(_) => Ok(input.clone()),
            input => Ok(Value::str(text(input)?)),
        }),
        "trim" => arguments.bind(["chars"]).and_then(|[chars]| {
            let text = soft_text(input)?;
            match chars {
                None | Some(Value::None) => Ok(Value::str(strings::strip(&text, None, Side::Both))),
                Some(Value::Str(chars)) => Ok(Value::str(strings::strip(&text, Some(&chars), Side::Both))),
                Some(_) => type_error("strip arg must be None or str"),
            }
        }),
        "replace" => arguments.bind(["old", "new", "count"]).and_then(|[old, new, count]| {
            let whole = text(input)?;
            let (old, new) = (text(&required(old)?)?, text(&required(new)?)?);
            let count = match count {
                None | Some(Value::None) => -1,
                Some(count) => index_of(&count)?,
            };
            strings::replace(&whole, &old, &new, count).map(Value::str)
        }),
        "center" => arguments.bind(["width"]).and_then(|[width]| {
            let width = width.map_or(Ok(80), |width| width_of(&width))?;
            strings::justified(&soft_text(input)?, width, ' ', "center").map(Value::str)
        }),
        "format" => format(input, arguments),
        "indent" => indent(input, arguments),
        "truncate" => truncate(input, arguments),
        "wordcount" => arguments.none().and_then(|()| wordcount(&soft_text(input)?)),
        "urlencode" => arguments.none().and_then(|()| urlencode(input)),
        "e" | "escape" => arguments.none().and_then(|()| escape(input)),
        "safe" => arguments.none().and_then(|()| match input {
            Value::Markup(_) => Ok(input.clone()),
            input => Ok(Value::Markup(text(input)?.into())),
        }),
        _ => return None,
    })
}

/// Jinja's `soft_str`: a text as it is, anything else as `str()` gives it.
fn soft_text(input: &Value) -> Outcome<Rc<str>> {
    match input {
        Value::Str(text) => Ok(text.clone()),
        Value::Enum(member) => Ok(member.value.into()),
        Value::Markup(_) => needs_python("a filter of a text that is safe in HTML"),
        input => text(input).map(Rc::from),
    }
}

fn with_text(input: &Value, arguments: Arguments, then: impl Fn(&str) -> Outcome<String>) -> Outcome<Value> {
    arguments.none()?;
    then(&soft_text(input)?).map(Value::str)
}

/// Words begin after white space, hyphens and opening brackets.
fn title(text: &str) -> Outcome<String> {
    if !text.is_ascii() {
        return needs_python("the case of letters beyond ASCII");
    }
    let mut begins = true;
    let changed = text.chars().map(|c| {
        let separates = is_space(c) || "-({[<".contains(c);
        let changed = if begins { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        begins = separates;
        changed
    });
    Ok(changed.collect())
}

fn format(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let Arguments { positional, named } = arguments;
    let values = match (positional.is_empty(), named.is_empty()) {
        (false, false) => {
            return raise("FilterArgumentError", "can't handle positional and keyword arguments at the same time");
        }
        (true, false) => {
            let mut dict = crate::value::Dict::default();
            for (name, value) in named {
                dict.insert(Value::str(name), value)?;
            }
            Value::dict(dict)
        }
        _ => Value::tuple(positional),
    };
    super::percent(&soft_text(input)?, &values).map(Value::str)
}

fn flag(value: Option<Value>) -> Outcome<bool> {
    value.map_or(Ok(false), |value| is_true(&value))
}

fn indent(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [width, first, blank] = arguments.bind(["width", "first", "blank"])?;
    let margin = match width {
        None => "    ".to_owned(),
        Some(Value::Str(margin)) => margin.to_string(),
        Some(width) => " ".repeat(width_of(&width)?),
    };
    let (first, blank) = (flag(first)?, flag(blank)?);
    let text = match input {
        Value::Str(text) => text,
        // What Jinja begins with is `input += "\n"`.
        Value::List(_) => return raise("AttributeError", "'list' object has no attribute 'splitlines'"),
        Value::Tuple(_) => return type_error("can only concatenate tuple (not \"str\") to tuple"),
        Value::Undefined(undefined) => return undefined.fail(),
        other => {
            let name = other.type_name();
            return type_error(format!("unsupported operand type(s) for +=: '{name}' and 'str'"));
        }
    };
    let whole = format!("{text}\n");
    let lines = split_lines(&whole);
    bounded(whole.len().saturating_add(lines.len().saturating_mul(margin.len())))?;
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        let indented = if at == 0 { first } else { blank || !line.is_empty() };
        if at > 0 {
            out.push('\n');
        }
        if indented {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(Value::str(out))
}

fn truncate(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [length, whole_words, end, leeway] = arguments.bind(["length", "killwords", "end", "leeway"])?;
    let length = length.map_or(Ok(255), |length| index_of(&length))?;
    let cut_words = flag(whole_words)?;
    let end = match end {
        None => Rc::from("..."),
        Some(Value::Str(end)) => end,
        Some(other) => return needs_python(format!("an end that is a {}", other.type_name())),
    };
    let leeway = match leeway {
        None | Some(Value::None) => 5,
        Some(leeway) => index_of(&leeway)?,
    };
    let end_length = end.chars().count() as i128;
    if length < end_length {
        return raise("AssertionError", format!("expected length >= {end_length}, got {length}"));
    }
    if leeway < 0 {
        return raise("AssertionError", format!("expected leeway >= 0, got {leeway}"));
    }
    let text = match input {
        Value::Str(text) => text,
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) => return needs_python("cutting what is no text"),
        other => return length_of(other).map(|_| input.clone()),
    };
    if text.chars().count() as i128 <= length.saturating_add(leeway) {
        return Ok(input.clone());
    }
    let kept = usize::try_from(length - end_length).unwrap_or(usize::MAX);
    let cut: String = text.chars().take(kept).collect();
    let cut = if cut_words { cut.as_str() } else { cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words) };
    Ok(Value::str(format!("{cut}{end}")))
}

fn wordcount(text: &str) -> Outcome<Value> {
    if !text.is_ascii() {
        return needs_python("counting words beyond ASCII");
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    Ok(Value::Int(words.count() as i128))
}

fn urlencode(input: &Value) -> Outcome<Value> {
    let quoted = |value: &Value| text(value).map(|text| quote(&text, "").replace("%20", "+"));
    let pairs = match input {
        Value::Dict(_) => {
            let items = super::call_method(input, "items", Arguments::default());
            items.map_or_else(|| needs_python("this mapping"), |items| iterate(&items?))?
        }
        Value::List(_) | Value::Tuple(_) | Value::Undefined(_) => iterate(input)?,
        Value::Str(_) | Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            return Ok(Value::str(quote(&text(input)?, "/")));
        }
        other => return needs_python(format!("the filter `urlencode` of a {}", other.type_name())),
    };
    let mut parts = Vec::new();
    for pair in pairs {
        let pair = crate::value::unpack(&pair, 2)?;
        if let [key, value] = pair.as_slice() {
            parts.push(format!("{}={}", quoted(key)?, quoted(value)?));
        }
    }
    Ok(Value::str(parts.join("&")))
}

/// `urllib.parse.quote(text, safe)`.
pub(crate) fn quote(text: &str, safe: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "_.-~".contains(c) || (c.is_ascii() && safe.contains(c)) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn escape(input: &Value) -> Outcome<Value> {
    if let Value::Markup(_) = input {
        return Ok(input.clone());
    }
    let raw = match input {
        Value::Enum(_) => return needs_python("escaping a state"),
        input => text(input)?,
    };
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Ok(Value::Markup(out.into()))
}
