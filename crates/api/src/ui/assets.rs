//! Assets: what the next run of a Dag waits for, and which tasks an asset has to do with.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use axum::Json;
use axum::extract::State;
use model::{AssetCondition, AssetKey, AssetLike, DagId};
use serde_json::{Value, json};
use store::{AssetFilter, AssetOrder, AssetUse, DagRecord, Direction, ListedAsset, Page, Store};

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::moment;

/// What stands between the parts of a task's id in graphs.
const SEPARATOR: &str = "__SEPARATOR__";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/next_run_assets/{dag_id}", Access::ReadAssets, next_run)
}

/// What a Dag is scheduled on as Airflow keeps it for display (`asset_expression`); `numbers` are those of its assets.
fn expression_of(condition: &AssetCondition, numbers: &HashMap<AssetKey, i64>) -> Value {
    let all = |parts: &[AssetCondition]| -> Value { parts.iter().map(|part| expression_of(part, numbers)).collect() };
    match condition {
        AssetCondition::All(parts) => json!({"all": all(parts)}),
        AssetCondition::Any(parts) => json!({"any": all(parts)}),
        AssetCondition::Of(AssetLike::Asset(asset)) => {
            let AssetKey { name, uri } = &asset.key;
            json!({"asset": {"uri": uri, "name": name, "group": asset.group, "id": numbers.get(&asset.key)}})
        }
        AssetCondition::Of(AssetLike::Alias { name, group }) => json!({"alias": {"name": name, "group": group}}),
        AssetCondition::Of(AssetLike::NameRef(name)) => json!({"asset_ref": {"name": name}}),
        AssetCondition::Of(AssetLike::UriRef(uri)) => json!({"asset_ref": {"uri": uri}}),
    }
}

/// The assets that a Dag names.
fn named(store: &dyn Store, dag_id: &DagId) -> Result<Vec<ListedAsset>, ApiError> {
    let filter = AssetFilter { dag_ids: Some(vec![dag_id.clone()]), ..AssetFilter::default() };
    Ok(store.list_assets(&filter, &[(AssetOrder::Uri, Direction::Ascending)], Page::ALL)?.0)
}

fn numbers(assets: &[ListedAsset]) -> HashMap<AssetKey, i64> {
    assets.iter().map(|listed| (listed.asset.key.clone(), listed.number)).collect()
}

/// What a Dag is scheduled on; nothing where that is only time. Blocks.
pub(crate) fn expression(state: &ApiState, record: &DagRecord) -> Result<Option<Value>, ApiError> {
    // The structures of the others need not be read.
    if !record.timetable_type.contains("Asset") && record.facts.get("traits").is_none_or(Value::is_null) {
        return Ok(None);
    }
    let Some(dag) = state.structure(record.version)? else { return Ok(None) };
    let Some(condition) = dag.timetable.listens_to() else { return Ok(None) };
    Ok(Some(expression_of(condition, &numbers(&named(state.store(), &record.dag_id)?))))
}

/// `NextRunAssetsResponse`. Of Dags with partitions it says which assets they wait for, not which of their keys have come.
async fn next_run(State(state): State<ApiState>, args: Args) -> ApiResult<Value> {
    let dag_id = DagId::from(args.path("dag_id"));
    let own = state.clone();
    let look = move || {
        let store = own.store();
        let missing = || ApiError::not_found(format!("Dag with id {dag_id} was not found"));
        let record = store.dag(&dag_id)?.ok_or_else(missing)?;
        let queued: HashSet<i64> =
            store.list_queued(Some(&dag_id), None)?.into_iter().map(|queued| queued.asset_number).collect();
        let waits = |listed: &&ListedAsset| {
            listed.uses.iter().any(|use_| use_.dag_id == dag_id && use_.by == AssetUse::Schedule)
        };
        let assets = named(store, &dag_id)?;
        let mut events = Vec::new();
        for listed in assets.iter().filter(waits) {
            let last = listed.last_event.map(|(_, at)| at).filter(|_| queued.contains(&listed.number));
            let active = store.asset(&listed.asset.key)?.is_some_and(|record| record.active);
            let AssetKey { name, uri } = &listed.asset.key;
            events.push(json!({
                "id": listed.number, "name": name, "uri": uri, "last_update": moment(last), "received_count": 0,
                "required_count": 1, "received_keys": [], "required_keys": [], "is_rollup": false,
                "mapper_error": false, "asset_inactive": !active,
            }));
        }
        let expression = expression(&own, &record)?;
        Ok(json!({"asset_expression": expression, "events": events, "pending_partition_count": null}))
    };
    state.blocking(look).await.map(Json)
}

/// Nodes by their ids, with their labels and types, and the edges between them.
#[derive(Default)]
pub(super) struct Lineage {
    pub(super) nodes: BTreeMap<String, (String, &'static str)>,
    pub(super) edges: BTreeSet<(String, String)>,
}

/// Everything that an asset is made from, and what is made from it (`get_data_dependencies`); nothing where there is no
/// such asset. Blocks.
pub(super) fn lineage(store: &dyn Store, number: i64) -> Result<Lineage, ApiError> {
    let all = store.list_assets(&AssetFilter::default(), &[], Page::ALL)?.0;
    let by_number: HashMap<i64, &ListedAsset> = all.iter().map(|listed| (listed.number, listed)).collect();
    // The assets at the two ends of each task.
    let mut ends: HashMap<String, Vec<i64>> = HashMap::new();
    let task_of = |dag_id: &DagId, by: &AssetUse| match by {
        AssetUse::Schedule => None,
        AssetUse::Inlet(task_id) => Some((format!("task:{dag_id}{SEPARATOR}{task_id}"), format!("{dag_id}.{task_id}"))),
        AssetUse::Outlet(task_id) => {
            Some((format!("task:{dag_id}{SEPARATOR}{task_id}"), format!("{dag_id}.{task_id}")))
        }
    };
    for listed in &all {
        for (task, _) in listed.uses.iter().filter_map(|use_| task_of(&use_.dag_id, &use_.by)) {
            ends.entry(task).or_default().push(listed.number);
        }
    }
    let Lineage { mut nodes, mut edges } = Lineage::default();
    let mut waiting = VecDeque::from([number]);
    let mut seen = HashSet::from([number]);
    while let Some(listed) = waiting.pop_front().and_then(|number| by_number.get(&number)) {
        let asset = format!("asset:{}", listed.number);
        nodes.insert(asset.clone(), (listed.asset.key.name.clone(), "asset"));
        for use_ in &listed.uses {
            let Some((task, label)) = task_of(&use_.dag_id, &use_.by) else { continue };
            let is_outlet = matches!(use_.by, AssetUse::Outlet(_));
            edges.insert(if is_outlet { (task.clone(), asset.clone()) } else { (asset.clone(), task.clone()) });
            waiting.extend(ends.get(&task).into_iter().flatten().copied().filter(|number| seen.insert(*number)));
            nodes.insert(task, (label, "task"));
        }
    }
    Ok(Lineage { nodes, edges })
}
