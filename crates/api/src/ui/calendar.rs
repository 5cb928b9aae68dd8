//! The calendar: how many runs of a Dag there were on which date, and how many its timetable plans for the rest of the
//! year.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::timetable::{Restriction, Timetable};
use model::{Dag, DagId};
use serde::Serialize;
use store::{Granularity, RunsOfDate, Span};

use crate::args::Args;
use crate::error::ApiResult;
use crate::parse;
use crate::rest::dags::known_dag;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::Moment;

/// Runs that are planned ahead at most (`MAX_PLANNED_RUNS`).
const PLANNED: usize = 2000;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/calendar/{dag_id}", Access::ReadDags, get)
}

/// `CalendarTimeRangeResponse`.
#[derive(Serialize)]
struct Row {
    date: Moment,
    state: &'static str,
    count: u64,
}

/// `CalendarTimeRangeCollectionResponse`.
#[derive(Serialize)]
struct Calendar {
    total_entries: usize,
    dag_runs: Vec<Row>,
}

const GRANULARITIES: [(&str, Granularity); 2] = [("hourly", Granularity::Hour), ("daily", Granularity::Day)];

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<Calendar> {
    let dag_id = DagId::from(args.path("dag_id"));
    let by_logical_date = args.span("logical_date");
    let by_partition = args.span("partition_date");
    let granularity = args.or("granularity", Granularity::Day, parse::literal(&GRANULARITIES));
    args.finish()?;
    let is_partitioned = by_partition.from.is_some() || by_partition.to.is_some();
    let span = if is_partitioned { by_partition } else { by_logical_date };
    let own = state.clone();
    let look = move || {
        let record = known_dag(own.store(), &dag_id)?;
        let past = own.store().runs_by_date(&dag_id, span, granularity)?;
        let planned = match own.structure(record.version)? {
            Some(dag) => planned(&dag, past.last(), span, granularity),
            None => Vec::new(),
        };
        let past = past.iter().map(|row| Row { date: Moment(row.date), state: row.state.name(), count: row.count });
        let dag_runs: Vec<Row> = past.chain(planned).collect();
        Ok(Calendar { total_entries: dag_runs.len(), dag_runs })
    };
    state.blocking(look).await.map(Json)
}

fn year_of(at: Timestamp) -> i16 {
    at.to_zoned(TimeZone::UTC).year()
}

fn begin(at: Timestamp, granularity: Granularity) -> Timestamp {
    let seconds = match granularity {
        Granularity::Day => 86_400,
        Granularity::Hour => 3600,
    };
    Timestamp::from_second(at.as_second() - at.as_second().rem_euclid(seconds)).unwrap_or(at)
}

/// Whether the calendar steps from one moment of a cron expression to the next (`CronMixin`).
fn is_cron(timetable: &Timetable) -> bool {
    match timetable {
        Timetable::CronDataInterval(_) | Timetable::CronTrigger(_) => true,
        Timetable::AssetsOrTime { timetable, .. } => is_cron(timetable),
        _ => false,
    }
}

/// What is to come in the year of the last run, counted by date. Timetables of plugins plan nothing here: only Python
/// knows their runs, and answers one question at a time.
fn planned(dag: &Dag, last: Option<&RunsOfDate>, span: Span, granularity: Granularity) -> Vec<Row> {
    let Some(mut interval) = last.and_then(|last| last.interval) else { return Vec::new() };
    if !dag.timetable.is_periodic() {
        return Vec::new();
    }
    let year = year_of(interval.end);
    let by_cron = is_cron(&dag.timetable);
    // A cron expression is followed from the last run on, whatever has been left out since then.
    let restriction = Restriction { catchup: by_cron, ..dag.restriction() };
    let now = Timestamp::now();
    let mut dates: BTreeMap<Timestamp, u64> = BTreeMap::new();
    for _ in 0..PLANNED {
        let Some(next) = dag.timetable.next_run(Some(interval), &restriction, now) else { break };
        let date = if by_cron { next.data_interval.end } else { next.logical_date() };
        let is_over = by_cron && dag.end_date.is_some_and(|end| date > end);
        if next.data_interval.end <= interval.end || year_of(date) != year || is_over {
            break;
        }
        if span.from.is_none_or(|from| from <= date) && span.to.is_none_or(|to| date <= to) {
            *dates.entry(begin(date, granularity)).or_default() += 1;
        }
        interval = next.data_interval;
    }
    dates.into_iter().map(|(date, count)| Row { date: Moment(date), state: "planned", count }).collect()
}
