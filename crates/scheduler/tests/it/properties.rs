//! Random Dags with random outcomes, limits, pools and priorities, against plain and slow reasoning.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::timetable::Timetable;
use model::{
    AttemptId, Change, Dag, DagBuilder, DagRun, DagRunState, Execution, RunKey, Task, TaskId, TaskInstance,
    TaskInstanceId, TaskInstanceKey, TaskState, TriggerRule, WeightRule,
};
use proptest::prelude::*;
use scheduler::{Action, Config, Outcome, StartAttempt};

use crate::oracle::{Expected, Upstream, expected, expected_of_setups};
use crate::toy::{Step, Toy, beginning};

#[derive(Clone, Copy, Debug)]
enum Ends {
    Succeeds,
    Skips,
    Fails,
}

#[derive(Clone, Debug)]
struct TaskPlan {
    rule: TriggerRule,
    /// Bit by bit, which of the tasks before it are above it.
    above: u8,
    failures: u32,
    retries: u32,
    last: Ends,
    weight: i32,
    weight_rule: WeightRule,
    pool: usize,
    slots: u32,
    empty: bool,
    setup: bool,
    teardown: bool,
    counts: bool,
    on_past: bool,
    for_downstream: bool,
    per_dag: Option<u32>,
    per_run: Option<u32>,
}

#[derive(Clone, Debug)]
struct DagPlan {
    tasks: Vec<TaskPlan>,
    max_active_tasks: u32,
    max_active_runs: u32,
    runs: usize,
    dated: bool,
}

#[derive(Clone, Debug)]
struct Plan {
    dags: Vec<DagPlan>,
    parallelism: u32,
    pools: [u32; 2],
    /// Which of the attempts ends next, and whether another ends in the same batch.
    choices: Vec<(u16, bool)>,
}

const POOLS: [&str; 2] = ["p", "q"];

fn sometimes<T: Clone + std::fmt::Debug + 'static>(value: T) -> impl Strategy<Value = Option<T>> {
    prop_oneof![8 => Just(None), 1 => Just(Some(value))]
}

