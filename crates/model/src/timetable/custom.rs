//! Timetables of classes that plugins bring. Their moments are asked of Python; what they are like is known from the
//! import of their Dag.

use super::NextRun;
use crate::Json;
use crate::asset::AssetCondition;
use crate::id::RunId;

/// A timetable that only Python can evaluate.
#[derive(Clone, PartialEq, Debug)]
pub struct CustomTimetable {
    /// The class path.
    pub type_name: String,
    /// What the class has serialized itself to.
    pub data: Json,
    pub traits: Traits,
}

/// What the import found about a timetable: the attributes that Airflow reads beside asking for runs
/// (`airflow/timetables/base.py`).
#[derive(Clone, PartialEq, Debug)]
pub struct Traits {
    pub summary: String,
    pub description: String,
    pub periodic: bool,
    pub can_be_scheduled: bool,
    pub active_runs_limit: Option<u32>,
    pub partitioned: bool,
    pub partitioned_at_runtime: bool,
    pub asset_condition: Option<AssetCondition>,
}

impl Traits {
    /// Those of Airflow's base class, whose summary is the name of the class.
    pub(super) fn of_class(type_name: &str) -> Self {
        Self {
            summary: type_name.rsplit('.').next().unwrap_or(type_name).to_owned(),
            description: String::new(),
            periodic: true,
            can_be_scheduled: true,
            active_runs_limit: None,
            partitioned: false,
            partitioned_at_runtime: false,
            asset_condition: None,
        }
    }

    /// Takes what a document says; what it leaves out stays.
    fn update(&mut self, found: &Json) {
        let text = |name: &str| found.get(name).and_then(Json::as_str).map(str::to_owned);
        let flag = |name: &str, known: bool| found.get(name).and_then(Json::as_bool).unwrap_or(known);
        self.summary = text("summary").unwrap_or_else(|| std::mem::take(&mut self.summary));
        self.description = text("description").unwrap_or_else(|| std::mem::take(&mut self.description));
        self.periodic = flag("periodic", self.periodic);
        self.can_be_scheduled = flag("can_be_scheduled", self.can_be_scheduled);
        self.partitioned = flag("partitioned", self.partitioned);
        self.partitioned_at_runtime = flag("partitioned_at_runtime", self.partitioned_at_runtime);
        let limit = found.get("active_runs_limit").and_then(Json::as_u64);
        self.active_runs_limit = limit.and_then(|limit| u32::try_from(limit).ok()).or(self.active_runs_limit);
        self.asset_condition = found.get("asset_condition").and_then(AssetCondition::from_serialized);
    }
}

impl CustomTimetable {
    pub(super) fn new(type_name: &str, data: &Json) -> Self {
        Self { type_name: type_name.to_owned(), data: data.clone(), traits: Traits::of_class(type_name) }
    }

    pub(super) fn with_traits(mut self, found: &Json) -> Self {
        self.traits.update(found);
        self
    }

    /// As Airflow serializes it.
    pub fn serialized(&self) -> Json {
        serde_json::json!({"__type": self.type_name, "__var": self.data})
    }
}

/// What Python says about the next run, with the id that the run is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedRun {
    pub next_run: NextRun,
    pub run_id: RunId,
}
