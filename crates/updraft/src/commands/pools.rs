//! `updraft pools`. The scheduler counts their slots: changes go through it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use store::{Page, Pool, Store, Write};

use super::{Context, Usage, export, meant, show};
use crate::args::{Output, PoolsCommand, SetPoolArgs};
use crate::remote::{Refused, Remote, quoted};

/// The pool of tasks that name none.
const DEFAULT_POOL: &str = "default_pool";

pub fn run(context: &Context, command: PoolsCommand) -> Result<()> {
    match command {
        PoolsCommand::List(args) => {
            let rows: Vec<_> = all(&*context.reader()?)?.iter().map(cli::pool_row).collect();
            show(&rows, args.output)
        }
        PoolsCommand::Get { pool, output } => get(context, &pool, output.output),
        PoolsCommand::Set(args) => set(context, args),
        PoolsCommand::Delete { pool } => delete(context, &pool),
        PoolsCommand::Import { file } => import(context, &file),
        PoolsCommand::Export { file } => {
            let pools = all(&*context.reader()?)?;
            let text = template::python::dumps(&cli::pools_document(&pools), Some(4));
            export(&file, &text, &format!("{} pools", pools.len()))
        }
    }
}

fn all(store: &dyn Store) -> Result<Vec<Pool>> {
    Ok(store.pools(None, Page::ALL)?.0)
}

fn find(store: &dyn Store, name: &str) -> Result<Pool> {
    if let Some(pool) = store.pool(name)? {
        return Ok(pool);
    }
    let pools = all(store)?;
    let hint = meant(name, pools.iter().map(|pool| pool.name.as_str()));
    Err(anyhow!("Pool {name} does not exist{hint}"))
}

fn get(context: &Context, name: &str, output: Output) -> Result<()> {
    show(&[cli::pool_row(&find(&*context.reader()?, name)?)], output)
}

fn set(context: &Context, args: SetPoolArgs) -> Result<()> {
    let SetPoolArgs { pool: name, slots, description, include_deferred } = args;
    let entry = json!({"slots": slots, "description": description, "include_deferred": include_deferred});
    let pool = cli::pool_from_entry(&name, &entry).ok_or_else(|| {
        Usage("a pool needs a name of 1 to 256 letters, and 0 or more slots, or -1 for any number of them".into())
    })?;
    put(context, vec![pool])?;
    say!("Pool {name} created");
    Ok(())
}

fn put(context: &Context, pools: Vec<Pool>) -> Result<()> {
    context.change(
        |store| Ok(store.commit(pools.iter().cloned().map(Write::Pool).collect())?),
        |remote| pools.iter().try_for_each(|pool| put_through(remote, pool)),
    )
}

fn put_through(remote: &Remote, pool: &Pool) -> Result<()> {
    let failed = || format!("the pool {} can't be set", pool.name);
    let body = json!({
        "name": pool.name,
        "slots": pool.slots,
        "description": pool.description,
        "include_deferred": pool.include_deferred,
    });
    let is_conflict = |error: &anyhow::Error| error.downcast_ref::<Refused>().is_some_and(|error| error.status == 409);
    match remote.post("/api/v2/pools", &body) {
        Err(error) if is_conflict(&error) => {}
        result => return result.map(drop).with_context(failed),
    }
    // Of the default pool only these may change.
    let mask = if pool.name == DEFAULT_POOL { "?update_mask=slots&update_mask=include_deferred" } else { "" };
    let body = if pool.name == DEFAULT_POOL { without(body, "description") } else { body };
    remote.patch(&format!("/api/v2/pools/{}{mask}", quoted(&pool.name)), &body).map(drop).with_context(failed)
}

fn without(mut body: Value, field: &str) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.shift_remove(field);
    }
    body
}

fn delete(context: &Context, name: &str) -> Result<()> {
    if name == DEFAULT_POOL {
        bail!("{DEFAULT_POOL} cannot be deleted");
    }
    find(&*context.reader()?, name)?;
    context.change(
        |store: &Arc<dyn Store>| Ok(store.commit(vec![Write::DeletePool(name.to_owned())])?),
        |remote| remote.delete(&format!("/api/v2/pools/{}", quoted(name))).map(drop),
    )?;
    say!("Pool {name} deleted");
    Ok(())
}

fn import(context: &Context, file: &Path) -> Result<()> {
    let entries = cli::load(file)?;
    let (mut pools, mut wrong) = (Vec::new(), Vec::new());
    for (name, entry) in &entries {
        match cli::pool_from_entry(name, entry) {
            Some(pool) => pools.push(pool),
            None => wrong.push(name.as_str()),
        }
    }
    let count = pools.len();
    put(context, pools)?;
    if !wrong.is_empty() {
        bail!("Failed to update pool(s): {}: each needs whole slots and a description", wrong.join(", "));
    }
    say!("Uploaded {count} pool(s)");
    Ok(())
}
