//! `/config`: the deployment's configuration, if it lets people see it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use worker::MaskRules;

use crate::args::Args;
use crate::error::ApiError;
use crate::routes::{Access, Routes};
use crate::state::{ApiState, ConfigSection};

const HIDDEN: &str = "< hidden >";
/// Options that are secrets whatever the deployment says of names.
const SENSITIVE: [(&str, &str); 11] = [
    ("api", "secret_key"),
    ("api_auth", "jwt_secret"),
    ("core", "asset_manager_kwargs"),
    ("core", "fernet_key"),
    ("database", "sql_alchemy_conn"),
    ("database", "sql_alchemy_conn_async"),
    ("database", "sql_alchemy_engine_args"),
    ("logging", "remote_task_handler_kwargs"),
    ("secrets", "backend_kwargs"),
    ("sentry", "sentry_dsn"),
    ("workers", "secrets_backend_kwargs"),
];
/// Beginnings of options that hold parts of a secrets backend's arguments.
const SENSITIVE_PREFIXES: [(&str, &str); 2] = [("secrets", "backend_kwarg__"), ("workers", "secrets_backend_kwarg__")];

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/config", Access::ReadConfiguration, all).get(
        "/config/section/{section}/option/{option}",
        Access::ReadConfiguration,
        one,
    )
}

#[derive(Serialize)]
struct Config {
    sections: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    options: Vec<ConfigOption>,
}

#[derive(Serialize)]
struct ConfigOption {
    key: String,
    value: String,
}

fn is_secret(section: &str, option: &str, rules: &MaskRules) -> bool {
    let (section, option) = (section.to_lowercase(), option.to_lowercase());
    rules.is_sensitive(&option)
        || SENSITIVE.contains(&(&section, &option))
        || SENSITIVE_PREFIXES.iter().any(|(within, prefix)| *within == section && option.starts_with(prefix))
}

fn shown(section: &str, (key, value): &(String, String), rules: &MaskRules) -> ConfigOption {
    let value = if is_secret(section, key, rules) && !value.is_empty() { HIDDEN } else { value };
    ConfigOption { key: key.clone(), value: value.to_owned() }
}

/// Whether the client wants plain text instead of JSON.
pub(super) fn wants_text(headers: &HeaderMap) -> Result<bool, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    if accept.starts_with("*/*") || accept.starts_with("application/json") {
        Ok(false)
    } else if accept.starts_with("text/plain") {
        Ok(true)
    } else {
        let message = "Only application/json or text/plain is supported";
        Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, message))
    }
}

fn exposed(state: &ApiState) -> Result<&[ConfigSection], ApiError> {
    state.config().exposed.as_deref().ok_or_else(|| {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "Your Airflow administrator chose not to expose the configuration, most likely for security reasons.",
        )
    })
}

fn respond(config: Config, as_text: bool) -> Response {
    if !as_text {
        return Json(config).into_response();
    }
    let section = |section: &Section| {
        let options: Vec<String> =
            section.options.iter().map(|option| format!("{} = {}", option.key, option.value)).collect();
        format!("[{}]\n{}\n", section.name, options.join("\n"))
    };
    let sections: Vec<String> = config.sections.iter().map(section).collect();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sections.join("\n")).into_response()
}

async fn all(State(state): State<ApiState>, headers: HeaderMap, args: Args) -> Result<Response, ApiError> {
    let as_text = wants_text(&headers)?;
    let sections = exposed(&state)?;
    let wanted = args.text("section").filter(|name| !name.is_empty());
    if let Some(wanted) = &wanted
        && !sections.iter().any(|section| section.name == *wanted)
    {
        return Err(ApiError::not_found(format!("Section {wanted} not found.")));
    }
    let sections =
        sections.iter().filter(|section| wanted.as_ref().is_none_or(|wanted| section.name == *wanted)).map(|section| {
            Section {
                name: section.name.clone(),
                options: section
                    .options
                    .iter()
                    .map(|option| shown(&section.name, option, &state.config().mask_rules))
                    .collect(),
            }
        });
    Ok(respond(Config { sections: sections.collect() }, as_text))
}

async fn one(State(state): State<ApiState>, headers: HeaderMap, args: Args) -> Result<Response, ApiError> {
    let as_text = wants_text(&headers)?;
    let (section, option) = (args.path("section"), args.path("option"));
    let found = exposed(&state)?
        .iter()
        .filter(|known| known.name.eq_ignore_ascii_case(&section))
        .flat_map(|known| &known.options)
        .find(|(key, _)| key.eq_ignore_ascii_case(&option));
    let Some((_, value)) = found else {
        return Err(ApiError::not_found(format!("Option [{section}/{option}] not found.")));
    };
    let options = vec![shown(&section, &(option, value.clone()), &state.config().mask_rules)];
    Ok(respond(Config { sections: vec![Section { name: section, options }] }, as_text))
}
