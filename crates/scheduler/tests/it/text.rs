//! Dags drawn as text, and what happens to them as a transcript: commands begin with `>`, and below each stands what
//! the scheduler decided.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::timetable::{NamedRun, NextRun, Timetable};
use model::{
    Asset, AssetCondition, AssetKey, AssetLike, AssetUpdate, AttemptId, Change, Dag, DagBuilder, DagRunState,
    DataInterval, DeadlineAlert, DeadlineInterval, DeadlineReference, Execution, MapIndex, Reprocess, RunKey,
    StartTrigger, Task, TaskInstanceKey, TaskState, TimerEvent, TriggerId, TriggerTimer, WeightRule,
};
use scheduler::{
    Action, Answered, BackfillWish, Clear, Config, Deferral, Event, Mark, MarkAs, Outcome, ReplyId, TriggerEvent,
    TriggeredEnd, Waiting,
};
use serde_json::{Value, json};

use crate::toy::{BackfillOptions, Step, Toy, answer, beginning, told};

/// `12:30`, `12:30:05` or `01-02T12:30`.
fn moment(text: &str) -> Timestamp {
    let (day, time) = text.split_once('T').unwrap_or(("01-01", text));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    format!("2026-{day}T{time}Z").parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `5s`, `10m`, `2h` or `1d`.
fn duration(text: &str) -> SignedDuration {
    let (number, unit) = text.split_at(text.len() - 1);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => panic!("{text} has no unit"),
    };
    SignedDuration::from_secs(number.parse::<i64>().unwrap_or_else(|_| panic!("{text}")) * factor)
}

fn clock(at: Timestamp) -> String {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let format = if at.date() == jiff::civil::date(2026, 1, 1) { "%H:%M:%S" } else { "%m-%d %H:%M:%S" };
    at.strftime(format).to_string()
}

/// Words; what stands in quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn timetable(kind: &str, value: &str) -> Option<Timetable> {
    let name = |name: &str| format!("airflow.timetables.{name}");
    let cron = json!({"expression": value, "timezone": "UTC", "interval": 0.0, "run_immediately": false});
    let seconds = |text: &str| duration(text).as_secs_f64();
    let (type_name, data): (String, Value) = match kind {
        "cron" => (name("trigger.CronTriggerTimetable"), cron),
        "intervals" => (name("interval.CronDataIntervalTimetable"), cron),
        "every" => (name("trigger.DeltaTriggerTimetable"), json!({"delta": seconds(value), "interval": 0.0})),
        "once" => (name("simple.OnceTimetable"), json!({})),
        "continuous" => (name("simple.ContinuousTimetable"), json!({})),
        "custom" => ("plugins.Own".to_owned(), json!({})),
        _ => return None,
    };
    Some(Timetable::from_serialized(&type_name, &data).unwrap())
}

/// `a`, `name:a` or `alias:a`.
fn asset_like(text: &str) -> AssetLike {
    match text.split_once(':') {
        None => AssetLike::Asset(Asset::new(AssetKey { name: text.into(), uri: text.into() })),
        Some(("name", name)) => AssetLike::NameRef(name.into()),
        Some(("alias", name)) => AssetLike::Alias(name.into()),
        _ => panic!("{text} is no asset"),
    }
}

/// `a&b|c`.
fn condition(text: &str) -> AssetCondition {
    let all =
        |text: &str| AssetCondition::All(text.split('&').map(|part| AssetCondition::Of(asset_like(part))).collect());
    AssetCondition::Any(text.split('|').map(all).collect())
}

/// `a`, or `a:alias` for one that its producer names by an alias.
fn update(text: &str) -> AssetUpdate {
    let (name, alias) = text.split_once(':').map_or((text, None), |(name, alias)| (name, Some(alias.to_owned())));
    let asset = Asset::new(AssetKey { name: name.into(), uri: name.into() });
    AssetUpdate { asset, extra: json!({}), aliases: alias.into_iter().collect() }
}

