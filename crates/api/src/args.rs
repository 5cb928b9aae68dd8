//! The path and the query string of a request.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{DurationRange, Page, Span};

use crate::error::ApiError;
use crate::parse::{self, Issues, MaybeAware, Parsed, Place};
use crate::state::ApiState;

/// Parameters by name, and what was found to be wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Args {
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    pub(crate) issues: Issues,
    /// The first that is worse than a value of the wrong type.
    failure: Option<ApiError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Args {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            Err(_) => Vec::new(),
        };
        Ok(Self { path, ..Self::of_query(parts.uri.query().unwrap_or_default()) })
    }
}

fn place(part: &str, name: &str) -> Place {
    vec![json!(part), json!(name)]
}

impl Args {
    /// The parameters of a query string.
    pub(crate) fn of_query(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let query = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { query, ..Self::default() }
    }

    /// A part of the path; empty if the route has none of that name.
    pub(crate) fn path(&self, name: &str) -> String {
        self.path.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// A part of the path that is more than text.
    pub(crate) fn path_as<T: Default>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        let input = Value::String(self.path(name));
        let parsed = parse(&input);
        self.issues.keep(&place("path", name), &input, parsed).unwrap_or_default()
    }

    /// The last value of a parameter, which is the one that counts.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.query.iter().rfind(|(own, _)| own == name).map(|(_, value)| value.clone())
    }

    /// Every value of a parameter.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
    }

    /// A parameter that may be left out.
    pub(crate) fn optional<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let input = Value::String(self.text(name)?);
        let parsed = parse(&input);
        self.issues.keep(&place("query", name), &input, parsed)
    }

    /// A parameter that must be there.
    pub(crate) fn required<T: Default>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        if self.text(name).is_none() {
            let missing = parse::Fault::new("missing", "Field required");
            self.issues.add(&place("query", name), missing, &Value::Null);
        }
        self.optional(name, parse).unwrap_or_default()
    }

    pub(crate) fn or<T>(&mut self, name: &str, default: T, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    /// Every value of a parameter that is more than text.
    pub(crate) fn list<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Vec<T> {
        let inputs = self.texts(name).into_iter().map(Value::String).enumerate();
        inputs
            .filter_map(|(at, input)| {
                let mut place = place("query", name);
                place.push(json!(at));
                let parsed = parse(&input);
                self.issues.keep(&place, &input, parsed)
            })
            .collect()
    }

    /// `limit` and `offset`.
    pub(crate) fn page(&mut self, state: &ApiState) -> Page {
        let limit = self.or("limit", state.config().page_limit, parse::natural).min(state.config().max_page_limit);
        Page { limit, offset: self.or("offset", 0, parse::natural) }
    }

    /// A pattern in which `~` matches everything.
    pub(crate) fn pattern(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| if text == "~" { "%".to_owned() } else { text })
    }

    /// A prefix of which `~` matches everything.
    pub(crate) fn prefix(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| if text == "~" { String::new() } else { text })
    }

    /// `NAME_gte`, `NAME_gt`, `NAME_lte` and `NAME_lt`.
    pub(crate) fn span(&mut self, name: &str) -> Span {
        let [gte, gt, lte, lt] = bounds(name).map(|name| self.moment(&name));
        span_of(gte, gt, lte, lt)
    }

    /// As [`Self::span`], for moments that are still to come where they are missing: a start or an end.
    pub(crate) fn open_span(&mut self, name: &str) -> Span {
        or_coming(self.span(name), Timestamp::now())
    }

    /// `NAME_gte` and so on, in seconds.
    pub(crate) fn durations(&mut self, name: &str) -> DurationRange {
        let [gte, gt, lte, lt] = bounds(name).map(|name| self.optional(&name, parse::float));
        durations_of(gte, gt, lte, lt)
    }

    fn moment(&mut self, name: &str) -> Option<Timestamp> {
        self.optional(name, parse::moment).and_then(MaybeAware::in_utc)
    }

    /// A moment as Airflow's older parameters take it (`DateTimeQuery`), which answer with a 400 of their own.
    pub(crate) fn loose_moment(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let read = parse::moment(&Value::String(text.clone())).ok().and_then(MaybeAware::in_utc);
        if read.is_none() {
            let shown = parse::python_repr(&text);
            let detail = format!("Invalid datetime: {shown}. Please check the date parameter have this value.");
            self.fail(ApiError::bad_request(detail));
        }
        read
    }

    /// Notes an answer that comes before everything that is gathered; the first one counts.
    pub(crate) fn fail(&mut self, error: ApiError) {
        self.failure.get_or_insert(error);
    }

    /// Ends the reading: the answer to whatever is wrong.
    pub(crate) fn finish(&mut self) -> Result<(), ApiError> {
        match self.failure.take() {
            Some(error) => Err(error),
            None => std::mem::take(&mut self.issues).finish(),
        }
    }
}

fn bounds(name: &str) -> [String; 4] {
    ["gte", "gt", "lte", "lt"].map(|bound| format!("{name}_{bound}"))
}

/// The span that four bounds leave; moments have microseconds.
pub(crate) fn span_of(
    gte: Option<Timestamp>,
    gt: Option<Timestamp>,
    lte: Option<Timestamp>,
    lt: Option<Timestamp>,
) -> Span {
    let tick = SignedDuration::from_micros(1);
    let after = gt.map(|at| at.saturating_add(tick).unwrap_or(Timestamp::MAX));
    let before = lt.map(|at| at.saturating_sub(tick).unwrap_or(Timestamp::MIN));
    Span { from: gte.into_iter().chain(after).max(), to: lte.into_iter().chain(before).min(), or_missing: false }
}

/// A start or end that is missing is still to come: it is inside of what reaches beyond now.
pub(crate) fn or_coming(span: Span, now: Timestamp) -> Span {
    Span { or_missing: span.to.is_none_or(|to| now <= to), ..span }
}

/// The range of durations that four bounds in seconds leave. Airflow does not look at bounds of zero.
pub(crate) fn durations_of(gte: Option<f64>, gt: Option<f64>, lte: Option<f64>, lt: Option<f64>) -> DurationRange {
    let micros = |bound: Option<f64>| bound.filter(|seconds| *seconds != 0.0).map(|seconds| seconds * 1e6);
    let from = [micros(gte).map(|micros| micros.ceil() as i64), micros(gt).map(|micros| micros.floor() as i64 + 1)];
    let to = [micros(lte).map(|micros| micros.floor() as i64), micros(lt).map(|micros| micros.ceil() as i64 - 1)];
    DurationRange { from_micros: from.into_iter().flatten().max(), to_micros: to.into_iter().flatten().min() }
}
