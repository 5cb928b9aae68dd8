//! The grid: a Dag's structure, its runs, and for each run the states of everything in the structure.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use model::{Dag, DagId, DagRun, RunId, RunKey, TaskInstance, TaskState, VersionId};
use serde::Serialize;
use serde_json::{Value, json};
use store::{DagVersion, Direction, RunFilter, RunOrder};

use super::tree::{Child, Group, Tree};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::rest::dag_runs::filter::run_types;
use crate::rest::dag_versions::DagVersionResponse;
use crate::rest::dags::filter::run_states;
use crate::rest::lookup::Lookup;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::{Moment, moment};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/grid/structure/{dag_id}", Access::ReadDags, structure)
        .get("/grid/runs/{dag_id}", Access::ReadDags, runs)
        .get("/grid/ti_summaries/{dag_id}", Access::ReadDags, summaries)
}

const ORDERS: [(&str, &[RunOrder]); 4] = [
    ("run_after", &[RunOrder::RunAfter]),
    ("logical_date", &[RunOrder::LogicalDate]),
    ("start_date", &[RunOrder::StartDate]),
    ("end_date", &[RunOrder::EndDate]),
];

/// Which runs the grid shows.
struct Wanted {
    filter: RunFilter,
    page: store::Page,
    order_by: Vec<String>,
}

impl Wanted {
    fn read(args: &mut Args, state: &ApiState) -> Self {
        let page = args.page(state);
        let mut filter = RunFilter { dag_id: Some(DagId::from(args.path("dag_id"))), ..RunFilter::default() };
        filter.run_after = args.span("run_after");
        filter.run_types = run_types(args);
        filter.states = run_states(args, "state").into_iter().flatten().collect();
        filter.triggering_user_pattern = args.pattern("triggering_user");
        filter.triggering_user_prefix = args.prefix("triggering_user_prefix");
        Self { filter, page, order_by: args.texts("order_by") }
    }

    /// Without an order of its own that of the timetable (`run_ordering`). Blocks.
    fn find(&self, state: &ApiState) -> Result<Vec<DagRun>, ApiError> {
        let order = if self.order_by.is_empty() {
            let dag_id = self.filter.dag_id.clone().unwrap_or_else(|| DagId::from(""));
            let latest = latest(state, &dag_id)?;
            let is_simple =
                latest.serialized.pointer("/dag/timetable/__type").and_then(Value::as_str).is_some_and(is_simple);
            let by_date = (RunOrder::LogicalDate, Direction::Ascending);
            let by_interval = (RunOrder::IntervalEnd, Direction::Ascending);
            let id = (RunOrder::Id, Direction::Ascending);
            if is_simple { vec![by_date, id] } else { vec![by_interval, by_date, id] }
        } else {
            order::resolve(&self.order_by, "id", &ORDERS, &[], RunOrder::Id)?
        };
        Ok(state.store().runs(&self.filter, &order, self.page)?.0)
    }
}

/// Timetables of Airflow's `timetables.simple`, whose runs are ordered by their logical date alone.
fn is_simple(class: &str) -> bool {
    let name = class.rsplit('.').next().unwrap_or(class);
    ["NullTimetable", "OnceTimetable", "ContinuousTimetable", "AssetTriggeredTimetable", "PartitionedAssetTimetable"]
        .contains(&name)
}

fn latest(state: &ApiState, dag_id: &DagId) -> Result<DagVersion, ApiError> {
    let missing = || ApiError::not_found(format!("Dag with id {dag_id} was not found"));
    state.store().latest_version(dag_id)?.ok_or_else(missing)
}

/// The part of a Dag that was asked for with `root`.
pub(super) struct Part {
    root: Option<String>,
    upstream: bool,
    downstream: bool,
    depth: Option<i64>,
}

impl Part {
    pub(super) fn read(args: &mut Args) -> Self {
        Self {
            upstream: args.or("include_upstream", false, parse::boolean),
            downstream: args.or("include_downstream", false, parse::boolean),
            depth: args.optional("depth", parse::at_least(0)),
            root: args.text("root").filter(|root| !root.is_empty()),
        }
    }

