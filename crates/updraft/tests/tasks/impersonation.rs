//! Tasks that run as another user: by `sudo`, as the official task runner asks it.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use testkit::{Context, Server};

use crate::support::{context, log_of, shown};

const DAG: &str = r#"
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Variable, task

with DAG("impersonated"):

    @task(run_as_user="somebody")
    def python():
        print("said as another")
        return Variable.get("greeting")

    BashOperator(task_id="bash", bash_command="echo done by bash", run_as_user="somebody")
    BashOperator(task_id="plain", bash_command="echo {{ ti.task_id }}")
    python()
"#;

/// Takes sudo's place: notes who is to run what, and runs it.
const SUDO: &str = "#!/bin/sh\necho \"$4\" >> \"$SUDO_NOTES\"\nshift 4\nexec \"$@\"\n";

fn start(context: &Context, more: &[(&str, &str)]) -> Server {
    context.write_dag("impersonated.py", DAG);
    let bin = context.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let sudo = bin.join("sudo");
    std::fs::write(&sudo, SUDO).unwrap();
    std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let notes = context.path("notes").display().to_string();
    let env = [&[("PATH", path.as_str()), ("SUDO_NOTES", notes.as_str())], more].concat();
    let server = Server::start_with(context, &env);
    let made = server.client.post("/api/v2/variables", &json!({"key": "greeting", "value": "hello"}));
    assert_eq!(made.status, 201, "{made:?}");
    server
}

#[test]
fn a_task_runs_as_the_user_that_it_names() {
    let context = context();
    let server = start(&context, &[]);
    let (run_id, state) = server.run_dag("impersonated", &json!({}));
    let log = |task: &str| shown(&log_of(&context, "impersonated", &run_id, task, 1));
    assert_eq!(state, "success", "{}\n{}", log("python"), log("bash"));
    // The process that took over still asks, answers and speaks.
    assert_eq!(server.xcom("impersonated", &run_id, "python"), json!("hello"));
    assert_eq!(server.xcom("impersonated", &run_id, "bash"), json!("done by bash"));
    assert!(log("python").contains("said as another"), "{}", log("python"));
    assert_eq!(std::fs::read_to_string(context.path("notes")).unwrap(), "somebody\nsomebody\n");
}

#[test]
fn a_deployment_may_say_who_runs_all_tasks() {
    let context = context();
    let server = start(&context, &[("AIRFLOW__CORE__DEFAULT_IMPERSONATION", "everybody")]);
    let (run_id, state) = server.run_dag("impersonated", &json!({}));
    let log = shown(&log_of(&context, "impersonated", &run_id, "plain", 1));
    assert_eq!(state, "success", "{log}");
    assert_eq!(server.xcom("impersonated", &run_id, "plain"), json!("plain"));
    let notes = std::fs::read_to_string(context.path("notes")).unwrap();
    let mut users: Vec<&str> = notes.lines().collect();
    users.sort_unstable();
    assert_eq!(users, ["everybody", "somebody", "somebody"], "{log}");
}
