//! Dags.

mod details;
pub(crate) mod filter;

use axum::Json;
use axum::extract::State;
use engine::ChangeFailure;
use model::DagId;
use serde::Serialize;
use store::{DagOrder, DagRecord, Direction, Page, Store};

use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::signed;
use crate::state::ApiState;
use crate::wire::{Moment, NoContent, moment};

pub(crate) use details::version_of;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/dags", Access::ReadDags, list)
        .patch("/dags", Access::WriteDags, patch_many)
        .get("/dags/{dag_id}", Access::ReadDags, get)
        .get("/dags/{dag_id}/details", Access::ReadDags, details::get)
        .patch("/dags/{dag_id}", Access::WriteDags, patch)
        .delete("/dags/{dag_id}", Access::WriteDags, delete)
}

/// The token by which clients name a Dag's file: signed, so that nobody can name another.
fn file_token(state: &ApiState, bundle_name: &str, relative_fileloc: &str) -> String {
    signed::file_token(&state.config().secret_key, bundle_name, relative_fileloc)
}

/// `DAGResponse`.
#[derive(Serialize)]
pub(crate) struct DagResponse {
    #[serde(flatten)]
    fields: DagFields,
    #[serde(flatten)]
    computed: Computed,
}

/// What is kept of a Dag.
#[derive(Serialize)]
pub(crate) struct DagFields {
    dag_id: String,
    dag_display_name: String,
    is_paused: bool,
    is_stale: bool,
    last_parsed_time: Moment,
    last_parse_duration: f64,
    last_expired: Option<Moment>,
    bundle_name: String,
    bundle_version: Option<String>,
    relative_fileloc: String,
    fileloc: String,
    description: Option<String>,
    timetable_summary: Option<String>,
    timetable_description: Option<String>,
    timetable_partitioned: bool,
    timetable_periodic: bool,
    tags: Vec<TagResponse>,
    max_active_tasks: u32,
    max_active_runs: u32,
    max_consecutive_failed_dag_runs: u32,
    has_task_concurrency_limits: bool,
    has_import_errors: bool,
    next_dagrun_logical_date: Option<Moment>,
    next_dagrun_data_interval_start: Option<Moment>,
    next_dagrun_data_interval_end: Option<Moment>,
    next_dagrun_run_after: Option<Moment>,
    allowed_run_types: Option<Vec<String>>,
    owners: Vec<String>,
}

/// What is worked out for an answer; in Airflow's it comes after all that is kept.
#[derive(Serialize)]
pub(crate) struct Computed {
    is_backfillable: bool,
    file_token: String,
}

#[derive(Serialize)]
struct TagResponse {
    name: String,
    dag_id: String,
    dag_display_name: String,
}

/// `DAGCollectionResponse`.
#[derive(Serialize)]
struct DagCollection {
    dags: Vec<DagResponse>,
    total_entries: u64,
}

/// Timetables whose `periodic` is false in Airflow.
const NOT_PERIODIC: [&str; 6] = [
    "NullTimetable",
    "OnceTimetable",
    "ContinuousTimetable",
    "AssetTriggeredTimetable",
    "PartitionedAssetTimetable",
    "PartitionedAtRuntime",
];
/// Those whose runs are about partitions and have no logical date.
const PARTITIONED: [&str; 2] = ["PartitionedAssetTimetable", "CronPartitionTimetable"];

impl DagResponse {
    pub(crate) fn new(state: &ApiState, record: DagRecord) -> Self {
        let class = record.timetable_type.rsplit('.').next().unwrap_or_default();
        // What the import found of a timetable from a plugin.
        let trait_of = |name: &str| record.facts.get("traits")?.get(name)?.as_bool();
        let is_periodic = trait_of("periodic").unwrap_or(!NOT_PERIODIC.contains(&class));
        let is_partitioned = trait_of("partitioned").unwrap_or(PARTITIONED.contains(&class));
        let may_backfill =
            record.allowed_run_types.as_ref().is_none_or(|types| types.iter().any(|name| name == "backfill"));
        let next = record.schedule.next_run;
        let dated = next.filter(|_| !is_partitioned);
        let mut tags = record.tags;
        tags.sort_unstable();
        let tag = |name| TagResponse {
            name,
            dag_id: record.dag_id.to_string(),
            dag_display_name: record.display_name.clone(),
        };
        let computed = Computed {
            is_backfillable: is_periodic && may_backfill,
            file_token: file_token(state, &record.bundle_name, &record.relative_fileloc),
        };
        let fields = DagFields {
            tags: tags.into_iter().map(tag).collect(),
            dag_id: record.dag_id.to_string(),
            is_paused: record.paused,
            is_stale: record.stale,
            last_parsed_time: Moment(record.last_parsed_at),
            last_parse_duration: model::operations::total_seconds(record.last_parse_duration),
            last_expired: None,
            bundle_name: record.bundle_name,
            bundle_version: record.bundle_version,
            relative_fileloc: record.relative_fileloc,
            fileloc: record.fileloc,
            description: record.description,
            timetable_summary: record.timetable_summary.filter(|summary| summary != "None"),
            timetable_description: record.timetable_description,
            timetable_partitioned: is_partitioned,
            timetable_periodic: is_periodic,
            max_active_tasks: record.max_active_tasks,
            max_active_runs: record.max_active_runs,
            max_consecutive_failed_dag_runs: record.max_consecutive_failed_dag_runs,
            has_task_concurrency_limits: record.has_task_concurrency_limits,
            has_import_errors: record.has_import_errors,
            next_dagrun_logical_date: dated.map(|next| Moment(next.data_interval.start)),
            next_dagrun_data_interval_start: dated.map(|next| Moment(next.data_interval.start)),
            next_dagrun_data_interval_end: dated.map(|next| Moment(next.data_interval.end)),
            next_dagrun_run_after: moment(next.map(|next| next.run_after)),
            allowed_run_types: record.allowed_run_types,
            owners: record.owners,
            dag_display_name: record.display_name,
        };
        Self { fields, computed }
    }