    /// Leaves only that part (`partial_subset`): tasks in whose ids the root stands, and what belongs to them.
    pub(super) fn cut(&self, tree: &mut Tree<'_>, dag: &Dag) {
        let Some(root) = &self.root else { return };
        let matched = dag.indices().filter(|task| dag.task(*task).task_id.as_str().contains(root.as_str())).collect();
        let depth = self.depth.map(|depth| usize::try_from(depth).unwrap_or(usize::MAX));
        let mut kept = dag.relatives_within(&matched, self.upstream, self.downstream, depth);
        kept.extend(matched);
        let kept: HashSet<&str> = kept.into_iter().map(|task| dag.task(task).task_id.as_str()).collect();
        tree.retain(&kept);
    }
}

/// `GridNodeResponse`.
#[derive(Serialize)]
struct Node {
    id: String,
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<Node>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_mapped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_teardown_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc_md: Option<String>,
}

fn nodes<'a>(tree: &Tree<'a>, group: &Group<'a>, within_mapped: bool) -> Vec<Node> {
    tree.sorted(group).into_iter().map(|child| node(tree, group, child, within_mapped)).collect()
}

fn node<'a>(tree: &Tree<'a>, parent: &Group<'a>, child: &Child<'a>, within_mapped: bool) -> Node {
    match child {
        Child::Task(id) => {
            let task = tree.tasks.get(id);
            let is_mapped = within_mapped || task.is_some_and(|task| task.is_mapped);
            Node {
                id: (*id).to_owned(),
                label: tree.task_label(id, parent),
                children: None,
                is_mapped: is_mapped.then_some(true),
                setup_teardown_type: task.and_then(super::tree::TaskNode::setup_teardown),
                doc_md: None,
            }
        }
        Child::Group(group) => {
            let children = nodes(tree, group, within_mapped || group.is_mapped);
            Node {
                id: group.id.clone().unwrap_or_default(),
                label: group.label().to_owned(),
                children: (!children.is_empty()).then_some(children),
                is_mapped: group.is_mapped.then_some(true),
                setup_teardown_type: None,
                doc_md: group.doc_md.map(str::to_owned),
            }
        }
    }
}

/// Adds what an older version has and the newer ones have not; where both have a node, the newer one's place counts.
fn merge(current: &mut Vec<Node>, older: Vec<Node>) {
    for node in older {
        match current.iter_mut().find(|known| known.id == node.id) {
            Some(known) => {
                if let (Some(children), Some(more)) = (&mut known.children, node.children) {
                    merge(children, more);
                }
            }
            None => current.push(node),
        }
    }
}

async fn structure(State(state): State<ApiState>, mut args: Args) -> ApiResult<Vec<Node>> {
    let wanted = Wanted::read(&mut args, &state);
    let part = Part::read(&mut args);
    args.finish()?;
    let own = state.clone();
    let look = move || {
        let dag_id = DagId::from(args.path("dag_id"));
        let newest = latest(&own, &dag_id)?;
        let mut merged = nodes_of(&own, &newest, &part)?;
        let keys: Vec<RunKey> = wanted.find(&own)?.into_iter().map(|run| run.key).collect();
        let mut others: Vec<VersionId> = own.store().versions_of(&keys)?.into_iter().flatten().collect();
        others.sort_unstable();
        others.dedup();
        for version in others.into_iter().filter(|version| *version != newest.id) {
            if let Some(version) = own.store().version(version)? {
                merge(&mut merged, nodes_of(&own, &version, &part)?);
            }
        }
        Ok(merged)
    };
    state.blocking(look).await.map(Json)
}

fn nodes_of(state: &ApiState, version: &DagVersion, part: &Part) -> Result<Vec<Node>, ApiError> {
    let Some(mut tree) = Tree::read(&version.serialized) else { return Ok(Vec::new()) };
    if let Some(dag) = state.structure(version.id)? {
        part.cut(&mut tree, &dag);
    }
    Ok(nodes(&tree, &tree.root, false))
}

/// `GridRunsResponse`.
#[derive(Serialize)]
struct GridRun {
    dag_id: String,
    run_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_date: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_date: Option<Moment>,
    run_after: Moment,
    state: &'static str,
    run_type: &'static str,
    dag_versions: Vec<Value>,
    has_missed_deadline: bool,
    has_note: bool,
    duration: f64,
}

