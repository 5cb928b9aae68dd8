//! Runs that people ask for.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use engine::TriggerFailure;
use engine::triggering::{self, RunRequest};
use jiff::Timestamp;
use model::operations::{python_isoformat, to_microseconds};
use model::{DagId, DataInterval, Json as JsonValue, RunType, TriggeredBy};
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

/// `TriggerDAGRunPostBody`.
struct TriggerBody {
    run_id: Option<String>,
    data_interval: Option<DataInterval>,
    logical_date: Option<Timestamp>,
    run_after: Option<Timestamp>,
    conf: JsonValue,
    note: Option<String>,
    partition_key: Option<String>,
}

impl TriggerBody {
    fn read(mut fields: Fields<'_>) -> Self {
        let run_id = fields.optional("dag_run_id", parse::text);
        let start = fields.optional("data_interval_start", parse::aware_moment);
        let end = fields.optional("data_interval_end", parse::aware_moment);
        let logical_date = fields.required_or_null("logical_date", parse::aware_moment);
        let run_after = fields.optional("run_after", parse::moment).and_then(MaybeAware::in_utc);
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
        let data_interval = start.zip(end).map(|(start, end)| DataInterval { start, end });
        let conf = conf.map_or_else(|| json!({}), JsonValue::Object);
        Self { run_id, data_interval, logical_date, run_after, conf, note, partition_key }
    }
}

pub(super) async fn trigger(
    State(state): State<ApiState>,
    user: User,
    headers: HeaderMap,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<DagRunResponse> {
    let dag_id = DagId::from(args.path("dag_id"));
    let body = TriggerBody::read(body.fields(&mut args.issues));
    args.finish()?;
    let by = if headers.contains_key(header::REFERER) { TriggeredBy::Ui } else { TriggeredBy::RestApi };
    let own = state.clone();
    let wanted = dag_id.clone();
    let (record, version, run) = state
        .blocking(move || {
            let record = own.store().dag(&wanted)?.filter(|record| !record.stale);
            let record = record.ok_or_else(|| unknown_dag(&wanted))?;
            check_dag(&record)?;
            let run = new_run(&own, &record, body, by, user)?;
            let mut lookup = Lookup::new(&own);
            lookup.know(&record);
            let version = lookup.version(record.version)?.map(|version| (*version).clone());
            Ok((record, version, run))
        })
        .await?;
    match state.engine().trigger(dag_id, run).await {
        Ok(run) => Ok(Json(DagRunResponse::new(*run, &record.display_name, version.into_iter().collect()))),
        Err(TriggerFailure::Stopped(stopped)) => Err(stopped.into()),
        Err(TriggerFailure::Refused(error)) => Err(refused(error)),
    }
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

fn new_run(
    state: &ApiState,
    record: &DagRecord,
    body: TriggerBody,
    triggered_by: TriggeredBy,
    user: User,
) -> Result<NewRun, ApiError> {
    let dag_id = &record.dag_id;
    let dag = state.structure(record.version)?;
    let dag = dag.ok_or_else(|| ApiError::not_found(format!("The Dag with ID: `{dag_id}` was not found")))?;
    let request = RunRequest {
        run_id: body.run_id.filter(|run_id| !run_id.is_empty()),
        run_type: RunType::Manual,
        triggered_by,
        triggering_user: Some(user.name),
        logical_date: body.logical_date,
        // Without a logical date there is nothing that an interval could belong to.
        data_interval: body.logical_date.and(body.data_interval),
        run_after: body.run_after,
        conf: body.conf,
        note: body.note.filter(|note| !note.is_empty()),
    };
    triggering::check(request, &dag, to_microseconds(Timestamp::now()))
        .map_err(|error| ApiError::bad_request(error.to_string()))
}

fn refused(error: TriggerError) -> ApiError {
    ApiError::bad_request(error.to_string())
}
