//! What pages show at a glance.

use jiff::Timestamp;
use model::{DagId, DagRunState, DataInterval, Deadline, Json, MapIndex, RunKey, TaskId, TaskState};

use crate::Result;
use crate::query::{DeadlineFilter, DeadlineOrder, Direction, Page, Span};

/// How many there are in each state; states in which there are none are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StateCounts {
    pub runs: Vec<(DagRunState, u64)>,
    pub task_instances: Vec<(TaskState, u64)>,
}

/// How many Dags that are in a file are what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DagCounts {
    /// Not paused.
    pub active: u64,
    /// Whose run with the latest logical date has failed.
    pub failed: u64,
    /// With a run that is running.
    pub running: u64,
    /// With a run that is queued.
    pub queued: u64,
}

/// A Dag's runs of one day or hour that are in one state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunsOfDate {
    /// Its beginning.
    pub date: Timestamp,
    pub state: DagRunState,
    pub count: u64,
    /// The latest start and the latest end of their data intervals.
    pub interval: Option<DataInterval>,
}

/// A part of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    Day,
    Hour,
}

impl Granularity {
    pub(crate) fn micros(self) -> i64 {
        match self {
            Granularity::Day => 86_400_000_000,
            Granularity::Hour => 3_600_000_000,
        }
    }
}

pub trait OverviewStore {
    /// The states of the runs that are due within a span, and of their task instances; of each at most `most` are counted.
    fn states_within(&self, run_after: Span, most: u64) -> Result<StateCounts>;

    fn dag_counts(&self) -> Result<DagCounts>;

    /// A Dag's runs by their logical dates, the earliest first; those without one are left out.
    fn runs_by_date(&self, dag_id: &DagId, logical_date: Span, granularity: Granularity) -> Result<Vec<RunsOfDate>>;

    /// What the Dags that are in a file depend on and what depends on them, as their newest versions were serialized, by
    /// Dag id.
    fn dag_dependencies(&self) -> Result<Vec<(DagId, Json)>>;

    /// The task instances of a run about which people have written something.
    fn noted_task_instances(&self, run: &RunKey) -> Result<Vec<(TaskId, MapIndex)>>;

    /// Deadlines, and whether they were missed.
    fn list_deadlines(
        &self,
        filter: &DeadlineFilter,
        order: &[(DeadlineOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<(Deadline, bool)>, u64)>;

    /// Those of these runs that have missed a deadline.
    fn runs_with_missed_deadlines(&self, runs: &[RunKey]) -> Result<Vec<RunKey>>;

    /// The numbers of runs, in the order in which they are asked for; runs that are not there are left out.
    fn run_numbers(&self, runs: &[RunKey]) -> Result<Vec<u64>>;
}
