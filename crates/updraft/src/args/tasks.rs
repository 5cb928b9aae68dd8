//! `updraft tasks`.

use clap::{Args, Subcommand};

use super::{FolderArgs, OutputArgs};

#[derive(Subcommand, Debug)]
pub enum TasksCommand {
    /// List the tasks of a Dag.
    List {
        dag_id: String,
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Run one task without what it depends on, and without recording anything.
    Test(TaskTestArgs),
    /// Have task instances run again, as if they never ran.
    Clear(TaskClearArgs),
    /// Give a task instance a state; what failed below it because of its own runs again.
    Mark(TaskMarkArgs),
    /// Write a note about a task instance.
    Note(TaskNoteArgs),
    /// Show the state of a task instance.
    State(TaskStateArgs),
    /// Show the states of all task instances of a run.
    StatesForDagRun {
        dag_id: String,
        #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
        run: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Args, Debug)]
pub struct TaskClearArgs {
    pub dag_id: String,
    /// Only tasks whose id has this text in it.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub task_regex: Option<String>,
    /// Only runs whose logical date is not before this one.
    #[arg(short, long, value_name = "DATE")]
    pub start_date: Option<String>,
    /// Only runs whose logical date is not after this one.
    #[arg(short, long, value_name = "DATE")]
    pub end_date: Option<String>,
    /// Also what is above the tasks.
    #[arg(short, long, requires = "task_regex")]
    pub upstream: bool,
    /// Also what is below the tasks.
    #[arg(short, long, requires = "task_regex")]
    pub downstream: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Only what has failed.
    #[arg(short = 'f', long)]
    pub only_failed: bool,
    /// Only what is running.
    #[arg(short = 'r', long)]
    pub only_running: bool,
    /// The Dag id is a regular expression, and all Dags that match are meant.
    #[arg(short = 'R', long)]
    pub dag_regex: bool,
    /// Only this run, named by its id or its logical date.
    #[arg(long, value_name = "LOGICAL_DATE_OR_RUN_ID", conflicts_with_all = ["start_date", "end_date", "dag_regex"])]
    pub run: Option<String>,
    /// Also the later runs.
    #[arg(long, requires = "run")]
    pub future: bool,
    /// Also the earlier runs.
    #[arg(long, requires = "run")]
    pub past: bool,
    /// Go on with the newest version of the Dag.
    #[arg(long)]
    pub run_on_latest_version: bool,
    /// A note about what is cleared; an empty one takes the notes away.
    #[arg(long, value_name = "TEXT", value_parser = super::note)]
    pub note: Option<String>,
}

#[derive(Args, Debug)]
pub struct TaskMarkArgs {
    pub dag_id: String,
    pub task_id: String,
    #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
    pub run: String,
    #[arg(value_parser = ["success", "failed", "skipped"])]
    pub state: String,
    /// Which instance of a mapped task [default: all].
    #[arg(long, allow_negative_numbers = true)]
    pub map_index: Option<i32>,
    /// Also what is above the task.
    #[arg(short, long)]
    pub upstream: bool,
    /// Also what is below the task.
    #[arg(short, long)]
    pub downstream: bool,
    /// Also in the later runs.
    #[arg(long)]
    pub future: bool,
    /// Also in the earlier runs.
    #[arg(long)]
    pub past: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Args, Debug)]
pub struct TaskNoteArgs {
    pub dag_id: String,
    pub task_id: String,
    #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
    pub run: String,
    /// An empty one takes the note away.
    #[arg(value_name = "TEXT", value_parser = super::note)]
    pub note: String,
    /// Which instance of a mapped task [default: all].
    #[arg(long, allow_negative_numbers = true)]
    pub map_index: Option<i32>,
}

#[derive(Args, Debug)]
pub struct TaskStateArgs {
    pub dag_id: String,
    pub task_id: String,
    #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
    pub run: String,
    /// Which instance of a mapped task.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    pub map_index: i32,
}

#[derive(Args, Debug)]
pub struct TaskTestArgs {
    /// A Dag file, or the id of a Dag in the Dags folder.
    #[arg(value_name = "FILE_OR_ID")]
    pub target: String,
    pub task_id: String,
    /// The logical date of the run, or the id of a run whose XComs the task may read [default: none].
    #[arg(value_name = "LOGICAL_DATE_OR_RUN_ID")]
    pub run: Option<String>,
    /// Which Dag of a file that has several.
    #[arg(long, value_name = "ID")]
    pub dag_id: Option<String>,
    /// Params for the task, a JSON object.
    #[arg(short, long, value_name = "JSON", allow_hyphen_values = true)]
    pub task_params: Option<String>,
    /// Environment variables for the import and for the task, a JSON object.
    #[arg(long, value_name = "JSON")]
    pub env_vars: Option<String>,
    /// Which instance of a mapped task.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    pub map_index: i32,
    #[command(flatten)]
    pub folder: FolderArgs,
}
