//! Messages of the task protocol, as far as the engine acts on them (`comms.py`, schema of 2026-06-16).

use std::sync::Arc;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use model::{Asset, AssetEvent, AssetUpdate, DagRun, Json, MapIndex, RunKey, TaskId, TaskInstance, TaskInstanceId};
use serde::Deserialize;
use serde_json::json;

/// What a child asks for or reports.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum ToSupervisor {
    TaskState {
        state: EndState,
        #[serde(default)]
        end_date: Option<Timestamp>,
        #[serde(default)]
        rendered_map_index: Option<String>,
    },
    SucceedTask {
        #[serde(default)]
        end_date: Option<Timestamp>,
        #[serde(default)]
        task_outlets: Option<Vec<Json>>,
        #[serde(default)]
        outlet_events: Option<Vec<Json>>,
        #[serde(default)]
        rendered_map_index: Option<String>,
    },
    RetryTask {
        #[serde(default)]
        end_date: Option<Timestamp>,
        #[serde(default)]
        rendered_map_index: Option<String>,
        #[serde(default)]
        retry_delay_seconds: Option<f64>,
        #[serde(default)]
        retry_reason: Option<String>,
    },
    RescheduleTask {
        reschedule_date: Timestamp,
        #[serde(default)]
        end_date: Option<Timestamp>,
    },
    DeferTask(Deferral),
    AwaitInputTask(AwaitedInput),
    SkipDownstreamTasks {
        tasks: Vec<SkippedTask>,
    },
    GetXCom(XComRequest),
    GetXComCount(XComRequest),
    GetXComSequenceItem {
        #[serde(flatten)]
        xcom: XComRequest,
        offset: i64,
    },
    GetXComSequenceSlice {
        #[serde(flatten)]
        xcom: XComRequest,
        start: Option<i64>,
        stop: Option<i64>,
        step: Option<i64>,
    },
    SetXCom {
        #[serde(flatten)]
        xcom: XComRequest,
        value: Json,
        #[serde(default)]
        dag_result: bool,
        #[serde(default)]
        mapped_length: Option<u32>,
    },
    DeleteXCom(XComRequest),
    GetVariable {
        key: String,
    },
    GetVariableKeys {
        #[serde(default)]
        prefix: Option<String>,
        #[serde(default)]
        limit: Option<u64>,
        #[serde(default)]
        offset: Option<u64>,
    },
    PutVariable {
        key: String,
        value: Option<String>,
        #[serde(default)]
        description: Option<String>,
    },
    DeleteVariable {
        key: String,
    },
    GetConnection {
        conn_id: String,
    },
    SetRenderedFields {
        rendered_fields: Json,
    },
    SetRenderedMapIndex {
        rendered_map_index: String,
    },
    MaskSecret {
        value: Json,
        #[serde(default)]
        name: Option<String>,
    },
    ResendLoggingFD {},
    GetDagRun {
        dag_id: String,
        run_id: String,
    },
    GetDagRunState {
        dag_id: String,
        run_id: String,
    },
    GetPreviousDagRun {
        dag_id: String,
        logical_date: Timestamp,
        #[serde(default)]
        state: Option<String>,
    },
    GetPrevSuccessfulDagRun {},
    GetDRCount {
        dag_id: String,
        #[serde(default)]
        logical_dates: Option<Vec<Timestamp>>,
        #[serde(default)]
        run_ids: Option<Vec<String>>,
        #[serde(default)]
        states: Option<Vec<String>>,
    },
    GetTICount {
        #[serde(flatten)]
        filter: TaskFilter,
        #[serde(default)]
        states: Option<Vec<Option<String>>>,
    },
    GetTaskStates(TaskFilter),
    GetTaskBreadcrumbs {
        dag_id: String,
        run_id: String,
    },
    GetTaskRescheduleStartDate {},
    GetPreviousTI {
        dag_id: String,
        task_id: String,
        #[serde(default)]
        logical_date: Option<Timestamp>,
        #[serde(default = "not_mapped")]
        map_index: i32,
        #[serde(default)]
        state: Option<String>,
    },
    GetDag {
        dag_id: String,
    },
    TriggerDagRun {
        dag_id: String,
        run_id: String,
        #[serde(default)]
        logical_date: Option<Timestamp>,
        #[serde(default)]
        run_after: Option<Timestamp>,
        #[serde(default)]
        conf: Option<Json>,
        #[serde(default)]
        reset_dag_run: Option<bool>,
        #[serde(default)]
        note: Option<String>,
        #[serde(default)]
        partition_key: Option<String>,
    },
    ValidateInletsAndOutlets {},
    GetAssetByName {
        name: String,
    },
    GetAssetByUri {
        uri: String,
    },
    GetAssetsByAlias {
        alias_name: String,
    },
    GetAssetEventByAsset {
        name: Option<String>,
        uri: Option<String>,
        #[serde(default)]
        after: Option<Timestamp>,
        #[serde(default)]
        before: Option<Timestamp>,
        #[serde(default)]
        limit: Option<u64>,
        #[serde(default = "yes")]
        ascending: bool,
    },
    GetAssetEventByAssetAlias {
        alias_name: String,
        #[serde(default)]
        after: Option<Timestamp>,
        #[serde(default)]
        before: Option<Timestamp>,
        #[serde(default)]
        limit: Option<u64>,
        #[serde(default = "yes")]
        ascending: bool,
    },
    GetTaskStateStore {
        key: String,
    },
    SetTaskStateStore {
        key: String,
        value: Json,
        #[serde(default)]
        expires_at: Option<Timestamp>,
    },
    DeleteTaskStateStore {
        key: String,
    },
    ClearTaskStateStore {},
    GetAssetStateStoreByName {
        name: String,
        key: String,
    },
    GetAssetStateStoreByUri {
        uri: String,
        key: String,
    },
    SetAssetStateStoreByName {
        name: String,
        key: String,
        value: Json,
    },
    SetAssetStateStoreByUri {
        uri: String,
        key: String,
        value: Json,
    },
    DeleteAssetStateStoreByName {
        name: String,
        key: String,
    },
    DeleteAssetStateStoreByUri {
        uri: String,
        key: String,
    },
    ClearAssetStateStoreByName {
        name: String,
    },
    ClearAssetStateStoreByUri {
        uri: String,
    },
    CreateHITLDetailPayload(HitlRequest),
    /// Of a trigger.
    GetHITLDetailResponse {
        #[serde(deserialize_with = "id")]
        ti_id: TaskInstanceId,
    },
    /// Of a trigger.
    UpdateHITLDetail {
        #[serde(deserialize_with = "id")]
        ti_id: TaskInstanceId,
        chosen_options: Vec<String>,
        #[serde(default = "empty")]
        params_input: Json,
    },
}

