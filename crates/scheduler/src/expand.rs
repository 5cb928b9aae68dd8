//! Mapped tasks get their instances: when what they map over is known, one task instance becomes many (Airflow's
//! `TaskMap.expand_mapped_task`). When that changes later, some come and others go (`_revise_map_indexes_if_mapped`).

use std::sync::Arc;

use jiff::Timestamp;
use model::transition::TaskTransition;
use model::trigger_rule::{TriggerRule, UpstreamCounts};
use model::{Change, Dag, GroupIndex, MapIndex, RunKey, TaskId, TaskIndex, TaskInstance, TaskState};

use crate::event::{Action, Decisions, LengthOf, Need, Obstacle, StopReason};
use crate::inputs::{Inputs, Touched};
use crate::run_state::{RunSerial, RunState, TaskRef};
use crate::{Scheduler, put};

/// Instances that one task may have in a run: more than any database with Airflow in it was seen to bear, and what the
/// engine can still hold in memory.
pub const MAX_INSTANCES: u64 = 1_000_000;

/// How many instances a task has by what its Dag says alone. `None` if that depends on what tasks leave.
pub(crate) fn literal_count(dag: &Dag, task: TaskIndex) -> Option<u64> {
    dag.count_instances(task, &|_| None)
}

impl RunState {
    fn length_of(&self) -> impl Fn(&TaskId) -> Option<u32> + '_ {
        |task| self.lengths.get(&self.dag.find(task.as_str())?).copied().flatten()
    }

    /// How many instances a task is to have, as far as that is known.
    pub(crate) fn instances_of(&self, task: TaskIndex) -> Option<u64> {
        self.dag.count_instances(task, &self.length_of())
    }

    pub(crate) fn items_of_group(&self, group: GroupIndex) -> Option<u64> {
        self.dag.count_items(group, &self.length_of())
    }

    /// Tasks that have left what another maps over, whose lengths nobody has asked for.
    pub(crate) fn unknown_lengths(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let mut unknown = self.dag.sizes_from(task).to_vec();
        unknown.retain(|source| self.tasks[source.at()].is_finished() && !self.lengths.contains_key(source));
        unknown
    }

    /// What a task instance sees of the task instances above it (`_is_relevant_upstream`).
    pub(crate) fn counts_of(&self, task: TaskRef, inputs: &Inputs) -> UpstreamCounts {
        if self.dag.lanes(task.task).is_empty() {
            return inputs.all;
        }
        let map_index = self.ti(task).map_index;
        if map_index.is_mapped() {
            return match &self.tasks[task.task.at()].sizes {
                Some(sizes) => inputs.of_instance(map_index, sizes),
                None => inputs.sum,
            };
        }
        // One that stands for many waits for whatever is above it only until it can be expanded; the instances look for
        // themselves. But a rule that some of those above can meet must not end it before.
        let is_hasty = matches!(
            self.dag.task(task.task).trigger_rule,
            TriggerRule::OneSuccess
                | TriggerRule::OneFailed
                | TriggerRule::OneDone
                | TriggerRule::NoneFailedMinOneSuccess
        );
        let is_known = self.instances_of(task.task).is_some_and(|count| count > 0);
        if is_hasty || !is_known { inputs.sum } else { inputs.all }
    }

    /// What the tasks that a task maps over make of it: if one of them ended without success before it had instances,
    /// nothing can come of this one (`MappedTaskUpstreamDep`). `Some(None)` means that it waits.
    pub(crate) fn verdict_of_sources(&self, task: TaskIndex) -> Option<Option<TaskState>> {
        let stand_ins = self.dag.map_sources(task).iter().filter_map(|source| self.tasks[source.at()].stand_in());
        let (mut failed, mut skipped, mut other) = (false, false, false);
        for state in stand_ins.map(|ti| ti.state).filter(|state| state.is_finished()) {
            match state {
                TaskState::Success => {}
                TaskState::Failed | TaskState::UpstreamFailed => failed = true,
                TaskState::Skipped => skipped = true,
                _ => other = true,
            }
        }
        match (failed, skipped, other) {
            (true, _, _) => Some(Some(TaskState::UpstreamFailed)),
            (_, true, _) => Some(Some(TaskState::Skipped)),
            (_, _, true) => Some(None),
            _ => None,
        }
    }
}

