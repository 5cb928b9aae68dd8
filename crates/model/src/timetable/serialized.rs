//! From a timetable as Airflow serializes it.

use super::custom::CustomTimetable;
use super::delta::{Delta, duration_of_seconds};
use super::events::Events;
use super::partitioned::{CronPartition, PartitionedAssets};
use super::schedule::CronSchedule;
use super::trigger::{CronTrigger, RunImmediately};
use super::zone::Zone;
use super::{Timetable, TimetableError};
use crate::Json;
use crate::asset::AssetCondition;

/// Where Airflow's own classes are (`is_core_timetable_import_path`).
const OWN: &str = "airflow.timetables.";

/// The fields of one serialized timetable.
struct Fields<'a> {
    type_name: &'a str,
    data: &'a Json,
}

impl<'a> Fields<'a> {
    fn optional(&self, name: &str) -> Option<&'a Json> {
        self.data.get(name).filter(|value| !value.is_null())
    }

    fn get(&self, name: &'static str) -> Result<&'a Json, TimetableError> {
        self.optional(name).ok_or_else(|| self.wrong(name))
    }

    fn text(&self, name: &'static str) -> Result<&'a str, TimetableError> {
        self.get(name)?.as_str().ok_or_else(|| self.wrong(name))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<String>, TimetableError> {
        let text = |value: &Json| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name));
        self.optional(name).map(text).transpose()
    }

    fn texts(&self, name: &'static str) -> Result<Vec<String>, TimetableError> {
        let values = self.get(name)?.as_array().ok_or_else(|| self.wrong(name))?;
        values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name))).collect()
    }

    fn delta(&self, name: &'static str) -> Result<Delta, TimetableError> {
        Delta::from_json(self.get(name)?)
    }

    fn zone(&self) -> Result<Zone, TimetableError> {
        Zone::from_json(self.get("timezone")?)
    }

    fn run_immediately(&self) -> Result<RunImmediately, TimetableError> {
        let name = "run_immediately";
        Ok(match self.data.get(name) {
            None | Some(Json::Bool(false)) => RunImmediately::No,
            Some(Json::Bool(true)) => RunImmediately::Yes,
            Some(Json::Null) => RunImmediately::Automatic,
            Some(value) => {
                let duration = value.as_f64().and_then(duration_of_seconds);
                RunImmediately::Within(duration.ok_or_else(|| self.wrong(name))?)
            }
        })
    }

    fn condition(&self) -> Result<AssetCondition, TimetableError> {
        let name = "asset_condition";
        AssetCondition::from_serialized(self.get(name)?).ok_or_else(|| self.wrong(name))
    }

    fn cron_trigger(&self, expression: &str) -> Result<CronTrigger, TimetableError> {
        Ok(CronTrigger {
            schedule: CronSchedule::new(expression, self.zone()?)?,
            interval: self.delta("interval")?,
            run_immediately: self.run_immediately()?,
        })
    }

    fn wrong(&self, field: &'static str) -> TimetableError {
        TimetableError::Field { type_name: self.type_name.to_owned(), field }
    }
}

