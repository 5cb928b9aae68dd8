//! Jinja's filters, and Airflow's.

use std::rc::Rc;

use super::json::{Style, dumps};
use super::{call_method, methods, select, texts};
use crate::args::{Arguments, required};
use crate::error::{Failure, Outcome, needs_python, raise, type_error};
use crate::render::{Machine, item_or_undefined};
use crate::syntax::{BinaryOp, CompareOp};
use crate::value::{
    Dict, Value, as_float, as_int, binary, float_from_text, index_of, int_from_text, is_true, iterate, length, order,
    reversed, round, sort_by, text, truncate,
};

/// `input | name(arguments)`.
pub(crate) fn apply(machine: &Machine<'_>, name: &str, input: Value, arguments: Arguments) -> Outcome<Value> {
    machine.charge(&input, &arguments)?;
    if let "default" | "d" = name {
        let [default, boolean] = arguments.bind(["default_value", "boolean"])?;
        let boolean = boolean.map_or(Ok(false), |boolean| is_true(&boolean))?;
        let missing = matches!(input, Value::Undefined(_)) || (boolean && !is_true(&input)?);
        return Ok(if missing { default.unwrap_or_else(|| Value::str("")) } else { input });
    }
    // A proxy without a datetime is neither None nor anything else to most filters.
    if let (Value::Proxy(None), Some((method, _))) = (&input, date_filter(name)) {
        return raise("AttributeError", format!("'NoneType' object has no attribute '{method}'"));
    }
    if let Value::Proxy(None) = input
        && name != "string"
    {
        return needs_python(format!("the filter `{name}` of a date that there is none of"));
    }
    let input = input.resolved();
    if arguments.positional.iter().any(|argument| matches!(argument, Value::Undefined(_))) {
        return needs_python(format!("an undefined argument of the filter `{name}`"));
    }
    if let Some(result) = select::apply(machine, name, &input, &arguments) {
        return result;
    }
    let arguments = match times(name, &input, arguments) {
        Ok(result) => return result,
        Err(arguments) => arguments,
    };
    let arguments = match sequences(name, &input, arguments) {
        Ok(result) => return result,
        Err(arguments) => arguments,
    };
    if let Some(result) = numbers(name, &input, arguments.clone()) {
        return result;
    }
    texts::apply(name, &input, arguments).unwrap_or_else(|| needs_python(format!("the filter `{name}`")))
}

/// The method that a filter of Airflow's calls, and its format.
fn date_filter(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "ds" => ("strftime", "%Y-%m-%d"),
        "ds_nodash" => ("strftime", "%Y%m%d"),
        "ts_nodash" => ("strftime", "%Y%m%dT%H%M%S"),
        "ts" | "ts_nodash_with_tz" => ("isoformat", ""),
        _ => return None,
    })
}

/// Airflow's filters of dates.
fn times(name: &str, input: &Value, arguments: Arguments) -> Result<Outcome<Value>, Arguments> {
    let Some((method, format)) = date_filter(name) else {
        return Err(arguments);
    };
    Ok(arguments.none().and_then(|()| match input {
        Value::None => Ok(Value::None),
        Value::DateTime(_) | Value::Date(_) => {
            let mut call = Arguments::default();
            if !format.is_empty() {
                call.positional.push(Value::str(format));
            }
            let written = crate::time::call(input, method, call)
                .unwrap_or_else(|| needs_python(format!("the filter `{name}` of this")))?;
            match (name, &written) {
                ("ts_nodash_with_tz", Value::Str(written)) => Ok(Value::str(written.replace(['-', ':'], ""))),
                _ => Ok(written),
            }
        }
        Value::Undefined(undefined) => undefined.fail(),
        Value::Delta(_) | Value::Interval(_) => needs_python(format!("the filter `{name}` of this")),
        other => raise("AttributeError", format!("'{}' object has no attribute '{method}'", other.type_name())),
    }))
}

