//! Histories on virtual time, each from a seed: the engine's own core with a store and simulated workers, crashes
//! between decide, commit and act, commits that fail, messages that come late, twice or never.
//!
//! Safety: nothing runs twice within a try, nothing before what it waits for, nothing beyond a limit. Liveness: when
//! the faults have stopped, every run ends, with the states that a slow and obvious oracle expects.

mod assets;
mod backfills;
mod checks;
mod coverage;
mod dags;
mod hitl;
mod oracle;
mod partitions;
mod people;
mod rng;
mod workers;
mod world;

pub use checks::Violation;
pub use coverage::Coverage;
pub use world::World;

/// Lives one history.
pub fn run(seed: u64) -> Result<(), Violation> {
    World::new(seed, false).run()
}

/// Lives one history, and adds what happens in it to `coverage`.
pub fn count(seed: u64, coverage: &mut Coverage) -> Result<(), Violation> {
    let mut world = World::counting(seed);
    let result = world.run();
    coverage.merge(world.coverage().unwrap_or(&Coverage::default()));
    result
}