fn task_plan() -> impl Strategy<Value = TaskPlan> {
    let rule = prop_oneof![2 => Just(TriggerRule::AllSuccess), 3 => proptest::sample::select(&TriggerRule::ALL[..])];
    let last = prop_oneof![4 => Just(Ends::Succeeds), 1 => Just(Ends::Skips), 1 => Just(Ends::Fails)];
    let weight_rule =
        proptest::sample::select(vec![WeightRule::Downstream, WeightRule::Upstream, WeightRule::Absolute]);
    let flags = (0..10_u8, 0..10_u8, 0..10_u8, 0..10_u8);
    let numbers = (any::<u8>(), any::<u8>(), 0..3_u32, 0..3_u32, 1..4_i32, 0..2_usize, 1..3_u32);
    (rule, numbers, last, weight_rule, flags, sometimes(1), sometimes(1)).prop_map(
        |(rule, (above, mask, failures, retries, weight, pool, slots), last, weight_rule, flags, per_dag, per_run)| {
            let teardown = flags.1 == 0;
            TaskPlan {
                rule: if teardown { TriggerRule::AllDoneSetupSuccess } else { rule },
                above: above & mask,
                failures,
                retries,
                last,
                weight,
                weight_rule,
                pool,
                slots,
                empty: flags.0 < 2,
                setup: flags.1 == 1,
                teardown,
                counts: flags.2 < 5,
                on_past: flags.3 < 2,
                for_downstream: flags.3 == 0,
                per_dag,
                per_run,
            }
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let tasks = proptest::collection::vec(task_plan(), 1..8);
    let dag = (tasks, 1..4_u32, 1..3_u32, 1..4_usize, any::<bool>()).prop_map(
        |(tasks, max_active_tasks, max_active_runs, runs, dated)| DagPlan {
            tasks,
            max_active_tasks,
            max_active_runs,
            runs,
            dated,
        },
    );
    let choices = proptest::collection::vec(any::<(u16, bool)>(), 400);
    (proptest::collection::vec(dag, 1..4), 1..5_u32, [2..5_u32, 2..5_u32], choices)
        .prop_map(|(dags, parallelism, pools, choices)| Plan { dags, parallelism, pools, choices })
}

fn build(number: usize, plan: &DagPlan) -> Arc<Dag> {
    let mut builder = DagBuilder::new(format!("d{number}"), Timetable::Null);
    builder.dag_mut().limits.max_active_runs = plan.max_active_runs;
    builder.dag_mut().limits.max_active_tasks = plan.max_active_tasks;
    for (position, plan) in plan.tasks.iter().enumerate() {
        let mut task = Task::new(format!("t{position}"));
        task.trigger_rule = plan.rule;
        task.retries = plan.retries;
        task.retry_delay = SignedDuration::from_secs(10);
        task.priority_weight = plan.weight;
        task.weight_rule = plan.weight_rule.clone();
        task.pool = POOLS[plan.pool].to_owned();
        task.pool_slots = plan.slots;
        task.is_setup = plan.setup;
        task.is_teardown = plan.teardown;
        task.on_failure_fail_dagrun = plan.counts;
        task.depends_on_past = plan.on_past || plan.for_downstream;
        task.wait_for_downstream = plan.for_downstream;
        task.max_active_tis_per_dag = plan.per_dag;
        task.max_active_tis_per_dagrun = plan.per_run;
        task.execution = if plan.empty { Execution::Empty } else { Execution::Runner { reason: None } };
        builder.task(task);
        for above in (0..position).filter(|above| plan.above & (1 << above) != 0) {
            builder.edge(format!("t{above}"), format!("t{position}"));
        }
    }
    builder.build().unwrap()
}

/// Everything that can be reached, found by asking each again and again.
fn reach(dag: &Dag, from: &str, upwards: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    loop {
        let mut more = Vec::new();
        for name in found.iter().map(String::as_str).chain([from]) {
            let task = dag.task(dag.find(name).unwrap());
            let next = if upwards { &task.upstream } else { &task.downstream };
            more.extend(next.iter().map(|index| dag.task(*index).task_id.to_string()));
        }
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

fn names_above(dag: &Dag, task: &Task) -> Vec<String> {
    task.upstream.iter().map(|above| dag.task(*above).task_id.to_string()).collect()
}

/// What is known of everything, replayed change by change.
#[derive(Default)]
struct Mirror {
    dags: BTreeMap<String, Arc<Dag>>,
    runs: BTreeMap<RunKey, DagRun>,
    task_instances: BTreeMap<TaskInstanceKey, TaskInstance>,
    alive: BTreeMap<AttemptId, TaskInstance>,
    parallelism: u32,
    pools: BTreeMap<String, u32>,
    /// What the rules of some tasks would have been to say if things had come in another order.
    order_matters: BTreeSet<RunKey>,
}

impl Mirror {
    fn dag(&self, run: &RunKey) -> &Arc<Dag> {
        &self.dags[run.dag_id.as_str()]
    }

    fn state(&self, run: &RunKey, task: &str) -> Option<TaskState> {
        let found = self.task_instances.iter().find(|(key, _)| key.run == *run && key.task_id.as_str() == task);
        found.map(|(_, ti)| ti.state)
    }

    /// What is to become of a task instance as things stand.
    fn expected(&self, run: &RunKey, task: &Task) -> Expected {
        let dag = self.dag(run);
        let name = task.task_id.as_str();
        let direct = names_above(dag, task);
        if direct.is_empty() || task.trigger_rule == TriggerRule::Always {
            return Expected::Runs;
        }
        let upstreams: Vec<Upstream> = direct
            .iter()
            .map(|above| Upstream {
                state: self.state(run, above).filter(|state| state.is_finished()),
                is_setup: dag.task(dag.find(above).unwrap()).is_setup,
            })
            .collect();
        let direct_says = expected(task.trigger_rule, &upstreams);
        let above = reach(dag, name, true);
        let below = reach(dag, name, false);
        let is = |name: &str, test: fn(&Task) -> bool| test(dag.task(dag.find(name).unwrap()));
        if task.is_teardown {
            let between = above.iter().filter(|above| {
                !direct.contains(above)
                    && direct
                        .iter()
                        .any(|setup| is(setup, |task| task.is_setup) && reach(dag, setup, false).contains(*above))
            });
            let open = between.into_iter().any(|name| !self.state(run, name).is_some_and(TaskState::is_finished));
            return if direct_says == Expected::Runs && open { Expected::Waits } else { direct_says };
        }
        let needed: Vec<Option<TaskState>> = above
            .iter()
            .filter(|name| is(name, |task| task.is_setup) && !direct.contains(name))
            .filter(|name| {
                let setup = dag.task(dag.find(name).unwrap());
                let teardowns: Vec<&Task> =
                    setup.downstream.iter().map(|below| dag.task(*below)).filter(|task| task.is_teardown).collect();
                teardowns.is_empty() || teardowns.iter().any(|teardown| below.contains(teardown.task_id.as_str()))
            })
            .map(|name| self.state(run, name).filter(|state| state.is_finished()))
            .collect();
        match expected_of_setups(&needed) {
            Expected::Becomes(state) => Expected::Becomes(state),
            Expected::Waits if direct_says == Expected::Runs => Expected::Waits,
            _ => direct_says,
        }
    }

    /// Whether the run before lets a task run.
    fn past_allows(&self, run: &RunKey, task: &Task) -> bool {
        let Some(date) = self.runs[run].logical_date.filter(|_| task.depends_on_past) else { return true };
        let before =
            self.runs.values().filter(|other| other.key.dag_id == run.dag_id && other.logical_date < Some(date));
        let Some(before) = before.filter(|other| other.logical_date.is_some()).max_by_key(|other| other.logical_date)
        else {
            return true;
        };
        let succeeded = |name: &TaskId| self.state(&before.key, name.as_str()).is_some_and(TaskState::is_success);
        let below = task.downstream.iter().map(|below| &self.dag(run).task(*below).task_id);
        succeeded(&task.task_id) && (!task.wait_for_downstream || below.into_iter().all(succeeded))
    }

    /// Whether a task instance could start beside those that are alive.
    fn fits(&self, ti: &TaskInstance, alive: &[&TaskInstance]) -> bool {
        let dag = self.dag(&ti.run);
        let task = dag.task(dag.find(ti.task_id.as_str()).unwrap());
        let count = |test: &dyn Fn(&TaskInstance) -> bool| alive.iter().filter(|other| test(other)).count() as u32;
        let slots: u32 = alive.iter().filter(|other| other.pool == ti.pool).map(|other| other.pool_slots).sum();
        let same_task = |other: &TaskInstance| other.run.dag_id == ti.run.dag_id && other.task_id == ti.task_id;
        count(&|_| true) < self.parallelism
            && slots + ti.pool_slots <= self.pools[&*ti.pool]
            && count(&|other| other.run == ti.run) < dag.limits.max_active_tasks
            && task.max_active_tis_per_dag.is_none_or(|limit| count(&same_task) < limit)
            && task
                .max_active_tis_per_dagrun
                .is_none_or(|limit| count(&|other| same_task(other) && other.run == ti.run) < limit)
    }

    fn key(&self, ti: &TaskInstance) -> (Reverse<i32>, bool, Option<Timestamp>) {
        let date = self.runs[&ti.run].logical_date;
        (Reverse(ti.priority_weight), date.is_none(), date)
    }

    fn take(&mut self, step: &Step) {
        for change in &step.changes {
            match change {
                Change::Run(run) => {
                    if run.state.is_finished() {
                        self.check_run(run);
                    }
                    self.runs.insert(run.key.clone(), (**run).clone());
                    let running = self.runs.values().filter(|other| other.key.dag_id == run.key.dag_id);
                    let running = running.filter(|other| other.state == DagRunState::Running).count();
                    assert!(
                        running <= self.dag(&run.key).limits.max_active_runs as usize,
                        "{running} runs of {}",
                        run.key
                    );
                }
                Change::TaskInstance(ti) => self.check_change(ti),
                _ => {}
            }
        }
        for action in &step.actions {
            if let Action::Acknowledge { attempt } | Action::Stop { attempt, .. } = action {
                self.alive.remove(attempt);
            }
        }
        let started: Vec<&StartAttempt> = step
            .actions
            .iter()
            .filter_map(|action| if let Action::Start(start) = action { Some(&**start) } else { None })
            .collect();
        // As they are started, one after the other, each must have room.
        for start in &started {
            let ti = &start.ti;
            let alive: Vec<&TaskInstance> = self.alive.values().collect();
            assert!(self.fits(ti, &alive), "{} starts beyond a limit", ti.key());
            assert!(self.alive.insert(start.attempt, ti.clone()).is_none(), "an attempt starts twice");
        }
        if !step.asked {
            let started: Vec<&TaskInstance> = started.iter().map(|start| &start.ti).collect();
            self.check_waiting(&started);
        }
    }

    /// Nobody waits who has room, not even if those who are less important had not been let in.
    fn check_waiting(&self, started: &[&TaskInstance]) {
        for waiting in self.task_instances.values().filter(|ti| ti.state == TaskState::Scheduled) {
            let is_less = |other: &&TaskInstance| self.key(other) > self.key(waiting);
            let late: Vec<TaskInstanceId> = started.iter().copied().filter(is_less).map(|other| other.id).collect();
            let alive: Vec<&TaskInstance> = self.alive.values().filter(|other| !late.contains(&other.id)).collect();
            assert!(!self.fits(waiting, &alive), "{} waits although there is room", waiting.key());
        }
    }

    fn check_change(&mut self, ti: &TaskInstance) {
        let key = ti.key();
        let before = self.task_instances.get(&key).map_or(TaskState::None, |before| before.state);
        let dag = Arc::clone(self.dag(&ti.run));
        let task = dag.task(dag.find(ti.task_id.as_str()).unwrap());
        let is_waiting = before.is_schedulable();
        match ti.state {
            TaskState::None if !self.task_instances.contains_key(&key) => {}
            TaskState::Scheduled | TaskState::Queued | TaskState::Success if is_waiting => {
                assert!(ti.state != TaskState::Success || task.execution == Execution::Empty, "{key} has not run");
                assert_eq!(self.expected(&ti.run, task), Expected::Runs, "{key} is {}", ti.state);
                assert!(self.past_allows(&ti.run, task), "{key} does not wait for the run before");
            }
            TaskState::Skipped | TaskState::UpstreamFailed | TaskState::Removed if is_waiting => {
                assert_eq!(self.expected(&ti.run, task), Expected::Becomes(ti.state), "{key}");
            }
            TaskState::Queued => assert_eq!(before, TaskState::Scheduled, "{key}"),
            _ => assert!(before.is_executing() || before == ti.state, "{key} from {before} to {}", ti.state),
        }
        self.task_instances.insert(key, ti.clone());
        // With failures and skips above, some rules say what the first of them asks for.
        let of_run: Vec<Option<TaskState>> =
            dag.tasks().iter().map(|task| self.state(&ti.run, task.task_id.as_str())).collect();
        let mixed = of_run.contains(&Some(TaskState::Skipped))
            && (of_run.contains(&Some(TaskState::Failed)) || of_run.contains(&Some(TaskState::UpstreamFailed)));
        if mixed {
            self.order_matters.insert(ti.run.clone());
        }
    }

    /// A run ends as its leaves do, and no sooner than they.
    fn check_run(&self, run: &DagRun) {
        let dag = self.dag(&run.key);
        let decides = |task: &Task| !task.is_teardown || task.on_failure_fail_dagrun;
        let is_leaf = |task: &&Task| decides(task) && !task.downstream.iter().any(|below| decides(dag.task(*below)));
        let mut leaves: Vec<&Task> = dag.tasks().iter().filter(is_leaf).collect();
        if leaves.is_empty() {
            leaves = dag.tasks().iter().filter(|task| task.downstream.is_empty()).collect();
        }
        let states = |tasks: &[&Task]| -> Vec<TaskState> {
            tasks.iter().filter_map(|task| self.state(&run.key, task.task_id.as_str())).collect()
        };
        let all: Vec<&Task> = dag.tasks().iter().collect();
        let is_stuck = states(&all).iter().any(|state| !state.is_finished());
        let failed = is_stuck || states(&leaves).iter().any(|state| state.is_failure());
        let wanted = if failed { DagRunState::Failed } else { DagRunState::Success };
        assert_eq!(run.state, wanted, "{}: {:?}", run.key, states(&all));
        if is_stuck {
            // Then nothing can have been possible.
            for task in all {
                let state = self.state(&run.key, task.task_id.as_str()).unwrap();
                assert!(state.is_finished() || state == TaskState::None, "{} ends with {}", run.key, task.task_id);
                assert!(state.is_finished() || self.expected(&run.key, task) == Expected::Waits, "{}", task.task_id);
            }
        }
    }
}

impl TaskPlan {
    fn outcome(&self, tries_before: u32) -> Outcome {
        match self.last {
            _ if tries_before < self.failures => Outcome::Failed,
            Ends::Succeeds => Outcome::Success,
            Ends::Skips => Outcome::Skipped,
            Ends::Fails => Outcome::FailedForGood,
        }
    }

    fn final_state(&self) -> TaskState {
        match self.last {
            _ if self.empty => TaskState::Success,
            _ if self.failures > self.retries => TaskState::Failed,
            Ends::Succeeds => TaskState::Success,
            Ends::Skips => TaskState::Skipped,
            Ends::Fails => TaskState::Failed,
        }
    }
}

struct Game {
    plan: Plan,
    toy: Toy,
    mirror: Mirror,
}

impl Game {
    fn new(plan: Plan) -> Self {
        let mut toy = Toy::new(Config { parallelism: plan.parallelism, ..Config::default() });
        let mut mirror = Mirror { parallelism: plan.parallelism, ..Mirror::default() };
        for (pool, slots) in POOLS.iter().zip(plan.pools) {
            toy.set_pool(pool, Some(slots));
            mirror.pools.insert((*pool).to_owned(), slots);
        }
        for (number, plan) in plan.dags.iter().enumerate() {
            let dag = build(number, plan);
            toy.import(&dag, false);
            mirror.dags.insert(dag.dag_id.to_string(), dag);
        }
        Self { plan, toy, mirror }
    }

    fn took(&mut self, steps: Vec<Step>) {
        steps.iter().for_each(|step| self.mirror.take(step));
    }

    fn play(&mut self) {
        let mut triggers = Vec::new();
        for (number, plan) in self.plan.dags.iter().enumerate() {
            for run in 0..plan.runs {
                let date = beginning().checked_sub(SignedDuration::from_hours(run as i64 + 1)).unwrap();
                triggers.push(self.toy.trigger_event(
                    &format!("d{number}"),
                    &format!("r{run}"),
                    plan.dated.then_some(date),
                ));
            }
        }
        let steps = self.toy.tell_all(triggers);
        self.took(steps);
        let mut choices = self.plan.choices.clone().into_iter();
        loop {
            if self.toy.alive.is_empty() {
                let Some(next) = self.toy.scheduler.next_wakeup() else { return };
                let steps = self.toy.wait_until(next).into_iter().map(|(_, step)| step).collect();
                self.took(steps);
                continue;
            }
            let mut events = Vec::new();
            let mut ending = BTreeSet::new();
            let mut more = true;
            while more && ending.len() < self.toy.alive.len() {
                let (choice, another) = choices.next().unwrap_or((0, false));
                let left: Vec<_> = self.toy.alive.values().filter(|start| !ending.contains(&start.attempt)).collect();
                let StartAttempt { attempt, ti, .. } = left[usize::from(choice) % left.len()];
                ending.insert(*attempt);
                events.push(self.toy.end_event(*attempt, self.task_plan(ti).outcome(ti.try_number - 1)));
                more = another;
            }
            let steps = self.toy.tell_all(events);
            self.took(steps);
        }
    }

    fn task_plan(&self, ti: &TaskInstance) -> &TaskPlan {
        let number = |name: &str| name[1..].parse::<usize>().unwrap();
        &self.plan.dags[number(ti.run.dag_id.as_str())].tasks[number(ti.task_id.as_str())]
    }

    /// Everything has come to its end, and to the right one.
    fn check_end(&self) {
        for run in self.mirror.runs.values() {
            let dag = self.mirror.dag(&run.key);
            if !run.state.is_finished() {
                let patient = dag.tasks().iter().any(|task| {
                    task.depends_on_past
                        || task.max_active_tis_per_dag.is_some()
                        || task.max_active_tis_per_dagrun.is_some()
                });
                let in_the_way = self
                    .mirror
                    .runs
                    .values()
                    .any(|other| other.key.dag_id == run.key.dag_id && other.state == DagRunState::Running);
                assert!(patient && in_the_way, "{} never ends", run.key);
            }
            self.check_nothing_is_left(run);
            if !self.mirror.order_matters.contains(&run.key) && run.state.is_finished() {
                self.check_against_fixpoint(&run.key);
            }
        }
        for ti in self.mirror.task_instances.values() {
            self.check_weight(ti);
        }
    }

    fn check_nothing_is_left(&self, run: &DagRun) {
        if run.state != DagRunState::Running {
            return;
        }
        let dag = self.mirror.dag(&run.key);
        for task in dag.tasks() {
            let state = self.mirror.state(&run.key, task.task_id.as_str()).unwrap();
            let may = self.mirror.expected(&run.key, task);
            let could_move = matches!(may, Expected::Becomes(_))
                || (may == Expected::Runs && self.mirror.past_allows(&run.key, task));
            assert!(state.is_finished() || !could_move, "{} {} is left as {state}", run.key, task.task_id);
        }
    }

    /// The same rules applied again and again until nothing changes.
    fn check_against_fixpoint(&self, run: &RunKey) {
        let mut alone = Mirror { dags: self.mirror.dags.clone(), runs: self.mirror.runs.clone(), ..Mirror::default() };
        let dag = Arc::clone(alone.dag(run));
        for (key, ti) in self.mirror.task_instances.iter().filter(|(key, _)| key.run == *run) {
            alone.task_instances.insert(key.clone(), TaskInstance { state: TaskState::None, ..ti.clone() });
        }
        loop {
            let waiting: Vec<TaskInstance> =
                alone.task_instances.values().filter(|ti| ti.state == TaskState::None).cloned().collect();
            let mut changed = false;
            for ti in waiting {
                let task = dag.task(dag.find(ti.task_id.as_str()).unwrap());
                let state = match alone.expected(run, task) {
                    Expected::Waits => continue,
                    Expected::Becomes(state) => state,
                    Expected::Runs => self.task_plan(&ti).final_state(),
                };
                alone.task_instances.get_mut(&ti.key()).unwrap().state = state;
                changed = true;
            }
            if !changed {
                break;
            }
        }
        for (key, ti) in &alone.task_instances {
            let got = &self.mirror.task_instances[key];
            assert_eq!(got.state, ti.state, "{key}");
            let plan = self.task_plan(ti);
            if got.try_number > 0 && !plan.empty {
                assert_eq!(got.try_number, plan.failures.min(plan.retries) + 1, "{key} had {} tries", got.try_number);
            }
        }
    }

    fn check_weight(&self, ti: &TaskInstance) {
        let dag = self.mirror.dag(&ti.run);
        let plan = self.task_plan(ti);
        let others = match plan.weight_rule {
            WeightRule::Downstream => reach(dag, ti.task_id.as_str(), false),
            WeightRule::Upstream => reach(dag, ti.task_id.as_str(), true),
            _ => BTreeSet::new(),
        };
        let sum: i32 = others.iter().map(|name| dag.task(dag.find(name).unwrap()).priority_weight).sum();
        assert_eq!(ti.priority_weight, plan.weight + sum, "{}", ti.key());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(400), ..ProptestConfig::default() })]

    #[test]
    fn random_dags_do_what_plain_reasoning_says(plan in plan()) {
        let mut game = Game::new(plan);
        game.play();
        game.check_end();
    }
}
