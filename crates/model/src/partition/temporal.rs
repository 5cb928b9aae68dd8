//! Mappers from a moment to the period that it is in.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan};

use super::{MapError, parse, quoted, write};
use crate::timetable::Zone;

/// What a period begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Period {
    pub(super) fn named(class: &str) -> Option<Self> {
        Some(match class {
            "StartOfHourMapper" => Self::Hour,
            "StartOfDayMapper" => Self::Day,
            "StartOfWeekMapper" => Self::Week,
            "StartOfMonthMapper" => Self::Month,
            "StartOfQuarterMapper" => Self::Quarter,
            "StartOfYearMapper" => Self::Year,
            _ => return None,
        })
    }

    fn start(self, at: DateTime) -> Result<DateTime, MapError> {
        let midnight = at.date().at(0, 0, 0, 0);
        let in_month = |month: i8| at.date().with().month(month).day(1).build().map(|date| date.at(0, 0, 0, 0));
        match self {
            Self::Hour => Ok(at.date().at(at.hour(), 0, 0, 0)),
            Self::Day => Ok(midnight),
            Self::Week => midnight.checked_sub(i64::from(at.weekday().to_monday_zero_offset()).days()),
            Self::Month => in_month(at.month()),
            Self::Quarter => in_month((at.month() - 1) / 3 * 3 + 1),
            Self::Year => in_month(1),
        }
        .map_err(|_| MapError::Python)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Temporal {
    pub(super) period: Period,
    pub(super) zone: Zone,
    pub(super) input: String,
    pub(super) output: String,
}

impl Temporal {
    pub(super) fn to_downstream(&self, key: &str) -> Result<String, MapError> {
        let at = parse(key, &self.input)?;
        let start = self.period.start(self.zone.wall_clock(self.moment(at)?))?;
        self.format(start)
    }

    pub(super) fn format(&self, at: DateTime) -> Result<String, MapError> {
        let moment = self.moment(at)?;
        let offset = self.zone.offset_at(moment);
        let text = write(at, offset, &self.output)?;
        if self.period != Period::Quarter {
            return Ok(text);
        }
        let quarter = ((at.month() - 1) / 3 + 1).to_string();
        let text = text.replace("{quarter}", &quarter);
        // What else Python's `str.format` would make something of.
        if text.contains(['{', '}']) { Err(MapError::Python) } else { Ok(text) }
    }

    pub(super) fn decode(&self, key: &str) -> Result<DateTime, MapError> {
        let class = match self.period {
            Period::Week => "StartOfWeekMapper",
            Period::Quarter => "StartOfQuarterMapper",
            _ => return parse(key, &self.output),
        };
        let wanted = if self.period == Period::Week {
            "the %Y, %m and %d directives"
        } else {
            "the %Y directive and the {quarter} placeholder"
        };
        let unread = || {
            let (key, format) = (quoted(key), quoted(&self.output));
            MapError::value(format!(
                "{class}.decode_downstream could not parse {key} with output_format {format}; output_format must include \
                 {wanted}."
            ))
        };
        let found = self.fields(key)?.ok_or_else(unread)?;
        let get = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let (year, month, day) = if self.period == Period::Week {
            (get("Y"), get("m"), get("d"))
        } else {
            (get("Y"), get("quarter").map(|quarter| (quarter - 1) * 3 + 1), Some(1))
        };
        let (Some(year), Some(month), Some(day)) = (year, month, day) else { return Err(unread()) };
        let date = jiff::civil::Date::new(year, month as i8, day as i8);
        // Python has a text for each.
        date.map(|date| date.at(0, 0, 0, 0)).map_err(|_| MapError::Python)
    }

    /// The numbers in a key that was written with the output format; `None` if it was not.
    fn fields(&self, key: &str) -> Result<Option<Vec<(String, i16)>>, MapError> {
        if !key.is_ascii() || key.ends_with('\n') {
            return Err(MapError::Python);
        }
        let (mut format, mut rest, mut found) = (self.output.as_str(), key, Vec::new());
        while let Some(c) = format.chars().next() {
            let directive = format.strip_prefix('%').and_then(|after| after.chars().next());
            let (name, width) = match directive {
                Some('Y') => ("Y", 4),
                Some(letter @ ('m' | 'd' | 'H' | 'M' | 'S' | 'V' | 'U' | 'W')) => {
                    ([("m", 'm'), ("d", 'd')].iter().find(|(_, own)| *own == letter).map_or("", |(name, _)| name), 2)
                }
                _ if self.period == Period::Quarter && format.starts_with("{quarter}") => ("quarter", 1),
                // Any other placeholder takes what it can.
                _ if c == '{' => return Err(MapError::Python),
                _ => {
                    let Some(after) = rest.strip_prefix(c) else { return Ok(None) };
                    (format, rest) = (&format[c.len_utf8()..], after);
                    continue;
                }
            };
            let digits = rest.get(..width).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let Some(value) = digits.and_then(|digits| digits.parse().ok()) else { return Ok(None) };
            if name == "quarter" && !(1..=4).contains(&value) {
                return Ok(None);
            }
            found.push((name.to_owned(), value));
            let taken = if name == "quarter" { "{quarter}".len() } else { 2 };
            (format, rest) = (&format[taken..], &rest[width..]);
        }
        Ok(rest.is_empty().then_some(found))
    }

    pub(super) fn encode(&self, at: DateTime) -> Result<String, MapError> {
        let moment = self.moment(at)?;
        write(self.zone.wall_clock(moment), self.zone.offset_at(moment), &self.input)
    }

    pub(super) fn date_of(&self, key: &str) -> Result<Timestamp, MapError> {
        self.moment(self.period.start(self.decode(key)?)?)
    }

    fn moment(&self, at: DateTime) -> Result<Timestamp, MapError> {
        self.zone.moment(at).ok_or(MapError::Python)
    }
}
