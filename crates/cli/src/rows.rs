//! What is known of Dags, runs and task instances, as rows with the columns of Airflow's command line.

use jiff::Timestamp;
use model::operations::{python_datetime_str, python_isoformat, total_seconds};
use model::{DagRun, RunType, TaskInstance};
use serde_json::{Value, json};
use store::{Connection, DagRecord, ImportError, Pool};
use template::python::text;

use crate::connections::{extra_of, uri_of};
use crate::output::{Row, row};

fn moment(at: Option<Timestamp>) -> Value {
    at.map(python_datetime_str).into()
}

/// Empty where there is none.
fn iso(at: Option<Timestamp>) -> Value {
    at.map(python_isoformat).unwrap_or_default().into()
}

/// Everything that is known of a Dag. `is_periodic` is the timetable's word on it, `file_token` the name of its file for
/// the REST API.
pub fn dag_row(dag: &DagRecord, is_periodic: bool, file_token: String) -> Row {
    let next = dag.schedule.next_run;
    let allows_backfill =
        dag.allowed_run_types.as_ref().is_none_or(|types| types.iter().any(|name| name == RunType::Backfill.name()));
    let tag =
        |name: &String| json!({"name": name, "dag_id": dag.dag_id.as_str(), "dag_display_name": dag.display_name});
    row([
        ("dag_id", dag.dag_id.as_str().into()),
        ("dag_display_name", dag.display_name.as_str().into()),
        ("is_paused", dag.paused.into()),
        ("is_stale", dag.stale.into()),
        ("last_parsed_time", moment(Some(dag.last_parsed_at))),
        ("last_parse_duration", total_seconds(dag.last_parse_duration).into()),
        ("last_expired", Value::Null),
        ("bundle_name", dag.bundle_name.as_str().into()),
        ("bundle_version", dag.bundle_version.clone().into()),
        ("relative_fileloc", dag.relative_fileloc.as_str().into()),
        ("fileloc", dag.fileloc.as_str().into()),
        ("description", dag.description.clone().into()),
        ("timetable_summary", dag.timetable_summary.clone().filter(|summary| summary != "None").into()),
        ("timetable_description", dag.timetable_description.clone().into()),
        ("timetable_partitioned", false.into()),
        ("timetable_periodic", is_periodic.into()),
        ("tags", dag.tags.iter().map(tag).collect()),
        ("max_active_tasks", dag.max_active_tasks.into()),
        ("max_active_runs", dag.max_active_runs.into()),
        ("max_consecutive_failed_dag_runs", dag.max_consecutive_failed_dag_runs.into()),
        ("has_task_concurrency_limits", dag.has_task_concurrency_limits.into()),
        ("has_import_errors", dag.has_import_errors.into()),
        ("next_dagrun_logical_date", moment(next.map(|next| next.logical_date()))),
        ("next_dagrun_data_interval_start", moment(next.map(|next| next.data_interval.start))),
        ("next_dagrun_data_interval_end", moment(next.map(|next| next.data_interval.end))),
        ("next_dagrun_run_after", moment(next.map(|next| next.run_after))),
        ("allowed_run_types", dag.allowed_run_types.clone().into()),
        ("owners", dag.owners.clone().into()),
        ("is_backfillable", (is_periodic && allows_backfill).into()),
        ("file_token", file_token.into()),
    ])
}

/// The columns of [`dag_row`].
pub const DAG_COLUMNS: [&str; 30] = [
    "dag_id",
    "dag_display_name",
    "is_paused",
    "is_stale",
    "last_parsed_time",
    "last_parse_duration",
    "last_expired",
    "bundle_name",
    "bundle_version",
    "relative_fileloc",
    "fileloc",
    "description",
    "timetable_summary",
    "timetable_description",
    "timetable_partitioned",
    "timetable_periodic",
    "tags",
    "max_active_tasks",
    "max_active_runs",
    "max_consecutive_failed_dag_runs",
    "has_task_concurrency_limits",
    "has_import_errors",
    "next_dagrun_logical_date",
    "next_dagrun_data_interval_start",
    "next_dagrun_data_interval_end",
    "next_dagrun_run_after",
    "allowed_run_types",
    "owners",
    "is_backfillable",
    "file_token",
];

/// The columns of [`dag_row`] as rows of their own, for people.
pub fn properties(row: Row) -> Vec<Row> {
    let property = |(name, value): (String, Value)| {
        let value = match value {
            Value::Array(items) => {
                let name = |item: &Value| item.get("name").map_or_else(|| text(item), text);
                items.iter().map(name).collect::<Vec<_>>().into()
            }
            other => other,
        };
        crate::row([("property_name", name.into()), ("property_value", value)])
    };
    row.into_iter().map(property).collect()
}

/// A run in a list.
pub fn run_row(run: &DagRun) -> Row {
    row([
        ("dag_id", run.key.dag_id.as_str().into()),
        ("run_id", run.key.run_id.as_str().into()),
        ("state", run.state.name().into()),
        ("run_after", iso(Some(run.run_after))),
        ("logical_date", iso(run.logical_date)),
        ("start_date", iso(run.start_date)),
        ("end_date", iso(run.end_date)),
    ])
}

