//! `/monitor/health` and `/jobs`: which parts of the server are at work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use store::{Direction, Span};

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::Moment;

/// How old the last sign of life of a part may be (`[scheduler] scheduler_health_check_threshold` and its like).
const THRESHOLD: SignedDuration = SignedDuration::from_secs(30);
/// How long the database has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/monitor/health", Access::Public, health).get("/jobs", Access::View, jobs)
}

/// A part of the server that runs all the time.
#[derive(Clone, Debug)]
struct Part {
    job_type: &'static str,
    last_beat: Option<Timestamp>,
    is_alive: bool,
}

fn is_fresh(beat: Option<Timestamp>) -> bool {
    beat.is_some_and(|beat| Timestamp::now().duration_since(beat) <= THRESHOLD)
}

fn scheduler(state: &ApiState) -> Part {
    let last_beat = state.engine().pulse().last();
    Part { job_type: "SchedulerJob", last_beat, is_alive: state.engine().is_running() && is_fresh(last_beat) }
}

fn dag_processor(state: &ApiState) -> Option<Part> {
    let last_beat = state.importer()?.last();
    Some(Part { job_type: "DagProcessorJob", last_beat, is_alive: is_fresh(last_beat) })
}

#[derive(Serialize)]
struct HealthInfo {
    metadatabase: Status,
    scheduler: SchedulerInfo,
    triggerer: TriggererInfo,
    dag_processor: DagProcessorInfo,
}

#[derive(Serialize)]
struct Status {
    status: Option<&'static str>,
}

#[derive(Serialize)]
struct SchedulerInfo {
    status: Option<&'static str>,
    latest_scheduler_heartbeat: Option<String>,
}

#[derive(Serialize)]
struct TriggererInfo {
    status: Option<&'static str>,
    latest_triggerer_heartbeat: Option<String>,
}

#[derive(Serialize)]
struct DagProcessorInfo {
    status: Option<&'static str>,
    latest_dag_processor_heartbeat: Option<String>,
}

fn word(is_healthy: bool) -> &'static str {
    if is_healthy { "healthy" } else { "unhealthy" }
}

/// Python's `isoformat()` of a moment in UTC.
fn isoformat(at: Timestamp) -> String {
    let shown = Moment(model::operations::to_microseconds(at)).to_string();
    format!("{}+00:00", shown.trim_end_matches('Z'))
}

/// Always 200: what is wrong is in the body. Without the database Airflow knows of no part.
async fn health(State(state): State<ApiState>) -> Json<HealthInfo> {
    let check = tokio::time::timeout(PATIENCE, state.read(|store| Ok(store.check()?)));
    let answers = matches!(check.await, Ok(Ok(())));
    let known = |part: Option<Part>| match part {
        _ if !answers => (Some(word(false)), None),
        None => (None, None),
        Some(part) => (Some(word(part.is_alive)), part.last_beat.map(isoformat)),
    };
    let (status, latest_scheduler_heartbeat) = known(Some(scheduler(&state)));
    let scheduler = SchedulerInfo { status, latest_scheduler_heartbeat };
    let (status, latest_triggerer_heartbeat) = known(None);
    let triggerer = TriggererInfo { status, latest_triggerer_heartbeat };
    let (status, latest_dag_processor_heartbeat) = known(dag_processor(&state));
    let dag_processor = DagProcessorInfo { status, latest_dag_processor_heartbeat };
    Json(HealthInfo { metadatabase: Status { status: Some(word(answers)) }, scheduler, triggerer, dag_processor })
}

#[derive(Serialize, Clone)]
struct JobResponse {
    id: i64,
    dag_id: Option<String>,
    state: &'static str,
    job_type: &'static str,
    start_date: Moment,
    end_date: Option<Moment>,
    latest_heartbeat: Moment,
    executor_class: Option<String>,
    hostname: String,
    unixname: String,
    dag_display_name: Option<String>,
}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<JobResponse>,
    total_entries: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JobOrder {
    Id,
    JobType,
    StartDate,
    LatestHeartbeat,
}

