//! Random Dags with everything that a Dag can have, and what happens to their runs.

use std::sync::Arc;

use jiff::SignedDuration;
use model::timetable::Timetable;
use model::{
    Dag, DagBuilder, DagRunState, Execution, ExpandInput, GroupIndex, MapValue, MappedGroup, StartTrigger, Task,
    TriggerRule, XComArg,
};
use proptest::prelude::*;
use scheduler::MarkAs;
use serde_json::json;

/// What something is mapped over: so many items, what an earlier task leaves, or every pair of these.
#[derive(Clone, Copy, Debug)]
pub enum Over {
    Items(usize),
    Left(usize),
    Both(usize, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Plain,
    Empty,
    Branch,
    FromTrigger,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Work,
    Setup,
    Teardown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Past {
    Free,
    Waits,
    WaitsUnlessFirst,
    WaitsForDownstream,
}

#[derive(Clone, Debug)]
pub struct TaskPlan {
    rule: TriggerRule,
    /// Bit by bit, which of the tasks before it are above it.
    above: u8,
    group: Option<usize>,
    over: Option<Over>,
    kind: Kind,
    role: Role,
    counts: bool,
    retries: u32,
    past: Past,
    per_dag: Option<u32>,
    per_run: Option<u32>,
    in_small_pool: bool,
    slots: u32,
    weight: i32,
}

#[derive(Clone, Debug)]
pub struct DagPlan {
    pub tasks: Vec<TaskPlan>,
    groups: Vec<(Option<usize>, Over)>,
    max_active_tasks: u32,
    max_active_runs: u32,
    fail_fast: bool,
    timeout: Option<i64>,
    has_past: bool,
}

/// How an attempt ends. Seconds are so many tens.
#[derive(Clone, Debug)]
pub enum How {
    /// What it returns has this length.
    Success(Option<u32>),
    Skip,
    Fail,
    FailForGood,
    Retry(Option<i64>),
    Reschedule(i64),
    Defer {
        timer: Option<(i64, bool)>,
        timeout: Option<i64>,
    },
    Ask(Option<i64>),
    Interrupted,
    Removed,
    /// A branch leaves out these of the tasks below it, bit by bit.
    Branch(u8),
}

#[derive(Clone, Copy, Debug)]
pub enum Fire {
    Resume,
    Break,
    Success,
    Failed,
    Skipped,
}

/// Which task instances of a run people mean.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    pub run: u8,
    /// Tasks, bit by bit.
    pub tasks: u8,
    /// Only one of their instances.
    pub instance: Option<i32>,
    pub upstream: bool,
    pub downstream: bool,
    pub only_failed: bool,
}

#[derive(Clone, Debug)]
pub enum Move {
    Trigger {
        dated: bool,
    },
    /// An attempt ends, and perhaps another in the same batch.
    End(u16, How, Option<(u16, How)>),
    Start(u16),
    Fire(u16, Fire),
    Answer(u16),
    /// Tens of seconds go by.
    Pass(i64),
    Clear {
        choice: Choice,
        restart_run: bool,
        keep_running: bool,
    },
    Mark {
        choice: Choice,
        mark_as: MarkAs,
        resume: u8,
    },
    SetState(u8, DagRunState),
    Delete(u8),
    Pause(bool),
    Vanish(bool),
    Pool(Option<u32>),
    Restart,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub dag: DagPlan,
    pub parallelism: u32,
    pub pool: u32,
    pub moves: Vec<Move>,
}

pub const SMALL_POOL: &str = "small";
pub const RETRY_DELAY: SignedDuration = SignedDuration::from_secs(10);

fn rarely<T: Clone + std::fmt::Debug + 'static>(value: T) -> impl Strategy<Value = Option<T>> {
    prop_oneof![9 => Just(None), 1 => Just(Some(value))]
}

fn yes(weight: u32) -> impl Strategy<Value = bool> {
    prop_oneof![100 - weight => Just(false), weight => Just(true)]
}

fn over() -> impl Strategy<Value = Over> {
    prop_oneof![
        3 => (0..4_usize).prop_map(Over::Items),
        4 => (0..8_usize).prop_map(Over::Left),
        1 => (0..3_usize, 0..8_usize).prop_map(|(items, left)| Over::Both(items, left)),
    ]
}

