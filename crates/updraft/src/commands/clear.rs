//! Task instances that are to run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, bail};
use engine::selection::{Named, Selection, add_relatives};
use jiff::Timestamp;
use model::operations::python_isoformat;
use model::{Dag, DagRun, MapIndex, RunId, RunKey, TaskId, TaskInstance, TaskState};
use scheduler::{Clear, ReplyId};
use serde_json::json;
use store::{Store, Write};

use super::dags::{meant_by, structure};
use super::tasks::run_of;
use super::{Context, Usage};
use crate::args::{FolderArgs, TaskClearArgs};
use crate::remote::{Remote, quoted};
use crate::{local, output};

/// Which runs are meant.
#[derive(Clone)]
enum Span {
    /// By their logical dates.
    Dates(Option<Timestamp>, Option<Timestamp>),
    Run(RunId),
}

/// What of one Dag is to be cleared.
struct Part {
    dag: Arc<Dag>,
    tasks: Option<Named>,
    span: Span,
    on_latest_version: bool,
    note: Option<String>,
    /// Sets of states that are asked for one after the other; an empty one is all.
    states: Vec<Vec<TaskState>>,
}

impl Part {
    fn find(&self, store: &dyn Store) -> Result<Vec<TaskInstance>> {
        let mut found = Vec::new();
        for states in &self.states {
            let (run, from, to) = match &self.span {
                Span::Dates(from, to) => (None, *from, *to),
                Span::Run(run) => (Some(run.clone()), None, None),
            };
            let selection = Selection {
                dag: Arc::clone(&self.dag),
                run,
                from,
                to,
                tasks: self.tasks.clone(),
                states: states.clone(),
            };
            found.extend(selection.with_setups_and_teardowns().find(store)?);
        }
        Ok(found)
    }

    fn clear_alone(&self, store: &Arc<dyn Store>) -> Result<usize> {
        let mut by_run: BTreeMap<RunKey, Vec<(TaskId, Option<MapIndex>)>> = BTreeMap::new();
        for ti in self.find(&**store)? {
            by_run.entry(ti.run).or_default().push((ti.task_id, Some(ti.map_index)));
        }
        let clear = |(number, (run, tasks))| Clear {
            reply: ReplyId(number),
            run,
            tasks,
            restart_run: true,
            on_latest_version: self.on_latest_version,
            keep_running: false,
        };
        let cleared = local::clear(store, &self.dag.dag_id, (0..).zip(by_run).map(clear).collect())?;
        if let Some(note) = &self.note {
            let note = Some(note.clone()).filter(|note| !note.is_empty());
            let write = |ti: &TaskInstance| Write::TaskNote { ti: ti.key(), note: note.clone() };
            store.commit(cleared.iter().map(write).collect())?;
        }
        Ok(cleared.len())
    }

    fn clear_through(&self, remote: &Remote) -> Result<usize> {
        let mut cleared = 0;
        if self.tasks.as_ref().is_some_and(|tasks| tasks.ids().is_empty()) {
            return Ok(0);
        }
        for states in &self.states {
            let (run, from, to) = match &self.span {
                Span::Dates(from, to) => (None, from.map(python_isoformat), to.map(python_isoformat)),
                Span::Run(run) => (Some(run.as_str()), None, None),
            };
            let body = json!({
                "dry_run": false,
                "dag_run_id": run,
                "start_date": from,
                "end_date": to,
                "only_failed": states.contains(&TaskState::Failed),
                "only_running": states.contains(&TaskState::Running),
                "task_ids": self.tasks.as_ref().map(Named::ids),
                "run_on_latest_version": self.on_latest_version,
                "note": self.note,
            });
            let answer =
                remote.post(&format!("/api/v2/dags/{}/clearTaskInstances", quoted(self.dag.dag_id.as_str())), &body)?;
            cleared += answer["total_entries"].as_u64().unwrap_or(0) as usize;
        }
        Ok(cleared)
    }
}

pub fn tasks(context: &Context, args: &TaskClearArgs) -> Result<()> {
    let date = |text: &Option<String>| text.as_deref().map(|text| context.date(text)).transpose();
    let (from, to) = (date(&args.start_date)?, date(&args.end_date)?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(Usage("--start-date is later than --end-date: there is nothing between them".into()).into());
    }
    let store = context.dags(&FolderArgs::of_environment())?;
    let mut parts = Vec::new();
    for record in meant_by(&*store, &args.dag_id, args.dag_regex)? {
        let dag = structure(&*store, &record)?;
        let tasks = args.task_regex.as_deref().map(|text| named(&dag, text, args));
        let span = match &args.run {
            Some(text) => span_of(args, run_of(context, &store, dag.dag_id.as_str(), text)?)?,
            None => Span::Dates(from, to),
        };
        let on_latest_version = args.run_on_latest_version;
        parts.push(Part { dag, tasks, span, on_latest_version, note: args.note.clone(), states: states(args) });
    }
    let mut found = Vec::new();
    for part in &parts {
        found.extend(part.find(&*store)?);
    }
    if found.is_empty() {
        say!("There is nothing to clear");
        return Ok(());
    }
    if !args.yes {
        let names: BTreeSet<String> = found.iter().map(|ti| ti.key().to_string()).collect();
        let list: Vec<&str> = names.iter().map(String::as_str).collect();
        let question = format!(
            "You are about to clear these {} task instances:\n{}\n\nAre you sure?",
            list.len(),
            list.join("\n")
        );
        if !output::confirm(&question)? {
            say!("Cancelled, nothing was cleared.");
            return Ok(());
        }
    }
    let cleared: usize = context.change(
        |store| parts.iter().map(|part| part.clear_alone(store)).sum(),
        |remote| parts.iter().map(|part| part.clear_through(remote)).sum(),
    )?;
    say!("Cleared {cleared} task instances");
    Ok(())
}

/// A run, or the runs of its Dag that are not before it or not after it.
fn span_of(args: &TaskClearArgs, run: DagRun) -> Result<Span> {
    match (run.logical_date, args.future, args.past) {
        (_, false, false) => Ok(Span::Run(run.key.run_id)),
        (None, ..) => bail!("the run {} has no logical date: there is nothing before or after it", run.key),
        (date, future, past) => Ok(Span::Dates(date.filter(|_| !past), date.filter(|_| !future))),
    }
}

/// Tasks whose id has a text in it (which is all that Airflow's `--task-regex` looks for), and what belongs to them.
fn named(dag: &Dag, text: &str, args: &TaskClearArgs) -> Named {
    let ids = dag.tasks().iter().map(|task| task.task_id.as_str()).filter(|id| id.contains(text));
    let mut named = Named::tasks(ids);
    add_relatives(dag, &mut named, args.upstream, args.downstream);
    named
}

fn states(args: &TaskClearArgs) -> Vec<Vec<TaskState>> {
    let failed = || vec![TaskState::Failed, TaskState::UpstreamFailed];
    match (args.only_running, args.only_failed) {
        (false, false) => vec![Vec::new()],
        (true, false) => vec![vec![TaskState::Running]],
        (false, true) => vec![failed()],
        // The API knows one or the other. What runs comes first: it has not failed afterwards.
        (true, true) => vec![vec![TaskState::Running], failed()],
    }
}
