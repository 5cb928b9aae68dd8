//! `updraft variables`. Variables are nobody's state but the database's: a server that runs reads them there.

use anyhow::{Result, anyhow, bail};
use cli::Row;
use model::secrets::MASK;
use serde_json::Value;
use store::{Page, Store, StoreError, Variable, Write};

use super::{Context, Usage, export, show};
use crate::args::{ImportVariablesArgs, OnExisting, SetVariableArgs, ValuesArgs, VariablesCommand};
use crate::output;

/// The longest key that Airflow has room for.
const MAX_KEY: usize = 250;

pub fn run(context: &Context, command: VariablesCommand) -> Result<()> {
    match command {
        VariablesCommand::List(args) => list(context, args),
        VariablesCommand::Get { key, json, default } => get(context, &key, json, default),
        VariablesCommand::Set(args) => set(context, args),
        VariablesCommand::Delete { key } => delete(context, &key),
        VariablesCommand::Import(args) => import(context, &args),
        VariablesCommand::Export { file } => {
            let variables =
                all(&*context.reader()?)?.into_iter().map(Variable::unlocked).collect::<Result<Vec<_>, _>>()?;
            let text = template::python::dumps(&cli::variables_document(&variables), Some(4));
            export(&file, &text, &format!("{} Variables", variables.len()))
        }
    }
}

fn all(store: &dyn Store) -> Result<Vec<Variable>> {
    Ok(store.variables(None, Page::ALL)?.0)
}

fn list(context: &Context, args: ValuesArgs) -> Result<()> {
    if args.hide_sensitive && !args.show_values {
        return Err(Usage("--hide-sensitive can only be used with --show-values".into()).into());
    }
    let row = |variable: &Variable| -> Row {
        let key = ("key", variable.key.as_str().into());
        match (args.show_values, args.hide_sensitive) {
            (false, _) => cli::row([key]),
            (true, false) if variable.locked => cli::row([key, ("val", Value::Null)]),
            (true, false) => cli::row([key, ("val", variable.value.as_str().into())]),
            (true, true) => cli::row([key, ("val", MASK.into())]),
        }
    };
    show(&all(&*context.reader()?)?.iter().map(row).collect::<Vec<Row>>(), args.output.output)
}

fn variable_name(key: &str) -> String {
    format!("AIRFLOW_VAR_{}", key.to_uppercase())
}

fn get(context: &Context, key: &str, json: bool, default: Option<String>) -> Result<()> {
    // The environment comes first, as it does for tasks.
    let from_env = std::env::var(variable_name(key)).ok();
    let value = match from_env {
        Some(value) => Some(value),
        None => context.reader()?.variable(key)?.map(|variable| variable.value),
    };
    let value = match (value, default) {
        (Some(value), _) => value,
        (None, Some(default)) => return output::print_line(&default),
        (None, None) => bail!("Variable {key} does not exist"),
    };
    if !json {
        return output::print_line(&value);
    }
    let document: Value =
        serde_json::from_str(&value).map_err(|error| anyhow!("the value of variable {key} is no JSON: {error}"))?;
    output::print_line(&template::python::dumps(&document, None))
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() || key.chars().count() > MAX_KEY {
        return Err(Usage(format!("the key of a variable must have from 1 to {MAX_KEY} letters")).into());
    }
    if std::env::var_os(variable_name(key)).is_some() {
        say!(
            "Warning: {} in the environment comes before the database: as long as it is there, it is what tasks read",
            variable_name(key)
        );
    }
    Ok(())
}

fn set(context: &Context, args: SetVariableArgs) -> Result<()> {
    let SetVariableArgs { key, value, description, json } = args;
    check_key(&key)?;
    let value = if json { template::python::dumps(&Value::from(value), Some(2)) } else { value };
    let variable = Variable { key: key.clone(), value, description, ..Variable::default() };
    context.open()?.commit(vec![Write::Variable(variable)])?;
    say!("Variable {key} created");
    Ok(())
}

fn delete(context: &Context, key: &str) -> Result<()> {
    match context.open()?.commit(vec![Write::DeleteVariable(key.to_owned())]) {
        Ok(()) => say!("Variable {key} deleted"),
        // As with Airflow that is no failure.
        Err(StoreError::Missing { .. }) => say!("Variable {key} does not exist"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn import(context: &Context, args: &ImportVariablesArgs) -> Result<()> {
    let entries = cli::load(&args.file)?;
    let store = context.open()?;
    let mut existing: Vec<String> = all(&*store)?.into_iter().map(|variable| variable.key).collect();
    existing.retain(|key| entries.contains_key(key));
    if args.action_on_existing_key == OnExisting::Fail && !existing.is_empty() {
        bail!("Failed. These keys: {} already exist.", existing.join(", "));
    }
    let skips = |key: &String| args.action_on_existing_key == OnExisting::Skip && existing.contains(key);
    let mut writes = Vec::new();
    for (key, entry) in entries.iter().filter(|(key, _)| !skips(key)) {
        check_key(key)?;
        let cli::ImportedVariable { value, description } = cli::variable_from_entry(entry);
        writes.push(Write::Variable(Variable { key: key.clone(), value, description, ..Variable::default() }));
    }
    let count = writes.len();
    // All of the file or nothing.
    store.commit(writes)?;
    say!("{count} of {} variables successfully updated.", entries.len());
    if args.action_on_existing_key == OnExisting::Skip && !existing.is_empty() {
        say!("The variables with these keys: {} were skipped because they already exist", existing.join(", "));
    }
    Ok(())
}