fn dag_option(dag: &mut Dag, word: &str, paused: &mut bool) {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let number = || value.parse().unwrap_or_else(|_| panic!("{word}"));
    match name {
        "catchup" => dag.catchup = true,
        "start" => dag.start_date = Some(moment(value)),
        "end" => dag.end_date = Some(moment(value)),
        "max_active_runs" => dag.limits.max_active_runs = number(),
        "max_active_tasks" => dag.limits.max_active_tasks = number(),
        "max_failed" => dag.limits.max_consecutive_failed_dag_runs = number(),
        "timeout" => dag.dagrun_timeout = Some(duration(value)),
        "fail_fast" => dag.fail_fast = true,
        "deadline" => dag.deadlines.push(DeadlineAlert {
            reference: if value == "never" { DeadlineReference::LogicalDate } else { DeadlineReference::QueuedAt },
            interval: DeadlineInterval::Fixed(if value == "never" { SignedDuration::ZERO } else { duration(value) }),
        }),
        "on_success" => dag.has_on_success_callback = true,
        "on_failure" => dag.has_on_failure_callback = true,
        "paused" => *paused = true,
        "assets" => dag.timetable = Timetable::Assets(condition(value)),
        "or_assets" => {
            let timetable = Box::new(dag.timetable.clone());
            dag.timetable = Timetable::AssetsOrTime { condition: condition(value), timetable };
        }
        _ => dag.timetable = timetable(name, value).unwrap_or_else(|| panic!("a Dag has no {name}")),
    }
}

fn task_option(task: &mut Task, word: &str) {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let number = || value.parse().unwrap_or_else(|_| panic!("{word}"));
    match name {
        "rule" => task.trigger_rule = value.parse().unwrap(),
        "retries" => task.retries = number(),
        "retry_delay" => task.retry_delay = duration(value),
        "backoff" => task.retry_exponential_backoff = f64::from(number()),
        "max_retry_delay" => task.max_retry_delay = Some(duration(value)),
        "pool" => value.clone_into(&mut task.pool),
        "slots" => task.pool_slots = number(),
        "weight" => task.priority_weight = value.parse().unwrap(),
        "upstream_weight" => task.weight_rule = WeightRule::Upstream,
        "absolute" => task.weight_rule = WeightRule::Absolute,
        "depends_on_past" => task.depends_on_past = true,
        "ignore_first" => task.ignore_first_depends_on_past = true,
        "wait_past_before_skipping" => task.wait_for_past_depends_before_skipping = true,
        "wait_for_downstream" => (task.depends_on_past, task.wait_for_downstream) = (true, true),
        "setup" => task.is_setup = true,
        "teardown" => {
            task.is_teardown = true;
            task.trigger_rule = model::TriggerRule::AllDoneSetupSuccess;
        }
        "on_failure_fail_dagrun" => task.on_failure_fail_dagrun = true,
        "branch" => task.can_skip_downstream = true,
        "on_failure" => task.notices.on_failure = true,
        "on_retry" => task.notices.on_retry = true,
        "email" => (task.notices.email_on_failure, task.notices.email_on_retry) = (true, true),
        "empty" => task.execution = Execution::Empty,
        "from_trigger" => {
            let nothing = json!({});
            task.start_trigger = Some(Arc::new(StartTrigger {
                classpath: "own.Trigger".into(),
                kwargs: nothing.clone(),
                timeout: (!value.is_empty()).then(|| duration(value)),
                next_method: "go_on".into(),
                next_kwargs: nothing,
            }));
        }
        "execution_timeout" => task.execution_timeout = Some(duration(value)),
        "max_active_tis_per_dag" => task.max_active_tis_per_dag = Some(number()),
        "max_active_tis_per_dagrun" => task.max_active_tis_per_dagrun = Some(number()),
        "start" => task.start_date = Some(moment(value)),
        "end" => task.end_date = Some(moment(value)),
        _ => panic!("a task has no {name}"),
    }
}

