//! Dags as far as their schedule goes: when the next run is due, and how many may be under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::timetable::{Restriction, Timetable};
use model::{
    Change, Dag, DagId, DagLimits, DagRun, DagRunState, DagSchedule, Json, RunId, RunType, TriggeredBy, VersionId,
};

use crate::Scheduler;
use crate::event::{Decisions, Need, NewRun};
use crate::run_state::RunSerial;
use crate::slots::Constraint;
use crate::timers::Timer;

/// What the scheduler keeps of every Dag, whether it runs or not.
#[derive(Clone, Debug)]
pub struct DagFacts {
    pub dag_id: DagId,
    /// The newest version of its structure.
    pub version: VersionId,
    pub bundle_version: Option<String>,
    pub timetable: Timetable,
    pub restriction: Restriction,
    pub limits: DagLimits,
    pub paused: bool,
    pub schedule: DagSchedule,
    /// Whether its timetable may make runs: `allowed_run_types` says so, and its params are valid as they stand.
    pub may_schedule: bool,
}

#[derive(Debug)]
pub(crate) struct DagEntry {
    pub(crate) facts: DagFacts,
    /// Runs that wait for their turn, in the order in which they get it.
    pub(crate) queued: BTreeMap<(Timestamp, u64), DagRun>,
    pub(crate) queued_count: u64,
    pub(crate) running: u32,
    /// Its runs that are running, in the order in which they were started.
    pub(crate) started: Vec<RunSerial>,
    /// The next run is being asked about.
    checking: bool,
}

impl DagEntry {
    /// Runs that count against `max_active_runs` when the timetable wants to make another.
    fn active(&self) -> usize {
        self.queued.len() + self.running as usize
    }
}

impl Scheduler {
    pub(crate) fn dag_changed(&mut self, facts: DagFacts, now: Timestamp, decisions: &mut Decisions) {
        let dag_id = facts.dag_id.clone();
        match self.dags.get_mut(&dag_id) {
            // What only the scheduler writes it also knows best.
            Some(entry) => {
                let schedule = std::mem::take(&mut entry.facts.schedule);
                entry.facts = DagFacts { schedule, ..facts };
            }
            None => {
                let entry = DagEntry {
                    facts,
                    queued: BTreeMap::new(),
                    queued_count: 0,
                    running: 0,
                    started: Vec::new(),
                    checking: false,
                };
                self.dags.insert(dag_id.clone(), entry);
            }
        }
        self.plan_next_run(&dag_id, now, decisions);
        self.free_dag(&dag_id);
        self.start_queued_runs(&dag_id, now, decisions);
    }

    /// Runs that have begun go on; nothing new begins.
    pub(crate) fn dag_gone(&mut self, dag_id: &DagId, _now: Timestamp) {
        if let Some(entry) = self.dags.get_mut(dag_id) {
            if entry.active() == 0 {
                self.dags.remove(dag_id);
            } else {
                entry.facts.may_schedule = false;
                entry.facts.schedule.next_run = None;
            }
        }
    }

    pub(crate) fn dag_paused(&mut self, dag_id: &DagId, paused: bool, now: Timestamp, decisions: &mut Decisions) {
        // A Dag that is in no file any more can be paused too; only the store knows it.
        decisions.changes.push(Change::Paused { dag_id: dag_id.clone(), paused });
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        entry.facts.paused = paused;
        if !paused {
            self.plan_next_run(dag_id, now, decisions);
            self.free_dag(dag_id);
            self.start_queued_runs(dag_id, now, decisions);
        }
    }

    fn free_dag(&mut self, dag_id: &DagId) {
        self.waiting.free(Constraint::Paused(dag_id.clone()));
        let Some(entry) = self.dags.get(dag_id) else { return };
        for serial in &entry.started {
            self.waiting.free(Constraint::RunTasks(*serial));
        }
    }

    /// Asks the timetable when the next run is due, and sets the clock for it.
    pub(crate) fn plan_next_run(&mut self, dag_id: &DagId, now: Timestamp, decisions: &mut Decisions) {
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
            self.timers.set(next_run.run_after, Timer::NextRun(dag_id.clone()));
        }
    }

    pub(crate) fn schedule_is_due(&mut self, dag_id: &DagId, now: Timestamp) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        let facts = &mut entry.facts;
        if self.draining || facts.paused || !facts.may_schedule || entry.checking {
            return;
        }
        // Asked again because time may have passed since: without catchup only the newest interval counts.
        let next_run = facts.timetable.next_run(facts.schedule.last_interval, &facts.restriction, now);
        facts.schedule.next_run = next_run;
        let Some(next_run) = next_run else { return };
        if next_run.run_after > now {
            self.timers.set(next_run.run_after, Timer::NextRun(dag_id.clone()));
            return;
        }
        // When one of its runs ends, the Dag is looked at again.
        if entry.active() < entry.facts.limits.max_active_runs as usize {
            entry.checking = true;
            self.needs.push(Need::ScheduleCheck {
                dag_id: dag_id.clone(),
                run_id: scheduled_run_id(next_run.run_after),
                logical_date: next_run.logical_date(),
            });
        }
    }

    /// The Dag's structure is there, and it is known whether the run exists.
    pub(crate) fn schedule_checked(
        &mut self,
        dag_id: &DagId,
        dag: Option<Arc<Dag>>,
        taken: bool,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        entry.checking = false;
        let (Some(next_run), Some(dag)) = (entry.facts.schedule.next_run, dag) else { return };
        entry.facts.schedule.last_interval = Some(next_run.data_interval);
        if !taken {
            let run = NewRun {
                run_id: scheduled_run_id(next_run.run_after),
                run_type: RunType::Scheduled,
                triggered_by: TriggeredBy::Timetable,
                triggering_user: None,
                logical_date: Some(next_run.logical_date()),
                data_interval: Some(next_run.data_interval),
                run_after: next_run.run_after,
                conf: Arc::new(Json::Object(Default::default())),
                note: None,
            };
            self.create_run(run, dag, now, decisions);
        }
        self.plan_next_run(dag_id, now, decisions);
    }

    /// A run of the Dag has ended: there may be room for another.
    pub(crate) fn run_ended_in_dag(
        &mut self,
        serial: RunSerial,
        run: &DagRun,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let dag_id = &run.key.dag_id;
        let failed = run.state == DagRunState::Failed;
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        entry.started.retain(|started| *started != serial);
        entry.running = entry.running.saturating_sub(u32::from(counts_as_active(run)));
        let facts = &mut entry.facts;
        let failures = if failed { facts.schedule.consecutive_failures + 1 } else { 0 };
        let limit = facts.limits.max_consecutive_failed_dag_runs;
        if facts.schedule.consecutive_failures != failures && limit > 0 {
            facts.schedule.consecutive_failures = failures;
            let schedule = Box::new(facts.schedule.clone());
            decisions.changes.push(Change::Schedule { dag_id: dag_id.clone(), schedule });
        }
        if limit > 0 && failures >= limit && !facts.paused {
            self.dag_paused(dag_id, true, now, decisions);
        }
        self.start_queued_runs(dag_id, now, decisions);
        self.timers.set(now, Timer::NextRun(dag_id.clone()));
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
