//! What tasks ask about assets, as the execution API's `assets` and `asset-events` routes have it, and what a task says of
//! those that it produced.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    Asset, AssetEvent, AssetEventId, AssetKey, AssetLike, AssetMark, Dag, DagRun, Json, OutletEvent, Outlets, Task,
    TaskId,
};
use python::import::Answer;
use python::message::{ErrorType, asset_fields, dag_run_fields, server_error};
use serde_json::json;
use store::{AssetEventFilter, Store, StoreError};

use crate::answers::StoreAnswers;

/// Events that one question may get.
const MAX_EVENTS: u64 = 100_000;

/// Which events a task asks for.
pub(crate) struct EventQuery {
    pub(crate) after: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
    pub(crate) ascending: bool,
    pub(crate) limit: Option<u64>,
}

impl StoreAnswers {
    /// The active asset with this name or this URI.
    pub(crate) fn asset(&self, name: Option<&str>, uri: Option<&str>) -> Result<Answer, StoreError> {
        let body = match self.store.active_asset(name, uri)? {
            Some(asset) => {
                let mut fields = asset_fields(&asset);
                fields["type"] = "AssetResult".into();
                fields
            }
            None => ErrorType::AssetNotFound.response(match name {
                Some(name) => json!({"name": name}),
                None => json!({"uri": uri}),
            }),
        };
        Ok(Answer::Body(body))
    }

    pub(crate) fn assets_of_alias(&self, alias: &str) -> Result<Answer, StoreError> {
        let assets: Vec<Json> = self.store.assets_of_alias(alias)?.iter().map(asset_fields).collect();
        Ok(Answer::Body(json!({"type": "AssetsByAliasResult", "assets": assets})))
    }

    pub(crate) fn events_of_asset(
        &self,
        name: Option<String>,
        uri: Option<String>,
        query: &EventQuery,
    ) -> Result<Answer, StoreError> {
        if name.is_none() && uri.is_none() {
            return Ok(Answer::Refused(server_error(400, "Missing parameter: name and uri cannot both be None")));
        }
        // Who knows both may ask for what is no longer active.
        let active_only = name.is_none() || uri.is_none();
        self.events(AssetEventFilter { name, uri, active_only, ..AssetEventFilter::default() }, query)
    }

    pub(crate) fn events_of_alias(&self, alias: String, query: &EventQuery) -> Result<Answer, StoreError> {
        self.events(AssetEventFilter { alias: Some(alias), ..AssetEventFilter::default() }, query)
    }

    /// Of more events than one question may get the newest are told.
    fn events(&self, filter: AssetEventFilter, query: &EventQuery) -> Result<Answer, StoreError> {
        // None is as good as 0 here, as in Airflow.
        let limit = query.limit.filter(|limit| (1..=MAX_EVENTS).contains(limit));
        let newest_first = !query.ascending || limit.is_none();
        let limit = limit.unwrap_or(MAX_EVENTS);
        let filter = AssetEventFilter { after: query.after, before: query.before, newest_first, limit, ..filter };
        let mut events = self.store.asset_events(&filter)?;
        if newest_first && query.ascending {
            events.reverse();
        }
        let ids: Vec<AssetEventId> = events.iter().map(|event| event.id).collect();
        let mut runs: HashMap<AssetEventId, Vec<Arc<DagRun>>> = HashMap::new();
        for (event, run) in self.store.runs_of_asset_events(&ids)? {
            runs.entry(event).or_default().push(run);
        }
        let runs_of = |event: &AssetEvent| runs.get(&event.id).map(Vec::as_slice).unwrap_or_default();
        let events: Vec<Json> = events.iter().map(|event| event_fields(event, runs_of(event))).collect();
        Ok(Answer::Body(json!({"type": "AssetEventsResult", "asset_events": events})))
    }

    /// The inlets and outlets of the task that asks that are no active assets.
    pub(crate) fn validate(&self) -> Result<Answer, StoreError> {
        let inactive = match &self.own {
            Some(own) => inactive_assets(&*self.store, task_of(&own.dag, &own.ti.task_id))?,
            None => Vec::new(),
        };
        let profile = |key: &AssetKey| json!({"name": key.name, "uri": key.uri, "type": "Asset"});
        let inactive: Vec<Json> = inactive.iter().map(profile).collect();
        Ok(Answer::Body(json!({"type": "InactiveAssetsResult", "inactive_assets": inactive})))
    }

    /// A run as tasks see it, with the events that it was made of.
    pub(crate) fn run_fields(&self, run: &DagRun) -> Result<Json, StoreError> {
        Ok(dag_run_fields(run, &self.store.consumed_asset_events(&run.key)?))
    }
}

