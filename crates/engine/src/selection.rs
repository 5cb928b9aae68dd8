//! Which task instances people mean by a run or a span of dates, some tasks, and what is above and below them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use model::{Dag, RunId, RunKey, TaskId, TaskIndex, TaskInstance, TaskState};
use scheduler::LengthOf;
use store::{Page, Span, Store, StoreError, TaskInstanceFilter, TaskInstanceOrder};

use crate::lengths::map_lengths;

/// Tasks by name: all instances, or some.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Named {
    pub whole: BTreeSet<String>,
    pub instances: BTreeSet<(String, i32)>,
}

impl Named {
    pub fn tasks<T: Into<String>>(ids: impl IntoIterator<Item = T>) -> Self {
        Self { whole: ids.into_iter().map(Into::into).collect(), instances: BTreeSet::new() }
    }

    /// Every task that is named, with or without an instance.
    pub fn ids(&self) -> BTreeSet<String> {
        self.whole.iter().chain(self.instances.iter().map(|(id, _)| id)).cloned().collect()
    }

    fn includes(&self, ti: &TaskInstance) -> bool {
        self.whole.contains(ti.task_id.as_str())
            || self.instances.contains(&(ti.task_id.as_str().to_owned(), ti.map_index.0))
    }

    fn extend(&mut self, other: Named) {
        self.whole.extend(other.whole);
        self.instances.extend(other.instances);
    }
}

/// What task instances must be like.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Its tasks are those that are known.
    pub dag: Arc<Dag>,
    pub run: Option<RunId>,
    /// By the logical date of their run.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// `None` for all.
    pub tasks: Option<Named>,
    /// Empty for all.
    pub states: Vec<TaskState>,
}

impl Selection {
    /// The task instances, by run, task and map index. Blocks.
    pub fn find<S: Store + ?Sized>(&self, store: &S) -> Result<Vec<TaskInstance>, StoreError> {
        let mut filter = TaskInstanceFilter {
            dag_id: Some(self.dag.dag_id.clone()),
            run_id: self.run.clone(),
            states: self.states.clone(),
            logical_date: Span { from: self.from, to: self.to, or_missing: false },
            ..TaskInstanceFilter::default()
        };
        if let Some(tasks) = &self.tasks {
            filter.task_ids = tasks.ids().into_iter().collect();
            if filter.task_ids.is_empty() {
                return Ok(Vec::new());
            }
        }
        let (mut found, _) =
            store.task_instances(&filter, &[(TaskInstanceOrder::Id, store::Direction::Ascending)], Page::ALL)?;
        found.retain(|ti| self.tasks.as_ref().is_none_or(|tasks| tasks.includes(ti)));
        Ok(found)
    }

    /// Takes in the setups and teardowns that belong to the tasks (`SerializedDAG.clear`).
    pub fn with_setups_and_teardowns(mut self) -> Self {
        if let Some(tasks) = &mut self.tasks {
            let named = tasks.ids();
            let known = indices(&self.dag, named.iter());
            tasks.whole.extend(names(&self.dag, self.dag.relatives(&known, false, false)).difference(&named).cloned());
        }
        self
    }
}

fn indices<'a>(dag: &Dag, ids: impl Iterator<Item = &'a String>) -> BTreeSet<TaskIndex> {
    ids.filter_map(|id| dag.find(id)).collect()
}

fn names(dag: &Dag, tasks: BTreeSet<TaskIndex>) -> BTreeSet<String> {
    tasks.into_iter().map(|task| dag.task(task).task_id.to_string()).collect()
}

/// Takes in what is above or below the tasks, whatever the run: all instances of all tasks.
pub fn add_relatives(dag: &Dag, named: &mut Named, upstream: bool, downstream: bool) {
    let known = indices(dag, named.ids().iter());
    named.whole.extend(names(dag, dag.relatives(&known, upstream, downstream)));
}

/// Takes in what is above or below the tasks in one run: of mapped groups only what belongs to the same items
/// (`find_relevant_relatives`). Blocks.
pub fn add_relatives_in_run<S: Store + ?Sized>(
    store: &S,
    dag: &Dag,
    run: &RunKey,
    named: &mut Named,
    upstream: bool,
) -> Result<(), StoreError> {
    let lengths: BTreeMap<TaskId, u32> = map_lengths(store, run, &LengthOf::all(dag))?
        .into_iter()
        .filter_map(|(task, length)| Some((task, length?)))
        .collect();
    let mut walk = Walk { dag, upstream, lengths, found: Named::default() };
    walk.tasks(indices(dag, named.whole.iter()));
    for (id, map_index) in &named.instances {
        if let Some(task) = dag.find(id) {
            walk.instance(task, *map_index);
        }
    }
    named.extend(walk.found);
    // An instance that is named with all others need not be named alone.
    let Named { whole, instances } = named;
    instances.retain(|(id, _)| !whole.contains(id));
    Ok(())
}

struct Walk<'a> {
    dag: &'a Dag,
    upstream: bool,
    lengths: BTreeMap<TaskId, u32>,
    found: Named,
}

impl Walk<'_> {
    fn tasks(&mut self, tasks: BTreeSet<TaskIndex>) {
        let found = self.dag.relatives(&tasks, self.upstream, !self.upstream);
        self.found.whole.extend(names(self.dag, found));
    }

    fn instance(&mut self, task: TaskIndex, map_index: i32) {
        let mut open = vec![(task, map_index)];
        while let Some((task, map_index)) = open.pop() {
            let Some(map_index) = u32::try_from(map_index).ok().filter(|_| self.dag.task(task).needs_expansion())
            else {
                self.tasks(BTreeSet::from([task]));
                continue;
            };
            for relative in self.dag.flat_relatives(task, self.upstream) {
                let id = self.dag.task(relative).task_id.to_string();
                if self.found.whole.contains(&id) {
                    continue;
                }
                match self.relevant(task, relative, map_index) {
                    None => {
                        self.tasks(BTreeSet::from([relative]));
                        self.found.whole.insert(id);
                    }
                    Some(indexes) => {
                        for index in indexes.filter_map(|index| i32::try_from(index).ok()) {
                            if self.found.instances.insert((id.clone(), index)) {
                                open.push((relative, index));
                            }
                        }
                    }
                }
            }
        }
    }

    fn relevant(&self, task: TaskIndex, relative: TaskIndex, map_index: u32) -> Option<Range<u32>> {
        self.dag.relevant_instances(task, relative, map_index, &|task: &TaskId| self.lengths.get(task).copied())
    }
}
