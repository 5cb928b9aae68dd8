//! Listeners of plugins, and callbacks of tasks, are called where the official task runner calls them.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{TestRun, context, dag_file, shown};

fn add_plugin(context: &Context, name: &str) {
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins").join(name);
    std::fs::copy(plugin, plugins.join(name)).unwrap();
}

fn heard(context: &Context) -> Vec<Value> {
    let text = std::fs::read_to_string(context.home().join("heard")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn listeners_and_callbacks_of_tasks_are_called_by_the_task_runner() {
    let context = context();
    context.write_dag("listened.py", &dag_file("listened.py"));
    add_plugin(&context, "own_listener.py");
    let run = TestRun::new(&context, "listened.py", &[], &[]);
    let state = |task: &str| (run.tasks[task].0.clone(), run.tasks[task].1);
    assert_eq!(state("bash"), ("success".into(), 1), "{}", shown(&run.log("bash", 1)));
    assert_eq!((state("fails"), state("skips")), (("failed".into(), 2), ("skipped".into(), 1)));
    assert_eq!(state("despite_listener"), ("success".into(), 1), "{}", shown(&run.log("despite_listener", 1)));
    let text = std::fs::read_to_string(context.home().join("heard")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let heard = |task: &str, number: u64| -> Vec<&str> {
        let of_try = lines.iter().filter(|line| line["task"] == task && line["try"] == number);
        of_try.map(|line| line["name"].as_str().unwrap()).collect()
    };
    // The order is the task runner's.
    for (task, number, wanted) in [
        ("bash", 1, vec!["running", "own execute", "own success", "success"]),
        ("fails", 1, vec!["running", "own execute", "own retry", "failed"]),
        ("fails", 2, vec!["running", "own execute", "own failure", "failed"]),
        ("skips", 1, vec!["running", "own execute", "own skipped", "skipped"]),
        ("despite_listener", 1, vec!["running", "success"]),
    ] {
        assert_eq!(heard(task, number), wanted, "{task} {number}:\n{text}");
    }
    let failed = lines.iter().find(|line| line["name"] == "failed").unwrap();
    assert_eq!(failed["error"], "on purpose");
    let of_runner = |name: &str| {
        lines.iter().filter(|line| line["name"] == name && line["component"] == "TaskRunnerMarker").count()
    };
    assert_eq!((of_runner("starting"), of_runner("stopping")), (5, 5), "{text}");
    let log = shown(&run.log("bash", 1));
    assert!(log.contains("SAID") && log.contains("listeners from plugins are called by the task runner"), "{log}");
    assert!(shown(&run.log("despite_listener", 1)).contains("no luck in the listener"));
}

const HEARD_DAG: &str = r#"
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetAlias, task

MADE = Asset("made", uri="s3://made", extra={"x": 1})

with DAG("heard", schedule=None):
    BashOperator(task_id="one", bash_command="exit {{ dag_run.conf.get('code', 0) }}")

with DAG("makes", schedule=None):

    @task(outlets=[MADE, AssetAlias("by another name")])
    def make(outlet_events=None):
        outlet_events[MADE].extra = {"rows": 3}
        outlet_events[AssetAlias("by another name")].add(MADE)

    make()
"#;

/// The lines about a run, each as its name and what was said.
fn about(heard: &[Value], run: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = heard.iter().filter(|line| line["run"] == run);
    lines.map(|line| (text(&line["name"]), text(&line["msg"]))).collect()
}

#[test]
fn listeners_are_told_of_runs_and_assets_and_hold_up_nothing() {
    let context = context();
    context.write_dag("heard.py", HEARD_DAG);
    add_plugin(&context, "run_listener.py");
    let env = [("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", "3")];
    let server = Server::start_with(&context, &env);
    // The first listener hangs, and those of later runs wait for it; runs do not.
    let mut runs = Vec::new();
    for conf in [json!({"hangs": true}), json!({"code": 1, "raises": true}), json!({})] {
        let (run_id, state) = server.run_dag("heard", &conf);
        assert_eq!(state, if conf.get("code").is_some() { "failed" } else { "success" });
        runs.push(format!("heard/{run_id}"));
    }
    let (made, state) = server.run_dag("makes", &json!({}));
    assert_eq!(state, "success");
    let last = format!("makes/{made}");
    server.wait_for("the last run is told of", |_| {
        about(&heard(&context), &last).iter().any(|(name, _)| name == "success").then_some(())
    });
    let lines = heard(&context);
    let said = |name: &str, msg: &str| (name.to_owned(), msg.to_owned());
    let ends = [said("success", "success"), said("failed", "task_failure"), said("success", "success")];
    for (run, end) in runs.iter().zip(ends) {
        assert_eq!(about(&lines, run), [said("running", "started"), end], "{lines:?}");
    }
    let of_failed = lines.iter().find(|line| line["name"] == "failed").unwrap();
    let wanted = json!({
        "name": "failed", "run": runs[1], "msg": "task_failure", "state": "failed", "began": true, "ended": true,
        "conf": {"code": 1, "raises": true}, "kind": "DagRun", "tasks": ["one"],
    });
    assert_eq!(*of_failed, wanted);
    let of_assets: Vec<&Value> = lines.iter().filter(|line| !line["asset"].is_null()).collect();
    let changed = json!({"name": "changed", "asset": ["made", "s3://made/", "asset", {"x": 1}]});
    let emitted = |extra: Value, aliases: Value| json!({"name": "emitted", "asset": "made", "extra": extra, "source": ["makes", "make", -1], "aliases": aliases});
    let (own, aliased) = (emitted(json!({"rows": 3}), json!([])), emitted(json!({}), json!(["by another name"])));
    assert_eq!(of_assets, [&changed, &own, &changed, &aliased], "{lines:?}");
    // Ended by hand, while it runs not at all and once more when it has ended.
    let path = format!("/api/v2/dags/heard/dagRuns/{}", runs[2].trim_start_matches("heard/"));
    assert_eq!(server.client.patch(&path, &json!({"state": "failed"})).status, 200);
    let by_hand = said("failed", "Dag Run's state was manually set to `failed`.");
    server
        .wait_for("an end by hand is told of", |_| about(&heard(&context), &runs[2]).contains(&by_hand).then_some(()));
    let folder = context.home().join("logs/listeners");
    let log: String =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(log.contains("no luck in the listener") && log.contains("took longer than 3 seconds"), "{log}");
}
