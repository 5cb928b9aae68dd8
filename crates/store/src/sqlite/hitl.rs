//! What task instances ask people.

use model::{
    HitlDetail, HitlQuestion, HitlResponse, HitlUser, Json, MapIndex, RunKey, TaskId, TaskInstance, TaskInstanceId,
    TaskInstanceKey, TaskState,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::SqliteStore;
use super::column::Columns;
use super::read::{Conditions, Key, Lead, Source, order_by, page};
use super::task_instances::{TASK_COLUMNS, read_task_columns};
use crate::query::{Direction, HitlFilter, HitlOrder, Page};
use crate::{HitlStore, Result};

/// The columns behind those of the key, in the order in which `read` has them.
pub(super) const COLUMNS: &str = "created_at, responded_at, user_id, user_name, untold, multiple, subject, body, options, \
     defaults, params, assigned_users, chosen_options, params_input";

const LISTED: &str = "hitl_detail AS h CROSS JOIN dag_run AS r ON r.rid = h.run_rid CROSS JOIN task_instance AS t \
     ON t.run_rid = h.run_rid AND t.task_id = h.task_id AND t.map_index = h.map_index";

/// People as a document.
pub(super) fn users_json(users: &[HitlUser]) -> String {
    Json::from_iter(users.iter().map(|user| json!({"id": user.id, "name": user.name}))).to_string()
}

fn users_of(users: &Json) -> Vec<HitlUser> {
    let text = |user: &Json, name: &str| Some(user.get(name)?.as_str()?.to_owned());
    let user = |user: &Json| Some(HitlUser { id: text(user, "id")?, name: text(user, "name")? });
    users.as_array().into_iter().flatten().filter_map(user).collect()
}

fn read(key: TaskInstanceKey, columns: &mut Columns<'_>) -> rusqlite::Result<HitlDetail> {
    let (created_at, responded_at) = (columns.moment()?, columns.opt_moment()?);
    let (id, name) = (columns.get::<Option<String>>()?, columns.get::<Option<String>>()?);
    let untold = columns.get()?;
    let question = HitlQuestion {
        multiple: columns.get()?,
        subject: columns.get()?,
        body: columns.get()?,
        options: columns.texts()?,
        defaults: columns.opt_texts()?,
        params: columns.json()?,
        assigned_users: users_of(&columns.json()?),
    };
    let (chosen_options, params_input) = (columns.opt_texts()?, columns.opt_json()?);
    let response = responded_at.map(|at| HitlResponse {
        at,
        by: id.zip(name).map(|(id, name)| HitlUser { id, name }),
        chosen_options: chosen_options.unwrap_or_default(),
        params_input: params_input.unwrap_or_default(),
    });
    Ok(HitlDetail { key, question, created_at, response, untold })
}

/// The question of a task instance whose run has this number.
pub(super) fn find(
    connection: &Connection,
    key: &TaskInstanceKey,
    rid: Option<i64>,
) -> rusqlite::Result<Option<HitlDetail>> {
    let run = if rid.is_some() { "?1" } else { "(SELECT rid FROM dag_run WHERE dag_id = ?2 AND run_id = ?3)" };
    let sql = format!("SELECT {COLUMNS} FROM hitl_detail WHERE run_rid = {run} AND task_id = ?4 AND map_index = ?5");
    let of = params![rid, key.run.dag_id.as_str(), key.run.run_id.as_str(), key.task_id.as_str(), key.map_index.0];
    connection.prepare_cached(&sql)?.query_row(of, |row| read(key.clone(), &mut Columns::new(row))).optional()
}

fn find_of_try(
    connection: &Connection,
    key: &TaskInstanceKey,
    id: TaskInstanceId,
) -> rusqlite::Result<Option<HitlDetail>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM hitl_detail_try WHERE run_rid = (SELECT rid FROM dag_run WHERE dag_id = ?1 AND run_id = ?2)
             AND task_id = ?3 AND map_index = ?4 AND id = ?5"
    );
    let (dag_id, run_id) = (key.run.dag_id.as_str(), key.run.run_id.as_str());
    let of = params![dag_id, run_id, key.task_id.as_str(), key.map_index.0, id.0.as_bytes()];
    connection.prepare_cached(&sql)?.query_row(of, |row| read(key.clone(), &mut Columns::new(row))).optional()
}

