//! The source code of Dags.

use std::fs::File;
use std::io::Read;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use model::DagId;
use serde::Serialize;
use store::Store;

use super::config::wants_text;
use crate::args::Args;
use crate::error::ApiError;
use crate::parse;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

/// The longest file that is shown; nobody reads more than that in a browser.
const MAX_SOURCE: u64 = 8 << 20;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/dagSources/{dag_id}", Access::ReadDags, get)
}

/// `DAGSourceResponse`.
#[derive(Serialize)]
struct DagSource {
    content: String,
    dag_id: String,
    version_number: u32,
    dag_display_name: String,
}

async fn get(State(state): State<ApiState>, headers: HeaderMap, mut args: Args) -> Result<Response, ApiError> {
    let as_text = wants_text(&headers)?;
    let dag_id = DagId::from(args.path("dag_id"));
    let number = args.optional("version_number", parse::integer);
    args.finish()?;
    let source = state.read(move |store| read(store, dag_id, number)).await?;
    Ok(if as_text { source.content.into_response() } else { Json(source).into_response() })
}

/// The file as it is now is what the newest version was imported from: a change of it is imported at once. What older
/// versions were made of is not kept.
fn read(store: &dyn Store, dag_id: DagId, number: Option<i64>) -> Result<DagSource, ApiError> {
    let shown = number.map_or_else(|| "None".to_owned(), |number| number.to_string());
    let missing = || {
        let detail = format!("The source code of the Dag {dag_id}, version_number {shown} was not found");
        ApiError::not_found(detail)
    };
    let record = store.dag(&dag_id)?.ok_or_else(missing)?;
    let newest = store.version_head(record.version)?.ok_or_else(missing)?;
    let no_code = || ApiError::not_found(format!("Code not found. dag_id='{dag_id}' version_number='{shown}'"));
    match number {
        Some(number) if number > i64::from(newest.number) || number < 1 => return Err(missing()),
        Some(number) if number < i64::from(newest.number) => return Err(no_code()),
        _ => {}
    }
    let mut content = String::new();
    let read = File::open(&record.fileloc).and_then(|file| file.take(MAX_SOURCE + 1).read_to_string(&mut content));
    match read {
        Ok(length) if length as u64 <= MAX_SOURCE => {}
        // Members of archives have no file of their own.
        _ => return Err(no_code()),
    }
    Ok(DagSource {
        content,
        dag_id: dag_id.to_string(),
        version_number: newest.number,
        dag_display_name: record.display_name,
    })
}
