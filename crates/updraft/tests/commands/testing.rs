//! `dags test` and `tasks test`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::{Server, below};

use crate::{Cli, PLAIN, ran};

/// Tasks that read what the home has, and one that fails.
const READING: &str = r#"
import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Variable, task

with DAG("reading", schedule="@daily", start_date=pendulum.datetime(2020, 1, 1), catchup=True):
    @task
    def say(**context):
        print("variable", Variable.get("name"), "day", context["ds"], "conf", context["dag_run"].conf)
        return "said"

    BashOperator(task_id="bash", bash_command="echo bash {{ var.value.name }} {{ ti.xcom_pull('say') }}", pool="small") << say()

with DAG("failing", schedule=None):
    @task
    def before():
        return 1

    @task
    def fails(value):
        print("about to fail with", value)
        raise ValueError("on purpose")

    fails(before())
"#;

const SLEEPING: &str = r#"
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

with DAG("sleeping", schedule=None):
    BashOperator(task_id="bash", bash_command="echo started; sleep 600")

    @task
    def python():
        import time
        time.sleep(600)

    python()
"#;

#[test]
fn a_dag_runs_to_its_end_with_what_the_home_has() {
    let cli = Cli::new();
    cli.context.write_dag("reading.py", READING);
    cli.ok(&["variables", "set", "name", "ann"]);
    cli.ok(&["pools", "set", "small", "1", ""]);
    let out = cli.ok(&["dags", "test", "reading", "2024-03-04", "--conf", "{\"k\": 1}", "-o", "json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&document["dag_id"], &document["state"]), (&json!("reading"), &json!("success")));
    let tasks: Vec<(&str, &str)> = document["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["task_id"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect();
    assert_eq!(tasks, [("bash", "success"), ("say", "success")]);
    let run_id = document["run_id"].as_str().unwrap();
    let log = cli.context.home().join(format!("logs/dag_id=reading/run_id={run_id}/task_id=say/attempt=1.log"));
    assert!(std::fs::read_to_string(log).unwrap().contains("variable ann day 2024-03-04 conf {'k': 1}"));
    let bash = cli.context.home().join(format!("logs/dag_id=reading/run_id={run_id}/task_id=bash/attempt=1.log"));
    assert!(std::fs::read_to_string(bash).unwrap().contains("bash ann said"));
    // Nothing is kept but the log.
    assert_eq!(cli.run(&["dags", "list"]).out, "No data found\n");
}

const ASKING: &str = r#"
from datetime import timedelta
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG

with DAG("asking", schedule=None):
    soon = HITLOperator(task_id="soon", subject="?", options=["a"], defaults="a", response_timeout=timedelta(seconds=1))
    soon >> HITLOperator(task_id="asks", subject="?", options=["a"])
"#;

#[test]
fn a_test_does_not_wait_for_people_who_can_not_answer() {
    let cli = Cli::new();
    cli.context.write_dag("asking.py", ASKING);
    let file = cli.context.dags().join("asking.py");
    let stuck = cli.run(&["dags", "test", file.to_str().unwrap()]);
    assert!(stuck.code == 1 && stuck.out.contains("soon success"), "{stuck:?}");
    assert!(stuck.err.contains("asks wait for people, and nobody can answer in a test"), "{stuck:?}");
    cli.ok(&["dags", "test", file.to_str().unwrap(), "--mark-success-pattern", "asks"]);
    let alone = cli.run(&["tasks", "test", file.to_str().unwrap(), "asks"]);
    assert!(alone.code == 1 && alone.err.contains("asks waits for people"), "{alone:?}");
}

const CALLING: &str = r#"
from airflow.sdk import DAG, task

def told(context):
    with open("{place}", "a") as file:
        print(context["reason"], file=file)

with DAG("calling", schedule=None, on_success_callback=told):
    @task
    def last():
        pass
    last()
"#;

#[test]
fn callbacks_of_a_dag_are_called_before_its_test_ends() {
    let cli = Cli::new();
    let place = cli.context.home().join("told");
    cli.context.write_dag("calling.py", &CALLING.replace("{place}", place.to_str().unwrap()));
    let file = cli.context.dags().join("calling.py");
    cli.ok(&["dags", "test", file.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "success\n");
    // A task alone is no run that ends.
    cli.ok(&["tasks", "test", file.to_str().unwrap(), "last"]);
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "success\n");
}

#[test]
fn a_failure_is_shown_and_told_by_the_exit_code() {
    let cli = Cli::new();
    cli.context.write_dag("reading.py", READING);
    let file = cli.context.dags().join("reading.py");
    let file = file.to_str().unwrap();
    let failed = cli.run(&["dags", "test", "failing", "-f", file]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.out.contains("before success") && failed.out.contains("fails failed"), "{failed:?}");
    assert!(failed.out.contains("ValueError: on purpose") && failed.out.contains("failing/manual__"), "{failed:?}");
    assert!(!failed.out.contains('\x1b'), "no escape sequences in a pipe: {failed:?}");
    let pretended = cli.run(&["dags", "test", file, "--dag-id", "failing", "--mark-success-pattern", "fail"]);
    assert_eq!(pretended.code, 0, "{pretended:?}");
    let yaml = cli.run(&["dags", "test", "failing", "-o", "yaml"]);
    assert!(
        yaml.code == 1 && yaml.out.starts_with("dag_id: failing\n") && yaml.out.contains("\n  state: failed\n"),
        "{yaml:?}"
    );
}

#[test]
fn a_terminal_gets_a_live_view_that_fits() {
    let cli = Cli::new();
    cli.context.write_dag("reading.py", READING);
    let mut inner = cli.command(&["dags", "test", "failing"]);
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    // `script` runs its command in a terminal of its own.
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &format!("stty cols 40 rows 20; {}", words.join(" ")), "/dev/null"]);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    inner.stdin(Stdio::null());
    let shown = ran(command.stdin(Stdio::null()).output().expect("script, of util-linux"));
    assert_eq!(shown.code, 1, "{shown:?}");
    let view = shown.out.replace('\r', "");
    assert!(view.contains("\x1b[3A\x1b[Jfailing/manual__"), "{view}");
    assert!(view.contains("\x1b[32m+\x1b[0m success") && view.contains("\x1b[31mx\x1b[0m failed"), "{view}");
    let titles: Vec<&str> =
        view.lines().filter(|line| line.contains("failing/manual__") && line.contains("running")).collect();
    assert!(titles.iter().all(|line| line.trim_start_matches("\x1b[3A\x1b[J").chars().count() <= 40), "{titles:?}");
    assert!(view.contains("ValueError: on purpose"), "{view}");
}

#[test]
fn what_can_not_be_tested_is_said() {
    let cli = Cli::new();
    cli.context.write_dag("reading.py", READING);
    cli.context.write_dag("broken.py", "from airflow.sdk import DAG\nimport nope_nope\n");
    let refused = |args: &[&str], code: i32, message: &str| {
        let ran = cli.run(args);
        assert!(ran.code == code && ran.out.is_empty() && ran.err.contains(message), "{args:?}: {message}: {ran:?}");
    };
    let file = cli.context.dags().join("reading.py");
    refused(&["dags", "test", file.to_str().unwrap()], 1, "has several Dags: say which with --dag-id (");
    refused(
        &["dags", "test", "faling"],
        1,
        "; did you mean failing?\n1 file(s) can't be imported; the first is broken.py: ModuleNotFoundError",
    );
    let broken = cli.context.dags().join("broken.py");
    refused(&["dags", "test", broken.to_str().unwrap()], 1, "broken.py can't be imported:\nTraceback");
    refused(&["dags", "test", "no/such.py"], 1, "there is no file no/such.py");
    refused(&["dags", "test", "failing", "-c", "x"], 1, "--conf is no JSON: x");
    refused(&["dags", "test", "failing", "--mark-success-pattern", "("], 2, "is no regular expression");
    refused(&["tasks", "test", "failing", "fials"], 1, "has no task \"fials\"; did you mean fails?");
    refused(&["tasks", "test", "failing", "fails", "--map-index", "0"], 1, "is not mapped");
    refused(&["tasks", "test", "failing", "fails", "--task-params", "[]"], 2, "--task-params must be a JSON object");
}

#[test]
fn a_task_runs_alone_and_leaves_nothing() {
    let cli = Cli::unpaused();
    cli.context.write_dag("reading.py", READING);
    cli.context.write_dag("plain.py", PLAIN);
    cli.ok(&["variables", "set", "name", "bob"]);
    let said = cli.run(&["tasks", "test", "reading", "say", "2024-05-06"]);
    assert!(said.code == 0 && said.out.contains("variable bob day 2024-05-06 conf {}"), "{said:?}");
    assert!(said.err.contains("/say is success"), "{said:?}");
    let failed = cli.run(&["tasks", "test", "failing", "fails", "--env-vars", "{\"AIRFLOW_VAR_NAME\": \"env\"}"]);
    assert!(failed.code == 1 && failed.out.contains("ValueError: on purpose"), "{failed:?}");
    let env =
        cli.run(&["tasks", "test", "reading", "say", "2024-05-06", "--env-vars", "{\"AIRFLOW_VAR_NAME\": \"env\"}"]);
    assert!(env.code == 0 && env.out.contains("variable env day"), "{env:?}");
    // The second task waits for the first one in a run, not here; its pool need not be there.
    let second = cli.run(&["tasks", "test", "plain", "second", "-t", "{\"n\": 3}"]);
    assert!(second.code == 0 && second.out.contains("second"), "{second:?}");
    assert!(!cli.context.home().join("logs/dag_id=reading").exists());
    // An earlier run's XComs are there to be read.
    let server = Server::start_with(&cli.context, &cli.env());
    server.wait_for_dag("failing");
    let (run_id, state) = server.run_dag("failing", &json!({}));
    assert_eq!(state, "failed");
    let with_run = cli.run(&["tasks", "test", "failing", "fails", &run_id]);
    assert!(with_run.code == 1 && with_run.out.contains("about to fail with 1"), "{with_run:?}");
    assert_eq!(cli.json(&["dags", "list-runs", "failing"]).len(), 1);
}

#[test]
fn a_dag_is_tested_while_a_server_runs_on_the_home() {
    let cli = Cli::unpaused();
    cli.context.write_dag("plain.py", PLAIN);
    let server = Server::start_with(&cli.context, &cli.env());
    server.wait_for_dag("plain");
    let tested = cli.run(&["dags", "test", "plain"]);
    assert!(tested.code == 0 && tested.out.contains("second success"), "{tested:?}");
    assert_eq!(cli.json(&["dags", "list-runs", "plain"]), Vec::<Value>::new());
    let (_, state) = server.run_dag("plain", &json!({}));
    assert_eq!(state, "success");
}

#[test]
fn an_interrupt_leaves_no_process_behind() {
    let cli = Cli::new().with("UPDRAFT_TEST_MARKER", "an-interrupt-leaves-no-process-behind");
    cli.context.write_dag("sleeping.py", SLEEPING);
    let mut command = cli.command(&["dags", "test", "sleeping"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = |task: &str| {
        let logs = cli.context.home().join("logs/dag_id=sleeping");
        let run = std::fs::read_dir(logs).ok()?.flatten().next()?;
        std::fs::read_to_string(run.path().join(format!("task_id={task}/attempt=1.log"))).ok()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(log("bash").is_some_and(|log| log.contains("started")) && log("python").is_some()) {
        assert!(Instant::now() < deadline, "the tasks do not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ran = ran(child.wait_with_output().unwrap());
    assert!(ran.code == 1 && ran.err.contains("error: stopped by SIGINT"), "{ran:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !below("UPDRAFT_TEST_MARKER=an-interrupt-leaves-no-process-behind").is_empty() {
        assert!(Instant::now() < deadline, "processes are left behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}
