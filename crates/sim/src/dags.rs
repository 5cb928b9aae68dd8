//! Random Dags, and what their tasks do.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::timetable::{NextRun, Restriction, Timetable};
use model::{
    Dag, DagBuilder, DagId, DagRun, DataInterval, DeadlineAlert, DeadlineInterval, DeadlineReference, Execution,
    ExpandInput, Json, MapValue, StartTrigger, Task, TaskId, TaskInstanceKey, TaskState, TimerEvent, TriggerRule,
    TriggerTimer, VersionId, WeightRule, XComArg,
};
use scheduler::{Deferral, Outcome};
use serde_json::json;

use crate::assets;
use crate::partitions;
use crate::rng::Rng;

/// Pools and the sizes that they begin with.
pub const POOLS: [(&str, u32); 2] = [("default_pool", 5), ("small", 2)];

fn parsed(timetable: &Json) -> Timetable {
    let type_name = timetable["__type"].as_str().unwrap_or_default();
    Timetable::from_serialized(type_name, &timetable["__var"]).unwrap_or(Timetable::Null)
}

/// What a timetable says, a custom one in Python's place.
pub(crate) fn answer_of(
    timetable: &Timetable,
    last: Option<DataInterval>,
    restriction: &Restriction,
    now: Timestamp,
) -> Option<NextRun> {
    match timetable {
        Timetable::Custom(custom) => parsed(&custom.data).next_run(last, restriction, now),
        known => known.next_run(last, restriction, now),
    }
}

/// The runs that a timetable of a plugin names for a span; `None` for any other.
pub(crate) fn asked_of(timetable: &Timetable, from: Timestamp, to: Timestamp, now: Timestamp) -> Option<Vec<NextRun>> {
    let custom = timetable.custom()?;
    Some(parsed(&custom.data).between(Some(from), to, now).collect())
}

/// One version of a Dag.
#[derive(Clone, Debug)]
pub struct Version {
    pub id: VersionId,
    pub dag: Arc<Dag>,
}

/// A Dag and its file.
#[derive(Clone, Debug)]
pub struct SimDag {
    pub dag_id: DagId,
    number: usize,
    pub timetable: Json,
    /// Or has done so: what it waits for may change.
    waits_for_assets: bool,
    /// The newest one last.
    pub versions: Vec<Version>,
    /// It is from a bundle that has versions, one for each of its own: its runs keep to theirs.
    pub bundled: bool,
    /// In no file for now.
    pub gone: bool,
    /// Its file can't be imported for now.
    pub broken: bool,
    /// It has been paused or lost: its runs may have stood still.
    pub held_back: bool,
}

impl SimDag {
    pub fn new(rng: &mut Rng, seed: u64, number: usize, start: Timestamp) -> Self {
        let timetable = random_timetable(rng, number);
        let mut sim = Self {
            dag_id: DagId::from(format!("dag{number}")),
            number,
            waits_for_assets: parsed(&timetable).asset_condition().is_some(),
            timetable,
            versions: Vec::new(),
            bundled: number % 3 == 1,
            gone: false,
            broken: false,
            held_back: false,
        };
        sim.edit(rng, seed, start);
        sim
    }

