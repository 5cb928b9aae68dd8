//! The task instances that templates are rendered for in tests.

use std::collections::HashMap;

use jiff::Timestamp;
use model::{
    DagRun, DagRunState, DataInterval, Json, MapIndex, RunKey, RunType, Task, TaskInstance, TaskInstanceId, TaskState,
    TriggeredBy, VersionId,
};
use serde::Deserialize;
use template::{Connection, Context, Facts, LookupError, Lookups, PreviousRun, XComQuery};
use uuid::Uuid;

/// A recording.
#[derive(Deserialize)]
pub struct Recorded {
    contexts: HashMap<String, Fact>,
    variables: HashMap<String, String>,
    connections: HashMap<String, RecordedConnection>,
    xcoms: Vec<(String, Option<String>, String, String, i32, Json)>,
    pub environments: HashMap<String, HashMap<String, String>>,
    pub cases: Vec<Case>,
}

/// A template, and what became of it.
#[derive(Deserialize)]
pub struct Case {
    pub context: String,
    pub expect: String,
    pub template: String,
    pub rendered: Option<String>,
    pub error: Option<String>,
    pub message: Option<String>,
}

#[derive(Deserialize)]
struct RecordedConnection {
    conn_id: String,
    conn_type: Option<String>,
    host: Option<String>,
    schema: Option<String>,
    login: Option<String>,
    password: Option<String>,
    port: Option<i64>,
    extra: Option<String>,
}

#[derive(Deserialize)]
struct Previous {
    data_interval_start: Option<Timestamp>,
    data_interval_end: Option<Timestamp>,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
}

/// The facts of one task instance.
#[derive(Deserialize)]
struct Fact {
    dag_id: String,
    task_id: String,
    run_id: String,
    run_type: String,
    run_state: String,
    logical_date: Option<Timestamp>,
    data_interval_start: Option<Timestamp>,
    data_interval_end: Option<Timestamp>,
    run_after: Timestamp,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    conf: Json,
    triggering_user_name: Option<String>,
    note: Option<String>,
    team_name: Option<String>,
    partition_key: Option<String>,
    partition_date: Option<Timestamp>,
    clear_number: u32,
    params: Json,
    owner: String,
    email: Vec<String>,
    retries: u32,
    try_number: u32,
    max_tries: u32,
    map_index: i32,
    hostname: String,
    ti_start_date: Timestamp,
    task_reschedule_count: u32,
    previous: Previous,
}

/// A task instance, and what is in the store.
pub struct World {
    run: DagRun,
    instance: TaskInstance,
    task: Task,
    fact: Fact,
    store: Store,
}

struct Store {
    run_id: String,
    variables: HashMap<String, String>,
    connections: HashMap<String, Connection>,
    xcoms: Vec<(String, Option<String>, String, String, i32, Json)>,
    previous: PreviousRun,
}

impl Store {
    fn new(fact: &Fact, recorded: &Recorded) -> Self {
        Store {
            run_id: fact.run_id.clone(),
            variables: recorded.variables.clone(),
            connections: recorded.connections.iter().map(|(id, found)| (id.clone(), connection(found))).collect(),
            xcoms: recorded.xcoms.clone(),
            previous: PreviousRun {
                data_interval_start: fact.previous.data_interval_start,
                data_interval_end: fact.previous.data_interval_end,
                start_date: fact.previous.start_date,
                end_date: fact.previous.end_date,
            },
        }
    }

    fn values(&self, query: &XComQuery<'_>) -> impl Iterator<Item = (i32, Json)> {
        let wanted = self.xcoms.iter().filter(|(dag_id, run_id, task_id, key, ..)| {
            let run_id = run_id.as_deref().unwrap_or(&self.run_id);
            (dag_id.as_str(), run_id, task_id.as_str(), key.as_str())
                == (query.dag_id, query.run_id, query.task_id, query.key)
        });
        wanted.map(|(.., index, value)| (*index, value.clone()))
    }
}

impl Lookups for Store {
    fn xcom(&self, query: &XComQuery<'_>) -> Result<Option<Json>, LookupError> {
        let wanted = query.map_index.unwrap_or(-1);
        Ok(self.values(query).find(|(index, _)| *index == wanted).map(|(_, value)| value))
    }

