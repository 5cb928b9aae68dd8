//! When the deadlines of a run are (`airflow/serialization/definitions/deadline.py`).

use jiff::{SignedDuration, Timestamp};
use model::{Dag, DagRun, DagRunState, DeadlineAlert, DeadlineInterval, DeadlineReference};
use store::{Direction, Page, RunFilter, RunOrder, Store, StoreError};

/// The moments of a run's deadlines, by their place in the Dag. `made` is the moment in which the run was made.
pub(crate) fn moments<S: Store + ?Sized>(
    store: &S,
    dag: &Dag,
    run: &DagRun,
    made: Timestamp,
) -> Result<Vec<(u32, Option<Timestamp>)>, StoreError> {
    let mut moments = Vec::with_capacity(dag.deadlines.len());
    for (alert, number) in dag.deadlines.iter().zip(0..) {
        let at = moment(store, alert, run, made)?;
        if at.is_none() {
            tracing::warn!(run = %run.key, deadline = number, "a deadline has no moment in this run, and is left out");
        }
        moments.push((number, at));
    }
    Ok(moments)
}

fn moment<S: Store + ?Sized>(
    store: &S,
    alert: &DeadlineAlert,
    run: &DagRun,
    made: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let from = match &alert.reference {
        DeadlineReference::LogicalDate => run.logical_date,
        DeadlineReference::QueuedAt => run.queued_at,
        DeadlineReference::Fixed(at) => Some(*at),
        DeadlineReference::AverageRuntime { max_runs, min_runs } => {
            let average = average(store, run, *max_runs, *min_runs)?;
            average.and_then(|average| made.checked_add(average).ok())
        }
        DeadlineReference::Custom(name) => {
            tracing::warn!(run = %run.key, "deadlines that are counted from {name} are not supported");
            None
        }
    };
    let Some(interval) = interval(store, &alert.interval)? else { return Ok(None) };
    Ok(from.and_then(|from| from.checked_add(interval).ok()))
}

/// What the last runs took on average that succeeded, if there were enough.
fn average<S: Store + ?Sized>(
    store: &S,
    run: &DagRun,
    max_runs: u32,
    min_runs: u32,
) -> Result<Option<SignedDuration>, StoreError> {
    let filter =
        RunFilter { dag_id: Some(run.key.dag_id.clone()), states: vec![DagRunState::Success], ..RunFilter::default() };
    let newest = [(RunOrder::LogicalDate, Direction::Descending)];
    let (runs, _) = store.runs(&filter, &newest, Page { limit: u64::from(max_runs), offset: 0 })?;
    let durations: Vec<SignedDuration> = runs.iter().filter_map(DagRun::duration).collect();
    let count = i32::try_from(durations.len()).unwrap_or(i32::MAX);
    if durations.len() < min_runs as usize || count == 0 {
        return Ok(None);
    }
    let sum = durations.iter().fold(SignedDuration::ZERO, |sum, took| sum.saturating_add(*took));
    Ok(sum.checked_div(count))
}

/// A variable that is missing, or holds no whole number of seconds, leaves no deadline.
fn interval<S: Store + ?Sized>(store: &S, interval: &DeadlineInterval) -> Result<Option<SignedDuration>, StoreError> {
    Ok(match interval {
        DeadlineInterval::Fixed(interval) => Some(*interval),
        DeadlineInterval::Variable(key) => {
            let value = store.variable(key)?.map(|variable| variable.value);
            let seconds = value.as_deref().and_then(|value| value.trim().parse::<i64>().ok());
            if seconds.is_none() {
                tracing::warn!("the variable {key:?} is to hold the seconds of a deadline, and does not");
            }
            seconds.map(SignedDuration::from_secs)
        }
    })
}