    pub fn newest(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    /// What a run goes on with.
    pub fn structure_of(&self, run: &DagRun) -> &Arc<Dag> {
        let own = self.versions.iter().find(|version| run.bundle_version.is_some() && version.id == run.version);
        &own.unwrap_or(self.newest()).dag
    }

    /// The tasks of its newest version, a line each, for whoever reads a history.
    pub fn describe(&self) -> Vec<String> {
        let dag = &self.newest().dag;
        let line = |task: &Task| {
            let above: Vec<&str> = task.upstream.iter().map(|above| dag.task(*above).task_id.as_str()).collect();
            let mut words =
                vec![format!("{}/{} after [{}] {}", self.dag_id, task.task_id, above.join(" "), task.trigger_rule)];
            let flags = [
                (task.expand.is_some(), "mapped"),
                (task.is_setup, "setup"),
                (task.is_teardown, "teardown"),
                (task.can_skip_downstream, "branch"),
                (task.execution == Execution::Empty, "empty"),
                (task.start_trigger.is_some(), "from trigger"),
                (task.depends_on_past, "on past"),
            ];
            words.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
            if let Some(expand) = &task.expand {
                words.push(format!("over {expand:?}"));
            }
            words.join(", ")
        };
        dag.tasks().iter().map(line).collect()
    }

    /// Somebody writes the Dag anew.
    pub fn edit(&mut self, rng: &mut Rng, seed: u64, start: Timestamp) {
        if self.waits_for_assets && !self.versions.is_empty() {
            self.timetable = assets::edited(rng, self.number, &self.timetable);
        }
        let id = VersionId(uuid::Builder::from_u128(u128::from(rng.next()) + 1).into_uuid());
        let mut builder = DagBuilder::new(self.dag_id.clone(), self.parsed_timetable());
        dag_options(rng, builder.dag_mut(), start);
        random_tasks(rng, seed, &mut builder);
        let dag = builder.build().unwrap_or_else(|error| unreachable!("edges only lead forward: {error}"));
        self.versions.push(Version { id, dag });
    }

    fn parsed_timetable(&self) -> Timetable {
        parsed(&self.timetable)
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.parsed_timetable().custom().is_some()
    }

    /// The next run as the timetable says it, whoever evaluates it.
    pub(crate) fn next_run(&self, last: Option<DataInterval>, now: Timestamp) -> Option<NextRun> {
        let dag = &self.newest().dag;
        answer_of(&dag.timetable, last, &dag.restriction(), now)
    }
}

fn dag_options(rng: &mut Rng, dag: &mut Dag, start: Timestamp) {
    dag.start_date = Some(start);
    // Timetables end, so that every history does.
    dag.end_date = start.checked_add(SignedDuration::from_mins(rng.range(5, 40) as i64)).ok();
    dag.catchup = rng.percent(50);
    dag.limits.max_active_runs = rng.range(1, 3) as u32;
    dag.limits.max_active_tasks = rng.range(1, 5) as u32;
    if rng.percent(10) {
        dag.limits.max_consecutive_failed_dag_runs = rng.range(1, 3) as u32;
    }
    dag.fail_fast = rng.percent(8);
    if rng.percent(20) {
        dag.deadlines = random_deadlines(rng);
    }
    dag.has_on_success_callback = rng.percent(30);
    dag.has_on_failure_callback = rng.percent(30);
    if rng.percent(8) {
        dag.dagrun_timeout = Some(SignedDuration::from_secs(rng.range(20, 300) as i64));
    }
}

/// The first one is counted from when a run is queued.
fn random_deadlines(rng: &mut Rng) -> Vec<DeadlineAlert> {
    let others = [
        DeadlineReference::LogicalDate,
        DeadlineReference::AverageRuntime { max_runs: 3, min_runs: 2 },
        DeadlineReference::Custom("own.Reference".to_owned()),
    ];
    let mut references = vec![DeadlineReference::QueuedAt];
    if rng.percent(40) {
        references.push(rng.pick(&others).clone());
    }
    let mut alert = |reference| {
        let interval = DeadlineInterval::Fixed(SignedDuration::from_secs(rng.range(5, 400) as i64));
        DeadlineAlert { reference, interval }
    };
    references.into_iter().map(&mut alert).collect()
}

fn random_tasks(rng: &mut Rng, seed: u64, builder: &mut DagBuilder) {
    let on_past = rng.percent(20);
    let count = rng.range(1, 9) as usize;
    let with_setup = count >= 3 && rng.percent(25);
    let mut edges = Vec::new();
    for position in 0..count {
        let mut task = random_task(rng, position, on_past, wild_branches(seed));
        // A task that stays in the Dag keeps its retries, so that it stays plain how often it may fail.
        let mut own = Rng::named(seed, &format!("retries {} {}", builder.dag_mut().dag_id, task.task_id));
        task.retries = own.range(0, 3).saturating_sub(1) as u32;
        if with_setup && (position == 0 || position == count - 1) {
            task.is_setup = position == 0;
            task.is_teardown = position > 0;
            task.trigger_rule = if position == 0 { TriggerRule::AllSuccess } else { TriggerRule::AllDoneSetupSuccess };
            task.on_failure_fail_dagrun = rng.percent(30);
            task.can_skip_downstream = false;
        }
        if !task.is_setup && !task.is_teardown && rng.percent(25) {
            edges.extend(map(rng, &mut task, position).map(|source| (source, position)));
        } else if !task.is_setup && !task.is_teardown && task.execution != Execution::Empty && rng.percent(8) {
            task.start_trigger = Some(Arc::new(start_trigger()));
        }
        builder.task(task);
        for above in 0..position {
            // What is between a setup and its teardown need not be directly above the teardown.
            let bound = with_setup && above == 0;
            if bound || rng.percent(30) {
                edges.push((above, position));
            }
        }
    }
    for (above, below) in edges {
        builder.edge(format!("t{above}"), format!("t{below}"));
    }
}

fn start_trigger() -> StartTrigger {
    StartTrigger {
        classpath: "pack.Start".to_owned(),
        kwargs: json!({}),
        timeout: None,
        next_method: "execute_complete".to_owned(),
        next_kwargs: json!({}),
    }
}

/// Maps a task over some items, or over what a task before it leaves; and gives that task.
fn map(rng: &mut Rng, task: &mut Task, position: usize) -> Option<usize> {
    task.can_skip_downstream = false;
    let source = (position > 0 && rng.percent(70)).then(|| rng.range(0, position as u64 - 1) as usize);
    let over = match source {
        None => MapValue::Literal(Arc::new(json!(vec![0; rng.range(0, 3) as usize]))),
        Some(source) => {
            // With these it is plain what becomes of it if there is nothing to map over.
            task.trigger_rule = *rng.pick(&[TriggerRule::AllSuccess, TriggerRule::AllDone]);
            MapValue::XCom(XComArg::Plain { task_id: format!("t{source}").into(), key: "return_value".to_owned() })
        }
    };
    task.expand = Some(Arc::new(ExpandInput::Product(vec![("x".to_owned(), over)])));
    source
}

/// How long that is what a task returns in one of its tries. In some histories that is not always the same.
pub fn returned_length(seed: u64, key: &TaskInstanceKey, try_number: u32) -> Option<u32> {
    let salt = if has_fickle_lengths(seed) { try_number } else { 0 };
    let length = Rng::named(seed, &format!("length {key} {salt}")).range(0, 5) as u32;
    length.checked_sub(1)
}

pub fn has_fickle_lengths(seed: u64) -> bool {
    seed.is_multiple_of(4)
}

/// A class that no engine knows: what it answers is what the timetable in it answers.
const CUSTOM: &str = "sim.Custom";

fn random_timetable(rng: &mut Rng, number: usize) -> Json {
    let timetable = plain_timetable(rng, number);
    if number > 0 || rng.percent(75) { timetable } else { json!({"__type": CUSTOM, "__var": timetable}) }
}

fn plain_timetable(rng: &mut Rng, number: usize) -> Json {
    if number > 0 && rng.percent(40) {
        return if rng.percent(40) { partitions::timetable(rng, number) } else { assets::timetable(rng, number) };
    }
    let simple = |name: &str| json!({"__type": format!("airflow.timetables.simple.{name}"), "__var": {}});
    match rng.range(0, 5) {
        0 | 1 => simple("NullTimetable"),
        2 => simple("OnceTimetable"),
        3 => json!({
            "__type": "airflow.timetables.trigger.DeltaTriggerTimetable",
            "__var": {"delta": rng.range(60, 900), "interval": 0.0},
        }),
        4 => json!({
            "__type": "airflow.timetables.interval.DeltaDataIntervalTimetable",
            "__var": {"delta": rng.range(60, 900)},
        }),
        _ => json!({
            "__type": "airflow.timetables.trigger.CronTriggerTimetable",
            "__var": {"expression": "*/5 * * * *", "timezone": "UTC", "interval": 0.0, "run_immediately": false},
        }),
    }
}

fn random_task(rng: &mut Rng, position: usize, on_past: bool, wild: bool) -> Task {
    let mut task = Task::new(format!("t{position}"));
    if rng.percent(40) {
        task.trigger_rule = *rng.pick(&TriggerRule::ALL);
    }
    if wild && rng.percent(50) {
        // Does not wait for every branch above it, so that it may execute when one of them speaks.
        task.trigger_rule = *rng.pick(&[TriggerRule::OneSuccess, TriggerRule::OneDone, TriggerRule::Always]);
    }
    task.retry_delay = SignedDuration::from_secs(rng.range(0, 40) as i64);
    if rng.percent(15) {
        task.retry_exponential_backoff = 2.0;
    }
    task.pool = rng.pick(&POOLS).0.to_owned();
    task.pool_slots = rng.range(1, 2) as u32;
    task.priority_weight = rng.range(1, 5) as i32;
    if rng.percent(6) {
        task.weight_rule = WeightRule::Custom("own.Weight".to_owned());
    }
    if rng.percent(8) {
        task.max_active_tis_per_dag = Some(1);
    }
    if rng.percent(8) {
        task.max_active_tis_per_dagrun = Some(1);
    }
    task.depends_on_past = on_past && rng.percent(60);
    task.ignore_first_depends_on_past = task.depends_on_past && rng.percent(50);
    task.wait_for_downstream = task.depends_on_past && rng.percent(30);
    task.notices.on_failure = rng.percent(20);
    task.notices.on_retry = rng.percent(20);
    task.can_skip_downstream = rng.percent(if wild { 40 } else { 15 });
    task.execution = if rng.percent(20) { Execution::Empty } else { Execution::Runner { reason: None } };
    task
}

/// What a task does when it runs, whatever happens around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// So often it fails first.
    failures: u32,
    last: Last,
    /// It asks so often to be run again later, in its first try.
    reschedules: u32,
    /// So often it waits for a trigger then.
    deferrals: u32,
    waiting: Waiting,
    /// It asks people in its first try, before all else, and waits so long for them.
    question: Option<Option<SignedDuration>>,
    has_default_answer: bool,
    /// A trigger may end it. A branch must speak for itself.
    may_end_from_trigger: bool,
}

