//! What answers take straight out of the official serialized Dags.

use engine::triggering::check_params;
use jiff::Timestamp;
use model::Json;
use model::dag::Param;
use python::serialized::{decode, is_not_set};
use serde_json::{Map, Value, json};

use crate::wire::Moment;

/// The fields of a Dag, or of one of its tasks.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    fields: Option<&'a Map<String, Json>>,
    /// For a mapped task: what was given to `partial`.
    partial: Option<&'a Map<String, Json>>,
    /// What the configuration makes of fields that a task leaves out.
    defaults: Option<&'a Map<String, Json>>,
    is_task: bool,
}

impl<'a> Encoded<'a> {
    /// The Dag itself.
    pub(crate) fn dag(serialized: &'a Json) -> Self {
        let defaults = serialized.pointer("/client_defaults/tasks").and_then(Json::as_object);
        Self { fields: serialized.get("dag").and_then(Json::as_object), partial: None, defaults, is_task: false }
    }

    /// Its tasks.
    pub(crate) fn tasks(self) -> impl Iterator<Item = Encoded<'a>> {
        let tasks = self.fields.and_then(|dag| dag.get("tasks")).and_then(Json::as_array);
        tasks.into_iter().flatten().map(move |task| {
            let fields = task.get("__var").and_then(Json::as_object);
            let partial = fields.and_then(|fields| fields.get("partial_kwargs")).and_then(Json::as_object);
            Encoded { fields, partial, defaults: self.defaults, is_task: true }
        })
    }

    /// What stands in a field, still wrapped; nothing where it is null.
    pub(crate) fn raw(self, name: &str) -> Option<&'a Json> {
        let partial = self.partial.and_then(|partial| partial.get(name));
        let own = partial.or_else(|| self.fields.and_then(|fields| fields.get(name)));
        own.or_else(|| self.defaults.filter(|_| self.is_task)?.get(name)).filter(|value| !value.is_null())
    }

    pub(crate) fn text(self, name: &str) -> Option<String> {
        self.raw(name).map(decode).and_then(|value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn flag(self, name: &str) -> Option<bool> {
        self.raw(name).map(decode).and_then(|value| value.as_bool())
    }

    pub(crate) fn number(self, name: &str) -> Option<f64> {
        self.raw(name).map(decode).and_then(|value| value.as_f64())
    }

    pub(crate) fn texts(self, name: &str) -> Option<Vec<String>> {
        let list = self.raw(name).map(decode)?;
        let texts = list.as_array()?.iter().filter_map(Json::as_str).map(str::to_owned);
        Some(texts.collect())
    }

    pub(crate) fn moment(self, name: &str) -> Option<Moment> {
        self.number(name).and_then(moment_of)
    }

    /// The params as `Param.dump()` gives them, by name.
    pub(crate) fn params(self) -> Map<String, Value> {
        let list = self.raw("params").and_then(Json::as_array);
        let dump = |entry: &Json| {
            let name = entry.get(0)?.as_str()?.to_owned();
            let param = entry.get(1)?;
            let plain = |field: &str| param.get(field).map_or(Value::Null, decode);
            let described = Param {
                name,
                value: param.get("default").filter(|default| !is_not_set(default)).map(decode),
                description: None,
                schema: param.get("schema").map_or_else(|| json!({}), decode),
            };
            // A default that its own schema refuses is none.
            let is_sound = check_params(std::slice::from_ref(&described), &Value::Null).is_ok();
            let Param { name, value, schema, .. } = described;
            let dumped = json!({
                "value": value.filter(|_| is_sound),
                "schema": schema,
                "description": plain("description"),
                "source": plain("source"),
            });
            Some((name, dumped))
        };
        list.into_iter().flatten().filter_map(dump).collect()
    }
}

fn moment_of(seconds: f64) -> Option<Moment> {
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok().map(Moment)
}

/// A value as Pydantic writes what Airflow makes of it: dates and durations in ISO 8601.
pub(crate) fn written(value: &Json) -> Value {
    match value {
        Json::Array(items) => items.iter().map(written).collect(),
        Json::Object(fields) => match (fields.get("__type").and_then(Json::as_str), fields.get("__var")) {
            (Some("datetime"), Some(seconds)) => {
                json!(seconds.as_f64().and_then(moment_of))
            }
            (Some("timedelta"), Some(seconds)) => json!(seconds.as_f64().map(iso_duration)),
            (Some(_), Some(inner)) => written(inner),
            (Some(_), None) => Value::Null,
            (None, _) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), written(value))).collect()),
        },
        plain => plain.clone(),
    }
}

