//! Callbacks of Dags, and of tasks whose processes can't call them.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, dag_file, log_of, read_log, shown, wait_until};

/// What was written to a file of the home, line by line.
fn lines(context: &Context, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(context.home().join(name)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn called(context: &Context) -> Vec<Value> {
    lines(context, "called")
}

fn names(context: &Context) -> Vec<String> {
    called(context).iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

/// The log of the Dag file's callbacks.
fn dag_log(context: &Context) -> String {
    let base = context.home().join("logs/dag_processor");
    let days = std::fs::read_dir(&base).map(|days| days.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let logs = days.iter().map(|day| day.path().join("dags-folder/callbacks.py.log"));
    logs.map(|path| shown(&read_log(&std::fs::read_to_string(path).unwrap_or_default()))).collect()
}

#[test]
fn callbacks_are_called_where_airflow_calls_them() {
    let context = context();
    context.write_dag("callbacks.py", &dag_file("callbacks.py"));
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let mail = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins/own_mail.py");
    std::fs::copy(mail, plugins.join("own_mail.py")).unwrap();
    let env = [
        ("AIRFLOW__EMAIL__EMAIL_BACKEND", "own_mail.send_email"),
        ("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", "8"),
        ("AIRFLOW_VAR_FROM_ENV", "v"),
    ];
    let server = Server::start_with(&context, &env);
    for (dag_id, wanted) in [("good", "success"), ("bad", "failed"), ("killed", "failed")] {
        let (_, state) = server.run_dag(dag_id, &json!({"k": dag_id}));
        assert_eq!(state, wanted, "{dag_id}");
    }
    wait_until("all are called", || {
        let names = names(&context);
        ["first", "second", "bad", "own", "retry", "failure"].iter().all(|name| names.iter().any(|other| other == name))
    });
    for line in called(&context) {
        let (name, task) = (line["name"].as_str().unwrap(), line["task"].as_str());
        let wanted = match name {
            "first" | "second" => ("good", json!("success"), Some("last"), 1),
            "bad" => ("bad", json!("task_failure"), Some("fails"), 1),
            "own" => ("bad", Value::Null, Some("fails"), 1),
            "retry" => ("killed", Value::Null, Some("killed"), 1),
            "failure" => ("killed", Value::Null, Some("killed"), 2),
            _ => panic!("{name} is called: {line}"),
        };
        assert_eq!(
            (line["dag"].as_str().unwrap(), line["reason"].clone(), task),
            (wanted.0, wanted.1, wanted.2),
            "{line}"
        );
        assert_eq!((&line["try"], &line["variable"]), (&json!(wanted.3), &json!("v")), "{line}");
        assert_eq!(line["conf"], json!({"k": wanted.0}), "{line}");
    }
    let log = dag_log(&context);
    for part in ["Executing on_success dag callback", "ValueError: no luck in the callback", "this is said by second"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // What is called for a task is in the log of its try.
    let mails_to = |name: &str| -> Vec<Value> {
        lines(&context, "mails").into_iter().filter(|mail| mail["to"].to_string().contains(name)).collect()
    };
    wait_until("mails are sent", || (mails_to("ann").len(), mails_to("bob").len()) == (2, 1));
    let (killed, fails) = (mails_to("ann"), mails_to("bob"));
    assert!(killed[0]["html"].as_str().unwrap().contains("Try 1 out of 2"), "{killed:?}");
    assert!(fails[0]["html"].as_str().unwrap().contains("on purpose"), "{fails:?}");
    let runs = server.client.get("/api/v2/dags/killed/dagRuns").body;
    let run_id = runs["dag_runs"][0]["dag_run_id"].as_str().unwrap().to_owned();
    for (try_number, part) in [(1, "this is said by retry"), (2, "this is said by failure")] {
        let log = shown(&log_of(&context, "killed", &run_id, "killed", try_number));
        assert!(log.contains(part), "{part} is not in {log}");
    }
    what_a_callback_does_stays_with_it(&context, &server);
    server.kill();
}

/// One that hangs is stopped, one that dies is dead; the next ones are called.
fn what_a_callback_does_stays_with_it(context: &Context, server: &Server) {
    for dag_id in ["hanging", "dying"] {
        assert_eq!(server.run_dag(dag_id, &json!({})).1, "success", "{dag_id}");
    }
    let before = names(context).len();
    assert_eq!(server.run_dag("good", &json!({})).1, "success");
    wait_until("the next ones are called", || names(context).len() == before + 2);
    wait_until("the one that hangs is stopped", || dag_log(context).contains("took longer than 8 seconds"));
    let log = dag_log(context);
    assert!(log.contains("The callback's process ended badly"), "{log}");
}

#[test]
fn a_callback_that_was_cut_off_is_called_again() {
    let context = context();
    context.write_dag("callbacks.py", &dag_file("callbacks.py"));
    let server = Server::start(&context);
    let (_, state) = server.run_dag("slow", &json!({}));
    assert_eq!(state, "success");
    wait_until("the callback has begun", || names(&context) == ["begun"]);
    server.kill();
    let server = Server::start(&context);
    wait_until("the callback has begun again", || names(&context) == ["begun", "begun"]);
    std::fs::write(context.home().join("go"), "").unwrap();
    wait_until("the callback has ended", || names(&context) == ["begun", "begun", "done"]);
    // It is not owed any more, once a server that ends in good order has written that down.
    assert!(server.terminate().success());
    let server = Server::start(&context);
    assert_eq!(server.run_dag("good", &json!({})).1, "success");
    wait_until("others are called", || names(&context).contains(&"second".to_owned()));
    assert_eq!(names(&context), ["begun", "begun", "done", "first", "second"]);
    server.kill();
}

#[test]
fn deadlines_that_are_missed_are_told_of() {
    let context = context();
    context.write_dag("deadlines.py", &dag_file("deadlines.py"));
    let server = Server::start(&context);
    for (key, value) in [("seconds", "3"), ("said", "v")] {
        let reply = server.client.post("/api/v2/variables", &json!({"key": key, "value": value}));
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let (_, state) = server.run_dag("deadlines", &json!({"quick": true}));
    assert_eq!(state, "success");
    let date = "2026-01-05T00:00:00Z";
    let run_id = crate::support::trigger_at(&server, "deadlines", date, &json!({}));
    // The engine that finds the deadline missed need not be the one that made the run.
    wait_until("the task runs", || server.states("deadlines", &run_id) == "waits=running");
    server.kill();
    let server = Server::start(&context);
    wait_until("both are called", || {
        ["in_turn", "meanwhile"].iter().all(|name| names(&context).contains(&(*name).into()))
    });
    // What was being called when the server was killed is called again.
    let mut lines = called(&context);
    lines.sort_by_key(|line| line["name"].to_string());
    lines.dedup();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let wanted = [("in_turn", "hello"), ("meanwhile", "2026-01-02T00:00:00+00:00")];
    for (line, (name, more)) in lines.iter().zip(wanted) {
        assert_eq!((&line["name"], &line["more"]), (&json!(name), &json!(more)), "{line}");
        assert_eq!((&line["run_id"], &line["state"]), (&json!(run_id), &json!("running")), "{line}");
        assert_eq!(line["variable"], "v", "{line}");
    }
    assert_eq!(lines[1]["deadline"], "2026-01-05T00:00:03+00:00");
    let logs = context.home().join("logs/executor_callbacks/deadlines").join(&run_id);
    let said = || -> String {
        let entries = std::fs::read_dir(&logs).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
        let texts = entries.iter().map(|entry| std::fs::read_to_string(entry.path()).unwrap_or_default());
        texts.map(|text| shown(&read_log(&text))).collect()
    };
    wait_until("the one that breaks says so", || said().contains("ValueError: no luck with the deadline"));
    std::fs::write(context.home().join("go"), "").unwrap();
    assert_eq!(server.wait_for_run("deadlines", &run_id), "success");
    assert_eq!(names(&context).iter().filter(|name| *name == "in_turn").count(), 1, "{:?}", called(&context));
    server.kill();
}
