//! Task instances that wait outside of any process: deferred to a trigger, or waiting for a person.

use std::sync::Arc;

use jiff::Timestamp;
use model::transition::TaskTransition;
use model::{Change, Json, StartTrigger, Suspension, TaskState, TimerEvent, Trigger, TriggerId};
use serde_json::json;

use crate::attempts::has_tries_left;
use crate::evaluate::self_transition;
use crate::event::{Action, ArmTrigger, Decisions, Deferral, Refusal, TriggerEvent, TriggeredEnd};
use crate::run_state::TaskRef;
use crate::timers::Timer;
use crate::{Scheduler, put};

/// The method that every operator has for triggers that did not fire (`TRIGGER_FAIL_REPR`).
const FAIL: &str = "__fail__";
/// Why it is called (`TriggerFailureReason`).
const TIMEOUT: &str = "Trigger timeout";
const FAILURE: &str = "Trigger failure";

impl Scheduler {
    /// An attempt has ended, and its task instance waits for a trigger.
    pub(crate) fn defer(&mut self, task: TaskRef, deferral: Deferral, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if self_transition(state, task, TaskTransition::Defer, decisions).is_none() {
            return;
        }
        let Deferral { classpath, kwargs, queue, timer, timeout, next_method, next_kwargs } = deferral;
        self.last_trigger = TriggerId(self.last_trigger.0 + 1);
        let trigger = Trigger { id: self.last_trigger, classpath, kwargs, queue, created_at: now, timer };
        let ti = state.ti_mut(task);
        ti.end_date = None;
        put(decisions, ti, Change::TaskInstance);
        let suspension = Suspension {
            key: ti.key(),
            trigger: Some(Arc::new(trigger)),
            timeout: timeout.map(|timeout| now.saturating_add(timeout).unwrap_or(Timestamp::MAX)),
            next_method,
            next_kwargs,
        };
        put(decisions, &suspension, Change::Suspended);
        state.instance_mut(task).suspension = Some(Arc::new(suspension));
        self.wait_outside(task);
        self.arm(task, decisions);
    }

    /// A task instance begins with a trigger (`TaskInstance.defer_task`).
    pub(crate) fn start_from_trigger(
        &mut self,
        task: TaskRef,
        start: &StartTrigger,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let execution_timeout = state.dag.task(task.task).execution_timeout;
        let ti = state.ti_mut(task);
        if ti.state != TaskState::UpForReschedule {
            ti.try_number += 1;
        }
        ti.reschedule_date = None;
        ti.start_date = Some(now);
        let deferral = Deferral {
            classpath: start.classpath.clone(),
            kwargs: start.kwargs.clone(),
            queue: None,
            timer: None,
            timeout: [start.timeout, execution_timeout].into_iter().flatten().min(),
            next_method: start.next_method.clone(),
            next_kwargs: start.next_kwargs.clone(),
        };
        self.defer(task, deferral, now, decisions);
    }

