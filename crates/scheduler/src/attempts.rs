//! Attempts: admitted to a slot, started, ended.

use std::sync::Arc;

use jiff::Timestamp;
use model::transition::{TaskTransition, next_state};
use model::{AttemptId, Change, MapIndex, TaskId, TaskIndex, TaskState};

use crate::evaluate::self_transition;
use crate::event::{Action, Decisions, Obstacle, Outcome, Refusal, SkipDecision, StartAttempt, StopReason};
use crate::run_state::{Instance, TaskRef};
use crate::slots::Constraint;
use crate::{Scheduler, put};

impl Scheduler {
    /// Gives slots to those who wait, in order, until nobody else gets through.
    pub(crate) fn admit_all(&mut self, now: Timestamp, decisions: &mut Decisions) {
        loop {
            let first_fresh = self.fresh.first_key_value().map(|(key, _)| *key);
            let candidate = self.waiting.next_candidate(first_fresh).or_else(|| self.fresh.pop_first());
            let Some((key, task)) = candidate else { break };
            match self.blocking_constraint(task) {
                None => self.admit(task, now, decisions),
                Some(constraint) => {
                    self.waiting.exhausted(&constraint);
                    self.tell_obstacle(task, &constraint, decisions);
                    let parked = self.waiting.park(constraint, key, task);
                    let Some(state) = self.runs.get_mut(&task.run) else { continue };
                    let instance = state.instance_mut(task);
                    instance.fresh = None;
                    // Written only once: when it moves from list to list nothing changes for people.
                    if instance.parked.replace(parked).is_none() {
                        put(decisions, state.ti(task), Change::TaskInstance);
                    }
                }
            }
        }
    }

    /// The first limit that stands in the way, in Airflow's order.
    fn blocking_constraint(&self, task: TaskRef) -> Option<Constraint> {
        let state = self.runs.get(&task.run)?;
        let ti = state.ti(task);
        let definition = state.dag.task(task.task);
        let dag_id = &state.run.key.dag_id;
        let facts = self.dags.get(dag_id).map(|entry| &entry.facts);
        if self.draining {
            return Some(Constraint::Draining);
        }
        if self.is_dag_held(dag_id) {
            return Some(Constraint::Held(dag_id.clone()));
        }
        if !self.pools.fits(&ti.pool, ti.pool_slots) {
            return Some(Constraint::Pool { name: Arc::clone(&ti.pool), slots: ti.pool_slots });
        }
        let max_active_tasks = facts.map_or(state.dag.limits.max_active_tasks, |facts| facts.limits.max_active_tasks);
        if state.executing >= max_active_tasks {
            return Some(Constraint::RunTasks(task.run));
        }
        let task_id = &definition.task_id;
        if let Some(limit) = definition.max_active_tis_per_dag
            && self.waiting.active_in_dag(dag_id, task_id) >= limit
        {
            return Some(Constraint::TaskInDag { dag_id: dag_id.clone(), task_id: task_id.clone() });
        }
        if let Some(limit) = definition.max_active_tis_per_dagrun
            && self.waiting.active_in_run(task.run, task_id) >= limit
        {
            return Some(Constraint::TaskInRun { run: task.run, task_id: task_id.clone() });
        }
        (self.waiting.executing() >= self.config.parallelism).then_some(Constraint::Workers)
    }

    fn admit(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let instance = state.instance_mut(task);
        (instance.fresh, instance.parked) = (None, None);
        instance.told = false;
        let map_index = instance.ti.map_index;
        if self_transition(state, task, TaskTransition::Queue, decisions).is_none() {
            return;
        }
        let attempt = self.ids.attempt(now);
        let instance = state.instance_mut(task);
        instance.attempt = Some(attempt);
        let suspension = instance.suspension.clone();
        // What a task has left in an earlier try is cleared when it starts again, but not when it goes on.
        if suspension.is_none() {
            state.skips.remove(&(task.task, map_index));
        }
        let ti = state.ti_mut(task);
        ti.queued_at = Some(now);
        ti.end_date = None;
        ti.retry_delay_override = None;
        self.acquire_slots(task);
        let Some(state) = self.runs.get(&task.run) else { return };
        let ti = state.ti(task);
        self.attempts.insert(attempt, task);
        put(decisions, ti, Change::TaskInstance);
        decisions.actions.push(Action::Start(Box::new(StartAttempt {
            attempt,
            suspension,
            ti: ti.clone(),
            run: state.run.clone(),
            dag: Arc::clone(&state.dag),
            task: task.task,
            should_retry: has_tries_left(ti.try_number, ti.max_tries),
        })));
    }

