//! A process that is killed while it commits loses nothing that it has acknowledged, and leaves nothing half written.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use store::sqlite::SqliteStore;
use store::{Commit, Page, RunFilter, RunStore, Store, TaskInstanceFilter, XComStore};

use crate::fixtures::*;

const ROUNDS: usize = 15;
const THREADS: usize = 3;
/// Task instances of each run; they are there together with their run and an XCom each, or not at all.
const TASKS: usize = 3;

/// Run by the test below, which kills it: commits without end, and says after each commit what is safe now.
#[test]
#[ignore = "a part of a_killed_process_loses_nothing_that_it_acknowledged"]
fn commits_until_it_is_killed() {
    let path = PathBuf::from(std::env::var_os("UPDRAFT_TEST_DATABASE").unwrap());
    let round = std::env::var("UPDRAFT_TEST_ROUND").unwrap();
    let store = SqliteStore::open(&path).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, round) = (&store, &round);
            scope.spawn(move || {
                for number in 0.. {
                    let made = run(&format!("d{thread}"), &format!("{round}-{thread}-{number}"));
                    let mut batch = vec![put_run(&made)];
                    for task in 0..TASKS {
                        let id = (thread * 1_000_000 + number) * TASKS + task;
                        batch.push(put_ti(&ti(&made.key, &format!("t{task}"), id as u128)));
                        batch.push(put_xcom(&xcom(&made.key, &format!("t{task}"), "k")));
                    }
                    store.commit(batch).unwrap();
                    // In one call, so that a line is there whole or not at all.
                    std::io::stdout().lock().write_all(format!("safe: {}\n", made.key.run_id).as_bytes()).unwrap();
                }
            });
        }
    });
}

/// Lets it commit a number of times, kills it at whatever it is doing then, and gives back what it had acknowledged.
fn killed_after(path: &Path, round: usize, commits: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sqlite_kill::commits_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env("UPDRAFT_TEST_DATABASE", path)
        .env("UPDRAFT_TEST_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        if let Some((_, run_id)) = line.trim_end().split_once("safe: ") {
            acknowledged.push(run_id.to_owned());
            if acknowledged.len() == commits {
                child.kill().unwrap();
            }
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && acknowledged.len() >= commits, "it ended by itself: {status}");
    acknowledged
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updraft.db");
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        acknowledged.extend(killed_after(&path, round, 1 + round * 7 % 40));
        let store = SqliteStore::open(&path).unwrap();
        store.check().unwrap();
        let found: BTreeSet<String> = run_ids(&store, &RunFilter::default()).into_iter().collect();
        let lost: Vec<&String> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} were acknowledged and are lost");
        // At most what each thread was about to be told of.
        assert!(found.len() <= acknowledged.len() + THREADS, "round {round}: more was found than was ever begun");
        acknowledged.extend(found);
        let (runs, _) = store.runs(&RunFilter::default(), &[], Page::ALL).unwrap();
        for run in &runs {
            assert_eq!(store.task_instances_of(&run.key).unwrap().len(), TASKS, "{}", run.key);
            assert_eq!(store.xcoms(&run.key, None, None, None).unwrap().len(), TASKS, "{}", run.key);
        }
        assert_eq!(task_ids(&store, &TaskInstanceFilter::default()).len(), TASKS * runs.len());
        if round % 2 == 0 {
            // Sometimes the next one finds a log that was not moved into the database.
            drop(store);
        } else {
            std::mem::forget(store);
        }
    }
}