    /// Watches for what a suspended task instance waits for, and takes what it holds meanwhile.
    pub(crate) fn wait_outside(&mut self, task: TaskRef) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let (instance, ti) = (state.instance(task), state.ti(task));
        if ti.state == TaskState::Deferred {
            self.pools.defer(&ti.pool, ti.pool_slots);
        }
        if ti.state.is_suspended() {
            self.waiting.hold(task.run, &ti.run.dag_id, &ti.task_id);
        }
        let Some(suspension) = &instance.suspension else { return };
        if let Some(at) = suspension.timeout {
            self.timers.set(at, Timer::WaitTimeout(task));
        }
        if let Some(trigger) = &suspension.trigger {
            self.triggers.insert(trigger.id, task);
            if let Some(timer) = &trigger.timer {
                self.timers.set(timer.at, Timer::Trigger(trigger.id));
            }
        }
    }

    /// Has the trigger run, unless it is one that the scheduler waits for itself.
    pub(crate) fn arm(&self, task: TaskRef, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let (instance, ti) = (state.instance(task), state.ti(task));
        let Some(suspension) = &instance.suspension else { return };
        let Some(trigger) = suspension.trigger.as_ref().filter(|trigger| trigger.timer.is_none()) else { return };
        decisions.actions.push(Action::Arm(Box::new(ArmTrigger {
            trigger: Arc::clone(trigger),
            ti: ti.clone(),
            run: state.run.clone(),
            timeout: suspension.timeout,
            should_retry: has_tries_left(ti.try_number, ti.max_tries),
            starts_task: state.dag.task(task.task).start_trigger.is_some(),
        })));
    }

    /// The counterpart of [`Self::wait_outside`], while the task instance still has the state in which it waits. Returns
    /// the trigger, if one runs.
    pub(crate) fn stop_waiting(&mut self, task: TaskRef) -> Option<TriggerId> {
        let state = self.runs.get(&task.run)?;
        let ti = state.ti(task);
        if ti.state == TaskState::Deferred {
            self.pools.undefer(&ti.pool, ti.pool_slots);
            self.waiting.free_pool(&ti.pool);
        }
        if ti.state.is_suspended() {
            self.waiting.let_go(task.run, &ti.run.dag_id, &ti.task_id);
        }
        let trigger = state.instance(task).suspension.as_ref()?.trigger.as_ref()?;
        self.triggers.remove(&trigger.id);
        trigger.timer.is_none().then_some(trigger.id)
    }

    /// Forgets how a task instance was to go on, and what it waited for.
    pub(crate) fn forget_suspension(&mut self, task: TaskRef, decisions: &mut Decisions) {
        let is_suspended = self.runs.get(&task.run).is_some_and(|state| state.instance(task).suspension.is_some());
        if !is_suspended {
            return;
        }
        if let Some(trigger) = self.stop_waiting(task) {
            decisions.actions.push(Action::Disarm(trigger));
        }
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if let Some(suspension) = state.instance_mut(task).suspension.take() {
            decisions.changes.push(Change::NotSuspended(suspension.key.clone()));
        }
    }

    /// What the task instance waited for has happened: it goes on as soon as there is a slot.
    pub(crate) fn go_on(
        &mut self,
        task: TaskRef,
        change: impl FnOnce(&mut Suspension),
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        if let Some(trigger) = self.stop_waiting(task) {
            decisions.actions.push(Action::Disarm(trigger));
        }
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if self_transition(state, task, TaskTransition::Resume, decisions).is_none() {
            return;
        }
        let instance = state.instance_mut(task);
        instance.ti.scheduled_at = Some(now);
        put(decisions, &instance.ti, Change::TaskInstance);
        if let Some(suspension) = &mut instance.suspension {
            let suspension = Arc::make_mut(suspension);
            suspension.trigger = None;
            suspension.timeout = None;
            change(suspension);
            put(decisions, suspension, Change::Suspended);
        }
        self.wait_for_slot(task);
    }

    /// A moment that the scheduler waited for itself has come.
    pub(crate) fn timer_fired(&mut self, trigger: TriggerId, now: Timestamp, decisions: &mut Decisions) {
        let Some(task) = self.triggers.get(&trigger).copied() else { return };
        let suspension = self.runs.get(&task.run).and_then(|state| state.instance(task).suspension.clone());
        let Some(timer) = suspension.as_ref().and_then(|suspension| suspension.trigger.as_ref()?.timer.as_ref()) else {
            return;
        };
        let event = match &timer.event {
            TimerEvent::Resume(payload) => TriggerEvent::Resume(payload.clone()),
            TimerEvent::Succeed => TriggerEvent::End(TriggeredEnd::Success),
        };
        self.trigger_fired(trigger, event, now, decisions);
    }

    pub(crate) fn trigger_fired(
        &mut self,
        trigger: TriggerId,
        event: TriggerEvent,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(task) = self.triggers.get(&trigger).copied() else {
            decisions.actions.push(Action::Refused(Refusal::StaleTrigger { trigger }));
            return;
        };
        match event {
            TriggerEvent::Resume(payload) => self.go_on(task, |next| add_event(next, payload), now, decisions),
            TriggerEvent::End(end) => self.end_from_trigger(task, end, now, decisions),
        }
    }

    fn end_from_trigger(&mut self, task: TaskRef, end: TriggeredEnd, now: Timestamp, decisions: &mut Decisions) {
        self.forget_suspension(task, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let ti = state.ti_mut(task);
        ti.start_date = ti.start_date.or(Some(now));
        ti.end_date = Some(now);
        let may_retry = has_tries_left(ti.try_number, ti.max_tries);
        if end == TriggeredEnd::Failed {
            self.call_for_task(task, may_retry, true, now, decisions);
        }
        match end {
            TriggeredEnd::Success => self.end_attempt(task, TaskTransition::Succeed, decisions),
            TriggeredEnd::Skipped => self.end_attempt(task, TaskTransition::Skip, decisions),
            TriggeredEnd::Failed if may_retry => self.retry(task, None, now, decisions),
            TriggeredEnd::Failed => {
                self.end_attempt(task, TaskTransition::Fail, decisions);
                self.fail_fast(task, now, decisions);
            }
        }
    }

    /// A trigger has failed: its task goes on, to fail in its own process with all that belongs to that.
    pub(crate) fn trigger_failed(
        &mut self,
        trigger: TriggerId,
        traceback: Option<Vec<String>>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        match self.triggers.get(&trigger).copied() {
            Some(task) => {
                let error = json!({"error": FAILURE, "traceback": traceback});
                self.go_on(task, |next| fail(next, error), now, decisions);
            }
            None => decisions.actions.push(Action::Refused(Refusal::StaleTrigger { trigger })),
        }
    }

    /// A task instance may have waited as long as it may.
    pub(crate) fn waited_too_long(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let timeout = state.instance(task).suspension.as_ref().and_then(|suspension| suspension.timeout);
        if timeout.is_none_or(|timeout| now < timeout) {
            return;
        }
        match state.ti(task).state {
            TaskState::Deferred => self.go_on(task, |next| fail(next, json!({"error": TIMEOUT})), now, decisions),
            _ => self.ask_for_answer(task, now),
        }
    }
}

/// The method that goes on is told what happened.
pub(crate) fn add_event(suspension: &mut Suspension, payload: Json) {
    match &mut suspension.next_kwargs {
        Json::Object(kwargs) => drop(kwargs.insert("event".to_owned(), payload)),
        other => *other = json!({"event": payload}),
    }
}

fn fail(suspension: &mut Suspension, kwargs: Json) {
    suspension.next_method = FAIL.to_owned();
    suspension.next_kwargs = kwargs;
}
