//! Several runs whose task instances are to run again, in one request.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use model::{DagId, Partition, RunKey};
use serde_json::json;
use store::{Page, RunFilter, Store};

use super::bulk::{RunBody, read_run};
use super::clear::{AffectedCollection, ClearBody, affected, clear_one};
use super::{DagRunCollection, DagRunResponse, run_not_found};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::ApiError;
use crate::parse::{self, Fault, python_repr};
use crate::rest::cursor::counted;
use crate::rest::lookup::Lookup;
use crate::rest::strict;
use crate::rest::task_instances::clear::newest_structure;
use crate::state::ApiState;

const ONE_WAY: &str = "Exactly one of dag_runs (non-empty), partition_key, or a partition date window \
     (partition_date_start / partition_date_end) must be provided.";

/// `BulkDAGRunClearBody`.
struct ClearMany {
    /// Empty where runs are selected by their partitions.
    runs: Vec<RunBody>,
    partition_key: Option<String>,
    window: [Option<Timestamp>; 2],
    clear: ClearBody,
}

impl ClearMany {
    fn read(mut fields: Fields<'_>) -> Option<Self> {
        if ClearBody::contradicts(&mut fields) {
            return None;
        }
        let key = fields.optional("partition_key", parse::text);
        let mut moment = |name| fields.optional(name, parse::moment);
        let window: [Option<Timestamp>; 2] =
            [moment("partition_date_start"), moment("partition_date_end")].map(|at| at.and_then(|at| at.in_utc()));
        let clear = ClearBody::read(&mut fields);
        let runs = read_runs(&mut fields);
        if !fields.are_sound() {
            return None;
        }
        let by_window = window.iter().any(Option::is_some);
        let ways = [!runs.is_empty(), key.is_some(), by_window].into_iter().filter(|way| *way).count();
        let is_reversed = window[0].zip(window[1]).is_some_and(|(start, end)| start > end);
        if ways != 1 {
            fields.fault(Fault::value_error(ONE_WAY));
        } else if is_reversed {
            fields.fault(Fault::value_error("partition_date_start must be on or before partition_date_end."));
        }
        Some(Self { runs, partition_key: key, window, clear })
    }

    /// The runs of a Dag whose partitions are meant, by date and id. Blocks.
    fn of_partitions(&self, store: &dyn Store, dag_id: &DagId) -> Result<Vec<RunKey>, ApiError> {
        let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
        let is_meant = |partition: &Partition| match &self.partition_key {
            Some(key) => *key == partition.key,
            None => partition.date.is_some_and(|date| {
                let [start, end] = self.window;
                start.is_none_or(|start| start <= date) && end.is_none_or(|end| date <= end)
            }),
        };
        let mut found: Vec<(Option<Timestamp>, RunKey)> = Vec::new();
        for run in store.runs(&filter, &[], Page::ALL)?.0 {
            if let Some(partition) = run.partition.as_ref().filter(|partition| is_meant(partition)) {
                found.push((partition.date, run.key));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, key)| key).collect())
    }

    /// The runs that are meant, each once.
    fn keys(&self, dag_id: &str) -> Result<Vec<RunKey>, ApiError> {
        let mut keys: Vec<RunKey> = Vec::new();
        for run in &self.runs {
            let own = run.dag_id.as_deref().filter(|own| !own.is_empty());
            let key = match own {
                Some(own) if dag_id == "~" && own != "~" => RunKey::new(own, run.run_id.as_str()),
                _ if dag_id == "~" => {
                    return Err(ApiError::bad_request(format!(
                        "When the URL dag_id is '~', every entry must provide a concrete dag_id (missing on dag_run_id: {}).",
                        python_repr(&run.run_id)
                    )));
                }
                Some(own) if own != dag_id => {
                    return Err(ApiError::bad_request(format!(
                        "Entry dag_id {} does not match the URL dag_id {}.",
                        python_repr(own),
                        python_repr(dag_id)
                    )));
                }
                _ => RunKey::new(dag_id, run.run_id.as_str()),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

fn read_runs(fields: &mut Fields<'_>) -> Vec<RunBody> {
    let Some(value) = fields.raw("dag_runs") else { return Vec::new() };
    let place = fields.place_of("dag_runs");
    let Some(items) = value.as_array() else {
        fields.issues().add(&place, Fault::new("list_type", "Input should be a valid list"), value);
        return Vec::new();
    };
    let read = |(at, item)| {
        let place = place.iter().cloned().chain([json!(at)]).collect();
        strict::of_value(item, place, fields.issues(), read_run)
    };
    items.iter().enumerate().filter_map(read).collect()
}

pub(super) async fn clear(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> Result<Response, ApiError> {
    let body = ClearMany::read(body.fields(&mut args.issues));
    // Airflow reads the body twice, once to see whether the caller may do that, and tells of every fault twice.
    let again = args.issues.clone();
    args.issues.extend(again);
    let body = strict::checked(&mut args, body)?;
    let dag_id = args.path("dag_id");
    if body.runs.is_empty() {
        if dag_id == "~" {
            let message = "Partition selectors require a concrete dag_id; '~' is not supported.";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, message));
        }
        let (own, asked) = (state.clone(), body.clear.clone());
        let look = move || {
            let dag_id = DagId::from(dag_id);
            newest_structure(&Lookup::new(&own), &dag_id)?;
            body.of_partitions(own.store(), &dag_id)
        };
        let keys = state.blocking(look).await?;
        return respond(&state, keys, asked).await;
    }
    let keys = body.keys(&dag_id)?;
    respond(&state, keys, body.clear).await
}

async fn respond(state: &ApiState, keys: Vec<RunKey>, body: ClearBody) -> Result<Response, ApiError> {
    let (own, wanted, asked) = (state.clone(), keys.clone(), body.clone());
    let look = move || {
        let mut found = Vec::with_capacity(wanted.len());
        for key in &wanted {
            found.push(own.store().run(key)?.ok_or_else(|| run_not_found(key))?);
        }
        if !asked.dry_run {
            return Ok(None);
        }
        let mut task_instances = Vec::new();
        for run in &found {
            task_instances.extend(affected(&own, run, &asked)?);
        }
        Ok(Some(AffectedCollection { total_entries: task_instances.len(), task_instances }))
    };
    if let Some(affected) = state.blocking(look).await? {
        return Ok(Json(affected).into_response());
    }
    let mut runs = Vec::with_capacity(keys.len());
    for key in keys {
        runs.push(clear_one(state, key, body.clone()).await?);
    }
    let own = state.clone();
    let answer = move || {
        let dag_runs = DagRunResponse::all(runs, &mut Lookup::new(&own))?;
        let around = counted(dag_runs.len() as u64);
        Ok(Json(DagRunCollection { dag_runs, around }).into_response())
    };
    state.blocking(answer).await
}
