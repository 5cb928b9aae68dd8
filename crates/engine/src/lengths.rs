//! How long that is what tasks have left for others to map over.

use model::{RunKey, TaskId};
use scheduler::LengthOf;
use store::{Store, StoreError, XComKey};

/// The key of what a task returns.
const RETURN_VALUE: &str = "return_value";

/// The rule of Airflow's `get_task_map_length`, for tasks that have finished.
pub(crate) fn map_lengths<S: Store + ?Sized>(
    store: &S,
    run: &RunKey,
    tasks: &[LengthOf],
) -> Result<Vec<(TaskId, Option<u32>)>, StoreError> {
    let length = |of: &LengthOf| -> Result<(TaskId, Option<u32>), StoreError> {
        let task_id = of.task_id.clone();
        if of.of_instances {
            let count = store.count_xcoms(run, &task_id, RETURN_VALUE, true)?;
            return Ok((task_id, Some(u32::try_from(count).unwrap_or(u32::MAX))));
        }
        let key = XComKey {
            run: run.clone(),
            task_id: task_id.clone(),
            map_index: model::MapIndex::NONE,
            key: RETURN_VALUE.into(),
        };
        Ok((task_id, store.mapped_length(&key)?))
    };
    tasks.iter().map(length).collect()
}
