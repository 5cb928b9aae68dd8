//! The runs of one Dag that wait for their turn.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{BackfillId, DagRun, RunKey};

use crate::dags::counts_as_active;

/// Runs in the order in which they get their turn: by `run_after`, and as they came among equals; then those of the
/// backfill that is under way, in its order.
#[derive(Debug, Default)]
pub(crate) struct RunQueue {
    waiting: BTreeMap<(Timestamp, u64), DagRun>,
    of_backfill: BTreeMap<(u32, u64), DagRun>,
    /// The one that is under way.
    pub(crate) backfill: Option<BackfillId>,
    arrivals: u64,
    /// Those in `waiting` that the Dag's `max_active_runs` does not count.
    uncounted: usize,
}

impl RunQueue {
    pub(crate) fn push(&mut self, run: DagRun) {
        self.arrivals += 1;
        if let Some(place) = run.backfill.filter(|place| Some(place.id) == self.backfill) {
            self.of_backfill.insert((place.ordinal, self.arrivals), run);
            return;
        }
        self.uncounted += usize::from(!counts_as_active(&run));
        self.waiting.insert((run.run_after, self.arrivals), run);
    }

    /// Takes out the first run that is due. `room` says whether one that counts may start, `backfill_room` whether one
    /// of the backfill may.
    pub(crate) fn next(&mut self, now: Timestamp, room: bool, backfill_room: bool) -> Option<DagRun> {
        self.next_waiting(now, room).or_else(|| {
            let first = self.of_backfill.first_entry().filter(|entry| backfill_room && entry.get().run_after <= now);
            first.map(|entry| entry.remove())
        })
    }

    fn next_waiting(&mut self, now: Timestamp, room: bool) -> Option<DagRun> {
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
        if let Some(place) = self.of_backfill.iter().find(|(_, run)| run.key == *key).map(|(place, _)| *place) {
            return self.of_backfill.remove(&place);
        }
        let place = self.waiting.iter().find(|(_, run)| run.key == *key).map(|(place, _)| *place)?;
        let run = self.waiting.remove(&place)?;
        self.uncounted -= usize::from(!counts_as_active(&run));
        Some(run)
    }

    /// Takes out everything of the backfill, in order, and knows it no longer.
    pub(crate) fn end_backfill(&mut self) -> Vec<DagRun> {
        self.backfill = None;
        std::mem::take(&mut self.of_backfill).into_values().collect()
    }

    pub(crate) fn waits_for_backfill(&self) -> bool {
        !self.of_backfill.is_empty()
    }

    /// How many of them count against `max_active_runs` when the timetable wants to make another run.
    pub(crate) fn counted(&self) -> usize {
        self.waiting.len() - self.uncounted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.of_backfill.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &DagRun> {
        self.waiting.values().chain(self.of_backfill.values())
    }
}
