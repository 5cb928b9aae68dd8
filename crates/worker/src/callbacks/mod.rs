//! Calls what people want to be called when a run or a task has ended, by the official code in a child of the Python
//! helper (`airflow/dag_processing/processor.py`).
//!
//! Whatever comes of it is said in its own log and nowhere else. A callback is owed until it has been called: one that is
//! cut off by the end of the engine is called again.

mod deadline;
mod listener;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::{Call, Callback, DagRun, Json, TaskInstance, TaskInstanceKey, TryName};
use process::{Exit, kill_tree};
use python::import::{Answer, Answers};
use python::message::{ToSupervisor, dag_run_fields, server_error, task_instance_fields};
use python::{ChildSockets, FrameError, FrameReader, FrameWriter, Job};
use serde_json::json;
use store::{StoreError, Write};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::answers::StoreAnswers;
use crate::attempt::streams::{Stream, drain, forward};
use crate::log::{Level, TaskLog, log_path};
use crate::mask::Masker;
use crate::{Bundle, KILL_GRACE, Reports, Worker};

/// Callbacks that are called at once.
const AT_ONCE: usize = 2;
/// Pause before a process that could not be had, or a store that did not answer, is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a callback may go down together with the Python helper before it is held to be the reason.
const MAX_LOSSES: u32 = 3;
/// Who speaks in the log.
const LOGGER: &str = "callbacks";

/// What is under way.
pub(crate) struct Callbacks {
    slots: Semaphore,
    count: watch::Sender<usize>,
    stop: watch::Sender<bool>,
    /// What was told to listeners last: they hear of everything in its order.
    last_told: std::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(AT_ONCE),
            count: watch::channel(0).0,
            stop: watch::channel(false).0,
            last_told: Default::default(),
        }
    }
}

/// Counts itself while it lives.
struct UnderWay<R: Reports>(Worker<R>);

impl<R: Reports> UnderWay<R> {
    fn begin(worker: &Worker<R>) -> Self {
        worker.inner.callbacks.count.send_modify(|count| *count += 1);
        Self(worker.clone())
    }
}

