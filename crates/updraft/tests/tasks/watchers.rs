//! Watchers: triggers outside of all tasks whose events are updates of assets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, dag_file, wait_until};

/// A home with the Dags of these tests, and the folder that they watch.
fn watching() -> (Context, PathBuf) {
    let context = context();
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins/queue_trigger.py");
    std::fs::copy(plugin, plugins.join("queue_trigger.py")).unwrap();
    let folder = context.path("watched");
    std::fs::create_dir_all(folder.join("queue")).unwrap();
    context.write_dag("watchers.py", &dag_file("watchers.py").replace("FOLDER", folder.to_str().unwrap()));
    (context, folder)
}

/// What the runs of a Dag were told of, the oldest first.
fn told(server: &Server, dag_id: &str) -> Vec<Value> {
    let reply = server.client.get(&format!("/api/v2/dags/{dag_id}/dagRuns?order_by=id&state=success&limit=100"));
    let runs = reply.body["dag_runs"].as_array().unwrap().clone();
    let ids = runs.iter().map(|run| run["dag_run_id"].as_str().unwrap().to_owned());
    ids.flat_map(|run_id| server.xcom(dag_id, &run_id, "told").as_array().unwrap().clone()).collect()
}

#[test]
fn files_make_runs_and_a_class_that_is_not_there_is_told() {
    let (context, folder) = watching();
    let server = Server::start(&context);
    for dag_id in ["on_file", "on_nothing"] {
        server.wait_for_dag(dag_id);
        server.unpause(dag_id);
    }
    let event = json!(["a_file", {"from_trigger": true, "payload": true}]);
    // The trigger ends when it has fired, and is started again.
    for count in 1..=2 {
        std::fs::write(folder.join("flag"), "").unwrap();
        wait_until("the file makes a run", || told(&server, "on_file").len() == count);
        assert!(!folder.join("flag").exists());
    }
    assert_eq!(told(&server, "on_file"), [event.clone(), event]);
    let warning = server.wait_for("a warning", |client| {
        let warnings = client.get("/api/v2/dagWarnings").body["dag_warnings"].as_array().unwrap().clone();
        warnings.into_iter().find(|warning| warning["dag_id"] == "on_nothing")
    });
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains("no_such_module.Lost") && message.contains("ModuleNotFoundError"), "{message}");
    assert!(server.said().contains("No module named 'no_such_module'"));
    // Nobody watches for a Dag that is paused.
    server.client.patch("/api/v2/dags/on_file", &json!({"is_paused": true}));
    std::thread::sleep(std::time::Duration::from_secs(3));
    std::fs::write(folder.join("flag"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(folder.join("flag").exists(), "the trigger still runs");
}

#[test]
fn no_message_is_lost_when_the_runner_or_the_server_is_killed() {
    let (context, folder) = watching();
    let queue = folder.join("queue");
    let send = |name: &str| std::fs::write(queue.join(format!("{name}.message")), "").unwrap();
    let is_empty = || !std::fs::read_dir(&queue).unwrap().flatten().any(|entry| entry.path().extension().is_some());
    let server = Server::start(&context);
    server.wait_for_dag("on_queue");
    server.unpause("on_queue");
    send("a");
    wait_until("the first message is acknowledged", is_empty);
    let pid = std::fs::read_to_string(queue.join("pid")).unwrap();
    for name in ["b", "c", "d"] {
        send(name);
    }
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    send("e");
    wait_until("a new runner takes what is left", is_empty);
    for name in ["f", "g", "h"] {
        send(name);
    }
    server.kill();
    send("i");
    let server = Server::start(&context);
    wait_until("the next server takes what is left", is_empty);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    wait_until("all messages are in runs", || {
        counts.clear();
        for event in told(&server, "on_queue") {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            *counts.entry((text(&event[0]), text(&event[1]["payload"]["message"]))).or_default() += 1;
        }
        ["one", "two"]
            .iter()
            .all(|asset| names.iter().all(|name| counts.contains_key(&((*asset).to_owned(), (*name).to_owned()))))
    });
    // What was not acknowledged may come twice, what was may not.
    assert_eq!(counts[&("one".to_owned(), "a".to_owned())], 1, "{counts:?}");
    assert_eq!(counts[&("two".to_owned(), "a".to_owned())], 1, "{counts:?}");
}
