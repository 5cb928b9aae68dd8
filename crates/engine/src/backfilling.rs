//! Requests for backfills, checked, and the dates that they are about. The rules are those of Airflow's
//! `models/backfill.py`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::operations::{python_datetime_str, python_isoformat};
use model::timetable::{NextRun, Timetable};
use model::{Dag, DagId, DagRun, DagRunState, Json, Reprocess, RunKey, RunType};
use python::Unanswered;
use scheduler::{
    Action, BackfillDate, BackfillRefusal, Event, Known, NewBackfill, ReplyId, Structure, backfill_run_id,
};
use store::{Page, RunFilter, Span, Store, StoreError};

use crate::lookup::{DagSource, Lookup};
use crate::params::check_params;

/// Dates that one backfill may be about.
pub const MAX_DATES: usize = 100_000;

/// Why a request can't be met as it is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidBackfill {
    #[error("{0} has a non-periodic schedule that does not support backfills")]
    NotPeriodic(DagId),
    #[error(
        "the partitions of Dag {0} are known only to a timetable of a plugin; there are no backfills of such Dags yet"
    )]
    Partitioned(DagId),
    /// A timetable of a plugin has not said which runs there are.
    #[error("the timetable of Dag {dag_id} does not say which runs there are: {}", reason.summary())]
    Timetable { dag_id: DagId, reason: Unanswered },
    #[error("Dag with dag_id: '{0}' does not allow backfill runs")]
    NotAllowed(DagId),
    #[error("from_date ({}) must not be after to_date ({}).", python_isoformat(*from), python_isoformat(*to))]
    Reversed { from: Timestamp, to: Timestamp },
    #[error("Backfill cannot be executed for future dates.")]
    Future,
    #[error("Backfill cannot be run in reverse when the Dag has tasks where depends_on_past=True.")]
    Direction,
    #[error(
        "Dag has tasks for which depends_on_past=True. You must set reprocess behavior to reprocess completed or \
         reprocess failed."
    )]
    Reprocess,
    #[error("{0}")]
    Conf(String),
    #[error(
        "No runs to create for Dag {dag_id} in the range [{}, {}]",
        python_datetime_str(*from),
        python_datetime_str(*to)
    )]
    Nothing { dag_id: DagId, from: Timestamp, to: Timestamp },
    #[error("The range has more than {MAX_DATES} dates: make several backfills of it")]
    TooMany,
}

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct BackfillRequest {
    pub dag_id: DagId,
    pub from_date: Timestamp,
    pub to_date: Timestamp,
    /// The latest date comes first.
    pub backwards: bool,
    pub conf: Option<Json>,
    pub reprocess: Reprocess,
    pub max_active_runs: i64,
    pub triggering_user: Option<String>,
    pub on_latest_version: bool,
}

impl BackfillRequest {
    /// Whether the Dag can have backfills at all.
    pub fn check_dag(&self, dag: &Dag) -> Result<(), InvalidBackfill> {
        let name = RunType::Backfill.name();
        if dag.allowed_run_types.as_ref().is_some_and(|types| !types.iter().any(|kind| kind == name)) {
            return Err(InvalidBackfill::NotAllowed(dag.dag_id.clone()));
        }
        if !dag.timetable.is_periodic() || matches!(dag.timetable, Timetable::Assets(_)) {
            return Err(InvalidBackfill::NotPeriodic(dag.dag_id.clone()));
        }
        if dag.timetable.custom().is_some_and(|custom| custom.traits.partitioned) {
            return Err(InvalidBackfill::Partitioned(dag.dag_id.clone()));
        }
        Ok(())
    }

    /// Checks what was asked for, without looking at the dates.
    pub fn check(&self, dag: &Dag, now: Timestamp) -> Result<(), InvalidBackfill> {
        let (from, to) = (self.from_date, self.to_date);
        if from > to {
            return Err(InvalidBackfill::Reversed { from, to });
        }
        if from >= now && to >= now {
            return Err(InvalidBackfill::Future);
        }
        if dag.depends_on_past() {
            if self.backwards {
                return Err(InvalidBackfill::Direction);
            }
            if self.reprocess == Reprocess::None {
                return Err(InvalidBackfill::Reprocess);
            }
        }
        if let Some(conf) = &self.conf {
            check_params(&dag.params, conf).map_err(|error| InvalidBackfill::Conf(error.to_string()))?;
        }
        Ok(())
    }

