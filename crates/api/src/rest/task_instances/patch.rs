//! Task instances that people give a state, or a note.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::ChangeFailure;
use engine::marking::{Meant, Plan, Relatives, plan, state_of};
use engine::selection::{Named, Selection};
use model::{Dag, DagId, RunId, RunKey, TaskInstance, TaskInstanceKey};
use scheduler::MarkAs;
use serde_json::Value;
use store::Write;

use super::clear::{all, newest_structure, write_notes};
use super::{TaskInstanceCollection, narrow};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, Fault, Parsed};
use crate::rest::dag_runs::patch::MAX_NOTE;
use crate::rest::lookup::Lookup;
use crate::state::ApiState;

const STATES: [(&str, MarkAs); 3] =
    [("success", MarkAs::Success), ("failed", MarkAs::Failed), ("skipped", MarkAs::Skipped)];

/// `PatchTaskInstanceBody`, as it was given.
pub(super) struct Given {
    new_state: Option<MarkAs>,
    /// `None` where it was not given.
    note: Option<Option<String>>,
    relatives: Relatives,
}

/// The same, as far as `update_mask` lets it count.
pub(super) struct PatchBody {
    pub(super) new_state: Option<MarkAs>,
    /// `None` where it was not given, or where null takes nothing away.
    pub(super) note: Option<String>,
    pub(super) relatives: Relatives,
}

fn new_state(input: &Value) -> Parsed<MarkAs> {
    let Some(text) = input.as_str().map(str::to_lowercase) else {
        return Err(match input {
            Value::Null => Fault::value_error("'new_state' should not be empty"),
            _ => Fault::new("string_type", "Input should be a valid string"),
        });
    };
    let found = STATES.iter().find(|(name, _)| *name == text).map(|(_, state)| *state);
    found.ok_or_else(|| Fault::value_error(format!("'{text}' is not one of ['success', 'failed', 'skipped']")))
}

impl Given {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let state = fields.has("new_state").then(|| fields.required("new_state", |input| new_state(input).map(Some)));
        let has_note = fields.has("note");
        let note = fields.optional("note", parse::text_up_to(MAX_NOTE));
        let mut flag = |name| fields.or(name, false, parse::boolean);
        let relatives = Relatives {
            upstream: flag("include_upstream"),
            downstream: flag("include_downstream"),
            future: flag("include_future"),
            past: flag("include_past"),
        };
        Self { new_state: state.flatten(), note: has_note.then_some(note), relatives }
    }

    /// What counts of it; an empty mask is none.
    pub(super) fn masked(self, mask: &[String]) -> PatchBody {
        let asked = |name: &str| mask.is_empty() || mask.iter().any(|field| field == name);
        PatchBody {
            new_state: self.new_state.filter(|_| asked("new_state")),
            note: self.note.filter(|_| asked("note")).flatten(),
            relatives: self.relatives,
        }
    }
}

impl PatchBody {
    pub(super) fn read(fields: &mut Fields<'_>, mask: &[String]) -> Self {
        let given = Given::read(fields);
        let takes_away = given.note == Some(None) && mask.iter().any(|field| field == "note");
        let body = given.masked(mask);
        // Null counts only where it was asked for by name.
        if takes_away { Self { note: Some(String::new()), ..body } } else { body }
    }
}

/// A task, or one of its instances, in a run.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) run: RunKey,
    pub(super) task_id: String,
    /// `None` for all instances.
    pub(super) map_index: Option<i32>,
}

