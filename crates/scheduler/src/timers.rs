//! What is to happen at a later moment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{DagId, DeadlineId, TriggerId};

use crate::run_state::{RunSerial, TaskRef};

/// A timer that comes after what it was for has ended finds nothing to do: nothing is ever taken out early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// A timetable's next run is due.
    NextRun(DagId),
    /// The `run_after` of one of the Dag's queued runs has come.
    RunAfter(DagId),
    RunTimeout(RunSerial),
    /// The logical date of a run that has been started has come.
    LogicalDate(RunSerial),
    /// A retry's delay or a reschedule's moment is over.
    TryAgain(TaskRef),
    /// The moment has come that a trigger is for.
    Trigger(TriggerId),
    Deadline(DeadlineId),
    /// A task instance has waited as long as it may.
    WaitTimeout(TaskRef),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeMap<(Timestamp, u64), Timer>,
    count: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.count += 1;
        self.by_time.insert((at, self.count), timer);
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out a timer whose moment has come, with that moment.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Timer)> {
        let entry = self.by_time.first_entry()?;
        let at = entry.key().0;
        (at <= now).then(|| (at, entry.remove()))
    }
}