pub(super) fn read(type_name: &str, data: &Json) -> Result<Timetable, TimetableError> {
    let fields = Fields { type_name, data };
    Ok(match type_name {
        "airflow.timetables.simple.NullTimetable" => Timetable::Null,
        "airflow.timetables.simple.OnceTimetable" => Timetable::Once,
        "airflow.timetables.simple.ContinuousTimetable" => Timetable::Continuous,
        "airflow.timetables.interval.CronDataIntervalTimetable" => {
            Timetable::CronDataInterval(CronSchedule::new(fields.text("expression")?, fields.zone()?)?)
        }
        "airflow.timetables.interval.DeltaDataIntervalTimetable" => {
            Timetable::DeltaDataInterval(fields.delta("delta")?)
        }
        "airflow.timetables.trigger.CronTriggerTimetable" => {
            Timetable::CronTrigger(fields.cron_trigger(fields.text("expression")?)?)
        }
        "airflow.timetables.trigger.DeltaTriggerTimetable" => {
            Timetable::DeltaTrigger { delta: fields.delta("delta")?, interval: fields.delta("interval")? }
        }
        "airflow.timetables.trigger.MultipleCronTriggerTimetable" => {
            let expressions = fields.texts("expressions")?;
            if expressions.is_empty() {
                return Err(fields.wrong("expressions"));
            }
            let triggers = expressions.iter().map(|expression| fields.cron_trigger(expression));
            Timetable::MultipleCronTrigger(triggers.collect::<Result<_, _>>()?)
        }
        "airflow.timetables.events.EventsTimetable" => Timetable::Events(Events::new(
            &fields.texts("event_dates")?,
            fields.get("restrict_to_events")?.as_bool().ok_or_else(|| fields.wrong("restrict_to_events"))?,
            fields.optional_text("description")?,
            // The Task SDK's own class leaves it out.
            fields.optional_text("_summary")?,
        )?),
        "airflow.timetables.simple.AssetTriggeredTimetable" => Timetable::Assets(fields.condition()?),
        "airflow.timetables.assets.AssetOrTimeSchedule" => {
            let inner = fields.get("timetable")?;
            let inner_type = inner.get("__type").and_then(Json::as_str).ok_or_else(|| fields.wrong("timetable"))?;
            let timetable = Box::new(read(inner_type, inner.get("__var").unwrap_or(&Json::Null))?);
            Timetable::AssetsOrTime { condition: fields.condition()?, timetable }
        }
        "airflow.timetables.simple.PartitionedAssetTimetable" => {
            let partitioned = PartitionedAssets::from_serialized(data, fields.condition()?);
            Timetable::PartitionedAssets(Box::new(partitioned.map_err(|field| fields.wrong(field))?))
        }
        "airflow.timetables.simple.PartitionedAtRuntime" => Timetable::PartitionedAtRuntime,
        "airflow.timetables.trigger.CronPartitionTimetable" => {
            let trigger = CronTrigger {
                schedule: CronSchedule::new(fields.text("expression")?, fields.zone()?)?,
                interval: Delta::from_json(&Json::from(0))?,
                run_immediately: fields.run_immediately()?,
            };
            let offset = fields.optional("run_offset").and_then(Json::as_i64).unwrap_or(0);
            let cron = CronPartition::new(trigger, offset, fields.text("key_format")?);
            Timetable::CronPartition(Box::new(cron.ok_or_else(|| fields.wrong("key_format"))?))
        }
        _ if type_name.starts_with(OWN) => Timetable::Opaque { type_name: type_name.to_owned(), data: data.clone() },
        _ => Timetable::Custom(Box::new(CustomTimetable::new(type_name, data))),
    })
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;

    const CRON_TRIGGER: &str = "airflow.timetables.trigger.CronTriggerTimetable";

    fn error(type_name: &str, data: Json) -> String {
        read(type_name, &data).unwrap_err().to_string()
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!(
            error(CRON_TRIGGER, json!({"timezone": "UTC", "interval": 0.0})),
            r#"timetable airflow.timetables.trigger.CronTriggerTimetable: field "expression" is missing or of the wrong kind"#
        );
        assert_eq!(
            error(CRON_TRIGGER, json!({"expression": "@daily", "timezone": "Mars/Olympus", "interval": 0.0})),
            "time zone Mars/Olympus is not known: use a name such as Europe/Zurich, or an offset such as +05:30"
        );
        assert_eq!(
            error("airflow.timetables.interval.DeltaDataIntervalTimetable", json!({"delta": {"fortnights": 1}})),
            r#"{"fortnights":1} is neither a number of seconds nor the fields of a relativedelta"#
        );
        let no_expressions = json!({"expressions": [], "timezone": "UTC", "interval": 0.0});
        assert!(
            error("airflow.timetables.trigger.MultipleCronTriggerTimetable", no_expressions).contains("expressions")
        );
    }

    #[test]
    fn run_immediately_has_four_forms() {
        for (form, expected) in [
            (json!(true), RunImmediately::Yes),
            (json!(false), RunImmediately::No),
            (Json::Null, RunImmediately::Automatic),
            (json!(300.0), RunImmediately::Within(SignedDuration::from_mins(5))),
        ] {
            let data = json!({"expression": "@daily", "timezone": 3600, "interval": 0.0, "run_immediately": form});
            let Ok(Timetable::CronTrigger(trigger)) = read(CRON_TRIGGER, &data) else { panic!("no cron trigger") };
            assert_eq!(trigger.run_immediately, expected);
        }
    }

    /// The Task SDK's class writes neither a summary nor the order; Airflow's scheduler can't read it back.
    #[test]
    fn events_of_the_task_sdk_are_put_into_order() {
        let dates = ["2024-01-02T00:00:00+00:00", "2024-01-01T00:00:00+00:00"];
        let data = json!({"event_dates": dates, "restrict_to_events": false, "description": null});
        let Ok(Timetable::Events(events)) = read("airflow.timetables.events.EventsTimetable", &data) else {
            panic!("no events")
        };
        assert_eq!(events.dates()[0], dates[1].parse::<Timestamp>().unwrap());
        assert_eq!(events.summary(), "2 events");
        assert_eq!(events.description(), format!("2 events between {} and {}", dates[1], dates[0]));
    }

    #[test]
    fn unknown_classes_are_kept_as_they_are() {
        let data = json!({"hours": [1, 2]});
        let timetable = read("plugins.AfterWorkTimetable", &data).unwrap();
        assert_eq!(timetable.summary(), "AfterWorkTimetable");
        let custom = timetable.custom().unwrap();
        assert_eq!((custom.type_name.as_str(), &custom.data), ("plugins.AfterWorkTimetable", &data));
        assert!(timetable.is_periodic() && timetable.can_be_scheduled());
        let own = read("airflow.timetables.new.Timetable", &data).unwrap();
        assert!(own.custom().is_none() && matches!(own, Timetable::Opaque { .. }));
    }

    #[test]
    fn what_the_import_found_of_a_class_goes_for_the_timetable_around_it_too() {
        let inner = json!({"__type": "plugins.Shifts", "__var": {}});
        let condition = json!({"__type": "asset", "name": "a", "uri": "a", "group": "asset", "extra": {}});
        let both = json!({"asset_condition": condition, "timetable": inner});
        let both = read("airflow.timetables.assets.AssetOrTimeSchedule", &both).unwrap();
        assert_eq!((both.summary().as_str(), both.active_runs_limit()), ("Asset or Shifts", None));
        let found = json!({"summary": "early and late", "periodic": false, "active_runs_limit": 2});
        let both = both.with_traits(&found);
        assert_eq!((both.summary().as_str(), both.active_runs_limit()), ("Asset or early and late", Some(2)));
        assert!(!both.is_periodic() && both.can_be_scheduled());
        assert_eq!(both.custom().unwrap().serialized(), inner);
    }

    #[test]
    fn assets_go_with_or_without_time() {
        let condition = json!({"__type": "asset", "name": "a", "uri": "a", "group": "asset", "extra": {}});
        let assets = json!({"asset_condition": condition});
        let assets = read("airflow.timetables.simple.AssetTriggeredTimetable", &assets).unwrap();
        assert_eq!((assets.summary(), assets.description()), ("Asset".to_owned(), "Triggered by assets".to_owned()));
        let inner = json!({"__type": "airflow.timetables.simple.ContinuousTimetable", "__var": {}});
        let both = json!({"asset_condition": condition, "timetable": inner});
        let both = read("airflow.timetables.assets.AssetOrTimeSchedule", &both).unwrap();
        assert_eq!(both.summary(), "Asset or @continuous");
        assert_eq!(both.active_runs_limit(), Some(1));
        assert_eq!(both.asset_condition(), assets.asset_condition());
        assert!(
            error("airflow.timetables.assets.AssetOrTimeSchedule", json!({"timetable": inner}))
                .contains("asset_condition")
        );
    }
}