/// What [`jobs`] is asked for.
struct JobFilter {
    state: Option<String>,
    job_type: Option<String>,
    hostname: Option<String>,
    executor_class: Option<String>,
    start_date: Span,
    end_date: Span,
}

impl JobFilter {
    fn matches(&self, job: &JobResponse) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.state, job.state)
            && is(&self.job_type, job.job_type)
            && is(&self.hostname, &job.hostname)
            && self.executor_class.is_none()
            && inside(self.start_date, Some(job.start_date))
            && inside(self.end_date, job.end_date)
    }
}

fn inside(span: Span, at: Option<Moment>) -> bool {
    match at {
        None => span.from.is_none() && span.to.is_none(),
        Some(Moment(at)) => span.from.is_none_or(|from| from <= at) && span.to.is_none_or(|to| at <= to),
    }
}

/// The parts of this process, as jobs that began when it did.
async fn jobs(State(state): State<ApiState>, mut args: Args) -> ApiResult<JobList> {
    let (start_date, end_date) = (args.span("start_date"), args.span("end_date"));
    let page = args.page(&state);
    let is_alive = args.optional("is_alive", parse::boolean);
    args.finish()?;
    let named = |name: &str| args.text(name).filter(|text| !text.is_empty());
    let filter = JobFilter {
        state: named("job_state"),
        job_type: named("job_type"),
        hostname: named("hostname"),
        executor_class: named("executor_class"),
        start_date,
        end_date,
    };
    let order = order_of(&args)?;
    let parts = std::iter::once(scheduler(&state)).chain(dag_processor(&state));
    let mut found: Vec<(JobResponse, bool)> = parts
        .zip(1..)
        .map(|(part, id)| (job(&state, id, &part), part.is_alive))
        .filter(|(job, _)| filter.matches(job))
        .collect();
    found.sort_by(|(one, _), (other, _)| compare(one, other, &order));
    let total_entries = found.len();
    let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let shown = found.into_iter().skip(skip).take(take);
    let shown = shown.filter(|(_, alive)| is_alive.is_none_or(|wanted| *alive == wanted));
    Ok(Json(JobList { jobs: shown.map(|(job, _)| job).collect(), total_entries }))
}

fn job(state: &ApiState, id: i64, part: &Part) -> JobResponse {
    let start_date = model::operations::to_microseconds(state.started());
    JobResponse {
        id,
        dag_id: None,
        state: "running",
        job_type: part.job_type,
        start_date: Moment(start_date),
        end_date: None,
        latest_heartbeat: Moment(part.last_beat.map_or(start_date, model::operations::to_microseconds)),
        executor_class: None,
        hostname: state.config().hostname.clone(),
        unixname: state.config().unixname.clone(),
        dag_display_name: None,
    }
}

fn order_of(args: &Args) -> Result<Vec<(JobOrder, Direction)>, ApiError> {
    // What is the same for all jobs of one process puts them in no order.
    let allowed: &[(&str, &[JobOrder])] = &[
        ("id", &[JobOrder::Id]),
        ("dag_id", &[]),
        ("state", &[]),
        ("job_type", &[JobOrder::JobType]),
        ("start_date", &[JobOrder::StartDate]),
        ("end_date", &[]),
        ("latest_heartbeat", &[JobOrder::LatestHeartbeat]),
        ("executor_class", &[]),
        ("hostname", &[]),
        ("unixname", &[]),
    ];
    order::resolve(&args.texts("order_by"), "id", allowed, &[], JobOrder::Id)
}

fn compare(one: &JobResponse, other: &JobResponse, order: &[(JobOrder, Direction)]) -> std::cmp::Ordering {
    order.iter().fold(std::cmp::Ordering::Equal, |so_far, (column, direction)| {
        so_far.then_with(|| {
            let ordering = match column {
                JobOrder::Id => one.id.cmp(&other.id),
                JobOrder::JobType => one.job_type.cmp(other.job_type),
                JobOrder::StartDate => one.start_date.0.cmp(&other.start_date.0),
                JobOrder::LatestHeartbeat => one.latest_heartbeat.0.cmp(&other.latest_heartbeat.0),
            };
            if *direction == Direction::Descending { ordering.reverse() } else { ordering }
        })
    })
}
