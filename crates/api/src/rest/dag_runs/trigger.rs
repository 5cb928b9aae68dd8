//! Runs that people ask for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use engine::triggering::{self, InvalidTrigger, RunRequest};
use engine::{TriggerFailure, timetables};
use jiff::Timestamp;
use model::operations::to_microseconds;
use model::{Dag, DagId, DataInterval, Json as JsonValue, RunType, TriggeredBy};
use python::Unanswered;
use scheduler::{NewRun, TriggerError};
use serde_json::json;
use store::DagRecord;

use super::DagRunResponse;
use crate::args::Args;
use crate::auth::User;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, Fault, MaybeAware};
use crate::rest::lookup::Lookup;
use crate::state::ApiState;
use crate::wire::MomentAt;

/// `TriggerDAGRunPostBody`, and `MaterializeAssetBody`.
#[derive(Default)]
pub(crate) struct TriggerBody {
    run_id: Option<String>,
    data_interval: Option<(MomentAt, MomentAt)>,
    logical_date: Option<MomentAt>,
    run_after: Option<MomentAt>,
    conf: JsonValue,
    note: Option<String>,
    partition_key: Option<String>,
}

impl TriggerBody {
    /// Of a request that has none.
    pub(crate) fn empty() -> Self {
        Self { conf: json!({}), ..Self::default() }
    }

    /// A logical date may be null; whether it must be said that it is, depends.
    pub(crate) fn read(mut fields: Fields<'_>, must_have_date: bool) -> Self {
        let run_id = fields.optional("dag_run_id", parse::text);
        let start = fields.optional("data_interval_start", aware);
        let end = fields.optional("data_interval_end", aware);
        let logical_date = if must_have_date {
            fields.required_or_null("logical_date", aware)
        } else {
            fields.optional("logical_date", aware)
        };
        let run_after = fields.optional("run_after", parse::moment).and_then(|at| match at {
            MaybeAware::Aware(at, offset) => Some(MomentAt::new(at, offset)),
            naive => naive.in_utc().map(MomentAt::from),
        });
        let conf = fields.optional("conf", parse::dict);
        let note = fields.optional("note", parse::text);
        let partition_key = fields.optional("partition_key", parse::text);
        let is_sound = fields.issues().is_empty();
        if is_sound && start.is_some() != end.is_some() {
            fields.fault(Fault::value_error(
                "Either both data_interval_start and data_interval_end must be provided or both must be None",
            ));
        }
        fields.forbid_others();
        let data_interval = start.zip(end);
        let conf = conf.map_or_else(|| json!({}), JsonValue::Object);
        Self { run_id, data_interval, logical_date, run_after, conf, note, partition_key }
    }
}

fn aware(input: &JsonValue) -> parse::Parsed<MomentAt> {
    parse::moment_with_offset(input).map(|(at, offset)| MomentAt::new(at, offset))
}

