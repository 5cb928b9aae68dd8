//! Task instances that wait for a person's answer (human in the loop).

use std::sync::Arc;

use jiff::Timestamp;
use model::transition::TaskTransition;
use model::{Change, Suspension, TaskInstanceKey, TaskState};
use serde_json::json;

use crate::evaluate::self_transition;
use crate::event::{Action, Answered, Decisions, HitlAnswer, Need, Waiting};
use crate::run_state::TaskRef;
use crate::suspend::add_event;
use crate::{Scheduler, put};

/// What a task is told that nobody has answered in time (`check_awaiting_input_timeouts`).
const TIMEOUT: &str = "The Human-in-the-loop response timeout has passed without a response.";

impl Scheduler {
    /// An attempt has ended, and its task instance waits for an answer.
    pub(crate) fn await_input(&mut self, task: TaskRef, waiting: Waiting, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if self_transition(state, task, TaskTransition::AwaitInput, decisions).is_none() {
            return;
        }
        let ti = state.ti_mut(task);
        ti.end_date = None;
        put(decisions, ti, Change::TaskInstance);
        let suspension = Suspension {
            key: ti.key(),
            trigger: None,
            timeout: waiting.timeout.map(|timeout| now.saturating_add(timeout).unwrap_or(Timestamp::MAX)),
            next_method: waiting.next_method,
            next_kwargs: waiting.next_kwargs,
        };
        put(decisions, &suspension, Change::Suspended);
        state.instance_mut(task).suspension = Some(Arc::new(suspension));
        self.wait_outside(task);
        // Somebody may have been quicker.
        self.ask_for_answer(task, now);
    }

    /// Asks whether the store has an answer, and what counts as one if the time is up.
    pub(crate) fn ask_for_answer(&mut self, task: TaskRef, now: Timestamp) {
        let Some(state) = self.runs.get(&task.run) else { return };
        if state.ti(task).state == TaskState::AwaitingInput {
            self.needs.push(Need::HitlAnswer { key: state.ti(task).key(), at: now });
        }
    }

    /// What the store knows of a question. Without an answer the task waits on, unless its time is up.
    pub(crate) fn hitl_found(
        &mut self,
        key: &TaskInstanceKey,
        answer: Option<HitlAnswer>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(task) = self.find(key) else { return };
        let Some(state) = self.runs.get(&task.run) else { return };
        if state.ti(task).state != TaskState::AwaitingInput {
            return;
        }
        let timeout = state.instance(task).suspension.as_ref().and_then(|suspension| suspension.timeout);
        let is_late = timeout.is_some_and(|timeout| timeout <= now);
        match answer {
            Some(HitlAnswer::Given { payload }) => {
                decisions.changes.push(Change::HitlTold(key.clone()));
                self.go_on(task, |next| add_event(next, payload), now, decisions);
            }
            Some(HitlAnswer::Default { response, payload }) if is_late => {
                decisions.changes.push(Change::HitlAnswered { key: key.clone(), response, untold: false });
                self.go_on(task, |next| add_event(next, payload), now, decisions);
            }
            None if is_late => {
                let error = json!({"error": TIMEOUT, "error_type": "timeout"});
                self.go_on(task, |next| add_event(next, error), now, decisions);
            }
            _ => {}
        }
    }

    /// Somebody has answered.
    pub(crate) fn hitl_answered(&mut self, answered: Answered, now: Timestamp, decisions: &mut Decisions) {
        let Answered { key, response, payload, resumes, reply } = answered;
        let task = self.find(&key);
        let state = task.and_then(|task| Some(self.runs.get(&task.run)?.ti(task).state));
        // The process that asked has not come to its end; when it does, the answer is found.
        let untold = state.is_some_and(TaskState::is_executing);
        let change = Change::HitlAnswered { key, response: response.clone(), untold };
        decisions.changes.push(change);
        decisions.actions.push(Action::HitlAnswered { to: reply, answer: Ok(response) });
        if let (Some(task), Some(state)) = (task, state)
            && resumes
            && state.is_suspended()
        {
            self.go_on(task, |next| add_event(next, payload), now, decisions);
        }
    }

    /// A task instance of a run that is under way.
    fn find(&self, key: &TaskInstanceKey) -> Option<TaskRef> {
        let run = *self.run_serials.get(&key.run)?;
        let state = self.runs.get(&run)?;
        let task = state.dag.find(key.task_id.as_str())?;
        let instance = state.tasks[task.at()].find(key.map_index)?;
        Some(TaskRef { run, task, instance })
    }
}
