//! Replays recordings of Airflow's timetables, made by `golden/record_timetables.py`.
//!
//! `TIMETABLE_RECORDING` names another recording than the one that lies here.

// Clippy's leave for tests does not reach the functions that help them.
#![allow(clippy::unwrap_used)]

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::timetable::{CronExpression, Restriction, Timetable};
use model::{DataInterval, Json};

/// How many differences are shown before the test gives up.
const SHOWN: usize = 40;

/// Exceptions by which Airflow stumbles over its own rules: an expression that runs every hour, where a clock jumps by
/// less than an hour. The engine goes on.
const STUMBLES: [&str; 2] = ["AssertionError", "ValueError"];

fn recording() -> Json {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/timetables.json");
    let path = std::env::var("TIMETABLE_RECORDING").unwrap_or_else(|_| default.to_owned());
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares and counts.
#[derive(Default)]
struct Comparison {
    cases: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn case<T: PartialEq + std::fmt::Debug>(&mut self, what: impl FnOnce() -> String, ours: T, theirs: T) {
        self.cases += 1;
        if ours != theirs {
            self.differences.push(format!("{}\n    ours   {ours:?}\n    theirs {theirs:?}", what()));
        }
    }

    fn end(self, name: &str, at_least: usize) {
        eprintln!("{name}: {} cases", self.cases);
        let shown = &self.differences[..self.differences.len().min(SHOWN)];
        assert!(
            self.differences.is_empty(),
            "{} of {} cases differ:\n{}",
            self.differences.len(),
            self.cases,
            shown.join("\n")
        );
        assert!(self.cases >= at_least, "the recording has only {} cases", self.cases);
    }
}

fn list(value: &Json) -> &[Json] {
    value.as_array().unwrap()
}

/// Seconds since the epoch, or microseconds with a `u`.
fn moment(value: &Json) -> Option<Timestamp> {
    if value.is_null() {
        return None;
    }
    let microseconds = match value.as_str() {
        Some(text) => text.strip_suffix('u').unwrap().parse().unwrap(),
        None => value.as_i64().unwrap() * 1_000_000,
    };
    Some(Timestamp::from_microsecond(microseconds).unwrap())
}

fn interval(value: &Json) -> Option<DataInterval> {
    let ends = value.as_array()?;
    Some(DataInterval { start: moment(&ends[0]).unwrap(), end: moment(&ends[1]).unwrap() })
}

/// `3600*5 7200 -30u`: seconds, or microseconds with a `u`, with how often they follow each other.
fn steps(text: &str) -> Vec<SignedDuration> {
    let mut steps = Vec::new();
    for part in text.split_whitespace() {
        let (step, count) = part.split_once('*').unwrap_or((part, "1"));
        let step = match step.strip_suffix('u') {
            Some(microseconds) => SignedDuration::from_micros(microseconds.parse().unwrap()),
            None => SignedDuration::from_secs(step.parse().unwrap()),
        };
        steps.extend(std::iter::repeat_n(step, count.parse().unwrap()));
    }
    steps
}

fn cron_timetable(expression: &str, zone: &Json) -> Timetable {
    let data = serde_json::json!({"expression": expression, "timezone": zone, "interval": 0.0});
    Timetable::from_serialized("airflow.timetables.trigger.CronTriggerTimetable", &data).unwrap()
}

#[test]
fn expressions_are_valid_where_croniter_says_so() {
    let recording = recording();
    let mut comparison = Comparison::default();
    for (name, expected) in [("valid", true), ("invalid", false)] {
        for text in list(&recording["validity"][name]) {
            let text = text.as_str().unwrap();
            let parsed = CronExpression::parse(text);
            comparison.case(|| format!("{text:?}: {parsed:?}"), parsed.is_ok(), expected);
        }
    }
    comparison.end("validity", 400);
}

#[test]
fn schedules_go_on_and_back_as_recorded() {
    let recording = recording();
    let mut comparison = Comparison::default();
    for chain in list(&recording["chains"]) {
        let (expression, zone, direction) = (chain[0].as_str().unwrap(), &chain[1], chain[2].as_str().unwrap());
        let Timetable::CronTrigger(trigger) = cron_timetable(expression, zone) else { panic!("no cron trigger") };
        let mut at = moment(&chain[3]).unwrap();
        let go = |at| match direction {
            "n" => trigger.schedule.next_after(at),
            _ => trigger.schedule.previous_before(at),
        };
        for step in steps(chain[4].as_str().unwrap()) {
            let theirs = at + step;
            comparison.case(|| format!("{expression} {zone} {direction} {at}"), go(at), Some(theirs));
            at = theirs;
        }
        if !chain[5].is_null() {
            comparison.case(|| format!("{expression} {zone} {direction} {at} {}", chain[5]), go(at), None);
        }
    }
    comparison.end("chains", 20_000);
}

#[test]
fn expressions_are_described_in_the_same_words() {
    let recording = recording();
    let mut comparison = Comparison::default();
    for description in list(&recording["descriptions"]) {
        let (expression, words) = (description[0].as_str().unwrap(), description[1].as_str().unwrap());
        let ours = CronExpression::parse(expression)
            .map_or_else(|_| String::new(), |_| cron_timetable(expression, &"UTC".into()).description());
        comparison.case(|| expression.to_owned(), ours.as_str(), words);
    }
    comparison.end("descriptions", 400);
}

#[test]
fn timetables_answer_as_recorded() {
    let recording = recording();
    let mut comparison = Comparison::default();
    for recorded in list(&recording["timetables"]) {
        let name = || format!("{} {}", recorded["type"], recorded["data"]);
        let timetable = Timetable::from_serialized(recorded["type"].as_str().unwrap(), &recorded["data"]).unwrap();
        let facts = |text: &str| recorded[text].as_str().unwrap().to_owned();
        comparison.case(name, timetable.summary(), facts("summary"));
        comparison.case(name, timetable.description(), facts("description"));
        comparison.case(name, Some(timetable.is_periodic()), recorded["periodic"].as_bool());
        comparison.case(name, Some(timetable.can_be_scheduled()), recorded["can_be_scheduled"].as_bool());
        comparison.case(name, timetable.active_runs_limit().map(u64::from), recorded["active_runs_limit"].as_u64());
        for answer in list(&recorded["answers"]) {
            let last = interval(&answer[0]);
            let restriction = Restriction {
                earliest: moment(&answer[1]),
                latest: moment(&answer[2]),
                catchup: answer[3].as_i64().unwrap() == 1,
            };
            let now = moment(&answer[4]).unwrap();
            let next = timetable.next_run(last, &restriction, now);
            if let Some(next) = next {
                assert_eq!(next.run_after, next.data_interval.end);
            }
            let what = || format!("{} now {now} last {last:?} {restriction:?} {}", name(), answer[5]);
            if answer[5].as_str().is_some_and(|exception| STUMBLES.contains(&exception)) {
                let progress = next.is_none_or(|next| last.is_none_or(|last| next.logical_date() > last.start));
                comparison.case(what, progress, true);
            } else {
                comparison.case(what, next.map(|next| next.data_interval), interval(&answer[5]));
            }
        }
        for manual in list(&recorded["manual"]) {
            let run_after = moment(&manual[0]).unwrap();
            let what = || format!("{} by hand at {run_after}", name());
            comparison.case(what, timetable.infer_manual_data_interval(run_after), interval(&manual[1]));
        }
    }
    comparison.end("timetables", 5_000);
}

#[test]
fn a_wall_clock_without_zone_goes_on_and_back() {
    let cron = CronExpression::parse("30 */6 * * *").unwrap();
    let at: DateTime = "2026-02-28T18:30:00".parse().unwrap();
    assert_eq!(cron.next_after(at), Some("2026-03-01T00:30:00".parse().unwrap()));
    assert_eq!(cron.previous_before(at), Some("2026-02-28T12:30:00".parse().unwrap()));
    assert_eq!(cron.next_after(at).map(|next| TimeZone::UTC.to_timestamp(next).is_ok()), Some(true));
}
