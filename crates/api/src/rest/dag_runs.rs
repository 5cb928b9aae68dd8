//! Dag runs.

pub(crate) mod batch;
mod bulk;
mod clear;
mod clear_many;
pub(crate) mod filter;
pub(crate) mod patch;
pub(crate) mod trigger;
mod wait;

use axum::Json;
use axum::extract::State;
use engine::ChangeFailure;
use model::{DagId, DagRun, DagRunState, RunId, RunKey};
use serde::Serialize;
use store::{Direction, Page, RunFilter, RunOrder};

use super::cursor::{Around, Cursor, counted};
use super::dag_versions::DagVersionResponse;
use super::dags::known_dag;
use super::lookup::Lookup;
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, MomentAt, NoContent, moment, seconds};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/dags/{dag_id}/dagRuns", Access::ReadDags, list)
        .post("/dags/{dag_id}/dagRuns", Access::WriteDags, trigger::trigger)
        .patch("/dags/{dag_id}/dagRuns", Access::WriteDags, bulk::change)
        .post("/dags/{dag_id}/clearDagRuns", Access::WriteDags, clear_many::clear)
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}", Access::ReadDags, get)
        .patch("/dags/{dag_id}/dagRuns/{dag_run_id}", Access::WriteDags, patch::patch)
        .delete("/dags/{dag_id}/dagRuns/{dag_run_id}", Access::WriteDags, delete)
        .post("/dags/{dag_id}/dagRuns/{dag_run_id}/clear", Access::WriteDags, clear::clear)
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}/wait", Access::ReadDags, wait::wait)
        // The list's path is also that of a run with such an id.
        .get("/dags/{dag_id}/dagRuns/list", Access::ReadDags, get)
        .patch("/dags/{dag_id}/dagRuns/list", Access::WriteDags, patch::patch)
        .delete("/dags/{dag_id}/dagRuns/list", Access::WriteDags, delete)
        .post("/dags/{dag_id}/dagRuns/list", Access::ReadDags, batch::list)
}

/// `DAGRunResponse`.
#[derive(Serialize)]
pub(crate) struct DagRunResponse {
    dag_run_id: String,
    dag_id: String,
    logical_date: Option<MomentAt>,
    queued_at: Option<Moment>,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    duration: Option<f64>,
    data_interval_start: Option<MomentAt>,
    data_interval_end: Option<MomentAt>,
    run_after: MomentAt,
    last_scheduling_decision: Option<Moment>,
    run_type: &'static str,
    state: &'static str,
    triggered_by: &'static str,
    triggering_user_name: Option<String>,
    conf: std::sync::Arc<model::Json>,
    note: Option<String>,
    dag_versions: Vec<DagVersionResponse>,
    bundle_version: Option<String>,
    dag_display_name: String,
    partition_key: Option<String>,
    partition_date: Option<Moment>,
}

impl DagRunResponse {
    pub(crate) fn new(run: DagRun, display_name: &str, dag_versions: Vec<DagVersionResponse>) -> Self {
        Self {
            dag_run_id: run.key.run_id.to_string(),
            dag_id: run.key.dag_id.to_string(),
            logical_date: run.logical_date.map(MomentAt::from),
            queued_at: moment(run.queued_at),
            start_date: moment(run.start_date),
            end_date: moment(run.end_date),
            duration: seconds(run.duration()),
            data_interval_start: run.data_interval.map(|interval| interval.start.into()),
            data_interval_end: run.data_interval.map(|interval| interval.end.into()),
            run_after: run.run_after.into(),
            last_scheduling_decision: moment(run.last_scheduling_decision),
            run_type: run.run_type.name(),
            state: run.state.name(),
            triggered_by: run.triggered_by.name(),
            triggering_user_name: run.triggering_user,
            conf: run.conf,
            note: run.note,
            dag_versions,
            bundle_version: run.bundle_version,
            dag_display_name: display_name.to_owned(),
            partition_date: moment(run.partition.as_ref().and_then(|partition| partition.date)),
            partition_key: run.partition.map(|partition| partition.key),
        }
    }

    /// Runs with what is said of their Dags. Blocks.
    pub(crate) fn all(runs: Vec<DagRun>, lookup: &mut Lookup<'_>) -> Result<Vec<Self>, ApiError> {
        let versions = DagVersionResponse::of_runs(&runs, lookup)?;
        let answer = |(run, versions): (DagRun, Vec<DagVersionResponse>)| {
            let display_name = lookup.display_name(&run.key.dag_id)?;
            Ok(Self::new(run, &display_name, versions))
        };
        runs.into_iter().zip(versions).map(answer).collect()
    }

    /// One run. Blocks.
    pub(crate) fn of(run: DagRun, lookup: &mut Lookup<'_>) -> Result<Self, ApiError> {
        let run_id = run.key.run_id.clone();
        let mut answers = Self::all(vec![run], lookup)?;
        answers.pop().ok_or_else(|| ApiError::internal(format!("the run {run_id} was lost")))
    }

