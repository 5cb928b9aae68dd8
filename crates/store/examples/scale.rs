//! How long the store takes with 10,000 Dags, 100,000 runs and 500,000 task instances in it.
//!
//! `cargo run --release -p store --example scale [FOLDER]` fills a database in the folder (or takes the one that is
//! there) and prints the time of every kind of query, marking those over the goal, and of the commits that a run needs,
//! beside what they take in an empty database.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints, and stops at whatever goes wrong")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use model::{
    Change, DagId, DagRun, DagRunState, DagSchedule, DataInterval, MapIndex, RunKey, RunType, TaskInstance,
    TaskInstanceId, TaskState, TriggeredBy, VersionId, timetable::NextRun,
};
use serde_json::json;
use store::sqlite::SqliteStore;
use store::{
    Commit, DagFilter, DagOrder, DagStore, Direction, ImportedDag, ImportedFile, Page, PoolStore, RunFilter, RunOrder,
    RunStore, Span, Store, TaskInstanceFilter, TaskInstanceOrder, TextFilter, Write, XCom, XComFilter, XComKey,
    XComOrder, XComStore,
};
use uuid::Uuid;

const DAGS: usize = 10_000;
const RUNS: usize = 100_000;
/// Of all runs, those of one Dag that runs all the time.
const BUSY_RUNS: usize = 20_000;
const TASKS: usize = 5;
/// What an API call may take.
const GOAL: Duration = Duration::from_millis(50);

fn at(seconds: usize) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds as i64).unwrap()
}

fn dag_id(number: usize) -> DagId {
    format!("team_{}.pipeline_{number:05}", number % 40).into()
}

fn imported(number: usize) -> Write {
    let dag_id = dag_id(number);
    let owners = vec![format!("owner_{}", number % 50)];
    let dag = ImportedDag {
        display_name: dag_id.to_string(),
        description: Some("Loads what came in, checks it and hands it on.".into()),
        paused_upon_creation: false,
        bundle_version: None,
        relative_fileloc: format!("team/{dag_id}.py"),
        fileloc: format!("/opt/airflow/dags/team/{dag_id}.py"),
        owners,
        tags: vec![format!("tag_{}", number % 20), "all".into()],
        timetable_type: "airflow.timetables.trigger.CronTriggerTimetable".into(),
        timetable_summary: Some("*/10 * * * *".into()),
        timetable_description: Some("Every 10 minutes".into()),
        max_active_tasks: 16,
        max_active_runs: 16,
        max_consecutive_failed_dag_runs: 0,
        has_task_concurrency_limits: false,
        allowed_run_types: None,
        unproven: false,
        assets: Vec::new(),
        aliases: Vec::new(),
        facts: json!({
            "timetable": {
                "__type": "airflow.timetables.trigger.CronTriggerTimetable",
                "__var": {"expression": "*/10 * * * *", "timezone": "UTC", "interval": 0.0, "run_immediately": false},
            },
            "earliest": 1_700_000_000_000_000_i64,
            "latest": null,
            "catchup": false,
            "may_schedule": true,
        }),
        version: version(number),
        hash: format!("{number:064x}"),
        serialized: json!({"dag": {"dag_id": dag_id.as_str(), "tasks": vec!["x".repeat(500); TASKS]}}),
        extras: json!({}),
        dag_id,
    };
    Write::Imported(Box::new(ImportedFile {
        bundle_name: "dags-folder".into(),
        relative_fileloc: dag.relative_fileloc.clone(),
        fingerprint: json!({"hash": dag.hash}),
        at: at(0),
        duration: SignedDuration::from_millis(40),
        dags: vec![dag],
        errors: Vec::new(),
    }))
}

fn version(number: usize) -> VersionId {
    VersionId(Uuid::from_u128(number as u128))
}

/// The Dag that run `number` is of: the busy one, or the others in turn.
fn dag_of(number: usize) -> usize {
    let every = RUNS / BUSY_RUNS;
    if number.is_multiple_of(every) { 0 } else { 1 + number % (DAGS - 1) }
}

