//! Runs that wait until all the keys have come that they are made of.

use jiff::Timestamp;
use serde_json::json;

use crate::Json;
use crate::id::{AssetEventId, DagId, RunId};

/// A run that is not made yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingPartition {
    pub dag_id: DagId,
    pub key: String,
    /// The first event that it is made of: those that wait take their turn in this order.
    pub first: AssetEventId,
    /// The date that events have brought with them, unless they disagreed.
    pub carried: Option<Timestamp>,
    /// That of the mappers by which the events were mapped.
    pub fingerprint: String,
}

/// What Python said of a key that only Python can evaluate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// The keys that are waited for; `None` where the first event is enough.
    pub upstream: Option<Vec<String>>,
    pub date: Option<Timestamp>,
    /// The date is not known because the mapper has failed.
    pub no_date: bool,
    /// No keys are ever enough, because the mapper has failed.
    pub never: bool,
}

impl Told {
    pub fn to_json(&self) -> Json {
        json!({
            "upstream": self.upstream,
            "date": self.date.map(Timestamp::as_microsecond),
            "no_date": self.no_date,
            "never": self.never,
        })
    }

    /// `None` for what is nothing of the kind.
    pub fn from_json(value: &Json) -> Option<Self> {
        let upstream = match value.get("upstream") {
            None | Some(Json::Null) => None,
            Some(keys) => {
                let keys = keys.as_array()?.iter().map(|key| key.as_str().map(str::to_owned));
                Some(keys.collect::<Option<Vec<_>>>()?)
            }
        };
        let date = match value.get("date") {
            None | Some(Json::Null) => None,
            Some(micros) => Some(Timestamp::from_microsecond(micros.as_i64()?).ok()?),
        };
        let flag = |name: &str| value.get(name).and_then(Json::as_bool).unwrap_or(false);
        Some(Self { upstream, date, no_date: flag("no_date"), never: flag("never") })
    }
}

/// What is to be written of partitions.
#[derive(Clone, PartialEq, Debug)]
pub enum PartitionChange {
    /// An event waits until Python has said which keys follow from it.
    Unmapped { dag_id: DagId, event: AssetEventId },
    /// It no longer does.
    Mapped { dag_id: DagId, event: AssetEventId },
    /// A run waits, or has got one more event.
    Pending { pending: PendingPartition, event: AssetEventId, told: Option<Told> },
    /// The run is made.
    Taken { dag_id: DagId, key: String, run: RunId },
    /// Runs of a Dag that wait are not made: what they wait for has another meaning now.
    Dropped { dag_id: DagId, keys: Vec<String> },
}
