//! Parts of a Dag that people mean when they name some of its tasks: what is above and below them, and the setups and
//! teardowns that belong to them (Airflow's `partial_subset` and `find_relevant_relatives`).

use std::collections::BTreeSet;
use std::ops::Range;

use crate::dag::Dag;
use crate::id::{GroupIndex, TaskId, TaskIndex};
use crate::task::Task;
use crate::weight::reachable;

fn above(dag: &Dag, task: TaskIndex) -> Vec<TaskIndex> {
    reachable(dag, task, |dag, task| &dag.task(task).upstream)
}

fn below(dag: &Dag, task: TaskIndex) -> Vec<TaskIndex> {
    reachable(dag, task, |dag, task| &dag.task(task).downstream)
}

/// What is up to so many steps away from a task in one direction; everything where no number is given.
fn within(dag: &Dag, task: TaskIndex, depth: Option<usize>, next: impl Fn(&Task) -> &Vec<TaskIndex>) -> Vec<TaskIndex> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut level = next(dag.task(task)).clone();
    let mut steps = 0;
    while !level.is_empty() && depth.is_none_or(|depth| steps < depth) {
        level.retain(|task| seen.insert(*task));
        found.extend(&level);
        level = level.iter().flat_map(|task| next(dag.task(*task))).copied().collect();
        steps += 1;
    }
    found
}

/// The teardowns directly below a setup.
fn teardowns_of(dag: &Dag, setup: TaskIndex) -> impl Iterator<Item = TaskIndex> + '_ {
    dag.task(setup).downstream.iter().copied().filter(|task| dag.task(*task).is_teardown)
}

/// The setups above a task that it needs, and their teardowns.
fn setups_and_teardowns(dag: &Dag, task: TaskIndex, found: &mut BTreeSet<TaskIndex>) {
    let below = below(dag, task);
    for setup in above(dag, task).into_iter().filter(|above| dag.task(*above).is_setup) {
        let mut teardowns = teardowns_of(dag, setup).peekable();
        if teardowns.peek().is_none() || teardowns.any(|teardown| below.contains(&teardown)) {
            found.insert(setup);
            found.extend(teardowns_of(dag, setup).filter(|teardown| *teardown != task));
        }
    }
}

impl Dag {
    /// What belongs to some tasks: what is above or below them if that is wanted, and always the setups and teardowns that
    /// go with it. The tasks themselves are in it only if they belong to each other.
    pub fn relatives(&self, tasks: &BTreeSet<TaskIndex>, upstream: bool, downstream: bool) -> BTreeSet<TaskIndex> {
        self.relatives_within(tasks, upstream, downstream, None)
    }

    /// The same, with only so many steps up or down.
    pub fn relatives_within(
        &self,
        tasks: &BTreeSet<TaskIndex>,
        upstream: bool,
        downstream: bool,
        depth: Option<usize>,
    ) -> BTreeSet<TaskIndex> {
        let mut found = BTreeSet::new();
        for task in tasks.iter().copied() {
            let definition = self.task(task);
            if downstream {
                for relative in within(self, task, depth, |task| &task.downstream) {
                    found.insert(relative);
                    let relative_is_plain = !self.task(relative).is_setup && !self.task(relative).is_teardown;
                    if relative_is_plain && !tasks.contains(&relative) {
                        setups_and_teardowns(self, relative, &mut found);
                    }
                }
            }
            if upstream {
                for relative in within(self, task, depth, |task| &task.upstream) {
                    found.insert(relative);
                    if self.task(relative).is_setup {
                        found.extend(teardowns_of(self, relative).filter(|teardown| *teardown != task));
                    }
                }
            } else if !definition.is_setup && !definition.is_teardown {
                setups_and_teardowns(self, task, &mut found);
            }
            if definition.is_setup && !downstream {
                found.extend(teardowns_of(self, task));
            }
        }
        found
    }

    /// Everything above a task, or below it.
    pub fn flat_relatives(&self, task: TaskIndex, upstream: bool) -> Vec<TaskIndex> {
        if upstream { above(self, task) } else { below(self, task) }
    }

    /// How many instances a task has; `None` while some length is not known.
    pub fn count_instances(&self, task: TaskIndex, length_of: &impl Fn(&TaskId) -> Option<u32>) -> Option<u64> {
        let own = self.task(task).expand.as_ref().map_or(Some(1), |expand| expand.length(length_of))?;
        match self.task(task).mapped_group {
            Some(group) => Some(own.saturating_mul(self.count_items(group, length_of)?)),
            None => Some(own),
        }
    }

