//! What native operators have in common: their inlets and outlets, which may be assets.

use std::sync::Arc;

use model::AssetKey;
use operators::pyrepr::python_repr;
use scheduler::Outcome;

use super::{Attempt, End, TASK_LOGGER};
use crate::Reports;
use crate::assets::{declared_outlets, inactive_assets};

/// An `EmptyOperator` that has inlets or outlets.
pub(super) fn empty<R: Reports>(attempt: &Attempt<'_, R>) -> End {
    attempt.log.info(TASK_LOGGER, "Running this EmptyOperator in the engine, without Python");
    with_outlets(attempt, End { started: Some(attempt.started(std::process::id())), ..End::new(Outcome::Success) })
}

/// A success produces the outlets of its task.
pub(super) fn with_outlets<R: Reports>(attempt: &Attempt<'_, R>, end: End) -> End {
    if end.outcome != Outcome::Success {
        return end;
    }
    End { outlets: declared_outlets(attempt.start.dag.task(attempt.start.task)), ..end }
}

/// A task whose inlets or outlets are inactive assets fails before it has begun, as in the official task runner.
pub(super) async fn refused<R: Reports>(attempt: &Attempt<'_, R>) -> Option<End> {
    let task = attempt.start.dag.task(attempt.start.task);
    if task.inlets.is_empty() && task.outlets.is_empty() {
        return None;
    }
    let store = Arc::clone(&attempt.worker.inner.store);
    let (dag, index) = (Arc::clone(&attempt.start.dag), attempt.start.task);
    let found = tokio::task::spawn_blocking(move || inactive_assets(&*store, Some(dag.task(index)))).await;
    let inactive = match found {
        Ok(Ok(inactive)) if inactive.is_empty() => return None,
        Ok(Ok(inactive)) => inactive,
        Ok(Err(error)) => return Some(unknown(attempt, &error.to_string())),
        Err(error) => return Some(unknown(attempt, &error.to_string())),
    };
    let shown = |text: &str| python_repr(&text.into());
    let key = |key: &AssetKey| format!("Asset(name={}, uri={})", shown(&key.name), shown(&key.uri));
    let keys: Vec<String> = inactive.iter().map(key).collect();
    let message = format!("Task has the following inactive assets in its inlets or outlets: {}", keys.join(", "));
    attempt.log_exception("AirflowInactiveAssetInInletOrOutletException", &message);
    Some(End::new(Outcome::FailedForGood))
}

/// Nobody can say whether the assets are active.
fn unknown<R: Reports>(attempt: &Attempt<'_, R>, error: &str) -> End {
    attempt.log_exception("AirflowRuntimeError", error);
    End::new(Outcome::Failed)
}
