//! A Dag as the scheduler needs it: tasks, edges and everything about them that does not change from run to run.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::Json;
use crate::deadline::DeadlineAlert;
use crate::id::{DagId, GroupIndex, TaskId, TaskIndex};
use crate::links::{Link, Links, links_of};
use crate::mapping::MappedGroup;
use crate::task::Task;
use crate::timetable::{Restriction, Timetable};
use crate::weight::{effective_weight, reachable};

/// Why tasks and edges make no Dag.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DagError {
    #[error("Dag {dag_id}: task {task_id:?} is defined twice")]
    DuplicateTask { dag_id: DagId, task_id: TaskId },
    #[error("Dag {dag_id}: task {task_id:?} names {other:?}, which is not a task of this Dag")]
    UnknownTask { dag_id: DagId, task_id: TaskId, other: TaskId },
    #[error("Dag {dag_id}: tasks depend on each other in a cycle: {}", .cycle.iter().map(TaskId::as_str).collect::<Vec<_>>().join(" -> "))]
    Cycle { dag_id: DagId, cycle: Vec<TaskId> },
}

/// How much of a Dag may be under way at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DagLimits {
    /// Runs that are running.
    pub max_active_runs: u32,
    /// Task instances that execute, in each run.
    pub max_active_tasks: u32,
    /// After so many failed runs in a row the Dag is paused; 0 for never.
    pub max_consecutive_failed_dag_runs: u32,
}

impl Default for DagLimits {
    fn default() -> Self {
        Self { max_active_runs: 16, max_active_tasks: 16, max_consecutive_failed_dag_runs: 0 }
    }
}

/// A parameter that runs of a Dag, or one of its tasks, may be given.
#[derive(Clone, PartialEq, Debug)]
pub struct Param {
    pub name: String,
    /// `None` where a run must bring the value.
    pub value: Option<Json>,
    pub description: Option<String>,
    /// The JSON schema of the value; an empty object allows everything.
    pub schema: Json,
}

#[derive(Clone, Debug)]
pub struct Dag {
    pub dag_id: DagId,
    pub timetable: Timetable,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub catchup: bool,
    pub limits: DagLimits,
    pub dagrun_timeout: Option<SignedDuration>,
    pub fail_fast: bool,
    pub params: Vec<Param>,
    pub render_template_as_native_obj: bool,
    /// Its runs follow the newest version of their bundle.
    pub disable_bundle_versioning: bool,
    pub has_on_success_callback: bool,
    pub has_on_failure_callback: bool,
    pub deadlines: Vec<DeadlineAlert>,
    /// What listeners of plugins want to hear of.
    pub listeners: Listeners,
    pub is_paused_upon_creation: Option<bool>,
    /// The kinds of runs that are allowed; `None` for all.
    pub allowed_run_types: Option<Vec<String>>,
    /// Its mapped task groups.
    pub groups: Vec<MappedGroup>,
    tasks: Vec<Task>,
    index: HashMap<TaskId, TaskIndex>,
    graph: Graph,
}

/// What listeners of plugins want to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Listeners {
    pub run_running: bool,
    pub run_success: bool,
    pub run_failed: bool,
    /// Assets that a task has updated.
    pub assets: bool,
}

/// What follows from tasks and edges alone, worked out once.
#[derive(Clone, Debug, Default)]
struct Graph {
    weights: Vec<i32>,
    indirect_setups: Vec<Vec<TaskIndex>>,
    teardown_scope: Vec<Vec<TaskIndex>>,
    indirect_dependents: Vec<Vec<TaskIndex>>,
    is_leaf: Vec<bool>,
    depends_on_past: bool,
    links: Links,
}

impl Dag {
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    pub fn task(&self, index: TaskIndex) -> &Task {
        &self.tasks[index.at()]
    }

    pub fn find(&self, task_id: &str) -> Option<TaskIndex> {
        self.index.get(task_id).copied()
    }

    pub fn indices(&self) -> impl Iterator<Item = TaskIndex> + use<> {
        (0..self.tasks.len() as u32).map(TaskIndex)
    }

    /// The effective priority weight.
    pub fn weight(&self, task: TaskIndex) -> i32 {
        self.graph.weights[task.at()]
    }

    /// Setups that a task needs without being directly below them: those above it whose teardown, if they have
    /// one, is below it. A teardown has none.
    pub fn indirect_setups(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.indirect_setups[task.at()]
    }

    /// For a teardown: the tasks between its setups and itself that are not directly above it. It waits for them.
    pub fn teardown_scope(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.teardown_scope[task.at()]
    }

