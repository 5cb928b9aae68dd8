//! What goes into the scheduler and what comes out of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::timetable::NamedRun;
use model::{
    AssetEvent, AssetEventId, AssetKey, AssetUpdate, AttemptId, Backfill, BackfillId, Callback, Change, Dag, DagId,
    DagRun, DagRunState, DataInterval, Deadline, HitlRefusal, HitlResponse, Json, MapIndex, QueuedAsset, RunId, RunKey,
    Suspension, TaskId, TaskIndex, TaskInstance, TaskInstanceId, TaskInstanceKey, TriggerId, TriggerTimer, TriggeredBy,
    VersionId,
};

use crate::dags::DagFacts;
use crate::timetables::AskTimetable;
use crate::weights::AskWeights;

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A Dag is new, or its structure or its facts changed.
    DagChanged(Box<DagFacts>),
    /// A Dag is no longer in any file.
    DagGone(DagId),
    DagPaused {
        dag_id: DagId,
        paused: bool,
        reply: ReplyId,
    },
    /// The answer to [`Need::ScheduleCheck`]. Without a structure, which can't be read then, there is no run.
    ScheduleChecked {
        dag_id: DagId,
        structure: Option<Structure>,
        taken: bool,
    },
    /// The answer to [`Action::AskTimetable`]; an error is for people.
    TimetableAnswered {
        dag_id: DagId,
        number: u64,
        answer: Result<Option<NamedRun>, String>,
    },
    /// The answer to [`Action::AskWeights`], in the order of the question; an error is for people.
    Weighed {
        asked: Box<AskWeights>,
        answer: Result<Vec<i32>, String>,
    },
    /// Somebody asks for a run.
    Trigger(Box<Trigger>),
    /// Somebody ends a run, or puts it back into the queue. `state` is not that of a running one.
    SetRunState {
        run: RunKey,
        state: DagRunState,
        reply: ReplyId,
    },
    /// Somebody wants task instances of a run to run again; the answer is [`Action::TasksChanged`].
    Clear(Box<crate::Clear>),
    /// Somebody gives task instances of a run a state; the answer is [`Action::TasksChanged`].
    Mark(Box<crate::Mark>),
    /// Somebody deletes a run and everything that belongs to it. One that is running is kept.
    DeleteRun {
        run: RunKey,
        reply: ReplyId,
    },
    /// Somebody deletes a Dag and everything that belongs to it. One of which tasks are running is kept.
    DeleteDag {
        dag_id: DagId,
        reply: ReplyId,
    },
    /// At start: a run that was queued when the last process ended.
    RunFound(Box<DagRun>),
    /// At start: a run that was running, whose Dag's structure can't be read. It waits until the Dag changes.
    RunUnreadable(Box<DagRun>),
    /// A run with its task instances: found running at start, or the answer to [`Need::Run`].
    RunLoaded(Box<LoadedRun>),
    /// The other answer to [`Need::Run`]: its Dag's structure can't be read. The run waits until the Dag changes.
    RunUnavailable(RunKey),
    /// The answer to [`Need::Structure`]. Without a structure the run goes on with the one it has.
    StructureLoaded {
        run: RunKey,
        structure: Option<Structure>,
        skips: Vec<Skip>,
        lengths: Vec<(TaskId, Option<u32>)>,
    },
    /// The answer to [`Need::MapLengths`].
    MapLengths {
        run: RunKey,
        lengths: Vec<(TaskId, Option<u32>)>,
    },
    /// The answer to [`Need::LastRuns`]: their states, the newest first.
    LastRuns {
        dag_id: DagId,
        states: Vec<DagRunState>,
    },
    /// The answer to [`Need::PreviousRun`].
    PreviousLoaded {
        run: RunKey,
        previous: Option<PreviousRun>,
    },
    AttemptStarted {
        attempt: AttemptId,
        at: Timestamp,
        hostname: Arc<str>,
        unixname: Arc<str>,
        pid: u32,
    },
    AttemptEnded {
        attempt: AttemptId,
        at: Timestamp,
        outcome: Outcome,
        rendered_map_index: Option<String>,
    },
    /// A running task decided that others do not run.
    SkipDownstream {
        attempt: AttemptId,
        tasks: Vec<(TaskId, MapIndex)>,
    },
    /// One of a branch's instances has left a decision for those below it. Its success follows in the same step.
    BranchDecided {
        attempt: AttemptId,
        decision: SkipDecision,
    },
    /// A running task has updated assets. Its success follows in the same step.
    AssetsUpdated {
        attempt: AttemptId,
        updates: Vec<AssetUpdate>,
    },
    /// Somebody says that an asset was updated; the answer is [`Action::AssetRecorded`].
    AssetUpdated {
        reply: ReplyId,
        update: Box<AssetUpdate>,
    },
    /// Somebody wants these assets to wait no longer; the answer is [`Action::AssetsUnqueued`].
    UnqueueAssets {
        reply: ReplyId,
        unqueue: UnqueueAssets,
    },
    /// At start, before any Dag: the number of the last asset event, the assets that were ever updated by an alias, and the
    /// Dags that have a cursor.
    AssetsFound {
        last: AssetEventId,
        aliases: Vec<(String, AssetKey)>,
        consumers: Vec<DagId>,
    },
    /// At start: the assets that wait for a Dag.
    AssetsQueued {
        dag_id: DagId,
        queued: Vec<QueuedAsset>,
    },
    /// The answer to [`Need::AssetRun`]. Without a structure, which can't be read then, there is no run.
    AssetRunReady {
        dag_id: DagId,
        structure: Option<Structure>,
    },
    /// At start, or when a Dag is known again: the runs that wait for partitions, and the events that wait for Python.
    PartitionsFound {
        dag_id: DagId,
        found: Vec<crate::FoundPartition>,
        unmapped: Vec<model::AssetEvent>,
    },
    /// The trigger of a watcher has fired. The answer is an [`Action::Done`] when what follows is durable.
    WatcherFired {
        trigger: TriggerId,
        payload: Json,
        reply: ReplyId,
    },
    /// The trigger of a watcher has failed, and is started again; the reason is for people.
    WatcherFailed {
        trigger: TriggerId,
        reason: String,
    },
    /// The answer to [`Action::AskMapper`]; an error is for people.
    MapperAnswered {
        dag_id: DagId,
        event: AssetEventId,
        answer: crate::MapperAnswer,
    },
    /// The answer to [`Need::PartitionRuns`]. Without a structure, which can't be read then, there are no runs.
    PartitionRunsReady {
        dag_id: DagId,
        structure: Option<Structure>,
    },
    /// Triggers with numbers up to this one may still be known to somebody.
    TriggersFrom(TriggerId),
    /// A trigger has fired.
    TriggerFired {
        trigger: TriggerId,
        event: TriggerEvent,
    },
    /// A trigger has failed, or ended without having fired. The lines of the traceback are for the task's log.
    TriggerFailed {
        trigger: TriggerId,
        traceback: Option<Vec<String>>,
    },
    /// At start: the deadlines of runs that are neither met nor missed.
    DeadlinesFound(Vec<Deadline>),
    /// The answer to [`Need::Deadlines`]: by their place in the Dag; `None` for one that has no moment.
    DeadlinesSet {
        run: RunKey,
        moments: Vec<(u32, Option<Timestamp>)>,
    },
    /// Somebody has answered what a task asked people.
    HitlAnswered(Box<Answered>),
    /// The answer to [`Need::HitlAnswer`].
    HitlFound {
        key: TaskInstanceKey,
        answer: Option<HitlAnswer>,
    },
    /// A pool is new or was changed. `slots` is `None` for a pool without bound; task instances that are deferred take
    /// slots where `include_deferred`.
    PoolChanged {
        name: Arc<str>,
        slots: Option<u32>,
        include_deferred: bool,
    },
    PoolGone {
        name: Arc<str>,
    },
    /// Somebody asks for a backfill; the answer is [`Action::BackfillChanged`].
    Backfill(Box<crate::NewBackfill>),
    /// At start: the highest number that a backfill has.
    BackfillsFrom(BackfillId),
    /// At start: a backfill that was under way. It comes before its runs.
    BackfillFound(Box<Backfill>),
    /// Somebody pauses, lets go on or cancels a backfill.
    SetBackfill {
        dag_id: DagId,
        id: BackfillId,
        wish: crate::BackfillWish,
        reply: ReplyId,
    },
    /// Start nothing more: the process is about to end.
    Drain,
    /// Only time has passed.
    Tick,
}

