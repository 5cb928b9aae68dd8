//! Whether a task instance may run now, must not run any more, or waits.

use jiff::Timestamp;
use model::transition::{TaskTransition, next_state};
use model::trigger_rule::{TriggerRule, Verdict, evaluate, evaluate_indirect_setups};
use model::{Change, LinkKind, MapIndex, Relation, TaskIndex, TaskState};

use crate::dags::Hold;
use crate::event::{Action, Decisions, Refusal, SkipDecision, StopReason};
use crate::inputs::Touched;
use crate::run_state::{RunState, TaskRef};
use crate::runs::is_empty;
use crate::timers::Timer;
use crate::{Scheduler, put};

impl Scheduler {
    /// Looks at one task instance and moves it on if something changed for it.
    pub(crate) fn evaluate(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        self.evaluations += 1;
        let Some(state) = self.runs.get(&task.run) else { return };
        if !state.ti(task).state.is_schedulable() {
            return;
        }
        let hold = self.hold(state, now);
        if hold == Hold::Everything {
            return;
        }
        if is_stand_in(state, task) && !state.dag.lanes(task.task).is_empty() {
            // Which of those above matter depends on how many instances there will be.
            let unknown = state.unknown_lengths(task.task);
            if !unknown.is_empty() {
                return self.ask_lengths(task.run, &unknown);
            }
        }
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let verdict = verdict(state, task);
        if state.ti(task).state != TaskState::None {
            let place = (task.task, task.instance);
            let _ = if verdict == Verdict::Wait { state.stalled.insert(place) } else { state.stalled.remove(&place) };
        }
        let verdict = match verdict {
            Verdict::Set(TaskState::Skipped) if !self.may_be_skipped(task) => Verdict::Wait,
            Verdict::Run if hold == Hold::Starts || !self.past_allows(task) => Verdict::Wait,
            verdict => verdict,
        };
        let Some(state) = self.runs.get(&task.run) else { return };
        match verdict {
            Verdict::Wait => {}
            Verdict::Set(TaskState::Skipped) => self.end_without_running(task, TaskTransition::Skip, now, decisions),
            Verdict::Set(TaskState::Removed) => self.end_without_running(task, TaskTransition::Remove, now, decisions),
            Verdict::Set(_) => self.end_without_running(task, TaskTransition::UpstreamFail, now, decisions),
            Verdict::Run => match not_before(state, task) {
                Some(at) if at > now => self.timers.set(at, Timer::TryAgain(task)),
                _ if is_stand_in(state, task) => self.expand(task, now, decisions),
                _ if !self.revise(task, now, decisions) => {}
                _ if !self.is_weighed(task) => {}
                _ => self.start(task, now, decisions),
            },
        }
    }

    /// Nothing stands in the way of a task instance but slots.
    fn start(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if is_empty(state.dag.task(task.task)) {
            let ti = state.ti_mut(task);
            ti.try_number += 1;
            // It may have run before, and was cleared.
            ti.start_date = None;
            self.end_without_running(task, TaskTransition::Succeed, now, decisions);
        } else if let Some(trigger) = state.dag.task(task.task).start_trigger.clone() {
            self.start_from_trigger(task, &trigger, now, decisions);
        } else {
            self.make_ready(task, now, decisions);
        }
    }

    /// Puts a task instance whose conditions are met among those that wait for a slot.
    fn make_ready(&mut self, task: TaskRef, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        let rescheduled = state.ti(task).state == TaskState::UpForReschedule;
        if self_transition(state, task, TaskTransition::Schedule, decisions).is_none() {
            return;
        }
        let ti = state.ti_mut(task);
        ti.scheduled_at = Some(now);
        ti.reschedule_date = None;
        if !rescheduled {
            ti.try_number += 1;
        }
        self.wait_for_slot(task);
    }

    /// Gives a scheduled task instance its place in the order of admission.
    pub(crate) fn wait_for_slot(&mut self, task: TaskRef) {
        let Some(state) = self.runs.get(&task.run) else { return };
        let ti = state.ti(task);
        let key = self.waiting.key(ti.priority_weight, state.run.logical_date, ti.map_index);
        self.fresh.insert(key, task);
        if let Some(state) = self.runs.get_mut(&task.run) {
            state.instance_mut(task).fresh = Some(key);
        }
    }

