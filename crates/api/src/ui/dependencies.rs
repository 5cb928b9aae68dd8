//! How Dags depend on each other, and assets on tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::Json;
use axum::extract::State;
use model::{Asset, AssetKey};
use serde::Serialize;
use serde_json::Value;
use store::{AssetFilter, Page, Store};

use super::assets::{Lineage, lineage};
use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/dependencies", Access::ReadDags, dependencies)
}

/// `DagDependency`: something between two Dags, or at the beginning or the end of one.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) label: String,
    /// What it is: a trigger, a sensor, an asset, or another name of one.
    pub(super) kind: String,
    id: Option<String>,
}

const ASSET: &str = "asset";
const ALIAS: &str = "asset-alias";

impl Dependency {
    fn read(found: &Value) -> Option<Self> {
        let text = |name: &str| found.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = text("dependency_id");
        let label = text("label").or_else(|| id.clone()).unwrap_or_default();
        Some(Self { source: text("source")?, target: text("target")?, label, kind: text("dependency_type")?, id })
    }

    pub(super) fn node_id(&self) -> String {
        let id = self.id.as_deref().filter(|id| !id.is_empty()).map_or_else(String::new, |id| format!(":{id}"));
        if self.kind.starts_with(ASSET) {
            format!("{}{id}", self.kind)
        } else {
            format!("{}:{}:{}{id}", self.kind, self.source, self.target)
        }
    }

    /// Nothing of this kind comes before it.
    pub(super) fn is_first(&self) -> bool {
        self.source == self.kind
    }

    pub(super) fn is_last(&self) -> bool {
        self.target == self.kind
    }

    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// It stands for this asset.
    fn as_asset(&self, number: i64, name: &str) -> Self {
        let end = |end: &str| if end == self.kind { ASSET.to_owned() } else { end.to_owned() };
        Self {
            source: end(&self.source),
            target: end(&self.target),
            label: name.to_owned(),
            kind: ASSET.to_owned(),
            id: Some(number.to_string()),
        }
    }
}

/// The numbers of assets, by which graphs know them.
struct Numbers<'a> {
    store: &'a dyn Store,
    by_key: HashMap<AssetKey, i64>,
}

impl Numbers<'_> {
    /// An asset as Airflow writes its key: a document with its name and its URI.
    fn of_text(&self, text: &str) -> Option<i64> {
        let key: Value = serde_json::from_str(text).ok()?;
        let part = |name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
        self.by_key.get(&AssetKey { name: part("name")?, uri: part("uri")? }).copied()
    }

    fn of(&self, asset: &Asset) -> Option<i64> {
        self.by_key.get(&asset.key).copied()
    }

    /// What stands for assets becomes these (`_DagDependenciesResolver`). Blocks.
    fn resolve(&self, found: Dependency) -> Result<Vec<Dependency>, ApiError> {
        let reference = match found.kind.as_str() {
            ASSET => {
                let number = self.of_text(found.id());
                return Ok(number.map(|number| found.as_asset(number, &found.label)).into_iter().collect());
            }
            ALIAS => return self.resolve_alias(found),
            "asset-name-ref" => self.store.active_asset(Some(found.id()), None)?,
            "asset-uri-ref" => self.store.active_asset(None, Some(found.id()))?,
            _ => return Ok(vec![self.with_numbers(found)]),
        };
        let asset = reference.and_then(|asset| Some((self.of(&asset)?, asset)));
        Ok(vec![asset.map_or_else(|| found.clone(), |(number, asset)| found.as_asset(number, &asset.key.name))])
    }

    /// An alias stands between the Dag and each asset that was ever updated by it.
    fn resolve_alias(&self, found: Dependency) -> Result<Vec<Dependency>, ApiError> {
        let alias = format!("{ALIAS}:{}", found.id());
        let mut resolved = Vec::new();
        for asset in self.store.assets_of_alias(found.id())? {
            let Some(number) = self.of(&asset) else { continue };
            let of_asset = found.as_asset(number, &asset.key.name);
            let number = format!("{ASSET}:{number}");
            if found.is_first() {
                resolved.push(Dependency { target: alias.clone(), ..of_asset });
                resolved.push(Dependency { source: number, ..found.clone() });
            } else {
                resolved.push(Dependency { source: alias.clone(), ..of_asset });
                resolved.push(Dependency { target: number, ..found.clone() });
            }
        }
        Ok(if resolved.is_empty() { vec![found] } else { resolved })
    }

    fn with_numbers(&self, found: Dependency) -> Dependency {
        let end = |end: String| {
            let number = end.strip_prefix("asset:").and_then(|key| self.of_text(key));
            number.map_or(end, |number| format!("{ASSET}:{number}"))
        };
        Dependency { source: end(found.source), target: end(found.target), ..found }
    }
}

/// What every Dag has to do with others: runs that tasks trigger, tasks that are waited for, assets. Blocks.
pub(super) fn dependencies_of(store: &dyn Store) -> Result<BTreeMap<String, Vec<Dependency>>, ApiError> {
    let assets = store.list_assets(&AssetFilter::default(), &[], Page::ALL)?.0;
    let by_key = assets.into_iter().map(|listed| (listed.asset.key, listed.number)).collect();
    let numbers = Numbers { store, by_key };
    let mut all = BTreeMap::new();
    for (dag_id, found) in store.dag_dependencies()? {
        let mut resolved = Vec::new();
        for found in found.as_array().into_iter().flatten().filter_map(Dependency::read) {
            resolved.extend(numbers.resolve(found)?);
        }
        all.insert(dag_id.to_string(), resolved);
    }
    Ok(all)
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
