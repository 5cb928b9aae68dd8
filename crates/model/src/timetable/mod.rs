//! Timetables: when a Dag's next run is due, and what span of data it is about.
//!
//! The answers are Airflow's, to the microsecond; `tests/timetables.rs` replays recordings of the real classes.

mod between;
mod cron;
mod custom;
mod delta;
mod describe;
mod events;
mod interval;
mod partitioned;
mod relative_delta;
mod schedule;
mod serialized;
mod simple;
mod trigger;
mod zone;

use jiff::Timestamp;

use crate::Json;
use crate::asset::AssetCondition;
use crate::run::DataInterval;

pub use cron::{CronError, CronExpression, CronField, FieldError};
pub use custom::{CustomTimetable, NamedRun, Traits};
pub use delta::Delta;
pub use events::Events;
pub use partitioned::{CronPartition, InvalidKey, PartitionedAssets};
pub use relative_delta::RelativeDelta;
pub use schedule::CronSchedule;
pub use trigger::{CronTrigger, RunImmediately};
pub use zone::Zone;

use schedule::Schedule;

/// The bounds that a Dag sets to its timetable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restriction {
    pub earliest: Option<Timestamp>,
    pub latest: Option<Timestamp>,
    pub catchup: bool,
}

/// When a run is due and what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextRun {
    /// The run does not begin before this moment.
    pub run_after: Timestamp,
    pub data_interval: DataInterval,
}

impl NextRun {
    /// A run about a moment, at that moment.
    fn exact(at: Timestamp) -> Self {
        Self { run_after: at, data_interval: DataInterval::exact(at) }
    }

    /// A run about an interval, when the interval has ended.
    fn of_interval(start: Timestamp, end: Timestamp) -> Self {
        Self { run_after: end, data_interval: DataInterval { start, end } }
    }

    /// Airflow's logical date is the start of the data interval.
    pub fn logical_date(&self) -> Timestamp {
        self.data_interval.start
    }
}

