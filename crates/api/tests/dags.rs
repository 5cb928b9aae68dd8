//! Dags, runs and task instances: requests whose answers were recorded from Airflow (`golden/record_dags.py`).

mod support;

use support::recorded;

const RECORDING: &str = include_str!("golden/dags.json");

#[tokio::test]
async fn dags() {
    recorded::replay(RECORDING, "dags", false).await;
}

#[tokio::test]
async fn dag_changes() {
    recorded::replay(RECORDING, "dag_changes", true).await;
}

#[tokio::test]
async fn run_lists() {
    recorded::replay(RECORDING, "run_lists", false).await;
}

#[tokio::test]
async fn task_instances() {
    recorded::replay(RECORDING, "task_instances", false).await;
}

#[tokio::test]
async fn triggers() {
    recorded::replay(RECORDING, "triggers", true).await;
}

#[test]
fn every_scenario_is_replayed() {
    assert_eq!(recorded::scenarios(RECORDING), ["dags", "dag_changes", "run_lists", "task_instances", "triggers"]);
}
