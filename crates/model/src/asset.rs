//! Assets: what tasks produce and what Dags wait for.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::Json;
use crate::id::{AssetEventId, TaskInstanceKey};
use crate::partition::Partition;

/// Group of an asset that names none.
const DEFAULT_GROUP: &str = "asset";

/// An asset's identity.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AssetKey {
    pub name: String,
    pub uri: String,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Asset {
    pub key: AssetKey,
    pub group: String,
    pub extra: Json,
}

impl Asset {
    /// One of which only the identity is known.
    pub fn new(key: AssetKey) -> Self {
        Self { key, group: DEFAULT_GROUP.to_owned(), extra: Json::Object(Default::default()) }
    }
}

/// What an inlet, an outlet or a part of a condition can be.
#[derive(Clone, PartialEq, Debug)]
pub enum AssetLike {
    Asset(Asset),
    /// The asset that has this name (`Asset.ref(name=…)`).
    NameRef(String),
    UriRef(String),
    Alias {
        name: String,
        group: String,
    },
}

/// What an asset event says of itself, and what a condition asks for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AssetMark {
    Asset(AssetKey),
    Name(String),
    Uri(String),
    Alias(String),
}

impl AssetLike {
    /// Reads one as Airflow serializes it; `None` for what is something else.
    pub fn from_serialized(value: &Json) -> Option<AssetLike> {
        let fields = value.get("__var").unwrap_or(value);
        let text = |name: &str| fields.get(name).and_then(Json::as_str).map(str::to_owned);
        Some(match value.get("__type")?.as_str()? {
            "asset" => AssetLike::Asset(Asset {
                key: AssetKey { name: text("name")?, uri: text("uri")? },
                group: text("group").unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
                extra: fields.get("extra").filter(|extra| extra.is_object()).cloned().unwrap_or_else(empty),
            }),
            "asset_alias" => AssetLike::Alias {
                name: text("name")?,
                group: text("group").unwrap_or_else(|| DEFAULT_GROUP.to_owned()),
            },
            "asset_ref" => text("name").map(AssetLike::NameRef).or_else(|| text("uri").map(AssetLike::UriRef))?,
            _ => return None,
        })
    }

    pub fn mark(&self) -> AssetMark {
        match self {
            AssetLike::Asset(asset) => AssetMark::Asset(asset.key.clone()),
            AssetLike::NameRef(name) => AssetMark::Name(name.clone()),
            AssetLike::UriRef(uri) => AssetMark::Uri(uri.clone()),
            AssetLike::Alias { name, .. } => AssetMark::Alias(name.clone()),
        }
    }
}

fn empty() -> Json {
    Json::Object(Default::default())
}

/// What a Dag that is scheduled on assets waits for.
#[derive(Clone, PartialEq, Debug)]
pub enum AssetCondition {
    Of(AssetLike),
    All(Vec<AssetCondition>),
    Any(Vec<AssetCondition>),
}

impl AssetCondition {
    /// Reads one as Airflow serializes it; `None` if it is nothing of the kind.
    pub fn from_serialized(value: &Json) -> Option<AssetCondition> {
        let objects = || {
            let objects = value.get("__var").unwrap_or(value).get("objects")?.as_array()?;
            objects.iter().map(Self::from_serialized).collect::<Option<Vec<_>>>()
        };
        match value.get("__type")?.as_str()? {
            "asset_all" => Some(AssetCondition::All(objects()?)),
            "asset_any" => Some(AssetCondition::Any(objects()?)),
            _ => AssetLike::from_serialized(value).map(AssetCondition::Of),
        }
    }

    /// Whether it is met, where `has_event` says for which parts there is an event.
    pub fn is_met(&self, has_event: &impl Fn(&AssetMark) -> bool) -> bool {
        match self {
            AssetCondition::Of(part) => has_event(&part.mark()),
            AssetCondition::All(parts) => parts.iter().all(|part| part.is_met(has_event)),
            AssetCondition::Any(parts) => parts.iter().any(|part| part.is_met(has_event)),
        }
    }

    /// Everything that it names, in order.
    pub fn parts(&self) -> Vec<&AssetLike> {
        match self {
            AssetCondition::Of(part) => vec![part],
            AssetCondition::All(parts) | AssetCondition::Any(parts) => parts.iter().flat_map(Self::parts).collect(),
        }
    }
}

/// Something has produced an asset.
#[derive(Clone, PartialEq, Debug)]
pub struct AssetUpdate {
    pub asset: Asset,
    pub extra: Json,
    /// The aliases by which the producer named it.
    pub aliases: Vec<String>,
    /// Whether the asset is active: references by a name or a URI mean only such.
    pub active: bool,
    /// The part of it that was updated, if the producer says so.
    pub partition: Option<Partition>,
}