/// Why a serialized timetable can't be used.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TimetableError {
    #[error(transparent)]
    Cron(#[from] CronError),
    #[error("timetable {type_name}: field {field:?} is missing or of the wrong kind")]
    Field { type_name: String, field: &'static str },
    #[error("{value} is neither a number of seconds nor the fields of a relativedelta")]
    NoDelta { value: String },
    #[error("{value:?} is no date with an offset from UTC, such as 2026-01-31T12:00:00+00:00")]
    NoMoment { value: String },
    #[error("time zone {name} is not known: use a name such as Europe/Zurich, or an offset such as +05:30")]
    UnknownTimeZone { name: String },
}

/// When a Dag runs by itself.
#[derive(Clone, PartialEq, Debug)]
pub enum Timetable {
    /// Never by itself.
    Null,
    /// Once, at the Dag's start date or at once.
    Once,
    /// Again as soon as the last run has ended.
    Continuous,
    /// At the end of each interval between two moments of a cron expression.
    CronDataInterval(CronSchedule),
    /// At the end of each interval of this length.
    DeltaDataInterval(Delta),
    /// At each moment of a cron expression.
    CronTrigger(CronTrigger),
    /// So long after the last run; the data interval of a run ends with it and lasts `interval`.
    DeltaTrigger { delta: Delta, interval: Delta },
    /// At each moment of any of these.
    MultipleCronTrigger(Vec<CronTrigger>),
    /// At listed moments.
    Events(Events),
    /// When assets were updated.
    Assets(AssetCondition),
    /// When assets were updated, and beside that when another timetable says so.
    AssetsOrTime { condition: AssetCondition, timetable: Box<Timetable> },
    /// When partitions of assets were updated.
    PartitionedAssets(Box<PartitionedAssets>),
    /// At each moment of a cron expression, for a partition that follows from the moment.
    CronPartition(Box<CronPartition>),
    /// Never by itself; the partition is known when a run is asked for, or while it runs.
    PartitionedAtRuntime,
    /// A timetable of a class from a plugin, which only Python can evaluate.
    Custom(Box<CustomTimetable>),
    /// One of Airflow's own that is not known here. `type_name` is its class path.
    Opaque { type_name: String, data: Json },
}

impl Timetable {
    /// Reads a timetable as Airflow serializes it: `type_name` is the `__type`, a class path; `data` the `__var`.
    /// Classes that are not Airflow's become [`Timetable::Custom`].
    pub fn from_serialized(type_name: &str, data: &Json) -> Result<Timetable, TimetableError> {
        serialized::read(type_name, data)
    }

    /// The timetable with what the import of its Dag found about the class from a plugin that it is of, or that it has in
    /// it.
    #[must_use]
    pub fn with_traits(self, found: &Json) -> Timetable {
        match self {
            Timetable::Custom(custom) => Timetable::Custom(Box::new(custom.with_traits(found))),
            Timetable::AssetsOrTime { condition, timetable } => {
                Timetable::AssetsOrTime { condition, timetable: Box::new(timetable.with_traits(found)) }
            }
            other => other,
        }
    }

    /// The part that only Python can evaluate, if there is one. Everything about runs is that part's to say.
    pub fn custom(&self) -> Option<&CustomTimetable> {
        match self {
            Timetable::Custom(custom) => Some(custom),
            Timetable::AssetsOrTime { timetable, .. } => timetable.custom(),
            _ => None,
        }
    }

    /// The next run, or `None` if there is none as things stand. `last` is the data interval of the last run that was
    /// not asked for by hand. The rules are those of Airflow's `next_dagrun_info`; where that raises an exception, as
    /// for a date that never comes, its scheduler makes no run either. Always `None` where Python must be asked.
    pub fn next_run(&self, last: Option<DataInterval>, restriction: &Restriction, now: Timestamp) -> Option<NextRun> {
        // Python's clock has no more, and neither have the databases that the answer goes to.
        let now = Timestamp::from_microsecond(now.as_microsecond()).ok()?;
        match self {
            Timetable::Null
            | Timetable::Assets(_)
            | Timetable::PartitionedAssets(_)
            | Timetable::PartitionedAtRuntime
            | Timetable::Custom(_)
            | Timetable::Opaque { .. } => None,
            Timetable::CronPartition(cron) => cron.next_run(last, restriction, now),
            Timetable::AssetsOrTime { timetable, .. } => timetable.next_run(last, restriction, now),
            Timetable::Once => simple::once(last, restriction, now),
            Timetable::Continuous => simple::continuous(last, restriction, now),
            Timetable::CronDataInterval(schedule) => interval::next_run(schedule, last, restriction, now),
            Timetable::DeltaDataInterval(delta) => interval::next_run(delta, last, restriction, now),
            Timetable::CronTrigger(trigger) => trigger.next_run(last, restriction, now),
            Timetable::DeltaTrigger { delta, interval } => {
                trigger::next_run(delta, interval, last, restriction, now, || Some(now))
            }
            Timetable::MultipleCronTrigger(triggers) => trigger::next_of_several(triggers, last, restriction, now),
            Timetable::Events(events) => events.next_run(last, restriction, now),
        }
    }

    /// What a run that somebody asks for is about, by the rules of Airflow's `infer_manual_data_interval`. `None` for
    /// timetables that are not evaluated here.
    pub fn infer_manual_data_interval(&self, run_after: Timestamp) -> Option<DataInterval> {
        match self {
            Timetable::Null
            | Timetable::Once
            | Timetable::Continuous
            | Timetable::Assets(_)
            | Timetable::PartitionedAssets(_)
            | Timetable::CronPartition(_)
            | Timetable::PartitionedAtRuntime => Some(DataInterval::exact(run_after)),
            Timetable::AssetsOrTime { timetable, .. } => timetable.infer_manual_data_interval(run_after),
            Timetable::CronDataInterval(schedule) => interval::cron_manual_interval(schedule, run_after),
            Timetable::DeltaDataInterval(delta) => {
                Some(DataInterval { start: delta.previous(run_after)?, end: run_after })
            }
            Timetable::CronTrigger(CronTrigger { interval, .. }) | Timetable::DeltaTrigger { interval, .. } => {
                trigger::manual_interval(interval, run_after)
            }
            // All of them have the same interval.
            Timetable::MultipleCronTrigger(triggers) => {
                trigger::manual_interval(&triggers.first()?.interval, run_after)
            }
            Timetable::Events(events) => Some(events.manual_interval(run_after)),
            Timetable::Custom(_) | Timetable::Opaque { .. } => None,
        }
    }

    /// A word or two for lists: the cron expression, the delta.
    pub fn summary(&self) -> String {
        match self {
            Timetable::Null => "None".to_owned(),
            Timetable::Once => "@once".to_owned(),
            Timetable::Continuous => "@continuous".to_owned(),
            Timetable::CronDataInterval(schedule) => schedule.cron().as_str().to_owned(),
            Timetable::DeltaDataInterval(delta) | Timetable::DeltaTrigger { delta, .. } => delta.to_string(),
            Timetable::CronTrigger(trigger) => trigger.schedule.cron().as_str().to_owned(),
            Timetable::MultipleCronTrigger(triggers) => {
                joined(triggers, |schedule| schedule.cron().as_str().to_owned())
            }
            Timetable::Events(events) => events.summary().to_owned(),
            Timetable::Assets(_) => "Asset".to_owned(),
            Timetable::AssetsOrTime { timetable, .. } => format!("Asset or {}", timetable.summary()),
            Timetable::Custom(custom) => custom.traits.summary.clone(),
            Timetable::PartitionedAssets(_) => "Partitioned Asset".to_owned(),
            Timetable::CronPartition(cron) => cron.schedule().cron().as_str().to_owned(),
            Timetable::PartitionedAtRuntime => "PartitionedAtRuntime".to_owned(),
            // What Airflow's base class answers: the name of the class.
            Timetable::Opaque { type_name, .. } => type_name.rsplit('.').next().unwrap_or(type_name).to_owned(),
        }
    }

    /// The schedule in words; empty where there are none.
    pub fn description(&self) -> String {
        match self {
            Timetable::Null => "Never, external triggers only".to_owned(),
            Timetable::Once => "Once, as soon as possible".to_owned(),
            Timetable::Continuous => "As frequently as possible, but only one run at a time.".to_owned(),
            Timetable::CronDataInterval(schedule) => describe::describe(schedule.cron().as_str()),
            Timetable::CronTrigger(trigger) => describe::describe(trigger.schedule.cron().as_str()),
            Timetable::MultipleCronTrigger(triggers) => {
                joined(triggers, |schedule| describe::describe(schedule.cron().as_str()))
            }
            Timetable::DeltaDataInterval(_) | Timetable::DeltaTrigger { .. } => String::new(),
            Timetable::Events(events) => events.description().to_owned(),
            Timetable::Assets(_) => "Triggered by assets".to_owned(),
            Timetable::AssetsOrTime { timetable, .. } => format!("Triggered by assets or {}", timetable.description()),
            Timetable::Custom(custom) => custom.traits.description.clone(),
            Timetable::PartitionedAssets(_) => "Triggered by assets".to_owned(),
            Timetable::CronPartition(cron) => describe::describe(cron.schedule().cron().as_str()),
            Timetable::PartitionedAtRuntime => "Never, partition key(s) set at runtime".to_owned(),
            Timetable::Opaque { .. } => String::new(),
        }
    }

    /// Whether a run begins as soon as the one before has ended.
    pub fn is_continuous(&self) -> bool {
        match self {
            Timetable::Continuous => true,
            Timetable::AssetsOrTime { timetable, .. } => timetable.is_continuous(),
            _ => false,
        }
    }

    /// Whether runs come one after the other by the clock.
    pub fn is_periodic(&self) -> bool {
        match self {
            Timetable::Null
            | Timetable::Once
            | Timetable::Continuous
            | Timetable::Assets(_)
            | Timetable::PartitionedAssets(_)
            | Timetable::PartitionedAtRuntime => false,
            Timetable::AssetsOrTime { timetable, .. } => timetable.is_periodic(),
            Timetable::Custom(custom) => custom.traits.periodic,
            _ => true,
        }
    }

    /// Whether there can be runs that nobody asked for.
    pub fn can_be_scheduled(&self) -> bool {
        match self {
            Timetable::Null | Timetable::PartitionedAtRuntime => false,
            Timetable::AssetsOrTime { timetable, .. } => timetable.can_be_scheduled(),
            Timetable::Custom(custom) => custom.traits.can_be_scheduled,
            _ => true,
        }
    }

    /// How many runs may be active at once, if the timetable itself sets a limit.
    pub fn active_runs_limit(&self) -> Option<u32> {
        match self {
            Timetable::Continuous => Some(1),
            Timetable::Custom(custom) => custom.traits.active_runs_limit,
            Timetable::AssetsOrTime { timetable, .. } => timetable.active_runs_limit(),
            _ => None,
        }
    }

    /// What must happen to assets for it to make a run. Partitions are another matter, see [`Self::partitioned_assets`].
    pub fn asset_condition(&self) -> Option<&AssetCondition> {
        match self {
            Timetable::Assets(condition) | Timetable::AssetsOrTime { condition, .. } => Some(condition),
            Timetable::Custom(custom) => custom.traits.asset_condition.as_ref(),
            _ => None,
        }
    }

    /// What must happen to partitions of assets for it to make runs.
    pub fn partitioned_assets(&self) -> Option<&PartitionedAssets> {
        match self {
            Timetable::PartitionedAssets(partitioned) => Some(partitioned),
            _ => None,
        }
    }

    /// All assets that it listens to.
    pub fn listens_to(&self) -> Option<&AssetCondition> {
        self.asset_condition().or_else(|| self.partitioned_assets().map(|partitioned| &partitioned.condition))
    }

    /// Whether its runs are about partitions and have no logical date.
    pub fn is_partitioned(&self) -> bool {
        match self {
            Timetable::PartitionedAssets(_) | Timetable::CronPartition(_) => true,
            Timetable::Custom(custom) => custom.traits.partitioned,
            _ => false,
        }
    }

    /// Whether the partition of a run is known only when somebody asks for it.
    pub fn is_partitioned_at_runtime(&self) -> bool {
        match self {
            Timetable::PartitionedAtRuntime => true,
            Timetable::AssetsOrTime { timetable, .. } => timetable.is_partitioned_at_runtime(),
            Timetable::Custom(custom) => custom.traits.partitioned_at_runtime,
            _ => false,
        }
    }

    /// When the period begins that a key stands for (Airflow's `resolve_partition_date`); `None` for a key that stands for
    /// none, and where only Python can tell.
    pub fn partition_date(&self, key: &str) -> Result<Option<Timestamp>, InvalidKey> {
        match self {
            Timetable::PartitionedAssets(partitioned) => partitioned.date_of(key),
            Timetable::CronPartition(cron) => cron.date_of(key),
            _ => Ok(None),
        }
    }
}

fn joined(triggers: &[CronTrigger], text: impl Fn(&CronSchedule) -> String) -> String {
    triggers.iter().map(|trigger| text(&trigger.schedule)).collect::<Vec<_>>().join(", ")
}
