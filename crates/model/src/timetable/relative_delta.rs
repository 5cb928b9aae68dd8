//! A span of calendar time, dateutil's `relativedelta`.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span};

use super::TimetableError;
use crate::Json;

/// Plural fields are added to a date, singular ones replace the date's own.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RelativeDelta {
    years: i64,
    months: i64,
    days: f64,
    leapdays: f64,
    hours: f64,
    minutes: f64,
    seconds: f64,
    microseconds: f64,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    weekday: Option<WeekdayRule>,
    hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    microsecond: Option<i64>,
}

/// On to the nth weekday of that kind, or back where n is negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct WeekdayRule {
    /// 0 for Monday.
    weekday: i8,
    nth: Option<i64>,
}

/// Moves what is too much for a unit to the next larger one, sign and all.
fn carry(small: &mut f64, large: &mut f64, size: f64) {
    if small.abs() > size - 1.0 {
        let sign = 1.0_f64.copysign(*small);
        let total = *small * sign;
        let rest = total % size;
        *large += ((total - rest) / size).round() * sign;
        *small = rest * sign;
    }
}

impl RelativeDelta {
    /// The serialized form: an object with the fields that are not zero.
    pub(super) fn from_json(value: &Json) -> Result<Self, TimetableError> {
        let wrong = || TimetableError::NoDelta { value: value.to_string() };
        let mut delta = Self::default();
        for (name, field) in value.as_object().ok_or_else(wrong)? {
            if name == "weekday" {
                delta.weekday = Some(WeekdayRule::from_json(field).ok_or_else(wrong)?);
                continue;
            }
            let amount = field.as_f64().filter(|amount| amount.is_finite()).ok_or_else(wrong)?;
            // Units of different lengths, and the fields that replace, can't be split.
            let whole = || if amount.fract() == 0.0 { Ok(amount as i64) } else { Err(wrong()) };
            match name.as_str() {
                "years" => delta.years = whole()?,
                "months" => delta.months = whole()?,
                "days" => delta.days += amount,
                "weeks" => delta.days += amount * 7.0,
                "leapdays" => delta.leapdays = amount,
                "hours" => delta.hours = amount,
                "minutes" => delta.minutes = amount,
                "seconds" => delta.seconds = amount,
                "microseconds" => delta.microseconds = amount,
                "year" => delta.year = Some(whole()?),
                "month" => delta.month = Some(whole()?),
                "day" => delta.day = Some(whole()?),
                "hour" => delta.hour = Some(whole()?),
                "minute" => delta.minute = Some(whole()?),
                "second" => delta.second = Some(whole()?),
                "microsecond" => delta.microsecond = Some(whole()?),
                _ => return Err(wrong()),
            }
        }
        Ok(delta.normalized())
    }

    fn normalized(mut self) -> Self {
        carry(&mut self.microseconds, &mut self.seconds, 1e6);
        carry(&mut self.seconds, &mut self.minutes, 60.0);
        carry(&mut self.minutes, &mut self.hours, 60.0);
        carry(&mut self.hours, &mut self.days, 24.0);
        self.years = self.years.saturating_add(self.months / 12);
        self.months %= 12;
        self
    }

    /// The same way back; what replaces a field stays.
    pub(super) fn negated(&self) -> Self {
        Self {
            years: -self.years,
            months: -self.months,
            days: -self.days,
            hours: -self.hours,
            minutes: -self.minutes,
            seconds: -self.seconds,
            microseconds: -self.microseconds,
            ..self.clone()
        }
    }

    /// Whether it has months or years, which have no fixed length.
    pub(super) fn has_months(&self) -> bool {
        self.months != 0 || self.years != 0
    }

    /// Airflow's reckoning of its length where it needs one: years of 365 days, months of 30.
    pub(super) fn nominal_seconds(&self) -> f64 {
        (self.years * 365 * 86_400 + self.months * 30 * 86_400) as f64
            + self.days * 86_400.0
            + self.hours * 3600.0
            + self.minutes * 60.0
            + self.seconds
    }

