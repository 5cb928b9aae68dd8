//! Task instances and their tries.

mod batch;
mod bulk;
pub(crate) mod clear;
mod filter;
mod group;
pub(crate) mod hitl;
mod links;
mod patch;
mod tries;

use std::rc::Rc;

use axum::Json;
use axum::extract::State;
use model::{DagId, DagRun, MapIndex, RunId, RunKey, TaskId, TaskInstance, TaskInstanceKey};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Direction, Page, TaskInstanceFilter, TaskInstanceOrder};

use super::cursor::{Around, Cursor, counted};
use super::dag_versions::DagVersionResponse;
use super::lookup::Lookup;
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment, seconds};

const PREFIX: &str = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances";

const GROUP: &str = "/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}";

pub(crate) fn routes(routes: Routes) -> Routes {
    let at = |rest: &str| format!("{PREFIX}{rest}");
    hitl::routes(routes)
        .get(&at("/{task_id}"), Access::ReadDags, get)
        .get(&at("/{task_id}/listMapped"), Access::ReadDags, list_mapped)
        .get(&at("/{task_id}/tries"), Access::ReadDags, tries::list)
        .get(&at("/{task_id}/{map_index}/tries"), Access::ReadDags, tries::list_mapped)
        .get(&at("/{task_id}/{map_index}"), Access::ReadDags, get_mapped)
        .get(PREFIX, Access::ReadDags, list)
        // The list's path is also that of a task with such an id.
        .get(&at("/list"), Access::ReadDags, get)
        .post(&at("/list"), Access::ReadDags, batch::list)
        .get(&at("/{task_id}/tries/{task_try_number}"), Access::ReadDags, tries::get)
        .get(&at("/{task_id}/{map_index}/tries/{task_try_number}"), Access::ReadDags, tries::get_mapped)
        .get(&at("/{task_id}/links"), Access::ReadDags, links::get)
        .patch(&at("/{task_id}"), Access::WriteDags, patch::patch)
        .patch(&at("/{task_id}/{map_index}"), Access::WriteDags, patch::patch_mapped)
        .patch(&at("/{task_id}/dry_run"), Access::WriteDags, patch::dry_run)
        .patch(&at("/{task_id}/{map_index}/dry_run"), Access::WriteDags, patch::dry_run_mapped)
        .patch(PREFIX, Access::WriteDags, bulk::change)
        .delete(&at("/{task_id}"), Access::WriteDags, bulk::delete)
        .patch(GROUP, Access::WriteDags, group::patch)
        .patch(&format!("{GROUP}/dry_run"), Access::WriteDags, group::dry_run)
        .post("/dags/{dag_id}/clearTaskInstances", Access::WriteDags, clear::clear)
}

/// `TaskInstanceResponse`.
#[derive(Serialize)]
pub(crate) struct TaskInstanceResponse {
    id: uuid::Uuid,
    task_id: String,
    dag_id: String,
    dag_run_id: String,
    map_index: i32,
    logical_date: Option<Moment>,
    run_after: Moment,
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
    note: Option<String>,
    rendered_map_index: Option<String>,
    rendered_fields: Value,
    trigger: Option<Value>,
    triggerer_job: Option<Value>,
    dag_version: Option<DagVersionResponse>,
}

fn text(text: Option<std::sync::Arc<str>>) -> Option<String> {
    text.map(|text| text.to_string())
}

