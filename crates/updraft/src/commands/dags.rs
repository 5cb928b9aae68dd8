//! `updraft dags`: lists, details, graphs; the rest is in `runs` and `dagtest`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use cli::Row;
use model::DagId;
use regex::Regex;
use serde_json::{Value, json};
use store::memory::MemoryStore;
use store::{DagFilter, DagOrder, DagRecord, Direction, Page, Store};

use super::{Context, NOTHING_IMPORTED, Usage, dag, runs, show};
use crate::args::{DagsCommand, FolderArgs, ListArgs, ListErrorsArgs, Output, PauseArgs};
use crate::remote::{Remote, quoted};
use crate::{accounts, dagtest, folder, local, output};

pub fn run(context: &Context, command: DagsCommand) -> Result<ExitCode> {
    match command {
        DagsCommand::List(args) => list(context, &args)?,
        DagsCommand::ListImportErrors(args) => return list_import_errors(context, &args),
        DagsCommand::ListRuns(args) => runs::list(context, &args)?,
        DagsCommand::Details { dag_id, output } => details(context, &dag_id, output.output)?,
        DagsCommand::Trigger(args) => runs::trigger(context, args)?,
        DagsCommand::Pause(args) => set_paused(context, &args, true)?,
        DagsCommand::Unpause(args) => set_paused(context, &args, false)?,
        DagsCommand::Delete { dag_id, yes } => delete(context, &dag_id, yes)?,
        DagsCommand::State { dag_id, run } => runs::state(context, &dag_id, &run)?,
        DagsCommand::Mark { dag_id, run, state } => super::mark::run(context, &dag_id, &run, &state)?,
        DagsCommand::Note { dag_id, run, note } => super::mark::run_note(context, &dag_id, &run, note)?,
        DagsCommand::Test(args) => return dagtest::run(context, args),
        DagsCommand::Show { dag_id } => show_graph(context, &dag_id)?,
        DagsCommand::Reserialize(args) => {
            let files = context.import(&args.folder, &args.bundle_name)?;
            say!("{files} Dag files are imported");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a list comes from: the database, or with `--local` the folder as it is now.
fn source(context: &Context, local: bool, args: &FolderArgs) -> Result<Arc<dyn Store>> {
    if !local {
        return context.dags(args);
    }
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    folder::import_once(&context.home, None, &context.config, args, &[], || Ok(Arc::clone(&store)))?;
    Ok(store)
}

fn list(context: &Context, args: &ListArgs) -> Result<()> {
    let store = source(context, args.local, &args.folder)?;
    let known = all_dags(&*store)?;
    if known.is_empty() && store.files()?.is_empty() {
        say!("Note: {NOTHING_IMPORTED}.");
    }
    let errors = store.import_errors(Page::ALL)?.0;
    if errors.iter().any(|error| is_wanted(&args.bundle_name, &error.bundle_name)) {
        say!("Error: Failed to load all files. For details, run `updraft dags list-import-errors`");
    }
    let wanted = known.iter().filter(|record| is_wanted(&args.bundle_name, &record.bundle_name));
    let columns: Vec<&str> = args.columns.iter().map(|column| column.trim()).filter(|name| !name.is_empty()).collect();
    let has_token = columns.is_empty() || columns.contains(&"file_token");
    let secret = if has_token { accounts::secret_key(&context.home, &context.config)? } else { String::new() };
    let mut rows: Vec<Row> = wanted.map(|record| row(record, &secret)).collect();
    if !columns.is_empty() {
        say_unknown_columns(&columns);
        for row in &mut rows {
            *row = columns.iter().filter_map(|name| Some(((*name).to_owned(), row.get(*name)?.clone()))).collect();
        }
    }
    show(&rows, args.output.output)
}

fn say_unknown_columns(columns: &[&str]) {
    let known = cli::DAG_COLUMNS;
    let unknown: Vec<&str> = columns.iter().copied().filter(|name| !known.contains(name)).collect();
    if !unknown.is_empty() {
        say!(
            "Error: Ignoring the following invalid columns: {}. List of valid columns: {}",
            unknown.join(", "),
            known.join(", ")
        );
    }
}

fn is_wanted(bundles: &[String], bundle: &str) -> bool {
    bundles.is_empty() || bundles.iter().any(|wanted| wanted == bundle)
}

fn all_dags(store: &dyn Store) -> Result<Vec<DagRecord>> {
    let filter = DagFilter { exclude_stale: true, ..DagFilter::default() };
    Ok(store.dags(&filter, &[(DagOrder::DagId, Direction::Ascending)], Page::ALL)?.0)
}

fn row(record: &DagRecord, secret: &str) -> Row {
    let is_periodic = engine::facts_of(record).is_ok_and(|facts| facts.timetable.is_periodic());
    cli::dag_row(record, is_periodic, api::file_token(secret, &record.bundle_name, &record.relative_fileloc))
}

fn list_import_errors(context: &Context, args: &ListErrorsArgs) -> Result<ExitCode> {
    let store = source(context, args.local, &args.folder)?;
    let errors = store.import_errors(Page::ALL)?.0;
    let wanted = errors.iter().filter(|error| is_wanted(&args.bundle_name, &error.bundle_name));
    let rows: Vec<Row> = wanted.map(cli::import_error_row).collect();
    show(&rows, args.output.output)?;
    Ok(if rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn details(context: &Context, dag_id: &str, output: Output) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    let row = row(&dag(&*store, dag_id)?, &accounts::secret_key(&context.home, &context.config)?);
    match output {
        Output::Table | Output::Plain => show(&cli::properties(row), output),
        Output::Json | Output::Yaml => show(&[row], output),
    }
}

fn show_graph(context: &Context, dag_id: &str) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    let record = dag(&*store, dag_id)?;
    output::print(&cli::dot(&*structure(&*store, &record)?))
}

/// The newest structure of a Dag.
pub fn structure(store: &dyn Store, record: &DagRecord) -> Result<Arc<model::Dag>> {
    let version = store.version(record.version)?;
    let version = version.ok_or_else(|| anyhow!("the structure of the Dag {} is missing", record.dag_id))?;
    Ok(python::serialized::read(&version.serialized, &version.extras)?.0)
}

/// The Dag with an id, or all that a regular expression matches.
pub fn meant_by(store: &dyn Store, dag_id: &str, is_regex: bool) -> Result<Vec<DagRecord>> {
    if !is_regex {
        return Ok(vec![dag(store, dag_id)?]);
    }
    let pattern = Regex::new(dag_id).map_err(|error| Usage(format!("{dag_id:?} is no regular expression: {error}")))?;
    Ok(all_dags(store)?.into_iter().filter(|record| pattern.is_match(record.dag_id.as_str())).collect())
}

fn set_paused(context: &Context, args: &PauseArgs, paused: bool) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    let matched = meant_by(&*store, &args.dag_id, args.treat_dag_id_as_regex)?;
    let changing: Vec<DagRecord> = matched.into_iter().filter(|record| record.paused != paused).collect();
    if changing.is_empty() {
        say!("No {}paused DAGs were found", if paused { "un" } else { "" });
        return Ok(());
    }
    let ids: Vec<&str> = changing.iter().map(|record| record.dag_id.as_str()).collect();
    if args.treat_dag_id_as_regex && !args.yes {
        let verb = if paused { "pause" } else { "unpause" };
        let question = format!("You are about to {verb} {} DAGs:\n{}\n\nAre you sure?", ids.len(), ids.join(","));
        if !output::confirm(&question)? {
            say!("Operation cancelled by user");
            return Ok(());
        }
    }
    context.change(
        |store| ids.iter().try_for_each(|id| local::set_paused(store, &DagId::from(*id), paused)),
        |remote| ids.iter().try_for_each(|id| pause_through(remote, id, paused)),
    )?;
    let old = |id: &&str| cli::row([("dag_id", (*id).into()), ("is_paused", (!paused).into())]);
    show(&ids.iter().map(old).collect::<Vec<Row>>(), args.output.output)
}

fn delete(context: &Context, dag_id: &str, yes: bool) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    // One that is in no file any more can be deleted too.
    if store.dag(&dag_id.into())?.is_none() {
        dag(&*store, dag_id)?;
    }
    let question = "This will drop all existing records related to the specified DAG. Proceed?";
    if !yes && !output::confirm(question)? {
        say!("Cancelled");
        return Ok(());
    }
    context.change(
        |store| local::delete_dag(store, &dag_id.into()),
        |remote| remote.delete(&format!("/api/v2/dags/{}", quoted(dag_id))).map(drop),
    )?;
    say!("Deleted the Dag {dag_id} and everything that belonged to it");
    Ok(())
}

fn pause_through(remote: &Remote, dag_id: &str, paused: bool) -> Result<()> {
    let answer = remote.patch(&format!("/api/v2/dags/{}", quoted(dag_id)), &json!({"is_paused": paused}))?;
    if answer["is_paused"] == Value::Bool(paused) {
        Ok(())
    } else {
        bail!("the server did not pause or unpause {dag_id}")
    }
}
