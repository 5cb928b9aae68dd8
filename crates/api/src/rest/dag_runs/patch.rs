//! Changing a run.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::DagRunState;
use store::{StoreError, Write};

use super::{DagRunResponse, key_of, run_not_found};
use crate::args::Args;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::parse;
use crate::rest::lookup::Lookup;
use crate::state::ApiState;

/// `DagRunMutableStates`.
const STATES: [(&str, DagRunState); 3] =
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
    state.blocking(move || apply(&own, &key, change)).await.map(Json)
}

fn apply(state: &ApiState, key: &model::RunKey, change: PatchBody) -> Result<DagRunResponse, ApiError> {
    let mut run = state.store().run(key)?.ok_or_else(|| run_not_found(key))?;
    if change.state.is_some() {
        let detail = "The state of a Dag run can't be set yet; its note can";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, detail));
    }
    if let Some(note) = change.note {
        let written = state.store().commit(vec![Write::RunNote { run: key.clone(), note: note.clone() }]);
        written.map_err(|error| match error {
            StoreError::Missing { .. } => run_not_found(key),
            error => error.into(),
        })?;
        run.note = note;
    }
    DagRunResponse::of(run, &mut Lookup::new(state))
}
