//! Dags, runs and task instances.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Server;

use crate::{BROKEN, Cli, OTHERS, PLAIN};

fn states(cli: &Cli, dag_id: &str, run: &str) -> Vec<(String, String)> {
    let rows = cli.json(&["tasks", "states-for-dag-run", dag_id, run]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["task_id"]), text(&row["state"]))).collect()
}

fn wait_for_state(cli: &Cli, dag_id: &str, run: &str, want: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let state = cli.ok(&["dags", "state", dag_id, run]);
        if state.trim_end() == want {
            return;
        }
        assert!(Instant::now() < deadline, "{dag_id}/{run} is {state}, not {want}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_server_dags_are_imported_and_runs_wait_for_one() {
    let cli = Cli::unpaused();
    cli.context.write_dag("plain.py", PLAIN);
    cli.context.write_dag("others.py", OTHERS);
    cli.context.write_dag("broken.py", BROKEN);
    let list = cli.run(&["dags", "list", "--output", "json"]);
    let rows: Value = serde_json::from_str(&list.out).unwrap();
    let plain = cli.context.dags().join("plain.py");
    assert_eq!(rows[0]["dag_id"], "other_daily");
    let want = json!({
        "dag_id": "plain", "fileloc": plain.to_str().unwrap(), "owners": ["airflow"], "is_paused": "False",
        "bundle_name": "dags-folder", "bundle_version": null,
    });
    assert_eq!(rows[1], want);
    assert!(list.err.contains("Error: Failed to load all files. For details, run `updraft dags list-import-errors`"));
    let errors = cli.run(&["dags", "list-import-errors", "--output", "json"]);
    assert_eq!(errors.code, 1);
    let errors: Value = serde_json::from_str(&errors.out).unwrap();
    assert!(errors[0]["filepath"] == "broken.py" && errors[0]["error"].as_str().unwrap().contains("this_is_no_module"));
    let table = cli.ok(&["dags", "list", "--columns", "dag_id,is_paused"]);
    assert_eq!(table, "dag_id      | is_paused\n============+==========\nother_daily | False\nplain       | False\n");
    assert_eq!(cli.ok(&["tasks", "list", "plain"]), "first\nsecond\n");
    let details = &cli.json(&["dags", "details", "plain"])[0];
    assert_eq!((&details["description"], &details["timetable_periodic"]), (&json!("a Dag"), &json!("False")));
    assert!(cli.ok(&["dags", "details", "plain"]).contains("\ntags "));
    assert!(cli.ok(&["dags", "show", "plain"]).contains("\"first\" -> \"second\""));

    let args = ["--run-id", "mine", "--conf", "{\"n\": 2}", "-l", "2024-01-02", "--note", "why"];
    let made = &cli.json(&[&["dags", "trigger", "plain"][..], &args].concat())[0];
    assert_eq!(
        (&made["dag_run_id"], &made["state"], &made["conf"]),
        (&json!("mine"), &json!("queued"), &json!({"n": "2"}))
    );
    assert_eq!(made["logical_date"], "2024-01-02 00:00:00+00:00");
    assert_eq!(cli.ok(&["dags", "state", "plain", "2024-01-02"]), "queued, {\"n\": 2}\n");
    assert_eq!(cli.ok(&["dags", "state", "plain", "2024-01-03"]), "None\n");
    assert_eq!(cli.ok(&["tasks", "state", "plain", "first", "mine"]), "None\n");

    let server = Server::start_with(&cli.context, &cli.env());
    wait_for_state(&cli, "plain", "mine", "success, {\"n\": 2}");
    assert_eq!(
        states(&cli, "plain", "mine"),
        [("first".into(), "success".into()), ("second".into(), "success".into())]
    );
    assert_eq!(cli.ok(&["tasks", "state", "plain", "first", "2024-01-02"]), "success\n");
    assert!(server.terminate().success());
    let runs = cli.json(&["dags", "list-runs", "plain"]);
    assert_eq!((runs.len(), &runs[0]["run_id"], &runs[0]["state"]), (1, &json!("mine"), &json!("success")));
}

#[test]
fn a_server_that_runs_does_what_commands_ask() {
    let cli = Cli::new();
    cli.context.write_dag("plain.py", PLAIN);
    cli.context.write_dag("others.py", OTHERS);
    let server = Server::start_closed(&cli.context, &[]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while cli.json(&["dags", "list"]).len() < 2 {
        assert!(Instant::now() < deadline, "{}", server.said());
    }
    let queued = cli.run(&["dags", "trigger", "plain", "-r", "first run"]);
    assert!(queued.code == 1 && queued.err.contains("does not match regex pattern"), "{queued:?}");
    let queued = cli.run(&["dags", "trigger", "plain", "-r", "one", "--output", "json"]);
    assert!(queued.code == 0 && queued.err.contains("is paused: the run stays queued"), "{queued:?}");
    assert_eq!(cli.ok(&["dags", "state", "plain", "one"]), "queued\n");
    assert_eq!(cli.json(&["dags", "unpause", "plain"]), [json!({"dag_id": "plain", "is_paused": "True"})]);
    wait_for_state(&cli, "plain", "one", "success");
    assert_eq!(cli.run(&["dags", "unpause", "plain"]).err, "No paused DAGs were found\n");
    let again = cli.run(&["dags", "trigger", "plain", "-r", "one"]);
    assert!(again.code == 1 && again.err.contains("a run with the id one of Dag plain exists"), "{again:?}");
    let wrong = cli.run(&["dags", "trigger", "plain", "-c", "{\"n\": \"x\"}"]);
    assert!(wrong.code == 1 && wrong.err.contains("Invalid input for param n"), "{wrong:?}");
    let made = &cli.json(&["dags", "trigger", "plain", "-e", "2024-05-06T07:08:09.5"])[0];
    assert_eq!(made["logical_date"], "2024-05-06 07:08:09+00:00");
    wait_for_state(&cli, "plain", "2024-05-06T07:08:09", "success");
    let again = cli.run(&["dags", "trigger", "plain", "-l", "2024-05-06T07:08:09"]);
    assert!(again.err.contains("a run of Dag plain with the logical date 2024-05-06T07:08:09Z exists"), "{again:?}");
    let later = &cli.json(&["dags", "trigger", "plain", "-r", "later", "--run-after", "2999-01-01", "--note", "n"])[0];
    assert_eq!(later["state"], "queued");
    assert_eq!(cli.json(&["dags", "list-runs", "plain", "--state", "success"]).len(), 2);
    let none = cli.ok(&["dags", "pause", "nope.*", "--treat-dag-id-as-regex", "--yes"]);
    assert_eq!(none, "");
    assert_eq!(cli.json(&["dags", "pause", "pl.*", "--treat-dag-id-as-regex", "--yes"]).len(), 1);
    assert_eq!(cli.json(&["dags", "list", "--columns", "is_paused"])[1]["is_paused"], "True");
    let info = cli.ok(&["info"]);
    assert!(info.contains(&format!("process {}", server.pid())), "{info}");
    let refused = cli.run(&["db", "reset", "--yes"]);
    assert!(refused.code == 1 && refused.err.contains("uses the database: stop it first"), "{refused:?}");
}

#[test]
fn nothing_is_lost_while_a_server_comes_and_goes() {
    let cli = Cli::unpaused();
    cli.context.write_dag("plain.py", PLAIN);
    cli.ok(&["dags", "reserialize"]);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let triggering = scope.spawn(|| {
            let trigger = |number: usize| {
                let run_id = format!("run-{number}");
                let ran = cli.run(&["dags", "trigger", "plain", "--run-id", &run_id]);
                assert_eq!(ran.code, 0, "{ran:?}");
                run_id
            };
            (0..20).map(trigger).collect::<Vec<_>>()
        });
        while !triggering.is_finished() {
            let server = Server::start_with(&cli.context, &cli.env());
            std::thread::sleep(Duration::from_millis(150));
            assert!(server.terminate().success());
        }
        triggering.join().unwrap()
    });
    let server = Server::start_with(&cli.context, &cli.env());
    for run_id in acknowledged {
        assert_eq!(server.wait_for_run("plain", &run_id), "success");
    }
}

