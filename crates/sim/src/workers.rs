//! Workers: they do what the engine decided, and report.

use std::sync::Arc;

use engine::{Input, Started};
use jiff::Timestamp;
use model::{MapIndex, RunKey, TaskInstance, TaskInstanceId};
use scheduler::{Action, Event, Outcome, StartAttempt, TriggerError};
use serde_json::json;
use store::{Write, XCom, XComKey};

use crate::checks::{self, Violation};
use crate::dags::{Plan, left_out};
use crate::world::{Pending, World};

/// The key under which branches leave their decision.
const SKIP_KEY: &str = "skipmixin_key";

impl World {
    pub(crate) fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Start(attempt) => self.attempt_starts(attempt)?,
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
            Action::Done { to } => {
                if let Some((dag_id, paused)) = self.unconfirmed.remove(&to.0) {
                    self.note(|| format!("{dag_id} is {}", if paused { "paused" } else { "let go on" }));
                }
            }
            Action::RunChanged { answer, .. } => self.note(|| match answer {
                Ok(Some(run)) => format!("{} is {} by hand", run.key, run.state),
                Ok(None) => "a run is deleted".to_owned(),
                Err(error) => format!("no run is changed: {error}"),
            }),
            Action::Acknowledge { .. } => {}
        }
        Ok(())
    }

    fn answered(&mut self, request: u64, answer: Result<RunKey, TriggerError>) {
        let Some((dag_id, run)) = self.unanswered.remove(&request) else { return };
        match answer {
            Ok(key) => {
                self.note(|| format!("{key} was made"));
                self.promised.insert(key);
            }
            Err(TriggerError::UnknownDag(dag_id)) => {
                self.note(|| format!("{dag_id} is not known; somebody will ask again"));
                self.soon(60_000, Pending::Trigger(dag_id, run));
            }
            Err(error) => {
                self.note(|| format!("no run: {error}"));
                if let TriggerError::RunIdTaken { .. } = error {
                    self.promised.insert(RunKey::new(dag_id, run.run_id));
                }
            }
        }
    }

    fn attempt_starts(&mut self, attempt: Box<StartAttempt>) -> Result<(), Violation> {
        checks::at_start(self, &attempt)?;
        let ti = attempt.ti.clone();
        self.note(|| format!("{} try {} starts as {}", ti.key(), ti.try_number, ti.id));
        self.tries.insert((ti.key(), ti.try_number), ti.id);
        self.may_start_again.remove(&ti.id);
        self.alive.insert(ti.id, attempt);
        // What it pushed before is cleared.
        self.write(vec![Write::ClearXComs(ti.key())]);
        if self.rng.percent(60) {
            for _ in 0..self.rng.range(1, 2) {
                let Started { at, hostname, unixname, pid } = started(self.now);
                let event = Event::AttemptStarted { attempt: ti.id, at, hostname, unixname, pid };
                self.soon(40, Pending::Deliver(Input::Event(event)));
            }
        }
        let longest = if self.rng.percent(20) { 60_000 } else { 3_000 };
        self.soon(longest, Pending::End(ti.id));
        Ok(())
    }

    pub(crate) fn attempt_ends(&mut self, id: TaskInstanceId) {
        let Some(attempt) = self.alive.remove(&id) else { return };
        let (ti, dag) = (attempt.ti.clone(), Arc::clone(&attempt.dag));
        let retries = dag.task(attempt.task).retries;
        // Every time that it was cut off it got a try more.
        let cut_off = ti.max_tries.saturating_sub(retries);
        let consumed = ti.try_number.saturating_sub(1 + cut_off);
        let rescheduled = self.rescheduled.get(&ti.key()).copied().unwrap_or(0);
        let lost = self.is_faulty() && self.rng.percent(4);
        let outcome =
            if lost { Outcome::Interrupted } else { Plan::of(self.seed, &ti).outcome(consumed, rescheduled, self.now) };
        self.note(|| format!("{} try {} ends: {outcome:?}", ti.key(), ti.try_number));
        if let Outcome::Reschedule { .. } = outcome {
            *self.rescheduled.entry(ti.key()).or_default() += 1;
            self.may_start_again.insert(id);
        }
        if outcome == Outcome::Success {
            let skipped = left_out(self.seed, &dag, &ti);
            if !skipped.is_empty() {
                self.write(vec![decision_of(&ti, &skipped, self.now)]);
                let tasks = skipped.into_iter().map(|task| (task, MapIndex::NONE)).collect();
                self.schedule(self.now, Pending::Deliver(Input::Event(Event::SkipDownstream { attempt: id, tasks })));
            }
        }
        let told = self.rng.percent(50).then(|| started(self.now));
        self.schedule(self.now, Pending::Deliver(ended(id, self.now, outcome.clone(), told)));
        let comes_back = matches!(outcome, Outcome::Reschedule { .. });
        if self.rng.percent(5) && !comes_back {
            self.soon(2000, Pending::Deliver(ended(id, self.now, outcome, None)));
        }
    }

    /// An attempt of an engine that is gone speaks to the one that is there.
    pub(crate) fn last_words(&mut self, attempt: TaskInstanceId) {
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

fn started(at: Timestamp) -> Started {
    Started { at, hostname: "host".into(), unixname: "user".into(), pid: 1 }
}

pub(crate) fn ended(attempt: TaskInstanceId, at: Timestamp, outcome: Outcome, started: Option<Started>) -> Input {
    Input::AttemptEnded { attempt, started, at, outcome, rendered_map_index: None, writes: Vec::new() }
}
