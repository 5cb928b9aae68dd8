//! The scheduler from outside: events in, decisions out.

// Clippy's leave for tests does not reach the functions that help them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod cost;
mod oracle;
mod properties;
mod schedules;
mod text;
mod toy;
mod trigger_rules;
