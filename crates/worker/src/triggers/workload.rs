//! What the runner is told of a trigger (`airflow/executors/workloads/trigger.py`).

use model::{Json, TaskInstance};
use python::message::dag_run_fields;
use scheduler::{ArmTrigger, WatchTrigger};
use serde_json::json;
use store::{Store, StoreError};

/// A `RunTrigger` for a watcher.
pub(super) fn watch_workload(watch: &WatchTrigger) -> Json {
    let assets: serde_json::Map<String, Json> =
        watch.assets.iter().map(|key| (key.name.clone(), key.uri.as_str().into())).collect();
    json!({
        "type": "RunTrigger",
        "id": watch.trigger.id.0,
        "classpath": watch.trigger.classpath,
        "encrypted_kwargs": watch.trigger.kwargs.to_string(),
        "ti": null,
        "timeout_after": null,
        "watched_assets": assets,
    })
}

/// A `RunTrigger`. Blocks.
pub(super) fn workload(armed: &ArmTrigger, hostname: &str, store: &dyn Store) -> Result<Json, StoreError> {
    let trigger = &armed.trigger;
    // Airflow's own database may hold them in the clear, too: then they begin with a brace.
    let kwargs = trigger.kwargs.as_str().map_or_else(|| trigger.kwargs.to_string(), str::to_owned);
    let mut workload = json!({
        "type": "RunTrigger",
        "id": trigger.id.0,
        "classpath": trigger.classpath,
        "encrypted_kwargs": kwargs,
        "ti": task_instance(&armed.ti, hostname),
        "timeout_after": armed.timeout.map(|at| at.to_string()),
    });
    // Templates are rendered with the context of the task.
    if armed.starts_task
        && let Some(version) = store.version(armed.ti.version)?
    {
        workload["dag_data"] = version.serialized;
        workload["dag_run_data"] = dag_run_fields(&armed.run, &store.consumed_asset_events(&armed.run.key)?);
    }
    Ok(workload)
}

fn task_instance(ti: &TaskInstance, hostname: &str) -> Json {
    json!({
        "id": ti.id.to_string(),
        "task_id": ti.task_id.as_str(),
        "dag_id": ti.run.dag_id.as_str(),
        "run_id": ti.run.run_id.as_str(),
        "try_number": ti.try_number,
        "dag_version_id": ti.version.to_string(),
        "map_index": ti.map_index.0,
        "hostname": ti.hostname.as_deref().unwrap_or(hostname),
        "context_carrier": {},
        "queue": &*ti.queue,
        "pool_slots": ti.pool_slots,
        "priority_weight": ti.priority_weight,
    })
}
