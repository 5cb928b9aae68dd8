//! Runs that people end, put back into the queue, delete and wait for.

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, log_of, shown, wait_until};

/// One task that works for ten minutes, beside what has ended and what is still to come, and a teardown.
const DAG: &str = r#"
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

with DAG("by_hand"):
    begun = EmptyOperator(task_id="begun")
    work = BashOperator(task_id="work", bash_command="echo $$ > $PIDS/$AIRFLOW_CTX_DAG_RUN_ID; sleep 600; true")
    begun >> work >> EmptyOperator(task_id="later")

with DAG("cleans"):
    up = EmptyOperator(task_id="up").as_setup()
    down = BashOperator(task_id="down", bash_command="echo cleaned").as_teardown(setups=up)
    work = BashOperator(task_id="work", bash_command="echo $$ > $PIDS/$AIRFLOW_CTX_DAG_RUN_ID; sleep 600; true")
    up >> work >> down

with DAG("quick") as dag:

    @task
    def answer():
        return {"n": 42}

    @task
    def item(number):
        return number * 2

    answer()
    item.expand(number=[1, 2])
"#;

fn start(context: &Context) -> Server {
    context.write_dag("by_hand.py", DAG);
    let pids = pids(context);
    std::fs::create_dir_all(&pids).unwrap();
    let server = Server::start_with(context, &[("PIDS", pids.to_str().unwrap())]);
    for dag_id in ["by_hand", "cleans", "quick"] {
        server.wait_for_dag(dag_id);
        server.unpause(dag_id);
    }
    server
}

fn pids(context: &Context) -> std::path::PathBuf {
    context.dags().with_file_name("pids")
}

fn path(dag_id: &str, run_id: &str) -> String {
    format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}")
}

