//! Callbacks that are due.

use model::{Call, Callback, CallbackId, Deadline, DeadlineId, MapIndex, RunKey, TaskId, TaskInstanceId, TryName};
use rusqlite::Row;

use super::SqliteStore;
use super::column::Columns;
use crate::{CallbackStore, Result};

fn read(row: &Row<'_>) -> rusqlite::Result<Callback> {
    let mut columns = Columns::new(row);
    let id = CallbackId(columns.uuid()?);
    let run = RunKey::new(columns.get::<String>()?, columns.get::<String>()?);
    let created_at = columns.moment()?;
    let call: CallName = columns.named()?;
    let message = columns.get()?;
    let of = match columns.get::<Option<String>>()? {
        Some(task_id) => {
            let (task_id, map_index) = (TaskId::from(task_id), MapIndex(columns.get()?));
            Some(TryName { task_id, map_index, id: TaskInstanceId(columns.uuid()?) })
        }
        None => None,
    };
    Ok(Callback { id, run, created_at, call: call.0, of, message })
}

struct CallName(Call);

impl std::str::FromStr for CallName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Call::named(text).map(Self).ok_or_else(|| format!("{text:?} is no callback"))
    }
}

pub(super) fn read_deadline(row: &Row<'_>) -> rusqlite::Result<Deadline> {
    let mut columns = Columns::new(row);
    Ok(Deadline {
        id: DeadlineId(columns.uuid()?),
        run: RunKey::new(columns.get::<String>()?, columns.get::<String>()?),
        alert: columns.get()?,
        at: columns.opt_moment()?,
    })
}

impl CallbackStore for SqliteStore {
    fn deadlines(&self) -> Result<Vec<Deadline>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT d.id, r.dag_id, r.run_id, d.alert, d.at FROM deadline AS d
                     JOIN dag_run AS r ON r.rid = d.run_rid WHERE NOT d.missed ORDER BY d.id",
                )?
                .query_map([], read_deadline)?
                .collect()
        })
    }

    fn callbacks(&self) -> Result<Vec<Callback>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT c.id, r.dag_id, r.run_id, c.created_at, c.call, c.message, c.task_id, c.map_index, c.ti_id
                     FROM callback AS c JOIN dag_run AS r ON r.rid = c.run_rid ORDER BY c.id",
                )?
                .query_map([], read)?
                .collect()
        })
    }
}
