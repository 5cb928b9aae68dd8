//! Graphs: the tasks of a Dag with what is outside of it, and how Dags depend on each other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use model::DagId;
use serde::Serialize;
use serde_json::Value;
use store::{DagVersion, Page, Store, VersionFilter};

use super::assets::{Lineage, lineage};
use super::grid::Part;
use super::tree::{Child, Group, Tree};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/structure/structure_data", Access::ReadDags, structure).get(
        "/dependencies",
        Access::ReadDags,
        dependencies,
    )
}

/// `NodeResponse`.
#[derive(Default, Serialize)]
struct Node {
    id: String,
    label: String,
    r#type: String,
    team: Option<String>,
    children: Option<Vec<Node>>,
    is_mapped: Option<bool>,
    tooltip: Option<String>,
    setup_teardown_type: Option<&'static str>,
    operator: Option<String>,
    asset_condition_type: Option<&'static str>,
}

/// `EdgeResponse`.
#[derive(Default, Serialize)]
struct Edge {
    source_id: String,
    target_id: String,
    is_setup_teardown: Option<bool>,
    label: Option<String>,
    is_source_asset: Option<bool>,
}

/// `StructureDataResponse`.
#[derive(Serialize)]
struct Structure {
    edges: Vec<Edge>,
    nodes: Vec<Node>,
}

fn upstream_join(group: &str) -> String {
    format!("{group}.upstream_join_id")
}

fn downstream_join(group: &str) -> String {
    format!("{group}.downstream_join_id")
}

/// A point at which the edges of a group meet.
fn join(id: String) -> Node {
    Node { id, r#type: "join".into(), ..Node::default() }
}

fn node<'a>(tree: &Tree<'a>, parent: &Group<'a>, child: &Child<'a>, within_mapped: bool) -> Node {
    let group = match child {
        Child::Task(id) => {
            let task = tree.tasks.get(id);
            let is_mapped = within_mapped || task.is_some_and(|task| task.is_mapped);
            return Node {
                id: (*id).to_owned(),
                label: tree.task_label(id, parent),
                r#type: "task".into(),
                is_mapped: is_mapped.then_some(true),
                setup_teardown_type: task.and_then(super::tree::TaskNode::setup_teardown),
                operator: task.map(|task| task.operator.clone()),
                ..Node::default()
            };
        }
        Child::Group(group) => group,
    };
    let id = group.id.clone().unwrap_or_default();
    let within_mapped = within_mapped || group.is_mapped;
    let mut children: Vec<Node> =
        tree.sorted(group).into_iter().map(|child| node(tree, group, child, within_mapped)).collect();
    if !group.upstream_groups.is_empty() || !group.upstream_tasks.is_empty() {
        children.push(join(upstream_join(&id)));
    }
    if !group.downstream_groups.is_empty() || !group.downstream_tasks.is_empty() {
        children.push(join(downstream_join(&id)));
    }
    Node {
        label: group.label().to_owned(),
        r#type: "task".into(),
        children: Some(children),
        is_mapped: Some(group.is_mapped),
        tooltip: Some(group.tooltip.to_owned()),
        id,
        ..Node::default()
    }
}

/// Edges that take the way over the joins of groups, and those between tasks that they replace.
#[derive(Default)]
struct Joined {
    added: BTreeSet<(String, String)>,
    skipped: HashSet<(String, String)>,
}

impl Joined {
    fn add(&mut self, source: &str, target: &str) {
        self.added.insert((source.to_owned(), target.to_owned()));
    }

    fn skip(&mut self, source: &str, target: &str) {
        self.skipped.insert((source.to_owned(), target.to_owned()));
    }