fn run(dag: usize, number: usize) -> DagRun {
    let state = if number % 50 == 7 { DagRunState::Failed } else { DagRunState::Success };
    let date = at(number * 7);
    DagRun {
        key: RunKey::new(dag_id(dag), format!("scheduled__{date}")),
        run_type: RunType::Scheduled,
        triggered_by: TriggeredBy::Timetable,
        triggering_user: None,
        state,
        logical_date: Some(date),
        data_interval: Some(DataInterval::exact(date)),
        run_after: date,
        queued_at: Some(date),
        start_date: Some(at(number * 7 + 1)),
        end_date: Some(at(number * 7 + 5 + number % 90)),
        last_scheduling_decision: Some(at(number * 7 + 5)),
        conf: Arc::new(json!({})),
        note: None,
        clear_number: 0,
        backfill: None,
        partition: None,
        version: version(dag),
        bundle_version: None,
    }
}

fn task(run: &DagRun, number: usize, task: usize) -> TaskInstance {
    let failed = run.state == DagRunState::Failed && task == TASKS - 1;
    TaskInstance {
        id: TaskInstanceId(Uuid::from_u128((0x0199 << 112) + (number * TASKS + task) as u128)),
        run: run.key.clone(),
        task_id: format!("task_number_{task}").into(),
        map_index: MapIndex::NONE,
        state: if failed { TaskState::Failed } else { TaskState::Success },
        try_number: 1,
        max_tries: 1,
        version: run.version,
        operator: "BashOperator".into(),
        operator_name: "BashOperator".into(),
        pool: "default_pool".into(),
        pool_slots: 1,
        queue: "default".into(),
        priority_weight: 1,
        executor: None,
        scheduled_at: Some(at(number * 7 + 1)),
        queued_at: Some(at(number * 7 + 1)),
        start_date: Some(at(number * 7 + 2 + task)),
        end_date: Some(at(number * 7 + 3 + task)),
        hostname: Some("worker-0.example.internal".into()),
        unixname: Some("airflow".into()),
        pid: Some(4711),
        rendered_map_index: None,
        retry_delay_override: None,
        reschedule_date: None,
    }
}

fn xcom(run: &DagRun, task: usize) -> XCom {
    let key = XComKey {
        run: run.key.clone(),
        task_id: format!("task_number_{task}").into(),
        map_index: MapIndex::NONE,
        key: "return_value".into(),
    };
    XCom { key, value: json!({"rows": 1234}), at: run.run_after, mapped_length: None, dag_result: false }
}

fn put_run(run: &DagRun) -> Write {
    Write::Decision(Change::Run(Box::new(run.clone())))
}

fn put_task(ti: &TaskInstance) -> Write {
    Write::Decision(Change::TaskInstance(Box::new(ti.clone())))
}

fn fill(store: &SqliteStore, dags: usize, runs: usize) {
    for first in (0..dags).step_by(200) {
        store.commit((first..(first + 200).min(dags)).map(imported).collect()).unwrap();
    }
    for first in (0..runs).step_by(500) {
        let mut batch = Vec::new();
        for number in first..(first + 500).min(runs) {
            let run = run(dag_of(number), number);
            batch.push(put_run(&run));
            batch.extend((0..TASKS).map(|index| put_task(&task(&run, number, index))));
            batch.extend((0..2).map(|index| Write::XCom(Box::new(xcom(&run, index)))));
        }
        store.commit(batch).unwrap();
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:9.3} ms", time.as_secs_f64() * 1000.0)
}

/// How long this thread has had a processor.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

/// Times a query: the time on the processor, which other work on the machine does not change, and the time until the
/// answer was there, as the medians of some runs; and the first run.
fn time<T>(name: &str, query: impl Fn() -> store::Result<(Vec<T>, u64)>) {
    let (mut times, mut busy) = (Vec::new(), Vec::new());
    let mut found = (0, 0);
    for _ in 0..10 {
        let (start, processor) = (Instant::now(), processor_time());
        let (rows, total) = query().unwrap();
        busy.push(processor_time() - processor);
        times.push(start.elapsed());
        found = (rows.len(), total);
    }
    let first = times.remove(0);
    let busy = median(busy);
    let mark = if busy > GOAL { "  <-- over the goal" } else { "" };
    let times = [busy, median(times), first].map(millis).join(" ");
    println!("{name:56} {times} {:6} of {:6}{mark}", found.0, found.1);
}

fn one<T>(found: store::Result<Option<T>>) -> store::Result<(Vec<T>, u64)> {
    found.map(|found| (found.into_iter().collect(), 1))
}

fn all<T>(found: store::Result<Vec<T>>) -> store::Result<(Vec<T>, u64)> {
    found.map(|found| {
        let total = found.len() as u64;
        (found, total)
    })
}

