//! The attributes and methods of what Airflow gives to templates.

use std::rc::Rc;

use jiff::Timestamp;
use model::{DagRunState, Json, MapIndex, RunType, TaskState};

use crate::args::{Arguments, required};
use crate::builtins::{self, loads};
use crate::context::Context;
use crate::error::{Outcome, needs_python, raise};
use crate::lookups::XComQuery;
use crate::time::{DateTime, datetime_from_arguments, timedelta_from_arguments};
use crate::value::{EnumMember, Object, Value, as_int, is_true, iterate};

/// `object.name`, where it is not a method; `None` where there is no such attribute here.
pub(crate) fn attribute(context: &Context<'_>, object: &Object, name: &str) -> Option<Outcome<Value>> {
    match object {
        Object::DagRun => dag_run(context, name),
        Object::TaskInstance => task_instance(context, name),
        Object::Task => task(context, name),
        Object::Dag => (name == "dag_id").then(|| Ok(Value::str(context.run.key.dag_id.as_str()))),
        Object::Var => match name {
            "value" => Some(Ok(Value::Object(Object::VarValue))),
            "json" => Some(Ok(Value::Object(Object::VarJson))),
            _ => None,
        },
        Object::VarValue | Object::VarJson => Some(variable(context, object, name).and_then(|found| match found {
            Some(value) => Ok(value),
            None => {
                raise("AirflowRuntimeError", format!("VARIABLE_NOT_FOUND: {{'message': 'Variable {name} not found'}}"))
            }
        })),
        Object::Conn => Some(connection(context, name).and_then(|found| match found {
            Some(value) => Ok(value),
            None => raise("AirflowNotFoundException", format!("The conn_id `{name}` isn't defined")),
        })),
        Object::Connection(connection) => connection.attribute(name),
        Object::Macros => match name {
            "datetime" => Some(Ok(Value::Object(Object::DatetimeClass))),
            "json" => Some(Ok(Value::Object(Object::JsonModule))),
            _ => None,
        },
        Object::DatetimeClass | Object::JsonModule | Object::Loop(_) | Object::Namespace(_) => None,
    }
}

/// `object.name(...)`; `None` where there is no such method here.
pub(crate) fn call(context: &Context<'_>, object: &Object, name: &str, arguments: Arguments) -> Option<Outcome<Value>> {
    Some(match (object, name) {
        (Object::TaskInstance, "xcom_pull") => xcom_pull(context, arguments),
        (Object::VarValue | Object::VarJson, "get") => arguments.bind(["key", "default"]).and_then(|[key, default]| {
            let found = variable(context, object, &name_of(key)?)?;
            Ok(found.or(default).unwrap_or(Value::NotSet))
        }),
        (Object::Conn, "get") => arguments.bind(["conn_id", "default_conn"]).and_then(|[conn_id, default]| {
            Ok(connection(context, &name_of(conn_id)?)?.or(default).unwrap_or(Value::None))
        }),
        (Object::Connection(connection), "get_uri") => arguments.none().and_then(|()| connection.uri()).map(Value::str),
        (Object::Macros, "ds_add") => builtins::ds_add(arguments),
        (Object::Macros, "ds_format") => builtins::ds_format(arguments),
        (Object::Macros, "datetime") => datetime_from_arguments(arguments),
        (Object::Macros, "timedelta") => timedelta_from_arguments(arguments),
        (Object::DatetimeClass, "strptime") => builtins::strptime_call(arguments),
        (Object::JsonModule, "dumps") => builtins::json_dumps(arguments),
        (Object::JsonModule, "loads") => builtins::json_loads(arguments),
        _ => return None,
    })
}

/// `str(object)`, where it is known.
pub(crate) fn text(context: &Context<'_>, object: &Object) -> Option<String> {
    match object {
        Object::Dag => Some(format!("<DAG: {}>", context.run.key.dag_id)),
        Object::Task => Some(format!("<Task({}): {}>", context.task.operator, context.task.task_id)),
        _ => None,
    }
}

fn name_of(value: Option<Value>) -> Outcome<String> {
    match required(value)? {
        Value::Str(text) => Ok(text.to_string()),
        other => needs_python(format!("a name that is a {}", other.type_name())),
    }
}

fn standard(moment: Option<Timestamp>) -> Value {
    moment.map_or(Value::None, |moment| Value::DateTime(DateTime::standard(moment)))
}

