//! Triggers that the engine waits for itself.

use jiff::Timestamp;
use model::{Json, TimerEvent, TriggerTimer};
use serde_json::json;

/// The standard provider's trigger for a moment; its trigger for a time span serializes itself as this one.
const MOMENT: &str = "airflow.providers.standard.triggers.temporal.DateTimeTrigger";
/// The classes by which the Task SDK encodes moments, and the version of their encoding.
const MOMENTS: [&str; 2] = ["pendulum.datetime.DateTime", "datetime.datetime"];
const VERSION: u64 = 2;

/// The moment that a trigger waits for, if it does nothing else (`airflow/providers/standard/triggers/temporal.py`,
/// 1.21.0). Arguments that it does not have, or that Python alone can read, make it one for the trigger runner.
pub fn timer_of(classpath: &str, kwargs: &Json) -> Option<TriggerTimer> {
    let kwargs = kwargs.as_object().filter(|_| classpath == MOMENT)?;
    if kwargs.keys().any(|name| name != "moment" && name != "end_from_trigger") {
        return None;
    }
    let ends = kwargs.get("end_from_trigger").map_or(Some(false), Json::as_bool)?;
    let seconds = seconds_of(kwargs.get("moment")?)?;
    let at = Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()?;
    let event = if ends { TimerEvent::Succeed } else { TimerEvent::Resume(encoded_moment(seconds)) };
    Some(TriggerTimer { at, event })
}

/// Seconds since 1970 of an encoded moment.
fn seconds_of(moment: &Json) -> Option<f64> {
    let class = moment.get("__classname__")?.as_str()?;
    let is_known = MOMENTS.contains(&class) && moment.get("__version__")?.as_u64()? == VERSION;
    moment.get("__data__")?.get("timestamp")?.as_f64().filter(|seconds| is_known && seconds.is_finite())
}

/// A moment in UTC, as it arrives at the task on Airflow: there the trigger's process sends it on as a plain `datetime`.
pub(crate) fn encoded_moment(seconds: f64) -> Json {
    let zone = json!(["UTC", "pendulum.tz.timezone.FixedTimezone", 1, true]);
    json!({
        "__classname__": "datetime.datetime",
        "__version__": VERSION,
        "__data__": {
            "timestamp": seconds,
            "tz": {"__classname__": "builtins.tuple", "__version__": 1, "__data__": zone},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(class: &str, timestamp: Json) -> Json {
        let zone = json!(["UTC", "pendulum.tz.timezone.Timezone", 1, true]);
        let zone = json!({"__classname__": "builtins.tuple", "__version__": 1, "__data__": zone});
        json!({"__classname__": class, "__version__": 2, "__data__": {"timestamp": timestamp, "tz": zone}})
    }

    #[test]
    fn a_moment_is_waited_for_by_the_engine() {
        let at = |kwargs: Json| timer_of(MOMENT, &kwargs);
        // As `serialize(TimeDeltaTrigger(...).serialize()[1])` of Task SDK 1.3.2 gives it.
        let pendulum = moment("pendulum.datetime.DateTime", json!(1795581072.54844));
        let found = at(json!({"moment": pendulum, "end_from_trigger": true})).unwrap();
        assert_eq!(found.at, "2026-11-25T04:31:12.54844Z".parse().unwrap());
        assert_eq!(found.event, TimerEvent::Succeed);
        let plain = moment("datetime.datetime", json!(1767265200));
        let found = at(json!({"moment": plain, "end_from_trigger": false})).unwrap();
        assert_eq!(found.at, "2026-01-01T11:00:00Z".parse().unwrap());
        let TimerEvent::Resume(payload) = found.event else { panic!("it ends its task") };
        assert_eq!(payload["__classname__"], "datetime.datetime");
        assert_eq!(seconds_of(&payload), Some(1767265200.0));
        assert_eq!(at(json!({"moment": plain})).unwrap().event, TimerEvent::Resume(payload));
    }

    #[test]
    fn everything_else_is_for_the_trigger_runner() {
        let plain = moment("datetime.datetime", json!(1767265200));
        let none = [
            (MOMENT, json!({})),
            (MOMENT, json!({"target_time": "2026-01-01"})),
            (MOMENT, json!({"moment": plain, "end_from_trigger": "yes"})),
            (MOMENT, json!({"moment": plain, "more": 1})),
            (MOMENT, json!({"moment": moment("own.Moment", json!(1)), "end_from_trigger": true})),
            (MOMENT, json!({"moment": moment("datetime.datetime", json!("soon"))})),
            (MOMENT, json!({"moment": moment("datetime.datetime", json!(1e300))})),
            (MOMENT, json!("gAAAA")),
            ("own.DateTimeTrigger", json!({"moment": plain})),
        ];
        for (classpath, kwargs) in none {
            assert_eq!(timer_of(classpath, &kwargs), None, "{classpath} {kwargs}");
        }
    }
}
