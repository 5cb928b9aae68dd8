//! Tasks that wait outside of their process.

use serde_json::json;
use testkit::Server;

use crate::support::{TestRun, assert_states, context, dag_file, log_of, read_log, shown, trigger_at, wait_until};

#[test]
fn tasks_leave_their_process_and_go_on_in_another_one() {
    let context = context();
    context.write_dag("waiting.py", &dag_file("waiting.py"));
    let run = TestRun::new(&context, "waiting.py", &[], &[]);
    let wanted = [
        ("moment", "success", 1, "Pausing task as DEFERRED."),
        ("moment_that_ends", "success", 1, "Pausing task as DEFERRED."),
        ("delta", "success", 1, "Pausing task as DEFERRED."),
        ("waits", "success", 1, "Pausing task as DEFERRED."),
        ("never_fires", "failed", 2, "TaskDeferralTimeout: Trigger timeout"),
    ];
    for (task, state, tries, text) in wanted {
        let log = run.log(task, tries);
        assert_eq!(run.tasks[task], (state.to_owned(), tries), "{task}:\n{}\n{}", shown(&log), run.stderr);
        assert!(shown(&log).contains(text), "{task} does not say {text:?}:\n{}", shown(&log));
    }
    assert_eq!(run.tasks.len(), wanted.len());
    let began = |task: &str| run.log(task, 1).iter().filter(|line| line.event == "::group::Pre Execute").count();
    assert_eq!((began("waits"), began("delta"), began("moment_that_ends")), (3, 2, 1));
}

fn plugin(context: &testkit::Context, name: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins");
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(folder.join(name), plugins.join(name)).unwrap();
}

#[test]
fn triggers_in_python_run_in_the_official_trigger_runner() {
    let context = context();
    plugin(&context, "own_triggers.py");
    context.write_dag("triggers.py", &dag_file("triggers.py"));
    std::fs::write(context.home().join("there"), "").unwrap();
    let run = TestRun::new(&context, "triggers.py", &[], &[("AIRFLOW_VAR_FROM_STORE", "stored")]);
    let wanted = [
        ("payload", "success", 1, "Pushing xcom"),
        ("asks", "success", 1, "Pushing xcom"),
        ("file", "success", 1, "Pushing xcom"),
        ("raises", "failed", 2, "ValueError: no luck in the trigger"),
        ("falls_silent", "failed", 1, "TaskDeferralError: Trigger failure"),
        ("unsendable", "failed", 1, "TaskDeferralError: Trigger failure"),
        ("gone", "failed", 1, "does not define a \"Gone\"|does not define a \\\"Gone\\\""),
        ("wrong_arguments", "failed", 1, "missing 1 required positional argument"),
        ("success", "success", 1, "Pausing task as DEFERRED."),
        ("failed", "failed", 1, "Pausing task as DEFERRED."),
        ("skipped", "skipped", 1, "Pausing task as DEFERRED."),
        ("times_out", "failed", 1, "TaskDeferralTimeout: Trigger timeout"),
        ("kills_the_runner", "success", 1, "Pushing xcom"),
        ("starts", "success", 1, "Pushing xcom"),
        ("starts_and_ends", "success", 1, ""),
        ("starts_and_fails", "failed", 2, "ValueError: no luck in the trigger"),
        ("total", "success", 1, "Returned value was: 60"),
    ];
    for (task, state, tries, text) in wanted {
        let log = run.log(task, tries);
        assert_eq!(run.tasks[task], (state.to_owned(), tries), "{task}:\n{}\n{}", shown(&log), run.stderr);
        let whole = format!("{}\n{:?}", shown(&log), log.iter().map(|line| &line.fields).collect::<Vec<_>>());
        assert!(text.split('|').any(|text| whole.contains(text)), "{task} does not say {text:?}:\n{whole}");
    }
    // What the triggers logged is beside the task's log, under Airflow's name.
    let mut beside = run.log_path("payload", 1).into_os_string();
    beside.push(".trigger.1.log");
    let lines = read_log(&std::fs::read_to_string(beside).unwrap());
    let said = lines.iter().find(|line| line.event == "this is said by the trigger of payload");
    assert_eq!(said.map(|line| line.fields["task_id"].clone()), Some("payload".into()), "{}", shown(&lines));
    assert!(lines.iter().any(|line| line.event == "Trigger fired event"), "{}", shown(&lines));
}

#[test]
fn a_run_that_is_there_already_runs_again_when_it_is_reset() {
    let context = context();
    context.write_dag("resetting.py", &dag_file("resetting.py"));
    let server = Server::start(&context);
    server.wait_for_dag("again");
    server.unpause("again");
    let (run_id, state) = server.run_dag("resets", &json!({}));
    assert_eq!(state, "failed");
    assert_states(&context, &server, "resets", &run_id, |task| if task == "fails" { "failed" } else { "success" });
    assert_states(&context, &server, "again", "the_same", |_| "success");
    // It ran once for each, in the same run and as it was made.
    assert_eq!(server.task_instances("again", "the_same")["counts"]["try_number"], 3);
    for try_number in 1..=3 {
        let log = shown(&log_of(&context, "again", "the_same", "counts", try_number));
        assert!(log.contains(&format!("try {try_number} with {{'n': 1}}")), "{log}");
    }
    server.kill();
}

#[test]
fn what_waits_for_other_dags_goes_on_after_a_kill() {
    let context = context();
    context.write_dag("external.py", &dag_file("external.py"));
    let server = Server::start(&context);
    for dag_id in ["child", "parent"] {
        server.wait_for_dag(dag_id);
        server.unpause(dag_id);
    }
    let run_id = trigger_at(&server, "parent", "2026-01-05T00:00:00Z", &json!({}));
    let state = |server: &Server, dag_id: &str, run_id: &str, task: &str| {
        server.task_instances(dag_id, run_id).get(task).and_then(|ti| ti["state"].as_str().map(str::to_owned))
    };
    for (dag_id, run_id, task, wanted) in [
        ("parent", run_id.as_str(), "starts_child", "deferred"),
        ("child", "of_parent", "waits", "deferred"),
        ("parent", &run_id, "defers", "deferred"),
        ("parent", &run_id, "gives_up", "skipped"),
    ] {
        wait_until(&format!("{task} is {wanted}"), || state(&server, dag_id, run_id, task).as_deref() == Some(wanted));
    }
    server.kill();
    let server = Server::start(&context);
    std::fs::write(context.home().join("go"), "").unwrap();
    server.wait_for_run("parent", &run_id);
    assert_states(&context, &server, "child", "of_parent", |_| "success");
    let wanted = |task: &str| if task == "gives_up" { "skipped" } else { "success" };
    assert_states(&context, &server, "parent", &run_id, wanted);
    server.kill();
}
