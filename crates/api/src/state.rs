//! What every handler may use.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use engine::{DagSource, EngineHandle, Pulse};
use jiff::Timestamp;
use model::{Dag, VersionId};
use python::Evaluator;
use store::Store;
use worker::MaskRules;

use crate::auth::{AuthSettings, Tokens};
use crate::error::ApiError;

/// Dag structures that are kept ready for requests.
const CACHED_DAGS: usize = 256;

/// Where the structures of Dags come from, for many threads at once.
pub trait Structures: DagSource + Sync {}

impl<T: DagSource + Sync> Structures for T {}

/// Asks for the import of a file, by its bundle and its path below it.
pub type ImportAgain = tokio::sync::mpsc::UnboundedSender<(String, String)>;

/// The values of the configuration that answers depend on.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// `[api] fallback_page_limit`: how many entries a list has if nobody says.
    pub page_limit: u64,
    /// `[api] maximum_page_limit`: how many entries a list has at most.
    pub max_page_limit: u64,
    /// `[api] secret_key`: signs the file tokens of Dags.
    pub secret_key: String,
    /// The configuration as `/config` shows it, if `[api] expose_config` lets it.
    pub exposed: Option<Vec<ConfigSection>>,
    /// What answers must not show.
    pub mask_rules: Arc<MaskRules>,
    /// Where the server runs, and as whom.
    pub hostname: String,
    pub unixname: String,
    /// `[core] rerun_with_latest_version`, if anybody has set it: whether what is cleared goes on with the newest version.
    pub rerun_with_latest_version: Option<bool>,
    /// `[state_store] clear_on_success`: whether a task that has succeeded forgets what it kept for later tries.
    pub clear_state_on_success: bool,
    /// `[state_store] max_value_storage_bytes`: how long a value of a state store may be that people give; 0 for no bound.
    pub max_state_bytes: usize,
    /// `[state_store] default_retention_days`: how long such a value is kept with a task if they don't say; 0 for ever.
    pub state_retention_days: i64,
    /// The path of `[api] base_url`, without a slash at its end: what stands before all paths for clients of a proxy.
    pub base_path: String,
    pub ui: UiConfig,
}

/// What the web UI wants to know of the configuration: options of `[api]` by their names, but for `[core] test_connection`.
#[derive(Clone, PartialEq, Debug)]
pub struct UiConfig {
    /// In seconds.
    pub auto_refresh_interval: i64,
    pub default_wrap: bool,
    pub enable_swagger_ui: bool,
    pub hide_paused_dags_by_default: bool,
    pub instance_name: String,
    pub require_confirmation_dag_change: bool,
    pub test_connection: String,
    /// A document of colours and icons; null for none.
    pub theme: serde_json::Value,
}

impl Default for UiConfig {
    fn default() -> Self {
        Self {
            auto_refresh_interval: 3,
            default_wrap: false,
            enable_swagger_ui: true,
            hide_paused_dags_by_default: false,
            instance_name: "Airflow".into(),
            require_confirmation_dag_change: false,
            test_connection: "Disabled".into(),
            theme: serde_json::Value::Null,
        }
    }
}

/// A section of the configuration: its name, and its options with their values. Secrets are hidden when it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSection {
    pub name: String,
    pub options: Vec<(String, String)>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            page_limit: 50,
            max_page_limit: 100,
            secret_key: String::new(),
            exposed: None,
            mask_rules: Arc::default(),
            hostname: String::new(),
            unixname: String::new(),
            rerun_with_latest_version: None,
            clear_state_on_success: false,
            max_state_bytes: 65535,
            state_retention_days: 30,
            base_path: String::new(),
            ui: UiConfig::default(),
        }
    }
}

/// What [`ApiState`] is made of.
pub struct ApiOptions {
    pub store: Arc<dyn Store>,
    pub engine: EngineHandle,
    pub structures: Arc<dyn Structures>,
    /// `[logging] base_log_folder`.
    pub log_folder: PathBuf,
    pub auth: AuthSettings,
    pub config: ApiConfig,
}

