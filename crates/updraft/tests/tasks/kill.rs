//! Runs that are stopped, and processes that are killed: nobody survives, and nothing is lost.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Context, Server};

use crate::support::{context, dag_file, log_of, shown, wait_until};

/// How many processes the tasks of a stubborn Dag have that do not end by themselves.
const PROCESSES: usize = 8;

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn pids_in(folder: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn kill_9(pid: u32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// The children of a process whose command line has this text.
fn children_with(parent: u32, text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let of_parent =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()) == Some(parent);
        of_parent && String::from_utf8_lossy(&read("cmdline")).contains(text)
    })
    .collect()
}

/// The children of the helper that the system calls by a name, such as `updraft import`.
pub fn helpers_children(server: &Server, name: &str) -> Vec<u32> {
    let helpers: Vec<u32> = children_with(server.pid(), "__host")
        .into_iter()
        .flat_map(|host| children_with(host, "updraft_helper"))
        .collect();
    let is_named =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    helpers.into_iter().flat_map(|helper| children_with(helper, "")).filter(is_named).collect()
}

/// Kills all of them. Gives how many there were.
pub fn kill_all(server: &Server, name: &str) -> usize {
    let found = helpers_children(server, name);
    // One that has ended meanwhile can't be killed.
    found
        .iter()
        .filter(|pid| std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success())
        .count()
}

/// Kills the helper, which takes its children with it.
fn kill_helper(server: &Server) {
    for host in children_with(server.pid(), "__host") {
        children_with(host, "updraft_helper").into_iter().for_each(kill_9);
    }
}

struct Stubborn {
    context: Context,
    server: Server,
    folder: std::path::PathBuf,
    dag_id: &'static str,
    run_id: String,
    pids: Vec<i32>,
}

/// A run whose processes are all there.
fn stubborn(dag_id: &'static str) -> Stubborn {
    let context = context();
    context.write_dag("stubborn.py", &dag_file("stubborn.py"));
    let folder = context.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let server = Server::start(&context);
    server.wait_for_dag(dag_id);
    server.unpause(dag_id);
    let run_id = server.trigger(dag_id, &json!({"folder": folder}));
    wait_until("the processes are there", || pids_in(&folder).len() >= PROCESSES);
    let pids = pids_in(&folder);
    Stubborn { context, server, folder, dag_id, run_id, pids }
}

impl Stubborn {
    fn wait_until_gone(&self) {
        wait_until("the processes are gone", || self.pids.iter().all(|pid| !is_alive(*pid)));
    }

    /// Lets the tasks end, and sees them succeed; `again` counts those that ran twice.
    fn finish(self, again: &[&str]) {
        std::fs::write(self.folder.join("go"), "").unwrap();
        let state = self.server.wait_for_run(self.dag_id, &self.run_id);
        let tries = self.server.task_instances(self.dag_id, &self.run_id);
        let twice: Vec<&str> =
            tries.iter().filter(|(_, ti)| ti["try_number"] == 2).map(|(name, _)| name.as_str()).collect();
        assert_eq!((state.as_str(), twice.as_slice()), ("success", again));
    }
}

#[test]
fn a_run_that_is_stopped_leaves_nobody() {
    let run = stubborn("hasty");
    assert_eq!(run.server.wait_for_run("hasty", &run.run_id), "failed");
    run.wait_until_gone();
    assert!(run.folder.join("cleaned").exists(), "on_kill was not called");
    wait_until("the logs say why", || {
        ["waits", "careful", "bash", "bash_daemon"].iter().all(|task| {
            let log = shown(&log_of(&run.context, "hasty", &run.run_id, task, 1));
            log.contains("Task is stopped: its Dag run took longer than dagrun_timeout")
        })
    });
    let log = shown(&log_of(&run.context, "hasty", &run.run_id, "is_deaf", 1));
    assert!(log.contains("The process did not end when it was asked to; it is killed"), "{log}");
}

#[test]
fn nobody_survives_the_engine() {
    let run = stubborn("patient");
    let start = Instant::now();
    run.server.kill();
    wait_until("the processes are gone", || run.pids.iter().all(|pid| !is_alive(*pid)));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let mark = format!("AIRFLOW_HOME={}", run.context.home().display());
    wait_until("the helper is gone", || testkit::below(&mark).is_empty());
    // Started again, it takes up where it was cut off.
    let server = Server::start(&run.context);
    std::fs::write(run.folder.join("go"), "").unwrap();
    assert_eq!(server.wait_for_run("patient", &run.run_id), "success");
}

