//! What each command does. Commands read the database; what changes the scheduler's state goes through the server that
//! runs on the home, or through the engine's own step if there is none.

mod assets;
mod backfill;
mod clear;
mod config;
mod connections;
mod dags;
mod db;
mod info;
mod mark;
mod pools;
mod rotate;
mod runs;
mod state_store;
mod tasks;
mod users;
mod variables;

pub use dags::structure;
pub use runs::{conf, find as find_run};

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use cli::Row;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::DagId;
use store::memory::MemoryStore;
use store::sqlite::{self, SqliteStore};
use store::{DagFilter, DagRecord, Page, Store};

use crate::args::{Args, Command, FolderArgs, Output, Shell};
use crate::config::Config;
use crate::folder;
use crate::home::{Access, Home};
use crate::output;
use crate::remote::{NoAnswer, Remote};
use crate::{keys, local, standalone, token};

/// How long to wait for a server that has the home and does not answer: it is about to begin or to end.
const SERVER_WAIT: Duration = Duration::from_secs(15);

/// The command line was not understood; the exit code says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// What every command works with.
pub struct Context {
    pub home: Home,
    pub config: Config,
}

pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        // These need no home.
        Command::Version => return output::print_line(env!("CARGO_PKG_VERSION")).map(|()| ExitCode::SUCCESS),
        Command::Completion { shell } => return complete(shell),
        _ => {}
    }
    let home = Home::open(args.home.as_deref())?;
    let config = Config::load(&home.path)?;
    let context = Context { home, config };
    match args.command {
        Command::Standalone(args) => standalone::run(&context, &args),
        Command::Dags(command) => dags::run(&context, command),
        Command::Assets(command) => assets::run(&context, command),
        Command::Backfill(command) => backfill::run(&context, command),
        Command::Tasks(command) => tasks::run(&context, command),
        Command::StateStore(command) => state_store::run(&context, &command).map(|()| ExitCode::SUCCESS),
        Command::Variables(command) => variables::run(&context, command).map(|()| ExitCode::SUCCESS),
        Command::Connections(command) => connections::run(&context, command),
        Command::Pools(command) => pools::run(&context, command).map(|()| ExitCode::SUCCESS),
        Command::Users(command) => users::run(&context, command).map(|()| ExitCode::SUCCESS),
        Command::Db(command) => db::run(&context, command),
        Command::Config(command) => config::run(&context, command).map(|()| ExitCode::SUCCESS),
        Command::RotateFernetKey => rotate::run(&context).map(|()| ExitCode::SUCCESS),
        Command::Info(args) => info::run(&context, args).map(|()| ExitCode::SUCCESS),
        Command::Version | Command::Completion { .. } => Ok(ExitCode::SUCCESS),
    }
}