async fn runs(State(state): State<ApiState>, mut args: Args) -> ApiResult<Vec<GridRun>> {
    let wanted = Wanted::read(&mut args, &state);
    args.finish()?;
    let own = state.clone();
    let look = move || {
        let mut lookup = Lookup::new(&own);
        let found = wanted.find(&own)?;
        let now = Timestamp::now();
        let missed =
            own.store().runs_with_missed_deadlines(&found.iter().map(|run| run.key.clone()).collect::<Vec<_>>())?;
        let versions = DagVersionResponse::of_runs(&found, &mut lookup)?;
        let grid_run = |(run, versions): (DagRun, Vec<DagVersionResponse>)| {
            let duration = run.start_date.map(|start| run.end_date.unwrap_or(now).duration_since(start));
            GridRun {
                dag_id: run.key.dag_id.to_string(),
                run_id: run.key.run_id.to_string(),
                queued_at: moment(run.queued_at),
                start_date: moment(run.start_date),
                end_date: moment(run.end_date),
                run_after: Moment(run.run_after),
                state: run.state.name(),
                run_type: run.run_type.name(),
                dag_versions: versions.iter().map(without_nulls).collect(),
                has_missed_deadline: missed.contains(&run.key),
                has_note: run.note.is_some(),
                duration: duration.map_or(0.0, model::operations::total_seconds),
            }
        };
        Ok(found.into_iter().zip(versions).map(grid_run).collect())
    };
    state.blocking(look).await.map(Json)
}

/// A document as Pydantic writes it with `exclude_none`.
pub(super) fn without_nulls(document: &impl Serialize) -> Value {
    let mut value = json!(document);
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// The states of task instances, summed up.
#[derive(Clone, Default)]
struct Summary {
    states: Vec<(TaskState, u64)>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    version: Option<u32>,
    has_note: bool,
}

/// Of several states the first of these is shown (`state_priority`).
const PRIORITY: [TaskState; 14] = [
    TaskState::Failed,
    TaskState::UpstreamFailed,
    TaskState::UpForRetry,
    TaskState::UpForReschedule,
    TaskState::Running,
    TaskState::Restarting,
    TaskState::Deferred,
    TaskState::AwaitingInput,
    TaskState::Queued,
    TaskState::Scheduled,
    TaskState::None,
    TaskState::Success,
    TaskState::Skipped,
    TaskState::Removed,
];

impl Summary {
    fn count(&mut self, state: TaskState, number: u64) {
        match self.states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += number,
            None => self.states.push((state, number)),
        }
    }

    fn add(&mut self, ti: &TaskInstance, version: Option<u32>, has_note: bool) {
        self.count(ti.state, 1);
        let (start, end) = (ti.start_date, ti.end_date);
        self.widen(start, end, version, has_note);
    }

    fn merge(&mut self, other: &Summary) {
        for (state, number) in &other.states {
            self.count(*state, *number);
        }
        self.widen(other.start, other.end, other.version, other.has_note);
    }

    fn widen(&mut self, start: Option<Timestamp>, end: Option<Timestamp>, version: Option<u32>, has_note: bool) {
        self.start = self.start.into_iter().chain(start).min();
        self.end = self.end.max(end);
        self.version = self.version.max(version);
        self.has_note |= has_note;
    }

    fn state(&self) -> Option<&'static str> {
        let has = |state: &&TaskState| self.states.iter().any(|(known, _)| known == *state);
        PRIORITY.iter().find(has).and_then(|state| state.name())
    }

    fn child_states(&self) -> Value {
        let named = self.states.iter().map(|(state, number)| (state.name().unwrap_or("none"), number));
        let sorted: BTreeMap<&str, &u64> = named.collect();
        json!(sorted)
    }

    /// `LightGridTaskInstanceSummary`.
    fn line(&self, task_id: &str, display_name: &str, with_children: bool) -> Value {
        json!({
            "task_id": task_id,
            "task_display_name": display_name,
            "state": self.state(),
            "child_states": with_children.then(|| self.child_states()),
            "min_start_date": moment(self.start),
            "max_end_date": moment(self.end),
            "dag_version_number": self.version,
            "has_note": self.has_note,
        })
    }
}

/// Gathers the lines of one run.
struct Lines<'t, 'a> {
    tree: &'t Tree<'a>,
    details: &'t BTreeMap<String, Summary>,
    lines: Vec<(String, Value)>,
    groups: HashSet<String>,
}

