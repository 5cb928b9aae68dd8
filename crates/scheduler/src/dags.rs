//! Dags as far as their schedule goes: when the next run is due, and how many may be under way.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::timetable::{Restriction, Timetable};
use model::{
    Backfill, Change, DagId, DagLimits, DagRun, DagRunState, DagSchedule, Json, Partition, RunId, RunType, TriggeredBy,
    VersionId, Watcher,
};

use crate::Scheduler;
use crate::assets::RUN_ID_LETTERS;
use crate::event::{Action, Decisions, Need, NewRun, Structure};
use crate::run_queue::RunQueue;
use crate::run_state::{RunSerial, RunState};
use crate::slots::Constraint;
use crate::timers::Timer;
use crate::timetables::Asked;
use crate::weights::Warnings;

/// The precision of every moment.
const NEXT_MOMENT: SignedDuration = SignedDuration::from_micros(1);
/// The shortest time between the starts of two runs of a `@continuous` Dag. Airflow has no such rule, but its scheduler
/// comes round about once a second; a Dag whose tasks take no time would otherwise fill the disk.
const CONTINUOUS_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// What the scheduler keeps of every Dag, whether it runs or not.
#[derive(Clone, Debug)]
pub struct DagFacts {
    pub dag_id: DagId,
    /// The newest version of its structure.
    pub version: VersionId,
    pub timetable: Timetable,
    pub restriction: Restriction,
    pub limits: DagLimits,
    pub paused: bool,
    pub schedule: DagSchedule,
    /// Whether its timetable may make runs: `allowed_run_types` says so, its params are valid as they stand, and its
    /// file has no import errors.
    pub may_schedule: bool,
    /// The same for runs that are made because assets were updated.
    pub may_follow_assets: bool,
    /// The watchers of the assets that it is scheduled on.
    pub watchers: Vec<Watcher>,
}

#[derive(Debug)]
pub(crate) struct DagEntry {
    pub(crate) facts: DagFacts,
    pub(crate) queue: RunQueue,
    /// Runs that have left the queue and whose task instances are being fetched.
    pub(crate) loading: Vec<DagRun>,
    /// Runs that have left the queue and whose structure can't be read.
    pub(crate) unavailable: Vec<DagRun>,
    /// Its runs that are running, in the order in which they were started.
    pub(crate) started: Vec<RunSerial>,
    /// Those of `started` and `loading` that count against `max_active_runs`.
    pub(crate) running: u32,
    /// The backfill that is under way.
    pub(crate) backfill: Option<Backfill>,
    /// Those of `started` and `loading` that belong to it.
    backfill_running: u32,
    /// In no file any more.
    gone: bool,
    /// The next run is being asked about.
    pub(crate) checking: bool,
    /// How it stands with a timetable that only Python can evaluate.
    pub(crate) asked: Asked,
    pub(crate) warnings: Warnings,
    /// The one timer that counts; any other is an old one.
    timer: Option<Timestamp>,
}

impl DagEntry {
    fn new(facts: DagFacts) -> Self {
        Self {
            facts,
            queue: RunQueue::default(),
            loading: Vec::new(),
            unavailable: Vec::new(),
            started: Vec::new(),
            running: 0,
            backfill: None,
            backfill_running: 0,
            gone: false,
            checking: false,
            asked: Asked::default(),
            warnings: Warnings::default(),
            timer: None,
        }
    }

    /// Runs that count against `max_active_runs` when the timetable wants to make another.
    pub(crate) fn active(&self) -> usize {
        let unavailable = self.unavailable.iter().filter(|run| counts_as_active(run)).count();
        self.queue.counted() + unavailable + self.running as usize
    }

    /// From here on its runs are known as such.
    pub(crate) fn begin_backfill(&mut self, backfill: Backfill) {
        self.queue.backfill = Some(backfill.id);
        self.backfill_running = 0;
        self.backfill = Some(backfill);
    }

