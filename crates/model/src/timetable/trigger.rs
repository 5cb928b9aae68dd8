//! Timetables that run at given moments; what span of data a run is about is a matter of its own.

use jiff::{SignedDuration, Timestamp};

use super::delta::Delta;
use super::schedule::{CronSchedule, Schedule};
use super::{NextRun, Restriction};
use crate::run::DataInterval;

/// Whether a Dag without a start date begins with the moment just gone by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunImmediately {
    /// It does.
    Yes,
    /// Airflow's `False`. Its documentation says that the next moment is waited for, its code treats it as
    /// [`RunImmediately::Automatic`].
    No,
    /// If that moment is not longer ago than this.
    Within(SignedDuration),
    /// If not more than a tenth of the time between two runs has gone by, at least five minutes.
    Automatic,
}

/// One cron expression that triggers runs.
#[derive(Clone, PartialEq, Debug)]
pub struct CronTrigger {
    pub schedule: CronSchedule,
    /// How long before the run its data interval starts.
    pub interval: Delta,
    pub run_immediately: RunImmediately,
}

impl CronTrigger {
    pub(super) fn next_run(
        &self,
        last: Option<DataInterval>,
        restriction: &Restriction,
        now: Timestamp,
    ) -> Option<NextRun> {
        next_run(&self.schedule, &self.interval, last, restriction, now, || self.first_run(now))
    }

    /// When the first run of a Dag without a start date is.
    pub(super) fn first_run(&self, now: Timestamp) -> Option<Timestamp> {
        let past = self.schedule.align_to_previous(now)?;
        let next = self.schedule.align_to_next(now)?;
        let patience = match self.run_immediately {
            RunImmediately::Yes => return Some(past),
            RunImmediately::Within(patience) => patience,
            RunImmediately::No | RunImmediately::Automatic => {
                let gap = next.duration_since(past).as_micros() as f64;
                SignedDuration::from_micros((gap / 10.0).round_ties_even() as i64).max(SignedDuration::from_mins(5))
            }
        };
        Some(if now.duration_since(past) <= patience { past } else { next })
    }
}

/// Airflow's `_TriggerTimetable.next_dagrun_info`.
pub(super) fn next_run(
    schedule: &impl Schedule,
    interval: &Delta,
    last: Option<DataInterval>,
    restriction: &Restriction,
    now: Timestamp,
    first_run: impl Fn() -> Option<Timestamp>,
) -> Option<NextRun> {
    let wanted = match (last, restriction.earliest) {
        (Some(last), _) => schedule.next(last.end)?,
        (None, None) => first_run()?,
        (None, Some(earliest)) => schedule.align_to_next(earliest)?,
    };
    let at = if restriction.catchup {
        wanted
    } else {
        let not_before_start = match restriction.earliest {
            Some(earliest) => wanted.max(schedule.align_to_next(earliest)?),
            None => wanted,
        };
        not_before_start.max(schedule.align_to_previous(now)?)
    };
    if restriction.latest.is_some_and(|latest| latest < at) {
        return None;
    }
    Some(NextRun::of_interval(interval.before(at)?, at))
}

/// The interval that ends with a run that somebody asked for.
pub(super) fn manual_interval(interval: &Delta, run_after: Timestamp) -> Option<DataInterval> {
    Some(DataInterval { start: interval.before(run_after)?, end: run_after })
}

/// Of the runs that several expressions ask for: with catchup the first; without it the latest that is due, or the
/// first to come if none is.
pub(super) fn next_of_several(
    triggers: &[CronTrigger],
    last: Option<DataInterval>,
    restriction: &Restriction,
    now: Timestamp,
) -> Option<NextRun> {
    let runs = triggers.iter().filter_map(|trigger| trigger.next_run(last, restriction, now));
    if restriction.catchup {
        return runs.min_by_key(NextRun::logical_date);
    }
    runs.min_by_key(|run| {
        let date = run.logical_date().as_microsecond();
        if date <= now.as_microsecond() { -date } else { date }
    })
}