    fn xcoms(&self, query: &XComQuery<'_>) -> Result<Vec<Json>, LookupError> {
        Ok(self.values(query).map(|(_, value)| value).collect())
    }

    fn variable(&self, key: &str) -> Result<Option<String>, LookupError> {
        Ok(self.variables.get(key).cloned())
    }

    fn connection(&self, conn_id: &str) -> Result<Option<Connection>, LookupError> {
        Ok(self.connections.get(conn_id).cloned())
    }

    fn previous_successful_run(&self) -> Result<PreviousRun, LookupError> {
        Ok(self.previous)
    }
}

impl World {
    fn new(fact: Fact, recorded: &Recorded) -> Self {
        let key = RunKey::new(fact.dag_id.as_str(), fact.run_id.as_str());
        let interval = fact.data_interval_start.zip(fact.data_interval_end);
        let version = VersionId(Uuid::nil());
        let run = DagRun {
            key: key.clone(),
            run_type: fact.run_type.parse::<RunType>().unwrap(),
            triggered_by: TriggeredBy::Timetable,
            triggering_user: fact.triggering_user_name.clone(),
            state: fact.run_state.parse::<DagRunState>().unwrap(),
            logical_date: fact.logical_date,
            data_interval: interval.map(|(start, end)| DataInterval { start, end }),
            run_after: fact.run_after,
            queued_at: None,
            start_date: fact.start_date,
            end_date: fact.end_date,
            last_scheduling_decision: None,
            conf: fact.conf.clone().into(),
            note: fact.note.clone(),
            clear_number: fact.clear_number,
            version,
            backfill: None,
            partition: None,
            bundle_version: None,
        };
        let mut task = Task::new(fact.task_id.as_str());
        task.operator = "BashOperator".into();
        task.owner = fact.owner.clone();
        task.email = fact.email.clone();
        task.retries = fact.retries;
        let instance = TaskInstance {
            id: TaskInstanceId(Uuid::nil()),
            run: key,
            task_id: fact.task_id.as_str().into(),
            map_index: MapIndex(fact.map_index),
            state: TaskState::Running,
            try_number: fact.try_number,
            max_tries: fact.max_tries,
            version,
            operator: "BashOperator".into(),
            operator_name: "BashOperator".into(),
            pool: "default_pool".into(),
            pool_slots: 1,
            queue: "default".into(),
            priority_weight: 1,
            executor: None,
            scheduled_at: None,
            queued_at: None,
            start_date: Some(fact.ti_start_date),
            end_date: None,
            hostname: Some(fact.hostname.as_str().into()),
            unixname: None,
            pid: None,
            rendered_map_index: None,
            retry_delay_override: None,
            reschedule_date: None,
        };
        let store = Store::new(&fact, recorded);
        World { run, instance, task, fact, store }
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            facts: Facts {
                task_reschedule_count: self.fact.task_reschedule_count,
                partition_key: self.fact.partition_key.as_deref(),
                partition_date: self.fact.partition_date,
                team_name: self.fact.team_name.as_deref(),
            },
            ..Context::new(&self.run, &self.instance, &self.task, &self.fact.params, &self.store)
        }
    }
}

fn connection(found: &RecordedConnection) -> Connection {
    Connection {
        conn_id: found.conn_id.clone(),
        conn_type: found.conn_type.clone(),
        host: found.host.clone(),
        schema: found.schema.clone(),
        login: found.login.clone(),
        password: found.password.clone(),
        port: found.port,
        extra: found.extra.clone(),
    }
}

/// The recording of this repository, or the one that `TEMPLATE_GOLDEN` names.
pub fn recorded() -> (Recorded, HashMap<String, World>) {
    let text = match std::env::var("TEMPLATE_GOLDEN") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("../golden/templates.json").to_owned(),
    };
    let mut recorded: Recorded = serde_json::from_str(&text).unwrap();
    let facts = std::mem::take(&mut recorded.contexts);
    let worlds = facts.into_iter().map(|(name, fact)| (name, World::new(fact, &recorded))).collect();
    (recorded, worlds)
}
