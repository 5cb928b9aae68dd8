//! `/variables`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::secrets::MASK;
use serde::Serialize;
use serde_json::Value;
use store::{Store, StoreError, TextFilter, Variable, VariableOrder, Write};
use template::python;
use worker::{MaskRules, Masker};

use super::bulk::{self, Bulk, BulkResponse};
use super::strict;
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::NoContent;

/// The longest key (`ID_LEN`).
const MAX_KEY: usize = 250;
/// How values that are no texts are written into the store.
const INDENT: usize = 2;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/variables", Access::Variables, list)
        .post("/variables", Access::Variables, create)
        .patch("/variables", Access::Variables, change_many)
        .get("/variables/{*variable_key}", Access::Variables, get)
        .patch("/variables/{*variable_key}", Access::Variables, change)
        .delete("/variables/{*variable_key}", Access::Variables, delete)
        // The variable whose key is empty.
        .get("/variables/", Access::Variables, get)
        .patch("/variables/", Access::Variables, change)
        .delete("/variables/", Access::Variables, delete)
}

#[derive(Serialize)]
struct VariableResponse {
    key: String,
    value: String,
    description: Option<String>,
    is_encrypted: bool,
    team_name: Option<String>,
}

impl VariableResponse {
    fn new(variable: Variable, state: &ApiState) -> Self {
        let Variable { key, value, description, is_encrypted, locked } = variable;
        Self {
            // In a list; who asks for it alone is told why.
            value: if locked { MASK.to_owned() } else { shown_value(&key, value, &state.config().mask_rules) },
            key,
            description,
            is_encrypted,
            team_name: None,
        }
    }
}

/// A variable's value as anybody may see it. What is JSON is shown as Python writes it, without secrets.
fn shown_value(key: &str, value: String, rules: &Arc<MaskRules>) -> String {
    let masker = Masker::new(Arc::clone(rules));
    masker.add(&Value::from(value.as_str()), Some(key));
    match serde_json::from_str::<Value>(&value) {
        // Airflow shows these, though their names say that they are secrets: a text of digits is no less one.
        Ok(Value::Number(_) | Value::Bool(_)) if rules.is_sensitive(key) => MASK.to_owned(),
        // Python's integers have no bound.
        Ok(Value::Number(_)) if value.trim().trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) => {
            value.trim().to_owned()
        }
        Ok(mut parsed) => {
            masker.redact(&mut parsed, Some(key));
            python::dumps(&parsed, None)
        }
        Err(_) => {
            let mut shown = Value::from(value);
            masker.redact(&mut shown, Some(key));
            python::text(&shown)
        }
    }
}

#[derive(Serialize)]
struct VariableList {
    variables: Vec<VariableResponse>,
    total_entries: u64,
}

pub(crate) struct VariableBody {
    key: String,
    /// As it is stored.
    value: String,
    /// `None` if it was not given.
    description: Option<Option<String>>,
}

impl VariableBody {
    fn record(&self) -> Variable {
        Variable {
            key: self.key.clone(),
            value: self.value.clone(),
            description: self.description.clone().flatten(),
            ..Variable::default()
        }
    }

    /// The variable with what the body gives, as far as a mask allows it.
    fn applied(&self, mut variable: Variable, mask: &[String]) -> Result<Variable, ApiError> {
        if mask.iter().any(|name| name == "key") {
            return Err(ApiError::bad_request(
                "Update not allowed: the following fields are immutable and cannot be modified: {'key'}",
            ));
        }
        let allowed = |field: &str| mask.is_empty() || mask.iter().any(|name| name == field);
        if allowed("value") {
            variable.value = self.value.clone();
        }
        if let Some(description) = &self.description
            && allowed("description")
        {
            variable.description = description.clone();
        }
        Ok(variable)
    }
}

/// Values are stored as text: what is none becomes JSON.
fn stored_value(input: &Value) -> parse::Parsed<String> {
    Ok(match input {
        Value::String(text) => text.clone(),
        value => python::dumps(value, Some(INDENT)),
    })
}

