//! Dag bundles: folders, and what the official classes fetch (git repositories and the like), in a warm child of the helper
//! for each of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Json;
use serde::Deserialize;
use serde_json::json;

use crate::evaluate::{Evaluator, Unanswered};
use crate::helper_process::Helper;
use crate::import::Answers;

/// How long a class may take to fetch its bundle. The first clone of a large repository takes minutes; a server that does
/// not answer must not hold its bundle for ever.
const LONGEST_REFRESH: Duration = Duration::from_secs(600);

/// A bundle that Airflow's configuration names.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ConfiguredBundle {
    pub name: String,
    /// Of a plain folder; anything else has to be fetched.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Why there can't be such a bundle.
    #[serde(default)]
    pub error: Option<String>,
    #[serde(flatten)]
    pub page: Page,
}

/// Where people can look at a version of a bundle: a template in the form of Python's `str.format`, and what it is filled
/// in with beside `version`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Page {
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub url_params: HashMap<String, String>,
}

/// A bundle as it was fetched.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Refreshed {
    /// Where the newest version is, until the next time.
    pub path: PathBuf,
    /// `None` where the class has no versions.
    #[serde(default)]
    pub version: Option<String>,
    /// A copy of just this version, which stays as it is.
    #[serde(default)]
    pub version_path: Option<PathBuf>,
    /// Seconds until it should be fetched again.
    pub interval: f64,
    #[serde(flatten)]
    pub page: Page,
}

/// Why a bundle could not be fetched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{summary}")]
pub struct RefreshError {
    /// In one line.
    pub summary: String,
    /// The traceback, where there is one.
    pub details: String,
}

/// Fetches bundles. Cheap to clone; all clones share their children.
#[derive(Clone)]
pub struct Bundles(Evaluator);

impl Bundles {
    /// `answers` are for what the classes ask for: connections and variables.
    pub fn new(helper: Helper, answers: Arc<dyn Answers>) -> Self {
        Self(Evaluator::of_bundles(helper, answers, LONGEST_REFRESH))
    }

    /// Fetches the newest version of a bundle. Must be called inside of the async runtime.
    pub async fn refresh(&self, name: &str) -> Result<Refreshed, RefreshError> {
        let answer = self.ask(name, json!({"ask": "refresh", "name": name})).await?;
        serde_json::from_value(answer).map_err(|error| plain(format!("its answer is not understood: {error}")))
    }

    /// Removes copies of versions by Airflow's rules (`[dag_processor] stale_bundle_cleanup_*`), but none of `keep`.
    pub async fn clean(&self, name: &str, keep: &[String]) -> Result<(), RefreshError> {
        self.ask(name, json!({"ask": "clean", "name": name, "keep": keep})).await.map(drop)
    }

    async fn ask(&self, name: &str, question: Json) -> Result<Json, RefreshError> {
        self.0.ask(name, question).await.map_err(|unanswered| match unanswered {
            Unanswered::Raised { summary, traceback } => RefreshError { summary, details: traceback },
            Unanswered::NoAnswer(summary) => plain(summary),
        })
    }
}

fn plain(summary: String) -> RefreshError {
    RefreshError { summary, details: String::new() }
}
