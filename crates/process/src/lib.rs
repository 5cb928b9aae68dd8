//! Child processes.
//!
//! All children of the engine are spawned by one small process, the *host*. It is the reaper of every descendant,
//! also of those that detach themselves, and it outlives the engine just long enough to kill them all: whatever way
//! the engine ends, no child survives it. Spawning from a small process is also quicker than from a large one. A host
//! that ends by itself is replaced, when everything that it had started is gone.

mod client;
mod host;
mod packet;
mod table;

pub use client::{Child, Environment, Exit, Host, SpawnError, SpawnRequest, kill_group, signal_group};
pub use host::run as run_host;
pub use packet::{MAX_DESCRIPTORS, MAX_PACKET, PacketSocket, send_with_descriptor};
pub use table::{Mark, kill_marked, kill_tree};
