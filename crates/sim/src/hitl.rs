//! Tasks that ask people, and people who answer: now and then too early, twice, or not at all.

use engine::{AnswerRequest, Input};
use model::{HitlDetail, HitlQuestion, HitlRefusal, HitlResponse, HitlUser, TaskInstance, TaskInstanceKey, TaskState};
use scheduler::{ReplyId, StartAttempt};
use serde_json::json;
use store::{HitlStore, RunStore, Write};

use crate::checks::{Check, ensure, read};
use crate::dags::Plan;
use crate::world::{Pending, World};

const OPTIONS: [&str; 3] = ["yes", "no", "later"];

impl World {
    /// A task asks people, as the worker writes it down.
    pub(crate) fn ask(&mut self, plan: &Plan, ti: &TaskInstance) {
        let key = ti.key();
        let question = HitlQuestion {
            options: OPTIONS.map(str::to_owned).into(),
            subject: "which?".to_owned(),
            body: None,
            defaults: plan.has_default_answer().then(|| vec!["later".to_owned()]),
            multiple: false,
            params: json!({}),
            assigned_users: Vec::new(),
        };
        let detail = HitlDetail { key: key.clone(), question, created_at: self.now, response: None, untold: false };
        if let Some(response) = self.store.hitl_detail(&key).ok().flatten().and_then(|before| before.response) {
            self.asked_over.insert(key.clone(), response.chosen_options);
        }
        self.write(vec![Write::HitlAsked(Box::new(detail))]);
        let is_open =
            self.store.hitl_detail(&key).is_ok_and(|found| found.is_some_and(|found| found.response.is_none()));
        if is_open {
            self.answers.remove(&key);
        }
        let answers = if self.rng.percent(20) { 2 } else { 1 };
        for _ in 0..answers {
            let longest = if self.rng.percent(30) { 100 } else { 60_000 };
            self.soon(longest, Pending::Answer(key.clone()));
        }
    }

    /// Somebody answers, and does so again until it is known that somebody has.
    pub(crate) fn answer(&mut self, key: TaskInstanceKey) {
        let is_open =
            self.store.hitl_detail(&key).is_ok_and(|found| found.is_some_and(|found| found.response.is_none()));
        let is_over = self
            .store
            .task_instance(&key)
            .is_ok_and(|ti| ti.is_none_or(|ti| ti.state.is_finished() && ti.state != TaskState::UpForRetry));
        if !is_open || is_over {
            return;
        }
        if self.core.is_some() {
            self.requests += 1;
            let reply = ReplyId(self.requests);
            let chosen = (*self.rng.pick(&OPTIONS)).to_owned();
            self.note(|| format!("somebody answers {key}: {chosen}"));
            let by = Some(HitlUser { id: reply.0.to_string(), name: "somebody".into() });
            let response = HitlResponse { at: self.now, by, chosen_options: vec![chosen], params_input: json!({}) };
            self.unanswered_answers.insert(self.requests, key.clone());
            let request = AnswerRequest { reply, key: key.clone(), response, anybody: true, resumes: true };
            self.tell(Input::Answer(Box::new(request)));
        }
        self.soon(30_000, Pending::Answer(key));
    }

    /// An answer was taken, or was not.
    pub(crate) fn answer_heard(&mut self, to: ReplyId, answer: Result<Box<HitlResponse>, HitlRefusal>) -> Check {
        let Some(key) = self.unanswered_answers.remove(&to.0) else { return Ok(()) };
        match answer {
            Ok(response) => {
                self.note(|| format!("{key} is answered: {}", response.chosen_options[0]));
                let own = response.by.as_ref().is_some_and(|user| user.id == to.0.to_string());
                ensure(own, || format!("somebody's answer to {key} was taken for another's"))?;
                let before = self.answers.insert(key.clone(), *response);
                ensure(before.is_none(), || format!("two answers to one question of {key} were taken: {before:?}"))
            }
            Err(refusal) => {
                self.note(|| format!("the answer to {key} is not taken: {refusal}"));
                Ok(())
            }
        }
    }
}

/// Answers that were taken are not lost.
pub(crate) fn answers_are_kept(world: &World) -> Check {
    for (key, response) in &world.answers {
        let kept = read(world.store.hitl_detail(key))?;
        let is_kept = kept.as_ref().is_none_or(|kept| kept.response.as_ref() == Some(response));
        ensure(is_kept, || format!("{key} was answered with {response:?}, and has {kept:?}"))?;
    }
    Ok(())
}

/// A task that goes on is told the answer that there is. If its process asked anew and was lost, the next one goes on where
/// that one did, with the answer to the question before.
pub(crate) fn answer_is_told(world: &World, attempt: &StartAttempt) -> Check {
    let told =
        attempt.suspension.as_ref().and_then(|next| next.next_kwargs.get("event")?.get("chosen_options").cloned());
    let Some(told) = told else { return Ok(()) };
    let key = attempt.ti.key();
    let kept = read(world.store.hitl_detail(&key))?;
    let response = kept.and_then(|kept| kept.response);
    let asked_over = world.asked_over.get(&key);
    let is_asked_over = asked_over.is_some_and(|chosen_options| json!(chosen_options) == told);
    ensure(is_asked_over || response.as_ref().is_some_and(|response| json!(response.chosen_options) == told), || {
        format!("{key} is told {told}, and the answer is {response:?}")
    })
}

/// Nobody waits for an answer that is there.
pub(crate) fn nobody_waits_for_an_answer(world: &World, task_instances: &[TaskInstance]) -> Check {
    for ti in task_instances.iter().filter(|ti| ti.state == TaskState::AwaitingInput) {
        let is_loaded = world.dags.iter().any(|sim| sim.dag_id == ti.run.dag_id && !sim.broken && !sim.gone);
        let answered = read(world.store.hitl_detail(&ti.key()))?.is_some_and(|kept| kept.response.is_some());
        ensure(!answered || !is_loaded, || format!("{} waits for an answer that is there", ti.key()))?;
    }
    Ok(())
}
