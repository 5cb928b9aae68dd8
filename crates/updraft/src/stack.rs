//! Everything that runs Dags, assembled and running.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use engine::{Engine, EngineHandle, EngineOptions};
use process::Host;
use python::{Evaluator, Helper, HelperOptions};
use scheduler::Config as SchedulerConfig;
use store::Store;
use worker::{MaskRules, Masker, StoreAnswers, Worker, WorkerOptions};

use crate::config::Config;
use crate::home::{Home, HomeLock};
use crate::wiring::{EngineReports, Pretend, StoredDags, WorkerDispatch};

/// What a timetable of a plugin may take where imports have no time limit.
const LONGEST_ANSWER: Duration = Duration::from_secs(300);

pub struct Stack {
    pub engine: Engine,
    pub worker: Worker<EngineReports>,
    pub helper: Helper,
    /// Answers for timetables of plugins.
    pub evaluator: Evaluator,
    pub dags: StoredDags,
    pub mask_rules: Arc<MaskRules>,
    /// Where and as whom tasks run.
    pub hostname: String,
    pub unixname: String,
    /// Dropped late: with it every child process ends.
    _host: Host,
    _shells: ShellThread,
}

/// A thread with an async runtime of its own, for attempts without Python and the news of their processes: with a single
/// thread nothing is handed from one to another between a process's end and the next one's start.
struct ShellThread {
    runtime: tokio::runtime::Handle,
    /// The thread ends when this is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl ShellThread {
    fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("shells".into()).spawn(move || {
            // An error means that the other end is gone, which is what is waited for.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _stop: stop })
    }
}

impl Stack {
    /// Starts the host, the engine and the worker. Must be called inside of the async runtime.
    pub fn start(
        home: &Home,
        lock: Option<&HomeLock>,
        config: &Config,
        store: Arc<dyn Store>,
        log_folder: PathBuf,
        pretend: Option<Pretend>,
    ) -> Result<Self> {
        let shells = ShellThread::start()?;
        let host = {
            let _inside = shells.runtime.enter();
            start_host(home, lock)?
        };
        let helper = Helper::new(host.clone());
        let dags = StoredDags(Arc::clone(&store));
        let (handle, inbox) = Engine::channel();
        let rerun_with_latest_version = match config.text("core", "rerun_with_latest_version") {
            Some(_) => Some(config.flag("core", "rerun_with_latest_version", false)?),
            None => None,
        };
        let evaluator = evaluator(config, &helper, Arc::clone(&store))?;
        let reports = EngineReports {
            runtime: tokio::runtime::Handle::current(),
            evaluator: evaluator.clone(),
            engine: handle.clone(),
            store: Arc::clone(&store),
            dags: dags.clone(),
            rerun_with_latest_version,
        };
        let mut options = WorkerOptions::here(log_folder);
        options.overtime = Duration::from_secs(config.get("core", "task_success_overtime", 20)?);
        let seconds: f64 = config.get("dag_processor", "dag_file_processor_timeout", 50.0)?;
        options.callback_timeout = Duration::try_from_secs_f64(seconds).unwrap_or(options.callback_timeout);
        let mask_rules = Arc::new(mask_rules(config)?);
        options.mask_rules = Arc::clone(&mask_rules);
        options.max_map_length = config.get("core", "max_map_length", 1024)?;
        options.clear_state_on_success = config.flag("state_store", "clear_on_success", false)?;
        options.secrets_backend =
            config.text("workers", "secrets_backend").or_else(|| config.text("secrets", "backend"));
        options.max_rendered_field = config.get("core", "max_templated_field_length", 4096)?;
        let (hostname, unixname) = (options.hostname.to_string(), options.unixname.to_string());
        let worker = Worker::new(options, host.clone(), helper.clone(), Arc::clone(&store), reports);
        let dispatch = WorkerDispatch {
            worker: worker.clone(),
            runtime: tokio::runtime::Handle::current(),
            shells: shells.runtime.clone(),
            engine: handle.clone(),
            evaluator: evaluator.clone(),
            store: Arc::clone(&store),
            pretend,
        };
        let scheduling = SchedulerConfig {
            parallelism: config.get("core", "parallelism", 32)?,
            partition_mapper_max_downstream_keys: config.get(
                "scheduler",
                "partition_mapper_max_downstream_keys",
                1000,
            )?,
        };
        let options = EngineOptions { config: scheduling, seed: random_seed()? };
        let engine = Engine::start(inbox, options, store, dags.clone(), dispatch)
            .context("the engine can't take up what the database has")?;
        Ok(Self {
            engine,
            worker,
            helper,
            evaluator,
            dags,
            mask_rules,
            hostname,
            unixname,
            _host: host,
            _shells: shells,
        })
    }

