//! What tasks ask people, and people's answers (human in the loop).

use axum::Json;
use axum::extract::State;
use engine::AnswerFailure;
use jiff::Timestamp;
use model::operations::to_microseconds;
use model::{DagId, HitlDetail, HitlRefusal, HitlResponse, HitlUser, RunId, RunKey, TaskInstance, TaskInstanceKey};
use serde::Serialize;
use serde_json::{Value, json};
use store::{HitlFilter, HitlOrder, TextFilter};

use super::tries::{TryResponse, tries_of};
use super::{PREFIX, TaskInstanceResponse, filter, key_of, narrow};
use crate::args::Args;
use crate::auth::User;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse::{self, Fault, python_list_repr};
use crate::rest::lookup::Lookup;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment};

pub(super) fn routes(routes: Routes) -> Routes {
    let of_task = format!("{PREFIX}/{{task_id}}/{{map_index}}/hitlDetails");
    routes
        .get(&of_task, Access::ReadDags, get)
        .patch(&of_task, Access::WriteDags, answer)
        .get(&format!("{of_task}/tries/{{try_number}}"), Access::ReadDags, get_try)
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", Access::ReadDags, list)
}

#[derive(Serialize)]
struct UserResponse {
    id: String,
    name: String,
}

impl From<HitlUser> for UserResponse {
    fn from(user: HitlUser) -> Self {
        Self { id: user.id, name: user.name }
    }
}

/// `BaseHITLDetail`.
#[derive(Serialize)]
struct BaseDetail {
    options: Vec<String>,
    subject: String,
    body: Option<String>,
    defaults: Option<Vec<String>>,
    multiple: bool,
    params: Value,
    assigned_users: Vec<UserResponse>,
    created_at: Moment,
    responded_by_user: Option<UserResponse>,
    responded_at: Option<Moment>,
    chosen_options: Option<Vec<String>>,
    params_input: Value,
    response_received: bool,
}

/// `HITLDetail`, or `HITLDetailHistory`, which has another kind of task instance.
#[derive(Serialize)]
struct DetailResponse<T> {
    #[serde(flatten)]
    detail: BaseDetail,
    task_instance: T,
}

/// `HITLDetailCollection`.
#[derive(Serialize)]
struct DetailCollection {
    hitl_details: Vec<DetailResponse<TaskInstanceResponse>>,
    total_entries: u64,
}

/// `HITLDetailResponse`.
#[derive(Serialize)]
struct AnswerResponse {
    responded_by: Option<UserResponse>,
    responded_at: Moment,
    chosen_options: Vec<String>,
    params_input: Value,
}

/// A form's fields; one that is nothing but a value gets the shape of the others.
fn params_of(params: Value) -> Value {
    let is_param = |value: &Value| ["description", "schema", "value"].iter().all(|name| value.get(name).is_some());
    let shaped = |value: Value| {
        if is_param(&value) { value } else { json!({"value": value, "description": null, "schema": {}}) }
    };
    match params {
        Value::Object(params) => params.into_iter().map(|(name, value)| (name, shaped(value))).collect(),
        other => other,
    }
}

impl From<HitlDetail> for BaseDetail {
    fn from(detail: HitlDetail) -> Self {
        let HitlDetail { question, created_at, response, .. } = detail;
        Self {
            options: question.options,
            subject: question.subject,
            body: question.body,
            defaults: question.defaults,
            multiple: question.multiple,
            params: params_of(question.params),
            assigned_users: question.assigned_users.into_iter().map(UserResponse::from).collect(),
            created_at: Moment(created_at),
            response_received: response.is_some(),
            responded_at: moment(response.as_ref().map(|response| response.at)),
            responded_by_user: response.as_ref().and_then(|response| response.by.clone()).map(UserResponse::from),
            chosen_options: response.as_ref().map(|response| response.chosen_options.clone()),
            params_input: response.map_or_else(|| json!({}), |response| response.params_input),
        }
    }
}

/// A question as it is shown with its task instance; nothing where the run is gone by now. Blocks.
pub(crate) fn detail_of(
    detail: HitlDetail,
    ti: TaskInstance,
    lookup: &mut Lookup<'_>,
) -> Result<Option<impl Serialize + use<>>, ApiError> {
    let Some(run) = lookup.run(&ti.run)? else { return Ok(None) };
    let task_instance = TaskInstanceResponse::of(ti, &run, lookup)?;
    Ok(Some(DetailResponse { detail: detail.into(), task_instance }))
}

