//! `/importErrors`: Dag files that could not be imported.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::{ImportError, ImportErrorFilter, ImportErrorOrder, TextFilter};

use crate::args::Args;
use crate::error::{ApiError, ApiResult};
use crate::order;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::Moment;

/// Whoever may see this page may read every Dag, so no stack trace is withheld.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/importErrors", Access::View, list).get("/importErrors/{import_error_id}", Access::View, get)
}

#[derive(Serialize)]
struct ImportErrorResponse {
    import_error_id: i64,
    timestamp: Moment,
    /// Relative to the bundle.
    filename: String,
    bundle_name: Option<String>,
    stack_trace: String,
}

impl From<ImportError> for ImportErrorResponse {
    fn from(error: ImportError) -> Self {
        Self {
            import_error_id: error.id,
            timestamp: Moment(error.at),
            filename: error.filename,
            bundle_name: Some(error.bundle_name),
            stack_trace: error.stack_trace,
        }
    }
}

#[derive(Serialize)]
struct ImportErrorList {
    import_errors: Vec<ImportErrorResponse>,
    total_entries: u64,
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<ImportErrorList> {
    let page = args.page(&state);
    args.finish()?;
    let named = |name: &str| args.text(name).filter(|text| !text.is_empty());
    let filter = ImportErrorFilter {
        filename: named("filename"),
        filenames: TextFilter {
            pattern: args.pattern("filename_pattern"),
            prefix: args.prefix("filename_prefix_pattern"),
        },
        bundle_name: named("bundle_name"),
    };
    let allowed: &[(&str, &[ImportErrorOrder])] = &[
        ("id", &[ImportErrorOrder::Id]),
        ("timestamp", &[ImportErrorOrder::At]),
        ("filename", &[ImportErrorOrder::Filename]),
        ("bundle_name", &[ImportErrorOrder::BundleName]),
        ("stacktrace", &[ImportErrorOrder::StackTrace]),
    ];
    let renamed = [("import_error_id", "id")];
    let order = order::resolve(&args.texts("order_by"), "id", allowed, &renamed, ImportErrorOrder::Id)?;
    let listed = state.read(move |store| {
        let (errors, total_entries) = store.list_import_errors(&filter, &order, page)?;
        Ok(ImportErrorList { import_errors: errors.into_iter().map(Into::into).collect(), total_entries })
    });
    listed.await.map(Json)
}

async fn get(State(state): State<ApiState>, mut args: Args) -> ApiResult<ImportErrorResponse> {
    let id = args.path_as("import_error_id", parse::integer);
    args.finish()?;
    let found = state.read(move |store| {
        store
            .import_error(id)?
            .ok_or_else(|| ApiError::not_found(format!("The ImportError with import_error_id: `{id}` was not found")))
    });
    found.await.map(|error| Json(error.into()))
}