/// `dag d catchup`, followed by edges (`a >> [b c] >> d`) and options of tasks (`a: retries=1`).
fn read_dag(head: &str, body: &[&str]) -> (Arc<Dag>, bool) {
    let head = words(head);
    let mut builder = DagBuilder::new(head[1].as_str(), Timetable::Null);
    let mut paused = false;
    for word in &head[2..] {
        dag_option(builder.dag_mut(), word, &mut paused);
    }
    let mut tasks: Vec<Task> = Vec::new();
    let position = |name: &str, tasks: &mut Vec<Task>| {
        tasks.iter().position(|task| task.task_id.as_str() == name).unwrap_or_else(|| {
            tasks.push(Task::new(name));
            tasks.len() - 1
        })
    };
    let mut edges = Vec::new();
    for line in body {
        if let Some((name, options)) = line.split_once(": ") {
            let at = position(name.trim(), &mut tasks);
            words(options).iter().for_each(|word| task_option(&mut tasks[at], word));
            continue;
        }
        let mut above: Vec<String> = Vec::new();
        for part in line.split(">>") {
            let names: Vec<String> = words(&part.replace(['[', ']'], " "));
            for name in &names {
                position(name, &mut tasks);
                edges.extend(above.iter().map(|above| (above.clone(), name.clone())));
            }
            above = names;
        }
    }
    for task in tasks {
        builder.task(task);
    }
    for (above, below) in edges {
        builder.edge(above, below);
    }
    (builder.build().unwrap(), paused)
}

/// `timeout:5m` is how long it may wait, `at:5m` a moment that ends the waiting and `done:5m` one that ends the task.
fn deferral(options: &str, now: Timestamp) -> Deferral {
    let mut deferral = Deferral {
        classpath: "pack.Age".into(),
        kwargs: json!({}),
        queue: None,
        timer: None,
        timeout: None,
        next_method: "execute_complete".into(),
        next_kwargs: json!({}),
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once(':').unwrap_or_else(|| panic!("what is {option}?"));
        let at = now + duration(value);
        match name {
            "timeout" => deferral.timeout = Some(duration(value)),
            "at" => deferral.timer = Some(TriggerTimer { at, event: TimerEvent::Resume(json!("moment")) }),
            "done" => deferral.timer = Some(TriggerTimer { at, event: TimerEvent::Succeed }),
            _ => panic!("what is {option}?"),
        }
    }
    deferral
}

/// Tasks (`a`, or `a[1]` for an instance), `stay` for a run that is not to go on, `latest` and `keep_running`.
fn clear(run: RunKey, words: &[&str]) -> Clear {
    let mut clear = Clear {
        reply: ReplyId(0),
        run,
        tasks: Vec::new(),
        restart_run: true,
        on_latest_version: false,
        keep_running: false,
    };
    for word in words {
        match *word {
            "stay" => clear.restart_run = false,
            "latest" => clear.on_latest_version = true,
            "keep_running" => clear.keep_running = true,
            task => {
                let instance = task.strip_suffix(']').and_then(|task| task.split_once('['));
                clear.tasks.push(match instance {
                    Some((task, index)) => (task.into(), Some(MapIndex(index.parse().unwrap()))),
                    None => (task.into(), None),
                });
            }
        }
    }
    clear
}

