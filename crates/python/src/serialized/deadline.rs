//! Deadlines of serialized Dags (`encode_deadline_alert`).

use jiff::{SignedDuration, Timestamp};
use model::{DeadlineAlert, DeadlineInterval, DeadlineReference, Json};

/// What the Dag has under `deadline`; `None` for what is no deadline.
pub(super) fn read(alert: &Json) -> Option<DeadlineAlert> {
    Some(DeadlineAlert { reference: reference(alert.get("reference")?)?, interval: interval(alert.get("interval")?)? })
}

fn reference(reference: &Json) -> Option<DeadlineReference> {
    let count = |name: &str| reference.get(name).and_then(Json::as_u64).and_then(|count| u32::try_from(count).ok());
    Some(match reference.get("reference_type")?.as_str()? {
        "DagRunLogicalDateDeadline" => DeadlineReference::LogicalDate,
        "DagRunQueuedAtDeadline" => DeadlineReference::QueuedAt,
        "FixedDatetimeDeadline" => {
            let seconds = reference.get("datetime")?.as_f64()?;
            DeadlineReference::Fixed(Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()?)
        }
        "AverageRuntimeDeadline" => {
            let max_runs = count("max_runs")?;
            DeadlineReference::AverageRuntime { max_runs, min_runs: count("min_runs").unwrap_or(max_runs) }
        }
        other => DeadlineReference::Custom(other.to_owned()),
    })
}

fn interval(interval: &Json) -> Option<DeadlineInterval> {
    let fixed = |seconds: f64| SignedDuration::try_from_secs_f64(seconds).ok().map(DeadlineInterval::Fixed);
    if let Some(seconds) = interval.as_f64() {
        return fixed(seconds);
    }
    let data = interval.get("__data__")?;
    match data.as_f64() {
        Some(seconds) => fixed(seconds),
        None => Some(DeadlineInterval::Variable(data.get("key")?.as_str()?.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deadlines_are_read_as_they_are_written() {
        // As `DagSerialization.to_dict` of Airflow 3.3.2 gives them.
        let seconds =
            |seconds: f64| json!({"__classname__": "datetime.timedelta", "__version__": 2, "__data__": seconds});
        let variable = json!({"__classname__": "airflow.sdk.definitions.deadline.VariableInterval", "__version__": 0, "__data__": {"key": "k"}});
        let fixed = |seconds| DeadlineInterval::Fixed(SignedDuration::from_millis(seconds));
        for (reference, interval, wanted) in [
            (
                json!({"reference_type": "DagRunQueuedAtDeadline"}),
                seconds(5.5),
                (DeadlineReference::QueuedAt, fixed(5500)),
            ),
            (
                json!({"reference_type": "DagRunLogicalDateDeadline"}),
                seconds(0.0),
                (DeadlineReference::LogicalDate, fixed(0)),
            ),
            (
                json!({"reference_type": "FixedDatetimeDeadline", "datetime": 1767225600.0}),
                variable,
                (
                    DeadlineReference::Fixed("2026-01-01T00:00:00Z".parse().unwrap()),
                    DeadlineInterval::Variable("k".into()),
                ),
            ),
            (
                json!({"reference_type": "AverageRuntimeDeadline", "max_runs": 5, "min_runs": 2}),
                json!(86405.0),
                (DeadlineReference::AverageRuntime { max_runs: 5, min_runs: 2 }, fixed(86_405_000)),
            ),
            (
                json!({"reference_type": "Own", "__class_path": "m.Own"}),
                seconds(1.0),
                (DeadlineReference::Custom("Own".into()), fixed(1000)),
            ),
        ] {
            let read = read(&json!({"name": null, "reference": reference, "interval": interval, "callback": {}}));
            assert_eq!(read, Some(DeadlineAlert { reference: wanted.0, interval: wanted.1 }));
        }
        assert_eq!(read(&json!({"reference": {}, "interval": 1})), None);
    }
}
