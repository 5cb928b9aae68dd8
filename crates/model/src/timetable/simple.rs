//! Timetables that need no calendar.

use jiff::Timestamp;

use super::{NextRun, Restriction};
use crate::run::DataInterval;

/// One run, at the Dag's start date or at once.
pub(super) fn once(last: Option<DataInterval>, restriction: &Restriction, now: Timestamp) -> Option<NextRun> {
    let at = restriction.earliest.unwrap_or(now);
    let is_over = last.is_some() || restriction.latest.is_some_and(|latest| at > latest);
    (!is_over).then(|| NextRun::exact(at))
}

/// A run as soon as the one before has ended.
pub(super) fn continuous(last: Option<DataInterval>, restriction: &Restriction, now: Timestamp) -> Option<NextRun> {
    let first = restriction.earliest.unwrap_or(now);
    let (start, end) = match last {
        None => (first, first.max(now)),
        // The last run lies in the future: go on with intervals of its length.
        Some(last) if last.end > now => (first, first.checked_add(last.end.duration_since(last.start)).ok()?),
        Some(last) => (last.end, now),
    };
    let is_over = restriction.latest.is_some_and(|latest| end > latest);
    (!is_over).then(|| NextRun::of_interval(start, end))
}
