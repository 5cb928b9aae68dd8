//! Values as Pydantic reads them in its lax mode, with the words in which it refuses them.

mod json_error;
mod moment;

use serde_json::{Value, json};

use crate::error::ApiError;

pub(crate) use json_error::json_error;
pub(crate) use moment::{MaybeAware, aware_moment, date, moment, moment_with_offset};

/// Why a value can't be read: Pydantic's type of the error, its message and its context.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) context: Option<Value>,
}

impl Fault {
    pub(crate) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: None }
    }

    pub(crate) fn with(kind: &'static str, message: impl Into<String>, context: Value) -> Self {
        Self { kind, message: message.into(), context: Some(context) }
    }

    /// A `ValueError` that a validator of Airflow's raises.
    pub(crate) fn value_error(message: impl std::fmt::Display) -> Self {
        Self::with("value_error", format!("Value error, {message}"), json!({"error": {}}))
    }
}

pub(crate) type Parsed<T> = Result<T, Fault>;

/// Where a value stands: `["query", "limit"]`, `["body", "actions", 0]`.
pub(crate) type Place = Vec<Value>;

/// Everything that is wrong with a request, in the order in which it was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issues(Vec<Value>);

impl Issues {
    pub(crate) fn add(&mut self, place: &Place, fault: Fault, input: &Value) {
        let mut issue = json!({"type": fault.kind, "loc": place, "msg": fault.message, "input": input});
        if let (Some(context), Some(issue)) = (fault.context, issue.as_object_mut()) {
            issue.insert("ctx".into(), context);
        }
        self.0.push(issue);
    }

    /// Keeps the value, or what is wrong with it.
    pub(crate) fn keep<T>(&mut self, place: &Place, input: &Value, parsed: Parsed<T>) -> Option<T> {
        parsed.map_err(|fault| self.add(place, fault, input)).ok()
    }

    /// Puts what another reader found behind what is here.
    pub(crate) fn extend(&mut self, other: Issues) {
        self.0.extend(other.0);
    }

    /// All of it as one text, as `repr()` of Pydantic's `ValidationError` has it.
    pub(crate) fn into_text(self, model: &str) -> String {
        let errors = if self.0.len() == 1 { "error" } else { "errors" };
        let mut text = format!("{} validation {errors} for {model}", self.0.len());
        for issue in &self.0 {
            let (kind, input) = (issue["type"].as_str().unwrap_or_default(), &issue["input"]);
            let place: Vec<String> =
                issue["loc"].as_array().into_iter().flatten().map(template::python::text).collect();
            text.push_str(&format!(
                "\n{}\n  {} [type={kind}, input_value={}, input_type={}]\n    For further information visit \
                 https://errors.pydantic.dev/{PYDANTIC}/v/{kind}",
                place.join("."),
                issue["msg"].as_str().unwrap_or_default(),
                shortened(&template::python::repr(input)),
                python_type(input),
            ));
        }
        text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The 422 with all of it, if there is anything.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::unprocessable(Value::Array(self.0))) }
    }
}

/// Whose documentation of errors is pointed to.
const PYDANTIC: &str = "2.14";

/// A value as Pydantic shows it: no longer than fifty letters, with a gap in the middle.
fn shortened(repr: &str) -> String {
    let letters: Vec<char> = repr.chars().collect();
    if letters.len() <= 50 {
        return repr.to_owned();
    }
    let part = |letters: &[char]| letters.iter().collect::<String>();
    format!("{}...{}", part(&letters[..25]), part(&letters[letters.len() - 24..]))
}

fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

pub(crate) fn text(input: &Value) -> Parsed<String> {
    match input {
        Value::String(text) => Ok(text.clone()),
        _ => Err(Fault::new("string_type", "Input should be a valid string")),
    }
}

/// A text of at most so many characters.
pub(crate) fn text_up_to(most: usize) -> impl Fn(&Value) -> Parsed<String> {
    move |input| match text(input)? {
        long if long.chars().count() > most => {
            let letters = if most == 1 { "character" } else { "characters" };
            let message = format!("String should have at most {most} {letters}");
            Err(Fault::with("string_too_long", message, json!({"max_length": most})))
        }
        text => Ok(text),
    }
}

