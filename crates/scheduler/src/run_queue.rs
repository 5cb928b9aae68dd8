//! The runs of one Dag that wait for their turn.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{DagRun, RunKey};

use crate::dags::counts_as_active;

/// Runs in the order in which they get their turn: by `run_after`, and as they came among equals.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    waiting: BTreeMap<(Timestamp, u64), DagRun>,
    arrivals: u64,
    /// Those that the Dag's `max_active_runs` does not count.
    uncounted: usize,
}

impl RunQueue {
    pub(crate) fn push(&mut self, run: DagRun) {
        self.arrivals += 1;
        self.uncounted += usize::from(!counts_as_active(&run));
        self.waiting.insert((run.run_after, self.arrivals), run);
    }

    /// Takes out the first run that is due. `room` says whether one that counts may start.
    pub(crate) fn next(&mut self, now: Timestamp, room: bool) -> Option<DagRun> {
        if !room && self.uncounted == 0 {
            return None;
        }
        let due = self.waiting.range(..=(now, u64::MAX));
        let key = due.map(|(key, run)| (*key, run)).find(|(_, run)| room || !counts_as_active(run))?.0;
        let run = self.waiting.remove(&key)?;
        self.uncounted -= usize::from(!counts_as_active(&run));
        Some(run)
    }

    /// Takes out a run, wherever it stands.
    pub(crate) fn remove(&mut self, key: &RunKey) -> Option<DagRun> {
        let place = self.waiting.iter().find(|(_, run)| run.key == *key).map(|(place, _)| *place)?;
        let run = self.waiting.remove(&place)?;
        self.uncounted -= usize::from(!counts_as_active(&run));
        Some(run)
    }

    /// How many of them count against `max_active_runs` when the timetable wants to make another run.
    pub(crate) fn counted(&self) -> usize {
        self.waiting.len() - self.uncounted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &DagRun> {
        self.waiting.values()
    }
}
