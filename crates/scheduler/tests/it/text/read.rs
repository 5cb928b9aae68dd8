//! The notation: Dags drawn as text, moments, and what people and attempts say.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::partition::Partition;
use model::timetable::Timetable;
use model::{
    Asset, AssetCondition, AssetKey, AssetLike, AssetUpdate, Dag, DagBuilder, DeadlineAlert, DeadlineInterval,
    DeadlineReference, Execution, ExpandInput, GroupIndex, MapIndex, MapValue, MappedGroup, RunKey, StartTrigger, Task,
    TimerEvent, TriggerTimer, WeightRule, XComArg,
};
use scheduler::{Clear, Deferral, Mark, MarkAs, ReplyId};
use serde_json::{Value, json};

use crate::partitions;

/// `12:30`, `12:30:05` or `01-02T12:30`.
pub fn moment(text: &str) -> Timestamp {
    let (day, time) = text.split_once('T').unwrap_or(("01-01", text));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    format!("2026-{day}T{time}Z").parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// `5s`, `10m`, `2h` or `1d`.
pub fn duration(text: &str) -> SignedDuration {
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

pub fn clock(at: Timestamp) -> String {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let format = if at.date() == jiff::civil::date(2026, 1, 1) { "%H:%M:%S" } else { "%m-%d %H:%M:%S" };
    at.strftime(format).to_string()
}

/// Words; what stands in quotes is one.
pub fn words(line: &str) -> Vec<String> {
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
        Some(("alias", name)) => AssetLike::Alias { name: name.into(), group: "asset".into() },
        _ => panic!("{text} is no asset"),
    }
}

/// `a&b|c`.
fn condition(text: &str) -> AssetCondition {
    let all =
        |text: &str| AssetCondition::All(text.split('&').map(|part| AssetCondition::Of(asset_like(part))).collect());
    AssetCondition::Any(text.split('|').map(all).collect())
}

/// `a`, or `a:alias` for one that its producer names by an alias; `a=key` for a part of it; with a `!` behind it for one that is not active.
pub fn update(text: &str) -> AssetUpdate {
    let (text, key) = text.split_once('=').map_or((text, None), |(text, key)| (text, Some(key)));
    let (name, alias) = text.split_once(':').map_or((text, None), |(name, alias)| (name, Some(alias.to_owned())));
    let (name, active) = name.strip_suffix('!').map_or((name, true), |name| (name, false));
    let asset = Asset::new(AssetKey { name: name.into(), uri: name.into() });
    let partition = key.map(|key| Partition::new(key, None));
    AssetUpdate { asset, extra: json!({}), aliases: alias.into_iter().collect(), active, partition }
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
        "partitions" => dag.timetable = partitions::timetable(value),
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
        "strategy" => task.weight_rule = WeightRule::Custom(value.to_owned()),
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
        "map" => task.expand = Some(Arc::new(expand(value))),
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

/// What is mapped over: `3` items, what `a` leaves, or every pair of these (`3*a`).
fn expand(text: &str) -> ExpandInput {
    let value = |part: &str| match part.parse::<usize>() {
        Ok(count) => MapValue::Literal(Arc::new(json!(vec![0; count]))),
        Err(_) => MapValue::XCom(XComArg::Plain { task_id: part.into(), key: "return_value".into() }),
    };
    ExpandInput::Product(text.split('*').enumerate().map(|(at, part)| (format!("x{at}"), value(part))).collect())
}

/// `group g map=3`, a mapped group; `in=h` puts it into another one.
fn read_group(dag: &mut Dag, line: &str) {
    let words = words(line);
    let mut group = MappedGroup { group_id: words[1].clone(), parent: None, expand: expand("0") };
    for word in &words[2..] {
        match word.split_once('=') {
            Some(("map", value)) => group.expand = expand(value),
            Some(("in", name)) => group.parent = Some(find_group(dag, name)),
            _ => panic!("a group has no {word}"),
        }
    }
    dag.groups.push(group);
}

fn find_group(dag: &Dag, name: &str) -> GroupIndex {
    let at = dag.groups.iter().position(|group| group.group_id == name);
    GroupIndex(at.unwrap_or_else(|| panic!("there is no group {name}")) as u32)
}

/// `dag d catchup`, followed by mapped groups (`group g map=3`), edges (`a >> [b c] >> d`) and options of tasks (`a: retries=1`).
pub fn read_dag(head: &str, body: &[&str]) -> (Arc<Dag>, bool) {
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
        if line.starts_with("group ") {
            read_group(builder.dag_mut(), line);
            continue;
        }
        if let Some((name, options)) = line.split_once(": ") {
            let at = position(name.trim(), &mut tasks);
            for word in words(options) {
                match word.strip_prefix("in=") {
                    Some(group) => tasks[at].mapped_group = Some(find_group(builder.dag_mut(), group)),
                    None => task_option(&mut tasks[at], &word),
                }
            }
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
pub fn deferral(options: &str, now: Timestamp) -> Deferral {
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

/// `a`, or `a[1]` for one of its instances.
pub fn instance(text: &str) -> (&str, Option<MapIndex>) {
    match text.strip_suffix(']').and_then(|task| task.split_once('[')) {
        Some((task, index)) => (task, Some(MapIndex(index.parse().unwrap()))),
        None => (text, None),
    }
}

/// Tasks (`a`, or `a[1]` for an instance), `stay` for a run that is not to go on, `latest` and `keep_running`.
pub fn clear(run: RunKey, words: &[&str]) -> Clear {
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
                let (task, instance) = instance(task);
                clear.tasks.push((task.into(), instance));
            }
        }
    }
    clear
}

/// Tasks, and behind `resumes` those that go on if they have failed.
pub fn mark(run: RunKey, mark_as: &str, words: &[&str]) -> Mark {
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