    /// How many items a mapped group has, those of the groups round it counted in.
    pub fn count_items(&self, group: GroupIndex, length_of: &impl Fn(&TaskId) -> Option<u32>) -> Option<u64> {
        let round = std::iter::successors(Some(group), |group| self.groups.get(group.at())?.parent);
        round
            .map(|group| self.groups.get(group.at())?.expand.length(length_of))
            .try_fold(1u64, |product, length| Some(product.saturating_mul(length?)))
    }

    /// The instances of a relative that one instance of a task has to do with; `None` for all of them
    /// (`_get_relevant_map_indexes`).
    pub fn relevant_instances(
        &self,
        task: TaskIndex,
        relative: TaskIndex,
        map_index: u32,
        length_of: &impl Fn(&TaskId) -> Option<u32>,
    ) -> Option<Range<u32>> {
        let count = self.count_instances(task, length_of).filter(|count| *count > 0)?;
        let of_relative: Vec<GroupIndex> = self.mapped_groups_of(relative).collect();
        let common = self.mapped_groups_of(task).find(|group| of_relative.contains(group))?;
        let items = self.count_items(common, length_of).filter(|items| *items > 0)?;
        let item = u64::from(map_index) * items / count;
        let is_further_mapped = self.task(relative).is_mapped() || of_relative.first() != Some(&common);
        // Airflow takes the relative's further instances to be as many as the task's.
        let width = if is_further_mapped { (count / items).max(1) } else { 1 };
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let first = item.saturating_mul(width);
        Some(small(first)..small(first.saturating_add(width)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::DagBuilder;
    use crate::timetable::Timetable;

    /// Names that begin with `s` are setups, with `t` teardowns.
    fn dag(edges: &[(&str, &str)]) -> std::sync::Arc<Dag> {
        let mut builder = DagBuilder::new("d", Timetable::Null);
        let mut names: Vec<&str> = edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let mut task = Task::new(name);
            task.is_setup = name.starts_with('s');
            task.is_teardown = name.starts_with('t');
            builder.task(task);
        }
        for (above, below) in edges {
            builder.edge(*above, *below);
        }
        builder.build().unwrap()
    }

    fn relatives(dag: &Dag, names: &str, upstream: bool, downstream: bool) -> String {
        let tasks = names.split(' ').filter_map(|name| dag.find(name)).collect();
        let found = dag.relatives(&tasks, upstream, downstream);
        found.into_iter().map(|task| dag.task(task).task_id.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn relatives_are_above_and_below() {
        let dag = dag(&[("a", "b"), ("b", "c"), ("x", "c")]);
        for (names, upstream, downstream, expected) in [
            ("b", false, false, ""),
            ("b", true, false, "a"),
            ("b", false, true, "c"),
            ("b", true, true, "a c"),
            ("a b", false, true, "b c"),
            ("c", true, false, "a b x"),
        ] {
            assert_eq!(relatives(&dag, names, upstream, downstream), expected, "{names} {upstream} {downstream}");
        }
    }

    #[test]
    fn relatives_are_so_many_steps_away() {
        let dag = dag(&[("a", "b"), ("b", "c"), ("c", "d"), ("a", "c")]);
        let found = |name: &str, upstream, downstream, depth| {
            let tasks = dag.find(name).into_iter().collect();
            let found = dag.relatives_within(&tasks, upstream, downstream, depth);
            found.into_iter().map(|task| dag.task(task).task_id.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("d", true, false, Some(0)), "");
        assert_eq!(found("d", true, false, Some(1)), "c");
        assert_eq!(found("d", true, false, Some(2)), "a b c");
        assert_eq!(found("a", false, true, Some(1)), "b c");
        assert_eq!(found("b", true, true, Some(1)), "a c");
        assert_eq!(found("b", true, true, None), "a c d");
    }

    #[test]
    fn setups_and_their_teardowns_come_along() {
        let dag = dag(&[
            ("s1", "a"),
            ("a", "b"),
            ("b", "t1"),
            ("s1", "t1"),
            ("b", "c"),
            ("s2", "c"),
            ("c", "d"),
            ("s3", "s1"),
        ]);
        for (names, upstream, downstream, expected) in [
            ("a", false, false, "s1 s3 t1"),
            ("b", false, false, "s1 s3 t1"),
            // Its setup is torn down before it.
            ("c", false, false, "s2 s3"),
            ("s1", false, false, "t1"),
            ("t1", false, false, ""),
            ("d", true, false, "a b c s1 s2 s3 t1"),
            ("a", false, true, "b c d s1 s2 s3 t1"),
        ] {
            assert_eq!(relatives(&dag, names, upstream, downstream), expected, "{names} {upstream} {downstream}");
        }
    }
}
