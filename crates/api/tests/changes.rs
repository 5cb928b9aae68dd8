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

#[test]
fn every_scenario_is_replayed() {
    assert_eq!(recorded::scenarios(RECORDING), ["backfills", "marks", "clears"]);
}
