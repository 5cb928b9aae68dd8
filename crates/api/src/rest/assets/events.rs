//! What happened to assets.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use model::{AssetEvent, AssetEventId, AssetUpdate, DagId, DagRun, MapIndex, Partition, RunId, RunKey, TaskId};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Direction, EventListFilter, EventOrder, ListedEvent, Page, Store};

use super::{names, shown_extra};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse::{self, Fault, Parsed};
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/assets/events", Access::ReadAssets, list).post("/assets/events", Access::WriteAssets, create).get(
        "/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents",
        Access::ReadAssets,
        of_run,
    )
}

/// `DagRunAssetReference`.
#[derive(Serialize)]
struct CreatedRun {
    run_id: String,
    dag_id: String,
    logical_date: Option<Moment>,
    /// A run that has not started has none, which this form does not know.
    start_date: Moment,
    end_date: Option<Moment>,
    state: &'static str,
    data_interval_start: Option<Moment>,
    data_interval_end: Option<Moment>,
    partition_key: Option<String>,
    triggering: bool,
}

impl CreatedRun {
    fn new(run: &DagRun, triggering: bool) -> Self {
        Self {
            run_id: run.key.run_id.to_string(),
            dag_id: run.key.dag_id.to_string(),
            logical_date: moment(run.logical_date),
            start_date: Moment(run.start_date.or(run.queued_at).unwrap_or(run.run_after)),
            end_date: moment(run.end_date),
            state: run.state.name(),
            data_interval_start: moment(run.data_interval.map(|interval| interval.start)),
            data_interval_end: moment(run.data_interval.map(|interval| interval.end)),
            partition_key: run.partition.as_ref().map(|partition| partition.key.clone()),
            triggering,
        }
    }
}

/// `AssetEventResponse`.
#[derive(Serialize)]
struct EventResponse {
    id: i64,
    asset_id: i64,
    uri: String,
    name: String,
    group: String,
    extra: Value,
    source_task_id: Option<String>,
    source_dag_id: Option<String>,
    source_run_id: Option<String>,
    source_map_index: i32,
    created_dagruns: Vec<CreatedRun>,
    timestamp: Moment,
    partition_key: Option<String>,
}

impl EventResponse {
    fn new(listed: ListedEvent, created_dagruns: Vec<CreatedRun>, state: &ApiState) -> Self {
        let ListedEvent { asset_number, event: AssetEvent { id, update, source, at } } = listed;
        Self {
            id: id.0,
            asset_id: asset_number,
            uri: update.asset.key.uri,
            name: update.asset.key.name,
            group: update.asset.group,
            extra: shown_extra(update.extra, state),
            source_task_id: source.as_ref().map(|source| source.task_id.to_string()),
            source_dag_id: source.as_ref().map(|source| source.run.dag_id.to_string()),
            source_run_id: source.as_ref().map(|source| source.run.run_id.to_string()),
            source_map_index: source.map_or(MapIndex::NONE, |source| source.map_index).0,
            created_dagruns,
            timestamp: Moment(at),
            partition_key: update.partition.map(|partition| partition.key),
        }
    }
}

#[derive(Serialize)]
struct EventList {
    asset_events: Vec<EventResponse>,
    total_entries: u64,
}

