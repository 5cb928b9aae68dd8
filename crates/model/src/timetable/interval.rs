//! Timetables that cut time into data intervals and run each when it has ended.

use jiff::Timestamp;

use super::delta::Delta;
use super::schedule::{CronSchedule, Schedule};
use super::{NextRun, Restriction};
use crate::run::DataInterval;

pub(super) trait IntervalSchedule: Schedule {
    /// Without catchup: the start of the latest interval that has ended, or a later start that the Dag asks for.
    fn skip_to_latest(&self, earliest: Option<Timestamp>, now: Timestamp) -> Option<Timestamp>;
}

/// Airflow's `_DataIntervalTimetable.next_dagrun_info`.
pub(super) fn next_run(
    schedule: &impl IntervalSchedule,
    last: Option<DataInterval>,
    restriction: &Restriction,
    now: Timestamp,
) -> Option<NextRun> {
    let earliest = match (restriction.catchup, restriction.earliest) {
        (false, earliest) => Some(schedule.skip_to_latest(earliest, now)?),
        (true, Some(earliest)) => Some(schedule.align_to_next(earliest)?),
        (true, None) => None,
    };
    let start = match last {
        None => earliest?,
        Some(last) => {
            // The schedule may have changed since the last run.
            let after_last = schedule.align_to_previous(last.end)?;
            let mut start = earliest.map_or(after_last, |earliest| after_last.max(earliest));
            // Airflow takes one step and stops with an exception if that is not enough, which comes true for hourly
            // expressions where a clock jumps forward by half an hour.
            while start <= last.start {
                start = schedule.next(start).filter(|next| *next > start)?;
            }
            start
        }
    };
    if restriction.latest.is_some_and(|latest| start > latest) {
        return None;
    }
    Some(NextRun::of_interval(start, schedule.next(start)?))
}

impl IntervalSchedule for CronSchedule {
    fn skip_to_latest(&self, earliest: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let mut before = None;
        let mut last_start = self.previous(now)?;
        let mut next_start = self.next(last_start)?;
        // Where a clock jumps forward by less than an hour, previous and next do not mirror each other. Airflow stops
        // there with an assertion; going on to the interval that has now in it is what it means to find.
        while next_start < now {
            before = Some(last_start);
            (last_start, next_start) = (next_start, self.next(next_start).filter(|next| *next > next_start)?);
        }
        // On the boundary between two intervals the one that begins now is wanted next, so skip only to the one
        // that ends now.
        let start = if next_start == now {
            last_start
        } else {
            match before {
                Some(before) => before,
                None => self.previous(last_start)?,
            }
        };
        match earliest {
            Some(earliest) => Some(start.max(self.align_to_next(earliest)?)),
            None => Some(start),
        }
    }
}

impl IntervalSchedule for Delta {
    fn skip_to_latest(&self, earliest: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let start = self.before(self.latest_boundary(now, earliest.unwrap_or(now))?)?;
        Some(earliest.map_or(start, |earliest| start.max(earliest)))
    }
}

impl Delta {
    /// The last multiple of a fixed delta since the epoch. Months have no fixed length, so theirs are counted from the
    /// anchor, one at a time, because cutting days to the length of a month depends on the way.
    fn latest_boundary(&self, now: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        let size = match self {
            Delta::Calendar(delta) if delta.has_months() => {
                let mut boundary = anchor;
                loop {
                    let next = self.after(boundary)?;
                    if next > now {
                        return Some(boundary);
                    }
                    if next <= boundary {
                        return None;
                    }
                    boundary = next;
                }
            }
            Delta::Calendar(delta) => delta.nominal_seconds(),
            Delta::Fixed(duration) => duration.as_micros() as f64 / 1e6,
        };
        if size == 0.0 {
            return None;
        }
        // In floating point, because Airflow is: fractions of a second fall where Python's rounding puts them.
        let seconds = now.as_microsecond() as f64 / 1e6;
        let rest = seconds % size;
        let rest = if rest != 0.0 && (rest < 0.0) != (size < 0.0) { rest + size } else { rest };
        Timestamp::UNIX_EPOCH.checked_add(super::delta::duration_of_seconds(seconds - rest)?).ok()
    }
}

/// The last complete interval before a moment.
pub(super) fn cron_manual_interval(schedule: &CronSchedule, run_after: Timestamp) -> Option<DataInterval> {
    let end = schedule.align_to_previous(run_after)?;
    Some(DataInterval { start: schedule.previous(end)?, end })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::timetable::Zone;

    /// Lord Howe Island goes forward by half an hour: in Airflow a Dag that runs every hour gets stuck there, with an
    /// assertion or with an interval that never ends.
    #[test]
    fn an_hourly_dag_gets_over_a_jump_of_half_an_hour() {
        let schedule = CronSchedule::new("5 * * * *", Zone::named("Australia/Lord_Howe").unwrap()).unwrap();
        let start: Timestamp = "2024-10-05T10:05:00Z".parse().unwrap();
        let jump: Timestamp = "2024-10-05T15:30:00Z".parse().unwrap();
        let restriction = Restriction { earliest: Some(start), latest: None, catchup: true };
        let mut last = None;
        for _ in 0..12 {
            let next = next_run(&schedule, last, &restriction, jump).unwrap().data_interval;
            assert!(last.is_none_or(|last: DataInterval| next.start > last.start && next.end > last.end));
            last = Some(next);
        }
        for minutes in 0..120 {
            let now = jump + SignedDuration::from_mins(minutes);
            let restriction = Restriction { catchup: false, ..restriction };
            let next = next_run(&schedule, None, &restriction, now).unwrap();
            assert!(next.run_after.duration_since(now).abs() <= SignedDuration::from_hours(2));
        }
    }
}
