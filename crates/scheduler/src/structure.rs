//! Dags that change while they run. A run whose bundle has no versions goes on with the newest structure: its task
//! instances are brought into line with that as Airflow's `DagRun.verify_integrity` and
//! `task_instance_scheduling_decisions` do it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::{Change, MapIndex, RunKey, Suspension, TaskId, TaskIndex, TaskInstance, TaskState, TriggerId};

use crate::event::{Action, Decisions, LoadedRun, Skip, StopReason, Structure};
use crate::expand::literal_count;
use crate::run_state::{Previous, RunSerial, RunState, TaskRef};
use crate::runs::{belongs_to_run, map_indexes};
use crate::{Scheduler, put};

/// The newest structure of a run's Dag, and what the run has left that matters to it.
#[derive(Debug)]
pub(crate) struct NewestStructure {
    pub(crate) structure: Structure,
    pub(crate) skips: Vec<Skip>,
    pub(crate) lengths: Vec<(TaskId, Option<u32>)>,
}

/// The lengths of what finished tasks have left.
fn settled_lengths(loaded: &LoadedRun) -> HashMap<TaskId, u32> {
    let open: HashSet<&TaskId> =
        loaded.task_instances.iter().filter(|ti| !ti.state.is_finished()).map(|ti| &ti.task_id).collect();
    let settled = loaded.lengths.iter().filter(|(task, _)| !open.contains(task));
    settled.filter_map(|(task, length)| Some((task.clone(), (*length)?))).collect()
}

/// Whether an instance of a task is none any more: `literal` instances are what the Dag alone says, `known` what is
/// known altogether (`_check_for_removed_or_restored_tasks`).
fn is_gone(map_index: MapIndex, [literal, known]: [Option<u64>; 2]) -> bool {
    let index = u64::try_from(map_index.0).ok();
    match (literal, known) {
        (Some(count), _) => index.is_none_or(|index| index >= count),
        (None, Some(count)) => index.is_some_and(|index| index >= count),
        (None, None) => index.is_some(),
    }
}

impl Scheduler {
    /// Makes the task instances of new tasks, takes those of removed tasks out of the run, and those of tasks that have
    /// come back into it again.
    pub(crate) fn fit(&mut self, loaded: &mut LoadedRun, now: Timestamp, decisions: &mut Decisions) {
        let lengths = settled_lengths(loaded);
        let LoadedRun { run, structure, task_instances, suspensions, .. } = loaded;
        if task_instances.iter().any(|ti| ti.version == structure.version) {
            return;
        }
        let dag = Arc::clone(&structure.dag);
        let length_of = |task: &TaskId| lengths.get(task).copied();
        let counts: Vec<[Option<u64>; 2]> =
            dag.indices().map(|task| [literal_count(&dag, task), dag.count_instances(task, &length_of)]).collect();
        for ti in &mut *task_instances {
            let before = (ti.state, ti.version);
            match structure.dag.find(ti.task_id.as_str()) {
                None => {
                    ti.state = TaskState::Removed;
                    ti.end_date = ti.end_date.or(ti.start_date.map(|_| now));
                }
                Some(task) => {
                    if ti.state == TaskState::Removed {
                        ti.state = TaskState::None;
                    }
                    if dag.task(task).needs_expansion() && is_gone(ti.map_index, counts[task.at()]) {
                        ti.state = TaskState::Removed;
                    }
                }
            }
            if !ti.state.is_finished() {
                ti.version = structure.version;
            }
            if before != (ti.state, ti.version) {
                put(decisions, ti, Change::TaskInstance);
            }
        }
        let is_removed = |ti: &&TaskInstance| ti.state == TaskState::Removed;
        let removed: HashSet<(&TaskId, MapIndex)> =
            task_instances.iter().filter(is_removed).map(|ti| (&ti.task_id, ti.map_index)).collect();
        let is_gone =
            |suspension: &mut Suspension| removed.contains(&(&suspension.key.task_id, suspension.key.map_index));
        for gone in suspensions.extract_if(.., is_gone) {
            let running = gone.trigger.as_ref().filter(|trigger| trigger.timer.is_none());
            decisions.actions.extend(running.map(|trigger| Action::Disarm(trigger.id)));
            decisions.changes.push(Change::NotSuspended(gone.key));
        }
        let known: HashSet<TaskId> = task_instances.iter().map(|ti| ti.task_id.clone()).collect();
        for task in dag.indices() {
            let definition = dag.task(task);
            if known.contains(&definition.task_id) || !belongs_to_run(definition, run) {
                continue;
            }
            for map_index in map_indexes(counts[task.at()][1], definition) {
                let ti = self.new_task_instance(run, structure, task, map_index, now);
                put(decisions, &ti, Change::TaskInstance);
                task_instances.push(ti);
            }
        }
    }

    /// The newest structure of a run's Dag is there.
    pub(crate) fn structure_loaded(
        &mut self,
        run: &RunKey,
        newest: Option<NewestStructure>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(newest) = self.grant_with_newest(run, newest, now, decisions) else { return };
        if let Some(serial) = self.run_serials.get(run).copied() {
            self.follow(serial, newest, now, decisions);
        }
    }

