//! What the API tells the engine, and what it tells of the parts of the server.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use engine::{Input, Pulse};
use jiff::Timestamp;
use model::TaskState;
use scheduler::Event;
use serde_json::{Value, json};
use store::memory::CommitFault;
use support::Server;

/// What the engine was told of pools: names, and slots if they are not gone.
fn told(server: &Server) -> Vec<(String, Option<Option<u32>>)> {
    let mut told = Vec::new();
    for input in server.inbox.as_ref().unwrap().waiting() {
        match input {
            Input::Event(Event::PoolChanged { name, slots, .. }) => told.push((name.to_string(), Some(slots))),
            Input::Event(Event::PoolGone { name }) => told.push((name.to_string(), None)),
            other => panic!("{other:?}"),
        }
    }
    told
}

#[tokio::test]
async fn the_engine_hears_of_every_pool_that_was_changed_and_of_no_other() {
    let server = Server::new();
    let changed = |name: &str, slots: Option<u32>| vec![(name.to_owned(), Some(slots))];
    let gone = |name: &str| vec![(name.to_owned(), None)];
    let bulk = json!({"actions": [
        {"action": "create", "entities": [{"name": "b", "slots": 1}, {"name": "c", "slots": -1}]},
        {"action": "update", "entities": [{"name": "c", "slots": 3, "include_deferred": false}]},
        {"action": "delete", "entities": ["b"]},
    ]});
    let both: Vec<_> = [
        ("b".to_owned(), None),
        ("c".to_owned(), Some(Some(3))),
        ("c".to_owned(), Some(Some(3))),
        ("b".to_owned(), None),
    ]
    .into();
    let cases = [
        ("POST", "/pools", json!({"name": "a", "slots": 2}), 201, changed("a", Some(2))),
        ("POST", "/pools", json!({"name": "a", "slots": 3}), 409, Vec::new()),
        ("PATCH", "/pools/a", json!({"pool": "a", "slots": -1, "include_deferred": false}), 200, changed("a", None)),
        ("PATCH", "/pools/a", json!({"slots": 5}), 422, Vec::new()),
        ("PATCH", "/pools/default_pool?update_mask=slots", json!({"slots": 0}), 200, changed("default_pool", Some(0))),
        ("DELETE", "/pools/a", Value::Null, 204, gone("a")),
        ("DELETE", "/pools/a", Value::Null, 404, Vec::new()),
        ("PATCH", "/pools", bulk, 200, both),
        ("GET", "/pools", Value::Null, 200, Vec::new()),
    ];
    for (method, path, body, status, expected) in cases {
        let body = (!body.is_null()).then(|| body.to_string());
        let answer = server.send(method, &format!("/api/v2{path}"), body.as_deref(), &[]).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text);
        assert_eq!(told(&server), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_change_that_is_not_durable_is_not_told() {
    let server = Server::new();
    server.store.fail_next_commit(CommitFault::Before);
    let body = json!({"name": "a", "slots": 2}).to_string();
    let answer = server.send("POST", "/api/v2/pools", Some(&body), &[]).await;
    assert_eq!(answer.status.as_u16(), 503, "{}", answer.text);
    assert_eq!(told(&server), []);
}

/// The engine reads the pools when it starts, so a change counts even if nobody can be told.
#[tokio::test]
async fn pools_can_be_changed_while_the_engine_is_gone() {
    let mut server = Server::new();
    server.inbox = None;
    let body = json!({"name": "a", "slots": 2}).to_string();
    let answer = server.send("POST", "/api/v2/pools", Some(&body), &[]).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text);
}

#[tokio::test]
async fn pools_count_the_slots_that_are_taken() {
    let server = Server::new();
    let run = support::run("letters", "a", None, Timestamp::UNIX_EPOCH);
    let mut writes = vec![support::imported("letters", "letters"), support::decided_run(run.clone())];
    let states = [
        TaskState::Running,
        TaskState::Running,
        TaskState::Queued,
        TaskState::Scheduled,
        TaskState::Deferred,
        TaskState::Success,
    ];
    for (index, state) in states.into_iter().enumerate() {
        let mut ti = support::task_instance(&run.key, "mapped", index as i32, state, 1);
        ti.pool_slots = 2;
        writes.push(support::decided(ti));
    }
    server.write(writes);
    let pool = server.get("/api/v2/pools/default_pool").await.json();
    let slots = |name: &str| pool[name].as_i64().unwrap();
    let counted =
        ["occupied_slots", "running_slots", "queued_slots", "scheduled_slots", "deferred_slots", "open_slots"];
    assert_eq!(counted.map(slots), [6, 4, 2, 2, 2, 122]);
    let body = json!({"include_deferred": true}).to_string();
    let path = "/api/v2/pools/default_pool?update_mask=include_deferred";
    let pool = server.send("PATCH", path, Some(&body), &[]).await.json();
    assert_eq!((&pool["occupied_slots"], &pool["open_slots"]), (&json!(8), &json!(120)));
}

async fn health(server: &Server) -> Value {
    server.get("/api/v2/monitor/health").await.json()
}

#[tokio::test]
async fn health_tells_which_parts_work() {
    let mut server = Server::new();
    // The engine has not begun, and there is no importer.
    let found = health(&server).await;
    let expected = json!({
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": null},
        "triggerer": {"status": null, "latest_triggerer_heartbeat": null},
        "dag_processor": {"status": null, "latest_dag_processor_heartbeat": null},
    });
    assert_eq!(found, expected);

    let now = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap();
    let (pulse, beat) = (Pulse::default(), format!("{now:.6}").replace('Z', "+00:00"));
    server.engine.pulse().beat(now);
    pulse.beat(now);
    server.state.watch_importer(pulse.clone(), tokio::sync::mpsc::unbounded_channel().0);
    let found = health(&server).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(found["scheduler"]["status"], json!("healthy"));
    assert_eq!(trimmed(&text(&found["scheduler"]["latest_scheduler_heartbeat"])), trimmed(&beat));
    assert_eq!(found["dag_processor"]["status"], json!("healthy"));
    assert_eq!(trimmed(&text(&found["dag_processor"]["latest_dag_processor_heartbeat"])), trimmed(&beat));

    let jobs = server.get("/api/v2/jobs?is_alive=true&order_by=-job_type").await.json();
    assert_eq!((&jobs["total_entries"], &jobs["jobs"][0]["job_type"]), (&json!(2), &json!("SchedulerJob")));
    let none = server.get("/api/v2/jobs?job_type=TriggererJob").await.json();
    assert_eq!(none, json!({"jobs": [], "total_entries": 0}));

    // Signs of life grow old, and an engine that has ended is not well however new they are.
    pulse.beat(now - jiff::SignedDuration::from_secs(31));
    server.inbox = None;
    let found = health(&server).await;
    assert_eq!(found["scheduler"]["status"], json!("unhealthy"));
    assert_eq!(found["dag_processor"]["status"], json!("unhealthy"));
    let jobs = server.get("/api/v2/jobs?is_alive=true").await.json();
    assert_eq!(jobs["jobs"], json!([]));
}

/// Python leaves a fraction of zero out.
fn trimmed(moment: &str) -> String {
    moment.replace(".000000", "")
}

#[tokio::test]
async fn a_busy_database_is_told_of_with_a_status_that_says_try_again() {
    let server = Server::new();
    for (method, path, body) in [
        ("POST", "/variables", json!({"key": "k", "value": "v"})),
        ("POST", "/connections", json!({"connection_id": "k", "conn_type": "v"})),
        ("PATCH", "/variables", json!({"actions": [{"action": "create", "entities": [{"key": "k", "value": "v"}]}]})),
    ] {
        server.store.fail_next_commit(CommitFault::Before);
        let answer = server.send(method, &format!("/api/v2{path}"), Some(&body.to_string()), &[]).await;
        assert_eq!(answer.status.as_u16(), 503, "{method} {path}: {}", answer.text);
    }
    assert_eq!(server.get("/api/v2/variables").await.json()["total_entries"], json!(0));
}
