//! Numbers: the home page's, those of a Dag's runs; and the list of backfills over all Dags.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use model::{DagId, DagRunState, RunId, RunKey, TaskState};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{Direction, Page, RunFilter, RunOrder, Span};

use crate::args::Args;
use crate::error::ApiResult;
use crate::order;
use crate::parse;
use crate::rest::backfills::{BackfillCollection, BackfillResponse};
use crate::rest::dag_runs::run_not_found;
use crate::rest::lookup::Lookup;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

/// More runs or task instances than these are not counted one by one (`EXACT_COUNT_LIMIT`).
const COUNTED: u64 = 50_000;
/// Runs whose durations make a Dag's statistics.
const LAST_RUNS: u64 = 100;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/dashboard/historical_metrics_data", Access::ReadDags, history)
        .get("/dashboard/dag_stats", Access::ReadDags, dag_stats)
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}/stats", Access::ReadDags, run_stats)
        .get("/backfills", Access::ReadDags, backfills)
}

/// `DashboardDagStatsResponse`.
#[derive(Serialize)]
struct DagStats {
    active_dag_count: u64,
    failed_dag_count: u64,
    running_dag_count: u64,
    queued_dag_count: u64,
}

async fn dag_stats(State(state): State<ApiState>) -> ApiResult<DagStats> {
    let counts = state.read(|store| Ok(store.dag_counts()?)).await?;
    Ok(Json(DagStats {
        active_dag_count: counts.active,
        failed_dag_count: counts.failed,
        running_dag_count: counts.running,
        queued_dag_count: counts.queued,
    }))
}

/// A count of which not everything was counted: two digits, and never too many.
fn rounded_down(count: u64) -> u64 {
    let unit = 10u64.pow(count.checked_ilog10().unwrap_or(0).saturating_sub(1));
    count - count % unit
}

/// Counts by name, and whether they are lower bounds.
fn shown<'a>(
    names: impl Iterator<Item = &'a str>,
    counts: impl Iterator<Item = (&'a str, u64)> + Clone,
) -> (Map<String, Value>, bool) {
    let is_bound = counts.clone().map(|(_, count)| count).sum::<u64>() > COUNTED;
    let mut shown: Map<String, Value> = names.map(|name| (name.to_owned(), json!(0))).collect();
    for (name, count) in counts {
        shown.insert(name.to_owned(), json!(if is_bound { rounded_down(count) } else { count }));
    }
    (shown, is_bound)
}

/// The run states in the order of Airflow's `DagRunState`.
const RUN_STATES: [DagRunState; 4] =
    [DagRunState::Queued, DagRunState::Running, DagRunState::Success, DagRunState::Failed];
/// The task states in the order of Airflow's `TaskInstanceState`.
const TASK_STATES: [TaskState; 14] = [
    TaskState::None,
    TaskState::Removed,
    TaskState::Scheduled,
    TaskState::Queued,
    TaskState::Running,
    TaskState::Success,
    TaskState::Restarting,
    TaskState::Failed,
    TaskState::UpForRetry,
    TaskState::UpForReschedule,
    TaskState::UpstreamFailed,
    TaskState::Skipped,
    TaskState::Deferred,
    TaskState::AwaitingInput,
];

fn task_state_name(state: TaskState) -> &'static str {
    state.name().unwrap_or("no_status")
}

async fn history(State(state): State<ApiState>, mut args: Args) -> ApiResult<Value> {
    args.required("start_date", parse::text);
    let from = args.loose_moment("start_date");
    let to = args.loose_moment("end_date");
    args.finish()?;
    let span = Span { from, to: Some(to.unwrap_or_else(Timestamp::now)), or_missing: false };
    let counts = state.read(move |store| Ok(store.states_within(span, COUNTED + 1)?)).await?;
    let runs = counts.runs.iter().map(|(state, count)| (state.name(), *count));
    let (run_states, runs_bound) = shown(RUN_STATES.iter().map(|state| state.name()), runs);
    let tasks = counts.task_instances.iter().map(|(state, count)| (task_state_name(*state), *count));
    let (task_states, tasks_bound) = shown(TASK_STATES.iter().map(|state| task_state_name(*state)), tasks);
    Ok(Json(json!({
        "dag_run_states": run_states,
        "task_instance_states": task_states,
        "dag_run_counts_are_lower_bounds": runs_bound,
        "task_instance_counts_are_lower_bounds": tasks_bound,
    })))
}