pub(super) async fn trigger(
    State(state): State<ApiState>,
    user: User,
    headers: HeaderMap,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<DagRunResponse> {
    let dag_id = DagId::from(args.path("dag_id"));
    let body = TriggerBody::read(body.fields(&mut args.issues), true);
    args.finish()?;
    let by = if headers.contains_key(header::REFERER) { TriggeredBy::Ui } else { TriggeredBy::RestApi };
    let own = state.clone();
    let wanted = dag_id.clone();
    let find = move || {
        let record = own.store().dag(&wanted)?.filter(|record| !record.stale);
        let record = record.ok_or_else(|| unknown_dag(&wanted))?;
        check_dag(&record)?;
        Ok(record)
    };
    let record = state.blocking(find).await?;
    make(&state, record, body, RunType::Manual, by, user).await.map(Json)
}

/// Makes a run of a Dag that may have it.
pub(crate) async fn make(
    state: &ApiState,
    record: DagRecord,
    body: TriggerBody,
    run_type: RunType,
    by: TriggeredBy,
    user: User,
) -> Result<DagRunResponse, ApiError> {
    // Without a logical date there is nothing that an interval could belong to.
    let interval = body.logical_date.and(body.data_interval);
    let (logical_date, run_after) = (body.logical_date, body.run_after);
    let own = state.clone();
    let prepare = move || {
        let (request, dag) = request(&own, &record, body, by, user)?;
        Ok((record, RunRequest { run_type, ..request }, dag))
    };
    let (record, request, dag) = state.blocking(prepare).await?;
    let run = new_run(state, request, dag).await?;
    let made = match state.engine().trigger(record.dag_id.clone(), run).await {
        Ok(run) => run,
        Err(TriggerFailure::Stopped(stopped)) => return Err(stopped.into()),
        Err(TriggerFailure::Refused(error)) => return Err(refused(error)),
    };
    let own = state.clone();
    let answer = move || {
        let mut lookup = Lookup::new(&own);
        lookup.know(&record);
        let mut answer = DagRunResponse::of(*made, &mut lookup)?;
        answer.echo(logical_date, interval, run_after);
        Ok(answer)
    };
    state.blocking(answer).await
}

fn unknown_dag(dag_id: &DagId) -> ApiError {
    ApiError::not_found(format!("Dag with dag_id: '{dag_id}' not found"))
}

fn check_dag(record: &DagRecord) -> Result<(), ApiError> {
    let dag_id = &record.dag_id;
    if record.has_import_errors {
        let detail = format!("Dag with dag_id: '{dag_id}' has import errors and cannot be triggered");
        return Err(ApiError::bad_request(detail));
    }
    let allowed = record.allowed_run_types.as_ref();
    if allowed.is_some_and(|types| !types.iter().any(|name| name == RunType::Manual.name())) {
        return Err(ApiError::bad_request(format!("Dag with dag_id: '{dag_id}' does not allow manual runs")));
    }
    Ok(())
}

/// What is asked for, and the structure of the Dag that it is asked of. Blocks.
fn request(
    state: &ApiState,
    record: &DagRecord,
    body: TriggerBody,
    triggered_by: TriggeredBy,
    user: User,
) -> Result<(RunRequest, Arc<Dag>), ApiError> {
    let dag_id = &record.dag_id;
    let dag = state.structure(record.version)?;
    let dag = dag.ok_or_else(|| ApiError::not_found(format!("The Dag with ID: `{dag_id}` was not found")))?;
    let interval = body.logical_date.and(body.data_interval);
    let request = RunRequest {
        run_id: body.run_id.filter(|run_id| !run_id.is_empty()),
        run_type: RunType::Manual,
        triggered_by,
        triggering_user: Some(user.name),
        logical_date: body.logical_date.map(MomentAt::utc),
        data_interval: interval.map(|(start, end)| DataInterval { start: start.utc(), end: end.utc() }),
        run_after: body.run_after.map(MomentAt::utc),
        conf: body.conf,
        note: body.note.filter(|note| !note.is_empty()),
        partition_key: body.partition_key,
    };
    Ok((request, dag))
}

/// The run that a request is about; what only a timetable of a plugin knows, it is asked.
pub(crate) async fn new_run(state: &ApiState, mut request: RunRequest, dag: Arc<Dag>) -> Result<NewRun, ApiError> {
    let now = to_microseconds(Timestamp::now());
    timetables::fill_in(state.evaluator(), &mut request, &dag, now).await.map_err(|error| invalid(&dag, error))?;
    let check = move || {
        let run = triggering::check(request, &dag, now).map_err(|error| invalid(&dag, error))?;
        if run.run_id.as_str().chars().count() > MAX_RUN_ID {
            let cause = format!("the run id is longer than {MAX_RUN_ID} characters");
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(ApiError::refused_by_database(status, "Value rejected by database", cause));
        }
        Ok(run)
    };
    state.blocking(check).await
}

fn invalid(dag: &Dag, error: InvalidTrigger) -> ApiError {
    if let InvalidTrigger::Timetable(Unanswered::NoAnswer(reason)) = &error {
        let dag_id = &dag.dag_id;
        return ApiError::unavailable(format!(
            "The timetable of Dag '{dag_id}' does not say what a run is about: {reason}"
        ));
    }
    ApiError::bad_request(error.to_string())
}

/// The width of Airflow's column.
const MAX_RUN_ID: usize = 250;

fn refused(error: TriggerError) -> ApiError {
    match &error {
        TriggerError::UnknownDag(dag_id) => unknown_dag(dag_id),
        TriggerError::RunIdTaken { .. } | TriggerError::LogicalDateTaken { .. } => ApiError::not_unique(error),
    }
}
