//! Mappers: which keys of a Dag's runs follow from a key of one of its assets.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::temporal::{Period, Temporal};
use super::window::{WaitPolicy, Window};
use super::{Decoded, MapError, quoted};
use crate::Json;
use crate::timetable::Zone;

const OWN: &str = "airflow.partition_mappers.";

/// A mapper as a Dag has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Mapper {
    kind: Kind,
    /// How many keys may follow from one, if the Dag says so.
    pub max_downstream_keys: Option<u64>,
    serialized: Json,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Identity,
    Fixed(String),
    Allowed(Vec<String>),
    Temporal(Temporal),
    Product {
        mappers: Vec<Mapper>,
        delimiter: String,
    },
    Chain(Vec<Mapper>),
    FanOut {
        upstream: Box<Mapper>,
        window: Window,
        downstream: Box<Mapper>,
    },
    Rollup(Box<Rollup>),
    /// A class from a plugin.
    Custom,
}

/// Waits for many keys until it gives one.
#[derive(Clone, PartialEq, Debug)]
pub struct Rollup {
    upstream: Mapper,
    window: Window,
    pub policy: WaitPolicy,
}

/// What follows from a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    One(String),
    Many(Vec<String>),
}

impl Keys {
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(key) => vec![key],
            Self::Many(keys) => keys,
        }
    }
}

impl Rollup {
    /// The keys that are waited for.
    pub fn to_upstream(&self, key: &str) -> Result<BTreeSet<String>, MapError> {
        let parts = self.window.parts(&self.upstream.decode(key)?)?;
        parts.into_iter().map(|part| self.upstream.encode(part)).collect()
    }
}

impl Mapper {
    pub fn identity() -> Self {
        let serialized =
            serde_json::json!({"__type": "airflow.partition_mappers.identity.IdentityMapper", "__var": {}});
        Self { kind: Kind::Identity, max_downstream_keys: None, serialized }
    }

    /// Reads one as Airflow serializes it; `None` if it is nothing of the kind.
    pub fn from_serialized(value: &Json) -> Option<Self> {
        let (type_name, data) = (value.get("__type")?.as_str()?, value.get("__var")?);
        let text = |name: &str| data.get(name).and_then(Json::as_str).map(str::to_owned);
        let mapper = |name: &str| Self::from_serialized(data.get(name)?).map(Box::new);
        let mappers = || data.get("mappers")?.as_array()?.iter().map(Self::from_serialized).collect::<Option<Vec<_>>>();
        let class = if type_name.starts_with(OWN) { type_name.rsplit('.').next().unwrap_or_default() } else { "" };
        let kind = match class {
            "IdentityMapper" => Kind::Identity,
            "FixedKeyMapper" => Kind::Fixed(text("downstream_key")?),
            "AllowedKeyMapper" => {
                let keys = data.get("allowed_keys")?.as_array()?;
                Kind::Allowed(keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect())
            }
            "ProductMapper" => {
                Kind::Product { mappers: mappers()?, delimiter: text("delimiter").unwrap_or_else(|| "|".to_owned()) }
            }
            "ChainMapper" => Kind::Chain(mappers()?),
            "FanOutMapper" => Kind::FanOut {
                upstream: mapper("upstream_mapper")?,
                window: Window::from_serialized(data.get("window")?)?,
                downstream: mapper("downstream_mapper")?,
            },
            "RollupMapper" => Kind::Rollup(Box::new(Rollup {
                upstream: *mapper("upstream_mapper")?,
                window: Window::from_serialized(data.get("window")?)?,
                policy: WaitPolicy::from_serialized(data.get("wait_policy")?)?,
            })),
            _ => match Period::named(class) {
                Some(period) => Kind::Temporal(Temporal {
                    period,
                    zone: Zone::from_json(data.get("timezone").unwrap_or(&Json::from("UTC"))).ok()?,
                    input: text("input_format")?,
                    output: text("output_format")?,
                }),
                None => Kind::Custom,
            },
        };
        let max_downstream_keys = data.get("max_downstream_keys").and_then(Json::as_u64);
        Some(Self { kind, max_downstream_keys, serialized: value.clone() })
    }

    /// As Airflow serializes it.
    pub fn serialized(&self) -> &Json {
        &self.serialized
    }

    /// The class path of what only Python can evaluate in it, or its own.
    pub fn class(&self) -> &str {
        self.serialized.get("__type").and_then(Json::as_str).unwrap_or_default()
    }

    /// What it waits for, if it does.
    pub fn rollup(&self) -> Option<&Rollup> {
        match &self.kind {
            Kind::Rollup(rollup) => Some(rollup),
            _ => None,
        }
    }