/// `DurationStats`, in seconds.
#[derive(PartialEq, Debug, Serialize)]
struct Durations {
    mean: f64,
    mode: Option<f64>,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
}

impl Durations {
    fn of(mut seconds: Vec<f64>) -> Option<Self> {
        let last = seconds.len().checked_sub(1)?;
        seconds.sort_by(f64::total_cmp);
        let rounded = |value: f64| (value * 1000.0).round_ties_even() / 1000.0;
        let at = |percent: f64| {
            let place = last as f64 * percent / 100.0;
            let below = (place as usize).min(last);
            let above = (below + 1).min(last);
            rounded(seconds[below] + (seconds[above] - seconds[below]) * (place - below as f64))
        };
        Some(Self {
            mean: rounded(seconds.iter().sum::<f64>() / seconds.len() as f64),
            mode: mode(&seconds),
            p50: at(50.0),
            p90: at(90.0),
            p95: at(95.0),
            p99: at(99.0),
        })
    }
}

/// The whole number of seconds that comes up most often, the smallest of several; nothing if none comes up twice.
fn mode(sorted: &[f64]) -> Option<f64> {
    let whole: Vec<f64> = sorted.iter().map(|value| value.round_ties_even()).collect();
    let runs = whole.chunk_by(|one, other| one == other);
    let longest = runs.reduce(|best, run| if run.len() > best.len() { run } else { best })?;
    (longest.len() > 1).then(|| longest[0])
}

async fn run_stats(State(state): State<ApiState>, args: Args) -> ApiResult<Value> {
    let key = RunKey::new(DagId::from(args.path("dag_id")), RunId::from(args.path("dag_run_id")));
    let look = move |store: &dyn store::Store| {
        if store.run(&key)?.is_none() {
            return Err(run_not_found(&key));
        }
        let filter = RunFilter {
            dag_id: Some(key.dag_id.clone()),
            states: vec![DagRunState::Success, DagRunState::Failed],
            ..RunFilter::default()
        };
        let order = [(RunOrder::RunAfter, Direction::Descending)];
        let (runs, _) = store.runs(&filter, &order, Page { limit: LAST_RUNS, offset: 0 })?;
        let seconds = runs.iter().filter_map(|run| run.duration()).map(model::operations::total_seconds);
        Ok(json!({"duration": Durations::of(seconds.collect())}))
    };
    state.read(look).await.map(Json)
}

async fn backfills(State(state): State<ApiState>, mut args: Args) -> ApiResult<BackfillCollection> {
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    let dag_id = args.text("dag_id").map(DagId::from);
    let active = args.optional("active", parse::boolean);
    args.finish()?;
    let order = order::resolve(&order_by, "id", &[("id", &[()])], &[], ())?;
    let direction = order.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    let own = state.clone();
    let list = move || {
        let mut lookup = Lookup::new(&own);
        let (found, total_entries) = own.store().backfills(dag_id.as_ref(), active, direction, page)?;
        let backfills: Result<_, crate::error::ApiError> =
            found.into_iter().map(|backfill| BackfillResponse::of(backfill, &mut lookup)).collect();
        Ok(BackfillCollection { backfills: backfills?, total_entries })
    };
    state.blocking(list).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_summed_up_as_airflow_does() {
        assert_eq!(Durations::of(Vec::new()), None);
        let expected = Durations { mean: 360.0, mode: None, p50: 360.0, p90: 552.0, p95: 576.0, p99: 595.2 };
        assert_eq!(Durations::of(vec![600.0, 120.0]), Some(expected));
        let several = Durations::of(vec![3.2, 1.0, 2.9, 1.4, 7.0]).unwrap();
        assert_eq!((several.mode, several.mean, several.p50), (Some(1.0), 3.1, 2.9));
    }

    #[test]
    fn what_was_not_counted_to_its_end_is_rounded_down() {
        for (count, shown) in [(0, 0), (7, 7), (42, 42), (199, 190), (50_001, 50_000), (48_765, 48_000)] {
            assert_eq!(rounded_down(count), shown, "{count}");
        }
    }
}