/// A run that was just made.
pub fn triggered_row(run: &DagRun) -> Row {
    row([
        ("conf", (*run.conf).clone()),
        ("dag_id", run.key.dag_id.as_str().into()),
        ("dag_run_id", run.key.run_id.as_str().into()),
        ("data_interval_start", moment(run.data_interval.map(|interval| interval.start))),
        ("data_interval_end", moment(run.data_interval.map(|interval| interval.end))),
        ("end_date", moment(run.end_date)),
        ("last_scheduling_decision", moment(run.last_scheduling_decision)),
        ("logical_date", moment(run.logical_date)),
        ("run_type", run.run_type.name().into()),
        ("start_date", moment(run.start_date)),
        ("state", run.state.name().into()),
        ("triggering_user_name", run.triggering_user.clone().into()),
    ])
}

/// The task instances of a run. There is a column for the map index if any of them has one.
pub fn task_instance_rows(run: &DagRun, task_instances: &[TaskInstance]) -> Vec<Row> {
    let any_mapped = task_instances.iter().any(|ti| ti.map_index.is_mapped());
    let of = |ti: &TaskInstance| {
        let mut row = row([
            ("dag_id", ti.run.dag_id.as_str().into()),
            ("logical_date", iso(run.logical_date)),
            ("task_id", ti.task_id.as_str().into()),
            ("state", ti.state.name().unwrap_or_default().into()),
            ("start_date", iso(ti.start_date)),
            ("end_date", iso(ti.end_date)),
        ]);
        if any_mapped {
            let index = if ti.map_index.is_mapped() { ti.map_index.0.to_string() } else { String::new() };
            row.insert("map_index".into(), index.into());
        }
        row
    };
    task_instances.iter().map(of).collect()
}

pub fn import_error_row(error: &ImportError) -> Row {
    row([
        ("bundle_name", error.bundle_name.as_str().into()),
        ("filepath", error.filename.as_str().into()),
        ("error", error.stack_trace.as_str().into()),
    ])
}

pub fn pool_row(pool: &Pool) -> Row {
    row([
        ("pool", pool.name.as_str().into()),
        ("slots", pool.slots.into()),
        ("description", pool.description.clone().into()),
        ("include_deferred", pool.include_deferred.into()),
        ("team_name", Value::Null),
    ])
}

/// Everything of a connection. With `hide`, secrets are replaced.
pub fn connection_row(connection: &Connection, hide: bool) -> Row {
    let extra = extra_of(connection);
    let has_extra = extra.as_object().is_some_and(|extra| !extra.is_empty());
    let hidden = || Value::from(model::secrets::MASK);
    let password = connection.password.clone();
    let uri = uri_of(connection);
    row([
        ("conn_id", connection.connection_id.as_str().into()),
        ("conn_type", connection.conn_type.as_str().into()),
        ("description", connection.description.clone().into()),
        ("host", connection.host.clone().into()),
        ("schema", connection.schema.clone().into()),
        ("login", connection.login.clone().into()),
        ("password", if hide && password.is_some() { hidden() } else { password.into() }),
        ("port", connection.port.into()),
        ("is_encrypted", connection.is_encrypted.into()),
        ("is_extra_encrypted", connection.is_extra_encrypted.into()),
        ("extra_dejson", if hide && has_extra { hidden() } else { extra }),
        ("get_uri", if hide { hide_credentials(&uri).into() } else { uri.into() }),
    ])
}

fn hide_credentials(uri: &str) -> String {
    let mask = model::secrets::MASK;
    let Some((scheme, rest)) = uri.split_once("://") else { return mask.to_owned() };
    // Extras may hold secrets too.
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?***"));
    match place.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://{mask}:{mask}@{place}{query}"),
        None => format!("{scheme}://{place}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_connections_can_be_hidden() {
        let connection = crate::connection_from_uri("c", "http://me:pw@h:80/s?token=abc").unwrap();
        let shown = connection_row(&connection, false);
        assert_eq!((&shown["password"], &shown["extra_dejson"]), (&json!("pw"), &json!({"token": "abc"})));
        assert_eq!(shown["get_uri"], "http://me:pw@h:80/s?token=abc");
        let hidden = connection_row(&connection, true);
        assert_eq!((&hidden["password"], &hidden["extra_dejson"]), (&json!("***"), &json!("***")));
        assert_eq!(hidden["get_uri"], "http://***:***@h:80/s?***");
    }

    #[test]
    fn properties_are_rows_of_their_own() {
        let rows = properties(row([("a", 1.into()), ("tags", json!([{"name": "x", "dag_id": "d"}]))]));
        assert_eq!(rows[1], row([("property_name", "tags".into()), ("property_value", json!(["x"]))]));
        assert_eq!(rows.len(), 2);
    }
}
