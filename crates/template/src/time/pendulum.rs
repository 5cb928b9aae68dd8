//! Pendulum's own: adding calendar units, the start and end of units, and its formats.

use jiff::civil;

use super::strftime::{DAYS, MONTHS, zone_name};
use super::{DateTime, When, check_year, micros_of, offset_text};
use crate::error::{Outcome, needs_python, value_error};
use crate::value::str_repr;

/// Units that are added to a moment.
#[derive(Clone, Copy, Default)]
pub(super) struct Units {
    pub months: i128,
    pub days: i128,
    pub micros: i128,
}

/// `moment.add(...)`. With days or more it moves on the clock, otherwise in time.
pub(super) fn add(moment: &DateTime, units: Units, on_the_clock: bool) -> Outcome<DateTime> {
    if units.micros.abs() > super::MICROS_PER_DAY * 366 * 10_000 || units.days.abs() > 366 * 10_000 {
        return needs_python("a date this far");
    }
    let micros = i64::try_from(units.micros).unwrap_or(0);
    let span = jiff::SignedDuration::from_micros(micros);
    if let (When::Aware(zoned), false) = (&moment.when, on_the_clock) {
        return match zoned.checked_add(span) {
            Ok(zoned) => {
                check_year(zoned.year().into())?;
                Ok(DateTime { when: When::Aware(zoned), is_pendulum: moment.is_pendulum })
            }
            Err(_) => needs_python("a date this far"),
        };
    }
    let clock = moment.clock();
    let date = add_months(clock.date(), units.months)?;
    let moved = date
        .to_datetime(clock.time())
        .checked_add(jiff::SignedDuration::from_hours(24 * i64::try_from(units.days).unwrap_or(0)))
        .and_then(|clock| clock.checked_add(span));
    match moved {
        Ok(clock) => moment.with_clock(clock),
        Err(_) => needs_python("a date this far"),
    }
}

/// The day, so many months later; the month's last day where it has no such day.
pub(super) fn add_months(date: civil::Date, months: i128) -> Outcome<civil::Date> {
    let total = i128::from(date.year()) * 12 + i128::from(date.month()) - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    check_year(i64::try_from(year).unwrap_or(0))?;
    let first = civil::Date::new(i16::try_from(year).unwrap_or(1), i8::try_from(month).unwrap_or(1), 1);
    match first.and_then(|first| civil::Date::new(first.year(), first.month(), date.day().min(first.days_in_month()))) {
        Ok(date) => Ok(date),
        Err(_) => needs_python("this date"),
    }
}

/// The first or the last day of the unit that a day is in; `None` for units of less than a day.
pub(super) fn edge_of(date: civil::Date, unit: &str, last: bool) -> Outcome<Option<civil::Date>> {
    let weekday = i64::from(date.weekday().to_monday_zero_offset());
    let day =
        |month: i8, last_day: i8| civil::Date::new(date.year(), month, if last { last_day } else { 1 }).unwrap_or(date);
    Ok(Some(match unit {
        "day" => date,
        "week" => {
            let days = if last { 6 - weekday } else { -weekday };
            match date.checked_add(jiff::SignedDuration::from_hours(24 * days)) {
                Ok(date) => date,
                Err(_) => return needs_python("this date"),
            }
        }
        "month" => day(date.month(), date.days_in_month()),
        "year" => day(if last { 12 } else { 1 }, 31),
        "decade" | "century" => return needs_python(format!("a {unit}")),
        _ => return Ok(None),
    }))
}

/// `moment.start_of(unit)` and `moment.end_of(unit)`.
pub(super) fn edge(moment: &DateTime, unit: &str, last: bool) -> Outcome<DateTime> {
    let clock = moment.clock();
    let time = clock.time();
    let (low, high) = ((0, 0, 0, 0), (23, 59, 59, 999_999_000));
    let (hour, minute, second, nanos) = match (unit, last) {
        ("second", false) => (time.hour(), time.minute(), time.second(), 0),
        ("second", true) => (time.hour(), time.minute(), time.second(), high.3),
        ("minute", false) => (time.hour(), time.minute(), 0, 0),
        ("minute", true) => (time.hour(), time.minute(), high.2, high.3),
        ("hour", false) => (time.hour(), 0, 0, 0),
        ("hour", true) => (time.hour(), high.1, high.2, high.3),
        (_, false) => low,
        (_, true) => high,
    };
    let Some(date) = edge_of(clock.date(), unit, last)?
        .or_else(|| matches!(unit, "second" | "minute" | "hour").then(|| clock.date()))
    else {
        let function = if last { "end_of" } else { "start_of" };
        return value_error(format!("Invalid unit \"{unit}\" for {function}()"));
    };
    moment.with_clock(date.at(hour, minute, second, nanos))
}

