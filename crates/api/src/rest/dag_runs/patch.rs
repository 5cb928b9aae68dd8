//! Changing a run.

use axum::Json;
use axum::extract::State;
use engine::ChangeFailure;
use model::{DagRun, DagRunState, RunKey};
use store::{StoreError, Write};

use super::{DagRunResponse, key_of, run_not_found};
use crate::args::Args;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::rest::lookup::Lookup;
use crate::state::ApiState;

/// `DagRunMutableStates`.
pub(super) const STATES: [(&str, DagRunState); 3] =
    [("queued", DagRunState::Queued), ("success", DagRunState::Success), ("failed", DagRunState::Failed)];

/// The longest note, in characters.
pub(crate) const MAX_NOTE: usize = 1000;

/// `DAGRunPatchBody`.
struct PatchBody {
    state: Option<DagRunState>,
    /// `None` where it was not given; null takes the note away.
    note: Option<Option<String>>,
}

pub(super) async fn patch(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<DagRunResponse> {
    let key = key_of(&args);
    let mask = args.texts("update_mask");
    let mut fields = body.fields(&mut args.issues);
    let given = fields.has("note");
    let run_state = fields.optional("state", parse::one_of(&STATES));
    let note = fields.optional("note", parse::text_up_to(MAX_NOTE));
    fields.forbid_others();
    args.finish()?;
    let asked = |name: &str| mask.is_empty() || mask.iter().any(|field| field == name);
    let change =
        PatchBody { state: run_state.filter(|_| asked("state")), note: (given && asked("note")).then_some(note) };
    let own = state.clone();
    let wanted = key.clone();
    state.blocking(move || set_note(&own, &wanted, change.note)).await?;
    let set = match change.state {
        Some(run_state) => set_state(&state, key.clone(), run_state).await?,
        None => None,
    };
    let own = state.clone();
    let answer = move || {
        let run = own.store().run(&key)?.ok_or_else(|| run_not_found(&key))?;
        // What was set may be followed by more at once; the answer is as it was set. Only the store knows the note.
        let run = set.map(|set| DagRun { note: run.note.clone(), ..*set }).unwrap_or(run);
        DagRunResponse::of(run, &mut Lookup::new(&own))
    };
    state.blocking(answer).await.map(Json)
}

/// Blocks.
pub(super) fn set_note(state: &ApiState, key: &RunKey, note: Option<Option<String>>) -> Result<(), ApiError> {
    state.store().run(key)?.ok_or_else(|| run_not_found(key))?;
    let Some(note) = note else { return Ok(()) };
    // An empty text takes the note away.
    let note = note.filter(|note| !note.is_empty());
    let written = state.store().commit(vec![Write::RunNote { run: key.clone(), note }]);
    written.map_err(|error| match error {
        StoreError::Missing { .. } => run_not_found(key),
        error => error.into(),
    })
}

pub(super) async fn set_state(
    state: &ApiState,
    key: RunKey,
    run_state: DagRunState,
) -> Result<Option<Box<DagRun>>, ApiError> {
    match state.engine().set_run_state(key.clone(), run_state).await {
        Ok(run) => Ok(run),
        Err(ChangeFailure::Refused(_)) => {
            Err(ApiError::not_found(format!("The Dag with ID: `{}` was not found", key.dag_id)))
        }
        Err(ChangeFailure::Stopped(stopped)) => Err(stopped.into()),
    }
}
