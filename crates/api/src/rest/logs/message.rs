//! One line of a log, as Airflow's `StructuredLogMessage`.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Map, Value};

use crate::parse::{self, MaybeAware};
use crate::wire::Moment;

/// How messages are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// In one document, without what the line did not have.
    Json,
    /// Each on a line of its own, always with a moment, which may be null.
    Lines,
}

/// A line that was read.
#[derive(Debug)]
pub(super) struct Message {
    /// The line's own moment in milliseconds, by which lines are ordered.
    pub(super) millis: Option<i64>,
    /// The whole message, written out.
    pub(super) text: String,
}

/// Reads lines. Lines that are no JSON may begin with a moment, which then holds for those after it too.
#[derive(Default)]
pub(super) struct LineReader {
    text_moment: Option<(Timestamp, String)>,
}

impl LineReader {
    /// The message of a line that is not empty.
    pub(super) fn read(&mut self, line: &[u8], form: Form) -> Message {
        structured(line, form).unwrap_or_else(|| self.plain(&String::from_utf8_lossy(line)))
    }

    fn plain(&mut self, line: &str) -> Message {
        if let Some((first, _)) = line.split_once(' ')
            && let Some(moment) = leading_moment(first.trim_matches(['[', ']']))
        {
            self.text_moment = Some(moment);
        }
        let millis = self.text_moment.as_ref().map(|(at, _)| at.as_millisecond());
        let shown = self.text_moment.as_ref().map(|(_, shown)| shown.clone());
        // Airflow gives these a moment of their own, even if it has none to give.
        Message { millis, text: written(shown, line, &Map::new(), Form::Lines) }
    }
}

/// A JSON object with an event and, if it has one, a moment that can be read.
fn structured(line: &[u8], form: Form) -> Option<Message> {
    let mut fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let event = match fields.shift_remove("event")? {
        Value::String(event) => event,
        _ => return None,
    };
    let (moment, null) = match fields.shift_remove("timestamp") {
        None => (None, false),
        Some(Value::Null) => (None, true),
        Some(value) => (Some(moment_of(&value)?), false),
    };
    let millis = moment.as_ref().map(|(at, _)| at.as_millisecond());
    let shown = moment.map(|(_, shown)| shown);
    let form = if null { Form::Lines } else { form };
    Some(Message { millis, text: written(shown, &event, &fields, form) })
}

/// The moment, and as it is shown: in the offset in which it was written.
fn moment_of(value: &Value) -> Option<(Timestamp, String)> {
    let at = match parse::moment(value).ok()? {
        MaybeAware::Aware(at, _) => at,
        naive @ MaybeAware::Naive(_) => return naive.in_utc().map(|at| (at, Moment(at).to_string())),
    };
    let offset = value.as_str().and_then(offset_of).filter(|offset| *offset != Offset::UTC);
    let shown = match offset {
        None => Moment(at).to_string(),
        Some(offset) => {
            let wall = Moment(at.checked_add(jiff::SignedDuration::from_secs(offset.seconds().into())).ok()?);
            let (sign, seconds) = if offset.is_negative() { ('-', -offset.seconds()) } else { ('+', offset.seconds()) };
            let wall = wall.to_string();
            format!("{}{sign}{:02}:{:02}", wall.trim_end_matches('Z'), seconds / 3600, seconds / 60 % 60)
        }
    };
    Some((at, shown))
}

/// The offset at the end of a text: `+02:00`.
fn offset_of(text: &str) -> Option<Offset> {
    let tail = text.get(text.len().checked_sub(6)?..)?;
    let sign = match tail.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = tail[1..].split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Offset::from_seconds(sign * seconds).ok()
}

/// The moment that a text is, date and time.
fn leading_moment(text: &str) -> Option<(Timestamp, String)> {
    text.contains('T').then(|| moment_of(&Value::from(text))).flatten()
}

/// A message that says no more than this.
pub(super) fn event_only(event: &str, form: Form) -> String {
    written(None, event, &Map::new(), form)
}

/// A message, written out.
pub(super) fn written(moment: Option<String>, event: &str, more: &Map<String, Value>, form: Form) -> String {
    let mut text = String::with_capacity(event.len() + 64);
    text.push('{');
    if moment.is_some() || form == Form::Lines {
        text.push_str("\"timestamp\":");
        text.push_str(&Value::from(moment).to_string());
        push_event(&mut text, event);
    } else {
        text.push_str("\"event\":");
        text.push_str(&Value::from(event).to_string());
    }
    close(&mut text, more);
    text
}

fn push_event(text: &mut String, event: &str) {
    text.push_str(",\"event\":");
    text.push_str(&Value::from(event).to_string());
}

fn close(text: &mut String, more: &Map<String, Value>) {
    for (key, value) in more {
        text.push(',');
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        text.push_str(&value.to_string());
    }
    text.push('}');
}
