//! Task instances that people give a state (Airflow's `set_task_instance_state`). What has failed below them because of
//! what they were is cleared, so that it may go on.

use std::collections::HashSet;

use jiff::Timestamp;
use model::transition::{TaskTransition, next_state};
use model::{Change, MapIndex, RunKey, TaskId, TaskInstance, TaskInstanceKey};

use crate::by_hand::Wish;
use crate::clear::{Named, requeue_cleared};
use crate::event::{Action, Decisions, LoadedRun, ReplyId, StopReason, TasksChanged};
use crate::run_state::{RunSerial, TaskRef};
use crate::{Scheduler, put};

/// The state that task instances are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkAs {
    Success,
    Failed,
    Skipped,
}

impl MarkAs {
    fn transition(self) -> TaskTransition {
        match self {
            MarkAs::Success => TaskTransition::MarkSuccess,
            MarkAs::Failed => TaskTransition::MarkFailed,
            MarkAs::Skipped => TaskTransition::MarkSkipped,
        }
    }
}

/// A request to give task instances of a run a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    pub reply: ReplyId,
    pub run: RunKey,
    pub mark_as: MarkAs,
    /// All instances of a task, or one of them.
    pub tasks: Vec<(TaskId, Option<MapIndex>)>,
    /// Tasks of which what has failed runs again, unless it was just marked.
    pub resume: Vec<TaskId>,
}

impl Mark {
    /// Whether a task instance is to be marked: it is meant, and is not in that state.
    fn marks(&self, named: &Named<'_>, ti: &TaskInstance) -> bool {
        named.includes(ti) && next_state(ti.state, self.mark_as.transition()).is_ok()
    }

    fn resumes(&self, ti: &TaskInstance, marked: &HashSet<TaskInstanceKey>) -> bool {
        ti.state.is_failure() && self.resume.contains(&ti.task_id) && !marked.contains(&ti.key())
    }
}

impl Scheduler {
    pub(crate) fn mark(&mut self, mark: Mark, now: Timestamp, decisions: &mut Decisions) {
        match self.run_serials.get(&mark.run).copied() {
            Some(serial) => self.mark_under_way(serial, &mark, now, decisions),
            None => {
                let key = mark.run.clone();
                self.wish(&key, Wish::Mark(mark));
            }
        }
    }

    pub(crate) fn mark_under_way(&mut self, serial: RunSerial, mark: &Mark, now: Timestamp, decisions: &mut Decisions) {
        let Some(state) = self.runs.get(&serial) else { return };
        let named = Named::new(&mark.tasks);
        let tasks: Vec<TaskRef> =
            named.refs(state, serial).into_iter().filter(|task| mark.marks(&named, state.ti(*task))).collect();
        for task in &tasks {
            self.force(*task, mark.mark_as.transition(), StopReason::MarkedByHand, now, decisions);
        }
        let Some(state) = self.runs.get(&serial) else { return };
        let marked: HashSet<TaskInstanceKey> = tasks.iter().map(|task| state.ti(*task).key()).collect();
        let resume: Vec<_> = mark.resume.iter().map(|task_id| (task_id.clone(), None)).collect();
        let resumed: Vec<TaskRef> = Named::new(&resume)
            .refs(state, serial)
            .into_iter()
            .filter(|task| mark.resumes(state.ti(*task), &marked))
            .collect();
        for task in &resumed {
            self.clear_instance(*task, now, decisions);
        }
        self.wake(serial);
        self.touched.push(serial);
        let Some(state) = self.runs.get_mut(&serial) else { return };
        if !resumed.is_empty() {
            state.run.clear_number += 1;
            state.run.queued_at = Some(now);
            put(decisions, &state.run, Change::Run);
            let (run, dag) = (state.run.clone(), state.dag.clone());
            self.deadlines_requeued(&run, &dag, decisions);
        }
        let Some(state) = self.runs.get(&serial) else { return };
        let task_instances = tasks.iter().map(|task| state.ti(*task).clone()).collect();
        let answer = Ok(Box::new(TasksChanged { run: state.run.clone(), task_instances }));
        decisions.actions.push(Action::TasksChanged { to: mark.reply, answer });
    }

    /// Marks in a run that is not under way and was fetched for that.
    pub(crate) fn mark_fetched(
        &mut self,
        loaded: &mut LoadedRun,
        mark: &Mark,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let mut marked = Vec::new();
        let named = Named::new(&mark.tasks);
        for ti in loaded.task_instances.iter_mut().filter(|ti| mark.marks(&named, ti)) {
            let Ok(next) = next_state(ti.state, mark.mark_as.transition()) else { continue };
            ti.state = next;
            ti.start_date = ti.start_date.or(Some(now));
            ti.end_date = ti.end_date.or(Some(now));
            put(decisions, ti, Change::TaskInstance);
            let gone = loaded.suspensions.extract_if(.., |suspension| suspension.key == ti.key());
            decisions.changes.extend(gone.map(|suspension| Change::NotSuspended(suspension.key)));
            marked.push(ti.clone());
        }
        let keys: HashSet<TaskInstanceKey> = marked.iter().map(TaskInstance::key).collect();
        let is_resumed = |ti: &TaskInstance| mark.resumes(ti, &keys);
        if loaded.task_instances.iter().any(is_resumed) {
            self.fit(loaded, now, decisions);
            self.clear_where(loaded, is_resumed, true, now, decisions);
            requeue_cleared(&mut loaded.run, now);
            put(decisions, &loaded.run, Change::Run);
            self.deadlines_requeued(&loaded.run, &loaded.structure.dag, decisions);
        }
        let answer = Ok(Box::new(TasksChanged { run: loaded.run.clone(), task_instances: marked }));
        decisions.actions.push(Action::TasksChanged { to: mark.reply, answer });
    }
}
