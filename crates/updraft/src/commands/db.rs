//! `updraft db`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use store::Store;
use store::sqlite::{self, SCHEMA_VERSION, SqliteStore};

use super::Context;
use crate::args::DbCommand;
use crate::home::{Access, HomeLock};
use crate::output;

pub fn run(context: &Context, command: DbCommand) -> Result<ExitCode> {
    let path = context.home.database();
    match command {
        DbCommand::Migrate => {
            context.open()?.check()?;
            say!("The database {} has schema {SCHEMA_VERSION}", path.display());
            say!("Database migrating done!");
        }
        DbCommand::Check => {
            if !path.exists() {
                bail!("there is no database {}: updraft db migrate makes it", path.display());
            }
            context.open()?.check()?;
            say!("Connection successful.");
        }
        DbCommand::CheckMigrations => match sqlite::schema_version(&path)? {
            None => bail!("there is no database {}: updraft db migrate makes it", path.display()),
            Some(found) if found < SCHEMA_VERSION => {
                bail!(
                    "the database {} has schema {found}, and this version {SCHEMA_VERSION}: updraft db migrate",
                    path.display()
                )
            }
            // Opening says what is to be done about a newer one.
            Some(_) => drop(context.open()?),
        },
        DbCommand::Reset { yes } => {
            let lock = alone(context)?;
            let question = format!("This deletes everything in the database {}. Proceed?", path.display());
            if !yes && !output::confirm(&question)? {
                say!("Cancelled");
                return Ok(ExitCode::FAILURE);
            }
            sqlite::remove(&path)?;
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path)?);
            store.check()?;
            drop(lock);
            say!("The database {} is empty", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn alone(context: &Context) -> Result<HomeLock> {
    match context.home.access()? {
        Access::Alone(lock) => Ok(lock),
        Access::Server(server) => {
            bail!("the server at {} (process {}) uses the database: stop it first", server.url, server.pid)
        }
    }
}