const UP: Direction = Direction::Ascending;
const DOWN: Direction = Direction::Descending;
const FIRST: Page = Page { limit: 50, offset: 0 };
const HUNDRED: Page = Page { limit: 100, offset: 0 };

fn runs(store: &SqliteStore) {
    let everything = RunFilter::default();
    let of = |dag: usize| RunFilter { dag_id: Some(dag_id(dag)), ..RunFilter::default() };
    let state = |state| RunFilter { states: vec![state], ..RunFilter::default() };
    let orders: [(&str, &[(RunOrder, Direction)]); 6] = [
        ("id", &[(RunOrder::Id, UP)]),
        ("id, down", &[(RunOrder::Id, DOWN)]),
        ("start_date, down", &[(RunOrder::StartDate, DOWN)]),
        ("run_after, down", &[(RunOrder::RunAfter, DOWN)]),
        ("end_date, down", &[(RunOrder::EndDate, DOWN)]),
        ("duration, down", &[(RunOrder::Duration, DOWN)]),
    ];
    for (name, order) in orders {
        time(&format!("runs of all Dags by {name}"), || store.runs(&everything, order, HUNDRED));
        time(&format!("runs of one Dag by {name}"), || store.runs(&of(77), order, HUNDRED));
        time(&format!("runs of the busy Dag by {name}"), || store.runs(&of(0), order, HUNDRED));
    }
    let newest = [(RunOrder::RunAfter, DOWN)];
    time("runs of all Dags by run_after, down, far behind", || {
        store.runs(&everything, &newest, Page { limit: 50, offset: 90_000 })
    });
    for (name, wanted) in
        [("success", DagRunState::Success), ("failed", DagRunState::Failed), ("running", DagRunState::Running)]
    {
        time(&format!("runs that are {name} by run_after, down"), || store.runs(&state(wanted), &newest, FIRST));
        time(&format!("runs that are {name} by id"), || store.runs(&state(wanted), &[], FIRST));
    }
    let matching = RunFilter { dag_id_pattern: Some("line_0000".into()), ..RunFilter::default() };
    time("runs with a pattern of the Dag id", || store.runs(&matching, &newest, FIRST));
    let matching = RunFilter { dag_id_prefix: Some("team_7".into()), ..RunFilter::default() };
    time("runs with a prefix of the Dag id", || store.runs(&matching, &newest, FIRST));
    let span = Span { from: Some(at(600_000)), to: None, or_missing: false };
    time("runs after a date", || store.runs(&RunFilter { run_after: span, ..RunFilter::default() }, &newest, FIRST));
    let version = RunFilter { version_numbers: vec![1], ..RunFilter::default() };
    time("runs with a version's number", || store.runs(&version, &newest, FIRST));
    time("active runs", || all(store.active_runs()));
    time("run before a date", || one(store.run_before(&dag_id(0), at(600_000), true)));
    time("last successful run", || one(store.last_successful_run(&dag_id(0), at(600_000))));
    time("a task that no run of the busy Dag has had", || {
        store.task_ran_before(&dag_id(0), &"new".into(), at(600_000)).map(|found| (vec![found], 1))
    });
}

