//! `updraft dags test`: one Dag, to its end, in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use engine::triggering::{self, RunRequest};
use engine::{Input, timetables};
use jiff::Timestamp;
use model::operations::{python_isoformat, to_microseconds};
use model::{Dag, DagRun, DagRunState, Json, RunType, TaskInstance, TaskState, TriggeredBy};
use regex::Regex;
use scheduler::Event;
use serde_json::{Value, json};
use store::memory::MemoryStore;
use store::{CallbackStore, RunStore, Store};

use crate::args::{Output, TestArgs};
use crate::commands::{Context, Usage, conf};
use crate::live::{self, LiveView};
use crate::signals::Termination;
use crate::stack::{self, Stack};
use crate::target::{self, Target};
use crate::wiring::Pretend;
use crate::{folder, output, python_env, tasklog};

/// How often the view is brought up to date.
const REFRESH: Duration = Duration::from_millis(50);
/// Lines of a failed task's log that are shown.
const SHOWN_LINES: usize = 20;

pub fn run(context: &Context, args: TestArgs) -> Result<ExitCode> {
    let conf = conf(args.conf.as_deref())?;
    let logical_date = match &args.logical_date {
        Some(text) => context.date(text)?,
        None => Timestamp::now(),
    };
    let pretend = args.mark_success_pattern.as_deref().map(pretend).transpose()?;
    let target =
        Target::find(context, &args.target, args.dag_id.as_deref(), args.dagfile_path.as_deref(), &args.folder)?;
    let request = request(Some(to_microseconds(logical_date)), conf);
    let runtime = stack::runtime()?;
    let result = runtime.block_on(async {
        let mut termination = Termination::listen()?;
        tokio::select! {
            result = test(context, &args, &target, request, pretend) => result,
            signal = termination.wait() => bail!("stopped by {signal}"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A request for a run in a test.
pub fn request(logical_date: Option<Timestamp>, conf: Json) -> RunRequest {
    RunRequest {
        run_id: None,
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Test,
        triggering_user: None,
        logical_date,
        data_interval: None,
        run_after: None,
        conf,
        note: None,
        partition_key: None,
    }
}

/// Python's `re.match`: from the beginning of the id, though not to its end.
fn pretend(pattern: &str) -> Result<Pretend> {
    let regex = Regex::new(&format!("^(?:{pattern})"))
        .map_err(|error| Usage(format!("--mark-success-pattern is no regular expression: {error}")))?;
    Ok(Box::new(move |ti| regex.is_match(ti.task_id.as_str())))
}

async fn test(
    context: &Context,
    args: &TestArgs,
    target: &Target,
    request: RunRequest,
    pretend: Option<Pretend>,
) -> Result<ExitCode> {
    let python = python_env::find(args.folder.python.as_deref(), &context.home).await?;
    let store = Arc::new(MemoryStore::new());
    target::copy_settings(context, &store)?;
    let logs = folder::log_folder(&context.home, &context.config);
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let stack = Stack::start(&context.home, None, &context.config, shared, logs.clone(), pretend)?;
    stack.helper.configure(stack::helper_options(&context.home, python.path, &target.folders));
    let dag = target::load(context, &stack, &store, target, |_| Ok(())).await?;
    let now = to_microseconds(Timestamp::now());
    let mut request = request;
    if dag.timetable.custom().is_some() {
        // As in Airflow, tests are not named by timetables.
        let moment = python_isoformat(request.logical_date.unwrap_or(now));
        request.run_id.get_or_insert_with(|| format!("{}__{moment}", request.run_type.name()));
    }
    timetables::fill_in(Some(&stack.evaluator), &mut request, &dag, now).await?;
    let run = triggering::check(request, &dag, now)?;
    stack.handle().tell(Input::DagsChanged(vec![dag.dag_id.clone()])).await?;
    let run = stack.handle().trigger(dag.dag_id.clone(), run).await?;
    let shown = Shown { order: order_of(&dag), output: args.output, logs };
    follow(&stack, &store, &run, &shown).await
}

fn order_of(dag: &Dag) -> Vec<String> {
    dag.tasks().iter().map(|task| task.task_id.to_string()).collect()
}

/// How a run is shown.
struct Shown {
    /// Task ids as the Dag has them.
    order: Vec<String>,
    output: Output,
    logs: PathBuf,
}

impl Shown {
    fn is_document(&self) -> bool {
        matches!(self.output, Output::Json | Output::Yaml)
    }
}

async fn follow(stack: &Stack, store: &MemoryStore, run: &DagRun, shown: &Shown) -> Result<ExitCode> {
    let mut termination = Termination::listen()?;
    let mut view = LiveView::new(shown.output == Output::Plain);
    loop {
        let current = store.run(&run.key)?.ok_or_else(|| anyhow!("the run {} is gone", run.key))?;
        let mut tasks = store.task_instances_of(&run.key)?;
        tasks.sort_by_key(|ti| (shown.order.iter().position(|id| id == ti.task_id.as_str()), ti.map_index));
        if !shown.is_document() {
            view.show(&current, &tasks)?;
        }
        if current.state.is_finished() {
            called(store).await?;
            // Logs may still be written for a moment.
            stack.worker.drain(Duration::from_secs(2)).await;
            finish(&current, &tasks, shown)?;
            let ok = current.state == DagRunState::Success;
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Some(names) = nobody_answers(store, &tasks)? {
            bail!(
                "{names} wait for people, and nobody can answer in a test: run the Dag on a server, or leave them out with \
                 --mark-success-pattern"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            signal = termination.wait() => {
                stack.handle().tell(Input::Event(Event::Drain)).await?;
                stack.worker.drain(Duration::ZERO).await;
                bail!("stopped by {signal}");
            }
        }
    }
}

/// Waits until the run's callbacks have been called; each of them has a time limit.
async fn called(store: &MemoryStore) -> Result<()> {
    while !store.callbacks()?.is_empty() {
        tokio::time::sleep(REFRESH).await;
    }
    Ok(())
}

/// The tasks that wait for people, where nothing else is under way and no time-out ends that.
pub fn nobody_answers(store: &MemoryStore, tasks: &[TaskInstance]) -> Result<Option<String>> {
    let waits = |ti: &&TaskInstance| ti.state == TaskState::AwaitingInput;
    let stands_still = |ti: &TaskInstance| ti.state.is_finished() || ti.state == TaskState::None || waits(&ti);
    if !tasks.iter().all(stands_still) {
        return Ok(None);
    }
    let mut names = Vec::new();
    for ti in tasks.iter().filter(waits) {
        if store.suspension(&ti.key())?.is_some_and(|suspension| suspension.timeout.is_some()) {
            return Ok(None);
        }
        names.push(live::name_of(ti));
    }
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

fn finish(run: &DagRun, tasks: &[TaskInstance], shown: &Shown) -> Result<()> {
    match shown.output {
        Output::Json => return output::print(&format!("{:#}\n", as_document(run, tasks))),
        Output::Yaml => return output::print(&cli::yaml(&as_document(run, tasks))),
        Output::Table | Output::Plain => {}
    }
    for ti in tasks.iter().filter(|ti| ti.state == TaskState::Failed) {
        let path = worker::log_path(&shown.logs, ti, ti.try_number);
        output::print_line(&format!("\nThe end of the log of {} ({}):", live::name_of(ti), path.display()))?;
        for line in last_lines(&path) {
            output::print_line(&format!("  {line}"))?;
        }
    }
    output::print_line(&live::summary(run))
}

fn as_document(run: &DagRun, tasks: &[TaskInstance]) -> Value {
    let seconds = |duration: Option<jiff::SignedDuration>| duration.map(model::operations::total_seconds);
    let rows: Vec<Value> = tasks
        .iter()
        .map(|ti| {
            json!({
                "task_id": ti.task_id.as_str(),
                "map_index": ti.map_index.0,
                "state": ti.state.name(),
                "try_number": ti.try_number,
                "duration": seconds(ti.duration()),
            })
        })
        .collect();
    json!({
        "dag_id": run.key.dag_id.as_str(),
        "run_id": run.key.run_id.as_str(),
        "state": run.state.name(),
        "duration": seconds(run.duration()),
        "tasks": rows,
    })
}

/// The last lines of a task's log, as people read them.
fn last_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().flat_map(tasklog::shown).collect();
    lines.split_off(lines.len().saturating_sub(SHOWN_LINES))
}