impl Place {
    fn of(args: &mut Args, is_mapped: bool) -> Self {
        Self {
            map_index: is_mapped.then(|| narrow(args.path_as("map_index", parse::integer))),
            run: RunKey::new(DagId::from(args.path("dag_id")), RunId::from(args.path("dag_run_id"))),
            task_id: Some(args.path("task_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| "list".into()),
        }
    }
}

/// What a request is about: the newest structure of the Dag, and the task instances that are named. Blocks.
pub(super) fn find(state: &ApiState, place: &Place) -> Result<(Arc<Dag>, Vec<TaskInstance>), ApiError> {
    let Place { run: RunKey { dag_id, run_id }, task_id, map_index } = place;
    let dag = newest_structure(&Lookup::new(state), dag_id)?;
    if dag.find(task_id).is_none() {
        return Err(ApiError::not_found(format!("Task '{task_id}' not found in Dag '{dag_id}'")));
    }
    let selection = Selection {
        dag: Arc::clone(&dag),
        run: Some(run_id.clone()),
        from: None,
        to: None,
        tasks: Some(named(place)),
        states: Vec::new(),
    };
    let mut found = selection.find(state.store())?;
    found.sort_by_key(|ti| ti.map_index);
    if found.is_empty() {
        let index = map_index.map_or_else(|| "None".to_owned(), |index| index.to_string());
        let message = format!(
            "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and map_index: `{index}` \
             was not found"
        );
        // Airflow's message is a tuple of one.
        return Err(ApiError::not_found(Value::Array(vec![message.into()])));
    }
    Ok((dag, found))
}

fn named(place: &Place) -> Named {
    match place.map_index {
        None => Named::tasks([place.task_id.as_str()]),
        Some(index) => Named { whole: BTreeSet::new(), instances: BTreeSet::from([(place.task_id.clone(), index)]) },
    }
}

impl From<&Place> for Meant {
    fn from(place: &Place) -> Self {
        Self { run: place.run.clone(), tasks: named(place) }
    }
}

pub(super) async fn patch(state: State<ApiState>, args: Args, body: JsonBody) -> ApiResult<TaskInstanceCollection> {
    patch_place(state, args, body, false).await
}

pub(super) async fn patch_mapped(
    state: State<ApiState>,
    args: Args,
    body: JsonBody,
) -> ApiResult<TaskInstanceCollection> {
    patch_place(state, args, body, true).await
}

async fn patch_place(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
    is_mapped: bool,
) -> ApiResult<TaskInstanceCollection> {
    let (place, body) = read(&mut args, &body, is_mapped)?;
    let found = apply(&state, place, body).await?;
    let own = state.clone();
    state.blocking(move || all(&own, found)).await.map(Json)
}

fn read(args: &mut Args, body: &JsonBody, is_mapped: bool) -> Result<(Place, PatchBody), ApiError> {
    let place = Place::of(args, is_mapped);
    let mask = args.texts("update_mask");
    let mut fields = body.fields(&mut args.issues);
    let body = PatchBody::read(&mut fields, &mask);
    fields.forbid_others();
    args.finish()?;
    Ok((place, body))
}

/// Writes the note and gives the state; gives the task instances that are named as they are then.
pub(super) async fn apply(state: &ApiState, place: Place, body: PatchBody) -> Result<Vec<TaskInstance>, ApiError> {
    let own = state.clone();
    let wanted = place.clone();
    let (new_state, relatives) = (body.new_state, body.relatives);
    let look = move || {
        let (dag, found) = find(&own, &wanted)?;
        let plan =
            new_state.map(|mark_as| plan(own.store(), &dag, &(&wanted).into(), mark_as, relatives)).transpose()?;
        if plan.as_ref().is_some_and(|plan| plan.marked.is_empty()) {
            return Err(nothing_to_mark(&wanted, new_state));
        }
        Ok((found, plan))
    };
    let (mut found, plan) = state.blocking(look).await?;
    if let Some(note) = body.note {
        write_notes(state, &found, note).await?;
    }
    if let (Some(mark_as), Some(plan)) = (new_state, plan) {
        let changed = mark_all(state, mark_as, plan).await?;
        if changed.is_empty() {
            // Somebody was quicker.
            return Err(nothing_to_mark(&place, new_state));
        }
        for ti in &mut found {
            if let Some(changed) = changed.get(&ti.key()) {
                *ti = changed.clone();
            }
        }
    }
    Ok(found)
}

fn nothing_to_mark(place: &Place, mark_as: Option<MarkAs>) -> ApiError {
    let state = mark_as.and_then(|mark_as| state_of(mark_as).name()).unwrap_or_default();
    ApiError::conflict(format!("Task id {} is already in {state} state", place.task_id))
}

pub(super) async fn mark_all(
    state: &ApiState,
    mark_as: MarkAs,
    plan: Plan,
) -> Result<BTreeMap<TaskInstanceKey, TaskInstance>, ApiError> {
    let mut changed = BTreeMap::new();
    for mark in plan.marks(mark_as) {
        let dag_id = mark.run.dag_id.clone();
        let marked = state.engine().mark(mark).await.map_err(|failure| match failure {
            ChangeFailure::Stopped(stopped) => stopped.into(),
            ChangeFailure::Refused(_) => ApiError::not_found(format!("The Dag with ID: `{dag_id}` was not found")),
        })?;
        changed.extend(marked.task_instances.into_iter().map(|ti| (ti.key(), ti)));
    }
    if mark_as == MarkAs::Success && state.config().clear_state_on_success {
        let keys: Vec<TaskInstanceKey> = changed.keys().cloned().collect();
        let forget = |ti| Write::ClearTaskState { ti, all_map_indices: false };
        let own = state.clone();
        state.blocking(move || Ok(own.store().commit(keys.into_iter().map(forget).collect())?)).await?;
    }
    Ok(changed)
}

pub(super) async fn dry_run(state: State<ApiState>, args: Args, body: JsonBody) -> ApiResult<TaskInstanceCollection> {
    dry_run_place(state, args, body, false).await
}

pub(super) async fn dry_run_mapped(
    state: State<ApiState>,
    args: Args,
    body: JsonBody,
) -> ApiResult<TaskInstanceCollection> {
    dry_run_place(state, args, body, true).await
}

async fn dry_run_place(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
    is_mapped: bool,
) -> ApiResult<TaskInstanceCollection> {
    let (place, body) = read(&mut args, &body, is_mapped)?;
    let own = state.clone();
    let look = move || {
        let (dag, mut found) = find(&own, &place)?;
        if let Some(mark_as) = body.new_state {
            found = plan(own.store(), &dag, &(&place).into(), mark_as, body.relatives)?.marked;
        }
        all(&own, found)
    };
    state.blocking(look).await.map(Json)
}
