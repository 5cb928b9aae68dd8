//! `+`, `-`, `*` and `/` with dates, times and differences.

use std::rc::Rc;

use super::pendulum::{Units, add, add_months};
use super::{Date, DateTime, Delta, Interval, MICROS_PER_DAY, When};
use crate::error::{Outcome, needs_python, raise, type_error};
use crate::syntax::BinaryOp;
use crate::value::{Value, as_int};

/// Differences up to here, in seconds, are exact to the microsecond in the float that Pendulum makes of them.
const EXACT_SECONDS: i128 = 1_000_000_000;

/// `left op right`, where this is about times; `None` where it is not, or Python refuses it.
pub(crate) fn arithmetic(op: BinaryOp, left: &Value, right: &Value) -> Option<Outcome<Value>> {
    use BinaryOp::{Add, Div, FloorDiv, Mul, Sub};
    Some(match (op, left, right) {
        (Add, Value::DateTime(moment), Value::Delta(delta)) | (Add, Value::Delta(delta), Value::DateTime(moment)) => {
            shift(moment, delta.micros)
        }
        (Sub, Value::DateTime(moment), Value::Delta(delta)) => shift(moment, -delta.micros),
        (Sub, Value::DateTime(left), Value::DateTime(right)) => difference(left, right),
        (Add, Value::Date(date), Value::Delta(delta)) => shift_days(*date, delta.days()),
        (Add, Value::Delta(delta), Value::Date(date)) if !date.is_pendulum => shift_days(*date, delta.days()),
        (Sub, Value::Date(date), Value::Delta(delta)) if date.is_pendulum => shift_days(*date, -delta.days()),
        // The standard library takes away what is left of whole days when the sign is turned.
        (Sub, Value::Date(date), Value::Delta(delta)) => {
            shift_days(*date, Delta { micros: -delta.days() * MICROS_PER_DAY }.days())
        }
        (Sub, Value::Date(left), Value::Date(right)) if !left.is_pendulum && !right.is_pendulum => {
            let days = (left.day - right.day).get_days();
            Delta::new(i128::from(days) * MICROS_PER_DAY).map(Value::Delta)
        }
        (Add, Value::Delta(left), Value::Delta(right)) => Delta::new(left.micros + right.micros).map(Value::Delta),
        (Sub, Value::Delta(left), Value::Delta(right)) => Delta::new(left.micros - right.micros).map(Value::Delta),
        (Mul, Value::Delta(delta), count) | (Mul, count, Value::Delta(delta)) => times(*delta, count)?,
        (FloorDiv, Value::Delta(left), Value::Delta(right)) => match right.micros {
            0 => raise("ZeroDivisionError", "integer division or modulo by zero"),
            right if right > 0 => Ok(Value::Int(left.micros.div_euclid(right))),
            _ => needs_python("dividing by a negative timedelta"),
        },
        (Div, Value::Delta(left), Value::Delta(right)) => match right.micros {
            0 => raise("ZeroDivisionError", "division by zero"),
            right if left.micros.abs() < 1 << 53 && right.abs() < 1 << 53 => {
                Ok(Value::Float(left.micros as f64 / right as f64))
            }
            _ => needs_python("dividing timedeltas this large"),
        },
        (_, Value::DateTime(_) | Value::Delta(_), Value::None | Value::Int(_) | Value::Str(_))
        | (_, Value::None | Value::Int(_) | Value::Str(_), Value::DateTime(_) | Value::Delta(_)) => return None,
        (_, Value::DateTime(_) | Value::Date(_) | Value::Delta(_) | Value::Interval(_), _)
        | (_, _, Value::DateTime(_) | Value::Date(_) | Value::Delta(_) | Value::Interval(_)) => {
            needs_python(format!("`{}` between {} and {}", op.sign(), left.type_name(), right.type_name()))
        }
        _ => return None,
    })
}

fn times(delta: Delta, count: &Value) -> Option<Outcome<Value>> {
    let Some(count) = as_int(count) else {
        return Some(needs_python(format!("a timedelta times {}", count.type_name())));
    };
    Some(match delta.micros.checked_mul(count) {
        Some(micros) => Delta::new(micros).map(Value::Delta),
        None => needs_python("a timedelta this large"),
    })
}

fn shift(moment: &DateTime, micros: i128) -> Outcome<Value> {
    if moment.is_pendulum && micros.abs() > EXACT_SECONDS * super::MICROS_PER_SECOND && micros % 1_000_000 != 0 {
        return needs_python("adding microseconds over this many years");
    }
    // The standard library moves on the clock, which in UTC and without a zone is the same.
    let is_utc = moment.zoned().is_none_or(|zoned| zoned.time_zone() == &jiff::tz::TimeZone::UTC);
    if !moment.is_pendulum && !is_utc {
        return needs_python("adding to a datetime of this zone");
    }
    Ok(Value::DateTime(add(moment, Units { micros, ..Units::default() }, false)?))
}

fn shift_days(date: Date, days: i128) -> Outcome<Value> {
    add_to_date(date, 0, days).map(Value::Date)
}

pub(super) fn add_to_date(date: Date, months: i128, days: i128) -> Outcome<Date> {
    let day = add_months(date.day, months)?;
    let hours = i64::try_from(days.clamp(-10_000_000, 10_000_000) * 24).unwrap_or(0);
    match day.checked_add(jiff::SignedDuration::from_hours(hours)) {
        Ok(day) if (1..=9999).contains(&day.year()) => Ok(Date { day, ..date }),
        _ => needs_python("a date this far"),
    }
}

fn difference(left: &DateTime, right: &DateTime) -> Outcome<Value> {
    let both_aware = left.zoned().is_some() == right.zoned().is_some();
    if !left.is_pendulum && !right.is_pendulum {
        if !both_aware {
            return type_error("can't subtract offset-naive and offset-aware datetimes");
        }
        return Delta::new(left.micros_since_epoch() - right.micros_since_epoch()).map(Value::Delta);
    }
    if !both_aware {
        return type_error("can't compare offset-naive and offset-aware datetimes");
    }
    if matches!(left.when, When::Naive(_)) {
        return needs_python("the difference of datetimes without a zone");
    }
    let pendulum = |moment: &DateTime| DateTime { is_pendulum: true, ..moment.clone() };
    Ok(Value::Interval(Rc::new(Interval { start: pendulum(right), end: pendulum(left) })))
}