/// What a task that waits outside of its process waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    Trigger,
    Moment,
    /// A moment that ends the task.
    End,
    /// A trigger that may not fire in time.
    TriggerOrTimeout,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Last {
    Success,
    Skip,
    FailForGood,
}

impl Plan {
    pub fn of(seed: u64, dag: &Dag, key: &TaskInstanceKey) -> Self {
        let mut rng = Rng::named(seed, &key.to_string());
        let failures = rng.range(0, 9).saturating_sub(6) as u32;
        let last = match rng.range(0, 9) {
            0 => Last::Skip,
            1 => Last::FailForGood,
            _ => Last::Success,
        };
        let reschedules = rng.range(0, 9).saturating_sub(7) as u32;
        let waiting = *rng.pick(&[Waiting::Trigger, Waiting::Moment, Waiting::End, Waiting::TriggerOrTimeout]);
        let deferrals = rng.range(0, 6).saturating_sub(4) as u32;
        let task = dag.find(key.task_id.as_str());
        // What others map over must be returned.
        let is_heard = task.is_some_and(|task| dag.task(task).can_skip_downstream || !dag.sized_by(task).is_empty());
        let may_end_from_trigger = failures == 0 && last == Last::Success && !is_heard;
        let question = rng.percent(12).then(|| rng.percent(50).then(|| SignedDuration::from_secs(20)));
        let has_default_answer = rng.percent(50);
        Self { failures, last, reschedules, deferrals, waiting, question, has_default_answer, may_end_from_trigger }
    }