fn sequences(name: &str, input: &Value, arguments: Arguments) -> Result<Outcome<Value>, Arguments> {
    Ok(match name {
        "count" | "length" => arguments.none().and_then(|()| length(input)).map(Value::Int),
        "list" => arguments.none().and_then(|()| iterate(input)).map(Value::list),
        "first" => arguments.none().and_then(|()| first(input)),
        "last" => arguments.none().and_then(|()| match input {
            Value::Undefined(undefined) => undefined.fail(),
            input => match reversed(input)? {
                Some(items) => Ok(items
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| Value::undefined("No last item, sequence was empty."))),
                None => type_error(format!("'{}' object is not reversible", input.type_name())),
            },
        }),
        "reverse" => arguments.none().and_then(|()| match input {
            Value::Str(text) => Ok(Value::str(text.chars().rev().collect::<String>())),
            Value::Markup(_) | Value::Enum(_) => needs_python("reversing this kind of text"),
            Value::Undefined(undefined) => undefined.fail(),
            input => match reversed(input)? {
                Some(items) => Ok(Value::generator(items, None)),
                None if matches!(input, Value::Generator(_)) => match iterate(input) {
                    Ok(mut items) => {
                        items.reverse();
                        Ok(Value::list(items))
                    }
                    Err(Failure::Raised { kind: "TypeError", .. }) => {
                        raise("FilterArgumentError", "argument must be iterable")
                    }
                    Err(error) => Err(error),
                },
                None => raise("FilterArgumentError", "argument must be iterable"),
            },
        }),
        "items" => arguments.none().map(|()| items(input)),
        "join" => join(input, arguments),
        "sort" => sort(input, arguments),
        "dictsort" => dictsort(input, arguments),
        "unique" => unique(input, arguments),
        "min" | "max" => extreme(input, arguments, name == "max"),
        "sum" => sum(input, arguments),
        "batch" => lazily(batch(input, arguments)),
        "slice" => lazily(slice(input, arguments)),
        "tojson" => arguments.bind(["indent"]).and_then(|[indent]| {
            let indent = match indent {
                None | Some(Value::None) => None,
                Some(indent) => Some(methods::width_of(&Value::Int(index_of(&indent)?))?),
            };
            let json = dumps(input, Style { indent, sort_keys: true })?;
            let safe = json.replace('<', "\\u003c").replace('>', "\\u003e");
            Ok(Value::Markup(safe.replace('&', "\\u0026").replace('\'', "\\u0027").into()))
        }),
        _ => return Err(arguments),
    })
}

/// What Jinja makes when it is asked for: an error comes then, too.
fn lazily(made: Outcome<Value>) -> Outcome<Value> {
    match made {
        Err(error @ Failure::Raised { .. }) => Ok(Value::generator(Vec::new(), Some(error))),
        made => made,
    }
}

