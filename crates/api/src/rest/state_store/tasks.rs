//! `…/taskInstances/{task_id}/state-store`: what a task instance keeps for its later tries.

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use model::{MapIndex, RunKey, TaskInstanceKey};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Page, TaskInstanceFilter, TaskStateEntry, Write};

use super::{check_key, key, not_found, read};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, python_repr};
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, NoContent};

const ALL: &str = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store";

pub(super) fn routes(mut routes: Routes) -> Routes {
    routes = routes.get(ALL, Access::ReadDags, list).delete(ALL, Access::WriteDags, clear);
    // The second is the empty key's.
    for one in ["/{*key}", "/"].map(|end| format!("{ALL}{end}")) {
        routes = routes
            .get(&one, Access::ReadDags, get)
            .put(&one, Access::WriteDags, put)
            .patch(&one, Access::WriteDags, patch)
            .delete(&one, Access::WriteDags, delete);
    }
    routes
}

/// So many days from now no calendar goes.
const FOR_EVER_DAYS: i64 = 4_000_000;

#[derive(Serialize)]
struct TaskStateBody {
    key: String,
    value: Value,
    updated_at: Moment,
    expires_at: Option<Moment>,
}

impl From<TaskStateEntry> for TaskStateBody {
    fn from(entry: TaskStateEntry) -> Self {
        let TaskStateEntry { key, value, updated_at, expires_at } = entry;
        Self { key, value, updated_at: Moment(updated_at), expires_at: expires_at.map(Moment) }
    }
}

#[derive(Serialize)]
struct TaskStates {
    task_state_store: Vec<TaskStateBody>,
    total_entries: u64,
}

/// Until when an entry is to be kept.
#[derive(Clone, Copy)]
enum Expiry {
    /// As `[state_store] default_retention_days` says.
    Default,
    Never,
    At(Timestamp),
}

impl Expiry {
    fn read(fields: &mut Fields<'_>) -> Self {
        let Some(input) = fields.raw("expires_at") else { return Expiry::Default };
        match input {
            Value::Null => Expiry::Never,
            Value::String(text) if text == "default" => Expiry::Default,
            input => match parse::aware_moment(input) {
                Ok(at) => Expiry::At(model::operations::to_microseconds(at)),
                Err(fault) => {
                    // Pydantic tells of each thing that it could have been.
                    let place = |part: &str| [fields.place_of("expires_at"), vec![json!(part)]].concat();
                    let (moment, word) = (place("datetime"), place("literal['default']"));
                    fields.issues().add(&moment, fault, input);
                    if let Err(fault) = parse::literal(&[("default", ())])(input) {
                        fields.issues().add(&word, fault, input);
                    }
                    Expiry::Default
                }
            },
        }
    }

    fn resolve(self, state: &ApiState, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        match (self, state.config().state_retention_days) {
            (Expiry::Never, _) | (Expiry::Default, 0) => Ok(None),
            (Expiry::At(at), _) => Ok(Some(at)),
            (Expiry::Default, days) if days < 0 => Err(ApiError::bad_request(format!(
                "[state_store] default_retention_days must be >= 0, got {days}. Set to 0 to disable expiry."
            ))),
            (Expiry::Default, days) => {
                let kept = SignedDuration::from_hours(days.min(FOR_EVER_DAYS) * 24);
                Ok(Some(now.saturating_add(kept).unwrap_or(Timestamp::MAX)))
            }
        }
    }
}

/// The task instance that a request names, whether or not there is one.
fn scope(args: &mut Args) -> TaskInstanceKey {
    let map_index = args.or("map_index", -1, parse::at_least(-1));
    TaskInstanceKey {
        run: RunKey::new(args.path("dag_id"), args.path("dag_run_id")),
        task_id: args.path("task_id").into(),
        // No task instance has an index beyond these 32 bits.
        map_index: MapIndex(i32::try_from(map_index).unwrap_or(i32::MAX)),
    }
}

