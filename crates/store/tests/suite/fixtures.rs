//! Records to write, each with every field filled in; cases change what they are about.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::{
    Change, DagRun, DagRunState, DataInterval, MapIndex, RunKey, RunType, TaskId, TaskInstance, TaskInstanceId,
    TaskInstanceKey, TaskState, TriggeredBy, VersionId,
};
use serde_json::json;
use store::sqlite::SqliteStore;
use store::{
    Connection, DagFilter, DagRecord, ImportedDag, ImportedFile, Page, Pool, RunFilter, Store, TaskInstanceFilter,
    TaskStateEntry, Variable, Write, XCom, XComKey,
};
use tempfile::TempDir;
use uuid::Uuid;

pub fn temporary_sqlite() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (SqliteStore::open(&folder.path().join("updraft.db")).unwrap(), folder)
}

/// A moment, in seconds since the beginning of 2026.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

pub fn some(seconds: i64) -> Option<Timestamp> {
    Some(at(seconds))
}

pub fn task_state(key: &str, updated: i64, expires_at: Option<Timestamp>) -> TaskStateEntry {
    TaskStateEntry { key: key.into(), value: json!({"updated": updated}), updated_at: at(updated), expires_at }
}

pub fn version(number: u128) -> VersionId {
    VersionId(Uuid::from_u128(number))
}

pub fn run_key(dag_id: &str, run_id: &str) -> RunKey {
    RunKey::new(dag_id, run_id)
}

/// A run without a logical date, so that any number of them may exist.
pub fn run(dag_id: &str, run_id: &str) -> DagRun {
    DagRun {
        key: run_key(dag_id, run_id),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Ui,
        triggering_user: Some("admin".into()),
        state: DagRunState::Running,
        logical_date: None,
        data_interval: None,
        run_after: at(0),
        queued_at: some(1),
        start_date: some(2),
        end_date: None,
        last_scheduling_decision: some(3),
        conf: Arc::new(json!({"b": 1, "a": [1, 2.5, null, "x"]})),
        note: None,
        clear_number: 0,
        backfill: None,
        partition: None,
        version: version(1),
        bundle_version: Some("v1".into()),
    }
}

pub fn dated_run(dag_id: &str, run_id: &str, seconds: i64) -> DagRun {
    DagRun {
        run_type: RunType::Scheduled,
        logical_date: some(seconds),
        data_interval: Some(DataInterval { start: at(seconds), end: at(seconds + 60) }),
        run_after: at(seconds + 60),
        ..run(dag_id, run_id)
    }
}

pub fn ti_key(run: &RunKey, task_id: &str) -> TaskInstanceKey {
    TaskInstanceKey { run: run.clone(), task_id: task_id.into(), map_index: MapIndex::NONE }
}

pub fn ti(run: &RunKey, task_id: &str, id: u128) -> TaskInstance {
    TaskInstance {
        id: TaskInstanceId(Uuid::from_u128(id)),
        run: run.clone(),
        task_id: task_id.into(),
        map_index: MapIndex::NONE,
        state: TaskState::Running,
        try_number: 1,
        max_tries: 2,
        version: version(1),
        operator: "BashOperator".into(),
        operator_name: "@task.bash".into(),
        pool: "default_pool".into(),
        pool_slots: 1,
        queue: "default".into(),
        priority_weight: 3,
        executor: Some("LocalExecutor".into()),
        scheduled_at: some(10),
        queued_at: some(11),
        start_date: some(12),
        end_date: None,
        hostname: Some("host".into()),
        unixname: Some("user".into()),
        pid: Some(4711),
        rendered_map_index: Some("name".into()),
        retry_delay_override: Some(SignedDuration::from_millis(1500)),
        reschedule_date: some(13),
    }
}

pub fn xcom_key(run: &RunKey, task_id: &str, key: &str) -> XComKey {
    XComKey { run: run.clone(), task_id: TaskId::from(task_id), map_index: MapIndex::NONE, key: key.into() }
}

pub fn xcom(run: &RunKey, task_id: &str, key: &str) -> XCom {
    XCom {
        key: xcom_key(run, task_id, key),
        value: json!({"z": [1], "a": "ü"}),
        at: at(20),
        mapped_length: Some(3),
        dag_result: true,
    }
}

