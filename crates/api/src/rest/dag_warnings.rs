//! `/dagWarnings`: what there is to say about Dags beside errors of their files.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::{DagWarning, Direction};

use crate::args::Args;
use crate::error::ApiResult;
use crate::order;
use crate::parse;
use crate::rest::lookup::Lookup;
use crate::routes::{Access, Routes};
use crate::state::ApiState;
use crate::wire::Moment;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.get("/dagWarnings", Access::View, list)
}

/// The kind of all that is said: of those that clients know it is the one for what is wrong with a schedule.
const KIND: &str = "runtime varying value";

/// The kinds that clients may ask for, and whether it is that of all there are.
const KINDS: [(&str, bool); 3] = [("asset conflict", false), ("non-existent pool", false), (KIND, true)];

#[derive(Serialize)]
struct DagWarningResponse {
    dag_id: String,
    warning_type: &'static str,
    message: String,
    timestamp: Moment,
    dag_display_name: String,
}

#[derive(Serialize)]
struct DagWarningList {
    dag_warnings: Vec<DagWarningResponse>,
    total_entries: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Column {
    DagId,
    Kind,
    Message,
    At,
}

async fn list(State(state): State<ApiState>, mut args: Args) -> ApiResult<DagWarningList> {
    let page = args.page(&state);
    let dag_id = args.text("dag_id");
    let is_wanted = args.optional("warning_type", parse::one_of(&KINDS)).unwrap_or(true);
    args.finish()?;
    let allowed: &[(&str, &[Column])] = &[
        ("dag_id", &[Column::DagId]),
        ("warning_type", &[Column::Kind]),
        ("message", &[Column::Message]),
        ("timestamp", &[Column::At]),
    ];
    let order = order::resolve(&args.texts("order_by"), "dag_id", allowed, &[], Column::DagId)?;
    let own = state.clone();
    let listed = move || {
        let mut found = own.store().dag_warnings()?;
        found.retain(|warning| is_wanted && dag_id.as_deref().is_none_or(|wanted| warning.dag_id.as_str() == wanted));
        // The last one is the one that counts most, and sorting keeps what is equal as it was.
        for (column, direction) in order.iter().rev() {
            sort(&mut found, *column, *direction);
        }
        let total_entries = found.len();
        let from = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let most = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let mut lookup = Lookup::new(&own);
        let shown = found.into_iter().skip(from).take(most).map(|DagWarning { dag_id, message, at }| {
            let dag_display_name = lookup.display_name(&dag_id)?.to_string();
            let dag_id = dag_id.to_string();
            Ok(DagWarningResponse { dag_id, warning_type: KIND, message, timestamp: Moment(at), dag_display_name })
        });
        Ok(Json(DagWarningList { dag_warnings: shown.collect::<Result<_, crate::error::ApiError>>()?, total_entries }))
    };
    state.blocking(listed).await
}

fn sort(found: &mut [DagWarning], column: Column, direction: Direction) {
    found.sort_by(|a, b| {
        let ordering = match column {
            Column::DagId => a.dag_id.cmp(&b.dag_id),
            Column::Kind => std::cmp::Ordering::Equal,
            Column::Message => a.message.cmp(&b.message),
            Column::At => a.at.cmp(&b.at),
        };
        if direction == Direction::Descending { ordering.reverse() } else { ordering }
    });
}
