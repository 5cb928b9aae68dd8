//! By when a run is to have succeeded, or somebody is called (`DeadlineAlert`).

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::id::RunKey;

/// A deadline as the Dag has it: a moment that its runs have, and how long after it they may take.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadlineAlert {
    pub reference: DeadlineReference,
    pub interval: DeadlineInterval,
}

/// From when on the time is counted.
#[derive(Clone, PartialEq, Debug)]
pub enum DeadlineReference {
    LogicalDate,
    QueuedAt,
    Fixed(Timestamp),
    /// The moment in which the run was made, and what the last runs took on average that succeeded.
    AverageRuntime {
        max_runs: u32,
        min_runs: u32,
    },
    /// A class of somebody's own, which only Python can ask.
    Custom(String),
}

#[derive(Clone, PartialEq, Debug)]
pub enum DeadlineInterval {
    Fixed(SignedDuration),
    /// The seconds in a variable, as it is when a run is made.
    Variable(String),
}

/// Names a deadline of a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DeadlineId(pub Uuid);

impl fmt::Display for DeadlineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A deadline of a run, until it is met or missed.
#[derive(Clone, PartialEq, Debug)]
pub struct Deadline {
    pub id: DeadlineId,
    pub run: RunKey,
    /// Which of the Dag's it is.
    pub alert: u32,
    /// `None` until it has been worked out.
    pub at: Option<Timestamp>,
}