    /// Whether its triggers may end it, as its plan says that it ends.
    pub fn may_end_from_trigger(&self) -> bool {
        self.may_end_from_trigger
    }

    /// Whether it waits for a trigger in its first try.
    pub fn is_deferred(&self) -> bool {
        self.deferrals > 0
    }

    /// What it waits for when it asks people. `consumed` as in [`Self::outcome`].
    pub fn asks(&self, consumed: u32) -> Option<scheduler::Waiting> {
        let timeout = self.question.filter(|_| consumed == 0)?;
        Some(scheduler::Waiting { timeout, next_method: "execute_complete".to_owned(), next_kwargs: json!({}) })
    }

    /// Whether something counts as the answer when the time is up.
    pub fn has_default_answer(&self) -> bool {
        self.has_default_answer
    }

    fn deferral(&self, now: Timestamp) -> Deferral {
        let at = now.saturating_add(SignedDuration::from_secs(30)).unwrap_or(now);
        let timer = |event| Some(TriggerTimer { at, event });
        let is_hasty = self.waiting == Waiting::TriggerOrTimeout;
        Deferral {
            classpath: "pack.Age".to_owned(),
            kwargs: json!({}),
            queue: None,
            timer: match self.waiting {
                Waiting::Moment => timer(TimerEvent::Resume(json!("moment"))),
                Waiting::End if self.may_end_from_trigger => timer(TimerEvent::Succeed),
                Waiting::End | Waiting::Trigger | Waiting::TriggerOrTimeout => None,
            },
            timeout: is_hasty.then(|| SignedDuration::from_secs(20)),
            next_method: "execute_complete".to_owned(),
            next_kwargs: json!({}),
        }
    }

