//! The attributes and methods of dates, times and differences.

use jiff::civil;

use super::arithmetic::add_to_date;
use super::pendulum::{Units, add, edge, edge_of, format};
use super::{Date, DateTime, Delta, Interval, MICROS_PER_DAY, When, micros_of, strftime, zone};
use crate::args::{Arguments, required, str_argument};
use crate::error::{Outcome, needs_python, raise, type_error, value_error};
use crate::value::{Value, as_int};

/// `value.name`, where it is not a method; `None` where there is no such attribute here.
pub(crate) fn attribute(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::DateTime(moment) => datetime_attribute(moment, name),
        Value::Date(date) => date_attribute(date.day, name, date.is_pendulum),
        Value::Delta(delta) => Some(Value::Int(match name {
            "days" => delta.days(),
            "seconds" => delta.seconds(),
            "microseconds" => delta.microseconds(),
            _ => return None,
        })),
        Value::Interval(interval) => (name == "days").then(|| Value::Int(interval.micros() / MICROS_PER_DAY)),
        _ => None,
    }
}

fn datetime_attribute(moment: &DateTime, name: &str) -> Option<Value> {
    let clock = moment.clock();
    let int = |value: i128| Some(Value::Int(value));
    match name {
        "hour" => return int(clock.hour().into()),
        "minute" => return int(clock.minute().into()),
        "second" => return int(clock.second().into()),
        "microsecond" => return int(micros_of(clock).into()),
        _ => {}
    }
    if moment.is_pendulum
        && let Some(zoned) = moment.zoned()
    {
        match name {
            "int_timestamp" => return int(moment.micros_since_epoch().div_euclid(super::MICROS_PER_SECOND)),
            "float_timestamp" => return Some(Value::Float(moment.micros_since_epoch() as f64 / 1e6)),
            "timezone_name" => return zoned.time_zone().iana_name().map(Value::str),
            "offset" => return int(zoned.offset().seconds().into()),
            "offset_hours" => return Some(Value::Float(f64::from(zoned.offset().seconds()) / 60.0 / 60.0)),
            _ => {}
        }
    }
    date_attribute(clock.date(), name, moment.is_pendulum)
}

fn date_attribute(day: civil::Date, name: &str, is_pendulum: bool) -> Option<Value> {
    Some(Value::Int(match name {
        "year" => day.year().into(),
        "month" => day.month().into(),
        "day" => day.day().into(),
        "day_of_year" if is_pendulum => day.day_of_year().into(),
        "days_in_month" if is_pendulum => day.days_in_month().into(),
        "week_of_year" if is_pendulum => day.iso_week_date().week().into(),
        "quarter" if is_pendulum => i128::from(day.month() + 2) / 3,
        _ => return None,
    }))
}

/// `value.name(...)`; `None` where there is no such method here.
pub(crate) fn call(value: &Value, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    match value {
        Value::DateTime(moment) => datetime_call(moment, name, arguments),
        Value::Date(date) => date_call(*date, name, arguments),
        Value::Delta(delta) => {
            (name == "total_seconds").then(|| arguments.none().map(|()| Value::Float(delta.total_seconds())))
        }
        Value::Interval(interval) => interval_call(interval, name, arguments),
        _ => None,
    }
}

fn datetime_call(moment: &DateTime, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let clock = moment.clock();
    if moment.is_pendulum
        && let Some(result) = pendulum_call(moment, name, arguments.clone())
    {
        return Some(result);
    }
    match name {
        "strftime" => Some(arguments.bind(["format"]).and_then(|[pattern]| formatted(moment, pattern))),
        "isoformat" => Some(arguments.bind(["sep"]).and_then(|[separator]| match separator {
            None => Ok(Value::str(moment.text('T'))),
            Some(Value::Str(text)) if text.chars().count() == 1 => {
                Ok(Value::str(moment.text(text.chars().next().unwrap_or('T'))))
            }
            Some(_) => needs_python("this separator"),
        })),
        "date" => {
            Some(arguments.none().map(|()| Value::Date(Date { day: clock.date(), is_pendulum: moment.is_pendulum })))
        }
        "timestamp" => Some(arguments.none().and_then(|()| match moment.zoned() {
            Some(_) => Ok(Value::Float(moment.micros_since_epoch() as f64 / 1e6)),
            None => needs_python("the timestamp of a datetime without a zone"),
        })),
        "replace" => Some(replace(moment, arguments)),
        _ => day_call(clock.date(), name, arguments),
    }
}