impl<'a> Lines<'_, 'a> {
    /// What is in a group comes before it; gives the sum of its children.
    fn group(&mut self, group: &Group<'a>) -> Summary {
        let mut sum = Summary::default();
        let tree = self.tree;
        for child in tree.sorted(group) {
            let summary = match child {
                Child::Task(id) => self.task(id),
                Child::Group(inner) => self.group(inner),
            };
            sum.merge(&summary);
        }
        if let Some(id) = &group.id {
            self.lines.push((id.clone(), sum.line(id, id, true)));
            self.groups.insert(id.clone());
        }
        sum
    }

    fn task(&mut self, id: &str) -> Summary {
        let mut summary = self.details.get(id).cloned().unwrap_or_default();
        let is_mapped = self.tree.tasks.get(id).is_some_and(|task| task.is_mapped);
        if is_mapped && summary.states.is_empty() {
            // A square without a state stands for instances that are still to come.
            summary.count(TaskState::None, 1);
        }
        self.lines.push((id.to_owned(), summary.line(id, &self.tree.display_name(id), is_mapped)));
        summary
    }
}

/// What is known of one run; nothing where it has no task instances. Blocks.
fn summary_of(lookup: &mut Lookup<'_>, key: &RunKey) -> Result<Option<Value>, ApiError> {
    let instances = lookup.store().task_instances_of(key)?;
    let Some(first) = instances.first() else { return Ok(None) };
    let notes: HashSet<_> = lookup.store().noted_task_instances(key)?.into_iter().collect();
    let mut numbers: HashMap<VersionId, Option<u32>> = HashMap::new();
    let mut details: BTreeMap<String, Summary> = BTreeMap::new();
    for ti in &instances {
        let number = match numbers.get(&ti.version) {
            Some(number) => *number,
            None => {
                let number = lookup.store().version_head(ti.version)?.map(|head| head.number);
                numbers.insert(ti.version, number);
                number
            }
        };
        let has_note = !notes.is_empty() && notes.contains(&(ti.task_id.clone(), ti.map_index));
        details.entry(ti.task_id.to_string()).or_default().add(ti, number, has_note);
    }
    let version = lookup.store().version(first.version)?;
    let tree = version.as_ref().and_then(|version| Tree::read(&version.serialized));
    let mut lines = Vec::new();
    let mut groups = HashSet::new();
    if let Some(tree) = &tree {
        let mut gathered = Lines { tree, details: &details, lines: Vec::new(), groups: HashSet::new() };
        gathered.group(&tree.root);
        (lines, groups) = (gathered.lines, gathered.groups);
    }
    let drawn: HashSet<String> = lines.iter().map(|(id, _)| id.clone()).collect();
    let others = details.iter().filter(|(id, _)| !drawn.contains(*id));
    let others: Vec<(String, Value)> = others.map(|(id, summary)| (id.clone(), summary.line(id, id, false))).collect();
    lines.extend(others.into_iter().filter(|(id, _)| !groups.contains(id)));
    let lines: Vec<Value> = lines.into_iter().map(|(_, line)| line).collect();
    Ok(Some(json!({"run_id": key.run_id.as_str(), "dag_id": key.dag_id.as_str(), "task_instances": lines})))
}

/// A line of JSON for each run, as soon as it is worked out.
async fn summaries(State(state): State<ApiState>, args: Args) -> Result<Response, ApiError> {
    let dag_id = args.path("dag_id");
    let keys: Vec<RunKey> = args
        .texts("run_ids")
        .into_iter()
        .map(|id| RunKey::new(DagId::from(dag_id.as_str()), RunId::from(id)))
        .collect();
    let (sender, lines) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(AHEAD);
    let own = state.clone();
    tokio::task::spawn_blocking(move || {
        let mut lookup = Lookup::new(&own);
        for key in keys {
            let line = match summary_of(&mut lookup, &key) {
                Ok(Some(line)) => Ok(format!("{line}\n").into_bytes()),
                Ok(None) => continue,
                Err(_) => Err(std::io::Error::other("the run can't be read")),
            };
            let is_last = line.is_err();
            // Nobody reads on.
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    let body = Body::from_stream(Received(lines));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Runs that are worked out before the client has read those before.
const AHEAD: usize = 4;

struct Received(tokio::sync::mpsc::Receiver<Result<Vec<u8>, std::io::Error>>);

impl futures_core::Stream for Received {
    type Item = Result<Vec<u8>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
