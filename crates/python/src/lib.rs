//! The contracts of Airflow's Task SDK: the framed protocol and its messages, the process that forks a child for each
//! attempt and each import, the import of Dag files, serialized Dags, and Python environments.
//!
//! Facts come from the installed packages (`airflow/sdk/execution_time/comms.py`, `supervisor.py`,
//! `airflow/dag_processing/processor.py`, `airflow/serialization/schema.json`).

pub mod bundles;
pub mod environment;
mod evaluate;
mod forkserver;
mod frame;
mod helper_process;
pub mod hitl;
pub mod import;
pub mod message;
pub mod serialized;
pub mod trigger;

pub use evaluate::{Evaluator, Unanswered};
pub use forkserver::{ChildSockets, ForkError, ForkServer, ForkedChild, HelperInfo, Job};
pub use frame::{FrameError, FrameReader, FrameWriter, MAX_FRAME, Request};
pub use helper_process::{Helper, HelperOptions};
