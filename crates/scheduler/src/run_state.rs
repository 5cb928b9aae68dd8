//! A run that is under way: its task instances, and counts that are kept up to date as they change.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::transition::{NoTransition, TaskTransition, next_state};
use model::trigger_rule::UpstreamCounts;
use model::{
    AttemptId, Dag, DagRun, LinkKind, MapIndex, Suspension, TaskId, TaskIndex, TaskInstance, TaskState, VersionId,
};

use crate::MAX_INSTANCES;
use crate::event::{LoadedRun, PreviousRun, SkipDecision, Structure};
use crate::inputs::{Inputs, LaneSizes, Touched, counted, in_state};
use crate::slots::{Parked, WaitKey};

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
    /// Its place among those that have just become ready.
    pub(crate) fresh: Option<WaitKey>,
    /// The list it waits in while it is scheduled.
    pub(crate) parked: Option<Parked>,
    /// People were told that it waits for them.
    pub(crate) told: bool,
    /// Where a class of a plugin gives its weight: the number of tries before the one that its weight is about.
    pub(crate) weighed: Option<u32>,
    /// The one that works on it, while it executes.
    pub(crate) attempt: Option<AttemptId>,
    /// What it waits for outside of a process, or how it goes on.
    pub(crate) suspension: Option<Arc<Suspension>>,
}

impl Instance {
    pub(crate) fn new(ti: TaskInstance, suspension: Option<Arc<Suspension>>) -> Self {
        Self { ti, fresh: None, parked: None, told: false, weighed: None, attempt: None, suspension }
    }
}

#[derive(Debug, Default)]
pub(crate) struct TaskSlot {
    /// In the order of their map indexes.
    pub(crate) instances: Vec<Instance>,
    /// Its own instances by their final states.
    pub(crate) own: UpstreamCounts,
    pub(crate) upstream: Inputs,
    /// The setups that it needs without being directly below them.
    pub(crate) setups: Inputs,
    /// For a teardown: the tasks between its setups and itself.
    pub(crate) scope: Inputs,
    /// Where its instances belong in the mapped groups that it is in, once it has them.
    pub(crate) sizes: Option<LaneSizes>,
    /// Whether its instances are as many as what it maps over has items.
    pub(crate) is_complete: bool,
}

impl TaskSlot {
    /// The place of the instance with this map index.
    pub(crate) fn find(&self, map_index: MapIndex) -> Option<u32> {
        let is_at = |at: usize| self.instances.get(at).is_some_and(|instance| instance.ti.map_index == map_index);
        let guess = usize::try_from(map_index.0.max(0)).unwrap_or(0);
        let at = if is_at(guess) {
            guess
        } else {
            self.instances.binary_search_by_key(&map_index, |instance| instance.ti.map_index).ok()?
        };
        u32::try_from(at).ok()
    }

    /// Whether every instance has come to a final state. `false` if there is none.
    pub(crate) fn is_finished(&self) -> bool {
        self.own.total > 0 && self.own.done() == self.own.total
    }

    /// Whether all instances have succeeded or were skipped; `None` if there is none.
    pub(crate) fn all_succeeded(&self) -> Option<bool> {
        (self.own.total > 0).then(|| self.own.success + self.own.skipped == self.own.total)
    }

    /// Whether nothing of it is still to come; of nothing, nothing is.
    pub(crate) fn is_over(&self) -> bool {
        self.own.done() == self.own.total
    }

    /// The one instance that stands for all of a task that has not got its instances.
    pub(crate) fn stand_in(&self) -> Option<&TaskInstance> {
        self.instances.first().map(|instance| &instance.ti).filter(|ti| !ti.map_index.is_mapped())
    }

    fn inputs(&mut self, kind: LinkKind) -> (&mut Inputs, Option<&LaneSizes>) {
        let inputs = match kind {
            LinkKind::Upstream => &mut self.upstream,
            LinkKind::Setup => &mut self.setups,
            LinkKind::Scope => &mut self.scope,
        };
        (inputs, self.sizes.as_ref())
    }
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
    /// The lengths of what finished tasks have left to be mapped over; `None` where they left nothing of the kind.
    pub(crate) lengths: HashMap<TaskIndex, Option<u32>>,
    /// Lengths that were asked for.
    pub(crate) asked_lengths: HashSet<TaskIndex>,
    /// Weights that were asked for, by the number of tries before the one that they are about.
    pub(crate) weighing: HashMap<(TaskIndex, MapIndex), u32>,
    /// Task instances for which something may be different now.
    pub(crate) woken: Vec<(TaskIndex, Touched)>,
    /// Task instances that have not come to a final state.
    pub(crate) unfinished: u32,
    /// Those of `unfinished` that something is going to happen to without any other task's end.
    pub(crate) live: u32,
    /// Those of `live` that are to run again, and for which what is above them says wait, whatever the clock says.
    pub(crate) stalled: HashSet<(TaskIndex, u32)>,
    /// Those that hold a slot.
    pub(crate) executing: u32,
    /// Task instances of leaves that failed.
    pub(crate) failed_leaves: u32,
}

