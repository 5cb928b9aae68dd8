//! Deadlines of runs: kept until the run has succeeded in time, or somebody must be told that it has not.

use std::collections::HashMap;

use jiff::Timestamp;
use model::{Call, Callback, Change, Dag, DagRun, Deadline, DeadlineId, DeadlineReference, RunKey};
use serde_json::json;

use crate::event::{Action, Decisions, Need};
use crate::timers::Timer;
use crate::{Scheduler, put};

/// Those that are neither met nor missed. A run that has failed keeps its own.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_id: HashMap<DeadlineId, Deadline>,
    by_run: HashMap<RunKey, Vec<DeadlineId>>,
}

impl Deadlines {
    fn insert(&mut self, deadline: Deadline) {
        let of_run = self.by_run.entry(deadline.run.clone()).or_default();
        if !of_run.contains(&deadline.id) {
            of_run.push(deadline.id);
        }
        self.by_id.insert(deadline.id, deadline);
    }

    fn remove(&mut self, id: DeadlineId) -> Option<Deadline> {
        let deadline = self.by_id.remove(&id)?;
        if let Some(of_run) = self.by_run.get_mut(&deadline.run) {
            of_run.retain(|other| *other != id);
            if of_run.is_empty() {
                self.by_run.remove(&deadline.run);
            }
        }
        Some(deadline)
    }

    fn of_run(&self, run: &RunKey) -> Vec<Deadline> {
        let ids = self.by_run.get(run).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id)).cloned().collect()
    }

    /// The runs are deleted.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&RunKey) -> bool) {
        self.by_id.retain(|_, deadline| !is_gone(&deadline.run));
        self.by_run.retain(|run, _| !is_gone(run));
    }
}

impl Scheduler {
    /// A run is made whose Dag has so many deadlines. They are written with it, and worked out when it is there.
    pub(crate) fn promise_deadlines(&mut self, run: &RunKey, count: usize, now: Timestamp, decisions: &mut Decisions) {
        for alert in 0..count as u32 {
            let deadline = Deadline { id: self.ids.deadline(now), run: run.clone(), alert, at: None };
            put(decisions, &deadline, Change::Deadline);
            self.deadlines.insert(deadline);
        }
        if count > 0 {
            self.needs.push(Need::Deadlines { run: run.clone(), at: now });
        }
    }

    /// At start: what the last process has left.
    pub(crate) fn deadlines_found(&mut self, found: Vec<Deadline>, now: Timestamp) {
        for deadline in found {
            match deadline.at {
                Some(at) => self.timers.set(at, Timer::Deadline(deadline.id)),
                None => self.needs.push(Need::Deadlines { run: deadline.run.clone(), at: now }),
            }
            self.deadlines.insert(deadline);
        }
    }

    /// When the deadlines of a run are; those that have no moment are none.
    pub(crate) fn deadlines_set(
        &mut self,
        run: &RunKey,
        moments: &[(u32, Option<Timestamp>)],
        decisions: &mut Decisions,
    ) {
        for deadline in self.deadlines.of_run(run).into_iter().filter(|deadline| deadline.at.is_none()) {
            let at = moments.iter().find(|(alert, _)| *alert == deadline.alert).and_then(|(_, at)| *at);
            match at {
                Some(at) => {
                    let deadline = Deadline { at: Some(at), ..deadline };
                    put(decisions, &deadline, Change::Deadline);
                    self.timers.set(at, Timer::Deadline(deadline.id));
                    self.deadlines.insert(deadline);
                }
                None => self.drop_deadline(deadline.id, decisions),
            }
        }
    }

    fn drop_deadline(&mut self, id: DeadlineId, decisions: &mut Decisions) {
        self.deadlines.remove(id);
        decisions.changes.push(Change::DeadlineGone(id));
    }

    /// A run has succeeded, before its deadlines or after.
    pub(crate) fn deadlines_met(&mut self, run: &DagRun, decisions: &mut Decisions) {
        for deadline in self.deadlines.of_run(&run.key) {
            // One that has not been worked out when its run has ended is none.
            if deadline.at.is_none_or(|at| run.end_date.is_some_and(|end| end <= at)) {
                self.drop_deadline(deadline.id, decisions);
            }
        }
    }

    /// A run is queued again: what is counted from that moment is counted anew.
    pub(crate) fn deadlines_requeued(&mut self, run: &DagRun, dag: &Dag, decisions: &mut Decisions) {
        let counts_anew = |alert: u32| {
            dag.deadlines.get(alert as usize).is_some_and(|alert| alert.reference == DeadlineReference::QueuedAt)
        };
        let anew: Vec<Deadline> =
            self.deadlines.of_run(&run.key).into_iter().filter(|deadline| counts_anew(deadline.alert)).collect();
        let Some(queued_at) = run.queued_at.filter(|_| !anew.is_empty()) else { return };
        for deadline in anew {
            let deadline = Deadline { at: None, ..deadline };
            put(decisions, &deadline, Change::Deadline);
            self.deadlines.insert(deadline);
        }
        self.needs.push(Need::Deadlines { run: run.key.clone(), at: queued_at });
    }

    /// A deadline may have come. One that was moved has another timer.
    pub(crate) fn deadline_is_due(&mut self, id: DeadlineId, now: Timestamp, decisions: &mut Decisions) {
        let is_due = |deadline: &Deadline| deadline.at.is_some_and(|at| at <= now);
        if !self.deadlines.by_id.get(&id).is_some_and(is_due) {
            return;
        }
        let Some(deadline) = self.deadlines.remove(id) else { return };
        decisions.changes.push(Change::DeadlineMissed(id));
        let at = deadline.at.unwrap_or(now);
        let callback = Callback {
            id: self.ids.callback(now),
            run: deadline.run,
            created_at: now,
            call: Call::Deadline,
            of: None,
            message: json!({"alert": deadline.alert, "id": id.to_string(), "deadline_time": at.to_string()})
                .to_string(),
        };
        decisions.changes.push(Change::CallbackDue(Box::new(callback.clone())));
        decisions.actions.push(Action::Call { callback: Box::new(callback), run: None });
    }
}
