//! Requests whose answers were recorded from Airflow (`golden/record_answers.py`): the answers here must be the same.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use jiff::Timestamp;
use model::{Asset, AssetEvent, AssetEventId, AssetKey, AssetUpdate, Change, MapIndex, RunKey, TaskState};
use serde_json::{Value, json};
use store::{Write, XCom, XComKey};
use support::Server;

const RECORDING: &str = include_str!("golden/answers.json");

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
    let asset = |row: &Value| Asset {
        key: AssetKey { name: text(&row[0]).to_owned(), uri: text(&row[1]).to_owned() },
        group: "asset".into(),
        extra: json!({}),
    };
    for row in fixture["assets"].as_array().unwrap() {
        let id = AssetEventId(number(&row[2]));
        let update =
            AssetUpdate { asset: asset(row), extra: json!({}), aliases: Vec::new(), active: true, partition: None };
        let event = Box::new(AssetEvent { id, update, source: None, at: Timestamp::UNIX_EPOCH });
        writes.push(Write::Decision(Change::AssetEvent(event)));
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

async fn replay(name: &str) {
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let server = build(&recording["fixture"]);
    support::replay::replay(&server, &recording["scenarios"][name]).await;
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
    task_states,
    asset_states,
    others,
);
