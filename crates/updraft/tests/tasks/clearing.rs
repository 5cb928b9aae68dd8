//! Task instances that people have run again.

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, log_of, shown, wait_until};

/// `work` works for as long as a file tells it to, and fails while another one is there.
const DAG: &str = r#"
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

with DAG("again"):
    begun = EmptyOperator(task_id="begun")
    work = BashOperator(
        task_id="work",
        bash_command="echo $$ >> $PLACE/pids; while test -e $PLACE/wait; do sleep 0.05; done; ! test -e $PLACE/fail",
    )
    begun >> work >> EmptyOperator(task_id="later")

with DAG("values", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task
    def numbers(dag_run=None):
        import os

        with open(os.environ["PLACE"] + "/numbers") as file:
            return [int(number) for number in file.read().split()]

    @task
    def double(number):
        return number * 2

    @task
    def total(doubled):
        return sum(doubled)

    total(double.expand(number=numbers()))
"#;

struct Place(std::path::PathBuf);

impl Place {
    fn new(context: &Context) -> Self {
        let place = context.path("place");
        std::fs::create_dir_all(&place).unwrap();
        context.write_dag("again.py", DAG);
        Self(place)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }

    /// The processes that have worked.
    fn pids(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.join("pids")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn start(&self, context: &Context) -> Server {
        Server::start_with(context, &[("PLACE", self.0.to_str().unwrap())])
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn begin(server: &Server, dag_id: &str, run_id: &str, date: Value) {
    server.wait_for_dag(dag_id);
    server.unpause(dag_id);
    let body = json!({"dag_run_id": run_id, "logical_date": date});
    let reply = server.client.post(&format!("/api/v2/dags/{dag_id}/dagRuns"), &body);
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn clear(server: &Server, dag_id: &str, body: &Value) -> Vec<String> {
    let mut body = body.clone();
    body["dry_run"] = json!(false);
    let reply = server.client.post(&format!("/api/v2/dags/{dag_id}/clearTaskInstances"), &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let list = reply.body["task_instances"].as_array().unwrap().clone();
    let mut names: Vec<String> = list
        .iter()
        .map(|ti| format!("{} {}", ti["task_id"].as_str().unwrap(), ti["state"].as_str().unwrap_or("none")))
        .collect();
    names.sort();
    names
}

fn tries(server: &Server, dag_id: &str, run_id: &str, task_id: &str) -> Vec<String> {
    let path = format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/tries");
    let list = server.client.get(&path).body["task_instances"].as_array().unwrap().clone();
    list.iter().map(|ti| format!("{} {}", ti["try_number"], ti["state"].as_str().unwrap_or("none"))).collect()
}

#[test]
fn what_runs_is_asked_to_end_and_starts_anew() {
    let context = context();
    let place = Place::new(&context);
    place.write("wait", "");
    let server = place.start(&context);
    begin(&server, "again", "r", Value::Null);
    wait_until("it works", || place.pids().len() == 1);
    server.wait_for("it is running", |_| (server.states("again", "r").contains("work=running")).then_some(()));
    let refused = server.client.post(
        "/api/v2/dags/again/clearTaskInstances",
        &json!({"dry_run": false, "dag_run_id": "r", "only_failed": false, "prevent_running_task": true}),
    );
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(is_alive(&place.pids()[0]));
    let cleared = clear(
        &server,
        "again",
        &json!({"dag_run_id": "r", "task_ids": ["work"], "only_running": true, "only_failed": false}),
    );
    assert_eq!(cleared, ["work restarting"]);
    wait_until("it works again", || place.pids().len() == 2);
    let pids = place.pids();
    // Never two at once.
    assert!(!is_alive(&pids[0]) && is_alive(&pids[1]), "{pids:?}");
    place.remove("wait");
    assert_eq!(server.wait_for_run("again", "r"), "success");
    assert_eq!(tries(&server, "again", "r", "work"), ["1 failed", "2 success"]);
    let log = log_of(&context, "again", "r", "work", 1);
    assert!(shown(&log).contains("Task is stopped: it was cleared, and will run again"), "{}", shown(&log));
}

#[test]
fn what_is_marked_is_stopped_and_what_is_below_goes_on() {
    let context = context();
    let place = Place::new(&context);
    place.write("wait", "");
    let server = place.start(&context);
    let mark = |run_id: &str, task_id: &str, body: &Value| {
        let path = format!("/api/v2/dags/again/dagRuns/{run_id}/taskInstances/{task_id}");
        let reply = server.client.patch(&path, body);
        (reply.status, reply.body["task_instances"][0]["state"].clone())
    };
    begin(&server, "again", "r", Value::Null);
    wait_until("it works", || place.pids().len() == 1);
    server.wait_for("it is running", |_| (server.states("again", "r").contains("work=running")).then_some(()));
    assert_eq!(mark("r", "work/dry_run", &json!({"new_state": "success"})), (200, json!("running")));
    assert_eq!(mark("r", "work", &json!({"new_state": "success", "note": "good enough"})), (200, json!("success")));
    wait_until("the process is gone", || !is_alive(&place.pids()[0]));
    assert_eq!(server.wait_for_run("again", "r"), "success");
    assert_eq!(mark("r", "work", &json!({"new_state": "success"})).0, 409);
    assert_eq!(server.task_instances("again", "r")["work"]["note"], "good enough");
    let log = log_of(&context, "again", "r", "work", 1);
    assert!(shown(&log).contains("Task is stopped: somebody has given it another state"), "{}", shown(&log));
    place.remove("wait");
    place.write("fail", "");
    begin(&server, "again", "s", Value::Null);
    assert_eq!(server.wait_for_run("again", "s"), "failed");
    // What could not run because of it runs now.
    assert_eq!(mark("s", "work", &json!({"new_state": "success"})), (200, json!("success")));
    server.wait_for("the run has gone on", |client| {
        (client.get("/api/v2/dags/again/dagRuns/s").body["state"] == "success").then_some(())
    });
    assert_eq!(server.states("again", "s"), "begun=success later=success work=success");
    server.kill();
    let server = place.start(&context);
    assert_eq!(server.states("again", "s"), "begun=success later=success work=success");
    assert_eq!(server.task_instances("again", "r")["work"]["note"], "good enough");
}

#[test]
fn a_run_that_failed_goes_on_where_it_is_cleared() {
    let context = context();
    let place = Place::new(&context);
    place.write("fail", "");
    let server = place.start(&context);
    begin(&server, "again", "r", Value::Null);
    assert_eq!(server.wait_for_run("again", "r"), "failed");
    assert_eq!(server.states("again", "r"), "begun=success later=upstream_failed work=failed");
    // Nothing is done about what is only asked.
    let asked = server.client.post("/api/v2/dags/again/clearTaskInstances", &json!({"dag_run_id": "r"}));
    assert_eq!((asked.status, &asked.body["total_entries"]), (200, &json!(2)));
    assert_eq!(tries(&server, "again", "r", "work"), ["1 failed"]);
    place.remove("fail");
    place.write("wait", "");
    assert_eq!(clear(&server, "again", &json!({"dag_run_id": "r", "note": "once more"})), ["later none", "work none"]);
    wait_until("it works", || place.pids().len() == 2);
    // Killed while it works, and again while it waits to be asked to end: it works on.
    server.kill();
    let server = place.start(&context);
    wait_until("it works again", || place.pids().len() == 3);
    assert_eq!(
        clear(&server, "again", &json!({"dag_run_id": "r", "task_ids": ["work"], "only_failed": false})),
        ["work restarting"]
    );
    server.kill();
    let server = place.start(&context);
    wait_until("it works once more", || place.pids().len() >= 4);
    place.remove("wait");
    assert_eq!(server.wait_for_run("again", "r"), "success");
    assert_eq!(server.states("again", "r"), "begun=success later=success work=success");
    let work = &server.task_instances("again", "r")["work"];
    assert_eq!(work["note"], "once more");
    assert_eq!(server.client.get("/api/v2/dags/again/dagRuns/r").body["state"], "success");
    // A whole run; with nothing that failed there is nothing to do.
    let run = |body: &Value| {
        let reply = server.client.post("/api/v2/dags/again/dagRuns/r/clear", body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    };
    assert_eq!(run(&json!({"dry_run": false, "only_failed": true}))["state"], "success");
    assert_eq!(run(&json!({"dry_run": false}))["state"], "queued");
    assert_eq!(server.wait_for_run("again", "r"), "success");
    assert_eq!(server.task_instances("again", "r")["begun"]["try_number"], 2);
}

#[test]
fn mapped_tasks_are_as_many_as_there_is_to_map_over_then() {
    let context = context();
    let place = Place::new(&context);
    place.write("numbers", "1 2 3");
    let server = place.start(&context);
    begin(&server, "values", "r", json!("2026-01-05T00:00:00Z"));
    assert_eq!(server.wait_for_run("values", "r"), "success");
    assert_eq!(server.xcom("values", "r", "total"), 12);
    place.write("numbers", "5 6");
    clear(
        &server,
        "values",
        &json!({"dag_run_id": "r", "task_ids": ["numbers"], "include_downstream": true, "only_failed": false}),
    );
    assert_eq!(server.wait_for_run("values", "r"), "success");
    assert_eq!(
        server.states("values", "r"),
        "double[0]=success double[1]=success double[2]=removed numbers=success total=success"
    );
    assert_eq!(server.xcom("values", "r", "total"), 22);
    place.write("numbers", "1 2 3 4");
    clear(
        &server,
        "values",
        &json!({"dag_run_id": "r", "task_ids": ["total"], "include_upstream": true, "only_failed": false}),
    );
    assert_eq!(server.wait_for_run("values", "r"), "success");
    assert_eq!(server.xcom("values", "r", "total"), 20);
    // One instance, and what belongs to it.
    let cleared = clear(
        &server,
        "values",
        &json!({"dag_run_id": "r", "task_ids": [["double", 1]], "include_downstream": true, "only_failed": false}),
    );
    assert_eq!(cleared, ["double none", "total none"]);
    assert_eq!(server.wait_for_run("values", "r"), "success");
}

#[test]
fn the_command_line_clears_with_a_server_and_without() {
    let context = context();
    let place = Place::new(&context);
    place.write("numbers", "1");
    let server = place.start(&context);
    for (run_id, date) in
        [("one", "2026-01-01T00:00:00Z"), ("two", "2026-01-02T00:00:00Z"), ("three", "2026-01-03T00:00:00Z")]
    {
        begin(&server, "values", run_id, json!(date));
        assert_eq!(server.wait_for_run("values", run_id), "success");
    }
    let run = |args: &[&str]| {
        let output = context.run(&[&["tasks", "clear", "values"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        (output.status.code(), said)
    };
    let done = run(&["-t", "total", "--start-date", "2026-01-02", "--end-date", "2026-01-02", "--yes"]);
    assert_eq!(done, (Some(0), "Cleared 1 task instances".to_owned()));
    assert_eq!(server.wait_for_run("values", "two"), "success");
    let total = |server: &Server, run_id: &str| server.task_instances("values", run_id)["total"]["try_number"].clone();
    server.wait_for("it has run again", |_| (total(&server, "two") == 2).then_some(()));
    assert_eq!((total(&server, "one"), total(&server, "three")), (json!(1), json!(1)));
    assert_eq!(run(&["-f", "-r", "-y"]), (Some(0), "There is nothing to clear".to_owned()));
    let (code, said) = run(&["-s", "2026-01-03", "-e", "2026-01-01", "-y"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--start-date is later than --end-date"), "{said}");
    let (code, said) = run(&["-s", "someday", "-y"]);
    assert!(code == Some(2) && said.contains("is no date"), "{said}");
    server.kill();
    // What is cleared without a server runs when there is one.
    let done = run(&["-t", "dou", "-d", "-s", "2026-01-03", "-y"]);
    assert_eq!(done, (Some(0), "Cleared 2 task instances".to_owned()));
    let server = place.start(&context);
    server.wait_for("it has run again", |_| (total(&server, "three") == 2).then_some(()));
    assert_eq!(server.wait_for_run("values", "three"), "success");
    assert_eq!(total(&server, "one"), 1);
}