/// A request for a run, checked as far as that needs no state.
#[derive(Clone, Debug)]
pub struct Trigger {
    pub reply: ReplyId,
    pub run: NewRun,
    pub structure: Structure,
}

/// The structure of a Dag.
#[derive(Clone, Debug)]
pub struct Structure {
    pub version: VersionId,
    /// The version of the bundle that it is from, where the bundle has versions. A run keeps to that.
    pub bundle_version: Option<String>,
    pub dag: Arc<Dag>,
}

#[derive(Clone, Debug)]
pub struct NewRun {
    pub run_id: RunId,
    pub run_type: model::RunType,
    pub triggered_by: TriggeredBy,
    pub triggering_user: Option<String>,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    pub run_after: Timestamp,
    pub conf: Arc<Json>,
    pub note: Option<String>,
    pub partition: Option<model::Partition>,
}

/// A run as the store has it.
#[derive(Clone, Debug)]
pub struct LoadedRun {
    pub run: DagRun,
    /// The one that the run is to go on with: the newest one, or that of its bundle version.
    pub structure: Structure,
    pub task_instances: Vec<TaskInstance>,
    pub skips: Vec<Skip>,
    /// The lengths of what tasks have left for others to map over ([`LengthOf::all`]).
    pub lengths: Vec<(TaskId, Option<u32>)>,
    pub suspensions: Vec<Suspension>,
}

