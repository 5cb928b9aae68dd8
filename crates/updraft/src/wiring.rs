//! The rooms, put together.

use std::sync::Arc;
use std::time::Duration;

use engine::triggering::{self, RunRequest};
use engine::{AnswerFailure, DagSource, Dispatch, EngineHandle, Input, Started, TriggerFailure, timetables, weights};
use jiff::Timestamp;
use model::{
    AttemptId, Callback, Dag, DagRun, Execution, HitlResponse, Outlets, RunKey, RunType, TaskInstance, TaskInstanceKey,
    TriggerId, TriggeredBy, VersionId,
};
use python::{Evaluator, Unanswered};
use scheduler::{
    ArmTrigger, AskMapper, AskTimetable, AskWeights, Clear, Event, Obstacle, Outcome, ReplyId, StartAttempt,
    StopReason, TriggerError, WatchTrigger,
};
use store::Store;
use worker::{AnswerRefused, Report, Reports, TriggerFromTask, TriggerRefused, Worker};

/// The structures of Dags, as the store has their versions.
#[derive(Clone)]
pub struct StoredDags(pub Arc<dyn Store>);

impl DagSource for StoredDags {
    fn dag(&self, version: VersionId) -> Result<Option<Arc<Dag>>, String> {
        let Some(found) = self.0.version(version).map_err(|error| error.to_string())? else { return Ok(None) };
        let (dag, _) = python::serialized::read(&found.serialized, &found.extras).map_err(|error| error.to_string())?;
        Ok(Some(dag))
    }
}

/// The worker's news, for the engine.
#[derive(Clone)]
pub struct EngineReports {
    /// Where questions for timetables of plugins are put.
    pub runtime: tokio::runtime::Handle,
    pub evaluator: Evaluator,
    pub engine: EngineHandle,
    pub store: Arc<dyn Store>,
    pub dags: StoredDags,
    /// `[core] rerun_with_latest_version`, if anybody has set it.
    pub rerun_with_latest_version: Option<bool>,
}

impl EngineReports {
    /// A run that a task wants is there already, and is to run again (`clear_dag_run` of the execution API).
    fn reset(&self, run: &RunKey) -> Result<(), TriggerRefused> {
        let refused = |status: u16, message: String| TriggerRefused::Refused { status, message };
        let broken = |error: store::StoreError| refused(500, error.to_string());
        if self.store.run(run).map_err(broken)?.is_none() {
            return Err(refused(404, format!("Dag run with run_id: '{}' not found", run.run_id)));
        }
        let task_instances = self.store.task_instances_of(run).map_err(broken)?;
        let version = self.store.latest_version(&run.dag_id).map_err(broken)?;
        let of_dag = version.and_then(|version| version.serialized["dag"]["rerun_with_latest_version"].as_bool());
        let clear = Clear {
            reply: ReplyId(0),
            run: run.clone(),
            tasks: task_instances.into_iter().map(|ti| (ti.task_id, Some(ti.map_index))).collect(),
            restart_run: true,
            on_latest_version: of_dag.or(self.rerun_with_latest_version).unwrap_or(false),
            keep_running: false,
        };
        self.engine.clear_blocking(clear).map(drop).map_err(|error| refused(500, error.to_string()))
    }
}

fn started(told: worker::Started) -> Started {
    let worker::Started { at, hostname, unixname, pid } = told;
    Started { at, hostname, unixname, pid }
}

impl Reports for EngineReports {
    async fn report(&self, report: Report) {
        let input = match report {
            Report::Started { attempt, started: told } => {
                let Started { at, hostname, unixname, pid } = started(told);
                Input::Event(Event::AttemptStarted { attempt, at, hostname, unixname, pid })
            }
            Report::Ended { attempt, started: told, at, outcome, rendered_map_index, writes, outlets } => {
                let started = told.map(started);
                Input::AttemptEnded { attempt, started, at, outcome, rendered_map_index, writes, outlets }
            }
            Report::TriggerFired { trigger, event, writes } => Input::TriggerFired { trigger, event, writes },
            Report::TriggerFailed { trigger, traceback } => Input::Event(Event::TriggerFailed { trigger, traceback }),
            Report::WatcherFailed { trigger, reason } => Input::Event(Event::WatcherFailed { trigger, reason }),
            Report::SkipDownstream { attempt, tasks } => Input::Event(Event::SkipDownstream { attempt, tasks }),
        };
        if self.engine.tell(input).await.is_err() {
            tracing::debug!("the engine has stopped; what attempts report now, it finds out when it starts");
        }
    }

