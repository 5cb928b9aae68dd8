//! `updraft connections`. As variables, they are the database's alone.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use cli::{ExportFormat, Row};
use store::{Connection, Page, Store, StoreError, Write};
use worker::Masker;

use super::{Context, Usage, export, meant, show};
use crate::args::{
    AddConnectionArgs, ConnectionsCommand, ExportConnectionsArgs, ImportConnectionsArgs, Output, ValuesArgs,
};
use crate::stack;

/// The longest id that Airflow takes from people.
const MAX_ID: usize = 200;

pub fn run(context: &Context, command: ConnectionsCommand) -> Result<ExitCode> {
    match command {
        ConnectionsCommand::List(args) => list(context, args)?,
        ConnectionsCommand::Get { conn_id, output } => get(context, &conn_id, output.output)?,
        ConnectionsCommand::Add(args) => add(context, &args)?,
        ConnectionsCommand::Delete { conn_id } => delete(context, &conn_id)?,
        ConnectionsCommand::Import(args) => return import(context, &args),
        ConnectionsCommand::Export(args) => export_all(context, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn all(store: &dyn Store) -> Result<Vec<Connection>> {
    Ok(store.connections(None, Page::ALL)?.0)
}

fn list(context: &Context, args: ValuesArgs) -> Result<()> {
    if args.hide_sensitive && !args.show_values {
        return Err(Usage("--hide-sensitive can only be used with --show-values".into()).into());
    }
    let row = |connection: &Connection| -> Row {
        if args.show_values {
            return cli::connection_row(connection, args.hide_sensitive);
        }
        cli::row([
            ("conn_id", connection.connection_id.as_str().into()),
            ("conn_type", connection.conn_type.as_str().into()),
        ])
    };
    show(&all(&*context.reader()?)?.iter().map(row).collect::<Vec<Row>>(), args.output.output)
}

/// A connection that the environment defines, which comes before the database.
fn from_environment(id: &str) -> Result<Option<Connection>> {
    let name = format!("AIRFLOW_CONN_{}", id.to_uppercase());
    let Ok(text) = std::env::var(&name) else { return Ok(None) };
    let is_json = text.trim_start().starts_with('{');
    let connection = if is_json {
        cli::connection_from_json(id, &text)
    } else {
        cli::connection_from_uri(id, &text).map_err(Into::into)
    };
    Ok(Some(connection.with_context(|| format!("{name} can't be read"))?))
}

fn unknown(store: &dyn Store, id: &str) -> Result<anyhow::Error> {
    let known = all(store)?;
    let hint = meant(id, known.iter().map(|connection| connection.connection_id.as_str()));
    Ok(anyhow::anyhow!("there is no connection {id:?}{hint}"))
}

fn get(context: &Context, id: &str, output: Output) -> Result<()> {
    let connection = match from_environment(id)? {
        Some(connection) => connection,
        None => {
            let store = context.reader()?;
            match store.connection(id)? {
                Some(connection) => connection,
                None => return Err(unknown(&*store, id)?),
            }
        }
    };
    show(&[cli::connection_row(&connection, false)], output)
}

fn usage(message: &str) -> anyhow::Error {
    Usage(message.to_owned()).into()
}

fn add(context: &Context, args: &AddConnectionArgs) -> Result<()> {
    let connection = read(args)?;
    let store = context.open()?;
    if store.connection(&args.conn_id)?.is_some() {
        bail!("A connection with `conn_id`={} already exists.", args.conn_id);
    }
    store.commit(vec![Write::NewConnection(Box::new(connection.clone()))])?;
    say!("Successfully added `conn_id`={}", args.conn_id);
    let mut extra = cli::extra_of(&connection);
    Masker::new(Arc::new(stack::mask_rules(&context.config)?)).redact(&mut extra, None);
    let row = cli::row([
        ("conn_id", connection.connection_id.as_str().into()),
        ("conn_type", connection.conn_type.as_str().into()),
        ("host", connection.host.clone().into()),
        ("login", connection.login.clone().into()),
        ("port", connection.port.into()),
        ("extra", extra),
    ]);
    show(&[row], Output::Table)
}

fn read(args: &AddConnectionArgs) -> Result<Connection> {
    let id = args.conn_id.as_str();
    cli::check_key(id, MAX_ID).map_err(|error| usage(&format!("Could not create connection. {error}")))?;
    let mut connection = match (&args.conn_uri, &args.conn_json) {
        (Some(_), Some(_)) => return Err(usage("Cannot supply both conn-uri and conn-json")),
        (Some(uri), None) => {
            refuse_parts(args, "--conn-uri")?;
            if !cli::has_scheme(uri) {
                return Err(usage(&format!("The URI provided to --conn-uri is invalid: {uri}")));
            }
            let connection = cli::connection_from_uri(id, uri).context("--conn-uri can't be read")?;
            Connection { description: args.conn_description.clone(), ..connection }
        }
        (None, Some(json)) => {
            refuse_parts(args, "--conn-json")?;
            let connection = cli::connection_from_json(id, json).context("--conn-json can't be read")?;
            if connection.conn_type.is_empty() {
                return Err(usage("conn-json is invalid; must supply conn-type"));
            }
            connection
        }
        (None, None) => from_parts(args)?,
    };
    if let Some(extra) = &args.conn_extra {
        connection.extra = Some(extra.clone());
    }
    cli::check_extra(&connection).context("--conn-extra can't be used")?;
    Ok(connection)
}

fn from_parts(args: &AddConnectionArgs) -> Result<Connection> {
    let Some(conn_type) = args.conn_type.clone().filter(|kind| !kind.is_empty()) else {
        return Err(usage("Must supply either conn-uri or conn-json if not supplying conn-type"));
    };
    let port = match args.conn_port.as_deref().filter(|port| !port.is_empty()) {
        None => None,
        Some(port) => Some(port.parse().map_err(|_| usage(&format!("--conn-port must be a number, and is {port:?}")))?),
    };
    Ok(Connection {
        connection_id: args.conn_id.clone(),
        conn_type,
        description: args.conn_description.clone(),
        host: args.conn_host.clone(),
        login: args.conn_login.clone(),
        password: args.conn_password.clone(),
        schema: args.conn_schema.clone(),
        port,
        ..Connection::default()
    })
}

fn refuse_parts(args: &AddConnectionArgs, with: &str) -> Result<()> {
    let extra = if with == "--conn-json" { &args.conn_extra } else { &None };
    let parts = [
        ("--conn-type", &args.conn_type),
        ("--conn-host", &args.conn_host),
        ("--conn-login", &args.conn_login),
        ("--conn-password", &args.conn_password),
        ("--conn-schema", &args.conn_schema),
        ("--conn-port", &args.conn_port),
        ("--conn-extra", extra),
    ];
    let given: Vec<&str> = parts.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(usage(&format!("The following args are not compatible with the {with} flag: {}", given.join(", "))))
}

fn delete(context: &Context, id: &str) -> Result<()> {
    let store = context.open()?;
    match store.commit(vec![Write::DeleteConnection(id.to_owned())]) {
        Err(StoreError::Missing { .. }) => return Err(unknown(&*store, id)?),
        result => result?,
    }
    say!("Successfully deleted connection with `conn_id`={id}");
    Ok(())
}

fn import(context: &Context, args: &ImportConnectionsArgs) -> Result<ExitCode> {
    let entries = cli::load(&args.file)?;
    let read = |(id, entry): (&String, &model::Json)| {
        let connection = cli::connection_from_value(id, entry);
        connection.with_context(|| format!("the connection {id:?} in {} can't be read", args.file.display()))
    };
    let connections = entries.iter().map(read).collect::<Result<Vec<_>>>()?;
    let store = context.open()?;
    for connection in connections {
        let id = connection.connection_id.clone();
        if let Err(error) = cli::check_key(&id, MAX_ID) {
            say!("Could not import connection. {error}");
        } else if !args.overwrite && store.connection(&id)?.is_some() {
            say!("Could not import connection {id}: connection already exists.");
        } else {
            store.commit(vec![Write::Connection(Box::new(connection))])?;
            say!("Imported connection {id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn export_all(context: &Context, args: &ExportConnectionsArgs) -> Result<()> {
    let is_stdout = args.file == Path::new("-");
    let extension = args.file.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let format = match (&args.file_format, extension.as_deref()) {
        (Some(format), _) => format.as_str(),
        (None, _) if is_stdout => "json",
        (None, Some(extension @ ("yaml" | "json" | "env"))) => extension,
        _ => return Err(usage("Unsupported file format. The file must have the extension .yaml, .json, .env.")),
    };
    let serialization = args.serialization_format.as_deref().map(str::to_lowercase);
    let format = match (format, serialization.as_deref()) {
        ("env", Some("json")) => ExportFormat::EnvJson,
        ("env", _) => ExportFormat::Env,
        (_, Some(_)) => {
            return Err(usage("Option `--serialization-format` may only be used with file type `env`."));
        }
        ("yaml", None) => ExportFormat::Yaml,
        _ => ExportFormat::Json,
    };
    let connections = all(&*context.reader()?)?;
    let text = cli::connections_text(&connections, format);
    export(&args.file, &text, &format!("{} Connections", connections.len()))
}