    /// Tasks that must be looked at again when this one ends, although they are not directly below it: those it is an
    /// indirect setup of, and teardowns in whose scope it is.
    pub fn indirect_dependents(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.indirect_dependents[task.at()]
    }

    /// The mapped task groups that a task is in, the innermost first.
    pub fn mapped_groups_of(&self, task: TaskIndex) -> impl Iterator<Item = GroupIndex> + '_ {
        std::iter::successors(self.task(task).mapped_group, |group| self.groups.get(group.at())?.parent)
    }

    /// The tasks that look at a task's states.
    pub fn links_below(&self, task: TaskIndex) -> &[Link] {
        &self.graph.links.below[task.at()]
    }

    /// The tasks whose states a task looks at.
    pub fn links_above(&self, task: TaskIndex) -> &[Link] {
        &self.graph.links.above[task.at()]
    }

    /// The mapped groups that a task has in common with those above it; [`crate::Relation::Lane`] names their places.
    pub fn lanes(&self, task: TaskIndex) -> &[GroupIndex] {
        &self.graph.links.lanes[task.at()]
    }

    /// The tasks whose XComs a task maps over; for one that is only in a mapped group, those that the group maps over. If
    /// they end without success, so does it.
    pub fn map_sources(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.links.map_sources[task.at()]
    }

    /// The other way round of [`Self::map_sources`].
    pub fn map_dependents(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.links.map_dependents[task.at()]
    }

    /// The tasks whose XComs decide how many instances a task has.
    pub fn sizes_from(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.links.sizes_from[task.at()]
    }

    /// The tasks whose number of instances depends on what this one leaves.
    pub fn sized_by(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.graph.links.sized_by[task.at()]
    }

    /// Whether the task's end decides how the run ends. Teardowns count only with `on_failure_fail_dagrun`.
    pub fn is_leaf(&self, task: TaskIndex) -> bool {
        self.graph.is_leaf[task.at()]
    }

    /// Whether any task waits for the run before.
    pub fn depends_on_past(&self) -> bool {
        self.graph.depends_on_past
    }

    /// The params of a task in a run: those of Dag and task, with the run's configuration in their places and beside
    /// them. A param without a value is left out.
    pub fn params_of(&self, task: TaskIndex, conf: &Json) -> Json {
        let own = &self.task(task).params;
        let defined = if own.is_empty() { &self.params } else { own };
        let mut values: serde_json::Map<String, Json> =
            defined.iter().filter_map(|param| Some((param.name.clone(), param.value.clone()?))).collect();
        for (name, value) in conf.as_object().into_iter().flatten() {
            values.insert(name.clone(), value.clone());
        }
        Json::Object(values)
    }

    /// The moments between which the timetable may make runs: the earliest start and, if every task has an end, the
    /// latest of them.
    pub fn restriction(&self) -> Restriction {
        let earliest = self.tasks.iter().filter_map(|task| task.start_date).chain(self.start_date).min();
        let task_ends: Vec<Timestamp> = self.tasks.iter().filter_map(|task| task.end_date).collect();
        let latest = if task_ends.len() == self.tasks.len() {
            task_ends.into_iter().chain(self.end_date).max()
        } else {
            self.end_date
        };
        Restriction { earliest, latest, catchup: self.catchup }
    }
}

/// Gathers tasks and edges, and checks them when all are there.
#[derive(Clone, Debug)]
pub struct DagBuilder {
    dag: Dag,
    edges: Vec<(TaskId, TaskId)>,
}

impl DagBuilder {
    pub fn new(dag_id: impl Into<DagId>, timetable: Timetable) -> Self {
        Self {
            dag: Dag {
                dag_id: dag_id.into(),
                timetable,
                start_date: None,
                end_date: None,
                catchup: false,
                limits: DagLimits::default(),
                dagrun_timeout: None,
                fail_fast: false,
                params: Vec::new(),
                render_template_as_native_obj: false,
                disable_bundle_versioning: false,
                has_on_success_callback: false,
                listeners: Listeners::default(),
                has_on_failure_callback: false,
                deadlines: Vec::new(),
                is_paused_upon_creation: None,
                allowed_run_types: None,
                groups: Vec::new(),
                tasks: Vec::new(),
                index: HashMap::new(),
                graph: Graph::default(),
            },
            edges: Vec::new(),
        }
    }

