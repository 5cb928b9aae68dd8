//! What templates know: the facts of a task instance, and the names under which Airflow gives them.

use jiff::Timestamp;
use model::{DagRun, Json, Task, TaskInstance};

use crate::error::Outcome;
use crate::lookups::{Lookups, PreviousRun};
use crate::time::DateTime;
use crate::value::{Object, Value};

/// All that a template can read. Nothing in it depends on the time at which it is rendered.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub run: &'a DagRun,
    pub task_instance: &'a TaskInstance,
    pub task: &'a Task,
    /// The values of all params of the Dag and the task, with those of the run's `conf` in place: an object.
    pub params: &'a Json,
    pub facts: Facts<'a>,
    pub lookups: &'a dyn Lookups,
}

/// Facts that few templates ask for.
#[derive(Clone, Copy, Default, Debug)]
pub struct Facts<'a> {
    /// How often the current try was rescheduled.
    pub task_reschedule_count: u32,
    pub partition_key: Option<&'a str>,
    pub partition_date: Option<Timestamp>,
    pub team_name: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// A context with the [`Facts`] that are known of the run.
    pub fn new(
        run: &'a DagRun,
        task_instance: &'a TaskInstance,
        task: &'a Task,
        params: &'a Json,
        lookups: &'a dyn Lookups,
    ) -> Self {
        let facts = Facts {
            partition_key: run.partition.as_ref().map(|partition| partition.key.as_str()),
            partition_date: run.partition.as_ref().and_then(|partition| partition.date),
            ..Facts::default()
        };
        Self { run, task_instance, task, params, facts, lookups }
    }

    /// The value of a name; `None` where the context has no such name, as that of a run without a logical date has
    /// no `ds`.
    pub(crate) fn name(&self, name: &str, previous: impl FnOnce() -> Outcome<PreviousRun>) -> Option<Outcome<Value>> {
        let proxy = |pick: fn(PreviousRun) -> Option<Timestamp>| {
            Some(previous().map(|run| Value::Proxy(pick(run).map(DateTime::pendulum))))
        };
        let value = match name {
            "dag" => Value::Object(Object::Dag),
            "dag_run" => Value::Object(Object::DagRun),
            "task" => Value::Object(Object::Task),
            "task_instance" | "ti" => Value::Object(Object::TaskInstance),
            "macros" => Value::Object(Object::Macros),
            "var" => Value::Object(Object::Var),
            "conn" => Value::Object(Object::Conn),
            "params" => return Some(Value::from_json(self.params)),
            "run_id" => Value::str(self.run.key.run_id.as_str()),
            "partition_key" => Value::optional_str(self.facts.partition_key),
            "partition_date" => optional_moment(self.facts.partition_date),
            "task_reschedule_count" => Value::Int(self.facts.task_reschedule_count.into()),
            "task_instance_key_str" => Value::str(self.key_text()),
            "prev_start_date_success" => return proxy(|run| run.start_date),
            "prev_end_date_success" => return proxy(|run| run.end_date),
            "prev_data_interval_start_success" => {
                self.run.logical_date?;
                return proxy(|run| run.data_interval_start);
            }
            "prev_data_interval_end_success" => {
                self.run.logical_date?;
                return proxy(|run| run.data_interval_end);
            }
            _ => self.dated(name, self.run.logical_date?)?,
        };
        Some(Ok(value))
    }

    /// The names that only runs with a logical date have.
    fn dated(&self, name: &str, logical_date: Timestamp) -> Option<Value> {
        let interval = self.run.data_interval;
        let moment = DateTime::pendulum(logical_date);
        let ts = || moment.text('T');
        Some(match name {
            "logical_date" => Value::DateTime(moment),
            "data_interval_start" => optional_moment(interval.map(|interval| interval.start)),
            "data_interval_end" => optional_moment(interval.map(|interval| interval.end)),
            "ds" => Value::str(&ts()[..10]),
            "ds_nodash" => Value::str(ts()[..10].replace('-', "")),
            "ts" => Value::str(ts()),
            "ts_nodash" => Value::str(ts()[..19].replace(['-', ':'], "")),
            "ts_nodash_with_tz" => Value::str(ts().replace(['-', ':'], "")),
            _ => return None,
        })
    }

    fn key_text(&self) -> String {
        let ds_nodash = self.run.logical_date.map(|date| DateTime::pendulum(date).text('T')[..10].replace('-', ""));
        let last = ds_nodash.as_deref().unwrap_or_else(|| self.run.key.run_id.as_str());
        format!("{}__{}__{last}", self.run.key.dag_id, self.task.task_id)
    }
}

fn optional_moment(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::None, |moment| Value::DateTime(DateTime::pendulum(moment)))
}