fn task_plan() -> impl Strategy<Value = TaskPlan> {
    let rule = prop_oneof![2 => Just(TriggerRule::AllSuccess), 3 => proptest::sample::select(&TriggerRule::ALL[..])];
    let group = prop_oneof![3 => Just(None), 3 => (0..3_usize).prop_map(Some)];
    let over = prop_oneof![2 => Just(None), 1 => over().prop_map(Some)];
    let kind = prop_oneof![
        12 => Just(Kind::Plain), 3 => Just(Kind::Empty), 3 => Just(Kind::Branch), 1 => Just(Kind::FromTrigger)
    ];
    let role = prop_oneof![8 => Just(Role::Work), 1 => Just(Role::Setup), 1 => Just(Role::Teardown)];
    let past = prop_oneof![
        3 => Just(Past::Free), 2 => Just(Past::Waits), 1 => Just(Past::WaitsUnlessFirst),
        1 => Just(Past::WaitsForDownstream)
    ];
    let numbers = (any::<u8>(), any::<u8>(), 0..3_u32, 1..3_u32, 1..4_i32, yes(50), yes(30));
    (rule, group, over, (kind, role, past), numbers, rarely(1_u32), rarely(1_u32)).prop_map(
        |(
            rule,
            group,
            over,
            (kind, role, past),
            (above, mask, retries, slots, weight, counts, in_small_pool),
            per_dag,
            per_run,
        )| TaskPlan {
            rule: if role == Role::Teardown { TriggerRule::AllDoneSetupSuccess } else { rule },
            above: above & mask,
            group,
            over,
            kind: if role == Role::Work { kind } else { Kind::Plain },
            role,
            counts,
            retries,
            past,
            per_dag,
            per_run,
            in_small_pool,
            slots,
            weight,
        },
    )
}

