//! The list of entries, over any Dags, runs and tasks.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::{TextFilter, XComFilter, XComHead, XComOrder};

use super::{XComHeadBody, display_names};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::state::ApiState;
use crate::wire::{Moment, moment};

/// What may stand in a path for anything.
const ANY: &str = "~";

#[derive(Serialize)]
pub(super) struct XComList {
    xcom_entries: Vec<XComHeadBody>,
    total_entries: u64,
}

pub(super) async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<XComList> {
    let page = args.page(&state);
    let map_index_filter = args.optional("map_index_filter", parse::integer);
    let logical_date = args.span("logical_date");
    let run_after = args.span("run_after");
    let key = args.text("xcom_key");
    let map_index = args.optional("map_index", parse::at_least(-1));
    args.finish()?;
    let named = |name: &str| Some(args.path(name)).filter(|value| value != ANY);
    let texts =
        |pattern: &str, prefix: &str| TextFilter { pattern: args.pattern(pattern), prefix: args.prefix(prefix) };
    let filter = XComFilter {
        dag_id: named("dag_id").map(Into::into),
        run_id: named("dag_run_id").map(Into::into),
        task_id: named("task_id").map(Into::into),
        map_index: map_index.or(map_index_filter),
        key,
        keys: texts("xcom_key_pattern", "xcom_key_prefix_pattern"),
        dag_display_names: texts("dag_display_name_pattern", "dag_display_name_prefix_pattern"),
        run_ids: texts("run_id_pattern", "run_id_prefix_pattern"),
        task_ids: texts("task_id_pattern", "task_id_prefix_pattern"),
        logical_date,
        run_after,
    };
    let order = order_of(&args)?;
    let contradicts = map_index.zip(map_index_filter).is_some_and(|(one, other)| one != other);
    let state_there = state.clone();
    let listed = state.blocking(move || {
        let (heads, total_entries) =
            if contradicts { Default::default() } else { state_there.store().list_xcoms(&filter, &order, page)? };
        let mut names = HashMap::new();
        let mut xcom_entries = Vec::with_capacity(heads.len());
        for head in heads {
            xcom_entries.push(shown(&state_there, head, &mut names)?);
        }
        Ok(XComList { xcom_entries, total_entries })
    });
    listed.await.map(Json)
}

/// By default by Dag, task, run, map index and key. The primary key begins with the run, in the order of runs.
fn order_of(args: &Args) -> Result<Vec<(XComOrder, store::Direction)>, ApiError> {
    let allowed: &[(&str, &[XComOrder])] = &[
        ("key", &[XComOrder::Key]),
        ("dag_id", &[XComOrder::DagId]),
        ("run_id", &[XComOrder::RunId]),
        ("task_id", &[XComOrder::TaskId]),
        ("map_index", &[XComOrder::MapIndex]),
        ("timestamp", &[XComOrder::At]),
        ("run_after", &[XComOrder::RunAfter]),
    ];
    let mut asked = args.texts("order_by");
    if asked.is_empty() {
        asked = ["dag_id", "task_id", "run_id", "map_index", "key"].map(str::to_owned).into();
    }
    order::resolve(&asked, "key", allowed, &[], XComOrder::RunId)
}

type Names = HashMap<(model::RunKey, model::TaskId, model::MapIndex), (String, String)>;

fn shown(state: &ApiState, head: XComHead, names: &mut Names) -> Result<XComHeadBody, ApiError> {
    let key = head.key;
    let place = (key.run.clone(), key.task_id.clone(), key.map_index);
    let (dag_display_name, task_display_name) = match names.get(&place) {
        Some(known) => known.clone(),
        None => {
            let found = display_names(state, &key)?;
            names.insert(place, found.clone());
            found
        }
    };
    Ok(XComHeadBody {
        timestamp: Moment(head.at),
        logical_date: moment(head.logical_date),
        map_index: key.map_index.0,
        task_id: key.task_id.to_string(),
        dag_id: key.run.dag_id.to_string(),
        run_id: key.run.run_id.to_string(),
        key: key.key,
        dag_display_name,
        task_display_name,
        run_after: Moment(head.run_after),
    })
}
