//! `…/taskInstances/{task_id}/xcomEntries`: what tasks leave for each other.

mod list;
mod reserved;
mod stringify;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use model::{MapIndex, RunKey, TaskInstanceKey};
use serde::Serialize;
use serde_json::Value;
use store::{Write, XCom, XComKey};

use crate::args::Args;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, NoContent};

const ENTRIES: &str = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries";
const ENTRY: &str = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{*xcom_key}";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get(ENTRIES, Access::ReadDags, list::list)
        .post(ENTRIES, Access::WriteDags, create)
        .get(ENTRY, Access::ReadDags, get)
        .patch(ENTRY, Access::WriteDags, update)
        .delete(ENTRY, Access::WriteDags, delete)
}

/// An entry without its value.
#[derive(Serialize)]
struct XComHeadBody {
    key: String,
    timestamp: Moment,
    logical_date: Option<Moment>,
    map_index: i32,
    task_id: String,
    dag_id: String,
    run_id: String,
    dag_display_name: String,
    task_display_name: String,
    run_after: Moment,
}

#[derive(Serialize)]
struct XComBody {
    #[serde(flatten)]
    head: XComHeadBody,
    value: Value,
}

/// The entry that a path and a map index name.
fn key_of(args: &Args, key: String, map_index: i64) -> XComKey {
    XComKey {
        run: RunKey::new(args.path("dag_id"), args.path("dag_run_id")),
        task_id: args.path("task_id").into(),
        // No task instance has an index beyond these 32 bits.
        map_index: MapIndex(i32::try_from(map_index).unwrap_or(i32::MIN)),
        key,
    }
}

/// The names that people see: of a Dag, and of a task as its task instance's version of the Dag has it.
fn display_names(state: &ApiState, key: &XComKey) -> Result<(String, String), ApiError> {
    let dag = state.store().dag(&key.run.dag_id)?;
    let dag_name = dag.map_or_else(|| key.run.dag_id.to_string(), |dag| dag.display_name);
    let ti = TaskInstanceKey { run: key.run.clone(), task_id: key.task_id.clone(), map_index: key.map_index };
    let mut task_name = None;
    if let Some(ti) = state.store().task_instance(&ti)?
        && let Some(dag) = state.structure(ti.version)?
        && let Some(task) = dag.find(key.task_id.as_str())
    {
        task_name = dag.task(task).display_name.clone();
    }
    Ok((dag_name, task_name.unwrap_or_else(|| key.task_id.to_string())))
}

/// The answer that shows an entry; its run must be there.
fn shown(state: &ApiState, xcom: &XCom, value: Value) -> Result<XComBody, ApiError> {
    let run = state.store().run(&xcom.key.run)?.ok_or_else(|| not_found(&xcom.key.key))?;
    let (dag_display_name, task_display_name) = display_names(state, &xcom.key)?;
    let head = XComHeadBody {
        key: xcom.key.key.clone(),
        timestamp: Moment(xcom.at),
        logical_date: run.logical_date.map(Moment),
        map_index: xcom.key.map_index.0,
        task_id: xcom.key.task_id.to_string(),
        dag_id: xcom.key.run.dag_id.to_string(),
        run_id: xcom.key.run.run_id.to_string(),
        dag_display_name,
        task_display_name,
        run_after: Moment(run.run_after),
    };
    Ok(XComBody { head, value })
}

fn not_found(key: &str) -> ApiError {
    ApiError::not_found(format!("XCom entry with key: `{key}` not found"))
}