impl<R: Reports> Drop for UnderWay<R> {
    fn drop(&mut self) {
        self.0.inner.callbacks.count.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl<R: Reports> Worker<R> {
    /// Calls a callback, when it is its turn. Returns at once.
    pub fn call(&self, runtime: &tokio::runtime::Handle, callback: Box<Callback>, run: Option<Box<DagRun>>) {
        let under_way = UnderWay::begin(self);
        let turn = callback.call.is_for_listeners().then(|| self.turn());
        let worker = self.clone();
        runtime.spawn(async move {
            let _under_way = under_way;
            let mut stop = worker.inner.callbacks.stop.subscribe();
            let told = async {
                // Dropped when it is told, or given up: that is the sign for the next one.
                let _told = match turn {
                    Some((before, told)) => {
                        if let Some(before) = before {
                            let _ = before.await;
                        }
                        Some(told)
                    }
                    None => None,
                };
                call(&worker, &callback, run.as_deref()).await;
            };
            tokio::select! {
                () = told => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }

    /// A place behind everything that listeners are still to be told.
    fn turn(&self) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        let (told, next) = oneshot::channel();
        let mut last = self.inner.callbacks.last_told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (last.replace(next), told)
    }

    /// Waits until nothing is left to be called, for `grace` at most.
    pub async fn callbacks_called(&self, grace: Duration) {
        let mut count = self.inner.callbacks.count.subscribe();
        let _ = timeout(grace, count.wait_for(|count| *count == 0)).await;
    }

    /// The engine ends: what has not been called by now is called by the next one.
    pub(crate) fn stop_callbacks(&self) {
        self.inner.callbacks.stop.send_replace(true);
    }
}

/// How a call came to its end.
enum Ended {
    Called,
    /// It is not the callback's fault.
    Lost,
    /// There is nothing that could be called.
    Impossible(String),
}

async fn call<R: Reports>(worker: &Worker<R>, callback: &Callback, run: Option<&DagRun>) {
    let Ok(_slot) = worker.inner.callbacks.slots.acquire().await else { return };
    let mut losses = 0;
    loop {
        let looking = {
            let (worker, callback, run) = (worker.clone(), callback.clone(), run.cloned());
            move || scene(&worker, &callback, run)
        };
        let scene = match worker.blocking(looking).await {
            Ok(Some(scene)) => scene,
            // Its run was deleted, and the callback with it.
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, callback = %callback.id, "a callback waits for the database");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match run_child(worker, &scene).await {
            Ended::Called => break,
            Ended::Impossible(reason) => {
                scene.log.write(Level::Error, LOGGER, &reason, &[]);
                break;
            }
            Ended::Lost => {
                losses += 1;
                if losses >= MAX_LOSSES {
                    let event = "The callback was lost with the Python helper again and again; it is given up";
                    scene.log.write(Level::Error, LOGGER, event, &[]);
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let (own, id) = (worker.clone(), callback.id);
    if let Err(error) = worker.blocking(move || own.inner.store.commit(vec![Write::CallbackDone(id)])).await {
        tracing::error!(%error, callback = %callback.id, "a callback was called, and may be called again");
    }
}

/// All that a call needs.
struct Scene {
    log: TaskLog,
    /// What the child is told; else why there is nothing to call.
    request: Result<Json, String>,
    masker: Masker,
}

/// Blocks.
fn scene<R: Reports>(
    worker: &Worker<R>,
    callback: &Callback,
    run: Option<DagRun>,
) -> Result<Option<Scene>, StoreError> {
    let store = &worker.inner.store;
    let Some(run) = run.map_or_else(|| store.run(&callback.run), |run| Ok(Some(run)))? else { return Ok(None) };
    let dag = store.dag(&run.key.dag_id)?;
    let of = callback.of.as_ref().map(|of| find_try(worker, &run, of)).transpose()?.flatten();
    let version = of.as_ref().map_or(run.version, |ti| ti.version);
    let file = dag.as_ref().map(|dag| worker.file_of(&run, version, dag)).transpose()?.unwrap_or_default();
    let named = || dag.map(|dag| dag.bundle_name).unwrap_or_default();
    let bundle = worker.bundle_of(&run, version)?.unwrap_or_else(|| Bundle { name: named(), version: None });
    let consumed = store.consumed_asset_events(&run.key)?;
    let masker = Masker::new(Arc::clone(&worker.inner.options.mask_rules));
    let log = open_log(worker, callback, of.as_ref(), &bundle, &file, masker.clone());
    let mut request = match callback.call {
        Call::Deadline => deadline::request(&**store, callback, &run, &file)?,
        call if call.is_for_listeners() => {
            listener::request(&**store, callback, &run, &dag_run_fields(&run, &consumed))?
        }
        _ => {
            let head = json!({
                "filepath": file,
                "bundle_name": bundle.name,
                "bundle_version": run.bundle_version,
                "msg": callback.message,
            });
            let hostname = &worker.inner.options.hostname;
            of_processor(callback, head, &dag_run_fields(&run, &consumed), of.as_ref(), hostname)
        }
    };
    if let Ok(request) = &mut request {
        request["bundle"] = json!({"name": bundle.name, "version": bundle.version});
    }
    Ok(Some(Scene { log, request, masker }))
}

/// A request to the Dag processor, beside what all of them have.
fn of_processor(
    callback: &Callback,
    mut request: Json,
    context: &Json,
    of: Option<&TaskInstance>,
    hostname: &str,
) -> Result<Json, String> {
    let ti = of.map(|ti| task_instance_fields(ti, hostname));
    match callback.call {
        // Others have requests of their own.
        Call::DagSuccess
        | Call::DagFailure
        | Call::Deadline
        | Call::RunRunning
        | Call::RunSuccess
        | Call::RunFailed
        | Call::AssetEvent => {
            request["type"] = "DagCallbackRequest".into();
            request["dag_id"] = callback.run.dag_id.as_str().into();
            request["run_id"] = callback.run.run_id.as_str().into();
            request["is_failure_callback"] = (callback.call == Call::DagFailure).into();
            request["context_from_server"] = json!({"dag_run": context, "last_ti": ti});
        }
        Call::TaskFailure | Call::TaskRetry | Call::EmailFailure | Call::EmailRetry => {
            let gone = || "The try that a callback was to tell of is gone; nothing is called".to_owned();
            request["ti"] = ti.ok_or_else(gone)?;
            request["context_from_server"] = json!({"dag_run": context, "max_tries": of.map(|ti| ti.max_tries)});
            let retries = matches!(callback.call, Call::TaskRetry | Call::EmailRetry);
            if matches!(callback.call, Call::TaskFailure | Call::TaskRetry) {
                request["type"] = "TaskCallbackRequest".into();
                request["task_callback_type"] = if retries { "up_for_retry" } else { "failed" }.into();
            } else {
                request["type"] = "EmailRequest".into();
                request["email_type"] = if retries { "retry" } else { "failure" }.into();
            }
        }
    }
    Ok(json!({
        "type": "DagFileParseRequest",
        "file": request["filepath"],
        "bundle_name": request["bundle_name"],
        "callback_requests": [request],
    }))
}

/// The try that a callback tells of: it may have given way to another one meanwhile. Blocks.
fn find_try<R: Reports>(worker: &Worker<R>, run: &DagRun, of: &TryName) -> Result<Option<TaskInstance>, StoreError> {
    let key = TaskInstanceKey { run: run.key.clone(), task_id: of.task_id.clone(), map_index: of.map_index };
    let current = worker.inner.store.task_instance(&key)?.filter(|ti| ti.id == of.id);
    if current.is_some() {
        return Ok(current);
    }
    let archived = worker.inner.store.archived_tries(&key)?;
    Ok(archived.into_iter().map(|archived| archived.task_instance).find(|ti| ti.id == of.id))
}

/// What is called for a task says so in the task's own log. For a Dag the log is where Airflow's Dag processor has it, for
/// a deadline where its executors have theirs.
fn open_log<R: Reports>(
    worker: &Worker<R>,
    callback: &Callback,
    of: Option<&TaskInstance>,
    bundle: &Bundle,
    file: &str,
    masker: Masker,
) -> TaskLog {
    let base = &worker.inner.options.log_folder;
    match (callback.call, of) {
        (Call::TaskFailure | Call::TaskRetry | Call::EmailFailure | Call::EmailRetry, Some(ti)) => {
            TaskLog::at(log_path(base, ti, ti.try_number), ti, masker)
        }
        (Call::Deadline, _) => {
            let of_run = format!("{}/{}/{}", callback.run.dag_id, callback.run.run_id, callback.id);
            TaskLog::of_run(base.join("executor_callbacks").join(of_run), &callback.run, masker)
        }
        (call, _) if call.is_for_listeners() => {
            let day = Timestamp::now().strftime("%Y-%m-%d").to_string();
            TaskLog::of_run(base.join("listeners").join(format!("{day}.log")), &callback.run, masker)
        }
        _ => {
            let day = Timestamp::now().strftime("%Y-%m-%d").to_string();
            // A name that leads out of the folder would be nobody's log.
            let inside: PathBuf = PathBuf::from(file)
                .components()
                .filter(|part| matches!(part, std::path::Component::Normal(_)))
                .collect();
            let mut path = base.join("dag_processor").join(day).join(&*bundle.name).join(inside).into_os_string();
            path.push(".log");
            TaskLog::of_run(path.into(), &callback.run, masker)
        }
    }
}

/// One call, from the start of its process to the end. The process is gone when this is dropped.
async fn run_child<R: Reports>(worker: &Worker<R>, scene: &Scene) -> Ended {
    let request = match &scene.request {
        Ok(request) => request,
        Err(reason) => return Ended::Impossible(reason.clone()),
    };
    let child = match worker.inner.helper.fork(&Job::Callback).await {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(%error, "a callback waits for the Python helper");
            return Ended::Lost;
        }
    };
    let (pid, sockets, mut exited) = child.split();
    let leash = Leash(pid);
    let ChildSockets { requests, stdout, stderr, logs } = sockets;
    let streams = vec![
        forward(stdout, scene.log.clone(), Stream::Stdout),
        forward(stderr, scene.log.clone(), Stream::Stderr),
        forward(logs, scene.log.clone(), Stream::Log),
    ];
    let limit = worker.inner.options.callback_timeout;
    let deadline = Instant::now() + limit;
    let answers = StoreAnswers {
        store: Arc::clone(&worker.inner.store),
        masker: scene.masker.clone(),
        own: None,
        max_map_length: worker.inner.options.max_map_length,
    };
    let (reader, writer) = requests.into_split();
    let talked = timeout_at(deadline, hold(request, answers, reader, FrameWriter::new(writer))).await;
    let exit = match &talked {
        Ok(_) => timeout_at(deadline.min(Instant::now() + KILL_GRACE), &mut exited).await.ok(),
        Err(_) => None,
    };
    drop(leash);
    drain(streams).await;
    let log = &scene.log;
    match (talked, exit.map(|exit| exit.unwrap_or(Exit::Unknown))) {
        (Err(_), _) => {
            let event = format!(
                "The callback took longer than {} seconds and was stopped ([dag_processor] dag_file_processor_timeout)",
                limit.as_secs_f64()
            );
            log.write(Level::Error, LOGGER, &event, &[]);
        }
        (Ok(Err(error)), _) => {
            log.write(Level::Error, LOGGER, &format!("The callback's process broke the protocol: {error}"), &[]);
        }
        (Ok(Ok(())), Some(Exit::Code(0))) => {}
        (Ok(Ok(())), Some(Exit::Unknown)) => return Ended::Lost,
        (Ok(Ok(())), Some(exit)) => {
            log.write(Level::Error, LOGGER, &format!("The callback's process ended badly: {exit:?}"), &[]);
        }
        (Ok(Ok(())), None) => {
            log.write(Level::Error, LOGGER, "The callback's process did not end, and was killed", &[]);
        }
    }
    Ended::Called
}

/// Kills a process and all that it started.
struct Leash(u32);

impl Drop for Leash {
    fn drop(&mut self) {
        let pid = self.0;
        // Walking through all processes takes a while.
        std::thread::spawn(move || kill_tree(pid));
    }
}

/// Tells the child what to call, and answers it until it closes the connection.
async fn hold(
    request: &Json,
    answers: StoreAnswers,
    reader: OwnedReadHalf,
    mut writer: FrameWriter<OwnedWriteHalf>,
) -> Result<(), FrameError> {
    writer.answer(0, Some(request)).await?;
    let mut reader = FrameReader::new(reader);
    while let Some(frame) = reader.read().await? {
        let request: ToSupervisor = match serde_json::from_value(frame.body) {
            Ok(request) => request,
            Err(error) => {
                writer.refuse(frame.id, &server_error(400, &error.to_string())).await?;
                continue;
            }
        };
        let answers = answers.clone();
        match tokio::task::spawn_blocking(move || answers.answer(request)).await {
            Ok(Answer::Done) => writer.answer(frame.id, None).await?,
            Ok(Answer::Body(body)) => writer.answer(frame.id, Some(&body)).await?,
            Ok(Answer::Refused(error)) => writer.refuse(frame.id, &error).await?,
            Err(error) => writer.refuse(frame.id, &server_error(500, &error.to_string())).await?,
        }
    }
    Ok(())
}
