//! What listeners of plugins are told.

use model::{Call, Callback, DagRun, Json};
use python::message::moment;
use serde_json::json;
use store::{Store, StoreError};

/// The request to the child. `fields` are those of the run as tasks see it. Blocks.
pub(super) fn request(
    store: &dyn Store,
    callback: &Callback,
    run: &DagRun,
    fields: &Json,
) -> Result<Result<Json, String>, StoreError> {
    if callback.call == Call::AssetEvent {
        let told: Result<Json, _> = serde_json::from_str(&callback.message);
        return Ok(told
            .map(|event| json!({"type": "UpdraftListener", "asset_event": event}))
            .map_err(|error| format!("What listeners are to be told of an asset can't be read: {error}")));
    }
    // A callback that is called late finds a run that went on; listeners are told of it as it was.
    let (hook, state) = match callback.call {
        Call::RunSuccess => ("on_dag_run_success", "success"),
        Call::RunFailed => ("on_dag_run_failed", "failed"),
        _ => ("on_dag_run_running", "running"),
    };
    let mut fields = fields.clone();
    fields["state"] = state.into();
    fields["queued_at"] = moment(run.queued_at);
    fields["last_scheduling_decision"] = moment(run.last_scheduling_decision);
    fields["triggered_by"] = run.triggered_by.name().into();
    fields["bundle_version"] = run.bundle_version.as_deref().into();
    let version = store.version(run.version)?;
    Ok(Ok(json!({
        "type": "UpdraftListener",
        "hook": hook,
        "msg": callback.message,
        "dag_run": fields,
        "dag": version.map(|version| version.serialized),
    })))
}
