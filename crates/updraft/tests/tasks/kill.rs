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
