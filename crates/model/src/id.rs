//! Identifiers. Text ids share their text, so that a clone costs a counter and not an allocation.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is; what may stand in an id is checked where it enters the system.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

text_id!(
    /// The id of a Dag, unique in a deployment.
    DagId
);
text_id!(
    /// The id of a task, unique in its Dag.
    TaskId
);
text_id!(
    /// The id of a Dag run, unique in its Dag.
    RunId
);

/// A Dag run's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RunKey {
    pub dag_id: DagId,
    pub run_id: RunId,
}

impl RunKey {
    pub fn new(dag_id: impl Into<DagId>, run_id: impl Into<RunId>) -> Self {
        Self { dag_id: dag_id.into(), run_id: run_id.into() }
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.dag_id, self.run_id)
    }
}

/// Which instance of a mapped task: 0 and up, or [`MapIndex::NONE`] for a task that is not mapped or not expanded yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MapIndex(pub i32);

impl MapIndex {
    pub const NONE: MapIndex = MapIndex(-1);

    pub fn is_mapped(self) -> bool {
        self.0 >= 0
    }
}

/// A task instance's name: it stays the same over its tries.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskInstanceKey {
    pub run: RunKey,
    pub task_id: TaskId,
    pub map_index: MapIndex,
}

impl fmt::Display for TaskInstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.task_id)?;
        if self.map_index.is_mapped() {
            write!(f, "[{}]", self.map_index.0)?;
        }
        Ok(())
    }
}

/// A task's position in its Dag's list of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskIndex(pub u32);

impl TaskIndex {
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// A mapped task group's position in its Dag's list of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupIndex(pub u32);

impl GroupIndex {
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// The id of one try of a task instance: the same from its first process to its last, if it is rescheduled or deferred.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskInstanceId(pub Uuid);

impl fmt::Display for TaskInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One process (or native operator) that works on a try. It is the fencing token: whatever speaks in the name of an
/// attempt that is not the current one is refused. Never kept: no attempt outlives the engine that started it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AttemptId(pub Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a trigger: one deferral of one task instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TriggerId(pub i64);

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an asset event: they grow in the order in which the events come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AssetEventId(pub i64);

impl fmt::Display for AssetEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one version of a Dag's structure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct VersionId(pub Uuid);

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
