//! What tasks ask the engine for.

use serde_json::{Value, json};
use testkit::Server;

use crate::support::{assert_states, context, dag_file, log_of, shown, trigger_at};

const ENV: [(&str, &str); 3] = [
    ("FROM_THE_CALLER", "seen"),
    ("AIRFLOW_VAR_FROM_ENVIRONMENT", "env wins"),
    ("AIRFLOW_CONN_FROM_ENVIRONMENT", "postgres://me:pass-word-4@db.example:5433/x"),
];

#[test]
fn every_request_of_the_task_sdk_is_answered_as_airflow_answers_it() {
    let context = context();
    context.write_dag("contracts.py", &dag_file("contracts.py"));
    let server = Server::start_with(&context, &ENV);
    server.wait_for_dag("contracts");
    server.unpause("contracts");
    let conf = json!({"greeting": "hey", "number": 7});
    let wanted = |task: &str| match task {
        "never" | "never_either" => "skipped",
        _ => "success",
    };
    // The second run looks back at the first one.
    for date in ["2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"] {
        let run_id = trigger_at(&server, "contracts", date, &conf);
        server.wait_for_run("contracts", &run_id);
        assert_states(&context, &server, "contracts", &run_id, wanted);
        assert_eq!(server.xcom("contracts", &run_id, "xcom_push"), json!([1, "two", {"three": 3}]));
        assert_eq!(server.xcom("contracts", &run_id, "rendered_by_python"), json!("rendered_by_python hey"));
        assert_eq!(server.xcom("contracts", &run_id, "reschedules"), json!(1));

        let log = |task: &str, try_number| log_of(&context, "contracts", &run_id, task, try_number);
        let streams: Vec<String> = log("context", 1)
            .into_iter()
            .filter(|line| line.logger.starts_with("task.std"))
            .map(|line| format!("{} {} {}", line.level, line.logger, line.event))
            .collect();
        let wanted = ["info task.stdout to stdout", "error task.stderr to stderr", "info task.stdout from a shell"];
        assert!(wanted.iter().all(|line| streams.iter().any(|found| found == line)), "{streams:?}");

        for (try_number, said) in [(1, ["on_execute", "on_retry"]), (2, ["on_execute", "on_success"])] {
            let text = shown(&log("callbacks", try_number));
            for callback in said {
                assert!(text.contains(&format!("callback {callback} of try {try_number}")), "{text}");
            }
        }
    }
}

#[test]
fn secrets_are_masked_wherever_they_come_from() {
    let context = context();
    context.write_dag("contracts.py", &dag_file("contracts.py"));
    let server = Server::start_with(&context, &ENV);
    let (run_id, _) = server.run_dag("secrets", &json!({}));
    let secrets = log_of(&context, "secrets", &run_id, "secrets", 1);
    let text = shown(&secrets);
    for line in ["number 1: *** not-so-secret-1", "number 2: ***", "not-so-secret-3", "password: ***", "shell: ***"] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let raw = secrets.iter().map(|line| line.fields.to_string()).collect::<String>();
    assert!(["top-secret-1", "top-secret-2", "pass-word-4"].iter().all(|secret| !raw.contains(secret)), "{text}");
}

#[test]
fn tasks_trigger_runs_and_wait_for_them() {
    let context = context();
    context.write_dag("contracts.py", &dag_file("contracts.py"));
    let server = Server::start_with(&context, &ENV);
    server.wait_for_dag("other");
    server.unpause("other");
    let (run_id, _) = server.run_dag("triggers", &json!({}));
    let wanted = |task: &str| match task {
        "skipped" => "skipped",
        "first" | "reset" => "success",
        _ => "failed",
    };
    assert_states(&context, &server, "triggers", &run_id, wanted);
    // It was put back by the last one, and runs again.
    assert_eq!(server.wait_for_run("other", "asked_for"), "success");
    let tries: Vec<Value> = server.task_instances("other", "asked_for").into_values().collect();
    assert!(!tries.is_empty() && tries.iter().all(|ti| ti["try_number"] == json!(2)), "{tries:?}");
    let run = server.client.get("/api/v2/dags/other/dagRuns/asked_for").body;
    assert_eq!((run["state"].as_str(), run["run_type"].as_str()), (Some("success"), Some("operator_triggered")));
    let log = |task: &str| shown(&log_of(&context, "triggers", &run_id, task, 1));
    assert!(log("unknown").contains("Dag with dag_id: 'nobody' not found"), "{}", log("unknown"));
    assert!(log("again").contains("Dag Run already exists"), "{}", log("again"));
}

#[test]
fn xcoms_of_prior_dates_are_those_of_runs_that_are_not_later() {
    let context = context();
    context.write_dag("prior_dates.py", &dag_file("prior_dates.py"));
    let server = Server::start(&context);
    server.wait_for_dag("prior_dates");
    server.unpause("prior_dates");
    let run = |date: &str, conf: &Value| {
        let run_id = trigger_at(&server, "prior_dates", &format!("2026-01-{date}T00:00:00Z"), conf);
        let state = server.wait_for_run("prior_dates", &run_id);
        assert_eq!(state, "success", "{date}: {}", shown(&log_of(&context, "prior_dates", &run_id, "look", 1)));
        run_id
    };
    let nothing = json!({"last": null, "only_first": null, "item": null, "all": [], "other": null, "is_first": true});
    let first = run("05", &nothing);
    let sees = |last: &str, all: &[&str], other: Value| {
        let mut all = all.to_vec();
        all.sort_unstable();
        json!({"last": last, "only_first": first, "item": 1, "all": all, "other": other, "is_first": false})
    };
    let second = run("09", &sees(&first, &[&first], json!(null)));
    // Between the two: the later one does not count, though it ran before; and asked for that, it does.
    let between = run("07", &sees(&first, &[&first], json!([second, second])));
    let third = run("10", &sees(&second, &[&first, &between, &second], json!([between, between])));
    // Before them all there is nothing.
    let mut before_all = nothing.clone();
    before_all["other"] = json!([third, third]);
    let earliest = run("01", &before_all);
    // What is rendered without Python sees the same.
    for (run_id, wanted) in [(&second, &first), (&between, &first), (&third, &second)] {
        assert_eq!(server.xcom("prior_dates", run_id, "rendered"), json!(wanted));
    }
    assert_eq!(server.xcom("prior_dates", &earliest, "rendered"), json!("None"));
}
