//! The span between two runs, fixed or by the calendar.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::TimetableError;
use super::relative_delta::RelativeDelta;
use super::schedule::Schedule;
use crate::Json;

/// Python's `timedelta` or dateutil's `relativedelta`.
#[derive(Clone, PartialEq, Debug)]
pub enum Delta {
    Fixed(SignedDuration),
    Calendar(RelativeDelta),
}

/// The first moment of Python's calendar. A delta that leads beyond it leads nowhere.
const FIRST_MOMENT: Timestamp = Timestamp::constant(-62_135_596_800, 0);

impl Delta {
    pub const ZERO: Delta = Delta::Fixed(SignedDuration::ZERO);

    /// The serialized form: seconds, or the fields of a `relativedelta`.
    pub(super) fn from_json(value: &Json) -> Result<Self, TimetableError> {
        if value.is_object() {
            return RelativeDelta::from_json(value).map(Delta::Calendar);
        }
        let duration = value.as_f64().and_then(duration_of_seconds);
        duration.map(Delta::Fixed).ok_or_else(|| TimetableError::NoDelta { value: value.to_string() })
    }

    /// The moment this far ahead.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let shifted = match self {
            Delta::Fixed(duration) => moment.checked_add(*duration).ok(),
            Delta::Calendar(delta) => shifted(moment, delta),
        };
        shifted.filter(|moment| *moment >= FIRST_MOMENT)
    }

    /// The moment this far back.
    pub fn before(&self, moment: Timestamp) -> Option<Timestamp> {
        let shifted = match self {
            Delta::Fixed(duration) => moment.checked_sub(*duration).ok(),
            Delta::Calendar(delta) => shifted(moment, &delta.negated()),
        };
        shifted.filter(|moment| *moment >= FIRST_MOMENT)
    }
}

/// The engine keeps all moments in UTC, and so does Airflow's scheduler: that is the calendar that counts.
fn shifted(moment: Timestamp, delta: &RelativeDelta) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(delta.added_to(TimeZone::UTC.to_datetime(moment))?).ok()
}

/// Python's `timedelta(seconds=...)`: to the microsecond, halves to even.
pub(super) fn duration_of_seconds(seconds: f64) -> Option<SignedDuration> {
    let microseconds = (seconds.fract() * 1e6).round_ties_even();
    // What a jiff timestamp can reach, with room to spare.
    (seconds.abs() < 1e12)
        .then(|| SignedDuration::from_secs(seconds.trunc() as i64) + SignedDuration::from_micros(microseconds as i64))
}

/// A delta has no moments of its own: any moment is one of its schedule.
impl Schedule for Delta {
    fn next(&self, moment: Timestamp) -> Option<Timestamp> {
        self.after(moment)
    }

    fn previous(&self, moment: Timestamp) -> Option<Timestamp> {
        self.before(moment)
    }

    fn align_to_next(&self, moment: Timestamp) -> Option<Timestamp> {
        Some(moment)
    }

    fn align_to_previous(&self, moment: Timestamp) -> Option<Timestamp> {
        Some(moment)
    }
}

/// As Python prints it: `1 day, 2:00:00`.
impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = match self {
            Delta::Fixed(duration) => duration,
            Delta::Calendar(delta) => return delta.fmt(f),
        };
        let microseconds = duration.as_micros();
        let (days, rest) = (microseconds.div_euclid(86_400_000_000), microseconds.rem_euclid(86_400_000_000));
        if days != 0 {
            write!(f, "{days} day{}, ", if days.abs() == 1 { "" } else { "s" })?;
        }
        let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
        write!(f, "{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if fraction != 0 {
            write!(f, ".{fraction:06}")?;
        }
        Ok(())
    }
}