    /// Ends the engine when everything that it was told is dealt with, and all children.
    pub async fn stop(self) {
        let Self { engine, worker, helper, evaluator, dags, _host, _shells, .. } = self;
        drop((worker, helper, evaluator, dags));
        let joined = tokio::task::spawn_blocking(move || engine.join());
        if tokio::time::timeout(Duration::from_secs(5), joined).await.is_err() {
            tracing::warn!("the engine's loop did not end in time");
        }
        drop(_host);
        drop(_shells);
    }

    pub fn handle(&self) -> EngineHandle {
        self.engine.handle()
    }
}

/// The async runtime that everything runs on. Most of it waits.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Asks timetables of plugins, which may take as long as an import.
pub fn evaluator(config: &Config, helper: &Helper, store: Arc<dyn Store>) -> Result<Evaluator> {
    let seconds: f64 = config.get("core", "dagbag_import_timeout", 30.0)?;
    let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero()).unwrap_or(LONGEST_ANSWER);
    Ok(Evaluator::new(helper.clone(), import_answers(store), limit))
}

/// Answers for code that is imported: it is no task.
pub fn import_answers(store: Arc<dyn Store>) -> Arc<StoreAnswers> {
    Arc::new(StoreAnswers { store, masker: Masker::default(), own: None, max_map_length: u32::MAX })
}

pub fn start_host(home: &Home, lock: Option<&HomeLock>) -> Result<Host> {
    let program: OsString = std::env::current_exe().context("the program does not know where it is")?.into();
    let keep_open = lock.map(HomeLock::share).transpose()?;
    let env = [("AIRFLOW_HOME", home.path.as_os_str())];
    Host::start(&program, &[crate::HOST], &env, keep_open).context("the process that starts children can't be started")
}

/// What counts as a secret in logs.
pub fn mask_rules(config: &Config) -> Result<MaskRules> {
    let more = config.text("core", "sensitive_var_conn_names").unwrap_or_default();
    let more: Vec<String> = more.split(',').map(str::to_owned).collect();
    let by_name = config.flag("core", "hide_sensitive_var_conn_fields", true)?;
    Ok(MaskRules::new(by_name, &more, config.get("logging", "min_length_masked_secret", 5)?))
}

pub fn random_seed() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// What the Python helper needs to know of the deployment.
pub fn helper_options(home: &Home, interpreter: PathBuf, dags: &[PathBuf]) -> HelperOptions {
    let mut env = vec![("AIRFLOW_HOME".to_owned(), home.path.display().to_string())];
    if let [only] = dags {
        env.push(("AIRFLOW__CORE__DAGS_FOLDER".to_owned(), only.display().to_string()));
    } else if !dags.is_empty() {
        env.push(("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST".to_owned(), bundle_list(dags)));
        env.push(("AIRFLOW__CORE__DAGS_FOLDER".to_owned(), dags[0].display().to_string()));
    }
    if std::env::var_os("AIRFLOW__CORE__LOAD_EXAMPLES").is_none() {
        // Airflow's own default would bring a hundred Dags that nobody asked for.
        env.push(("AIRFLOW__CORE__LOAD_EXAMPLES".to_owned(), "False".to_owned()));
    }
    HelperOptions { interpreter, folder: home.helper(), env }
}

/// Several folders as Airflow's list of bundles. The first has the name that a single one would have.
fn bundle_list(dags: &[PathBuf]) -> String {
    let bundles: Vec<serde_json::Value> = dags
        .iter()
        .enumerate()
        .map(|(number, path)| {
            let name = if number == 0 { "dags-folder".to_owned() } else { format!("dags-folder-{}", number + 1) };
            serde_json::json!({
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": path},
            })
        })
        .collect();
    serde_json::Value::from(bundles).to_string()
}