fn dag_run(context: &Context<'_>, name: &str) -> Option<Outcome<Value>> {
    let run = context.run;
    Some(Ok(match name {
        "dag_id" => Value::str(run.key.dag_id.as_str()),
        "run_id" => Value::str(run.key.run_id.as_str()),
        "logical_date" => standard(run.logical_date),
        "data_interval_start" => standard(run.data_interval.map(|interval| interval.start)),
        "data_interval_end" => standard(run.data_interval.map(|interval| interval.end)),
        "run_after" => standard(Some(run.run_after)),
        "start_date" => standard(run.start_date),
        "end_date" => standard(run.end_date),
        "clear_number" => Value::Int(run.clear_number.into()),
        "run_type" => Value::Enum(run_type(run.run_type)),
        "state" => Value::Enum(run_state(run.state)),
        "conf" => return Some(Value::from_json(&run.conf)),
        "triggering_user_name" => Value::optional_str(run.triggering_user.as_deref()),
        "partition_key" => Value::optional_str(context.facts.partition_key),
        "partition_date" => standard(context.facts.partition_date),
        "note" => Value::optional_str(run.note.as_deref()),
        "team_name" => Value::optional_str(context.facts.team_name),
        _ => return None,
    }))
}

fn task_instance(context: &Context<'_>, name: &str) -> Option<Outcome<Value>> {
    let instance = context.task_instance;
    Some(Ok(match name {
        "dag_id" => Value::str(instance.run.dag_id.as_str()),
        "run_id" => Value::str(instance.run.run_id.as_str()),
        "task_id" => Value::str(instance.task_id.as_str()),
        "try_number" => Value::Int(instance.try_number.into()),
        "max_tries" => Value::Int(instance.max_tries.into()),
        "map_index" => Value::Int(instance.map_index.0.into()),
        "start_date" => match instance.start_date {
            Some(moment) => standard(Some(moment)),
            None => return Some(needs_python("a task instance that has not started")),
        },
        "hostname" => match &instance.hostname {
            Some(name) => Value::str(&**name),
            None => return Some(needs_python("a task instance without a host")),
        },
        // A template is rendered by the process of the task, which says of itself that it runs.
        "state" => Value::Enum(running()),
        "task" => Value::Object(Object::Task),
        _ => return None,
    }))
}

fn task(context: &Context<'_>, name: &str) -> Option<Outcome<Value>> {
    let task = context.task;
    Some(Ok(match name {
        "task_id" => Value::str(task.task_id.as_str()),
        "dag_id" => Value::str(context.run.key.dag_id.as_str()),
        "owner" => Value::str(task.owner.as_str()),
        "task_type" => Value::str(task.operator.as_str()),
        "retries" => Value::Int(task.retries.into()),
        "pool" => Value::str(task.pool.as_str()),
        "pool_slots" => Value::Int(task.pool_slots.into()),
        "queue" => Value::str(task.queue.as_str()),
        "priority_weight" => Value::Int(task.priority_weight.into()),
        "depends_on_past" => Value::Bool(task.depends_on_past),
        "dag" => Value::Object(Object::Dag),
        _ => return None,
    }))
}

fn variable(context: &Context<'_>, object: &Object, key: &str) -> Outcome<Option<Value>> {
    let Some(text) = context.lookups.variable(key)? else {
        return Ok(None);
    };
    match object {
        // A variable that is no JSON counts as missing: the SDK logs why and looks further.
        Object::VarJson => loads(&text),
        _ => Ok(Some(Value::str(text))),
    }
}

fn connection(context: &Context<'_>, conn_id: &str) -> Outcome<Option<Value>> {
    let found = context.lookups.connection(conn_id)?;
    Ok(found.map(|connection| Value::Object(Object::Connection(Rc::new(connection)))))
}