/// A task that others map over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LengthOf {
    pub task_id: TaskId,
    /// It is mapped itself: what its instances returned is mapped over, and the length is how many of them returned
    /// something. Otherwise it is the length of what it returned as it was pushed (Airflow's `task_map`).
    pub of_instances: bool,
}

impl LengthOf {
    pub fn of(task: &model::Task) -> Self {
        Self { task_id: task.task_id.clone(), of_instances: task.is_mapped() }
    }

    /// Every task of a Dag that others map over.
    pub fn all(dag: &Dag) -> Vec<LengthOf> {
        dag.indices().filter(|task| !dag.sized_by(*task).is_empty()).map(|task| Self::of(dag.task(task))).collect()
    }
}

/// What a branch of a run has decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skip {
    pub branch: TaskId,
    pub map_index: MapIndex,
    pub decision: SkipDecision,
}

/// What a branching task left behind for those below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SkipDecision {
    /// Only these run.
    Followed(Vec<TaskId>),
    /// All but these run.
    Skipped(Vec<TaskId>),
}

/// The run before another one, as far as `depends_on_past` looks at it.
#[derive(Clone, Debug)]
pub struct PreviousRun {
    pub key: RunKey,
    pub logical_date: Option<Timestamp>,
    /// For each of its tasks whether all instances have succeeded or were skipped.
    pub tasks: HashMap<TaskId, bool>,
    /// Those of the tasks that were asked about that no run before the later one has ever had.
    pub first_timers: Vec<TaskId>,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    Success,
    Skipped,
    /// Failed; tries again if it has tries left.
    Failed,
    /// Failed for good, whatever tries are left.
    FailedForGood,
    /// Failed and is to try again, after the delay that its retry policy chose if it did.
    Retry {
        delay: Option<SignedDuration>,
    },
    Reschedule {
        at: Timestamp,
    },
    /// Waits for a trigger.
    Deferred(Box<Deferral>),
    /// Waits for a person's answer.
    AwaitingInput(Box<Waiting>),
    Removed,
    /// Its process was lost for a reason that is not the task's own: the worker or the engine ended.
    Interrupted,
}

/// What an attempt leaves behind that waits for a trigger.
#[derive(Clone, PartialEq, Debug)]
pub struct Deferral {
    pub classpath: String,
    pub kwargs: Json,
    pub queue: Option<String>,
    /// What the engine can wait for itself.
    pub timer: Option<TriggerTimer>,
    pub timeout: Option<SignedDuration>,
    pub next_method: String,
    pub next_kwargs: Json,
}

/// What an attempt leaves behind that waits for a person.
#[derive(Clone, PartialEq, Debug)]
pub struct Waiting {
    pub timeout: Option<SignedDuration>,
    pub next_method: String,
    pub next_kwargs: Json,
}

/// An answer of somebody, which may be taken.
#[derive(Clone, PartialEq, Debug)]
pub struct Answered {
    pub key: TaskInstanceKey,
    pub response: Box<HitlResponse>,
    /// What the task is told of it.
    pub payload: Json,
    /// The task goes on with it. A trigger that answers for people lets its task go on itself.
    pub resumes: bool,
    pub reply: ReplyId,
}

/// What is known of the answer that a task waits for.
#[derive(Clone, PartialEq, Debug)]
pub enum HitlAnswer {
    /// There is one; the task is told this.
    Given { payload: Json },
    /// There is none. This one counts if the time is up.
    Default { response: Box<HitlResponse>, payload: Json },
}