#[test]
fn a_fork_server_that_is_killed_loses_only_what_it_ran() {
    let run = stubborn("patient");
    let [host] = children_with(run.server.pid(), "__host")[..] else { panic!("one host") };
    let [helper] = children_with(host, "updraft_helper")[..] else { panic!("one helper") };
    kill_9(helper);
    // The Python tasks begin again, in children of a new helper; what they had started is gone.
    wait_until("the Python tasks run again", || pids_in(&run.folder).len() >= PROCESSES + 5);
    let alive = run.pids.iter().filter(|pid| is_alive(**pid)).count();
    assert_eq!(alive, 3, "the commands that the engine runs go on");
    let log = shown(&log_of(&run.context, "patient", &run.run_id, "waits", 1));
    assert!(log.contains("was lost with the Python helper"), "{log}");
    run.finish(&["careful", "has_a_copy", "has_a_program", "is_deaf", "waits"]);
}

#[test]
fn a_host_that_is_killed_is_replaced() {
    let run = stubborn("patient");
    let [host] = children_with(run.server.pid(), "__host")[..] else { panic!("one host") };
    kill_9(host);
    run.wait_until_gone();
    wait_until("the tasks run again", || pids_in(&run.folder).len() >= 2 * PROCESSES);
    assert!(run.server.said().contains("the process that starts children has ended"), "{}", run.server.said());
    run.finish(&["bash", "bash_daemon", "careful", "has_a_copy", "has_a_program", "is_deaf", "waits"]);
}

/// A sequence of numbers that looks random and is the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// How many runs of each Dag are made while processes are killed.
const ROUNDS: usize = 6;

/// A file whose Dag has a task that is called after its round.
fn changing(round: usize) -> String {
    format!(
        "from airflow.providers.standard.operators.empty import EmptyOperator\n\
         from airflow.sdk import DAG\n\
         with DAG('changing'):\n    EmptyOperator(task_id='round_{round}')\n"
    )
}

/// What runs beside the engine is killed at random moments: the trigger runner, processes that import a file or ask a
/// plugin, and, not so often that it counts as a task's fault, the helper with all its children. Nothing is lost, and every
/// run ends as it would without. `UPDRAFT_TEST_SEED` gives other moments.
#[test]
fn helpers_that_are_killed_at_random_lose_nothing() {
    let seed = std::env::var("UPDRAFT_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_125);
    let mut random = Random(seed);
    let context = context();
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for name in ["own_timetables.py", "own_triggers.py"] {
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins").join(name);
        std::fs::copy(plugin, plugins.join(name)).unwrap();
    }
    context.write_dag("killed.py", &dag_file("killed.py"));
    context.write_dag("changing.py", &changing(0));
    let server = Server::start(&context);
    for dag_id in ["adds", "defers", "dated", "changing"] {
        server.wait_for_dag(dag_id);
        server.unpause(dag_id);
    }
    let mut runs = Vec::new();
    let mut killed = [0; 3];
    for round in 1..=ROUNDS {
        runs.extend(["adds", "defers"].map(|dag_id| (dag_id, server.trigger(dag_id, &json!({})))));
        context.write_dag("changing.py", &changing(round));
        // Once: with the helper's end it is twice, and a file whose import is killed three times in a row has failed.
        wait_until("an import is killed", || {
            std::thread::sleep(Duration::from_millis(random.below(60)));
            kill_all(&server, "updraft import") > 0
        });
        killed[0] += 1;
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(20 + random.below(250)));
            let kind = random.below(2) as usize;
            killed[1 + kind] += kill_all(&server, ["updraft evaluat", "updraft trigger"][kind]);
        }
        if round % 3 == 0 {
            kill_helper(&server);
        }
    }
    assert!(killed.iter().all(|count| *count > 0), "seed {seed}: killed {killed:?}");
    for (dag_id, run_id) in &runs {
        let state = server.wait_for_run(dag_id, run_id);
        assert_eq!(state, "success", "seed {seed}, {dag_id}/{run_id}: {}", server.said());
        let expected = if *dag_id == "adds" { ("three", json!(3)) } else { ("after", json!("told")) };
        assert_eq!(server.xcom(dag_id, run_id, expected.0), expected.1, "seed {seed}, {dag_id}/{run_id}");
    }
    let last = format!("round_{ROUNDS}");
    server.wait_for("the import of the last change", |client| {
        let errors = client.get("/api/v2/importErrors").body;
        assert_eq!(errors["total_entries"], 0, "seed {seed}: {errors}");
        let tasks = client.get("/api/v2/dags/changing/tasks").body;
        (tasks["tasks"][0]["task_id"] == last.as_str()).then_some(())
    });
    let dates = ["05", "08", "09", "10"].map(|day| format!("own_scheduled_2024-01-{day}"));
    for run_id in &dates {
        assert_eq!(server.wait_for_run("dated", run_id), "success", "seed {seed}: {}", server.said());
    }
    let made = server.client.get("/api/v2/dags/dated/dagRuns").body;
    assert_eq!(made["total_entries"], dates.len(), "seed {seed}: {made}");
}