/// Tasks, and behind `resumes` those that go on if they have failed.
fn mark(run: RunKey, mark_as: &str, words: &[&str]) -> Mark {
    let mark_as = match mark_as {
        "success" => MarkAs::Success,
        "failed" => MarkAs::Failed,
        "skipped" => MarkAs::Skipped,
        _ => panic!("nothing is marked as {mark_as}"),
    };
    let (tasks, resume) = match words.iter().position(|word| *word == "resumes") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let tasks = tasks.iter().map(|task| ((*task).into(), None)).collect();
    Mark { reply: ReplyId(0), run, mark_as, tasks, resume: resume.iter().map(|task| (*task).into()).collect() }
}

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
            ["trigger", dag_id, run_id] => self.toy.trigger(dag_id, run_id, None),
            ["trigger", dag_id, run_id, date] => {
                let date = moment(date.strip_prefix("date=").unwrap());
                self.toy.trigger(dag_id, run_id, Some(date))
            }
            ["end", task, outcome] => {
                let attempt = self.attempt(task);
                let outcome = self.outcome(outcome);
                self.toy.end(attempt, outcome)
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
        let (run, task_id) = task.split_once('.').unwrap();
        let named = self.names.iter().find(|(_, name)| *name == run);
        let run_id = named.map_or(run, |(key, _)| key.run_id.as_str());
        self.toy.attempt(run_id, task_id).unwrap_or_else(|| panic!("{task} does not run; so far:\n{}", self.out))
    }

    fn key(&self, task: &str) -> TaskInstanceKey {
        let (run, task_id) = task.split_once('.').unwrap();
        let named = self.names.iter().find(|(_, name)| *name == run).unwrap_or_else(|| panic!("there is no run {run}"));
        TaskInstanceKey { run: named.0.clone(), task_id: task_id.into(), map_index: model::MapIndex::NONE }
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

    /// Writes down what changed: the last state of each run and task instance at each moment.
    fn show(&mut self, steps: &[(Timestamp, Step)]) {
        for (at, step) in steps {
            let at = clock(*at);
            let mut last: Vec<(TaskInstanceKey, TaskState, u32)> = Vec::new();
            let mut ended = Vec::new();
            for change in step.changes.iter().chain(&step.lazy_changes) {
                match change {
                    Change::NotSuspended(_)
                    | Change::HitlTold(_)
                    | Change::CallbackDue(_)
                    | Change::DeadlineGone(_) => {}
                    Change::Deadline(deadline) => {
                        let Some(moment) = deadline.at else { continue };
                        let name = self.names.get(&deadline.run).map_or("the run", String::as_str);
                        writeln!(self.out, "  {at}  {name} is to succeed by {}", clock(moment)).unwrap();
                    }
                    Change::HitlAnswered { key, response, untold } => {
                        let when = if *untold { ", which is still to be told" } else { "" };
                        let told = told(response);
                        let (task, answer) = (self.name(key), told.as_str().unwrap_or_default());
                        writeln!(self.out, "  {at}  {task} is answered: {answer}{when}").unwrap();
                    }
                    Change::Suspended(suspension) => {
                        let trigger = suspension.trigger.as_ref().map(|trigger| trigger.id);
                        self.triggers.extend(trigger.map(|trigger| (suspension.key.clone(), trigger)));
                    }
                    Change::TaskInstance(ti) => {
                        last.retain(|(key, ..)| *key != ti.key());
                        last.push((ti.key(), ti.state, ti.try_number));
                    }
                    Change::Run(run) if run.state.is_finished() => ended.push(run),
                    Change::Run(run) => self.show_run(&at, run),
                    Change::Paused { dag_id, paused } => {
                        let word = if *paused { "paused" } else { "unpaused" };
                        writeln!(self.out, "  {at}  {dag_id} {word}").unwrap();
                    }
                    Change::DagWarning { dag_id, warning: None, .. } => {
                        writeln!(self.out, "  {at}  {dag_id} has no warning").unwrap();
                    }
                    Change::DagWarning { dag_id, warning: Some(warning), .. } => {
                        writeln!(self.out, "  {at}  {dag_id} has a warning: {warning}").unwrap();
                    }
                    Change::AssetEvent { event, listeners } => {
                        let listener = |listener: &model::Listener| {
                            format!(" {}{}", listener.dag_id, if listener.counts { "" } else { " (paused)" })
                        };
                        let listeners: String = listeners.iter().map(listener).collect();
                        let name = &event.update.asset.key.name;
                        writeln!(self.out, "  {at}  event {} of {name}, for{listeners}", event.id).unwrap();
                    }
                    Change::AssetEventsTaken { dag_id, run, events } => {
                        let events: Vec<String> = events.iter().map(ToString::to_string).collect();
                        let run = run.as_ref().map(|run_id| RunKey { dag_id: dag_id.clone(), run_id: run_id.clone() });
                        let taker = run.map_or("nobody", |run| self.names[&run].as_str());
                        writeln!(self.out, "  {at}  events {} of {dag_id} go to {taker}", events.join(" ")).unwrap();
                    }
                    Change::Backfill(backfill) => {
                        let word = match backfill.completed_at {
                            Some(_) => "completed",
                            None if backfill.is_paused => "paused",
                            None => "under way",
                        };
                        writeln!(self.out, "  {at}  backfill {} of {} {word}", backfill.id, backfill.dag_id).unwrap();
                    }
                    Change::DagDeleted(dag_id) => writeln!(self.out, "  {at}  {dag_id} deleted").unwrap(),
                    Change::RunDeleted(key) => {
                        writeln!(self.out, "  {at}  {} deleted", self.names[key]).unwrap();
                        self.shown.retain(|ti, _| ti.run != *key);
                        self.shown_runs.remove(key);
                    }
                    Change::ArchivedTry(_)
                    | Change::Forgotten(_)
                    | Change::Expanded { .. }
                    | Change::Schedule { .. } => {}
                }
            }
            for (key, state, try_number) in last {
                let before = self.shown.insert(key.clone(), (state, try_number)).unwrap_or((TaskState::None, 0));
                if before != (state, try_number) {
                    let which = if try_number > 1 { format!(" (try {try_number})") } else { String::new() };
                    writeln!(self.out, "  {at}  {} {state}{which}", self.name(&key)).unwrap();
                }
            }
            ended.into_iter().for_each(|run| self.show_run(&at, run));
            for action in &step.actions {
                self.show_action(&at, action);
            }
        }
    }

    fn show_run(&mut self, at: &str, run: &model::DagRun) {
        if !self.names.contains_key(&run.key) {
            let made_by_hand = run.run_type == model::RunType::Manual;
            let number = 1 + self.names.keys().filter(|key| key.dag_id == run.key.dag_id).count();
            let name = if made_by_hand { run.key.run_id.to_string() } else { format!("{}@{number}", run.key.dag_id) };
            if let Some(interval) = run.data_interval {
                let (start, end) = (clock(interval.start), clock(interval.end));
                writeln!(self.out, "  {at}  {name} is about {start} to {end}").unwrap();
            }
            self.names.insert(run.key.clone(), name);
        }
        if self.shown_runs.insert(run.key.clone(), run.state) != Some(run.state) {
            writeln!(self.out, "  {at}  {} {}", self.names[&run.key], run.state).unwrap();
        }
    }

    fn show_action(&mut self, at: &str, action: &Action) {
        let text = match action {
            Action::Start(start) => {
                self.started.insert(start.attempt, start.ti.key());
                let Some(next) = &start.suspension else { return };
                format!("{} goes on with {}({})", self.name(&start.ti.key()), next.next_method, next.next_kwargs)
            }
            Action::AskTimetable(ask) => {
                let last = ask.last.map_or_else(|| "none".to_owned(), |last| clock(last.start));
                format!("the timetable of {} is asked; the last run was about {last}", ask.dag_id)
            }
            Action::Arm(arm) => format!("{} waits for trigger {}", self.name(&arm.ti.key()), arm.trigger.id),
            Action::Disarm(trigger) => format!("nobody waits for trigger {trigger} any more"),
            Action::Stop { attempt, reason } => {
                let stopped = self.started.get(attempt).cloned();
                format!("{} is stopped: {reason:?}", stopped.map_or_else(|| attempt.to_string(), |key| self.name(&key)))
            }
            Action::Call { callback, .. } => {
                let of = callback.of.as_ref().map(|of| format!(" of {}", of.task_id)).unwrap_or_default();
                format!("{:?} is called{of}: {}", callback.call, callback.message)
            }
            Action::RunFinished { run, reason } if *reason != run.state.name() => {
                format!("{} ended: {reason}", self.names[&run.key])
            }
            Action::AutoPaused { dag_id, failed_runs } => format!("{dag_id} has failed {failed_runs} times"),
            Action::Stuck { ti, obstacle } => format!("{} is stuck: {obstacle}", self.name(&ti.key())),
            Action::Reply { answer: Err(error), .. } => format!("refused: {error}"),
            Action::BackfillChanged { answer: Err(error), .. } => format!("refused: {error}"),
            Action::TasksChanged { answer: Err(error), .. } => format!("refused: {error}"),
            Action::RunChanged { answer: Err(error), .. } => format!("refused: {error}"),
            Action::Refused(refusal) => format!("refused: {refusal:?}"),
            _ => return,
        };
        writeln!(self.out, "  {at}  {text}").unwrap();
    }

    fn name(&self, key: &TaskInstanceKey) -> String {
        format!("{}.{}", self.names.get(&key.run).map_or("?", String::as_str), key.task_id)
    }
}

/// Where the clock stands when a transcript begins.
#[test]
fn the_clock_begins_at_midnight() {
    assert_eq!(clock(beginning()), "00:00:00");
    assert_eq!(clock(moment("01-02T03:04")), "01-02 03:04:00");
}