fn first(input: &Value) -> Outcome<Value> {
    let first = match input {
        Value::Generator(generator) => generator.next()?,
        input => iterate(input)?.into_iter().next(),
    };
    Ok(first.unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
}

/// The pairs of a mapping; Jinja looks at the input when the first pair is asked for.
fn items(input: &Value) -> Value {
    let pairs = match (input, call_method(input, "items", Arguments::default())) {
        (Value::Undefined(_), _) => Ok(Vec::new()),
        (Value::Dict(_), Some(Ok(view))) => iterate(&view),
        _ => type_error("Can only get item pairs from a mapping."),
    };
    match pairs {
        Ok(pairs) => Value::generator(pairs, None),
        Err(error) => Value::generator(Vec::new(), Some(error)),
    }
}

fn join(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [separator, attribute] = arguments.bind(["d", "attribute"])?;
    let separator = separator.map_or(Ok(String::new()), |separator| text(&separator))?;
    let getter = Getter::new(attribute)?;
    let mut parts = Vec::new();
    let mut bytes = 0;
    for item in iterate(input)? {
        let part = text(&getter.get(item)?)?;
        bytes += part.len() + separator.len();
        crate::value::bounded(bytes)?;
        parts.push(part);
    }
    Ok(Value::str(parts.join(&separator)))
}

/// Looks up an attribute such as `a.0.b`, as Jinja's filters do: items come first.
pub(super) struct Getter {
    parts: Vec<Value>,
}

impl Getter {
    pub fn new(attribute: Option<Value>) -> Outcome<Self> {
        Ok(Self {
            parts: match attribute {
                None | Some(Value::None) => Vec::new(),
                Some(Value::Str(text)) => Self::parts(&text)?,
                Some(Value::Int(index)) => vec![Value::Int(index)],
                Some(other) => return needs_python(format!("a {} as an attribute", other.type_name())),
            },
        })
    }

    fn parts(text: &str) -> Outcome<Vec<Value>> {
        text.split('.')
            .map(|part| {
                if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
                    part.parse().map_or_else(|_| needs_python("this attribute"), |index| Ok(Value::Int(index)))
                } else {
                    Ok(Value::str(part))
                }
            })
            .collect()
    }

    pub fn get(&self, item: Value) -> Outcome<Value> {
        self.parts.iter().try_fold(item, |item, part| item_or_undefined(&item, part))
    }

    /// As [`Self::get`], with a value for what is undefined on the way.
    pub fn get_or(&self, item: Value, default: &Value) -> Outcome<Value> {
        self.parts.iter().try_fold(item, |item, part| match (item_or_undefined(&item, part)?, default) {
            (Value::Undefined(_), default) if !matches!(default, Value::None) => Ok(default.clone()),
            (item, _) => Ok(item),
        })
    }
}

/// What is compared: texts without their case, unless it matters.
fn sort_key(value: Value, case_matters: bool) -> Value {
    match value {
        Value::Str(text) if !case_matters => Value::str(text.to_lowercase()),
        other => other,
    }
}

fn flag(value: Option<Value>) -> Outcome<bool> {
    value.map_or(Ok(false), |value| is_true(&value))
}

fn sort(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [reverse, case_matters, attribute] = arguments.bind(["reverse", "case_sensitive", "attribute"])?;
    let (reverse, case_matters) = (flag(reverse)?, flag(case_matters)?);
    let getters = match attribute {
        Some(Value::Str(text)) => {
            text.split(',').map(|part| Getter::new(Some(Value::str(part)))).collect::<Outcome<Vec<_>>>()?
        }
        other => vec![Getter::new(other)?],
    };
    let mut keyed = Vec::new();
    for item in iterate(input)? {
        let mut key = Vec::new();
        for getter in &getters {
            key.push(sort_key(getter.get(item.clone())?, case_matters));
        }
        keyed.push((Value::list(key), item));
    }
    sort_by(&mut keyed, reverse)?;
    Ok(Value::list(keyed.into_iter().map(|(_, item)| item).collect()))
}

/// The pairs of a dict in the order of their keys.
pub(super) fn sorted_pairs(dict: &Rc<Dict>, reverse: bool) -> Outcome<Vec<(Value, Value)>> {
    let mut pairs = dict
        .iter()
        .map(|(key, value)| (key.clone(), Value::tuple(vec![key.clone(), value.clone()])))
        .collect::<Vec<_>>();
    sort_by(&mut pairs, reverse)?;
    let value_of = |pair: &Value| match pair {
        Value::Tuple(seq) => seq.items.get(1).cloned().unwrap_or(Value::None),
        _ => Value::None,
    };
    Ok(pairs.into_iter().map(|(key, pair)| (key, value_of(&pair))).collect())
}