    /// The keys that follow from one.
    pub fn to_downstream(&self, key: &str) -> Result<Keys, MapError> {
        match &self.kind {
            Kind::Identity => Ok(Keys::One(key.to_owned())),
            Kind::Fixed(fixed) => Ok(Keys::One(fixed.clone())),
            Kind::Allowed(keys) if keys.iter().any(|allowed| allowed == key) => Ok(Keys::One(key.to_owned())),
            Kind::Allowed(keys) => {
                let keys = keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(", ");
                Err(MapError::value(format!("Key {} not in allowed keys [{keys}]", quoted(key))))
            }
            Kind::Temporal(temporal) => temporal.to_downstream(key).map(Keys::One),
            Kind::Product { mappers, delimiter } => product(mappers, delimiter, key),
            Kind::Chain(mappers) => {
                let mut keys = vec![key.to_owned()];
                for mapper in mappers {
                    let next: Result<Vec<Keys>, MapError> = keys.iter().map(|key| mapper.to_downstream(key)).collect();
                    keys = next?.into_iter().flat_map(Keys::into_vec).collect();
                }
                Ok(if keys.len() == 1 { Keys::One(keys.remove(0)) } else { Keys::Many(keys) })
            }
            Kind::FanOut { upstream, window, downstream } => {
                let Keys::One(coarse) = upstream.to_downstream(key)? else {
                    let message = "FanOutMapper.upstream_mapper must produce a single key from to_downstream; chained \
                                   fan-out (mapper that itself returns multiple keys) is not supported.";
                    return Err(MapError::Raised { class: "TypeError", message: message.to_owned() });
                };
                let parts = window.parts(&upstream.decode(&coarse)?)?;
                parts.into_iter().map(|part| downstream.format(part)).collect::<Result<_, _>>().map(Keys::Many)
            }
            Kind::Rollup(rollup) => rollup.upstream.to_downstream(key),
            Kind::Custom => Err(MapError::Python),
        }
    }

    /// When the period begins that a downstream key stands for; `None` for a key that stands for none.
    pub fn date_of(&self, key: &str) -> Result<Option<Timestamp>, MapError> {
        match &self.kind {
            Kind::Temporal(temporal) => temporal.date_of(key).map(Some),
            Kind::Identity | Kind::Fixed(_) | Kind::Allowed(_) => Ok(None),
            Kind::Chain(mappers) => mappers.last().map_or(Ok(None), |last| last.date_of(key)),
            Kind::FanOut { downstream, .. } => downstream.date_of(key),
            Kind::Rollup(rollup) => rollup.upstream.date_of(key),
            Kind::Product { mappers, delimiter } => {
                let segments: Vec<&str> = split(key, delimiter)?;
                if segments.len() != mappers.len() {
                    return Ok(None);
                }
                let mut dates = Vec::new();
                for (mapper, segment) in mappers.iter().zip(segments) {
                    dates.extend(mapper.date_of(segment)?);
                }
                Ok(if dates.len() == 1 { dates.pop() } else { None })
            }
            Kind::Custom => Err(MapError::Python),
        }
    }

    /// Whether a run has the date of the event that it is made of: its key says the same and has none of its own.
    pub fn carries_date(&self) -> bool {
        self.kind == Kind::Identity
    }

    fn decode(&self, key: &str) -> Result<Decoded, MapError> {
        match &self.kind {
            Kind::Temporal(temporal) => temporal.decode(key).map(Decoded::Date),
            Kind::Custom => Err(MapError::Python),
            _ => Ok(Decoded::Text(key.to_owned())),
        }
    }

    fn encode(&self, part: Decoded) -> Result<String, MapError> {
        match (&self.kind, part) {
            (Kind::Temporal(temporal), Decoded::Date(at)) => temporal.encode(at),
            (Kind::Temporal(_) | Kind::Custom, _) | (_, Decoded::Date(_)) => Err(MapError::Python),
            (_, Decoded::Text(key)) => Ok(key),
        }
    }

    /// Airflow's `_format_with`.
    fn format(&self, part: Decoded) -> Result<String, MapError> {
        match (&self.kind, part) {
            (Kind::Temporal(temporal), Decoded::Date(at)) => temporal.format(at),
            (Kind::Temporal(_) | Kind::Custom, _) => Err(MapError::Python),
            (_, Decoded::Date(at)) => Ok(at.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
            (_, Decoded::Text(key)) => Ok(key),
        }
    }
}

fn split<'a>(key: &'a str, delimiter: &str) -> Result<Vec<&'a str>, MapError> {
    // Python refuses an empty one.
    if delimiter.is_empty() { Err(MapError::Python) } else { Ok(key.split(delimiter).collect()) }
}

fn product(mappers: &[Mapper], delimiter: &str, key: &str) -> Result<Keys, MapError> {
    let segments = split(key, delimiter)?;
    let (wanted, got) = (mappers.len(), segments.len());
    if wanted != got {
        return Err(MapError::value(format!("Expected {wanted} segments in key, got {got}")));
    }
    let mut results = Vec::with_capacity(wanted);
    for (mapper, segment) in mappers.iter().zip(segments) {
        let Keys::One(result) = mapper.to_downstream(segment)? else {
            let class = mapper.class().rsplit('.').next().unwrap_or_default();
            let message =
                format!("ProductMapper child mappers must return a single key, but {class} returned multiple keys");
            return Err(MapError::Raised { class: "TypeError", message });
        };
        results.push(result);
    }
    Ok(Keys::One(results.join(delimiter)))
}