    async fn watched(&self, trigger: TriggerId, payload: model::Json) -> bool {
        self.engine.watcher_fired(trigger, payload).await.is_ok()
    }

    fn trigger(&self, trigger: TriggerFromTask) -> Result<(), TriggerRefused> {
        let refused = |status: u16, message: String| TriggerRefused::Refused { status, message };
        let dag_id = trigger.key.dag_id.clone();
        let record = self.store.dag(&dag_id).map_err(|error| refused(500, error.to_string()))?;
        let record = record.filter(|record| !record.stale);
        let record = record.ok_or_else(|| refused(404, format!("Dag with dag_id: '{dag_id}' not found")))?;
        if record.has_import_errors {
            return Err(refused(400, format!("Dag with dag_id '{dag_id}' has import errors and cannot be triggered")));
        }
        let allowed = record.allowed_run_types.as_ref();
        if allowed.is_some_and(|types| !types.iter().any(|name| name == RunType::OperatorTriggered.name())) {
            return Err(refused(400, format!("Dag with dag_id '{dag_id}' does not allow operator-triggered runs")));
        }
        let dag = self.dags.dag(record.version).map_err(|error| refused(500, error))?;
        let dag = dag.ok_or_else(|| refused(500, format!("the structure of Dag '{dag_id}' is missing")))?;
        let mut request = RunRequest {
            run_id: Some(trigger.key.run_id.to_string()),
            run_type: RunType::OperatorTriggered,
            triggered_by: TriggeredBy::Operator,
            triggering_user: trigger.triggering_user,
            logical_date: trigger.logical_date,
            data_interval: None,
            run_after: trigger.run_after,
            conf: trigger.conf,
            note: trigger.note,
            partition_key: trigger.partition_key,
        };
        let now = model::operations::to_microseconds(Timestamp::now());
        // This thread may block; who runs such tasks is bounded by the slots.
        self.runtime
            .block_on(timetables::fill_in(Some(&self.evaluator), &mut request, &dag, now))
            .map_err(|error| refused(400, error.to_string()))?;
        let run = triggering::check(request, &dag, now).map_err(|error| refused(400, error.to_string()))?;
        match self.engine.trigger_blocking(dag_id, run) {
            Ok(_) => Ok(()),
            Err(TriggerFailure::Refused(TriggerError::RunIdTaken { .. } | TriggerError::LogicalDateTaken { .. })) => {
                if trigger.reset {
                    self.reset(&trigger.key)
                } else {
                    Err(TriggerRefused::Exists(trigger.key))
                }
            }
            Err(error) => Err(refused(500, error.to_string())),
        }
    }

    fn answer(&self, key: TaskInstanceKey, response: HitlResponse) -> Result<Box<HitlResponse>, AnswerRefused> {
        self.engine.answer_blocking(key, response).map_err(|error| match error {
            AnswerFailure::Refused(refusal) => AnswerRefused::Refused(refusal),
            AnswerFailure::Stopped(stopped) => AnswerRefused::Stopped(stopped.to_string()),
        })
    }
}

/// Says of which task instances only the success is pretended.
pub type Pretend = Box<dyn Fn(&TaskInstance) -> bool + Send>;

/// The engine's decisions, for the worker.
pub struct WorkerDispatch {
    pub worker: Worker<EngineReports>,
    /// For attempts that talk to Python.
    pub runtime: tokio::runtime::Handle,
    /// For those that do not.
    pub shells: tokio::runtime::Handle,
    pub engine: EngineHandle,
    /// Answers for timetables and weights of plugins.
    pub evaluator: Evaluator,
    pub store: Arc<dyn Store>,
    /// In tests: what is not to run.
    pub pretend: Option<Pretend>,
}

impl WorkerDispatch {
    /// Reports a success without having done anything.
    fn succeed(&self, attempt: AttemptId) {
        let engine = self.engine.clone();
        let ended = Input::AttemptEnded {
            attempt,
            started: None,
            at: model::operations::to_microseconds(Timestamp::now()),
            outcome: Outcome::Success,
            rendered_map_index: None,
            writes: Vec::new(),
            outlets: Outlets::default(),
        };
        // Told from elsewhere: this is the engine's own thread, which must not wait for itself.
        self.runtime.spawn(async move { engine.tell(ended).await });
    }
}

/// How long until a mapper is asked again that has not answered: twice as long each time.
const FIRST_MAPPER_PAUSE: Duration = Duration::from_secs(1);
const LAST_MAPPER_PAUSE: Duration = Duration::from_secs(64);