impl TaskInstanceResponse {
    /// Blocks.
    pub(crate) fn of(ti: TaskInstance, run: &DagRun, lookup: &mut Lookup<'_>) -> Result<Self, ApiError> {
        let rendered_fields = lookup.store().rendered_fields(&ti.key())?.unwrap_or_else(|| json!({}));
        let note = lookup.store().task_note(&ti.key())?;
        let version = lookup.version(ti.version)?;
        Ok(Self {
            id: ti.id.0,
            task_display_name: lookup.task_display_name(&ti)?,
            dag_display_name: lookup.display_name(&ti.run.dag_id)?.to_string(),
            duration: seconds(ti.duration()),
            rendered_map_index: rendered_map_index(&ti),
            task_id: ti.task_id.to_string(),
            dag_id: ti.run.dag_id.to_string(),
            dag_run_id: ti.run.run_id.to_string(),
            map_index: ti.map_index.0,
            logical_date: moment(run.logical_date),
            run_after: Moment(run.run_after),
            start_date: moment(ti.start_date),
            end_date: moment(ti.end_date),
            state: ti.state.name(),
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
            note,
            rendered_fields,
            trigger: None,
            triggerer_job: None,
            dag_version: version.map(|version| DagVersionResponse::clone(&version)),
        })
    }
}

/// The name that was rendered for an instance of a mapped task, else its index.
fn rendered_map_index(ti: &TaskInstance) -> Option<String> {
    ti.rendered_map_index.clone().or_else(|| ti.map_index.is_mapped().then(|| ti.map_index.0.to_string()))
}

/// `TaskInstanceCollectionResponse`.
#[derive(Default, Serialize)]
struct TaskInstanceCollection {
    task_instances: Vec<TaskInstanceResponse>,
    #[serde(flatten)]
    around: Around,
}