    /// The Dag's own fields; its tasks come through [`Self::task`].
    pub fn dag_mut(&mut self) -> &mut Dag {
        &mut self.dag
    }

    /// Adds a task. Its `upstream` and `downstream` are filled in by [`Self::build`] from the edges.
    pub fn task(&mut self, task: Task) -> &mut Self {
        self.dag.tasks.push(task);
        self
    }

    /// `downstream` waits for `upstream`.
    pub fn edge(&mut self, upstream: impl Into<TaskId>, downstream: impl Into<TaskId>) -> &mut Self {
        self.edges.push((upstream.into(), downstream.into()));
        self
    }

    pub fn build(self) -> Result<Arc<Dag>, DagError> {
        let Self { mut dag, edges } = self;
        let dag_id = dag.dag_id.clone();
        for (position, task) in dag.tasks.iter_mut().enumerate() {
            task.upstream.clear();
            task.downstream.clear();
            if dag.index.insert(task.task_id.clone(), TaskIndex(position as u32)).is_some() {
                return Err(DagError::DuplicateTask { dag_id, task_id: task.task_id.clone() });
            }
        }
        for (upstream, downstream) in edges {
            let find = |task_id: &TaskId, other: &TaskId| {
                dag.index.get(other).copied().ok_or_else(|| DagError::UnknownTask {
                    dag_id: dag_id.clone(),
                    task_id: task_id.clone(),
                    other: other.clone(),
                })
            };
            let (above, below) = (find(&downstream, &upstream)?, find(&upstream, &downstream)?);
            if !dag.tasks[above.at()].downstream.contains(&below) {
                dag.tasks[above.at()].downstream.push(below);
                dag.tasks[below.at()].upstream.push(above);
            }
        }
        if let Some(cycle) = find_cycle(&dag) {
            let cycle = cycle.into_iter().map(|task| dag.task(task).task_id.clone()).collect();
            return Err(DagError::Cycle { dag_id, cycle });
        }
        dag.graph = graph_of(&dag);
        dag.graph.links = links_of(&dag);
        Ok(Arc::new(dag))
    }
}

/// A cycle's tasks in order, the first one again at the end.
fn find_cycle(dag: &Dag) -> Option<Vec<TaskIndex>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; dag.tasks.len()];
    for root in dag.indices() {
        // The path from the root, each step with the number of its children that were looked at.
        let mut path: Vec<(TaskIndex, usize)> = Vec::new();
        if marks[root.at()] == Mark::New {
            marks[root.at()] = Mark::Open;
            path.push((root, 0));
        }
        while let Some((task, looked_at)) = path.last_mut() {
            let task = *task;
            let Some(&child) = dag.task(task).downstream.get(*looked_at) else {
                marks[task.at()] = Mark::Done;
                path.pop();
                continue;
            };
            *looked_at += 1;
            match marks[child.at()] {
                Mark::Done => {}
                Mark::New => {
                    marks[child.at()] = Mark::Open;
                    path.push((child, 0));
                }
                Mark::Open => {
                    let start = path.iter().position(|(task, _)| *task == child).unwrap_or(0);
                    return Some(path[start..].iter().map(|(task, _)| *task).chain([child]).collect());
                }
            }
        }
    }
    None
}

fn graph_of(dag: &Dag) -> Graph {
    let mut graph = Graph {
        weights: dag.indices().map(|task| effective_weight(dag, task)).collect(),
        indirect_setups: vec![Vec::new(); dag.tasks.len()],
        teardown_scope: vec![Vec::new(); dag.tasks.len()],
        indirect_dependents: vec![Vec::new(); dag.tasks.len()],
        is_leaf: leaves(dag),
        depends_on_past: dag.tasks.iter().any(|task| task.depends_on_past),
        links: Links::default(),
    };
    // Only Dags with setups and teardowns pay for the reachability below.
    if !dag.tasks.iter().any(|task| task.is_setup || task.is_teardown) {
        return graph;
    }
    for task in dag.indices() {
        let waits_for = if dag.task(task).is_teardown {
            graph.teardown_scope[task.at()] = teardown_scope(dag, task);
            &graph.teardown_scope[task.at()]
        } else {
            graph.indirect_setups[task.at()] = indirect_setups(dag, task);
            &graph.indirect_setups[task.at()]
        };
        for above in waits_for {
            graph.indirect_dependents[above.at()].push(task);
        }
    }
    graph
}

fn upstream_of(dag: &Dag, task: TaskIndex) -> &Vec<TaskIndex> {
    &dag.task(task).upstream
}