/// A duration as Pydantic writes a `timedelta`: `P1DT2H3.5S`. Its years have 365 days.
pub(crate) fn iso_duration(seconds: f64) -> String {
    let micros = (seconds * 1e6).round() as i128;
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let days = seconds / 86_400;
    let date = [(days / 365, 'Y'), (days % 365, 'D')];
    let part = |(count, unit): &(u128, char)| if *count == 0 { String::new() } else { format!("{count}{unit}") };
    let date: String = date.iter().map(part).collect();
    let time = [(seconds % 86_400 / 3600, 'H'), (seconds % 3600 / 60, 'M')];
    let mut time: String = time.iter().map(part).collect();
    let rest = seconds % 60;
    if fraction > 0 {
        let digits = format!("{fraction:06}");
        time.push_str(&format!("{rest}.{}S", digits.trim_end_matches('0')));
    } else if rest > 0 || (date.is_empty() && time.is_empty()) {
        time.push_str(&format!("{rest}S"));
    }
    let time = if time.is_empty() { time } else { format!("T{time}") };
    format!("{sign}P{date}{time}")
}

/// A duration as Airflow's `TimeDelta` model writes it.
pub(crate) fn time_delta(seconds: f64) -> Value {
    let micros = (seconds * 1e6).round() as i64;
    let day = 86_400_000_000;
    let (days, rest) = (micros.div_euclid(day), micros.rem_euclid(day));
    json!({"__type": "TimeDelta", "days": days, "seconds": rest / 1_000_000, "microseconds": rest % 1_000_000})
}

/// `inspect.cleandoc`: the indentation that all lines but the first share is taken off, and empty lines at both ends.
pub(crate) fn clean_doc(text: &str) -> String {
    let expanded: Vec<String> = text.lines().map(expand_tabs).collect();
    let indent = |line: &String| line.len() - line.trim_start().len();
    let margin = expanded.iter().skip(1).filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    let cleaned = expanded.iter().enumerate().map(|(number, line)| match number {
        0 => line.trim_start(),
        _ => line.get(margin..).unwrap_or_default(),
    });
    let lines: Vec<&str> = cleaned.collect();
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    let last = lines.iter().rposition(|line| !line.is_empty()).map_or(first, |last| last + 1);
    lines[first..last].join("\n")
}

fn expand_tabs(line: &str) -> String {
    let mut expanded = String::with_capacity(line.len());
    for letter in line.chars() {
        match letter {
            '\t' => expanded.push_str(&" ".repeat(8 - expanded.chars().count() % 8)),
            letter => expanded.push(letter),
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_pydantic_writes_them() {
        let cases = [
            (300.0, "PT5M"),
            (86_400.0, "P1D"),
            (86_700.5, "P1DT5M0.5S"),
            (0.0, "PT0S"),
            (90_001.0, "P1DT1H1S"),
            (-5.0, "-PT5S"),
            (34_560_000.0, "P1Y35D"),
            (0.000_001, "PT0.000001S"),
            (7200.0, "PT2H"),
        ];
        for (seconds, text) in cases {
            assert_eq!(iso_duration(seconds), text);
        }
        let delta = json!({"__type": "TimeDelta", "days": -1, "seconds": 86_395, "microseconds": 0});
        assert_eq!(time_delta(-5.0), delta);
    }

    #[test]
    fn documentation_loses_its_common_indentation() {
        assert_eq!(clean_doc("# A\n\n    text\n      more\n    "), "# A\n\ntext\n  more");
        assert_eq!(clean_doc("\n    one\n\ttwo\n"), "one\n    two");
    }

    #[test]
    fn wrapped_values_are_written_as_text() {
        let value = json!({"__type": "dict", "__var": {
            "start": {"__type": "datetime", "__var": 0.0},
            "delay": {"__type": "timedelta", "__var": 60.0},
            "plain": [1, "a"],
        }});
        assert_eq!(written(&value), json!({"start": "1970-01-01T00:00:00Z", "delay": "PT1M", "plain": [1, "a"]}));
    }
}
