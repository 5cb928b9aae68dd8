//! What lists of runs may be narrowed to.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::timetable::Timetable;
use model::{DagId, RunType};
use store::{DagRecord, RunFilter, Span};

use super::super::dags::filter::run_states;
use crate::args::Args;
use crate::error::ApiError;
use crate::parse;

/// `None` where nothing can match. The error is an answer that comes after all that is wrong with the parameters.
pub(super) fn read(args: &mut Args) -> Result<Option<RunFilter>, ApiError> {
    let dag_id = args.path("dag_id");
    let mut filter = RunFilter { run_after: args.span("run_after"), ..RunFilter::default() };
    filter.logical_date = args.span("logical_date");
    filter.start_date = args.open_span("start_date");
    filter.end_date = args.open_span("end_date");
    filter.duration = args.durations("duration");
    filter.updated_at = args.span("updated_at");
    filter.conf_contains = args.text("conf_contains").filter(|text| !text.is_empty());
    filter.run_types = run_types(args);
    filter.states = run_states(args, "state").into_iter().flatten().collect();
    filter.version_numbers = args.list("dag_version", parse::integer);
    filter.bundle_version = args.text("bundle_version").filter(|version| !version.is_empty());
    filter.run_id_pattern = args.pattern("run_id_pattern");
    filter.run_id_prefix = args.prefix("run_id_prefix_pattern");
    filter.triggering_user_pattern = args.pattern("triggering_user_name_pattern");
    filter.triggering_user_prefix = args.prefix("triggering_user_name_prefix_pattern");
    filter.dag_id_pattern = args.pattern("dag_id_pattern");
    filter.dag_id_prefix = args.prefix("dag_id_prefix_pattern");
    filter.partition_key_pattern = args.pattern("partition_key_pattern");
    filter.partition_key_prefix = args.prefix("partition_key_prefix_pattern");
    let asset = args.text("consuming_asset_pattern").filter(|pattern| !pattern.is_empty());
    let dates = ["partition_date_gte", "partition_date_lte"].map(|name| args.optional(name, parse::date));
    if dates.iter().any(Option::is_some) {
        if dag_id == "~" {
            let detail = "partition_date_gte and partition_date_lte require a specific dag_id.";
            return Err(ApiError::bad_request(detail.to_owned()));
        }
        filter.partition_date = days(dates);
    }
    filter.dag_id = (dag_id != "~").then(|| DagId::from(dag_id));
    Ok(asset.is_none().then_some(filter))
}

/// Whole days in UTC; the last one is part of them.
fn days([first, last]: [Option<Date>; 2]) -> Span {
    let begin = |day: Date| day.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).ok();
    let end = |day: Date| begin(day.tomorrow().ok()?)?.checked_sub(SignedDuration::from_micros(1)).ok();
    Span { from: first.and_then(begin), to: last.and_then(end), or_missing: false }
}

/// Partition dates are days of the Dag's own time zone. The error is an answer.
pub(super) fn localize(filter: &mut RunFilter, record: &DagRecord) -> Result<(), ApiError> {
    let dates = filter.partition_date;
    if dates.from.is_none() && dates.to.is_none() {
        return Ok(());
    }
    let timetable = engine::facts_of(record).ok().map(|facts| facts.timetable).filter(Timetable::is_partitioned);
    let Some(timetable) = timetable else {
        return Err(ApiError::bad_request(format!(
            "Dag with dag_id: '{}' is not partitioned; partition_date_gte and partition_date_lte are not supported.",
            record.dag_id
        )));
    };
    if let Timetable::CronPartition(cron) = timetable {
        let local = |at: Timestamp| cron.local_moment(at).unwrap_or(at);
        filter.partition_date = Span { from: dates.from.map(local), to: dates.to.map(local), ..dates };
    }
    Ok(())
}

pub(crate) fn run_types(args: &mut Args) -> Vec<RunType> {
    let texts = args.texts("run_type");
    let types: Result<Vec<RunType>, _> = texts.iter().filter(|text| *text != "none").map(|text| text.parse()).collect();
    types.unwrap_or_else(|_| {
        let names: Vec<&str> = RunType::ALL.iter().map(|run_type| run_type.name()).collect();
        let detail = format!("Invalid value for run type. Valid values are {}", names.join(", "));
        args.fail(ApiError::unprocessable(detail));
        Vec::new()
    })
}
