//! `kill -9` of the real binary, again and again, at random moments while Dags run.
//!
//! Afterwards every run that was acknowledged must be there and have ended as an undisturbed one does; no command may have
//! run twice within a try, and no child may have outlived its engine.
#![allow(clippy::expect_used, reason = "test code")]

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Context, Server, below};

/// How often the binary is killed. `UPDRAFT_TEST_KILLS` makes it fewer for a quick look.
const KILLS: u64 = 200;
/// How long thousands of commands may take.
const WIDE_PATIENCE: Duration = Duration::from_secs(180);
/// How long children may take to go after their engine.
const CLEAN_UP: Duration = Duration::from_secs(15);

const DAGS: &str = r#"
import os
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

NOTE = 'echo "$AIRFLOW_CTX_DAG_RUN_ID {{ ti.task_id }} {{ ti.try_number }}" >> "$UPDRAFT_TEST_NOTES"; '

def noted(task_id, command="true", **more):
    return BashOperator(task_id=task_id, bash_command=NOTE + command, **more)

with DAG("shells", schedule=None, max_active_runs=50):
    previous = None
    for number in range(8):
        step = noted(f"t{number}", "sleep 0.02")
        if previous:
            previous >> step
        previous = step

with DAG("branches", schedule=None, max_active_runs=50):
    @task.branch
    def choose():
        return "left"

    left, right = noted("left", "sleep 0.1"), noted("right")
    joined = noted("joined", trigger_rule="none_failed_min_one_success")
    choose() >> [left, right] >> joined >> EmptyOperator(task_id="end")

with DAG("values", schedule=None, max_active_runs=50):
    @task
    def one():
        return 1

    @task
    def add(x, y):
        return x + y

    add.override(task_id="three")(add.override(task_id="two")(one(), 1), 1)

with DAG("failures", schedule=None, max_active_runs=50):
    bad = noted("bad", "exit 1", retries=1, retry_delay=0.05)
    bad >> noted("never") 
    bad >> noted("cleanup", "sleep 0.1", trigger_rule="one_failed")
    noted("long", "sleep 0.4")
"#;

const DAG_IDS: [&str; 4] = ["shells", "branches", "values", "failures"];

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

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn start(context: &Context) -> Server {
    let notes = context.path("notes").to_string_lossy().into_owned();
    Server::start_with(context, &[("UPDRAFT_TEST_NOTES", &notes), ("AIRFLOW__CORE__PARALLELISM", "8")])
}

/// The end of each Dag when nothing disturbs it: the run's state and those of its task instances.
fn undisturbed(context: &Context) -> HashMap<&'static str, (String, String)> {
    let server = start(context);
    let ends = DAG_IDS.map(|dag_id| {
        let (run_id, state) = server.run_dag(dag_id, &json!({}));
        (dag_id, (state, server.states(dag_id, &run_id)))
    });
    ends.into_iter().collect()
}

fn assert_nobody_is_left(home: &str) {
    let deadline = Instant::now() + CLEAN_UP;
    while !below(home).is_empty() {
        assert!(Instant::now() < deadline, "children outlived the engine: {:?}", below(home));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_at_random_moments_nothing_is_lost_or_doubled() {
    let seed = env_number("UPDRAFT_TEST_SEED", 20_260_131);
    let kills = env_number("UPDRAFT_TEST_KILLS", KILLS);
    let mut random = Random(seed);
    let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
    context.write_dag("kill.py", DAGS);
    let home = format!("AIRFLOW_HOME={}", context.home().display());
    let expected = undisturbed(&context);
    let mut acknowledged: Vec<(&str, String)> = Vec::new();
    for kill in 0..kills {
        let server = start(&context);
        // At most one request is under way when the end comes; half of the time none.
        for number in 0..random.below(4) {
            let dag_id = DAG_IDS[random.below(DAG_IDS.len() as u64) as usize];
            let run_id = format!("manual__{kill}.{number}");
            let body = json!({"logical_date": null, "dag_run_id": run_id});
            let reply = server.client.try_send("POST", &format!("/api/v2/dags/{dag_id}/dagRuns"), &body);
            if reply.is_some_and(|reply| reply.status == 200) {
                acknowledged.push((dag_id, run_id));
            }
        }
        // From the very start of the process to well after the Python helper is warm.
        std::thread::sleep(Duration::from_millis(random.below(if kill % 4 == 0 { 3000 } else { 600 })));
        server.kill();
        assert_nobody_is_left(&home);
    }
    let server = start(&context);
    for (dag_id, run_id) in &acknowledged {
        let state = server.wait_for_run(dag_id, run_id);
        let (expected_state, expected_tasks) = &expected[dag_id];
        assert_eq!(
            (&state, &server.states(dag_id, run_id)),
            (expected_state, expected_tasks),
            "seed {seed}, {dag_id}/{run_id}"
        );
    }
    assert!(acknowledged.len() as u64 >= kills / 2, "only {} runs were acknowledged", acknowledged.len());
    assert_eq!(server.xcom("values", first_of(&acknowledged, "values"), "three"), Value::from(3));
    assert!(server.terminate().success());
    assert_ran_once(&std::fs::read_to_string(context.path("notes")).expect("the notes"), seed);
}

fn first_of<'a>(runs: &'a [(&str, String)], dag_id: &str) -> &'a str {
    runs.iter().find(|(dag, _)| *dag == dag_id).map(|(_, run_id)| run_id.as_str()).expect("a run of each Dag")
}

