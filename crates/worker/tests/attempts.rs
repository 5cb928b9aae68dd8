//! Attempts with real processes, as the engine sees them: what is reported of each, and what stands in its log.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::timetable::Timetable;
use model::{
    AttemptId, DagBuilder, DagRun, DagRunState, Execution, HitlResponse, Json, MapIndex, NativeOperator, RunKey,
    RunType, Task, TaskIndex, TaskInstance, TaskInstanceId, TaskInstanceKey, TaskState, TriggeredBy, VersionId,
    task::BashSpec,
};
use process::Host;
use python::Helper;
use scheduler::{Outcome, StartAttempt, StopReason};
use store::memory::MemoryStore;
use tokio::sync::mpsc;
use uuid::Uuid;
use worker::{AnswerRefused, Report, Reports, TriggerFromTask, TriggerRefused, Worker, WorkerOptions, log_path};

const ROLE: &str = "UPDRAFT_TEST_ROLE";
const LIMIT: Duration = Duration::from_secs(30);

/// Not a test: this program again, as the host of child processes.
#[test]
fn entry() {
    if std::env::var(ROLE).as_deref() == Ok("host") {
        process::run_host(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap();
    }
}

/// Passes reports on. The first `faults` of them end in a panic instead, in the middle of an attempt.
#[derive(Clone)]
struct Listener {
    heard: mpsc::UnboundedSender<Report>,
    faults: Arc<AtomicUsize>,
}

impl Reports for Listener {
    fn answer(&self, _: TaskInstanceKey, response: HitlResponse) -> Result<Box<HitlResponse>, AnswerRefused> {
        Ok(Box::new(response))
    }

    async fn report(&self, report: Report) {
        let panics = self.faults.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!panics, "a fault of the test's");
        self.heard.send(report).unwrap();
    }

    async fn watched(&self, _: model::TriggerId, _: model::Json) -> bool {
        unreachable!("nothing is watched here")
    }

    fn trigger(&self, _: TriggerFromTask) -> Result<(), TriggerRefused> {
        unreachable!("no task here asks for a run")
    }
}

/// A worker, and what it says.
struct Bench {
    worker: Worker<Listener>,
    heard: mpsc::UnboundedReceiver<Report>,
    logs: tempfile::TempDir,
    attempts: u128,
}

impl Bench {
    fn new(faults: usize) -> Self {
        let program = std::env::current_exe().unwrap();
        let args = ["--exact", "entry", "--nocapture"];
        let host = Host::start(program.as_os_str(), &args, &[(ROLE, OsStr::new("host"))], None).unwrap();
        let logs = tempfile::tempdir().unwrap();
        let options = WorkerOptions::here(logs.path().to_owned());
        let (sender, heard) = mpsc::unbounded_channel();
        let reports = Listener { heard: sender, faults: Arc::new(AtomicUsize::new(faults)) };
        let helper = Helper::new(host.clone());
        let worker = Worker::new(options, host, helper, Arc::new(MemoryStore::new()), reports);
        Self { worker, heard, logs, attempts: 0 }
    }

    /// Starts an attempt of a task with this execution; gives the task instance.
    fn start(&mut self, change: impl FnOnce(&mut Task)) -> TaskInstance {
        self.attempts += 1;
        let mut task = Task::new("t");
        change(&mut task);
        let mut builder = DagBuilder::new("d", Timetable::Null);
        builder.task(task);
        let run = run();
        let ti = task_instance(&run, self.attempts);
        let start = StartAttempt {
            attempt: attempt_of(&ti),
            suspension: None,
            ti: ti.clone(),
            run,
            dag: builder.build().unwrap(),
            task: TaskIndex(0),
            should_retry: false,
        };
        self.worker.start(&tokio::runtime::Handle::current(), Box::new(start));
        ti
    }

