//! What classes of plugins are asked about the weights of task instances, and what their answers mean.

use model::Json;
use python::{Evaluator, Unanswered};
use scheduler::AskWeights;
use serde_json::json;
use store::Store;

/// What task instances weigh, in the order of the question. A process that has not seen the Dag yet asks for it.
pub async fn weights(
    evaluator: &Evaluator,
    store: &std::sync::Arc<dyn Store>,
    question: &AskWeights,
) -> Result<Vec<i32>, Unanswered> {
    let mut asked = json!({
        "ask": "weights",
        "strategy": question.strategy,
        "version": question.version.to_string(),
        "run_id": question.run.run_id.as_str(),
        "instances": question.instances.iter().map(|of| json!([of.task_id.as_str(), of.map_index.0, of.tries]))
            .collect::<Vec<_>>(),
    });
    let mut answer = evaluator.ask(&question.strategy, asked.clone()).await?;
    if answer.get("wants").is_some() {
        let (store, version) = (std::sync::Arc::clone(store), question.version);
        let found = tokio::task::spawn_blocking(move || store.version(version)).await;
        let missing = |reason: String| Unanswered::NoAnswer(format!("the Dag's structure can't be read: {reason}"));
        let found = found.map_err(|error| missing(error.to_string()))?.map_err(|error| missing(error.to_string()))?;
        asked["dag"] = found.ok_or_else(|| missing("it is gone".to_owned()))?.serialized;
        answer = evaluator.ask(&question.strategy, asked).await?;
    }
    let read = |weights: &Vec<Json>| -> Option<Vec<i32>> {
        let clamp = |weight: i64| weight.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        weights.iter().map(|weight| weight.as_i64().map(clamp)).collect()
    };
    let weights = answer.get("weights").and_then(Json::as_array).and_then(read);
    weights
        .filter(|weights| weights.len() == question.instances.len())
        .ok_or_else(|| Unanswered::NoAnswer("what it answers is not understood".to_owned()))
}