impl RunState {
    /// The structure that the run is on.
    pub(crate) fn structure(&self) -> Structure {
        let (version, bundle_version) = (self.version, self.run.bundle_version.clone());
        Structure { version, bundle_version, dag: Arc::clone(&self.dag) }
    }

    pub(crate) fn new(loaded: LoadedRun) -> Self {
        let LoadedRun { run, structure, task_instances, skips, lengths, suspensions } = loaded;
        let key = |suspension: &Suspension| (suspension.key.task_id.clone(), suspension.key.map_index);
        let mut suspensions: HashMap<_, _> =
            suspensions.into_iter().map(|found| (key(&found), Arc::new(found))).collect();
        let dag = structure.dag;
        let of_task =
            |skip: crate::event::Skip| Some(((dag.find(skip.branch.as_str())?, skip.map_index), skip.decision));
        let mut state = Self {
            run,
            version: structure.version,
            tasks: dag.tasks().iter().map(|_| TaskSlot::default()).collect(),
            skips: skips.into_iter().filter_map(of_task).collect(),
            lengths: lengths
                .into_iter()
                .filter_map(|(task, length)| Some((dag.find(task.as_str())?, length)))
                .collect(),
            dag,
            previous: Previous::Unknown,
            first_timers: Vec::new(),
            removed: Vec::new(),
            later: Vec::new(),
            asked_lengths: HashSet::new(),
            weighing: HashMap::new(),
            woken: Vec::new(),
            unfinished: 0,
            live: 0,
            stalled: HashSet::new(),
            executing: 0,
            failed_leaves: 0,
        };
        for ti in task_instances {
            match state.dag.find(ti.task_id.as_str()) {
                Some(task) => {
                    let suspension = suspensions.remove(&(ti.task_id.clone(), ti.map_index));
                    state.tasks[task.at()].instances.push(Instance::new(ti, suspension));
                }
                None => state.removed.push(ti),
            }
        }
        state.count_everything();
        state
    }

    fn count_everything(&mut self) {
        let dag = Arc::clone(&self.dag);
        for task in dag.indices() {
            let slot = &mut self.tasks[task.at()];
            slot.instances.sort_by_key(|instance| instance.ti.map_index);
            for position in 0..self.tasks[task.at()].instances.len() {
                let state = self.tasks[task.at()].instances[position].ti.state;
                self.count_own(task, state, 1, true);
            }
        }
        // What a task left while it has not finished is of an earlier time.
        self.lengths.retain(|task, _| self.tasks[task.at()].is_finished());
        for task in dag.indices() {
            self.resize(task);
        }
        self.woken.clear();
    }

    /// Says where a task's instances belong in the mapped groups round it, if it has any and it is known how many there
    /// are to be, and counts everything above it anew.
    pub(crate) fn resize(&mut self, task: TaskIndex) {
        let dag = Arc::clone(&self.dag);
        let is_expanded = self.tasks[task.at()].instances.last().is_some_and(|last| last.ti.map_index.is_mapped());
        let count = self.instances_of(task).filter(|count| is_expanded && (1..=MAX_INSTANCES).contains(count));
        self.tasks[task.at()].sizes = count.map(|count| {
            let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
            let lanes = dag.lanes(task).iter().map(|group| small(self.items_of_group(*group).unwrap_or(1)));
            LaneSizes::new(small(count), lanes.collect::<Vec<_>>().into_iter())
        });
        self.count_above(task);
    }

    /// How long that is what a task leaves is not known any more: neither is whose items the instances of others are.
    fn forget_length(&mut self, source: TaskIndex) {
        if self.lengths.remove(&source).is_none() {
            return;
        }
        let dag = Arc::clone(&self.dag);
        for task in dag.sized_by(source) {
            if self.tasks[task.at()].sizes.is_some() {
                self.resize(*task);
                self.woken.push((*task, Touched::Everybody));
            }
        }
    }

