//! One test context for everything that needs a server or a Dag folder: the real binary, the real Task SDK, a home and a
//! Dag folder of its own.
//!
//! Everything here panics with what went wrong, as tests do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

mod client;
mod context;
mod server;

pub use client::{Client, Reply};
pub use context::{Context, python};
pub use server::{Server, below};
