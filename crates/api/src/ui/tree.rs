//! The tree of task groups and tasks of a Dag as it was serialized, for graph and grid.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::Json;
use serde_json::Map;

use crate::rest::serialized::Encoded;

/// A task, as far as it is drawn.
#[derive(Debug)]
pub(super) struct TaskNode<'a> {
    pub(super) id: &'a str,
    /// The name that people see where it is another one than the id.
    display_name: Option<String>,
    pub(super) operator: String,
    pub(super) is_setup: bool,
    pub(super) is_teardown: bool,
    /// Whether it is itself expanded; what is only in a mapped group is not.
    pub(super) is_mapped: bool,
    pub(super) upstream: Vec<&'a str>,
    pub(super) downstream: Vec<&'a str>,
}

/// A task group; the root has no id.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) id: Option<String>,
    /// Its name without those of the groups round it.
    name: &'a str,
    display_name: &'a str,
    prefixes: bool,
    pub(super) tooltip: &'a str,
    pub(super) doc_md: Option<&'a str>,
    pub(super) is_mapped: bool,
    pub(super) children: Vec<Child<'a>>,
    pub(super) upstream_groups: Vec<&'a str>,
    pub(super) downstream_groups: Vec<&'a str>,
    pub(super) upstream_tasks: Vec<&'a str>,
    pub(super) downstream_tasks: Vec<&'a str>,
}

#[derive(Debug)]
pub(super) enum Child<'a> {
    Task(&'a str),
    Group(Group<'a>),
}

/// A Dag's tasks by id, and the groups that they are in.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) tasks: HashMap<&'a str, TaskNode<'a>>,
    /// In the order in which they were serialized.
    pub(super) order: Vec<&'a str>,
    pub(super) root: Group<'a>,
    labels: HashMap<&'a str, HashMap<&'a str, &'a str>>,
}

impl TaskNode<'_> {
    pub(super) fn setup_teardown(&self) -> Option<&'static str> {
        if self.is_setup { Some("setup") } else { self.is_teardown.then_some("teardown") }
    }
}

fn texts(value: Option<&Json>) -> Vec<&str> {
    value.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
}

fn text<'a>(fields: &'a Map<String, Json>, name: &str) -> &'a str {
    fields.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn flag(fields: &Map<String, Json>, name: &str) -> Option<bool> {
    fields.get(name).and_then(Json::as_bool)
}

impl<'a> Tree<'a> {
    /// The tree of a serialized Dag; `None` where it has none, which no serialization of Airflow 3 lacks.
    pub(super) fn read(serialized: &'a Json) -> Option<Self> {
        let dag = serialized.get("dag")?.as_object()?;
        let mut tasks = HashMap::new();
        let mut order = Vec::new();
        for task in Encoded::dag(serialized).tasks() {
            let Some(id) = task.raw("task_id").and_then(Json::as_str) else { continue };
            let class = task.text("_operator_name").or_else(|| task.text("task_type"));
            let node = TaskNode {
                id,
                display_name: task.text("_task_display_name").or_else(|| task.text("task_display_name")),
                operator: class.unwrap_or_else(|| "BaseOperator".to_owned()),
                is_setup: task.flag("is_setup").unwrap_or(false),
                is_teardown: task.flag("is_teardown").unwrap_or(false),
                is_mapped: task.flag("_is_mapped").unwrap_or(false),
                upstream: Vec::new(),
                downstream: texts(task.raw("downstream_task_ids")),
            };
            order.push(id);
            tasks.insert(id, node);
        }
        let edges: Vec<(&str, &str)> =
            tasks.values().flat_map(|task| task.downstream.iter().map(|below| (task.id, *below))).collect();
        for (above, below) in edges {
            if let Some(task) = tasks.get_mut(below) {
                task.upstream.push(above);
            }
        }
        let root = Group::read(dag.get("task_group")?.as_object()?, None);
        Some(Self { tasks, order, root, labels: labels_of(dag) })
    }

