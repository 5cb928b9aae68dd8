//! The command line: Airflow's verbs, arguments and options.

mod assets;
mod backfill;
mod dags;
mod settings;
mod tasks;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use cli::Format;

pub use assets::{AssetDetailsArgs, AssetsCommand, ListAssetsArgs, MaterializeArgs};
pub use backfill::{BackfillCommand, Behavior, CreateBackfillArgs};
pub use dags::{DagsCommand, ListArgs, ListErrorsArgs, ListRunsArgs, PauseArgs, TestArgs, TriggerArgs};
pub use settings::{
    AddConnectionArgs, ConnectionsCommand, ExportConnectionsArgs, ImportConnectionsArgs, ImportVariablesArgs,
    OnExisting, PoolsCommand, SetPoolArgs, SetVariableArgs, UsersCommand, ValuesArgs, VariablesCommand,
};
pub use tasks::{TaskClearArgs, TaskMarkArgs, TaskNoteArgs, TaskStateArgs, TaskTestArgs, TasksCommand};

/// Airflow pipelines on a Rust engine.
#[derive(Parser, Debug)]
#[command(name = "updraft", version, arg_required_else_help = true, max_term_width = 120)]
pub struct Args {
    /// Say more; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Global options")]
    pub verbose: u8,
    /// Where the database, logs and settings are kept [default: $AIRFLOW_HOME or ~/airflow].
    #[arg(long, value_name = "DIR", global = true, help_heading = "Global options")]
    pub home: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run everything in one process: scheduler, Dag import, workers, API.
    Standalone(StandaloneArgs),
    /// List, trigger, test and pause Dags.
    #[command(subcommand)]
    Dags(DagsCommand),
    /// List assets, and make them.
    #[command(subcommand)]
    Assets(AssetsCommand),
    /// Make backfills, and look after them.
    #[command(subcommand)]
    Backfill(BackfillCommand),
    /// List and test tasks, and see how they stand.
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Look after what tasks keep for their later tries.
    #[command(subcommand)]
    StateStore(StateStoreCommand),
    /// Read and write variables.
    #[command(subcommand)]
    Variables(VariablesCommand),
    /// Read and write connections.
    #[command(subcommand)]
    Connections(ConnectionsCommand),
    /// Read and write pools.
    #[command(subcommand)]
    Pools(PoolsCommand),
    /// See who may log in, and reset passwords.
    #[command(subcommand)]
    Users(UsersCommand),
    /// Look after the database.
    #[command(subcommand)]
    Db(DbCommand),
    /// Read the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Encrypt all secrets of the database with the first key of [core] fernet_key.
    RotateFernetKey,
    /// Show what this installation is made of.
    Info(OutputArgs),
    /// Show the version.
    Version,
    /// Print a script that completes commands in a shell.
    Completion {
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Subcommand, Debug)]
pub enum StateStoreCommand {
    /// Delete what was to be kept until now.
    Clean {
        /// Only say what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
}

/// The longest note, in characters.
const MAX_NOTE: usize = 1000;

/// A note that is not too long.
fn note(text: &str) -> Result<String, String> {
    match text.chars().count() {
        0..=MAX_NOTE => Ok(text.to_owned()),
        long => Err(format!("a note has at most {MAX_NOTE} characters, this one {long}")),
    }
}

#[derive(Subcommand, Debug)]
pub enum DbCommand {
    /// Bring the database to this version's schema; make it if there is none.
    Migrate,
    /// Check whether the database can be read.
    Check,
    /// Check whether the database has this version's schema.
    CheckMigrations,
    /// Delete everything that the database holds, and make an empty one.
    Reset {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Print one value.
    GetValue { section: String, option: String },
    /// List what can be set, and what is.
    List {
        /// Only this section.
        #[arg(long)]
        section: Option<String>,
        /// Show values, secrets included.
        #[arg(long)]
        show_values: bool,
    },
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// How to print.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct OutputArgs {
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    #[default]
    Table,
    Json,
    Yaml,
    Plain,
}

impl From<Output> for Format {
    fn from(output: Output) -> Self {
        match output {
            Output::Table => Format::Table,
            Output::Json => Format::Json,
            Output::Yaml => Format::Yaml,
            Output::Plain => Format::Plain,
        }
    }
}

/// Where Dag files are, and what imports them.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct FolderArgs {
    /// A folder of Dag files; may be given several times [default: [core] dags_folder, or dags in the home].
    #[arg(long, value_name = "DIR")]
    pub dags: Vec<PathBuf>,
    /// A Python interpreter or virtual environment with the Task SDK [default: one is made in the home].
    #[arg(long, value_name = "PATH", env = "UPDRAFT_PYTHON", hide_env_values = true)]
    pub python: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub struct StandaloneArgs {
    #[command(flatten)]
    pub folder: FolderArgs,
    /// The address to listen on [default: [api] host, or 127.0.0.1].
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The port to listen on [default: [api] port, or 8080].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}
