//! Weights that classes of plugins give.

use std::path::Path;

use serde_json::{Value, json};
use testkit::Server;

use crate::support::{context, dag_file, wait_until};

#[test]
fn plugins_give_weights_and_one_that_fails_stops_nobody() {
    let context = context();
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins/own_weights.py");
    std::fs::copy(plugin, plugins.join("own_weights.py")).unwrap();
    context.write_dag("weights.py", &dag_file("weights.py"));
    let server = Server::start_with(&context, &[("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "8")]);
    for dag_id in ["weighed", "not_weighed", "hardly_weighed"] {
        server.wait_for_dag(dag_id);
        server.unpause(dag_id);
    }
    let hanging = server.trigger("hardly_weighed", &json!({}));
    let (run_id, state) = server.run_dag("weighed", &json!({}));
    assert_eq!(state, "success", "{}", server.said());
    let weights = |dag_id: &str, run_id: &str| -> Vec<(String, Value)> {
        let all = server.task_instances(dag_id, run_id).into_iter();
        all.map(|(name, ti)| (name, ti["priority_weight"].clone())).collect()
    };
    let expected = [("again", 98), ("each[0]", 100), ("each[1]", 101), ("first", 220)];
    assert_eq!(weights("weighed", &run_id), expected.map(|(name, weight)| (name.to_owned(), json!(weight))));
    let tries = format!("/api/v2/dags/weighed/dagRuns/{run_id}/taskInstances/again/tries");
    let tries = server.client.get(&tries).body["task_instances"].as_array().unwrap().clone();
    let weight_of = |ti: &Value| ti["priority_weight"].as_i64().unwrap();
    assert_eq!(tries.iter().map(weight_of).collect::<Vec<_>>(), [100, 99, 98]);

    let (run_id, state) = server.run_dag("not_weighed", &json!({}));
    assert_eq!((state.as_str(), weights("not_weighed", &run_id)), ("success", vec![("raises".into(), json!(3))]));
    assert_eq!(server.wait_for_run("hardly_weighed", &hanging), "success");
    assert_eq!(weights("hardly_weighed", &hanging), [("hangs".into(), json!(4))]);
    wait_until("it is said what is wrong", || {
        let warned = |dag_id: &str, text: &str| {
            let list = server.client.get(&format!("/api/v2/dagWarnings?dag_id={dag_id}")).body;
            list["dag_warnings"][0]["message"].as_str().is_some_and(|message| message.contains(text))
        };
        warned("not_weighed", "own_weights.Raises does not say what tasks weigh: Traceback")
            && warned("not_weighed", "ValueError: raises has no weight")
            && warned("hardly_weighed", "It did not answer within 8 seconds")
    });
    let list = server.client.get("/api/v2/dagWarnings?dag_id=weighed").body;
    assert_eq!(list["total_entries"], 0, "{list}");
}
