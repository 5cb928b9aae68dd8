//! Who may execute: pools, limits of Dags and tasks, and the workers. What finds no room waits in exactly one list,
//! that of the limit it met, so that an attempt's end wakes only those who waited for what it held.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use model::{DagId, MapIndex, TaskId};

use crate::run_state::{RunSerial, TaskRef};

/// A limit that a task instance can wait for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Constraint {
    /// Room for so many slots in a pool; one list per number of slots, so that a small one can pass a large one.
    Pool { name: Arc<str>, slots: u32 },
    /// `max_active_tasks` of the Dag, for one run.
    RunTasks(RunSerial),
    /// `max_active_tis_per_dag`.
    TaskInDag { dag_id: DagId, task_id: TaskId },
    /// `max_active_tis_per_dagrun`.
    TaskInRun { run: RunSerial, task_id: TaskId },
    /// `parallelism`.
    Workers,
    /// The Dag is paused or gone.
    Held(DagId),
    /// The process is about to end.
    Draining,
}

/// The order in which waiting task instances are served: Airflow's, and that of arrival among equals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WaitKey {
    weight: Reverse<i32>,
    /// Runs without a logical date come last.
    logical_date: (bool, Option<Timestamp>),
    map_index: MapIndex,
    arrival: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Parked {
    constraint: Constraint,
    key: WaitKey,
}

#[derive(Debug, Default)]
pub(crate) struct WaitLists {
    lists: HashMap<Constraint, BTreeMap<WaitKey, TaskRef>>,
    /// For each pool the numbers of slots that someone waits for.
    pool_lists: HashMap<Arc<str>, BTreeSet<u32>>,
    /// Limits that have room again, or may have.
    freed: Vec<Constraint>,
    arrivals: u64,
    executing: u32,
    /// Task instances that execute or wait outside of a process, by task.
    in_dag: HashMap<(DagId, TaskId), u32>,
    in_run: HashMap<(RunSerial, TaskId), u32>,
}

impl WaitLists {
    pub(crate) fn key(&mut self, weight: i32, logical_date: Option<Timestamp>, map_index: MapIndex) -> WaitKey {
        self.arrivals += 1;
        WaitKey {
            weight: Reverse(weight),
            logical_date: (logical_date.is_none(), logical_date),
            map_index,
            arrival: self.arrivals,
        }
    }

    pub(crate) fn park(&mut self, constraint: Constraint, key: WaitKey, task: TaskRef) -> Parked {
        self.lists.entry(constraint.clone()).or_default().insert(key, task);
        if let Constraint::Pool { name, slots } = &constraint {
            self.pool_lists.entry(Arc::clone(name)).or_default().insert(*slots);
        }
        Parked { constraint, key }
    }

    pub(crate) fn leave(&mut self, parked: &Parked) {
        self.take(&parked.constraint, parked.key);
    }

    fn take(&mut self, constraint: &Constraint, key: WaitKey) -> Option<TaskRef> {
        let list = self.lists.get_mut(constraint)?;
        let task = list.remove(&key);
        if list.is_empty() {
            self.lists.remove(constraint);
            if let Constraint::Pool { name, slots } = constraint
                && let Some(sizes) = self.pool_lists.get_mut(name)
            {
                sizes.remove(slots);
                if sizes.is_empty() {
                    self.pool_lists.remove(name);
                }
            }
        }
        task
    }

    /// A limit has room, or may have: whoever waits for it is looked at in the next [`Self::next_candidate`].
    pub(crate) fn free(&mut self, constraint: Constraint) {
        if self.lists.contains_key(&constraint) && !self.freed.contains(&constraint) {
            self.freed.push(constraint);
        }
    }

    /// As [`Self::free`], for every number of slots that someone waits for in a pool.
    pub(crate) fn free_pool(&mut self, name: &str) {
        let Some((name, sizes)) = self.pool_lists.get_key_value(name) else { return };
        let waiting: Vec<Constraint> =
            sizes.iter().map(|slots| Constraint::Pool { name: Arc::clone(name), slots: *slots }).collect();
        for constraint in waiting {
            self.free(constraint);
        }
    }

    /// Who waits for slots of a pool.
    pub(crate) fn waiting_for_pool(&self, name: &str) -> Vec<(Constraint, TaskRef)> {
        let Some((name, sizes)) = self.pool_lists.get_key_value(name) else { return Vec::new() };
        let mut waiting = Vec::new();
        for slots in sizes {
            let constraint = Constraint::Pool { name: Arc::clone(name), slots: *slots };
            let tasks = self.lists.get(&constraint).into_iter().flat_map(BTreeMap::values);
            waiting.extend(tasks.map(|task| (constraint.clone(), *task)));
        }
        waiting
    }

    /// Nobody else gets through this limit for now.
    pub(crate) fn exhausted(&mut self, constraint: &Constraint) {
        self.freed.retain(|freed| freed != constraint);
    }

