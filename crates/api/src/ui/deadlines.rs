//! Deadlines of runs, and the alerts of Dags that they come from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use model::{DagId, Deadline, RunId, RunKey, VersionId};
use serde::Serialize;
use serde_json::Value;
use store::{DeadlineFilter, DeadlineOrder, Store};
use uuid::Uuid;

use super::graph::version;
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/dags/{dag_id}/dagRuns/{dag_run_id}/deadlines", Access::ReadDags, deadlines).get(
        "/dags/{dag_id}/deadlineAlerts",
        Access::ReadDags,
        alerts,
    )
}

/// The id of a version's alert: its place among them, and the version's own id.
fn alert_id(version: VersionId, place: u32) -> Uuid {
    Uuid::from_u128(version.0.as_u128() ^ (u128::from(place) + 1))
}

/// The alerts of a Dag as it was serialized.
fn alerts_of(serialized: &Value) -> &[Value] {
    serialized.pointer("/dag/deadline").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name_of(alert: &Value) -> Option<String> {
    alert.get("name").and_then(Value::as_str).map(str::to_owned)
}

/// `DeadlineResponse`.
#[derive(Serialize)]
struct DeadlineResponse {
    id: Uuid,
    deadline_time: Option<Moment>,
    missed: bool,
    created_at: Option<Moment>,
    dag_id: String,
    dag_run_id: String,
    alert_id: Option<Uuid>,
    alert_name: Option<String>,
}

/// `DeadlineCollectionResponse`.
#[derive(Serialize)]
struct DeadlineCollection {
    deadlines: Vec<DeadlineResponse>,
    total_entries: u64,
}

/// Ids begin with the moment in which they were made.
fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}

/// What deadlines are called, by the versions of their runs' Dags.
#[derive(Default)]
struct Names {
    versions: HashMap<VersionId, Vec<Option<String>>>,
    runs: HashMap<RunKey, Option<VersionId>>,
}

impl Names {
    /// Blocks.
    fn of(&mut self, deadline: &Deadline, store: &dyn Store) -> Result<(Option<Uuid>, Option<String>), ApiError> {
        let version = match self.runs.get(&deadline.run) {
            Some(version) => *version,
            None => {
                let version = store.run(&deadline.run)?.map(|run| run.version);
                self.runs.insert(deadline.run.clone(), version);
                version
            }
        };
        let Some(id) = version else { return Ok((None, None)) };
        let names = match self.versions.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let version = store.version(id)?;
                let names = version.map(|version| alerts_of(&version.serialized).iter().map(name_of).collect());
                place.insert(names.unwrap_or_default())
            }
        };
        let name = names.get(deadline.alert as usize).cloned().flatten();
        Ok((Some(alert_id(id, deadline.alert)), name))
    }
}

const ORDERS: [(&str, &[DeadlineOrder]); 8] = [
    ("id", &[DeadlineOrder::Id]),
    ("deadline_time", &[DeadlineOrder::At]),
    // Ids grow with the moments in which deadlines are made; later they do not change but for being missed.
    ("created_at", &[DeadlineOrder::Id]),
    ("last_updated_at", &[DeadlineOrder::Id]),
    ("missed", &[DeadlineOrder::Missed]),
    ("dag_id", &[DeadlineOrder::DagId]),
    ("dag_run_id", &[DeadlineOrder::RunId]),
    // Names are known to the structures of Dags only.
    ("alert_name", &[]),
];

