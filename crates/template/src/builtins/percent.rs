//! `'...' % values`.

use super::numeric::{float_digits, int_digits};
use crate::error::{Outcome, needs_python, raise, type_error, value_error};
use crate::value::{Value, as_float, as_int, bounded, repr, str_repr, text};

/// Width and precision beyond this are left to Python.
const MAX_WIDTH: usize = 10_000;

#[derive(Default)]
struct Directive {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// `format % values`.
pub(crate) fn percent(format: &str, values: &Value) -> Outcome<String> {
    let mut args = Arguments { values, next: 0 };
    let mut out = String::new();
    let chars: Vec<char> = format.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        bounded(out.len())?;
        let c = chars[at];
        at += 1;
        if c != '%' {
            out.push(c);
            continue;
        }
        let key = key(&chars, &mut at)?;
        let keyed = key.map(|key| args.keyed(&key)).transpose()?;
        let directive = directive(&chars, &mut at)?;
        let Some(letter) = chars.get(at).copied() else {
            return value_error("incomplete format");
        };
        at += 1;
        if letter == '%' {
            out.push('%');
            continue;
        }
        if !"sraduioxXeEfFgGc".contains(letter) {
            let code = u32::from(letter);
            return value_error(format!("unsupported format character '{letter}' (0x{code:x}) at index {}", at - 1));
        }
        let value = match keyed {
            Some(value) => value,
            None => args.take()?,
        };
        out.push_str(&written(&directive, letter, &value)?);
    }
    args.finish()?;
    Ok(out)
}

/// A `(name)`, after which `at` stands.
fn key(chars: &[char], at: &mut usize) -> Outcome<Option<String>> {
    if chars.get(*at) != Some(&'(') {
        return Ok(None);
    }
    let start = *at + 1;
    let mut depth = 0;
    for (offset, c) in chars[*at..].iter().enumerate() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            *at += offset + 1;
            return Ok(Some(chars[start..*at - 1].iter().collect()));
        }
    }
    value_error("incomplete format key")
}

fn directive(chars: &[char], at: &mut usize) -> Outcome<Directive> {
    let mut directive = Directive::default();
    while let Some(c) = chars.get(*at) {
        match c {
            '-' => directive.left = true,
            '+' => directive.plus = true,
            ' ' => directive.space = true,
            '#' => directive.alternate = true,
            '0' => directive.zero = true,
            _ => break,
        }
        *at += 1;
    }
    directive.width = number(chars, at)?;
    if chars.get(*at) == Some(&'.') {
        *at += 1;
        directive.precision = Some(number(chars, at)?);
    }
    if matches!(chars.get(*at), Some('h' | 'l' | 'L')) {
        *at += 1;
    }
    Ok(directive)
}

fn number(chars: &[char], at: &mut usize) -> Outcome<usize> {
    if chars.get(*at) == Some(&'*') {
        return needs_python("`*` in a format");
    }
    let mut number = 0_usize;
    while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
        number = number * 10 + digit as usize;
        if number > MAX_WIDTH {
            return needs_python("a format this wide");
        }
        *at += 1;
    }
    Ok(number)
}

struct Arguments<'a> {
    values: &'a Value,
    next: usize,
}

impl Arguments<'_> {
    fn take(&mut self) -> Outcome<Value> {
        self.next += 1;
        match self.values {
            Value::Tuple(seq) => match seq.items.get(self.next - 1) {
                Some(value) => Ok(value.clone()),
                None => type_error("not enough arguments for format string"),
            },
            value if self.next == 1 => Ok(value.clone()),
            _ => type_error("not enough arguments for format string"),
        }
    }

    fn keyed(&mut self, key: &str) -> Outcome<Value> {
        match self.values {
            Value::Dict(dict) => match dict.get_text(key) {
                Some(value) => Ok(value.clone()),
                None => raise("KeyError", str_repr(key)),
            },
            Value::Undefined(undefined) => undefined.fail(),
            Value::Tuple(_) | Value::Str(_) | Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                type_error("format requires a mapping")
            }
            other => needs_python(format!("a {} as the values of a format", other.type_name())),
        }
    }

    fn finish(&self) -> Outcome<()> {
        let left = match self.values {
            Value::Tuple(seq) => self.next < seq.items.len(),
            Value::Dict(_) | Value::List(_) | Value::Undefined(_) => false,
            Value::Str(_) | Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => self.next == 0,
            _ if self.next > 0 => false,
            other => return needs_python(format!("a {} as the value of a format", other.type_name())),
        };
        if left { type_error("not all arguments converted during string formatting") } else { Ok(()) }
    }
}

fn written(directive: &Directive, letter: char, value: &Value) -> Outcome<String> {
    match letter {
        's' | 'r' => {
            let text = if letter == 's' { text(value)? } else { repr(value)? };
            let cut: String = match directive.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text,
            };
            Ok(padded(directive, "", &cut, false))
        }
        'd' | 'i' | 'u' => {
            let number = match value {
                Value::Float(float) => match super::truncate(*float)? {
                    Value::Int(number) => number,
                    _ => return needs_python("this number"),
                },
                value => integer(value, letter, "a real number")?,
            };
            Ok(int_written(directive, 'd', number))
        }
        'x' | 'X' | 'o' => Ok(int_written(directive, letter, integer(value, letter, "an integer")?)),
        'c' => match value {
            Value::Str(text) if text.chars().count() == 1 => Ok(padded(directive, "", text, false)),
            _ => needs_python("`%c` of this"),
        },
        'a' => needs_python("`%a`"),
        _ => {
            let Some(float) = as_float(value) else {
                return match value {
                    Value::Undefined(undefined) => undefined.fail(),
                    value => type_error(format!("must be real number, not {}", value.type_name())),
                };
            };
            let digits = float_digits(float.abs(), letter, directive.precision.unwrap_or(6), directive.alternate);
            let negative = float.is_sign_negative() && !float.is_nan();
            Ok(padded(directive, sign(directive, negative), &digits, directive.zero && float.is_finite()))
        }
    }
}

fn integer(value: &Value, letter: char, wanted: &str) -> Outcome<i128> {
    match (as_int(value), value) {
        (Some(number), _) => Ok(number),
        // `int()` of an undefined value fails in Jinja's words; for `%x` nobody asks it.
        (None, Value::Undefined(undefined)) if letter != 'x' && letter != 'X' && letter != 'o' => undefined.fail(),
        (None, value) => type_error(format!("%{letter} format: {wanted} is required, not {}", value.type_name())),
    }
}

fn sign(directive: &Directive, negative: bool) -> &'static str {
    match (negative, directive.plus, directive.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn int_written(directive: &Directive, letter: char, number: i128) -> String {
    let mut digits = int_digits(number.unsigned_abs(), letter);
    if let Some(precision) = directive.precision {
        digits = format!("{digits:0>precision$}");
    }
    let mut prefix = sign(directive, number < 0).to_owned();
    if directive.alternate && letter != 'd' {
        prefix.push('0');
        prefix.push(letter);
    }
    padded(directive, &prefix, &digits, directive.zero)
}

fn padded(directive: &Directive, prefix: &str, body: &str, zeros: bool) -> String {
    let missing = directive.width.saturating_sub(prefix.len() + body.chars().count());
    if directive.left {
        format!("{prefix}{body}{}", " ".repeat(missing))
    } else if zeros {
        format!("{prefix}{}{body}", "0".repeat(missing))
    } else {
        format!("{}{prefix}{body}", " ".repeat(missing))
    }
}
