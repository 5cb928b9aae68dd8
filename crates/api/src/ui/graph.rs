//! The graph of a Dag: its tasks, and what is outside of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use model::DagId;
use serde::Serialize;
use serde_json::Value;
use store::{AssetUse, DagVersion, ListedAsset, Page, Store, VersionFilter};

use super::dependencies::{Dependency, dependencies_of};
use super::grid::Part;
use super::tree::{Child, Group, Tree};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::rest::assets::expression::{expression, named};
use crate::routes::{Access, Routes};
use crate::state::ApiState;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/structure/structure_data", Access::ReadDags, structure)
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

/// The tasks of a Dag that make assets, by the numbers of these. Blocks.
fn makers(store: &dyn Store, dag_id: &DagId) -> Result<HashMap<i64, String>, ApiError> {
    let maker = |listed: ListedAsset| {
        let outlet = listed.uses.into_iter().find_map(|found| match found.by {
            AssetUse::Outlet(task_id) if found.dag_id == *dag_id => Some(task_id.to_string()),
            _ => None,
        });
        outlet.map(|task_id| (listed.number, task_id))
    };
    Ok(named(store, dag_id)?.into_iter().filter_map(maker).collect())
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
            let record = own.store().dag(&dag_id)?;
            let expression = record.map(|record| expression(&own, &record)).transpose()?.flatten();
            structure.surround(&dag_id, &dependencies_of(own.store())?, expression.as_ref());
            structure.bind_outputs(&makers(own.store(), &dag_id)?);
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

impl Structure {
    /// Adds what is before and behind a Dag.
    fn surround(&mut self, dag_id: &DagId, all: &BTreeMap<String, Vec<Dependency>>, expression: Option<&Value>) {
        let dag_id = dag_id.as_str();
        let ends = self.nodes.first().zip(self.nodes.last());
        let ends = ends.map(|(first, last)| (first.id.clone(), last.id.clone()));
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for (of, dependency) in all.iter().flat_map(|(of, found)| found.iter().map(move |found| (of, found))) {
            let is_ours = of == dag_id || dependency.target == dag_id;
            // What the Dag is scheduled on is drawn with its condition.
            if !is_ours || (!dependency.is_last() && ["asset", "asset-alias"].contains(&dependency.kind.as_str())) {
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
        if let (Some(expression), Some((entry, _))) = (expression, &ends) {
            self.condition(expression, entry, 0);
        }
        self.edges.extend(before);
        self.edges.extend(behind);
    }

    /// Draws a condition on assets, and the conditions in it, in front of a node (`get_upstream_assets`).
    fn condition(&mut self, expression: &Value, before: &str, level: usize) {
        let (gate, parts) = match (expression.get("any"), expression.get("all")) {
            (Some(parts), _) => ("or-gate", parts),
            (_, Some(parts)) => ("and-gate", parts),
            _ => return,
        };
        let mut id = format!("{gate}-{level}");
        // Several conditions may stand beside each other.
        while self.nodes.iter().any(|node| node.id == id) {
            id.push('\'');
        }
        self.edges.push(Edge {
            source_id: id.clone(),
            target_id: before.to_owned(),
            is_source_asset: Some(level == 0),
            ..Edge::default()
        });
        let (label, kind) = (id.clone(), "asset-condition".to_owned());
        self.nodes.push(Node {
            id: id.clone(),
            label,
            r#type: kind,
            asset_condition_type: Some(gate),
            ..Node::default()
        });
        for part in parts.as_array().into_iter().flatten() {
            let Some((source, label, kind)) = drawn(part) else {
                self.condition(part, &id, level + 1);
                continue;
            };
            self.edges.push(Edge { source_id: source.clone(), target_id: id.clone(), ..Edge::default() });
            self.nodes.push(Node { id: source, label, r#type: kind.to_owned(), ..Node::default() });
        }
    }

    /// Lets edges to assets begin at the tasks that make these, where it is known which do.
    fn bind_outputs(&mut self, makers: &HashMap<i64, String>) {
        for edge in &mut self.edges {
            let number = edge.target_id.strip_prefix("asset:").and_then(|number| number.parse::<i64>().ok());
            if let Some(task) = number.and_then(|number| makers.get(&number)) {
                edge.source_id.clone_from(task);
            }
        }
    }
}

/// The id, label and type of a part of a condition; nothing for a condition of its own.
fn drawn(part: &Value) -> Option<(String, String, &'static str)> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    if let Some(asset) = part.get("asset") {
        return Some((asset.get("id")?.to_string(), text(asset, "name")?, "asset"));
    }
    if let Some(name) = part.get("alias").and_then(|alias| text(alias, "name")) {
        return Some((name.clone(), name, "asset-alias"));
    }
    let reference = part.get("asset_ref")?;
    let named = text(reference, "name").map(|name| (name.clone(), name, "asset-name-ref"));
    named.or_else(|| text(reference, "uri").map(|uri| (uri.clone(), uri, "asset-uri-ref")))
}