/// Starts a run whose `work` is at work; gives its process.
fn at_work(context: &Context, server: &Server, dag_id: &str, run_id: &str) -> String {
    let body = json!({"dag_run_id": run_id, "logical_date": null});
    assert_eq!(server.client.post(&format!("/api/v2/dags/{dag_id}/dagRuns"), &body).status, 200);
    let file = pids(context).join(run_id);
    wait_until("the command runs", || std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    server.wait_for("it is running", |_| {
        (server.task_instances(dag_id, run_id)["work"]["state"] == "running").then_some(())
    });
    std::fs::read_to_string(&file).unwrap().trim().to_owned()
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn set(server: &Server, dag_id: &str, run_id: &str, state: &str) -> Value {
    let reply = server.client.patch(&path(dag_id, run_id), &json!({"state": state, "note": format!("now {state}")}));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.body["note"], format!("now {state}"));
    reply.body
}

fn states(server: &Server, dag_id: &str, run_id: &str) -> Vec<String> {
    let found = server.task_instances(dag_id, run_id);
    found.iter().map(|(task, ti)| format!("{task} {}", ti["state"].as_str().unwrap_or("none"))).collect()
}

#[test]
fn a_run_that_is_ended_by_hand_stops_and_its_tasks_look_like_it() {
    let context = context();
    let server = start(&context);
    for (state, of_work) in [("failed", "work failed"), ("success", "work success")] {
        let run_id = format!("to_{state}");
        let pid = at_work(&context, &server, "by_hand", &run_id);
        let body = set(&server, "by_hand", &run_id, state);
        assert_eq!(body["state"], state);
        assert!(body["end_date"].is_string(), "{body}");
        // It was durable before the answer.
        assert_eq!(states(&server, "by_hand", &run_id), ["begun success", "later skipped", of_work]);
        wait_until("the process is gone", || !is_alive(&pid));
        let log = log_of(&context, "by_hand", &run_id, "work", 1);
        assert!(shown(&log).contains("Task is stopped: somebody has ended its Dag run"), "{}", shown(&log));
    }
    // Back into the queue: there is nothing left to run, and it ends as its tasks did.
    let body = set(&server, "by_hand", "to_failed", "queued");
    assert_eq!(
        (&body["state"], &body["start_date"], &body["end_date"]),
        (&json!("queued"), &json!(null), &json!(null))
    );
    server.wait_for("it has run again", |client| {
        let run = client.get(&path("by_hand", "to_failed")).body;
        (run["state"] != "queued" && run["state"] != "running").then_some(())
    });
    let missing = server.client.patch(&path("by_hand", "nobody"), &json!({"state": "failed"}));
    assert_eq!(missing.status, 404, "{missing:?}");
    assert_eq!(server.client.patch(&path("by_hand", "to_failed"), &json!({"state": "running"})).status, 422);
    server.kill();
    let server = Server::start(&context);
    assert_eq!(states(&server, "by_hand", "to_success"), ["begun success", "later skipped", "work success"]);
    assert_eq!(server.client.get(&path("by_hand", "to_success")).body["state"], "success");
}

#[test]
fn a_teardown_still_runs_when_its_run_is_ended_by_hand() {
    let context = context();
    let server = start(&context);
    let pid = at_work(&context, &server, "cleans", "r");
    set(&server, "cleans", "r", "failed");
    server.wait_for_run("cleans", "r");
    assert_eq!(states(&server, "cleans", "r"), ["down success", "up success", "work failed"]);
    assert!(!is_alive(&pid));
}

#[test]
fn a_run_is_deleted_only_when_it_does_not_run() {
    let context = context();
    let server = start(&context);
    let pid = at_work(&context, &server, "by_hand", "r");
    let refused = server.client.delete(&path("by_hand", "r"));
    let said = "The DagRun with dag_id: `by_hand` and run_id: `r` cannot be deleted in running state";
    assert_eq!((refused.status, refused.body), (409, json!({"detail": said})));
    assert!(is_alive(&pid));
    set(&server, "by_hand", "r", "failed");
    assert_eq!(server.client.delete(&path("by_hand", "r")).status, 204);
    for (method_path, status) in
        [(path("by_hand", "r"), 404), (format!("{}/taskInstances/work", path("by_hand", "r")), 404)]
    {
        assert_eq!(server.client.get(&method_path).status, status, "{method_path}");
    }
    assert_eq!(server.client.delete(&path("by_hand", "r")).status, 404);
    // Its id is free again.
    at_work(&context, &server, "by_hand", "r");
    server.kill();
}

#[test]
fn waiting_for_a_run_tells_its_states_and_its_results() {
    let context = context();
    let server = start(&context);
    let wait = |dag_id: &str, run_id: &str, query: &str| {
        let reply = server.client.get(&format!("{}/wait?{query}", path(dag_id, run_id)));
        let lines = match &reply.body {
            Value::String(text) => text.lines().map(str::to_owned).collect::<Vec<_>>(),
            other => vec![other.to_string()],
        };
        (reply.status, lines)
    };
    at_work(&context, &server, "by_hand", "r");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait("by_hand", "r", "interval=0.05"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        set(&server, "by_hand", "r", "failed");
        let (status, lines) = waiting.join().unwrap();
        assert_eq!((status, lines.last().unwrap().as_str()), (200, r#"{"state": "failed"}"#), "{lines:?}");
        assert!(lines.len() > 1 && lines[..lines.len() - 1].iter().all(|line| line == r#"{"state": "running"}"#));
    });
    let body = json!({"dag_run_id": "q", "logical_date": null});
    assert_eq!(server.client.post("/api/v2/dags/quick/dagRuns", &body).status, 200);
    let (_, lines) = wait("quick", "q", "interval=0.1&result=answer&result=item");
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(last, json!({"state": "success", "results": {"answer": {"n": 42}, "item": [2, 4]}}));
    let (_, lines) = wait("quick", "q", "interval=0.1&result=nobody");
    assert_eq!(serde_json::from_str::<Value>(lines.last().unwrap()).unwrap(), json!({"state": "success"}));
    assert_eq!(wait("quick", "nobody", "interval=1").0, 404);
    assert_eq!(wait("quick", "q", "").0, 422);
    assert_eq!(wait("quick", "q", "interval=0").0, 422);
}

#[test]
fn a_deleted_dag_comes_back_from_its_file_without_its_past() {
    let context = context();
    let server = start(&context);
    let pid = at_work(&context, &server, "by_hand", "r");
    let refused = server.client.delete("/api/v2/dags/by_hand");
    let said = "Task instances of dag with id: 'by_hand' are still running";
    assert_eq!((refused.status, refused.body), (409, json!({"detail": said})));
    assert!(is_alive(&pid));
    set(&server, "by_hand", "r", "failed");
    assert_eq!(server.client.delete("/api/v2/dags/by_hand").status, 204);
    assert_eq!(server.client.get(&path("by_hand", "r")).status, 404);
    server.wait_for("it is imported anew", |client| {
        let dag = client.get("/api/v2/dags/by_hand");
        (dag.status == 200 && dag.body["is_paused"] == true).then_some(())
    });
    assert_eq!(server.client.get("/api/v2/dags/by_hand/dagRuns").body["total_entries"], 0);
    // The other Dags of the file are as they were.
    assert_eq!(server.client.get("/api/v2/dags/quick").body["is_paused"], false);
    assert_eq!(server.client.delete("/api/v2/dags/nobody").status, 404);
    server.unpause("by_hand");
    at_work(&context, &server, "by_hand", "again");
    // Its file gone, it stays away; with a server or without one.
    set(&server, "by_hand", "again", "failed");
    std::fs::remove_file(context.dags().join("by_hand.py")).unwrap();
    server
        .wait_for("it is stale", |client| (client.get("/api/v2/dags/by_hand").body["is_stale"] == true).then_some(()));
    let delete = |dag_id: &str| context.run(&["dags", "delete", dag_id, "--yes"]);
    let deleted = delete("by_hand");
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(server.client.get("/api/v2/dags/by_hand").status, 404);
    server.kill();
    let (first, second) = (delete("cleans"), delete("cleans"));
    assert_eq!((first.status.code(), second.status.code()), (Some(0), Some(1)), "{first:?} {second:?}");
    let server = Server::start(&context);
    assert_eq!(server.client.get("/api/v2/dags/cleans").status, 404);
    assert_eq!(server.client.get("/api/v2/dags/quick").status, 200);
}
