//! Backfills.

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use engine::backfilling::{self, BackfillRequest, InvalidBackfill};
use jiff::Timestamp;
use model::operations::{python_isoformat, to_microseconds};
use model::timetable::NextRun;
use model::{Backfill, BackfillId, DagId, Reprocess};
use scheduler::BackfillWish;
use serde_json::{Value, json};
use store::{Direction, Page};

use super::dags::structure;
use super::{Context, Usage, dag, runs, show};
use crate::args::{BackfillCommand, Behavior, CreateBackfillArgs, FolderArgs, Output};
use crate::remote::Remote;
use crate::{asking, local};

pub fn run(context: &Context, command: BackfillCommand) -> Result<ExitCode> {
    match command {
        BackfillCommand::Create(args) => return create(context, &args),
        BackfillCommand::List { dag_id, output } => list(context, &dag_id, output.output)?,
        BackfillCommand::Pause { backfill_id } => set(context, backfill_id, BackfillWish::Pause)?,
        BackfillCommand::Unpause { backfill_id } => set(context, backfill_id, BackfillWish::Unpause)?,
        BackfillCommand::Cancel { backfill_id } => set(context, backfill_id, BackfillWish::Cancel)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn request(context: &Context, args: &CreateBackfillArgs) -> Result<BackfillRequest> {
    Ok(BackfillRequest {
        dag_id: DagId::from(args.dag_id.as_str()),
        from_date: to_microseconds(context.date(&args.from_date)?),
        to_date: to_microseconds(context.date(&args.to_date)?),
        backwards: args.run_backwards,
        conf: args.dag_run_conf.as_deref().map(|text| runs::conf_of("--dag-run-conf", text)).transpose()?,
        reprocess: match args.reprocess_behavior {
            None | Some(Behavior::None) => Reprocess::None,
            Some(Behavior::Completed) => Reprocess::Completed,
            Some(Behavior::Failed) => Reprocess::Failed,
        },
        max_active_runs: args.max_active_runs.map_or(10, i64::from),
        triggering_user: crate::token::user(),
        on_latest_version: !args.no_run_on_latest_version,
    })
}

fn create(context: &Context, args: &CreateBackfillArgs) -> Result<ExitCode> {
    let request = request(context, args)?;
    let store = context.dags(&FolderArgs::of_environment())?;
    let structure = structure(&*store, &dag(&*store, &args.dag_id)?)?;
    request.check_dag(&structure)?;
    let now = to_microseconds(Timestamp::now());
    request.check(&structure, now)?;
    let asked = asking::dates_between(context, &request, &structure)?;
    if args.dry_run {
        let dates = request.dates(&structure, now, asked)?;
        let dates = backfilling::to_run(&*store, &request.dag_id, dates, request.reprocess)?;
        let row = |next: NextRun| cli::row([("logical_date", python_isoformat(next.logical_date()).into())]);
        show(&dates.into_iter().map(row).collect::<Vec<_>>(), args.output.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dates = match request.some_dates(&structure, now, asked) {
        Err(error @ InvalidBackfill::Nothing { .. }) => {
            say!("Warning: {error}");
            return Ok(ExitCode::FAILURE);
        }
        dates => dates?,
    };
    drop(store);
    let id = context.change(
        |store| local::backfill(store, request.clone(), dates.clone()),
        |remote| create_through(remote, &request),
    )?;
    let backfill = found(context, id)?;
    show(&[row(&backfill)], args.output.output)?;
    Ok(ExitCode::SUCCESS)
}

fn create_through(remote: &Remote, request: &BackfillRequest) -> Result<BackfillId> {
    let body = json!({
        "dag_id": request.dag_id.as_str(),
        "from_date": python_isoformat(request.from_date),
        "to_date": python_isoformat(request.to_date),
        "run_backwards": request.backwards,
        "dag_run_conf": request.conf,
        "reprocess_behavior": request.reprocess.name(),
        "max_active_runs": request.max_active_runs,
        "run_on_latest_version": request.on_latest_version,
    });
    let answer = remote.post("/api/v2/backfills", &body)?;
    id_of(&answer)
}

fn id_of(answer: &Value) -> Result<BackfillId> {
    answer["id"].as_i64().map(BackfillId).ok_or_else(|| anyhow!("the server did not say which backfill it made"))
}

fn found(context: &Context, id: BackfillId) -> Result<Backfill> {
    let store = context.reader()?;
    store
        .backfill(id)?
        .with_context(|| format!("there is no backfill {id} (updraft backfill list shows those of a Dag)"))
}

fn row(backfill: &Backfill) -> cli::Row {
    let moment = |at: Option<Timestamp>| at.map_or(Value::Null, |at| python_isoformat(at).into());
    cli::row([
        ("id", backfill.id.0.into()),
        ("dag_id", backfill.dag_id.as_str().into()),
        ("from_date", moment(Some(backfill.from_date))),
        ("to_date", moment(Some(backfill.to_date))),
        ("is_paused", backfill.is_paused.into()),
        ("reprocess_behavior", backfill.reprocess.name().into()),
        ("max_active_runs", backfill.max_active_runs.into()),
        ("completed_at", moment(backfill.completed_at)),
    ])
}

fn list(context: &Context, dag_id: &str, output: Output) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    dag(&*store, dag_id)?;
    let (found, _) = store.backfills(Some(&DagId::from(dag_id)), None, Direction::Descending, Page::ALL)?;
    show(&found.iter().map(row).collect::<Vec<_>>(), output)
}

fn set(context: &Context, id: i64, wish: BackfillWish) -> Result<()> {
    if id < 0 {
        return Err(Usage(format!("{id} is no number of a backfill")).into());
    }
    let backfill = found(context, BackfillId(id))?;
    if backfill.completed_at.is_some() {
        bail!("the backfill {id} of the Dag {} is already completed", backfill.dag_id);
    }
    let (verb, done) = match wish {
        BackfillWish::Pause => ("pause", "paused"),
        BackfillWish::Unpause => ("unpause", "unpaused"),
        BackfillWish::Cancel => ("cancel", "cancelled"),
    };
    context.change(
        |store| local::set_backfill(store, &backfill, wish),
        |remote| remote.put(&format!("/api/v2/backfills/{id}/{verb}")).map(drop),
    )?;
    say!("The backfill {id} of the Dag {} is {done}", backfill.dag_id);
    Ok(())
}