    /// What is written on an edge.
    pub(super) fn label(&self, source: &str, target: &str) -> Option<&'a str> {
        self.labels.get(source)?.get(target).copied()
    }

    /// Keeps these tasks and the groups that they are in.
    pub(super) fn retain(&mut self, kept: &HashSet<&str>) {
        self.tasks.retain(|id, _| kept.contains(id));
        self.order.retain(|id| kept.contains(id));
        for task in self.tasks.values_mut() {
            task.upstream.retain(|id| kept.contains(id));
            task.downstream.retain(|id| kept.contains(id));
        }
        self.root.retain(kept);
        let mut groups = HashSet::new();
        self.root.each_group(&mut |group| groups.extend(group.id.clone()));
        self.root.retain_edges(kept, &groups);
    }

    pub(super) fn task_label(&self, id: &'a str, parent: &Group<'_>) -> String {
        let shown = self.tasks.get(id).and_then(|task| task.display_name.clone()).filter(|name| name != id);
        shown.unwrap_or_else(|| match &parent.id {
            Some(group) if parent.prefixes => id.get(group.len() + 1..).unwrap_or(id).to_owned(),
            _ => id.to_owned(),
        })
    }

    /// The name that people see.
    pub(super) fn display_name(&self, id: &str) -> String {
        self.tasks.get(id).and_then(|task| task.display_name.clone()).unwrap_or_else(|| id.to_owned())
    }

    /// The children of a group, each behind what it depends on; otherwise in the order of their ids
    /// (`topological_sort`).
    pub(super) fn sorted<'t>(&'t self, group: &'t Group<'a>) -> Vec<&'t Child<'a>> {
        let mut place_of = HashMap::new();
        for (at, child) in group.children.iter().enumerate() {
            child.each_id(&mut |id| {
                place_of.insert(id.to_owned(), at);
            });
        }
        let depends: Vec<BTreeSet<usize>> = group
            .children
            .iter()
            .enumerate()
            .map(|(at, child)| {
                let above = self.upstream_ids(child);
                above.into_iter().filter_map(|id| place_of.get(id).copied()).filter(|place| *place != at).collect()
            })
            .collect();
        let mut order: Vec<usize> = (0..group.children.len()).collect();
        let passes = passes(&depends);
        order.sort_by_key(|at| (passes[*at], *at));
        order.into_iter().map(|at| &group.children[at]).collect()
    }

    /// What a node must stand behind (`_topological_upstream_ids`): for a group also what is above the first tasks in it.
    fn upstream_ids<'t>(&'t self, child: &'t Child<'a>) -> Vec<&'t str> {
        match child {
            Child::Task(id) => self.tasks.get(id).map_or_else(Vec::new, |task| task.upstream.clone()),
            Child::Group(group) => {
                let mut ids = [group.upstream_tasks.as_slice(), group.upstream_groups.as_slice()].concat();
                let roots = group.roots(self);
                ids.extend(
                    roots.iter().filter_map(|id| self.tasks.get(id)).flat_map(|task| task.upstream.iter().copied()),
                );
                ids
            }
        }
    }
}

/// In which round over all nodes each comes up, if a round takes them in order and each whose turn it is must stand behind
/// those that it depends on.
fn passes(depends: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut waits: Vec<usize> = depends.iter().map(BTreeSet::len).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); depends.len()];
    for (at, above) in depends.iter().enumerate() {
        for above in above {
            followers[*above].push(at);
        }
    }
    // What is in a cycle, which no Dag has, stays where it is.
    let mut passes = vec![0; depends.len()];
    let mut ready: Vec<usize> = (0..depends.len()).filter(|at| waits[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        passes[at] = depends[at].iter().map(|above| passes[*above] + usize::from(*above > at)).max().unwrap_or(0);
        for follower in &followers[at] {
            waits[*follower] -= 1;
            if waits[*follower] == 0 {
                ready.push(*follower);
            }
        }
    }
    passes
}

fn labels_of(dag: &Map<String, Json>) -> HashMap<&str, HashMap<&str, &str>> {
    let sources = dag.get("edge_info").and_then(Json::as_object).into_iter().flatten();
    let mut labels: HashMap<&str, HashMap<&str, &str>> = HashMap::new();
    for (source, targets) in sources {
        for (target, info) in targets.as_object().into_iter().flatten() {
            if let Some(label) = info.get("label").and_then(Json::as_str).filter(|label| !label.is_empty()) {
                labels.entry(source.as_str()).or_default().insert(target.as_str(), label);
            }
        }
    }
    labels
}

