//! Small conversions between our values and the texts that Airflow writes.

use jiff::{SignedDuration, Timestamp, Unit};

/// `str(datetime)` of an aware UTC moment in Python: `2024-01-02 03:04:05.000600+00:00`.
pub fn python_datetime_str(moment: Timestamp) -> String {
    python_datetime(moment, ' ')
}

/// `datetime.isoformat()` of an aware UTC moment in Python: `2024-01-02T03:04:05.000600+00:00`.
pub fn python_isoformat(moment: Timestamp) -> String {
    python_datetime(moment, 'T')
}

fn python_datetime(moment: Timestamp, separator: char) -> String {
    let utc = moment.to_zoned(jiff::tz::TimeZone::UTC);
    let micros = moment.subsec_microsecond();
    let date = utc.strftime("%Y-%m-%d");
    let time = utc.strftime("%H:%M:%S");
    if micros == 0 {
        format!("{date}{separator}{time}+00:00")
    } else {
        format!("{date}{separator}{time}.{micros:06}+00:00")
    }
}

/// The moment cut to microseconds, the precision of every stored moment.
pub fn to_microseconds(moment: Timestamp) -> Timestamp {
    moment.round(jiff::TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Trunc)).unwrap_or(moment)
}

/// Seconds as a number with fractions, as Python's `timedelta.total_seconds()` gives them.
pub fn total_seconds(duration: SignedDuration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// The duration of so many seconds, rounded to microseconds; `None` for what no duration can hold.
pub fn from_total_seconds(seconds: f64) -> Option<SignedDuration> {
    let micros = (seconds * 1e6).round();
    (micros.abs() < i64::MAX as f64).then(|| SignedDuration::from_micros(micros as i64))
}