fn dictsort(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [case_matters, by, reverse] = arguments.bind(["case_sensitive", "by", "reverse"])?;
    let (reverse, case_matters) = (flag(reverse)?, flag(case_matters)?);
    let by_key = match by {
        None => true,
        Some(Value::Str(by)) if &*by == "key" => true,
        Some(Value::Str(by)) if &*by == "value" => false,
        Some(_) => return raise("FilterArgumentError", "You can only sort by either \"key\" or \"value\""),
    };
    let Value::Dict(dict) = input else {
        return match input {
            Value::Undefined(undefined) => undefined.fail(),
            other => raise("AttributeError", format!("'{}' object has no attribute 'items'", other.type_name())),
        };
    };
    let mut pairs: Vec<_> = dict
        .iter()
        .map(|(key, value)| {
            let sorted_by = if by_key { key } else { value };
            (sort_key(sorted_by.clone(), case_matters), Value::tuple(vec![key.clone(), value.clone()]))
        })
        .collect();
    sort_by(&mut pairs, reverse)?;
    Ok(Value::list(pairs.into_iter().map(|(_, pair)| pair).collect()))
}

fn unique(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [case_matters, attribute] = arguments.bind(["case_sensitive", "attribute"])?;
    let (case_matters, getter) = (flag(case_matters)?, Getter::new(attribute)?);
    let mut seen = Dict::default();
    let mut kept = Vec::new();
    let mut keep = |item: Value| {
        let key = sort_key(getter.get(item.clone())?, case_matters);
        if seen.get(&key)?.is_none() {
            seen.insert(key, Value::None)?;
            kept.push(item);
        }
        Ok(())
    };
    let error = iterate(input).and_then(|items| items.into_iter().try_for_each(&mut keep)).err();
    Ok(Value::generator(kept, error))
}

fn extreme(input: &Value, arguments: Arguments, largest: bool) -> Outcome<Value> {
    let [case_matters, attribute] = arguments.bind(["case_sensitive", "attribute"])?;
    let (case_matters, getter) = (flag(case_matters)?, Getter::new(attribute)?);
    let op = if largest { CompareOp::Gt } else { CompareOp::Lt };
    let mut best: Option<(Value, Value)> = None;
    for item in iterate(input)? {
        let key = sort_key(getter.get(item.clone())?, case_matters);
        let better = match &best {
            None => true,
            Some((best, _)) => order(op, &key, best)?,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
}

/// Newer versions of Python add floats with more care; where that makes a difference, it is left to Python.
fn sum(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [attribute, start] = arguments.bind(["attribute", "start"])?;
    let getter = Getter::new(attribute)?;
    let mut total = start.unwrap_or(Value::Int(0));
    if let Value::Str(_) = total {
        return type_error("sum() can't sum strings [use ''.join(seq) instead]");
    }
    let (mut careful, mut lost, mut floats) = (as_float(&total).unwrap_or(0.0), 0.0, 0);
    for item in iterate(input)? {
        let item = getter.get(item)?;
        floats += usize::from(matches!(item, Value::Float(_)));
        if let Some(number) = as_float(&item) {
            let sum = careful + number;
            lost += if careful.abs() >= number.abs() { (careful - sum) + number } else { (number - sum) + careful };
            careful = sum;
        }
        total = binary(BinaryOp::Add, &total, &item)?;
    }
    match total {
        Value::Float(naive) if floats > 1 && naive != careful + lost => needs_python("this sum of floats"),
        total => Ok(total),
    }
}

fn fill(items: &mut Vec<Value>, count: usize, with: &Value) {
    if !matches!(with, Value::None) {
        items.resize(items.len().max(count), with.clone());
    }
}

fn batch(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [count, with] = arguments.bind(["linecount", "fill_with"])?;
    let (count, with) = (index_of(&required(count)?)?, with.unwrap_or(Value::None));
    let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0 && *count < 1_000_000) else {
        return needs_python("batches of this size");
    };
    let items = iterate(input)?;
    let mut batches: Vec<Vec<Value>> = items.chunks(count).map(<[Value]>::to_vec).collect();
    if let Some(last) = batches.last_mut() {
        fill(last, count, &with);
    }
    Ok(Value::generator(batches.into_iter().map(Value::list).collect(), None))
}

fn slice(input: &Value, arguments: Arguments) -> Outcome<Value> {
    let [count, with] = arguments.bind(["slices", "fill_with"])?;
    let (count, with) = (index_of(&required(count)?)?, with.unwrap_or(Value::None));
    let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0 && *count < 100_000) else {
        return needs_python("this number of slices");
    };
    let items = iterate(input)?;
    let (each, longer) = (items.len() / count, items.len() % count);
    let mut rest = items.as_slice();
    let mut slices = Vec::new();
    for at in 0..count {
        let (taken, left) = rest.split_at(each + usize::from(at < longer));
        let mut taken = taken.to_vec();
        if at >= longer {
            fill(&mut taken, each + 1, &with);
        }
        slices.push(Value::list(taken));
        rest = left;
    }
    Ok(Value::generator(slices, None))
}

