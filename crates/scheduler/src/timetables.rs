//! Timetables of classes from plugins. Only Python can tell their next run, and it takes its time: the question is an
//! action, and the answer comes as an event like any other.
//!
//! An answer holds until something that it may depend on has changed: the Dag, the last run, whether it is paused. One
//! that there was no room for when it was due is asked for again when there is, because time has passed since; Airflow
//! would have asked again, too. An answer that there is no run, and one that never came, are asked for again in a while.

use jiff::{SignedDuration, Timestamp};
use model::timetable::{CustomTimetable, NamedRun, NextRun, Restriction};
use model::{Change, DagId, DataInterval, RunId};

use crate::Scheduler;
use crate::event::{Action, Decisions, Need};

/// How long until a timetable that knows of no run is asked again: in Airflow that happens whenever the file is parsed
/// (`[dag_processor] min_file_process_interval`).
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// The shortest time between two answers that name a run that exists already.
const TAKEN_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// A question for a timetable that only Python can evaluate: when is the next run due?
#[derive(Clone, Debug)]
pub struct AskTimetable {
    pub dag_id: DagId,
    /// Tells the answers of a Dag's questions apart.
    pub number: u64,
    pub timetable: CustomTimetable,
    pub last: Option<DataInterval>,
    pub restriction: Restriction,
}

/// How it stands with the questions about a Dag.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The question that has no answer yet. Answers of any other come too late.
    waiting: Option<u64>,
    /// What the run that is due next is to be called.
    run_id: Option<RunId>,
    /// The answer does not hold when the Dag is looked at next.
    outdated: bool,
    /// The run that was due exists: the next answer is not acted upon in the same moment.
    was_taken: bool,
}

impl Scheduler {
    /// Asks a timetable of a class from a plugin for the next run. Returns false where the timetable is not of that kind,
    /// or is not to be asked.
    pub(crate) fn ask_timetable(&mut self, dag_id: &DagId, decisions: &mut Decisions) -> bool {
        let Some(entry) = self.dags.get_mut(dag_id) else { return false };
        entry.asked = Asked { was_taken: entry.asked.was_taken, ..Asked::default() };
        let facts = &entry.facts;
        let Some(timetable) =
            facts.timetable.custom().filter(|custom| facts.may_schedule && !custom.traits.partitioned)
        else {
            return false;
        };
        self.last_question += 1;
        entry.asked.waiting = Some(self.last_question);
        decisions.actions.push(Action::AskTimetable(Box::new(AskTimetable {
            dag_id: dag_id.clone(),
            number: self.last_question,
            timetable: timetable.clone(),
            last: facts.schedule.last_interval,
            restriction: facts.restriction,
        })));
        true
    }

    /// The answer to [`Action::AskTimetable`].
    pub(crate) fn timetable_answered(
        &mut self,
        dag_id: &DagId,
        number: u64,
        answer: Result<Option<NamedRun>, String>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(entry) = self.dags.get_mut(dag_id).filter(|entry| entry.asked.waiting == Some(number)) else { return };
        let (named, warning) = match answer {
            Ok(named) => (named, None),
            Err(message) => (None, Some(message)),
        };
        let was_taken = std::mem::take(&mut entry.asked.was_taken);
        entry.asked.waiting = None;
        entry.warnings.timetable = warning;
        if let Some(warning) = entry.warnings.news() {
            decisions.changes.push(Change::DagWarning { dag_id: dag_id.clone(), warning, at: now });
        }
        let next_run = named.as_ref().map(|named| named.next_run);
        entry.asked.run_id = named.map(|named| named.run_id);
        entry.asked.outdated = next_run.is_none();
        if entry.facts.schedule.next_run != next_run {
            entry.facts.schedule.next_run = next_run;
            let schedule = Box::new(entry.facts.schedule.clone());
            decisions.changes.push(Change::Schedule { dag_id: dag_id.clone(), schedule });
        }
        if entry.facts.paused {
            return;
        }
        let pause = |pause: SignedDuration| now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let at = match next_run {
            None => pause(ASK_AGAIN),
            Some(NextRun { run_after, .. }) if was_taken => run_after.max(pause(TAKEN_PAUSE)),
            Some(NextRun { run_after, .. }) => run_after,
        };
        self.look_at_schedule(dag_id, at);
    }

    /// A Dag with such a timetable is to be looked at: its next run may be due. It may start runs.
    pub(crate) fn custom_schedule_is_due(&mut self, dag_id: &DagId, now: Timestamp, decisions: &mut Decisions) {
        let Some(entry) = self.dags.get_mut(dag_id).filter(|entry| entry.asked.waiting.is_none()) else { return };
        if entry.asked.outdated {
            self.ask_timetable(dag_id, decisions);
            return;
        }
        let (Some(next_run), Some(run_id)) = (entry.facts.schedule.next_run, entry.asked.run_id.clone()) else {
            return;
        };
        if next_run.run_after > now {
            self.look_at_schedule(dag_id, next_run.run_after);
        } else if entry.active() < entry.facts.limits.max_active_runs as usize {
            entry.checking = true;
            let logical_date = Some(next_run.logical_date());
            self.needs.push(Need::ScheduleCheck { dag_id: dag_id.clone(), run_id, logical_date });
        } else {
            // When one of its runs ends, the Dag is looked at again.
            entry.asked.outdated = true;
        }
    }
}

impl Asked {
    /// There is no room for the run that is due: when there is, time will have passed.
    pub(crate) fn is_outdated(&mut self) {
        self.outdated = true;
    }

    /// The id of the run that is being made. `None` if the timetable has been asked again meanwhile: what it said before
    /// counts no more.
    pub(crate) fn take_run_id(&mut self, taken: bool) -> Option<RunId> {
        self.was_taken = taken;
        self.run_id.take()
    }
}