fn complete(shell: Shell) -> Result<ExitCode> {
    use clap::CommandFactory;
    use clap_complete::Shell as Script;
    let shell = match shell {
        Shell::Bash => Script::Bash,
        Shell::Zsh => Script::Zsh,
        Shell::Fish => Script::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "updraft", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

impl Context {
    /// The database, made if it is not there. Its schema is brought up to date, unless a server uses it.
    pub fn open(&self) -> Result<Arc<dyn Store>> {
        let path = self.home.database();
        let lock = match sqlite::schema_version(&path)? {
            Some(version) if version >= sqlite::SCHEMA_VERSION => None,
            _ => match self.home.access()? {
                Access::Alone(lock) => Some(lock),
                Access::Server(server) => bail!(
                    "the server at {} (process {}) is of another version than this program: start it again with this one",
                    server.url,
                    server.pid
                ),
            },
        };
        let store = self.sqlite()?;
        drop(lock);
        Ok(Arc::new(store))
    }

    /// The database, with the keys of the deployment.
    pub fn sqlite(&self) -> Result<SqliteStore> {
        Ok(SqliteStore::open_with(&self.home.database(), keys::fernet_keys(&self.home, &self.config)?)?)
    }

    /// The database to read from; where there is none yet, an empty one in memory.
    pub fn reader(&self) -> Result<Arc<dyn Store>> {
        if self.home.database().exists() { self.open() } else { Ok(Arc::new(MemoryStore::new())) }
    }

    /// The database to read Dags from. If there is none yet, the Dags folder is imported first.
    pub fn dags(&self, args: &FolderArgs) -> Result<Arc<dyn Store>> {
        if !self.home.database().exists() {
            self.import(args, &[])?;
        }
        self.reader()
    }

    /// Imports the Dags folder into the database, or some of its bundles, unless a server does.
    pub fn import(&self, args: &FolderArgs, only: &[String]) -> Result<usize> {
        match self.home.access()? {
            Access::Alone(lock) => {
                let open = || Ok(Arc::new(self.sqlite()?) as Arc<dyn Store>);
                let files = folder::import_once(&self.home, Some(&lock), &self.config, args, only, open)?;
                local::plan(&open()?)?;
                Ok(files)
            }
            Access::Server(server) => {
                say!("The server at {} (process {}) imports what changes by itself", server.url, server.pid);
                Ok(0)
            }
        }
    }

    /// Changes something: alone, with a lock on the home, or through the server that runs on it. What is asked of a
    /// server that ends meanwhile is asked again.
    pub fn change<T>(
        &self,
        alone: impl FnOnce(&Arc<dyn Store>) -> Result<T>,
        through: impl Fn(&Remote) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            let server = match self.home.access()? {
                Access::Alone(_lock) => {
                    let store: Arc<dyn Store> = Arc::new(self.sqlite()?);
                    return alone(&store);
                }
                Access::Server(server) => server,
            };
            let remote = Remote::new(server, token::token(&self.home, &self.config)?);
            match through(&remote) {
                Err(error) if error.is::<NoAnswer>() && start.elapsed() < SERVER_WAIT => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) if error.is::<NoAnswer>() => {
                    let home = self.home.path.display();
                    return Err(error.context(format!("a server has the home {home}: see what it says, or stop it")));
                }
                result => return result,
            }
        }
    }

    /// A date as people write it: a day, or a moment with or without its offset. Without one it is in
    /// `[core] default_timezone`.
    pub fn date(&self, text: &str) -> Result<Timestamp> {
        self.date_or_none(text)?.ok_or_else(|| {
            Usage(format!("{text:?} is no date: write it like 2026-01-31 or 2026-01-31T12:00:00+00:00")).into()
        })
    }

    /// As [`Self::date`], for a text that may be something else.
    pub fn date_or_none(&self, text: &str) -> Result<Option<Timestamp>> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(Some(moment));
        }
        let civil = text.parse::<jiff::civil::DateTime>();
        let Ok(civil) = civil.or_else(|_| text.parse::<jiff::civil::Date>().map(|day| day.at(0, 0, 0, 0))) else {
            return Ok(None);
        };
        let name = self.config.text("core", "default_timezone").unwrap_or_else(|| "utc".into());
        let zone = match name.to_lowercase().as_str() {
            "utc" => TimeZone::UTC,
            "system" => TimeZone::system(),
            _ => TimeZone::get(&name)
                .map_err(|_| anyhow!("[core] default_timezone is {name:?}, which is no time zone"))?,
        };
        Ok(Some(zone.to_timestamp(civil)?))
    }
}

impl FolderArgs {
    /// For a command without options for the Dags folder: as the environment has it.
    pub fn of_environment() -> Self {
        Self { dags: Vec::new(), python: std::env::var_os("UPDRAFT_PYTHON").map(Into::into) }
    }
}

/// The Dag of that id, or an error that says what may have been meant.
fn dag(store: &dyn Store, dag_id: &str) -> Result<DagRecord> {
    let found = store.dag(&DagId::from(dag_id))?.filter(|record| !record.stale);
    match found {
        Some(record) => Ok(record),
        None => Err(unknown_dag(store, dag_id)?),
    }
}

fn unknown_dag(store: &dyn Store, dag_id: &str) -> Result<anyhow::Error> {
    let filter = DagFilter { exclude_stale: true, ..DagFilter::default() };
    let dags = store.dags(&filter, &[], Page::ALL)?.0;
    if dags.is_empty() {
        return Ok(anyhow!("there is no Dag {dag_id:?}: {NOTHING_IMPORTED}"));
    }
    let hint = meant(dag_id, dags.iter().map(|record| record.dag_id.as_str()));
    Ok(anyhow!("there is no Dag {dag_id:?}{hint} (updraft dags list shows all)"))
}

const NOTHING_IMPORTED: &str = "no Dags have been imported into this home yet. A server (updraft standalone) imports \
                                them, and so does updraft dags reserialize";

/// "; did you mean …?", or nothing.
pub fn meant<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match cli::near(wanted, names).as_slice() {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(", ")),
    }
}

fn show(rows: &[Row], output: Output) -> Result<()> {
    output::print(&cli::render(rows, output.into()))
}

/// Writes a file that was asked for; `-` is the standard output. What was done is said on stderr.
fn export(file: &Path, text: &str, what: &str) -> Result<()> {
    if file == Path::new("-") {
        output::print(&if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") })?;
        say!("{what} successfully exported");
        return Ok(());
    }
    std::fs::write(file, text).map_err(|error| anyhow!("{} can't be written: {error}", file.display()))?;
    say!("{what} successfully exported to {}", file.display());
    Ok(())
}
