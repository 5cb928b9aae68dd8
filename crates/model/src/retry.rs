//! When a failed task instance tries again.

use jiff::{SignedDuration, Timestamp};
use sha1::{Digest, Sha1};

use crate::id::DagId;
use crate::operations::python_datetime_str;
use crate::task::Task;

/// The longest delay between two tries, whatever the task says (`MAX_RETRY_DELAY` of the Task SDK: 24 hours).
pub const MAX_RETRY_DELAY: SignedDuration = SignedDuration::from_hours(24);

/// The moment of the next try. `end` is when the try that failed ended, `try_number` its number,
/// `delay_override` what a retry policy decided.
///
/// With exponential backoff the delay is spread by a hash of the instance, as Airflow's
/// `TaskInstance.next_retry_datetime` does, so that both come to the same moment.
pub fn next_retry(
    dag_id: &DagId,
    task: &Task,
    logical_date: Option<Timestamp>,
    try_number: u32,
    end: Timestamp,
    delay_override: Option<SignedDuration>,
) -> Timestamp {
    let delay = delay_override.unwrap_or_else(|| {
        let factor = task.retry_exponential_backoff;
        if factor > 0.0 && factor != 1.0 {
            let backoff = backoff(dag_id, task, logical_date, try_number, factor);
            // A limit of nothing is no limit: Airflow asks whether there is one as Python does.
            task.max_retry_delay.filter(|max| !max.is_zero()).map_or(backoff, |max| backoff.min(max))
        } else {
            task.retry_delay
        }
    });
    end.saturating_add(delay).unwrap_or(Timestamp::MAX)
}

fn backoff(
    dag_id: &DagId,
    task: &Task,
    logical_date: Option<Timestamp>,
    try_number: u32,
    factor: f64,
) -> SignedDuration {
    let ceiling = MAX_RETRY_DELAY.as_secs_f64();
    let seconds =
        (task.retry_delay.as_secs_f64() * factor.powi(try_number.saturating_sub(1).min(10_000) as i32)).ceil();
    // Beyond the ceiling the exact figure no longer matters, so it may be cut before it becomes an integer.
    let minimum = if seconds.is_finite() { (seconds as u64).clamp(1, u64::MAX / 4) } else { ceiling as u64 };
    let logical_date = logical_date.map_or_else(|| "None".to_owned(), python_datetime_str);
    let digest = Sha1::digest(format!("{dag_id}#{}#{logical_date}#{try_number}", task.task_id));
    let spread = digest
        .iter()
        .fold(0_u64, |rest, byte| ((u128::from(rest) * 256 + u128::from(*byte)) % u128::from(minimum)) as u64);
    SignedDuration::from_secs((minimum + spread) as i64).min(MAX_RETRY_DELAY)
}
