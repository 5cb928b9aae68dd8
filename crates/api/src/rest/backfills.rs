//! Backfills: runs for dates of a Dag's timetable that people want to have.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::backfilling::{self, BackfillRequest, InvalidBackfill};
use engine::{BackfillFailure, timetables};
use jiff::Timestamp;
use model::operations::to_microseconds;
use model::timetable::NextRun;
use model::{Backfill, BackfillId, Dag, DagId, Reprocess};
use python::Unanswered;
use scheduler::{BackfillRefusal, BackfillWish};
use serde::Serialize;
use serde_json::Value;
use store::Direction;

use super::lookup::Lookup;
use super::task_instances::clear::rerun_with_latest_version;
use crate::args::Args;
use crate::auth::User;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse::{self, MaybeAware, Parsed};
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, MomentAt, moment};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/backfills", Access::ReadDags, list)
        .post("/backfills", Access::WriteDags, create)
        .post("/backfills/dry_run", Access::WriteDags, dry_run)
        .get("/backfills/{backfill_id}", Access::ReadDags, get)
        .put("/backfills/{backfill_id}/pause", Access::WriteDags, pause)
        .put("/backfills/{backfill_id}/unpause", Access::WriteDags, unpause)
        .put("/backfills/{backfill_id}/cancel", Access::WriteDags, cancel)
}

const BEHAVIORS: [(&str, Reprocess); 3] =
    [("failed", Reprocess::Failed), ("completed", Reprocess::Completed), ("none", Reprocess::None)];

/// `BackfillResponse`.
#[derive(Serialize)]
pub(crate) struct BackfillResponse {
    id: i64,
    dag_id: String,
    from_date: MomentAt,
    to_date: MomentAt,
    dag_run_conf: Option<Arc<model::Json>>,
    is_paused: bool,
    reprocess_behavior: &'static str,
    max_active_runs: i64,
    created_at: Moment,
    completed_at: Option<Moment>,
    updated_at: Moment,
    dag_display_name: String,
}

impl BackfillResponse {
    /// Blocks.
    pub(crate) fn of(backfill: Backfill, lookup: &mut Lookup<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            dag_display_name: lookup.display_name(&backfill.dag_id)?.to_string(),
            id: backfill.id.0,
            dag_id: backfill.dag_id.to_string(),
            from_date: backfill.from_date.into(),
            to_date: backfill.to_date.into(),
            dag_run_conf: backfill.conf,
            is_paused: backfill.is_paused,
            reprocess_behavior: backfill.reprocess.name(),
            max_active_runs: backfill.max_active_runs,
            created_at: Moment(backfill.created_at),
            completed_at: moment(backfill.completed_at),
            updated_at: Moment(backfill.updated_at),
        })
    }
}

#[derive(Serialize)]
pub(crate) struct BackfillCollection {
    pub(crate) backfills: Vec<BackfillResponse>,
    pub(crate) total_entries: u64,
}

/// `DryRunBackfillResponse`.
#[derive(Serialize)]
struct DryRunBackfill {
    logical_date: Moment,
    partition_key: Option<String>,
    partition_date: Option<Moment>,
}

