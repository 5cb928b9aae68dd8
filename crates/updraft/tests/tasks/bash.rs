//! `BashOperator` in the engine and by the official task runner: the same outcome, XCom, rendered fields and log.

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{Line, context, dag_file, log_of, trigger_at};

const ENV: [(&str, &str); 5] = [
    // Bash whose standard input is a socket, as the runner's is, reads the user's start-up file unless it is deeper than this.
    ("SHLVL", "2"),
    ("FROM_THE_CALLER", "seen"),
    ("AIRFLOW_VAR_FROM_ENVIRONMENT", "env wins"),
    ("AIRFLOW_VAR_API_TOKEN", "top-secret-token"),
    ("AIRFLOW_CONN_FROM_ENVIRONMENT", "postgres://me:pass-word-4@db.example:5433/x"),
];
/// Lines that only one of the two has: how the task came to be run, which files the runner read, and what the
/// start-up file of the machine's own bash says, which bash reads where its standard input is a socket.
const APART: [&str; 7] = [
    "DAG bundles loaded",
    "Filling up the DagBag",
    "Worker startup parse complete",
    "Failed to resolve template",
    "Running this ",
    ".bashrc: ",
    "UPDRAFT_ATTEMPT=",
];
/// Tasks that the engine leaves to the runner, and a part of the reason that it gives.
const LEFT_TO_PYTHON: [(&str, &str); 8] = [
    ("latin", "its output_encoding is latin-1"),
    ("undefined", "bash_command: "),
    ("template_syntax", "bash_command: "),
    ("cwd_rendered", "cwd: the attribute `folder`"),
    ("script_by_name", "bash_command: the attribute `folder`"),
    ("connection", "the connection in $AIRFLOW_CONN_FROM_ENVIRONMENT"),
    ("script_missing", "a template in a file"),
    ("named_like_a_script", "a template in a file"),
];

/// The end of a name that is new each time.
fn without_random_names(text: &str) -> String {
    let mut out = text.to_owned();
    for (before, after) in [("airflowtmp", ""), ("'tmp", ".sh"), ("\"tmp", ".sh"), (" tmp", ".sh"), ("PID: ", "")] {
        while let Some(start) = out.find(before) {
            let rest = &out[start + before.len()..];
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            if !rest[length..].starts_with(after) {
                break;
            }
            out.replace_range(start..start + before.len() + length, "<random>");
        }
    }
    out
}

struct Pair {
    native: String,
    by_runner: String,
    native_run: String,
    runner_run: String,
}

impl Pair {
    fn run(server: &Server, name: &str) -> Self {
        let (native, by_runner) = (format!("{name}_native"), format!("{name}_by_runner"));
        let run = |dag_id: &str| {
            server.wait_for_dag(dag_id);
            server.unpause(dag_id);
            let run_id = trigger_at(server, dag_id, "2026-01-05T06:07:08Z", &json!({}));
            server.wait_for_run(dag_id, &run_id);
            run_id
        };
        let (native_run, runner_run) = (run(&native), run(&by_runner));
        Self { native, by_runner, native_run, runner_run }
    }

    /// What is to be the same of a task, as text.
    fn outcome(&self, context: &Context, server: &Server, native: bool, task: &str, ti: &Value) -> String {
        let (dag_id, run_id) =
            if native { (&self.native, &self.native_run) } else { (&self.by_runner, &self.runner_run) };
        let try_number = ti["try_number"].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap();
        let same = |text: &str| {
            without_random_names(&text.replace(dag_id.as_str(), "<dag>").replace(run_id.as_str(), "<run>"))
        };
        let line = |line: &Line| {
            let exceptions: Vec<String> =
                line.exceptions.iter().map(|(kind, value)| format!(" ! {kind}: {value}")).collect();
            let reason = line.fields["reason"].as_str().unwrap_or_default();
            same(&format!("{} {} {} {reason}{}", line.level, line.logger, line.event, exceptions.concat()))
        };
        let mut out = format!("{} after {try_number} tries\n", ti["state"].as_str().unwrap_or("none"));
        out += &same(&format!("XCom {}\n", server.xcom(dag_id, run_id, task)));
        out += &same(&format!("fields {}\n", ti["rendered_fields"]));
        for number in 1..=try_number {
            let lines = log_of(context, dag_id, run_id, task, number);
            let kept = lines.iter().filter(|line| !APART.iter().any(|text| line.event.contains(text)));
            kept.for_each(|found| out += &format!("{}\n", line(found)));
        }
        out
    }

    fn compare(&self, context: &Context, server: &Server) -> usize {
        let natives = server.task_instances(&self.native, &self.native_run);
        let others = server.task_instances(&self.by_runner, &self.runner_run);
        assert_eq!(natives.keys().collect::<Vec<_>>(), others.keys().collect::<Vec<_>>());
        let mut differences = String::new();
        for (task, ti) in &natives {
            let native = self.outcome(context, server, true, task, ti);
            let by_runner = self.outcome(context, server, false, task, &others[task]);
            if native != by_runner {
                differences +=
                    &format!("\n## {task} in the engine:\n{native}\n## {task} by the runner:\n{by_runner}\n");
            }
            let log = log_of(context, &self.native, &self.native_run, task, 1);
            let said: Vec<&str> =
                log.iter().map(|line| line.event.as_str()).filter(|text| text.starts_with("Running this ")).collect();
            let left = LEFT_TO_PYTHON.iter().find(|(name, _)| name == task);
            let choice = match left {
                Some((_, reason)) => said.iter().any(|said| said.contains("task runner") && said.contains(reason)),
                None => said == ["Running this BashOperator in the engine, without Python"],
            };
            assert!(choice, "{task}: {said:?}");
        }
        assert!(differences.is_empty(), "{differences}");
        natives.len()
    }
}

#[test]
fn the_engine_and_the_official_runner_do_the_same() {
    let context = context();
    context.write_dag("bash_pairs.py", &dag_file("bash_pairs.py"));
    context.write_dag("script.sh", "echo from a script {{ ds_nodash | default('-') }}\necho {{ params.word }}");
    context.write_dag("plain.sh", "echo plain {{ no template }}\n");
    context.write_dag("folder/inside", "");
    let server = Server::start_with(&context, &ENV);
    let pair = Pair::run(&server, "bash");
    assert!(pair.compare(&context, &server) > 45);
    let fields = server.task_instances(&pair.native, &pair.native_run)["env"]["rendered_fields"].clone();
    assert_eq!((&fields["bash_command"], &fields["env"]["DAY"]), (&json!("env | sort"), &json!("2026-01-05")));
    let secret = server.log_lines(&pair.native, &pair.native_run, "secret", 1).join("\n");
    assert!(secret.contains("from env ***") && !secret.contains("top-secret-token"), "{secret}");
    assert_eq!(Pair::run(&server, "bash_missing").compare(&context, &server), 2);
}