/// As [`scope`]; a task instance that is not there is told of before what else may be wrong with the request.
async fn known_scope(state: &ApiState, args: &mut Args, all_map_indices: bool) -> Result<TaskInstanceKey, ApiError> {
    let ti = scope(args);
    if args.issues.is_empty() {
        require(state, ti.clone(), all_map_indices).await?;
    }
    Ok(ti)
}

async fn require(state: &ApiState, ti: TaskInstanceKey, all_map_indices: bool) -> Result<(), ApiError> {
    let is_there = state.read(move |store| {
        if !all_map_indices {
            return Ok((store.task_instance(&ti)?.is_some(), ti));
        }
        let any = TaskInstanceFilter {
            dag_id: Some(ti.run.dag_id.clone()),
            run_id: Some(ti.run.run_id.clone()),
            task_ids: vec![ti.task_id.to_string()],
            ..TaskInstanceFilter::default()
        };
        Ok((store.task_instances(&any, &[], Page { limit: 0, offset: 0 })?.1 > 0, ti))
    });
    let (is_there, ti) = is_there.await?;
    if is_there {
        return Ok(());
    }
    let index = if all_map_indices { "all_map_indices=True".into() } else { format!("map_index={}", ti.map_index.0) };
    let repr = python_repr;
    Err(ApiError::not_found(format!(
        "Task instance not found for dag_id={}, run_id={}, task_id={}, {index}",
        repr(ti.run.dag_id.as_str()),
        repr(ti.run.run_id.as_str()),
        repr(ti.task_id.as_str()),
    )))
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<TaskStates> {
    let ti = scope(&mut args);
    let page = args.page(&state);
    args.finish()?;
    let (entries, total_entries) = state.read(move |store| Ok(store.task_states(&ti, page)?)).await?;
    Ok(Json(TaskStates { task_state_store: entries.into_iter().map(Into::into).collect(), total_entries }))
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<TaskStateBody> {
    let ti = scope(&mut args);
    args.finish()?;
    let key = key(&args);
    let found = state.read(move |store| store.task_state(&ti, &key)?.ok_or_else(|| not_found("Task", &key)));
    found.await.map(|entry| Json(entry.into()))
}

async fn put(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> Result<NoContent, ApiError> {
    let ti = known_scope(&state, &mut args, false).await?;
    let (value, expiry) = read(&state, &body, &mut args, Expiry::read)?;
    let key = key(&args);
    check_key(&key)?;
    let updated_at = model::operations::to_microseconds(Timestamp::now());
    let entry = TaskStateEntry { key, value, updated_at, expires_at: expiry.resolve(&state, updated_at)? };
    state.read(move |store| Ok(store.commit(vec![Write::TaskState { ti, entry }])?)).await?;
    Ok(NoContent)
}

/// Changes the value of what is there, and nothing else.
async fn patch(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<()> {
    let ti = known_scope(&state, &mut args, false).await?;
    let (value, ()) = read(&state, &body, &mut args, |_| ())?;
    let key = key(&args);
    let changed = state.read(move |store| {
        let old = store.task_state(&ti, &key)?.ok_or_else(|| not_found("Task", &key))?;
        let updated_at = model::operations::to_microseconds(Timestamp::now());
        let entry = TaskStateEntry { value, updated_at, ..old };
        Ok(store.commit(vec![Write::TaskState { ti, entry }])?)
    });
    changed.await.map(Json)
}

async fn delete(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let ti = known_scope(&state, &mut args, false).await?;
    args.finish()?;
    let key = key(&args);
    state.read(move |store| Ok(store.commit(vec![Write::DeleteTaskState { ti, key }])?)).await?;
    Ok(NoContent)
}

async fn clear(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    // Two parts of Airflow read it, and both say what is wrong with it.
    let all_map_indices = args.or("all_map_indices", false, parse::boolean);
    args.or("all_map_indices", false, parse::boolean);
    let ti = known_scope(&state, &mut args, all_map_indices).await?;
    args.finish()?;
    state.read(move |store| Ok(store.commit(vec![Write::ClearTaskState { ti, all_map_indices }])?)).await?;
    Ok(NoContent)
}
