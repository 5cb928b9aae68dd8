//! Lists of runs whose filter is too long for a query string.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use store::{DurationRange, Page, RunFilter, RunOrder, Span};

use super::{DagRunCollection, ORDERS, collect};
use crate::args::{Args, durations_of, span_of};
use crate::body::{Fields, JsonBody};
use crate::error::ApiResult;
use crate::order;
use crate::parse::{self, Parsed};
use crate::rest::dags::filter::RUN_STATES;
use crate::rest::lookup::Lookup;
use crate::state::ApiState;

const NOT_ORDERED_BY: [&str; 2] = ["duration", "partition_date"];

/// The number of entries if nobody says.
pub(crate) const PAGE_LIMIT: u64 = 100;

/// The only Dag id in the path of such a list.
pub(crate) fn wildcard(args: &mut Args, name: &str) {
    args.path_as(name, parse::literal(&[("~", ())]));
}

/// `NAME_gte`, `NAME_gt`, `NAME_lte` and `NAME_lt` of a body.
pub(crate) fn span(fields: &mut Fields<'_>, names: [&'static str; 4]) -> Span {
    let [gte, gt, lte, lt] = names.map(|name| fields.optional(name, parse::aware_moment));
    span_of(gte, gt, lte, lt)
}

pub(crate) fn durations(fields: &mut Fields<'_>) -> DurationRange {
    let names = ["duration_gte", "duration_gt", "duration_lte", "duration_lt"];
    let [gte, gt, lte, lt] = names.map(|name| fields.optional(name, parse::float));
    durations_of(gte, gt, lte, lt)
}

pub(crate) const RUN_AFTER: [&str; 4] = ["run_after_gte", "run_after_gt", "run_after_lte", "run_after_lt"];
pub(crate) const LOGICAL_DATE: [&str; 4] =
    ["logical_date_gte", "logical_date_gt", "logical_date_lte", "logical_date_lt"];
pub(crate) const START_DATE: [&str; 4] = ["start_date_gte", "start_date_gt", "start_date_lte", "start_date_lt"];
pub(crate) const END_DATE: [&str; 4] = ["end_date_gte", "end_date_gt", "end_date_lte", "end_date_lt"];

/// `page_limit`, `page_offset` and `order_by`.
pub(crate) fn page(fields: &mut Fields<'_>) -> (Option<String>, Page) {
    let order_by = fields.optional("order_by", parse::text).filter(|order_by| !order_by.is_empty());
    let offset = fields.or("page_offset", 0, parse::natural);
    let limit = fields.or("page_limit", PAGE_LIMIT, parse::natural);
    (order_by, Page { limit, offset })
}

/// A value of an enumeration, or null.
pub(crate) fn or_null<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Option<T>> {
    move |value| if value.is_null() { Ok(None) } else { parse(value).map(Some) }
}

pub(super) async fn list(State(state): State<ApiState>, mut args: Args, body: JsonBody) -> ApiResult<impl Serialize> {
    wildcard(&mut args, "dag_id");
    let mut fields = body.fields(&mut args.issues);
    let (order_by, page) = page(&mut fields);
    let dag_ids = fields.optional_list("dag_ids", parse::text).unwrap_or_default();
    let states = fields.optional_list("states", or_null(parse::one_of(&RUN_STATES))).unwrap_or_default();
    // No run is without a state: where only that is asked for, nothing matches.
    let nothing = !states.is_empty() && states.iter().all(Option::is_none);
    let filter = RunFilter {
        dag_ids,
        states: states.into_iter().flatten().collect(),
        run_after: span(&mut fields, RUN_AFTER),
        logical_date: span(&mut fields, LOGICAL_DATE),
        start_date: span(&mut fields, START_DATE),
        end_date: span(&mut fields, END_DATE),
        duration: durations(&mut fields),
        conf_contains: fields.optional("conf_contains", parse::text).filter(|text| !text.is_empty()),
        ..RunFilter::default()
    };
    fields.forbid_others();
    args.finish()?;
    let order_by: Vec<String> = order_by.into_iter().collect();
    // The batch may not be ordered by all that other lists may.
    let allowed: Vec<_> = ORDERS.into_iter().filter(|(name, _)| !NOT_ORDERED_BY.contains(name)).collect();
    let order = order::resolve(&order_by, "id", &allowed, &[("dag_run_id", "run_id")], RunOrder::Id);
    if nothing {
        order?;
        return Ok(Json(DagRunCollection::default()));
    }
    let own = state.clone();
    state.blocking(move || collect(&mut Lookup::new(&own), &filter, &order?, page, None)).await.map(Json)
}
