//! What the scheduler keeps of every Dag, as the store holds it.

use jiff::Timestamp;
use model::timetable::{Restriction, Timetable};
use model::{Dag, DagLimits, Json, Watcher};
use scheduler::DagFacts;
use serde_json::json;
use store::DagRecord;

/// Facts that this version can't read.
#[derive(Debug, thiserror::Error)]
#[error("the facts of Dag {dag_id} can't be read: {reason}")]
pub struct FactsError {
    dag_id: model::DagId,
    reason: String,
}

/// The facts of a Dag as a document. `timetable` is its serialized form, with `__type` and `__var`; `may_schedule` says
/// whether the timetable may make runs, `may_follow_assets` whether updates of assets may. `traits` is what the import found
/// of a timetable from a plugin.
pub fn facts_to_json(
    dag: &Dag,
    timetable: &Json,
    traits: Option<&Json>,
    may_schedule: bool,
    may_follow_assets: bool,
) -> Json {
    let Restriction { earliest, latest, catchup } = dag.restriction();
    json!({
        "timetable": timetable,
        "traits": traits,
        "earliest": earliest.map(Timestamp::as_microsecond),
        "latest": latest.map(Timestamp::as_microsecond),
        "catchup": catchup,
        "may_schedule": may_schedule,
        "may_follow_assets": may_follow_assets,
    })
}

pub fn facts_of(record: &DagRecord) -> Result<DagFacts, FactsError> {
    let error = |reason: String| FactsError { dag_id: record.dag_id.clone(), reason };
    let facts = &record.facts;
    let moment = |name: &str| -> Result<Option<Timestamp>, FactsError> {
        let micros = facts.get(name).and_then(Json::as_i64);
        micros.map(Timestamp::from_microsecond).transpose().map_err(|cause| error(format!("{name}: {cause}")))
    };
    let timetable = facts.get("timetable").ok_or_else(|| error("the timetable is missing".into()))?;
    let type_name = timetable.get("__type").and_then(Json::as_str).unwrap_or_default();
    let data = timetable.get("__var").cloned().unwrap_or(Json::Null);
    let timetable = Timetable::from_serialized(type_name, &data).map_err(|cause| error(cause.to_string()))?;
    let timetable = timetable.with_traits(facts.get("traits").unwrap_or(&Json::Null));
    let flag = |name: &str| facts.get(name).and_then(Json::as_bool).unwrap_or(false);
    Ok(DagFacts {
        dag_id: record.dag_id.clone(),
        version: record.version,
        timetable,
        restriction: Restriction { earliest: moment("earliest")?, latest: moment("latest")?, catchup: flag("catchup") },
        limits: DagLimits {
            max_active_runs: record.max_active_runs,
            max_active_tasks: record.max_active_tasks,
            max_consecutive_failed_dag_runs: record.max_consecutive_failed_dag_runs,
        },
        paused: record.paused,
        schedule: record.schedule.clone(),
        may_schedule: flag("may_schedule") && !record.has_import_errors,
        may_follow_assets: flag("may_follow_assets") && !record.has_import_errors,
        watchers: Watcher::all_in(facts.get("timetable").unwrap_or(&Json::Null)),
    })
}