fn task_instances(store: &SqliteStore) {
    let key = run(0, 50_000).key;
    let everything = TaskInstanceFilter::default();
    let of_run = TaskInstanceFilter {
        dag_id: Some(key.dag_id.clone()),
        run_id: Some(key.run_id.clone()),
        ..TaskInstanceFilter::default()
    };
    let of = |dag: usize| TaskInstanceFilter { dag_id: Some(dag_id(dag)), ..TaskInstanceFilter::default() };
    let state = |states: &[TaskState]| TaskInstanceFilter { states: states.to_vec(), ..TaskInstanceFilter::default() };
    let orders: [(&str, &[(TaskInstanceOrder, Direction)]); 6] = [
        ("map_index", &[(TaskInstanceOrder::MapIndex, UP)]),
        ("id", &[(TaskInstanceOrder::Id, UP)]),
        ("start_date, down", &[(TaskInstanceOrder::StartDate, DOWN)]),
        ("run_after, down", &[(TaskInstanceOrder::RunAfter, DOWN)]),
        ("end_date, down", &[(TaskInstanceOrder::EndDate, DOWN)]),
        ("logical_date, down", &[(TaskInstanceOrder::LogicalDate, DOWN)]),
    ];
    for (name, order) in orders {
        time(&format!("task instances of one run by {name}"), || store.task_instances(&of_run, order, FIRST));
        time(&format!("task instances of all runs by {name}"), || store.task_instances(&everything, order, FIRST));
        time(&format!("task instances of one Dag by {name}"), || store.task_instances(&of(77), order, FIRST));
        time(&format!("task instances of the busy Dag by {name}"), || store.task_instances(&of(0), order, FIRST));
        time(&format!("task instances that failed by {name}"), || {
            store.task_instances(&state(&[TaskState::Failed]), order, FIRST)
        });
        time(&format!("task instances that succeeded by {name}"), || {
            store.task_instances(&state(&[TaskState::Success]), order, FIRST)
        });
    }
    let order = [(TaskInstanceOrder::MapIndex, UP)];
    time("task instances that run or wait", || {
        let states = [TaskState::Running, TaskState::Queued, TaskState::None, TaskState::UpForRetry];
        store.task_instances(&state(&states), &order, FIRST)
    });
    time("task instances of the busy Dag that failed", || {
        store.task_instances(&TaskInstanceFilter { states: vec![TaskState::Failed], ..of(0) }, &order, FIRST)
    });
    time("task instances with a pattern of the task id", || {
        let filter = TaskInstanceFilter { task_id_pattern: Some("number_3".into()), ..TaskInstanceFilter::default() };
        store.task_instances(&filter, &order, FIRST)
    });
    time("task instances of a run, all", || all(store.task_instances_of(&key)));
}

fn the_rest(store: &SqliteStore) {
    let fresh = DagFilter { exclude_stale: true, ..DagFilter::default() };
    for (name, order) in [
        ("id", DagOrder::DagId),
        ("display name", DagOrder::DisplayName),
        ("last run", DagOrder::LastRunStart),
        ("next run", DagOrder::NextRun),
    ] {
        time(&format!("Dags by {name}"), || store.dags(&fresh, &[(order, DOWN)], HUNDRED));
    }
    let with = |change: fn(&mut DagFilter)| {
        let mut filter = fresh.clone();
        change(&mut filter);
        filter
    };
    let filters = [
        ("a pattern", with(|filter| filter.dag_id_pattern = Some("LINE_001".into()))),
        ("a prefix", with(|filter| filter.dag_id_prefix = Some("team_7".into()))),
        ("tags", with(|filter| filter.tags = vec!["tag_3".into(), "tag_4".into()])),
        ("an owner", with(|filter| filter.owners = vec!["OWNER_3".into()])),
        ("a last state", with(|filter| filter.last_run_state = Some(DagRunState::Failed))),
    ];
    for (name, filter) in filters {
        time(&format!("Dags with {name}"), || store.dags(&filter, &[], HUNDRED));
    }
    let api = [XComOrder::DagId, XComOrder::TaskId, XComOrder::RunId, XComOrder::MapIndex, XComOrder::Key];
    let api = api.map(|key| (key, UP));
    let key = run(0, 50_000).key;
    let of_run =
        XComFilter { dag_id: Some(key.dag_id.clone()), run_id: Some(key.run_id.clone()), ..XComFilter::default() };
    let of_dag = XComFilter { dag_id: Some(key.dag_id.clone()), ..XComFilter::default() };
    let keyed =
        XComFilter { keys: TextFilter { pattern: Some("return".into()), prefix: None }, ..XComFilter::default() };
    time("XComs of one run", || store.list_xcoms(&of_run, &api, FIRST));
    time("XComs of all runs", || store.list_xcoms(&XComFilter::default(), &api, FIRST));
    time("XComs of all runs by time, down", || {
        store.list_xcoms(&XComFilter::default(), &[(XComOrder::At, DOWN)], FIRST)
    });
    time("XComs of the busy Dag", || store.list_xcoms(&of_dag, &api, FIRST));
    time("XComs with a pattern of the key", || store.list_xcoms(&keyed, &api, FIRST));
    let prior = XComKey { key: "never".into(), ..xcom(&run(0, 90_000), 1).key };
    time("XComs of prior dates of the busy Dag, none", || one(store.xcom_with_prior_dates(&prior)));
    time("use of pools", || all(store.pool_usage()));
}

