//! What a Dag is scheduled on, for people to see.

use std::collections::HashMap;

use model::{AssetCondition, AssetKey, AssetLike, DagId};
use serde_json::{Value, json};
use store::{AssetFilter, AssetOrder, DagRecord, Direction, ListedAsset, Page, Store};

use crate::error::ApiError;
use crate::state::ApiState;

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
pub(crate) fn named(store: &dyn Store, dag_id: &DagId) -> Result<Vec<ListedAsset>, ApiError> {
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
