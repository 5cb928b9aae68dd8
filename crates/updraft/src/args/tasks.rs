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