    /// Takes out the runs of the backfill that wait, and knows it no longer.
    pub(crate) fn end_backfill(&mut self) -> Vec<DagRun> {
        let backfill = self.backfill.take();
        self.backfill_running = 0;
        let mut waiting = self.queue.end_backfill();
        let is_own = |run: &mut DagRun| {
            backfill.as_ref().is_some_and(|backfill| run.backfill.is_some_and(|place| place.id == backfill.id))
        };
        // One that had begun when its structure was lost goes on like others that have begun.
        waiting.extend(self.unavailable.extract_if(.., |run| run.state == DagRunState::Queued && is_own(run)));
        waiting
    }

    pub(crate) fn waits_for_backfill(&self) -> bool {
        self.queue.waits_for_backfill()
    }

    fn is_of_backfill(&self, run: &DagRun) -> bool {
        let id = self.backfill.as_ref().map(|backfill| backfill.id);
        id.is_some() && run.backfill.map(|place| place.id) == id
    }

    /// Counts a run that is started, or is going to be.
    pub(crate) fn count_running(&mut self, run: &DagRun) {
        self.running += u32::from(counts_as_active(run));
        self.backfill_running += u32::from(self.is_of_backfill(run));
    }

    /// Takes back [`Self::count_running`].
    pub(crate) fn uncount_running(&mut self, run: &DagRun) {
        self.running = self.running.saturating_sub(u32::from(counts_as_active(run)));
        self.backfill_running = self.backfill_running.saturating_sub(u32::from(self.is_of_backfill(run)));
    }

    /// Whether the backfill lets another of its runs begin.
    pub(crate) fn has_backfill_room(&self) -> bool {
        self.backfill
            .as_ref()
            .is_some_and(|backfill| !backfill.is_paused && i64::from(self.backfill_running) < backfill.max_active_runs)
    }

    /// Whether there is room for a run.
    pub(crate) fn has_room_for(&self, run: &DagRun) -> bool {
        if self.is_of_backfill(run) { self.has_backfill_room() } else { !counts_as_active(run) || self.has_room() }
    }

    fn has_runs(&self) -> bool {
        !(self.started.is_empty() && self.loading.is_empty() && self.unavailable.is_empty() && self.queue.is_empty())
    }

    /// Whether there is room for another run that counts.
    pub(crate) fn has_room(&self) -> bool {
        self.running < self.facts.limits.max_active_runs
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether runs that wait may start, as far as the Dag is concerned.
    pub(crate) fn may_start_runs(&self) -> bool {
        !self.gone && !self.facts.paused
    }

    /// Every run that is not running and has not ended.
    pub(crate) fn waiting_runs(&self) -> impl Iterator<Item = &DagRun> {
        self.queue.iter().chain(&self.loading).chain(&self.unavailable)
    }
}

/// What may not happen in a run for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    Nothing,
    /// The Dag is paused: what its tasks' rules decide is decided, but nothing starts.
    Starts,
    /// The Dag is in no file, or the run's logical date has not come: nothing moves.
    Everything,
}

impl Scheduler {
    pub(crate) fn hold(&self, state: &RunState, now: Timestamp) -> Hold {
        let Some(entry) = self.dags.get(&state.run.key.dag_id) else { return Hold::Everything };
        if entry.gone || state.run.logical_date.is_some_and(|logical_date| logical_date > now) {
            Hold::Everything
        } else if entry.facts.paused {
            Hold::Starts
        } else {
            Hold::Nothing
        }
    }

    pub(crate) fn is_dag_held(&self, dag_id: &DagId) -> bool {
        self.dags.get(dag_id).is_none_or(|entry| !entry.may_start_runs())
    }

