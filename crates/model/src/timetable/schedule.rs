//! What the periodic timetables are made from: something that has a next and a previous moment.

use jiff::Timestamp;

use super::cron::{CronError, CronExpression};
use super::zone::Zone;

/// A source of moments. `None` stands for a moment that does not come, or that no calendar reaches.
pub(super) trait Schedule {
    /// The first moment after this one.
    fn next(&self, moment: Timestamp) -> Option<Timestamp>;

    /// The last moment before this one.
    fn previous(&self, moment: Timestamp) -> Option<Timestamp>;

    /// This moment if the schedule has it, else the next one.
    fn align_to_next(&self, moment: Timestamp) -> Option<Timestamp>;

    /// This moment if the schedule has it, else the previous one.
    fn align_to_previous(&self, moment: Timestamp) -> Option<Timestamp>;
}

/// A cron expression on the clock of a time zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CronSchedule {
    cron: CronExpression,
    zone: Zone,
}

impl CronSchedule {
    /// `expression` has 5, 6 or 7 fields or is a preset, as [`CronExpression::parse`] takes it.
    pub fn new(expression: &str, zone: Zone) -> Result<Self, CronError> {
        Ok(Self { cron: CronExpression::parse(expression)?, zone })
    }

    pub fn cron(&self) -> &CronExpression {
        &self.cron
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first moment after this one; `None` if there is none within 50 years.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.next(moment)
    }

    /// The last moment before this one; `None` if there is none within 50 years.
    pub fn previous_before(&self, moment: Timestamp) -> Option<Timestamp> {
        self.previous(moment)
    }
}

/// The rules of Airflow's `CronMixin`. An expression that runs every hour goes on in real time when the clock is put
/// back, so that the hour that comes twice has its runs twice; any other follows the clock on the wall.
impl Schedule for CronSchedule {
    fn next(&self, moment: Timestamp) -> Option<Timestamp> {
        let wall_clock = self.zone.wall_clock(moment);
        let next = self.cron.next_after(wall_clock)?;
        if self.cron.covers_every_hour() {
            moment.checked_add(next.duration_since(wall_clock)).ok()
        } else {
            self.zone.moment(next)
        }
    }

    fn previous(&self, moment: Timestamp) -> Option<Timestamp> {
        let wall_clock = self.zone.wall_clock(moment);
        let previous = self.cron.previous_before(wall_clock)?;
        if self.cron.covers_every_hour() {
            moment.checked_sub(wall_clock.duration_since(previous)).ok()
        } else {
            self.zone.moment(previous)
        }
    }

    fn align_to_next(&self, moment: Timestamp) -> Option<Timestamp> {
        let next = self.next(moment)?;
        Some(if self.previous(next)? == moment { moment } else { next })
    }

    fn align_to_previous(&self, moment: Timestamp) -> Option<Timestamp> {
        let previous = self.previous(moment)?;
        Some(if self.next(previous)? == moment { moment } else { previous })
    }
}
