//! What timetables of plugins are asked, and what their answers mean.

use jiff::Timestamp;
use model::partition::Told;
use model::timetable::{CustomTimetable, NamedRun, NextRun};
use model::{Dag, DataInterval, Json, RunId};
use python::{Evaluator, Unanswered};
use scheduler::{AskMapper, AskTimetable, MapperSays};
use serde_json::json;

use crate::backfilling::{BackfillRequest, InvalidBackfill, MAX_DATES};
use crate::triggering::{InvalidTrigger, RunRequest};

/// When the next run is due, what it is about, and what it is called.
pub async fn next_run(evaluator: &Evaluator, question: &AskTimetable) -> Result<Option<NamedRun>, Unanswered> {
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

/// Has the timetable of a plugin say what a run that is asked for is about, and what it is called if nobody says
/// (Airflow's `infer_manual_data_interval` and `generate_run_id`). Nothing is asked where the engine knows by itself.
pub async fn fill_in(
    evaluator: Option<&Evaluator>,
    request: &mut RunRequest,
    dag: &Dag,
    now: Timestamp,
) -> Result<(), InvalidTrigger> {
    let Some(timetable) = dag.timetable.custom() else { return Ok(()) };
    let names = request.run_id.is_none();
    if !names && (request.logical_date.is_none() || request.data_interval.is_some()) {
        return Ok(());
    }
    if request.logical_date.is_none() && request.data_interval.is_some() {
        return Err(InvalidTrigger::IntervalWithoutDate);
    }
    // The run is named after it.
    let run_after = *request.run_after.get_or_insert(now);
    let asked = json!({
        "ask": "manual",
        "timetable": timetable.serialized(),
        "logical_date": request.logical_date.map(Timestamp::as_microsecond),
        "interval": request.data_interval.map(interval_json),
        "run_after": run_after.as_microsecond(),
        "run_type": request.run_type.name(),
        "names": names,
    });
    let (found, run_id) = manual_run(evaluator, timetable, asked).await.map_err(InvalidTrigger::Timetable)?;
    request.data_interval = found;
    if names {
        request.run_id = run_id;
    }
    Ok(())
}

async fn manual_run(
    evaluator: Option<&Evaluator>,
    timetable: &CustomTimetable,
    asked: Json,
) -> Result<(Option<DataInterval>, Option<String>), Unanswered> {
    let answer = ask(evaluator, timetable, asked).await?;
    read_manual(&answer).ok_or_else(|| not_understood(&answer))
}

fn read_manual(answer: &Json) -> Option<(Option<DataInterval>, Option<String>)> {
    let found = match answer.get("interval")? {
        Json::Null => None,
        found => Some(interval(found)?),
    };
    Some((found, answer.get("run_id").and_then(Json::as_str).map(str::to_owned)))
}

/// The runs that the timetable of a plugin has between the dates of a backfill: one more than a backfill may have at
/// most. `None` where the engine knows them by itself.
pub async fn dates_between(
    evaluator: Option<&Evaluator>,
    request: &BackfillRequest,
    dag: &Dag,
) -> Result<Option<Vec<NextRun>>, InvalidBackfill> {
    let Some(timetable) = dag.timetable.custom() else { return Ok(None) };
    let asked = json!({
        "ask": "between",
        "timetable": timetable.serialized(),
        "earliest": request.from_date.as_microsecond(),
        "latest": request.to_date.as_microsecond(),
        "most": MAX_DATES + 1,
    });
    let dag_id = || dag.dag_id.clone();
    let answer = ask(evaluator, timetable, asked).await;
    let answer = answer.map_err(|reason| InvalidBackfill::Timetable { dag_id: dag_id(), reason })?;
    let runs = answer.get("runs").and_then(Json::as_array).and_then(|runs| runs.iter().map(run).collect());
    match runs {
        Some(runs) => Ok(Some(runs)),
        None => Err(InvalidBackfill::Timetable { dag_id: dag_id(), reason: not_understood(&answer) }),
    }
}

async fn ask(evaluator: Option<&Evaluator>, timetable: &CustomTimetable, asked: Json) -> Result<Json, Unanswered> {
    let nobody = || Unanswered::NoAnswer("there is no Python that could be asked".to_owned());
    evaluator.ok_or_else(nobody)?.ask(&timetable.type_name, asked).await
}

/// Which keys follow from that of an event. The error is for people.
pub async fn partitions(evaluator: &Evaluator, question: &AskMapper) -> Result<MapperSays, Unanswered> {
    let AskMapper { mapper, partition, max_keys, .. } = question;
    let asked = json!({
        "ask": "partition",
        "mapper": mapper.serialized(),
        "key": partition.key,
        "date": partition.date.map(Timestamp::as_microsecond),
        "max_keys": max_keys,
    });
    let answer = evaluator.ask(mapper.class(), asked).await?;
    mapper_says(&answer).ok_or_else(|| not_understood(&answer))
}

fn mapper_says(answer: &Json) -> Option<MapperSays> {
    let key = |pair: &Json| Some((pair.get(0)?.as_str()?.to_owned(), Told::from_json(pair.get(1)?)?));
    let carried = match answer.get("carried")? {
        Json::Null => None,
        date => Some(moment(date)?),
    };
    Some(MapperSays {
        count: answer.get("count")?.as_u64()?,
        keys: answer.get("keys")?.as_array()?.iter().map(key).collect::<Option<_>>()?,
        carried,
        problems: answer
            .get("problems")?
            .as_array()?
            .iter()
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect(),
    })
}

fn run(value: &Json) -> Option<NextRun> {
    let data_interval = DataInterval { start: moment(value.get(1)?)?, end: moment(value.get(2)?)? };
    Some(NextRun { run_after: moment(value.get(0)?)?, data_interval })
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

fn not_understood(answer: &Json) -> Unanswered {
    let mut said = answer.to_string();
    if let Some((end, _)) = said.char_indices().nth(MAX_SAID) {
        said.truncate(end);
    }
    Unanswered::NoAnswer(format!("What it answers is not understood: {said}"))
}

/// What is told of an answer that is not understood.
const MAX_SAID: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_no_calendar_has_is_no_answer() {
        let next = |run_after: i64| json!({"run_after": run_after, "interval": [0, 1_000_000], "run_id": "own"});
        assert_eq!(named_run(&next(2_000_000)).unwrap().run_id.as_str(), "own");
        assert_eq!(named_run(&next(i64::MAX)), None);
        assert_eq!(named_run(&json!({"run_after": 1, "interval": [0], "run_id": "own"})), None);
        assert_eq!(run(&json!([3, 1, 2])).map(|run| run.run_after.as_microsecond()), Some(3));
        assert_eq!(run(&json!([3, 1, i64::MAX])), None);
        assert_eq!(read_manual(&json!({"interval": null})), Some((None, None)));
        assert_eq!(read_manual(&json!({"interval": [1]})), None);
        assert_eq!(read_manual(&json!({})), None);
    }
}
