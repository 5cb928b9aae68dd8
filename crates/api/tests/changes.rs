//! What people do to runs and task instances: requests whose answers were recorded from Airflow
//! (`golden/record_changes.py`).

mod support;

use support::recorded;

const RECORDING: &str = include_str!("golden/changes.json");

#[tokio::test]
async fn clears() {
    recorded::replay(RECORDING, "clears", true).await;
}

#[tokio::test]
async fn marks() {
    recorded::replay(RECORDING, "marks", true).await;
}

#[tokio::test]
async fn backfills() {
    recorded::replay(RECORDING, "backfills", true).await;
}

#[tokio::test]
async fn groups() {
    recorded::replay(RECORDING, "groups", true).await;
}

#[tokio::test]
async fn bulk_task_instances() {
    recorded::replay(RECORDING, "bulk_task_instances", true).await;
}

#[tokio::test]
async fn bulk_runs() {
    recorded::replay(RECORDING, "bulk_runs", true).await;
}

#[tokio::test]
async fn clear_runs() {
    recorded::replay(RECORDING, "clear_runs", true).await;
}

#[test]
fn every_scenario_is_replayed() {
    assert_eq!(
        recorded::scenarios(RECORDING),
        ["groups", "bulk_task_instances", "bulk_runs", "clear_runs", "backfills", "marks", "clears"]
    );
}
