//! `PATCH …/taskInstances`: many task instances changed or deleted in one request.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{MapIndex, RunKey, TaskInstanceKey};
use store::{Page, Store, TaskInstanceFilter, Write};

use super::patch::{Given, Place, apply};
use super::{key_of, narrow};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, python_repr};
use crate::rest::bulk::{self, Action, BulkResponse, Entity, Outcome, Target};
use crate::state::ApiState;

/// `BulkTaskInstanceBody`.
struct TaskBody {
    given: Given,
    task_id: String,
    map_index: Option<i64>,
    dag_id: Option<String>,
    run_id: Option<String>,
}

struct Tasks;

impl Entity for Tasks {
    type Body = TaskBody;

    const MODEL: &'static str = "BulkTaskInstanceBody";
    const HAS_TEAM: bool = false;
    const READ_TWICE: bool = false;

    fn read(fields: &mut Fields<'_>) -> TaskBody {
        TaskBody {
            given: Given::read(fields),
            task_id: fields.required("task_id", parse::text),
            map_index: fields.optional("map_index", parse::integer),
            dag_id: fields.optional("dag_id", parse::text),
            run_id: fields.optional("dag_run_id", parse::text),
        }
    }
}

/// The task or task instance that is meant, unless the path leaves that open; the outcome says so then.
fn place_of(path: &RunKey, target: &Target<TaskBody>, outcome: &mut Outcome) -> Option<Place> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (dag_id, run_id, task_id, map_index) = match target {
        Target::Id(task_id) => (None, None, task_id, None),
        Target::Body(body) => (given(&body.dag_id), given(&body.run_id), &body.task_id, body.map_index.map(narrow)),
    };
    let run = RunKey {
        dag_id: dag_id.map_or_else(|| path.dag_id.clone(), Into::into),
        run_id: run_id.map_or_else(|| path.run_id.clone(), Into::into),
    };
    if run.dag_id.as_str() != "~" && run.run_id.as_str() != "~" {
        return Some(Place { run, task_id: task_id.clone(), map_index });
    }
    let how = match target {
        Target::Id(_) => "in BulkTaskInstanceBody object, not as string",
        Target::Body(_) => "in request body",
    };
    let message =
        format!("When using wildcard in path, dag_id and dag_run_id must be specified {how} for task_id: {task_id}");
    outcome.tell(StatusCode::BAD_REQUEST, message);
    None
}

pub(super) async fn change(State(state): State<ApiState>, args: Args, body: JsonBody) -> ApiResult<BulkResponse> {
    let path = RunKey::new(args.path("dag_id"), args.path("dag_run_id"));
    let mut response = BulkResponse::default();
    for action in bulk::read::<Tasks>(&body, args)? {
        match action {
            Action::Create { .. } => response
                .create
                .get_or_insert_default()
                .tell(StatusCode::METHOD_NOT_ALLOWED, "Task instances bulk create is not supported"),
            Action::Update { entities, mask, skip_missing } => {
                let outcome = response.update.get_or_insert_default();
                let mut wanted = Vec::new();
                for body in entities {
                    let target = Target::Body(body);
                    let place = place_of(&path, &target, outcome);
                    if let (Some(place), Target::Body(body)) = (place, target) {
                        wanted.push((place, body.given));
                    }
                }
                let updated = update(&state, wanted, &mask, skip_missing, outcome).await;
                updated.or_else(|error| outcome.refused(error))?;
            }
            Action::Delete { targets, skip_missing } => {
                let outcome = response.delete.get_or_insert_default();
                let places = targets.iter().filter_map(|target| place_of(&path, target, outcome)).collect();
                let deleted = delete_all(&state, places, skip_missing).await;
                match deleted {
                    Ok(deleted) => outcome.success.extend(deleted.iter().map(name_of)),
                    Err(error) => outcome.refused(error)?,
                }
            }
        }
    }
    Ok(Json(response))
}

fn name_of(ti: &TaskInstanceKey) -> String {
    format!("{}.{}.{}[{}]", ti.run.dag_id, ti.run.run_id, ti.task_id, ti.map_index.0)
}

/// The task instances at a place. Blocks.
fn instances(store: &dyn Store, place: &Place) -> Result<Vec<TaskInstanceKey>, ApiError> {
    if let Some(map_index) = place.map_index {
        let (run, task_id) = (place.run.clone(), place.task_id.as_str().into());
        let key = TaskInstanceKey { run, task_id, map_index: MapIndex(map_index) };
        return Ok(store.task_instance(&key)?.map(|ti| ti.key()).into_iter().collect());
    }
    let filter = TaskInstanceFilter {
        dag_id: Some(place.run.dag_id.clone()),
        run_id: Some(place.run.run_id.clone()),
        task_ids: vec![place.task_id.clone()],
        ..TaskInstanceFilter::default()
    };
    let mut keys: Vec<_> = store.task_instances(&filter, &[], Page::ALL)?.0.into_iter().map(|ti| ti.key()).collect();
    keys.sort();
    Ok(keys)
}

