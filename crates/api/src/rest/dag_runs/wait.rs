//! Waiting for the end of a run: a line for each look at it, and its results in the last one.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use model::RunKey;
use serde_json::{Map, Value, json};
use store::XCom;
use tokio::sync::mpsc;

use super::{key_of, run_not_found};
use crate::args::Args;
use crate::error::ApiError;
use crate::parse::{self, Fault, Parsed};
use crate::state::ApiState;

/// The key of what tasks return.
const RETURN_VALUE: &str = "return_value";
/// Nobody learns more by looking more often; and the longest pause that a clock can measure is no better than a day.
const SHORTEST_PAUSE: f64 = 0.01;
const LONGEST_PAUSE: f64 = 86_400.0;
/// Lines that wait for a slow client.
const WAITING: usize = 4;

struct Lines(mpsc::Receiver<Bytes>);

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|line| line.map(Ok))
    }
}

fn positive(input: &Value) -> Parsed<f64> {
    let seconds = parse::float(input)?;
    if seconds > 0.0 {
        Ok(seconds)
    } else {
        Err(Fault::with("greater_than", "Input should be greater than 0", json!({"gt": 0.0})))
    }
}

pub(super) async fn wait(State(state): State<ApiState>, mut args: Args) -> Result<Response, ApiError> {
    let key = key_of(&args);
    let interval = args.required("interval", positive);
    let tasks = Some(args.texts("result")).filter(|tasks| !tasks.is_empty());
    args.finish()?;
    let pause = Duration::from_secs_f64(interval.clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    let first = look(&state, &key, tasks.clone()).await?.ok_or_else(|| run_not_found(&key))?;
    let (sender, lines) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut next = Some(first);
        // A run that is deleted meanwhile, or a store that fails, ends the answer; so does a client that goes away.
        while let Some((line, is_last)) = next {
            if sender.send(line.into()).await.is_err() || is_last {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => return,
            }
            next = look(&state, &key, tasks.clone()).await.ok().flatten();
        }
    });
    Ok(Body::from_stream(Lines(lines)).into_response())
}

/// What is to be said of the run now, and whether there is nothing more to say.
async fn look(state: &ApiState, key: &RunKey, tasks: Option<Vec<String>>) -> Result<Option<(String, bool)>, ApiError> {
    let key = key.clone();
    let read = move |store: &dyn store::Store| {
        let Some(run) = store.run(&key)? else { return Ok(None) };
        let mut line = json!({"state": run.state.name()});
        let is_last = run.state.is_finished();
        if is_last {
            let found = store.xcoms(&key, None, None, Some(RETURN_VALUE))?;
            let results = results(found, tasks.as_deref());
            if !results.is_empty() {
                line["results"] = Value::Object(results);
            }
        }
        Ok(Some((format!("{}\n", template::python::dumps(&line, None)), is_last)))
    };
    state.read(read).await
}

/// What the tasks have returned that were asked for, or whose results are those of the Dag. The instances of a mapped task
/// make a list.
fn results(found: Vec<XCom>, tasks: Option<&[String]>) -> Map<String, Value> {
    let is_wanted = |xcom: &XCom| match tasks {
        None => xcom.dag_result,
        Some(tasks) => tasks.iter().any(|task| task == xcom.key.task_id.as_str()),
    };
    let mut results: Map<String, Value> = Map::new();
    for xcom in found.into_iter().filter(is_wanted) {
        let task_id = xcom.key.task_id.to_string();
        if !xcom.key.map_index.is_mapped() {
            results.insert(task_id, xcom.value);
        } else if let Value::Array(values) = results.entry(task_id).or_insert_with(|| json!([])) {
            values.push(xcom.value);
        }
    }
    results
}
