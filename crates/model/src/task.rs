//! One task of a Dag, as the scheduler and the workers need it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::Json;
use crate::asset::AssetLike;
use crate::dag::Param;
use crate::id::{GroupIndex, TaskId, TaskIndex};
use crate::mapping::ExpandInput;
use crate::trigger_rule::TriggerRule;

/// How a task's priority grows with its position in the Dag.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum WeightRule {
    /// Own weight plus that of everything below: long chains start early.
    #[default]
    Downstream,
    /// Own weight plus that of everything above: runs that have begun end early.
    Upstream,
    Absolute,
    /// A strategy written in Python, by its class path.
    Custom(String),
}

/// Where a task's work is done. The choice is made when the Dag is imported.
#[derive(Clone, PartialEq, Debug)]
pub enum Execution {
    /// Nothing to do: succeeds as soon as it may run.
    Empty,
    /// In the engine, without Python.
    Native(NativeOperator),
    /// By the official task runner. `reason` says why, for the task's log; empty where nothing else was possible.
    Runner { reason: Option<String> },
    /// Nowhere: the engine can't run such a task, and an attempt fails at once. `reason` says why, for the task's log.
    Unsupported { reason: String },
}

/// An operator that the engine runs itself.
#[derive(Clone, PartialEq, Debug)]
pub enum NativeOperator {
    /// If the task is mapped, some of the arguments come from what it maps over.
    Bash(BashSpec),
    /// Does nothing, but its inlets and outlets count.
    Empty,
}

/// The arguments of a `BashOperator`; templates are not rendered yet.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BashSpec {
    pub bash_command: String,
    /// `None` inherits the worker's environment. Values are templates or containers of templates.
    pub env: Option<Json>,
    pub append_env: bool,
    pub cwd: Option<String>,
    pub skip_on_exit_code: Vec<i32>,
    /// For a mapped task: the names of the arguments that are not mapped over. A name can't be both.
    pub given: Vec<String>,
}

/// What a task is deferred to before it has run at all (`StartTriggerArgs`).
#[derive(Clone, PartialEq, Debug)]
pub struct StartTrigger {
    pub classpath: String,
    /// As the serialized Dag has them; some may be templates.
    pub kwargs: Json,
    pub timeout: Option<SignedDuration>,
    pub next_method: String,
    pub next_kwargs: Json,
}

/// Who wants to know of a task's failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notices {
    /// It has an `on_failure_callback`.
    pub on_failure: bool,
    /// It has an `on_retry_callback`.
    pub on_retry: bool,
    pub email_on_failure: bool,
    pub email_on_retry: bool,
}

/// What a task pushes, and to whom it matters.
#[derive(Clone, PartialEq, Debug)]
pub struct Task {
    pub task_id: TaskId,
    pub display_name: Option<String>,
    /// The operator's class name, `task_type` in serialized Dags.
    pub operator: String,
    /// The name that people see: the class name, or `@task` and its like.
    pub operator_name: String,
    pub owner: String,
    pub email: Vec<String>,
    /// What to do about a failure that the task's own process can't tell of any more.
    pub notices: Notices,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,

    pub upstream: Vec<TaskIndex>,
    pub downstream: Vec<TaskIndex>,
    pub trigger_rule: TriggerRule,
    pub depends_on_past: bool,
    pub ignore_first_depends_on_past: bool,
    pub wait_for_past_depends_before_skipping: bool,
    pub wait_for_downstream: bool,
    pub is_setup: bool,
    pub is_teardown: bool,
    pub on_failure_fail_dagrun: bool,
    /// May decide that tasks below it are skipped (branching, short circuits).
    pub can_skip_downstream: bool,

    pub retries: u32,
    pub retry_delay: SignedDuration,
    /// The factor by which the delay grows with each try; 0 and 1 mean that it does not.
    pub retry_exponential_backoff: f64,
    pub max_retry_delay: Option<SignedDuration>,
    pub execution_timeout: Option<SignedDuration>,

    pub pool: String,
    pub pool_slots: u32,
    pub queue: String,
    pub executor: Option<String>,
    pub priority_weight: i32,
    pub weight_rule: WeightRule,
    pub max_active_tis_per_dag: Option<u32>,
    pub max_active_tis_per_dagrun: Option<u32>,

    pub do_xcom_push: bool,
    pub multiple_outputs: bool,
    pub is_sensor: bool,
    /// What it maps over, if it is mapped itself.
    pub expand: Option<Arc<ExpandInput>>,
    /// The innermost mapped task group that it is in.
    pub mapped_group: Option<GroupIndex>,
    pub has_outlets_or_inlets: bool,
    /// Those that are assets; there may be others.
    pub inlets: Vec<AssetLike>,
    pub outlets: Vec<AssetLike>,
    /// Its params with those of its Dag, if they are not the Dag's alone.
    pub params: Vec<Param>,
    pub execution: Execution,
    /// It begins with a trigger, and not in a process (`start_from_trigger`).
    pub start_trigger: Option<Arc<StartTrigger>>,
}

impl Task {
    /// Whether it is mapped itself (`expand`, `expand_kwargs`).
    pub fn is_mapped(&self) -> bool {
        self.expand.is_some()
    }

    /// Whether it can have several instances: it is mapped, or a task group round it is.
    pub fn needs_expansion(&self) -> bool {
        self.expand.is_some() || self.mapped_group.is_some()
    }

    /// A task with Airflow's defaults.
    pub fn new(task_id: impl Into<TaskId>) -> Self {
        Self {
            task_id: task_id.into(),
            display_name: None,
            operator: "BaseOperator".into(),
            operator_name: "BaseOperator".into(),
            owner: "airflow".into(),
            email: Vec::new(),
            notices: Notices::default(),
            start_date: None,
            end_date: None,
            upstream: Vec::new(),
            downstream: Vec::new(),
            trigger_rule: TriggerRule::AllSuccess,
            depends_on_past: false,
            ignore_first_depends_on_past: false,
            wait_for_past_depends_before_skipping: false,
            wait_for_downstream: false,
            is_setup: false,
            is_teardown: false,
            on_failure_fail_dagrun: false,
            can_skip_downstream: false,
            retries: 0,
            retry_delay: SignedDuration::from_secs(300),
            retry_exponential_backoff: 0.0,
            max_retry_delay: None,
            execution_timeout: None,
            pool: "default_pool".into(),
            pool_slots: 1,
            queue: "default".into(),
            executor: None,
            priority_weight: 1,
            weight_rule: WeightRule::Downstream,
            max_active_tis_per_dag: None,
            max_active_tis_per_dagrun: None,
            do_xcom_push: true,
            multiple_outputs: false,
            is_sensor: false,
            expand: None,
            mapped_group: None,
            has_outlets_or_inlets: false,
            inlets: Vec::new(),
            outlets: Vec::new(),
            params: Vec::new(),
            execution: Execution::Runner { reason: None },
            start_trigger: None,
        }
    }
}