    /// The date moved by the delta: first what replaces, then years and months with the day cut to the month's length,
    /// then the exact units, then the weekday. `None` where no calendar reaches.
    pub(super) fn added_to(&self, moment: DateTime) -> Option<DateTime> {
        let year = non_zero(self.year).unwrap_or(moment.year().into()).checked_add(self.years)?;
        let month = non_zero(self.month).unwrap_or(moment.month().into()).checked_add(self.months)?;
        let (year, month) = match month {
            ..1 => (year - 1, month + 12),
            13.. => (year + 1, month - 12),
            _ => (year, month),
        };
        let first = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()?;
        let day = non_zero(self.day).unwrap_or(moment.day().into()).min(first.days_in_month().into());
        let date = first.with().day(i8::try_from(day).ok()?).build().ok()?;
        let mut time = moment.time().with();
        for (value, setter) in [
            (self.hour, jiff::civil::TimeWith::hour as fn(_, i8) -> _),
            (self.minute, jiff::civil::TimeWith::minute),
            (self.second, jiff::civil::TimeWith::second),
        ] {
            if let Some(value) = value {
                time = setter(time, i8::try_from(value).ok()?);
            }
        }
        if let Some(microsecond) = self.microsecond {
            time = time.subsec_nanosecond(i32::try_from(microsecond.checked_mul(1000)?).ok()?);
        }
        let moved = date.to_datetime(time.build().ok()?);
        let leapdays = if first.in_leap_year() && month > 2 { self.leapdays } else { 0.0 };
        let moved = moved.checked_add(self.exact_part(leapdays)?).ok()?;
        match self.weekday {
            Some(rule) => rule.applied_to(moved),
            None => Some(moved),
        }
    }

    fn exact_part(&self, leapdays: f64) -> Option<SignedDuration> {
        let microseconds = (self.days + leapdays) * 86_400e6
            + self.hours * 3600e6
            + self.minutes * 60e6
            + self.seconds * 1e6
            + self.microseconds;
        (microseconds.abs() < 1e18).then(|| SignedDuration::from_micros(microseconds.round_ties_even() as i64))
    }
}

/// A year, month or day of 0 replaces nothing.
fn non_zero(field: Option<i64>) -> Option<i64> {
    field.filter(|value| *value != 0)
}

impl WeekdayRule {
    /// `[weekday]` or `[weekday, n]`.
    fn from_json(value: &Json) -> Option<Self> {
        let parts = value.as_array().filter(|parts| matches!(parts.len(), 1 | 2))?;
        let weekday = parts[0].as_i64().filter(|day| (0..7).contains(day))? as i8;
        let nth = match parts.get(1) {
            None | Some(Json::Null) => None,
            Some(nth) => Some(nth.as_i64().filter(|nth| *nth != 0)?),
        };
        Some(Self { weekday, nth })
    }

    fn applied_to(self, moment: DateTime) -> Option<DateTime> {
        let nth = self.nth.unwrap_or(1);
        let weeks = (nth.checked_abs()? - 1).checked_mul(7)?;
        let today = moment.weekday().to_monday_zero_offset();
        let days = if nth > 0 {
            weeks + i64::from((self.weekday - today).rem_euclid(7))
        } else {
            -(weeks + i64::from((today - self.weekday).rem_euclid(7)))
        };
        moment.checked_add(Span::new().try_days(days).ok()?).ok()
    }
}

impl fmt::Display for WeekdayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].get(self.weekday as usize).copied().unwrap_or("?");
        match self.nth {
            Some(nth) => write!(f, "{name}({nth:+})"),
            None => f.write_str(name),
        }
    }
}

/// As Python prints it.
impl fmt::Display for RelativeDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relative = [
            ("years", self.years as f64),
            ("months", self.months as f64),
            ("days", self.days),
            ("leapdays", self.leapdays),
            ("hours", self.hours),
            ("minutes", self.minutes),
            ("seconds", self.seconds),
            ("microseconds", self.microseconds),
        ];
        let absolute = |name: &str, value: Option<i64>| value.map(|value| format!("{name}={value}"));
        let mut parts: Vec<String> = relative
            .iter()
            .filter(|(_, amount)| *amount != 0.0)
            .map(|(name, amount)| format!("{name}={}", six_digits(*amount)))
            .collect();
        parts.extend(absolute("year", self.year));
        parts.extend(absolute("month", self.month));
        parts.extend(absolute("day", self.day));
        parts.extend(self.weekday.map(|rule| format!("weekday={rule}")));
        parts.extend(absolute("hour", self.hour));
        parts.extend(absolute("minute", self.minute));
        parts.extend(absolute("second", self.second));
        parts.extend(absolute("microsecond", self.microsecond));
        write!(f, "relativedelta({})", parts.join(", "))
    }
}

/// Python's `%+g`: six significant digits without trailing zeros.
fn six_digits(amount: f64) -> String {
    let scientific = format!("{amount:+.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..6).contains(&exponent) {
        trim(&format!("{amount:+.*}", (5 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(digits), exponent.abs())
    }
}