/// What a trigger says.
#[derive(Clone, PartialEq, Debug)]
pub enum TriggerEvent {
    /// The task goes on, and is told this.
    Resume(Json),
    /// The task has ended.
    End(TriggeredEnd),
}

/// An end that a trigger gives its task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TriggeredEnd {
    Success,
    Failed,
    Skipped,
}

/// Which assets are to wait no longer. Their events stay behind the cursors of their Dags.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnqueueAssets {
    /// For this Dag; for all otherwise.
    pub dag_id: Option<DagId>,
    /// This one; all otherwise.
    pub asset: Option<AssetKey>,
    /// Of which the first event came before.
    pub before: Option<Timestamp>,
}

/// Something that the scheduler must know before it can decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// The newest structure of a Dag whose next run is due, and whether a run with that id or logical date exists.
    ScheduleCheck { dag_id: DagId, run_id: RunId, logical_date: Option<Timestamp> },
    /// The newest structure of a Dag whose asset events are to become a run.
    AssetRun { dag_id: DagId },
    /// The newest structure of a Dag of which partitions are there.
    PartitionRuns { dag_id: DagId },
    /// A queued run's Dag and task instances.
    Run(RunKey),
    /// The run before this one: of any kind, or not a manual one. `newcomers` are tasks that wait for nothing if no run
    /// before this one has had them.
    PreviousRun { run: RunKey, logical_date: Timestamp, scheduled_only: bool, newcomers: Vec<TaskId> },
    /// The newest structure of the Dag of a run that is under way, and what the run's branches have decided.
    Structure { run: RunKey },
    /// How long that is what tasks of a run have left for others to map over; `None` for one that left nothing of the kind.
    MapLengths { run: RunKey, tasks: Vec<LengthOf> },
    /// When the deadlines of a run are that was made, or queued again, at that moment.
    Deadlines { run: RunKey, at: Timestamp },
    /// The answer that a task instance waits for, or what counts as one at that moment if its time is up.
    HitlAnswer { key: TaskInstanceKey, at: Timestamp },
    /// The states of a Dag's last runs, whatever made them, in the order in which they are to run.
    LastRuns { dag_id: DagId, count: u32 },
}

/// Names the one who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ReplyId(pub u64);

/// Why a run was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TriggerError {
    #[error("Dag {0} is not known")]
    UnknownDag(DagId),
    #[error("a run with the id {run_id} of Dag {dag_id} exists")]
    RunIdTaken { dag_id: DagId, run_id: RunId },
    #[error("a run of Dag {dag_id} with the logical date {logical_date} exists")]
    LogicalDateTaken { dag_id: DagId, logical_date: Timestamp },
}

/// Why a run is left as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RunRefusal {
    #[error("the structure of Dag {0} can't be read")]
    NoStructure(DagId),
    #[error("the run {0} is running")]
    Running(RunKey),
    #[error("task instances of the run {0} are running")]
    TasksRun(RunKey),
    #[error("tasks of Dag {0} are running")]
    TasksRunning(DagId),
}

/// What to write, and what to do when it is written.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    pub changes: Vec<Change>,
    pub actions: Vec<Action>,
    /// Changes that may wait for the next commit: they only tell people sooner what the end of an attempt tells too.
    pub lazy_changes: Vec<Change>,
}

impl Decisions {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.actions.is_empty() && self.lazy_changes.is_empty()
    }
}

