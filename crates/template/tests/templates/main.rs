//! Tests of the public interface: what Airflow rendered is replayed, and junk is thrown at it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it should do")]

mod golden;
mod limits;
mod world;
