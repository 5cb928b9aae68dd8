//! What is to become of the task instances of a run, as Airflow's words have it: everything is looked at again, and
//! nothing is counted ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Dag, DagRun, ExpandInput, GroupIndex, MapValue, Task, TaskId, TaskIndex, TaskInstance, TaskState, TriggerRule,
    XComArg,
};
use scheduler::MAX_INSTANCES;

use crate::oracle::{Expected, Upstream, expected};

pub type Place = (TaskIndex, i32);

/// One run, as it was told change by change.
pub struct Run {
    pub dag: Arc<Dag>,
    pub run: Option<DagRun>,
    pub tis: BTreeMap<Place, TaskInstance>,
    pub returned: BTreeMap<Place, u32>,
    /// What branches have left out.
    pub skips: BTreeMap<Place, Vec<TaskId>>,
}

/// What comes next for a task instance that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Waits,
    Runs,
    Becomes(TaskState),
    /// The one that stands for many becomes so many.
    Expands(u64),
}

impl Run {
    pub fn new(dag: Arc<Dag>) -> Self {
        Self { dag, run: None, tis: BTreeMap::new(), returned: BTreeMap::new(), skips: BTreeMap::new() }
    }

    pub fn instances(&self, task: TaskIndex) -> impl Iterator<Item = (i32, TaskState)> + '_ {
        self.tis.range((task, i32::MIN)..=(task, i32::MAX)).map(|((_, index), ti)| (*index, ti.state))
    }

    /// Everything above a task, or below it.
    pub fn reach(&self, from: TaskIndex, upwards: bool) -> BTreeSet<TaskIndex> {
        let mut found = BTreeSet::new();
        let mut next = vec![from];
        while let Some(task) = next.pop() {
            let task = self.dag.task(task);
            for other in if upwards { &task.upstream } else { &task.downstream } {
                if found.insert(*other) {
                    next.push(*other);
                }
            }
        }
        found
    }

    /// How long that is what a task has left; nothing while one of its instances has not ended (`get_task_map_length`).
    fn length_of(&self, task: TaskIndex) -> Option<u64> {
        if self.instances(task).any(|(_, state)| !state.is_finished()) {
            return None;
        }
        if self.dag.task(task).expand.is_some() {
            return Some(self.returned.keys().filter(|(other, index)| *other == task && *index >= 0).count() as u64);
        }
        self.returned.get(&(task, -1)).map(|length| u64::from(*length))
    }

    fn length(&self, input: &ExpandInput) -> Option<u64> {
        let of_value = |value: &MapValue| match value {
            MapValue::Literal(items) => Some(items.as_array().unwrap().len() as u64),
            MapValue::XCom(XComArg::Plain { task_id, .. }) => self.length_of(self.dag.find(task_id.as_str()).unwrap()),
            other => panic!("{other:?}"),
        };
        match input {
            ExpandInput::Product(arguments) => arguments.iter().map(|(_, value)| of_value(value)).product(),
            ExpandInput::Dicts(value) => of_value(value),
        }
    }

    /// How many instances a task has by what its Dag alone says.
    pub fn literal_count(&self, task: TaskIndex) -> Option<u64> {
        let is_literal = |input: &ExpandInput| {
            let mut tasks = 0;
            input.for_each_task(&mut |_| tasks += 1);
            tasks == 0
        };
        let of_groups = self.groups(task).into_iter().all(|group| is_literal(&self.dag.groups[group.at()].expand));
        let is_known = of_groups && self.dag.task(task).expand.as_deref().is_none_or(is_literal);
        if is_known { self.count(task) } else { None }
    }

    fn groups(&self, task: TaskIndex) -> Vec<GroupIndex> {
        let mut found = Vec::new();
        let mut next = self.dag.task(task).mapped_group;
        while let Some(group) = next {
            found.push(group);
            next = self.dag.groups[group.at()].parent;
        }
        found
    }

    fn items(&self, groups: &[GroupIndex]) -> Option<u64> {
        groups.iter().map(|group| self.length(&self.dag.groups[group.at()].expand)).product()
    }

    /// How many instances a task is to have (`get_mapped_ti_count`).
    pub fn count(&self, task: TaskIndex) -> Option<u64> {
        let own = self.dag.task(task).expand.as_ref().map_or(Some(1), |input| self.length(input))?;
        Some(own * self.items(&self.groups(task))?)
    }

    /// The instances of a task above that matter to one below (`_is_relevant_upstream`).
    fn relevant(&self, task: TaskIndex, index: i32, upper: TaskIndex) -> Vec<Upstream> {
        let rule = self.dag.task(task).trigger_rule;
        let is_hasty = matches!(
            rule,
            TriggerRule::OneSuccess
                | TriggerRule::OneFailed
                | TriggerRule::OneDone
                | TriggerRule::NoneFailedMinOneSuccess
        );
        let own_groups = self.groups(task);
        let upper_groups = self.groups(upper);
        let common = own_groups.iter().position(|group| upper_groups.contains(group));
        // One that stands for many does not become more than there may be, but it knows how many that would be.
        let most = if index < 0 { u64::MAX } else { MAX_INSTANCES };
        let count = self.count(task).filter(|count| (1..=most).contains(count));
        let matters = |other: i32| match (common, count) {
            _ if other < 0 => true,
            (None, _) | (_, None) => true,
            (Some(_), _) if index < 0 => is_hasty,
            (Some(common), Some(count)) => {
                let items = self.items(&own_groups[common..]).unwrap();
                let item = index as u64 * items / count;
                if upper_groups.first() == Some(&own_groups[common]) {
                    other as u64 == item
                } else {
                    let further = count / items;
                    (item * further..(item + 1) * further).contains(&(other as u64))
                }
            }
        };
        let is_setup = self.dag.task(upper).is_setup;
        let state = |state: TaskState| Some(state).filter(|state| state.is_finished());
        let relevant = self.instances(upper).filter(|(other, _)| matters(*other));
        relevant.map(|(_, found)| Upstream { state: state(found), is_setup }).collect()
    }

    fn all_relevant(&self, place: Place, uppers: impl IntoIterator<Item = TaskIndex>) -> Vec<Upstream> {
        uppers.into_iter().flat_map(|upper| self.relevant(place.0, place.1, upper)).collect()
    }

    /// Setups above that have no teardown, or one that is below the task too (`get_upstreams_only_setups`).
    fn setups(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let (direct, below) = (&self.dag.task(task).upstream, self.reach(task, false));
        let is_needed = |setup: &TaskIndex| {
            let teardowns: Vec<&TaskIndex> =
                self.dag.task(*setup).downstream.iter().filter(|below| self.dag.task(**below).is_teardown).collect();
            teardowns.is_empty() || teardowns.iter().any(|teardown| below.contains(teardown))
        };
        let above = self.reach(task, true).into_iter().filter(|above| self.dag.task(*above).is_setup);
        above.filter(|setup| !direct.contains(setup)).filter(is_needed).collect()
    }

    /// What is between a teardown and its setups without being directly above it.
    fn scope(&self, teardown: TaskIndex) -> Vec<TaskIndex> {
        let direct = &self.dag.task(teardown).upstream;
        let setups = direct.iter().filter(|above| self.dag.task(**above).is_setup);
        let below_setups: BTreeSet<TaskIndex> = setups.flat_map(|setup| self.reach(*setup, false)).collect();
        let above = self.reach(teardown, true).into_iter();
        above.filter(|task| !direct.contains(task) && below_setups.contains(task)).collect()
    }

    /// What the rule says, and what setups and the scope of a teardown have to say about it.
    fn by_rule(&self, place: Place) -> Expected {
        let definition = self.dag.task(place.0);
        let direct = self.all_relevant(place, definition.upstream.iter().copied());
        if direct.is_empty() || definition.trigger_rule == TriggerRule::Always {
            return Expected::Runs;
        }
        let of_rule = expected_of_instance(definition.trigger_rule, &direct, place.1);
        if definition.is_teardown {
            let scope = self.all_relevant(place, self.scope(place.0));
            let is_open = scope.iter().any(|found| found.state.is_none());
            return if of_rule == Expected::Runs && is_open { Expected::Waits } else { of_rule };
        }
        let setups = self.all_relevant(place, self.setups(place.0));
        match expected_of_setups(&setups, place.1) {
            Expected::Becomes(state) => Expected::Becomes(state),
            Expected::Waits if of_rule == Expected::Runs => Expected::Waits,
            _ => of_rule,
        }
    }

    /// Whether a branch directly above has left the task out (`NotPreviouslySkippedDep`, for every item of a group).
    fn is_left_out(&self, place: Place) -> bool {
        let definition = self.dag.task(place.0);
        definition.upstream.iter().filter(|above| self.dag.task(**above).can_skip_downstream).any(|branch| {
            let has_ended = self.instances(*branch).any(|(_, state)| state.is_finished());
            let index = match (self.dag.task(*branch).expand.is_some(), self.groups(*branch).first()) {
                (true, _) => Some(place.1),
                (false, None) => Some(-1),
                (false, Some(group)) => self.item_in(place, *group),
            };
            let left_out = index.and_then(|index| self.skips.get(&(*branch, index)));
            has_ended && left_out.is_some_and(|tasks| tasks.contains(&definition.task_id))
        })
    }

    /// The item of a group that an instance of a task in it belongs to.
    fn item_in(&self, (task, index): Place, group: GroupIndex) -> Option<i32> {
        let groups = self.groups(task);
        let outer = &groups[groups.iter().position(|other| *other == group)?..];
        let (items, count) =
            (self.items(outer)?, self.count(task).filter(|count| (1..=MAX_INSTANCES).contains(count))?);
        (index >= 0).then(|| (index as u64 * items / count) as i32).filter(|item| (*item as u64) < items)
    }

    /// What is to become of an instance that waits, as things stand.
    pub fn next(&self, place: Place) -> Next {
        if self.is_left_out(place) {
            return Next::Becomes(TaskState::Skipped);
        }
        let by_rule = self.by_rule(place);
        let sources = self.sources(place.0);
        let ended = |wanted: &[TaskState]| {
            sources.iter().any(|source| self.tis.get(&(*source, -1)).is_some_and(|ti| wanted.contains(&ti.state)))
        };
        let failed = ended(&[TaskState::Failed, TaskState::UpstreamFailed]);
        match by_rule {
            Expected::Becomes(TaskState::UpstreamFailed) => Next::Becomes(TaskState::UpstreamFailed),
            _ if failed => Next::Becomes(TaskState::UpstreamFailed),
            Expected::Becomes(state) => Next::Becomes(state),
            _ if ended(&[TaskState::Skipped]) => Next::Becomes(TaskState::Skipped),
            Expected::Waits => Next::Waits,
            _ if ended(&[TaskState::Removed]) => Next::Waits,
            Expected::Runs => self.runs(place),
        }
    }

    fn runs(&self, (task, index): Place) -> Next {
        if index >= 0 || !self.dag.task(task).needs_expansion() {
            return Next::Runs;
        }
        match self.count(task) {
            None => Next::Becomes(TaskState::UpstreamFailed),
            Some(0) => Next::Becomes(TaskState::Skipped),
            Some(count) if count > MAX_INSTANCES => Next::Becomes(TaskState::UpstreamFailed),
            Some(count) => Next::Expands(count),
        }
    }

    /// The tasks whose XComs a task maps over, or the closest mapped group round it.
    fn sources(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let definition = self.dag.task(task);
        let group = || Some(&self.dag.groups[definition.mapped_group?.at()].expand);
        let mut sources = Vec::new();
        if let Some(input) = definition.expand.as_deref().or_else(group) {
            input.for_each_task(&mut |source| sources.push(self.dag.find(source.as_str()).unwrap()));
        }
        sources
    }

    /// Tasks whose ends decide how the run ends.
    pub fn leaves(&self) -> Vec<TaskIndex> {
        let decides = |task: &Task| !task.is_teardown || task.on_failure_fail_dagrun;
        let is_leaf = |task: &TaskIndex| {
            let task = self.dag.task(*task);
            decides(task) && !task.downstream.iter().any(|below| decides(self.dag.task(*below)))
        };
        let leaves: Vec<TaskIndex> = self.dag.indices().filter(is_leaf).collect();
        if leaves.is_empty() {
            return self.dag.indices().filter(|task| self.dag.task(*task).downstream.is_empty()).collect();
        }
        leaves
    }

    pub fn states(&self) -> Vec<String> {
        self.tis.values().map(|ti| format!("{}[{}] {}", ti.task_id, ti.map_index.0, ti.state)).collect()
    }
}

