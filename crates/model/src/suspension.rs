//! Task instances that have left their process and go on in another one: deferred to a trigger, or waiting for a person.

use std::sync::Arc;

use jiff::Timestamp;

use crate::Json;
use crate::id::{TaskInstanceKey, TriggerId};

/// What a task instance waits for, and how it goes on then. Kept until the attempt that goes on has ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Suspension {
    pub key: TaskInstanceKey,
    /// `None` once it has fired, and where a person is waited for.
    pub trigger: Option<Arc<Trigger>>,
    /// Until when it waits.
    pub timeout: Option<Timestamp>,
    /// The operator's method that goes on.
    pub next_method: String,
    /// That method's arguments, as the Task SDK encodes them.
    pub next_kwargs: Json,
}

/// Something outside of any task's process that says when a deferred task goes on.
#[derive(Clone, PartialEq, Debug)]
pub struct Trigger {
    pub id: TriggerId,
    /// The path of its class.
    pub classpath: String,
    /// What its class is made with, as the Task SDK encodes it; nothing (`null`) if the store can't decrypt it.
    pub kwargs: Json,
    pub queue: Option<String>,
    pub created_at: Timestamp,
    /// What the engine waits for itself; everything else runs in the trigger runner.
    pub timer: Option<TriggerTimer>,
}

/// A trigger that is nothing but a moment.
#[derive(Clone, PartialEq, Debug)]
pub struct TriggerTimer {
    pub at: Timestamp,
    pub event: TimerEvent,
}

/// What happens when the moment has come.
#[derive(Clone, PartialEq, Debug)]
pub enum TimerEvent {
    /// The task goes on, and is told this.
    Resume(Json),
    /// The task has succeeded.
    Succeed,
}
