//! `updraft standalone`: everything in one process, Python helpers aside.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use importer::{IgnoreSyntax, Importer, ImporterOptions, Rules};
use python::import::ImportLimits;
use store::Store;
use store::sqlite::SqliteStore;
use tokio::net::TcpListener;

use crate::args::StandaloneArgs;
use crate::config::Config;
use crate::home::{Home, HomeLock};
use crate::python_env;
use crate::signals::Termination;
use crate::stack::{self, Stack};
use crate::web;

/// Private memory that importing one file may take.
pub const IMPORT_MEMORY: u64 = 4 << 30;
/// How long running tasks may go on when the process is asked to end.
const GRACE_SECONDS: u64 = 10;

pub fn run(args: StandaloneArgs) -> Result<ExitCode> {
    let home = Home::open(args.home.home.as_deref())?;
    let config = Config::load(&home.path)?;
    let mut lock = home.lock()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(serve(&args, &home, &config, &mut lock));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(args: &StandaloneArgs, home: &Home, config: &Config, lock: &mut HomeLock) -> Result<()> {
    let mut termination = Termination::listen()?;
    let listener = bind(args, config).await?;
    let url = url_of(listener.local_addr()?);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&home.database())?);
    let log_folder = config.text("logging", "base_log_folder").map_or_else(|| home.path.join("logs"), PathBuf::from);
    let dags = dags_folders(args, home, config)?;
    let stack = Stack::start(home, Some(lock), config, Arc::clone(&store), log_folder.clone())?;
    let state = web::state(home, config, &stack, Arc::clone(&store), log_folder.clone())?;
    let server = web::Server::start(listener, state.clone());
    lock.announce(&url)?;
    eprintln!("Updraft {} is ready at {url} (home {})", env!("CARGO_PKG_VERSION"), home.path.display());
    let importer = start_importer(&stack, &store, config, log_folder)?;
    state.watch_importer(importer.pulse());
    drop(state);
    let prepared = prepare_python(args, home, &stack, dags).await;
    if let Err(error) = &prepared {
        eprintln!("error: {error:#}");
        eprintln!("Tasks and Dag files that need Python wait until this is mended and Updraft is started again.");
    }
    let signal = termination.wait().await;
    eprintln!("{signal}: no new tasks; {} running tasks have {} s to finish", stack.worker.count(), GRACE_SECONDS);
    drop(importer);
    stack.engine.drain().await?;
    let grace = Duration::from_secs(GRACE_SECONDS);
    tokio::select! {
        () = stack.worker.drain(grace) => {}
        _ = termination.wait() => stack.worker.drain(Duration::ZERO).await,
    }
    server.stop().await;
    stack.stop().await;
    eprintln!("Updraft has ended");
    Ok(())
}

async fn bind(args: &StandaloneArgs, config: &Config) -> Result<TcpListener> {
    let host = args.host.clone().or_else(|| config.text("api", "host")).unwrap_or_else(|| "127.0.0.1".into());
    let port = match args.port {
        Some(port) => port,
        None => config.get("api", "port", 8080)?,
    };
    TcpListener::bind((host.as_str(), port)).await.with_context(|| {
        format!("{host}:{port} can't be listened on: another program may have the port; give another with --port PORT")
    })
}

fn url_of(address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// The folders that were asked for; an empty list leaves them to Airflow's own configuration of bundles.
fn dags_folders(args: &StandaloneArgs, home: &Home, config: &Config) -> Result<Vec<PathBuf>> {
    if !args.dags.is_empty() {
        let absolute = |path: &PathBuf| {
            let found =
                path.canonicalize().with_context(|| format!("the Dags folder {} can't be read", path.display()))?;
            if found.is_dir() { Ok(found) } else { bail!("{} is no folder of Dag files", path.display()) }
        };
        return args.dags.iter().map(absolute).collect();
    }
    if config.text("dag_processor", "dag_bundle_config_list").is_some() {
        return Ok(Vec::new());
    }
    let folder = config.text("core", "dags_folder").map_or_else(|| home.path.join("dags"), PathBuf::from);
    std::fs::create_dir_all(&folder).with_context(|| format!("the Dags folder {} can't be made", folder.display()))?;
    Ok(vec![folder])
}

fn start_importer(stack: &Stack, store: &Arc<dyn Store>, config: &Config, log_folder: PathBuf) -> Result<Importer> {
    let syntax = match config.text("core", "dag_ignore_file_syntax").as_deref() {
        None | Some("glob") => IgnoreSyntax::Glob,
        Some("regexp") => IgnoreSyntax::Regexp,
        Some(other) => bail!("[core] dag_ignore_file_syntax is {other:?}: it must be glob or regexp"),
    };
    let options = ImporterOptions {
        rules: Rules { syntax, safe_mode: config.flag("core", "dag_discovery_safe_mode", true)? },
        limits: ImportLimits {
            timeout: Duration::from_secs(config.get("dag_processor", "dag_file_processor_timeout", 50)?),
            memory: IMPORT_MEMORY,
        },
        concurrency: config.get::<usize>("dag_processor", "parsing_processes", 2)?.max(1),
        log_folder,
        paused_at_creation: config.flag("core", "dags_are_paused_at_creation", true)?,
        scan_interval: Duration::from_secs(config.get::<u64>("dag_processor", "refresh_interval", 300)?.clamp(5, 300)),
    };
    let answers = stack::import_answers(Arc::clone(store));
    Ok(Importer::start(options, Arc::clone(store), stack.handle(), stack.helper.clone(), answers))
}

async fn prepare_python(args: &StandaloneArgs, home: &Home, stack: &Stack, dags: Vec<PathBuf>) -> Result<()> {
    let python = python_env::find(args.python.as_deref(), home).await?;
    stack.helper.configure(stack::helper_options(home, python.path, &dags));
    Ok(())
}