/// Pendulum's tokens that are written here, longest first where one begins with another. Those that are only known
/// so that they are not taken for shorter ones stand for needing Python.
const TOKENS: &[&str] = &[
    "Mo",
    "MMMM",
    "MMM",
    "MM",
    "M",
    "Do",
    "DDDo",
    "DDDD",
    "DDD",
    "DD",
    "D",
    "dddd",
    "ddd",
    "dd",
    "do",
    "d",
    "eo",
    "e",
    "EEEE",
    "EEE",
    "EE",
    "E",
    "wo",
    "w|",
    "w",
    "Wo",
    "W|",
    "W",
    "Qo",
    "Q",
    "YYYY",
    "YY",
    "Y",
    "gggg",
    "gg",
    "GGGG",
    "GG",
    "a",
    "A",
    "hh",
    "h",
    "HH",
    "H",
    "kk",
    "k",
    "mm",
    "m",
    "ss",
    "s",
    "SSSSSSSSS",
    "SSSSSSSS",
    "SSSSSSS",
    "SSSSSS",
    "SSSSS",
    "SSSS",
    "SSS",
    "SS",
    "S",
    "x",
    "X",
    "zz",
    "z",
    "ZZ",
    "Z",
    "LTS",
    "LT",
    "LLLL",
    "LLL",
    "LL",
    "L",
];

/// `moment.format(format)` in English, the language that Pendulum starts with.
pub(super) fn format(moment: &DateTime, format: &str) -> Outcome<String> {
    let mut out = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        // As far as the last `]` that comes before another `[`.
        let bracketed = if c == '[' { rest[1..].split('[').next().and_then(|inner| inner.rfind(']')) } else { None };
        if let Some(length) = bracketed {
            let (inner, end) = (&rest[1..=length], length + 1);
            if inner.is_empty() {
                return needs_python(format!("the format {}", str_repr(format)));
            }
            out.push_str(inner);
            rest = &rest[end + 1..];
        } else if c == '\\' {
            return needs_python(format!("the format {}", str_repr(format)));
        } else if let Some(token) = TOKENS.iter().find(|token| rest.starts_with(**token)) {
            match token_text(moment, token) {
                Some(text) => out.push_str(&text),
                None => return needs_python(format!("`{token}` in the format {}", str_repr(format))),
            }
            rest = &rest[token.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

fn token_text(moment: &DateTime, token: &str) -> Option<String> {
    let clock = moment.clock();
    let twelve = if clock.hour() % 12 == 0 { 12 } else { clock.hour() % 12 };
    let micros = micros_of(clock);
    let weekday = usize::try_from(clock.weekday().to_monday_zero_offset()).ok()?;
    let month = MONTHS.get(usize::try_from(clock.month()).ok()?.checked_sub(1)?)?;
    Some(match token {
        "YYYY" | "Y" => clock.year().to_string(),
        "YY" => clock.year().to_string().get(2..).unwrap_or_default().to_owned(),
        "Q" => ((clock.month() + 2) / 3).to_string(),
        "MMMM" => (*month).to_owned(),
        "MMM" => month[..3].to_owned(),
        "MM" => format!("{:02}", clock.month()),
        "M" => clock.month().to_string(),
        "DDDD" => format!("{:03}", clock.day_of_year()),
        "DDD" => clock.day_of_year().to_string(),
        "DD" => format!("{:02}", clock.day()),
        "D" => clock.day().to_string(),
        "dddd" => DAYS.get(weekday)?.to_string(),
        "ddd" => DAYS.get(weekday)?[..3].to_owned(),
        "E" => (weekday + 1).to_string(),
        "HH" => format!("{:02}", clock.hour()),
        "H" => clock.hour().to_string(),
        "hh" => format!("{twelve:02}"),
        "h" => twelve.to_string(),
        "mm" => format!("{:02}", clock.minute()),
        "m" => clock.minute().to_string(),
        "ss" => format!("{:02}", clock.second()),
        "s" => clock.second().to_string(),
        "S" | "SS" | "SSS" | "SSSS" | "SSSSS" | "SSSSSS" => format!("{micros:06}")[..token.len()].to_owned(),
        "A" => if clock.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "X" => moment.zoned()?.timestamp().as_second().to_string(),
        "zz" => zone_name(moment),
        "z" => moment.zoned().and_then(|zoned| zoned.time_zone().iana_name()).unwrap_or_default().to_owned(),
        "Z" => offset_text(whole_minutes(moment)?, ":"),
        "ZZ" => offset_text(whole_minutes(moment)?, ""),
        _ => return None,
    })
}

/// The offset, where it has no seconds, which Pendulum cuts off.
fn whole_minutes(moment: &DateTime) -> Option<i32> {
    moment.zoned().map(|zoned| zoned.offset().seconds()).filter(|seconds| seconds % 60 == 0)
}
