//! Operators that the engine runs itself: what is to be done, and what came of it. Processes, logs and time-outs are
//! the worker's.

pub mod bash;
pub mod pyrepr;
