//! What may be asked for in lists.

use jiff::Timestamp;
use model::{DagId, DagRunState, RunId, RunType, TaskState};

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
    /// Must stand somewhere in the Dag id, in any case.
    pub dag_id_pattern: Option<String>,
    pub display_name_pattern: Option<String>,
    pub tags: Vec<String>,
    /// Whether all of `tags` are asked for, or any.
    pub all_tags: bool,
    pub owners: Vec<String>,
    pub bundle_name: Option<String>,
    pub has_import_errors: Option<bool>,
    pub last_run_state: Option<DagRunState>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DagOrder {
    DagId,
    DisplayName,
    NextRun,
    LastRunState,
    LastRunStart,
}

/// A span of time; an open end does not bound it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl Span {
    pub(crate) fn contains(&self, at: Option<Timestamp>) -> bool {
        (self.from.is_none() || at >= self.from) && (self.to.is_none() || (at.is_some() && at <= self.to))
    }
}

#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub dag_id: Option<DagId>,
    pub run_id_pattern: Option<String>,
    pub states: Vec<DagRunState>,
    pub run_types: Vec<RunType>,
    pub logical_date: Span,
    pub run_after: Span,
    pub start_date: Span,
    pub end_date: Span,
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
}

#[derive(Clone, Debug, Default)]
pub struct TaskInstanceFilter {
    pub dag_id: Option<DagId>,
    pub run_id: Option<RunId>,
    pub task_ids: Vec<String>,
    pub task_id_pattern: Option<String>,
    pub states: Vec<TaskState>,
    pub pools: Vec<String>,
    pub queues: Vec<String>,
    pub operators: Vec<String>,
    pub map_index: Option<i32>,
    pub start_date: Span,
    pub end_date: Span,
    pub logical_date: Span,
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
}
