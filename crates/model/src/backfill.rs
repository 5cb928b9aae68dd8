//! Backfills: runs for dates of a Dag's timetable that people want to have, whether they were missed or are to be run
//! again.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::Json;
use crate::id::DagId;
use crate::run::UnknownName;

/// The number of a backfill: they grow in the order in which they are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BackfillId(pub i64);

impl fmt::Display for BackfillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What becomes of dates that have a run already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reprocess {
    /// They are left as they are.
    None,
    /// The run is cleared if it has failed.
    Failed,
    /// The run is cleared if it has ended.
    Completed,
}

impl Reprocess {
    pub const ALL: [Reprocess; 3] = [Reprocess::Failed, Reprocess::Completed, Reprocess::None];

    pub fn name(self) -> &'static str {
        match self {
            Reprocess::None => "none",
            Reprocess::Failed => "failed",
            Reprocess::Completed => "completed",
        }
    }
}

impl std::str::FromStr for Reprocess {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|value| value.name() == text).ok_or_else(|| UnknownName(text.to_owned()))
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Backfill {
    pub id: BackfillId,
    pub dag_id: DagId,
    pub from_date: Timestamp,
    pub to_date: Timestamp,
    /// The configuration of its runs; `None` leaves that of a run that is there as it is.
    pub conf: Option<Arc<Json>>,
    /// None of its runs is started meanwhile.
    pub is_paused: bool,
    pub reprocess: Reprocess,
    /// How many of its runs may be running at once.
    pub max_active_runs: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// `None` while some run of it has not ended, unless it was cancelled.
    pub completed_at: Option<Timestamp>,
    pub triggering_user: Option<String>,
}

/// A run's place in a backfill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InBackfill {
    pub id: BackfillId,
    /// Its runs are started in this order.
    pub ordinal: u32,
}
