//! The engine's own steps on a database that no server has: what they decide is durable, and nothing is started.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use engine::backfilling::BackfillRequest;
use engine::{Core, Input, TriggerRequest};
use jiff::Timestamp;
use model::timetable::NextRun;
use model::{Backfill, BackfillId, DagId, DagRun, DagRunState, RunKey, TaskInstance};
use scheduler::{Action, BackfillWish, Clear, Config, Event, IdSource, Mark, NewRun, ReplyId, TriggerError};
use store::{DagFilter, Page, Store};

use crate::stack;
use crate::wiring::StoredDags;

const REPLY: ReplyId = ReplyId(0);

/// Takes one step. Draining comes first: runs that it makes stay queued, and the next server takes them up.
fn step(store: &Arc<dyn Store>, dag_id: &DagId, input: Input) -> Result<Vec<Action>> {
    take(store, vec![Input::DagsChanged(vec![dag_id.clone()]), input])
}

fn take(store: &Arc<dyn Store>, mut inputs: Vec<Input>) -> Result<Vec<Action>> {
    let ids = IdSource::new(stack::random_seed()?);
    let mut core = Core::new(Config::default(), ids, Arc::clone(store), StoredDags(Arc::clone(store)));
    inputs.insert(0, Input::Event(Event::Drain));
    let now = model::operations::to_microseconds(Timestamp::now());
    let mut actions = core.step(inputs, now)?;
    actions.extend(core.flush_lazy(now)?);
    Ok(actions)
}

/// Plans the next runs of all Dags, as an engine does when it has heard of their import.
pub fn plan(store: &Arc<dyn Store>) -> Result<()> {
    let filter = DagFilter { exclude_stale: true, ..DagFilter::default() };
    let ids = store.dags(&filter, &[], Page::ALL)?.0.into_iter().map(|record| record.dag_id).collect();
    take(store, vec![Input::DagsChanged(ids)]).map(drop)
}

/// Makes a run of a Dag.
pub fn trigger(store: &Arc<dyn Store>, dag_id: &DagId, run: NewRun) -> Result<Result<Box<DagRun>, TriggerError>> {
    let request = TriggerRequest { reply: REPLY, dag_id: dag_id.clone(), run };
    let actions = step(store, dag_id, Input::Trigger(Box::new(request)))?;
    let answer = actions.into_iter().find_map(|action| match action {
        Action::Reply { to: REPLY, answer } => Some(answer),
        _ => None,
    });
    answer.ok_or_else(|| anyhow!("the scheduler gave no answer to the request for a run; this is a bug"))
}

/// Deletes a Dag with all its runs.
pub fn delete_dag(store: &Arc<dyn Store>, dag_id: &DagId) -> Result<()> {
    let event = Event::DeleteDag { dag_id: dag_id.clone(), reply: REPLY };
    let answer = step(store, dag_id, Input::Event(event))?.into_iter().find_map(|action| match action {
        Action::RunChanged { to: REPLY, answer } => Some(answer),
        _ => None,
    });
    let answer = answer.ok_or_else(|| anyhow!("the scheduler did not delete the Dag {dag_id}; this is a bug"))?;
    answer.map(drop).map_err(|refused| anyhow!("the Dag {dag_id} is not deleted: {refused}"))
}

/// Has task instances run again, and gives them as they are then.
pub fn clear(store: &Arc<dyn Store>, dag_id: &DagId, clears: Vec<Clear>) -> Result<Vec<TaskInstance>> {
    change_tasks(store, dag_id, clears.into_iter().map(|clear| Event::Clear(Box::new(clear))).collect())
}

/// Gives task instances a state, and gives them as they are then.
pub fn mark(store: &Arc<dyn Store>, dag_id: &DagId, marks: Vec<Mark>) -> Result<Vec<TaskInstance>> {
    change_tasks(store, dag_id, marks.into_iter().map(|mark| Event::Mark(Box::new(mark))).collect())
}

fn change_tasks(store: &Arc<dyn Store>, dag_id: &DagId, events: Vec<Event>) -> Result<Vec<TaskInstance>> {
    let count = events.len();
    let mut inputs = vec![Input::DagsChanged(vec![dag_id.clone()])];
    inputs.extend(events.into_iter().map(Input::Event));
    let answers = take(store, inputs)?.into_iter().filter_map(|action| match action {
        Action::TasksChanged { answer, .. } => Some(answer),
        _ => None,
    });
    let mut changed = Vec::new();
    let mut answered = 0;
    for answer in answers {
        let tasks = answer.map_err(|refused| anyhow!("nothing is changed: {refused}"))?;
        changed.extend(tasks.task_instances);
        answered += 1;
    }
    if answered < count {
        bail!("the scheduler did not answer all requests to change task instances; this is a bug");
    }
    Ok(changed)
}

/// Ends a run, or puts it back into the queue.
pub fn set_run_state(store: &Arc<dyn Store>, run: RunKey, state: DagRunState) -> Result<()> {
    let dag_id = run.dag_id.clone();
    let event = Event::SetRunState { run: run.clone(), state, reply: REPLY };
    let answer = step(store, &dag_id, Input::Event(event))?.into_iter().find_map(|action| match action {
        Action::RunChanged { to: REPLY, answer } => Some(answer),
        _ => None,
    });
    let answer = answer.ok_or_else(|| anyhow!("the scheduler gave no answer about the run {run}; this is a bug"))?;
    answer.map(drop).map_err(|refused| anyhow!("the run {run} is not changed: {refused}"))
}

/// Makes a backfill; its runs begin when there is a server.
pub fn backfill(store: &Arc<dyn Store>, request: BackfillRequest, dates: Vec<NextRun>) -> Result<BackfillId> {
    let dag_id = request.dag_id.clone();
    let input = Input::Backfill { reply: REPLY, request: Box::new(request), dates };
    backfill_of(step(store, &dag_id, input)?).map(|backfill| backfill.id)
}

/// Pauses a backfill, lets it go on or cancels it.
pub fn set_backfill(store: &Arc<dyn Store>, backfill: &Backfill, wish: BackfillWish) -> Result<()> {
    let Backfill { dag_id, id, .. } = backfill;
    let event = Event::SetBackfill { dag_id: dag_id.clone(), id: *id, wish, reply: REPLY };
    backfill_of(step(store, dag_id, Input::Event(event))?).map(drop)
}

fn backfill_of(actions: Vec<Action>) -> Result<Box<Backfill>> {
    let answer = actions.into_iter().find_map(|action| match action {
        Action::BackfillChanged { to: REPLY, answer } => Some(answer),
        _ => None,
    });
    let answer = answer.ok_or_else(|| anyhow!("the scheduler gave no answer about the backfill; this is a bug"))?;
    Ok(answer?)
}

/// Pauses a Dag, or lets it go on.
pub fn set_paused(store: &Arc<dyn Store>, dag_id: &DagId, paused: bool) -> Result<()> {
    let event = Event::DagPaused { dag_id: dag_id.clone(), paused, reply: REPLY };
    let actions = step(store, dag_id, Input::Event(event))?;
    if actions.iter().any(|action| matches!(action, Action::Done { to: REPLY })) {
        Ok(())
    } else {
        bail!("the scheduler did not pause the Dag {dag_id}; this is a bug")
    }
}
