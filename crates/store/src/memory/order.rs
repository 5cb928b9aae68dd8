//! Orders and filters of lists.

use std::cmp::Ordering;

use crate::query::{Direction, TextFilter};
pub(super) use crate::query::{begins, like};

/// How two records stand to each other by one key.
pub(super) fn compare<V: Ord>(a: V, b: V) -> Ordering {
    a.cmp(&b)
}

/// As [`compare`], where a record may have no value: that comes after all values.
pub(super) fn compare_optional<V: Ord>(a: Option<V>, b: Option<V>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

/// Sorts by the keys in turn, and then by `last`, which goes the way of the first key.
pub(super) fn sort<T, O: Copy>(
    rows: &mut [T],
    order: &[(O, Direction)],
    last: impl Fn(&T, &T) -> Ordering,
    compare: impl Fn(O, &T, &T) -> Ordering,
) {
    let directed = |ordering: Ordering, direction| match direction {
        Direction::Ascending => ordering,
        Direction::Descending => ordering.reverse(),
    };
    let last_direction = order.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    rows.sort_by(|a, b| {
        order
            .iter()
            .map(|(key, direction)| directed(compare(*key, a, b), *direction))
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| directed(last(a, b), last_direction))
    });
}

pub(super) fn fits(text: Option<&str>, filter: &TextFilter) -> bool {
    filter.matches(text)
}

/// Whether a value is among those that are allowed; an empty list allows all.
pub(super) fn among<T: PartialEq<U>, U>(value: &T, allowed: &[U]) -> bool {
    allowed.is_empty() || allowed.iter().any(|other| value == other)
}

/// Whether it is what was asked for, if something was.
pub(super) fn is<T: PartialEq<U>, U>(value: &T, wanted: Option<&U>) -> bool {
    wanted.is_none_or(|wanted| value == wanted)
}