fn hitl_order(order: HitlOrder) -> Key {
    match order {
        HitlOrder::Id => Key::Full("t.id"),
        HitlOrder::Subject => Key::Full("h.subject"),
        HitlOrder::CreatedAt => Key::Full("h.created_at"),
        HitlOrder::RespondedAt => Key::Gaps("h.responded_at"),
        HitlOrder::UserId => Key::Gaps("h.user_id"),
        HitlOrder::UserName => Key::Gaps("h.user_name"),
        HitlOrder::DagId => Key::Full("r.dag_id"),
        HitlOrder::RunId => Key::Full("r.run_id"),
        HitlOrder::RunAfter => Key::Full("r.run_after"),
        HitlOrder::TaskId => Key::Full("t.task_id"),
        HitlOrder::RenderedMapIndex => Key::GapsThen("t.rendered_map_index", "t.map_index"),
        HitlOrder::Operator => Key::Full("t.operator"),
        HitlOrder::State => Key::Gaps("nullif(t.state, 'none')"),
    }
}

fn conditions_of(filter: &HitlFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions
        .equal("r.dag_id", filter.dag_id.as_ref().map(ToString::to_string))
        .equal("r.run_id", filter.run_id.as_ref().map(ToString::to_string))
        .text("r.dag_id", &filter.dag_ids)
        .equal("h.task_id", filter.task_id.clone())
        .text("h.task_id", &filter.task_ids)
        .equal("h.map_index", filter.map_index)
        .one_of("t.state", filter.states.iter().map(TaskState::to_string))
        .one_of("h.user_id", filter.user_ids.iter().cloned())
        .one_of("h.user_name", filter.user_names.iter().cloned())
        .pattern("h.subject", filter.subject.as_deref())
        .pattern("h.body", filter.body.as_deref())
        .span("h.created_at", filter.created_at);
    match filter.answered {
        Some(true) => drop(conditions.fixed("h.responded_at IS NOT NULL")),
        Some(false) => drop(conditions.fixed("h.responded_at IS NULL")),
        None => {}
    }
    conditions
}

fn read_listed(row: &Row<'_>) -> rusqlite::Result<(HitlDetail, TaskInstance)> {
    let mut columns = Columns::new(row);
    let ti = read_task_columns(&mut columns)?;
    Ok((read(ti.key(), &mut columns)?, ti))
}

impl HitlStore for SqliteStore {
    fn hitl_detail(&self, key: &TaskInstanceKey) -> Result<Option<HitlDetail>> {
        self.read(|connection| find(connection, key, None))
    }

    fn hitl_detail_of_try(&self, key: &TaskInstanceKey, id: TaskInstanceId) -> Result<Option<HitlDetail>> {
        self.read(|connection| find_of_try(connection, key, id))
    }

    fn hitl_details(
        &self,
        filter: &HitlFilter,
        order: &[(HitlOrder, Direction)],
        asked: Page,
    ) -> Result<(Vec<(HitlDetail, TaskInstance)>, u64)> {
        let own: Vec<String> = COLUMNS.split(", ").map(|name| format!("h.{name}")).collect();
        let columns = format!("{TASK_COLUMNS}, {}", own.join(", "));
        let conditions = conditions_of(filter);
        let order = order_by(order, hitl_order, &["t.id"]);
        let (lead, again) = (Lead::Conditions, None);
        let source = Source { columns: &columns, from: LISTED, conditions: &conditions, lead, order: &order, again };
        self.snapshot(|connection| page(connection, &source, asked, read_listed))
    }

    fn task_instance_named(&self, id: TaskInstanceId) -> Result<Option<TaskInstanceKey>> {
        let sql = "SELECT r.dag_id, r.run_id, t.task_id, t.map_index FROM task_instance AS t JOIN dag_run AS r \
             ON r.rid = t.run_rid WHERE t.id = ?1";
        self.read(|connection| {
            connection
                .prepare_cached(sql)?
                .query_row([id.0.as_bytes()], |row| {
                    let mut columns = Columns::new(row);
                    Ok(TaskInstanceKey {
                        run: RunKey::new(columns.get::<String>()?, columns.get::<String>()?),
                        task_id: TaskId::from(columns.get::<String>()?),
                        map_index: MapIndex(columns.get()?),
                    })
                })
                .optional()
        })
    }
}
