//! What tasks ask people, and people's answers: requests whose answers were recorded from Airflow
//! (`golden/record_hitl.py`).

mod support;

use support::recorded;

const RECORDING: &str = include_str!("golden/hitl.json");

#[tokio::test]
async fn reads() {
    recorded::replay(RECORDING, "reads", false).await;
}

#[tokio::test]
async fn answers() {
    recorded::replay(RECORDING, "answers", true).await;
}

#[test]
fn every_scenario_is_replayed() {
    assert_eq!(recorded::scenarios(RECORDING), ["reads", "answers"]);
}
