//! The life of a server: its start, its end when it is asked to, a second one on the same home, a disk that is full.
#![allow(clippy::expect_used, reason = "test code")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Context, Server, below};

/// How long children may take to go after their engine.
const CLEAN_UP: Duration = Duration::from_secs(15);

const SLEEPERS: &str = r#"
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

with DAG("brief", schedule=None):
    BashOperator(task_id="first", bash_command="touch $MARK.$AIRFLOW_CTX_TRY_NUMBER; sleep 1.5") >> BashOperator(
        task_id="second", bash_command="true"
    )

with DAG("endless", schedule=None):
    BashOperator(task_id="first", bash_command="touch $MARK.$AIRFLOW_CTX_TRY_NUMBER; sleep {{ 0.1 if ti.try_number > 1 else 600 }}")

with DAG("python", schedule=None):
    @task
    def first():
        import os, pathlib, time
        pathlib.Path(f"{os.environ['MARK']}.{os.environ['AIRFLOW_CTX_TRY_NUMBER']}").touch()
        if os.environ["AIRFLOW_CTX_TRY_NUMBER"] == "1":
            time.sleep(600)
        return "done"
    first()
"#;

/// A server whose tasks leave a mark when they begin.
fn start(context: &Context) -> Server {
    let mark = context.path("mark").to_string_lossy().into_owned();
    Server::start_with(context, &[("MARK", &mark)])
}

fn begin(context: &Context, server: &Server, dag_id: &str) -> String {
    context.write_dag("sleepers.py", SLEEPERS);
    server.wait_for_dag(dag_id);
    server.unpause(dag_id);
    let run_id = server.trigger(dag_id, &json!({}));
    let mark = context.path("mark.1");
    server.wait_for("the first task's start", |_| mark.exists().then_some(()));
    run_id
}

#[test]
fn a_server_that_is_asked_to_end_lets_its_tasks_finish_and_starts_no_others() {
    let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
    let server = start(&context);
    let run_id = begin(&context, &server, "brief");
    assert!(server.terminate().success());
    let server = start(&context);
    assert_eq!(server.wait_for_run("brief", &run_id), "success");
    let tasks = server.task_instances("brief", &run_id);
    assert_eq!((&tasks["first"]["try_number"], &tasks["second"]["try_number"]), (&json!(1), &json!(1)));
    // The second task began only after the new start.
    assert!(tasks["second"]["start_date"].as_str() > tasks["first"]["end_date"].as_str());
}

#[test]
fn what_is_cut_off_at_the_end_runs_again_and_uses_up_no_retry() {
    for dag_id in ["endless", "python"] {
        let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
        let server = start(&context);
        let run_id = begin(&context, &server, dag_id);
        // Asked twice, it does not wait for its tasks.
        server.signal_terminate();
        std::thread::sleep(Duration::from_millis(200));
        assert!(server.terminate().success());
        // The process that has started them all buries them and follows.
        let (home, deadline) = (format!("AIRFLOW_HOME={}", context.home().display()), Instant::now() + CLEAN_UP);
        while !below(&home).is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", below(&home));
            std::thread::sleep(Duration::from_millis(5));
        }
        let server = start(&context);
        assert_eq!(server.wait_for_run(dag_id, &run_id), "success");
        assert_eq!(server.task_instances(dag_id, &run_id)["first"]["try_number"], json!(2));
        let log = server.log_lines(dag_id, &run_id, "first", 1).join("\n");
        assert!(log.contains("the engine is being shut down"), "{log}");
    }
}

#[test]
fn a_second_server_on_the_same_home_is_refused() {
    let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
    let server = start(&context);
    let output = context.run(&["standalone", "--port", "0"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("process {}", server.pid())) && said.contains("--home"), "{said}");
    assert_eq!(server.client.get("/api/v2/version").status, 200);
}

#[test]
fn a_port_in_use_is_named() {
    let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
    let server = start(&context);
    let other = Context::new(env!("CARGO_BIN_EXE_updraft"));
    let output = other.run(&["standalone", "--port", &server.port.to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!(":{}", server.port)) && said.contains("--port"), "{said}");
}

/// Mounts a small file system of its own on a folder, and takes it away again.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(folder).status();
        done.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_stops_nothing_for_good() {
    let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
    let home = context.home();
    let Some(_disk) = SmallDisk::mount(&home, "24m") else {
        return println!("not run: mounting a small disk needs root");
    };
    let server = start(&context);
    let _first = begin(&context, &server, "brief");
    let filler = home.join("filler");
    fill(&filler);
    let body = json!({"logical_date": null});
    let triggered = Instant::now();
    let refused = server.client.try_send("POST", "/api/v2/dags/brief/dagRuns", &body);
    // Either it is told at once that there is no room, or nobody answers before there is; nothing is acknowledged and lost.
    let acknowledged = refused.as_ref().is_some_and(|reply| reply.status == 200);
    assert!(triggered.elapsed() < Duration::from_secs(35));
    let health = server.client.get("/api/v2/monitor/health");
    assert_eq!(health.status, 200, "the API answers all the same");
    server.wait_for("a word about the disk", |_| server.said().contains("disk is full").then_some(()));
    std::fs::remove_file(&filler).expect("room again");
    let (run_id, state) = server.run_dag("brief", &json!({}));
    assert_eq!(state, "success", "{run_id}");
    if acknowledged {
        let run_id = refused.expect("a reply").body["dag_run_id"].as_str().expect("an id").to_owned();
        assert_eq!(server.wait_for_run("brief", &run_id), "success");
    }
    assert!(server.terminate().success());
}

/// Writes until there is no room for a single page more.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("a file");
    let mut size = 1 << 20;
    while size >= 512 {
        if file.write_all(&vec![b'x'; size]).is_err() {
            size /= 2;
        }
    }
}
