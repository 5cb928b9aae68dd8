//! Watchers: triggers whose events are updates of assets.

use crate::Json;
use crate::asset::{Asset, AssetLike};

/// A watcher of an asset that a Dag is scheduled on.
#[derive(Clone, PartialEq, Debug)]
pub struct Watcher {
    pub asset: Asset,
    pub name: String,
    /// The path of the trigger's class.
    pub classpath: String,
    /// What the class is made with, as the Dag's serialized form has it.
    pub kwargs: Json,
}

impl Watcher {
    /// All that are in the condition of a timetable as Airflow serializes it.
    pub fn all_in(timetable: &Json) -> Vec<Watcher> {
        let mut found = Vec::new();
        let fields = timetable.get("__var").unwrap_or(timetable);
        if let Some(condition) = fields.get("asset_condition") {
            collect(condition, &mut found);
        }
        found
    }
}

fn collect(condition: &Json, found: &mut Vec<Watcher>) {
    let fields = condition.get("__var").unwrap_or(condition);
    for part in fields.get("objects").and_then(Json::as_array).into_iter().flatten() {
        collect(part, found);
    }
    let watchers = fields.get("watchers").and_then(Json::as_array);
    let (Some(watchers), Some(AssetLike::Asset(asset))) = (watchers, AssetLike::from_serialized(condition)) else {
        return;
    };
    found.extend(watchers.iter().filter_map(|watcher| {
        let trigger = watcher.get("trigger")?;
        Some(Watcher {
            asset: asset.clone(),
            name: watcher.get("name")?.as_str()?.to_owned(),
            classpath: trigger.get("classpath")?.as_str()?.to_owned(),
            kwargs: trigger.get("kwargs").cloned().unwrap_or_else(|| Json::Object(Default::default())),
        })
    }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn watchers_are_found_wherever_they_stand_in_a_condition() {
        let watcher = |name: &str| json!([{"name": name, "trigger": {"classpath": "own.T", "kwargs": {"path": name}}}]);
        let asset = |name: &str| {
            json!({"__type": "asset", "name": name, "uri": name, "group": "g", "extra": {},
            "watchers": watcher(name)})
        };
        let plain = json!({"__type": "asset", "name": "p", "uri": "p", "group": "g", "extra": {}});
        let any = json!({"__type": "asset_any", "objects": [asset("b"), {"__type": "asset_ref", "name": "r"}]});
        let condition = json!({"__type": "asset_all", "objects": [asset("a"), any, plain]});
        let found = Watcher::all_in(&json!({"__type": "x", "__var": {"asset_condition": condition}}));
        let shown: Vec<_> =
            found.iter().map(|one| (one.name.as_str(), one.asset.key.uri.as_str(), &one.kwargs)).collect();
        assert_eq!(shown, [("a", "a", &json!({"path": "a"})), ("b", "b", &json!({"path": "b"}))]);
        assert_eq!(Watcher::all_in(&json!({"__type": "x", "__var": {}})), []);
    }
}