#[derive(Clone, Debug)]
pub enum Action {
    Start(Box<StartAttempt>),
    Stop {
        attempt: AttemptId,
        reason: StopReason,
    },
    /// What was asked for is durable.
    Done {
        to: ReplyId,
    },
    /// A timetable is to say when the next run of its Dag is due. Asked again when the process starts anew.
    AskTimetable(Box<AskTimetable>),
    /// A mapper is to say which keys follow from that of an event. Asked again when the process starts anew.
    AskMapper(Box<crate::AskMapper>),
    /// A trigger of a watcher is to run until it is disarmed. Told again when the process starts anew.
    Watch(Box<crate::WatchTrigger>),
    /// Something about the partitions or the watchers of a Dag that people should know.
    DagProblem {
        dag_id: DagId,
        message: String,
    },
    /// A class of a plugin is to say what task instances weigh. Asked again when the process starts anew.
    AskWeights(Box<AskWeights>),
    /// A trigger is to run until it fires or nobody waits for it any more.
    Arm(Box<ArmTrigger>),
    /// Nobody waits for a trigger any more.
    Disarm(TriggerId),
    /// The end of an attempt is durable.
    Acknowledge {
        attempt: AttemptId,
    },
    Reply {
        to: ReplyId,
        answer: Result<Box<DagRun>, TriggerError>,
    },
    /// What somebody wanted of a run is durable: the run as it is then, or nothing if it is deleted.
    RunChanged {
        to: ReplyId,
        answer: Result<Option<Box<DagRun>>, RunRefusal>,
    },
    /// An answer that somebody gave a task is durable, or is not taken.
    HitlAnswered {
        to: ReplyId,
        answer: Result<Box<HitlResponse>, HitlRefusal>,
    },
    /// What somebody wanted of a backfill is durable: the backfill as it is then.
    BackfillChanged {
        to: ReplyId,
        answer: Result<Box<Backfill>, crate::BackfillRefusal>,
    },
    /// An update that somebody has told is durable.
    AssetRecorded {
        to: ReplyId,
        event: Box<AssetEvent>,
    },
    /// That so many assets wait no longer is durable.
    AssetsUnqueued {
        to: ReplyId,
        count: usize,
    },
    /// What somebody wanted of task instances is durable: they as they are then, and their run.
    TasksChanged {
        to: ReplyId,
        answer: Result<Box<TasksChanged>, RunRefusal>,
    },
    /// A callback is due, and is called until it has been.
    Call {
        callback: Box<Callback>,
        /// As it is for the callback; `None` where the store knows it.
        run: Option<Box<DagRun>>,
    },
    /// A run has ended.
    RunFinished {
        run: Box<DagRun>,
        reason: &'static str,
    },
    /// A Dag was paused because its last runs have failed.
    AutoPaused {
        dag_id: DagId,
        failed_runs: u32,
    },
    /// Somebody must do something before this task instance can run.
    Stuck {
        ti: Box<TaskInstance>,
        obstacle: Obstacle,
    },
    /// A message that was not acted upon.
    Refused(Refusal),
}

/// Task instances after somebody has changed them.
#[derive(Clone, PartialEq, Debug)]
pub struct TasksChanged {
    pub run: DagRun,
    pub task_instances: Vec<TaskInstance>,
}

/// What a task instance waits for that does not come by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    NoSuchPool {
        pool: Arc<str>,
    },
    PoolTooSmall {
        pool: Arc<str>,
        wanted: u32,
        size: u32,
    },
    /// It can't be expanded to so many instances.
    TooManyInstances {
        count: u64,
        max: u64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::NoSuchPool { pool } => write!(
                f,
                "Tasks using non-existent pool '{pool}' will not be scheduled: create the pool and the task will run"
            ),
            Obstacle::PoolTooSmall { pool, wanted, size } => write!(
                f,
                "Requested pool slots ({wanted}) are greater than total pool slots: '{size}' for pool: {pool}. \
                 Make the pool larger and the task will run"
            ),
            Obstacle::TooManyInstances { count, max } => write!(
                f,
                "The task maps over so much that it would have {count} instances, and no task may have more than {max}. \
                 Map over less, or over batches"
            ),
        }
    }
}

/// A trigger, and whom it is for.
#[derive(Clone, Debug)]
pub struct ArmTrigger {
    pub trigger: Arc<model::Trigger>,
    pub ti: TaskInstance,
    pub run: DagRun,
    pub timeout: Option<Timestamp>,
    /// Whether a failure of this try would be followed by another.
    pub should_retry: bool,
    /// The task begins with its trigger: what that is made with may have templates.
    pub starts_task: bool,
}

#[derive(Clone, Debug)]
pub struct StartAttempt {
    pub attempt: AttemptId,
    /// How it goes on, if it is not at its beginning.
    pub suspension: Option<Arc<Suspension>>,
    pub ti: TaskInstance,
    pub run: DagRun,
    pub dag: Arc<Dag>,
    pub task: TaskIndex,
    /// Whether a failure of this try would be followed by another.
    pub should_retry: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    RunTimedOut,
    FailFast,
    /// Its task is no longer in the Dag.
    Removed,
    /// Somebody has ended its run.
    SetByHand,
    /// Somebody has given it a state.
    MarkedByHand,
    /// It is to run again. Its end is waited for: it must be told.
    Cleared,
}

/// A message that came too late or from nobody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    StaleAttempt { attempt: AttemptId, message: &'static str },
    StaleTrigger { trigger: TriggerId },
    NotPossible { ti: TaskInstanceId, message: String },
}