fn key_of(args: &Args, map_index: i32) -> TaskInstanceKey {
    TaskInstanceKey {
        run: RunKey::new(DagId::from(args.path("dag_id")), RunId::from(args.path("dag_run_id"))),
        task_id: TaskId::from(Some(args.path("task_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| "list".into())),
        map_index: MapIndex(map_index),
    }
}

fn find(state: &ApiState, key: &TaskInstanceKey) -> Result<Option<TaskInstanceResponse>, ApiError> {
    let mut lookup = Lookup::new(state);
    let Some(ti) = state.store().task_instance(key)? else { return Ok(None) };
    let run = lookup.run(&key.run)?;
    run.map(|run| TaskInstanceResponse::of(ti, &run, &mut lookup)).transpose()
}

/// A map index as tasks have it; no task has one that does not fit.
fn narrow(map_index: i64) -> i32 {
    i32::try_from(map_index).unwrap_or(i32::MAX)
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<TaskInstanceResponse> {
    let key = key_of(&args, -1);
    let own = state.clone();
    let look = move || {
        if let Some(found) = find(&own, &key)? {
            return Ok(found);
        }
        let filter = TaskInstanceFilter {
            dag_id: Some(key.run.dag_id.clone()),
            run_id: Some(key.run.run_id.clone()),
            task_ids: vec![key.task_id.to_string()],
            ..TaskInstanceFilter::default()
        };
        let (_, mapped) = own.store().task_instances(&filter, &[], Page { limit: 0, offset: 0 })?;
        if mapped > 0 {
            return Err(ApiError::not_found("Task instance is mapped, add the map_index value to the URL"));
        }
        let TaskInstanceKey { run: RunKey { dag_id, run_id }, task_id, .. } = &key;
        Err(ApiError::not_found(format!(
            "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}` and task_id: `{task_id}` was not found"
        )))
    };
    state.blocking(look).await.map(Json)
}

async fn get_mapped(State(state): State<ApiState>, mut args: Args) -> ApiResult<TaskInstanceResponse> {
    let map_index = args.path_as("map_index", parse::integer);
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let own = state.clone();
    let look = move || {
        find(&own, &key)?.ok_or_else(|| {
            let TaskInstanceKey { run: RunKey { dag_id, run_id }, task_id, .. } = &key;
            ApiError::not_found(format!(
                "The Mapped Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}`, and \
                 map_index: `{map_index}` was not found"
            ))
        })
    };
    state.blocking(look).await.map(Json)
}

const ORDERS: [(&str, &[TaskInstanceOrder]); 13] = [
    ("id", &[TaskInstanceOrder::Id]),
    ("state", &[TaskInstanceOrder::State]),
    ("duration", &[TaskInstanceOrder::Duration]),
    ("start_date", &[TaskInstanceOrder::StartDate]),
    ("end_date", &[TaskInstanceOrder::EndDate]),
    ("map_index", &[TaskInstanceOrder::MapIndex]),
    ("try_number", &[TaskInstanceOrder::TryNumber]),
    ("logical_date", &[TaskInstanceOrder::LogicalDate]),
    ("run_after", &[TaskInstanceOrder::RunAfter]),
    ("data_interval_start", &[TaskInstanceOrder::IntervalStart]),
    ("data_interval_end", &[TaskInstanceOrder::IntervalEnd]),
    ("rendered_map_index", &[TaskInstanceOrder::RenderedMapIndex, TaskInstanceOrder::MapIndex]),
    ("operator", &[TaskInstanceOrder::Operator]),
];

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let filter = filter::read(&mut args);
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    args.finish()?;
    let cursor = Cursor::read(&args, &order_by, page.limit);
    let order = order::resolve(&order_by, "map_index", &ORDERS, &[], TaskInstanceOrder::Id);
    let own = state.clone();
    let list = move || {
        let mut lookup = Lookup::new(&own);
        let mut filter = filter?;
        let is_possible = filter::complete(&mut filter, &mut lookup)?;
        let (order, cursor) = (order?, cursor?);
        if is_possible { collect(&mut lookup, &filter.store, &order, page, cursor) } else { Ok(Default::default()) }
    };
    state.blocking(list).await.map(Json)
}

fn collect(
    lookup: &mut Lookup<'_>,
    filter: &TaskInstanceFilter,
    order: &[(TaskInstanceOrder, Direction)],
    page: Page,
    cursor: Option<Cursor>,
) -> Result<TaskInstanceCollection, ApiError> {
    let page = cursor.as_ref().map_or(page, Cursor::page);
    let (found, total) = lookup.store().task_instances(filter, order, page)?;
    let around = cursor.map_or_else(|| counted(total), |cursor| cursor.around(found.len(), total));
    let mut task_instances = Vec::with_capacity(found.len());
    for ti in found {
        if let Some(run) = lookup.run(&ti.run)? {
            task_instances.push(TaskInstanceResponse::of(ti, &Rc::clone(&run), lookup)?);
        }
    }
    Ok(TaskInstanceCollection { task_instances, around })
}

async fn list_mapped(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let key = key_of(&args, -1);
    let mut filter = TaskInstanceFilter::default();
    filter::read_common(&mut args, &mut filter);
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    args.finish()?;
    let order = order::resolve(&order_by, "map_index", &ORDERS, &[], TaskInstanceOrder::Id);
    filter.dag_id = Some(key.run.dag_id.clone());
    filter.run_id = Some(key.run.run_id.clone());
    filter.task_ids = vec![key.task_id.to_string()];
    filter.mapped_only = true;
    let own = state.clone();
    let list = move || {
        let mut lookup = Lookup::new(&own);
        let all = TaskInstanceFilter {
            dag_id: filter.dag_id.clone(),
            run_id: filter.run_id.clone(),
            task_ids: filter.task_ids.clone(),
            mapped_only: true,
            ..TaskInstanceFilter::default()
        };
        let (_, instances) = own.store().task_instances(&all, &[], Page { limit: 0, offset: 0 })?;
        if instances == 0 {
            // A task that was mapped over nothing has no instances either.
            check_mapped(&mut lookup, &key)?;
        }
        collect(&mut lookup, &filter, &order?, page, None)
    };
    state.blocking(list).await.map(Json)
}

fn check_mapped(lookup: &mut Lookup<'_>, key: &TaskInstanceKey) -> Result<(), ApiError> {
    let dag = lookup.structure_for(&key.run)?;
    let task_id = &key.task_id;
    let task = dag.find(task_id.as_str()).map(|index| dag.task(index));
    match task {
        None => Err(ApiError::not_found(format!("Task id {task_id} not found"))),
        Some(task) if !task.needs_expansion() => Err(ApiError::not_found(format!("Task id {task_id} is not mapped"))),
        Some(_) => Ok(()),
    }
}
