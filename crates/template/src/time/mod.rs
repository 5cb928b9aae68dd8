//! Python's dates and times: those of the standard library and of Pendulum 3.

mod arithmetic;
mod methods;
mod pendulum;
mod strftime;
mod strptime;

use std::cmp::Ordering;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::{Outcome, needs_python, raise, type_error};

pub(crate) use arithmetic::arithmetic;
pub(crate) use methods::{attribute, call, datetime_from_arguments, timedelta_from_arguments};
pub(crate) use strftime::{check_format, strftime};
pub(crate) use strptime::strptime;

const MICROS_PER_SECOND: i128 = 1_000_000;
const MICROS_PER_DAY: i128 = 86_400 * MICROS_PER_SECOND;

/// A moment, or a time on the clock without a zone.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct DateTime {
    pub when: When,
    pub is_pendulum: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum When {
    Naive(civil::DateTime),
    Aware(Zoned),
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Date {
    pub day: civil::Date,
    pub is_pendulum: bool,
}

/// `datetime.timedelta`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Delta {
    pub micros: i128,
}

/// What the difference of two of Pendulum's datetimes is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Interval {
    pub start: DateTime,
    pub end: DateTime,
}

impl DateTime {
    /// A moment in UTC, as Pendulum has it.
    pub fn pendulum(moment: Timestamp) -> Self {
        Self { when: When::Aware(moment.to_zoned(TimeZone::UTC)), is_pendulum: true }
    }

    /// A moment in UTC, as the standard library has it.
    pub fn standard(moment: Timestamp) -> Self {
        Self { is_pendulum: false, ..Self::pendulum(moment) }
    }

    /// A time on the clock, in the zone of `self`.
    fn with_clock(&self, clock: civil::DateTime) -> Outcome<Self> {
        check_year(clock.year().into())?;
        let when = match &self.when {
            When::Naive(_) => When::Naive(clock),
            When::Aware(zoned) => {
                let ambiguous = zoned.time_zone().to_ambiguous_zoned(clock);
                if ambiguous.is_ambiguous() {
                    return needs_python("a time at which clocks are changed");
                }
                match ambiguous.unambiguous() {
                    Ok(zoned) => When::Aware(zoned),
                    Err(_) => return needs_python("this date"),
                }
            }
        };
        Ok(Self { when, is_pendulum: self.is_pendulum })
    }

    pub fn clock(&self) -> civil::DateTime {
        match &self.when {
            When::Naive(clock) => *clock,
            When::Aware(zoned) => zoned.datetime(),
        }
    }

    pub fn zoned(&self) -> Option<&Zoned> {
        match &self.when {
            When::Naive(_) => None,
            When::Aware(zoned) => Some(zoned),
        }
    }

    fn micros_since_epoch(&self) -> i128 {
        match &self.when {
            When::Aware(zoned) => zoned.timestamp().as_microsecond().into(),
            When::Naive(clock) => TimeZone::UTC.to_timestamp(*clock).map_or(0, |moment| moment.as_microsecond().into()),
        }
    }

    /// `==`: a time without a zone is never the same as one with a zone.
    pub fn same_moment(&self, other: &DateTime) -> Outcome<bool> {
        let same_kind = self.zoned().is_some() == other.zoned().is_some();
        Ok(same_kind && self.micros_since_epoch() == other.micros_since_epoch())
    }

    pub fn compare(&self, other: &DateTime, _sign: &str) -> Outcome<Ordering> {
        if self.zoned().is_some() != other.zoned().is_some() {
            return type_error("can't compare offset-naive and offset-aware datetimes");
        }
        Ok(self.micros_since_epoch().cmp(&other.micros_since_epoch()))
    }

    /// `isoformat(separator)`.
    pub fn text(&self, separator: char) -> String {
        let clock = self.clock();
        let mut text = format!(
            "{:04}-{:02}-{:02}{separator}{:02}:{:02}:{:02}",
            clock.year(),
            clock.month(),
            clock.day(),
            clock.hour(),
            clock.minute(),
            clock.second()
        );
        let micros = micros_of(clock);
        if micros != 0 {
            text.push_str(&format!(".{micros:06}"));
        }
        if let Some(zoned) = self.zoned() {
            text.push_str(&offset_text(zoned.offset().seconds(), ":"));
        }
        text
    }