struct Shared {
    store: Arc<dyn Store>,
    engine: EngineHandle,
    structures: Arc<dyn Structures>,
    log_folder: PathBuf,
    tokens: Tokens,
    config: ApiConfig,
    dags: Mutex<DagCache>,
    started: Timestamp,
    importer: OnceLock<Pulse>,
    airflow_folder: OnceLock<PathBuf>,
    import_again: OnceLock<ImportAgain>,
    pool_changes: tokio::sync::Mutex<()>,
    evaluator: OnceLock<Evaluator>,
}

#[derive(Default)]
struct DagCache {
    dags: HashMap<VersionId, Arc<Dag>>,
    order: VecDeque<VersionId>,
}

/// Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

impl ApiState {
    pub fn new(options: ApiOptions) -> Self {
        let ApiOptions { store, engine, structures, log_folder, auth, config } = options;
        let tokens = Tokens::new(auth);
        Self(Arc::new(Shared {
            store,
            engine,
            structures,
            log_folder,
            tokens,
            config,
            dags: Mutex::default(),
            started: Timestamp::now(),
            importer: OnceLock::new(),
            airflow_folder: OnceLock::new(),
            import_again: OnceLock::new(),
            pool_changes: tokio::sync::Mutex::default(),
            evaluator: OnceLock::new(),
        }))
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    pub(crate) fn engine(&self) -> &EngineHandle {
        &self.0.engine
    }

    pub(crate) fn log_folder(&self) -> &Path {
        &self.0.log_folder
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn config(&self) -> &ApiConfig {
        &self.0.config
    }

    /// Lets answers tell whether the importer of Dag files still works, and ask it for files. Only the first one counts.
    pub fn watch_importer(&self, pulse: Pulse, again: ImportAgain) {
        let _ = self.0.importer.set(pulse);
        let _ = self.0.import_again.set(again);
    }

    /// Says where the package `airflow` is that has the web UI's pages. Only the first one counts.
    pub fn serve_pages(&self, airflow_folder: PathBuf) {
        let _ = self.0.airflow_folder.set(airflow_folder);
    }

    /// The folder of the package `airflow`, once the Python environment is known.
    pub(crate) fn airflow_folder(&self) -> Option<&Path> {
        self.0.airflow_folder.get().map(PathBuf::as_path)
    }

    /// Has a file imported although it is as it was: what came of it is gone.
    pub(crate) fn import_again(&self, bundle: String, file: String) {
        if let Some(again) = self.0.import_again.get() {
            // Without an importer the next one finds a file that is new.
            let _ = again.send((bundle, file));
        }
    }

    /// The importer's pulse, if there is an importer.
    pub(crate) fn importer(&self) -> Option<&Pulse> {
        self.0.importer.get()
    }

    /// Says who asks timetables of plugins. Only the first one counts.
    pub fn ask_plugins_through(&self, evaluator: Evaluator) {
        let _ = self.0.evaluator.set(evaluator);
    }

    /// Who asks timetables of plugins, if anybody can.
    pub(crate) fn evaluator(&self) -> Option<&Evaluator> {
        self.0.evaluator.get()
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.0.started
    }

    /// Held while pools are changed and the engine is told of it.
    pub(crate) fn pool_changes(&self) -> &tokio::sync::Mutex<()> {
        &self.0.pool_changes
    }

    /// The structure of a Dag. Blocks when it is not in the cache.
    pub(crate) fn structure(&self, version: VersionId) -> Result<Option<Arc<Dag>>, ApiError> {
        if let Some(dag) = self.0.dags.lock().unwrap_or_else(PoisonError::into_inner).dags.get(&version) {
            return Ok(Some(Arc::clone(dag)));
        }
        let Some(dag) = self.0.structures.dag(version).map_err(ApiError::internal)? else { return Ok(None) };
        let mut cache = self.0.dags.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.dags.insert(version, Arc::clone(&dag)).is_none() {
            cache.order.push_back(version);
        }
        if cache.order.len() > CACHED_DAGS
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.dags.remove(&oldest);
        }
        Ok(Some(dag))
    }
}
