//! Random Dags with mapped tasks and mapped groups, against slow and plain reasoning: for every task instance, all those
//! above it are looked at again whenever something happens, by the words of Airflow's `_get_relevant_map_indexes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::timetable::Timetable;
use model::{
    AttemptId, Change, Dag, DagBuilder, DagRunState, Execution, ExpandInput, GroupIndex, MapIndex, MapValue,
    MappedGroup, RunKey, Task, TaskIndex, TaskInstance, TaskState, TriggerRule, XComArg,
};
use proptest::prelude::*;
use scheduler::{Config, Outcome};
use serde_json::json;

use crate::oracle::{Expected, Upstream, expected};
use crate::toy::{Step, Toy};

/// What something is mapped over: so many literal items, or what an earlier task leaves.
#[derive(Clone, Copy, Debug)]
enum Over {
    Items(usize),
    Left(usize),
    /// Items, and for each of them what an earlier task leaves.
    Both(usize, usize),
}

#[derive(Clone, Debug)]
struct TaskPlan {
    rule: TriggerRule,
    above: u8,
    group: Option<usize>,
    over: Option<Over>,
    empty: bool,
    /// What becomes of each instance, by its index, and how long that is what it returns.
    ends: [u8; 4],
    returns: Option<u32>,
}

#[derive(Clone, Debug)]
struct Plan {
    tasks: Vec<TaskPlan>,
    groups: Vec<(Option<usize>, Over)>,
    max_active_tasks: u32,
    /// Which attempt ends next, and whether the process is killed after that.
    choices: Vec<(u16, bool)>,
}

fn over() -> impl Strategy<Value = Over> {
    prop_oneof![
        3 => (0..4_usize).prop_map(Over::Items),
        3 => (0..8_usize).prop_map(Over::Left),
        1 => (1..3_usize, 0..8_usize).prop_map(|(items, left)| Over::Both(items, left)),
    ]
}

