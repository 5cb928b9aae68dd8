//! `…/taskInstances/{task_id}/logs/{try_number}`: what tasks have logged, also while they run.

mod message;
mod read;
mod stream;

use std::path::Path;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use model::{MapIndex, RunKey, TaskInstance, TaskInstanceKey, TaskState};
use serde_json::{Map, Value, json};
use store::Store;

use crate::args::Args;
use crate::error::ApiError;
use crate::parse::{self, Fault, Parsed};
use crate::routes::{Access, Routes};
use crate::signed;
use crate::state::ApiState;
use crate::wire::Moment;
use message::Form;
use read::{LogFile, Position};

const NOT_SIGNED: &str = "Bad Signature. Please use only the tokens provided by the API.";
const NDJSON: &str = "application/x-ndjson";
const TOKEN_HEADER: HeaderName = HeaderName::from_static("airflow-continuation-token");

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}", Access::ReadDags, get)
        .get(
            "/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/externalLogUrl/{try_number}",
            Access::ReadDags,
            external_url,
        )
}

/// The form that a client accepts.
fn form_of(headers: &HeaderMap) -> Result<Form, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    if accept.starts_with("*/*") || accept.starts_with("application/json") {
        Ok(Form::Json)
    } else if accept.starts_with(NDJSON) {
        Ok(Form::Lines)
    } else {
        let message = "Only application/json or application/x-ndjson is supported";
        Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, message))
    }
}

/// What a token says of the reading so far.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    download: bool,
    /// `None` at the beginning.
    position: Option<Position>,
}

impl Progress {
    fn from_token(token: &Value) -> Self {
        let position = token.get("log_pos").and_then(Value::as_u64).map(|lines| Position {
            lines,
            offset: token.get("offset").and_then(Value::as_u64).unwrap_or(0),
            last_millis: token.get("last").and_then(Value::as_i64),
        });
        let download = token.get("download_logs").and_then(Value::as_bool).unwrap_or(false);
        Self { download, position }
    }

    fn to_token(self, secret: &str) -> String {
        let mut token = json!({"download_logs": self.download});
        if let Some(Position { lines, offset, last_millis }) = self.position {
            token = json!({
                "end_of_log": false,
                "log_pos": lines,
                "offset": offset,
                "last": last_millis,
                "download_logs": self.download,
            });
        }
        signed::dumps(secret, &token)
    }
}

async fn get(State(state): State<ApiState>, headers: HeaderMap, mut args: Args) -> Result<Response, ApiError> {
    let form = form_of(&headers).unwrap_or_else(|error| {
        args.fail(error);
        Form::Json
    });
    let try_number = args.path_as("try_number", parse::natural);
    let full_content = args.or("full_content", false, parse::boolean);
    let map_index = args.or("map_index", -1, parse::integer);
    args.finish()?;
    let mut progress = Progress::default();
    if let Some(token) = args.text("token").filter(|token| !token.is_empty()) {
        let token = signed::loads(&state.config().secret_key, &token);
        progress = Progress::from_token(&token.ok_or_else(|| ApiError::bad_request(NOT_SIGNED))?);
    }
    progress.download |= full_content;
    let key = TaskInstanceKey {
        run: RunKey::new(args.path("dag_id"), args.path("dag_run_id")),
        task_id: args.path("task_id").into(),
        map_index: MapIndex(i32::try_from(map_index).unwrap_or(i32::MIN)),
    };
    let state_there = state.clone();
    let log = state.blocking(move || open(&state_there, &key, try_number, form, progress));
    Ok(log.await?.respond(&state, form, progress))
}

/// A log that can be read.
struct Log {
    /// What comes before the lines of the file, written out.
    head: Vec<String>,
    file: Option<LogFile>,
    /// Whether more may be written.
    goes_on: bool,
}

impl Log {
    fn respond(self, state: &ApiState, form: Form, progress: Progress) -> Response {
        match form {
            Form::Json => {
                let (secret, goes_on) = (state.config().secret_key.clone(), self.goes_on);
                let token = move |position: Position| {
                    let progress = Progress { position: Some(position), ..progress };
                    goes_on.then(|| progress.to_token(&secret))
                };
                let body = stream::json(self.head, self.file, token);
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
            }
            // As in Airflow: lines are always all there are, so the token is that of a beginning.
            Form::Lines => {
                let mut response = stream::lines(self.head, self.file).into_response();
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
                let token = Progress { position: None, ..progress }.to_token(&state.config().secret_key);
                if let Ok(token) = HeaderValue::from_str(&token) {
                    headers.insert(TOKEN_HEADER, token);
                }
                response
            }
        }
    }
}

