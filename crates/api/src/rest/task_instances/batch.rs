//! Lists of task instances whose filter is too long for a query string.

use axum::Json;
use axum::extract::State;
use model::TaskState;
use serde::Serialize;
use store::{TaskInstanceFilter, TaskInstanceOrder};

use super::{ORDERS, collect};
use crate::args::Args;
use crate::body::JsonBody;
use crate::error::ApiResult;
use crate::order;
use crate::parse;
use crate::rest::dag_runs::batch::{
    END_DATE, LOGICAL_DATE, RUN_AFTER, START_DATE, durations, or_null, page, span, wildcard,
};
use crate::rest::lookup::Lookup;
use crate::state::ApiState;

/// `TaskInstanceState`, in the order of Airflow's enumeration.
const STATES: [(&str, TaskState); 13] = [
    ("removed", TaskState::Removed),
    ("scheduled", TaskState::Scheduled),
    ("queued", TaskState::Queued),
    ("running", TaskState::Running),
    ("success", TaskState::Success),
    ("restarting", TaskState::Restarting),
    ("failed", TaskState::Failed),
    ("up_for_retry", TaskState::UpForRetry),
    ("up_for_reschedule", TaskState::UpForReschedule),
    ("upstream_failed", TaskState::UpstreamFailed),
    ("skipped", TaskState::Skipped),
    ("deferred", TaskState::Deferred),
    ("awaiting_input", TaskState::AwaitingInput),
];

/// What the batch may be ordered by is less than other lists may.
const ORDERED_BY: [&str; 6] = ["id", "state", "duration", "start_date", "end_date", "map_index"];

pub(super) async fn list(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<impl Serialize> {
    wildcard(&mut args, "dag_id");
    wildcard(&mut args, "dag_run_id");
    let mut fields = body.fields(&mut args.issues);
    let mut texts = |name| fields.optional_list(name, parse::text).unwrap_or_default();
    let (dag_ids, run_ids, task_ids) = (texts("dag_ids"), texts("dag_run_ids"), texts("task_ids"));
    let states = fields.optional_list("state", or_null(parse::one_of(&STATES))).unwrap_or_default();
    let filter = TaskInstanceFilter {
        dag_ids,
        run_ids,
        task_ids,
        states: states.into_iter().map(|state| state.unwrap_or(TaskState::None)).collect(),
        run_after: span(&mut fields, RUN_AFTER),
        logical_date: span(&mut fields, LOGICAL_DATE),
        start_date: span(&mut fields, START_DATE),
        end_date: span(&mut fields, END_DATE),
        duration: durations(&mut fields),
        pools: fields.optional_list("pool", parse::text).unwrap_or_default(),
        queues: fields.optional_list("queue", parse::text).unwrap_or_default(),
        executors: fields.optional_list("executor", parse::text).unwrap_or_default(),
        ..TaskInstanceFilter::default()
    };
    let (order_by, page) = page(&mut fields);
    fields.forbid_others();
    args.finish()?;
    let order_by: Vec<String> = order_by.into_iter().collect();
    let allowed: Vec<_> = ORDERS.into_iter().filter(|(name, _)| ORDERED_BY.contains(name)).collect();
    let order = order::resolve(&order_by, "id", &allowed, &[], TaskInstanceOrder::Id);
    let own = state.clone();
    state.blocking(move || collect(&mut Lookup::new(&own), &filter, &order?, page, None)).await.map(Json)
}