    /// The dates in the order in which they are to run. `asked` is what a timetable of a plugin has said of them
    /// ([`crate::timetables::dates_between`]).
    pub fn dates(
        &self,
        dag: &Dag,
        now: Timestamp,
        asked: Option<Vec<NextRun>>,
    ) -> Result<Vec<NextRun>, InvalidBackfill> {
        let mut dates = asked.unwrap_or_else(|| {
            dag.timetable.between(Some(self.from_date), self.to_date, now).take(MAX_DATES + 1).collect()
        });
        dates.retain(|next| next.data_interval.end < now);
        if dates.len() > MAX_DATES {
            return Err(InvalidBackfill::TooMany);
        }
        if self.backwards {
            dates.reverse();
        }
        Ok(dates)
    }

    /// As [`Self::dates`], where there must be some.
    pub fn some_dates(
        &self,
        dag: &Dag,
        now: Timestamp,
        asked: Option<Vec<NextRun>>,
    ) -> Result<Vec<NextRun>, InvalidBackfill> {
        let dates = self.dates(dag, now, asked)?;
        if dates.is_empty() {
            let (dag_id, from, to) = (dag.dag_id.clone(), self.from_date, self.to_date);
            return Err(InvalidBackfill::Nothing { dag_id, from, to });
        }
        Ok(dates)
    }
}

/// The runs that a Dag has for these dates. Blocks.
fn known_runs<S: Store + ?Sized>(
    store: &S,
    dag_id: &DagId,
    dates: &[NextRun],
) -> Result<HashMap<Timestamp, DagRun>, StoreError> {
    let moments = || dates.iter().map(NextRun::logical_date);
    let logical_date = Span { from: moments().min(), to: moments().max(), or_missing: false };
    let filter = RunFilter { dag_id: Some(dag_id.clone()), logical_date, ..RunFilter::default() };
    let (runs, _) = store.runs(&filter, &[], Page::ALL)?;
    Ok(runs.into_iter().filter_map(|run| Some((run.logical_date?, run))).collect())
}

/// Whether a run that is there is to run again.
fn runs_again(run: &DagRun, reprocess: Reprocess) -> bool {
    match reprocess {
        Reprocess::None => false,
        Reprocess::Failed => run.state == DagRunState::Failed,
        Reprocess::Completed => run.state.is_finished(),
    }
}

/// Those of the dates that would have a run by a backfill. Blocks.
pub fn to_run<S: Store + ?Sized>(
    store: &S,
    dag_id: &DagId,
    mut dates: Vec<NextRun>,
    reprocess: Reprocess,
) -> Result<Vec<NextRun>, StoreError> {
    let known = known_runs(store, dag_id, &dates)?;
    dates.retain(|next| known.get(&next.logical_date()).is_none_or(|run| runs_again(run, reprocess)));
    Ok(dates)
}

impl<S: Store + ?Sized, D: DagSource> Lookup<S, D> {
    /// What the store alone can say about a request whose dates were worked out.
    pub(crate) fn backfill(
        &mut self,
        store: &S,
        reply: ReplyId,
        request: &BackfillRequest,
        dates: &[NextRun],
    ) -> Result<Result<Event, Action>, StoreError> {
        let dag_id = &request.dag_id;
        let Some(structure) = self.newest(dag_id)? else {
            let answer = Err(BackfillRefusal::UnknownDag(dag_id.clone()));
            return Ok(Err(Action::BackfillChanged { to: reply, answer }));
        };
        let mut runs = known_runs(store, dag_id, dates)?;
        let mut planned = Vec::with_capacity(dates.len());
        for next in dates {
            let known = match runs.remove(&next.logical_date()) {
                Some(run) if runs_again(&run, request.reprocess) => self.again(&run.key, &structure, request)?,
                Some(_) => Known::Kept,
                None => {
                    let key = RunKey { dag_id: dag_id.clone(), run_id: backfill_run_id(next) };
                    // One that has the id has another date.
                    store.run(&key)?.map_or(Known::Nothing, |_| Known::Kept)
                }
            };
            if matches!(known, Known::Kept) {
                tracing::info!(%dag_id, date = %next.logical_date(), "the backfill leaves the run of this date as it is");
            }
            planned.push(BackfillDate { next: *next, known });
        }
        Ok(Ok(Event::Backfill(Box::new(NewBackfill {
            reply,
            structure,
            from_date: request.from_date,
            to_date: request.to_date,
            conf: request.conf.clone().map(Arc::new),
            reprocess: request.reprocess,
            max_active_runs: request.max_active_runs,
            triggering_user: request.triggering_user.clone(),
            on_latest_version: request.on_latest_version,
            dates: planned,
        }))))
    }

    fn again(&mut self, key: &RunKey, newest: &Structure, request: &BackfillRequest) -> Result<Known, StoreError> {
        let Some(mut loaded) = self.load_run(key)? else { return Ok(Known::Kept) };
        if request.on_latest_version {
            loaded.structure = newest.clone();
        }
        Ok(Known::Again(Box::new(loaded)))
    }
}
