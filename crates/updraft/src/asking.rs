//! Timetables of plugins, asked by commands: in a Python of their own, which ends with the answer.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use engine::backfilling::BackfillRequest;
use engine::timetables;
use engine::triggering::RunRequest;
use jiff::Timestamp;
use model::Dag;
use model::timetable::NextRun;
use python::{Evaluator, Helper};

use crate::args::FolderArgs;
use crate::commands::Context;
use crate::signals::Termination;
use crate::{folder, python_env, stack};

/// Has the Dag's timetable say what a run is about, if only Python can; see [`timetables::fill_in`].
pub fn fill_in(context: &Context, request: &mut RunRequest, dag: &Dag, now: Timestamp) -> Result<()> {
    if dag.timetable.custom().is_none() {
        return Ok(());
    }
    ask(context, async |evaluator| Ok(timetables::fill_in(Some(evaluator), request, dag, now).await?))
}

/// The dates of a backfill, if only Python knows them; see [`timetables::dates_between`].
pub fn dates_between(context: &Context, request: &BackfillRequest, dag: &Dag) -> Result<Option<Vec<NextRun>>> {
    if dag.timetable.custom().is_none() {
        return Ok(None);
    }
    ask(context, async |evaluator| Ok(timetables::dates_between(Some(evaluator), request, dag).await?))
}

fn ask<T>(context: &Context, question: impl AsyncFnOnce(&Evaluator) -> Result<T>) -> Result<T> {
    let runtime = stack::runtime()?;
    let result = runtime.block_on(async {
        let mut termination = Termination::listen()?;
        tokio::select! {
            result = answer(context, question) => result,
            signal = termination.wait() => bail!("stopped by {signal}"),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn answer<T>(context: &Context, question: impl AsyncFnOnce(&Evaluator) -> Result<T>) -> Result<T> {
    let args = FolderArgs::of_environment();
    let python = python_env::find(args.python.as_deref(), &context.home).await?;
    let host = stack::start_host(&context.home, None)?;
    let helper = Helper::new(host.clone());
    let folders = folder::existing(&args, &context.home, &context.config);
    helper.configure(stack::helper_options(&context.home, python.path.clone(), &folders));
    // Says what is wrong with the packages, for which a question would wait.
    helper.server().await?.ready().await.with_context(|| format!("{} can't be used", python.path.display()))?;
    let evaluator = stack::evaluator(&context.config, &helper, context.reader()?)?;
    question(&evaluator).await
}