pub fn variable(key: &str, value: &str) -> Variable {
    Variable { key: key.into(), value: value.into(), description: Some("why".into()), ..Variable::default() }
}

pub fn connection(id: &str) -> Connection {
    Connection {
        connection_id: id.into(),
        conn_type: "http".into(),
        description: Some("why".into()),
        host: Some("example.org".into()),
        login: Some("me".into()),
        password: Some("secret".into()),
        schema: Some("https".into()),
        port: Some(443),
        extra: Some("{\"a\": 1}".into()),
        ..Connection::default()
    }
}

pub fn pool(name: &str) -> Pool {
    Pool { name: name.into(), slots: 4, description: Some("why".into()), include_deferred: true }
}

/// A Dag as an import finds it; its structure is that of `hash`.
pub fn dag(dag_id: &str, version_id: u128, hash: &str) -> ImportedDag {
    ImportedDag {
        dag_id: dag_id.into(),
        display_name: format!("The {dag_id}"),
        description: Some("what it does".into()),
        paused_upon_creation: true,
        bundle_version: Some("v1".into()),
        relative_fileloc: format!("{dag_id}.py"),
        fileloc: format!("/dags/{dag_id}.py"),
        owners: vec!["airflow".into()],
        tags: vec!["tag".into()],
        timetable_type: "CronTriggerTimetable".into(),
        timetable_summary: Some("0 0 * * *".into()),
        timetable_description: Some("At 00:00".into()),
        max_active_tasks: 16,
        max_active_runs: 2,
        max_consecutive_failed_dag_runs: 5,
        has_task_concurrency_limits: true,
        allowed_run_types: Some(vec!["manual".into()]),
        unproven: false,
        assets: Vec::new(),
        aliases: Vec::new(),
        facts: json!({"timetable": {"__type": "cron"}, "earliest": null}),
        version: version(version_id),
        hash: hash.into(),
        serialized: json!({"dag": {"dag_id": dag_id, "hash": hash}}),
        extras: json!({"native": ["a"]}),
    }
}

pub fn file(path: &str, dags: Vec<ImportedDag>) -> ImportedFile {
    ImportedFile {
        bundle_name: "dags-folder".into(),
        relative_fileloc: path.into(),
        fingerprint: json!({"hash": "abc"}),
        at: at(100),
        duration: SignedDuration::from_millis(250),
        dags,
        errors: Vec::new(),
    }
}

pub fn imported(path: &str, dags: Vec<ImportedDag>) -> Write {
    Write::Imported(Box::new(file(path, dags)))
}

pub fn put_run(run: &DagRun) -> Write {
    Write::Decision(Change::Run(Box::new(run.clone())))
}

pub fn put_ti(ti: &TaskInstance) -> Write {
    Write::Decision(Change::TaskInstance(Box::new(ti.clone())))
}

pub fn put_xcom(xcom: &XCom) -> Write {
    Write::XCom(Box::new(xcom.clone()))
}

pub fn run_ids(store: &dyn Store, filter: &RunFilter) -> Vec<String> {
    let (runs, total) = store.runs(filter, &[], Page::ALL).unwrap();
    assert_eq!(total as usize, runs.len(), "the total of {filter:?}");
    runs.into_iter().map(|run| run.key.run_id.to_string()).collect()
}

pub fn task_ids(store: &dyn Store, filter: &TaskInstanceFilter) -> Vec<String> {
    let (tis, total) = store.task_instances(filter, &[], Page::ALL).unwrap();
    assert_eq!(total as usize, tis.len(), "the total of {filter:?}");
    tis.into_iter().map(|ti| ti.task_id.to_string()).collect()
}

pub fn dag_ids(store: &dyn Store, filter: &DagFilter) -> Vec<String> {
    let (dags, total) = store.dags(filter, &[], Page::ALL).unwrap();
    assert_eq!(total as usize, dags.len(), "the total of {filter:?}");
    dags.into_iter().map(|dag| dag.dag_id.to_string()).collect()
}

pub fn the_dag(store: &dyn Store, dag_id: &str) -> DagRecord {
    store.dag(&dag_id.into()).unwrap().unwrap_or_else(|| panic!("the Dag {dag_id} is not there"))
}
