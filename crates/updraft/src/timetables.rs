//! What timetables of plugins are asked, and what their answers mean.

use jiff::Timestamp;
use model::timetable::{NamedRun, NextRun};
use model::{DataInterval, Json, RunId};
use python::Evaluator;
use scheduler::AskTimetable;
use serde_json::json;

/// When the next run is due, what it is about, and what it is called. The error is for people.
pub async fn next_run(evaluator: &Evaluator, question: &AskTimetable) -> Result<Option<NamedRun>, String> {
    let AskTimetable { timetable, last, restriction, .. } = question;
    let asked = json!({
        "ask": "next",
        "timetable": timetable.serialized(),
        "last": last.map(interval_json),
        "earliest": restriction.earliest.map(Timestamp::as_microsecond),
        "latest": restriction.latest.map(Timestamp::as_microsecond),
        "catchup": restriction.catchup,
    });
    let answer = evaluator.ask(&timetable.type_name, asked).await?;
    match answer.get("next") {
        Some(Json::Null) => Ok(None),
        Some(next) => named_run(next).map(Some).ok_or_else(|| not_understood(&answer)),
        None => Err(not_understood(&answer)),
    }
}

fn named_run(next: &Json) -> Option<NamedRun> {
    let run_after = moment(next.get("run_after")?)?;
    let data_interval = interval(next.get("interval")?)?;
    let run_id = RunId::from(next.get("run_id")?.as_str()?);
    Some(NamedRun { next_run: NextRun { run_after, data_interval }, run_id })
}

fn interval_json(interval: DataInterval) -> Json {
    json!([interval.start.as_microsecond(), interval.end.as_microsecond()])
}

fn interval(value: &Json) -> Option<DataInterval> {
    Some(DataInterval { start: moment(value.get(0)?)?, end: moment(value.get(1)?)? })
}

fn moment(value: &Json) -> Option<Timestamp> {
    value.as_i64().and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

fn not_understood(answer: &Json) -> String {
    format!("What it answers is not understood: {answer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_no_calendar_has_is_no_answer() {
        let next = |run_after: i64| json!({"run_after": run_after, "interval": [0, 1_000_000], "run_id": "own"});
        assert_eq!(named_run(&next(2_000_000)).unwrap().run_id.as_str(), "own");
        assert_eq!(named_run(&next(i64::MAX)), None);
        assert_eq!(named_run(&json!({"run_after": 1, "interval": [0], "run_id": "own"})), None);
    }
}
