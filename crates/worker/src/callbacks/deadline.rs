//! Callbacks of deadlines that were missed (`Deadline.handle_miss`).

use jiff::Timestamp;
use model::{Callback, DagRun, Json};
use serde_json::json;
use store::{DagVersion, Store, StoreError};

/// What the child is told of a missed deadline. The error is for people: the Dag's version has no such deadline. Blocks.
pub(super) fn request(
    store: &dyn Store,
    callback: &Callback,
    run: &DagRun,
    file: &str,
) -> Result<Result<Json, String>, StoreError> {
    let missed: Json = serde_json::from_str(&callback.message).unwrap_or_default();
    let version = store.version(run.version)?;
    let alert = version.as_ref().and_then(|version| {
        let number = usize::try_from(missed.get("alert")?.as_u64()?).ok()?;
        version.serialized.get("dag")?.get("deadline")?.get(number)
    });
    let called = alert.and_then(|alert| alert.get("callback"));
    let Some((kind, data)) =
        called.and_then(|called| Some((called.get("__classname__")?.as_str()?, called.get("__data__")?)))
    else {
        return Ok(Err("The Dag has no such deadline any more; nothing is called".to_owned()));
    };
    let dag = store.dag(&run.key.dag_id)?;
    let display_name = dag.map_or_else(|| run.key.dag_id.to_string(), |dag| dag.display_name);
    Ok(Ok(json!({
        "type": "UpdraftDeadline",
        "filepath": file,
        "is_async": kind.ends_with(".AsyncCallback"),
        "path": data.get("path"),
        "kwargs": data.get("kwargs"),
        "dag_run": dag_run(run, version.as_ref(), &display_name),
        "deadline": {"id": missed.get("id"), "deadline_time": missed.get("deadline_time")},
    })))
}

fn moment(at: Option<Timestamp>) -> Json {
    at.map_or(Json::Null, |at| at.to_string().into())
}

/// The run as the callback sees it: as the REST API has it (`DAGRunResponse`).
fn dag_run(run: &DagRun, version: Option<&DagVersion>, display_name: &str) -> Json {
    let versions = version.map(|version| {
        json!({
            "id": version.id.to_string(),
            "version_number": version.number,
            "dag_id": version.dag_id.as_str(),
            "bundle_name": version.bundle_name,
            "bundle_version": version.bundle_version,
            "created_at": version.created_at.to_string(),
            "dag_display_name": display_name,
            "bundle_url": null,
        })
    });
    json!({
        "dag_run_id": run.key.run_id.as_str(),
        "dag_id": run.key.dag_id.as_str(),
        "logical_date": moment(run.logical_date),
        "queued_at": moment(run.queued_at),
        "start_date": moment(run.start_date),
        "end_date": moment(run.end_date),
        "duration": run.duration().map(model::operations::total_seconds),
        "data_interval_start": moment(run.data_interval.map(|interval| interval.start)),
        "data_interval_end": moment(run.data_interval.map(|interval| interval.end)),
        "run_after": run.run_after.to_string(),
        "last_scheduling_decision": moment(run.last_scheduling_decision),
        "run_type": run.run_type.name(),
        "state": run.state.name(),
        "triggered_by": run.triggered_by.name(),
        "triggering_user_name": run.triggering_user,
        "conf": &*run.conf,
        "note": run.note,
        "dag_versions": versions.into_iter().collect::<Vec<_>>(),
        "bundle_version": run.bundle_version,
        "dag_display_name": display_name,
        "partition_key": run.partition.as_ref().map(|partition| &partition.key),
        "partition_date": moment(run.partition.as_ref().and_then(|partition| partition.date)),
    })
}
