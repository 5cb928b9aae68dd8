//! Task instances that are to run again.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::ChangeFailure;
use engine::selection::{Named, Selection, add_relatives, add_relatives_in_run};
use jiff::Timestamp;
use model::{Dag, DagId, DagRun, MapIndex, RunId, RunKey, TaskId, TaskInstance, TaskState};
use scheduler::{Clear, ReplyId, RunRefusal, TasksChanged};
use serde_json::{Value, json};
use store::{StoreError, Write};

use super::{TaskInstanceCollection, TaskInstanceResponse};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, Fault};
use crate::rest::cursor::counted;
use crate::rest::dag_runs::patch::MAX_NOTE;
use crate::rest::lookup::Lookup;
use crate::rest::serialized::Encoded;
use crate::state::ApiState;

/// Runs that the engine is asked about at once.
const AT_ONCE: usize = 64;

/// `ClearTaskInstancesBody`.
struct ClearBody {
    dry_run: bool,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    only_failed: bool,
    only_running: bool,
    reset_dag_runs: bool,
    task_ids: Option<Named>,
    dag_run_id: Option<String>,
    upstream: bool,
    downstream: bool,
    future: bool,
    past: bool,
    run_on_latest_version: Option<bool>,
    prevent_running_task: bool,
    note: Option<String>,
}

impl ClearBody {
    fn read(mut fields: Fields<'_>) -> Self {
        let fault = contradiction(&mut fields);
        if let Some(message) = fault {
            fields.fault(Fault::value_error(message));
        }
        // What is wrong with the whole is all that Airflow says then.
        let is_sound = fault.is_none();
        let mut flag = |name, default| if is_sound { fields.or(name, default, parse::boolean) } else { default };
        let dry_run = flag("dry_run", true);
        let (only_failed, only_running) = (flag("only_failed", true), flag("only_running", false));
        let reset_dag_runs = flag("reset_dag_runs", true);
        let (upstream, downstream) = (flag("include_upstream", false), flag("include_downstream", false));
        let (future, past) = (flag("include_future", false), flag("include_past", false));
        let prevent_running_task = flag("prevent_running_task", false);
        let mut body = Self {
            dry_run,
            only_failed,
            only_running,
            reset_dag_runs,
            upstream,
            downstream,
            future,
            past,
            prevent_running_task,
            start_date: None,
            end_date: None,
            task_ids: None,
            dag_run_id: None,
            run_on_latest_version: None,
            note: None,
        };
        if is_sound {
            body.start_date = fields.optional("start_date", parse::aware_moment);
            body.end_date = fields.optional("end_date", parse::aware_moment);
            body.task_ids = read_task_ids(&mut fields);
            body.dag_run_id = fields.optional("dag_run_id", parse::text);
            body.run_on_latest_version = fields.optional("run_on_latest_version", parse::boolean);
            body.note = fields.optional("note", parse::text_up_to(MAX_NOTE));
            fields.forbid_others();
        }
        body
    }
}