#[test]
fn folders_can_be_read_without_the_database() {
    let cli = Cli::new();
    cli.context.write_dag("plain.py", PLAIN);
    cli.context.write_dag("broken.py", BROKEN);
    let list = cli.run(&["dags", "list", "--local", "-o", "plain", "--columns", "dag_id"]);
    assert_eq!((list.code, list.out.as_str()), (0, "dag_id\nplain\n"), "{list:?}");
    assert_eq!(cli.run(&["dags", "list-import-errors", "--local"]).code, 1);
    assert!(!cli.context.home().join("updraft.db").exists());
    cli.ok(&["db", "migrate"]);
    let empty = cli.run(&["dags", "list"]);
    assert!(empty.out == "No data found\n" && empty.err.contains("no Dags have been imported into this home yet"));
    assert!(cli.run(&["dags", "reserialize"]).err.ends_with("2 Dag files are imported\n"));
    assert_eq!(cli.json(&["dags", "list"]).len(), 1);
}

#[test]
fn plain_commands_take_no_time_and_end_quietly_when_nobody_reads() {
    let cli = Cli::new();
    let entries: Vec<String> = (0..3000).map(|key| format!("\"key-{key}\": \"{}\"", "x".repeat(40))).collect();
    let file = cli.file("many.json", &format!("{{{}}}", entries.join(",")));
    cli.ok(&["variables", "import", &file]);
    let best = |args: &[&str]| {
        let time = || {
            let start = Instant::now();
            cli.ok(args);
            start.elapsed()
        };
        (0..10).map(|_| time()).min().unwrap()
    };
    for args in [&["version"][..], &["variables", "list"], &["dags", "list"]] {
        let took = best(args);
        assert!(took < Duration::from_millis(50), "{args:?} took {took:?}");
    }
    let script =
        format!("{} variables list --home {} | head -1", env!("CARGO_BIN_EXE_updraft"), cli.context.home().display());
    let output = std::process::Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
