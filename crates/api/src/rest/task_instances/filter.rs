//! What lists of task instances may be narrowed to.

use model::{DagId, RunId, RunKey, TaskState};
use serde_json::{Value, json};
use store::{TaskInstanceFilter, TextFilter};

use crate::args::Args;
use crate::error::ApiError;
use crate::parse;
use crate::rest::dags::known_dag;
use crate::rest::lookup::Lookup;

/// A filter, with what only the structure of a Dag can say.
pub(super) struct Filter {
    pub(super) store: TaskInstanceFilter,
    /// All tasks of a group.
    group: Option<String>,
    display_names: DisplayNames,
}

/// Patterns of the names that people see of tasks.
#[derive(Default)]
struct DisplayNames {
    pattern: Option<String>,
    prefix: Option<String>,
}

/// The error is an answer that comes after all that is wrong with the parameters.
pub(super) fn read(args: &mut Args) -> Result<Filter, ApiError> {
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
    Ok(Filter {
        store: filter,
        group: args.text("task_group_id"),
        display_names: DisplayNames {
            pattern: args.pattern("task_display_name_pattern"),
            prefix: args.prefix("task_display_name_prefix_pattern"),
        },
    })
}

/// Looks up what the filter names, and turns what needs the Dag's structure into task ids. Whether anything can match.
/// Blocks.
pub(super) fn complete(filter: &mut Filter, lookup: &mut Lookup<'_>) -> Result<bool, ApiError> {
    let Filter { store, group, display_names } = filter;
    let Some(dag_id) = store.dag_id.clone() else {
        if group.is_some() {
            return Err(ApiError::bad_request("task_group_id needs a dag_id"));
        }
        // Over all Dags the ids stand for the names.
        store.task_id_pattern = display_names.pattern.take();
        store.task_id_prefix = display_names.prefix.take();
        return Ok(true);
    };
    let version = match store.run_id.clone() {
        Some(run_id) => {
            let run = lookup.run(&RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() })?;
            let missing = format!("DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found");
            run.ok_or_else(|| ApiError::not_found(missing))?.version
        }
        None => {
            let record = known_dag(lookup.store(), &dag_id)?;
            lookup.know(&record);
            record.version
        }
    };
    let mut asked: Vec<Vec<String>> = Vec::new();
    if let Some(group) = group {
        let serialized = lookup.store().version(version)?.map(|version| version.serialized).unwrap_or_default();
        let tasks = tasks_of_group(&serialized, group).ok_or_else(|| {
            let message = format!("Task group {group} not found");
            ApiError::not_found(json!({"reason": "not_found", "message": message}))
        })?;
        asked.push(tasks);
    }
    if display_names.pattern.is_some() || display_names.prefix.is_some() {
        let names = TextFilter { pattern: display_names.pattern.take(), prefix: display_names.prefix.take() };
        let dag = lookup.structure(version)?;
        let tasks = dag.iter().flat_map(|dag| dag.tasks());
        let shown = |task: &&model::Task| names.matches(task.display_name.as_deref().or(Some(task.task_id.as_str())));
        asked.push(tasks.filter(shown).map(|task| task.task_id.to_string()).collect());
    }
    for tasks in asked {
        if store.task_ids.is_empty() {
            store.task_ids = tasks;
        } else {
            store.task_ids.retain(|task_id| tasks.contains(task_id));
        }
        if store.task_ids.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The ids of all tasks in a group and in the groups inside of it.
pub(super) fn tasks_of_group(serialized: &Value, wanted: &str) -> Option<Vec<String>> {
    fn find<'a>(group: &'a Value, wanted: &str) -> Option<&'a Value> {
        let inner = || children(group).filter(|(_, kind, _)| *kind == "taskgroup");
        let own = inner().find(|(id, ..)| *id == wanted).map(|(.., child)| child);
        own.or_else(|| inner().find_map(|(.., child)| find(child, wanted)))
    }
    fn gather(group: &Value, tasks: &mut Vec<String>) {
        for (id, kind, child) in children(group) {
            match kind {
                "taskgroup" => gather(child, tasks),
                _ => tasks.push(id.to_owned()),
            }
        }
    }
    /// By the whole id, whatever groups it is inside of.
    fn children(group: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
        let children = group.get("children").and_then(Value::as_object).into_iter().flatten();
        children.filter_map(|(id, child)| Some((id.as_str(), child.get(0)?.as_str()?, child.get(1)?)))
    }
    let mut tasks = Vec::new();
    gather(find(serialized.get("dag")?.get("task_group")?, wanted)?, &mut tasks);
    Some(tasks)
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

pub(super) fn states(args: &mut Args) -> Vec<TaskState> {
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