fn not_found(key: &str) -> ApiError {
    ApiError::not_found(format!("The Variable with key: `{key}` was not found"))
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<VariableList> {
    let page = args.page(&state);
    args.finish()?;
    let keys = TextFilter {
        pattern: args.pattern("variable_key_pattern"),
        prefix: args.prefix("variable_key_prefix_pattern"),
    };
    let allowed: &[(&str, &[VariableOrder])] = &[
        ("key", &[VariableOrder::Key]),
        ("id", &[VariableOrder::Created]),
        ("_val", &[VariableOrder::Value]),
        ("description", &[VariableOrder::Description]),
        ("is_encrypted", &[VariableOrder::IsEncrypted]),
        // No variable has a team.
        ("team_name", &[]),
    ];
    let order = order::resolve(&args.texts("order_by"), "id", allowed, &[], VariableOrder::Created)?;
    let listed = state.read(move |store| Ok(store.list_variables(&keys, &order, page)?));
    let (variables, total_entries) = listed.await?;
    let variables = variables.into_iter().map(|variable| VariableResponse::new(variable, &state)).collect();
    Ok(Json(VariableList { variables, total_entries }))
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<VariableResponse> {
    let key = args.path("variable_key");
    let found = state.read(move |store| store.variable(&key)?.ok_or_else(|| not_found(&key)));
    found.await.map(|variable| Json(VariableResponse::new(variable, &state)))
}

async fn create(
    State(state): State<ApiState>,
    mut args: Args,
    body: JsonBody,
) -> Result<(StatusCode, Json<VariableResponse>), ApiError> {
    let body = strict::of_body_with_team(&body, &mut args, Variables::read);
    let variable = strict::checked(&mut args, body)?.record();
    let created = state.read(move |store| match store.commit(vec![Write::NewVariable(variable.clone())]) {
        Ok(()) => Ok(variable),
        Err(StoreError::Conflict { .. }) => {
            Err(ApiError::conflict(format!("The Variable with key: `{}` already exists", variable.key)))
        }
        Err(error) => Err(error.into()),
    });
    Ok((StatusCode::CREATED, Json(VariableResponse::new(created.await?, &state))))
}

async fn change(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<VariableResponse> {
    let body = strict::of_body_with_team(&body, &mut args, Variables::read);
    let body = strict::checked(&mut args, body)?;
    let (key, mask) = (args.path("variable_key"), args.texts("update_mask"));
    if body.key != key {
        return Err(ApiError::bad_request("Invalid body, key from request body doesn't match uri parameter"));
    }
    let changed = state.read(move |store| {
        let old = store.variable(&key)?.ok_or_else(|| not_found(&key))?;
        let variable = body.applied(old, &mask)?;
        store.commit(vec![Write::Variable(variable.clone())])?;
        Ok(variable)
    });
    changed.await.map(|variable| Json(VariableResponse::new(variable, &state)))
}

async fn delete(State(state): State<ApiState>, args: Args) -> Result<NoContent, ApiError> {
    let key = args.path("variable_key");
    let deleted = state.read(move |store| match store.commit(vec![Write::DeleteVariable(key.clone())]) {
        Ok(()) => Ok(NoContent),
        Err(StoreError::Missing { .. }) => Err(not_found(&key)),
        Err(error) => Err(error.into()),
    });
    deleted.await
}

async fn change_many(State(state): State<ApiState>, args: Args, body: JsonBody) -> ApiResult<BulkResponse> {
    let actions = bulk::read::<Variables>(&body, args)?;
    let done = state.read(move |store| bulk::run(&Variables, store, actions));
    done.await.map(|(response, _)| Json(response))
}

pub(crate) struct Variables;

impl Bulk for Variables {
    type Body = VariableBody;
    type Record = Variable;

    const THOSE: &'static str = "The variables with these keys";
    const MODEL: &'static str = "VariableBody";

    fn read(fields: &mut Fields<'_>) -> VariableBody {
        VariableBody {
            key: fields.required("key", parse::text_up_to(MAX_KEY)),
            value: fields.required("value", stored_value),
            description: fields.has("description").then(|| fields.optional("description", parse::text)),
        }
    }

    fn id(body: &VariableBody) -> &str {
        &body.key
    }

    fn find(store: &dyn Store, id: &str) -> Result<Option<Variable>, StoreError> {
        store.variable(id)
    }

    fn created(&self, body: &VariableBody) -> Variable {
        body.record()
    }

    fn overwritten(&self, body: &VariableBody, _: Variable) -> Variable {
        body.record()
    }

    fn updated(&self, body: &VariableBody, old: Variable, mask: &[String]) -> Result<Variable, ApiError> {
        body.applied(old, mask)
    }

    fn write_new(record: Variable) -> Write {
        Write::Variable(record)
    }

    fn write(record: Variable) -> Write {
        Write::Variable(record)
    }

    fn write_deleted(id: &str) -> Write {
        Write::DeleteVariable(id.to_owned())
    }
}
