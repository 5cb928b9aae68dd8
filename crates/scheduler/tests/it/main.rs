//! The scheduler from outside: events in, decisions out.

// Clippy's leave for tests does not reach the functions that help them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod backfilled;
mod cost;
mod mapped;
mod oracle;
mod partitions;
mod properties;
mod schedules;
mod text;
mod toy;
mod trigger_rules;
mod whole;

/// How many random Dags a test tries: so many, or what `PROPTEST_CASES` says. A failure prints the smallest one that
/// fails, and its seed is kept in `proptest-regressions`.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |count| count.parse().expect("PROPTEST_CASES is a number"))
}
