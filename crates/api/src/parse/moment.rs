//! Moments as Pydantic reads them: RFC 3339 with its liberties, or seconds (or milliseconds) since 1970.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use serde_json::{Value, json};

use super::{Fault, Parsed};

/// Beyond this a number counts milliseconds, as in Pydantic.
const MILLISECONDS_FROM: i128 = 20_000_000_000;

/// A moment that may lack its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MaybeAware {
    /// With its offset, in seconds east of UTC.
    Aware(Timestamp, i32),
    Naive(DateTime),
}

impl MaybeAware {
    /// The moment, UTC where the offset is missing.
    pub(crate) fn in_utc(self) -> Option<Timestamp> {
        match self {
            MaybeAware::Aware(at, _) => Some(at),
            MaybeAware::Naive(at) => Offset::UTC.to_timestamp(at).ok(),
        }
    }
}

/// A `datetime`, with or without an offset.
pub(crate) fn moment(input: &Value) -> Parsed<MaybeAware> {
    match input {
        Value::String(text) => moment_text(text),
        Value::Number(number) => number
            .as_f64()
            .and_then(|number| from_number((number * 1e6).round() as i128))
            .ok_or_else(|| Fault::new("datetime_type", "Input should be a valid datetime")),
        _ => Err(Fault::new("datetime_type", "Input should be a valid datetime")),
    }
}

/// A `date`, or a moment at the very beginning of one.
pub(crate) fn date(input: &Value) -> Parsed<Date> {
    let inexact = || {
        let message = "Datetimes provided to dates should have zero time - e.g. be exact dates";
        Fault::new("date_from_datetime_inexact", message)
    };
    match moment(input) {
        Ok(MaybeAware::Naive(at)) if at.time() == Time::midnight() => Ok(at.date()),
        Ok(MaybeAware::Aware(at, 0)) => {
            let at = Offset::UTC.to_datetime(at);
            if at.time() == Time::midnight() { Ok(at.date()) } else { Err(inexact()) }
        }
        Ok(_) => Err(inexact()),
        Err(Fault { context: Some(context), .. }) => {
            let error = context["error"].as_str().unwrap_or_default();
            let message = format!("Input should be a valid date or datetime, {error}");
            Err(Fault::with("date_from_datetime_parsing", message, json!({"error": error})))
        }
        Err(_) => Err(Fault::new("date_type", "Input should be a valid date")),
    }
}

/// An `AwareDatetime` with its offset in seconds.
pub(crate) fn moment_with_offset(input: &Value) -> Parsed<(Timestamp, i32)> {
    match moment(input)? {
        MaybeAware::Aware(at, offset) => Ok((at, offset)),
        MaybeAware::Naive(_) => Err(Fault::new("timezone_aware", "Input should have timezone info")),
    }
}

/// An `AwareDatetime`.
pub(crate) fn aware_moment(input: &Value) -> Parsed<Timestamp> {
    moment_with_offset(input).map(|(at, _)| at)
}

fn moment_text(text: &str) -> Parsed<MaybeAware> {
    if let Some(at) = number_text(text).and_then(from_number) {
        return Ok(at);
    }
    // Pydantic tells what is wrong with the date, even if the rest is what is wrong.
    let wrong = |error: &str| {
        let message = format!("Input should be a valid datetime or date, {error}");
        Fault::with("datetime_from_date_parsing", message, json!({"error": error}))
    };
    let (date, rest) = leading_date(text).map_err(|error| match error {
        "year 0 is out of range" => {
            let message = format!("Input should be a valid datetime, {error}");
            Fault::with("datetime_parsing", message, json!({"error": error}))
        }
        error => wrong(error),
    })?;
    if rest.is_empty() {
        return Ok(MaybeAware::Naive(date.to_datetime(Time::midnight())));
    }
    time_after(date, rest).ok_or_else(|| wrong("unexpected extra characters at the end of the input"))
}