    /// The next end that is reported.
    async fn end(&mut self) -> (AttemptId, Outcome) {
        let next = async {
            loop {
                if let Report::Ended { attempt, outcome, .. } = self.heard.recv().await.unwrap() {
                    return (attempt, outcome);
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.unwrap()
    }

    /// Waits until nothing is under way any more.
    async fn rest(&self) {
        self.worker.drain(LIMIT).await;
        assert_eq!(self.worker.count(), 0);
    }

    /// The log of a task instance.
    fn log(&self, ti: &TaskInstance) -> String {
        std::fs::read_to_string(log_path(self.logs.path(), ti, ti.try_number)).unwrap()
    }
}

fn run() -> DagRun {
    DagRun {
        key: RunKey::new("d", "r"),
        run_type: RunType::Manual,
        triggered_by: TriggeredBy::Cli,
        triggering_user: None,
        state: DagRunState::Running,
        logical_date: None,
        data_interval: None,
        run_after: Timestamp::UNIX_EPOCH,
        queued_at: None,
        start_date: None,
        end_date: None,
        last_scheduling_decision: None,
        conf: Arc::new(Json::Object(serde_json::Map::new())),
        note: None,
        clear_number: 0,
        backfill: None,
        partition: None,
        version: VersionId(Uuid::from_u128(1)),
        bundle_version: None,
    }
}

fn task_instance(run: &DagRun, number: u128) -> TaskInstance {
    TaskInstance {
        id: TaskInstanceId(Uuid::from_u128(number)),
        run: run.key.clone(),
        task_id: "t".into(),
        map_index: MapIndex::NONE,
        state: TaskState::Queued,
        try_number: u32::try_from(number).unwrap(),
        max_tries: 0,
        version: run.version,
        operator: "BashOperator".into(),
        operator_name: "BashOperator".into(),
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

/// The one attempt of a task instance.
fn attempt_of(ti: &TaskInstance) -> AttemptId {
    AttemptId(ti.id.0)
}

fn bash(command: &str) -> Execution {
    let spec = BashSpec {
        bash_command: command.to_owned(),
        append_env: true,
        skip_on_exit_code: vec![99],
        ..BashSpec::default()
    };
    Execution::Native(NativeOperator::Bash(spec))
}

async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_end_is_reported_once_and_said_in_the_log() {
    let mut bench = Bench::new(0);
    // The task's execution, its time limit, how it ends, and what its log says then.
    let unsupported = Execution::Unsupported { reason: "it needs a triggerer".into() };
    let second = Some(SignedDuration::from_secs(1));
    for (execution, limit, outcome, said) in [
        (bash("echo done"), None, Outcome::Success, "done"),
        (bash("exit 99"), None, Outcome::Skipped, "Bash command returned exit code 99. Skipping."),
        (bash("exit 3"), None, Outcome::Failed, "returned a non-zero exit code 3."),
        (bash("kill -KILL $$"), None, Outcome::Failed, "Command exited with return code -9"),
        (bash("sleep 600"), second, Outcome::Failed, "AirflowTaskTimeout"),
        (bash("cd /nowhere"), None, Outcome::Failed, "/nowhere"),
        (unsupported, None, Outcome::FailedForGood, "The task can't run here: it needs a triggerer"),
    ] {
        let shown = format!("{execution:?}");
        let ti = bench.start(|task| (task.execution, task.execution_timeout) = (execution, limit));
        assert_eq!(bench.end().await, (attempt_of(&ti), outcome), "{shown}");
        bench.rest().await;
        let log = bench.log(&ti);
        assert!(log.contains(said), "{shown}: {log}");
        assert!(bench.heard.try_recv().is_err(), "{shown}: one more report");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_is_stopped_leaves_no_process_and_reports_nothing() {
    let mut bench = Bench::new(0);
    let pids = bench.logs.path().join("pids");
    let command = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let ti = bench.start(|task| task.execution = bash(&command));
    wait_until("the command runs", || pids.exists()).await;
    bench.worker.stop(attempt_of(&ti), StopReason::FailFast);
    bench.rest().await;
    let pid = std::fs::read_to_string(&pids).unwrap();
    wait_until("its process is gone", || !is_alive(pid.trim())).await;
    assert!(bench.log(&ti).contains("Task is stopped: another task failed"));
    while let Ok(report) = bench.heard.try_recv() {
        assert!(matches!(report, Report::Started { .. }), "{report:?}");
    }
}

/// A fault in the engine while an attempt runs must not leave the task running for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_panics_has_failed_and_its_process_is_killed() {
    // The start of a command is reported when it has run for a moment: in the middle of the attempt.
    let mut bench = Bench::new(1);
    let pids = bench.logs.path().join("pids");
    let ti = bench.start(|task| task.execution = bash(&format!("echo $$ > {}; sleep 600; true", pids.display())));
    assert_eq!(bench.end().await, (attempt_of(&ti), Outcome::Failed));
    bench.rest().await;
    let pid = std::fs::read_to_string(&pids).unwrap();
    wait_until("its process is gone", || !is_alive(pid.trim())).await;
    let log = bench.log(&ti);
    let said = "The engine failed while it ran the task, which is a bug in Updraft: a fault of the test's";
    assert!(log.contains(said), "{log}");
    // Nothing is broken for those that come after.
    let next = bench.start(|task| task.execution = bash("true"));
    assert_eq!(bench.end().await, (attempt_of(&next), Outcome::Success));
}
