//! Timetables: when a Dag's next run is due, and what span of data it is about.

use jiff::Timestamp;

use crate::run::DataInterval;

/// The bounds that a Dag sets to its timetable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restriction {
    pub earliest: Option<Timestamp>,
    pub latest: Option<Timestamp>,
    pub catchup: bool,
}

/// When a run is due and what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextRun {
    /// The run does not begin before this moment.
    pub run_after: Timestamp,
    pub data_interval: DataInterval,
}

impl NextRun {
    /// Airflow's logical date is the start of the data interval.
    pub fn logical_date(&self) -> Timestamp {
        self.data_interval.start
    }
}

#[derive(Clone, PartialEq, Debug)]
pub enum Timetable {
    /// Never by itself.
    Null,
}