impl<'a> Group<'a> {
    /// `prefix` is the id that stands before those of the group's parent.
    fn read(fields: &'a Map<String, Json>, prefix: Option<&str>) -> Self {
        let name = text(fields, "_group_id");
        let id = match prefix {
            _ if name.is_empty() => None,
            Some(prefix) => Some(format!("{prefix}.{name}")),
            None => Some(name.to_owned()),
        };
        let prefixes = flag(fields, "prefix_group_id").unwrap_or(true);
        let mut children: Vec<_> = fields.get("children").and_then(Json::as_object).into_iter().flatten().collect();
        // Airflow takes them in the order of their ids, whatever the file says.
        children.sort_unstable_by_key(|(key, _)| key.as_str());
        let child = |(key, value): (&'a String, &'a Json)| match value.get(0).and_then(Json::as_str) {
            Some("taskgroup") => {
                let prefix = id.as_deref().filter(|_| prefixes);
                Some(Child::Group(Group::read(value.get(1)?.as_object()?, prefix)))
            }
            _ => Some(Child::Task(key.as_str())),
        };
        Self {
            children: children.into_iter().filter_map(child).collect(),
            id: id.clone(),
            name,
            display_name: text(fields, "group_display_name"),
            prefixes,
            tooltip: text(fields, "tooltip"),
            doc_md: fields.get("doc_md").and_then(Json::as_str),
            is_mapped: flag(fields, "is_mapped").unwrap_or(false),
            upstream_groups: texts(fields.get("upstream_group_ids")),
            downstream_groups: texts(fields.get("downstream_group_ids")),
            upstream_tasks: texts(fields.get("upstream_task_ids")),
            downstream_tasks: texts(fields.get("downstream_task_ids")),
        }
    }

    pub(super) fn label(&self) -> &'a str {
        if self.display_name.is_empty() { self.name } else { self.display_name }
    }

    pub(super) fn each_group<'t>(&'t self, with: &mut impl FnMut(&'t Group<'a>)) {
        with(self);
        for child in &self.children {
            if let Child::Group(group) = child {
                group.each_group(with);
            }
        }
    }

    /// Every task in it, those of groups in it included.
    pub(super) fn each_task(&self, with: &mut impl FnMut(&'a str)) {
        for child in &self.children {
            match child {
                Child::Task(id) => with(id),
                Child::Group(group) => group.each_task(with),
            }
        }
    }

    fn retain(&mut self, kept: &HashSet<&str>) {
        self.children.retain_mut(|child| match child {
            Child::Task(id) => kept.contains(id),
            Child::Group(group) => {
                group.retain(kept);
                !group.children.is_empty()
            }
        });
    }

    fn retain_edges(&mut self, tasks: &HashSet<&str>, groups: &HashSet<String>) {
        self.upstream_tasks.retain(|id| tasks.contains(id));
        self.downstream_tasks.retain(|id| tasks.contains(id));
        self.upstream_groups.retain(|id| groups.contains(*id));
        self.downstream_groups.retain(|id| groups.contains(*id));
        for child in &mut self.children {
            if let Child::Group(group) = child {
                group.retain_edges(tasks, groups);
            }
        }
    }

    /// Its tasks with nothing above them in it.
    pub(super) fn roots(&self, tree: &Tree<'a>) -> Vec<&'a str> {
        let inside = self.inside();
        let mut roots = Vec::new();
        self.each_task(&mut |id| {
            if tree.tasks.get(id).is_some_and(|task| !task.upstream.iter().any(|above| inside.contains(above))) {
                roots.push(id);
            }
        });
        roots
    }

    fn inside(&self) -> HashSet<&'a str> {
        let mut inside = HashSet::new();
        self.each_task(&mut |id| {
            inside.insert(id);
        });
        inside
    }

    /// Its tasks with nothing below them in it; in the place of a teardown what is above it and ends before it
    /// (`get_leaves`).
    pub(super) fn leaves(&self, tree: &Tree<'a>) -> Vec<&'a str> {
        let inside = self.inside();
        let mut leaves = Vec::new();
        self.each_task(&mut |id| {
            let Some(task) = tree.tasks.get(id) else { return };
            if task.downstream.iter().any(|below| inside.contains(below)) {
                return;
            }
            if task.is_teardown { before_teardown(tree, task, &inside, &mut leaves) } else { leaves.push(id) }
        });
        leaves
    }
}

fn before_teardown<'a>(tree: &Tree<'a>, teardown: &TaskNode<'a>, inside: &HashSet<&str>, found: &mut Vec<&'a str>) {
    for above in teardown.upstream.iter().filter(|id| inside.contains(*id)).filter_map(|id| tree.tasks.get(id)) {
        let goes_on = |below: &&str| {
            *below != teardown.id
                && inside.contains(below)
                && tree.tasks.get(below).is_some_and(|below| !below.is_teardown)
        };
        if above.is_teardown {
            before_teardown(tree, above, inside, found);
        } else if !above.is_setup && !above.downstream.iter().any(goes_on) {
            found.push(above.id);
        }
    }
}

impl Child<'_> {
    /// Its id, and those of everything in it.
    fn each_id(&self, with: &mut impl FnMut(&str)) {
        match self {
            Child::Task(id) => with(id),
            Child::Group(group) => {
                if let Some(id) = &group.id {
                    with(id);
                }
                for child in &group.children {
                    child.each_id(with);
                }
            }
        }
    }
}
