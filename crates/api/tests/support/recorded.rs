//! A deployment that was recorded from Airflow, and requests whose answers were recorded there.

use std::sync::Arc;

use engine::{DagSource, Dispatch, Engine, EngineOptions, facts_to_json};
use jiff::Timestamp;
use model::timetable::NextRun;
use model::{
    AttemptId, Change, Dag, DagRun, DagSchedule, DataInterval, HitlDetail, HitlQuestion, HitlResponse, HitlUser,
    MapIndex, RunKey, TaskInstance, TaskInstanceId, TaskState, TriggerId, TriggeredBy, VersionId,
};
use scheduler::{ArmTrigger, Obstacle, StartAttempt, StopReason};
use serde_json::{Value, json};
use store::{ImportedDag, Store, Write, XCom, XComKey};
use uuid::Uuid;

use super::Server;

/// Structures as the store has them.
struct Stored(Arc<dyn Store>);

impl DagSource for Stored {
    fn dag(&self, version: VersionId) -> Result<Option<Arc<Dag>>, String> {
        let found = self.0.version(version).map_err(|error| error.to_string())?;
        Ok(found.map(|found| python::serialized::read(&found.serialized, &found.extras).unwrap().0))
    }
}

/// Starts nothing.
struct Idle;

impl Dispatch for Idle {
    fn call(&mut self, _: Box<model::Callback>, _: Option<Box<model::DagRun>>) {}
    fn start(&mut self, _: Box<StartAttempt>) {}
    fn stop(&mut self, _: AttemptId, _: StopReason) {}
    fn arm(&mut self, _: Box<ArmTrigger>) {}
    fn watch(&mut self, _: Box<scheduler::WatchTrigger>) {}
    fn disarm(&mut self, _: TriggerId) {}
    fn acknowledge(&mut self, _: AttemptId) {}
    fn run_finished(&mut self, _: &DagRun, _: &str) {}
    fn ask_timetable(&mut self, _: Box<scheduler::AskTimetable>) {}
    fn ask_mapper(&mut self, _: Box<scheduler::AskMapper>) {}
    fn ask_weights(&mut self, _: Box<scheduler::AskWeights>) {}
    fn stuck(&mut self, _: &TaskInstance, _: &Obstacle) {}
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| text.parse().unwrap())
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

/// A Dag as the importer would have put it into the store, and its schedule as Airflow had it.
fn dag(known: &Value) -> (ImportedDag, Write) {
    let serialized = &known["serialized"];
    let extras = json!({});
    let (dag, listing) = python::serialized::read(serialized, &extras).unwrap();
    let imported = ImportedDag {
        dag_id: dag.dag_id.clone(),
        display_name: listing.display_name,
        description: listing.description,
        paused_upon_creation: known["paused"].as_bool().unwrap(),
        bundle_version: None,
        relative_fileloc: listing.relative_fileloc,
        fileloc: listing.fileloc,
        owners: listing.owners,
        tags: listing.tags,
        timetable_type: text(&known["timetable_type"]),
        timetable_summary: known["timetable_summary"].as_str().map(str::to_owned),
        timetable_description: known["timetable_description"].as_str().map(str::to_owned),
        max_active_tasks: dag.limits.max_active_tasks,
        max_active_runs: number(&known["max_active_runs"]) as u32,
        max_consecutive_failed_dag_runs: dag.limits.max_consecutive_failed_dag_runs,
        has_task_concurrency_limits: listing.has_task_concurrency_limits,
        allowed_run_types: dag.allowed_run_types.clone(),
        unproven: false,
        assets: Vec::new(),
        aliases: Vec::new(),
        facts: facts_to_json(&dag, &listing.timetable, None, false, false),
        version: VersionId(text(&known["version"]).parse().unwrap()),
        hash: "h".into(),
        serialized: serialized.clone(),
        extras,
    };
    let next = |at: usize| moment(&known["next"][at]);
    let next_run = next(0).map(|run_after| NextRun {
        run_after,
        data_interval: DataInterval { start: next(1).unwrap(), end: next(2).unwrap() },
    });
    let schedule = Box::new(DagSchedule { next_run, ..DagSchedule::default() });
    (imported, Write::Decision(Change::Schedule { dag_id: dag.dag_id.clone(), schedule }))
}

