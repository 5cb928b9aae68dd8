//! The IO shell round the scheduler: one loop that decides, commits and then acts.

mod assets;
pub mod backfilling;
mod core;
mod deadlines;
mod facts;
mod handle;
mod hitl;
mod lengths;
mod lookup;
pub mod marking;
mod params;
mod pulse;
mod run_loop;
pub mod selection;
pub mod timetables;
pub mod triggering;
pub mod weights;

pub use crate::core::{Core, Input, Started, TriggerRequest, pool_event};
pub use facts::{FactsError, facts_of, facts_to_json};
pub use handle::{AnswerFailure, BackfillFailure, ChangeFailure, EngineHandle, EngineStopped, TriggerFailure};
pub use hitl::AnswerRequest;
pub use lookup::DagSource;
pub use pulse::Pulse;
pub use run_loop::{Clock, Dispatch, Engine, EngineInbox, EngineOptions, SystemClock};