/// What does not go together, as it was written.
fn contradiction(fields: &mut Fields<'_>) -> Option<&'static str> {
    let mut raw = |name| fields.raw(name).filter(|value| is_truthy(value));
    let (start, end, run) = (raw("start_date"), raw("end_date"), raw("dag_run_id"));
    let is_reversed = match (start, end) {
        (Some(Value::String(start)), Some(Value::String(end))) => start > end,
        (Some(start), Some(end)) => start.as_f64().zip(end.as_f64()).is_some_and(|(start, end)| start > end),
        _ => false,
    };
    if raw("only_failed").is_some() && raw("only_running").is_some() {
        return Some("only_failed and only_running both are set to True");
    }
    if is_reversed {
        return Some("end_date is sooner than start_date");
    }
    match (start, end, run) {
        (Some(_), Some(_), Some(_)) => Some("Exactly one of dag_run_id or (start_date and end_date) must be provided"),
        (Some(_), _, Some(_)) => Some("Exactly one of dag_run_id or start_date must be provided"),
        (_, Some(_), Some(_)) => Some("Exactly one of dag_run_id or end_date must be provided"),
        _ => {
            let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
            fields.raw("task_ids").is_some_and(is_empty).then_some("task_ids list should have at least 1 element.")
        }
    }
}

/// What Python takes for true.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A list of `str | tuple[str, int]`.
fn read_task_ids(fields: &mut Fields<'_>) -> Option<Named> {
    let value = fields.raw("task_ids").filter(|value| !value.is_null())?;
    let place = fields.place_of("task_ids");
    let issues = fields.issues();
    let Some(items) = value.as_array() else {
        issues.add(&place, Fault::new("list_type", "Input should be a valid list"), value);
        return None;
    };
    let mut named = Named::default();
    for (at, item) in items.iter().enumerate() {
        if let Value::String(id) = item {
            named.whole.insert(id.clone());
            continue;
        }
        let place = |more: &[Value]| -> Vec<Value> {
            place.iter().cloned().chain([json!(at)]).chain(more.iter().cloned()).collect()
        };
        let pair = json!("tuple[str, int]");
        let mut faults: Vec<(Vec<Value>, Fault, &Value)> = Vec::new();
        match item.as_array().map(Vec::as_slice) {
            None => faults.push((place(&[pair]), Fault::new("tuple_type", "Input should be a valid tuple"), item)),
            Some([id, index]) => {
                let (parsed_id, parsed_index) = (parse::text(id), parse::integer(index));
                if let (Ok(id), Ok(index)) = (&parsed_id, &parsed_index) {
                    named.instances.insert((id.clone(), super::narrow(*index)));
                    continue;
                }
                faults.extend(parsed_id.err().map(|fault| (place(&[pair.clone(), json!(0)]), fault, id)));
                faults.extend(parsed_index.err().map(|fault| (place(&[pair, json!(1)]), fault, index)));
            }
            Some(long) if long.len() > 2 => {
                let message = format!("Tuple should have at most 2 items after validation, not {}", long.len());
                let context = json!({"field_type": "Tuple", "max_length": 2, "actual_length": long.len()});
                faults.push((place(&[pair]), Fault::with("too_long", message, context), item));
            }
            Some(short) => {
                if let Some(Err(fault)) = short.first().map(parse::text) {
                    faults.push((place(&[pair.clone(), json!(0)]), fault, &short[0]));
                }
                for missing in short.len()..2 {
                    let fault = Fault::new("missing", "Field required");
                    faults.push((place(&[pair.clone(), json!(missing)]), fault, item));
                }
            }
        }
        issues.add(&place(&[json!("str")]), Fault::new("string_type", "Input should be a valid string"), item);
        for (place, fault, input) in faults {
            issues.add(&place, fault, input);
        }
    }
    Some(named)
}

fn no_dag(dag_id: &DagId) -> ApiError {
    ApiError::not_found(format!("The Dag with ID: `{dag_id}` was not found"))
}

/// The newest structure of a Dag. Blocks.
pub(crate) fn newest_structure(lookup: &Lookup<'_>, dag_id: &DagId) -> Result<std::sync::Arc<Dag>, ApiError> {
    let record = lookup.store().dag(dag_id)?.ok_or_else(|| no_dag(dag_id))?;
    lookup.structure(record.version)?.ok_or_else(|| no_dag(dag_id))
}

/// The structure that a run goes on with: the newest one, unless its bundle has versions. Blocks.
pub(crate) fn structure_of_run(lookup: &Lookup<'_>, run: &DagRun) -> Result<std::sync::Arc<Dag>, ApiError> {
    if run.bundle_version.is_none() {
        return newest_structure(lookup, &run.key.dag_id);
    }
    lookup.structure(run.version)?.ok_or_else(|| no_dag(&run.key.dag_id))
}

/// Whether runs go on with the newest version: what the request says, or the Dag, or the configuration. Blocks.
pub(crate) fn on_latest_version(state: &ApiState, dag_id: &DagId, asked: Option<bool>) -> Result<bool, ApiError> {
    match asked {
        Some(asked) => Ok(asked),
        None => Ok(rerun_with_latest_version(state, dag_id)?.unwrap_or(false)),
    }
}

/// What the Dag, or else the configuration, says of the version that runs go on with. Blocks.
pub(crate) fn rerun_with_latest_version(state: &ApiState, dag_id: &DagId) -> Result<Option<bool>, ApiError> {
    let version = state.store().latest_version(dag_id)?;
    let of_dag = version.and_then(|version| Encoded::dag(&version.serialized).flag("rerun_with_latest_version"));
    Ok(of_dag.or(state.config().rerun_with_latest_version))
}

/// Blocks.
fn select(state: &ApiState, dag_id: &DagId, body: &ClearBody) -> Result<Vec<TaskInstance>, ApiError> {
    let lookup = Lookup::new(state);
    let mut dag = newest_structure(&lookup, dag_id)?;
    let (mut from, mut to) = (body.start_date, body.end_date);
    let run_id = body.dag_run_id.as_ref().map(|run_id| RunId::from(run_id.as_str()));
    if let Some(run_id) = &run_id {
        let run = state.store().run(&RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() })?;
        let run = run.ok_or_else(|| ApiError::not_found(format!("Dag Run id {run_id} not found in dag {dag_id}")))?;
        dag = structure_of_run(&lookup, &run)?;
        if (body.past || body.future) && run.logical_date.is_none() {
            return Err(ApiError::bad_request(
                "Cannot use include_past or include_future with no logical_date(e.g. manually or asset-triggered).",
            ));
        }
        (from, to) = (run.logical_date, run.logical_date);
    }
    from = from.filter(|_| !body.past);
    to = to.filter(|_| !body.future);
    let mut tasks = body.task_ids.clone();
    if let Some(named) = &mut tasks {
        match &run_id {
            None if body.upstream || body.downstream => {
                add_relatives(&dag, named, body.upstream, body.downstream);
            }
            None => {}
            Some(run_id) => {
                let run = RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() };
                for (_, upstream) in
                    [(body.upstream, true), (body.downstream, false)].iter().filter(|(asked, _)| *asked)
                {
                    add_relatives_in_run(state.store(), &dag, &run, named, *upstream)?;
                }
            }
        }
    }
    let only_one = run_id.filter(|_| !(body.past || body.future));
    let (from, to) = if only_one.is_some() { (None, None) } else { (from, to) };
    let states = states(body.only_failed, body.only_running);
    let selection = Selection { dag, run: only_one, from, to, tasks, states };
    Ok(selection.with_setups_and_teardowns().find(state.store())?)
}

