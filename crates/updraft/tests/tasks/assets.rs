//! Assets: events of all kinds of tasks, the runs that are made of them, and what their tasks are told.

use serde_json::{Value, json};
use testkit::Server;

use crate::support::{context, dag_file};

/// The runs of a Dag that its assets have made, the oldest first.
fn runs(server: &Server, dag_id: &str) -> Vec<String> {
    let reply = server.client.get(&format!("/api/v2/dags/{dag_id}/dagRuns?order_by=run_after"));
    let runs = reply.body["dag_runs"].as_array().unwrap_or_else(|| panic!("no runs: {reply:?}"));
    runs.iter().map(|run| run["dag_run_id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn wait_for_runs(server: &Server, dag_id: &str, count: usize) -> Vec<String> {
    let runs = server.wait_for(&format!("run {count} of {dag_id}"), |_| {
        Some(runs(server, dag_id)).filter(|runs| runs.len() >= count)
    });
    assert_eq!(runs.len(), count, "{runs:?}");
    runs
}

fn log_of(server: &Server, dag_id: &str, run_id: &str, task: &str) -> String {
    server.log_lines(dag_id, run_id, task, 1).join("\n")
}

#[test]
fn updates_of_assets_make_runs_whose_tasks_are_told_of_them() {
    let context = context();
    context.write_dag("assets.py", &dag_file("assets.py"));
    let server = Server::start(&context);
    server.wait_for_dag("consumer");
    server.unpause("consumer");
    let (produced, _) = server.run_dag("a_producer", &json!({}));
    let states = "bash=success by_alias=success empty=success failing=failed py=success";
    assert_eq!(server.states("a_producer", &produced), states);
    for native in ["bash", "empty"] {
        let log = log_of(&server, "a_producer", &produced, native);
        assert!(log.contains("in the engine, without Python"), "{log}");
    }

    let made = wait_for_runs(&server, "consumer", 1).remove(0);
    assert!(made.starts_with("asset_triggered__20"), "{made}");
    assert_eq!(server.wait_for_run("consumer", &made), "success", "{}", log_of(&server, "consumer", &made, "told"));
    let told = server.xcom("consumer", &made, "told");
    let event = |name: &str, extra: Value, task: &str| json!([name, extra, "a_producer", task, -1]);
    let events = json!([
        event("a", json!({"rows": 3}), "py"),
        event("a", json!({}), "bash"),
        event("b", json!({}), "bash"),
        event("c", json!({}), "empty"),
        // Once under its asset and once under its alias.
        event("made", json!({"k": [1, "x"]}), "by_alias"),
        event("made", json!({"k": [1, "x"]}), "by_alias"),
    ]);
    assert_eq!(told["events"], events);
    assert_eq!(told["order"].as_array().map(Vec::len), Some(5), "{told}");
    assert_eq!(told["order"][4], "c", "{told}");
    assert_eq!(told["inlet"], json!([{"rows": 3}, {}]));
    assert_eq!(told["alias"], json!([{"k": [1, "x"]}]));
    assert_eq!(told["run"], json!(["asset_triggered", "None"]));
    assert_eq!(server.xcom("consumer", &made, "template"), json!("6"));

    context.write_dag("clash.py", &dag_file("assets_that_clash.py"));
    let (inactive, state) = server.run_dag("clashing", &json!({}));
    assert_eq!(state, "failed");
    for task in ["bash", "empty", "py"] {
        assert_eq!(server.task_instances("clashing", &inactive)[task]["state"], "failed");
        let path = format!("/api/v2/dags/clashing/dagRuns/{inactive}/taskInstances/{task}/logs/1");
        let log = server.client.get(&path.replace('+', "%2B")).body.to_string();
        assert!(log.contains("AirflowInactiveAssetInInletOrOutletException"), "{log}");
        assert!(log.contains("Asset(name='a', uri='s3://bucket/other')"), "{log}");
    }
    assert_eq!(runs(&server, "consumer").len(), 1);
}

#[test]
fn events_that_wait_outlive_the_process() {
    let context = context();
    context.write_dag("halves.py", &dag_file("assets_in_halves.py"));
    let server = Server::start(&context);
    server.wait_for_dag("both");
    server.unpause("both");
    assert_eq!(server.run_dag("first", &json!({})).1, "success");
    server.kill();
    let server = Server::start(&context);
    assert_eq!(runs(&server, "both"), Vec::<String>::new());
    assert_eq!(server.run_dag("first", &json!({})).1, "success");
    assert_eq!(server.run_dag("second", &json!({})).1, "success");
    let made = wait_for_runs(&server, "both", 1).remove(0);
    assert_eq!(server.wait_for_run("both", &made), "success", "{}", log_of(&server, "both", &made, "told"));
    assert_eq!(server.xcom("both", &made, "told"), json!(["x", "x", "y"]));
    assert_eq!(server.run_dag("second", &json!({})).1, "success");
    assert_eq!(server.run_dag("first", &json!({})).1, "success");
    let later = wait_for_runs(&server, "both", 2).remove(1);
    assert_eq!(server.wait_for_run("both", &later), "success");
    assert_eq!(server.xcom("both", &later, "told"), json!(["y", "x"]));
}

#[test]
fn a_dag_whose_file_is_moved_misses_nothing() {
    let context = context();
    context.write_dag("producer.py", &dag_file("assets_in_halves.py"));
    let consumer = "from airflow.providers.standard.operators.empty import EmptyOperator\n\
         from airflow.sdk import DAG, Asset\n\n\
         with DAG(\"mover\", schedule=[Asset(\"x\")]):\n    EmptyOperator(task_id=\"only\")\n";
    context.write_dag("here.py", consumer);
    let server = Server::start(&context);
    server.wait_for_dag("first");
    server.wait_for_dag("mover");
    server.unpause("mover");
    // The import of the new file takes long enough for an event to come.
    let folder = context.dags();
    std::fs::write(folder.join("prepared"), format!("import time\ntime.sleep(8)\n{consumer}")).unwrap();
    std::fs::rename(folder.join("prepared"), folder.join("there.py")).unwrap();
    std::fs::remove_file(folder.join("here.py")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(server.run_dag("first", &json!({})).1, "success");
    let file = |server: &Server| server.client.get("/api/v2/dags/mover").body["relative_fileloc"].clone();
    assert_eq!(file(&server), "here.py", "the import of the new file was too quick for this test");
    wait_for_runs(&server, "mover", 1);
    server.wait_for("the new file", |_| (file(&server) == "there.py").then_some(()));
    assert_eq!(server.run_dag("first", &json!({})).1, "success");
    wait_for_runs(&server, "mover", 2);
}

#[test]
fn assets_are_seen_updated_and_made_by_hand() {
    let context = context();
    context.write_dag("halves.py", &dag_file("assets_in_halves.py"));
    let server = Server::start(&context);
    server.wait_for_dag("both");
    server.unpause("both");
    server.unpause("first");
    let assets = server.client.get("/api/v2/assets?order_by=name").body["assets"].clone();
    let number = |at: usize| assets[at]["id"].as_i64().unwrap();
    assert_eq!((&assets[0]["name"], &assets[0]["producing_tasks"][0]["dag_id"]), (&json!("x"), &json!("first")));
    let made = server.client.post("/api/v2/assets/events", &json!({"asset_id": number(1), "extra": {"k": 1}}));
    assert_eq!(made.status, 200, "{made:?}");
    let queued = server.client.get("/api/v2/dags/both/assets/queuedEvents");
    assert_eq!(queued.body["queued_events"][0]["asset_id"], number(1), "{queued:?}");

    let asset = |name: &str, id: i64| json!({"asset": {"uri": name, "name": name, "group": "asset", "id": id}});
    let details = server.client.get("/api/v2/dags/both/details").body;
    assert_eq!(details["asset_expression"], json!({"all": [asset("x", number(0)), asset("y", number(1))]}));

    let listed = context.run(&["assets", "list", "--output", "json", "--columns", "name,uri"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed, json!([{"name": "x", "uri": "x"}, {"name": "y", "uri": "y"}]));
    let details = context.run(&["assets", "details", "--name", "x"]);
    assert!(String::from_utf8_lossy(&details.stdout).contains("producing_tasks"), "{details:?}");
    let unknown = context.run(&["assets", "details", "--uri", "nowhere"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("Asset with URI nowhere does not exist."), "{unknown:?}");
    let made = context.run(&["assets", "materialize", "--name", "x", "--output", "json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|error| panic!("{error}: {made:?}"));
    assert_eq!((&made[0]["dag_id"], &made[0]["run_type"]), (&json!("first"), &json!("asset_materialization")));
    let run_id = made[0]["dag_run_id"].as_str().unwrap();
    assert_eq!(server.wait_for_run("first", run_id), "success");
    let both = wait_for_runs(&server, "both", 1).remove(0);
    assert_eq!(server.wait_for_run("both", &both), "success");
    assert_eq!(server.xcom("both", &both, "told"), json!(["y", "x"]));
}
