//! Lists of assets and of what happened to them.

use model::{DagId, RunId, RunKey, TaskId};

use super::{Span, TextFilter};

#[derive(Clone, Debug, Default)]
pub struct AssetFilter {
    pub number: Option<i64>,
    pub name: Option<String>,
    pub uri: Option<String>,
    pub names: TextFilter,
    pub uris: TextFilter,
    /// Some Dag of these names it; `None` asks for nothing.
    pub dag_ids: Option<Vec<DagId>>,
    pub active_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssetOrder {
    Number,
    Name,
    Uri,
    CreatedAt,
    UpdatedAt,
}

#[derive(Clone, Debug, Default)]
pub struct AliasFilter {
    pub number: Option<i64>,
    pub name: Option<String>,
    pub names: TextFilter,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasOrder {
    Number,
    Name,
}

#[derive(Clone, Debug, Default)]
pub struct EventListFilter {
    pub asset_number: Option<i64>,
    pub source_dag_id: Option<DagId>,
    pub source_run_id: Option<RunId>,
    pub source_task_id: Option<TaskId>,
    /// -1 is also that of what no task has made.
    pub source_map_index: Option<i64>,
    /// Of their assets.
    pub names: TextFilter,
    pub at: Span,
    /// Only those that this run was made of.
    pub consumed_by: Option<RunKey>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventOrder {
    Id,
    At,
    SourceDagId,
    SourceRunId,
    SourceTaskId,
    SourceMapIndex,
}
