//! Listeners of plugins, and callbacks of tasks, are called where the official task runner calls them.

use std::path::Path;

use serde_json::Value;

use crate::support::{TestRun, context, dag_file, shown};

#[test]
fn listeners_and_callbacks_of_tasks_are_called_by_the_task_runner() {
    let context = context();
    context.write_dag("listened.py", &dag_file("listened.py"));
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins/own_listener.py");
    std::fs::copy(plugin, plugins.join("own_listener.py")).unwrap();
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
