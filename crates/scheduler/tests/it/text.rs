//! Dags drawn as text, and what happens to them as a transcript: commands begin with `>`, and below each stands what
//! the scheduler decided.

mod read;
mod show;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use model::timetable::{NamedRun, NextRun};
use model::{
    AssetEventId, AttemptId, Dag, DagId, DagRunState, DataInterval, MapIndex, Reprocess, RunKey, TaskInstanceKey,
    TaskState, TriggerId,
};
use scheduler::{Answered, BackfillWish, Config, Event, Outcome, ReplyId, TriggerEvent, TriggeredEnd, Waiting};
use serde_json::json;

use crate::partitions;
use crate::toy::{BackfillOptions, Step, Toy, answer, beginning, told};
use read::{clear, clock, deferral, duration, instance, mark, moment, read_dag, update, words};

/// One transcript, played.
pub struct Play {
    toy: Toy,
    versions: BTreeMap<String, VecDeque<(Arc<Dag>, bool)>>,
    names: BTreeMap<RunKey, String>,
    shown: BTreeMap<TaskInstanceKey, (TaskState, u32)>,
    shown_runs: BTreeMap<RunKey, DagRunState>,
    /// The last trigger of each task instance.
    triggers: BTreeMap<TaskInstanceKey, TriggerId>,
    /// Whom each attempt was for.
    started: BTreeMap<AttemptId, TaskInstanceKey>,
    out: String,
}

/// Plays a transcript and returns it as it should read.
pub fn play(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut config = Config::default();
    let mut versions: BTreeMap<String, VecDeque<(Arc<Dag>, bool)>> = BTreeMap::new();
    let mut head = String::new();
    while let Some(line) = lines.next_if(|line| !line.starts_with('>')) {
        writeln!(head, "{line}").unwrap();
        if let Some(number) = line.strip_prefix("parallelism ") {
            config.parallelism = number.parse().unwrap();
        } else if line.starts_with("dag ") {
            let mut body = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("    ")) {
                writeln!(head, "{line}").unwrap();
                body.push(line.trim());
            }
            let (dag, paused) = read_dag(line, &body);
            versions.entry(dag.dag_id.to_string()).or_default().push_back((dag, paused));
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "what is {line:?}?");
        }
    }
    let mut play = Play {
        toy: Toy::new(config),
        versions,
        names: BTreeMap::new(),
        shown: BTreeMap::new(),
        shown_runs: BTreeMap::new(),
        triggers: BTreeMap::new(),
        started: BTreeMap::new(),
        out: head,
    };
    for line in lines.filter(|line| line.starts_with(['>', '#'])) {
        writeln!(play.out, "{line}").unwrap();
        if let Some(command) = line.strip_prefix("> ") {
            play.command(command);
        }
    }
    play.out
}