    /// Takes the first in order out of the lists of the limits that have room. `before` is the key of a candidate
    /// that waits elsewhere: nobody is taken who comes after it.
    pub(crate) fn next_candidate(&mut self, before: Option<WaitKey>) -> Option<(WaitKey, TaskRef)> {
        self.freed.retain(|constraint| self.lists.contains_key(constraint));
        let (constraint, key) = self
            .freed
            .iter()
            .filter_map(|constraint| Some((constraint, *self.lists.get(constraint)?.first_key_value()?.0)))
            .min_by_key(|(_, key)| *key)
            .filter(|(_, key)| before.is_none_or(|other| *key < other))
            .map(|(constraint, key)| (constraint.clone(), key))?;
        Some((key, self.take(&constraint, key)?))
    }

    pub(crate) fn executing(&self) -> u32 {
        self.executing
    }

    /// How many instances of a task execute, are deferred or wait for an answer: what `max_active_tis_per_dag` limits
    /// (`ConcurrencyMap` of Airflow's scheduler).
    pub(crate) fn active_in_dag(&self, dag_id: &DagId, task_id: &TaskId) -> u32 {
        self.in_dag.get(&(dag_id.clone(), task_id.clone())).copied().unwrap_or(0)
    }

    /// The same in one run, for `max_active_tis_per_dagrun`.
    pub(crate) fn active_in_run(&self, run: RunSerial, task_id: &TaskId) -> u32 {
        self.in_run.get(&(run, task_id.clone())).copied().unwrap_or(0)
    }

    /// Counts an attempt that begins.
    pub(crate) fn acquire(&mut self, run: RunSerial, dag_id: &DagId, task_id: &TaskId) {
        self.executing += 1;
        self.hold(run, dag_id, task_id);
    }

    /// Takes back [`Self::acquire`] and wakes those who waited for it.
    pub(crate) fn release(&mut self, run: RunSerial, dag_id: &DagId, task_id: &TaskId) {
        self.executing = self.executing.saturating_sub(1);
        self.free(Constraint::Workers);
        self.free(Constraint::RunTasks(run));
        self.let_go(run, dag_id, task_id);
    }

    /// Counts a task instance that waits outside of a process: it needs no worker, and counts for its task.
    pub(crate) fn hold(&mut self, run: RunSerial, dag_id: &DagId, task_id: &TaskId) {
        *self.in_dag.entry((dag_id.clone(), task_id.clone())).or_default() += 1;
        *self.in_run.entry((run, task_id.clone())).or_default() += 1;
    }

    /// Takes back [`Self::hold`] and wakes those who waited for it.
    pub(crate) fn let_go(&mut self, run: RunSerial, dag_id: &DagId, task_id: &TaskId) {
        decrement(&mut self.in_dag, (dag_id.clone(), task_id.clone()));
        decrement(&mut self.in_run, (run, task_id.clone()));
        self.free(Constraint::TaskInDag { dag_id: dag_id.clone(), task_id: task_id.clone() });
        self.free(Constraint::TaskInRun { run, task_id: task_id.clone() });
    }
}

/// Counts down; a count of nothing is not kept.
fn decrement<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct PoolSize {
    /// `None` for a pool without bound.
    slots: Option<u32>,
    include_deferred: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Pools {
    sizes: HashMap<Arc<str>, PoolSize>,
    used: HashMap<Arc<str>, u32>,
    /// Slots of those that are deferred; whether they count is the pool's choice.
    deferred: HashMap<Arc<str>, u32>,
}

impl Pools {
    pub(crate) fn set(&mut self, name: &Arc<str>, slots: Option<u32>, include_deferred: bool) {
        self.sizes.insert(Arc::clone(name), PoolSize { slots, include_deferred });
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.sizes.remove(name);
    }

    /// `None` for a pool that does not exist, `Some(None)` for one without bound.
    pub(crate) fn size(&self, name: &str) -> Option<Option<u32>> {
        self.sizes.get(name).map(|size| size.slots)
    }

    /// Whether `slots` more would fit. Nothing fits into a pool that does not exist.
    pub(crate) fn fits(&self, name: &str, slots: u32) -> bool {
        let count = |counts: &HashMap<Arc<str>, u32>| counts.get(name).copied().unwrap_or(0);
        let Some(size) = self.sizes.get(name) else { return false };
        let deferred = if size.include_deferred { count(&self.deferred) } else { 0 };
        size.slots.is_none_or(|size| count(&self.used).saturating_add(deferred).saturating_add(slots) <= size)
    }

    pub(crate) fn acquire(&mut self, name: &Arc<str>, slots: u32) {
        *self.used.entry(Arc::clone(name)).or_default() += slots;
    }

    pub(crate) fn defer(&mut self, name: &Arc<str>, slots: u32) {
        *self.deferred.entry(Arc::clone(name)).or_default() += slots;
    }

    pub(crate) fn undefer(&mut self, name: &str, slots: u32) {
        if let Some(deferred) = self.deferred.get_mut(name) {
            *deferred = deferred.saturating_sub(slots);
        }
    }

    pub(crate) fn release(&mut self, name: &str, slots: u32) {
        if let Some(used) = self.used.get_mut(name) {
            *used = used.saturating_sub(slots);
        }
    }
}