    pub(crate) fn dag_changed(&mut self, facts: DagFacts, now: Timestamp, decisions: &mut Decisions) {
        let dag_id = facts.dag_id.clone();
        let mut was_gone = false;
        match self.dags.get_mut(&dag_id) {
            // What only the scheduler writes it also knows best.
            Some(entry) => {
                let schedule = std::mem::take(&mut entry.facts.schedule);
                entry.facts = DagFacts { schedule, paused: entry.facts.paused, ..facts };
                was_gone = std::mem::replace(&mut entry.gone, false);
                // The import has taken back what was said.
                entry.warnings.forget();
                for run in std::mem::take(&mut entry.unavailable) {
                    if run.state == DagRunState::Running {
                        // It has begun: no limit keeps it from going on.
                        entry.count_running(&run);
                        self.needs.push(Need::Run(run.key.clone()));
                        entry.loading.push(run);
                    } else {
                        entry.queue.push(run);
                    }
                }
            }
            None => {
                self.dags.insert(dag_id.clone(), DagEntry::new(facts));
            }
        }
        self.plan_next_run(&dag_id, now, decisions);
        self.ask_for_structures(&dag_id);
        self.free_dag(&dag_id);
        if was_gone {
            self.wake_runs(&dag_id, now);
        }
        self.start_queued_runs(&dag_id, now);
        self.asset_condition_changed(&dag_id, decisions);
        self.partition_timetable_changed(&dag_id, decisions);
        self.look_at_watchers(&dag_id, now, decisions);
    }

    /// Nothing of the Dag moves until it is back. What executes goes on to its end.
    pub(crate) fn dag_gone(&mut self, dag_id: &DagId) {
        self.assets.dag_gone(dag_id);
        self.partitions.dag_gone(dag_id);
        if let Some(entry) = self.dags.get_mut(dag_id) {
            entry.gone = true;
            self.forget_gone(dag_id);
        }
    }

    /// Forgets a Dag that is in no file and has nothing under way.
    pub(crate) fn forget_gone(&mut self, dag_id: &DagId) {
        if self.dags.get(dag_id).is_some_and(|entry| entry.gone && !entry.has_runs() && entry.backfill.is_none()) {
            self.dags.remove(dag_id);
            self.partitions.forget(dag_id);
        }
    }

    pub(crate) fn dag_paused(&mut self, dag_id: &DagId, paused: bool, now: Timestamp, decisions: &mut Decisions) {
        // A Dag that is in no file any more can be paused too; only the store knows it.
        decisions.changes.push(Change::Paused { dag_id: dag_id.clone(), paused });
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        let was_paused = std::mem::replace(&mut entry.facts.paused, paused);
        self.look_at_watchers(dag_id, now, decisions);
        if was_paused && !paused {
            self.plan_next_run(dag_id, now, decisions);
            self.free_dag(dag_id);
            self.wake_runs(dag_id, now);
            self.start_queued_runs(dag_id, now);
            self.look_at_assets(dag_id);
        }
    }

    fn free_dag(&mut self, dag_id: &DagId) {
        self.waiting.free(Constraint::Held(dag_id.clone()));
        let Some(entry) = self.dags.get(dag_id) else { return };
        for serial in &entry.started {
            self.waiting.free(Constraint::RunTasks(*serial));
        }
    }

    /// Looks at everything in a Dag's runs again: what was held back may go on.
    fn wake_runs(&mut self, dag_id: &DagId, now: Timestamp) {
        let Some(entry) = self.dags.get(dag_id) else { return };
        for serial in &entry.started {
            let Some(state) = self.runs.get(serial) else { continue };
            self.dirty.extend(state.refs(*serial));
            self.touched.push(*serial);
            self.timers.set(now, Timer::RunTimeout(*serial));
        }
    }

    /// Runs follow the newest structure of their Dag, unless their bundle has versions.
    fn ask_for_structures(&mut self, dag_id: &DagId) {
        let Some(entry) = self.dags.get(dag_id) else { return };
        for state in entry.started.iter().filter_map(|serial| self.runs.get(serial)) {
            if state.run.bundle_version.is_none() && state.version != entry.facts.version {
                self.needs.push(Need::Structure { run: state.run.key.clone() });
            }
        }
    }

