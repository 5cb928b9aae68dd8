//! The moments next to a given one that an expression allows.

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, ToSpan};

use super::{CronExpression, Week};

/// How far a match may be away, as in croniter: it ends the search for a date that never comes.
const MAX_YEARS: i16 = 50;

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Next,
    Previous,
}

/// Which of the two day fields count.
#[derive(Clone, Copy, PartialEq)]
enum Days {
    Both,
    MonthDaysOnly,
    WeekDaysOnly,
}

impl CronExpression {
    pub(super) fn search_next(&self, moment: DateTime) -> Option<DateTime> {
        let unit = self.unit();
        self.search_days(floor(moment, unit)?.checked_add(unit).ok()?, Direction::Next)
    }

    pub(super) fn search_previous(&self, moment: DateTime) -> Option<DateTime> {
        let before = moment.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        self.search_days(floor(before, self.unit())?, Direction::Previous)
    }

    fn unit(&self) -> SignedDuration {
        SignedDuration::from_secs(if self.field_count > 5 { 1 } else { 60 })
    }

    /// With both day fields restricted, a day need match only one of them.
    fn search_days(&self, start: DateTime, direction: Direction) -> Option<DateTime> {
        if self.month_days.any || self.week_days.any {
            return self.search(start, Days::Both, direction);
        }
        let by_month = self.search(start, Days::MonthDaysOnly, direction);
        let by_week = self.search(start, Days::WeekDaysOnly, direction);
        // `W`, `#` and `L5` count on both sides, so an empty side means an expression that can't be: croniter gives up.
        let may_miss_one = self.month_days.nearest_weekday.is_none() && self.week_days.weeks.is_empty();
        match (by_month, by_week) {
            (Some(a), Some(b)) if direction == Direction::Next => Some(a.min(b)),
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) if may_miss_one => a.or(b),
            _ => None,
        }
    }

    /// The nearest match at the start or beyond it.
    fn search(&self, start: DateTime, days: Days, direction: Direction) -> Option<DateTime> {
        let mut date = start.date();
        // Only the first day is bounded by a time.
        let mut bound = start.time();
        while (date.year() - start.year()).abs() <= MAX_YEARS {
            date = if self.years.as_ref().is_some_and(|years| !years.contains(&date.year())) {
                match direction {
                    Direction::Next => date.last_of_year().tomorrow(),
                    Direction::Previous => date.first_of_year().yesterday(),
                }
            } else if self.months >> date.month() & 1 == 0 {
                match direction {
                    Direction::Next => date.last_of_month().tomorrow(),
                    Direction::Previous => date.first_of_month().yesterday(),
                }
            } else {
                if self.day_fits(date, days)
                    && let Some(time) = self.nearest_time(bound, direction)
                {
                    return Some(date.to_datetime(time));
                }
                match direction {
                    Direction::Next => date.tomorrow(),
                    Direction::Previous => date.yesterday(),
                }
            }
            .ok()?;
            bound = match direction {
                Direction::Next => Time::midnight(),
                Direction::Previous => Time::constant(23, 59, 59, 0),
            };
        }
        None
    }

    fn day_fits(&self, date: Date, days: Days) -> bool {
        self.month_day_fits(date, days) && self.week_day_fits(date, days)
    }

    fn month_day_fits(&self, date: Date, days: Days) -> bool {
        let field = &self.month_days;
        if let Some(day) = field.nearest_weekday {
            return nearest_weekday(date, day) == Some(date);
        }
        days == Days::WeekDaysOnly
            || field.days >> date.day() & 1 == 1
            || field.last_day && date.day() == date.days_in_month()
    }

    fn week_day_fits(&self, date: Date, days: Days) -> bool {
        let field = &self.week_days;
        let week_day = date.weekday().to_sunday_zero_offset() as u32;
        if !field.weeks.is_empty() {
            return field.weeks.iter().any(|(day, week)| {
                *day == week_day
                    && match week {
                        Week::Nth(nth) => (date.day() as u32 - 1) / 7 + 1 == *nth,
                        Week::Last => date.day() + 7 > date.days_in_month(),
                    }
            });
        }
        days == Days::MonthDaysOnly || field.days >> week_day & 1 == 1
    }

    /// The nearest time of a day at the bound or beyond it.
    fn nearest_time(&self, bound: Time, direction: Direction) -> Option<Time> {
        let start = match direction {
            Direction::Next => 0,
            Direction::Previous => 59,
        };
        let step = match direction {
            Direction::Next => 1,
            Direction::Previous => -1,
        };
        let (hour, minute, second) = (bound.hour(), bound.minute(), bound.second());
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = nearest_bit(self.seconds, second, direction)
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = nearest_bit(self.minutes, minute + step, direction) {
                return Time::new(hour, minute, nearest_bit(self.seconds, start, direction)?, 0).ok();
            }
        }
        let hour = nearest_bit(self.hours, hour + step, direction).filter(|hour| *hour < 24)?;
        let minute = nearest_bit(self.minutes, start, direction)?;
        Time::new(hour, minute, nearest_bit(self.seconds, start, direction)?, 0).ok()
    }
}

/// The nearest bit of 0 to 59 that is set, at `from` or beyond it.
fn nearest_bit(bits: u64, from: i8, direction: Direction) -> Option<i8> {
    let bits = bits & ((1 << 60) - 1);
    if !(0..60).contains(&from) {
        return None;
    }
    let (rest, found) = match direction {
        Direction::Next => (bits >> from, from + (bits >> from).trailing_zeros() as i8),
        Direction::Previous => (bits << (63 - from), from - (bits << (63 - from)).leading_zeros() as i8),
    };
    (rest != 0).then_some(found)
}

/// The weekday nearest to a day of the date's month without leaving the month.
fn nearest_weekday(date: Date, day: u32) -> Option<Date> {
    let last = date.days_in_month();
    let day = (day as i8).min(last);
    let date = Date::new(date.year(), date.month(), day).ok()?;
    let shift = match date.weekday() {
        jiff::civil::Weekday::Saturday if day > 1 => -1,
        jiff::civil::Weekday::Saturday => 2,
        jiff::civil::Weekday::Sunday if day < last => 1,
        jiff::civil::Weekday::Sunday => -2,
        _ => 0,
    };
    date.checked_add(shift.days()).ok()
}

fn floor(moment: DateTime, unit: SignedDuration) -> Option<DateTime> {
    let second = if unit.as_secs() == 60 { 0 } else { moment.second() };
    moment.with().second(second).subsec_nanosecond(0).build().ok()
}
