//! What became of each try of a task instance.

use axum::Json;
use axum::extract::State;
use model::{RunKey, TaskInstance, TaskInstanceKey, TaskState};
use serde::Serialize;

use super::{key_of, narrow};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::rest::dag_versions::DagVersionResponse;
use crate::rest::lookup::Lookup;
use crate::state::ApiState;
use crate::wire::{Moment, moment, seconds};

/// `TaskInstanceHistoryResponse`.
#[derive(Serialize)]
pub(super) struct TryResponse {
    task_id: String,
    dag_id: String,
    dag_run_id: String,
    map_index: i32,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    duration: Option<f64>,
    state: Option<&'static str>,
    try_number: u32,
    max_tries: u32,
    task_display_name: String,
    dag_display_name: String,
    hostname: Option<String>,
    unixname: Option<String>,
    pool: String,
    pool_slots: u32,
    queue: String,
    priority_weight: i32,
    operator: String,
    operator_name: String,
    queued_when: Option<Moment>,
    scheduled_when: Option<Moment>,
    pid: Option<u32>,
    executor: Option<String>,
    executor_config: String,
    dag_version: Option<DagVersionResponse>,
}

/// `TaskInstanceHistoryCollectionResponse`.
#[derive(Serialize)]
pub(super) struct TryCollection {
    task_instances: Vec<TryResponse>,
    total_entries: usize,
}

impl TryResponse {
    /// Blocks.
    pub(super) fn of(ti: TaskInstance, lookup: &mut Lookup<'_>) -> Result<Self, ApiError> {
        let version = lookup.version(ti.version)?;
        let text = |text: Option<std::sync::Arc<str>>| text.map(|text| text.to_string());
        // A try that waits for the next one has failed.
        let state = if ti.state == TaskState::UpForRetry { TaskState::Failed } else { ti.state };
        Ok(Self {
            task_display_name: lookup.task_display_name(&ti)?,
            dag_display_name: lookup.display_name(&ti.run.dag_id)?.to_string(),
            duration: seconds(ti.duration()),
            task_id: ti.task_id.to_string(),
            dag_id: ti.run.dag_id.to_string(),
            dag_run_id: ti.run.run_id.to_string(),
            map_index: ti.map_index.0,
            start_date: moment(ti.start_date),
            end_date: moment(ti.end_date),
            state: state.name(),
            try_number: ti.try_number,
            max_tries: ti.max_tries,
            hostname: text(ti.hostname).or(Some(String::new())),
            unixname: text(ti.unixname).or_else(|| lookup.unixname()),
            pool: ti.pool.to_string(),
            pool_slots: ti.pool_slots,
            queue: ti.queue.to_string(),
            priority_weight: ti.priority_weight,
            operator: ti.operator.to_string(),
            operator_name: ti.operator_name.to_string(),
            queued_when: moment(ti.queued_at),
            scheduled_when: moment(ti.scheduled_at),
            pid: ti.pid,
            executor: text(ti.executor),
            executor_config: "{}".to_owned(),
            dag_version: version.map(|version| DagVersionResponse::clone(&version)),
        })
    }
}

pub(super) async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<TryCollection> {
    let map_index = args.or("map_index", -1, parse::integer);
    list_of(state, args, map_index).await
}

pub(super) async fn list_mapped(State(state): State<ApiState>, mut args: Args) -> ApiResult<TryCollection> {
    let map_index = args.path_as("map_index", parse::integer);
    list_of(state, args, map_index).await
}

async fn list_of(state: ApiState, mut args: Args, map_index: i64) -> ApiResult<TryCollection> {
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let own = state.clone();
    let collect = move || {
        let mut lookup = Lookup::new(&own);
        let tries = tries_of(&lookup, &key)?;
        if tries.is_empty() {
            let TaskInstanceKey { run: RunKey { dag_id, run_id }, task_id, .. } = &key;
            return Err(ApiError::not_found(format!(
                "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and map_index: \
                 `{map_index}` was not found"
            )));
        }
        let task_instances =
            tries.into_iter().map(|ti| TryResponse::of(ti, &mut lookup)).collect::<Result<Vec<_>, _>>()?;
        Ok(Json(TryCollection { total_entries: task_instances.len(), task_instances }))
    };
    state.blocking(collect).await
}

/// The tries that gave way, and the current one.
pub(super) fn tries_of(lookup: &Lookup<'_>, key: &TaskInstanceKey) -> Result<Vec<TaskInstance>, ApiError> {
    let archived = lookup.store().archived_tries(key)?;
    let mut tries: Vec<TaskInstance> = archived.into_iter().map(|archived| archived.task_instance).collect();
    if let Some(current) = lookup.store().task_instance(key)? {
        tries.retain(|ti| ti.id != current.id);
        tries.push(current);
    }
    Ok(tries)
}

pub(super) async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<TryResponse> {
    let try_number = args.path_as("task_try_number", parse::integer);
    let map_index = args.or("map_index", -1, parse::integer);
    get_of(state, args, map_index, try_number).await
}

pub(super) async fn get_mapped(State(state): State<ApiState>, mut args: Args) -> ApiResult<TryResponse> {
    let try_number = args.path_as("task_try_number", parse::integer);
    let map_index = args.path_as("map_index", parse::integer);
    get_of(state, args, map_index, try_number).await
}

async fn get_of(state: ApiState, mut args: Args, map_index: i64, try_number: i64) -> ApiResult<TryResponse> {
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let own = state.clone();
    let find = move || {
        let mut lookup = Lookup::new(&own);
        let mut tries = tries_of(&lookup, &key)?.into_iter().rev();
        let found = tries.find(|ti| i64::from(ti.try_number) == try_number).ok_or_else(|| {
            let TaskInstanceKey { run: RunKey { dag_id, run_id }, task_id, .. } = &key;
            ApiError::not_found(format!(
                "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}`, try_number: \
                 `{try_number}` and map_index: `{map_index}` was not found"
            ))
        })?;
        TryResponse::of(found, &mut lookup).map(Json)
    };
    state.blocking(find).await
}
