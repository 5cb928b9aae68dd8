//! Requests for runs, checked: ids, dates, and params against their schemas. The rules are those of Airflow's
//! `SerializedDAG.create_dagrun` and of the REST API's `TriggerDAGRunPostBody`.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use model::operations::python_isoformat;
use model::partition::MAX_KEY;
use model::{Dag, DataInterval, Json, Partition, RunId, RunType, TriggeredBy};
use python::Unanswered;
use regex::Regex;
use scheduler::NewRun;

pub use crate::params::check_params;

/// What a run id may look like: Airflow's default for `[scheduler] allowed_run_id_pattern`.
static RUN_ID: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(RUN_ID_PATTERN).ok());
const RUN_ID_PATTERN: &str = "^[A-Za-z0-9_.~:+-]+$";
/// What ids that are made look like (`RUN_ID_REGEX`). All that it allows the pattern above allows too.
const MADE_PATTERN: &str = r"^(?:manual|scheduled|asset_triggered)__(?:\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00)$";

/// Why a request can't be met as it is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTrigger {
    #[error("The run_id '{0}' must not contain '..' to prevent path traversal")]
    DoubleDot(String),
    #[error("The run_id provided '{run_id}' does not match regex pattern '{RUN_ID_PATTERN}' or '{MADE_PATTERN}'")]
    RunId { run_id: String },
    #[error("A {wanted} DAG run cannot use ID '{run_id}' since it is reserved for {reserved} runs")]
    ReservedRunId { run_id: String, wanted: RunType, reserved: RunType },
    #[error("data_interval must be None when logical_date is None")]
    IntervalWithoutDate,
    #[error("Dag '{0}' is not a partitioned Dag and does not accept a partition_key.")]
    NotPartitioned(model::DagId),
    #[error("{0}")]
    PartitionKey(String),
    #[error("Invalid input for param {name}: {reason}")]
    Param { name: String, reason: String },
    /// A timetable of a plugin has not said what the run is about.
    #[error("{}", .0.summary())]
    Timetable(Unanswered),
}

/// What somebody asks for; everything but the kind of run may be left to the engine.
#[derive(Clone, Debug)]
pub struct RunRequest {
    pub run_id: Option<String>,
    pub run_type: RunType,
    pub triggered_by: TriggeredBy,
    pub triggering_user: Option<String>,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    pub run_after: Option<Timestamp>,
    pub conf: Json,
    pub note: Option<String>,
    /// What part of the Dag's data the run is about.
    pub partition_key: Option<String>,
}

/// Checks a request and fills in what it leaves open. What only a timetable of a plugin can say, it has been asked before
/// ([`crate::timetables::fill_in`]).
pub fn check(request: RunRequest, dag: &Dag, now: Timestamp) -> Result<NewRun, InvalidTrigger> {
    let run_after = request.run_after.unwrap_or(now);
    let data_interval = match (request.logical_date, request.data_interval) {
        (None, Some(_)) => return Err(InvalidTrigger::IntervalWithoutDate),
        (Some(_), None) if dag.timetable.custom().is_some() => {
            let reason = "the timetable was not asked what the run is about; this is a bug".to_owned();
            return Err(InvalidTrigger::Timetable(Unanswered::NoAnswer(reason)));
        }
        (Some(logical_date), None) => dag.timetable.infer_manual_data_interval(logical_date),
        (_, interval) => interval,
    };
    let run_id =
        request.run_id.unwrap_or_else(|| format!("{}__{}", request.run_type.name(), python_isoformat(run_after)));
    check_run_id(&run_id, request.run_type)?;
    check_params(&dag.params, &request.conf)?;
    let partition = request.partition_key.map(|key| partition_of(dag, key)).transpose()?;
    Ok(NewRun {
        run_id: RunId::from(run_id),
        run_type: request.run_type,
        triggered_by: request.triggered_by,
        triggering_user: request.triggering_user,
        logical_date: request.logical_date,
        data_interval,
        run_after,
        conf: Arc::new(request.conf),
        note: request.note,
        partition,
    })
}

/// Airflow's `validate_partition_key` and `resolve_partition_date`.
fn partition_of(dag: &Dag, key: String) -> Result<Partition, InvalidTrigger> {
    let timetable = &dag.timetable;
    if !timetable.is_partitioned() && !timetable.is_partitioned_at_runtime() {
        return Err(InvalidTrigger::NotPartitioned(dag.dag_id.clone()));
    }
    let length = key.chars().count();
    if key.trim().is_empty() {
        return Err(InvalidTrigger::PartitionKey("partition_key must not be empty or whitespace-only.".to_owned()));
    }
    if length > MAX_KEY {
        let reason = format!("partition_key must be at most {MAX_KEY} characters; got {length}.");
        return Err(InvalidTrigger::PartitionKey(reason));
    }
    let date = timetable.partition_date(&key).map_err(|error| InvalidTrigger::PartitionKey(error.to_string()))?;
    Ok(Partition { key, date })
}

fn check_run_id(run_id: &str, run_type: RunType) -> Result<(), InvalidTrigger> {
    if run_id.contains("..") {
        return Err(InvalidTrigger::DoubleDot(run_id.to_owned()));
    }
    if !RUN_ID.as_ref().is_some_and(|pattern| pattern.is_match(run_id)) {
        return Err(InvalidTrigger::RunId { run_id: run_id.to_owned() });
    }
    let reserved = RunType::of_run_id(run_id);
    if run_type == RunType::Manual && reserved != RunType::Manual {
        return Err(InvalidTrigger::ReservedRunId { run_id: run_id.to_owned(), wanted: run_type, reserved });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(run_id: &str) -> RunRequest {
        RunRequest {
            run_id: Some(run_id.to_owned()),
            run_type: RunType::Manual,
            triggered_by: TriggeredBy::RestApi,
            triggering_user: None,
            logical_date: None,
            data_interval: None,
            run_after: None,
            conf: json!({}),
            note: None,
            partition_key: None,
        }
    }

    fn dag() -> Arc<Dag> {
        model::DagBuilder::new("d", model::timetable::Timetable::Null).build().unwrap()
    }

    fn message(request: RunRequest) -> String {
        check(request, &dag(), Timestamp::UNIX_EPOCH).unwrap_err().to_string()
    }

    #[test]
    fn run_ids_that_airflow_refuses_are_refused() {
        assert!(check(request("mine~1:2+3"), &dag(), Timestamp::UNIX_EPOCH).is_ok());
        assert_eq!(message(request("a..b")), "The run_id 'a..b' must not contain '..' to prevent path traversal");
        assert!(message(request("/x")).starts_with("The run_id provided '/x' does not match"));
        let reserved = "A manual DAG run cannot use ID 'scheduled__x' since it is reserved for scheduled runs";
        assert_eq!(message(request("scheduled__x")), reserved);
    }

    #[test]
    fn a_run_id_is_made_from_the_moment_of_the_run() {
        let run = check(RunRequest { run_id: None, ..request("") }, &dag(), Timestamp::from_microsecond(1).unwrap());
        assert_eq!(run.unwrap().run_id.as_str(), "manual__1970-01-01T00:00:00.000001+00:00");
    }
}
