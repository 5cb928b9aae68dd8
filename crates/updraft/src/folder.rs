//! The Dags folder: where it is, and how it is imported.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::{Engine, EngineHandle};
use importer::{IgnoreSyntax, Importer, ImporterOptions, Rules};
use python::Helper;
use python::import::ImportLimits;
use store::Store;

use crate::args::FolderArgs;
use crate::bundle_list;
use crate::config::Config;
use crate::home::{Home, HomeLock};
use crate::python_env;
use crate::signals::Termination;
use crate::stack;

/// Private memory that importing one file may take: this much, and never more than half of what the machine has.
const IMPORT_MEMORY: u64 = 4 << 30;

/// The folders that were asked for; an empty list leaves them to Airflow's own configuration of bundles.
pub fn folders(args: &FolderArgs, home: &Home, config: &Config) -> Result<Vec<PathBuf>> {
    if !args.dags.is_empty() {
        let absolute = |path: &PathBuf| {
            let found =
                path.canonicalize().with_context(|| format!("the Dags folder {} can't be read", path.display()))?;
            if found.is_dir() { Ok(found) } else { bail!("{} is no folder of Dag files", path.display()) }
        };
        return args.dags.iter().map(absolute).collect();
    }
    if bundle_list::is_given(config)? {
        return Ok(Vec::new());
    }
    let folder = config.text("core", "dags_folder").map_or_else(|| home.path.join("dags"), PathBuf::from);
    std::fs::create_dir_all(&folder).with_context(|| format!("the Dags folder {} can't be made", folder.display()))?;
    Ok(vec![folder])
}

/// The folders as far as they are there, without a complaint about what is not.
pub fn existing(args: &FolderArgs, home: &Home, config: &Config) -> Vec<PathBuf> {
    let configured = || config.text("core", "dags_folder").map_or_else(|| home.path.join("dags"), PathBuf::from);
    let asked = if args.dags.is_empty() { vec![configured()] } else { args.dags.clone() };
    asked.iter().filter_map(|folder| folder.canonicalize().ok()).collect()
}

pub fn log_folder(home: &Home, config: &Config) -> PathBuf {
    config.text("logging", "base_log_folder").map_or_else(|| home.path.join("logs"), PathBuf::from)
}

pub fn rules(config: &Config) -> Result<Rules> {
    let syntax = match config.text("core", "dag_ignore_file_syntax").as_deref() {
        None | Some("glob") => IgnoreSyntax::Glob,
        Some("regexp") => IgnoreSyntax::Regexp,
        Some(other) => bail!("[core] dag_ignore_file_syntax is {other:?}: it must be glob or regexp"),
    };
    Ok(Rules { syntax, safe_mode: config.flag("core", "dag_discovery_safe_mode", true)? })
}

pub fn limits(config: &Config) -> Result<ImportLimits> {
    let timeout = Duration::from_secs(config.get("dag_processor", "dag_file_processor_timeout", 50)?);
    Ok(ImportLimits { timeout, memory: machine_memory().map_or(IMPORT_MEMORY, |all| IMPORT_MEMORY.min(all / 2)) })
}

/// An importer that keeps the store in step with the folders.
pub fn start_importer(
    home: &Home,
    config: &Config,
    store: &Arc<dyn Store>,
    engine: EngineHandle,
    helper: Helper,
    only: &[String],
) -> Result<Importer> {
    let options = ImporterOptions {
        rules: rules(config)?,
        limits: limits(config)?,
        concurrency: config.get::<usize>("dag_processor", "parsing_processes", 2)?.max(1),
        log_folder: log_folder(home, config),
        paused_at_creation: config.flag("core", "dags_are_paused_at_creation", true)?,
        scan_interval: Duration::from_secs(config.get::<u64>("dag_processor", "refresh_interval", 300)?.clamp(5, 300)),
        check_interval: Duration::from_secs(
            config.get::<u64>("dag_processor", "bundle_refresh_check_interval", 5)?.max(1),
        ),
        clean_interval: Some(config.get::<u64>("dag_processor", "stale_bundle_cleanup_interval", 1800)?)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        only: only.to_vec(),
    };
    let answers = stack::import_answers(Arc::clone(store));
    Ok(Importer::start(options, Arc::clone(store), engine, helper, answers))
}

/// Imports every file that has changed, in all bundles or in those that are named, and returns how many files there are. The
/// store is opened when all that the import needs is there.
pub fn import_once(
    home: &Home,
    lock: Option<&HomeLock>,
    config: &Config,
    args: &FolderArgs,
    only: &[String],
    open: impl FnOnce() -> Result<Arc<dyn Store>>,
) -> Result<usize> {
    let folders = folders(args, home, config)?;
    let runtime = stack::runtime()?;
    let result = runtime.block_on(async {
        let mut termination = Termination::listen()?;
        tokio::select! {
            result = import(home, lock, config, args, (only, open), folders) => result,
            signal = termination.wait() => bail!("stopped by {signal}"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn import(
    home: &Home,
    lock: Option<&HomeLock>,
    config: &Config,
    args: &FolderArgs,
    (only, open): (&[String], impl FnOnce() -> Result<Arc<dyn Store>>),
    folders: Vec<PathBuf>,
) -> Result<usize> {
    let python = python_env::find(args.python.as_deref(), home).await?;
    let host = stack::start_host(home, lock)?;
    let helper = Helper::new(host.clone());
    helper.configure(stack::helper_options(home, python.path.clone(), &folders));
    // Says what is wrong with the packages, for which an importer would wait.
    let info =
        helper.server().await?.ready().await.with_context(|| format!("{} can't be used", python.path.display()))?;
    let names: Vec<&str> = info.bundles.iter().map(|bundle| &*bundle.name).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no bundle {unknown}; there are {}", names.join(", "));
    }
    // There is no engine; whichever runs next finds in the store what was imported.
    let (engine, _) = Engine::channel();
    let importer = start_importer(home, config, &open()?, engine, helper, only)?;
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    say!("Importing {}", if names.is_empty() { "the bundles".to_owned() } else { names.join(", ") });
    importer.settled().await;
    let files = importer.progress().borrow().files;
    Ok(files)
}

/// The machine's memory in bytes; `None` where the system does not say.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