/// What a task asks people.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct HitlRequest {
    pub options: Vec<String>,
    pub subject: String,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub defaults: Option<Vec<String>>,
    #[serde(default)]
    pub multiple: Option<bool>,
    #[serde(default)]
    pub params: Option<Json>,
    #[serde(default)]
    pub assigned_users: Option<Vec<AssignedUser>>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct AssignedUser {
    pub id: String,
    pub name: String,
}

/// A task that leaves its process and waits for a person.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct AwaitedInput {
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<SignedDuration>,
    pub next_method: String,
    #[serde(default)]
    pub next_kwargs: Option<Json>,
    #[serde(default)]
    pub rendered_map_index: Option<String>,
}

/// A task that leaves its process and waits for a trigger.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Deferral {
    pub classpath: String,
    #[serde(default = "empty")]
    pub trigger_kwargs: Json,
    #[serde(default, deserialize_with = "duration")]
    pub trigger_timeout: Option<SignedDuration>,
    #[serde(default)]
    pub queue: Option<String>,
    pub next_method: String,
    #[serde(default = "empty")]
    pub next_kwargs: Json,
    #[serde(default)]
    pub rendered_map_index: Option<String>,
}

fn empty() -> Json {
    json!({})
}

/// An ISO 8601 duration, as msgspec writes `timedelta`.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SignedDuration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let read = |text: &str| text.parse::<Span>()?.to_duration(SpanRelativeTo::days_are_24_hours());
    read(&text).map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?} is no duration: {error}")))
}

fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TaskInstanceId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(TaskInstanceId).map_err(|error| serde::de::Error::custom(format!("{text:?} is no UUID: {error}")))
}

fn yes() -> bool {
    true
}

fn not_mapped() -> i32 {
    -1
}

/// The states that a child may give itself without a message of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndState {
    Failed,
    Skipped,
    Removed,
}

/// A task, or one instance of a mapped task.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub enum SkippedTask {
    Task(String),
    Instance(String, i32),
}

impl SkippedTask {
    pub fn parts(self) -> (TaskId, MapIndex) {
        match self {
            SkippedTask::Task(task_id) => (TaskId::from(task_id), MapIndex::NONE),
            SkippedTask::Instance(task_id, map_index) => (TaskId::from(task_id), MapIndex(map_index)),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct XComRequest {
    pub key: String,
    pub dag_id: String,
    pub run_id: String,
    pub task_id: String,
    #[serde(default)]
    pub map_index: Option<i32>,
    #[serde(default)]
    pub include_prior_dates: bool,
}

impl XComRequest {
    pub fn run(&self) -> RunKey {
        RunKey::new(self.dag_id.as_str(), self.run_id.as_str())
    }

    pub fn task_id(&self) -> TaskId {
        TaskId::from(self.task_id.as_str())
    }

    /// An index below zero stands for none, as it does in the SDK's client.
    pub fn map_index(&self) -> MapIndex {
        MapIndex(self.map_index.filter(|index| *index >= 0).unwrap_or(-1))
    }
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct TaskFilter {
    pub dag_id: String,
    #[serde(default)]
    pub map_index: Option<i32>,
    #[serde(default)]
    pub task_ids: Option<Vec<String>>,
    #[serde(default)]
    pub task_group_id: Option<String>,
    #[serde(default)]
    pub logical_dates: Option<Vec<Timestamp>>,
    #[serde(default)]
    pub run_ids: Option<Vec<String>>,
}

/// The kinds of errors that the SDK knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorType {
    ConnectionNotFound,
    VariableNotFound,
    XComNotFound,
    AssetNotFound,
    TaskStoreNotFound,
    AssetStoreNotFound,
    DagRunAlreadyExists,
    ApiServerError,
}

impl ErrorType {
    pub fn name(self) -> &'static str {
        match self {
            ErrorType::ConnectionNotFound => "CONNECTION_NOT_FOUND",
            ErrorType::VariableNotFound => "VARIABLE_NOT_FOUND",
            ErrorType::XComNotFound => "XCOM_NOT_FOUND",
            ErrorType::AssetNotFound => "ASSET_NOT_FOUND",
            ErrorType::TaskStoreNotFound => "TASK_STORE_NOT_FOUND",
            ErrorType::AssetStoreNotFound => "ASSET_STORE_NOT_FOUND",
            ErrorType::DagRunAlreadyExists => "DAGRUN_ALREADY_EXISTS",
            ErrorType::ApiServerError => "API_SERVER_ERROR",
        }
    }

    /// As a message: the SDK hands it to its caller, who decides.
    pub fn response(self, detail: Json) -> Json {
        json!({"type": "ErrorResponse", "error": self.name(), "detail": detail})
    }
}

/// An error that the SDK raises, with a status like that of an HTTP answer and a message for people.
pub fn server_error(status: u16, message: &str) -> Json {
    ErrorType::ApiServerError.response(json!({"status_code": status, "message": message}))
}

/// A moment as the SDK reads it.
pub fn moment(at: Option<Timestamp>) -> Json {
    at.map_or(Json::Null, |at| Json::from(at.to_string()))
}

/// An asset as tasks see it.
pub fn asset_fields(asset: &Asset) -> Json {
    json!({"name": asset.key.name, "uri": asset.key.uri, "group": asset.group, "extra": asset.extra})
}

/// An event as the tasks of the run see it that was made of it.
fn consumed_event_fields(event: &AssetEvent) -> Json {
    let AssetUpdate { asset, extra, aliases, partition, .. } = &event.update;
    let source = event.source.as_ref();
    json!({
        "asset": {"name": asset.key.name, "uri": asset.key.uri, "extra": asset.extra},
        "extra": extra,
        "source_task_id": source.map(|source| source.task_id.as_str()),
        "source_dag_id": source.map(|source| source.run.dag_id.as_str()),
        "source_run_id": source.map(|source| source.run.run_id.as_str()),
        "source_map_index": source.map(|source| source.map_index.0),
        "source_aliases": aliases.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "timestamp": event.at.to_string(),
        "partition_key": partition.as_ref().map(|partition| &partition.key),
    })
}

/// A run as tasks see it. `consumed` are the events that it was made of.
pub fn dag_run_fields(run: &DagRun, consumed: &[AssetEvent]) -> Json {
    json!({
        "dag_id": run.key.dag_id.as_str(),
        "run_id": run.key.run_id.as_str(),
        "logical_date": moment(run.logical_date),
        "data_interval_start": moment(run.data_interval.map(|interval| interval.start)),
        "data_interval_end": moment(run.data_interval.map(|interval| interval.end)),
        "run_after": moment(Some(run.run_after)),
        "start_date": moment(run.start_date),
        "end_date": moment(run.end_date),
        "clear_number": run.clear_number,
        "run_type": run.run_type.name(),
        "state": run.state.name(),
        "conf": &*run.conf,
        "triggering_user_name": run.triggering_user,
        "consumed_asset_events": consumed.iter().map(consumed_event_fields).collect::<Vec<_>>(),
        "partition_key": run.partition.as_ref().map(|partition| &partition.key),
        "partition_date": moment(run.partition.as_ref().and_then(|partition| partition.date)),
        "note": run.note,
        "team_name": null,
    })
}

/// A task instance as its own process sees it.
pub fn task_instance_fields(ti: &TaskInstance, hostname: &str) -> Json {
    json!({
        "id": ti.id.to_string(),
        "task_id": ti.task_id.as_str(),
        "dag_id": ti.run.dag_id.as_str(),
        "run_id": ti.run.run_id.as_str(),
        "try_number": ti.try_number,
        "dag_version_id": ti.version.to_string(),
        "map_index": ti.map_index.0,
        "hostname": hostname,
        "context_carrier": {},
        "queue": &*ti.queue,
    })
}

/// What an attempt is told when it starts.
#[derive(Clone, Debug)]
pub struct Startup {
    pub ti: TaskInstance,
    pub run: DagRun,
    pub hostname: Arc<str>,
    pub bundle_name: String,
    pub bundle_version: Option<String>,
    pub dag_rel_path: String,
    pub start_date: Timestamp,
    pub should_retry: bool,
    pub task_reschedule_count: u32,
    pub xcom_keys_to_clear: Vec<String>,
    pub consumed_asset_events: Vec<AssetEvent>,
    /// The method that goes on, and its arguments, if the task was suspended.
    pub next: Option<(String, Json)>,
}

impl Startup {
    pub fn message(&self) -> Json {
        let ti = &self.ti;
        let mut message = json!({
            "type": "StartupDetails",
            "ti": task_instance_fields(ti, &self.hostname),
            "dag_rel_path": self.dag_rel_path,
            "bundle_info": {"name": self.bundle_name, "version": self.bundle_version},
            "start_date": self.start_date.to_string(),
            "sentry_integration": "",
            "ti_context": {
                "dag_run": dag_run_fields(&self.run, &self.consumed_asset_events),
                "task_reschedule_count": self.task_reschedule_count,
                "max_tries": ti.max_tries,
                "variables": [],
                "connections": [],
                "xcom_keys_to_clear": self.xcom_keys_to_clear,
                "should_retry": self.should_retry,
            },
        });
        if let Some((method, kwargs)) = &self.next {
            message["ti_context"]["next_method"] = method.as_str().into();
            message["ti_context"]["next_kwargs"] = kwargs.clone();
            message["ti_context"]["start_date"] = moment(ti.start_date);
        }
        message
    }
}
