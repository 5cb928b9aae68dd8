//! Everything about one Dag.

use axum::Json;
use axum::extract::State;
use model::{DagId, DagRunState};
use serde::Serialize;
use serde_json::{Value, json};
use store::{DagRecord, DagVersion, Page, RunFilter, Store};

use super::{Computed, DagFields, DagResponse, known_dag};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::rest::assets::expression::expression;
use crate::rest::dag_versions::DagVersionResponse;
use crate::rest::lookup::Lookup;
use crate::rest::serialized::{Encoded, clean_doc, iso_duration, written};
use crate::state::ApiState;
use crate::wire::Moment;

/// `DAGDetailsResponse`.
#[derive(Serialize)]
pub(super) struct DagDetails {
    #[serde(flatten)]
    dag: DagFields,
    catchup: bool,
    dag_run_timeout: Option<String>,
    asset_expression: Option<Value>,
    doc_md: Option<String>,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    is_paused_upon_creation: Option<bool>,
    params: serde_json::Map<String, Value>,
    render_template_as_native_obj: bool,
    template_search_path: Option<Vec<String>>,
    timezone: Option<String>,
    last_parsed: Moment,
    default_args: Value,
    rerun_with_latest_version: Option<bool>,
    owner_links: Value,
    is_favorite: bool,
    active_runs_count: u64,
    #[serde(flatten)]
    computed: Computed,
    concurrency: u32,
    latest_dag_version: Option<DagVersionResponse>,
}

pub(super) async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<DagDetails> {
    let dag_id = DagId::from(args.path("dag_id"));
    let own = state.clone();
    let find = move || {
        let record = known_dag(own.store(), &dag_id)?;
        let version = version_of(own.store(), &record)?;
        let running = RunFilter { dag_id: Some(dag_id), states: vec![DagRunState::Running], ..RunFilter::default() };
        let (_, active_runs_count) = own.store().runs(&running, &[], Page { limit: 0, offset: 0 })?;
        let mut lookup = Lookup::new(&own);
        lookup.know(&record);
        let latest = lookup.version(record.version)?.map(|version| (*version).clone());
        let asset_expression = expression(&own, &record)?;
        Ok(Json(DagDetails { asset_expression, ..details(&own, record, &version, active_runs_count, latest) }))
    };
    state.blocking(find).await
}

/// The structure of a Dag as it was serialized.
pub(crate) fn version_of(store: &dyn Store, record: &DagRecord) -> Result<DagVersion, ApiError> {
    let version = store.version(record.version)?;
    version.ok_or_else(|| ApiError::not_found(format!("The Dag with ID: `{}` was not found", record.dag_id)))
}

fn details(
    state: &ApiState,
    record: DagRecord,
    version: &DagVersion,
    active_runs_count: u64,
    latest_dag_version: Option<DagVersionResponse>,
) -> DagDetails {
    let encoded = Encoded::dag(&version.serialized);
    let (last_parsed, concurrency) = (Moment(record.last_parsed_at), record.max_active_tasks);
    let DagResponse { fields: dag, computed } = DagResponse::new(state, record);
    DagDetails {
        catchup: encoded.flag("catchup").unwrap_or(false),
        dag_run_timeout: encoded.number("dagrun_timeout").map(iso_duration),
        asset_expression: None,
        doc_md: encoded.text("doc_md").map(|text| clean_doc(&text)),
        start_date: encoded.moment("start_date"),
        end_date: encoded.moment("end_date"),
        is_paused_upon_creation: encoded.flag("is_paused_upon_creation"),
        params: encoded.params(),
        render_template_as_native_obj: encoded.flag("render_template_as_native_obj").unwrap_or(false),
        template_search_path: encoded.texts("template_searchpath"),
        timezone: encoded.text("timezone"),
        last_parsed,
        default_args: encoded.raw("default_args").map_or_else(|| json!({}), written),
        rerun_with_latest_version: encoded.flag("rerun_with_latest_version"),
        owner_links: encoded.raw("owner_links").map_or_else(|| json!({}), written),
        is_favorite: false,
        active_runs_count,
        computed,
        concurrency,
        latest_dag_version,
        dag,
    }
}