fn does_not_exist(key: &str) -> ApiError {
    ApiError::not_found(format!("The XCom with key: `{key}` with mentioned task instance doesn't exist."))
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<XComBody> {
    let map_index = args.or("map_index", -1, parse::at_least(-1));
    let deserialize = args.or("deserialize", false, parse::boolean);
    let as_text = args.or("stringify", false, parse::boolean);
    args.finish()?;
    let key = key_of(&args, args.path("xcom_key"), map_index);
    let state_there = state.clone();
    let found = state.blocking(move || {
        let xcom = state_there.store().xcom(&key)?.ok_or_else(|| not_found(&key.key))?;
        let value = if deserialize { stringify::readable(&xcom.value) } else { xcom.value.clone() };
        let value = match value {
            Value::Null => Value::Null,
            value if as_text => template::python::text(&value).into(),
            value => value,
        };
        shown(&state_there, &xcom, value)
    });
    found.await.map(Json)
}

async fn create(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> Result<(StatusCode, Json<XComBody>), ApiError> {
    let mut fields = body.fields(&mut args.issues);
    let key = fields.required("key", parse::text);
    let value = fields.required("value", reserved::free_of_reserved_keys);
    let map_index = fields.or("map_index", -1, parse::integer);
    fields.forbid_others();
    args.finish()?;
    let key = key_of(&args, key, map_index);
    let state_there = state.clone();
    let created = state.blocking(move || {
        require_task(&state_there, &key)?;
        if key.key.is_empty() {
            return Err(ApiError::bad_request("Couldn't serialise the XCom with key: ``"));
        }
        if state_there.store().xcom(&key)?.is_some() {
            return Err(ApiError::conflict(format!(
                "The XCom with key: `{}` with mentioned task instance already exists.",
                key.key
            )));
        }
        let xcom = XCom { key, value, at: now(), mapped_length: None, dag_result: false };
        state_there.store().commit(vec![Write::XCom(Box::new(xcom.clone()))])?;
        shown(&state_there, &xcom, xcom.value.clone())
    });
    Ok((StatusCode::CREATED, Json(created.await?)))
}

/// Refuses an entry of a task, a run or a Dag that is not there. The Dag is the one that the run was made with.
fn require_task(state: &ApiState, key: &XComKey) -> Result<(), ApiError> {
    let dag_id = &key.run.dag_id;
    let run = state.store().run(&key.run)?;
    let version = match &run {
        Some(run) => Some(run.version),
        None => state.store().dag(dag_id)?.map(|dag| dag.version),
    };
    let dag = version.map(|version| state.structure(version)).transpose()?.flatten();
    let Some(dag) = dag else {
        return Err(ApiError::not_found(format!("The Dag with ID: `{dag_id}` was not found")));
    };
    if dag.find(key.task_id.as_str()).is_none() {
        return Err(ApiError::not_found(format!("Task with ID: `{}` not found in dag: `{dag_id}`", key.task_id)));
    }
    if run.is_none() {
        let run_id = &key.run.run_id;
        return Err(ApiError::not_found(format!("Dag Run with ID: `{run_id}` not found for dag: `{dag_id}`")));
    }
    let ti = TaskInstanceKey { run: key.run.clone(), task_id: key.task_id.clone(), map_index: key.map_index };
    match state.store().task_instance(&ti)? {
        Some(_) => Ok(()),
        // Airflow's database refuses this entry with a fault of its own; nothing would ever show or clear it.
        None => Err(ApiError::not_found(format!("The task instance {ti} was not found"))),
    }
}

async fn update(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<XComBody> {
    let mut fields = body.fields(&mut args.issues);
    let value = fields.required("value", reserved::free_of_reserved_keys);
    let map_index = fields.or("map_index", -1, parse::integer);
    fields.forbid_others();
    args.finish()?;
    let key = key_of(&args, args.path("xcom_key"), map_index);
    let state_there = state.clone();
    let updated = state.blocking(move || {
        let old = state_there.store().xcom(&key)?.ok_or_else(|| does_not_exist(&key.key))?;
        let xcom = XCom { value, at: now(), ..old };
        state_there.store().commit(vec![Write::XCom(Box::new(xcom.clone()))])?;
        shown(&state_there, &xcom, xcom.value.clone())
    });
    updated.await.map(Json)
}

async fn delete(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let map_index = args.or("map_index", -1, parse::at_least(-1));
    args.finish()?;
    let key = key_of(&args, args.path("xcom_key"), map_index);
    let deleted = state.read(move |store| {
        if store.xcom(&key)?.is_none() {
            return Err(does_not_exist(&key.key));
        }
        store.commit(vec![Write::DeleteXCom(key)])?;
        Ok(NoContent)
    });
    deleted.await
}

/// Moments have microseconds.
fn now() -> Timestamp {
    model::operations::to_microseconds(Timestamp::now())
}
