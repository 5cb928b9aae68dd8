//! The tasks of Dags.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::State;
use model::DagId;
use serde::Serialize;
use serde_json::{Value, json};

use super::dags::{known_dag, version_of};
use super::serialized::{Encoded, time_delta};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::Moment;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/dags/{dag_id}/tasks", Access::ReadDags, list).get(
        "/dags/{dag_id}/tasks/{task_id}",
        Access::ReadDags,
        get,
    )
}

/// `TaskResponse`.
#[derive(Clone, Serialize)]
struct TaskResponse {
    task_id: String,
    task_display_name: String,
    owner: String,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    trigger_rule: String,
    depends_on_past: bool,
    wait_for_downstream: bool,
    retries: f64,
    queue: String,
    pool: String,
    pool_slots: f64,
    execution_timeout: Option<Value>,
    retry_delay: Value,
    retry_exponential_backoff: f64,
    priority_weight: f64,
    weight_rule: String,
    ui_color: String,
    ui_fgcolor: String,
    template_fields: Vec<String>,
    downstream_task_ids: Vec<String>,
    doc_md: Option<String>,
    operator_name: String,
    params: serde_json::Map<String, Value>,
    class_ref: Value,
    is_mapped: bool,
    extra_links: [(); 0],
}

/// `TaskCollectionResponse`.
#[derive(Serialize)]
struct TaskCollection {
    tasks: Vec<TaskResponse>,
    total_entries: usize,
}

/// `BaseOperator`'s defaults, which the serialized form leaves out.
const RETRY_DELAY_SECONDS: f64 = 300.0;

impl TaskResponse {
    fn new(task: Encoded<'_>, dag: Encoded<'_>) -> Self {
        let task_id = task.text("task_id").unwrap_or_default();
        let class_name = task.text("task_type").unwrap_or_else(|| "BaseOperator".into());
        let or = |name: &str, default: &str| task.text(name).unwrap_or_else(|| default.to_owned());
        let flag = |name: &str| task.flag(name).unwrap_or(false);
        let number = |name: &str, default: f64| task.number(name).unwrap_or(default);
        let mut downstream_task_ids = task.texts("downstream_task_ids").unwrap_or_default();
        downstream_task_ids.sort_unstable();
        Self {
            task_display_name: task
                .text("_task_display_name")
                .or_else(|| task.text("task_display_name"))
                .unwrap_or_else(|| task_id.clone()),
            task_id,
            owner: or("owner", "airflow"),
            start_date: task.moment("start_date").or_else(|| dag.moment("start_date")),
            end_date: task.moment("end_date").or_else(|| dag.moment("end_date")),
            trigger_rule: or("trigger_rule", "all_success"),
            depends_on_past: flag("depends_on_past"),
            wait_for_downstream: flag("wait_for_downstream"),
            retries: number("retries", 0.0),
            queue: or("queue", "default"),
            pool: or("pool", "default_pool"),
            pool_slots: number("pool_slots", 1.0),
            execution_timeout: task.number("execution_timeout").map(time_delta),
            retry_delay: time_delta(number("retry_delay", RETRY_DELAY_SECONDS)),
            retry_exponential_backoff: number("retry_exponential_backoff", 0.0),
            priority_weight: number("priority_weight", 1.0),
            weight_rule: or("weight_rule", "downstream"),
            ui_color: or("ui_color", "#fff"),
            ui_fgcolor: or("ui_fgcolor", "#000"),
            template_fields: task.texts("template_fields").unwrap_or_default(),
            downstream_task_ids,
            doc_md: task.text("doc_md"),
            operator_name: task.text("_operator_name").unwrap_or_else(|| class_name.clone()),
            params: task.params(),
            class_ref: json!({"module_path": task.text("_task_module"), "class_name": class_name}),
            is_mapped: flag("_is_mapped"),
            extra_links: [],
        }
    }