fn downstream_of(dag: &Dag, task: TaskIndex) -> &Vec<TaskIndex> {
    &dag.task(task).downstream
}

/// The rule of the Task SDK's `get_upstreams_only_setups`.
fn indirect_setups(dag: &Dag, task: TaskIndex) -> Vec<TaskIndex> {
    let below = reachable(dag, task, downstream_of);
    reachable(dag, task, upstream_of)
        .into_iter()
        .filter(|above| dag.task(*above).is_setup && !dag.task(task).upstream.contains(above))
        .filter(|setup| {
            let mut teardowns = dag.task(*setup).downstream.iter().filter(|t| dag.task(**t).is_teardown).peekable();
            teardowns.peek().is_none() || teardowns.any(|teardown| below.contains(teardown))
        })
        .collect()
}

fn teardown_scope(dag: &Dag, teardown: TaskIndex) -> Vec<TaskIndex> {
    let direct = &dag.task(teardown).upstream;
    let above = reachable(dag, teardown, upstream_of);
    let mut scope: Vec<TaskIndex> = Vec::new();
    for setup in direct.iter().filter(|task| dag.task(**task).is_setup) {
        let below_setup = reachable(dag, *setup, downstream_of);
        scope.extend(above.iter().filter(|task| !direct.contains(task) && below_setup.contains(task)));
    }
    scope.sort_unstable();
    scope.dedup();
    scope
}

fn leaves(dag: &Dag) -> Vec<bool> {
    let decides = |task: &Task| !task.is_teardown || task.on_failure_fail_dagrun;
    let leaf: Vec<bool> = dag
        .tasks
        .iter()
        .map(|task| decides(task) && !task.downstream.iter().any(|below| decides(dag.task(*below))))
        .collect();
    if leaf.contains(&true) {
        leaf
    } else {
        // A Dag of nothing but teardowns: its last tasks decide.
        dag.tasks.iter().map(|task| task.downstream.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(edges: &[(&str, &str)], change: impl Fn(&mut Task)) -> Result<Arc<Dag>, DagError> {
        let mut builder = DagBuilder::new("d", Timetable::Null);
        let mut names: Vec<&str> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let mut task = Task::new(name);
            task.is_setup = name.starts_with('s');
            task.is_teardown = name.starts_with('t');
            change(&mut task);
            builder.task(task);
        }
        for (above, below) in edges {
            builder.edge(*above, *below);
        }
        builder.build()
    }

    fn names(dag: &Dag, tasks: &[TaskIndex]) -> String {
        tasks.iter().map(|task| dag.task(*task).task_id.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_cycle_is_named() {
        let error = dag(&[("a", "b"), ("b", "c"), ("c", "b")], |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "Dag d: tasks depend on each other in a cycle: b -> c -> b");
    }

    #[test]
    fn a_diamond_is_no_cycle_and_weighs_each_task_once() {
        let dag = dag(&[("a", "b"), ("a", "c"), ("b", "e"), ("c", "e")], |_| ()).unwrap();
        let weight = |name: &str| dag.weight(dag.find(name).unwrap());
        assert_eq!((weight("a"), weight("b"), weight("e")), (4, 2, 1));
    }

    #[test]
    fn a_task_needs_the_setups_whose_teardown_is_below_it() {
        let dag = dag(&[("s1", "a"), ("a", "b"), ("b", "t1"), ("s1", "t1"), ("b", "c")], |_| ()).unwrap();
        let setups = |name: &str| names(&dag, dag.indirect_setups(dag.find(name).unwrap()));
        assert_eq!((setups("a").as_str(), setups("b").as_str(), setups("c").as_str()), ("", "s1", ""));
        assert_eq!(names(&dag, dag.teardown_scope(dag.find("t1").unwrap())), "a");
        assert_eq!(names(&dag, dag.indirect_dependents(dag.find("s1").unwrap())), "b");
    }

    #[test]
    fn teardowns_do_not_decide_how_a_run_ends_unless_told_to() {
        let edges = [("s1", "a"), ("a", "t1"), ("s1", "t1")];
        let leaf = |dag: &Dag, name: &str| dag.is_leaf(dag.find(name).unwrap());
        let plain = dag(&edges, |_| ()).unwrap();
        assert!(leaf(&plain, "a") && !leaf(&plain, "t1"));
        let strict = dag(&edges, |task| task.on_failure_fail_dagrun = task.is_teardown).unwrap();
        assert!(!leaf(&strict, "a") && leaf(&strict, "t1"));
    }
}