    /// Brings a task instance to its end without an attempt.
    pub(crate) fn end_without_running(
        &mut self,
        task: TaskRef,
        transition: TaskTransition,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        self.leave_waiting(task);
        self.forget_suspension(task, decisions);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if self_transition(state, task, transition, decisions).is_none() {
            return;
        }
        let ti = state.ti_mut(task);
        // Airflow gives them a start and an end as well, so that they have a place in time; only what never began
        // before its run timed out gets none.
        if transition != TaskTransition::TimeOut {
            ti.start_date = ti.start_date.or(Some(now));
        }
        let ended = ti.end_date.filter(|_| transition.is_by_hand());
        ti.end_date = ended.or(ti.start_date.map(|_| now));
        put(decisions, state.ti(task), Change::TaskInstance);
        self.after_end(task);
    }

    /// Ends a task instance whatever it is doing; an attempt under way is stopped.
    pub(crate) fn force(
        &mut self,
        task: TaskRef,
        transition: TaskTransition,
        reason: StopReason,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if next_state(state.ti(task).state, transition).is_err() {
            // It has ended before.
            return;
        }
        if let Some(attempt) = state.instance_mut(task).attempt.take() {
            self.release_slots(task);
            self.attempts.remove(&attempt);
            decisions.actions.push(Action::Stop { attempt, reason });
        }
        self.end_without_running(task, transition, now, decisions);
    }

    /// Marks everything for which this task instance's end may matter.
    pub(crate) fn after_end(&mut self, task: TaskRef) {
        self.touched.push(task.run);
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if state.dag.task(task.task).can_skip_downstream {
            state.wake_below_branch(task);
        }
        self.wake(task.run);
        self.source_ended(task.run, task.task);
        let Some(state) = self.runs.get(&task.run) else { return };
        if !state.later.is_empty() && state.tasks[task.task.at()].is_finished() {
            self.wake_later_runs(task);
        }
    }

    pub(crate) fn leave_waiting(&mut self, task: TaskRef) {
        let Some(state) = self.runs.get_mut(&task.run) else { return };
        if state.ti(task).state != TaskState::Scheduled {
            return;
        }
        let instance = state.instance_mut(task);
        if let Some(parked) = instance.parked.take() {
            self.waiting.leave(&parked);
        }
        if let Some(key) = instance.fresh.take() {
            self.fresh.remove(&key);
        }
    }
}

/// Moves on or, if the table forbids it, leaves everything as it is and says so.
pub(crate) fn self_transition(
    state: &mut RunState,
    task: TaskRef,
    transition: TaskTransition,
    decisions: &mut Decisions,
) -> Option<TaskState> {
    match state.transition(task, transition) {
        Ok(new) => Some(new),
        Err(error) => {
            let (ti, message) = (state.ti(task).id, error.to_string());
            decisions.actions.push(Action::Refused(Refusal::NotPossible { ti, message }));
            None
        }
    }
}

/// The moment before which a retry or a rescheduled task does not run.
fn not_before(state: &RunState, task: TaskRef) -> Option<Timestamp> {
    let ti = state.ti(task);
    match ti.state {
        TaskState::UpForRetry => Some(model::retry::next_retry(
            &state.run.key.dag_id,
            state.dag.task(task.task),
            state.run.logical_date,
            ti.try_number,
            ti.end_date?,
            ti.retry_delay_override,
        )),
        TaskState::UpForReschedule => ti.reschedule_date,
        _ => None,
    }
}

/// What the tasks above say, in the order in which Airflow asks them.
fn verdict(state: &RunState, task: TaskRef) -> Verdict {
    if is_skipped_by_branch(state, task) {
        return Verdict::Set(TaskState::Skipped);
    }
    let rule = verdict_of_rule(state, task);
    // Airflow looks at all conditions; a failure of what is mapped over outweighs a skip.
    match (rule, state.verdict_of_sources(task.task)) {
        (rule @ Verdict::Set(TaskState::UpstreamFailed), _) | (rule, None) => rule,
        (Verdict::Set(_), Some(Some(TaskState::Skipped)) | Some(None)) => rule,
        (_, Some(Some(state))) => Verdict::Set(state),
        (_, Some(None)) => Verdict::Wait,
    }
}

