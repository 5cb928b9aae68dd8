//! Dag runs.

mod filter;
mod trigger;

use axum::Json;
use axum::extract::State;
use model::{DagId, DagRun, RunId, RunKey};
use serde::Serialize;
use store::{Direction, Page, RunFilter, RunOrder};

use super::dag_versions::DagVersionResponse;
use super::dags::known_dag;
use super::lookup::Lookup;
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment, seconds};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/dags/{dag_id}/dagRuns", Access::ReadDags, list)
        .post("/dags/{dag_id}/dagRuns", Access::WriteDags, trigger::trigger)
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}", Access::ReadDags, get)
}

/// `DAGRunResponse`.
#[derive(Serialize)]
pub(crate) struct DagRunResponse {
    dag_run_id: String,
    dag_id: String,
    logical_date: Option<Moment>,
    queued_at: Option<Moment>,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    duration: Option<f64>,
    data_interval_start: Option<Moment>,
    data_interval_end: Option<Moment>,
    run_after: Moment,
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
            logical_date: moment(run.logical_date),
            queued_at: moment(run.queued_at),
            start_date: moment(run.start_date),
            end_date: moment(run.end_date),
            duration: seconds(run.duration()),
            data_interval_start: moment(run.data_interval.map(|interval| interval.start)),
            data_interval_end: moment(run.data_interval.map(|interval| interval.end)),
            run_after: Moment(run.run_after),
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
            partition_key: None,
            partition_date: None,
        }
    }

    /// The run with what is said of its Dag. Blocks.
    pub(crate) fn of(run: DagRun, lookup: &mut Lookup<'_>) -> Result<Self, ApiError> {
        let display_name = lookup.display_name(&run.key.dag_id)?;
        let version = lookup.version(run.version)?;
        let versions = version.iter().map(|version| DagVersionResponse::clone(version)).collect();
        Ok(Self::new(run, &display_name, versions))
    }
}

/// `DAGRunCollectionResponse`.
#[derive(Serialize)]
struct DagRunCollection {
    dag_runs: Vec<DagRunResponse>,
    total_entries: u64,
    total_entries_limit: Option<u64>,
    next_cursor: Option<String>,
    previous_cursor: Option<String>,
}

pub(crate) fn run_not_found(key: &RunKey) -> ApiError {
    let RunKey { dag_id, run_id } = key;
    ApiError::not_found(format!("The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"))
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<DagRunResponse> {
    let key = RunKey::new(DagId::from(args.path("dag_id")), RunId::from(args.path("dag_run_id")));
    let own = state.clone();
    let find = move || {
        let mut lookup = Lookup::new(&own);
        let run = own.store().run(&key)?.ok_or_else(|| run_not_found(&key))?;
        DagRunResponse::of(run, &mut lookup)
    };
    state.blocking(find).await.map(Json)
}

const ORDERS: [(&str, &[RunOrder]); 12] = [
    ("id", &[RunOrder::Id]),
    ("state", &[RunOrder::State]),
    ("dag_id", &[RunOrder::DagId]),
    ("run_id", &[RunOrder::RunId]),
    ("logical_date", &[RunOrder::LogicalDate]),
    // No run has a partition date: all are equal.
    ("partition_date", &[]),
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
    let order = order::resolve(&order_by, "id", &ORDERS, &[("dag_run_id", "run_id")], RunOrder::Id);
    let own = state.clone();
    state.blocking(move || collect(&own, &filter?, &order?, page)).await.map(Json)
}

fn collect(
    state: &ApiState,
    filter: &RunFilter,
    order: &[(RunOrder, Direction)],
    page: Page,
) -> Result<DagRunCollection, ApiError> {
    let mut lookup = Lookup::new(state);
    if let Some(dag_id) = &filter.dag_id {
        lookup.know(&known_dag(state.store(), dag_id)?);
    }
    let (runs, total_entries) = state.store().runs(filter, order, page)?;
    let dag_runs = runs.into_iter().map(|run| DagRunResponse::of(run, &mut lookup)).collect::<Result<_, _>>()?;
    Ok(DagRunCollection {
        dag_runs,
        total_entries,
        total_entries_limit: None,
        next_cursor: None,
        previous_cursor: None,
    })
}
