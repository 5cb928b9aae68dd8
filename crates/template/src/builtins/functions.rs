//! Jinja's functions, and Airflow's macros.

use super::json::{Style, dumps, loads};
use crate::args::{Arguments, required, str_argument};
use crate::error::{Outcome, needs_python, raise, type_error, value_error};
use crate::time::{strftime, strptime};
use crate::value::{Dict, Range, Value, as_int, index_of, is_true, iterate, text, unpack};

/// The longest range that the sandbox lets a template make.
const MAX_RANGE: i128 = 100_000;

/// `range(...)`.
pub(crate) fn range(arguments: Arguments) -> Outcome<Value> {
    if !arguments.named.is_empty() {
        return type_error("range() takes no keyword arguments");
    }
    let numbers = arguments.positional.iter().map(index_of).collect::<Outcome<Vec<_>>>()?;
    let (start, stop, step) = match numbers.as_slice() {
        [stop] => (0, *stop, 1),
        [start, stop] => (*start, *stop, 1),
        [start, stop, step] => (*start, *stop, *step),
        _ => return needs_python("a range of this"),
    };
    if step == 0 {
        return value_error("range() arg 3 must not be zero");
    }
    if [start, stop, step].iter().any(|number| number.unsigned_abs() > 1 << 62) {
        return needs_python("a range of numbers this large");
    }
    let range = Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return raise(
            "OverflowError",
            format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE})."),
        );
    }
    Ok(Value::Range(range))
}

/// `dict(...)`.
pub(crate) fn dict(arguments: Arguments) -> Outcome<Value> {
    entries(arguments).map(Value::dict)
}

/// What `namespace(...)` begins with.
pub(crate) fn namespace(arguments: Arguments) -> Outcome<Dict> {
    entries(arguments)
}

fn entries(arguments: Arguments) -> Outcome<Dict> {
    let mut dict = Dict::default();
    match arguments.positional.as_slice() {
        [] => {}
        [Value::Dict(from)] => {
            for (key, value) in from.iter() {
                dict.insert(key.clone(), value.clone())?;
            }
        }
        [pairs @ (Value::List(_) | Value::Tuple(_))] => {
            for pair in iterate(pairs)? {
                let (Value::Tuple(_) | Value::List(_)) = pair else {
                    return needs_python("a dict made of this");
                };
                if let [key, value] = unpack(&pair, 2).or_else(|_| needs_python("a dict made of this"))?.as_slice() {
                    dict.insert(key.clone(), value.clone())?;
                }
            }
        }
        _ => return needs_python("a dict made of this"),
    }
    for (name, value) in arguments.named {
        dict.insert(Value::str(name), value)?;
    }
    Ok(dict)
}

/// `macros.ds_add(ds, days)`.
pub(crate) fn ds_add(arguments: Arguments) -> Outcome<Value> {
    let [ds, days] = arguments.bind(["ds", "days"])?;
    let (ds, days) = (required(ds)?, required(days)?);
    if let Value::Undefined(undefined) = &days {
        return undefined.fail();
    }
    let ds = text(&ds)?;
    if !is_true(&days)? {
        return Ok(Value::str(ds));
    }
    let moment = strptime(&ds, "%Y-%m-%d")?;
    let Some(days) = as_int(&days) else {
        return match days {
            Value::Float(_) => needs_python("parts of days"),
            other => type_error(format!("unsupported type for timedelta days component: {}", other.type_name())),
        };
    };
    let clock = moment.clock();
    let hours = i64::try_from(days.clamp(-10_000_000, 10_000_000) * 24).unwrap_or(0);
    match clock.checked_add(jiff::SignedDuration::from_hours(hours)) {
        Ok(clock) if (1000..=9999).contains(&clock.year()) => Ok(Value::str(clock.strftime("%Y-%m-%d").to_string())),
        _ => needs_python("a date this far"),
    }
}

/// `macros.ds_format(ds, input_format, output_format)`.
pub(crate) fn ds_format(arguments: Arguments) -> Outcome<Value> {
    let [ds, input, output] = arguments.bind(["ds", "input_format", "output_format"])?;
    let ds = text(&required(ds)?)?;
    let moment = strptime(&ds, &str_argument(input, "strptime() argument 2")?)?;
    strftime(&moment, &str_argument(output, "strftime() argument 1")?).map(Value::str)
}

/// `macros.datetime.strptime(text, format)`.
pub(crate) fn strptime_call(arguments: Arguments) -> Outcome<Value> {
    let [date, format] = arguments.bind(["date_string", "format"])?;
    let (date, format) = (str_argument(date, "strptime() argument 1")?, str_argument(format, "strptime() argument 2")?);
    strptime(&date, &format).map(Value::DateTime)
}

/// `macros.json.dumps(value, indent=..., sort_keys=...)`.
pub(crate) fn json_dumps(mut arguments: Arguments) -> Outcome<Value> {
    let mut style = Style::default();
    for (name, value) in std::mem::take(&mut arguments.named) {
        match (name.as_str(), &value) {
            ("indent", Value::None) => {}
            ("indent", Value::Int(_)) => style.indent = Some(super::methods::width_of(&value)?),
            ("sort_keys", value) => style.sort_keys = is_true(value)?,
            _ => return needs_python(format!("the argument `{name}` of json.dumps")),
        }
    }
    let [value] = arguments.bind(["obj"])?;
    dumps(&required(value)?, style).map(Value::str)
}

fn plain_text(value: Option<Value>) -> Outcome<String> {
    match required(value)? {
        Value::Str(text) => Ok(text.to_string()),
        other => needs_python(format!("a {} here", other.type_name())),
    }
}

/// `macros.json.loads(text)`.
pub(crate) fn json_loads(arguments: Arguments) -> Outcome<Value> {
    let [text] = arguments.bind(["s"])?;
    match loads(&plain_text(text)?)? {
        Some(value) => Ok(value),
        None => needs_python("reading what is no JSON"),
    }
}
