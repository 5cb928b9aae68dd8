//! Requests whose answers were recorded from Airflow (`golden/record_answers.py`): the answers here must be the same.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use jiff::{SignedDuration, Timestamp};
use model::{Change, MapIndex, RunKey, TaskState};
use serde_json::{Map, Value};
use store::{Write, XCom, XComKey};
use support::{Answer, Server};

const RECORDING: &str = include_str!("golden/answers.json");
/// How old what was made just now may be.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(300);

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number<T: TryFrom<i64, Error: std::fmt::Debug>>(value: &Value) -> T {
    value.as_i64().unwrap().try_into().unwrap()
}

fn state(value: &Value) -> TaskState {
    *TaskState::ALL.iter().find(|state| state.name() == value.as_str()).unwrap()
}

/// The deployment that was asked.
fn build(fixture: &Value) -> Server {
    let server = Server::new();
    let dag_id = text(&fixture["dag_id"]);
    let mut writes = vec![support::imported(dag_id, text(&fixture["display_name"]))];
    for run in fixture["runs"].as_array().unwrap() {
        let logical_date = Some(&run["logical_date"]).filter(|date| !date.is_null()).map(moment);
        let run = support::run(dag_id, text(&run["run_id"]), logical_date, moment(&run["run_after"]));
        writes.push(support::decided_run(run));
    }
    for row in fixture["task_instances"].as_array().unwrap() {
        let run = RunKey::new(dag_id, text(&row[0]));
        let ti = |name: &Value, number: u32| {
            support::task_instance(&run, text(&row[1]), row[2].as_i64().unwrap() as i32, state(name), number)
        };
        for (before, past) in row[5].as_array().unwrap().iter().enumerate() {
            writes.push(Write::Decision(Change::ArchivedTry(Box::new(ti(past, before as u32 + 1)))));
        }
        writes.push(support::decided(ti(&row[3], number(&row[4]))));
    }
    for row in fixture["xcoms"].as_array().unwrap() {
        let key = XComKey {
            run: RunKey::new(dag_id, text(&row[0])),
            task_id: text(&row[1]).into(),
            map_index: MapIndex(number(&row[2])),
            key: text(&row[3]).to_owned(),
        };
        let xcom = XCom { key, value: row[4].clone(), at: moment(&row[5]), mapped_length: None, dag_result: false };
        writes.push(Write::XCom(Box::new(xcom)));
    }
    for row in fixture["import_errors"].as_array().unwrap() {
        let errors = vec![(text(&row[1]).to_owned(), text(&row[3]).to_owned())];
        writes.push(support::imported_file(text(&row[0]), text(&row[1]), moment(&row[2]), Vec::new(), errors));
    }
    server.write(writes);
    for row in fixture["logs"].as_array().unwrap() {
        let run = RunKey::new(dag_id, text(&row[0]));
        let ti = support::task_instance(&run, text(&row[1]), number(&row[2]), TaskState::Success, number(&row[3]));
        let lines = row[4].as_array().unwrap().iter().map(|line| format!("{}\n", text(line)));
        server.write_log(&ti, &lines.collect::<String>());
    }
    server
}

/// Whether an answer is the one that was recorded; what changes from server to server has a placeholder there.
fn matches(expected: &Value, found: &Value, server: &Server) -> bool {
    match (expected, found) {
        (Value::String(expected), Value::String(found)) => match expected.as_str() {
            "<any>" => true,
            "<token>" => !found.is_empty(),
            "<now>" => {
                let at: Option<Timestamp> = found.parse().ok();
                at.is_some_and(|at| Timestamp::now().duration_since(at) < JUST_NOW) && found.ends_with('Z')
            }
            expected => {
                let logs = server.logs().display().to_string();
                let temporary = std::env::temp_dir().display().to_string();
                expected.replace("<logs>", &logs).replace("<tmp>", &temporary) == *found
            }
        },
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(expected, found)| matches(expected, found, server))
        }
        // Clients print answers as they are: the order of fields is part of them.
        (Value::Object(expected), Value::Object(found)) => {
            // Where to read about Pydantic's errors depends on its version.
            let found: Map<String, Value> = found
                .iter()
                .filter(|(key, _)| *key != "url")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            expected.keys().eq(found.keys())
                && expected.iter().all(|(key, expected)| matches(expected, &found[key], server))
        }
        _ => expected == found,
    }
}

fn body_of(answer: &Answer) -> Value {
    match answer.kind() {
        kind if kind.starts_with("application/json") && !answer.text.is_empty() => answer.json(),
        kind if kind.contains("ndjson") => {
            answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
        }
        _ => Value::String(answer.text.clone()),
    }
}

/// What is different, for people.
fn difference(row: &Value, answer: &Answer, server: &Server) -> Option<String> {
    let expected: u16 = number(&row["status"]);
    let found = answer.status.as_u16();
    let body = body_of(answer);
    let agrees = match expected {
        // Airflow trips over these; they are the client's fault.
        500 => (400..500).contains(&found),
        _ => {
            found == expected && answer.kind().starts_with(text(&row["kind"])) && matches(&row["answer"], &body, server)
        }
    };
    (!agrees).then(|| {
        format!(
            "{} {} {}\n  expected {expected} {}\n  found    {found} {} {body}",
            text(&row["method"]),
            text(&row["path"]),
            row.get("body").map_or("", text),
            row["answer"],
            answer.kind(),
        )
    })
}

async fn replay(name: &str) {
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let server = build(&recording["fixture"]);
    let empty = Map::new();
    let mut differences = Vec::new();
    let rows = recording["scenarios"][name].as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        let headers = row.get("headers").map_or(&empty, |headers| headers.as_object().unwrap());
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        let path = format!("/api/v2{}", text(&row["path"]));
        let answer = server.send(text(&row["method"]), &path, row.get("body").map(text), &headers).await;
        differences.extend(difference(row, &answer, &server));
    }
    let (bad, all) = (differences.len(), rows.len());
    assert!(differences.is_empty(), "{bad} of {all} answers differ:\n{}", differences.join("\n"));
}

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                replay(stringify!($name)).await;
            }
        )+

        #[test]
        fn every_scenario_is_replayed() {
            let recording: Value = serde_json::from_str(RECORDING).unwrap();
            let recorded: Vec<&str> = recording["scenarios"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(recorded, [$(stringify!($name)),+]);
        }
    };
}

scenarios!(
    variables,
    bulk_variables,
    connections,
    bulk_connections,
    pools,
    bulk_pools,
    xcoms,
    logs,
    import_errors,
    others,
);