pub(crate) fn boolean(input: &Value) -> Parsed<bool> {
    let wrong = || Fault::new("bool_parsing", "Input should be a valid boolean, unable to interpret input");
    match input {
        Value::Bool(flag) => Ok(*flag),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            _ => Err(wrong()),
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "0" | "off" | "f" | "false" | "n" | "no" => Ok(false),
            "1" | "on" | "t" | "true" | "y" | "yes" => Ok(true),
            _ => Err(wrong()),
        },
        _ => Err(Fault::new("bool_type", "Input should be a valid boolean")),
    }
}

pub(crate) fn integer(input: &Value) -> Parsed<i64> {
    match input {
        Value::Bool(flag) => Ok(i64::from(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Ok(number),
            (None, Some(float)) if float.fract() == 0.0 => Ok(float as i64),
            _ => Err(Fault::new(
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            )),
        },
        Value::String(text) => integer_text(text).ok_or_else(|| {
            Fault::new("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
        }),
        _ => Err(Fault::new("int_type", "Input should be a valid integer")),
    }
}

/// Beyond 64 bits the number saturates: nothing that Airflow asks for is that large, and no bound is there either.
fn integer_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let whole = match digits.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => digits,
    };
    let well_formed = !whole.is_empty()
        && !whole.starts_with('_')
        && !whole.ends_with('_')
        && !whole.contains("__")
        && whole.bytes().all(|digit| digit.is_ascii_digit() || digit == b'_');
    if !well_formed {
        return None;
    }
    let number: i128 = whole.replace('_', "").parse().unwrap_or(i128::MAX);
    Some((sign * number).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

/// An integer that is not below a bound.
pub(crate) fn at_least(least: i64) -> impl Fn(&Value) -> Parsed<i64> {
    move |input| match integer(input)? {
        number if number < least => Err(Fault::with(
            "greater_than_equal",
            format!("Input should be greater than or equal to {least}"),
            json!({"ge": least}),
        )),
        number => Ok(number),
    }
}

/// An integer that is not negative.
pub(crate) fn natural(input: &Value) -> Parsed<u64> {
    at_least(0)(input).map(i64::unsigned_abs)
}

pub(crate) fn float(input: &Value) -> Parsed<f64> {
    match input {
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        Value::Number(number) => Ok(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.trim().replace('_', "").parse().map_err(|_| {
            Fault::new("float_parsing", "Input should be a valid number, unable to parse string as a number")
        }),
        _ => Err(Fault::new("float_type", "Input should be a valid number")),
    }
}

/// One of some names, as Pydantic reads a Python `Enum`.
pub(crate) fn one_of<T: Copy>(names: &[(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    chosen(names, "enum")
}

/// One of some names, as Pydantic reads a `Literal`.
pub(crate) fn literal<T: Copy>(names: &[(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    chosen(names, "literal_error")
}

fn chosen<T: Copy>(names: &[(&'static str, T)], kind: &'static str) -> impl Fn(&Value) -> Parsed<T> {
    move |input| {
        let found = input.as_str().and_then(|text| names.iter().find(|(name, _)| *name == text));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let expected = alternatives(names.iter().map(|(name, _)| *name));
            Fault::with(kind, format!("Input should be {expected}"), json!({"expected": expected}))
        })
    }
}

/// `'a', 'b' or 'c'`.
fn alternatives<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => format!("{} or {last}", names.join(", ")),
        (None, _) => String::new(),
    }
}

/// A JSON object, as Pydantic reads a `dict`.
pub(crate) fn dict(input: &Value) -> Parsed<serde_json::Map<String, Value>> {
    match input {
        Value::Object(map) => Ok(map.clone()),
        _ => Err(Fault::new("dict_type", "Input should be a valid dictionary")),
    }
}

/// `repr()` of a Python list of texts.
pub(crate) fn python_list_repr(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| python_repr(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// `repr()` of a Python text.
pub(crate) fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut repr = String::with_capacity(text.len() + 2);
    repr.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => repr.push_str("\\\\"),
            '\n' => repr.push_str("\\n"),
            '\r' => repr.push_str("\\r"),
            '\t' => repr.push_str("\\t"),
            letter if letter == quote => {
                repr.push('\\');
                repr.push(letter);
            }
            letter if letter.is_control() => repr.push_str(&format!("\\x{:02x}", letter as u32)),
            letter => repr.push(letter),
        }
    }
    repr.push(quote);
    repr
}