    fn follow(&mut self, serial: RunSerial, newest: NewestStructure, now: Timestamp, decisions: &mut Decisions) {
        let NewestStructure { structure, skips, lengths } = newest;
        if self.runs.get(&serial).is_some_and(|state| state.version != structure.version) {
            self.rebase(serial, structure, skips, lengths, now, decisions);
        }
    }

    /// A run under way that kept to the version of its bundle leaves it for the newest one.
    pub(crate) fn upgrade(
        &mut self,
        serial: RunSerial,
        newest: NewestStructure,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get_mut(&serial) else { return };
        state.run.version = newest.structure.version;
        state.run.bundle_version.clone_from(&newest.structure.bundle_version);
        put(decisions, &state.run, Change::Run);
        self.follow(serial, newest, now, decisions);
    }

    /// Takes the one that stood for all of a mapped task out of a run, and counts the run anew.
    pub(crate) fn rebuild_without(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        state.tasks[task.task.at()].instances.remove(task.instance as usize);
        let structure = state.structure();
        let named = |task: &TaskIndex| state.dag.task(*task).task_id.clone();
        let skips = state.skips.iter().map(|((branch, map_index), decision)| Skip {
            branch: named(branch),
            map_index: *map_index,
            decision: decision.clone(),
        });
        let lengths = state.lengths.iter().map(|(task, length)| (named(task), *length));
        let (skips, lengths) = (skips.collect(), lengths.collect());
        self.rebase(task.run, structure, skips, lengths, now, decisions);
    }

    /// Puts a run under way on another structure. It gets a new serial: whatever still names the old one finds nothing.
    fn rebase(
        &mut self,
        old_serial: RunSerial,
        structure: Structure,
        skips: Vec<Skip>,
        lengths: Vec<(TaskId, Option<u32>)>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get(&old_serial) else { return };
        for task in state.refs(old_serial) {
            self.let_go(task);
        }
        let Some(old) = self.runs.remove(&old_serial) else { return };
        let mut task_instances = old.removed;
        let mut suspensions = Vec::new();
        let mut attempts = HashMap::new();
        for instance in old.tasks.into_iter().flat_map(|slot| slot.instances) {
            attempts.extend(instance.attempt.map(|attempt| (instance.ti.id, attempt)));
            suspensions.extend(instance.suspension.map(Arc::unwrap_or_clone));
            task_instances.push(instance.ti);
        }
        let mut loaded = LoadedRun { run: old.run, structure, task_instances, skips, lengths, suspensions };
        self.fit(&mut loaded, now, decisions);
        for ti in loaded.task_instances.iter().filter(|ti| ti.state == TaskState::Removed) {
            let cut_off = attempts.remove(&ti.id);
            let reason = StopReason::Removed;
            decisions.actions.extend(cut_off.map(|attempt| Action::Stop { attempt, reason }));
        }
        let mut state = RunState::new(loaded);
        state.later = old.later;
        for instance in state.tasks.iter_mut().flat_map(|slot| &mut slot.instances) {
            instance.attempt = attempts.remove(&instance.ti.id);
        }
        let serial = self.next_serial();
        self.replace_serial(old_serial, serial, &state);
        self.set_run_timers(serial, &state, now);
        let tasks = state.refs(serial);
        self.runs.insert(serial, state);
        for task in tasks {
            self.take_hold(task);
        }
        self.touched.push(serial);
    }

    /// A task instance gives up its slots and its place among those that wait. Returns the trigger that runs for it.
    pub(crate) fn let_go(&mut self, task: TaskRef) -> Option<TriggerId> {
        let instance = self.runs.get(&task.run)?.instance(task);
        if let Some(attempt) = instance.attempt {
            self.release_slots(task);
            self.attempts.remove(&attempt);
            None
        } else if instance.ti.state.is_suspended() {
            self.stop_waiting(task)
        } else {
            self.leave_waiting(task);
            None
        }
    }

    /// The counterpart of [`Self::let_go`].
    fn take_hold(&mut self, task: TaskRef) {
        let Some(instance) = self.runs.get(&task.run).map(|state| state.instance(task)) else { return };
        let state = instance.ti.state;
        if let Some(attempt) = instance.attempt {
            self.acquire_slots(task);
            self.attempts.insert(attempt, task);
        } else if state == TaskState::Scheduled {
            self.wait_for_slot(task);
        } else if state.is_suspended() {
            self.wait_outside(task);
        } else {
            self.dirty.push_back(task);
        }
    }

    fn replace_serial(&mut self, old: RunSerial, new: RunSerial, state: &RunState) {
        self.run_serials.insert(state.run.key.clone(), new);
        let Some(entry) = self.dags.get_mut(&state.run.key.dag_id) else { return };
        for serial in &mut entry.started {
            if *serial == old {
                *serial = new;
            }
        }
        for serial in &entry.started {
            let Some(other) = self.runs.get_mut(serial) else { continue };
            if matches!(other.previous, Previous::Active(previous) if previous == old) {
                other.previous = Previous::Active(new);
            }
            // The run itself asks again what it waits for: its tasks may be others.
            other.later.retain(|later| *later != old);
        }
    }
}
