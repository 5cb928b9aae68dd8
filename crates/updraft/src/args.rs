//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Airflow pipelines on a Rust engine.
#[derive(Parser, Debug)]
#[command(name = "updraft", version, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    /// Say more; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run everything in one process: scheduler, Dag import, workers, API.
    Standalone(StandaloneArgs),
    /// Dags: list, trigger, test, pause and more.
    #[command(subcommand)]
    Dags(DagsCommand),
}

#[derive(Subcommand, Debug)]
pub enum DagsCommand {
    /// Run one Dag to its end in the foreground, without a server.
    Test(TestArgs),
}

#[derive(clap::Args, Debug)]
pub struct TestArgs {
    #[command(flatten)]
    pub home: HomeArgs,
    /// A Dag file, or the id of a Dag in the Dags folder.
    #[arg(value_name = "FILE_OR_ID")]
    pub target: String,
    /// The logical date of the run [default: none].
    #[arg(value_name = "LOGICAL_DATE")]
    pub logical_date: Option<String>,
    /// Which Dag of a file that has several.
    #[arg(long, value_name = "ID")]
    pub dag_id: Option<String>,
    /// The run's configuration, a JSON object.
    #[arg(short, long, value_name = "JSON")]
    pub conf: Option<String>,
    /// A folder of Dag files to look for the id in; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub dags: Vec<PathBuf>,
    /// A Python interpreter or virtual environment with the Task SDK [default: one is made in the home].
    #[arg(long, value_name = "PATH", env = "UPDRAFT_PYTHON")]
    pub python: Option<PathBuf>,
    /// What to print: a live view for people, or one JSON document for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    #[default]
    Table,
    Plain,
    Json,
    Yaml,
}

#[derive(clap::Args, Debug, Clone)]
pub struct HomeArgs {
    /// Where the database, logs and settings are kept [default: $AIRFLOW_HOME or ~/airflow].
    #[arg(long, value_name = "DIR", global = true)]
    pub home: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub struct StandaloneArgs {
    #[command(flatten)]
    pub home: HomeArgs,
    /// A folder of Dag files; may be given several times [default: [core] dags_folder, or dags in the home].
    #[arg(long, value_name = "DIR")]
    pub dags: Vec<PathBuf>,
    /// The address to listen on [default: [api] host, or 127.0.0.1].
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The port to listen on [default: [api] port, or 8080].
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// A Python interpreter or virtual environment with the Task SDK [default: one is made in the home].
    #[arg(long, value_name = "PATH", env = "UPDRAFT_PYTHON")]
    pub python: Option<PathBuf>,
}
