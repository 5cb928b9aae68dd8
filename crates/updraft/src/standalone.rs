//! `updraft standalone`: everything in one process, Python helpers aside.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api::ApiState;
use store::Store;
use store::sqlite::SqliteStore;
use tokio::net::TcpListener;

use crate::args::StandaloneArgs;
use crate::commands::Context;
use crate::config::Config;
use crate::folder;
use crate::home::{Home, HomeLock};
use crate::keys;
use crate::python_env;
use crate::signals::Termination;
use crate::stack::{self, Stack};
use crate::web;

/// How long running tasks may go on when the process is asked to end.
const GRACE_SECONDS: u64 = 10;

pub fn run(context: &Context, args: &StandaloneArgs) -> Result<ExitCode> {
    let mut lock = context.home.lock()?;
    let runtime = stack::runtime()?;
    let result = runtime.block_on(serve(args, &context.home, &context.config, &mut lock));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(args: &StandaloneArgs, home: &Home, config: &Config, lock: &mut HomeLock) -> Result<()> {
    let mut termination = Termination::listen()?;
    let listener = bind(args, config).await?;
    let url = url_of(listener.local_addr()?);
    let sqlite = Arc::new(SqliteStore::open_with(&home.database(), keys::fernet_keys(home, config)?)?);
    let store: Arc<dyn Store> = Arc::<SqliteStore>::clone(&sqlite);
    let log_folder = folder::log_folder(home, config);
    let dags = folder::folders(&args.folder, home, config)?;
    let stack = Stack::start(home, Some(lock), config, Arc::clone(&store), log_folder.clone(), None)?;
    let state = web::state(home, config, &stack, Arc::clone(&store), log_folder)?;
    state.ask_plugins_through(stack.evaluator.clone());
    let server = web::Server::start(listener, state.clone());
    lock.announce(&url)?;
    say!("Updraft {} is ready at {url} (home {})", env!("CARGO_PKG_VERSION"), home.path.display());
    let importer = folder::start_importer(home, config, &store, stack.handle(), stack.helper.clone(), &[])?;
    state.watch_importer(importer.pulse(), importer.again());
    // Once per start, beside everything else: it reads all variables and connections.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = keys::look_after(&sqlite) {
            tracing::error!("what the database holds of secrets can't be looked at: {error:#}");
        }
    });
    let prepared = prepare_python(args, home, &stack, dags, state).await;
    if let Err(error) = &prepared {
        say!("error: {error:#}");
        say!("Tasks and Dag files that need Python wait until this is mended and Updraft is started again.");
    }
    let signal = termination.wait().await;
    say!("{signal}: no new tasks; {} running tasks have {} s to finish", stack.worker.count(), GRACE_SECONDS);
    drop(importer);
    stack.engine.drain().await?;
    let grace = Duration::from_secs(GRACE_SECONDS);
    tokio::select! {
        () = stack.worker.drain(grace) => {}
        _ = termination.wait() => stack.worker.drain(Duration::ZERO).await,
    }
    server.stop().await;
    stack.stop().await;
    say!("Updraft has ended");
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

async fn prepare_python(
    args: &StandaloneArgs,
    home: &Home,
    stack: &Stack,
    dags: Vec<PathBuf>,
    state: ApiState,
) -> Result<()> {
    let python = python_env::find(args.folder.python.as_deref(), home).await?;
    if let Some(airflow) = python.airflow {
        state.serve_pages(airflow);
    }
    stack.helper.configure(stack::helper_options(home, python.path, &dags));
    Ok(())
}
