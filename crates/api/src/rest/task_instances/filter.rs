//! What lists of task instances may be narrowed to.

use model::{DagId, RunId, TaskState};
use store::TaskInstanceFilter;

use crate::args::Args;
use crate::error::ApiError;
use crate::parse;

/// The error is an answer that comes after all that is wrong with the parameters.
pub(super) fn read(args: &mut Args) -> Result<TaskInstanceFilter, ApiError> {
    let (dag_id, run_id) = (args.path("dag_id"), args.path("dag_run_id"));
    let mut filter = TaskInstanceFilter::default();
    filter.task_ids.extend(args.text("task_id").filter(|task_id| !task_id.is_empty()));
    read_common(args, &mut filter);
    filter.dag_id_pattern = args.pattern("dag_id_pattern");
    filter.dag_id_prefix = args.prefix("dag_id_prefix_pattern");
    filter.run_id_pattern = args.pattern("run_id_pattern");
    filter.run_id_prefix = args.prefix("run_id_prefix_pattern");
    filter.dag_id = (dag_id != "~").then(|| DagId::from(dag_id));
    filter.run_id = (run_id != "~").then(|| RunId::from(run_id));
    if filter.run_id.is_some() && filter.dag_id.is_none() {
        return Err(ApiError::bad_request("dag_id is required when dag_run_id is specified"));
    }
    Ok(filter)
}

/// What all lists of task instances may be narrowed to.
pub(super) fn read_common(args: &mut Args, filter: &mut TaskInstanceFilter) {
    filter.run_after = args.span("run_after");
    filter.logical_date = args.span("logical_date");
    filter.start_date = args.open_span("start_date");
    filter.end_date = args.open_span("end_date");
    filter.updated_at = args.span("updated_at");
    filter.duration = args.durations("duration");
    filter.states = states(args);
    filter.pools = args.texts("pool");
    filter.pool_pattern = args.pattern("pool_name_pattern");
    filter.pool_prefix = args.prefix("pool_name_prefix_pattern");
    filter.queues = args.texts("queue");
    filter.queue_pattern = args.pattern("queue_name_pattern");
    filter.queue_prefix = args.prefix("queue_name_prefix_pattern");
    filter.executors = args.texts("executor");
    filter.version_numbers = args.list("version_number", parse::integer);
    filter.try_numbers = args.list("try_number", parse::integer);
    filter.operators = args.texts("operator");
    filter.operator_name_pattern = args.pattern("operator_name_pattern");
    filter.operator_name_prefix = args.prefix("operator_name_prefix_pattern");
    filter.map_indexes = args.list("map_index", parse::integer);
    filter.rendered_map_index_pattern = args.pattern("rendered_map_index_pattern");
    filter.rendered_map_index_prefix = args.prefix("rendered_map_index_prefix_pattern");
}

fn states(args: &mut Args) -> Vec<TaskState> {
    let read = |text: &String| match text.as_str() {
        "no_status" | "none" => Some(TaskState::None),
        text => text.parse().ok(),
    };
    let texts = args.texts("state");
    texts.iter().map(read).collect::<Option<_>>().unwrap_or_else(|| {
        // In the order of Airflow's enumeration.
        let valid = "Invalid value for state. Valid values are removed, scheduled, queued, running, success, \
            restarting, failed, up_for_retry, up_for_reschedule, upstream_failed, skipped, deferred, awaiting_input";
        args.fail(ApiError::unprocessable(valid));
        Vec::new()
    })
}
