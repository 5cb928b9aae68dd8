//! `str.format` and the little language of `format()`.

use super::numeric::{float_digits, int_digits};
use crate::args::Arguments;
use crate::error::{Outcome, needs_python, raise, type_error, value_error};
use crate::time;
use crate::value::{Value, as_float, as_int, bounded, repr, str_repr, text};

/// Width and precision beyond this are left to Python.
const MAX_WIDTH: usize = 10_000;

/// `format.format(*positional, **named)`.
pub(super) fn format(format: &str, arguments: &Arguments) -> Outcome<Value> {
    let mut out = String::new();
    let mut rest = format;
    let mut next_auto = 0;
    while let Some(at) = rest.find(['{', '}']) {
        bounded(out.len())?;
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if rest.starts_with(brace) {
            out.push_str(brace);
            rest = &rest[1..];
            continue;
        }
        if brace == "}" {
            return value_error("Single '}' encountered in format string");
        }
        let Some(end) = rest.find(['}', '{', '[']) else {
            return needs_python(format!("the format {}", str_repr(format)));
        };
        if &rest[end..=end] != "}" {
            return needs_python(format!("the format {}", str_repr(format)));
        }
        out.push_str(&field(&rest[..end], arguments, &mut next_auto)?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(Value::str(out))
}

fn field(field: &str, arguments: &Arguments, next_auto: &mut usize) -> Outcome<String> {
    let (name, spec) = field.split_once(':').unwrap_or((field, ""));
    let (name, conversion) = match name.split_once('!') {
        Some((name, conversion)) => (name, Some(conversion)),
        None => (name, None),
    };
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = if name.is_empty() {
        *next_auto += 1;
        arguments.positional.get(*next_auto - 1)
    } else if is_number && *next_auto == 0 {
        name.parse::<usize>().ok().and_then(|at| arguments.positional.get(at))
    } else if is_name && !is_number {
        match arguments.named.iter().find(|(known, _)| known == name) {
            Some((_, value)) => Some(value),
            None => return raise("KeyError", str_repr(name)),
        }
    } else {
        None
    };
    let Some(value) = value else {
        return needs_python(format!("the field `{field}` of a format"));
    };
    match conversion {
        None => format_value(value, spec),
        Some("s") => format_value(&Value::str(text(value)?), spec),
        Some("r") => format_value(&Value::str(repr(value)?), spec),
        Some(_) => needs_python(format!("the field `{field}` of a format")),
    }
}

#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    letter: Option<char>,
}

/// `format(value, spec)`.
fn format_value(value: &Value, spec_text: &str) -> Outcome<String> {
    if spec_text.is_empty() {
        // A member of an enumeration is written otherwise in each version of Python.
        return if matches!(value, Value::Enum(_)) { needs_python("formatting a state") } else { text(value) };
    }
    match value {
        Value::Str(_) | Value::Int(_) | Value::Float(_) => {}
        Value::Bool(flag) => return format_value(&Value::Int(i128::from(*flag)), spec_text),
        Value::DateTime(moment) if spec_text.contains('%') => return time::strftime(moment, spec_text),
        Value::Undefined(_) | Value::None | Value::List(_) | Value::Dict(_) | Value::Tuple(_) => {
            return type_error(format!("unsupported format string passed to {}.__format__", value.type_name()));
        }
        other => return needs_python(format!("formatting a {}", other.type_name())),
    }
    let Some(spec) = parse(spec_text) else {
        return needs_python(format!("the format `{spec_text}`"));
    };
    let supported = match (value, spec.letter) {
        (Value::Str(_), None | Some('s')) => {
            spec.sign.is_none() && !spec.alternate && !spec.zero && spec.grouping.is_none() && spec.align != Some('=')
        }
        (Value::Int(_), None | Some('d' | 'x' | 'X' | 'o' | 'b')) => spec.precision.is_none(),
        (Value::Int(_) | Value::Float(_), Some('f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%')) => true,
        (Value::Float(_), None) => spec.precision.is_none() && !spec.alternate,
        _ => false,
    };
    if !supported {
        return needs_python(format!("the format `{spec_text}` of a {}", value.type_name()));
    }
    Ok(match value {
        Value::Str(text) => {
            let cut: String = match spec.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text.to_string(),
            };
            aligned(&spec, "", &cut, '<')
        }
        value => number(&spec, value)?,
    })
}

