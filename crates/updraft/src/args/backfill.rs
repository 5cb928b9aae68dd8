//! `updraft backfill`.

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

#[derive(Subcommand, Debug)]
pub enum BackfillCommand {
    /// Make a backfill: runs for dates of a Dag's timetable.
    Create(CreateBackfillArgs),
    /// List the backfills of a Dag.
    List {
        /// The Dag.
        #[arg(long)]
        dag_id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Begin no more runs of a backfill.
    Pause { backfill_id: i64 },
    /// Let a paused backfill go on.
    Unpause { backfill_id: i64 },
    /// End a backfill: what has not begun has failed.
    Cancel { backfill_id: i64 },
}

#[derive(Args, Debug)]
pub struct CreateBackfillArgs {
    /// The Dag to backfill.
    #[arg(long)]
    pub dag_id: String,
    /// The first logical date.
    #[arg(long, value_name = "DATE")]
    pub from_date: String,
    /// The last logical date.
    #[arg(long, value_name = "DATE")]
    pub to_date: String,
    /// The configuration of its runs, a JSON object.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub dag_run_conf: Option<String>,
    /// Run the latest date first.
    #[arg(long)]
    pub run_backwards: bool,
    /// How many of its runs may be running at once [default: 10].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_active_runs: Option<u32>,
    /// What becomes of dates that have a run [default: none].
    #[arg(long, value_enum, value_name = "BEHAVIOR")]
    pub reprocess_behavior: Option<Behavior>,
    /// Runs that are run again go on with the newest version of the Dag.
    #[arg(long, overrides_with = "no_run_on_latest_version")]
    pub run_on_latest_version: bool,
    /// They go on with the version that they had.
    #[arg(long)]
    pub no_run_on_latest_version: bool,
    /// Only show the dates.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Behavior {
    None,
    Completed,
    Failed,
}
