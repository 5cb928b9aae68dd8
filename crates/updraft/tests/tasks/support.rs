//! What these tests share.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Context, Server, python};

/// What a machine under load may take for what is done in a moment.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn context() -> Context {
    Context::new(env!("CARGO_BIN_EXE_updraft"))
}

/// A Dag file of these tests.
pub fn dag_file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/dags").join(name)).unwrap()
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not happen: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A line of a task's log.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub level: String,
    pub logger: String,
    pub event: String,
    /// Class and message of the exceptions that it tells of.
    pub exceptions: Vec<(String, String)>,
    pub fields: Value,
}

pub fn read_log(text: &str) -> Vec<Line> {
    let text_of = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let read = |line: &str| {
        let fields: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line}"));
        let exceptions = fields["error_detail"].as_array().into_iter().flatten();
        Line {
            level: text_of(&fields, "level"),
            logger: text_of(&fields, "logger"),
            event: text_of(&fields, "event"),
            exceptions: exceptions.map(|found| (text_of(found, "exc_type"), text_of(found, "exc_value"))).collect(),
            fields,
        }
    };
    text.lines().map(read).collect()
}

/// One run in the foreground, by `updraft dags test`.
pub struct TestRun {
    pub state: String,
    /// State and number of tries, by task.
    pub tasks: BTreeMap<String, (String, u64)>,
    folder: std::path::PathBuf,
    pub stderr: String,
}

impl TestRun {
    pub fn new(context: &Context, file: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = context.command(&["dags", "test"]);
        command.arg(context.dags().join(file)).args(args).args(["--output", "json", "--python"]).arg(python());
        command.arg("--home").arg(context.home()).envs(env.iter().copied());
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let run: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let tasks = run["tasks"].as_array().unwrap().iter();
        let folder = format!("logs/dag_id={}/run_id={}", text(&run["dag_id"]), text(&run["run_id"]));
        Self {
            state: text(&run["state"]),
            tasks: tasks
                .map(|ti| (text(&ti["task_id"]), (text(&ti["state"]), ti["try_number"].as_u64().unwrap())))
                .collect(),
            folder: context.home().join(folder),
            stderr,
        }
    }

    pub fn log_path(&self, task_id: &str, try_number: u64) -> std::path::PathBuf {
        self.folder.join(format!("task_id={task_id}/attempt={try_number}.log"))
    }

    pub fn log(&self, task_id: &str, try_number: u64) -> Vec<Line> {
        read_log(&std::fs::read_to_string(self.log_path(task_id, try_number)).unwrap_or_default())
    }
}

/// A whole log as text, for messages.
pub fn shown(lines: &[Line]) -> String {
    let shown = lines.iter().map(|line| {
        let exceptions: Vec<String> = line.exceptions.iter().map(|(kind, value)| format!("{kind}: {value}")).collect();
        format!("[{}] {}: {} {}", line.level, line.logger, line.event, exceptions.join("; "))
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// The log of a try of a task on a server.
pub fn log_of(context: &Context, dag_id: &str, run_id: &str, task_id: &str, try_number: u32) -> Vec<Line> {
    let path = format!("logs/dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt={try_number}.log");
    read_log(&std::fs::read_to_string(context.home().join(path)).unwrap_or_default())
}

/// Says of every task that did not end as it should what its log says.
pub fn assert_states(
    context: &Context,
    server: &Server,
    dag_id: &str,
    run_id: &str,
    wanted: impl Fn(&str) -> &'static str,
) {
    let mut complaints = String::new();
    for (name, ti) in server.task_instances(dag_id, run_id) {
        let state = ti["state"].as_str().unwrap_or("none");
        if state != wanted(&name) {
            let try_number = ti["try_number"].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(1);
            let log = log_of(context, dag_id, run_id, &name, try_number);
            complaints += &format!("{name} is {state} and not {}:\n{}\n", wanted(&name), shown(&log));
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// Makes a run with a logical date and gives its id.
pub fn trigger_at(server: &Server, dag_id: &str, date: &str, conf: &Value) -> String {
    let body = json!({"logical_date": date, "conf": conf});
    let reply = server.client.post(&format!("/api/v2/dags/{dag_id}/dagRuns"), &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body["dag_run_id"].as_str().unwrap().to_owned()
}
