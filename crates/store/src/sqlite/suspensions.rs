//! Task instances that wait outside of a process.

use std::sync::Arc;

use model::{
    Json, MapIndex, RunKey, Suspension, TaskId, TaskInstanceKey, TimerEvent, Trigger, TriggerId, TriggerTimer,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::column::Columns;
use crate::FernetKeys;

const COLUMNS: &str = "s.task_id, s.map_index, s.timeout, s.next_method, s.next_kwargs, \
     s.trigger_id, s.classpath, s.kwargs, s.is_kwargs_encrypted, s.queue, s.created_at, s.timer_at, s.timer_event";
const BY_RUN: &str = "dag_run AS r JOIN suspension AS s ON s.run_rid = r.rid WHERE r.dag_id = ?1 AND r.run_id = ?2";

pub(super) fn find(
    connection: &Connection,
    keys: &FernetKeys,
    key: &TaskInstanceKey,
) -> rusqlite::Result<Option<Suspension>> {
    let sql = format!("SELECT {COLUMNS} FROM {BY_RUN} AND s.task_id = ?3 AND s.map_index = ?4");
    let run = &key.run;
    let params = params![run.dag_id.as_str(), run.run_id.as_str(), key.task_id.as_str(), key.map_index.0];
    connection.prepare_cached(&sql)?.query_row(params, |row| read(run, keys, row)).optional()
}

pub(super) fn of_run(connection: &Connection, keys: &FernetKeys, run: &RunKey) -> rusqlite::Result<Vec<Suspension>> {
    let sql = format!("SELECT {COLUMNS} FROM {BY_RUN} ORDER BY s.task_id, s.map_index");
    let params = params![run.dag_id.as_str(), run.run_id.as_str()];
    connection.prepare_cached(&sql)?.query_map(params, |row| read(run, keys, row))?.collect()
}

pub(super) fn last_trigger(connection: &Connection) -> rusqlite::Result<TriggerId> {
    let last = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
    let last = connection.prepare_cached("SELECT max(trigger_id) FROM suspension")?.query_row([], last)?;
    Ok(TriggerId(last.unwrap_or(0)))
}

fn read(run: &RunKey, keys: &FernetKeys, row: &Row<'_>) -> rusqlite::Result<Suspension> {
    let mut columns = Columns::new(row);
    let task_id = TaskId::from(columns.get::<String>()?);
    let key = TaskInstanceKey { run: run.clone(), task_id, map_index: MapIndex(columns.get()?) };
    Ok(Suspension {
        key,
        timeout: columns.opt_moment()?,
        next_method: columns.get()?,
        next_kwargs: columns.json()?,
        trigger: read_trigger(&mut columns, keys)?.map(Arc::new),
    })
}

fn read_trigger(columns: &mut Columns<'_>, keys: &FernetKeys) -> rusqlite::Result<Option<Trigger>> {
    let Some(id) = columns.get::<Option<i64>>()? else { return Ok(None) };
    let classpath = columns.get()?;
    let (stored, is_encrypted) = (columns.get::<String>()?, columns.get()?);
    // Nobody but the trigger itself needs them: it fails where no key fits.
    let kwargs = keys.open(stored, is_encrypted).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let (queue, created_at) = (columns.get()?, columns.moment()?);
    let (at, event) = (columns.opt_moment()?, columns.opt_json()?);
    let event = event.map_or(TimerEvent::Succeed, |payload: Json| TimerEvent::Resume(payload));
    let timer = at.map(|at| TriggerTimer { at, event });
    Ok(Some(Trigger { id: TriggerId(id), classpath, kwargs, queue, created_at, timer }))
}
