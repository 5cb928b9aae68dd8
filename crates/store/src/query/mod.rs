//! What may be asked for in lists.
//!
//! An order that is asked for goes by its first key, then by the next; records that are equal in all of them follow the
//! order in which they were made (Dags that of their ids), the way that the first key goes. What has no value comes
//! after all values, and before them in a descending order: PostgreSQL's rule, on which most Airflows run.

mod assets;
mod text;

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use model::{DagId, DagRun, DagRunState, RunId, RunType, TaskId, TaskInstance, TaskState};

pub use assets::{AliasFilter, AliasOrder, AssetFilter, AssetOrder, EventListFilter, EventOrder};
pub use text::TextFilter;
pub(crate) use text::{Letters, Pattern, alternatives, begins, like, literally, searched_prefix, somewhere};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    pub limit: u64,
    pub offset: u64,
}

impl Page {
    /// Everything.
    pub const ALL: Page = Page { limit: u64::MAX, offset: 0 };

    /// Cuts the page out of what matched.
    pub(crate) fn cut<T>(self, all: Vec<T>) -> (Vec<T>, u64) {
        let total = all.len() as u64;
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let take = usize::try_from(self.limit).unwrap_or(usize::MAX);
        (all.into_iter().skip(skip).take(take).collect(), total)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Ascending,
    Descending,
}

#[derive(Clone, Debug, Default)]
pub struct DagFilter {
    pub paused: Option<bool>,
    /// Leaves out Dags that are in no file any more.
    pub exclude_stale: bool,
    /// As [`TextFilter::pattern`]; so are all patterns here.
    pub dag_id_pattern: Option<String>,
    /// As [`TextFilter::prefix`]; so are all prefixes here.
    pub dag_id_prefix: Option<String>,
    pub display_name_pattern: Option<String>,
    pub display_name_prefix: Option<String>,
    pub tags: Vec<String>,
    /// Whether all of `tags` are asked for, or any.
    pub all_tags: bool,
    /// One of these must stand somewhere in an owner's name, in any case and without wild cards.
    pub owners: Vec<String>,
    pub bundle_name: Option<String>,
    pub bundle_version: Option<String>,
    pub has_import_errors: Option<bool>,
    pub timetable_types: Vec<String>,
    pub last_run_state: Option<DagRunState>,
    /// `None` is the state of the last run of a Dag that has no run.
    pub last_run_states: Vec<Option<DagRunState>>,
    pub last_run_start: Span,
    pub last_run_end: Span,
    /// One of these; an empty list asks for nothing.
    pub dag_ids: Vec<String>,
    /// There is a run in this state, whichever.
    pub any_run_state: Option<DagRunState>,
    /// Whether task instances wait for people's answers.
    pub awaits_people: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DagOrder {
    DagId,
    DisplayName,
    NextRun,
    LastRunState,
    LastRunStart,
}

#[derive(Clone, Debug, Default)]
pub struct VersionFilter {
    pub dag_id: Option<DagId>,
    pub number: Option<i64>,
    pub bundle_name: Option<String>,
    pub bundle_version: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionOrder {
    /// The order in which they were made.
    Id,
    Number,
    BundleName,
    BundleVersion,
}

/// A span of time, ends included; an open end does not bound it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    /// A record that does not have the moment (yet) counts as inside.
    pub or_missing: bool,
}

impl Span {
    pub(crate) fn is_open(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    pub(crate) fn contains(&self, at: Option<Timestamp>) -> bool {
        match at {
            None => self.is_open() || self.or_missing,
            Some(at) => self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at <= to),
        }
    }
}

/// A range of durations in microseconds, ends included; an open end does not bound it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DurationRange {
    pub from_micros: Option<i64>,
    pub to_micros: Option<i64>,
}

impl DurationRange {
    pub(crate) fn contains(&self, duration: Option<SignedDuration>) -> bool {
        let micros = duration.map(|duration| duration.as_micros());
        let fits = |micros: i128| {
            self.from_micros.is_none_or(|from| i128::from(from) <= micros)
                && self.to_micros.is_none_or(|to| micros <= i128::from(to))
        };
        (self.from_micros.is_none() && self.to_micros.is_none()) || micros.is_some_and(fits)
    }
}

#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub dag_id: Option<DagId>,
    /// One of these; an empty list asks for nothing.
    pub dag_ids: Vec<String>,
    pub dag_id_pattern: Option<String>,
    pub dag_id_prefix: Option<String>,
    pub run_id_pattern: Option<String>,
    pub run_id_prefix: Option<String>,
    pub triggering_user_pattern: Option<String>,
    pub triggering_user_prefix: Option<String>,
    pub partition_key_pattern: Option<String>,
    pub partition_key_prefix: Option<String>,
    pub partition_date: Span,
    pub states: Vec<DagRunState>,
    pub run_types: Vec<RunType>,
    /// Numbers of the Dag's versions.
    pub version_numbers: Vec<i64>,
    pub bundle_version: Option<String>,
    /// Must stand in the configuration as Python writes it in JSON (`{"a": 1, "b": [2, 3]}`), in the same case; `%` and
    /// `_` are wild cards.
    pub conf_contains: Option<String>,
    pub logical_date: Span,
    pub run_after: Span,
    pub start_date: Span,
    pub end_date: Span,
    /// The last that is known to have happened to the run.
    pub updated_at: Span,
    pub duration: DurationRange,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunOrder {
    /// The order in which they were made.
    Id,
    State,
    DagId,
    RunId,
    LogicalDate,
    RunAfter,
    StartDate,
    EndDate,
    RunType,
    Duration,
    UpdatedAt,
    PartitionDate,
    Conf,
    IntervalEnd,
}

#[derive(Clone, Debug, Default)]
pub struct TaskInstanceFilter {
    pub dag_id: Option<DagId>,
    /// One of these; an empty list asks for nothing.
    pub dag_ids: Vec<String>,
    pub dag_id_pattern: Option<String>,
    pub dag_id_prefix: Option<String>,
    pub run_id: Option<RunId>,
    pub run_ids: Vec<String>,
    pub run_id_pattern: Option<String>,
    pub run_id_prefix: Option<String>,
    pub task_ids: Vec<String>,
    pub task_id_pattern: Option<String>,
    pub task_id_prefix: Option<String>,
    pub states: Vec<TaskState>,
    pub pools: Vec<String>,
    pub pool_pattern: Option<String>,
    pub pool_prefix: Option<String>,
    pub queues: Vec<String>,
    pub queue_pattern: Option<String>,
    pub queue_prefix: Option<String>,
    pub executors: Vec<String>,
    pub operators: Vec<String>,
    pub operator_name_pattern: Option<String>,
    pub operator_name_prefix: Option<String>,
    pub version_numbers: Vec<i64>,
    pub try_numbers: Vec<i64>,
    pub map_index: Option<i32>,
    pub map_indexes: Vec<i64>,
    /// Leaves out what is not mapped.
    pub mapped_only: bool,
    /// The map index stands in where a mapped task instance has no name of its own.
    pub rendered_map_index_pattern: Option<String>,
    pub rendered_map_index_prefix: Option<String>,
    pub start_date: Span,
    pub end_date: Span,
    pub logical_date: Span,
    pub run_after: Span,
    /// The last that is known to have happened to the try.
    pub updated_at: Span,
    pub duration: DurationRange,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskInstanceOrder {
    /// By the id of the current try, which is the order in which they were made.
    Id,
    State,
    Duration,
    StartDate,
    EndDate,
    MapIndex,
    TaskId,
    RunAfter,
    LogicalDate,
    TryNumber,
    IntervalStart,
    IntervalEnd,
    RenderedMapIndex,
    Operator,
}

#[derive(Clone, Debug, Default)]
pub struct HitlFilter {
    pub dag_id: Option<DagId>,
    pub run_id: Option<RunId>,
    pub dag_ids: TextFilter,
    pub task_id: Option<String>,
    pub task_ids: TextFilter,
    pub map_index: Option<i64>,
    pub states: Vec<TaskState>,
    pub answered: Option<bool>,
    /// Whose answer it is.
    pub user_ids: Vec<String>,
    pub user_names: Vec<String>,
    /// As [`TextFilter::pattern`].
    pub subject: Option<String>,
    pub body: Option<String>,
    pub created_at: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HitlOrder {
    /// By the id of the current try of the task instance.
    Id,
    Subject,
    CreatedAt,
    RespondedAt,
    UserId,
    UserName,
    DagId,
    RunId,
    RunAfter,
    TaskId,
    RenderedMapIndex,
    Operator,
    State,
}

/// Which deadlines: of those that have been worked out and are not met.
#[derive(Clone, Debug, Default)]
pub struct DeadlineFilter {
    pub dag_id: Option<DagId>,
    pub run_id: Option<RunId>,
    pub missed: Option<bool>,
    pub at: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeadlineOrder {
    /// The order in which they were made.
    Id,
    At,
    Missed,
    DagId,
    RunId,
}

#[derive(Clone, Debug, Default)]
pub struct XComFilter {
    pub dag_id: Option<DagId>,
    pub run_id: Option<RunId>,
    pub task_id: Option<TaskId>,
    pub map_index: Option<i64>,
    pub key: Option<String>,
    pub keys: TextFilter,
    pub dag_display_names: TextFilter,
    pub run_ids: TextFilter,
    pub task_ids: TextFilter,
    pub logical_date: Span,
    pub run_after: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XComOrder {
    Key,
    DagId,
    RunId,
    TaskId,
    MapIndex,
    At,
    RunAfter,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VariableOrder {
    /// The order in which they were made.
    Created,
    Key,
    Value,
    Description,
    IsEncrypted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionOrder {
    /// The order in which they were made.
    Created,
    ConnectionId,
    ConnType,
    Description,
    Host,
    Port,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolOrder {
    /// The order in which they were made.
    Created,
    Name,
}

#[derive(Clone, Debug, Default)]
pub struct ImportErrorFilter {
    pub filename: Option<String>,
    pub filenames: TextFilter,
    pub bundle_name: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportErrorOrder {
    Id,
    At,
    Filename,
    BundleName,
    StackTrace,
}

/// The last that is known to have happened to a run.
pub(crate) fn run_updated_at(run: &DagRun) -> Option<Timestamp> {
    [run.queued_at, run.start_date, run.end_date, run.last_scheduling_decision].into_iter().flatten().max()
}

/// The last that is known to have happened to a try.
pub(crate) fn task_updated_at(ti: &TaskInstance) -> Option<Timestamp> {
    [ti.scheduled_at, ti.queued_at, ti.start_date, ti.end_date].into_iter().flatten().max()
}

/// What filters of the rendered map index look at.
pub(crate) fn rendered_map_index(ti: &TaskInstance) -> Option<Cow<'_, str>> {
    let index = ti.map_index.0;
    let own_name = ti.rendered_map_index.as_deref().map(Cow::Borrowed);
    own_name.or_else(|| (index >= 0).then(|| Cow::Owned(index.to_string())))
}

/// Which asset events, in the order of their moments.
#[derive(Clone, PartialEq, Debug)]
pub struct AssetEventFilter {
    pub name: Option<String>,
    pub uri: Option<String>,
    pub alias: Option<String>,
    /// Only those of assets that are active.
    pub active_only: bool,
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
    pub newest_first: bool,
    pub limit: u64,
}

impl Default for AssetEventFilter {
    fn default() -> Self {
        Self {
            name: None,
            uri: None,
            alias: None,
            active_only: false,
            after: None,
            before: None,
            newest_first: false,
            limit: u64::MAX,
        }
    }
}
