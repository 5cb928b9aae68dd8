//! The source code of Dags.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use model::DagId;
use serde::Serialize;
use store::{DagRecord, Page, Store, VersionFilter, VersionHead};

use super::config::wants_text;
use crate::args::Args;
use crate::bundle;
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
/// versions were made of is kept only where their bundle has versions, for as long as there is a copy of theirs.
fn read(store: &dyn Store, dag_id: DagId, number: Option<i64>) -> Result<DagSource, ApiError> {
    let shown = number.map_or_else(|| "None".to_owned(), |number| number.to_string());
    let missing = || {
        let detail = format!("The source code of the Dag {dag_id}, version_number {shown} was not found");
        ApiError::not_found(detail)
    };
    let record = store.dag(&dag_id)?.ok_or_else(missing)?;
    let newest = store.version_head(record.version)?.ok_or_else(missing)?;
    let no_code = || ApiError::not_found(format!("Code not found. dag_id='{dag_id}' version_number='{shown}'"));
    let head = match number {
        Some(number) if number > i64::from(newest.number) || number < 1 => return Err(missing()),
        Some(number) if number < i64::from(newest.number) => {
            let filter =
                VersionFilter { dag_id: Some(dag_id.clone()), number: Some(number), ..VersionFilter::default() };
            let (found, _) = store.versions(&filter, &[], Page { limit: 1, offset: 0 })?;
            found.into_iter().next().filter(|head| head.bundle_version.is_some()).ok_or_else(no_code)?
        }
        _ => newest,
    };
    let path = match &head.bundle_version {
        None => PathBuf::from(&record.fileloc),
        Some(version) => {
            let bundle = store.bundle(&head.bundle_name)?;
            let folder = bundle.and_then(|bundle| bundle::path_of(&bundle, version)).ok_or_else(no_code)?;
            folder.join(file_of(store, &head, &record)?)
        }
    };
    let mut content = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_SOURCE + 1).read_to_string(&mut content));
    match read {
        Ok(length) if length as u64 <= MAX_SOURCE => {}
        // Members of archives have no file of their own.
        _ => return Err(no_code()),
    }
    Ok(DagSource {
        content,
        dag_id: dag_id.to_string(),
        version_number: head.number,
        dag_display_name: record.display_name,
    })
}

/// Where the file of a version was below its bundle.
fn file_of(store: &dyn Store, head: &VersionHead, newest: &DagRecord) -> Result<String, ApiError> {
    if head.id == newest.version {
        return Ok(newest.relative_fileloc.clone());
    }
    let version = store.version(head.id)?;
    let path = version.and_then(|version| version.serialized["dag"]["relative_fileloc"].as_str().map(str::to_owned));
    Ok(path.unwrap_or_else(|| newest.relative_fileloc.clone()))
}
