//! Which tasks must be told of which others, and which instances of theirs: worked out once for each Dag.

use crate::dag::Dag;
use crate::id::{GroupIndex, TaskIndex};
use crate::mapping::Relation;

/// Why one task's states matter to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// It is directly above: trigger rules look at it.
    Upstream,
    /// It is a setup that the other needs without being directly below it.
    Setup,
    /// It is between the setups of a teardown and the teardown.
    Scope,
}

/// One task's interest in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    pub task: TaskIndex,
    pub kind: LinkKind,
    pub relation: Relation,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// For each task those that look at it.
    pub(crate) below: Vec<Vec<Link>>,
    /// For each task those that it looks at.
    pub(crate) above: Vec<Vec<Link>>,
    pub(crate) lanes: Vec<Vec<GroupIndex>>,
    pub(crate) map_sources: Vec<Vec<TaskIndex>>,
    pub(crate) map_dependents: Vec<Vec<TaskIndex>>,
    pub(crate) sizes_from: Vec<Vec<TaskIndex>>,
    pub(crate) sized_by: Vec<Vec<TaskIndex>>,
}

/// The tasks whose XComs a task maps over; for one that is only in a mapped group, those that the group maps over.
fn map_sources(dag: &Dag, task: TaskIndex) -> Vec<TaskIndex> {
    let definition = dag.task(task);
    let group = || definition.mapped_group.and_then(|group| dag.groups.get(group.at())).map(|group| &group.expand);
    let mut sources = Vec::new();
    if let Some(expand) = definition.expand.as_deref().or_else(group) {
        expand.for_each_task(&mut |source| sources.extend(dag.find(source.as_str())));
    }
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// The tasks whose XComs decide how many instances a task has.
fn sizing(dag: &Dag, task: TaskIndex) -> Vec<TaskIndex> {
    let mut sources = Vec::new();
    let mut visit = |source: &crate::TaskId| sources.extend(dag.find(source.as_str()));
    if let Some(expand) = &dag.task(task).expand {
        expand.for_each_task(&mut visit);
    }
    for group in dag.mapped_groups_of(task) {
        dag.groups[group.at()].expand.for_each_task(&mut visit);
    }
    sources.sort_unstable();
    sources.dedup();
    sources
}

/// The rule of `_get_relevant_map_indexes`: the innermost mapped group that both are in is what they have in common.
fn relation(dag: &Dag, lower: TaskIndex, upper: TaskIndex, lanes: &mut Vec<GroupIndex>) -> Relation {
    let of_upper: Vec<GroupIndex> = dag.mapped_groups_of(upper).collect();
    let Some(common) = dag.mapped_groups_of(lower).find(|group| of_upper.contains(group)) else {
        return Relation::All;
    };
    let lane = lanes.iter().position(|lane| *lane == common).unwrap_or_else(|| {
        lanes.push(common);
        lanes.len() - 1
    });
    let further = dag.task(upper).is_mapped() || of_upper.first() != Some(&common);
    Relation::Lane { lane, further }
}

pub(crate) fn links_of(dag: &Dag) -> Links {
    let none = || vec![Vec::new(); dag.tasks().len()];
    let mut links = Links {
        below: vec![Vec::new(); dag.tasks().len()],
        above: vec![Vec::new(); dag.tasks().len()],
        lanes: vec![Vec::new(); dag.tasks().len()],
        map_sources: none(),
        map_dependents: none(),
        sizes_from: none(),
        sized_by: none(),
    };
    for task in dag.indices() {
        let direct = dag.task(task).upstream.iter().map(|above| (*above, LinkKind::Upstream));
        let setups = dag.indirect_setups(task).iter().map(|above| (*above, LinkKind::Setup));
        let scope = dag.teardown_scope(task).iter().map(|above| (*above, LinkKind::Scope));
        for (above, kind) in direct.chain(setups).chain(scope) {
            let relation = relation(dag, task, above, &mut links.lanes[task.at()]);
            links.above[task.at()].push(Link { task: above, kind, relation });
        }
        links.map_sources[task.at()] = map_sources(dag, task);
        for source in &links.map_sources[task.at()] {
            links.map_dependents[source.at()].push(task);
        }
        links.sizes_from[task.at()] = sizing(dag, task);
        for source in &links.sizes_from[task.at()] {
            links.sized_by[source.at()].push(task);
        }
    }
    for upper in dag.indices() {
        // In the order in which the tasks below were named, and then what depends on it from further away.
        let direct = dag.task(upper).downstream.iter();
        for lower in direct.chain(dag.indirect_dependents(upper)) {
            let own = links.above[lower.at()].iter().filter(|link| link.task == upper);
            links.below[upper.at()].extend(own.map(|link| Link { task: *lower, ..*link }));
        }
    }
    links
}
