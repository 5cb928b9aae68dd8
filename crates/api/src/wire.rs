//! How Pydantic writes values.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
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

/// A moment with the offset in which somebody gave it: answers that echo a request keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MomentAt {
    at: Timestamp,
    /// Seconds east of UTC.
    offset: i32,
}

impl MomentAt {
    pub(crate) fn new(at: Timestamp, offset: i32) -> Self {
        Self { at, offset }
    }

    pub(crate) fn utc(self) -> Timestamp {
        self.at
    }

    pub(crate) fn is_same_moment(self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl From<Timestamp> for MomentAt {
    fn from(at: Timestamp) -> Self {
        Self { at, offset: 0 }
    }
}

impl std::fmt::Display for MomentAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offset = SignedDuration::from_secs(i64::from(self.offset));
        if self.offset == 0 {
            return Moment(self.at).fmt(f);
        }
        let local = Moment(self.at.saturating_add(offset).unwrap_or(self.at)).to_string();
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        write!(f, "{}{sign}{:02}:{:02}", local.trim_end_matches('Z'), minutes / 60, minutes % 60)
    }
}

impl Serialize for MomentAt {
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

/// Nothing to tell: a 204, to which FastAPI gives a content type all the same.
pub(crate) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        (StatusCode::NO_CONTENT, [(header::CONTENT_TYPE, "application/json")]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_six_digits_or_none() {
        let text = |micros: i64| Moment(Timestamp::from_microsecond(micros).unwrap()).to_string();
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_767_323_045_123_450), "2026-01-02T03:04:05.123450Z");
        let at = |offset| MomentAt::new(Timestamp::from_microsecond(1_500_000).unwrap(), offset).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:01.500000Z");
        assert_eq!(at(7200), "1970-01-01T02:00:01.500000+02:00");
        assert_eq!(at(-1800), "1969-12-31T23:30:01.500000-00:30");
    }
}