fn missing(place: &Place) -> ApiError {
    let Place { run: RunKey { dag_id, run_id }, task_id, .. } = place;
    ApiError::not_found(format!("No task instances found for dag_id: {dag_id}, run_id: {run_id}, task_id: {task_id}"))
}

/// Those with an index that are not there, which are told of together.
fn missing_instances(places: &[&Place]) -> ApiError {
    let one = |place: &&Place| {
        let Place { run: RunKey { dag_id, run_id }, task_id, map_index } = place;
        format!(
            "{{'dag_id': {}, 'dag_run_id': {}, 'task_id': {}, 'map_index': {}}}",
            python_repr(dag_id.as_str()),
            python_repr(run_id.as_str()),
            python_repr(task_id),
            map_index.unwrap_or(-1)
        )
    };
    let all: Vec<String> = places.iter().map(one).collect();
    ApiError::not_found(format!("The task instances with these identifiers: [{}] were not found", all.join(", ")))
}

/// What is at each place, those with an index first. Blocks.
fn find_all(
    store: &dyn Store,
    places: &[Place],
    skip_missing: bool,
) -> Result<Vec<(usize, Vec<TaskInstanceKey>)>, ApiError> {
    let mut found = Vec::with_capacity(places.len());
    let (mut lost, mut lost_whole) = (Vec::new(), None);
    for with_index in [true, false] {
        for (at, place) in places.iter().enumerate().filter(|(_, place)| place.map_index.is_some() == with_index) {
            match instances(store, place)? {
                none if none.is_empty() && with_index => lost.push(place),
                none if none.is_empty() => drop(lost_whole.get_or_insert_with(|| missing(place))),
                keys => found.push((at, keys)),
            }
        }
    }
    match (lost.is_empty(), lost_whole) {
        (true, None) => Ok(found),
        _ if skip_missing => Ok(found),
        (false, _) => Err(missing_instances(&lost)),
        (true, Some(missing)) => Err(missing),
    }
}

async fn update(
    state: &ApiState,
    wanted: Vec<(Place, Given)>,
    mask: &[String],
    skip_missing: bool,
    outcome: &mut Outcome,
) -> Result<(), ApiError> {
    let (places, mut given): (Vec<Place>, Vec<Option<Given>>) =
        wanted.into_iter().map(|(place, given)| (place, Some(given))).unzip();
    let looked_for = places.clone();
    let found = state.read(move |store| find_all(store, &looked_for, skip_missing)).await?;
    for (at, keys) in found {
        let Some((place, given)) = places.get(at).zip(given.get_mut(at).and_then(Option::take)) else { continue };
        apply(state, place.clone(), given.masked(mask)).await?;
        outcome.success.extend(keys.iter().map(name_of));
    }
    Ok(())
}

async fn delete_all(
    state: &ApiState,
    places: Vec<Place>,
    skip_missing: bool,
) -> Result<Vec<TaskInstanceKey>, ApiError> {
    let delete = move |store: &dyn Store| {
        let mut keys: Vec<TaskInstanceKey> = Vec::new();
        for (_, found) in find_all(store, &places, skip_missing)? {
            let new: Vec<TaskInstanceKey> = found.into_iter().filter(|key| !keys.contains(key)).collect();
            keys.extend(new);
        }
        for key in &keys {
            check_over(store, key)?;
        }
        store.commit(keys.iter().cloned().map(Write::DeleteTaskInstance).collect())?;
        Ok(keys)
    };
    state.read(delete).await
}

/// The engine has the task instances of a run that is under way, and would write them again.
fn check_over(store: &dyn Store, key: &TaskInstanceKey) -> Result<(), ApiError> {
    let Some(run) = store.run(&key.run)?.filter(|run| !run.state.is_finished()) else { return Ok(()) };
    let message = format!("{key} can't be deleted while its run is {}: clear it, or end the run first", run.state);
    Err(ApiError::conflict(message))
}

pub(super) async fn delete(State(state): State<ApiState>, mut args: Args) -> ApiResult<()> {
    let map_index = args.or("map_index", -1, parse::integer);
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let delete = move |store: &dyn Store| {
        if store.task_instance(&key)?.is_none() {
            let TaskInstanceKey { run: RunKey { dag_id, run_id }, task_id, .. } = &key;
            return Err(ApiError::not_found(format!(
                "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and map_index: \
                 `{map_index}` was not found"
            )));
        }
        check_over(store, &key)?;
        Ok(store.commit(vec![Write::DeleteTaskInstance(key)])?)
    };
    state.read(delete).await.map(Json)
}
