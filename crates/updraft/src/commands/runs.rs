//! Runs: made, listed, looked at.

use std::cell::Cell;

use anyhow::{Context as _, Result, anyhow, bail};
use engine::triggering::{self, RunRequest};
use jiff::Timestamp;
use model::operations::{python_isoformat, to_microseconds};
use model::{Dag, DagId, DagRun, Json, RunKey, RunType, TriggeredBy};
use scheduler::TriggerError;
use serde_json::json;
use store::{DagRecord, Direction, Page, RunExists, RunFilter, RunOrder, Span, Store};

use super::dags::structure;
use super::{Context, dag, show};
use crate::args::{FolderArgs, ListRunsArgs, TriggerArgs};
use crate::remote::{Refused, Remote, quoted};
use crate::{asking, local, output};

pub fn list(context: &Context, args: &ListRunsArgs) -> Result<()> {
    let date = |text: &Option<String>| text.as_deref().map(|text| context.date(text)).transpose();
    let (from, to) = (date(&args.start_date)?, date(&args.end_date)?);
    let store = context.dags(&FolderArgs::of_environment())?;
    dag(&*store, &args.dag_id)?;
    let run_types = RunType::ALL.iter().copied().filter(|kind| !args.no_backfill || *kind != RunType::Backfill);
    let filter = RunFilter {
        dag_id: Some(DagId::from(args.dag_id.as_str())),
        states: args.state.iter().filter_map(|state| state.parse().ok()).collect(),
        run_types: run_types.collect(),
        logical_date: Span { from, to, or_missing: false },
        ..RunFilter::default()
    };
    let (runs, _) = store.runs(&filter, &[(RunOrder::RunAfter, Direction::Descending)], Page::ALL)?;
    show(&runs.iter().map(cli::run_row).collect::<Vec<_>>(), args.output.output)
}

/// The run that a text names by its id or by its logical date.
pub fn find(context: &Context, store: &dyn Store, dag_id: &str, text: &str) -> Result<Option<DagRun>> {
    if let Some(run) = store.run(&RunKey::new(dag_id, text))? {
        return Ok(Some(run));
    }
    let Some(date) = context.date_or_none(text)? else { return Ok(None) };
    let logical_date = Span { from: Some(date), to: Some(date), or_missing: false };
    let filter = RunFilter { dag_id: Some(DagId::from(dag_id)), logical_date, ..RunFilter::default() };
    Ok(store.runs(&filter, &[(RunOrder::Id, Direction::Descending)], Page { limit: 1, offset: 0 })?.0.pop())
}

pub fn state(context: &Context, dag_id: &str, text: &str) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    dag(&*store, dag_id)?;
    match find(context, &*store, dag_id, text)? {
        None => output::print_line("None"),
        Some(run) if run.conf.as_object().is_some_and(|conf| !conf.is_empty()) => {
            output::print_line(&format!("{}, {}", run.state, template::python::dumps(&run.conf, None)))
        }
        Some(run) => output::print_line(run.state.name()),
    }
}

/// A run's configuration as the command line has it.
pub fn conf(text: Option<&str>) -> Result<Json> {
    text.map_or_else(|| Ok(json!({})), |text| conf_of("--conf", text))
}

/// A run's configuration that an option gives.
pub fn conf_of(option: &str, text: &str) -> Result<Json> {
    let conf: Json = serde_json::from_str(text).with_context(|| format!("{option} is no JSON: {text}"))?;
    match conf {
        Json::Null => Ok(json!({})),
        Json::Object(_) => Ok(conf),
        _ => bail!("{option} must be a JSON object, such as '{{\"key\": 1}}'"),
    }
}

pub fn trigger(context: &Context, args: TriggerArgs) -> Result<()> {
    let conf = conf(args.conf.as_deref())?;
    let date = |text: &Option<String>| text.as_deref().map(|text| context.date(text)).transpose();
    let mut logical_date = date(&args.logical_date)?;
    if !args.no_replace_microseconds {
        logical_date = logical_date.map(|date| Timestamp::from_second(date.as_second())).transpose()?;
    }
    let run_after = date(&args.run_after)?.map(to_microseconds);
    let mut request = RunRequest {
        run_id: args.run_id,
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Cli,
        triggering_user: crate::token::user(),
        logical_date: logical_date.map(to_microseconds),
        data_interval: None,
        run_after,
        conf,
        note: args.note,
        partition_key: None,
    };
    let reader = context.dags(&FolderArgs::of_environment())?;
    // What is wrong with the Dag's name, the server would say less well.
    let record = dag(&*reader, &args.dag_id)?;
    let run_id = name(context, &record, &*structure(&*reader, &record)?, &mut request)?;
    drop(reader);
    let key = RunKey { dag_id: record.dag_id.clone(), run_id: run_id.as_str().into() };
    let was_asked = Cell::new(false);
    let made_before = || -> Result<Option<DagRun>> {
        if was_asked.replace(true) { Ok(context.reader()?.run(&key)?) } else { Ok(None) }
    };
    let run = context.change(
        |store| match made_before()? {
            Some(run) => Ok(run),
            None => trigger_alone(store, &key.dag_id, request.clone()),
        },
        |remote| match made_before()? {
            Some(run) => Ok(run),
            None => trigger_through(context, remote, &key, &request),
        },
    )?;
    if record.paused {
        say!("Note: the Dag {0} is paused: the run stays queued until updraft dags unpause {0}", record.dag_id);
    }
    show(&[cli::triggered_row(&run)], args.output.output)
}

