//! All tries of a run's task instances, as the Gantt chart draws them.

use axum::Json;
use axum::extract::State;
use model::{DagId, RunId, RunKey, TaskInstance, TaskState};
use serde::Serialize;

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::rest::lookup::Lookup;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/gantt/{dag_id}/{run_id}", Access::ReadDags, get)
}

/// `GanttTaskInstance`.
#[derive(Serialize)]
struct Bar {
    task_id: String,
    task_display_name: String,
    try_number: u32,
    state: Option<&'static str>,
    scheduled_dttm: Option<Moment>,
    queued_dttm: Option<Moment>,
    start_date: Option<Moment>,
    end_date: Option<Moment>,
    /// The chart finds these out by itself.
    is_group: bool,
    is_mapped: bool,
}

/// `GanttResponse`.
#[derive(Serialize)]
struct Gantt {
    dag_id: String,
    run_id: String,
    task_instances: Vec<Bar>,
}

fn bar(ti: &TaskInstance, task_display_name: String) -> Bar {
    Bar {
        task_id: ti.task_id.to_string(),
        task_display_name,
        try_number: ti.try_number,
        // The try that waits for the next one has failed.
        state: if ti.state == TaskState::UpForRetry { TaskState::Failed } else { ti.state }.name(),
        scheduled_dttm: moment(ti.scheduled_at),
        queued_dttm: moment(ti.queued_at),
        start_date: moment(ti.start_date),
        end_date: moment(ti.end_date),
        is_group: false,
        is_mapped: false,
    }
}

async fn get(State(state): State<ApiState>, args: Args) -> ApiResult<Gantt> {
    let key = RunKey::new(DagId::from(args.path("dag_id")), RunId::from(args.path("run_id")));
    let own = state.clone();
    let look = move || {
        let lookup = Lookup::new(&own);
        let mut bars = Vec::new();
        // Instances of mapped tasks are one bar each, which the chart makes of the grid's summaries.
        for ti in own.store().task_instances_of(&key)?.iter().filter(|ti| !ti.map_index.is_mapped()) {
            let name = lookup.task_display_name(ti)?;
            let archived = own.store().archived_tries(&ti.key())?;
            let before = archived.iter().map(|archived| &archived.task_instance).filter(|past| past.id != ti.id);
            bars.extend(before.map(|past| bar(past, name.clone())));
            bars.push(bar(ti, name));
        }
        if bars.is_empty() {
            let RunKey { dag_id, run_id } = &key;
            return Err(ApiError::not_found(format!("No task instances for dag_id={dag_id} run_id={run_id}")));
        }
        bars.sort_by(|one, other| (&one.task_id, one.try_number).cmp(&(&other.task_id, other.try_number)));
        Ok(Gantt { dag_id: key.dag_id.to_string(), run_id: key.run_id.to_string(), task_instances: bars })
    };
    state.blocking(look).await.map(Json)
}
