//! Workers: they do what the engine decided, and report.

use std::sync::Arc;

use engine::{Input, Started};
use jiff::Timestamp;
use model::timetable::{NamedRun, NextRun, Timetable};
use model::{AttemptId, Call, CallbackId, Dag, MapIndex, Outlets, RunKey, TaskInstance, TriggerId};
use scheduler::{
    Action, ArmTrigger, AskTimetable, AskWeights, Event, Outcome, RunRefusal, StartAttempt, StopReason, TasksChanged,
    TriggerError, TriggerEvent, TriggeredEnd, WeightOf,
};
use serde_json::json;
use store::{Write, XCom, XComKey};

use crate::assets;
use crate::checks::{self, Violation};
use crate::dags::{Plan, answer_of, left_out, returned_length};
use crate::world::{Pending, World};

/// The key under which branches leave their decision.
const SKIP_KEY: &str = "skipmixin_key";
/// The key of what tasks return.
const RETURNED: &str = "return_value";

impl World {
    pub(crate) fn act(&mut self, action: Action) -> Result<(), Violation> {
        self.count_action(&action);
        match action {
            Action::Start(attempt) => self.attempt_starts(attempt)?,
            Action::Stop { attempt, reason: StopReason::Cleared } => {
                self.note(|| format!("{attempt} is asked to end"));
                if self.rng.percent(70) {
                    self.soon(6000, Pending::Gone(attempt));
                }
            }
            Action::Stop { attempt, reason } => {
                self.note(|| format!("stop {attempt} ({reason:?})"));
                if self.alive.remove(&attempt).is_some() && self.rng.percent(50) {
                    // Its last words come too late.
                    self.soon(3000, Pending::Deliver(ended(attempt, self.now, Outcome::Success, None)));
                }
            }
            Action::RunFinished { run, reason } => {
                self.note(|| format!("{} is {} ({reason})", run.key, run.state));
                checks::time_of_run(self, &run, reason)?;
            }
            Action::Refused(refusal) => self.note(|| format!("refused: {refusal:?}")),
            Action::AutoPaused { dag_id, failed_runs } => {
                self.note(|| format!("{dag_id} is paused: its last {failed_runs} runs have failed"));
            }
            Action::Stuck { ti, obstacle } => self.note(|| format!("{} is stuck: {obstacle}", ti.key())),
            Action::Reply { to, answer } => self.answered(to.0, answer.map(|run| run.key)),
            Action::Call { callback, .. } => {
                self.note(|| format!("{:?} of {} is called", callback.call, callback.run));
                self.calling.insert(callback.id, callback.run.clone());
                if callback.call == Call::Deadline {
                    let missed: model::Json = serde_json::from_str(&callback.message).unwrap_or_default();
                    self.missed.insert((callback.run.clone(), missed["alert"].as_u64().unwrap_or(u64::MAX)));
                }
                self.soon(20_000, Pending::Called(callback.id));
            }
            Action::HitlAnswered { to, answer } => self.answer_heard(to, answer)?,
            Action::Done { to } => {
                if let Some((dag_id, paused)) = self.unconfirmed.remove(&to.0) {
                    self.note(|| format!("{dag_id} is {}", if paused { "paused" } else { "let go on" }));
                }
            }
            Action::AskTimetable(question) => self.ask_timetable(&question),
            Action::Watch(_) => {}
            Action::AskMapper(question) => self.ask_mapper(&question),
            Action::DagProblem { dag_id, message } => self.note(|| format!("{dag_id}: {message}")),
            Action::AskWeights(question) => self.ask_weights(question),
            Action::Arm(trigger) => self.arm(trigger),
            Action::Disarm(trigger) => {
                if self.armed.remove(&trigger).is_some() && self.rng.percent(30) {
                    // Its last words come too late.
                    let event = TriggerEvent::Resume(json!("late"));
                    self.soon(3000, Pending::Deliver(fired(trigger, event)));
                }
            }
            Action::RunChanged { answer, .. } => self.note(|| match answer {
                Ok(Some(run)) => format!("{} is {} by hand", run.key, run.state),
                Ok(None) => "a run is deleted".to_owned(),
                Err(error) => format!("no run is changed: {error}"),
            }),
            Action::TasksChanged { to, answer } => self.told_of_clear(to.0, answer),
            Action::BackfillChanged { answer, .. } => self.told_of_backfill(answer),
            Action::Acknowledge { .. } | Action::AssetRecorded { .. } | Action::AssetsUnqueued { .. } => {}
        }
        Ok(())
    }