fn event_fields(event: &AssetEvent, runs: &[Arc<DagRun>]) -> Json {
    let moment = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let run_fields = |run: &Arc<DagRun>| {
        json!({
            "run_id": run.key.run_id.as_str(),
            "dag_id": run.key.dag_id.as_str(),
            "logical_date": moment(run.logical_date),
            // A run that has not started has none, which the SDK's form does not know.
            "start_date": moment(run.start_date.or(run.queued_at).or(Some(run.run_after))),
            "end_date": moment(run.end_date),
            "state": run.state.name(),
            "data_interval_start": moment(run.data_interval.map(|interval| interval.start)),
            "data_interval_end": moment(run.data_interval.map(|interval| interval.end)),
            "partition_key": run.partition.as_ref().map(|partition| &partition.key),
        })
    };
    let runs: Vec<Json> = runs.iter().map(run_fields).collect();
    let source = event.source.as_ref();
    json!({
        "id": event.id.0,
        "timestamp": event.at.to_string(),
        "extra": event.update.extra,
        "asset": asset_fields(&event.update.asset),
        "created_dagruns": runs,
        "source_task_id": source.map(|source| source.task_id.as_str()),
        "source_dag_id": source.map(|source| source.run.dag_id.as_str()),
        "source_run_id": source.map(|source| source.run.run_id.as_str()),
        "source_map_index": source.map(|source| source.map_index.0),
        "partition_key": event.update.partition.as_ref().map(|partition| &partition.key),
    })
}

fn task_of<'a>(dag: &'a Dag, task_id: &TaskId) -> Option<&'a Task> {
    dag.find(task_id.as_str()).map(|task| dag.task(task))
}

/// The inlets and outlets of a task that are no active assets.
pub(crate) fn inactive_assets(store: &dyn Store, task: Option<&Task>) -> Result<Vec<AssetKey>, StoreError> {
    let mut inactive: Vec<AssetKey> = Vec::new();
    for part in task.into_iter().flat_map(|task| task.inlets.iter().chain(&task.outlets)) {
        let AssetLike::Asset(Asset { key, .. }) = part else { continue };
        if !inactive.contains(key) && !store.asset(key)?.is_some_and(|record| record.active) {
            inactive.push(key.clone());
        }
    }
    Ok(inactive)
}

/// What a task that says nothing of its outlets has produced.
pub(crate) fn declared_outlets(task: &Task) -> Outlets {
    Outlets { declared: task.outlets.iter().map(AssetLike::mark).collect(), events: Vec::new() }
}

/// What the official task runner says of a task's outlets.
pub(crate) fn told_outlets(profiles: Option<&[Json]>, events: Option<&[Json]>) -> Outlets {
    Outlets {
        declared: profiles.unwrap_or_default().iter().filter_map(mark_of).collect(),
        events: events.unwrap_or_default().iter().filter_map(outlet_event).collect(),
    }
}

fn text(value: &Json, name: &str) -> Option<String> {
    value.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn mark_of(profile: &Json) -> Option<AssetMark> {
    Some(match profile.get("type")?.as_str()? {
        "Asset" => AssetMark::Asset(AssetKey { name: text(profile, "name")?, uri: text(profile, "uri")? }),
        "AssetNameRef" => AssetMark::Name(text(profile, "name")?),
        "AssetUriRef" => AssetMark::Uri(text(profile, "uri")?),
        "AssetAlias" => AssetMark::Alias(text(profile, "name")?),
        _ => return None,
    })
}

fn outlet_event(told: &Json) -> Option<OutletEvent> {
    let key = told.get("dest_asset_key")?;
    let object = |name: &str| told.get(name).filter(|value| value.is_object()).cloned().unwrap_or_else(|| json!({}));
    Some(OutletEvent {
        asset: AssetKey { name: text(key, "name")?, uri: text(key, "uri")? },
        extra: object("extra"),
        partition_key: text(told, "partition_key"),
        alias: text(told, "source_alias_name").map(|alias| (alias, object("dest_asset_extra"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlets_are_read_as_the_task_runner_tells_them() {
        let profiles = [
            json!({"name": "a", "uri": "s3://a", "type": "Asset"}),
            json!({"name": "b", "uri": null, "type": "AssetNameRef"}),
            json!({"name": null, "uri": "s3://c", "type": "AssetUriRef"}),
            json!({"name": "al", "type": "AssetAlias"}),
            json!({"name": "x", "type": "Else"}),
        ];
        let key = json!({"name": "a", "uri": "s3://a"});
        let events = [
            json!({"dest_asset_key": key, "extra": {"x": 1}, "partition_key": "eu"}),
            json!({"dest_asset_key": key, "extra": {}, "source_alias_name": "al", "dest_asset_extra": {"y": 2}}),
            json!({"extra": {}}),
        ];
        let told = told_outlets(Some(&profiles), Some(&events));
        let asset = AssetKey { name: "a".into(), uri: "s3://a".into() };
        let declared = [
            AssetMark::Asset(asset.clone()),
            AssetMark::Name("b".into()),
            AssetMark::Uri("s3://c".into()),
            AssetMark::Alias("al".into()),
        ];
        assert_eq!(told.declared, declared);
        let plain =
            OutletEvent { asset: asset.clone(), extra: json!({"x": 1}), partition_key: Some("eu".into()), alias: None };
        let aliased =
            OutletEvent { asset, extra: json!({}), partition_key: None, alias: Some(("al".into(), json!({"y": 2}))) };
        assert_eq!(told.events, [plain, aliased]);
        assert!(told_outlets(None, None).is_empty());
    }
}