fn not_found(key: &TaskInstanceKey) -> ApiError {
    let TaskInstanceKey { run: RunKey { dag_id, run_id }, task_id, map_index } = key;
    ApiError::not_found(format!(
        "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}`, task_id: `{task_id}` and map_index: \
         `{}` was not found",
        map_index.0
    ))
}

fn not_asked(ti: &TaskInstance) -> ApiError {
    ApiError::not_found(format!("Human-in-the-loop detail does not exist for Task Instance with id {}", ti.id))
}

/// A task instance and what it has asked. Blocks.
fn find(state: &ApiState, key: &TaskInstanceKey) -> Result<(TaskInstance, HitlDetail), ApiError> {
    let ti = state.store().task_instance(key)?.ok_or_else(|| not_found(key))?;
    let detail = state.store().hitl_detail(key)?.ok_or_else(|| not_asked(&ti))?;
    Ok((ti, detail))
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let map_index = args.path_as("map_index", parse::integer);
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let own = state.clone();
    let look = move || {
        let (ti, detail) = find(&own, &key)?;
        let mut lookup = Lookup::new(&own);
        let run = lookup.run(&key.run)?.ok_or_else(|| not_found(&key))?;
        let task_instance = TaskInstanceResponse::of(ti, &run, &mut lookup)?;
        Ok(DetailResponse { detail: detail.into(), task_instance })
    };
    state.blocking(look).await.map(Json)
}

async fn get_try(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let map_index = args.path_as("map_index", parse::integer);
    let try_number = args.path_as("try_number", parse::integer);
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let own = state.clone();
    let look = move || {
        let mut lookup = Lookup::new(&own);
        let tries = tries_of(&lookup, &key)?;
        let ti = tries.into_iter().find(|ti| i64::from(ti.try_number) == try_number).ok_or_else(|| not_found(&key))?;
        let is_current = own.store().task_instance(&key)?.is_some_and(|current| current.id == ti.id);
        let detail = match is_current {
            true => own.store().hitl_detail(&key)?,
            false => own.store().hitl_detail_of_try(&key, ti.id)?,
        };
        let detail = detail.ok_or_else(|| not_asked(&ti))?;
        Ok(DetailResponse { detail: detail.into(), task_instance: TryResponse::of(ti, &mut lookup)? })
    };
    state.blocking(look).await.map(Json)
}

/// `chosen_options`, which must not be empty.
fn chosen_options(fields: &mut Fields<'_>) -> Vec<String> {
    if fields.has("chosen_options") && fields.raw("chosen_options").is_some_and(Value::is_null) {
        let place = fields.place_of("chosen_options");
        fields.issues().add(&place, Fault::new("list_type", "Input should be a valid list"), &Value::Null);
        return Vec::new();
    }
    match fields.optional_list("chosen_options", parse::text) {
        Some(chosen) => {
            if let Some(empty) = fields.raw("chosen_options").filter(|list| list.as_array().is_some_and(Vec::is_empty))
            {
                let context = json!({"field_type": "List", "min_length": 1, "actual_length": 0});
                let message = "List should have at least 1 item after validation, not 0";
                let place = fields.place_of("chosen_options");
                fields.issues().add(&place, Fault::with("too_short", message, context), empty);
            }
            chosen
        }
        None if !fields.has("chosen_options") => fields.required("chosen_options", |_| Ok(Vec::new())),
        None => Vec::new(),
    }
}