/// An update that is on record.
#[derive(Clone, PartialEq, Debug)]
pub struct AssetEvent {
    pub id: AssetEventId,
    pub update: AssetUpdate,
    /// The task instance that made it.
    pub source: Option<TaskInstanceKey>,
    pub at: Timestamp,
}

impl AssetEvent {
    /// What conditions may know it by.
    pub fn marks(&self) -> impl Iterator<Item = AssetMark> + '_ {
        let AssetUpdate { asset, aliases, active, .. } = &self.update;
        own_marks(&asset.key, *active).chain(aliases.iter().cloned().map(AssetMark::Alias))
    }
}

fn own_marks(key: &AssetKey, named: bool) -> impl Iterator<Item = AssetMark> {
    let by_reference = named.then(|| [AssetMark::Name(key.name.clone()), AssetMark::Uri(key.uri.clone())]);
    std::iter::once(AssetMark::Asset(key.clone())).chain(by_reference.into_iter().flatten())
}

/// An asset whose events wait for a Dag, and count for its condition (Airflow's `AssetDagRunQueue`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedAsset {
    pub key: AssetKey,
    /// Whether it was active at one of them, as in [`AssetUpdate::active`].
    pub named: bool,
    /// The aliases that its producers named it by.
    pub aliases: BTreeSet<String>,
    pub first_at: Timestamp,
    pub last_event: AssetEventId,
    pub last_at: Timestamp,
}

impl QueuedAsset {
    /// With one event.
    pub fn new(event: &AssetEvent) -> Self {
        Self {
            key: event.update.asset.key.clone(),
            named: event.update.active,
            aliases: event.update.aliases.iter().cloned().collect(),
            first_at: event.at,
            last_event: event.id,
            last_at: event.at,
        }
    }

    /// Another event of the same asset, which came after the others.
    pub fn add(&mut self, event: &AssetEvent) {
        self.named |= event.update.active;
        self.aliases.extend(event.update.aliases.iter().cloned());
        self.last_event = event.id;
        self.last_at = self.last_at.max(event.at);
    }

    /// What conditions may know its events by.
    pub fn marks(&self) -> impl Iterator<Item = AssetMark> + '_ {
        own_marks(&self.key, self.named).chain(self.aliases.iter().cloned().map(AssetMark::Alias))
    }
}

/// An asset of which a task that has succeeded says that it is one of its outlets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outlets {
    pub declared: Vec<AssetMark>,
    pub events: Vec<OutletEvent>,
}

impl Outlets {
    pub fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }
}

/// What a task has said of one of the assets that it produced.
#[derive(Clone, PartialEq, Debug)]
pub struct OutletEvent {
    pub asset: AssetKey,
    pub extra: Json,
    pub partition_key: Option<String>,
    /// For an asset that is produced by an alias: its name, and the extra of the asset if it is new.
    pub alias: Option<(String, Json)>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition() -> AssetCondition {
        let serialized = json!({"__type": "asset_any", "objects": [
            {"__type": "asset", "name": "a", "uri": "s3://a", "group": "g", "extra": {"x": 1}},
            {"__type": "asset_all", "objects": [
                {"__type": "asset_ref", "name": "b"},
                {"__type": "asset_ref", "uri": "s3://c"},
                {"__type": "asset_alias", "name": "d", "group": "asset"},
            ]},
        ]});
        AssetCondition::from_serialized(&serialized).unwrap()
    }

    #[test]
    fn conditions_are_read_with_all_their_parts() {
        let key = AssetKey { name: "a".into(), uri: "s3://a".into() };
        let asset = Asset { key, group: "g".into(), extra: json!({"x": 1}) };
        let parts = [
            AssetLike::Asset(asset),
            AssetLike::NameRef("b".into()),
            AssetLike::UriRef("s3://c".into()),
            AssetLike::Alias { name: "d".into(), group: "asset".into() },
        ];
        assert_eq!(condition().parts(), parts.iter().collect::<Vec<_>>());
        assert_eq!(AssetCondition::from_serialized(&json!({"__type": "asset_all", "objects": [{"a": 1}]})), None);
        assert_eq!(AssetCondition::from_serialized(&json!(null)), None);
    }

    #[test]
    fn conditions_are_met_by_and_and_or() {
        let marks = [
            AssetMark::Asset(AssetKey { name: "a".into(), uri: "s3://a".into() }),
            AssetMark::Name("b".into()),
            AssetMark::Uri("s3://c".into()),
            AssetMark::Alias("d".into()),
        ];
        for (present, met) in [
            (vec![], false),
            (vec![0], true),
            (vec![1, 2], false),
            (vec![1, 3], false),
            (vec![2, 3], false),
            (vec![1, 2, 3], true),
        ] {
            let has_event = |mark: &AssetMark| present.iter().any(|at| marks[*at] == *mark);
            assert_eq!(condition().is_met(&has_event), met, "{present:?}");
        }
    }
}
