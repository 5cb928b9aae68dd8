//! `updraft assets`: what there is, and runs that make it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use cli::Row;
use engine::triggering::RunRequest;
use jiff::Timestamp;
use model::{DagId, DagRun, RunKey, RunType, TriggeredBy};
use serde_json::{Value, json};
use store::{
    AliasFilter, AliasOrder, AssetFilter, AssetOrder, AssetUse, DagRecord, Direction, ListedAsset, NumberedAlias, Page,
    Store,
};
use worker::Masker;

use super::{Context, dag, runs, show, structure};
use crate::args::{AssetDetailsArgs, AssetsCommand, FolderArgs, ListAssetsArgs, MaterializeArgs, Output};
use crate::remote::quoted;
use crate::stack;

pub fn run(context: &Context, command: AssetsCommand) -> Result<ExitCode> {
    match command {
        AssetsCommand::List(args) => list(context, &args),
        AssetsCommand::Details(args) => details(context, args),
        AssetsCommand::Materialize(args) => materialize(context, &args),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// As Pydantic writes a moment.
fn moment(at: Option<Timestamp>) -> Value {
    let text = |at: Timestamp| if at.subsec_nanosecond() == 0 { at.to_string() } else { format!("{at:.6}") };
    at.map(text).into()
}

fn alias_row(alias: &NumberedAlias) -> Row {
    let NumberedAlias { number, alias } = alias;
    cli::row([("id", (*number).into()), ("name", alias.name.as_str().into()), ("group", alias.group.as_str().into())])
}

/// `AssetResponse`.
fn asset_row(listed: &ListedAsset, masker: &Masker) -> Row {
    let uses = |is_meant: fn(&AssetUse) -> bool| -> Value {
        let found = listed.uses.iter().filter(|found| is_meant(&found.by));
        let shown = found.map(|found| {
            let mut shown = json!({"dag_id": found.dag_id.as_str()});
            if let AssetUse::Inlet(task_id) | AssetUse::Outlet(task_id) = &found.by {
                shown["task_id"] = task_id.as_str().into();
            }
            shown["created_at"] = moment(Some(found.created_at));
            shown["updated_at"] = moment(Some(found.updated_at));
            shown
        });
        shown.collect()
    };
    let mut extra = listed.asset.extra.clone();
    masker.redact(&mut extra, None);
    cli::row([
        ("id", listed.number.into()),
        ("name", listed.asset.key.name.as_str().into()),
        ("uri", listed.asset.key.uri.as_str().into()),
        ("group", listed.asset.group.as_str().into()),
        ("extra", extra),
        ("created_at", moment(Some(listed.created_at))),
        ("updated_at", moment(Some(listed.updated_at))),
        ("scheduled_dags", uses(|by| matches!(by, AssetUse::Schedule))),
        ("producing_tasks", uses(|by| matches!(by, AssetUse::Outlet(_)))),
        ("consuming_tasks", uses(|by| matches!(by, AssetUse::Inlet(_)))),
        ("aliases", listed.aliases.iter().map(alias_row).map(Value::Object).collect()),
        ("watchers", json!([])),
        ("last_asset_event", Value::Null),
    ])
}

fn masker(context: &Context) -> Result<Masker> {
    Ok(Masker::new(Arc::new(stack::mask_rules(&context.config)?)))
}

fn list(context: &Context, args: &ListAssetsArgs) -> Result<()> {
    let store = context.dags(&FolderArgs::of_environment())?;
    let rows: Vec<Row> = if args.alias {
        let by_name = [(AliasOrder::Name, Direction::Ascending)];
        store.list_aliases(&AliasFilter::default(), &by_name, Page::ALL)?.0.iter().map(alias_row).collect()
    } else {
        let by_name = [(AssetOrder::Name, Direction::Ascending)];
        let masker = masker(context)?;
        let found = store.list_assets(&AssetFilter::default(), &by_name, Page::ALL)?.0;
        found.iter().map(|listed| asset_row(listed, &masker)).collect()
    };
    let is_shown = |name: &String| args.columns.iter().any(|column| column.trim() == name);
    let shown: Vec<Row> =
        rows.into_iter().map(|row| row.into_iter().filter(|(name, _)| is_shown(name)).collect()).collect();
    show(&shown, args.output.output)
}

/// What options ask for, and the words for it.
fn wanted(name: Option<&str>, uri: Option<&str>) -> Result<(AssetFilter, String)> {
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let (name, uri) = (given(name), given(uri));
    let mut words = Vec::new();
    words.extend(name.as_ref().map(|name| format!("name {name}")));
    words.extend(uri.as_ref().map(|uri| format!("URI {uri}")));
    if words.is_empty() {
        bail!("Either --name or --uri is required");
    }
    Ok((AssetFilter { name, uri, ..AssetFilter::default() }, words.join(" and ")))
}

fn details(context: &Context, args: AssetDetailsArgs) -> Result<()> {
    let row = if args.alias { alias_of(context, args.name, args.uri)? } else { asset_of(context, &args)? };
    match args.output.output {
        output @ (Output::Table | Output::Plain) => {
            let property =
                |(name, value): (String, Value)| cli::row([("property_name", name.into()), ("property_value", value)]);
            show(&row.into_iter().map(property).collect::<Vec<_>>(), output)
        }
        output => show(&[row], output),
    }
}

fn alias_of(context: &Context, name: Option<String>, uri: Option<String>) -> Result<Row> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { bail!("Required --name with --alias") };
    if uri.is_some_and(|uri| !uri.is_empty()) {
        bail!("Cannot use --uri with --alias");
    }
    let store = context.dags(&FolderArgs::of_environment())?;
    let filter = AliasFilter { name: Some(name.clone()), ..AliasFilter::default() };
    let found = store.list_aliases(&filter, &[], Page::ALL)?.0;
    let alias = found.first().ok_or_else(|| anyhow!("Asset alias with name {name} does not exist."))?;
    Ok(alias_row(alias))
}

fn asset_of(context: &Context, args: &AssetDetailsArgs) -> Result<Row> {
    let (filter, words) = wanted(args.name.as_deref(), args.uri.as_deref())?;
    let store = context.dags(&FolderArgs::of_environment())?;
    match store.list_assets(&filter, &[], Page::ALL)?.0.as_slice() {
        [] => bail!("Asset with {words} does not exist."),
        [listed] => Ok(asset_row(listed, &masker(context)?)),
        _ => bail!("More than one asset exists with {words}."),
    }
}

fn materialize(context: &Context, args: &MaterializeArgs) -> Result<()> {
    let (filter, words) = wanted(args.name.as_deref(), args.uri.as_deref())?;
    let reader = context.dags(&FolderArgs::of_environment())?;
    // By Dag, with the number of an asset that it makes.
    let mut producers: BTreeMap<DagId, i64> = BTreeMap::new();
    for listed in reader.list_assets(&filter, &[], Page::ALL)?.0 {
        let made_by = listed.uses.iter().filter(|found| matches!(found.by, AssetUse::Outlet(_)));
        producers.extend(made_by.map(|found| (found.dag_id.clone(), listed.number)));
    }
    if producers.len() > 1 {
        bail!("More than one DAG materializes asset with {words}.");
    }
    let Some((dag_id, asset)) = producers.pop_first() else { bail!("Asset with {words} does not exist.") };
    let mut request = RunRequest {
        run_id: None,
        run_type: RunType::AssetMaterialization,
        triggered_by: TriggeredBy::Cli,
        triggering_user: crate::token::user(),
        logical_date: None,
        data_interval: None,
        run_after: None,
        conf: json!({}),
        note: None,
        partition_key: None,
    };
    let record = dag(&*reader, dag_id.as_str())?;
    let run_id = runs::name(context, &record, &*structure(&*reader, &record)?, &mut request)?;
    drop(reader);
    let key = RunKey { dag_id, run_id: run_id.as_str().into() };
    // The answer to a request that was made may be lost.
    let was_asked = Cell::new(false);
    let made_before = || -> Result<Option<DagRun>> {
        if was_asked.replace(true) { Ok(context.reader()?.run(&key)?) } else { Ok(None) }
    };
    let run = context.change(
        |store| match made_before()? {
            Some(run) => Ok(run),
            None => runs::trigger_alone(store, &key.dag_id, request.clone()),
        },
        |remote| match made_before()? {
            Some(run) => Ok(run),
            None => {
                let path = format!("/api/v2/assets/{}/materialize", quoted(&asset.to_string()));
                remote
                    .post(&path, &json!({"dag_run_id": run_id}))
                    .with_context(|| format!("the asset with {words} can't be materialized"))?;
                context.reader()?.run(&key)?.ok_or_else(|| anyhow!("the run {key} is not in the database"))
            }
        },
    )?;
    show(&[run_row(&*context.reader()?, &record, &run)?], args.output.output)
}

/// `DAGRunResponse`.
fn run_row(store: &dyn Store, record: &DagRecord, run: &DagRun) -> Result<Row> {
    let head = store.version_head(run.version)?;
    let versions = head.into_iter().map(|head| {
        json!({
            "id": head.id.to_string(),
            "version_number": head.number,
            "dag_id": head.dag_id.as_str(),
            "bundle_name": head.bundle_name,
            "bundle_version": head.bundle_version,
            "created_at": moment(Some(head.created_at)),
            "dag_display_name": record.display_name,
            "bundle_url": null,
        })
    });
    let versions: Vec<Value> = versions.collect();
    let partition = run.partition.as_ref();
    Ok(cli::row([
        ("dag_run_id", run.key.run_id.as_str().into()),
        ("dag_id", run.key.dag_id.as_str().into()),
        ("logical_date", moment(run.logical_date)),
        ("queued_at", moment(run.queued_at)),
        ("start_date", moment(run.start_date)),
        ("end_date", moment(run.end_date)),
        ("duration", run.duration().map(|duration| duration.as_secs_f64()).into()),
        ("data_interval_start", moment(run.data_interval.map(|interval| interval.start))),
        ("data_interval_end", moment(run.data_interval.map(|interval| interval.end))),
        ("run_after", moment(Some(run.run_after))),
        ("last_scheduling_decision", moment(run.last_scheduling_decision)),
        ("run_type", run.run_type.name().into()),
        ("state", run.state.name().into()),
        ("triggered_by", run.triggered_by.name().into()),
        ("triggering_user_name", run.triggering_user.clone().into()),
        ("conf", (*run.conf).clone()),
        ("note", run.note.clone().into()),
        ("dag_versions", versions.into()),
        ("bundle_version", run.bundle_version.clone().into()),
        ("dag_display_name", record.display_name.as_str().into()),
        ("partition_key", partition.map(|partition| partition.key.as_str()).into()),
        ("partition_date", moment(partition.and_then(|partition| partition.date))),
    ]))
}