fn parse(text: &str) -> Option<Spec> {
    let chars: Vec<char> = text.chars().collect();
    let mut spec = Spec::default();
    let mut at = 0;
    let is_align = |c: Option<&char>| c.is_some_and(|c| "<>^=".contains(*c));
    if is_align(chars.get(1)) {
        (spec.fill, spec.align) = (chars.first().copied(), chars.get(1).copied());
        at = 2;
    } else if is_align(chars.first()) {
        spec.align = chars.first().copied();
        at = 1;
    }
    let mut take = |wanted: &str| {
        let found = chars.get(at).copied().filter(|c| wanted.contains(*c));
        at += usize::from(found.is_some());
        found
    };
    spec.sign = take("+- ");
    spec.alternate = take("#").is_some();
    spec.zero = take("0").is_some();
    let number = |take: &mut dyn FnMut(&str) -> Option<char>| {
        let mut number = None;
        while let Some(digit) = take("0123456789") {
            let digit = digit.to_digit(10)? as usize;
            number = Some(number.unwrap_or(0_usize) * 10 + digit).filter(|number| *number <= MAX_WIDTH);
            number?;
        }
        number
    };
    spec.width = number(&mut take).unwrap_or(0);
    spec.grouping = take(",_");
    if take(".").is_some() {
        spec.precision = Some(number(&mut take)?);
    }
    spec.letter = take("sdxXobfFeEgG%");
    (at == chars.len()).then_some(spec)
}

fn number(spec: &Spec, value: &Value) -> Outcome<String> {
    let (negative, mut digits) = match (value, spec.letter) {
        (Value::Int(number), None | Some('d' | 'x' | 'X' | 'o' | 'b')) => {
            (*number < 0, int_digits(number.unsigned_abs(), spec.letter.unwrap_or('d')))
        }
        (Value::Float(float), None) => {
            (float.is_sign_negative() && !float.is_nan(), crate::value::float_text(float.abs()))
        }
        _ => {
            let mut float = as_float(value).unwrap_or(0.0);
            let letter = spec.letter.unwrap_or('f');
            let percent = letter == '%';
            if percent {
                float *= 100.0;
            }
            let precision = spec.precision.unwrap_or(6);
            let mut digits = float_digits(float.abs(), if percent { 'f' } else { letter }, precision, spec.alternate);
            if percent {
                digits.push('%');
            }
            (float.is_sign_negative() && !float.is_nan(), digits)
        }
    };
    let based = spec.letter.filter(|letter| "xXob".contains(*letter));
    if let Some(separator) = spec.grouping {
        if spec.zero || spec.align == Some('=') || (based.is_some() && separator == ',') {
            return needs_python("zeros and groups in one format");
        }
        digits = grouped(&digits, separator, if based.is_some() { 4 } else { 3 });
    }
    let mut prefix = match (negative, spec.sign) {
        (true, _) => "-".to_owned(),
        (false, Some('-') | None) => String::new(),
        (false, Some(sign)) => sign.to_string(),
    };
    if spec.alternate
        && let Some(letter) = based
    {
        prefix.push('0');
        prefix.push(letter);
    }
    let spec = if spec.zero && spec.align.is_none() {
        Spec { fill: Some('0'), align: Some('='), width: spec.width, ..Spec::default() }
    } else {
        let fill = spec.fill.or(if spec.zero { Some('0') } else { None });
        Spec { fill, align: spec.align, width: spec.width, ..Spec::default() }
    };
    debug_assert!(as_int(value).is_some() || matches!(value, Value::Float(_)));
    Ok(aligned(&spec, &prefix, &digits, '>'))
}

/// The digits before the point in groups, counted from the right.
fn grouped(digits: &str, separator: char, size: usize) -> String {
    let is_digit = |c: char| if size == 4 { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    let whole = digits.find(|c: char| !is_digit(c)).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(whole);
    let mut out = String::new();
    for (at, c) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % size == 0 {
            out.push(separator);
        }
        out.push(c);
    }
    out + rest
}

fn aligned(spec: &Spec, prefix: &str, body: &str, default: char) -> String {
    let missing = spec.width.saturating_sub(prefix.len() + body.chars().count());
    let fill = |count: usize| String::from(spec.fill.unwrap_or(' ')).repeat(count);
    match spec.align.unwrap_or(default) {
        '<' => format!("{prefix}{body}{}", fill(missing)),
        '^' => format!("{}{prefix}{body}{}", fill(missing / 2), fill(missing - missing / 2)),
        '=' => format!("{prefix}{}{body}", fill(missing)),
        _ => format!("{}{prefix}{body}", fill(missing)),
    }
}