    /// Asks the timetable when the next run is due, and sets the clock for it.
    pub(crate) fn plan_next_run(&mut self, dag_id: &DagId, now: Timestamp, decisions: &mut Decisions) {
        if self.ask_timetable(dag_id, decisions) {
            return;
        }
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        let facts = &mut entry.facts;
        let next_run = if facts.may_schedule {
            facts.timetable.next_run(facts.schedule.last_interval, &facts.restriction, now)
        } else {
            None
        };
        if facts.schedule.next_run != next_run {
            facts.schedule.next_run = next_run;
            let schedule = Box::new(facts.schedule.clone());
            decisions.changes.push(Change::Schedule { dag_id: dag_id.clone(), schedule });
        }
        if let (Some(next_run), false) = (next_run, facts.paused) {
            self.look_at_schedule(dag_id, next_run.run_after);
        }
    }

    /// Sets the clock for a Dag's schedule, unless it is to be looked at sooner. That is never in the same moment again:
    /// runs that end at once, one after the other, must leave room for everything else that happens.
    pub(crate) fn look_at_schedule(&mut self, dag_id: &DagId, at: Timestamp) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        let after = |moment: Timestamp, pause: SignedDuration| moment.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let mut at = at.max(after(self.moment, NEXT_MOMENT));
        if let (true, Some(last)) = (entry.facts.timetable.is_continuous(), entry.facts.schedule.last_interval) {
            at = at.max(after(last.end, CONTINUOUS_PAUSE));
        }
        if entry.timer.is_none_or(|timer| at < timer) {
            entry.timer = Some(at);
            self.timers.set(at, Timer::NextRun(dag_id.clone()));
        }
    }

    pub(crate) fn schedule_is_due(&mut self, dag_id: &DagId, at: Timestamp, now: Timestamp, decisions: &mut Decisions) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        if entry.timer != Some(at) {
            return;
        }
        entry.timer = None;
        if self.draining || !entry.may_start_runs() || !entry.facts.may_schedule || entry.checking {
            return;
        }
        if entry.facts.timetable.custom().is_some() {
            return self.custom_schedule_is_due(dag_id, now, decisions);
        }
        // Asked again because time may have passed since: without catchup only the newest interval counts.
        let facts = &mut entry.facts;
        let next_run = facts.timetable.next_run(facts.schedule.last_interval, &facts.restriction, now);
        facts.schedule.next_run = next_run;
        let Some(next_run) = next_run else { return };
        if next_run.run_after > now {
            self.look_at_schedule(dag_id, next_run.run_after);
            return;
        }
        // When one of its runs ends, the Dag is looked at again.
        if entry.active() < entry.facts.limits.max_active_runs as usize {
            entry.checking = true;
            self.needs.push(Need::ScheduleCheck {
                dag_id: dag_id.clone(),
                run_id: scheduled_run_id(next_run.run_after),
                // Runs that are about partitions have none.
                logical_date: (!entry.facts.timetable.is_partitioned()).then(|| next_run.logical_date()),
            });
        }
    }

    /// The Dag's structure is there, and it is known whether the run exists.
    pub(crate) fn schedule_checked(
        &mut self,
        dag_id: &DagId,
        structure: Option<Structure>,
        taken: bool,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        entry.checking = false;
        let (Some(next_run), Some(structure)) = (entry.facts.schedule.next_run, structure) else { return };
        // Its assets may have made a run in the same step. When that ends, the Dag is looked at again.
        let is_custom = entry.facts.timetable.custom().is_some();
        if entry.active() >= entry.facts.limits.max_active_runs as usize {
            if is_custom {
                entry.asked.is_outdated();
            }
            return;
        }
        let named = if is_custom { entry.asked.take_run_id(taken) } else { Some(scheduled_run_id(next_run.run_after)) };
        let Some(mut run_id) = named else { return };
        let partition = match &entry.facts.timetable {
            Timetable::CronPartition(cron) => match cron.partition_of_run(next_run.run_after) {
                Some(partition) => Some(partition),
                None => return,
            },
            _ => None,
        };
        if let Some(Partition { key, .. }) = &partition {
            run_id = RunId::from(format!("{run_id}__{key}__{}", self.ids.letters(RUN_ID_LETTERS)));
            if !key.chars().all(|c| c.is_ascii_alphanumeric() || "_.~:+-".contains(c)) || key.contains("..") {
                // Airflow makes no such run either.
                let message = format!(
                    "The run id {run_id:?} is not valid: choose a key_format of letters, digits and the characters _ . ~ : + -"
                );
                let warning = Change::DagWarning { dag_id: dag_id.clone(), warning: Some(message.clone()), at: now };
                decisions.changes.push(warning);
                decisions.actions.push(Action::DagProblem { dag_id: dag_id.clone(), message });
                return;
            }
        }
        let is_dated = partition.is_none();
        entry.facts.schedule.last_interval = Some(next_run.data_interval);
        if is_custom || !is_dated {
            // Durable together with the run: what is next, Python says later.
            let schedule = Box::new(entry.facts.schedule.clone());
            decisions.changes.push(Change::Schedule { dag_id: dag_id.clone(), schedule });
        }
        if !taken {
            let run = NewRun {
                run_id,
                run_type: RunType::Scheduled,
                triggered_by: TriggeredBy::Timetable,
                triggering_user: None,
                logical_date: is_dated.then(|| next_run.logical_date()),
                data_interval: is_dated.then_some(next_run.data_interval),
                run_after: next_run.run_after,
                conf: Arc::new(Json::Object(Default::default())),
                note: None,
                partition,
            };
            self.create_run(run, structure, now, decisions);
        }
        self.plan_next_run(dag_id, now, decisions);
    }

    /// A run of the Dag has ended: there may be room for another.
    pub(crate) fn run_ended_in_dag(&mut self, serial: RunSerial, run: &DagRun, reason: &str, now: Timestamp) {
        let dag_id = &run.key.dag_id;
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        entry.started.retain(|started| *started != serial);
        entry.uncount_running(run);
        if entry.backfill.is_some() {
            self.backfills_touched.insert(dag_id.clone());
        }
        let count = entry.facts.limits.max_consecutive_failed_dag_runs;
        // Airflow looks at the runs before only when a task's failure ended this one.
        if reason == "task_failure" && count > 0 {
            self.needs.push(Need::LastRuns { dag_id: dag_id.clone(), count });
        }
        self.forget_gone(dag_id);
        self.start_queued_runs(dag_id, now);
        self.look_for_room(dag_id, now);
    }

    /// There may be room for another run of the Dag's timetable, or of its assets.
    pub(crate) fn look_for_room(&mut self, dag_id: &DagId, now: Timestamp) {
        let Some(entry) = self.dags.get(dag_id) else { return };
        if entry.facts.schedule.next_run.is_some() && entry.may_start_runs() {
            self.look_at_schedule(dag_id, now);
        }
        self.look_at_assets(dag_id);
    }

    /// Pauses a Dag whose last runs have all failed.
    pub(crate) fn last_runs(
        &mut self,
        dag_id: &DagId,
        states: &[DagRunState],
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(entry) = self.dags.get(dag_id) else { return };
        let failed_runs = entry.facts.limits.max_consecutive_failed_dag_runs;
        let last = states.get(..failed_runs as usize);
        let all_failed = last.is_some_and(|last| last.iter().all(|state| *state == DagRunState::Failed));
        if failed_runs > 0 && all_failed && !entry.facts.paused {
            self.dag_paused(dag_id, true, now, decisions);
            decisions.actions.push(Action::AutoPaused { dag_id: dag_id.clone(), failed_runs });
        }
    }
}

/// Whether a run counts against `max_active_runs`; a backfill has a limit of its own.
pub(crate) fn counts_as_active(run: &DagRun) -> bool {
    run.run_type != RunType::Backfill
}

/// The id that Airflow gives to a run that a timetable made.
fn scheduled_run_id(run_after: Timestamp) -> RunId {
    RunId::from(format!("scheduled__{}", model::operations::python_isoformat(run_after)))
}
