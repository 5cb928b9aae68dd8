//! Cron expressions in the dialect that Airflow users write, over wall clock times without a time zone.
//!
//! Written by hand because the dialect is croniter's own (seconds last, an optional year, ranges that wrap around,
//! names inside ranges, `L`, `W` and `#`) and no crate reads it the same way.

mod parse;
mod search;

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::DateTime;

/// The presets that Airflow puts in place of an expression before anything else looks at it; case matters.
const AIRFLOW_PRESETS: [(&str, &str); 6] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
];

/// A field of a cron expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CronField {
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Second,
    Year,
}

impl CronField {
    /// In the order in which an expression has them.
    const ALL: [CronField; 7] = [
        CronField::Minute,
        CronField::Hour,
        CronField::DayOfMonth,
        CronField::Month,
        CronField::DayOfWeek,
        CronField::Second,
        CronField::Year,
    ];

    /// The smallest and the largest value. Day of week 7 is read as 0.
    fn bounds(self) -> (u32, u32) {
        match self {
            CronField::Minute | CronField::Second => (0, 59),
            CronField::Hour => (0, 23),
            CronField::DayOfMonth => (1, 31),
            CronField::Month => (1, 12),
            CronField::DayOfWeek => (0, 6),
            CronField::Year => (1970, 2099),
        }
    }
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CronField::Minute => "minute",
            CronField::Hour => "hour",
            CronField::DayOfMonth => "day of month",
            CronField::Month => "month",
            CronField::DayOfWeek => "day of week",
            CronField::Second => "second",
            CronField::Year => "year",
        })
    }
}

/// Why a text is no cron expression.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CronError {
    #[error(
        "cron expression {expression:?} has {count} fields, but needs 5, 6 (seconds last) or 7 (seconds and year \
         last), or must be a preset such as @daily"
    )]
    FieldCount { expression: String, count: usize },
    #[error("cron expression {expression:?}: {field} field {text:?}: {reason}")]
    Field { expression: String, field: CronField, text: String, reason: FieldError },
}

/// What is wrong with one field of a cron expression.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldError {
    #[error("{0:?} is not a value, a range or a step")]
    NotUnderstood(String),
    #[error("{value} is not between {min} and {max}")]
    OutOfRange { value: u32, min: u32, max: u32 },
    #[error("a step of 0 never gets anywhere")]
    ZeroStep,
    #[error("? must stand alone, in the day of month or the day of week")]
    QuestionMark,
    #[error("W takes one day, not a list or a range")]
    NearestWeekdayInList,
    #[error("a month has weekday #1 to #5, not #{0}")]
    NoSuchWeek(u32),
    #[error("plain days of the week cannot be mixed with # or L")]
    MixedWeeks,
    #[error("H and R (hashed and random values) are not supported, because a schedule must be the same for everybody")]
    Hashed,
}

/// Which weekdays of a month: the first, ... the fifth, or the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Week {
    Nth(u32),
    Last,
}

/// What an expression says of the day of month. `any` is an asterisk, alone or among other values.
#[derive(Clone, PartialEq, Eq, Debug)]
struct MonthDays {
    any: bool,
    /// Bit n for day n.
    days: u64,
    last_day: bool,
    /// `15W`: only the weekday nearest to that day, whatever else the field says.
    nearest_weekday: Option<u32>,
}

/// What an expression says of the day of week.
#[derive(Clone, PartialEq, Eq, Debug)]
struct WeekDays {
    any: bool,
    /// Bit n for day n, 0 for Sunday.
    days: u64,
    /// `5#2` and `L5`: if there are any, the other values say nothing.
    weeks: Vec<(u32, Week)>,
}

/// A cron expression that was understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CronExpression {
    text: String,
    /// Times of day as bits: bit n for second, minute or hour n.
    seconds: u64,
    minutes: u64,
    hours: u64,
    month_days: MonthDays,
    months: u64,
    week_days: WeekDays,
    /// `None` for every year.
    years: Option<BTreeSet<i16>>,
    field_count: usize,
    covers_every_hour: bool,
}

impl CronExpression {
    /// Reads an expression of 5, 6 or 7 fields, or a preset. Refuses what croniter refuses, and also its hashed and
    /// random values.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        parse::parse(AIRFLOW_PRESETS.iter().find(|(name, _)| *name == text).map_or(text, |(_, meaning)| meaning))
    }

    /// The text, with Airflow's presets already replaced by what they mean.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many fields it has: 6 with seconds, 7 with seconds and years.
    pub fn field_count(&self) -> usize {
        self.field_count
    }

    /// Whether the hour field allows every hour, be it `*`, `*/1` or `0-23`.
    pub fn covers_every_hour(&self) -> bool {
        self.covers_every_hour
    }

    /// The first moment after this one; `None` if there is none within 50 years, croniter's limit.
    pub fn next_after(&self, moment: DateTime) -> Option<DateTime> {
        self.search_next(moment)
    }

    /// The last moment before this one; `None` if there is none within 50 years, croniter's limit.
    pub fn previous_before(&self, moment: DateTime) -> Option<DateTime> {
        self.search_previous(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field_and_the_expression() {
        let message = |text| CronExpression::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("61 * * * *"),
            r#"cron expression "61 * * * *": minute field "61": 61 is not between 0 and 59"#
        );
        assert_eq!(
            message("0 0 * * funday"),
            r#"cron expression "0 0 * * funday": day of week field "funday": "funday" is not a value, a range or a step"#
        );
        assert!(message("@fortnightly").contains("has 1 fields, but needs 5"));
    }

    #[test]
    fn an_impossible_date_ends_the_search() {
        let cron = CronExpression::parse("0 0 30 2 *").unwrap();
        let moment = jiff::civil::datetime(2024, 1, 1, 0, 0, 0, 0);
        assert_eq!((cron.next_after(moment), cron.previous_before(moment)), (None, None));
    }
}
