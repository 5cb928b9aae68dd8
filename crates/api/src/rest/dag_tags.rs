//! The names of tags that Dags have.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::TextFilter;

use crate::args::Args;
use crate::error::ApiResult;
use crate::order;
use crate::routes::{Access, Routes};
use crate::state::ApiState;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/dagTags", Access::ReadDags, list)
}

/// `DAGTagCollectionResponse`.
#[derive(Serialize)]
struct TagCollection {
    tags: Vec<String>,
    total_entries: u64,
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<TagCollection> {
    let page = args.page(&state);
    let order_by = args.texts("order_by");
    let names =
        TextFilter { pattern: args.pattern("tag_name_pattern"), prefix: args.prefix("tag_name_prefix_pattern") };
    args.finish()?;
    let order = order::resolve(&order_by, "name", &[("name", &[()])], &[], ())?;
    let direction = order[0].1;
    let (tags, total_entries) = state.read(move |store| Ok(store.tags(&names, direction, page)?)).await?;
    Ok(Json(TagCollection { tags, total_entries }))
}
