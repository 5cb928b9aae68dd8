//! What tasks ask people, and what people answer (human in the loop).

use jiff::Timestamp;

use crate::Json;
use crate::id::TaskInstanceKey;

/// A question of a task instance to people, and their answer (`HITLDetail`).
#[derive(Clone, PartialEq, Debug)]
pub struct HitlDetail {
    pub key: TaskInstanceKey,
    pub question: HitlQuestion,
    pub created_at: Timestamp,
    pub response: Option<HitlResponse>,
    /// The answer came before the task had begun to wait, and no process of it has been told: it is good for the next
    /// time that the same question is asked.
    pub untold: bool,
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct HitlQuestion {
    /// Never empty.
    pub options: Vec<String>,
    pub subject: String,
    pub body: Option<String>,
    /// What counts as the answer when the time is up.
    pub defaults: Option<Vec<String>>,
    /// Whether several options may be chosen.
    pub multiple: bool,
    /// A form's fields by name, as the operator describes them.
    pub params: Json,
    /// Who may answer; everybody if nobody is named.
    pub assigned_users: Vec<HitlUser>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HitlUser {
    pub id: String,
    pub name: String,
}

#[derive(Clone, PartialEq, Debug)]
pub struct HitlResponse {
    pub at: Timestamp,
    /// `None` where the time was up and the defaults count.
    pub by: Option<HitlUser>,
    pub chosen_options: Vec<String>,
    pub params_input: Json,
}

/// Why an answer is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HitlRefusal {
    #[error("nothing was asked")]
    NotAsked,
    #[error("there is an answer already")]
    Answered,
    #[error("{} is not among those who are asked", .0.name)]
    NotAssigned(HitlUser),
    #[error("{0:?} are no options")]
    UnknownOptions(Vec<String>),
    #[error("only one option may be chosen")]
    OneOption,
}

impl HitlDetail {
    /// Whether somebody's answer may be taken. `anybody` may answer what others are asked.
    pub fn check(&self, response: &HitlResponse, anybody: bool) -> Result<(), HitlRefusal> {
        if self.response.is_some() {
            return Err(HitlRefusal::Answered);
        }
        let question = &self.question;
        let is_assigned = |user: &HitlUser| question.assigned_users.iter().any(|assigned| assigned.id == user.id);
        if let Some(user) = &response.by
            && !anybody
            && !question.assigned_users.is_empty()
            && !is_assigned(user)
        {
            return Err(HitlRefusal::NotAssigned(user.clone()));
        }
        let mut unknown: Vec<String> =
            response.chosen_options.iter().filter(|option| !question.options.contains(option)).cloned().collect();
        if !unknown.is_empty() {
            unknown.sort_unstable();
            unknown.dedup();
            return Err(HitlRefusal::UnknownOptions(unknown));
        }
        if !question.multiple && response.chosen_options.len() > 1 {
            return Err(HitlRefusal::OneOption);
        }
        Ok(())
    }

    /// What counts when the time is up, if the question says so.
    pub fn default_response(&self, at: Timestamp) -> Option<HitlResponse> {
        let value = |param: &Json| match param.as_object() {
            Some(fields) => fields.get("value").unwrap_or(param).clone(),
            None => param.clone(),
        };
        let params = self.question.params.as_object();
        let params_input = params.into_iter().flatten().map(|(name, param)| (name.clone(), value(param))).collect();
        let chosen_options = self.question.defaults.clone()?;
        Some(HitlResponse { at, by: None, chosen_options, params_input: Json::Object(params_input) })
    }

    /// What a task instance has asked before, where it asks now. An answer that no process was told is kept if the
    /// question is the same; any other one belongs to an earlier try.
    pub fn asked_again(self, before: HitlDetail) -> HitlDetail {
        let is_good = before.untold && before.question == self.question;
        HitlDetail {
            created_at: before.created_at,
            response: before.response.filter(|_| is_good),
            untold: is_good,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::{MapIndex, RunKey};

    fn user(id: &str) -> HitlUser {
        HitlUser { id: id.into(), name: id.to_uppercase() }
    }

    fn detail() -> HitlDetail {
        HitlDetail {
            key: TaskInstanceKey { run: RunKey::new("d", "r"), task_id: "t".into(), map_index: MapIndex::NONE },
            question: HitlQuestion {
                options: vec!["a".into(), "b".into()],
                subject: "which?".into(),
                body: None,
                defaults: Some(vec!["b".into()]),
                multiple: false,
                params: json!({"p": {"value": 1, "schema": {}, "description": null}, "q": "plain", "r": {"own": 2}}),
                assigned_users: vec![user("eve")],
            },
            created_at: Timestamp::UNIX_EPOCH,
            response: None,
            untold: false,
        }
    }

    fn chosen(by: &str, options: &[&str]) -> HitlResponse {
        let chosen_options = options.iter().map(|option| (*option).to_owned()).collect();
        HitlResponse { at: Timestamp::UNIX_EPOCH, by: Some(user(by)), chosen_options, params_input: json!({}) }
    }

    #[test]
    fn answers_are_checked_in_airflows_order() {
        let asked = detail();
        assert_eq!(asked.check(&chosen("eve", &["a"]), false), Ok(()));
        assert_eq!(asked.check(&chosen("bob", &["c"]), false), Err(HitlRefusal::NotAssigned(user("bob"))));
        assert_eq!(asked.check(&chosen("bob", &["a"]), true), Ok(()));
        let unknown = Err(HitlRefusal::UnknownOptions(vec!["c".into(), "d".into()]));
        assert_eq!(asked.check(&chosen("eve", &["d", "a", "c", "d"]), false), unknown);
        assert_eq!(asked.check(&chosen("eve", &["a", "b"]), false), Err(HitlRefusal::OneOption));
        let answered = HitlDetail { response: Some(chosen("eve", &["a"])), ..detail() };
        assert_eq!(answered.check(&chosen("bob", &["c"]), false), Err(HitlRefusal::Answered));
        let mut open = detail();
        (open.question.assigned_users, open.question.multiple) = (Vec::new(), true);
        assert_eq!(open.check(&chosen("bob", &["a", "b"]), false), Ok(()));
    }

    #[test]
    fn defaults_are_an_answer_of_nobody() {
        let answer = detail().default_response(Timestamp::MAX).unwrap();
        assert_eq!((answer.by, answer.at, answer.chosen_options), (None, Timestamp::MAX, vec!["b".to_owned()]));
        assert_eq!(answer.params_input, json!({"p": 1, "q": "plain", "r": {"own": 2}}));
        let mut without = detail();
        without.question.defaults = None;
        assert_eq!(without.default_response(Timestamp::MAX), None);
    }

    #[test]
    fn only_an_answer_that_was_never_told_outlives_its_try() {
        let answered = HitlDetail { response: Some(chosen("eve", &["a"])), untold: true, ..detail() };
        let now = HitlDetail { created_at: Timestamp::MAX, ..detail() };
        assert_eq!(now.clone().asked_again(answered.clone()), answered);
        assert_eq!(now.clone().asked_again(HitlDetail { untold: false, ..answered.clone() }), detail());
        let mut other = now;
        other.question.subject = "why?".into();
        assert_eq!(other.asked_again(answered).response, None);
    }
}
