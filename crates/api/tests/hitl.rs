//! What tasks ask people, and answers to them, as Airflow's OpenAPI document has their shapes.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use jiff::Timestamp;
use model::{Change, HitlDetail, HitlQuestion, HitlResponse, HitlUser, TaskState};
use serde_json::{Value, json};
use store::Write;
use support::Server;

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn user(name: &str) -> HitlUser {
    HitlUser { id: name.into(), name: name.to_uppercase() }
}

/// A run with a task that has asked twice, and one that has never asked.
fn fill(server: &Server) -> String {
    let run = support::run("letters", "r", Some(moment(0)), moment(0));
    let ti = support::task_instance(&run.key, "one", -1, TaskState::AwaitingInput, 2);
    let mut first = support::task_instance(&run.key, "one", -1, TaskState::Failed, 1);
    first.id = model::TaskInstanceId(uuid::Uuid::from_u128(77));
    let question = HitlQuestion {
        options: vec!["yes".into(), "no".into()],
        subject: "Which?".into(),
        body: None,
        defaults: Some(vec!["no".into()]),
        multiple: false,
        params: json!({"a": 1, "b": {"value": 2, "schema": {"type": "integer"}, "description": "how many"}}),
        assigned_users: vec![user("eve")],
    };
    let detail = HitlDetail { key: ti.key(), question, created_at: moment(5), response: None, untold: false };
    let response = HitlResponse {
        at: moment(6),
        by: Some(user("eve")),
        chosen_options: vec!["yes".into()],
        params_input: json!({"a": 3}),
    };
    let other = support::task_instance(&run.key, "skipped", -1, TaskState::Success, 1);
    server.write(vec![
        support::decided_run(run),
        support::decided(first.clone()),
        support::decided(other),
        Write::HitlAsked(Box::new(detail.clone())),
        Write::Decision(Change::HitlAnswered { key: ti.key(), response: Box::new(response), untold: false }),
        Write::Decision(Change::ArchivedTry(Box::new(first))),
        support::decided(ti.clone()),
        Write::HitlAsked(Box::new(detail)),
    ]);
    ti.id.to_string()
}

async fn get(server: &Server, path: &str, status: u16) -> Value {
    let answer = server.send("GET", &format!("/api/v2{path}"), None, &[]).await;
    assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
    let body = answer.json();
    if status == 200 {
        let faults = support::openapi::faults("GET", &format!("/api/v2{path}"), &body);
        assert!(faults.is_empty(), "{path}: {faults:?}");
    }
    body
}

#[tokio::test]
async fn questions_have_airflows_shapes() {
    let server = Server::new();
    let id = fill(&server);
    let of_task = "/dags/letters/dagRuns/r/taskInstances/one/-1/hitlDetails";
    let detail = get(&server, of_task, 200).await;
    assert_eq!(detail["task_instance"]["id"], id);
    assert_eq!(detail["params"]["a"], json!({"value": 1, "schema": {}, "description": null}));
    assert_eq!(detail["params"]["b"]["description"], "how many");
    assert_eq!(detail["assigned_users"], json!([{"id": "eve", "name": "EVE"}]));
    assert_eq!((&detail["response_received"], &detail["params_input"]), (&json!(false), &json!({})));
    let first = get(&server, &format!("{of_task}/tries/1"), 200).await;
    assert_eq!((&first["chosen_options"], &first["params_input"]), (&json!(["yes"]), &json!({"a": 3})));
    assert_eq!(first["responded_by_user"], json!({"id": "eve", "name": "EVE"}));
    assert_eq!(get(&server, &format!("{of_task}/tries/2"), 200).await["response_received"], false);
    for path in [
        "/dags/~/dagRuns/~/hitlDetails",
        "/dags/letters/dagRuns/r/hitlDetails?response_received=false&state=awaiting_input&map_index=-1",
        "/dags/~/dagRuns/~/hitlDetails?dag_id_pattern=lett&task_id_prefix_pattern=on&created_at_gte=2026-01-01T00:00:00Z",
    ] {
        let list = get(&server, path, 200).await;
        assert_eq!((&list["total_entries"], list["hitl_details"].as_array().unwrap().len()), (&json!(1), 1), "{path}");
    }
    for query in ["response_received=true", "dag_id_pattern=nothing", "state=success", "responded_by_user_id=eve"] {
        let list = get(&server, &format!("/dags/~/dagRuns/~/hitlDetails?{query}"), 200).await;
        assert_eq!(list["total_entries"], 0, "{query}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_airflows_words() {
    let server = Server::new();
    fill(&server);
    let cases = [
        (
            "/dags/letters/dagRuns/r/taskInstances/none/-1/hitlDetails",
            404,
            "The Task Instance with dag_id: `letters`, run_id: `r`, task_id: `none` and map_index: `-1` was not found",
        ),
        (
            "/dags/letters/dagRuns/r/taskInstances/one/-1/hitlDetails/tries/9",
            404,
            "The Task Instance with dag_id: `letters`, run_id: `r`, task_id: `one` and map_index: `-1` was not found",
        ),
        (
            "/dags/letters/dagRuns/r/taskInstances/skipped/-1/hitlDetails",
            404,
            "Human-in-the-loop detail does not exist for Task Instance with id ",
        ),
        ("/dags/~/dagRuns/~/hitlDetails?order_by=body", 400, "Ordering with 'body' is disallowed"),
    ];
    for (path, status, detail) in cases {
        let body = get(&server, path, status).await;
        assert!(body["detail"].as_str().unwrap().starts_with(detail), "{path}: {body}");
    }
    let body = get(&server, "/dags/letters/dagRuns/r/taskInstances/one/x/hitlDetails", 422).await;
    assert_eq!(body["detail"][0]["loc"], json!(["path", "map_index"]));
}