fn task_plan() -> impl Strategy<Value = TaskPlan> {
    let rule = prop_oneof![2 => Just(TriggerRule::AllSuccess), 3 => proptest::sample::select(&TriggerRule::ALL[..])];
    let group = prop_oneof![2 => Just(None), 3 => (0..3_usize).prop_map(Some)];
    let over = prop_oneof![1 => Just(None), 1 => over().prop_map(Some)];
    let returns = prop_oneof![1 => Just(None), 6 => (0..4_u32).prop_map(Some)];
    (rule, any::<(u8, u8)>(), group, over, 0..10_u8, any::<[u8; 4]>(), returns).prop_map(
        |(rule, (above, mask), group, over, empty, ends, returns)| TaskPlan {
            rule,
            above: above & mask,
            group,
            over,
            empty: empty < 2,
            ends,
            returns,
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let tasks = proptest::collection::vec(task_plan(), 2..8);
    let parent = prop_oneof![1 => Just(None), 1 => (0..2_usize).prop_map(Some)];
    let groups = proptest::collection::vec((parent, over()), 3);
    let killed = prop_oneof![19 => Just(false), 1 => Just(true)];
    let choices = proptest::collection::vec((any::<u16>(), killed), 0..200);
    (tasks, groups, 1..6_u32, choices).prop_map(|(tasks, groups, max_active_tasks, choices)| Plan {
        tasks,
        groups,
        max_active_tasks,
        choices,
    })
}

/// What is mapped over, with a source that comes before `position`; and that source.
fn expand(over: Over, position: usize) -> (ExpandInput, Option<usize>) {
    let items = |count: usize| MapValue::Literal(Arc::new(json!(vec![0; count])));
    let left = |source: usize| {
        MapValue::XCom(XComArg::Plain { task_id: format!("t{source}").into(), key: "return_value".into() })
    };
    match over {
        Over::Items(count) => (ExpandInput::Product(vec![("x".into(), items(count))]), None),
        Over::Left(source) => (ExpandInput::Dicts(left(source % position)), Some(source % position)),
        Over::Both(count, source) => {
            let source = source % position;
            (ExpandInput::Product(vec![("x".into(), items(count)), ("y".into(), left(source))]), Some(source))
        }
    }
}

/// Groups map over literals and over what `t0` leaves, which is in none of them.
fn build(plan: &Plan) -> Arc<Dag> {
    let mut builder = DagBuilder::new("d", Timetable::Null);
    builder.dag_mut().limits.max_active_tasks = plan.max_active_tasks;
    for (number, (parent, over)) in plan.groups.iter().enumerate() {
        let parent = parent.filter(|parent| *parent < number).map(|parent| GroupIndex(parent as u32));
        let group = MappedGroup { group_id: format!("g{number}"), parent, expand: expand(*over, 1).0 };
        builder.dag_mut().groups.push(group);
    }
    for (position, plan) in plan.tasks.iter().enumerate() {
        let mut task = Task::new(format!("t{position}"));
        task.trigger_rule = plan.rule;
        task.execution = if plan.empty { Execution::Empty } else { Execution::Runner { reason: None } };
        if position > 0 {
            task.mapped_group = plan.group.map(|group| GroupIndex(group as u32));
            // Airflow does not map tasks in mapped groups.
            let own = plan.over.filter(|_| task.mapped_group.is_none()).map(|over| expand(over, position));
            if let Some((input, source)) = own {
                task.expand = Some(Arc::new(input));
                if let Some(source) = source {
                    builder.edge(format!("t{source}"), format!("t{position}"));
                }
            }
            if task.mapped_group.is_some() {
                builder.edge("t0", format!("t{position}"));
            }
        }
        builder.task(task);
        for above in (0..position).filter(|above| plan.above & (1 << above) != 0) {
            builder.edge(format!("t{above}"), format!("t{position}"));
        }
    }
    builder.build().unwrap()
}

/// The states of a run, replayed change by change, and what is to become of them.
struct Mirror {
    dag: Arc<Dag>,
    states: BTreeMap<(TaskIndex, i32), TaskState>,
    returned: BTreeMap<(TaskIndex, i32), u32>,
}

impl Mirror {
    fn instances(&self, task: TaskIndex) -> impl Iterator<Item = (i32, TaskState)> + '_ {
        self.states.iter().filter(move |((other, _), _)| *other == task).map(|((_, index), state)| (*index, *state))
    }

    /// How long that is what a task has left; nothing while one of its instances has not ended.
    fn length_of(&self, task: TaskIndex) -> Option<u64> {
        if self.instances(task).any(|(_, state)| !state.is_finished()) {
            return None;
        }
        if self.dag.task(task).is_mapped() {
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

    fn count(&self, task: TaskIndex) -> Option<u64> {
        let own = self.dag.task(task).expand.as_ref().map_or(Some(1), |input| self.length(input))?;
        Some(own * self.items(&self.groups(task))?)
    }

    /// The states of those above that matter to an instance.
    fn relevant(&self, task: TaskIndex, index: i32) -> Vec<Upstream> {
        let definition = self.dag.task(task);
        let hasty = [
            TriggerRule::OneSuccess,
            TriggerRule::OneFailed,
            TriggerRule::OneDone,
            TriggerRule::NoneFailedMinOneSuccess,
        ];
        let own_groups = self.groups(task);
        let mut found = Vec::new();
        for upper in &definition.upstream {
            let upper_groups = self.groups(*upper);
            let common = own_groups.iter().position(|group| upper_groups.contains(group));
            let count = self.count(task).filter(|count| *count > 0);
            for (other, state) in self.instances(*upper) {
                let matters = match (common, count) {
                    _ if other < 0 => true,
                    (None, _) | (_, None) => true,
                    (Some(_), _) if index < 0 => hasty.contains(&definition.trigger_rule),
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
                if matters {
                    found.push(Upstream { state: Some(state).filter(|state| state.is_finished()), is_setup: false });
                }
            }
        }
        found
    }

    /// What is to become of an instance as things stand.
    fn expected(&self, task: TaskIndex, index: i32) -> Expected {
        let definition = self.dag.task(task);
        let by_rule = if definition.upstream.is_empty() {
            Expected::Runs
        } else {
            expected(definition.trigger_rule, &self.relevant(task, index))
        };
        let group = || Some(&self.dag.groups[definition.mapped_group?.at()].expand);
        let mut sources = Vec::new();
        if let Some(input) = definition.expand.as_deref().or_else(group) {
            input.for_each_task(&mut |source| sources.push(self.dag.find(source.as_str()).unwrap()));
        }
        let ended = |wanted: &[TaskState]| {
            sources.iter().any(|source| self.states.get(&(*source, -1)).is_some_and(|state| wanted.contains(state)))
        };
        let failed = ended(&[TaskState::Failed, TaskState::UpstreamFailed]);
        match by_rule {
            Expected::Becomes(TaskState::UpstreamFailed) => by_rule,
            _ if failed => Expected::Becomes(TaskState::UpstreamFailed),
            Expected::Becomes(_) => by_rule,
            _ if ended(&[TaskState::Skipped]) => Expected::Becomes(TaskState::Skipped),
            _ => by_rule,
        }
    }

    /// As [`Self::expected`], where one that stands for many comes to an end if it can't be expanded.
    fn end_of(&self, task: TaskIndex, index: i32) -> Expected {
        let expected = self.expected(task, index);
        if index >= 0 || !self.dag.task(task).needs_expansion() || expected != Expected::Runs {
            return expected;
        }
        match self.count(task) {
            None => Expected::Becomes(TaskState::UpstreamFailed),
            Some(0) => Expected::Becomes(TaskState::Skipped),
            Some(_) => Expected::Runs,
        }
    }

    fn take(&mut self, step: &Step) {
        for change in &step.changes {
            match change {
                Change::TaskInstance(ti) => self.change(ti),
                Change::Expanded { task_id, .. } => {
                    let task = self.dag.find(task_id.as_str()).unwrap();
                    assert_eq!(self.end_of(task, -1), Expected::Runs, "{task_id} is expanded");
                    assert_eq!(self.states.remove(&(task, -1)), Some(TaskState::None), "{task_id}");
                    // All of them are there at once, whatever is decided about the first ones.
                    for index in 0..self.count(task).unwrap() {
                        self.states.insert((task, index as i32), TaskState::None);
                    }
                }
                _ => {}
            }
        }
    }

    fn change(&mut self, ti: &TaskInstance) {
        let task = self.dag.find(ti.task_id.as_str()).unwrap();
        let place = (task, ti.map_index.0);
        let before = self.states.get(&place).copied();
        let name = ti.key();
        match (before, ti.state) {
            (None, TaskState::None) => {}
            (Some(TaskState::None), TaskState::None) => {}
            (Some(TaskState::None), TaskState::Scheduled | TaskState::Queued) => {
                assert_eq!(self.end_of(task, ti.map_index.0), Expected::Runs, "{name}");
            }
            (Some(TaskState::None), TaskState::Success) => {
                assert_eq!(self.dag.task(task).execution, Execution::Empty, "{name}");
                assert_eq!(self.end_of(task, ti.map_index.0), Expected::Runs, "{name}");
            }
            (Some(TaskState::None), ended) => {
                assert_eq!(self.end_of(task, ti.map_index.0), Expected::Becomes(ended), "{name}");
            }
            (Some(before), _) => assert!(!before.is_finished() || before == ti.state, "{name} was {before}"),
            (None, state) => panic!("{name} is {state} and was never made"),
        }
        self.states.insert(place, ti.state);
    }

    /// Nobody waits for whom something could be decided.
    fn check_rest(&self) {
        for ((task, index), _) in self.states.iter().filter(|(_, state)| **state == TaskState::None) {
            let task_id = &self.dag.task(*task).task_id;
            assert_eq!(self.end_of(*task, *index), Expected::Waits, "{task_id}[{index}] is left: {:?}", self.states);
        }
    }
}

fn play(plan: &Plan) {
    let dag = build(plan);
    let mut toy = Toy::new(Config { parallelism: 4, ..Config::default() });
    toy.import(&dag, false);
    let mut mirror = Mirror { dag: Arc::clone(&dag), states: BTreeMap::new(), returned: BTreeMap::new() };
    let mut steps = toy.trigger("d", "r", None);
    // When these have run out, everything ends as it comes, and nothing is killed any more.
    let mut choices = plan.choices.iter().copied().chain(std::iter::repeat((0, false)));
    let run = RunKey::new("d", "r");
    loop {
        steps.iter().for_each(|step| mirror.take(step));
        let state = toy.runs[&run].state;
        if state != DagRunState::Running {
            break;
        }
        mirror.check_rest();
        let (choice, killed) = choices.next().unwrap();
        if killed {
            steps = toy.restart();
            continue;
        }
        let alive: Vec<(AttemptId, &TaskInstance)> =
            toy.alive.iter().map(|(attempt, start)| (*attempt, &start.ti)).collect();
        assert!(!alive.is_empty(), "nothing happens any more: {:?}", mirror.states);
        let (attempt, ti) = alive[usize::from(choice) % alive.len()];
        let ti = ti.clone();
        let task = dag.find(ti.task_id.as_str()).unwrap();
        let own = &plan.tasks[task.at()];
        let roll = own.ends[usize::try_from(ti.map_index.0.max(0)).unwrap() % own.ends.len()];
        let outcome = match roll % 10 {
            0 => Outcome::Skipped,
            1 => Outcome::FailedForGood,
            _ => Outcome::Success,
        };
        if let (Outcome::Success, Some(length)) = (&outcome, own.returns) {
            toy.returned.insert(ti.key(), length);
            mirror.returned.insert((task, ti.map_index.0), length);
        }
        steps = toy.end(attempt, outcome);
    }
    check_end(&toy, &mirror, &run);
}

/// Every task has the instances that it should, and the run ended as its leaves did.
fn check_end(toy: &Toy, mirror: &Mirror, run: &RunKey) {
    let stored: BTreeMap<(TaskIndex, i32), TaskState> = toy
        .task_instances_of(run)
        .map(|ti| ((mirror.dag.find(ti.task_id.as_str()).unwrap(), ti.map_index.0), ti.state))
        .collect();
    assert_eq!(stored, mirror.states);
    let stuck = stored.values().any(|state| !state.is_finished());
    for (task, _) in stored.keys() {
        let indexes: Vec<i32> = mirror.instances(*task).map(|(index, _)| index).collect();
        let count = mirror.count(*task).unwrap_or(0) as i32;
        assert!(indexes == [-1] || indexes == (0..count).collect::<Vec<_>>(), "{task:?} has {indexes:?} of {count}");
    }
    let failed = stored.iter().any(|((task, _), state)| mirror.dag.is_leaf(*task) && state.is_failure());
    let want = if stuck || failed { DagRunState::Failed } else { DagRunState::Success };
    assert_eq!(toy.runs[run].state, want);
    if stuck {
        mirror.check_rest();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(1000), ..ProptestConfig::default() })]

    #[test]
    fn mapped_dags_come_to_what_slow_reasoning_says(plan in plan()) {
        play(&plan);
    }
}

/// `above` is mapped over so many items, `below` is mapped too and waits for all of them; and a group of two tasks is
/// mapped over as many.
fn wide(width: usize) -> Arc<Dag> {
    let mut builder = DagBuilder::new("d", Timetable::Null);
    builder.dag_mut().limits.max_active_tasks = u32::MAX;
    let over = || ExpandInput::Product(vec![("x".into(), MapValue::Literal(Arc::new(json!(vec![0; width]))))]);
    builder.dag_mut().groups.push(MappedGroup { group_id: "g".into(), parent: None, expand: over() });
    for name in ["above", "below", "first", "second", "last"] {
        let mut task = Task::new(name);
        task.pool = "wide".into();
        match name {
            "above" | "below" => task.expand = Some(Arc::new(over())),
            "first" | "second" => task.mapped_group = Some(GroupIndex(0)),
            _ => task.trigger_rule = TriggerRule::AllDone,
        }
        builder.task(task);
    }
    builder.edge("above", "below").edge("first", "second").edge("second", "last").edge("below", "last");
    builder.build().unwrap()
}

#[test]
fn the_work_of_an_expansion_grows_with_its_width_and_not_with_its_square() {
    let looked_at = |width: usize| {
        let mut toy = Toy::new(Config { parallelism: u32::MAX, ..Config::default() });
        toy.set_pool("wide", None);
        toy.import(&wide(width), false);
        toy.trigger("d", "r", None);
        while let Some(attempt) = toy.alive.keys().next().copied() {
            toy.end(attempt, Outcome::Success);
        }
        assert_eq!(toy.runs[&RunKey::new("d", "r")].state, DagRunState::Success);
        assert_eq!(toy.task_instances.len(), 4 * width + 1);
        assert!(toy.task_instances.keys().all(|key| key.map_index != MapIndex::NONE || key.task_id.as_str() == "last"));
        toy.scheduler.evaluations() as usize
    };
    for width in [10, 100, 1000] {
        let evaluations = looked_at(width);
        assert!(evaluations <= 10 * width + 20, "{evaluations} for {width}");
    }
}