/// The states that task instances are narrowed to; none for all.
pub(crate) fn states(only_failed: bool, only_running: bool) -> Vec<TaskState> {
    let mut states = Vec::new();
    if only_failed {
        states.extend([TaskState::Failed, TaskState::UpstreamFailed]);
    }
    if only_running {
        states.push(TaskState::Running);
    }
    states
}

pub(super) async fn clear(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<TaskInstanceCollection> {
    let dag_id = DagId::from(args.path("dag_id"));
    let body = ClearBody::read(body.fields(&mut args.issues));
    args.finish()?;
    let own = state.clone();
    let find = move || {
        let latest = on_latest_version(&own, &dag_id, body.run_on_latest_version);
        let found = select(&own, &dag_id, &body)?;
        Ok((found, latest?, body))
    };
    let (mut found, on_latest_version, body) = state.blocking(find).await?;
    if !body.dry_run {
        let options =
            Options { restart_run: body.reset_dag_runs, on_latest_version, keep_running: body.prevent_running_task };
        found = clear_all(&state, found, options).await?;
        if let Some(note) = body.note {
            write_notes(&state, &found, note).await?;
        }
    }
    let own = state.clone();
    state.blocking(move || all(&own, found)).await.map(Json)
}

#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) restart_run: bool,
    pub(crate) on_latest_version: bool,
    pub(crate) keep_running: bool,
}

