//! What tasks ask people, as the execution API's `hitlDetails` routes have it.

use jiff::Timestamp;
use model::operations::to_microseconds;
use model::{HitlDetail, HitlQuestion, HitlRefusal, HitlResponse, HitlUser, Json, TaskInstanceId};
use python::import::Answer;
use python::message::{HitlRequest, server_error};
use serde_json::json;
use store::{StoreError, Write};

use crate::answers::StoreAnswers;
use crate::{AnswerRefused, Reports};

/// What Airflow says of a trigger that asks for something that was never asked, or that is gone.
const NOT_ASKED: &str =
    "HITLDetail not found. This happens most likely due to clearing task instance before receiving response.";

impl StoreAnswers {
    /// A task asks people. The question is durable before the task goes on.
    pub(crate) fn ask_people(&self, request: HitlRequest) -> Result<Answer, StoreError> {
        let Some(own) = &self.own else {
            return Ok(Answer::Refused(server_error(400, "Only a task can ask people")));
        };
        if request.options.is_empty() {
            return Ok(Answer::Refused(server_error(422, "A question to people needs options to choose from")));
        }
        let users = request.assigned_users.unwrap_or_default();
        let assigned_users: Vec<HitlUser> =
            users.into_iter().map(|user| HitlUser { id: user.id, name: user.name }).collect();
        let question = HitlQuestion {
            options: request.options,
            subject: request.subject,
            body: request.body,
            defaults: request.defaults,
            multiple: request.multiple.unwrap_or(false),
            params: request.params.unwrap_or_else(|| json!({})),
            assigned_users,
        };
        let body = json!({
            "type": "HITLDetailRequestResult",
            "ti_id": own.ti.id.to_string(),
            "options": question.options,
            "subject": question.subject,
            "body": question.body,
            "defaults": question.defaults,
            "multiple": question.multiple,
            "params": question.params,
            "assigned_users": question.assigned_users.iter().map(|user| python::hitl::user(Some(user))).collect::<Json>(),
        });
        let created_at = to_microseconds(Timestamp::now());
        let detail = HitlDetail { key: own.ti.key(), question, created_at, response: None, untold: false };
        self.store.commit(vec![Write::HitlAsked(Box::new(detail))])?;
        Ok(Answer::Body(body))
    }

    /// A trigger looks whether people have answered its task.
    pub(crate) fn peoples_answer(&self, ti: TaskInstanceId) -> Result<Answer, StoreError> {
        let key = self.store.task_instance_named(ti)?;
        let detail = key.map(|key| self.store.hitl_detail(&key)).transpose()?.flatten();
        Ok(match detail {
            Some(detail) => Answer::Body(response_fields(detail.response.as_ref())),
            None => Answer::Refused(server_error(404, NOT_ASKED)),
        })
    }

    /// A trigger answers for people, when the time is up. Blocks.
    pub(crate) fn answer_for_people(
        &self,
        reports: &impl Reports,
        ti: TaskInstanceId,
        chosen_options: Vec<String>,
        params_input: Json,
    ) -> Result<Answer, StoreError> {
        let Some(key) = self.store.task_instance_named(ti)? else {
            return Ok(Answer::Refused(server_error(404, NOT_ASKED)));
        };
        let response = HitlResponse { at: to_microseconds(Timestamp::now()), by: None, chosen_options, params_input };
        Ok(match reports.answer(key, response) {
            Ok(response) => Answer::Body(response_fields(Some(&response))),
            Err(AnswerRefused::Refused(HitlRefusal::NotAsked)) => Answer::Refused(server_error(404, NOT_ASKED)),
            Err(AnswerRefused::Refused(HitlRefusal::Answered)) => {
                let message = format!("Human-in-the-loop detail for Task Instance with id {ti} already exists.");
                Answer::Refused(server_error(409, &message))
            }
            Err(AnswerRefused::Refused(refusal)) => Answer::Refused(server_error(400, &refusal.to_string())),
            Err(AnswerRefused::Stopped(error)) => Answer::Refused(server_error(503, &error)),
        })
    }
}

fn response_fields(response: Option<&HitlResponse>) -> Json {
    json!({
        "type": "HITLDetailResponseResult",
        "response_received": response.is_some(),
        "responded_by_user": python::hitl::user(response.and_then(|response| response.by.as_ref())),
        "responded_at": response.map(|response| response.at.to_string()),
        "chosen_options": response.map(|response| response.chosen_options.clone()).unwrap_or_default(),
        "params_input": response.map_or_else(|| json!({}), |response| response.params_input.clone()),
    })
}
