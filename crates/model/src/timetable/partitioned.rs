//! Timetables whose runs are about partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use sha1::{Digest, Sha1};

use super::schedule::{CronSchedule, Schedule};
use super::trigger::CronTrigger;
use super::{NextRun, Restriction, Zone};
use crate::Json;
use crate::asset::{AssetCondition, AssetLike};
use crate::partition::{MapError, Mapper, Partition, parse, write};
use crate::run::DataInterval;

/// A key that the timetable can't be asked for (Airflow's `InvalidPartitionKeyError`).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(pub String);

/// Makes a run for each key that follows from keys of its assets.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionedAssets {
    pub condition: AssetCondition,
    mappers: Vec<Mapper>,
    by_name: HashMap<String, usize>,
    by_uri: HashMap<String, usize>,
    /// Changes with the mappers.
    pub fingerprint: String,
}

impl PartitionedAssets {
    /// Reads one as Airflow serializes it; the error is the name of the field that is wrong.
    pub(super) fn from_serialized(data: &Json, condition: AssetCondition) -> Result<Self, &'static str> {
        let default = data.get("default_partition_mapper").and_then(Mapper::from_serialized);
        let mut mappers = vec![default.ok_or("default_partition_mapper")?];
        let (mut by_name, mut by_uri) = (HashMap::new(), HashMap::new());
        let config = data.get("partition_mapper_config").and_then(Json::as_array);
        for pair in config.into_iter().flatten() {
            let read = |place: usize| pair.get(place).ok_or("partition_mapper_config");
            let assets = AssetCondition::from_serialized(read(0)?).ok_or("partition_mapper_config")?;
            let place = mappers.len();
            mappers.push(Mapper::from_serialized(read(1)?).ok_or("partition_mapper_config")?);
            for part in assets.parts() {
                match part {
                    AssetLike::Asset(asset) => {
                        by_name.insert(asset.key.name.clone(), place);
                        by_uri.insert(asset.key.uri.clone(), place);
                    }
                    AssetLike::NameRef(name) => drop(by_name.insert(name.clone(), place)),
                    AssetLike::UriRef(uri) => drop(by_uri.insert(uri.clone(), place)),
                    // Airflow does not support these here, and says so at import.
                    AssetLike::Alias { .. } => {}
                }
            }
        }
        let mut partitioned = Self { condition, mappers, by_name, by_uri, fingerprint: String::new() };
        partitioned.fingerprint = partitioned.compute_fingerprint();
        Ok(partitioned)
    }

    /// The mapper of an asset. As in Airflow's `get_partition_mapper`, the URI matters only where there is no name.
    pub fn mapper(&self, name: &str, uri: &str) -> &Mapper {
        let place = if name.is_empty() { self.by_uri.get(uri) } else { self.by_name.get(name) };
        // The first one is the default, and always there.
        &self.mappers[place.copied().unwrap_or(0)]
    }

    /// The mappers of all that the condition names.
    fn all_mappers(&self) -> impl Iterator<Item = (String, &Mapper)> {
        self.condition.parts().into_iter().filter_map(|part| {
            let (name, uri) = match part {
                AssetLike::Asset(asset) => (asset.key.name.as_str(), asset.key.uri.as_str()),
                AssetLike::NameRef(name) => (name.as_str(), ""),
                AssetLike::UriRef(uri) => ("", uri.as_str()),
                AssetLike::Alias { .. } => return None,
            };
            Some((format!("{name}|{uri}"), self.mapper(name, uri)))
        })
    }

    fn compute_fingerprint(&self) -> String {
        let mut sha = Sha1::new();
        for (name, mapper) in self.all_mappers().collect::<BTreeMap<_, _>>() {
            sha.update(name);
            sha.update(mapper.serialized().to_string());
        }
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// When the period begins that a downstream key stands for, if all mappers that can tell say the same.
    pub(super) fn date_of(&self, key: &str) -> Result<Option<Timestamp>, InvalidKey> {
        let mut dates = BTreeSet::new();
        for (_, mapper) in self.all_mappers() {
            match mapper.date_of(key) {
                Ok(date) => dates.extend(date),
                Err(MapError::Python) => return Ok(None),
                Err(MapError::Raised { message, .. }) => {
                    return Err(InvalidKey(format!(
                        "Partition key {} is invalid for this timetable's mappers: {message}",
                        crate::partition::quoted(key)
                    )));
                }
            }
        }
        Ok(if dates.len() == 1 { dates.pop_first() } else { None })
    }
}

/// Makes a run at each moment of a cron expression, for the partition of that moment or of one some steps away.
#[derive(Clone, PartialEq, Debug)]
pub struct CronPartition {
    trigger: CronTrigger,
    /// How many moments the partition is ahead of the run; negative if it is behind.
    run_offset: i64,
    key_format: String,
}

impl CronPartition {
    /// `None` for a format that is not known.
    pub(super) fn new(trigger: CronTrigger, run_offset: i64, key_format: &str) -> Option<Self> {
        write(jiff::civil::datetime(2000, 1, 1, 0, 0, 0, 0), 0, key_format).ok()?;
        Some(Self { trigger, run_offset, key_format: key_format.to_owned() })
    }

    pub fn schedule(&self) -> &CronSchedule {
        &self.trigger.schedule
    }

    /// Airflow's `next_dagrun_info_v2`; the interval of such a run is its moment, and the run has none itself.
    pub(super) fn next_run(
        &self,
        last: Option<DataInterval>,
        restriction: &Restriction,
        now: Timestamp,
    ) -> Option<NextRun> {
        let schedule = &self.trigger.schedule;
        let wanted = match (last, restriction.earliest) {
            (Some(last), _) => schedule.next(last.end)?,
            (None, None) => self.trigger.first_run(now)?,
            (None, Some(earliest)) => schedule.align_to_next(earliest)?,
        };
        let at = if restriction.catchup {
            wanted
        } else {
            let earliest = restriction.earliest.map_or(Some(wanted), |earliest| schedule.align_to_next(earliest))?;
            wanted.max(earliest).max(schedule.align_to_previous(now)?)
        };
        restriction.latest.is_none_or(|latest| at <= latest).then(|| NextRun::exact(at))
    }

    /// The moment at which the clock of its time zone shows what that of UTC shows at another one.
    pub fn local_moment(&self, at: Timestamp) -> Option<Timestamp> {
        self.schedule().zone().moment(Zone::UTC.wall_clock(at))
    }

    /// What a run at a moment is about.
    pub fn partition_of_run(&self, run_after: Timestamp) -> Option<Partition> {
        let mut date = run_after;
        for _ in 0..self.run_offset.unsigned_abs() {
            date = if self.run_offset > 0 { self.schedule().next(date)? } else { self.schedule().previous(date)? };
        }
        self.partition_at(date)
    }

    /// The partition of a moment.
    pub fn partition_at(&self, date: Timestamp) -> Option<Partition> {
        let zone = self.schedule().zone();
        let key = write(zone.wall_clock(date), zone.offset_at(date), &self.key_format).ok()?;
        Some(Partition { key, date: Some(date) })
    }

    pub(super) fn date_of(&self, key: &str) -> Result<Option<Timestamp>, InvalidKey> {
        match parse(key, &self.key_format) {
            Ok(clock) => Ok(self.schedule().zone().moment(clock)),
            Err(MapError::Python) => Ok(None),
            Err(MapError::Raised { message, .. }) => {
                let (key, format) = (crate::partition::quoted(key), crate::partition::quoted(&self.key_format));
                Err(InvalidKey(format!(
                    "Partition key {key} does not match the timetable's key_format {format}: {message}"
                )))
            }
        }
    }
}