    fn told_of_clear(&mut self, request: u64, answer: Result<Box<TasksChanged>, RunRefusal>) {
        let was_wanted = self.unanswered_clears.remove(&request);
        match answer {
            Ok(changed) => {
                self.note(|| {
                    format!("{} task instances of {} are cleared", changed.task_instances.len(), changed.run.key)
                });
                let is_counted = was_wanted && !changed.task_instances.is_empty();
                if let Some(count) = self.cleared.get_mut(&changed.run.key).filter(|_| is_counted) {
                    *count += 1;
                }
            }
            Err(error) => self.note(|| format!("nothing is cleared: {error}")),
        }
    }

    /// Whatever it was about to say does not matter any more.
    pub(crate) fn cleared_attempt_ends(&mut self, id: AttemptId) {
        if self.alive.remove(&id).is_some() {
            let outcomes = [Outcome::Interrupted, Outcome::Interrupted, Outcome::Success, Outcome::FailedForGood];
            let outcome = self.rng.pick(&outcomes).clone();
            self.note(|| format!("{id} has ended, as it was asked to"));
            self.schedule(self.now, Pending::Deliver(ended(id, self.now, outcome, None)));
        }
    }

    pub(crate) fn called(&mut self, id: CallbackId) {
        let Some(run) = self.calling.remove(&id) else { return };
        self.note(|| format!("a callback of {run} was called"));
        self.called.insert(run);
        self.write(vec![Write::CallbackDone(id)]);
    }

    /// Python takes its time, and sometimes it fails.
    fn ask_timetable(&mut self, question: &AskTimetable) {
        let AskTimetable { dag_id, number, timetable, last, restriction } = question;
        let known = Timetable::Custom(Box::new(timetable.clone()));
        let next_run = answer_of(&known, *last, restriction, self.now);
        let answer = if self.is_faulty() && self.rng.percent(10) {
            Err("the timetable fails".to_owned())
        } else {
            let run_id = |next: NextRun| format!("scheduled__own_{}", next.run_after).as_str().into();
            Ok(next_run.map(|next_run| NamedRun { next_run, run_id: run_id(next_run) }))
        };
        self.note(|| format!("the timetable of {dag_id} answers {answer:?}"));
        let event = Event::TimetableAnswered { dag_id: dag_id.clone(), number: *number, answer };
        let longest = if self.rng.percent(80) { 50 } else { 5000 };
        self.soon(longest, Pending::Deliver(Input::Event(event)));
    }

    fn ask_weights(&mut self, asked: Box<AskWeights>) {
        let answer = if self.is_faulty() && self.rng.percent(10) {
            Err("the class fails".to_owned())
        } else {
            let weight = |of: &WeightOf| 5 - i32::try_from(of.tries).unwrap_or(5) + of.map_index.0;
            Ok(asked.instances.iter().map(weight).collect())
        };
        self.note(|| format!("the weights of {} are {answer:?}", asked.run));
        let longest = if self.rng.percent(80) { 50 } else { 5000 };
        self.soon(longest, Pending::Deliver(Input::Event(Event::Weighed { asked, answer })));
    }

    fn answered(&mut self, request: u64, answer: Result<RunKey, TriggerError>) {
        let Some((dag_id, run)) = self.unanswered.remove(&request) else { return };
        let is_withdrawn = self.withdrawn.remove(&RunKey::new(dag_id.clone(), run.run_id.clone()));
        match answer {
            Ok(key) => {
                self.note(|| format!("{key} was made"));
                if !is_withdrawn {
                    self.promised.insert(key);
                }
            }
            Err(TriggerError::UnknownDag(dag_id)) => {
                self.note(|| format!("{dag_id} is not known; somebody will ask again"));
                self.soon(60_000, Pending::Trigger(dag_id, run));
            }
            Err(error) => {
                self.note(|| format!("no run: {error}"));
                if let (TriggerError::RunIdTaken { .. }, false) = (&error, is_withdrawn) {
                    self.promised.insert(RunKey::new(dag_id, run.run_id));
                }
            }
        }
    }