impl Dispatch for WorkerDispatch {
    fn start(&mut self, attempt: Box<StartAttempt>) {
        if self.pretend.as_ref().is_some_and(|pretend| pretend(&attempt.ti)) {
            return self.succeed(attempt.attempt);
        }
        let is_native = matches!(attempt.dag.task(attempt.task).execution, Execution::Native(_));
        self.worker.start(if is_native { &self.shells } else { &self.runtime }, attempt);
    }

    fn stop(&mut self, attempt: AttemptId, reason: StopReason) {
        self.worker.stop(attempt, reason);
    }

    fn acknowledge(&mut self, attempt: AttemptId) {
        self.worker.acknowledge(attempt);
    }

    fn ask_timetable(&mut self, question: Box<AskTimetable>) {
        let (evaluator, engine) = (self.evaluator.clone(), self.engine.clone());
        self.runtime.spawn(async move {
            let answer = timetables::next_run(&evaluator, &question).await;
            let answer = answer.map_err(|unanswered| unanswered.to_string());
            let AskTimetable { dag_id, number, .. } = *question;
            if let Err(error) = &answer {
                tracing::warn!("the timetable of {dag_id} does not say when its next run is due: {error}");
            }
            if engine.tell(Input::Event(Event::TimetableAnswered { dag_id, number, answer })).await.is_err() {
                tracing::debug!("the engine has stopped; it asks timetables again when it starts");
            }
        });
    }

    fn ask_mapper(&mut self, question: Box<AskMapper>) {
        let (evaluator, engine) = (self.evaluator.clone(), self.engine.clone());
        self.runtime.spawn(async move {
            let mut pause = FIRST_MAPPER_PAUSE;
            let answer = loop {
                match timetables::partitions(&evaluator, &question).await {
                    // Nobody has said that the mapper is wrong: the key may still have a meaning.
                    Err(Unanswered::NoAnswer(reason)) if pause <= LAST_MAPPER_PAUSE && engine.is_running() => {
                        let dag_id = &question.dag_id;
                        tracing::warn!(
                            "a partition mapper of {dag_id} is asked again in {} s: {reason}",
                            pause.as_secs()
                        );
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                    }
                    answer => break answer.map_err(|unanswered| unanswered.to_string()),
                }
            };
            let AskMapper { dag_id, event, .. } = *question;
            if engine.tell(Input::Event(Event::MapperAnswered { dag_id, event, answer })).await.is_err() {
                tracing::debug!("the engine has stopped; it asks mappers again when it starts");
            }
        });
    }

    fn ask_weights(&mut self, asked: Box<AskWeights>) {
        let (evaluator, engine, store) = (self.evaluator.clone(), self.engine.clone(), Arc::clone(&self.store));
        self.runtime.spawn(async move {
            let answer = weights::weights(&evaluator, &store, &asked).await.map_err(|error| error.to_string());
            if let Err(error) = &answer {
                tracing::warn!("{} does not say what tasks of {} weigh: {error}", asked.strategy, asked.run);
            }
            if engine.tell(Input::Event(Event::Weighed { asked, answer })).await.is_err() {
                tracing::debug!("the engine has stopped; it asks for weights again when it starts");
            }
        });
    }

    fn arm(&mut self, trigger: Box<ArmTrigger>) {
        self.worker.arm(&self.runtime, trigger);
    }

    fn watch(&mut self, watch: Box<WatchTrigger>) {
        self.worker.watch(&self.runtime, watch);
    }

    fn disarm(&mut self, trigger: TriggerId) {
        self.worker.disarm(trigger);
    }

    fn call(&mut self, callback: Box<Callback>, run: Option<Box<DagRun>>) {
        self.worker.call(&self.runtime, callback, run);
    }

    fn stuck(&mut self, ti: &TaskInstance, obstacle: &Obstacle) {
        self.worker.note(ti, &obstacle.to_string());
    }

    fn run_finished(&mut self, run: &DagRun, reason: &str) {
        let seconds = run.duration().map(model::operations::total_seconds).unwrap_or_default();
        tracing::info!("{} {} in {seconds:.3} s{}", run.key, run.state, why(reason));
    }
}

/// What is worth saying of the reason for a run's end.
fn why(reason: &str) -> &'static str {
    match reason {
        "all_tasks_deadlocked" => ": no task could run any more",
        "timed_out" => ": it took longer than dagrun_timeout",
        _ => "",
    }
}
