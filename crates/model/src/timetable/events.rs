//! A list of moments.

use jiff::Timestamp;

use super::{NextRun, Restriction, TimetableError};
use crate::run::DataInterval;

/// Runs at listed moments.
#[derive(Clone, PartialEq, Debug)]
pub struct Events {
    dates: Vec<Timestamp>,
    /// Whether a run that somebody asks for is about an event instead of the moment of asking.
    restrict_to_events: bool,
    summary: String,
    description: String,
}

impl Events {
    /// `dates` are in ISO 8601 with an offset. Without a summary they are also put into order, which Airflow has
    /// already done where it gives one.
    pub fn new(
        dates: &[String],
        restrict_to_events: bool,
        description: Option<String>,
        summary: Option<String>,
    ) -> Result<Self, TimetableError> {
        let mut moments = dates
            .iter()
            .map(|date| match date.parse::<Timestamp>() {
                Ok(moment) => Ok((moment, date.as_str())),
                Err(_) => Err(TimetableError::NoMoment { value: date.clone() }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if summary.is_none() {
            moments.sort_by_key(|(moment, _)| *moment);
        }
        let summary = summary.or_else(|| description.clone()).unwrap_or_else(|| format!("{} events", moments.len()));
        let description = description.unwrap_or_else(|| match (moments.first(), moments.last()) {
            (Some((_, first)), Some((_, last))) => format!("{} events between {first} and {last}", moments.len()),
            _ => "No events".to_owned(),
        });
        let dates = moments.into_iter().map(|(moment, _)| moment).collect();
        Ok(Self { dates, restrict_to_events, summary, description })
    }

    pub fn dates(&self) -> &[Timestamp] {
        &self.dates
    }

    pub fn summary(&self) -> &str {
        &self.summary
    }

    pub fn description(&self) -> &str {
        &self.description
    }

    pub(super) fn next_run(
        &self,
        last: Option<DataInterval>,
        restriction: &Restriction,
        now: Timestamp,
    ) -> Option<NextRun> {
        let earliest = if restriction.catchup { restriction.earliest } else { restriction.earliest.max(Some(now)) };
        let at = self.dates.iter().copied().find(|date| {
            earliest.is_none_or(|earliest| *date >= earliest) && last.is_none_or(|last| *date > last.end)
        })?;
        let is_over = restriction.latest.is_some_and(|latest| at > latest);
        (!is_over).then(|| NextRun::exact(at))
    }

    pub(super) fn manual_interval(&self, run_after: Timestamp) -> DataInterval {
        let event = match self.dates.first() {
            Some(first) if self.restrict_to_events => {
                self.dates.iter().rev().find(|date| **date <= run_after).unwrap_or(first)
            }
            _ => &run_after,
        };
        DataInterval::exact(*event)
    }
}