fn verdict_of_rule(state: &RunState, task: TaskRef) -> Verdict {
    let slot = &state.tasks[task.task.at()];
    let definition = state.dag.task(task.task);
    let map_index = state.ti(task).map_index.0;
    let upstream = state.counts_of(task, &slot.upstream);
    if definition.trigger_rule == TriggerRule::Always || upstream.total == 0 {
        return Verdict::Run;
    }
    let setups = evaluate_indirect_setups(&state.counts_of(task, &slot.setups), map_index);
    if let Verdict::Set(_) = setups {
        return setups;
    }
    let scope = state.counts_of(task, &slot.scope);
    let scope_is_open = definition.is_teardown && scope.done() < scope.total;
    match evaluate(definition.trigger_rule, &upstream, map_index) {
        Verdict::Run if setups == Verdict::Wait || scope_is_open => Verdict::Wait,
        direct => direct,
    }
}

/// Whether a task instance stands for all of a task that has not got its instances.
fn is_stand_in(state: &RunState, task: TaskRef) -> bool {
    state.dag.task(task.task).needs_expansion() && !state.ti(task).map_index.is_mapped()
}

impl RunState {
    /// A branch has ended: those directly below it look whether they are skipped.
    fn wake_below_branch(&mut self, task: TaskRef) {
        let map_index = self.ti(task).map_index;
        let Ok(index) = u32::try_from(map_index.0) else {
            self.woken.extend(self.dag.task(task.task).downstream.iter().map(|below| (*below, Touched::Everybody)));
            return;
        };
        for below in &self.dag.task(task.task).downstream {
            let own = match (self.branch_relation(*below, task.task), &self.tasks[below.at()].sizes) {
                (Some(Relation::Lane { lane, further: false }), Some(sizes)) => sizes.instances(lane, index as usize),
                _ => index..index.saturating_add(1),
            };
            self.woken.push((*below, Touched::Some(own)));
        }
    }

    fn branch_relation(&self, below: TaskIndex, branch: TaskIndex) -> Option<Relation> {
        let links = self.dag.links_above(below);
        links.iter().find(|link| link.task == branch && link.kind == LinkKind::Upstream).map(|link| link.relation)
    }

    /// Which instance of a branch decides about a task instance below it. In a mapped group that is the one of the same
    /// item; Airflow 3.3 looks for one that does not exist there, and skips nothing (its issue 67265).
    fn deciding_instance(&self, task: TaskRef, branch: TaskIndex) -> Option<MapIndex> {
        let (parent, own) = (self.dag.task(branch), self.ti(task).map_index);
        if parent.is_mapped() {
            return Some(own);
        }
        if parent.mapped_group.is_none() {
            return Some(MapIndex::NONE);
        }
        match (self.branch_relation(task.task, branch)?, &self.tasks[task.task.at()].sizes) {
            (Relation::Lane { lane, further: false }, Some(sizes)) => sizes.item_of(lane, own),
            _ => None,
        }
    }
}

/// Whether a branch directly above chose other tasks.
fn is_skipped_by_branch(state: &RunState, task: TaskRef) -> bool {
    if state.skips.is_empty() {
        return false;
    }
    let definition = state.dag.task(task.task);
    definition.upstream.iter().any(|above: &TaskIndex| {
        // What a branch decided before it was cleared counts only when it has run again.
        let is_finished = state.tasks[above.at()].own.done() > 0;
        state.dag.task(*above).can_skip_downstream
            && is_finished
            && state.deciding_instance(task, *above).is_some_and(|map_index| {
                match state.skips.get(&(*above, map_index)) {
                    None => false,
                    Some(SkipDecision::Followed(tasks)) => !tasks.contains(&definition.task_id),
                    Some(SkipDecision::Skipped(tasks)) => tasks.contains(&definition.task_id),
                }
            })
    })
}
