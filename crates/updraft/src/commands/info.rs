//! `updraft info`.

use anyhow::Result;
use serde_json::Value;
use store::sqlite;

use super::{Context, show};
use crate::args::{FolderArgs, OutputArgs};
use crate::folder;

pub fn run(context: &Context, args: OutputArgs) -> Result<()> {
    let Context { home, config } = context;
    let server = home.server().map_or_else(|| "none".to_owned(), |it| format!("{} (process {})", it.url, it.pid));
    let schema = match sqlite::schema_version(&home.database()) {
        Ok(Some(version)) => format!("schema {version}"),
        Ok(None) => "not made yet".into(),
        Err(error) => error.to_string(),
    };
    let folders = match config.text("dag_processor", "dag_bundle_config_list") {
        Some(list) => list,
        None => config.text("core", "dags_folder").unwrap_or_else(|| home.path.join("dags").display().to_string()),
    };
    let python = FolderArgs::of_environment().python.unwrap_or_else(|| home.python());
    let configuration = config.file().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    let uname = nix::sys::utsname::uname();
    let system = uname.map(|name| format!("{} {}", name.sysname().display(), name.release().display()));
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("executable", executable),
        ("home", home.path.display().to_string()),
        ("configuration", configuration),
        ("database", format!("{} ({schema})", home.database().display())),
        ("dags", folders),
        ("logs", folder::log_folder(home, config).display().to_string()),
        ("python", python.display().to_string()),
        ("server", server),
        ("system", format!("{} {}", system.unwrap_or_default(), std::env::consts::ARCH)),
    ];
    let row = |(name, value): (&str, String)| {
        cli::row([("property_name", name.into()), ("property_value", Value::from(value))])
    };
    show(&rows.map(row), args.output)
}