    /// What is kept of the Dag, and what is worked out.
    pub(crate) fn into_parts(self) -> (DagFields, Computed) {
        (self.fields, self.computed)
    }
}

const ORDERS: [(&str, &[DagOrder]); 5] = [
    ("dag_id", &[DagOrder::DagId]),
    ("dag_display_name", &[DagOrder::DisplayName]),
    ("next_dagrun", &[DagOrder::NextRun]),
    ("last_run_state", &[DagOrder::LastRunState]),
    ("last_run_start_date", &[DagOrder::LastRunStart]),
];

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let page = args.page(&state);
    let filter = filter::read(&mut args);
    let order_by = args.texts("order_by");
    args.finish()?;
    let order = order::resolve(&order_by, "dag_id", &ORDERS, &[], DagOrder::DagId)?;
    let Some(filter) = filter else { return Ok(Json(DagCollection { dags: Vec::new(), total_entries: 0 })) };
    let (found, total_entries) = state.read(move |store| Ok(store.dags(&filter, &order, page)?)).await?;
    let dags = found.into_iter().map(|record| DagResponse::new(&state, record)).collect();
    Ok(Json(DagCollection { dags, total_entries }))
}

/// The Dag, which must have a structure.
pub(crate) fn known_dag(store: &dyn Store, dag_id: &DagId) -> Result<DagRecord, ApiError> {
    store.dag(dag_id)?.ok_or_else(|| ApiError::not_found(format!("The Dag with ID: `{dag_id}` was not found")))
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<DagResponse> {
    let dag_id = DagId::from(args.path("dag_id"));
    let record = state.read(move |store| known_dag(store, &dag_id)).await?;
    Ok(Json(DagResponse::new(&state, record)))
}

/// `DAGPatchBody`.
fn read_patch(mut fields: Fields<'_>) -> bool {
    let paused = fields.required("is_paused", parse::boolean);
    fields.forbid_others();
    paused
}

/// The only thing about a Dag that can be changed.
fn check_mask(mask: &[String]) -> Result<(), ApiError> {
    if mask.is_empty() || mask == ["is_paused"] {
        Ok(())
    } else {
        Err(ApiError::bad_request("Only `is_paused` field can be updated through the REST API"))
    }
}

async fn patch(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<DagResponse> {
    let dag_id = DagId::from(args.path("dag_id"));
    let paused = read_patch(body.fields(&mut args.issues));
    args.finish()?;
    let wanted = dag_id.clone();
    let find = move |store: &dyn Store| {
        let missing = || ApiError::not_found(format!("Dag with id: {wanted} was not found"));
        store.dag(&wanted)?.ok_or_else(missing)
    };
    let mut record = state.read(find).await?;
    check_mask(&args.texts("update_mask"))?;
    if record.paused != paused {
        state.engine().set_paused(dag_id.clone(), paused).await?;
        // The engine may have decided about the Dag's schedule meanwhile.
        record = state.read(move |store| known_dag(store, &dag_id)).await?;
    }
    Ok(Json(DagResponse::new(&state, record)))
}

/// Deletes a Dag with all its runs. Its file, if it is there, is imported anew, as Airflow does it when it looks next.
async fn delete(State(state): State<ApiState>, args: Args) -> Result<NoContent, ApiError> {
    let dag_id = DagId::from(args.path("dag_id"));
    let wanted = dag_id.clone();
    let find = move |store: &dyn Store| {
        let missing = || ApiError::not_found(format!("Dag with id: {wanted} was not found"));
        store.dag(&wanted)?.ok_or_else(missing)
    };
    let record = state.read(find).await?;
    match state.engine().delete_dag(dag_id.clone()).await {
        Ok(()) => {
            state.import_again(record.bundle_name, record.relative_fileloc);
            Ok(NoContent)
        }
        Err(ChangeFailure::Refused(_)) => {
            Err(ApiError::conflict(format!("Task instances of dag with id: '{dag_id}' are still running")))
        }
        Err(ChangeFailure::Stopped(stopped)) => Err(stopped.into()),
    }
}

async fn patch_many(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<impl Serialize> {
    let page = args.page(&state);
    let filter = filter::read_for_patch(&mut args);
    let paused = read_patch(body.fields(&mut args.issues));
    args.finish()?;
    check_mask(&args.texts("update_mask"))?;
    let Some(filter) = filter else { return Ok(Json(DagCollection { dags: Vec::new(), total_entries: 0 })) };
    let order = [(DagOrder::DagId, Direction::Ascending)];
    let (found, total_entries) = state.read(move |store| Ok(store.dags(&filter, &order, Page::ALL)?)).await?;
    for record in found.iter().filter(|record| record.paused != paused) {
        state.engine().set_paused(record.dag_id.clone(), paused).await?;
    }
    let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let changed = |record: DagRecord| DagResponse::new(&state, DagRecord { paused, ..record });
    let dags = found.into_iter().skip(skip).take(take).map(changed).collect();
    Ok(Json(DagCollection { dags, total_entries }))
}
