//! Runs that make an asset.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{DagId, RunType, TriggeredBy};
use store::{AssetFilter, AssetUse, Page};

use crate::args::Args;
use crate::auth::User;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::rest::dag_runs::DagRunResponse;
use crate::rest::dag_runs::trigger::{TriggerBody, make};
use crate::routes::{Access, Routes};
use crate::state::ApiState;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.post("/assets/{asset_id}/materialize", Access::WriteAssets, materialize)
}

async fn materialize(
    State(state): State<ApiState>,
    user: User,
    mut args: Args,
    body: JsonBody,
) -> ApiResult<DagRunResponse> {
    let number = args.path_as("asset_id", parse::integer);
    let body = match body.value() {
        None | Some(serde_json::Value::Null) => TriggerBody::empty(),
        Some(_) => TriggerBody::read(body.fields(&mut args.issues), false),
    };
    args.finish()?;
    let own = state.clone();
    let find = move || {
        let filter = AssetFilter { number: Some(number), ..AssetFilter::default() };
        let found = own.store().list_assets(&filter, &[], Page::ALL)?.0;
        let uses = found.into_iter().flat_map(|listed| listed.uses);
        let producers: BTreeSet<DagId> =
            uses.filter(|found| matches!(found.by, AssetUse::Outlet(_))).map(|found| found.dag_id).collect();
        let mut producers = producers.into_iter();
        match (producers.next(), producers.next()) {
            (None, _) => Err(ApiError::not_found(format!("No Dag materializes asset with ID: {number}"))),
            (Some(_), Some(_)) => {
                let detail = format!("More than one Dag materializes asset with ID: {number}");
                Err(ApiError::new(StatusCode::CONFLICT, detail))
            }
            (Some(dag_id), None) => Ok(dag_id),
        }
    };
    let dag_id = state.blocking(find).await?;
    let own = state.clone();
    let wanted = dag_id.clone();
    let check = move || {
        let record = own.store().dag(&wanted)?.filter(|record| !record.stale);
        let missing = || ApiError::not_found(format!("The Dag with ID: `{wanted}` was not found"));
        let record = record.ok_or_else(missing)?;
        let allowed = record.allowed_run_types.as_ref();
        let name = RunType::AssetMaterialization.name();
        if allowed.is_some_and(|types| !types.iter().any(|allowed| allowed == name)) {
            let detail = format!("Dag with dag_id: '{wanted}' does not allow asset materialization runs");
            return Err(ApiError::bad_request(detail));
        }
        Ok(record)
    };
    let record = state.blocking(check).await?;
    make(&state, record, body, RunType::AssetMaterialization, TriggeredBy::RestApi, user).await.map(Json)
}
