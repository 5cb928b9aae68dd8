//! Time zones, as a timetable names them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::TimetableError;
use crate::Json;

/// A named time zone or a fixed offset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// A name of the IANA database, `UTC` in any case, or an offset such as `+05:30`, `-0800` or `+02`.
    pub fn named(name: &str) -> Result<Self, TimetableError> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::UTC);
        }
        let unknown = || TimetableError::UnknownTimeZone { name: name.to_owned() };
        match name.strip_prefix('+').map(|rest| (1, rest)).or_else(|| name.strip_prefix('-').map(|rest| (-1, rest))) {
            Some((sign, rest)) => Self::offset(sign * offset_seconds(rest).ok_or_else(unknown)?),
            None => TimeZone::get(name).map(Zone).map_err(|_| unknown()),
        }
    }

    /// A fixed offset from UTC in seconds, east of Greenwich positive.
    pub fn offset(seconds: i64) -> Result<Self, TimetableError> {
        let unknown = || TimetableError::UnknownTimeZone { name: seconds.to_string() };
        let seconds = i32::try_from(seconds).map_err(|_| unknown())?;
        Offset::from_seconds(seconds).map(|offset| Zone(TimeZone::fixed(offset))).map_err(|_| unknown())
    }

    /// The serialized form: a name, or the seconds of an offset.
    pub(crate) fn from_json(value: &Json) -> Result<Self, TimetableError> {
        match (value.as_str(), value.as_i64()) {
            (Some(name), _) => Self::named(name),
            (None, Some(seconds)) => Self::offset(seconds),
            (None, None) => Err(TimetableError::UnknownTimeZone { name: value.to_string() }),
        }
    }

    /// What a clock on the wall shows at a moment.
    pub(crate) fn wall_clock(&self, moment: Timestamp) -> DateTime {
        self.0.to_datetime(moment)
    }

    /// How far the clock is ahead of UTC at a moment, in seconds.
    pub(crate) fn offset_at(&self, moment: Timestamp) -> i32 {
        self.0.to_offset(moment).seconds()
    }

    /// When the clock on the wall shows a time. Of two such moments the later one, as in Airflow's `make_aware`; a
    /// time that a jump forward leaves out moves forward by the jump.
    pub(crate) fn moment(&self, wall_clock: DateTime) -> Option<Timestamp> {
        self.0.to_ambiguous_timestamp(wall_clock).later().ok()
    }
}

/// `HH`, `HHMM` or `HH:MM` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let digits: String = match text.split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => format!("{hours}{minutes}"),
        Some(_) => return None,
        None => text.to_owned(),
    };
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i64 = digits[..2].parse().ok()?;
    let minutes: i64 = if digits.len() == 4 { digits[2..].parse().ok()? } else { 0 };
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_several_spellings() {
        let half_past_five = Zone::offset(19_800).unwrap();
        for text in ["+05:30", "+0530"] {
            assert_eq!(Zone::named(text).unwrap(), half_past_five);
        }
        assert_eq!(Zone::named("-08").unwrap(), Zone::offset(-28_800).unwrap());
        for text in ["+5", "+24:00", "+05:60", "+05:3", "+", "Europe/Nowhere"] {
            let message = Zone::named(text).unwrap_err().to_string();
            assert!(message.contains(text), "{message}");
        }
    }
}