    fn arm(&mut self, trigger: Box<ArmTrigger>) {
        let id = trigger.trigger.id;
        self.note(|| format!("trigger {id} of {} runs", trigger.ti.key()));
        self.armed.insert(id, trigger);
        self.soon(40_000, Pending::Fire(id));
    }

    pub(crate) fn fire(&mut self, trigger: TriggerId) {
        let Some(armed) = self.armed.get(&trigger) else { return };
        let (ti, run) = (armed.ti.clone(), armed.run.clone());
        if self.is_faulty() && self.rng.percent(10) {
            self.note(|| format!("trigger {trigger} is lost with its process, and runs again"));
            return self.soon(40_000, Pending::Fire(trigger));
        }
        let sim = self.dags.iter().find(|sim| sim.dag_id == ti.run.dag_id);
        let dag = sim.map(|sim| Arc::clone(sim.structure_of(&run)));
        let may_end = dag.is_some_and(|dag| Plan::of(self.seed, &dag, &ti.key()).may_end_from_trigger());
        let ends = may_end && self.rng.percent(30);
        let event =
            if ends { TriggerEvent::End(TriggeredEnd::Success) } else { TriggerEvent::Resume(json!(trigger.0)) };
        self.note(|| format!("trigger {trigger} of {} fires: {event:?}", ti.key()));
        for _ in 0..self.rng.range(1, 2) {
            self.soon(40, Pending::Deliver(fired(trigger, event.clone())));
        }
    }

    fn attempt_starts(&mut self, attempt: Box<StartAttempt>) -> Result<(), Violation> {
        checks::at_start(self, &attempt)?;
        let ti = attempt.ti.clone();
        self.note(|| format!("{} try {} starts as {}", ti.key(), ti.try_number, attempt.attempt));
        self.tries.insert((ti.key(), ti.try_number), ti.id);
        self.may_start_again.remove(&ti.id);
        let (id, goes_on) = (attempt.attempt, attempt.suspension.is_some());
        self.alive.insert(id, attempt);
        // What it pushed before is cleared, unless it goes on.
        if !goes_on {
            self.write(vec![Write::ClearXComs(ti.key())]);
        }
        if self.rng.percent(60) {
            for _ in 0..self.rng.range(1, 2) {
                let Started { at, hostname, unixname, pid } = started(self.now);
                let event = Event::AttemptStarted { attempt: id, at, hostname, unixname, pid };
                self.soon(40, Pending::Deliver(Input::Event(event)));
            }
        }
        let longest = if self.rng.percent(20) { 60_000 } else { 3_000 };
        self.soon(longest, Pending::End(id));
        Ok(())
    }

