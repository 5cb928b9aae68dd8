//! What `str()` and `repr()` give.

use std::fmt::Write;

use super::{Dict, Object, Seq, Undefined, Value, View, bounded};
use crate::error::{Outcome, needs_python};

/// `str(value)`. Objects whose text needs more than the value are written by the caller.
pub(crate) fn text(value: &Value) -> Outcome<String> {
    match value {
        Value::Str(text) | Value::Markup(text) => Ok(text.to_string()),
        Value::Enum(member) => Ok(format!("{}.{}", member.class, member.name)),
        Value::DateTime(moment) => Ok(moment.text(' ')),
        Value::Date(date) => Ok(date.text()),
        Value::Delta(delta) => Ok(delta.text()),
        Value::Interval(interval) => Ok(interval.text()),
        Value::Proxy(Some(moment)) => Ok(moment.text(' ')),
        Value::Proxy(None) => Ok("None".to_owned()),
        Value::Undefined(undefined) if !undefined.strict => Ok(String::new()),
        Value::Undefined(undefined) => Undefined::fail(undefined),
        _ => repr(value),
    }
}

/// `repr(value)`.
pub(crate) fn repr(value: &Value) -> Outcome<String> {
    let mut out = String::new();
    write_repr(&mut out, value)?;
    Ok(out)
}

fn write_repr(out: &mut String, value: &Value) -> Outcome<()> {
    bounded(out.len())?;
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(value) => {
            // Writing to a text can't fail.
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => out.push_str(&float_text(*value)),
        Value::Str(text) => out.push_str(&str_repr(text)),
        Value::Markup(text) => {
            let _ = write!(out, "Markup({})", str_repr(text));
        }
        Value::Enum(member) => {
            let _ = write!(out, "<{}.{}: {}>", member.class, member.name, str_repr(member.value));
        }
        Value::List(seq) => write_items(out, "[", &seq.items, "]")?,
        Value::Tuple(seq) => write_tuple(out, seq)?,
        Value::Dict(dict) => write_dict(out, dict)?,
        Value::View(view, dict) => write_view(out, *view, dict)?,
        Value::Range(range) => {
            let _ = write!(out, "range({}, {}", range.start, range.stop);
            if range.step != 1 {
                let _ = write!(out, ", {}", range.step);
            }
            out.push(')');
        }
        Value::DateTime(moment) => out.push_str(&moment.repr()?),
        Value::Date(date) => out.push_str(&date.repr()),
        Value::Delta(delta) => out.push_str(&delta.repr()),
        Value::Interval(interval) => out.push_str(&interval.text()),
        Value::NotSet => out.push_str("NOTSET"),
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::Object(Object::Namespace(dict)) => {
            out.push_str("<Namespace ");
            write_dict(out, &dict.borrow())?;
            out.push('>');
        }
        Value::Proxy(_) | Value::Generator(_) | Value::Object(_) => {
            return needs_python(format!("the text of a {}", value.type_name()));
        }
    }
    Ok(())
}

fn write_items(out: &mut String, open: &str, items: &[Value], close: &str) -> Outcome<()> {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_repr(out, item)?;
    }
    out.push_str(close);
    Ok(())
}

fn write_tuple(out: &mut String, seq: &Seq) -> Outcome<()> {
    write_items(out, "(", &seq.items, if seq.items.len() == 1 { ",)" } else { ")" })
}

fn write_dict(out: &mut String, dict: &Dict) -> Outcome<()> {
    out.push('{');
    for (at, (key, value)) in dict.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_repr(out, key)?;
        out.push_str(": ");
        write_repr(out, value)?;
    }
    out.push('}');
    Ok(())
}

fn write_view(out: &mut String, view: View, dict: &Dict) -> Outcome<()> {
    let items: Vec<Value> = match view {
        View::Keys => dict.iter().map(|(key, _)| key.clone()).collect(),
        View::Values => dict.iter().map(|(_, value)| value.clone()).collect(),
        View::Items => dict.iter().map(|(key, value)| Value::tuple(vec![key.clone(), value.clone()])).collect(),
    };
    let name = match view {
        View::Keys => "dict_keys([",
        View::Values => "dict_values([",
        View::Items => "dict_items([",
    };
    write_items(out, name, &items, "])")
}

/// `repr()` of a float: the shortest digits that read back as the same number, with an exponent below 1e-4 and from
/// 1e16 on.
pub(crate) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `repr()` of a text.
pub(crate) fn str_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
    out
}

/// `str.isprintable()` of one character. Rust and Python both go by the character's category, each with the version
/// of Unicode that it was built with.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // `escape_debug` of a text escapes combining characters only at its beginning.
    let mut pair = ['a', c].iter().collect::<String>();
    pair = pair.escape_debug().collect();
    !pair.starts_with("a\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_python() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e22, "1e+22"),
            (-0.0, "-0.0"),
            (123456789.125, "123456789.125"),
            (f64::INFINITY, "inf"),
            (5e-324, "5e-324"),
        ];
        for (value, want) in cases {
            assert_eq!(float_text(value), want);
        }
    }

    #[test]
    fn texts_are_quoted_as_in_python() {
        let cases = [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("it's \"x\"", "'it\\'s \"x\"'"),
            ("é\u{a0}\u{ad}\u{200b}", "'é\\xa0\\xad\\u200b'"),
            ("\u{301}x\u{1f600}", "'\u{301}x\u{1f600}'"),
            ("\0\x7f\n", "'\\x00\\x7f\\n'"),
            ("\u{e0001}", "'\\U000e0001'"),
        ];
        for (text, want) in cases {
            assert_eq!(str_repr(text), want);
        }
    }
}