fn numbers(name: &str, input: &Value, arguments: Arguments) -> Option<Outcome<Value>> {
    Some(match name {
        "abs" => arguments.none().and_then(|()| match input {
            Value::Float(value) => Ok(Value::Float(value.abs())),
            Value::Undefined(_) | Value::Delta(_) | Value::Interval(_) => needs_python("the absolute value of this"),
            input => match as_int(input) {
                Some(value) => Ok(Value::Int(value.abs())),
                None => type_error(format!("bad operand type for abs(): '{}'", input.type_name())),
            },
        }),
        "int" => arguments.bind(["default", "base"]).and_then(|[default, base]| {
            let default = default.unwrap_or(Value::Int(0));
            match base {
                None | Some(Value::Int(10)) => {}
                Some(_) => return needs_python("a base other than 10"),
            }
            Ok(to_int(input)?.unwrap_or(default))
        }),
        "float" => arguments
            .bind(["default"])
            .and_then(|[default]| Ok(to_float(input)?.map_or(default.unwrap_or(Value::Float(0.0)), Value::Float))),
        "round" => {
            arguments.bind(["precision", "method"]).and_then(|[precision, method]| rounded(input, precision, method))
        }
        _ => return None,
    })
}

fn to_float(input: &Value) -> Outcome<Option<f64>> {
    match input {
        Value::Undefined(undefined) => undefined.fail(),
        Value::Str(text) => float_from_text(text),
        Value::Markup(_) | Value::Enum(_) => needs_python("the number in this kind of text"),
        input => Ok(as_float(input)),
    }
}

fn to_int(input: &Value) -> Outcome<Option<Value>> {
    let exact = match input {
        Value::Str(text) => int_from_text(text)?.map(Value::Int),
        input => as_int(input).map(Value::Int),
    };
    if exact.is_some() {
        return Ok(exact);
    }
    match to_float(input)? {
        Some(value) if value.is_finite() => truncate(value).map(Some),
        // `int(float('inf'))` of a number goes wrong where nobody catches it, that of a text is caught.
        Some(value) if matches!(input, Value::Float(_)) && value.is_infinite() => truncate(value).map(Some),
        _ => Ok(None),
    }
}

fn rounded(input: &Value, precision: Option<Value>, method: Option<Value>) -> Outcome<Value> {
    let precision = precision.map_or(Ok(0), |precision| index_of(&precision))?;
    let method = method.unwrap_or_else(|| Value::str("common"));
    let up = match method.as_str() {
        Some("common") => return round(input, precision),
        Some("ceil") => true,
        Some("floor") => false,
        _ => return raise("FilterArgumentError", "method must be common, ceil or floor"),
    };
    let Some(value) = as_float(input).filter(|value| value.abs() < 1e15) else {
        return needs_python("rounding this");
    };
    let Some(power) = u32::try_from(precision).ok().filter(|power| *power <= 15) else {
        return needs_python("this precision");
    };
    let scale = 10_f64.powi(i32::try_from(power).unwrap_or(0));
    let scaled = value * scale;
    let whole = if up { scaled.ceil() } else { scaled.floor() };
    if whole.abs() >= 9e15 {
        return needs_python("this precision");
    }
    // Python divides integers here, which know no negative zero.
    Ok(Value::Float((whole + 0.0) / scale))
}