    /// The rules of Airflow's `dag_edges`.
    fn collect<'t, 'a>(&mut self, tree: &Tree<'a>, group: &Group<'a>, groups: &HashMap<&'t str, &'t Group<'a>>) {
        let Some(id) = &group.id else { return };
        let (above, below) = (upstream_join(id), downstream_join(id));
        let (roots, leaves) = (group.roots(tree), group.leaves(tree));
        for target in group.downstream_groups.iter().filter_map(|id| groups.get(id)) {
            let Some(target_id) = &target.id else { continue };
            let (target_above, target_roots) = (upstream_join(target_id), target.roots(tree));
            self.add(&below, &target_above);
            for leaf in &leaves {
                self.add(leaf, &below);
                target_roots.iter().for_each(|root| self.skip(leaf, root));
                self.skip(leaf, &target_above);
            }
            for root in &target_roots {
                self.add(&target_above, root);
                self.skip(&below, root);
            }
        }
        for target in &group.downstream_tasks {
            self.add(&below, target);
            for leaf in &leaves {
                self.add(leaf, &below);
                self.skip(leaf, target);
            }
        }
        for source in &group.upstream_tasks {
            self.add(source, &above);
            for root in &roots {
                self.add(&above, root);
                self.skip(source, root);
            }
        }
    }
}

fn edges(tree: &Tree<'_>) -> Vec<Edge> {
    let mut groups = HashMap::new();
    tree.root.each_group(&mut |group| {
        groups.extend(group.id.as_deref().map(|id| (id, group)));
    });
    let mut joined = Joined::default();
    tree.root.each_group(&mut |group| joined.collect(tree, group, &groups));
    let mut all = std::mem::take(&mut joined.added);
    let mut teardowns = HashSet::new();
    for task in tree.tasks.values() {
        for below in task.downstream.iter().filter_map(|id| tree.tasks.get(id)) {
            let edge = (task.id.to_owned(), below.id.to_owned());
            if task.is_setup && below.is_teardown {
                teardowns.insert(edge.clone());
            }
            all.insert(edge);
        }
    }
    let edge = |edge: (String, String)| Edge {
        is_setup_teardown: teardowns.contains(&edge).then_some(true),
        label: tree.label(&edge.0, &edge.1).map(str::to_owned),
        source_id: edge.0,
        target_id: edge.1,
        is_source_asset: None,
    };
    all.into_iter().filter(|edge| !joined.skipped.contains(edge)).map(edge).collect()
}

async fn structure(State(state): State<ApiState>, mut args: Args) -> ApiResult<Structure> {
    let dag_id = DagId::from(args.required("dag_id", parse::text));
    let part = Part::read(&mut args);
    let external = args.or("external_dependencies", false, parse::boolean);
    let number = args.optional("version_number", parse::integer);
    args.finish()?;
    let own = state.clone();
    let look = move || {
        let version = version(own.store(), &dag_id, number)?;
        let Some(mut tree) = Tree::read(&version.serialized) else {
            return Ok(Structure { edges: Vec::new(), nodes: Vec::new() });
        };
        if let Some(dag) = own.structure(version.id)? {
            part.cut(&mut tree, &dag);
        }
        let mut structure = Structure { edges: edges(&tree), nodes: Vec::new() };
        structure.nodes =
            tree.sorted(&tree.root).into_iter().map(|child| node(&tree, &tree.root, child, false)).collect();
        if external {
            structure.surround(&dag_id, &dependencies_of(own.store())?);
        }
        Ok(structure)
    };
    state.blocking(look).await.map(Json)
}

pub(super) fn version(store: &dyn Store, dag_id: &DagId, number: Option<i64>) -> Result<DagVersion, ApiError> {
    let Some(number) = number else {
        let missing = || ApiError::not_found(format!("Dag with id {dag_id} was not found"));
        return store.latest_version(dag_id)?.ok_or_else(missing);
    };
    let filter = VersionFilter { dag_id: Some(dag_id.clone()), number: Some(number), ..VersionFilter::default() };
    let head = store.versions(&filter, &[], Page { limit: 1, offset: 0 })?.0.into_iter().next();
    let found = match head {
        Some(head) => store.version(head.id)?,
        None => None,
    };
    found.ok_or_else(|| ApiError::not_found(format!("Dag with id {dag_id} and version number {number} was not found")))
}