/// The rule for an instance of a mapped task, which may be gone together with those above it.
fn expected_of_instance(rule: TriggerRule, upstreams: &[Upstream], index: i32) -> Expected {
    if rule == TriggerRule::AllSuccess && is_gone(upstreams, index) {
        return Expected::Becomes(TaskState::Removed);
    }
    expected(rule, upstreams)
}

fn count(upstreams: &[Upstream], wanted: &[TaskState]) -> usize {
    upstreams.iter().filter(|found| found.state.is_some_and(|state| wanted.contains(&state))).count()
}

/// Some of those above were removed, and as many have succeeded as there are instances before this one.
fn is_gone(upstreams: &[Upstream], index: i32) -> bool {
    let ended_otherwise = count(upstreams, &[TaskState::Failed, TaskState::UpstreamFailed, TaskState::Skipped]);
    let succeeded = count(upstreams, &[TaskState::Success]);
    let is_beyond = usize::try_from(index).is_ok_and(|index| index >= succeeded);
    ended_otherwise == 0 && succeeded > 0 && count(upstreams, &[TaskState::Removed]) > 0 && is_beyond
}

/// What the setups say that are not directly above: each of them must have succeeded.
fn expected_of_setups(setups: &[Upstream], index: i32) -> Expected {
    if is_gone(setups, index) {
        return Expected::Becomes(TaskState::Removed);
    }
    if count(setups, &[TaskState::Failed, TaskState::UpstreamFailed]) > 0 {
        return Expected::Becomes(TaskState::UpstreamFailed);
    }
    if count(setups, &[TaskState::Skipped]) > 0 {
        return Expected::Becomes(TaskState::Skipped);
    }
    let good: &[TaskState] = if index >= 0 { &[TaskState::Success, TaskState::Removed] } else { &[TaskState::Success] };
    if count(setups, good) == setups.len() { Expected::Runs } else { Expected::Waits }
}
