//! `/assets`: assets and their aliases, what happened to them, and what waits for Dags because of that.

mod events;
pub(crate) mod expression;
mod materialize;
mod queued;

use axum::Json;
use axum::extract::State;
use model::DagId;
use serde::Serialize;
use serde_json::Value;
use store::{
    AliasFilter, AliasOrder, AssetFilter, AssetOrder, AssetUse, Direction, ListedAsset, ListedUse, NumberedAlias, Page,
    TextFilter,
};
use worker::Masker;

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment};

pub(crate) fn routes(routes: Routes) -> Routes {
    let own = routes
        .get("/assets", Access::ReadAssets, list)
        .get("/assets/aliases", Access::ReadAssets, list_aliases)
        .get("/assets/aliases/{asset_alias_id}", Access::ReadAssets, get_alias)
        .get("/assets/{asset_id}", Access::ReadAssets, get);
    queued::routes(materialize::routes(events::routes(own)))
}

/// `DagScheduleAssetReference`.
#[derive(Serialize)]
struct ScheduledDag {
    dag_id: String,
    created_at: Moment,
    updated_at: Moment,
}

/// `TaskInletAssetReference` and `TaskOutletAssetReference`.
#[derive(Serialize)]
struct UsingTask {
    dag_id: String,
    task_id: String,
    created_at: Moment,
    updated_at: Moment,
}

#[derive(Serialize)]
struct AliasResponse {
    id: i64,
    name: String,
    group: String,
}

impl From<NumberedAlias> for AliasResponse {
    fn from(NumberedAlias { number, alias }: NumberedAlias) -> Self {
        Self { id: number, name: alias.name, group: alias.group }
    }
}

#[derive(Serialize)]
struct LastEvent {
    id: Option<i64>,
    timestamp: Option<Moment>,
}

/// `AssetResponse`.
#[derive(Serialize)]
struct AssetResponse {
    id: i64,
    name: String,
    uri: String,
    group: String,
    extra: Value,
    created_at: Moment,
    updated_at: Moment,
    scheduled_dags: Vec<ScheduledDag>,
    producing_tasks: Vec<UsingTask>,
    consuming_tasks: Vec<UsingTask>,
    aliases: Vec<AliasResponse>,
    watchers: Vec<Value>,
    last_asset_event: LastEvent,
}

impl AssetResponse {
    fn new(listed: ListedAsset, state: &ApiState) -> Self {
        let ListedAsset { number, asset, created_at, updated_at, uses, aliases, last_event } = listed;
        let (mut scheduled_dags, mut producing_tasks, mut consuming_tasks) = (Vec::new(), Vec::new(), Vec::new());
        for ListedUse { dag_id, by, created_at, updated_at } in uses {
            let (dag_id, created_at, updated_at) = (dag_id.to_string(), Moment(created_at), Moment(updated_at));
            let (tasks, task_id) = match by {
                AssetUse::Schedule => {
                    scheduled_dags.push(ScheduledDag { dag_id, created_at, updated_at });
                    continue;
                }
                AssetUse::Inlet(task_id) => (&mut consuming_tasks, task_id),
                AssetUse::Outlet(task_id) => (&mut producing_tasks, task_id),
            };
            tasks.push(UsingTask { dag_id, task_id: task_id.to_string(), created_at, updated_at });
        }
        Self {
            id: number,
            name: asset.key.name,
            uri: asset.key.uri,
            group: asset.group,
            extra: shown_extra(asset.extra, state),
            created_at: Moment(created_at),
            updated_at: Moment(updated_at),
            scheduled_dags,
            producing_tasks,
            consuming_tasks,
            aliases: aliases.into_iter().map(Into::into).collect(),
            watchers: Vec::new(),
            last_asset_event: LastEvent {
                id: last_event.map(|(event, _)| event.0),
                timestamp: moment(last_event.map(|(_, at)| at)),
            },
        }
    }
}