impl Play {
    fn command(&mut self, command: &str) {
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let steps = match words.as_slice() {
            ["import", dag_id] => {
                let next = self.versions.get_mut(*dag_id).and_then(VecDeque::pop_front);
                let (dag, paused) = next.unwrap_or_else(|| panic!("there is no other {dag_id}"));
                self.toy.import(&dag, paused)
            }
            ["wait", time] => return self.wait(self.toy.now + duration(time)),
            ["wait", "until", time] => return self.wait(moment(time)),
            ["timetable", "too", "late", dag_id, answer @ ..] => {
                let number = self.toy.questions[*dag_id] - 1;
                self.timetable_answers(dag_id, number, answer)
            }
            ["timetable", dag_id, answer @ ..] => {
                let number = self.toy.questions[*dag_id];
                self.timetable_answers(dag_id, number, answer)
            }
            ["weighs", weights @ ..] => {
                let asked = Box::new(self.toy.unweighed.remove(0));
                let answer = match weights {
                    ["error", text] => Err((*text).to_owned()),
                    weights => Ok(weights.iter().map(|weight| weight.parse().unwrap()).collect()),
                };
                self.toy.tell(Event::Weighed { asked, answer })
            }
            ["trigger", dag_id, run_id] => self.toy.trigger(dag_id, run_id, None),
            ["trigger", dag_id, run_id, date] => {
                let date = moment(date.strip_prefix("date=").unwrap());
                self.toy.trigger(dag_id, run_id, Some(date))
            }
            ["mapper", dag_id, event, answer @ ..] => {
                let (dag_id, event) = (DagId::from(*dag_id), AssetEventId(event.parse().unwrap()));
                assert!(
                    self.toy.mapper_questions.remove(&(dag_id.clone(), event)),
                    "{dag_id} does not ask about {event}"
                );
                let answer = partitions::answer(answer);
                self.toy.tell_all(vec![Event::MapperAnswered { dag_id, event, answer }])
            }
            ["end", task, outcome] => {
                let attempt = self.attempt(task);
                let outcome = self.outcome(outcome);
                self.toy.end(attempt, outcome)
            }
            ["end", task, "returns", length] => {
                let attempt = self.attempt(task);
                self.toy.returned.insert(self.key(task), length.parse().unwrap());
                self.toy.end(attempt, Outcome::Success)
            }
            ["end", task, "success", "updates", assets @ ..] => {
                let attempt = self.attempt(task);
                let updates = assets.iter().map(|text| update(text)).collect();
                let end = self.toy.end_event(attempt, Outcome::Success);
                self.toy.tell_all(vec![Event::AssetsUpdated { attempt, updates }, end])
            }
            ["late", task, outcome] => {
                let attempt = self.first_attempt(task);
                let outcome = self.outcome(outcome);
                self.toy.end(attempt, outcome)
            }
            ["fire", task, rest @ ..] => {
                let event = match rest {
                    [] => TriggerEvent::Resume(json!("payload")),
                    ["success"] => TriggerEvent::End(TriggeredEnd::Success),
                    ["failed"] => TriggerEvent::End(TriggeredEnd::Failed),
                    ["skipped"] => TriggerEvent::End(TriggeredEnd::Skipped),
                    _ => panic!("no trigger fires {rest:?}"),
                };
                self.toy.tell(Event::TriggerFired { trigger: self.trigger(task), event })
            }
            ["break", task] => {
                let traceback = Some(vec!["it broke".to_owned()]);
                self.toy.tell(Event::TriggerFailed { trigger: self.trigger(task), traceback })
            }
            ["answer", task, option] => self.answer(task, option, true),
            ["answer", task, option, "of", "trigger"] => self.answer(task, option, false),
            ["default", task, option] => {
                self.toy.defaults.insert(self.key(task), (*option).to_owned());
                return;
            }
            ["start", task] => {
                let (attempt, at) = (self.attempt(task), self.toy.now);
                let (hostname, unixname) = ("host".into(), "user".into());
                self.toy.tell(Event::AttemptStarted { attempt, at, hostname, unixname, pid: 1 })
            }
            ["branch", task, "skips", skipped @ ..] => {
                let attempt = self.attempt(task);
                let skipped: Vec<_> = skipped.iter().map(|task| (*task).into()).collect();
                self.toy.branch(attempt, &skipped)
            }
            ["set", run, state] => {
                let (run, state) = (self.run(run), state.parse().unwrap());
                self.toy.tell(Event::SetRunState { run, state, reply: ReplyId(0) })
            }
            ["clear", run, rest @ ..] => {
                let run = self.run(run);
                self.toy.tell(Event::Clear(Box::new(clear(run, rest))))
            }
            ["backfill", dag_id, "from", from, "to", to, rest @ ..] => {
                let mut how = BackfillOptions { reprocess: Reprocess::None, max_active_runs: 10, backwards: false };
                for word in rest {
                    match word.split_once('=') {
                        Some(("reprocess", name)) => how.reprocess = name.parse().unwrap(),
                        Some(("max_active_runs", number)) => how.max_active_runs = number.parse().unwrap(),
                        None if *word == "backwards" => how.backwards = true,
                        _ => panic!("what is {word}?"),
                    }
                }
                self.toy.backfill(dag_id, (moment(from), moment(to)), how)
            }
            ["backfill", dag_id, "pause"] => self.toy.set_backfill(dag_id, BackfillWish::Pause),
            ["backfill", dag_id, "unpause"] => self.toy.set_backfill(dag_id, BackfillWish::Unpause),
            ["backfill", dag_id, "cancel"] => self.toy.set_backfill(dag_id, BackfillWish::Cancel),
            ["mark", run, "as", mark_as, rest @ ..] => {
                let run = self.run(run);
                self.toy.tell(Event::Mark(Box::new(mark(run, mark_as, rest))))
            }
            ["delete", "dag", dag_id] => {
                self.toy.tell(Event::DeleteDag { dag_id: (*dag_id).into(), reply: ReplyId(0) })
            }
            ["delete", run] => self.toy.tell(Event::DeleteRun { run: self.run(run), reply: ReplyId(0) }),
            ["pause", dag_id] => self.pause(dag_id, true),
            ["unpause", dag_id] => self.pause(dag_id, false),
            ["vanish", dag_id] => self.toy.vanish(dag_id),
            ["return", dag_id] => self.toy.come_back(dag_id),
            ["pool", name, "gone"] => self.toy.remove_pool(name),
            ["pool", name, slots, "deferred"] => {
                let (name, slots) = ((*name).into(), slots.parse().ok());
                self.toy.tell(Event::PoolChanged { name, slots, include_deferred: true })
            }
            ["pool", name, slots] => self.toy.set_pool(name, slots.parse().ok()),
            ["drain"] => self.toy.tell(Event::Drain),
            ["restart"] => self.toy.restart(),
            ["restart", "without", run] => {
                let key = self.run(run);
                self.toy.unreadable.insert(key.clone());
                let steps = self.toy.restart();
                self.toy.unreadable.remove(&key);
                steps
            }
            _ => panic!("what is {command:?}?"),
        };
        let now = self.toy.now;
        let mut steps: Vec<(Timestamp, Step)> = steps.into_iter().map(|step| (now, step)).collect();
        // What is due at this very moment belongs to it; a schedule is looked at again a microsecond later.
        steps.extend(self.toy.wait_until(now + jiff::SignedDuration::from_micros(1)));
        self.show(&steps);
    }