/// Microseconds of a text that is a number.
fn number_text(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.len() < 20 && text.bytes().all(|c| c.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let micros: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    Some(sign * (whole.parse::<i128>().ok()? * 1_000_000 + micros.parse::<i128>().ok()?))
}

/// The moment that a number of seconds stands for, or of milliseconds if it is large. Takes microseconds of it.
fn from_number(micros: i128) -> Option<MaybeAware> {
    let micros = if micros.abs() > MILLISECONDS_FROM * 1_000_000 { micros / 1000 } else { micros };
    let at = Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()?;
    Some(MaybeAware::Aware(at, 0))
}

fn digits(text: &[u8]) -> Option<i16> {
    let all = text.iter().all(u8::is_ascii_digit);
    all.then(|| text.iter().fold(0, |number, digit| number * 10 + i16::from(digit - b'0')))
}

/// The date that a text begins with, and what comes after it.
fn leading_date(text: &str) -> Result<(Date, &str), &'static str> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 {
        return Err("input is too short");
    }
    let year = digits(&bytes[..4]).ok_or("invalid character in year")?;
    if bytes[4] != b'-' {
        return Err("invalid date separator, expected `-`");
    }
    let month = digits(&bytes[5..7]).ok_or("invalid character in month")?;
    if bytes[7] != b'-' {
        return Err("invalid date separator, expected `-`");
    }
    let day = digits(&bytes[8..10]).ok_or("invalid character in day")?;
    if !(1..=12).contains(&month) {
        return Err("month value is outside expected range of 1-12");
    }
    let date = Date::new(year, month as i8, day as i8).map_err(|_| "day value is outside expected range")?;
    if year == 0 {
        return Err("year 0 is out of range");
    }
    Ok((date, &text[10..]))
}

/// The time and offset behind a date.
fn time_after(date: Date, text: &str) -> Option<MaybeAware> {
    let text = text.strip_prefix(['T', 't', ' ', '_'])?;
    let bytes = text.as_bytes();
    let pair = |at: usize| bytes.get(at..at + 2).and_then(digits).map(|number| number as i8);
    let (hour, minute) = (pair(0)?, pair(3)?);
    if bytes.get(2) != Some(&b':') {
        return None;
    }
    let mut rest = 5;
    let mut second = 0;
    let mut nanos = 0;
    if bytes.get(5) == Some(&b':') {
        second = pair(6)?;
        rest = 8;
        if matches!(bytes.get(8), Some(b'.' | b',')) {
            let fraction = bytes[9..].iter().take_while(|digit| digit.is_ascii_digit()).count();
            // Pydantic cuts what is finer than microseconds, and takes no more than nine digits.
            let padded: String = text[9..9 + fraction].chars().chain(std::iter::repeat('0')).take(6).collect();
            nanos = (1..=9).contains(&fraction).then(|| padded.parse::<i32>().ok())?? * 1000;
            rest = 9 + fraction;
        }
    }
    let time = Time::new(hour, minute, second, nanos).ok()?;
    let at = date.to_datetime(time);
    match offset(&text[rest..])? {
        None => Some(MaybeAware::Naive(at)),
        Some(seconds) => {
            let utc = Offset::UTC.to_timestamp(at).ok()?;
            let at = utc.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok()?;
            Some(MaybeAware::Aware(at, i32::try_from(seconds).ok()?))
        }
    }
}

/// Seconds east of UTC; `Some(None)` where there is no offset.
fn offset(text: &str) -> Option<Option<i64>> {
    if text.is_empty() {
        return Some(None);
    }
    if text == "Z" || text == "z" {
        return Some(Some(0));
    }
    let (sign, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix(['-', '\u{2212}'])?),
    };
    let (hours, minutes) = match rest.as_bytes() {
        [a, b, b':', c, d] | [a, b, c, d] => (digits(&[*a, *b])?, digits(&[*c, *d])?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60)))
}