/// Has task instances run again, and gives them as they are then.
async fn clear_all(
    state: &ApiState,
    found: Vec<TaskInstance>,
    options: Options,
) -> Result<Vec<TaskInstance>, ApiError> {
    let is_running = |ti: &TaskInstance| matches!(ti.state, TaskState::Running | TaskState::Queued);
    if options.keep_running && found.iter().any(is_running) {
        return Err(running());
    }
    let mut by_run: BTreeMap<RunKey, Vec<(TaskId, Option<MapIndex>)>> = BTreeMap::new();
    let mut order = Vec::new();
    for ti in found {
        if !by_run.contains_key(&ti.run) {
            order.push(ti.run.clone());
        }
        by_run.entry(ti.run).or_default().push((ti.task_id, Some(ti.map_index)));
    }
    let mut cleared = Vec::new();
    for runs in order.chunks(AT_ONCE) {
        let mut answers = Vec::with_capacity(runs.len());
        for run in runs {
            let tasks = by_run.remove(run).unwrap_or_default();
            // Asked at once, so that the engine deals with all of them in one step.
            let state = state.clone();
            let run = run.clone();
            answers.push(tokio::spawn(async move { clear_run(&state, run, tasks, options).await }));
        }
        for answer in answers {
            let changed = answer.await.map_err(ApiError::internal)??;
            cleared.extend(changed.task_instances);
        }
    }
    Ok(cleared)
}

/// Has task instances of one run run again.
pub(crate) async fn clear_run(
    state: &ApiState,
    run: RunKey,
    tasks: Vec<(TaskId, Option<MapIndex>)>,
    options: Options,
) -> Result<TasksChanged, ApiError> {
    let dag_id = run.dag_id.clone();
    let Options { restart_run, on_latest_version, keep_running } = options;
    let clear = Clear { reply: ReplyId(0), run, tasks, restart_run, on_latest_version, keep_running };
    state.engine().clear(clear).await.map_err(|failure| match failure {
        ChangeFailure::Stopped(stopped) => stopped.into(),
        ChangeFailure::Refused(RunRefusal::TasksRun(_)) => running(),
        ChangeFailure::Refused(_) => no_dag(&dag_id),
    })
}

fn running() -> ApiError {
    ApiError::conflict(
        "AirflowClearRunningTaskException: Disable 'prevent_running_task' to proceed, or wait until the task is not \
         running, queued, or scheduled state.",
    )
}

/// Writes a note about each of the task instances; an empty one takes it away.
pub(super) async fn write_notes(state: &ApiState, about: &[TaskInstance], note: String) -> Result<(), ApiError> {
    let note = Some(note).filter(|note| !note.is_empty());
    let writes = about.iter().map(|ti| Write::TaskNote { ti: ti.key(), note: note.clone() }).collect();
    let own = state.clone();
    state
        .blocking(move || match own.store().commit(writes) {
            // A run that was deleted meanwhile needs no notes.
            Ok(()) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        })
        .await
}

/// Blocks.
pub(super) fn all(state: &ApiState, found: Vec<TaskInstance>) -> Result<TaskInstanceCollection, ApiError> {
    let mut lookup = Lookup::new(state);
    let total = found.len() as u64;
    let mut task_instances = Vec::with_capacity(found.len());
    for ti in found {
        if let Some(run) = lookup.run(&ti.run)? {
            task_instances.push(TaskInstanceResponse::of(ti, &run, &mut lookup)?);
        }
    }
    Ok(TaskInstanceCollection { task_instances, around: counted(total) })
}
