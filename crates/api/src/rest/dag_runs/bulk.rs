//! `PATCH …/dagRuns`: many runs changed or deleted in one request.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{DagRunState, RunKey};

use super::delete_run;
use super::patch::{MAX_NOTE, STATES, set_note, set_state};
use crate::args::Args;
use crate::body::{Fields, JsonBody};
use crate::error::{ApiError, ApiResult};
use crate::parse::{self, python_repr};
use crate::rest::bulk::{self, Action, BulkResponse, Entity, Outcome, Target};
use crate::state::ApiState;

/// `BulkDAGRunBody`.
#[derive(Clone)]
pub(super) struct RunBody {
    pub(super) run_id: String,
    pub(super) dag_id: Option<String>,
    state: Option<DagRunState>,
    note: Option<String>,
}

pub(super) fn read_run(fields: &mut Fields<'_>) -> RunBody {
    RunBody {
        run_id: fields.required("dag_run_id", parse::text),
        dag_id: fields.optional("dag_id", parse::text),
        state: fields.optional("state", parse::one_of(&STATES)),
        note: fields.optional("note", parse::text_up_to(MAX_NOTE)),
    }
}

struct Runs;

impl Entity for Runs {
    type Body = RunBody;

    const MODEL: &'static str = "BulkDAGRunBody";
    const HAS_TEAM: bool = false;
    const READ_TWICE: bool = true;

    fn read(fields: &mut Fields<'_>) -> RunBody {
        read_run(fields)
    }
}

/// The run that is meant, unless the path leaves that open; the outcome says so then.
fn key_of(dag_id: &str, target: &Target<RunBody>, outcome: &mut Outcome) -> Option<RunKey> {
    let (own, run_id) = match target {
        Target::Id(run_id) => (None, run_id),
        Target::Body(body) => (body.dag_id.as_deref().filter(|own| !own.is_empty()), &body.run_id),
    };
    let dag_id = own.unwrap_or(dag_id);
    if dag_id != "~" && run_id != "~" {
        return Some(RunKey::new(dag_id, run_id.as_str()));
    }
    let how = match target {
        Target::Id(_) => "in BulkDAGRunBody object, not as string",
        Target::Body(_) => "in request body",
    };
    let message = format!("When using wildcard in path, dag_id must be specified {how} for dag_run_id: {run_id}");
    outcome.tell(StatusCode::BAD_REQUEST, message);
    None
}

pub(super) async fn change(State(state): State<ApiState>, args: Args, body: JsonBody) -> ApiResult<BulkResponse> {
    let dag_id = args.path("dag_id");
    let mut response = BulkResponse::default();
    for action in bulk::read::<Runs>(&body, args)? {
        match action {
            Action::Create { .. } => response.create.get_or_insert_default().tell(
                StatusCode::METHOD_NOT_ALLOWED,
                "Dag Runs bulk create is not supported. Use the trigger Dag Run endpoint instead.",
            ),
            Action::Update { entities, skip_missing, .. } => {
                let outcome = response.update.get_or_insert_default();
                let mut bodies: Vec<(RunKey, RunBody)> = Vec::new();
                for body in entities {
                    let target = Target::Body(body.clone());
                    if let Some(key) = key_of(&dag_id, &target, outcome) {
                        // The last one counts.
                        match bodies.iter_mut().find(|(known, _)| *known == key) {
                            Some((_, known)) => *known = body,
                            None => bodies.push((key, body)),
                        }
                    }
                }
                let updated = update(&state, bodies, skip_missing, outcome).await;
                updated.or_else(|error| outcome.refused(error))?;
            }
            Action::Delete { targets, skip_missing } => {
                let outcome = response.delete.get_or_insert_default();
                let keys = targets.iter().filter_map(|target| key_of(&dag_id, target, outcome)).collect();
                let deleted = delete(&state, keys, skip_missing, outcome).await;
                deleted.or_else(|error| outcome.refused(error))?;
            }
        }
    }
    Ok(Json(response))
}

/// Those that are there. Others are an error, unless they are to be skipped.
async fn known(state: &ApiState, keys: BTreeSet<RunKey>, skip_missing: bool) -> Result<BTreeSet<RunKey>, ApiError> {
    let found = state.read(move |store| {
        let mut found: (BTreeSet<RunKey>, Vec<RunKey>) = Default::default();
        for key in keys {
            if store.run(&key)?.is_some() {
                found.0.insert(key);
            } else {
                found.1.push(key);
            }
        }
        Ok(found)
    });
    let (known, missing) = found.await?;
    if missing.is_empty() || skip_missing {
        return Ok(known);
    }
    let pair = |key: &RunKey| format!("({}, {})", python_repr(key.dag_id.as_str()), python_repr(key.run_id.as_str()));
    let missing: Vec<String> = missing.iter().map(pair).collect();
    let missing = missing.join(", ");
    Err(ApiError::not_found(format!("The DagRuns with these identifiers: [{missing}] were not found")))
}

async fn update(
    state: &ApiState,
    bodies: Vec<(RunKey, RunBody)>,
    skip_missing: bool,
    outcome: &mut Outcome,
) -> Result<(), ApiError> {
    let known = known(state, bodies.iter().map(|(key, _)| key.clone()).collect(), skip_missing).await?;
    for (key, body) in bodies.into_iter().filter(|(key, _)| known.contains(key)) {
        if let Some(run_state) = body.state {
            set_state(state, key.clone(), run_state).await?;
        }
        if body.note.is_some() {
            let (own, key) = (state.clone(), key.clone());
            state.blocking(move || set_note(&own, &key, Some(body.note))).await?;
        }
        outcome.success.push(format!("{}.{}", key.dag_id, key.run_id));
    }
    Ok(())
}

async fn delete(
    state: &ApiState,
    keys: BTreeSet<RunKey>,
    skip_missing: bool,
    outcome: &mut Outcome,
) -> Result<(), ApiError> {
    let mut refused = BTreeMap::new();
    for key in known(state, keys, skip_missing).await? {
        match delete_run(state, key.clone()).await {
            Ok(()) => outcome.success.push(format!("{}.{}", key.dag_id, key.run_id)),
            // The others are deleted all the same.
            Err(error) if error.status == StatusCode::CONFLICT => drop(refused.insert(key, error)),
            Err(error) => return Err(error),
        }
    }
    refused.into_values().try_for_each(|error| outcome.refused(error))
}