fn how() -> impl Strategy<Value = How> {
    // Now and then what a task returns is more than can be mapped over.
    let returns = prop_oneof![1 => Just(None), 12 => (0..4_u32).prop_map(Some), 1 => Just(Some(2_000_000))];
    let timer = prop_oneof![1 => Just(None), 1 => (0..3_i64, any::<bool>()).prop_map(Some)];
    let timeout = || prop_oneof![2 => Just(None), 1 => (0..3_i64).prop_map(Some)];
    prop_oneof![
        20 => returns.prop_map(How::Success),
        3 => Just(How::Skip),
        3 => Just(How::Fail),
        2 => Just(How::FailForGood),
        1 => timeout().prop_map(How::Retry),
        2 => (0..3_i64).prop_map(How::Reschedule),
        3 => (timer, timeout()).prop_map(|(timer, timeout)| How::Defer { timer, timeout }),
        1 => timeout().prop_map(How::Ask),
        1 => Just(How::Interrupted),
        1 => Just(How::Removed),
        4 => any::<u8>().prop_map(How::Branch),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    let instance = prop_oneof![4 => Just(None), 1 => (0..3_i32).prop_map(Some)];
    (0..4_u8, any::<u8>(), any::<u8>(), instance, yes(20), yes(40), yes(20)).prop_map(
        |(run, tasks, mask, instance, upstream, downstream, only_failed)| Choice {
            run,
            tasks: tasks & mask,
            instance,
            upstream,
            downstream,
            only_failed,
        },
    )
}

fn a_move() -> impl Strategy<Value = Move> {
    let fire = proptest::sample::select(vec![
        Fire::Resume,
        Fire::Resume,
        Fire::Break,
        Fire::Success,
        Fire::Failed,
        Fire::Skipped,
    ]);
    let states = proptest::sample::select(vec![DagRunState::Success, DagRunState::Failed, DagRunState::Queued]);
    let marks = proptest::sample::select(vec![MarkAs::Success, MarkAs::Failed, MarkAs::Skipped]);
    let also = prop_oneof![3 => Just(None), 1 => (any::<u16>(), how()).prop_map(Some)];
    prop_oneof![
        2 => any::<bool>().prop_map(|dated| Move::Trigger { dated }),
        40 => (any::<u16>(), how(), also).prop_map(|(which, how, also)| Move::End(which, how, also)),
        3 => any::<u16>().prop_map(Move::Start),
        4 => (any::<u16>(), fire).prop_map(|(which, fire)| Move::Fire(which, fire)),
        1 => any::<u16>().prop_map(Move::Answer),
        4 => (1..4_i64).prop_map(Move::Pass),
        4 => (choice(), yes(80), yes(10))
            .prop_map(|(choice, restart_run, keep_running)| Move::Clear { choice, restart_run, keep_running }),
        2 => (choice(), marks, any::<u8>()).prop_map(|(choice, mark_as, resume)| Move::Mark { choice, mark_as, resume }),
        1 => (0..4_u8, states).prop_map(|(run, state)| Move::SetState(run, state)),
        1 => (0..4_u8).prop_map(Move::Delete),
        1 => any::<bool>().prop_map(Move::Pause),
        1 => any::<bool>().prop_map(Move::Vanish),
        1 => prop_oneof![Just(None), (0..4_u32).prop_map(Some)].prop_map(Move::Pool),
        2 => Just(Move::Restart),
    ]
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let parent = prop_oneof![1 => Just(None), 1 => (0..2_usize).prop_map(Some)];
    let dag =
        (
            proptest::collection::vec(task_plan(), 2..8),
            proptest::collection::vec((parent, over()), 3),
            1..6_u32,
            1..3_u32,
            yes(8),
            rarely(60_i64),
            yes(25),
        )
            .prop_map(|(tasks, groups, max_active_tasks, max_active_runs, fail_fast, timeout, has_past)| {
                DagPlan { tasks, groups, max_active_tasks, max_active_runs, fail_fast, timeout, has_past }
            });
    (dag, 1..8_u32, 2..5_u32, proptest::collection::vec(a_move(), 0..80))
        .prop_map(|(dag, parallelism, pool, moves)| Plan { dag, parallelism, pool, moves })
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
pub fn build(plan: &DagPlan) -> Arc<Dag> {
    let mut builder = DagBuilder::new("d", Timetable::Null);
    let dag = builder.dag_mut();
    dag.limits.max_active_tasks = plan.max_active_tasks;
    dag.limits.max_active_runs = plan.max_active_runs;
    dag.fail_fast = plan.fail_fast;
    dag.dagrun_timeout = plan.timeout.map(SignedDuration::from_secs);
    for (number, (parent, over)) in plan.groups.iter().enumerate() {
        let parent = parent.filter(|parent| *parent < number).map(|parent| GroupIndex(parent as u32));
        dag.groups.push(MappedGroup { group_id: format!("g{number}"), parent, expand: expand(*over, 1).0 });
    }
    for (position, own) in plan.tasks.iter().enumerate() {
        let mut task = task_of(position, own, plan.has_past);
        if position > 0 {
            task.mapped_group = own.group.map(|group| GroupIndex(group as u32));
            // Airflow does not map tasks in mapped groups.
            let over = own.over.filter(|_| task.mapped_group.is_none()).map(|over| expand(over, position));
            if let Some((input, source)) = over {
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
        for above in (0..position).filter(|above| own.above & (1 << above) != 0) {
            builder.edge(format!("t{above}"), format!("t{position}"));
        }
    }
    builder.build().unwrap()
}

fn task_of(position: usize, plan: &TaskPlan, has_past: bool) -> Task {
    let mut task = Task::new(format!("t{position}"));
    task.trigger_rule = plan.rule;
    task.execution = if plan.kind == Kind::Empty { Execution::Empty } else { Execution::Runner { reason: None } };
    task.can_skip_downstream = plan.kind == Kind::Branch;
    let start = || StartTrigger {
        classpath: "own.Trigger".into(),
        kwargs: json!({}),
        timeout: None,
        next_method: "go_on".into(),
        next_kwargs: json!({}),
    };
    task.start_trigger = (plan.kind == Kind::FromTrigger).then(|| Arc::new(start()));
    task.is_setup = plan.role == Role::Setup;
    task.is_teardown = plan.role == Role::Teardown;
    task.on_failure_fail_dagrun = plan.counts;
    task.retries = plan.retries;
    task.retry_delay = RETRY_DELAY;
    task.depends_on_past = has_past && plan.past != Past::Free;
    task.ignore_first_depends_on_past = plan.past == Past::WaitsUnlessFirst;
    task.wait_for_downstream = has_past && plan.past == Past::WaitsForDownstream;
    task.max_active_tis_per_dag = plan.per_dag;
    task.max_active_tis_per_dagrun = plan.per_run;
    if plan.in_small_pool {
        task.pool = SMALL_POOL.to_owned();
    }
    task.pool_slots = plan.slots;
    task.priority_weight = plan.weight;
    task
}
