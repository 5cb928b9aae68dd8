//! The host of child processes, with real processes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{Child, Environment, Exit, Host, Mark, SpawnError, SpawnRequest, kill_marked, kill_tree};

/// Where a process finds out that it is a host, and not a run of these tests.
const ROLE: &str = "UPDRAFT_TEST_ROLE";
const LIMIT: Duration = Duration::from_secs(20);

/// An engine kills whatever a host of its own that was lost has left behind. Tests share one process, and would kill each
/// other's hosts.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Not a test: this program again, as the host, or as an engine that has one.
#[test]
fn entry() {
    match std::env::var(ROLE).as_deref() {
        Ok("host") => process::run_host(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).unwrap(),
        Ok("engine") => engine(),
        _ => {}
    }
}

fn host() -> Host {
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "entry", "--nocapture"];
    Host::start(program.as_os_str(), &args, &[(ROLE, OsStr::new("host"))], None).unwrap()
}

/// An engine that starts a few children of the difficult sort, says who they are, and waits to be killed.
fn engine() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = host();
        let mut children = Vec::new();
        for script in DIFFICULT {
            children.push(shell(&host, script).await.0);
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
}

/// Children that do not want to end. Each writes the ids of its processes to `$PIDS`.
const DIFFICULT: [&str; 3] = [
    "trap '' TERM INT HUP; echo $$ >> $PIDS; while :; do sleep 1; done",
    "setsid sh -c 'trap \"\" TERM; echo $$ >> $PIDS; while :; do sleep 1; done' & sleep 600",
    "(setsid sh -c 'echo $$ >> $PIDS; exec sleep 600' </dev/null >/dev/null 2>&1 &) ; exit 0",
];

async fn shell(host: &Host, script: &str) -> (Child, PipeReader) {
    let (read, write) = std::io::pipe().unwrap();
    let request = SpawnRequest {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        environment: Environment::Inherited(vec![]),
        cwd: None,
        stdin: OwnedFd::from(File::open("/dev/null").unwrap()),
        stdout: write.try_clone().unwrap().into(),
        stderr: write.into(),
    };
    (host.spawn(request).await.unwrap(), read)
}

fn is_alive(pid: i32) -> bool {
    // A dead process that nobody has buried yet counts as dead.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pids_in(path: &Path, count: usize) -> Vec<i32> {
    let read = || -> Vec<i32> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    };
    wait_until("the children say who they are", || read().len() >= count);
    read()
}

#[tokio::test]
async fn children_run_as_they_were_asked_to() {
    let _alone = ALONE.lock().await;
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let (read, write) = std::io::pipe().unwrap();
    let request = SpawnRequest {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), "pwd; env | sort; echo err >&2; ps -o pgid= -p $$ | tr -d ' '; exit 7".into()],
        environment: Environment::Exactly(vec![("A".into(), "b c".into())]),
        cwd: Some(folder.path().to_str().unwrap().into()),
        stdin: OwnedFd::from(File::open("/dev/null").unwrap()),
        stdout: write.try_clone().unwrap().into(),
        stderr: write.into(),
    };
    let mut child = host.spawn(request).await.unwrap();
    assert_eq!(child.wait().await, Exit::Code(7));
    let mut output = String::new();
    { read }.read_to_string(&mut output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    let real = folder.path().canonicalize().unwrap();
    let group = child.pid.to_string();
    assert_eq!(lines.first(), Some(&real.to_str().unwrap()));
    assert!(lines.contains(&"A=b c") && !output.contains("HOME=") && lines.contains(&"err"), "{output}");
    assert_eq!(lines.last(), Some(&group.as_str()), "{output}");
}