/// Events with the runs that were made of them. Blocks.
fn shown(state: &ApiState, found: Vec<ListedEvent>) -> Result<Vec<EventResponse>, ApiError> {
    let store = state.store();
    let ids: Vec<AssetEventId> = found.iter().map(|listed| listed.event.id).collect();
    let mut runs: HashMap<AssetEventId, Vec<Arc<DagRun>>> = HashMap::new();
    for (event, run) in store.runs_of_asset_events(&ids)? {
        runs.entry(event).or_default().push(run);
    }
    // Only the last of the events that a run was made of has triggered it.
    let mut last: HashMap<RunKey, Option<AssetEventId>> = HashMap::new();
    for run in runs.values().flatten() {
        if !last.contains_key(&run.key) {
            last.insert(run.key.clone(), store.last_consumed(&run.key)?);
        }
    }
    let mut events = Vec::with_capacity(found.len());
    for listed in found {
        let id = listed.event.id;
        let is_last = |run: &DagRun| last.get(&run.key).is_some_and(|last| *last == Some(id));
        let made = runs.remove(&id).unwrap_or_default();
        let made = made.iter().map(|run| CreatedRun::new(run, is_last(run))).collect();
        events.push(EventResponse::new(listed, made, state));
    }
    Ok(events)
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<EventList> {
    let page = args.page(&state);
    let filter = EventListFilter {
        asset_number: args.optional("asset_id", parse::integer),
        source_dag_id: args.text("source_dag_id").map(DagId::from),
        source_run_id: args.text("source_run_id").map(RunId::from),
        source_task_id: args.text("source_task_id").map(TaskId::from),
        source_map_index: args.optional("source_map_index", parse::integer),
        names: names(&args, "name"),
        at: args.span("timestamp"),
        consumed_by: None,
    };
    args.finish()?;
    let allowed: &[(&str, &[EventOrder])] = &[
        ("source_task_id", &[EventOrder::SourceTaskId]),
        ("source_dag_id", &[EventOrder::SourceDagId]),
        ("source_run_id", &[EventOrder::SourceRunId]),
        ("source_map_index", &[EventOrder::SourceMapIndex]),
        ("timestamp", &[EventOrder::At]),
    ];
    let order = order::resolve(&args.texts("order_by"), "timestamp", allowed, &[], EventOrder::Id)?;
    let own = state.clone();
    let listed = move || {
        let (found, total_entries) = own.store().list_asset_events(&filter, &order, page)?;
        Ok(Json(EventList { asset_events: shown(&own, found)?, total_entries }))
    };
    state.blocking(listed).await
}

/// The events that a run was made of.
async fn of_run(State(state): State<ApiState>, args: Args) -> ApiResult<EventList> {
    let key = RunKey::new(args.path("dag_id"), args.path("dag_run_id"));
    let own = state.clone();
    let listed = move || {
        let store = own.store();
        if store.run(&key)?.is_none() {
            let RunKey { dag_id, run_id } = &key;
            let detail = format!("The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found");
            return Err(ApiError::not_found(detail));
        }
        let filter = EventListFilter { consumed_by: Some(key), ..EventListFilter::default() };
        let order = [(EventOrder::Id, Direction::Ascending)];
        let (found, total_entries) = store.list_asset_events(&filter, &order, Page::ALL)?;
        Ok(Json(EventList { asset_events: shown(&own, found)?, total_entries }))
    };
    state.blocking(listed).await
}

/// Letters that the key of a partition may have (`ID_LEN`).
const MAX_PARTITION_KEY: usize = 250;

fn partition_key(input: &Value) -> Parsed<String> {
    let key = parse::text_up_to(MAX_PARTITION_KEY)(input)?;
    if key.chars().all(char::is_whitespace) {
        let message = "String should match pattern '\\S'";
        return Err(Fault::with("string_pattern_mismatch", message, json!({"pattern": "\\S"})));
    }
    Ok(key)
}

/// `CreateAssetEventsBody`.
struct EventBody {
    asset_id: i64,
    partition_key: Option<String>,
    extra: serde_json::Map<String, Value>,
}

impl EventBody {
    fn read(mut fields: Fields<'_>) -> Self {
        let asset_id = fields.required("asset_id", parse::integer);
        let partition_key = fields.optional("partition_key", partition_key);
        let mut extra = fields.or("extra", serde_json::Map::new(), parse::dict);
        // Teams are not kept apart here: all may hear of it, whoever is named.
        if let Some(control) = fields.raw("access_control").filter(|control| !control.is_null()) {
            let place = fields.place_of("access_control");
            let mut control = Fields::of(control, place, fields.issues());
            control.optional_list("consumer_teams", parse::text);
            control.or("allow_global", true, parse::boolean);
            control.forbid_others();
        }
        fields.forbid_others();
        extra.insert("from_rest_api".into(), true.into());
        Self { asset_id, partition_key, extra }
    }
}

fn unknown_asset(number: i64) -> ApiError {
    ApiError::not_found(format!("Asset with ID: `{number}` was not found"))
}

async fn create(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<EventResponse> {
    let EventBody { asset_id, partition_key, extra } = EventBody::read(body.fields(&mut args.issues));
    args.finish()?;
    let found = state.read(move |store: &dyn Store| {
        let asset = store.asset_numbered(asset_id)?.ok_or_else(|| unknown_asset(asset_id))?;
        let active = store.asset(&asset.key)?.is_some_and(|record| record.active);
        Ok((asset, active))
    });
    let (asset, active) = found.await?;
    if !active {
        tracing::warn!(name = asset.key.name, uri = asset.key.uri, "an inactive asset is updated through the API");
    }
    let partition = partition_key.map(|key| Partition::new(key, None));
    let update = AssetUpdate { asset, extra: Value::Object(extra), aliases: Vec::new(), active, partition };
    let event = *state.engine().update_asset(update).await?;
    Ok(Json(EventResponse::new(ListedEvent { asset_number: asset_id, event }, Vec::new(), &state)))
}
