//! A server over a store in memory, as tests need it.

#![allow(dead_code, reason = "every test needs another part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

pub mod openapi;
pub mod recorded;
pub mod replay;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use api::{ApiConfig, ApiOptions, ApiState, AuthSettings, Role, Structures, UserAccount};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use engine::{DagSource, Engine, EngineHandle, EngineInbox};
use jiff::{SignedDuration, Timestamp};
use model::timetable::Timetable;
use model::{
    Change, Dag, DagBuilder, DagRun, DagRunState, MapIndex, RunKey, RunType, Task, TaskInstance, TaskInstanceId,
    TaskState, TriggeredBy, VersionId,
};
use serde_json::{Value, json};
use store::memory::MemoryStore;
use store::{Commit, ImportedDag, ImportedFile, Write};
use tower::ServiceExt;
use uuid::Uuid;

pub const VERSION: VersionId = VersionId(Uuid::from_u128(1));

/// Structures by version.
pub struct Dags(pub HashMap<VersionId, Arc<Dag>>);

impl DagSource for Dags {
    fn dag(&self, version: VersionId) -> Result<Option<Arc<Dag>>, String> {
        Ok(self.0.get(&version).cloned())
    }
}

/// The API, what it stands on, and the folder of its logs.
pub struct Server {
    pub store: Arc<MemoryStore>,
    pub state: ApiState,
    pub engine: EngineHandle,
    router: Router,
    logs: tempfile::TempDir,
    /// Keeps what the engine is told.
    pub inbox: Option<EngineInbox>,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn kind(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

fn auth(all_admins: bool, folder: &Path) -> AuthSettings {
    let roles = ["viewer", "user", "op", "admin"];
    let passwords: serde_json::Map<String, Value> =
        roles.iter().map(|role| ((*role).to_owned(), format!("{role}-login-secret").into())).collect();
    let passwords_file = folder.join("passwords");
    std::fs::write(&passwords_file, Value::Object(passwords).to_string()).unwrap();
    AuthSettings {
        all_admins,
        users: roles
            .iter()
            .map(|role| UserAccount { name: (*role).into(), role: Role::named(role).unwrap() })
            .collect(),
        passwords_file,
        secret: "signing-secret-0123456789".into(),
        expiration: 60,
        cli_expiration: 60,
        audience: String::new(),
        issuer: String::new(),
        leeway: 10,
    }
}

impl Server {
    pub fn new() -> Self {
        Self::with(ApiConfig { secret_key: "key".into(), ..ApiConfig::default() }, true)
    }

    pub fn with(config: ApiConfig, all_admins: bool) -> Self {
        let tasks = ["one", "mapped", "skipped", "blocked", "lost"];
        let structures = Arc::new(Dags(HashMap::from([(VERSION, dag("letters", &tasks))])));
        Self::made_of(Arc::new(MemoryStore::new()), structures, config, all_admins)
    }

    /// A server whose structures come from its store.
    pub fn over(structures: impl FnOnce(Arc<MemoryStore>) -> Arc<dyn Structures>) -> Self {
        let store = Arc::new(MemoryStore::new());
        let config = ApiConfig { secret_key: "key".into(), ..ApiConfig::default() };
        Self::made_of(store.clone(), structures(store), config, true)
    }

    fn made_of(store: Arc<MemoryStore>, structures: Arc<dyn Structures>, config: ApiConfig, all_admins: bool) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let (engine, inbox) = Engine::channel();
        let state = ApiState::new(ApiOptions {
            store: store.clone(),
            engine: engine.clone(),
            structures,
            log_folder: logs.path().to_owned(),
            auth: auth(all_admins, logs.path()),
            config,
        });
        Self { store, engine, router: api::router(state.clone()), state, logs, inbox: Some(inbox), token: None }
    }

    pub fn logs(&self) -> &Path {
        self.logs.path()
    }

    /// Logs in; everything after this is asked as that user.
    pub async fn log_in(&mut self, name: &str) {
        let body = json!({"username": name, "password": format!("{name}-login-secret")}).to_string();
        let answer = self.send("POST", "/auth/token", Some(&body), &[]).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        self.token = Some(answer.json()["access_token"].as_str().unwrap().to_owned());
    }

    pub async fn response(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Response<Body> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_owned()))).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<&str>, headers: &[(&str, &str)]) -> Answer {
        let response = self.response(method, path, body, headers).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[]).await
    }

    pub fn write(&self, writes: Vec<Write>) {
        self.store.commit(writes).unwrap();
    }

    /// Where the log of a try is.
    pub fn log_path(&self, ti: &TaskInstance) -> PathBuf {
        worker::log_path(self.logs(), ti, ti.try_number)
    }

    pub fn write_log(&self, ti: &TaskInstance, text: &str) {
        let path = self.log_path(ti);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

pub fn dag(dag_id: &str, tasks: &[&str]) -> Arc<Dag> {
    let mut builder = DagBuilder::new(dag_id, Timetable::Null);
    for task in tasks {
        builder.task(Task::new(*task));
    }
    builder.build().unwrap()
}

pub fn imported(dag_id: &str, display_name: &str) -> Write {
    let dag = ImportedDag {
        dag_id: dag_id.into(),
        display_name: display_name.into(),
        description: None,
        paused_upon_creation: false,
        bundle_version: None,
        relative_fileloc: format!("{dag_id}.py"),
        fileloc: format!("/dags/{dag_id}.py"),
        owners: vec!["airflow".into()],
        tags: Vec::new(),
        timetable_type: "airflow.timetables.simple.NullTimetable".into(),
        timetable_summary: None,
        timetable_description: None,
        max_active_tasks: 16,
        max_active_runs: 16,
        max_consecutive_failed_dag_runs: 0,
        has_task_concurrency_limits: false,
        allowed_run_types: None,
        unproven: false,
        assets: Vec::new(),
        aliases: Vec::new(),
        facts: json!({}),
        version: VERSION,
        hash: "h".into(),
        serialized: json!({}),
        extras: json!({}),
    };
    imported_file("dags-folder", &format!("{dag_id}.py"), Timestamp::UNIX_EPOCH, vec![dag], Vec::new())
}

pub fn imported_file(
    bundle: &str,
    file: &str,
    at: Timestamp,
    dags: Vec<ImportedDag>,
    errors: Vec<(String, String)>,
) -> Write {
    Write::Imported(Box::new(ImportedFile {
        bundle_name: bundle.into(),
        relative_fileloc: file.into(),
        fingerprint: json!({}),
        at,
        duration: SignedDuration::ZERO,
        dags,
        errors,
    }))
}

pub fn run(dag_id: &str, run_id: &str, logical_date: Option<Timestamp>, run_after: Timestamp) -> DagRun {
    DagRun {
        key: RunKey::new(dag_id, run_id),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::RestApi,
        triggering_user: None,
        state: DagRunState::Success,
        logical_date,
        data_interval: None,
        run_after,
        queued_at: None,
        start_date: None,
        end_date: None,
        last_scheduling_decision: None,
        conf: Arc::new(json!({})),
        note: None,
        clear_number: 0,
        backfill: None,
        partition: None,
        version: VERSION,
        bundle_version: None,
    }
}

pub fn task_instance(run: &RunKey, task_id: &str, map_index: i32, state: TaskState, try_number: u32) -> TaskInstance {
    TaskInstance {
        id: TaskInstanceId(Uuid::now_v7()),
        run: run.clone(),
        task_id: task_id.into(),
        map_index: MapIndex(map_index),
        state,
        try_number,
        max_tries: 0,
        version: VERSION,
        operator: "EmptyOperator".into(),
        operator_name: "EmptyOperator".into(),
        pool: "default_pool".into(),
        pool_slots: 1,
        queue: "default".into(),
        priority_weight: 1,
        executor: None,
        scheduled_at: None,
        queued_at: None,
        start_date: None,
        end_date: None,
        hostname: None,
        unixname: None,
        pid: None,
        rendered_map_index: None,
        retry_delay_override: None,
        reschedule_date: None,
    }
}

pub fn decided_run(run: DagRun) -> Write {
    Write::Decision(Change::Run(Box::new(run)))
}

pub fn decided(ti: TaskInstance) -> Write {
    Write::Decision(Change::TaskInstance(Box::new(ti)))
}

/// The next part of a body.
pub async fn next_frame(body: &mut Body) -> Option<Result<http_body::Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}