/// What is kept with an asset or an event, without secrets.
fn shown_extra(mut extra: Value, state: &ApiState) -> Value {
    Masker::new(state.config().mask_rules.clone()).redact(&mut extra, None);
    extra
}

#[derive(Serialize)]
struct AssetList {
    assets: Vec<AssetResponse>,
    total_entries: u64,
}

#[derive(Serialize)]
struct AliasList {
    asset_aliases: Vec<AliasResponse>,
    total_entries: u64,
}

fn names(args: &Args, name: &str) -> TextFilter {
    TextFilter {
        pattern: args.pattern(&format!("{name}_pattern")),
        prefix: args.prefix(&format!("{name}_prefix_pattern")),
    }
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<AssetList> {
    let page = args.page(&state);
    let active_only = args.or("only_active", true, parse::boolean);
    args.finish()?;
    let mut dag_ids = args.texts("dag_ids");
    if let [only] = dag_ids.as_slice()
        && only.contains(',')
    {
        dag_ids = only.split(',').map(str::to_owned).collect();
    }
    let filter = AssetFilter {
        names: names(&args, "name"),
        uris: names(&args, "uri"),
        dag_ids: (!dag_ids.is_empty()).then(|| dag_ids.into_iter().map(DagId::from).collect()),
        active_only,
        ..AssetFilter::default()
    };
    let allowed: &[(&str, &[AssetOrder])] = &[
        ("id", &[AssetOrder::Number]),
        ("name", &[AssetOrder::Name]),
        ("uri", &[AssetOrder::Uri]),
        ("created_at", &[AssetOrder::CreatedAt]),
        ("updated_at", &[AssetOrder::UpdatedAt]),
    ];
    let order = order::resolve(&args.texts("order_by"), "id", allowed, &[], AssetOrder::Number)?;
    let own = state.clone();
    let listed = move || {
        let (found, total_entries) = own.store().list_assets(&filter, &order, page)?;
        let assets = found.into_iter().map(|listed| AssetResponse::new(listed, &own)).collect();
        Ok(Json(AssetList { assets, total_entries }))
    };
    state.blocking(listed).await
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<AssetResponse> {
    let number = args.path_as("asset_id", parse::integer);
    args.finish()?;
    let own = state.clone();
    let found = move || {
        let filter = AssetFilter { number: Some(number), ..AssetFilter::default() };
        let found = own.store().list_assets(&filter, &[], Page::ALL)?.0.pop();
        let missing = || ApiError::not_found(format!("The Asset with ID: `{number}` was not found"));
        found.map(|listed| Json(AssetResponse::new(listed, &own))).ok_or_else(missing)
    };
    state.blocking(found).await
}

async fn list_aliases(State(state): State<ApiState>, mut args: Args) -> ApiResult<AliasList> {
    let page = args.page(&state);
    args.finish()?;
    let filter = AliasFilter { names: names(&args, "name"), ..AliasFilter::default() };
    let allowed: &[(&str, &[AliasOrder])] = &[("id", &[AliasOrder::Number]), ("name", &[AliasOrder::Name])];
    let order = order::resolve(&args.texts("order_by"), "id", allowed, &[], AliasOrder::Number)?;
    let listed = state.read(move |store| {
        let (found, total_entries) = store.list_aliases(&filter, &order, page)?;
        Ok(AliasList { asset_aliases: found.into_iter().map(Into::into).collect(), total_entries })
    });
    listed.await.map(Json)
}

async fn get_alias(State(state): State<ApiState>, mut args: Args) -> ApiResult<AliasResponse> {
    let number = args.path_as("asset_alias_id", parse::integer);
    args.finish()?;
    let found = state.read(move |store| {
        let filter = AliasFilter { number: Some(number), ..AliasFilter::default() };
        let order = [(AliasOrder::Number, Direction::Ascending)];
        let missing = || ApiError::not_found(format!("The Asset Alias with ID: `{number}` was not found"));
        store.list_aliases(&filter, &order, Page::ALL)?.0.pop().ok_or_else(missing)
    });
    found.await.map(|alias| Json(alias.into()))
}
