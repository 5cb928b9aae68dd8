//! What a task keeps for its own later tries, as the execution API's `task_state_store` routes have it.

use jiff::Timestamp;
use model::{Json, TaskInstanceKey};
use python::import::Answer;
use python::message::{ErrorType, server_error};
use serde_json::json;
use store::{StoreError, TaskStateEntry, Write};

use crate::answers::StoreAnswers;

/// The longest key that Airflow's table takes, in characters.
pub(crate) const MAX_KEY: usize = 512;

impl StoreAnswers {
    pub(crate) fn task_state(&self, key: &str) -> Result<Answer, StoreError> {
        let found = match &self.own {
            Some(own) => self.store.task_state(&own.ti.key(), key)?,
            None => None,
        };
        // The SDK then takes the caller's default.
        let body = match found {
            Some(entry) => json!({"type": "TaskStateStoreResult", "value": entry.value}),
            None => ErrorType::TaskStoreNotFound.response(json!({"key": key})),
        };
        Ok(Answer::Body(body))
    }

    pub(crate) fn set_task_state(
        &self,
        key: String,
        value: Json,
        expires_at: Option<Timestamp>,
    ) -> Result<Answer, StoreError> {
        let length = key.chars().count();
        if !(1..=MAX_KEY).contains(&length) || value.is_null() {
            let message = format!("A key has 1 to {MAX_KEY} characters, this one {length}; its value can't be None");
            return Ok(Answer::Refused(server_error(422, &message)));
        }
        let entry = TaskStateEntry { key, value, updated_at: Timestamp::now(), expires_at };
        self.change_task_states(|ti| Write::TaskState { ti, entry })
    }

    pub(crate) fn change_task_states(
        &self,
        write: impl FnOnce(TaskInstanceKey) -> Write,
    ) -> Result<Answer, StoreError> {
        let Some(own) = &self.own else {
            let message = "Code that is imported has no task instance whose state it could keep";
            return Ok(Answer::Refused(server_error(404, message)));
        };
        self.store.commit(vec![write(own.ti.key())])?;
        Ok(Answer::Body(json!({"type": "OKResponse", "ok": true})))
    }
}