async fn deadlines(State(state): State<ApiState>, mut args: Args) -> ApiResult<DeadlineCollection> {
    let (dag_id, run_id) = (args.path("dag_id"), args.path("dag_run_id"));
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    let missed = args.optional("missed", parse::boolean);
    let at = args.span("deadline_time");
    args.span("last_updated_at");
    args.finish()?;
    let order = order::resolve(&order_by, "deadline_time", &ORDERS, &[], DeadlineOrder::Id)?;
    let one = |id: &str| (id != "~").then(|| id.to_owned());
    if dag_id == "~" && run_id != "~" {
        return Err(ApiError::bad_request("dag_id is required when dag_run_id is specified"));
    }
    let filter =
        DeadlineFilter { dag_id: one(&dag_id).map(DagId::from), run_id: one(&run_id).map(RunId::from), missed, at };
    let look = move |store: &dyn Store| {
        let (found, total_entries) = store.list_deadlines(&filter, &order, page)?;
        if total_entries == 0 && run_id != "~" && store.run(&RunKey::new(dag_id.as_str(), run_id.as_str()))?.is_none() {
            return Err(ApiError::not_found(format!(
                "DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"
            )));
        }
        let mut names = Names::default();
        let mut deadlines = Vec::with_capacity(found.len());
        for (deadline, missed) in found {
            let (alert_id, alert_name) = names.of(&deadline, store)?;
            deadlines.push(DeadlineResponse {
                id: deadline.id.0,
                deadline_time: moment(deadline.at),
                missed,
                created_at: moment(made_at(deadline.id.0).or(deadline.at)),
                dag_id: deadline.run.dag_id.to_string(),
                dag_run_id: deadline.run.run_id.to_string(),
                alert_id,
                alert_name,
            });
        }
        Ok(DeadlineCollection { deadlines, total_entries })
    };
    state.read(look).await.map(Json)
}

/// `DeadlineAlertResponse`.
#[derive(Serialize)]
struct AlertResponse {
    id: Uuid,
    name: Option<String>,
    reference_type: String,
    /// In seconds; none where a variable holds them.
    interval: Option<f64>,
    created_at: Moment,
}

/// `DeadlineAlertCollectionResponse`.
#[derive(Serialize)]
struct AlertCollection {
    deadline_alerts: Vec<AlertResponse>,
    total_entries: usize,
}

/// What alerts may be ordered by.
#[derive(Clone, Copy, PartialEq)]
enum AlertOrder {
    /// Their place in the Dag, which is the order of their ids and moments, too.
    Place,
    Name,
}

async fn alerts(State(state): State<ApiState>, mut args: Args) -> ApiResult<AlertCollection> {
    let dag_id = DagId::from(args.path("dag_id"));
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    let number = args.optional("version_number", parse::integer);
    args.finish()?;
    let orders: [(&str, &[AlertOrder]); 3] =
        [("id", &[AlertOrder::Place]), ("created_at", &[AlertOrder::Place]), ("name", &[AlertOrder::Name])];
    let order = order::resolve(&order_by, "created_at", &orders, &[], AlertOrder::Place)?;
    let found = state.read(move |store| version(store, &dag_id, number)).await?;
    let alert = |(place, alert): (usize, &Value)| AlertResponse {
        id: alert_id(found.id, u32::try_from(place).unwrap_or(u32::MAX)),
        name: name_of(alert),
        reference_type: alert
            .pointer("/reference/reference_type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        interval: alert.get("interval").and_then(|interval| interval.get("__data__").unwrap_or(interval).as_f64()),
        created_at: Moment(found.created_at),
    };
    let mut alerts: Vec<(usize, AlertResponse)> =
        alerts_of(&found.serialized).iter().enumerate().map(|found| (found.0, alert(found))).collect();
    alerts.sort_by(|(place, one), (other_place, other)| {
        let compared = order.iter().map(|(key, direction)| {
            let ordering = match key {
                AlertOrder::Place => place.cmp(other_place),
                // What has no name comes last.
                AlertOrder::Name => (one.name.is_none(), &one.name).cmp(&(other.name.is_none(), &other.name)),
            };
            if *direction == store::Direction::Descending { ordering.reverse() } else { ordering }
        });
        compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    let total_entries = alerts.len();
    let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let deadline_alerts = alerts.into_iter().map(|(_, alert)| alert).skip(skip).take(take).collect();
    Ok(Json(AlertCollection { deadline_alerts, total_entries }))
}