/// Triggers a run and finishes its tasks one after the other, as the engine does. Times each commit.
fn one_run(store: &SqliteStore, number: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut commit = |batch: Vec<Write>| {
        let start = Instant::now();
        store.commit(batch).unwrap();
        times.push(start.elapsed());
    };
    let ended = DagRun { run_type: RunType::Manual, ..run(5, number) };
    let made = DagRun { state: DagRunState::Queued, start_date: None, end_date: None, ..ended.clone() };
    let tasks: Vec<TaskInstance> = (0..TASKS).map(|index| task(&ended, number, index)).collect();
    let new = |ti: &TaskInstance| TaskInstance {
        state: TaskState::None,
        scheduled_at: None,
        queued_at: None,
        start_date: None,
        end_date: None,
        ..ti.clone()
    };
    let mut batch = vec![put_run(&made)];
    batch.extend(tasks.iter().map(|ti| put_task(&new(ti))));
    commit(batch);
    for (index, ti) in tasks.iter().enumerate() {
        let queued = TaskInstance { state: TaskState::Queued, start_date: None, end_date: None, ..ti.clone() };
        let mut batch = vec![put_task(&queued)];
        if index == 0 {
            batch.push(put_run(&DagRun { state: DagRunState::Running, end_date: None, ..ended.clone() }));
        }
        commit(batch);
        commit(vec![put_task(&TaskInstance { state: TaskState::Running, end_date: None, ..ti.clone() })]);
        let mut batch = vec![put_task(ti)];
        if index == TASKS - 1 {
            batch.push(put_run(&ended));
        }
        commit(batch);
    }
    times
}

fn commits(big: &SqliteStore, small: &SqliteStore, first: usize) {
    let (mut in_big, mut in_small) = (Vec::new(), Vec::new());
    // In turn, so that whatever else the disk does meets both.
    for number in 0..100 {
        in_big.push(one_run(big, first + number));
        in_small.push(one_run(small, first + number));
    }
    let sums = |runs: &[Vec<Duration>]| median(runs.iter().map(|times| times.iter().sum()).collect());
    let nth = |runs: &[Vec<Duration>], nth: usize| median(runs.iter().map(|times| times[nth]).collect());
    let line = |name: &str, big: Duration, small: Duration| {
        let more = (big.as_secs_f64() / small.as_secs_f64() - 1.0) * 100.0;
        println!("{name:58} {} against {} in an empty one ({more:+.0} %)", millis(big), millis(small));
    };
    line("commit of a new run with its tasks", nth(&in_big, 0), nth(&in_small, 0));
    line("commit of a task that is queued", nth(&in_big, 4), nth(&in_small, 4));
    line("commit of a task that starts", nth(&in_big, 5), nth(&in_small, 5));
    line("commit of a task that ends", nth(&in_big, 6), nth(&in_small, 6));
    line("all commits of a run", sums(&in_big), sums(&in_small));
}

fn main() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("scale.db");
    if !path.exists() {
        let start = Instant::now();
        fill(&SqliteStore::open(&path).unwrap(), DAGS, RUNS);
        println!("filled in {:.1} s", start.elapsed().as_secs_f64());
    }
    println!("{} MB\n", std::fs::metadata(&path).unwrap().len() / 1_000_000);

    let start = Instant::now();
    let store = SqliteStore::open(&path).unwrap();
    println!("{:56} {}", "opening", millis(start.elapsed()));
    println!("{:56} {:>12} {:>12} {:>12}", "", "processor", "median", "first");
    time("all Dags with what the scheduler needs", || store.dags(&DagFilter::default(), &[], Page::ALL));
    time("all files", || all(store.files()));
    runs(&store);
    task_instances(&store);
    the_rest(&store);
    println!();
    let small = SqliteStore::open(&temporary.path().join("small.db")).unwrap();
    fill(&small, 10, 0);
    // A part of the schedule goes with every run that a timetable makes.
    let interval = DataInterval::exact(at(0));
    let next_run = Some(NextRun { run_after: at(0), data_interval: interval });
    let schedule = DagSchedule { next_run, last_interval: Some(interval) };
    for store in [&store, &small] {
        store
            .commit(vec![Write::Decision(Change::Schedule { dag_id: dag_id(5), schedule: Box::new(schedule.clone()) })])
            .unwrap();
    }
    let first = RUNS + store.runs(&RunFilter::default(), &[], Page { limit: 0, offset: 0 }).unwrap().1 as usize;
    commits(&store, &small, first);
    store.check().unwrap();
}
