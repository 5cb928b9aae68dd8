//! Tasks and Dag files, with the real binary and the real Task SDK.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod asset_states;
mod assets;
mod backfills;
mod bash;
mod bundles;
mod by_hand;
mod callbacks;
mod clearing;
mod contracts;
mod failures;
mod human;
mod impersonation;
mod import;
mod kill;
mod listeners;
mod retry_policies;
mod secrets;
mod support;
mod task_states;
mod timetables;
mod waiting;
mod watchers;
mod weights;
