//! Links that operators give their task instances.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use model::{TaskInstanceKey, VersionId};
use serde::Serialize;
use serde_json::Value;
use store::XComKey;

use super::{key_of, narrow};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::rest::lookup::Lookup;
use crate::rest::serialized::Encoded;
use crate::state::ApiState;

/// `ExtraLinkCollectionResponse`.
#[derive(Serialize)]
pub(super) struct ExtraLinks {
    extra_links: BTreeMap<String, Option<String>>,
    total_entries: usize,
}

pub(super) async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<ExtraLinks> {
    let map_index = args.or("map_index", -1, parse::integer);
    let try_number = args.optional("try_number", parse::integer);
    args.finish()?;
    let key = key_of(&args, narrow(map_index));
    let own = state.clone();
    let find = move || {
        let mut lookup = Lookup::new(&own);
        let ti = own.store().task_instance(&key)?.ok_or_else(|| ApiError::not_found("TaskInstance not found"))?;
        if let Some(number) = try_number.filter(|number| *number != i64::from(ti.try_number)) {
            let tries = own.store().archived_tries(&key)?;
            if !tries.iter().any(|archived| i64::from(archived.task_instance.try_number) == number) {
                let detail = format!("TaskInstanceHistory not found for try_number={number}");
                return Err(ApiError::not_found(detail));
            }
        }
        let run = lookup.run(&key.run)?;
        let version = run.map_or(ti.version, |run| run.version);
        let extra_links = links_of(&lookup, version, &key)?;
        Ok(Json(ExtraLinks { total_entries: extra_links.len(), extra_links }))
    };
    state.blocking(find).await
}

/// A task names its links with the keys of XCom entries that hold their addresses.
fn links_of(
    lookup: &Lookup<'_>,
    version: VersionId,
    key: &TaskInstanceKey,
) -> Result<BTreeMap<String, Option<String>>, ApiError> {
    let missing = || ApiError::not_found(format!("Task with ID = {} not found", key.task_id));
    let version = lookup.store().version(version)?.ok_or_else(missing)?;
    let is_wanted = |task: &Encoded<'_>| task.text("task_id").is_some_and(|id| id == key.task_id.as_str());
    let task = Encoded::dag(&version.serialized).tasks().find(is_wanted).ok_or_else(missing)?;
    let mut links = BTreeMap::new();
    for (name, xcom_key) in task.raw("_operator_extra_links").and_then(Value::as_object).into_iter().flatten() {
        let entry = lookup.store().xcom(&XComKey {
            run: key.run.clone(),
            task_id: key.task_id.clone(),
            map_index: key.map_index,
            key: xcom_key.as_str().unwrap_or_default().to_owned(),
        })?;
        let address = entry.and_then(|entry| entry.value.as_str().map(str::to_owned));
        links.insert(name.clone(), address.filter(|address| !address.is_empty()));
    }
    Ok(links)
}