const WIDE: &str = r#"
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

with DAG("wide", max_active_tasks=2000):
    @task
    def numbers(count):
        return list(range(count))

    @task
    def double(number):
        return 2 * number

    @task
    def total(doubled):
        return sum(doubled)

    @task
    def commands():
        note = 'echo "$AIRFLOW_CTX_DAG_RUN_ID {} $AIRFLOW_CTX_TRY_NUMBER" >> "$UPDRAFT_TEST_NOTES"'
        return [note.format(number) for number in range(2000)]

    BashOperator.partial(task_id="shells").expand(bash_command=commands())
    total(double.expand(number=numbers(50)))
"#;

/// `kill -9` while a task with thousands of instances is expanded and runs.
#[test]
fn killed_while_thousands_are_expanded_nothing_is_lost_or_doubled() {
    let seed = env_number("UPDRAFT_TEST_SEED", 20_260_131);
    let mut random = Random(seed);
    let context = Context::new(env!("CARGO_BIN_EXE_updraft"));
    context.write_dag("wide.py", WIDE);
    let home = format!("AIRFLOW_HOME={}", context.home().display());
    let mut server = start_wide(&context);
    server.wait_for_dag("wide");
    server.unpause("wide");
    let run_id = server.trigger("wide", &json!({}));
    // The first ones while what is mapped over is made and expanded, the last ones while the instances run.
    for longest in [2000, 3000, 4000] {
        std::thread::sleep(Duration::from_millis(500 + random.below(longest)));
        server.kill();
        assert_nobody_is_left(&home);
        server = start_wide(&context);
    }
    // What takes seconds on an idle machine may take longer than other tests have patience.
    let deadline = Instant::now() + WIDE_PATIENCE;
    let path = format!("/api/v2/dags/wide/dagRuns/{run_id}");
    while server.client.get(&path).body["state"] == "running" && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.wait_for_run("wide", &run_id), "success", "seed {seed}: {}", server.said());
    let count = |task_id: &str| {
        let path = format!("/api/v2/dags/wide/dagRuns/{run_id}/taskInstances?task_id={task_id}&state=success&limit=1");
        server.client.get(&path).body["total_entries"].clone()
    };
    assert_eq!((count("shells"), count("double")), (json!(2000), json!(50)), "seed {seed}");
    assert_eq!(server.xcom("wide", &run_id, "total"), json!(2450), "seed {seed}");
    assert!(server.terminate().success());
    let notes = std::fs::read_to_string(context.path("notes")).expect("the notes");
    assert_ran_once(&notes, seed);
    let instances: std::collections::BTreeSet<&str> = notes.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(instances.len(), 2000, "seed {seed}");
}

fn start_wide(context: &Context) -> Server {
    let notes = context.path("notes").to_string_lossy().into_owned();
    let limits = [("AIRFLOW__CORE__MAX_MAP_LENGTH", "5000"), ("AIRFLOW__CORE__PARALLELISM", "16")];
    Server::start_with(context, &[&[("UPDRAFT_TEST_NOTES", notes.as_str())], &limits[..]].concat())
}

/// Every command notes its run, task and try when it starts.
fn assert_ran_once(notes: &str, seed: u64) {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in notes.lines() {
        *counts.entry(line).or_default() += 1;
    }
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "seed {seed}: ran twice within a try: {doubled:?}");
}