fn pendulum_call(moment: &DateTime, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let text = |pattern: &'static str| arguments.clone().none().and_then(|()| format(moment, pattern)).map(Value::str);
    Some(match name {
        "add" | "subtract" => units(arguments, name == "subtract", true)
            .and_then(|(units, on_the_clock)| add(moment, units, on_the_clock).map(Value::DateTime)),
        "start_of" | "end_of" => arguments.bind(["unit"]).and_then(|[unit]| {
            let unit = text_argument(unit)?;
            edge(moment, &unit, name == "end_of").map(Value::DateTime)
        }),
        "in_timezone" | "in_tz" => arguments.bind(["tz"]).and_then(|[name]| {
            let zone = zone(&text_argument(name)?)?;
            match &moment.when {
                When::Aware(zoned) => {
                    let when = When::Aware(zoned.with_time_zone(zone));
                    Ok(Value::DateTime(DateTime { when, is_pendulum: true }))
                }
                When::Naive(_) => needs_python("a zone for a datetime without one"),
            }
        }),
        "format" => {
            arguments.bind(["fmt"]).and_then(|[pattern]| format(moment, &text_argument(pattern)?).map(Value::str))
        }
        "to_date_string" => arguments.none().and_then(|()| strftime(moment, "%Y-%m-%d")).map(Value::str),
        "to_time_string" => text("HH:mm:ss"),
        "to_datetime_string" => text("YYYY-MM-DD HH:mm:ss"),
        "to_iso8601_string" => arguments.none().map(|()| {
            let text = moment.text('T');
            let is_utc = moment.zoned().is_some_and(|zoned| zoned.time_zone().iana_name() == Some("UTC"));
            Value::str(if is_utc { text.replace("+00:00", "Z") } else { text })
        }),
        _ => return None,
    })
}

fn date_call(date: Date, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let midnight = DateTime { when: When::Naive(date.day.at(0, 0, 0, 0)), is_pendulum: date.is_pendulum };
    Some(match name {
        "strftime" => arguments.bind(["format"]).and_then(|[pattern]| formatted(&midnight, pattern)),
        "isoformat" => arguments.none().map(|()| Value::str(date.text())),
        "to_date_string" if date.is_pendulum => arguments.none().map(|()| Value::str(date.text())),
        "add" | "subtract" if date.is_pendulum => units(arguments, name == "subtract", false)
            .and_then(|(units, _)| add_to_date(date, units.months, units.days).map(Value::Date)),
        "start_of" | "end_of" if date.is_pendulum => arguments.bind(["unit"]).and_then(|[unit]| {
            match edge_of(date.day, &text_argument(unit)?, name == "end_of")? {
                Some(day) => Ok(Value::Date(Date { day, ..date })),
                None => needs_python("this unit of a date"),
            }
        }),
        "replace" => arguments.bind(["year", "month", "day"]).and_then(|fields| {
            let [year, month, day] = numbers(fields)?;
            let day = replace_day(date.day, year, month, day)?;
            Ok(Value::Date(Date { day, ..date }))
        }),
        _ => return day_call(date.day, name, arguments),
    })
}

/// What dates and datetimes share.
fn day_call(day: civil::Date, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let weekday = i128::from(day.weekday().to_monday_zero_offset());
    let number = match name {
        "weekday" => weekday,
        "isoweekday" => weekday + 1,
        "toordinal" => i128::from((day - civil::date(1, 1, 1)).get_days()) + 1,
        _ => return None,
    };
    Some(arguments.none().map(|()| Value::Int(number)))
}

fn interval_call(interval: &Interval, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    let seconds = interval.micros() as f64 / 1e6;
    let whole = |per: f64| Value::Int((seconds / per).trunc() as i128);
    let value = match name {
        "total_seconds" => Value::Float(seconds),
        "total_minutes" => Value::Float(seconds / 60.0),
        "total_hours" => Value::Float(seconds / 3600.0),
        "total_days" => Value::Float(seconds / 86400.0),
        "in_seconds" => whole(1.0),
        "in_minutes" => whole(60.0),
        "in_hours" => whole(3600.0),
        // Pendulum counts the days between the two dates, whatever the time of day.
        "in_days" => {
            let dates = [&interval.start, &interval.end].map(|moment| {
                moment.zoned().filter(|zoned| zoned.time_zone() == &jiff::tz::TimeZone::UTC).map(jiff::Zoned::date)
            });
            match dates {
                [Some(start), Some(end)] => Value::Int((end - start).get_days().into()),
                _ => return Some(needs_python("the days between datetimes of these zones")),
            }
        }
        _ => return None,
    };
    Some(arguments.none().map(|()| value))
}

fn formatted(moment: &DateTime, pattern: Option<Value>) -> Outcome<Value> {
    strftime(moment, &str_argument(pattern, "strftime() argument 1")?).map(Value::str)
}

fn text_argument(value: Option<Value>) -> Outcome<String> {
    match required(value)? {
        Value::Str(text) => Ok(text.to_string()),
        other => needs_python(format!("a {} here", other.type_name())),
    }
}

fn numbers<const N: usize>(values: [Option<Value>; N]) -> Outcome<[Option<i128>; N]> {
    let mut numbers = [None; N];
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = match value {
            None => None,
            Some(value) => match as_int(&value) {
                Some(value) => Some(value),
                None => return needs_python(format!("a {} as a part of a date", value.type_name())),
            },
        };
    }
    Ok(numbers)
}