impl Scheduler {
    /// Marks everybody for whom something changed in a run since this was called last.
    pub(crate) fn wake(&mut self, run: RunSerial) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        for (task, touched) in std::mem::take(&mut state.woken) {
            let slot = &state.tasks[task.at()];
            let is_open = |at: &u32| slot.instances[*at as usize].ti.state.is_schedulable();
            let dirty = |instance: u32| TaskRef { run, task, instance };
            match touched {
                Touched::Nobody => {}
                Touched::Everybody => {
                    self.dirty.extend((0..slot.instances.len() as u32).filter(is_open).map(dirty));
                }
                Touched::Some(indexes) => {
                    let places = indexes.filter_map(|index| slot.find(MapIndex(i32::try_from(index).ok()?)));
                    self.dirty.extend(places.filter(is_open).map(dirty));
                }
            }
        }
    }

    /// Asks for the lengths of what finished tasks have left.
    pub(crate) fn ask_lengths(&mut self, run: RunSerial, sources: &[TaskIndex]) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        let fresh: Vec<TaskIndex> =
            sources.iter().copied().filter(|source| state.asked_lengths.insert(*source)).collect();
        if !fresh.is_empty() {
            let tasks = fresh.iter().map(|source| LengthOf::of(state.dag.task(*source))).collect();
            self.needs.push(Need::MapLengths { run: state.run.key.clone(), tasks });
        }
    }

    /// A task has finished: if others map over what it leaves, they must know how long that is.
    pub(crate) fn source_ended(&mut self, run: RunSerial, source: TaskIndex) {
        let Some(state) = self.runs.get(&run) else { return };
        let is_source = !state.dag.sized_by(source).is_empty() || !state.dag.map_dependents(source).is_empty();
        if !is_source || !state.tasks[source.at()].is_finished() {
            return;
        }
        if !state.dag.sized_by(source).is_empty() && !state.lengths.contains_key(&source) {
            self.ask_lengths(run, &[source]);
        }
        // Some of these may be far below.
        let Some(state) = self.runs.get_mut(&run) else { return };
        let dependents = state.dag.map_dependents(source).to_vec();
        state.woken.extend(dependents.into_iter().map(|task| (task, Touched::Everybody)));
        self.wake(run);
    }

    pub(crate) fn lengths_known(&mut self, run: &RunKey, lengths: Vec<(TaskId, Option<u32>)>) {
        let Some(serial) = self.run_serials.get(run).copied() else { return };
        let Some(state) = self.runs.get_mut(&serial) else { return };
        let dag = Arc::clone(&state.dag);
        for (task_id, length) in lengths {
            let Some(source) = dag.find(task_id.as_str()) else { continue };
            state.asked_lengths.remove(&source);
            if !state.tasks[source.at()].is_finished() {
                continue;
            }
            state.lengths.insert(source, length);
            for task in dag.sized_by(source) {
                state.tasks[task.at()].is_complete = false;
                state.resize(*task);
                state.woken.push((*task, Touched::Everybody));
            }
        }
        self.touched.push(serial);
        self.wake(serial);
    }

    /// The conditions of the one that stands for many are met: it becomes many, or comes to its end.
    pub(crate) fn expand(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let unknown = state.unknown_lengths(task.task);
        if !unknown.is_empty() {
            self.ask_lengths(task.run, &unknown);
            return;
        }
        match state.instances_of(task.task) {
            None => self.end_unexpanded(task, TaskTransition::UpstreamFail, decisions),
            Some(0) => self.end_unexpanded(task, TaskTransition::Skip, decisions),
            Some(count) if count > MAX_INSTANCES => {
                let obstacle = Obstacle::TooManyInstances { count, max: MAX_INSTANCES };
                decisions.actions.push(Action::Stuck { ti: Box::new(state.ti(task).clone()), obstacle });
                self.end_unexpanded(task, TaskTransition::UpstreamFail, decisions);
            }
            Some(count) => self.make_instances(task, count, now, decisions),
        }
    }

    /// Ends a task that gets no instances. Airflow gives it neither a start nor an end.
    fn end_unexpanded(&mut self, task: TaskRef, transition: TaskTransition, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if crate::evaluate::self_transition(state, task, transition, decisions).is_some() {
            put(decisions, state.ti(task), Change::TaskInstance);
            self.after_end(task);
        }
    }

    fn make_instances(&mut self, task: TaskRef, count: u64, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let ti = state.ti(task);
        let expanded = Change::Expanded { run: ti.run.clone(), task_id: ti.task_id.clone() };
        decisions.changes.push(expanded);
        if state.tasks[task.task.at()].find(MapIndex(0)).is_some() {
            // It has had instances before: those count, and the one that stood for them goes.
            self.rebuild_without(task, now, decisions);
            return;
        }
        state.move_instance(task, MapIndex(0));
        put(decisions, state.ti(task), Change::TaskInstance);
        let last = state.tasks[task.task.at()].instances.last().map_or(0, |last| last.ti.map_index.0);
        self.add_instances(task.run, task.task, last + 1, count, now, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        state.resize(task.task);
        state.tasks[task.task.at()].is_complete = true;
        state.woken.push((task.task, Touched::Everybody));
        self.wake(task.run);
    }

    /// Makes the instances from `first` on.
    fn add_instances(
        &mut self,
        run: RunSerial,
        task: TaskIndex,
        first: i32,
        count: u64,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some((of_run, structure)) = self.runs.get(&run).map(|state| (state.run.clone(), state.structure())) else {
            return;
        };
        // All share the texts of one.
        let model = self.new_task_instance(&of_run, &structure, task, MapIndex(first), now);
        let Some(state) = self.runs.get_mut(&run) else { return };
        for map_index in first..i32::try_from(count).unwrap_or(i32::MAX) {
            let id = self.ids.task_instance(now);
            let ti = TaskInstance { id, map_index: MapIndex(map_index), ..model.clone() };
            put(decisions, &ti, Change::TaskInstance);
            state.add_instance(task, ti);
        }
    }

    /// An instance of a mapped task may run: if what it maps over has changed its length meanwhile, the instances are
    /// brought into line. Returns whether this one is still to run.
    pub(crate) fn revise(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) -> bool {
        let Some(state) = self.runs.get_mut(&task.run) else { return false };
        if state.tasks[task.task.at()].is_complete || !state.dag.task(task.task).needs_expansion() {
            return true;
        }
        let unknown = state.unknown_lengths(task.task);
        if !unknown.is_empty() {
            self.ask_lengths(task.run, &unknown);
            return false;
        }
        state.tasks[task.task.at()].is_complete = true;
        let Some(count) = state.instances_of(task.task).filter(|count| *count <= MAX_INSTANCES) else { return true };
        let is_gone = |map_index: MapIndex| u64::try_from(map_index.0).map_or(true, |index| index >= count);
        let gone: Vec<TaskRef> = state
            .refs_of(task.run, task.task)
            .filter(|other| is_gone(state.ti(*other).map_index) && state.ti(*other).state != TaskState::Removed)
            .collect();
        for other in gone {
            self.force(other, TaskTransition::Remove, StopReason::Removed, now, decisions);
        }
        let Some(state) = self.runs.get_mut(&task.run) else { return false };
        let last = state.tasks[task.task.at()].instances.last().map_or(-1, |last| last.ti.map_index.0);
        let old = state.tasks[task.task.at()].instances.len();
        self.add_instances(task.run, task.task, last + 1, count, now, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return false };
        if state.tasks[task.task.at()].instances.len() != old {
            state.resize(task.task);
            state.woken.push((task.task, Touched::Everybody));
        }
        let is_open = state.ti(task).state.is_schedulable();
        self.wake(task.run);
        is_open
    }
}