fn run(row: &Value, versions: &dyn Fn(&str) -> VersionId) -> DagRun {
    let run_after = moment(&row[3]).unwrap();
    DagRun {
        run_type: text(&row[8]).parse().unwrap(),
        triggered_by: TriggeredBy::Cli,
        triggering_user: row[9].as_str().map(str::to_owned),
        state: text(&row[4]).parse().unwrap(),
        queued_at: Some(run_after),
        start_date: moment(&row[5]),
        end_date: moment(&row[6]),
        conf: Arc::new(row[7].clone()),
        note: row[10].as_str().map(str::to_owned),
        version: versions(row[0].as_str().unwrap()),
        ..super::run(row[0].as_str().unwrap(), row[1].as_str().unwrap(), moment(&row[2]), run_after)
    }
}

/// A task instance, in the order in which they were made.
fn task_instance(place: usize, row: &Value, defaults: &Value, version: VersionId) -> (TaskInstance, Vec<TaskInstance>) {
    let key = RunKey::new(text(&row[0]), text(&row[1]));
    let state = |value: &Value| *TaskState::ALL.iter().find(|state| state.name() == value.as_str()).unwrap();
    let id = |offset: usize| TaskInstanceId(Uuid::from_u128((place * 10 + offset) as u128 + 1));
    let current = TaskInstance {
        id: id(9),
        version,
        max_tries: number(&defaults[4]) as u32,
        pool: text(&defaults[5]).into(),
        pool_slots: number(&defaults[6]) as u32,
        priority_weight: number(&defaults[7]) as i32,
        operator: text(&defaults[8]).into(),
        operator_name: text(&defaults[9]).into(),
        start_date: moment(&row[7]),
        end_date: moment(&row[8]),
        queue: text(&row[9]).into(),
        ..super::task_instance(
            &key,
            row[2].as_str().unwrap(),
            number(&row[3]) as i32,
            state(&row[4]),
            number(&row[5]) as u32,
        )
    };
    let before = row[6].as_array().unwrap().iter().enumerate().map(|(at, past)| TaskInstance {
        id: id(at),
        state: state(past),
        try_number: at as u32 + 1,
        queue: "default".into(),
        start_date: None,
        end_date: None,
        ..current.clone()
    });
    (current.clone(), before.collect())
}

fn fill(server: &Server, fixture: &Value) {
    let list = |name: &str| fixture[name].as_array().unwrap().clone();
    let (imported, schedules): (Vec<ImportedDag>, Vec<Write>) = list("dags").iter().map(dag).unzip();
    let known: Vec<(String, VersionId)> = imported.iter().map(|dag| (dag.dag_id.to_string(), dag.version)).collect();
    let version = |dag_id: &str| known.iter().find(|(known, _)| known == dag_id).unwrap().1;
    server.write(vec![super::imported_file("dags-folder", "all.py", Timestamp::now(), imported, Vec::new())]);
    server.write(schedules);
    for row in list("runs") {
        server.write(vec![super::decided_run(run(&row, &version))]);
    }
    for (place, (row, defaults)) in list("task_instances").iter().zip(&list("task_defaults")).enumerate() {
        let (current, before) = task_instance(place, row, defaults, version(row[0].as_str().unwrap()));
        server.write(vec![super::decided(current)]);
        let archived = before.into_iter().map(|ti| Write::Decision(Change::ArchivedTry(Box::new(ti))));
        server.write(archived.collect());
    }
    for row in list("rendered") {
        let key = model::TaskInstanceKey {
            run: RunKey::new(text(&row[0]), text(&row[1])),
            task_id: text(&row[2]).into(),
            map_index: MapIndex(number(&row[3]) as i32),
        };
        server.write(vec![Write::RenderedFields { key, fields: row[4].clone() }]);
    }
    for row in list("links") {
        let key = XComKey {
            run: RunKey::new(text(&row[0]), text(&row[1])),
            task_id: text(&row[2]).into(),
            map_index: MapIndex(number(&row[3]) as i32),
            key: text(&row[4]),
        };
        let at = Timestamp::UNIX_EPOCH;
        let xcom = XCom { key, value: row[5].clone(), at, mapped_length: None, dag_result: false };
        server.write(vec![Write::XCom(Box::new(xcom))]);
    }
    for row in fixture["asked"].as_array().into_iter().flatten() {
        let writes = asked(row, &*server.store);
        server.write(writes);
    }
}