/// `DagDependency`: something between two Dags, or at the beginning or the end of one.
#[derive(Clone, Debug)]
struct Dependency {
    source: String,
    target: String,
    label: String,
    kind: String,
    id: Option<String>,
}

impl Dependency {
    fn read(found: &Value) -> Option<Self> {
        let text = |name: &str| found.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("dependency_id");
        let label = text("label").or_else(|| id.clone()).unwrap_or_default();
        Some(Self { source: text("source")?, target: text("target")?, label, kind: text("dependency_type")?, id })
    }

    fn node_id(&self) -> String {
        let id = self.id.as_deref().filter(|id| !id.is_empty()).map_or_else(String::new, |id| format!(":{id}"));
        format!("{}:{}:{}{id}", self.kind, self.source, self.target)
    }

    /// Nothing of this kind comes before it.
    fn is_first(&self) -> bool {
        self.source == self.kind
    }

    fn is_last(&self) -> bool {
        self.target == self.kind
    }
}

/// What every Dag has to do with others: runs that tasks trigger, and tasks that are waited for. Blocks.
fn dependencies_of(store: &dyn Store) -> Result<BTreeMap<String, Vec<Dependency>>, ApiError> {
    let read = |(dag_id, found): (DagId, Value)| {
        let listed = found.as_array().into_iter().flatten().filter_map(Dependency::read);
        (dag_id.to_string(), listed.filter(|found| !found.kind.starts_with("asset")).collect())
    };
    Ok(store.dag_dependencies()?.into_iter().map(read).collect())
}

