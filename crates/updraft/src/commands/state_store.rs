//! `updraft state-store`.

use anyhow::{Result, bail};
use jiff::Timestamp;
use store::{Commit, Page, TaskStateStore, Write};

use super::Context;
use crate::args::StateStoreCommand;
use crate::output;

/// Keys that are deleted or shown at once.
const AT_ONCE: u32 = 1000;

/// A server may run meanwhile: nobody holds these in memory.
pub fn run(context: &Context, command: &StateStoreCommand) -> Result<()> {
    let StateStoreCommand::Clean { dry_run } = command;
    if !context.home.database().exists() {
        bail!("there is no database in the home {}", context.home.path.display());
    }
    // As for any command that opens it: the schema is brought up to date, unless a server uses it.
    context.open()?;
    let store = context.sqlite()?;
    let before = Timestamp::now();
    let total = store.expired_task_states(before, Page { limit: 0, offset: 0 })?.1;
    if total == 0 {
        return output::print_line("Nothing to delete.");
    }
    if *dry_run {
        output::print_line(&format!("Would delete {total} task state store row(s):\n"))?;
        for offset in (0..total).step_by(AT_ONCE as usize) {
            for (ti, key) in store.expired_task_states(before, Page { limit: AT_ONCE.into(), offset })?.0 {
                let (dag_id, run_id) = (&ti.run.dag_id, &ti.run.run_id);
                let place = format!("Dag {dag_id}, run {run_id}, task {}, map_index {}", ti.task_id, ti.map_index.0);
                output::print_line(&format!("  {place}, key {key:?}"))?;
            }
        }
        return Ok(());
    }
    for _ in (0..total).step_by(AT_ONCE as usize) {
        store.commit(vec![Write::ExpiredTaskStates { before, limit: AT_ONCE }])?;
    }
    say!("Deleted {total} task state store row(s)");
    Ok(())
}