    pub(crate) fn attempt_ends(&mut self, id: AttemptId) {
        let Some(attempt) = self.alive.remove(&id) else { return };
        let (ti, dag) = (attempt.ti.clone(), Arc::clone(&attempt.dag));
        let retries = dag.task(attempt.task).retries;
        // Every time that it was cut off it got a try more.
        let cut_off = ti.max_tries.saturating_sub(retries);
        let consumed = ti.try_number.saturating_sub(1 + cut_off);
        let rescheduled = self.rescheduled.get(&ti.key()).copied().unwrap_or(0);
        let deferred = self.deferred.get(&ti.key()).copied().unwrap_or(0);
        let lost = self.is_faulty() && self.rng.percent(4);
        let outcome = if lost {
            Outcome::Interrupted
        } else {
            let plan = Plan::of(self.seed, &dag, &ti.key());
            match plan.asks(consumed).filter(|_| !self.asked.contains(&ti.key())) {
                Some(waiting) => {
                    self.ask(&plan, &ti);
                    Outcome::AwaitingInput(Box::new(waiting))
                }
                None => plan.outcome(consumed, rescheduled, deferred, self.now),
            }
        };
        self.count("outcome", &format!("{outcome:?}"));
        self.note(|| format!("{} try {} ends: {outcome:?}", ti.key(), ti.try_number));
        if let Outcome::Reschedule { .. } = outcome {
            *self.rescheduled.entry(ti.key()).or_default() += 1;
            self.may_start_again.insert(ti.id);
        }
        if let Outcome::Deferred(_) = outcome {
            *self.deferred.entry(ti.key()).or_default() += 1;
            self.may_start_again.insert(ti.id);
        }
        if let Outcome::AwaitingInput(_) = outcome {
            self.asked.insert(ti.key());
            self.may_start_again.insert(ti.id);
        }
        if outcome == Outcome::Success {
            self.returns(&ti, &dag);
            let skipped = left_out(self.seed, &dag, &ti.key());
            if !skipped.is_empty() {
                self.write(vec![decision_of(&ti, &skipped, self.now)]);
                let tasks = skipped.into_iter().map(|task| (task, MapIndex::NONE)).collect();
                self.schedule(self.now, Pending::Deliver(Input::Event(Event::SkipDownstream { attempt: id, tasks })));
            }
        }
        let told = self.rng.percent(50).then(|| started(self.now));
        let mut end = ended(id, self.now, outcome.clone(), told);
        if let Input::AttemptEnded { outlets, .. } = &mut end {
            *outlets = assets::outlets_of(self.seed, &dag, &ti);
        }
        // Between the question and the end of the process that asks people may be quicker.
        let longest = if let Outcome::AwaitingInput(_) = outcome { 2000 } else { 0 };
        self.soon(longest, Pending::Deliver(end));
        if self.rng.percent(5) {
            // Late enough to meet the next attempt, if there is one.
            self.soon(40_000, Pending::Deliver(ended(id, self.now, outcome, None)));
        }
    }

    /// What others map over is there before the end of the task is told.
    fn returns(&mut self, ti: &TaskInstance, dag: &Dag) {
        let Some(task) = dag.find(ti.task_id.as_str()).filter(|task| !dag.sized_by(*task).is_empty()) else { return };
        let mapped_length =
            returned_length(self.seed, &ti.key(), ti.try_number).filter(|_| !dag.task(task).is_mapped());
        let key =
            XComKey { run: ti.run.clone(), task_id: ti.task_id.clone(), map_index: ti.map_index, key: RETURNED.into() };
        let (value, at) = (json!(mapped_length), self.now);
        self.write(vec![Write::XCom(Box::new(XCom { key, value, at, mapped_length, dag_result: false }))]);
    }

    /// An attempt of an engine that is gone speaks to the one that is there.
    pub(crate) fn last_words(&mut self, attempt: AttemptId) {
        let outcome = if self.rng.percent(50) { Outcome::Success } else { Outcome::FailedForGood };
        self.tell(ended(attempt, self.now, outcome, None));
    }
}

fn decision_of(ti: &TaskInstance, skipped: &[model::TaskId], at: Timestamp) -> Write {
    let key =
        XComKey { run: ti.run.clone(), task_id: ti.task_id.clone(), map_index: ti.map_index, key: SKIP_KEY.into() };
    let names: Vec<&str> = skipped.iter().map(model::TaskId::as_str).collect();
    Write::XCom(Box::new(XCom { key, value: json!({"skipped": names}), at, mapped_length: None, dag_result: false }))
}

fn fired(trigger: TriggerId, event: TriggerEvent) -> Input {
    Input::TriggerFired { trigger, event, writes: Vec::new() }
}

fn started(at: Timestamp) -> Started {
    Started { at, hostname: "host".into(), unixname: "user".into(), pid: 1 }
}

pub(crate) fn ended(attempt: AttemptId, at: Timestamp, outcome: Outcome, started: Option<Started>) -> Input {
    Input::AttemptEnded {
        attempt,
        started,
        at,
        outcome,
        rendered_map_index: None,
        writes: Vec::new(),
        outlets: Outlets::default(),
    }
}
