//! `updraft tasks test`: one task, without what it depends on, and without a trace.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use engine::triggering::{self, RunRequest};
use engine::{Input, timetables};
use jiff::Timestamp;
use model::operations::{python_isoformat, to_microseconds};
use model::{DagRun, DagRunState, Json, TaskInstance, TaskState};
use serde_json::json;
use store::memory::MemoryStore;
use store::{Commit, ImportedDag, RunStore, Store, Write};
use worker::Lines;

use crate::args::TaskTestArgs;
use crate::commands::{Context, Usage, find_run, meant};
use crate::signals::Termination;
use crate::stack::{self, Stack};
use crate::target::{self, Target};
use crate::wiring::Pretend;
use crate::{dagtest, output, python_env, tasklog};

/// How often the log is looked at.
const REFRESH: Duration = Duration::from_millis(20);

pub fn run(context: &Context, args: TaskTestArgs) -> Result<ExitCode> {
    with_environment(args.env_vars.as_deref())?;
    let params: Json = match &args.task_params {
        None => json!({}),
        Some(text) => serde_json::from_str(text).with_context(|| format!("--task-params is no JSON: {text}"))?,
    };
    if !params.is_object() {
        return Err(Usage("--task-params must be a JSON object".into()).into());
    }
    let target = Target::find(context, &args.target, args.dag_id.as_deref(), None, &args.folder)?;
    let logs = tempfile::Builder::new().prefix("updraft-task-").tempdir().context("there is no room for a log")?;
    let runtime = stack::runtime()?;
    let result = runtime.block_on(async {
        let mut termination = Termination::listen()?;
        tokio::select! {
            result = test(context, &args, &target, params, logs.path()) => result,
            signal = termination.wait() => bail!("stopped by {signal}"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Goes on in a process that has these variables, as the import and every task are to see them.
fn with_environment(text: Option<&str>) -> Result<()> {
    let mut wanted = vec![("AIRFLOW_TEST_MODE".to_owned(), "True".to_owned())];
    if let Some(text) = text {
        let variables: Json = serde_json::from_str(text).with_context(|| format!("--env-vars is no JSON: {text}"))?;
        let fields = variables.as_object().ok_or_else(|| Usage("--env-vars must be a JSON object".into()))?;
        wanted.extend(fields.iter().map(|(name, value)| (name.clone(), template::python::text(value))));
    }
    if wanted.iter().all(|(name, value)| std::env::var(name).as_ref() == Ok(value)) {
        return Ok(());
    }
    let program = std::env::current_exe().context("the program does not know where it is")?;
    // Comes back only if it fails.
    let error = Command::new(program).args(std::env::args_os().skip(1)).envs(wanted).exec();
    Err(error).context("the program can't be started with these variables")
}

async fn test(context: &Context, args: &TaskTestArgs, target: &Target, params: Json, logs: &Path) -> Result<ExitCode> {
    let python = python_env::find(args.folder.python.as_deref(), &context.home).await?;
    let store = Arc::new(MemoryStore::new());
    target::copy_settings(context, &store)?;
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let pretend: Option<Pretend> = match args.map_index {
        -1 => None,
        wanted => Some(Box::new(move |ti| ti.map_index.0 != wanted)),
    };
    let stack = Stack::start(&context.home, None, &context.config, shared, logs.to_owned(), pretend)?;
    stack.helper.configure(stack::helper_options(&context.home, python.path, &target.folders));
    let dag = target::load(context, &stack, &store, target, |dag| reduce(dag, &args.task_id)).await?;
    let is_mapped = dag.tasks().iter().any(|task| task.needs_expansion());
    match (is_mapped, args.map_index) {
        (true, -1) => bail!("the task {} is mapped: say which instance with --map-index", args.task_id),
        (false, 0..) => bail!("the task {} is not mapped: leave --map-index away", args.task_id),
        _ => {}
    }
    let dag_id = dag.dag_id.clone();
    let (mut request, left) = run_to_test(context, args, dag_id.as_str(), params)?;
    let now = to_microseconds(Timestamp::now());
    timetables::fill_in(Some(&stack.evaluator), &mut request, &dag, now).await?;
    let run = triggering::check(request, &dag, now)?;
    // What an earlier run left for the task must be there before it starts.
    stack.handle().tell(Input::DagsChanged(vec![dag_id.clone()])).await?;
    stack.handle().set_paused(dag_id.clone(), true).await?;
    let run = stack.handle().trigger(dag_id.clone(), run).await?;
    store.commit(left)?;
    stack.handle().set_paused(dag_id, false).await?;
    follow(&stack, &store, &run, args, logs).await
}

/// What the run is like, and what tasks before this one have left for it.
fn run_to_test(context: &Context, args: &TaskTestArgs, dag_id: &str, params: Json) -> Result<(RunRequest, Vec<Write>)> {
    let temporary = format!("__airflow_temporary_run_{}__", python_isoformat(to_microseconds(Timestamp::now())));
    let mut request = RunRequest { run_id: Some(temporary), ..dagtest::request(None, params.clone()) };
    let Some(text) = &args.run else { return Ok((request, Vec::new())) };
    let kept = context.reader()?;
    let Some(found) = find_run(context, &*kept, dag_id, text)? else {
        request.logical_date = Some(to_microseconds(context.date(text)?));
        return Ok((request, Vec::new()));
    };
    let mut conf = (*found.conf).clone();
    for (name, value) in params.as_object().into_iter().flatten() {
        conf[name.as_str()] = value.clone();
    }
    let left = kept.xcoms(&found.key, None, None, None)?;
    let others = left.into_iter().filter(|xcom| xcom.key.task_id.as_str() != args.task_id);
    let writes = others.map(|xcom| Write::XCom(Box::new(xcom))).collect();
    let request = RunRequest {
        run_id: Some(found.key.run_id.to_string()),
        run_type: found.run_type,
        logical_date: found.logical_date,
        data_interval: found.data_interval,
        run_after: Some(found.run_after),
        conf,
        partition_key: found.partition.map(|partition| partition.key),
        ..request
    };
    Ok((request, writes))
}

/// Leaves nothing of a Dag but the one task, which waits for nothing and is tried once.
fn reduce(dag: &mut ImportedDag, task_id: &str) -> Result<()> {
    let tasks = dag.serialized.pointer_mut("/dag/tasks").and_then(Json::as_array_mut);
    let tasks = tasks.ok_or_else(|| anyhow!("the Dag {} has no list of tasks", dag.dag_id))?;
    let id_of = |task: &Json| task["__var"]["task_id"].as_str().unwrap_or_default().to_owned();
    let Some(mut task) = tasks.iter().find(|task| id_of(task) == task_id).cloned() else {
        let ids: Vec<String> = tasks.iter().map(id_of).collect();
        let hint = meant(task_id, ids.iter().map(String::as_str));
        bail!("the Dag {} has no task {task_id:?}{hint}", dag.dag_id);
    };
    const DEPENDENCIES: [&str; 14] = [
        "downstream_task_ids",
        "depends_on_past",
        "ignore_first_depends_on_past",
        "wait_for_downstream",
        "wait_for_past_depends_before_skipping",
        "trigger_rule",
        "start_date",
        "end_date",
        "pool",
        "pool_slots",
        "is_setup",
        "is_teardown",
        "on_failure_fail_dagrun",
        "retries",
    ];
    for place in ["/__var", "/__var/partial_kwargs"] {
        if let Some(fields) = task.pointer_mut(place).and_then(Json::as_object_mut) {
            DEPENDENCIES.iter().for_each(|name| drop(fields.shift_remove(*name)));
        }
    }
    *tasks = vec![task];
    if let Some(defaults) = dag.serialized.pointer_mut("/client_defaults/tasks").and_then(Json::as_object_mut) {
        DEPENDENCIES.iter().for_each(|name| drop(defaults.shift_remove(*name)));
    }
    // Nobody is told of a run that is none.
    if let Some(fields) = dag.serialized.pointer_mut("/dag").and_then(Json::as_object_mut) {
        fields.retain(|name, _| !["has_on_success_callback", "has_on_failure_callback", "deadline"].contains(&&**name));
    }
    if let Some(group) = dag.serialized.pointer_mut("/dag/task_group") {
        leave_only(group, task_id);
    }
    Ok(())
}

/// Takes all other tasks out of a group and the groups in it.
fn leave_only(group: &mut Json, task_id: &str) {
    let Some(children) = group.get_mut("children").and_then(Json::as_object_mut) else { return };
    children.retain(|name, child| child[0] != "operator" || name == task_id);
    for child in children.values_mut().filter(|child| child[0] != "operator") {
        leave_only(&mut child[1], task_id);
    }
}

async fn follow(
    stack: &Stack,
    store: &MemoryStore,
    run: &DagRun,
    args: &TaskTestArgs,
    logs: &Path,
) -> Result<ExitCode> {
    let mut tail = Tail::default();
    loop {
        let current = store.run(&run.key)?.ok_or_else(|| anyhow!("the run {} is gone", run.key))?;
        let found = store.task_instances_of(&run.key)?;
        let shown = |ti: &&TaskInstance| ti.map_index.0 == args.map_index;
        let ti = found.iter().find(shown);
        if current.state.is_finished() {
            stack.worker.drain(Duration::from_secs(2)).await;
        }
        if let Some(ti) = ti {
            tail.show(&worker::log_path(logs, ti, ti.try_number))?;
        }
        if current.state.is_finished() {
            let Some(ti) = ti else {
                let count = found.len();
                bail!("the task {} has no instance {}: there are {count}", args.task_id, args.map_index);
            };
            say!("{} is {}", ti.key(), ti.state);
            let ok = current.state == DagRunState::Success && ti.state != TaskState::Failed;
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Some(names) = dagtest::nobody_answers(store, &found)? {
            bail!("{names} waits for people, and nobody can answer in a test: run the Dag on a server");
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// A log file as it grows.
#[derive(Default)]
struct Tail {
    file: Option<File>,
    lines: Lines,
}

impl Tail {
    fn show(&mut self, path: &Path) -> Result<()> {
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut news = Vec::new();
        file.read_to_end(&mut news).context("the log can't be read")?;
        let mut shown = String::new();
        self.lines.push(&news, |line| {
            for line in tasklog::shown(&String::from_utf8_lossy(line)) {
                shown.push_str(&line);
                shown.push('\n');
            }
        });
        output::print(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tasks_are_taken_out_of_groups() {
        let mut group = json!({"children": {
            "a": ["operator", "a"],
            "g": ["taskgroup", {"children": {"g.b": ["operator", "g.b"], "g.c": ["operator", "g.c"]}}],
        }});
        leave_only(&mut group, "g.b");
        assert_eq!(group, json!({"children": {"g": ["taskgroup", {"children": {"g.b": ["operator", "g.b"]}}]}}));
    }
}
