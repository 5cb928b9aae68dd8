//! Assets that wait for Dags.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use model::DagId;
use scheduler::UnqueueAssets;
use serde::Serialize;
use store::ListedQueued;

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, MaybeAware};
use crate::rest::lookup::Lookup;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, NoContent};

const OF_ASSET: &str = "/assets/{asset_id}/queuedEvents";
const OF_DAG: &str = "/dags/{dag_id}/assets/queuedEvents";
const ONE: &str = "/dags/{dag_id}/assets/{asset_id}/queuedEvents";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(OF_ASSET, Access::ReadAssets, list_of_asset)
        .delete(OF_ASSET, Access::WriteAssets, delete_of_asset)
        .get(OF_DAG, Access::ReadAssets, list_of_dag)
        .delete(OF_DAG, Access::WriteAssets, delete_of_dag)
        .get(ONE, Access::ReadAssets, get)
        .delete(ONE, Access::WriteAssets, delete)
}

/// `QueuedEventResponse`.
#[derive(Serialize)]
struct QueuedResponse {
    dag_id: String,
    asset_id: i64,
    created_at: Moment,
    dag_display_name: String,
}

#[derive(Serialize)]
struct QueuedList {
    queued_events: Vec<QueuedResponse>,
    total_entries: usize,
}

/// What is asked for.
struct Wanted {
    dag_id: Option<DagId>,
    asset_number: Option<i64>,
    before: Option<Timestamp>,
}

impl Wanted {
    fn read(args: &mut Args, of_dag: bool, of_asset: bool) -> Result<Self, ApiError> {
        let dag_id = of_dag.then(|| DagId::from(args.path("dag_id")));
        let asset_number = of_asset.then(|| args.path_as("asset_id", parse::integer));
        let before = args.optional("before", parse::moment).and_then(MaybeAware::in_utc);
        args.finish()?;
        Ok(Self { dag_id, asset_number, before })
    }

    async fn list(self, state: &ApiState) -> Result<QueuedList, ApiError> {
        let own = state.clone();
        let listed = move || {
            let mut lookup = Lookup::new(&own);
            let mut found = own.store().list_queued(self.dag_id.as_ref(), self.asset_number)?;
            found.retain(|row| self.before.is_none_or(|before| row.queued.first_at < before));
            let shown = |ListedQueued { dag_id, asset_number, queued }| {
                Ok(QueuedResponse {
                    dag_display_name: lookup.display_name(&dag_id)?.to_string(),
                    dag_id: dag_id.to_string(),
                    asset_id: asset_number,
                    created_at: Moment(queued.first_at),
                })
            };
            let queued_events: Vec<QueuedResponse> = found.into_iter().map(shown).collect::<Result<_, ApiError>>()?;
            Ok(QueuedList { total_entries: queued_events.len(), queued_events })
        };
        state.blocking(listed).await
    }

    /// `missing` is what is answered if nothing waits.
    async fn delete(self, state: &ApiState, missing: String) -> Result<NoContent, ApiError> {
        let Self { dag_id, asset_number, before } = self;
        let asset = match asset_number {
            None => None,
            Some(number) => {
                let found = state.read(move |store| Ok(store.asset_numbered(number)?)).await?;
                Some(found.ok_or_else(|| ApiError::not_found(missing.clone()))?.key)
            }
        };
        match state.engine().unqueue_assets(UnqueueAssets { dag_id, asset, before }).await? {
            0 => Err(ApiError::not_found(missing)),
            _ => Ok(NoContent),
        }
    }

    fn one(&self) -> String {
        let (dag_id, asset) = (self.dag_id.as_ref().map_or("", |id| id.as_str()), self.asset_number.unwrap_or(0));
        format!("Queued event with dag_id: `{dag_id}` and asset_id: `{asset}` was not found")
    }
}

async fn list_of_asset(State(state): State<ApiState>, mut args: Args) -> ApiResult<QueuedList> {
    Wanted::read(&mut args, false, true)?.list(&state).await.map(Json)
}

async fn list_of_dag(State(state): State<ApiState>, mut args: Args) -> ApiResult<QueuedList> {
    Wanted::read(&mut args, true, false)?.list(&state).await.map(Json)
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<QueuedResponse> {
    let wanted = Wanted::read(&mut args, true, true)?;
    let missing = wanted.one();
    let found = wanted.list(&state).await?.queued_events.pop();
    found.map(Json).ok_or_else(|| ApiError::not_found(missing))
}

async fn delete_of_asset(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let wanted = Wanted::read(&mut args, false, true)?;
    let missing = format!("Queue event with asset_id: `{}` was not found", wanted.asset_number.unwrap_or(0));
    wanted.delete(&state, missing).await
}

async fn delete_of_dag(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let wanted = Wanted::read(&mut args, true, false)?;
    let dag_id = wanted.dag_id.as_ref().map_or("", |id| id.as_str());
    let missing = format!("Queue event with dag_id: `{dag_id}` was not found");
    wanted.delete(&state, missing).await
}

async fn delete(State(state): State<ApiState>, mut args: Args) -> Result<NoContent, ApiError> {
    let wanted = Wanted::read(&mut args, true, true)?;
    let missing = wanted.one();
    wanted.delete(&state, missing).await
}
