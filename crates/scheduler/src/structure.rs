//! Dags that change while they run. A run whose bundle has no versions goes on with the newest structure: its task
//! instances are brought into line with that as Airflow's `DagRun.verify_integrity` and
//! `task_instance_scheduling_decisions` do it.

use jiff::Timestamp;
use model::{Change, MapIndex, RunKey, TaskState};

use crate::event::{Action, Decisions, LoadedRun, Skip, StopReason, Structure};
use crate::run_state::{Previous, RunSerial, RunState, TaskRef};
use crate::runs::belongs_to_run;
use crate::{Scheduler, put};

impl Scheduler {
    /// Makes the task instances of new tasks, takes those of removed tasks out of the run, and those of tasks that have
    /// come back into it again.
    pub(crate) fn fit(&mut self, loaded: &mut LoadedRun, now: Timestamp, decisions: &mut Decisions) {
        let LoadedRun { run, structure, task_instances, .. } = loaded;
        if task_instances.iter().any(|ti| ti.version == structure.version) {
            return;
        }
        for ti in &mut *task_instances {
            let before = (ti.state, ti.version);
            match structure.dag.find(ti.task_id.as_str()) {
                None => {
                    ti.state = TaskState::Removed;
                    ti.end_date = ti.end_date.or(ti.start_date.map(|_| now));
                }
                Some(_) if ti.state == TaskState::Removed => ti.state = TaskState::None,
                Some(_) => {}
            }
            if !ti.state.is_finished() {
                ti.version = structure.version;
            }
            if before != (ti.state, ti.version) {
                put(decisions, ti, Change::TaskInstance);
            }
        }
        for task in structure.dag.indices() {
            let definition = structure.dag.task(task);
            let known = task_instances.iter().any(|ti| ti.task_id == definition.task_id);
            if !known && belongs_to_run(definition, run) {
                let ti = self.new_task_instance(run, structure, task, MapIndex::NONE, now);
                put(decisions, &ti, Change::TaskInstance);
                task_instances.push(ti);
            }
        }
    }

    /// The newest structure of a run's Dag is there.
    pub(crate) fn structure_loaded(
        &mut self,
        run: &RunKey,
        structure: Option<Structure>,
        skips: Vec<Skip>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let (Some(structure), Some(serial)) = (structure, self.run_serials.get(run).copied()) else { return };
        if self.runs.get(&serial).is_some_and(|state| state.version != structure.version) {
            self.rebase(serial, structure, skips, now, decisions);
        }
    }

    /// Puts a run under way on another structure. It gets a new serial: whatever still names the old one finds nothing.
    fn rebase(
        &mut self,
        old_serial: RunSerial,
        structure: Structure,
        skips: Vec<Skip>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get(&old_serial) else { return };
        for task in state.refs(old_serial) {
            self.let_go(task);
        }
        let Some(old) = self.runs.remove(&old_serial) else { return };
        let task_instances: Vec<_> = old
            .tasks
            .into_iter()
            .flat_map(|slot| slot.instances)
            .map(|instance| instance.ti)
            .chain(old.removed)
            .collect();
        let executing: Vec<_> =
            task_instances.iter().filter(|ti| ti.state.is_executing()).map(|ti| (ti.task_id.clone(), ti.id)).collect();
        for (_, attempt) in executing.iter().filter(|(task, _)| structure.dag.find(task.as_str()).is_none()) {
            decisions.actions.push(Action::Stop { attempt: *attempt, reason: StopReason::Removed });
        }
        let mut loaded = LoadedRun { run: old.run, structure, task_instances, skips };
        self.fit(&mut loaded, now, decisions);
        let mut state = RunState::new(loaded);
        state.later = old.later;
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

    /// A task instance gives up its slots and its place among those that wait.
    fn let_go(&mut self, task: TaskRef) {
        let Some(ti) = self.runs.get(&task.run).map(|state| state.ti(task)) else { return };
        let (state, id) = (ti.state, ti.id);
        if state.is_executing() {
            self.release_slots(task);
            self.attempts.remove(&id);
        } else {
            self.leave_waiting(task);
        }
    }

    /// The counterpart of [`Self::let_go`].
    fn take_hold(&mut self, task: TaskRef) {
        let Some(ti) = self.runs.get(&task.run).map(|state| state.ti(task)) else { return };
        let (state, id) = (ti.state, ti.id);
        if state.is_executing() {
            self.acquire_slots(task);
            self.attempts.insert(id, task);
        } else if state == TaskState::Scheduled {
            self.wait_for_slot(task);
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