/// Names the run here, so that it can be told from others if the answer is lost. What only a timetable of a plugin knows
/// about it, it is asked, too.
pub(super) fn name(context: &Context, record: &DagRecord, structure: &Dag, request: &mut RunRequest) -> Result<String> {
    let now = to_microseconds(Timestamp::now());
    if structure.timetable.custom().is_some() {
        check_allowed(record, request.run_type)?;
        asking::fill_in(context, request, structure, now)
            .with_context(|| format!("the Dag {} can't be triggered", record.dag_id))?;
    }
    let moment = request.run_after.unwrap_or(now);
    let run_type = request.run_type.name();
    let made = || format!("{run_type}__{}", python_isoformat(moment));
    Ok(request.run_id.get_or_insert_with(made).clone())
}

pub(super) fn trigger_alone(store: &std::sync::Arc<dyn Store>, dag_id: &DagId, request: RunRequest) -> Result<DagRun> {
    let record = dag(&**store, dag_id.as_str())?;
    check_allowed(&record, request.run_type)?;
    let structure = structure(&**store, &record)?;
    let run = triggering::check(request, &structure, to_microseconds(Timestamp::now()))
        .with_context(|| format!("the Dag {dag_id} can't be triggered"))?;
    let made = local::trigger(store, dag_id, run)?.with_context(|| format!("the Dag {dag_id} can't be triggered"))?;
    Ok(*made)
}

fn check_allowed(record: &DagRecord, run_type: RunType) -> Result<()> {
    let dag_id = &record.dag_id;
    if record.has_import_errors {
        bail!("the Dag {dag_id} has import errors and can't be triggered: see updraft dags list-import-errors");
    }
    let allowed = record.allowed_run_types.as_ref();
    if allowed.is_some_and(|types| !types.iter().any(|name| name == run_type.name())) {
        bail!("the Dag {dag_id} can't be triggered: it does not allow {run_type} runs");
    }
    Ok(())
}

/// A conflict in the words of the scheduler, which say what there is already.
fn said_plainly(context: &Context, error: anyhow::Error, key: &RunKey, request: &RunRequest) -> Result<anyhow::Error> {
    if error.downcast_ref::<Refused>().is_none_or(|refused| refused.status != 409) {
        return Ok(error);
    }
    let dag_id = key.dag_id.clone();
    Ok(match (context.reader()?.run_exists(key, request.logical_date)?, request.logical_date) {
        (RunExists::SameId, _) => TriggerError::RunIdTaken { dag_id, run_id: key.run_id.clone() }.into(),
        (RunExists::SameLogicalDate, Some(logical_date)) => {
            TriggerError::LogicalDateTaken { dag_id, logical_date }.into()
        }
        _ => error,
    })
}

fn trigger_through(context: &Context, remote: &Remote, key: &RunKey, request: &RunRequest) -> Result<DagRun> {
    let body = json!({
        "dag_run_id": request.run_id,
        "logical_date": request.logical_date.map(python_isoformat),
        "data_interval_start": request.data_interval.map(|interval| python_isoformat(interval.start)),
        "data_interval_end": request.data_interval.map(|interval| python_isoformat(interval.end)),
        "run_after": request.run_after.map(python_isoformat),
        "conf": request.conf,
        "note": request.note,
    });
    let answer = remote
        .post(&format!("/api/v2/dags/{}/dagRuns", quoted(key.dag_id.as_str())), &body)
        .or_else(|error| Err(said_plainly(context, error, key, request)?))
        .with_context(|| format!("the Dag {} can't be triggered", key.dag_id))?;
    let mut run = context.reader()?.run(key)?.ok_or_else(|| anyhow!("the run {key} is not in the database"))?;
    // It may have begun meanwhile; what was made is told, as without a server.
    if let Some(state) = answer["state"].as_str().and_then(|state| state.parse().ok()) {
        run.state = state;
    }
    Ok(run)
}
