//! What templates read from the store: the questions, and the answers.

use jiff::Timestamp;
use model::Json;

use crate::error::LookupError;

/// Answers the questions of a template. Called while a template is rendered, and only if it asks.
pub trait Lookups: Send + Sync {
    /// The value of one XCom, or `None` where there is none.
    fn xcom(&self, query: &XComQuery<'_>) -> Result<Option<Json>, LookupError>;

    /// The values of an XCom of all instances of a task, in the order of their map indexes; `query.map_index` is
    /// not looked at.
    fn xcoms(&self, query: &XComQuery<'_>) -> Result<Vec<Json>, LookupError>;

    /// The text of a variable, from wherever the deployment keeps variables; `None` where there is none.
    fn variable(&self, key: &str) -> Result<Option<String>, LookupError>;

    /// A connection, from wherever the deployment keeps connections; `None` where there is none.
    fn connection(&self, conn_id: &str) -> Result<Option<Connection>, LookupError>;

    /// What is known of the successful run before this one; all `None` where there is none.
    fn previous_successful_run(&self) -> Result<PreviousRun, LookupError>;
}

/// Which XComs are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XComQuery<'a> {
    pub dag_id: &'a str,
    pub run_id: &'a str,
    pub task_id: &'a str,
    pub key: &'a str,
    /// `None` asks for the instance that is not mapped.
    pub map_index: Option<i32>,
    /// Whether an older run's value will do; the latest is taken then.
    pub include_prior_dates: bool,
}

/// A run's dates, as `prev_start_date_success` and its like show them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PreviousRun {
    pub data_interval_start: Option<Timestamp>,
    pub data_interval_end: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
}

/// A connection, as the Task SDK's `Connection` has it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Connection {
    pub conn_id: String,
    pub conn_type: Option<String>,
    pub host: Option<String>,
    pub schema: Option<String>,
    pub login: Option<String>,
    pub password: Option<String>,
    pub port: Option<i64>,
    /// A JSON document.
    pub extra: Option<String>,
}

impl std::fmt::Debug for Connection {
    /// Shows nothing that may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("conn_id", &self.conn_id)
            .field("conn_type", &self.conn_type)
            .finish_non_exhaustive()
    }
}