/// A question of a task, or of one of its tries that gave way.
fn asked(row: &Value, store: &dyn Store) -> Vec<Write> {
    let texts = |value: &Value| -> Option<Vec<String>> { Some(value.as_array()?.iter().map(text).collect()) };
    let user =
        |value: &Value| Some(HitlUser { id: value["id"].as_str()?.into(), name: value["name"].as_str()?.into() });
    let key = model::TaskInstanceKey {
        run: RunKey::new(text(&row[0]), text(&row[1])),
        task_id: text(&row[2]).into(),
        map_index: MapIndex(number(&row[3]) as i32),
    };
    let question = HitlQuestion {
        options: texts(&row[5]).unwrap(),
        subject: text(&row[6]),
        body: row[7].as_str().map(str::to_owned),
        defaults: texts(&row[8]),
        multiple: row[9].as_bool().unwrap(),
        params: row[10].clone(),
        assigned_users: row[11].as_array().unwrap().iter().filter_map(user).collect(),
    };
    let created_at = moment(&row[12]).unwrap();
    let detail = HitlDetail { key: key.clone(), question, created_at, response: None, untold: false };
    let mut writes = vec![Write::HitlAsked(Box::new(detail))];
    if let Some(answer) = row[13].as_array() {
        let response = Box::new(HitlResponse {
            at: moment(&answer[0]).unwrap(),
            by: user(&answer[1]),
            chosen_options: texts(&answer[2]).unwrap(),
            params_input: answer[3].clone(),
        });
        writes.push(Write::Decision(Change::HitlAnswered { key: key.clone(), response, untold: false }));
    }
    if let Some(number) = row[4].as_u64() {
        let tries = store.archived_tries(&key).unwrap().into_iter().map(|archived| archived.task_instance);
        let of_try = tries.into_iter().find(|ti| u64::from(ti.try_number) == number).unwrap();
        writes.push(Write::Decision(Change::ArchivedTry(Box::new(of_try))));
    }
    writes
}

/// The deployment that was asked, with an engine that answers or without one.
fn build(fixture: &Value, with_engine: bool) -> (Server, Option<Engine>) {
    let mut server = Server::over(|store| Arc::new(Stored(store)));
    fill(&server, fixture);
    let engine = with_engine.then(|| {
        let store: Arc<dyn Store> = server.store.clone();
        start_engine(&mut server, Stored(store))
    });
    (server, engine)
}

/// An engine that starts nothing.
pub fn start_engine(server: &mut Server, dags: impl DagSource + 'static) -> Engine {
    let options =
        EngineOptions { config: scheduler::Config { parallelism: 4, ..scheduler::Config::default() }, seed: 1 };
    let store: Arc<dyn Store> = server.store.clone();
    Engine::start(server.inbox.take().unwrap(), options, store, dags, Idle).unwrap()
}

/// Asks everything of one scenario again.
pub async fn replay(recording: &str, name: &str, with_engine: bool) {
    let recording: Value = serde_json::from_str(recording).unwrap();
    let (server, _engine) = build(&recording["fixture"], with_engine);
    super::replay::replay(&server, &recording["scenarios"][name]).await;
}

pub fn scenarios(recording: &str) -> Vec<String> {
    let recording: Value = serde_json::from_str(recording).unwrap();
    recording["scenarios"].as_object().unwrap().keys().cloned().collect()
}
