//! Backfills: their runs are made all at once, and started in order as the backfill lets them (Airflow's
//! `models/backfill.py` and `DagRun.get_queued_dag_runs_to_set_running`).

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use model::operations::python_isoformat;
use model::timetable::NextRun;
use model::{
    Backfill, BackfillId, Change, DagId, DagRunState, InBackfill, Json, Reprocess, RunId, RunType, TriggeredBy,
};

use crate::clear::requeue_cleared;
use crate::event::{Action, Decisions, LoadedRun, NewRun, ReplyId, Structure};
use crate::{Scheduler, put};

/// Task instances that a backfill makes at once for its new runs. Those of a larger one are made when their run begins.
const MAX_TASKS_AT_ONCE: usize = 20_000;

/// A request for a backfill, with what the store knows about its dates.
#[derive(Clone, Debug)]
pub struct NewBackfill {
    pub reply: ReplyId,
    pub structure: Structure,
    pub from_date: Timestamp,
    pub to_date: Timestamp,
    pub conf: Option<Arc<Json>>,
    pub reprocess: Reprocess,
    pub max_active_runs: i64,
    pub triggering_user: Option<String>,
    /// Runs that are run again go on with the newest version of their Dag.
    pub on_latest_version: bool,
    /// In the order in which they are to run.
    pub dates: Vec<BackfillDate>,
}

#[derive(Clone, Debug)]
pub struct BackfillDate {
    pub next: NextRun,
    pub known: Known,
}

/// What the store knows about a date.
#[derive(Clone, Debug)]
pub enum Known {
    /// There is no run.
    Nothing,
    /// There is a run, which stays as it is.
    Kept,
    /// There is a run that is to run again.
    Again(Box<LoadedRun>),
}

/// What people want of a backfill that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackfillWish {
    Pause,
    Unpause,
    Cancel,
}

/// Why there is no such backfill.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackfillRefusal {
    #[error("Dag {0} is not known")]
    UnknownDag(DagId),
    #[error("Another backfill is running for Dag {0}. There can be only one running backfill per Dag.")]
    AlreadyRunning(DagId),
    #[error("the backfill {0} is not under way")]
    NotUnderWay(BackfillId),
}

