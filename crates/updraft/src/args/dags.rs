//! `updraft dags`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{FolderArgs, Output, OutputArgs};

#[derive(Subcommand, Debug)]
pub enum DagsCommand {
    /// List all Dags.
    List(ListArgs),
    /// List Dag files that can't be imported; exits with 1 if there are any.
    ListImportErrors(ListErrorsArgs),
    /// List the runs of a Dag, the newest first.
    ListRuns(ListRunsArgs),
    /// Show everything that is known of a Dag.
    Details {
        dag_id: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make a run of a Dag. While the Dag is paused, the run stays queued.
    Trigger(TriggerArgs),
    /// Let no new tasks of a Dag start.
    Pause(PauseArgs),
    /// Let a paused Dag go on.
    Unpause(PauseArgs),
    /// Delete a Dag with all its runs. If its file is still there, the Dag comes back without them.
    Delete {
        dag_id: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Show the state of a run, and its configuration if it has one.
    State {
        dag_id: String,
        #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
        run: String,
    },
    /// End a run in a state, or put it back into the queue.
    Mark {
        dag_id: String,
        #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
        run: String,
        #[arg(value_parser = ["success", "failed", "queued"])]
        state: String,
    },
    /// Write a note about a run.
    Note {
        dag_id: String,
        #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
        run: String,
        /// An empty one takes the note away.
        #[arg(value_name = "TEXT", value_parser = super::note)]
        note: String,
    },
    /// Run one Dag to its end in the foreground, without a server.
    Test(TestArgs),
    /// Print a Dag's tasks and their dependencies as a graph in the DOT language.
    Show { dag_id: String },
    /// Import the Dags folder into the database now, without a server.
    Reserialize(ReserializeArgs),
}

#[derive(Args, Debug)]
pub struct ReserializeArgs {
    /// Only this bundle; may be given several times.
    #[arg(short = 'B', long, value_name = "NAME")]
    pub bundle_name: Vec<String>,
    #[command(flatten)]
    pub folder: FolderArgs,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Columns to show, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "dag_id,fileloc,owners,is_paused,bundle_name,bundle_version",
        hide_default_value = true
    )]
    pub columns: Vec<String>,
    /// Only Dags of this bundle; may be given several times.
    #[arg(short = 'B', long, value_name = "NAME")]
    pub bundle_name: Vec<String>,
    /// Import the Dags folder now, and leave the database alone.
    #[arg(short, long)]
    pub local: bool,
    #[command(flatten)]
    pub folder: FolderArgs,
}

#[derive(Args, Debug)]
pub struct ListErrorsArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Only errors of this bundle; may be given several times.
    #[arg(short = 'B', long, value_name = "NAME")]
    pub bundle_name: Vec<String>,
    /// Import the Dags folder now, and leave the database alone.
    #[arg(short, long)]
    pub local: bool,
    #[command(flatten)]
    pub folder: FolderArgs,
}

#[derive(Args, Debug)]
pub struct ListRunsArgs {
    pub dag_id: String,
    /// Only runs in this state.
    #[arg(long, value_parser = ["queued", "running", "success", "failed"])]
    pub state: Option<String>,
    /// Leave out runs of backfills.
    #[arg(long)]
    pub no_backfill: bool,
    /// Only runs with this logical date or a later one.
    #[arg(short, long, value_name = "DATE")]
    pub start_date: Option<String>,
    /// Only runs with this logical date or an earlier one.
    #[arg(short, long, value_name = "DATE")]
    pub end_date: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct TriggerArgs {
    pub dag_id: String,
    /// The id of the run [default: made from the date].
    #[arg(short, long, value_name = "ID")]
    pub run_id: Option<String>,
    /// The run's configuration, a JSON object.
    #[arg(short, long, value_name = "JSON", allow_hyphen_values = true)]
    pub conf: Option<String>,
    /// The logical date of the run [default: none].
    #[arg(short, long, short_alias = 'e', alias = "exec-date", value_name = "DATE")]
    pub logical_date: Option<String>,
    /// The run does not begin before this moment [default: now].
    #[arg(long, value_name = "DATE")]
    pub run_after: Option<String>,
    /// A note that is shown with the run.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Keep the microseconds of the logical date.
    #[arg(long)]
    pub no_replace_microseconds: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct PauseArgs {
    pub dag_id: String,
    /// Take all Dags whose id matches DAG_ID as a regular expression.
    #[arg(long)]
    pub treat_dag_id_as_regex: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct TestArgs {
    /// A Dag file, or the id of a Dag in the Dags folder.
    #[arg(value_name = "FILE_OR_ID")]
    pub target: String,
    /// The logical date of the run [default: now].
    #[arg(value_name = "LOGICAL_DATE")]
    pub logical_date: Option<String>,
    /// The file that the Dag is in.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub dagfile_path: Option<PathBuf>,
    /// Which Dag of a file that has several.
    #[arg(long, value_name = "ID")]
    pub dag_id: Option<String>,
    /// The run's configuration, a JSON object.
    #[arg(short, long, value_name = "JSON", allow_hyphen_values = true)]
    pub conf: Option<String>,
    /// Do not run tasks whose id matches this regular expression: they succeed at once.
    #[arg(long, value_name = "REGEX")]
    pub mark_success_pattern: Option<String>,
    /// Accepted for Airflow's sake: tasks always run as the engine runs them.
    #[arg(long)]
    pub use_executor: bool,
    #[command(flatten)]
    pub folder: FolderArgs,
    /// What to print: a live view for people, plain lines, or one document for programs.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}