    /// Gives the moments of a request the offsets that they had there.
    fn echo(
        &mut self,
        logical_date: Option<MomentAt>,
        interval: Option<(MomentAt, MomentAt)>,
        after: Option<MomentAt>,
    ) {
        self.logical_date = logical_date.or(self.logical_date);
        let (start, end) = interval.unzip();
        // An interval that is the logical date itself is written like it.
        let same = |at: Option<MomentAt>| logical_date.filter(|date| at.is_some_and(|at| at.is_same_moment(date)));
        self.data_interval_start = start.or_else(|| same(self.data_interval_start)).or(self.data_interval_start);
        self.data_interval_end = end.or_else(|| same(self.data_interval_end)).or(self.data_interval_end);
        self.run_after = after.unwrap_or(self.run_after);
    }
}

/// `DAGRunCollectionResponse`.
#[derive(Default, Serialize)]
struct DagRunCollection {
    dag_runs: Vec<DagRunResponse>,
    #[serde(flatten)]
    around: Around,
}

pub(crate) fn run_not_found(key: &RunKey) -> ApiError {
    let RunKey { dag_id, run_id } = key;
    ApiError::not_found(format!("The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"))
}

/// The run that a path names. A path without an id is that of the list.
fn key_of(args: &Args) -> RunKey {
    let run_id = Some(args.path("dag_run_id")).filter(|run_id| !run_id.is_empty());
    RunKey::new(DagId::from(args.path("dag_id")), RunId::from(run_id.unwrap_or_else(|| "list".into())))
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<DagRunResponse> {
    let key = key_of(&args);
    let own = state.clone();
    let find = move || {
        let mut lookup = Lookup::new(&own);
        let run = own.store().run(&key)?.ok_or_else(|| run_not_found(&key))?;
        DagRunResponse::of(run, &mut lookup)
    };
    state.blocking(find).await.map(Json)
}

async fn delete(State(state): State<ApiState>, args: Args) -> Result<NoContent, ApiError> {
    delete_run(&state, key_of(&args)).await.map(|()| NoContent)
}

/// Deletes a run that waits or has ended (`DagRunMutableStates`).
async fn delete_run(state: &ApiState, key: RunKey) -> Result<(), ApiError> {
    let wanted = key.clone();
    let run = state.read(move |store| store.run(&wanted)?.ok_or_else(|| run_not_found(&wanted))).await?;
    let refused = |state: DagRunState| {
        let RunKey { dag_id, run_id } = &key;
        ApiError::conflict(format!(
            "The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` cannot be deleted in {state} state"
        ))
    };
    if run.state == DagRunState::Running {
        return Err(refused(run.state));
    }
    match state.engine().delete_run(key.clone()).await {
        Ok(()) => Ok(()),
        // It has begun meanwhile.
        Err(ChangeFailure::Refused(_)) => Err(refused(DagRunState::Running)),
        Err(ChangeFailure::Stopped(stopped)) => Err(stopped.into()),
    }
}

const ORDERS: [(&str, &[RunOrder]); 12] = [
    ("id", &[RunOrder::Id]),
    ("state", &[RunOrder::State]),
    ("dag_id", &[RunOrder::DagId]),
    ("run_id", &[RunOrder::RunId]),
    ("logical_date", &[RunOrder::LogicalDate]),
    ("partition_date", &[RunOrder::PartitionDate]),
    ("run_after", &[RunOrder::RunAfter]),
    ("start_date", &[RunOrder::StartDate]),
    ("end_date", &[RunOrder::EndDate]),
    ("updated_at", &[RunOrder::UpdatedAt]),
    ("conf", &[RunOrder::Conf]),
    ("duration", &[RunOrder::Duration]),
];

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let page = args.page(&state);
    let filter = filter::read(&mut args);
    let order_by = args.texts("order_by");
    args.finish()?;
    let cursor = Cursor::read(&args, &order_by, page.limit);
    let dag_id = DagId::from(args.path("dag_id"));
    let order = order::resolve(&order_by, "id", &ORDERS, &[("dag_run_id", "run_id")], RunOrder::Id);
    let own = state.clone();
    let list = move || {
        let mut lookup = Lookup::new(&own);
        let mut filter = filter;
        if dag_id.as_str() != "~" {
            let record = known_dag(own.store(), &dag_id)?;
            lookup.know(&record);
            if let Ok(Some(filter)) = &mut filter {
                filter::localize(filter, &record)?;
            }
        }
        let (filter, order, cursor) = (filter?, order?, cursor?);
        match filter {
            Some(filter) => collect(&mut lookup, &filter, &order, page, cursor),
            None => Ok(DagRunCollection::default()),
        }
    };
    state.blocking(list).await.map(Json)
}

/// Blocks.
fn collect(
    lookup: &mut Lookup<'_>,
    filter: &RunFilter,
    order: &[(RunOrder, Direction)],
    page: Page,
    cursor: Option<Cursor>,
) -> Result<DagRunCollection, ApiError> {
    let page = cursor.as_ref().map_or(page, Cursor::page);
    let (runs, total) = lookup.store().runs(filter, order, page)?;
    let around = cursor.map_or_else(|| counted(total), |cursor| cursor.around(runs.len(), total));
    Ok(DagRunCollection { dag_runs: DagRunResponse::all(runs, lookup)?, around })
}