/// The arguments of `add` and `subtract`, and whether any of them is of a day or more.
fn units(arguments: Arguments, backwards: bool, with_time: bool) -> Outcome<(Units, bool)> {
    let names = ["years", "months", "weeks", "days", "hours", "minutes", "seconds", "microseconds"];
    let bound = numbers(arguments.bind(names)?)?;
    if !with_time && bound[4..].iter().any(Option::is_some) {
        return needs_python("adding hours to a date");
    }
    // No date is further away; and nothing overflows.
    let small = |value: Option<i128>| value.unwrap_or(0).clamp(-(1 << 60), 1 << 60);
    let [years, months, weeks, days, hours, minutes, seconds, micros] = bound.map(small);
    let sign = if backwards { -1 } else { 1 };
    let units = Units {
        months: sign * (years * 12 + months),
        days: sign * (weeks * 7 + days),
        micros: sign * (((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros),
    };
    Ok((units, [years, months, weeks, days].iter().any(|value| *value != 0)))
}

fn replace(moment: &DateTime, arguments: Arguments) -> Outcome<Value> {
    let names = ["year", "month", "day", "hour", "minute", "second", "microsecond"];
    let [year, month, day, hour, minute, second, micros] = numbers(arguments.bind(names)?)?;
    let clock = moment.clock();
    let date = replace_day(clock.date(), year, month, day)?;
    let time = time_of([
        hour.unwrap_or(clock.hour().into()),
        minute.unwrap_or(clock.minute().into()),
        second.unwrap_or(clock.second().into()),
        micros.unwrap_or(micros_of(clock).into()),
    ])?;
    moment.with_clock(date.to_datetime(time)).map(Value::DateTime)
}

fn replace_day(date: civil::Date, year: Option<i128>, month: Option<i128>, day: Option<i128>) -> Outcome<civil::Date> {
    day_of([year.unwrap_or(date.year().into()), month.unwrap_or(date.month().into()), day.unwrap_or(date.day().into())])
}

fn day_of([year, month, day]: [i128; 3]) -> Outcome<civil::Date> {
    if !(1..=9999).contains(&year) {
        return value_error(format!("year {year} is out of range"));
    }
    if !(1..=12).contains(&month) {
        return value_error("month must be in 1..12");
    }
    let small = |value: i128| i8::try_from(value).unwrap_or(i8::MAX);
    match civil::Date::new(i16::try_from(year).unwrap_or(0), small(month), small(day)) {
        Ok(date) => Ok(date),
        Err(_) => value_error("day is out of range for month"),
    }
}

fn time_of(fields: [i128; 4]) -> Outcome<civil::Time> {
    let bounds = [("hour", 23), ("minute", 59), ("second", 59), ("microsecond", 999_999)];
    for (value, (name, most)) in fields.iter().zip(bounds) {
        if !(0..=most).contains(value) {
            return value_error(format!("{name} must be in 0..{most}"));
        }
    }
    let small = |value: i128| i8::try_from(value).unwrap_or(0);
    let [hour, minute, second, micros] = fields;
    match civil::Time::new(small(hour), small(minute), small(second), i32::try_from(micros).unwrap_or(0) * 1000) {
        Ok(time) => Ok(time),
        Err(_) => needs_python("this time"),
    }
}

/// `datetime(...)`.
pub(crate) fn datetime_from_arguments(arguments: Arguments) -> Outcome<Value> {
    let names = ["year", "month", "day", "hour", "minute", "second", "microsecond"];
    let [year, month, day, hour, minute, second, micros] = numbers(arguments.bind(names)?)?;
    let (Some(year), Some(month), Some(day)) = (year, month, day) else {
        return needs_python("a datetime without a day");
    };
    let date = day_of([year, month, day])?;
    let time = time_of([hour, minute, second, micros].map(|value| value.unwrap_or(0)))?;
    Ok(Value::DateTime(DateTime { when: When::Naive(date.to_datetime(time)), is_pendulum: false }))
}

/// `timedelta(...)`.
pub(crate) fn timedelta_from_arguments(arguments: Arguments) -> Outcome<Value> {
    let names = ["days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks"];
    let micros_each = [MICROS_PER_DAY, 1_000_000, 1, 1_000, 60_000_000, 3_600_000_000, 7 * MICROS_PER_DAY];
    let mut total: i128 = 0;
    for ((value, each), name) in arguments.bind(names)?.into_iter().zip(micros_each).zip(names) {
        let value = match value {
            None => continue,
            Some(Value::Undefined(undefined)) => return undefined.fail(),
            // Halves and quarters of units are exact in a float; what is rounded is left to Python.
            Some(Value::Float(value)) if (value * 1024.0).fract() == 0.0 && value.abs() < 1e6 => {
                let scaled = (value * 1024.0) as i128 * each;
                if scaled % 1024 != 0 {
                    return needs_python("a timedelta that is rounded");
                }
                total += scaled / 1024;
                continue;
            }
            Some(value) => value,
        };
        let Some(number) = as_int(&value) else {
            return match value {
                Value::Float(_) => needs_python("a timedelta that is rounded"),
                other => type_error(format!("unsupported type for timedelta {name} component: {}", other.type_name())),
            };
        };
        match number.checked_mul(each).and_then(|micros| total.checked_add(micros)) {
            Some(sum) => total = sum,
            None => return raise("OverflowError", "Python int too large to convert to C int"),
        }
    }
    Delta::new(total).map(Value::Delta)
}
