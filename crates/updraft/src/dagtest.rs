//! `updraft dags test`: one Dag, to its end, in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use engine::Input;
use engine::triggering::{self, RunRequest};
use importer::{Rules, dag_files};
use jiff::Timestamp;
use model::{Dag, DagRun, RunType, TaskInstance, TaskState, TriggeredBy};
use python::import::{ImportLimits, ImportRequest, import};
use scheduler::Event;
use serde_json::{Value, json};
use store::memory::MemoryStore;
use store::sqlite::SqliteStore;
use store::{Commit, ConnectionStore, Page, PoolStore, RunStore, Store, VariableStore, Write};

use crate::args::{Output, TestArgs};
use crate::config::Config;
use crate::home::Home;
use crate::live::{self, LiveView};
use crate::python_env;
use crate::signals::Termination;
use crate::stack::{self, Stack};
use crate::standalone::IMPORT_MEMORY;

/// How often the view is brought up to date.
const REFRESH: Duration = Duration::from_millis(50);
/// Lines of a failed task's log that are shown.
const SHOWN_LINES: usize = 20;

pub fn run(args: TestArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(test(args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn test(args: TestArgs) -> Result<ExitCode> {
    let conf = read_conf(args.conf.as_deref())?;
    let logical_date = args.logical_date.as_deref().map(read_date).transpose()?;
    let home = Home::open(args.home.home.as_deref())?;
    let config = Config::load(&home.path)?;
    let target = Target::find(&args, &home, &config)?;
    let python = python_env::find(args.python.as_deref(), &home).await?;
    let store = Arc::new(MemoryStore::new());
    copy_settings(&home, &store)?;
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let stack = Stack::start(&home, None, &config, Arc::clone(&shared), home.path.join("logs"))?;
    stack.helper.configure(stack::helper_options(&home, python.path, std::slice::from_ref(&target.bundle)));
    let dag = load(&stack, &shared, &target, &args, &config).await?;
    let request = RunRequest {
        run_id: None,
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Test,
        triggering_user: None,
        logical_date,
        data_interval: None,
        run_after: None,
        conf,
        note: None,
    };
    let run = triggering::check(request, &dag, model::operations::to_microseconds(Timestamp::now()))?;
    stack.handle().tell(Input::DagsChanged(vec![dag.dag_id.clone()])).await?;
    let run = stack.handle().trigger(dag.dag_id.clone(), run).await?;
    let order: Vec<String> = dag.tasks().iter().map(|task| task.task_id.to_string()).collect();
    follow(&stack, &store, &run, &order, args.output, &home.path.join("logs")).await
}

fn read_conf(text: Option<&str>) -> Result<Value> {
    let Some(text) = text else { return Ok(json!({})) };
    let conf: Value = serde_json::from_str(text).with_context(|| format!("--conf is no JSON: {text}"))?;
    if conf.is_object() { Ok(conf) } else { bail!("--conf must be a JSON object, such as '{{\"key\": 1}}'") }
}

/// A date as people write it: a day, or a moment with or without its offset.
pub fn read_date(text: &str) -> Result<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let civil = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(|day| day.at(0, 0, 0, 0)))
        .map_err(|_| anyhow!("{text:?} is no date: write it like 2026-01-31 or 2026-01-31T12:00:00+00:00"))?;
    Ok(civil.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
}

/// Where the Dag is.
struct Target {
    bundle: PathBuf,
    /// Files to look at, the likeliest first.
    files: Vec<PathBuf>,
    dag_id: Option<String>,
}

impl Target {
    fn find(args: &TestArgs, home: &Home, config: &Config) -> Result<Self> {
        let path = Path::new(&args.target);
        if path.is_file() {
            let file = path.canonicalize()?;
            let bundle = file.parent().unwrap_or(Path::new("/")).to_owned();
            return Ok(Self { bundle, files: vec![file], dag_id: args.dag_id.clone() });
        }
        if args.target.ends_with(".py") || args.target.contains('/') {
            bail!("there is no file {}", args.target);
        }
        let folder = match (args.dags.first(), config.text("core", "dags_folder")) {
            (Some(folder), _) => folder.clone(),
            (None, Some(folder)) => PathBuf::from(folder),
            (None, None) => home.path.join("dags"),
        };
        let bundle = folder.canonicalize().with_context(|| {
            format!("the Dags folder {} can't be read: name another with --dags DIR", folder.display())
        })?;
        let mut files = dag_files(&bundle, Rules::default());
        // A file that has the id in its text is likelier to have the Dag.
        files.sort_by_key(|file| !std::fs::read_to_string(file).is_ok_and(|text| text.contains(&args.target)));
        Ok(Self { bundle, files, dag_id: Some(args.target.clone()) })
    }
}

/// What the home's database has that tasks may ask for.
fn copy_settings(home: &Home, store: &MemoryStore) -> Result<()> {
    if !home.database().exists() {
        return Ok(());
    }
    let kept = SqliteStore::open(&home.database())?;
    let mut writes: Vec<Write> = kept.variables(None, Page::ALL)?.0.into_iter().map(Write::Variable).collect();
    let connections = kept.connections(None, Page::ALL)?.0;
    writes.extend(connections.into_iter().map(|connection| Write::Connection(Box::new(connection))));
    writes.extend(kept.pools(None, Page::ALL)?.0.into_iter().map(Write::Pool));
    Ok(store.commit(writes)?)
}

/// Imports files until the Dag is found, and puts it into the store.
async fn load(
    stack: &Stack,
    store: &Arc<dyn Store>,
    target: &Target,
    args: &TestArgs,
    config: &Config,
) -> Result<Arc<Dag>> {
    let server = stack.helper.server().await?;
    let bundle_name = server.ready().await?.bundles.first().map(|bundle| bundle.name.clone()).unwrap_or_default();
    let timeout = config.get("dag_processor", "dag_file_processor_timeout", 50)?;
    let limits = ImportLimits { timeout: Duration::from_secs(timeout), memory: IMPORT_MEMORY };
    let mut seen = Vec::new();
    for file in &target.files {
        let request = ImportRequest {
            file: file.clone(),
            bundle_path: target.bundle.clone(),
            bundle_name: bundle_name.clone(),
            limits: limits.clone(),
        };
        let imported = import(&server, &request, stack::import_answers(Arc::clone(store))).await?;
        if let (1, Some((name, error))) = (target.files.len(), imported.errors.first()) {
            bail!("{name} can't be imported:\n{}", error.trim_end());
        }
        let found = importer::describe_file(imported, &bundle_name, &target.bundle, file);
        let ids: Vec<String> = found.dags.iter().map(|dag| dag.dag_id.to_string()).collect();
        let wanted = match &target.dag_id {
            Some(dag_id) => ids.contains(dag_id).then(|| dag_id.clone()),
            None if ids.len() == 1 => ids.first().cloned(),
            None if ids.is_empty() => bail!("{} has no Dag", file.display()),
            None => bail!("{} has several Dags: say which with --dag-id ({})", file.display(), ids.join(", ")),
        };
        seen.extend(ids);
        let Some(wanted) = wanted else { continue };
        store.commit(vec![Write::Imported(Box::new(found))])?;
        let record = store.dag(&wanted.as_str().into())?.ok_or_else(|| anyhow!("the Dag {wanted} was not kept"))?;
        store.commit(vec![Write::Decision(model::Change::Paused { dag_id: record.dag_id.clone(), paused: false })])?;
        let version = store.version(record.version)?.ok_or_else(|| anyhow!("the Dag {wanted} was not kept"))?;
        let (dag, _) = python::serialized::read(&version.serialized, &version.extras)?;
        return Ok(dag);
    }
    let wanted = target.dag_id.clone().unwrap_or_default();
    if seen.is_empty() {
        bail!("there is no Dag {wanted}: {} holds no Dag at all", target.bundle.display());
    }
    seen.sort();
    bail!("there is no Dag {wanted} in {}; there are {}", args.target, seen.join(", "));
}

async fn follow(
    stack: &Stack,
    store: &MemoryStore,
    run: &DagRun,
    order: &[String],
    output: Output,
    logs: &Path,
) -> Result<ExitCode> {
    let mut termination = Termination::listen()?;
    let mut view = LiveView::new(output == Output::Plain);
    loop {
        let current = store.run(&run.key)?.ok_or_else(|| anyhow!("the run {} is gone", run.key))?;
        let mut tasks = store.task_instances_of(&run.key)?;
        tasks.sort_by_key(|ti| (order.iter().position(|id| id == ti.task_id.as_str()), ti.map_index));
        if output != Output::Json {
            view.show(&current, &tasks);
        }
        if current.state.is_finished() {
            // Logs may still be written for a moment.
            stack.worker.drain(Duration::from_secs(2)).await;
            finish(&current, &tasks, output, logs);
            let ok = current.state == model::DagRunState::Success;
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
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

fn finish(run: &DagRun, tasks: &[TaskInstance], output: Output, logs: &Path) {
    if output == Output::Json {
        return println!("{:#}", as_json(run, tasks));
    }
    for ti in tasks.iter().filter(|ti| ti.state == TaskState::Failed) {
        let path = worker::log_path(logs, ti, ti.try_number);
        println!("\nThe end of the log of {} ({}):", live::name_of(ti), path.display());
        for line in last_lines(&path) {
            println!("  {line}");
        }
    }
    println!("{}", live::summary(run));
}

fn as_json(run: &DagRun, tasks: &[TaskInstance]) -> Value {
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
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else { continue };
        let event = entry["event"].as_str().unwrap_or_default();
        if !event.starts_with("::") {
            lines.push(event.to_owned());
        }
        for error in entry["error_detail"].as_array().into_iter().flatten() {
            for frame in error["frames"].as_array().into_iter().flatten() {
                let (file, number, name) = (&frame["filename"], &frame["lineno"], &frame["name"]);
                lines.push(format!("  {}:{number} in {}", file.as_str().unwrap_or("?"), name.as_str().unwrap_or("?")));
            }
            let (kind, value) = (error["exc_type"].as_str(), error["exc_value"].as_str());
            lines.push(format!("  {}: {}", kind.unwrap_or("error"), value.unwrap_or_default()));
        }
    }
    lines.split_off(lines.len().saturating_sub(SHOWN_LINES))
}
