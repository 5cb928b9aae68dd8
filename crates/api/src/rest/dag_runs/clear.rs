//! Runs whose task instances are to run again.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::selection::Selection;
use model::{DagRun, RunKey, TaskId};
use serde::Serialize;
use store::{Page, TaskInstanceFilter};

use super::patch::{MAX_NOTE, set_note};
use super::{DagRunResponse, key_of, run_not_found};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::ApiError;
use crate::parse::{self, Fault};
use crate::rest::lookup::Lookup;
use crate::rest::strict;
use crate::rest::task_instances::TaskInstanceResponse;
use crate::rest::task_instances::clear::{
    Options, clear_run, newest_structure, on_latest_version, states, structure_of_run,
};
use crate::state::ApiState;

/// `BaseDAGRunClear`.
#[derive(Clone)]
pub(super) struct ClearBody {
    pub(super) dry_run: bool,
    only_failed: bool,
    only_new: bool,
    run_on_latest_version: Option<bool>,
    note: Option<String>,
}

impl ClearBody {
    /// Whether what is asked for contradicts itself, which is all that is said then.
    pub(super) fn contradicts(fields: &mut Fields<'_>) -> bool {
        let mut is_true = |name| fields.raw(name).is_some_and(|value| parse::boolean(value).unwrap_or(false));
        let contradicts = is_true("only_new") && is_true("only_failed");
        if contradicts {
            fields.fault(Fault::value_error("only_new and only_failed are mutually exclusive"));
        }
        contradicts
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            dry_run: fields.or("dry_run", true, parse::boolean),
            only_failed: fields.or("only_failed", false, parse::boolean),
            only_new: fields.or("only_new", false, parse::boolean),
            run_on_latest_version: fields.optional("run_on_latest_version", parse::boolean),
            note: fields.optional("note", parse::text_up_to(MAX_NOTE)),
        }
    }
}

/// An entry of `ClearTaskInstanceCollectionResponse`: a task instance, or a task that has none yet.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Affected {
    Instance(Box<TaskInstanceResponse>),
    New { task_id: String, task_display_name: String },
}

#[derive(Serialize)]
pub(super) struct AffectedCollection {
    pub(super) task_instances: Vec<Affected>,
    pub(super) total_entries: usize,
}

pub(super) async fn clear(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> Result<Response, ApiError> {
    let key = key_of(&args);
    let mut fields = body.fields(&mut args.issues);
    let body = if ClearBody::contradicts(&mut fields) {
        None
    } else {
        let body = ClearBody::read(&mut fields);
        fields.forbid_others();
        Some(body)
    };
    let body = strict::checked(&mut args, body)?;
    let own = state.clone();
    if body.dry_run {
        let affected = move || {
            let run = own.store().run(&key)?.ok_or_else(|| run_not_found(&key))?;
            let task_instances = affected(&own, &run, &body)?;
            let total_entries = task_instances.len();
            Ok(Json(AffectedCollection { task_instances, total_entries }).into_response())
        };
        return state.blocking(affected).await;
    }
    let run = clear_one(&state, key, body).await?;
    let answer = move || DagRunResponse::of(run, &mut Lookup::new(&own)).map(|run| Json(run).into_response());
    state.blocking(answer).await
}

/// Has task instances of a run run again, and gives the run as it is then.
pub(super) async fn clear_one(state: &ApiState, key: RunKey, body: ClearBody) -> Result<DagRun, ApiError> {
    let (own, wanted) = (state.clone(), key.clone());
    let find = move || {
        let run = own.store().run(&wanted)?.ok_or_else(|| run_not_found(&wanted))?;
        let on_latest_version = on_latest_version(&own, &wanted.dag_id, body.run_on_latest_version)?;
        let tasks = if body.only_new { new_tasks(&own, &run)? } else { all_tasks(&own, &run, body.only_failed)? };
        Ok((
            tasks,
            Options { restart_run: true, on_latest_version: on_latest_version || body.only_new, keep_running: false },
            body.note,
        ))
    };
    let (tasks, options, note) = state.blocking(find).await?;
    let cleared = if tasks.is_empty() { None } else { Some(clear_run(state, key.clone(), tasks, options).await?.run) };
    let own = state.clone();
    let answer = move || {
        if note.is_some() {
            set_note(&own, &key, Some(note))?;
        }
        let run = own.store().run(&key)?.ok_or_else(|| run_not_found(&key))?;
        // What was cleared may go on at once; the answer is as it was then. Only the store knows the note.
        Ok(cleared.map(|cleared| DagRun { note: run.note.clone(), ..cleared }).unwrap_or(run))
    };
    state.blocking(answer).await
}

type Tasks = Vec<(TaskId, Option<model::MapIndex>)>;

/// Tasks that the newest version has beyond the one that the run was made with. Blocks.
fn new_tasks(state: &ApiState, run: &DagRun) -> Result<Tasks, ApiError> {
    let lookup = Lookup::new(state);
    let newest = newest_structure(&lookup, &run.key.dag_id)?;
    let Some(old) = lookup.structure(run.version)? else { return Ok(Vec::new()) };
    let ids = newest.tasks().iter().map(|task| task.task_id.clone());
    Ok(ids.filter(|id| old.find(id.as_str()).is_none()).map(|id| (id, None)).collect())
}

/// Blocks.
fn all_tasks(state: &ApiState, run: &DagRun, only_failed: bool) -> Result<Tasks, ApiError> {
    let dag = structure_of_run(&Lookup::new(state), run)?;
    let selection = Selection {
        dag,
        run: Some(run.key.run_id.clone()),
        from: None,
        to: None,
        tasks: None,
        states: states(only_failed, false),
    };
    let found = selection.find(state.store())?;
    Ok(found.into_iter().map(|ti| (ti.task_id, Some(ti.map_index))).collect())
}

/// Blocks.
pub(super) fn affected(state: &ApiState, run: &DagRun, body: &ClearBody) -> Result<Vec<Affected>, ApiError> {
    let mut lookup = Lookup::new(state);
    let RunKey { dag_id, run_id } = &run.key;
    structure_of_run(&lookup, run)?;
    let filter = TaskInstanceFilter {
        dag_id: Some(dag_id.clone()),
        run_id: Some(run_id.clone()),
        states: states(body.only_failed, false),
        ..TaskInstanceFilter::default()
    };
    let order = [(store::TaskInstanceOrder::Id, store::Direction::Ascending)];
    let (found, _) = state.store().task_instances(&filter, &order, Page::ALL)?;
    if body.only_new {
        let known: BTreeSet<&str> = found.iter().map(|ti| ti.task_id.as_str()).collect();
        let newest = newest_structure(&lookup, dag_id)?;
        let mut new: Vec<&str> = newest.tasks().iter().map(|task| task.task_id.as_str()).collect();
        new.retain(|id| !known.contains(id));
        new.sort_unstable();
        let new = new.into_iter();
        return Ok(new.map(|id| Affected::New { task_id: id.to_owned(), task_display_name: id.to_owned() }).collect());
    }
    let mut all = Vec::with_capacity(found.len());
    for ti in found {
        all.push(Affected::Instance(Box::new(TaskInstanceResponse::of(ti, run, &mut lookup)?)));
    }
    Ok(all)
}