    /// How the attempt ends. `consumed` counts the tries before it that were not cut off.
    pub fn outcome(&self, consumed: u32, rescheduled: u32, deferred: u32, now: Timestamp) -> Outcome {
        if consumed == 0 && rescheduled < self.reschedules {
            let at = now.checked_add(SignedDuration::from_secs(20)).unwrap_or(now);
            return Outcome::Reschedule { at };
        }
        if consumed == 0 && deferred < self.deferrals {
            return Outcome::Deferred(Box::new(self.deferral(now)));
        }
        if consumed < self.failures {
            return Outcome::Failed;
        }
        match self.last {
            Last::Success => Outcome::Success,
            Last::Skip => Outcome::Skipped,
            Last::FailForGood => Outcome::FailedForGood,
        }
    }

    /// The state that a task with so many retries comes to.
    pub fn final_state(&self, retries: u32) -> TaskState {
        if self.failures > retries {
            return TaskState::Failed;
        }
        match self.last {
            Last::Success => TaskState::Success,
            Last::Skip => TaskState::Skipped,
            Last::FailForGood => TaskState::Failed,
        }
    }
}

/// The tasks directly below it that a branch leaves out. In some histories they are only such as wait for nobody else,
/// so that it is plain what becomes of them.
pub fn left_out(seed: u64, dag: &Dag, key: &TaskInstanceKey) -> Vec<TaskId> {
    let Some(index) = dag.find(key.task_id.as_str()) else { return Vec::new() };
    if !dag.task(index).can_skip_downstream {
        return Vec::new();
    }
    let mut rng = Rng::named(seed, &format!("branch {key}"));
    let below = dag.task(index).downstream.iter().map(|below| dag.task(*below));
    let waits =
        |task: &&Task| wild_branches(seed) || (task.upstream.len() == 1 && task.trigger_rule != TriggerRule::Always);
    below.filter(waits).filter(|_| rng.percent(50)).map(|task| task.task_id.clone()).collect()
}

/// Whether branches leave out tasks that may have begun before they have spoken.
pub fn wild_branches(seed: u64) -> bool {
    seed.is_multiple_of(3)
}
