//! `updraft tasks`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use model::{MapIndex, TaskId, TaskInstanceKey};
use store::Store;

use super::dags::structure;
use super::{Context, dag, meant, runs, show};
use crate::args::{FolderArgs, Output, TaskStateArgs, TasksCommand};
use crate::{output, tasktest};

pub fn run(context: &Context, command: TasksCommand) -> Result<ExitCode> {
    match command {
        TasksCommand::List { dag_id, folder } => list(context, &dag_id, &folder)?,
        TasksCommand::Test(args) => return tasktest::run(context, args),
        TasksCommand::Clear(args) => super::clear::tasks(context, &args)?,
        TasksCommand::Mark(args) => super::mark::tasks(context, &args)?,
        TasksCommand::Note(args) => super::mark::task_note(context, args)?,
        TasksCommand::State(args) => state(context, &args)?,
        TasksCommand::StatesForDagRun { dag_id, run, output } => states(context, &dag_id, &run, output.output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, dag_id: &str, folder: &FolderArgs) -> Result<()> {
    let store = context.dags(folder)?;
    let structure = structure(&*store, &dag(&*store, dag_id)?)?;
    let mut ids: Vec<&str> = structure.tasks().iter().map(|task| task.task_id.as_str()).collect();
    ids.sort_unstable();
    output::print_line(&ids.join("\n"))
}

/// The run that a text names, or an error that says what to look at.
pub(super) fn run_of(context: &Context, store: &Arc<dyn Store>, dag_id: &str, text: &str) -> Result<model::DagRun> {
    runs::find(context, &**store, dag_id, text)?.ok_or_else(|| {
        anyhow!(
            "DagRun for {dag_id} with run_id or logical_date of {text:?} not found (updraft dags list-runs {dag_id} \
             shows all)"
        )
    })
}

/// The structure of a Dag that has this task, or an error that says what may have been meant.
pub(super) fn known_task(store: &dyn Store, dag_id: &str, task_id: &str) -> Result<Arc<model::Dag>> {
    let structure = structure(store, &dag(store, dag_id)?)?;
    if structure.find(task_id).is_none() {
        let hint = meant(task_id, structure.tasks().iter().map(|task| task.task_id.as_str()));
        bail!("the Dag {dag_id} has no task {task_id:?}{hint}");
    }
    Ok(structure)
}

fn state(context: &Context, args: &TaskStateArgs) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    known_task(&*store, &args.dag_id, &args.task_id)?;
    let run = run_of(context, &store, &args.dag_id, &args.run)?;
    let (task_id, map_index) = (TaskId::from(args.task_id.as_str()), MapIndex(args.map_index));
    let key = TaskInstanceKey { run: run.key.clone(), task_id, map_index };
    match store.task_instance(&key)? {
        Some(ti) => output::print_line(ti.state.name().unwrap_or("None")),
        None => bail!("there is no task instance {key}: a mapped task has instances only with --map-index"),
    }
}

fn states(context: &Context, dag_id: &str, run: &str, output: Output) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    dag(&*store, dag_id)?;
    let run = run_of(context, &store, dag_id, run)?;
    show(&cli::task_instance_rows(&run, &store.task_instances_of(&run.key)?), output)
}
