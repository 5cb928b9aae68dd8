//! Dags with their latest runs, for the list of Dags.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use model::{DagId, DagRun, TaskState};
use serde::Serialize;
use serde_json::{Value, json};
use store::{DagFilter, DagOrder, DagRecord, Direction, HitlFilter, HitlOrder, Page, RunFilter, RunOrder, Store};

use super::grid::without_nulls;
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::rest::assets::expression::expression;
use crate::rest::dags::DagResponse;
use crate::rest::dags::filter::{self, RUN_STATES};
use crate::rest::lookup::Lookup;
use crate::rest::task_instances::hitl::detail_of;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment, seconds};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/dags", Access::ReadDags, list).get("/dags/{dag_id}/latest_run", Access::ReadDags, latest_run)
}

/// `DAGRunLightResponse`.
#[derive(Serialize)]
struct LightRun {
    id: u64,
    dag_id: String,
    run_id: String,
    logical_date: Option<Moment>,
    run_after: Moment,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    state: &'static str,
    duration: Option<f64>,
}

/// The latest runs of a Dag, the last one first. Blocks.
fn latest_runs(store: &dyn Store, dag_id: &DagId, limit: u64) -> Result<Vec<LightRun>, ApiError> {
    let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
    let order = [(RunOrder::RunAfter, Direction::Descending)];
    let (runs, _) = store.runs(&filter, &order, Page { limit, offset: 0 })?;
    let keys: Vec<_> = runs.iter().map(|run| run.key.clone()).collect();
    let numbers = store.run_numbers(&keys)?;
    let light = |(run, id): (DagRun, u64)| LightRun {
        id,
        dag_id: run.key.dag_id.to_string(),
        run_id: run.key.run_id.to_string(),
        logical_date: moment(run.logical_date),
        run_after: Moment(run.run_after),
        start_date: moment(run.start_date),
        end_date: moment(run.end_date),
        state: run.state.name(),
        duration: seconds(run.duration()),
    };
    Ok(runs.into_iter().zip(numbers).map(light).collect())
}

async fn latest_run(State(state): State<ApiState>, args: Args) -> ApiResult<Option<LightRun>> {
    let dag_id = DagId::from(args.path("dag_id"));
    if dag_id.as_str() == "~" {
        let detail = "`~` was supplied as dag_id, but querying multiple dags is not supported.";
        return Err(ApiError::bad_request(detail));
    }
    let found = state.read(move |store| latest_runs(store, &dag_id, 1)).await?;
    Ok(Json(found.into_iter().next()))
}

const ORDERS: [(&str, &[DagOrder]); 5] = [
    ("dag_id", &[DagOrder::DagId]),
    ("dag_display_name", &[DagOrder::DisplayName]),
    ("next_dagrun", &[DagOrder::NextRun]),
    ("last_run_state", &[DagOrder::LastRunState]),
    ("last_run_start_date", &[DagOrder::LastRunStart]),
];

/// What the list was asked for.
struct Wanted {
    filter: Option<DagFilter>,
    page: Page,
    order: Vec<(DagOrder, Direction)>,
    runs: u64,
    /// Whether the questions that wait for answers are wanted, too.
    questions: bool,
}

fn read(args: &mut Args, state: &ApiState) -> Result<Wanted, ApiError> {
    let page = args.page(state);
    let mut filter = filter::read_common(args);
    let dag_ids = args.texts("dag_ids");
    let any_run_state = args.optional("dag_run_state", parse::one_of(&RUN_STATES));
    let awaits_people = args.optional("has_pending_actions", parse::boolean);
    let runs = args.or("dag_runs_limit", 10, parse::integer);
    let order_by = args.texts("order_by");
    args.finish()?;
    let order = order::resolve(&order_by, "dag_id", &ORDERS, &[], DagOrder::DagId)?;
    if let Some(filter) = &mut filter {
        (filter.dag_ids, filter.any_run_state, filter.awaits_people) = (dag_ids, any_run_state, awaits_people);
    }
    let runs = u64::try_from(runs).unwrap_or(0).min(state.config().max_page_limit);
    Ok(Wanted { filter, page, order, runs, questions: awaits_people == Some(true) })
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<Value> {
    let Wanted { filter, page, order, runs, questions } = read(&mut args, &state)?;
    let Some(filter) = filter else { return Ok(Json(json!({"total_entries": 0, "dags": []}))) };
    let own = state.clone();
    let look = move || {
        let (found, total_entries) = own.store().dags(&filter, &order, page)?;
        let mut asked = if questions { pending(&own, &found)? } else { HashMap::new() };
        let mut dags = Vec::with_capacity(found.len());
        for record in found {
            let latest = latest_runs(own.store(), &record.dag_id, runs)?;
            let pending_actions = asked.remove(&record.dag_id).unwrap_or_default();
            let expression = expression(&own, &record)?;
            dags.push(dag(&own, record, &latest, pending_actions, expression));
        }
        Ok(json!({"total_entries": total_entries, "dags": dags}))
    };
    state.blocking(look).await.map(Json)
}

/// `DAGWithLatestDagRunsResponse`.
fn dag(
    state: &ApiState,
    record: DagRecord,
    latest: &[LightRun],
    pending_actions: Vec<Value>,
    expression: Option<Value>,
) -> Value {
    let (fields, computed) = DagResponse::new(state, record).into_parts();
    let mut dag = without_nulls(&fields);
    if let Some(fields) = dag.as_object_mut() {
        if let Some(expression) = expression {
            fields.insert("asset_expression".into(), expression);
        }
        fields.insert("latest_dag_runs".into(), latest.iter().map(without_nulls).collect());
        fields.insert("pending_actions".into(), Value::Array(pending_actions));
        fields.insert("is_favorite".into(), json!(false));
        if let Value::Object(computed) = json!(computed) {
            fields.extend(computed);
        }
    }
    dag
}

/// What task instances of these Dags have asked and nobody has answered. Blocks.
fn pending(state: &ApiState, dags: &[DagRecord]) -> Result<HashMap<DagId, Vec<Value>>, ApiError> {
    let mut lookup = Lookup::new(state);
    let mut pending: HashMap<DagId, Vec<Value>> = HashMap::new();
    for record in dags {
        let filter = HitlFilter {
            dag_id: Some(record.dag_id.clone()),
            answered: Some(false),
            states: vec![TaskState::AwaitingInput, TaskState::Deferred],
            ..HitlFilter::default()
        };
        let order = [(HitlOrder::CreatedAt, Direction::Ascending)];
        for (detail, ti) in state.store().hitl_details(&filter, &order, Page::ALL)?.0 {
            if let Some(detail) = detail_of(detail, ti, &mut lookup)? {
                pending.entry(record.dag_id.clone()).or_default().push(without_nulls_inside(detail));
            }
        }
    }
    Ok(pending)
}

/// As [`without_nulls`], for a question and the task instance in it.
fn without_nulls_inside(detail: impl Serialize) -> Value {
    let mut detail = without_nulls(&detail);
    if let Some(ti) = detail.get_mut("task_instance") {
        *ti = without_nulls(ti);
    }
    detail
}