/// `ti.xcom_pull(...)`.
fn xcom_pull(context: &Context<'_>, mut arguments: Arguments) -> Outcome<Value> {
    // These can only be named.
    let mut named = |name: &str| {
        let at = arguments.named.iter().position(|(known, _)| known == name)?;
        Some(arguments.named.remove(at).1)
    };
    let (map_indexes, default, run_id) = (named("map_indexes"), named("default"), named("run_id"));
    let [task_ids, dag_id, key, prior] = arguments.bind(["task_ids", "dag_id", "key", "include_prior_dates"])?;
    let run = &context.task_instance.run;
    let text_or = |value: Option<Value>, otherwise: &str| match value {
        None | Some(Value::None) => Ok(otherwise.to_owned()),
        Some(Value::Str(text)) => Ok(text.to_string()),
        Some(other) => needs_python(format!("xcom_pull with a {}", other.type_name())),
    };
    let (dag_id, run_id) = (text_or(dag_id, run.dag_id.as_str())?, text_or(run_id, run.run_id.as_str())?);
    let key = match key {
        Some(Value::None) => return needs_python("xcom_pull without a key"),
        key => text_or(key, "return_value")?,
    };
    let include_prior_dates = prior.map_or(Ok(false), |prior| is_true(&prior))?;
    let one_task = matches!(task_ids, None | Some(Value::None | Value::Str(_)));
    let task_ids = match task_ids {
        None | Some(Value::None) => vec![context.task_instance.task_id.as_str().to_owned()],
        Some(Value::Str(task_id)) => vec![task_id.to_string()],
        Some(many) => iterate(&many)?.into_iter().map(|id| name_of(Some(id))).collect::<Outcome<_>>()?,
    };
    let query = |task_id, map_index| XComQuery {
        dag_id: &dag_id,
        run_id: &run_id,
        task_id,
        key: &key,
        map_index,
        include_prior_dates,
    };
    let mut pulled = Vec::new();
    let Some(map_indexes) = map_indexes else {
        for task_id in &task_ids {
            let values = context.lookups.xcoms(&query(task_id, None))?;
            if values.is_empty() {
                pulled.push(Value::None);
            }
            for value in &values {
                pulled.push(deserialized(value)?);
            }
        }
        return Ok(match (one_task, pulled.as_slice()) {
            (true, [only]) => only.clone(),
            _ => Value::list(pulled),
        });
    };
    let one_index = matches!(map_indexes, Value::None | Value::Int(_) | Value::Bool(_));
    let indexes = if one_index { vec![map_indexes] } else { iterate(&map_indexes)? };
    let default = default.unwrap_or(Value::None);
    for task_id in &task_ids {
        for index in &indexes {
            let found = context.lookups.xcom(&query(task_id, map_index(index)?))?;
            let value = found.as_ref().map_or(Ok(Value::None), deserialized)?;
            pulled.push(if matches!(value, Value::None) { default.clone() } else { value });
        }
    }
    Ok(match (one_task && one_index, pulled.as_slice()) {
        (true, [first, ..]) => first.clone(),
        _ => Value::list(pulled),
    })
}

fn map_index(index: &Value) -> Outcome<Option<i32>> {
    match (index, as_int(index).map(i32::try_from)) {
        (Value::None, _) => Ok(None),
        (_, Some(Ok(index))) => Ok(Some(index).filter(|index| MapIndex(*index).is_mapped() || *index == -1)),
        _ => needs_python("this map index"),
    }
}

/// An XCom's value as the SDK reads it. Objects of classes are left to Python.
fn deserialized(json: &Json) -> Outcome<Value> {
    fn has_object(json: &Json) -> bool {
        match json {
            Json::Array(items) => items.iter().any(has_object),
            Json::Object(entries) => {
                let is_object = (entries.contains_key("__classname__") && entries.contains_key("__version__"))
                    || (entries.contains_key("__type") && entries.contains_key("__var"));
                is_object || entries.values().any(has_object)
            }
            _ => false,
        }
    }
    if has_object(json) {
        return needs_python("an XCom that holds an object");
    }
    Value::from_json(json)
}

fn running() -> EnumMember {
    debug_assert_eq!(TaskState::Running.name(), Some("running"));
    EnumMember { class: "TaskInstanceState", name: "RUNNING", value: "running" }
}

fn run_state(state: DagRunState) -> EnumMember {
    let name = match state {
        DagRunState::Queued => "QUEUED",
        DagRunState::Running => "RUNNING",
        DagRunState::Success => "SUCCESS",
        DagRunState::Failed => "FAILED",
    };
    EnumMember { class: "DagRunState", name, value: state.name() }
}

fn run_type(run_type: RunType) -> EnumMember {
    let name = match run_type {
        RunType::Backfill => "BACKFILL",
        RunType::Scheduled => "SCHEDULED",
        RunType::Manual => "MANUAL",
        RunType::OperatorTriggered => "OPERATOR_TRIGGERED",
        RunType::AssetTriggered => "ASSET_TRIGGERED",
        RunType::AssetMaterialization => "ASSET_MATERIALIZATION",
    };
    EnumMember { class: "DagRunType", name, value: run_type.name() }
}