impl Scheduler {
    pub(crate) fn backfill(&mut self, request: NewBackfill, now: Timestamp, decisions: &mut Decisions) {
        let (to, dag_id) = (request.reply, request.structure.dag.dag_id.clone());
        let refusal = match self.dags.get(&dag_id) {
            None => Some(BackfillRefusal::UnknownDag(dag_id)),
            Some(entry) => entry.backfill.is_some().then_some(BackfillRefusal::AlreadyRunning(dag_id)),
        };
        let answer = match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(Box::new(self.make_backfill(request, now, decisions))),
        };
        decisions.actions.push(Action::BackfillChanged { to, answer });
    }

    fn make_backfill(&mut self, request: NewBackfill, now: Timestamp, decisions: &mut Decisions) -> Backfill {
        let dag_id = request.structure.dag.dag_id.clone();
        self.last_backfill = BackfillId(self.last_backfill.0 + 1);
        let backfill = Backfill {
            id: self.last_backfill,
            dag_id: dag_id.clone(),
            from_date: request.from_date,
            to_date: request.to_date,
            conf: request.conf.clone(),
            is_paused: false,
            reprocess: request.reprocess,
            max_active_runs: request.max_active_runs,
            created_at: now,
            updated_at: now,
            completed_at: None,
            triggering_user: request.triggering_user.clone(),
        };
        put(decisions, &backfill, Change::Backfill);
        // What is not written yet the store does not know about.
        let mut taken = self.active_dates(&dag_id);
        if let Some(entry) = self.dags.get_mut(&dag_id) {
            entry.begin_backfill(backfill.clone());
        }
        let with_tasks = request.dates.len().saturating_mul(request.structure.dag.tasks().len()) <= MAX_TASKS_AT_ONCE;
        for (ordinal, date) in (1..).zip(request.dates) {
            if !taken.insert(date.next.logical_date()) {
                continue;
            }
            let place = InBackfill { id: backfill.id, ordinal };
            match date.known {
                Known::Kept => {}
                Known::Nothing => {
                    let run = new_run(&date.next, &request.conf, &request.triggering_user);
                    let structure = request.structure.clone();
                    self.make_run(run, structure, Some(place), with_tasks, now, decisions);
                }
                Known::Again(loaded) => {
                    self.run_again(*loaded, place, &request.conf, request.on_latest_version, now, decisions);
                }
            }
        }
        self.backfills_touched.insert(dag_id);
        backfill
    }

    /// The logical dates of the runs of a Dag that have not ended.
    fn active_dates(&self, dag_id: &DagId) -> HashSet<Timestamp> {
        let Some(entry) = self.dags.get(dag_id) else { return HashSet::new() };
        let started = entry.started.iter().filter_map(|serial| self.runs.get(serial)).map(|state| &state.run);
        entry.waiting_runs().chain(started).filter_map(|run| run.logical_date).collect()
    }

    /// A run that has ended is run again as a whole, as part of a backfill.
    fn run_again(
        &mut self,
        mut loaded: LoadedRun,
        place: InBackfill,
        conf: &Option<Arc<Json>>,
        on_latest_version: bool,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let key = loaded.run.key.clone();
        if self.run_serials.contains_key(&key) || self.wishes.contains_key(&key) || !loaded.run.state.is_finished() {
            // Somebody was quicker.
            return;
        }
        self.fit(&mut loaded, now, decisions);
        self.clear_where(&mut loaded, |_| true, true, now, decisions);
        let LoadedRun { mut run, structure, .. } = loaded;
        let dag = Arc::clone(&structure.dag);
        if on_latest_version {
            run.version = structure.version;
            run.bundle_version = structure.bundle_version;
        }
        requeue_cleared(&mut run, now);
        run.run_type = RunType::Backfill;
        run.triggered_by = TriggeredBy::Backfill;
        run.backfill = Some(place);
        if let Some(conf) = conf {
            run.conf = Arc::clone(conf);
        }
        put(decisions, &run, Change::Run);
        self.deadlines_requeued(&run, &dag, decisions);
        self.forget_previous(&key);
        self.new_run_before_others(&run);
        self.enqueue_run(run, now);
        self.start_queued_runs(&key.dag_id, now);
    }

    /// At start: a backfill that was under way. Its runs come later.
    pub(crate) fn backfill_found(&mut self, backfill: Backfill) {
        let dag_id = backfill.dag_id.clone();
        if let Some(entry) = self.dags.get_mut(&dag_id).filter(|entry| entry.backfill.is_none()) {
            entry.begin_backfill(backfill);
            self.backfills_touched.insert(dag_id);
        }
    }

    pub(crate) fn set_backfill(
        &mut self,
        dag_id: &DagId,
        id: BackfillId,
        wish: BackfillWish,
        to: ReplyId,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let entry = self.dags.get_mut(dag_id);
        let Some(backfill) = entry.and_then(|entry| entry.backfill.as_mut()).filter(|backfill| backfill.id == id)
        else {
            let answer = Err(BackfillRefusal::NotUnderWay(id));
            decisions.actions.push(Action::BackfillChanged { to, answer });
            return;
        };
        let is_paused = wish != BackfillWish::Unpause;
        if backfill.is_paused != is_paused || wish == BackfillWish::Cancel {
            backfill.is_paused = is_paused;
            backfill.updated_at = now;
        }
        if wish == BackfillWish::Cancel {
            backfill.completed_at = Some(now);
        }
        let changed = backfill.clone();
        put(decisions, &changed, Change::Backfill);
        decisions.actions.push(Action::BackfillChanged { to, answer: Ok(Box::new(changed)) });
        match wish {
            BackfillWish::Pause => {}
            BackfillWish::Unpause => self.start_queued_runs(dag_id, now),
            BackfillWish::Cancel => self.fail_queued_backfill(dag_id, now, decisions),
        }
    }

    /// The runs of a cancelled backfill that have not begun never do; those that run go on.
    fn fail_queued_backfill(&mut self, dag_id: &DagId, now: Timestamp, decisions: &mut Decisions) {
        let Some(entry) = self.dags.get_mut(dag_id) else { return };
        for mut run in entry.end_backfill() {
            run.state = DagRunState::Failed;
            put(decisions, &run, Change::Run);
        }
        self.forget_gone(dag_id);
        self.look_for_room(dag_id, now);
    }

    /// Completes the backfills whose runs have all ended.
    pub(crate) fn complete_backfills(&mut self, now: Timestamp, decisions: &mut Decisions) {
        for dag_id in std::mem::take(&mut self.backfills_touched) {
            if self.has_open_backfill(&dag_id) {
                continue;
            }
            let Some(entry) = self.dags.get_mut(&dag_id) else { continue };
            let Some(mut backfill) = entry.backfill.clone() else { continue };
            backfill.completed_at = Some(now);
            backfill.updated_at = now;
            put(decisions, &backfill, Change::Backfill);
            entry.end_backfill();
            self.forget_gone(&dag_id);
        }
    }

    /// Whether a run of the Dag's backfill has not ended.
    fn has_open_backfill(&self, dag_id: &DagId) -> bool {
        let Some(entry) = self.dags.get(dag_id) else { return false };
        let Some(backfill) = &entry.backfill else { return false };
        let started = entry.started.iter().filter_map(|serial| self.runs.get(serial)).map(|state| &state.run);
        let is_own = |run: &model::DagRun| run.backfill.is_some_and(|place| place.id == backfill.id);
        entry.waits_for_backfill() || started.chain(&entry.loading).chain(&entry.unavailable).any(is_own)
    }
}

fn new_run(next: &NextRun, conf: &Option<Arc<Json>>, triggering_user: &Option<String>) -> NewRun {
    NewRun {
        run_id: backfill_run_id(next),
        run_type: RunType::Backfill,
        triggered_by: TriggeredBy::Backfill,
        triggering_user: triggering_user.clone(),
        logical_date: Some(next.logical_date()),
        data_interval: Some(next.data_interval),
        run_after: next.run_after,
        conf: conf.clone().unwrap_or_else(|| Arc::new(Json::Object(Default::default()))),
        note: None,
        partition: None,
    }
}

/// The id that a new run of a backfill gets.
pub fn backfill_run_id(next: &NextRun) -> RunId {
    RunId::from(format!("{}__{}", RunType::Backfill.name(), python_isoformat(next.run_after)))
}