    fn wait(&mut self, until: Timestamp) {
        let steps = self.toy.wait_until(until);
        self.show(&steps);
    }

    fn pause(&mut self, dag_id: &str, paused: bool) -> Vec<Step> {
        self.toy.tell(Event::DagPaused { dag_id: dag_id.into(), paused, reply: ReplyId(0) })
    }

    fn answer(&mut self, task: &str, option: &str, resumes: bool) -> Vec<Step> {
        let (key, response) = (self.key(task), answer(self.toy.now, option, Some("eve")));
        let (payload, response, reply) = (told(&response), Box::new(response), ReplyId(0));
        self.toy.tell(Event::HitlAnswered(Box::new(Answered { key, response, payload, resumes, reply })))
    }

    /// What Python says about the next run: when it is due, and about what, or `never`, or `error TEXT`.
    fn timetable_answers(&mut self, dag_id: &str, number: u64, answer: &[&str]) -> Vec<Step> {
        let answer = match answer {
            ["never"] => Ok(None),
            ["error", text] => Err((*text).to_owned()),
            [run_after, start, end] => {
                let data_interval = DataInterval { start: moment(start), end: moment(end) };
                let next_run = NextRun { run_after: moment(run_after), data_interval };
                Ok(Some(NamedRun { next_run, run_id: format!("own__{run_after}").into() }))
            }
            _ => panic!("no timetable answers {answer:?}"),
        };
        self.toy.tell(Event::TimetableAnswered { dag_id: dag_id.into(), number, answer })
    }

    /// The run with this name.
    fn run(&self, name: &str) -> RunKey {
        let found = self.names.iter().find(|(_, known)| *known == name);
        found.map_or_else(|| panic!("there is no run {name}"), |(key, _)| key.clone())
    }

    fn attempt(&self, task: &str) -> AttemptId {
        let key = self.key(task);
        let found = self.toy.alive.iter().find(|(_, start)| start.ti.key() == key);
        *found.unwrap_or_else(|| panic!("{task} does not run; so far:\n{}", self.out)).0
    }

    fn key(&self, task: &str) -> TaskInstanceKey {
        let (run, task) = task.split_once('.').unwrap();
        let named = self.names.iter().find(|(_, name)| *name == run).unwrap_or_else(|| panic!("there is no run {run}"));
        let (task_id, instance) = instance(task);
        TaskInstanceKey { run: named.0.clone(), task_id: task_id.into(), map_index: instance.unwrap_or(MapIndex::NONE) }
    }

    /// The first attempt that ever worked on a task instance.
    fn first_attempt(&self, task: &str) -> AttemptId {
        let key = self.key(task);
        *self.started.iter().find(|(_, other)| **other == key).unwrap_or_else(|| panic!("{task} never ran")).0
    }

    /// The trigger that a task instance waits for, or waited for last.
    fn trigger(&self, task: &str) -> TriggerId {
        *self.triggers.get(&self.key(task)).unwrap_or_else(|| panic!("{task} was never deferred"))
    }

    fn outcome(&self, text: &str) -> Outcome {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "success" => Outcome::Success,
            "skip" => Outcome::Skipped,
            "fail" => Outcome::Failed,
            "fail_for_good" => Outcome::FailedForGood,
            "retry" => Outcome::Retry { delay: (!value.is_empty()).then(|| duration(value)) },
            "reschedule" => Outcome::Reschedule { at: self.toy.now + duration(value) },
            "defer" => Outcome::Deferred(Box::new(deferral(value, self.toy.now))),
            "ask" => Outcome::AwaitingInput(Box::new(Waiting {
                timeout: (!value.is_empty()).then(|| duration(value)),
                next_method: "execute_complete".into(),
                next_kwargs: json!({}),
            })),
            "removed" => Outcome::Removed,
            "interrupted" => Outcome::Interrupted,
            _ => panic!("no outcome is called {text}"),
        }
    }
}

/// Where the clock stands when a transcript begins.
#[test]
fn the_clock_begins_at_midnight() {
    assert_eq!(clock(beginning()), "00:00:00");
    assert_eq!(clock(moment("01-02T03:04")), "01-02 03:04:00");
}