#[derive(Serialize)]
struct DryRunCollection {
    backfills: Vec<DryRunBackfill>,
    total_entries: usize,
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<BackfillCollection> {
    let dag_id = args.required("dag_id", parse::text);
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    args.finish()?;
    let order = order::resolve(&order_by, "id", &[("id", &[()])], &[], ())?;
    let direction = order.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    let own = state.clone();
    let list = move || {
        let mut lookup = Lookup::new(&own);
        let (found, total_entries) = own.store().backfills(Some(&DagId::from(dag_id)), None, direction, page)?;
        let backfills: Result<_, ApiError> =
            found.into_iter().map(|backfill| BackfillResponse::of(backfill, &mut lookup)).collect();
        Ok(BackfillCollection { backfills: backfills?, total_entries })
    };
    state.blocking(list).await.map(Json)
}

fn id_of(args: &mut Args) -> Result<BackfillId, ApiError> {
    let id = args.path_as("backfill_id", parse::at_least(0));
    args.finish()?;
    Ok(BackfillId(id))
}

/// Blocks.
fn known(state: &ApiState, id: BackfillId) -> Result<Backfill, ApiError> {
    state.store().backfill(id)?.ok_or_else(|| ApiError::not_found("Backfill not found"))
}

async fn answer(state: &ApiState, backfill: Backfill) -> ApiResult<BackfillResponse> {
    let own = state.clone();
    state.blocking(move || BackfillResponse::of(backfill, &mut Lookup::new(&own))).await.map(Json)
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<BackfillResponse> {
    let id = id_of(&mut args)?;
    let own = state.clone();
    let found = state.blocking(move || known(&own, id)).await?;
    answer(&state, found).await
}

async fn pause(state: State<ApiState>, args: Args) -> ApiResult<BackfillResponse> {
    set(state, args, BackfillWish::Pause).await
}

async fn unpause(state: State<ApiState>, args: Args) -> ApiResult<BackfillResponse> {
    set(state, args, BackfillWish::Unpause).await
}

async fn cancel(state: State<ApiState>, args: Args) -> ApiResult<BackfillResponse> {
    set(state, args, BackfillWish::Cancel).await
}

async fn set(State(state): State<ApiState>, mut args: Args, wish: BackfillWish) -> ApiResult<BackfillResponse> {
    let id = id_of(&mut args)?;
    let own = state.clone();
    let found = state.blocking(move || known(&own, id)).await?;
    let completed = || ApiError::conflict("Backfill is already completed.");
    if found.completed_at.is_some() {
        return Err(completed());
    }
    match state.engine().set_backfill(found.dag_id, id, wish).await {
        Ok(backfill) => answer(&state, *backfill).await,
        // It has come to its end meanwhile.
        Err(BackfillFailure::Refused(_)) => Err(completed()),
        Err(BackfillFailure::Stopped(stopped)) => Err(stopped.into()),
    }
}

/// `BackfillPostBody`.
struct Body {
    request: BackfillRequest,
    run_on_latest_version: Option<bool>,
    /// As they were written.
    from_date: MomentAt,
    to_date: MomentAt,
}

/// A moment with the offset that it was given, UTC if there was none.
fn any_moment(input: &Value) -> Parsed<Option<MomentAt>> {
    Ok(match parse::moment(input)? {
        MaybeAware::Aware(at, offset) => Some(MomentAt::new(at, offset)),
        naive => naive.in_utc().map(MomentAt::from),
    })
}

impl Body {
    fn read(mut fields: Fields<'_>, triggering_user: String) -> Self {
        let dag_id = fields.required("dag_id", parse::text);
        let from_date = fields.required("from_date", any_moment).unwrap_or(Timestamp::UNIX_EPOCH.into());
        let to_date = fields.required("to_date", any_moment).unwrap_or(Timestamp::UNIX_EPOCH.into());
        let backwards = fields.or("run_backwards", false, parse::boolean);
        let conf = fields.optional("dag_run_conf", parse::dict).map(Value::Object);
        let reprocess = fields.or("reprocess_behavior", Reprocess::None, parse::one_of(&BEHAVIORS));
        let max_active_runs = fields.or("max_active_runs", 10, parse::integer);
        let run_on_latest_version = fields.optional("run_on_latest_version", parse::boolean);
        fields.forbid_others();
        let request = BackfillRequest {
            dag_id: DagId::from(dag_id),
            from_date: to_microseconds(from_date.utc()),
            to_date: to_microseconds(to_date.utc()),
            backwards,
            conf,
            reprocess,
            max_active_runs,
            triggering_user: Some(triggering_user),
            on_latest_version: true,
        };
        Self { request, run_on_latest_version, from_date, to_date }
    }
}

fn unknown_dag(dag_id: &DagId) -> ApiError {
    ApiError::not_found(format!("Could not find dag {dag_id}"))
}

fn already_running(dag_id: &DagId) -> ApiError {
    ApiError::conflict(format!("There is already a running backfill for dag {dag_id}"))
}

fn invalid(error: InvalidBackfill) -> ApiError {
    match error {
        InvalidBackfill::NotAllowed(_) => ApiError::bad_request(error.to_string()),
        InvalidBackfill::Timetable { reason: Unanswered::NoAnswer(_), .. } => ApiError::unavailable(error.to_string()),
        _ => ApiError::unprocessable(error.to_string()),
    }
}

/// Blocks.
fn dag_of(state: &ApiState, dag_id: &DagId) -> Result<Arc<Dag>, ApiError> {
    let record = state.store().dag(dag_id)?.ok_or_else(|| unknown_dag(dag_id))?;
    state.structure(record.version)?.ok_or_else(|| unknown_dag(dag_id))
}

async fn create(
    State(state): State<ApiState>,
    user: User,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<BackfillResponse> {
    let mut body = Body::read(body.fields(&mut args.issues), user.name);
    args.finish()?;
    let own = state.clone();
    let now = to_microseconds(Timestamp::now());
    let prepare = move || {
        let dag_id = &body.request.dag_id;
        let latest = match body.run_on_latest_version {
            Some(asked) => Some(asked),
            None => rerun_with_latest_version(&own, dag_id)?,
        };
        let dag = dag_of(&own, dag_id)?;
        body.request.check_dag(&dag).map_err(invalid)?;
        if own.store().open_backfills()?.iter().any(|backfill| backfill.dag_id == *dag_id) {
            return Err(already_running(dag_id));
        }
        body.request.check(&dag, now).map_err(invalid)?;
        body.request.on_latest_version = latest.unwrap_or(true);
        Ok((body, dag))
    };
    let (body, dag): (Body, Arc<Dag>) = state.blocking(prepare).await?;
    let asked = timetables::dates_between(state.evaluator(), &body.request, &dag).await.map_err(invalid)?;
    let work_out = move || {
        let dates = body.request.some_dates(&dag, now, asked).map_err(invalid)?;
        Ok((body, dates))
    };
    let (body, dates) = state.blocking(work_out).await?;
    let dag_id = body.request.dag_id.clone();
    let made = state.engine().backfill(body.request, dates).await.map_err(|failure| match failure {
        BackfillFailure::Refused(BackfillRefusal::AlreadyRunning(_)) => already_running(&dag_id),
        BackfillFailure::Refused(_) => unknown_dag(&dag_id),
        BackfillFailure::Stopped(stopped) => stopped.into(),
    })?;
    let Json(mut answer) = answer(&state, *made).await?;
    (answer.from_date, answer.to_date) = (body.from_date, body.to_date);
    Ok(Json(answer))
}

async fn dry_run(
    State(state): State<ApiState>,
    user: User,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<DryRunCollection> {
    let Body { request, .. } = Body::read(body.fields(&mut args.issues), user.name);
    args.finish()?;
    let own = state.clone();
    let now = to_microseconds(Timestamp::now());
    let prepare = move || {
        let dag = dag_of(&own, &request.dag_id)?;
        request.check_dag(&dag).map_err(invalid)?;
        request.check(&dag, now).map_err(invalid)?;
        Ok((request, dag))
    };
    let (request, dag) = state.blocking(prepare).await?;
    let asked = timetables::dates_between(state.evaluator(), &request, &dag).await.map_err(invalid)?;
    let own = state.clone();
    let look = move || {
        let dates = request.dates(&dag, now, asked).map_err(invalid)?;
        let dates = backfilling::to_run(own.store(), &request.dag_id, dates, request.reprocess)?;
        let entry = |next: NextRun| DryRunBackfill {
            logical_date: Moment(next.logical_date()),
            partition_key: None,
            partition_date: None,
        };
        Ok(DryRunCollection { total_entries: dates.len(), backfills: dates.into_iter().map(entry).collect() })
    };
    state.blocking(look).await.map(Json)
}
