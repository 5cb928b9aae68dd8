//! What policies decide about another try.

use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::Server;

use crate::support::{context, dag_file, log_of, shown};

#[test]
fn policies_decide_by_the_exception_whether_and_when_there_is_another_try() {
    const DAG: &str = "retry_policies";
    let context = context();
    context.write_dag("retry_policies.py", &dag_file("retry_policies.py"));
    let server = Server::start_with(&context, &[]);
    // Delays of an hour that no policy shortens would let this wait for ever.
    let (run_id, state) = server.run_dag(DAG, &json!({}));
    assert_eq!(state, "failed");
    let log = |task: &str, number| shown(&log_of(&context, DAG, &run_id, task, number));
    let tasks = server.task_instances(DAG, &run_id);
    let ended = |name: &str| {
        let ti = tasks.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", tasks.keys()));
        format!("{} {}", ti["state"].as_str().unwrap(), ti["try_number"])
    };
    for (task, wanted) in [
        ("by_number", "failed 2"),
        ("fails_at_once", "failed 1"),
        ("retries_soon", "success 2"),
        ("by_default", "success 2"),
        ("broken_policy", "success 2"),
        ("fails_for_good", "failed 1"),
        ("dies", "success 2"),
        ("bash", "failed 1"),
        ("used_up", "failed 2"),
    ] {
        assert_eq!(ended(task), wanted, "{task}:\n{}", log(task, 1));
    }
    for task in ["mapped", "bashes"] {
        let of_task = |index| format!("{task}[{index}]");
        assert_eq!((ended(&of_task(0)), ended(&of_task(1))), ("success 1".into(), "failed 1".into()), "{tasks:?}");
    }
    let path = format!("/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/by_number/tries");
    let tries = server.client.get(&path).body["task_instances"].clone();
    let moment = |number: usize, name: &str| -> Timestamp { tries[number][name].as_str().unwrap().parse().unwrap() };
    let waited = moment(1, "start_date").duration_since(moment(0, "end_date"));
    assert!(waited.as_millis() >= 1500, "{tries}");
    assert!(log("by_number", 1).contains("Retry policy decision"), "{}", log("by_number", 1));
    let decided: Vec<Value> =
        log_of(&context, DAG, &run_id, "by_number", 2).into_iter().map(|line| line.fields).collect();
    assert!(decided.iter().any(|line| line["reason"] == "enough" && line["action"] == "fail"), "{decided:?}");
    assert!(log("broken_policy", 1).contains("the policy itself is broken"));
}
