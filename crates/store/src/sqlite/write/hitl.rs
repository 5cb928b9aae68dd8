//! What task instances ask people.

use model::{HitlDetail, HitlResponse, TaskInstance, TaskInstanceKey};

use super::super::column::{micros, opt_micros, texts_json};
use super::super::hitl::{COLUMNS, find, users_json};
use super::{WriteError, WriteResult, Writer};
use crate::StoreError;

impl Writer {
    pub(super) fn hitl_asked(&mut self, detail: &HitlDetail) -> WriteResult<()> {
        let rid = self.rid(&detail.key.run)?;
        let detail = match find(&self.connection, &detail.key, Some(rid))? {
            Some(before) => detail.clone().asked_again(before),
            None => detail.clone(),
        };
        let HitlDetail { key, question, created_at, response, untold } = &detail;
        let by = response.as_ref().and_then(|response| response.by.as_ref());
        let assigned: Vec<String> = COLUMNS.split(", ").map(|name| format!("{name} = excluded.{name}")).collect();
        let sql = format!(
            "INSERT INTO hitl_detail (run_rid, task_id, map_index, {COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT (run_rid, task_id, map_index) DO UPDATE SET {}",
            assigned.join(", ")
        );
        self.of_task(
            &sql,
            key,
            &[
                &micros(*created_at),
                &opt_micros(response.as_ref().map(|response| response.at)),
                &by.map(|user| &user.id),
                &by.map(|user| &user.name),
                untold,
                &question.multiple,
                &question.subject,
                &question.body,
                &texts_json(&question.options),
                &question.defaults.as_deref().map(texts_json),
                &question.params.to_string(),
                &users_json(&question.assigned_users),
                &response.as_ref().map(|response| texts_json(&response.chosen_options)),
                &response.as_ref().map(|response| response.params_input.to_string()),
            ],
        )
    }

    pub(super) fn hitl_answered(
        &mut self,
        key: &TaskInstanceKey,
        response: &HitlResponse,
        untold: bool,
    ) -> WriteResult<()> {
        if self.is_gone(key)? {
            return Ok(());
        }
        let by = response.by.as_ref();
        self.of_task(
            "UPDATE hitl_detail SET responded_at = ?4, user_id = ?5, user_name = ?6, chosen_options = ?7,
                 params_input = ?8, untold = ?9
             WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3",
            key,
            &[
                &micros(response.at),
                &by.map(|user| &user.id),
                &by.map(|user| &user.name),
                &texts_json(&response.chosen_options),
                &response.params_input.to_string(),
                &untold,
            ],
        )
    }

    /// Whether the run was deleted in the moment in which somebody answered.
    fn is_gone(&mut self, key: &TaskInstanceKey) -> WriteResult<bool> {
        match self.rid(&key.run) {
            Ok(_) => Ok(false),
            Err(WriteError::Store(StoreError::Missing { .. })) => Ok(true),
            Err(error) => Err(error),
        }
    }

    pub(super) fn hitl_told(&mut self, key: &TaskInstanceKey) -> WriteResult<()> {
        if self.is_gone(key)? {
            return Ok(());
        }
        let sql = "UPDATE hitl_detail SET untold = 0 WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3";
        self.of_task(sql, key, &[])
    }

    /// A try keeps what it has asked.
    pub(super) fn hitl_archived(&mut self, ti: &TaskInstance) -> WriteResult<()> {
        let sql = format!(
            "INSERT OR REPLACE INTO hitl_detail_try (run_rid, task_id, map_index, id, {COLUMNS})
             SELECT run_rid, task_id, map_index, ?4, {COLUMNS} FROM hitl_detail
             WHERE run_rid = ?1 AND task_id = ?2 AND map_index = ?3"
        );
        self.of_task(&sql, &ti.key(), &[&ti.id.0.as_bytes()])
    }
}
