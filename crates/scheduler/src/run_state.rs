//! A run that is under way: its task instances, and counts that are kept up to date as they change.

use std::collections::HashMap;
use std::sync::Arc;

use model::transition::{NoTransition, TaskTransition, next_state};
use model::trigger_rule::UpstreamCounts;
use model::{Dag, DagRun, MapIndex, TaskId, TaskIndex, TaskInstance, TaskState, VersionId};

use crate::event::{LoadedRun, PreviousRun, SkipDecision};
use crate::slots::Parked;

/// A running run's number in this process; never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct RunSerial(pub(crate) u64);

/// A task instance of a running run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct TaskRef {
    pub(crate) run: RunSerial,
    pub(crate) task: TaskIndex,
    pub(crate) instance: u32,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) ti: TaskInstance,
    /// The list it waits in while it is scheduled.
    pub(crate) parked: Option<Parked>,
    /// People were told that it waits for them.
    pub(crate) told: bool,
}

#[derive(Debug, Default)]
pub(crate) struct TaskSlot {
    pub(crate) instances: Vec<Instance>,
    pub(crate) upstream: UpstreamCounts,
    /// The setups that it needs without being directly below them.
    pub(crate) setups: UpstreamCounts,
    /// For a teardown: the tasks between its setups and itself.
    pub(crate) scope: UpstreamCounts,
}

/// The run before this one, as far as it is known.
#[derive(Debug)]
pub(crate) enum Previous {
    /// Nobody has asked yet.
    Unknown,
    /// Asked for; the answer comes.
    Asked,
    /// There is none: this is the first.
    None,
    Finished(Box<PreviousRun>),
    Active(RunSerial),
}

#[derive(Debug)]
pub(crate) struct RunState {
    pub(crate) run: DagRun,
    /// That of `dag`.
    pub(crate) version: VersionId,
    pub(crate) dag: Arc<Dag>,
    pub(crate) tasks: Vec<TaskSlot>,
    pub(crate) skips: HashMap<(TaskIndex, MapIndex), SkipDecision>,
    pub(crate) previous: Previous,
    /// Tasks that no run before this one has had, as far as that matters.
    pub(crate) first_timers: Vec<TaskId>,
    /// Task instances whose tasks the Dag no longer has; they may come back.
    pub(crate) removed: Vec<TaskInstance>,
    /// Runs that have this one before them.
    pub(crate) later: Vec<RunSerial>,
    /// Task instances that have not come to a final state.
    pub(crate) unfinished: u32,
    /// Those of `unfinished` that something is going to happen to without any other task's end.
    pub(crate) live: u32,
    /// Those that hold a slot.
    pub(crate) executing: u32,
    /// Task instances of leaves that failed.
    pub(crate) failed_leaves: u32,
}

impl RunState {
    pub(crate) fn new(loaded: LoadedRun) -> Self {
        let LoadedRun { run, structure, task_instances, skips } = loaded;
        let dag = structure.dag;
        let of_task =
            |skip: crate::event::Skip| Some(((dag.find(skip.branch.as_str())?, skip.map_index), skip.decision));
        let mut state = Self {
            run,
            version: structure.version,
            tasks: dag.tasks().iter().map(|_| TaskSlot::default()).collect(),
            skips: skips.into_iter().filter_map(of_task).collect(),
            dag,
            previous: Previous::Unknown,
            first_timers: Vec::new(),
            removed: Vec::new(),
            later: Vec::new(),
            unfinished: 0,
            live: 0,
            executing: 0,
            failed_leaves: 0,
        };
        for ti in task_instances {
            match state.dag.find(ti.task_id.as_str()) {
                Some(task) => state.tasks[task.at()].instances.push(Instance { ti, parked: None, told: false }),
                None => state.removed.push(ti),
            }
        }
        state.count_everything();
        state
    }

    fn count_everything(&mut self) {
        let dag = Arc::clone(&self.dag);
        for task in dag.indices() {
            for above in &dag.task(task).upstream {
                self.tasks[task.at()].upstream.total += 1;
                self.tasks[task.at()].upstream.total_setup += u32::from(dag.task(*above).is_setup);
            }
            self.tasks[task.at()].setups.total = dag.indirect_setups(task).len() as u32;
            self.tasks[task.at()].scope.total = dag.teardown_scope(task).len() as u32;
        }
        for task in dag.indices() {
            for position in 0..self.tasks[task.at()].instances.len() {
                let state = self.tasks[task.at()].instances[position].ti.state;
                self.count(task, state, 1);
            }
        }
    }

    pub(crate) fn instance(&self, task: TaskRef) -> &Instance {
        &self.tasks[task.task.at()].instances[task.instance as usize]
    }

    pub(crate) fn instance_mut(&mut self, task: TaskRef) -> &mut Instance {
        &mut self.tasks[task.task.at()].instances[task.instance as usize]
    }

    pub(crate) fn ti(&self, task: TaskRef) -> &TaskInstance {
        &self.instance(task).ti
    }

    pub(crate) fn ti_mut(&mut self, task: TaskRef) -> &mut TaskInstance {
        &mut self.instance_mut(task).ti
    }

    /// Every task instance of the run.
    pub(crate) fn refs(&self, serial: RunSerial) -> Vec<TaskRef> {
        let mut refs = Vec::new();
        for task in self.dag.indices() {
            refs.extend(self.refs_of(serial, task));
        }
        refs
    }

    /// Every instance of one task.
    pub(crate) fn refs_of(&self, serial: RunSerial, task: TaskIndex) -> impl Iterator<Item = TaskRef> + use<> {
        let count = self.tasks[task.at()].instances.len() as u32;
        (0..count).map(move |instance| TaskRef { run: serial, task, instance })
    }

    /// Moves a task instance on, and every count with it.
    pub(crate) fn transition(&mut self, task: TaskRef, transition: TaskTransition) -> Result<TaskState, NoTransition> {
        let old = self.ti(task).state;
        let new = next_state(old, transition)?;
        self.count(task.task, old, -1);
        self.ti_mut(task).state = new;
        self.count(task.task, new, 1);
        Ok(new)
    }

    fn count(&mut self, task: TaskIndex, state: TaskState, by: i32) {
        let dag = Arc::clone(&self.dag);
        let shift = |count: &mut u32, met: bool| {
            if met {
                *count = count.saturating_add_signed(by);
            }
        };
        shift(&mut self.unfinished, !state.is_finished());
        shift(&mut self.live, !state.is_finished() && state != TaskState::None);
        shift(&mut self.executing, state.is_executing());
        shift(&mut self.failed_leaves, state.is_failure() && dag.is_leaf(task));
        if !state.is_finished() {
            return;
        }
        let is_setup = dag.task(task).is_setup;
        let tell = |counts: &mut UpstreamCounts| {
            if by > 0 { counts.add(state, is_setup) } else { counts.remove(state, is_setup) }
        };
        for below in &dag.task(task).downstream {
            tell(&mut self.tasks[below.at()].upstream);
        }
        for dependent in dag.indirect_dependents(task) {
            let slot = &mut self.tasks[dependent.at()];
            tell(if dag.task(*dependent).is_teardown { &mut slot.scope } else { &mut slot.setups });
        }
    }
}