async fn answer(
    State(state): State<ApiState>,
    user: User,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<impl Serialize> {
    let map_index = args.path_as("map_index", parse::integer);
    let mut fields = body.fields(&mut args.issues);
    let chosen_options = chosen_options(&mut fields);
    let params_input = fields.or("params_input", json!({}), |input| parse::dict(input).map(Value::Object));
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let (own, wanted) = (state.clone(), key.clone());
    let (ti, detail) = state.blocking(move || find(&own, &wanted)).await?;
    let by = HitlUser { id: user.name.clone(), name: user.name };
    let response = HitlResponse { at: to_microseconds(Timestamp::now()), by: Some(by), chosen_options, params_input };
    // Whatever else is wrong comes first; the engine looks again, so that of several answers only one counts.
    let anybody = state.tokens().settings().all_admins;
    detail.check(&response, anybody).map_err(|refusal| refused(&refusal, &ti, &detail))?;
    if let Some(name) = python::hitl::reserved_key(&response.params_input) {
        return Err(ApiError::bad_request(format!(
            "{name} can't be a key in params_input: it means an object to tasks"
        )));
    }
    match state.engine().answer(key, response, anybody).await {
        Ok(response) => {
            let HitlResponse { at, by, chosen_options, params_input } = *response;
            let responded_by = by.map(UserResponse::from);
            Ok(Json(AnswerResponse { responded_by, responded_at: Moment(at), chosen_options, params_input }))
        }
        Err(AnswerFailure::Refused(refusal)) => Err(refused(&refusal, &ti, &detail)),
        Err(AnswerFailure::Stopped(stopped)) => Err(stopped.into()),
    }
}

fn refused(refusal: &HitlRefusal, ti: &TaskInstance, detail: &HitlDetail) -> ApiError {
    match refusal {
        HitlRefusal::NotAsked => not_asked(ti),
        HitlRefusal::Answered => ApiError::conflict(format!(
            "Human-in-the-loop detail has already been updated for Task Instance with id {} and is not allowed to write \
             again.",
            ti.id
        )),
        HitlRefusal::NotAssigned(HitlUser { id, name }) => ApiError::new(
            axum::http::StatusCode::FORBIDDEN,
            format!("User={name} (id={id}) is not a respondent for the task."),
        ),
        HitlRefusal::UnknownOptions(unknown) => {
            let mut allowed = detail.question.options.clone();
            allowed.sort_unstable();
            allowed.dedup();
            let (unknown, allowed) = (python_list_repr(unknown), python_list_repr(&allowed));
            ApiError::bad_request(format!("Invalid options {unknown}; allowed options are {allowed}."))
        }
        HitlRefusal::OneOption => ApiError::bad_request(
            "Multiple options chosen but this Human-in-the-loop task accepts only a single option.",
        ),
    }
}

const ORDERS: [(&str, &[HitlOrder]); 13] = [
    ("ti_id", &[HitlOrder::Id]),
    ("subject", &[HitlOrder::Subject]),
    ("responded_at", &[HitlOrder::RespondedAt]),
    ("created_at", &[HitlOrder::CreatedAt]),
    ("responded_by_user_id", &[HitlOrder::UserId]),
    ("responded_by_user_name", &[HitlOrder::UserName]),
    ("dag_id", &[HitlOrder::DagId]),
    ("run_id", &[HitlOrder::RunId]),
    // The ids stand for the names.
    ("task_display_name", &[HitlOrder::TaskId]),
    ("run_after", &[HitlOrder::RunAfter]),
    ("rendered_map_index", &[HitlOrder::RenderedMapIndex]),
    ("task_instance_operator", &[HitlOrder::Operator]),
    ("task_instance_state", &[HitlOrder::State]),
];

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<impl Serialize> {
    let (dag_id, run_id) = (args.path("dag_id"), args.path("dag_run_id"));
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    let filter = HitlFilter {
        dag_id: (dag_id != "~").then(|| DagId::from(dag_id)),
        run_id: (run_id != "~").then(|| RunId::from(run_id)),
        dag_ids: TextFilter { pattern: args.pattern("dag_id_pattern"), prefix: args.prefix("dag_id_prefix_pattern") },
        task_id: args.text("task_id").filter(|task_id| !task_id.is_empty()),
        task_ids: TextFilter {
            pattern: args.pattern("task_id_pattern"),
            prefix: args.prefix("task_id_prefix_pattern"),
        },
        map_index: args.optional("map_index", parse::integer),
        states: filter::states(&mut args),
        answered: args.optional("response_received", parse::boolean),
        user_ids: args.texts("responded_by_user_id"),
        user_names: args.texts("responded_by_user_name"),
        subject: args.pattern("subject_search"),
        body: args.pattern("body_search"),
        created_at: args.span("created_at"),
    };
    args.finish()?;
    let order = order::resolve(&order_by, "ti_id", &ORDERS, &[], HitlOrder::Id);
    let own = state.clone();
    let collect = move || {
        let mut lookup = Lookup::new(&own);
        let (found, total_entries) = own.store().hitl_details(&filter, &order?, page)?;
        let mut hitl_details = Vec::with_capacity(found.len());
        for (detail, ti) in found {
            if let Some(run) = lookup.run(&ti.run)? {
                let task_instance = TaskInstanceResponse::of(ti, &run, &mut lookup)?;
                hitl_details.push(DetailResponse { detail: detail.into(), task_instance });
            }
        }
        Ok(DetailCollection { hitl_details, total_entries })
    };
    state.blocking(collect).await.map(Json)
}