#[tokio::test]
async fn what_can_not_be_started_is_said_and_signals_are_told_from_codes() {
    let _alone = ALONE.lock().await;
    let host = host();
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let request = |program: &str, args: Vec<String>| SpawnRequest {
        program: program.into(),
        args,
        environment: Environment::Inherited(vec![]),
        cwd: None,
        stdin: null(),
        stdout: null(),
        stderr: null(),
    };
    let missing = host.spawn(request("/no/such/program", vec![])).await;
    assert!(matches!(missing, Err(SpawnError::Failed { errno: 2, .. })), "{missing:?}");
    let long = host.spawn(request("true", vec!["x".repeat(1 << 20)])).await;
    assert!(matches!(long, Err(SpawnError::TooLong { .. })), "{long:?}");
    let mut child = host.spawn(request("sh", vec!["-c".into(), "kill -9 $$".into()])).await.unwrap();
    assert_eq!(child.wait().await, Exit::Signal(9));
}

#[tokio::test]
async fn a_tree_ends_with_those_in_groups_of_their_own() {
    let _alone = ALONE.lock().await;
    let host = host();
    let script = "setsid sleep 600 & echo $!; trap '' TERM; echo $$; wait";
    let (mut child, read) = shell(&host, script).await;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(read));
    let inner: i32 = lines.next().unwrap().unwrap().parse().unwrap();
    lines.next().unwrap().unwrap();
    wait_until("the inner one runs", || is_alive(inner));
    kill_tree(child.pid);
    assert_eq!(child.wait().await, Exit::Signal(9));
    wait_until("the inner one is gone", || !is_alive(inner));
}

#[tokio::test]
async fn who_got_away_is_found_by_the_mark() {
    let _alone = ALONE.lock().await;
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let daemon = |mark: &str| {
        format!(
            "export MARK={mark} PIDS={}; (setsid sh -c 'echo $$ >> $PIDS; exec sleep 600' </dev/null >/dev/null 2>&1 &)",
            pids.display()
        )
    };
    for mark in ["one", "two"] {
        assert_eq!(shell(&host, &daemon(mark)).await.0.wait().await, Exit::Code(0));
        pids_in(&pids, if mark == "one" { 1 } else { 2 });
    }
    let [one, two] = pids_in(&pids, 2)[..] else { panic!("two daemons") };
    let mark = Mark { variables: vec![vec!["MARK=one".into(), "PATH=never this".into()]], title: None };
    assert_eq!(kill_marked(host.pid().unwrap(), &mark), 0);
    let mark = Mark { variables: vec![vec!["MARK=two".into(), "X=".into()], vec!["MARK=one".into()]], title: None };
    assert!(kill_marked(host.pid().unwrap(), &mark) >= 1);
    wait_until("the marked one is gone", || !is_alive(one));
    assert!(is_alive(two));
    drop(host);
    wait_until("the other one goes with the host", || !is_alive(two));
}

#[test]
fn nobody_survives_the_engine() {
    let _alone = ALONE.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "entry", "--nocapture"])
        .env(ROLE, "engine")
        .env("PIDS", &pids)
        .spawn()
        .unwrap();
    let found = pids_in(&pids, DIFFICULT.len());
    assert!(found.iter().all(|pid| is_alive(*pid)));
    engine.kill().unwrap();
    engine.wait().unwrap();
    let start = Instant::now();
    wait_until("all children are gone", || found.iter().all(|pid| !is_alive(*pid)));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_host_that_is_killed_is_replaced_and_leaves_nobody() {
    let _alone = ALONE.lock().await;
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let mut children = Vec::new();
    for script in DIFFICULT {
        children.push(shell(&host, &format!("export PIDS={}; {script}", pids.display())).await);
    }
    let found = pids_in(&pids, DIFFICULT.len());
    let before = host.pid().unwrap();
    let killed = nix::sys::signal::kill(nix::unistd::Pid::from_raw(before as i32), nix::sys::signal::Signal::SIGKILL);
    killed.unwrap();
    for (child, _) in children.iter_mut().take(2) {
        assert_eq!(child.wait().await, Exit::Unknown);
    }
    wait_until("all children are gone", || found.iter().all(|pid| !is_alive(*pid)));
    let (mut child, _) = shell(&host, "exit 3").await;
    assert_eq!(child.wait().await, Exit::Code(3));
    assert_ne!(host.pid(), Some(before));
}
