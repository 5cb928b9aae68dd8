//! States and notes that people give to runs and task instances.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, bail};
use engine::marking::{self, Meant, Relatives};
use engine::selection::{Named, Selection};
use model::{DagRunState, RunKey, TaskInstance};
use scheduler::MarkAs;
use serde_json::json;
use store::{Store, Write};

use super::tasks::{known_task, run_of};
use super::{Context, dag};
use crate::args::{FolderArgs, TaskMarkArgs, TaskNoteArgs};
use crate::remote::{Remote, quoted};
use crate::{local, output};

fn path_of(run: &RunKey) -> String {
    format!("/api/v2/dags/{}/dagRuns/{}", quoted(run.dag_id.as_str()), quoted(run.run_id.as_str()))
}

fn path_of_task(run: &RunKey, task_id: &str, map_index: Option<i32>) -> String {
    let index = map_index.map(|index| format!("/{index}")).unwrap_or_default();
    format!("{}/taskInstances/{}{index}", path_of(run), quoted(task_id))
}

fn named(task_id: &str, map_index: Option<i32>) -> Named {
    match map_index {
        None => Named::tasks([task_id]),
        Some(index) => Named { whole: BTreeSet::new(), instances: BTreeSet::from([(task_id.to_owned(), index)]) },
    }
}

/// Gives task instances a state.
pub fn tasks(context: &Context, args: &TaskMarkArgs) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    let dag = known_task(&*store, &args.dag_id, &args.task_id)?;
    let run = run_of(context, &store, &args.dag_id, &args.run)?;
    let mark_as = match args.state.as_str() {
        "success" => MarkAs::Success,
        "failed" => MarkAs::Failed,
        _ => MarkAs::Skipped,
    };
    let TaskMarkArgs { upstream, downstream, future, past, .. } = *args;
    let relatives = Relatives { upstream, downstream, future, past };
    let meant = Meant { run: run.key.clone(), tasks: named(&args.task_id, args.map_index) };
    let plan = marking::plan(&*store, &dag, &meant, mark_as, relatives)?;
    if plan.marked.is_empty() {
        bail!("nothing is marked: {} is {} already, or has no instance there", args.task_id, args.state);
    }
    if plan.marked.len() > 1 && !args.yes && !confirmed(&plan.marked, &args.state)? {
        say!("Cancelled, nothing was marked.");
        return Ok(());
    }
    drop(store);
    let forgets = mark_as == MarkAs::Success && context.config.flag("state_store", "clear_on_success", false)?;
    context.change(
        |store| {
            let plan = marking::plan(&**store, &dag, &meant, mark_as, relatives)?;
            let changed = local::mark(store, &dag.dag_id, plan.marks(mark_as))?;
            let forget = |ti: TaskInstance| Write::ClearTaskState { ti: ti.key(), all_map_indices: false };
            if forgets {
                store.commit(changed.into_iter().map(forget).collect())?;
            }
            Ok(())
        },
        |remote| {
            let body = json!({
                "new_state": args.state, "include_upstream": upstream, "include_downstream": downstream,
                "include_future": future, "include_past": past,
            });
            remote.patch(&path_of_task(&meant.run, &args.task_id, args.map_index), &body).map(drop)
        },
    )?;
    say!("Marked {} task instances as {}", plan.marked.len(), args.state);
    Ok(())
}

fn confirmed(marked: &[TaskInstance], state: &str) -> Result<bool> {
    let names: Vec<String> = marked.iter().map(|ti| ti.key().to_string()).collect();
    let (count, list) = (names.len(), names.join("\n"));
    output::confirm(&format!("You are about to mark these {count} task instances as {state}:\n{list}\n\nAre you sure?"))
}

pub fn task_note(context: &Context, args: TaskNoteArgs) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    let dag = known_task(&*store, &args.dag_id, &args.task_id)?;
    let run = run_of(context, &store, &args.dag_id, &args.run)?.key;
    let selection = Selection {
        dag,
        run: Some(run.run_id.clone()),
        from: None,
        to: None,
        tasks: Some(named(&args.task_id, args.map_index)),
        states: Vec::new(),
    };
    let about = selection.find(&*store)?;
    if about.is_empty() {
        bail!("the task {} has no such instance in the run {run}", args.task_id);
    }
    drop(store);
    context.change(
        |store| {
            let note = Some(args.note.clone()).filter(|note| !note.is_empty());
            let writes = about.iter().map(|ti| Write::TaskNote { ti: ti.key(), note: note.clone() }).collect();
            Ok(store.commit(writes)?)
        },
        |remote| {
            let path = path_of_task(&run, &args.task_id, args.map_index);
            remote.patch(&path, &json!({"note": args.note})).map(drop)
        },
    )
}

fn known_run(context: &Context, dag_id: &str, text: &str) -> Result<RunKey> {
    let store: Arc<dyn Store> = context.dags(&FolderArgs::of_environment())?;
    dag(&*store, dag_id)?;
    Ok(run_of(context, &store, dag_id, text)?.key)
}

/// Ends a run, or puts it back into the queue.
pub fn run(context: &Context, dag_id: &str, text: &str, state: &str) -> Result<()> {
    let key = known_run(context, dag_id, text)?;
    let run_state = match state {
        "success" => DagRunState::Success,
        "failed" => DagRunState::Failed,
        _ => DagRunState::Queued,
    };
    let through = |remote: &Remote| remote.patch(&path_of(&key), &json!({"state": state})).map(drop);
    context.change(|store| local::set_run_state(store, key.clone(), run_state), through)?;
    say!("Marked the run {key} as {state}");
    Ok(())
}

pub fn run_note(context: &Context, dag_id: &str, text: &str, note: String) -> Result<()> {
    let key = known_run(context, dag_id, text)?;
    context.change(
        |store| {
            let note = Some(note.clone()).filter(|note| !note.is_empty());
            Ok(store.commit(vec![Write::RunNote { run: key.clone(), note }])?)
        },
        |remote| remote.patch(&path_of(&key), &json!({"note": note})).map(drop),
    )
}
