//! Versions of Dags.

use axum::Json;
use axum::extract::State;
use model::{DagId, DagRun, RunKey};
use serde::Serialize;
use store::{BundleRecord, Page, VersionFilter, VersionHead, VersionOrder};

use super::dags::known_dag;
use super::lookup::Lookup;
use crate::args::Args;
use crate::bundle;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::Moment;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/dags/{dag_id}/dagVersions/{version_number}", Access::ReadDags, get).get(
        "/dags/{dag_id}/dagVersions",
        Access::ReadDags,
        list,
    )
}

/// `DagVersionResponse`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct DagVersionResponse {
    id: uuid::Uuid,
    version_number: u32,
    dag_id: String,
    bundle_name: String,
    bundle_version: Option<String>,
    created_at: Moment,
    dag_display_name: String,
    bundle_url: Option<String>,
}

impl DagVersionResponse {
    /// `bundle` is the one that it is from, as far as there is something to say about it.
    pub(crate) fn new(head: VersionHead, display_name: &str, bundle: Option<&BundleRecord>) -> Self {
        Self {
            id: head.id.0,
            version_number: head.number,
            dag_id: head.dag_id.to_string(),
            bundle_url: bundle.and_then(|bundle| bundle::page_of(bundle, head.bundle_version.as_deref())),
            bundle_name: head.bundle_name,
            bundle_version: head.bundle_version,
            created_at: Moment(head.created_at),
            dag_display_name: display_name.to_owned(),
        }
    }

    /// The versions that each of some runs has had. Blocks.
    pub(crate) fn of_runs(runs: &[DagRun], lookup: &mut Lookup<'_>) -> Result<Vec<Vec<Self>>, ApiError> {
        // A run of a versioned bundle stays with the version that it was made with.
        let mixed: Vec<RunKey> =
            runs.iter().filter(|run| run.bundle_version.is_none()).map(|run| run.key.clone()).collect();
        let mut mixed = lookup.store().versions_of(&mixed)?.into_iter();
        let versions = |run: &DagRun| {
            let ids = if run.bundle_version.is_some() { vec![run.version] } else { mixed.next().unwrap_or_default() };
            let mut versions = Vec::with_capacity(ids.len());
            for id in ids {
                versions.extend(lookup.version(id)?.map(|version| DagVersionResponse::clone(&version)));
            }
            Ok(versions)
        };
        runs.iter().map(versions).collect()
    }
}

/// `DAGVersionCollectionResponse`.
#[derive(Serialize)]
struct DagVersionCollection {
    dag_versions: Vec<DagVersionResponse>,
    total_entries: u64,
}

const ORDERS: [(&str, &[VersionOrder]); 4] = [
    ("id", &[VersionOrder::Id]),
    ("version_number", &[VersionOrder::Number]),
    ("bundle_name", &[VersionOrder::BundleName]),
    ("bundle_version", &[VersionOrder::BundleVersion]),
];

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<DagVersionResponse> {
    let dag_id = DagId::from(args.path("dag_id"));
    let number = args.path_as("version_number", parse::integer);
    args.finish()?;
    let own = state.clone();
    let find = move || {
        let filter = VersionFilter { dag_id: Some(dag_id.clone()), number: Some(number), ..VersionFilter::default() };
        let (found, _) = own.store().versions(&filter, &[], Page { limit: 1, offset: 0 })?;
        let head = found.into_iter().next().ok_or_else(|| {
            ApiError::not_found(format!(
                "The DagVersion with dag_id: `{dag_id}` and version_number: `{number}` was not found"
            ))
        })?;
        Ok(Json(Lookup::new(&own).version_of(head)?))
    };
    state.blocking(find).await
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<DagVersionCollection> {
    let dag_id = args.path("dag_id");
    let page = args.page(&state);
    let filter = VersionFilter {
        number: args.optional("version_number", parse::integer),
        bundle_name: args.text("bundle_name").filter(|name| !name.is_empty()),
        bundle_version: args.text("bundle_version").filter(|version| !version.is_empty()),
        dag_id: (dag_id != "~").then(|| DagId::from(dag_id)),
    };
    let order_by = args.texts("order_by");
    args.finish()?;
    let order = order::resolve(&order_by, "id", &ORDERS, &[], VersionOrder::Id);
    let own = state.clone();
    let collect = move || {
        let mut lookup = Lookup::new(&own);
        if let Some(dag_id) = &filter.dag_id {
            lookup.know(&known_dag(own.store(), dag_id)?);
        }
        let (found, total_entries) = own.store().versions(&filter, &order?, page)?;
        let dag_versions = found.into_iter().map(|head| lookup.version_of(head)).collect::<Result<_, ApiError>>()?;
        Ok(Json(DagVersionCollection { dag_versions, total_entries }))
    };
    state.blocking(collect).await
}