impl Structure {
    /// Adds what is before and behind a Dag.
    fn surround(&mut self, dag_id: &DagId, all: &BTreeMap<String, Vec<Dependency>>) {
        let dag_id = dag_id.as_str();
        let ends = self.nodes.first().zip(self.nodes.last());
        let ends = ends.map(|(first, last)| (first.id.clone(), last.id.clone()));
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for (of, dependency) in all.iter().flat_map(|(of, found)| found.iter().map(move |found| (of, found))) {
            if of != dag_id && dependency.target != dag_id {
                continue;
            }
            let id = dependency.node_id();
            if let Some((entry, exit)) = &ends {
                if dependency.is_first() || dependency.target == dag_id {
                    before.push(Edge { source_id: id.clone(), target_id: entry.clone(), ..Edge::default() });
                } else if dependency.is_last() || dependency.source == dag_id {
                    behind.push(Edge { source_id: exit.clone(), target_id: id.clone(), ..Edge::default() });
                }
            }
            let (label, kind) = (dependency.label.clone(), dependency.kind.clone());
            self.nodes.push(Node { id, label, r#type: kind, ..Node::default() });
        }
        self.edges.extend(before);
        self.edges.extend(behind);
    }
}

/// `BaseNodeResponse`.
#[derive(Clone, Serialize)]
struct BaseNode {
    id: String,
    label: String,
    r#type: String,
    team: Option<String>,
}

/// `BaseEdgeResponse`.
#[derive(Serialize)]
struct BaseEdge {
    source_id: String,
    target_id: String,
}

/// `BaseGraphResponse`.
#[derive(Serialize)]
struct Graph {
    edges: Vec<BaseEdge>,
    nodes: Vec<BaseNode>,
}

async fn dependencies(State(state): State<ApiState>, mut args: Args) -> ApiResult<Graph> {
    let node_id = args.text("node_id");
    let is_data = args.or("dependency_type", false, parse::literal(&[("scheduling", false), ("data", true)]));
    args.finish()?;
    if is_data {
        let number = asset_number(node_id.as_deref())?;
        return state.read(move |store| data(store, number)).await.map(Json);
    }
    let look = move |store: &dyn Store| {
        let graph = scheduling(&dependencies_of(store)?);
        match node_id {
            Some(id) => graph.around(&id),
            None => Ok(graph),
        }
    };
    state.read(look).await.map(Json)
}

fn asset_number(node_id: Option<&str>) -> Result<i64, ApiError> {
    let Some((id, number)) = node_id.and_then(|id| id.strip_prefix("asset:").map(|number| (id, number))) else {
        let detail = "Data dependencies require an asset node_id (e.g., 'asset:123')";
        return Err(ApiError::bad_request(detail));
    };
    number.parse().map_err(|_| ApiError::bad_request(format!("Invalid asset node_id: {id}")))
}

/// The tasks that make an asset or use it, and so on from these. Blocks.
fn data(store: &dyn Store, number: i64) -> Result<Graph, ApiError> {
    let Lineage { nodes, edges } = lineage(store, number)?;
    if nodes.is_empty() {
        return Err(ApiError::not_found(format!("Asset with id {number} was not found")));
    }
    let node =
        |(id, (label, kind)): (String, (String, &str))| BaseNode { id, label, r#type: kind.to_owned(), team: None };
    let edge = |(source_id, target_id)| BaseEdge { source_id, target_id };
    Ok(Graph { edges: edges.into_iter().map(edge).collect(), nodes: nodes.into_iter().map(node).collect() })
}

/// All Dags that have to do with others (`get_scheduling_dependencies`).
fn scheduling(all: &BTreeMap<String, Vec<Dependency>>) -> Graph {
    let mut nodes: Vec<BaseNode> = Vec::new();
    let mut known = HashSet::new();
    let mut edges = BTreeSet::new();
    let dag = |id: &str| BaseNode { id: format!("dag:{id}"), label: id.to_owned(), r#type: "dag".into(), team: None };
    let end = |id: &str| if id.contains(':') { id.to_owned() } else { format!("dag:{id}") };
    for (dag_id, dependencies) in all {
        for dependency in dependencies {
            let (id, label, kind) = (dependency.node_id(), dependency.label.clone(), dependency.kind.clone());
            if !dependency.is_first() {
                edges.insert((end(&dependency.source), id.clone()));
            }
            if !dependency.is_last() {
                edges.insert((id.clone(), end(&dependency.target)));
            }
            let found = [dag(dag_id), BaseNode { id, label, r#type: kind, team: None }];
            nodes.extend(found.into_iter().filter(|node| known.insert(node.id.clone())));
        }
    }
    // Dags that are only triggered, or waited for.
    let ends: Vec<&str> = edges.iter().flat_map(|(source, target)| [source.as_str(), target.as_str()]).collect();
    for id in ends.into_iter().filter_map(|end| end.strip_prefix("dag:")) {
        if known.insert(format!("dag:{id}")) {
            nodes.push(dag(id));
        }
    }
    let edges = edges.into_iter().map(|(source_id, target_id)| BaseEdge { source_id, target_id }).collect();
    Graph { edges, nodes }
}

impl Graph {
    /// What hangs together with one node.
    fn around(self, id: &str) -> Result<Self, ApiError> {
        let mut beside: HashMap<&str, Vec<&str>> = HashMap::new();
        for edge in &self.edges {
            beside.entry(&edge.source_id).or_default().push(&edge.target_id);
            beside.entry(&edge.target_id).or_default().push(&edge.source_id);
        }
        if !beside.contains_key(id) {
            return Err(ApiError::not_found(format!(
                "Unique connected component not found, got [] for connected components of node {id}, expected only 1 \
                 connected component."
            )));
        }
        let mut found: HashSet<String> = HashSet::from([id.to_owned()]);
        let mut waiting = vec![id];
        while let Some(next) = waiting.pop() {
            for neighbour in beside.get(next).into_iter().flatten() {
                if found.insert((*neighbour).to_owned()) {
                    waiting.push(neighbour);
                }
            }
        }
        let Self { edges, nodes } = self;
        let edges = edges.into_iter().filter(|edge| found.contains(&edge.source_id)).collect();
        Ok(Self { edges, nodes: nodes.into_iter().filter(|node| found.contains(&node.id)).collect() })
    }
}