    pub fn repr(&self) -> Outcome<String> {
        let clock = self.clock();
        let (date, time) = (clock.date(), clock.time());
        let micros = match micros_of(clock) {
            0 => String::new(),
            micros => format!(", {micros}"),
        };
        let (year, month, day) = (date.year(), date.month(), date.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        match (&self.when, self.is_pendulum) {
            (When::Aware(zoned), true) => {
                let Some(name) = zoned.time_zone().iana_name() else {
                    return needs_python("the text of this time zone");
                };
                let clock = format!("{year}, {month}, {day}, {hour}, {minute}, {second}{micros}");
                Ok(format!("DateTime({clock}, tzinfo=Timezone('{name}'))"))
            }
            (When::Naive(_), false) => {
                let second =
                    if second == 0 && micros.is_empty() { String::new() } else { format!(", {second}{micros}") };
                Ok(format!("datetime.datetime({year}, {month}, {day}, {hour}, {minute}{second})"))
            }
            _ => needs_python("the text of this datetime in a list or dict"),
        }
    }
}

impl Date {
    pub fn text(self) -> String {
        format!("{:04}-{:02}-{:02}", self.day.year(), self.day.month(), self.day.day())
    }

    pub fn repr(self) -> String {
        let class = if self.is_pendulum { "Date" } else { "datetime.date" };
        format!("{class}({}, {}, {})", self.day.year(), self.day.month(), self.day.day())
    }
}

impl Delta {
    /// The difference, if Python can hold it.
    pub fn new(micros: i128) -> Outcome<Self> {
        let days = micros.div_euclid(MICROS_PER_DAY);
        if days.abs() > 999_999_999 {
            return raise("OverflowError", format!("days={days}; must have magnitude <= 999999999"));
        }
        Ok(Self { micros })
    }

    pub fn negated(self) -> Outcome<Self> {
        Delta::new(-self.micros)
    }

    pub fn days(self) -> i128 {
        self.micros.div_euclid(MICROS_PER_DAY)
    }

    pub fn seconds(self) -> i128 {
        self.micros.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND
    }

    pub fn microseconds(self) -> i128 {
        self.micros.rem_euclid(MICROS_PER_SECOND)
    }

    pub fn total_seconds(self) -> f64 {
        self.micros as f64 / 1e6
    }

    pub fn text(self) -> String {
        let (days, seconds, micros) = (self.days(), self.seconds(), self.microseconds());
        let mut text = match days {
            0 => String::new(),
            1 | -1 => format!("{days} day, "),
            _ => format!("{days} days, "),
        };
        text.push_str(&format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
        if micros != 0 {
            text.push_str(&format!(".{micros:06}"));
        }
        text
    }

    pub fn repr(self) -> String {
        let parts = [("days", self.days()), ("seconds", self.seconds()), ("microseconds", self.microseconds())];
        let parts: Vec<String> =
            parts.iter().filter(|(_, value)| *value != 0).map(|(name, value)| format!("{name}={value}")).collect();
        let parts = if parts.is_empty() { "0".to_owned() } else { parts.join(", ") };
        format!("datetime.timedelta({parts})")
    }
}

impl Interval {
    pub fn micros(&self) -> i128 {
        self.end.micros_since_epoch() - self.start.micros_since_epoch()
    }

    pub fn text(&self) -> String {
        format!("<Interval [{} -> {}]>", self.start.text(' '), self.end.text(' '))
    }
}

fn micros_of(clock: civil::DateTime) -> i32 {
    clock.subsec_nanosecond() / 1000
}

/// An offset from UTC as `+01:00`, with seconds only where there are some.
fn offset_text(seconds: i32, separator: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let mut text = format!("{sign}{:02}{separator}{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 {
        text.push_str(&format!("{separator}{:02}", seconds % 60));
    }
    text
}

/// Python's years go from 1 to 9999.
fn check_year(year: i64) -> Outcome<()> {
    if (1..=9999).contains(&year) { Ok(()) } else { needs_python(format!("the year {year}")) }
}

/// The zone of this name, if Python knows it by the same name.
pub(crate) fn zone(name: &str) -> Outcome<TimeZone> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    match TimeZone::get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(zone),
        _ => needs_python(format!("the time zone `{name}`")),
    }
}
