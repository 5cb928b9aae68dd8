//! What is to happen at a later moment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{DagId, RunKey};

use crate::run_state::{RunSerial, TaskRef};

/// A timer that comes after what it was for has ended finds nothing to do: nothing is ever taken out early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// A timetable's next run is due.
    NextRun(DagId),
    /// A queued run's `run_after` has come.
    RunAfter(RunKey),
    RunTimeout(RunSerial),
    /// A retry's delay or a reschedule's moment is over.
    TryAgain(TaskRef),
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

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let entry = self.by_time.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