/// Finds the log of a try. Blocks.
fn open(
    state: &ApiState,
    key: &TaskInstanceKey,
    try_number: u64,
    form: Form,
    progress: Progress,
) -> Result<Log, ApiError> {
    let ti = task_instance(state.store(), key, try_number)?;
    let ti = ti.ok_or_else(|| ApiError::not_found("TaskInstance not found"))?;
    if ti.try_number == 0 {
        return Ok(Log { head: no_log(&ti, form), file: None, goes_on: false });
    }
    let position = match form {
        Form::Json => progress.position,
        Form::Lines => None,
    };
    let goes_on = matches!(ti.state, TaskState::Running | TaskState::Deferred);
    let path = worker::log_path(state.log_folder(), &ti, ti.try_number);
    let file = LogFile::open(state.log_folder(), &path, position, !goes_on);
    let head = match position {
        Some(_) => Vec::new(),
        None => head_of(sources(&ti, &path, file.is_some()), form),
    };
    Ok(Log { head, file, goes_on })
}

/// The current try, or one before it.
fn task_instance(store: &dyn Store, key: &TaskInstanceKey, number: u64) -> Result<Option<TaskInstance>, ApiError> {
    match store.task_instance(key)? {
        Some(ti) if u64::from(ti.try_number) == number => Ok(Some(ti)),
        _ => {
            let tries = store.archived_tries(key)?.into_iter().rev().map(|try_| try_.task_instance);
            Ok(tries.into_iter().find(|ti| u64::from(ti.try_number) == number))
        }
    }
}

/// Where the lines come from, or why there are none.
fn sources(ti: &TaskInstance, path: &Path, found: bool) -> Vec<String> {
    let has_ended = ti.state.is_finished() || matches!(ti.state, TaskState::UpForRetry | TaskState::UpForReschedule);
    match ti.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
        _ if found => vec![path.display().to_string()],
        _ if !has_ended => Vec::new(),
        Some(hostname) => vec![format!(
            "Log file not found on worker '{hostname}'. This attempt may have run on a different worker whose logs are \
             no longer accessible. Consider configuring remote logging (S3, GCS, etc.) for log persistence."
        )],
        None => vec![
            "Could not read served logs: Hostname not available for worker. Please check your `hostname_callable` \
             configuration."
                .to_owned(),
        ],
    }
}

fn head_of(sources: Vec<String>, form: Form) -> Vec<String> {
    let opening = "::group::Log message source details".to_owned();
    let events = std::iter::once(opening).chain(sources).chain(["::endgroup::".to_owned()]);
    events.map(|event| message::event_only(&event, form)).collect()
}

/// What is said of a task instance that never had a try.
fn no_log(ti: &TaskInstance, form: Form) -> Vec<String> {
    let event = match ti.state {
        TaskState::Skipped => "Task was skipped — no logs available.",
        TaskState::UpstreamFailed => "Task did not run because upstream task(s) failed.",
        _ => "No logs available for this task.",
    };
    let at = ti.end_date.or(ti.start_date).or(ti.scheduled_at).unwrap_or_else(Timestamp::now);
    let at = Moment(model::operations::to_microseconds(at)).to_string();
    let mut head: Vec<String> = ["::group::Log message source details", "::endgroup::"]
        .iter()
        // Here Airflow shows that there is no moment, whatever the form.
        .map(|event| message::event_only(event, Form::Lines))
        .collect();
    head.push(message::written(Some(at), event, &Map::new(), form));
    head
}

/// Logs are kept where the server is.
async fn external_url(mut args: Args) -> Result<(), ApiError> {
    args.path_as("try_number", positive);
    args.finish()?;
    Err(ApiError::bad_request("Task log handler does not support external logs."))
}

fn positive(input: &Value) -> Parsed<i64> {
    match parse::integer(input)? {
        number if number <= 0 => Err(Fault::with("greater_than", "Input should be greater than 0", json!({"gt": 0}))),
        number => Ok(number),
    }
}
