//! Answers that people give to tasks.

use std::collections::HashSet;

use jiff::Timestamp;
use model::{HitlRefusal, HitlResponse, TaskInstanceKey};
use scheduler::{Action, Answered, Event, HitlAnswer, ReplyId};
use store::{Store, StoreError};

/// Somebody answers a task; the answer to that is an [`Action::HitlAnswered`].
#[derive(Clone, Debug)]
pub struct AnswerRequest {
    pub reply: ReplyId,
    pub key: TaskInstanceKey,
    pub response: HitlResponse,
    /// Whoever it is may answer what others are asked.
    pub anybody: bool,
    /// As [`Answered::resumes`].
    pub resumes: bool,
}

/// Checks an answer against the question. Of several answers in one step the first one counts, which the store does
/// not know yet: `answered` does.
pub(crate) fn check<S: Store + ?Sized>(
    store: &S,
    request: &AnswerRequest,
    answered: &mut HashSet<TaskInstanceKey>,
) -> Result<Result<Event, Action>, StoreError> {
    let AnswerRequest { reply, key, response, anybody, resumes } = request.clone();
    let checked = match store.hitl_detail(&key)? {
        None => Err(HitlRefusal::NotAsked),
        Some(_) if answered.contains(&key) => Err(HitlRefusal::Answered),
        Some(detail) => detail.check(&response, anybody),
    };
    if let Err(refusal) = checked {
        return Ok(Err(Action::HitlAnswered { to: reply, answer: Err(refusal) }));
    }
    answered.insert(key.clone());
    let payload = python::hitl::payload(&response, false);
    Ok(Ok(Event::HitlAnswered(Box::new(Answered { key, response: Box::new(response), payload, resumes, reply }))))
}

/// What is known of the answer that a task waits for.
pub(crate) fn found<S: Store + ?Sized>(store: &S, key: &TaskInstanceKey, at: Timestamp) -> Result<Event, StoreError> {
    let answer = store.hitl_detail(key)?.and_then(|detail| match &detail.response {
        Some(response) => Some(HitlAnswer::Given { payload: python::hitl::payload(response, false) }),
        None => detail.default_response(at).map(|response| HitlAnswer::Default {
            payload: python::hitl::payload(&response, true),
            response: Box::new(response),
        }),
    });
    Ok(Event::HitlFound { key: key.clone(), answer })
}
