//! How Pydantic writes values.

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

/// A moment as Pydantic writes an aware UTC `datetime`: `2026-01-02T03:04:05.123456Z`, without the fraction where it is
/// zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = jiff::tz::Offset::UTC.to_datetime(self.0);
        write!(f, "{:04}-{:02}-{:02}T", at.year(), at.month(), at.day())?;
        write!(f, "{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())?;
        match at.subsec_nanosecond() / 1000 {
            0 => write!(f, "Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The moment, if there is one.
pub(crate) fn moment(at: Option<Timestamp>) -> Option<Moment> {
    at.map(Moment)
}

/// A duration in seconds, as Airflow's `duration` columns have it.
pub(crate) fn seconds(duration: Option<SignedDuration>) -> Option<f64> {
    duration.map(model::operations::total_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_six_digits_or_none() {
        let text = |micros: i64| Moment(Timestamp::from_microsecond(micros).unwrap()).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_767_323_045_123_450), "2026-01-02T03:04:05.123450Z");
    }
}
