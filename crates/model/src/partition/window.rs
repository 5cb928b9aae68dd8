//! Which smaller parts make up a larger one, and how many of them are waited for.

use jiff::civil;
use jiff::{Span, ToSpan};

use super::{Decoded, MapError};
use crate::Json;

/// A period and the parts that make it up.
#[derive(Clone, PartialEq, Debug)]
pub enum Window {
    /// So many steps of this length from the period's start, or as many that end with it.
    Steps {
        count: i64,
        step: Step,
        backward: bool,
    },
    /// The days of a month.
    Month {
        backward: bool,
    },
    Segments(Vec<String>),
    /// A class from a plugin.
    Custom,
}

/// The length of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Minute,
    Hour,
    Day,
    Month,
}

const OWN: &str = "airflow.partition_mappers.window.";

impl Window {
    /// Reads one as Airflow serializes it; `None` if it is nothing of the kind.
    pub fn from_serialized(value: &Json) -> Option<Self> {
        let (name, data) = (value.get("__type")?.as_str()?, value.get("__var")?);
        let Some(name) = name.strip_prefix(OWN) else { return Some(Self::Custom) };
        if name == "SegmentWindow" {
            let segments = data.get("segments")?.as_array()?;
            return segments
                .iter()
                .map(|key| key.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self::Segments);
        }
        let backward = match data.get("direction")?.as_str()? {
            "backward" => true,
            "forward" => false,
            _ => return None,
        };
        let (count, step) = match name {
            "HourWindow" => (60, Step::Minute),
            "DayWindow" => (24, Step::Hour),
            "WeekWindow" => (7, Step::Day),
            "QuarterWindow" => (3, Step::Month),
            "YearWindow" => (12, Step::Month),
            "MonthWindow" => return Some(Self::Month { backward }),
            _ => return Some(Self::Custom),
        };
        Some(Self::Steps { count, step, backward })
    }

    /// The parts of a period, in order.
    pub fn parts(&self, period: &Decoded) -> Result<Vec<Decoded>, MapError> {
        let start = match (self, period) {
            (Self::Custom, _) => return Err(MapError::Python),
            (Self::Segments(keys), _) => return Ok(keys.iter().cloned().map(Decoded::Text).collect()),
            (_, Decoded::Date(start)) => *start,
            // Python has the right words for it.
            (_, Decoded::Text(_)) => return Err(MapError::Python),
        };
        let dates = match self {
            Self::Steps { count, step, backward } => {
                if *step == Step::Month {
                    first_of_month(start, if *count == 3 { "QuarterWindow" } else { "YearWindow" })?;
                }
                let first = if *backward { 1 - count } else { 0 };
                (first..first + count).map(|steps| shifted(start, *step, steps)).collect::<Result<Vec<_>, _>>()?
            }
            _ => {
                first_of_month(start, "MonthWindow")?;
                let backward = *self == Self::Month { backward: true };
                let other = shifted(start, Step::Month, if backward { -1 } else { 1 })?;
                let days = i64::from((other.date() - start.date()).get_days().abs());
                let days = if backward { 1 - days..1 } else { 0..days };
                days.map(|day| shifted(start, Step::Day, day)).collect::<Result<Vec<_>, _>>()?
            }
        };
        Ok(dates.into_iter().map(Decoded::Date).collect())
    }
}

fn shifted(start: civil::DateTime, step: Step, count: i64) -> Result<civil::DateTime, MapError> {
    let span: Span = match step {
        Step::Minute => count.minutes(),
        Step::Hour => count.hours(),
        Step::Day => count.days(),
        Step::Month => count.months(),
    };
    start.checked_add(span).map_err(|_| MapError::Python)
}

fn first_of_month(start: civil::DateTime, window: &str) -> Result<(), MapError> {
    if start.day() == 1 {
        return Ok(());
    }
    Err(MapError::value(format!(
        "{window} expects a period start on day 1 of the month, got {}. The paired upstream mapper's decode_downstream must \
         normalise to day 1.",
        start.strftime("%Y-%m-%dT%H:%M:%S")
    )))
}

/// How many parts of a period are waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitPolicy {
    All,
    /// So many, or all but so many where it is negative.
    Minimum(i64),
}

impl WaitPolicy {
    /// Reads one as Airflow serializes it; `None` if it is nothing of the kind. There are no others: Airflow takes none
    /// from plugins.
    pub fn from_serialized(value: &Json) -> Option<Self> {
        match value.get("__type")?.as_str()?.strip_prefix("airflow.partition_mappers.wait_policy.")? {
            "WaitForAll" => Some(Self::All),
            "MinimumCount" => Some(Self::Minimum(value.get("__var")?.get("n")?.as_i64()?)),
            _ => None,
        }
    }

    /// Whether so many of the expected parts are enough.
    pub fn is_satisfied(self, matched: usize, expected: usize) -> bool {
        let (matched, expected) = (matched as i64, expected as i64);
        match self {
            Self::All => matched >= expected,
            Self::Minimum(n) if n > 0 => matched >= n && n <= expected,
            Self::Minimum(n) => matched >= (expected.saturating_add(n)).max(0),
        }
    }

    /// Why no number of parts will ever be enough, if that is so.
    pub fn unreachable(self, expected: usize) -> Option<String> {
        match self {
            Self::Minimum(n) if n > expected as i64 => Some(format!(
                "wait policy MinimumCount(n={n}) can never be satisfied given the window's cardinality {expected}"
            )),
            _ => None,
        }
    }
}