    pub(crate) fn acquire_slots(&mut self, task: TaskRef) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let ti = state.ti(task);
        self.waiting.acquire(task.run, &state.run.key.dag_id, &ti.task_id);
        self.pools.acquire(&ti.pool, ti.pool_slots);
    }

    pub(crate) fn release_slots(&mut self, task: TaskRef) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let ti = state.ti(task);
        self.pools.release(&ti.pool, ti.pool_slots);
        self.waiting.free_pool(&ti.pool);
        self.waiting.release(task.run, &state.run.key.dag_id, &ti.task_id);
    }

    /// Says once that a task instance waits for something that does not come by itself.
    fn tell_obstacle(&mut self, task: TaskRef, constraint: &Constraint, decisions: &mut Decisions) {
        let Constraint::Pool { name, slots } = constraint else { return };
        let obstacle = match self.pools.size(name) {
            None => Some(Obstacle::NoSuchPool { pool: Arc::clone(name) }),
            Some(Some(size)) if *slots > size => {
                Some(Obstacle::PoolTooSmall { pool: Arc::clone(name), wanted: *slots, size })
            }
            Some(_) => None,
        };
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let instance = state.instance_mut(task);
        let was_told = std::mem::replace(&mut instance.told, obstacle.is_some());
        if let (Some(obstacle), false) = (obstacle, was_told) {
            decisions.actions.push(Action::Stuck { ti: Box::new(instance.ti.clone()), obstacle });
        }
    }

    pub(crate) fn pool_changed(
        &mut self,
        name: &Arc<str>,
        slots: Option<u32>,
        include_deferred: bool,
        decisions: &mut Decisions,
    ) {
        self.pools.set(name, slots, include_deferred);
        self.waiting.free_pool(name);
        self.tell_obstacles(name, decisions);
    }

    /// What executes goes on; what waits for the pool waits until it is back.
    pub(crate) fn pool_gone(&mut self, name: &str, decisions: &mut Decisions) {
        self.pools.remove(name);
        self.tell_obstacles(name, decisions);
    }

    fn tell_obstacles(&mut self, pool: &str, decisions: &mut Decisions) {
        for (constraint, task) in self.waiting.waiting_for_pool(pool) {
            self.tell_obstacle(task, &constraint, decisions);
        }
    }

    pub(crate) fn attempt_started(
        &mut self,
        attempt: AttemptId,
        at: Timestamp,
        hostname: Arc<str>,
        unixname: Arc<str>,
        pid: u32,
        decisions: &mut Decisions,
    ) {
        let Some((task, state)) =
            self.attempts.get(&attempt).and_then(|task| Some((*task, self.runs.get_mut(&task.run)?)))
        else {
            decisions.actions.push(Action::Refused(Refusal::StaleAttempt { attempt, message: "started" }));
            return;
        };
        // One that was cleared on its way is about to end.
        if state.ti(task).state == TaskState::Restarting
            || self_transition(state, task, TaskTransition::Start, decisions).is_none()
        {
            return;
        }
        set_start(state.instance_mut(task), at);
        let ti = state.ti_mut(task);
        ti.hostname = Some(hostname);
        ti.unixname = Some(unixname);
        ti.pid = Some(pid);
        decisions.lazy_changes.push(Change::TaskInstance(Box::new(ti.clone())));
    }

    pub(crate) fn attempt_ended(
        &mut self,
        attempt: AttemptId,
        at: Timestamp,
        outcome: Outcome,
        rendered_map_index: Option<String>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(task) = self.attempts.remove(&attempt) else {
            decisions.actions.push(Action::Refused(Refusal::StaleAttempt { attempt, message: "ended" }));
            return;
        };
        decisions.actions.push(Action::Acknowledge { attempt });
        self.release_slots(task);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if state.ti(task).state == TaskState::Restarting {
            state.instance_mut(task).attempt = None;
            return self.start_anew(task, decisions);
        }
        if state.ti(task).state == TaskState::Queued && outcome != Outcome::Interrupted {
            // Its start is told by the way; what has ended has started.
            let _ = self_transition(state, task, TaskTransition::Start, decisions);
            set_start(state.instance_mut(task), at);
        }
        state.instance_mut(task).attempt = None;
        let ti = state.ti_mut(task);
        ti.end_date = Some(at);
        if rendered_map_index.is_some() {
            ti.rendered_map_index = rendered_map_index;
        }
        let may_retry = has_tries_left(ti.try_number, ti.max_tries);
        if outcome == Outcome::Failed {
            self.call_for_task(task, may_retry, false, now, decisions);
        }
        match outcome {
            Outcome::Success => self.end_attempt(task, TaskTransition::Succeed, decisions),
            Outcome::Skipped => self.end_attempt(task, TaskTransition::Skip, decisions),
            Outcome::Removed => self.end_attempt(task, TaskTransition::Remove, decisions),
            Outcome::Failed if may_retry => self.retry(task, None, now, decisions),
            Outcome::Retry { delay } => self.retry(task, delay, now, decisions),
            Outcome::Failed | Outcome::FailedForGood => {
                self.end_attempt(task, TaskTransition::Fail, decisions);
                self.fail_fast(task, now, decisions);
            }
            Outcome::Reschedule { at } => self.reschedule(task, at, decisions),
            Outcome::Deferred(deferral) => self.defer(task, *deferral, now, decisions),
            Outcome::AwaitingInput(waiting) => self.await_input(task, *waiting, now, decisions),
            Outcome::Interrupted => self.interrupted(task, now, decisions),
        }
    }

    pub(crate) fn end_attempt(&mut self, task: TaskRef, transition: TaskTransition, decisions: &mut Decisions) {
        self.forget_suspension(task, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if self_transition(state, task, transition, decisions).is_some() {
            put(decisions, state.ti(task), Change::TaskInstance);
            self.after_end(task);
        }
    }

    pub(crate) fn retry(
        &mut self,
        task: TaskRef,
        delay: Option<jiff::SignedDuration>,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        self.forget_suspension(task, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let mut archived = state.ti(task).clone();
        if self_transition(state, task, TaskTransition::Retry, decisions).is_none() {
            return;
        }
        archived.state = TaskState::Failed;
        archived.retry_delay_override = delay;
        put(decisions, &archived, Change::ArchivedTry);
        let id = self.ids.task_instance(now);
        let ti = state.ti_mut(task);
        ti.id = id;
        ti.retry_delay_override = delay;
        put(decisions, state.ti(task), Change::TaskInstance);
        // Looked at again at once: that sets the clock for the next try.
        self.dirty.push_back(task);
        self.touched.push(task.run);
    }

    fn reschedule(&mut self, task: TaskRef, at: Timestamp, decisions: &mut Decisions) {
        self.forget_suspension(task, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if self_transition(state, task, TaskTransition::Reschedule, decisions).is_none() {
            return;
        }
        state.ti_mut(task).reschedule_date = Some(at);
        put(decisions, state.ti(task), Change::TaskInstance);
        // Looked at again at once: that sets the clock, or ends it for what has happened above meanwhile.
        self.dirty.push_back(task);
        self.touched.push(task.run);
    }

    /// The attempt was cut off: the task instance runs again, and none of its retries is used up. One that went on after
    /// it had been suspended goes on from there again.
    pub(crate) fn interrupted(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let mut archived = state.ti(task).clone();
        if self_transition(state, task, TaskTransition::Interrupt, decisions).is_none() {
            return;
        }
        archived.state = TaskState::Failed;
        archived.end_date = archived.end_date.or(Some(now));
        put(decisions, &archived, Change::ArchivedTry);
        let id = self.ids.task_instance(now);
        let ti = state.ti_mut(task);
        ti.id = id;
        ti.try_number += 1;
        ti.max_tries += 1;
        ti.scheduled_at = Some(now);
        ti.start_date = None;
        ti.end_date = None;
        ti.pid = None;
        self.wait_for_slot(task);
    }

    /// Takes up a task instance of a run that was just started or found in the store.
    pub(crate) fn resume(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&task.run) else { return };
        match state.ti(task).state {
            TaskState::Scheduled => self.wait_for_slot(task),
            TaskState::Restarting => self.start_anew(task, decisions),
            executing if executing.is_executing() => self.interrupted(task, now, decisions),
            schedulable if schedulable.is_schedulable() => self.dirty.push_back(task),
            TaskState::Deferred | TaskState::AwaitingInput => {
                self.wait_outside(task);
                self.arm(task, decisions);
                self.ask_for_answer(task, now);
            }
            _ => {}
        }
    }

    /// In a Dag with `fail_fast` the first failure ends everything but teardowns.
    pub(crate) fn fail_fast(&mut self, failed: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&failed.run) else { return };
        if !state.dag.fail_fast {
            return;
        }
        let is_over = |task: &TaskIndex| {
            let own = &state.tasks[task.at()].own;
            own.success + own.failed + own.skipped == own.total
        };
        let others: Vec<TaskRef> = state
            .dag
            .indices()
            .filter(|task| *task != failed.task && !state.dag.task(*task).is_teardown && !is_over(task))
            .flat_map(|task| state.refs_of(failed.run, task))
            .collect();
        for task in others {
            self.force(task, TaskTransition::FailFast, StopReason::FailFast, now, decisions);
        }
    }

    /// The task instance that an attempt works on, unless whatever comes of it does not count any more.
    pub(crate) fn heard_attempt(&self, attempt: AttemptId) -> Option<TaskRef> {
        let task = self.attempts.get(&attempt)?;
        let is_cleared = self.runs.get(&task.run)?.ti(*task).state == TaskState::Restarting;
        (!is_cleared).then_some(*task)
    }

    /// One of a branch's instances has decided about those below it.
    pub(crate) fn branch_decided(&mut self, attempt: AttemptId, decision: SkipDecision, decisions: &mut Decisions) {
        let source = self.heard_attempt(attempt);
        let Some((source, state)) = source.and_then(|source| Some((source, self.runs.get_mut(&source.run)?))) else {
            decisions.actions.push(Action::Refused(Refusal::StaleAttempt { attempt, message: "decided" }));
            return;
        };
        let place = (source.task, state.ti(source).map_index);
        state.skips.insert(place, decision);
    }

    /// A running task said which tasks do not run. Those that execute already, have succeeded or have failed are left
    /// alone; but what is to be tried again is not.
    pub(crate) fn skip_downstream(
        &mut self,
        attempt: AttemptId,
        tasks: &[(TaskId, MapIndex)],
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let source = self.heard_attempt(attempt);
        let Some((source, state)) = source.and_then(|source| Some((source, self.runs.get_mut(&source.run)?))) else {
            decisions.actions.push(Action::Refused(Refusal::StaleAttempt { attempt, message: "skip downstream" }));
            return;
        };
        let names = tasks.iter().map(|(task_id, _)| task_id.clone());
        let place = (source.task, state.ti(source).map_index);
        let decision = state.skips.entry(place).or_insert_with(|| SkipDecision::Skipped(Vec::new()));
        if let SkipDecision::Skipped(skipped) = decision {
            skipped.extend(names);
        }
        let skipped: Vec<TaskRef> = tasks
            .iter()
            .filter_map(|(task_id, map_index)| {
                let task = state.dag.find(task_id.as_str())?;
                let instance = state.tasks[task.at()].find(*map_index)?;
                Some(TaskRef { run: source.run, task, instance })
            })
            .filter(|task| {
                let state = state.ti(*task).state;
                !state.is_executing() && next_state(state, TaskTransition::Skip).is_ok()
            })
            .collect();
        for task in skipped {
            self.end_without_running(task, TaskTransition::Skip, now, decisions);
        }
    }
}

/// What goes on keeps the moment when it first began.
fn set_start(instance: &mut Instance, at: Timestamp) {
    if instance.suspension.is_none() || instance.ti.start_date.is_none() {
        instance.ti.start_date = Some(at);
    }
}

/// Whether a failure of this try would be followed by another.
pub(crate) fn has_tries_left(try_number: u32, max_tries: u32) -> bool {
    max_tries > 0 && try_number <= max_tries
}
