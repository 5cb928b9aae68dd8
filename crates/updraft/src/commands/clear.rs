//! Task instances that are to run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use engine::selection::{Named, Selection, add_relatives};
use jiff::Timestamp;
use model::operations::python_isoformat;
use model::{Dag, MapIndex, RunKey, TaskId, TaskInstance, TaskState};
use scheduler::{Clear, ReplyId};
use serde_json::json;
use store::Store;

use super::dags::{meant_by, structure};
use super::{Context, Usage};
use crate::args::{FolderArgs, TaskClearArgs};
use crate::remote::{Remote, quoted};
use crate::{local, output};

/// What of one Dag is to be cleared.
struct Part {
    dag: Arc<Dag>,
    tasks: Option<Named>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    /// Sets of states that are asked for one after the other; an empty one is all.
    states: Vec<Vec<TaskState>>,
}

impl Part {
    fn find(&self, store: &dyn Store) -> Result<Vec<TaskInstance>> {
        let mut found = Vec::new();
        for states in &self.states {
            let selection = Selection {
                dag: Arc::clone(&self.dag),
                run: None,
                from: self.from,
                to: self.to,
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
            on_latest_version: false,
            keep_running: false,
        };
        local::clear(store, &self.dag.dag_id, (0..).zip(by_run).map(clear).collect())
    }

    fn clear_through(&self, remote: &Remote) -> Result<usize> {
        let mut cleared = 0;
        if self.tasks.as_ref().is_some_and(|tasks| tasks.ids().is_empty()) {
            return Ok(0);
        }
        for states in &self.states {
            let body = json!({
                "dry_run": false,
                "start_date": self.from.map(python_isoformat),
                "end_date": self.to.map(python_isoformat),
                "only_failed": states.contains(&TaskState::Failed),
                "only_running": states.contains(&TaskState::Running),
                "task_ids": self.tasks.as_ref().map(Named::ids),
                "run_on_latest_version": false,
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
        parts.push(Part { dag, tasks, from, to, states: states(args) });
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
