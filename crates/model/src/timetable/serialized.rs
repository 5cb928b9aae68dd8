//! From a timetable as Airflow serializes it.

use super::delta::{Delta, duration_of_seconds};
use super::events::Events;
use super::schedule::CronSchedule;
use super::trigger::{CronTrigger, RunImmediately};
use super::zone::Zone;
use super::{Timetable, TimetableError};
use crate::Json;

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
        _ => Timetable::Opaque { type_name: type_name.to_owned(), data: data.clone() },
    })
}