    /// Counts everything above a task anew.
    fn count_above(&mut self, task: TaskIndex) {
        let dag = Arc::clone(&self.dag);
        let sizes = self.tasks[task.at()].sizes.clone();
        for kind in [LinkKind::Upstream, LinkKind::Setup, LinkKind::Scope] {
            let links = || dag.links_above(task).iter().filter(|link| link.kind == kind);
            let counts_instances = links().any(|link| dag.task(link.task).needs_expansion());
            // Lanes take room: no more of it than there are links.
            let mut inputs = Inputs::new(counts_instances, sizes.as_ref().filter(|_| links().next().is_some()));
            for link in links() {
                let is_setup = dag.task(link.task).is_setup;
                if !inputs.counts_instances {
                    inputs.change(link.relation, MapIndex::NONE, sizes.as_ref(), &counted(1, is_setup));
                }
                for instance in &self.tasks[link.task.at()].instances {
                    let (map_index, state) = (instance.ti.map_index, instance.ti.state);
                    if inputs.counts_instances {
                        inputs.change(link.relation, map_index, sizes.as_ref(), &counted(1, is_setup));
                    }
                    if state.is_finished() {
                        inputs.change(link.relation, map_index, sizes.as_ref(), &in_state(state, 1, is_setup));
                    }
                }
            }
            *self.tasks[task.at()].inputs(kind).0 = inputs;
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
        let (old, map_index) = (self.ti(task).state, self.ti(task).map_index);
        let new = next_state(old, transition)?;
        self.count_own(task.task, old, -1, false);
        self.tell_below(task.task, map_index, old, -1);
        self.ti_mut(task).state = new;
        self.stalled.remove(&(task.task, task.instance));
        self.count_own(task.task, new, 1, false);
        self.tell_below(task.task, map_index, new, 1);
        if old.is_finished() && !new.is_finished() {
            // What it leaves may be of another length this time.
            self.forget_length(task.task);
        }
        Ok(new)
    }

    /// Adds an instance to a task, after all that it has.
    pub(crate) fn add_instance(&mut self, task: TaskIndex, ti: TaskInstance) {
        let (map_index, state) = (ti.map_index, ti.state);
        self.tasks[task.at()].instances.push(Instance::new(ti, None));
        self.count_own(task, state, 1, true);
        self.count_below(task, map_index, 1);
        self.tell_below(task, map_index, state, 1);
    }

    /// Gives a task instance another map index.
    pub(crate) fn move_instance(&mut self, task: TaskRef, map_index: MapIndex) {
        let (old, state) = (self.ti(task).map_index, self.ti(task).state);
        self.tell_below(task.task, old, state, -1);
        self.count_below(task.task, old, -1);
        self.ti_mut(task).map_index = map_index;
        self.count_below(task.task, map_index, 1);
        self.tell_below(task.task, map_index, state, 1);
    }

    /// Counts an instance for the task itself and for the run.
    fn count_own(&mut self, task: TaskIndex, state: TaskState, by: i32, is_new: bool) {
        let shift = |count: &mut u32, met: bool| {
            if met {
                *count = count.saturating_add_signed(by);
            }
        };
        shift(&mut self.unfinished, !state.is_finished());
        shift(&mut self.live, !state.is_finished() && state != TaskState::None);
        shift(&mut self.executing, state.is_executing());
        shift(&mut self.failed_leaves, state.is_failure() && self.dag.is_leaf(task));
        let own = &mut self.tasks[task.at()].own;
        if is_new {
            counted(by, false)(own);
        }
        in_state(state, by, false)(own);
    }

    /// Counts an instance for everybody below who counts instances.
    fn count_below(&mut self, task: TaskIndex, map_index: MapIndex, by: i32) {
        let is_setup = self.dag.task(task).is_setup;
        self.change_below(task, map_index, true, &counted(by, is_setup));
    }

    /// Tells everybody below of a final state.
    fn tell_below(&mut self, task: TaskIndex, map_index: MapIndex, state: TaskState, by: i32) {
        if state.is_finished() {
            let is_setup = self.dag.task(task).is_setup;
            self.change_below(task, map_index, false, &in_state(state, by, is_setup));
        }
    }

    fn change_below(
        &mut self,
        task: TaskIndex,
        map_index: MapIndex,
        of_total: bool,
        change: &impl Fn(&mut UpstreamCounts),
    ) {
        let dag = Arc::clone(&self.dag);
        for link in dag.links_below(task) {
            let (inputs, sizes) = self.tasks[link.task.at()].inputs(link.kind);
            if of_total && !inputs.counts_instances {
                continue;
            }
            match inputs.change(link.relation, map_index, sizes, change) {
                Touched::Nobody => {}
                touched => self.woken.push((link.task, touched)),
            }
        }
    }
}
