//! `updraft standalone`, started and ended by tests.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{Client, Context, python};

/// What a machine under load may take for what is done in a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where bundles are configured.
const BUNDLES: &str = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST";

pub struct Server {
    child: Child,
    pub port: u16,
    pub client: Client,
    log: PathBuf,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

impl Server {
    /// Starts a server that needs no login, and waits until it answers.
    pub fn start(context: &Context) -> Self {
        Self::start_with(context, &[])
    }

    pub fn start_with(context: &Context, env: &[(&str, &str)]) -> Self {
        let mut server =
            Self::spawn(context, &[&[("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")], env].concat());
        server.client = server.client.clone().log_in();
        server
    }

    /// A server that asks for a login. Its client has no token.
    pub fn start_closed(context: &Context, env: &[(&str, &str)]) -> Self {
        Self::spawn(context, env)
    }

    fn spawn(context: &Context, env: &[(&str, &str)]) -> Self {
        let port = free_port();
        let log = context.log();
        let output: File = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        // What a test configures itself counts only where no folder is given.
        let has_bundles = env.iter().any(|(name, _)| *name == BUNDLES);
        let folder = if has_bundles { vec![] } else { vec!["--dags".into(), context.dags().into_os_string()] };
        let child = context
            .command(&["standalone", "--port", &port.to_string()])
            .arg("--home")
            .arg(context.home())
            .args(folder)
            .arg("--python")
            .arg(python())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("the binary starts");
        let url = format!("http://127.0.0.1:{port}");
        let mut server = Self { child, port, client: Client::new(&url), log };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client.try_get("/api/v2/version").is_none() {
            let ended = self.child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the server ended with {ended:?}:\n{}", self.said());
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its terminal.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something is so.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Client) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&self.client) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} does not happen; the server said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_for_dag(&self, dag_id: &str) {
        self.wait_for(&format!("the import of {dag_id}"), |client| {
            (client.get(&format!("/api/v2/dags/{dag_id}")).status == 200).then_some(())
        });
    }

    pub fn unpause(&self, dag_id: &str) {
        let reply = self.client.patch(&format!("/api/v2/dags/{dag_id}"), &json!({"is_paused": false}));
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Makes a run and gives its id.
    pub fn trigger(&self, dag_id: &str, conf: &Value) -> String {
        let body = json!({"logical_date": null, "conf": conf});
        let reply = self.client.post(&format!("/api/v2/dags/{dag_id}/dagRuns"), &body);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body["dag_run_id"].as_str().expect("a run id").to_owned()
    }

    /// Waits for a run's end and gives its state.
    pub fn wait_for_run(&self, dag_id: &str, run_id: &str) -> String {
        self.wait_for(&format!("the end of {dag_id}/{run_id}"), |client| {
            let run = client.get(&format!("/api/v2/dags/{dag_id}/dagRuns/{}", quoted(run_id))).body;
            let state = run["state"].as_str().unwrap_or_default().to_owned();
            ["success", "failed"].contains(&state.as_str()).then_some(state)
        })
    }

    /// Imports, unpauses, triggers and waits.
    pub fn run_dag(&self, dag_id: &str, conf: &Value) -> (String, String) {
        self.wait_for_dag(dag_id);
        self.unpause(dag_id);
        let run_id = self.trigger(dag_id, conf);
        let state = self.wait_for_run(dag_id, &run_id);
        (run_id, state)
    }

    /// Task instances of a run, by task id (with the map index where there is one).
    pub fn task_instances(&self, dag_id: &str, run_id: &str) -> BTreeMap<String, Value> {
        let path = format!("/api/v2/dags/{dag_id}/dagRuns/{}/taskInstances?limit=100", quoted(run_id));
        let reply = self.client.get(&path);
        let list = reply.body["task_instances"].as_array().unwrap_or_else(|| panic!("no list: {reply:?}")).clone();
        let name = |ti: &Value| match ti["map_index"].as_i64() {
            Some(index @ 0..) => format!("{}[{index}]", ti["task_id"].as_str().unwrap_or_default()),
            _ => ti["task_id"].as_str().unwrap_or_default().to_owned(),
        };
        list.into_iter().map(|ti| (name(&ti), ti)).collect()
    }

    /// The states of a run's task instances, as `task=state` words.
    pub fn states(&self, dag_id: &str, run_id: &str) -> String {
        let words: Vec<String> = self
            .task_instances(dag_id, run_id)
            .iter()
            .map(|(name, ti)| format!("{name}={}", ti["state"].as_str().unwrap_or("none")))
            .collect();
        words.join(" ")
    }

    /// The lines of a try's log: level and event.
    pub fn log_lines(&self, dag_id: &str, run_id: &str, task_id: &str, try_number: u32) -> Vec<String> {
        let path =
            format!("/api/v2/dags/{dag_id}/dagRuns/{}/taskInstances/{task_id}/logs/{try_number}", quoted(run_id));
        let reply = self.client.get(&path);
        let list = reply.body["content"].as_array().unwrap_or_else(|| panic!("no log: {reply:?}")).clone();
        list.iter().map(|line| line["event"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub fn xcom(&self, dag_id: &str, run_id: &str, task_id: &str) -> Value {
        let path = format!(
            "/api/v2/dags/{dag_id}/dagRuns/{}/taskInstances/{task_id}/xcomEntries/return_value",
            quoted(run_id)
        );
        self.client.get(&path).body["value"].clone()
    }

    /// `kill -9`, and what is left of it.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM.
    pub fn signal_terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("the server lives");
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal_terminate();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A run id in a path.
fn quoted(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace(':', "%3A")
}

/// The processes whose environment has this text: what a server started, wherever it hides.
pub fn below(marker: &str) -> Vec<u32> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(marker.len()).any(|window| window == marker.as_bytes())
        })
        .collect()
}
