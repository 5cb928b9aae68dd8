//! Assets: what the next run of a Dag waits for, and which tasks an asset has to do with.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use axum::Json;
use axum::extract::State;
use model::{AssetKey, DagId};
use serde_json::{Value, json};
use store::{AssetFilter, AssetUse, ListedAsset, Page, Store};

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::rest::assets::expression::{expression, named};
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::moment;

/// What stands between the parts of a task's id in graphs.
const SEPARATOR: &str = "__SEPARATOR__";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/next_run_assets/{dag_id}", Access::ReadAssets, next_run)
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
