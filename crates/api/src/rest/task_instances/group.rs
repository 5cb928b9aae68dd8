//! The task instances of a task group, given a state or a note together.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::marking::{Meant, plan, state_of};
use engine::selection::{Named, Selection};
use model::{Dag, RunKey, TaskInstance};

use super::TaskInstanceCollection;
use super::clear::{all, newest_structure, write_notes};
use super::filter::tasks_of_group;
use super::patch::{PatchBody, mark_all};
use crate::args::Args;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::rest::lookup::Lookup;
use crate::state::ApiState;

/// A group in a run.
#[derive(Clone)]
struct Place {
    run: RunKey,
    group: String,
}

fn read(args: &mut Args, body: &JsonBody) -> Result<(Place, PatchBody), ApiError> {
    let place = Place { run: RunKey::new(args.path("dag_id"), args.path("dag_run_id")), group: args.path("group_id") };
    let mask = args.texts("update_mask");
    let mut fields = body.fields(&mut args.issues);
    let body = PatchBody::read(&mut fields, &mask);
    fields.forbid_others();
    args.finish()?;
    Ok((place, body))
}

/// The newest structure of the Dag, the tasks of the group, and their task instances in the run. Blocks.
fn find(state: &ApiState, place: &Place) -> Result<(Arc<Dag>, Meant, Vec<TaskInstance>), ApiError> {
    let Place { run, group } = place;
    let dag = newest_structure(&Lookup::new(state), &run.dag_id)?;
    let record = state.store().dag(&run.dag_id)?;
    let version = record.map(|record| state.store().version(record.version)).transpose()?.flatten();
    let tasks = version
        .and_then(|version| tasks_of_group(&version.serialized, group))
        .ok_or_else(|| ApiError::not_found(format!("Task group '{group}' not found in DAG '{}'", run.dag_id)))?;
    let tasks = Named::tasks(tasks);
    let selection = Selection {
        dag: Arc::clone(&dag),
        run: Some(run.run_id.clone()),
        from: None,
        to: None,
        tasks: Some(tasks.clone()),
        states: Vec::new(),
    };
    let mut found = selection.find(state.store())?;
    if found.is_empty() {
        return Err(ApiError::not_found(format!(
            "No task instances found for task group '{group}' in dag run '{}'",
            run.run_id
        )));
    }
    found.sort_by(|one, other| (&one.task_id, one.map_index).cmp(&(&other.task_id, other.map_index)));
    Ok((dag, Meant { run: run.clone(), tasks }, found))
}

pub(super) async fn patch(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<TaskInstanceCollection> {
    let (place, body) = read(&mut args, &body)?;
    let (own, new_state, relatives) = (state.clone(), body.new_state, body.relatives);
    let look = move || {
        let (dag, meant, found) = find(&own, &place)?;
        let plan = new_state.map(|mark_as| plan(own.store(), &dag, &meant, mark_as, relatives)).transpose()?;
        Ok((found, plan))
    };
    let (mut found, plan) = state.blocking(look).await?;
    if let Some(note) = body.note {
        write_notes(&state, &found, note).await?;
    }
    if let Some((mark_as, plan)) = new_state.zip(plan) {
        let changed = if plan.marked.is_empty() { Default::default() } else { mark_all(&state, mark_as, plan).await? };
        if changed.is_empty() {
            let state = state_of(mark_as).name().unwrap_or_default();
            let message = format!("All task instances in the group are already in {state} state");
            return Err(ApiError::conflict(message));
        }
        found = changed.into_values().collect();
    }
    let own = state.clone();
    state.blocking(move || all(&own, found)).await.map(Json)
}

pub(super) async fn dry_run(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<TaskInstanceCollection> {
    let (place, body) = read(&mut args, &body)?;
    let own = state.clone();
    let look = move || {
        let (dag, meant, mut found) = find(&own, &place)?;
        if let Some(mark_as) = body.new_state {
            found = plan(own.store(), &dag, &meant, mark_as, body.relatives)?.marked;
        }
        all(&own, found)
    };
    state.blocking(look).await.map(Json)
}
