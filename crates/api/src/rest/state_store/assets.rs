//! `/assets/{asset_id}/state-store`: what is kept with an asset, over all runs.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use model::AssetKey;
use serde::Serialize;
use serde_json::Value;
use store::{AssetStateEntry, StateWriter, Write};

use super::{check_key, key, not_found, read};
use crate::args::Args;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, NoContent};

const ALL: &str = "/assets/{asset_id}/state-store";

pub(super) fn routes(mut routes: Routes) -> Routes {
    routes = routes.get(ALL, Access::ReadAssets, list).delete(ALL, Access::WriteAssets, clear);
    // The second is the empty key's.
    for one in ["/{*key}", "/"].map(|end| format!("{ALL}{end}")) {
        routes = routes.get(&one, Access::ReadAssets, get).put(&one, Access::WriteAssets, put).delete(
            &one,
            Access::WriteAssets,
            delete,
        );
    }
    routes
}

#[derive(Serialize)]
struct LastUpdatedBy {
    kind: &'static str,
    dag_id: Option<String>,
    run_id: Option<String>,
    task_id: Option<String>,
    map_index: Option<i32>,
}

impl From<StateWriter> for LastUpdatedBy {
    fn from(writer: StateWriter) -> Self {
        let nobody = |kind| Self { kind, dag_id: None, run_id: None, task_id: None, map_index: None };
        match writer {
            StateWriter::Watcher => nobody("watcher"),
            StateWriter::Api => nobody("api"),
            StateWriter::Task(ti) => Self {
                kind: "task",
                dag_id: Some(ti.run.dag_id.to_string()),
                run_id: Some(ti.run.run_id.to_string()),
                task_id: Some(ti.task_id.to_string()),
                map_index: Some(ti.map_index.0),
            },
        }
    }
}

#[derive(Serialize)]
struct AssetStateBody {
    key: String,
    value: Value,
    updated_at: Moment,
    last_updated_by: LastUpdatedBy,
}

impl From<AssetStateEntry> for AssetStateBody {
    fn from(entry: AssetStateEntry) -> Self {
        let AssetStateEntry { key, value, updated_at, updated_by } = entry;
        Self { key, value, updated_at: Moment(updated_at), last_updated_by: updated_by.into() }
    }
}

#[derive(Serialize)]
struct AssetStates {
    asset_state_store: Vec<AssetStateBody>,
    total_entries: u64,
}

/// The asset that a request names. One that is not there is told of before what else may be wrong with the request;
/// `None` if its number is.
async fn asset(state: &ApiState, args: &mut Args) -> Result<Option<AssetKey>, ApiError> {
    let number = args.path_as("asset_id", parse::integer);
    if !args.issues.is_empty() {
        return Ok(None);
    }
    let found = state.read(move |store| Ok(store.asset_numbered(number)?)).await?;
    let missing = || ApiError::not_found(format!("Asset with id {number} not found"));
    found.map(|asset| Some(asset.key)).ok_or_else(missing)
}

fn known(args: &mut Args, asset: Option<AssetKey>) -> Result<AssetKey, ApiError> {
    args.finish()?;
    asset.ok_or_else(|| ApiError::internal("an asset is refused without a reason"))
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<AssetStates> {
    let asset = asset(&state, &mut args).await?;
    let page = args.page(&state);
    let asset = known(&mut args, asset)?;
    let (entries, total_entries) = state.read(move |store| Ok(store.asset_states(&asset, page)?)).await?;
    Ok(Json(AssetStates { asset_state_store: entries.into_iter().map(Into::into).collect(), total_entries }))
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<AssetStateBody> {
    let asset = asset(&state, &mut args).await?;
    let asset = known(&mut args, asset)?;
    let key = key(&args);
    let found = state.read(move |store| store.asset_state(&asset, &key)?.ok_or_else(|| not_found("Asset", &key)));
    found.await.map(|entry| Json(entry.into()))
}

async fn put(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> Result<NoContent, ApiError> {
    let asset = asset(&state, &mut args).await?;
    let (value, ()) = read(&state, &body, &mut args, |_| ())?;
    let asset = known(&mut args, asset)?;
    let key = key(&args);
    check_key(&key)?;
    let updated_at = model::operations::to_microseconds(Timestamp::now());
    let entry = AssetStateEntry { key, value, updated_at, updated_by: StateWriter::Api };
    state.read(move |store| Ok(store.commit(vec![Write::AssetState { asset, entry }])?)).await?;
    Ok(NoContent)
}

async fn delete(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let asset = asset(&state, &mut args).await?;
    let asset = known(&mut args, asset)?;
    let key = key(&args);
    state.read(move |store| Ok(store.commit(vec![Write::DeleteAssetState { asset, key }])?)).await?;
    Ok(NoContent)
}

async fn clear(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let asset = asset(&state, &mut args).await?;
    let asset = known(&mut args, asset)?;
    state.read(move |store| Ok(store.commit(vec![Write::ClearAssetState(asset)])?)).await?;
    Ok(NoContent)
}