    /// What the list may be ordered by.
    fn sort_key(&self, name: &str) -> Option<Key> {
        let moment = |at: &Option<Moment>| Key::Moment(at.map(|at| at.0));
        let seconds = |delta: &Value| {
            let part = |name: &str| delta.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            part("days") * 86_400.0 + part("seconds") + part("microseconds") / 1e6
        };
        Some(match name {
            "task_id" => Key::Text(self.task_id.clone()),
            "task_display_name" => Key::Text(self.task_display_name.clone()),
            "owner" => Key::Text(self.owner.clone()),
            "start_date" => moment(&self.start_date),
            "end_date" => moment(&self.end_date),
            "trigger_rule" => Key::Text(self.trigger_rule.clone()),
            "depends_on_past" => Key::Number(Some(f64::from(u8::from(self.depends_on_past)))),
            "wait_for_downstream" => Key::Number(Some(f64::from(u8::from(self.wait_for_downstream)))),
            "retries" => Key::Number(Some(self.retries)),
            "queue" => Key::Text(self.queue.clone()),
            "pool" => Key::Text(self.pool.clone()),
            "pool_slots" => Key::Number(Some(self.pool_slots)),
            "execution_timeout" => Key::Number(self.execution_timeout.as_ref().map(seconds)),
            "retry_delay" => Key::Number(Some(seconds(&self.retry_delay))),
            "retry_exponential_backoff" => Key::Number(Some(self.retry_exponential_backoff)),
            "priority_weight" => Key::Number(Some(self.priority_weight)),
            "weight_rule" => Key::Text(self.weight_rule.clone()),
            "ui_color" => Key::Text(self.ui_color.clone()),
            "ui_fgcolor" => Key::Text(self.ui_fgcolor.clone()),
            "operator_name" => Key::Text(self.operator_name.clone()),
            _ => return None,
        })
    }
}

/// A value to order by; what is missing comes last.
#[derive(PartialEq)]
enum Key {
    Text(String),
    Number(Option<f64>),
    Moment(Option<jiff::Timestamp>),
}

impl Key {
    fn compare(&self, other: &Key) -> Ordering {
        fn missing_last<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Ordering {
            match (a, b) {
                (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
                (a, b) => a.is_none().cmp(&b.is_none()),
            }
        }
        match (self, other) {
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (Key::Number(a), Key::Number(b)) => missing_last(*a, *b),
            (Key::Moment(a), Key::Moment(b)) => missing_last(*a, *b),
            _ => Ordering::Equal,
        }
    }
}

/// The tasks of a Dag as it is now.
async fn tasks_of(state: &ApiState, args: &Args) -> Result<Vec<TaskResponse>, ApiError> {
    let dag_id = DagId::from(args.path("dag_id"));
    state
        .read(move |store| {
            let version = version_of(store, &known_dag(store, &dag_id)?)?;
            let dag = Encoded::dag(&version.serialized);
            Ok(dag.tasks().map(|task| TaskResponse::new(task, dag)).collect())
        })
        .await
}

async fn list(State(state): State<ApiState>, args: Args) -> ApiResult<TaskCollection> {
    let order_by = args.text("order_by").unwrap_or_else(|| "task_id".into());
    let name = order_by.trim_start_matches('-');
    let mut keyed: Vec<(Key, TaskResponse)> = Vec::new();
    for task in tasks_of(&state, &args).await? {
        keyed.push((task.sort_key(name).ok_or_else(|| crate::order::disallowed(name))?, task));
    }
    // Python's sort keeps the order of equals, backwards too.
    if order_by.starts_with('-') {
        keyed.sort_by(|(a, _), (b, _)| b.compare(a));
    } else {
        keyed.sort_by(|(a, _), (b, _)| a.compare(b));
    }
    let tasks: Vec<TaskResponse> = keyed.into_iter().map(|(_, task)| task).collect();
    Ok(Json(TaskCollection { total_entries: tasks.len(), tasks }))
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<TaskResponse> {
    let task_id = args.path("task_id");
    let found = tasks_of(&state, &args).await?.into_iter().find(|task| task.task_id == task_id);
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("Task with id {task_id} was not found")))
}
