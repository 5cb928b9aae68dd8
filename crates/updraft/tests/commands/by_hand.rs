//! States and notes that people give from the command line, without a server and through one that runs.

use serde_json::{Value, json};
use store::{Commit, Write};
use testkit::Server;

use crate::Cli;

const DAG: &str = r#"
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("by_hand", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    first = BashOperator(task_id="first", bash_command="false")
    mapped = BashOperator.partial(task_id="mapped").expand(bash_command=["true", "false"])
    first >> mapped >> EmptyOperator(task_id="last")
"#;

fn states(cli: &Cli, run: &str) -> String {
    let rows = cli.json(&["tasks", "states-for-dag-run", "by_hand", run]);
    let word = |row: &Value| {
        let index = row["map_index"].as_str().filter(|index| !index.is_empty());
        let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
        format!("{}{index}={}", row["task_id"].as_str().unwrap(), row["state"].as_str().unwrap_or_default())
    };
    let mut words: Vec<String> = rows.iter().map(word).collect();
    words.sort();
    words.join(" ")
}

/// Everything that can be asked for, whoever does it.
fn change_everything(cli: &Cli, prefix: &str) {
    let dates = ["2026-01-01", "2026-01-02", "2026-01-03"];
    let runs: Vec<String> = (1..=3).map(|number| format!("{prefix}{number}")).collect();
    let refused = |args: &[&str], why: &str| {
        let ran = cli.run(args);
        assert!(ran.code != 0 && ran.err.contains(why), "{args:?}: {ran:?}");
    };
    let (one, two) = (runs[0].as_str(), runs[1].as_str());
    cli.ok(&["tasks", "mark", "by_hand", "first", one, "success"]);
    assert_eq!(cli.ok(&["tasks", "state", "by_hand", "first", one]), "success\n");
    refused(&["tasks", "mark", "by_hand", "first", one, "success"], "first is success already");
    refused(&["tasks", "mark", "by_hand", "frist", one, "success"], "did you mean first?");
    refused(&["tasks", "mark", "by_hand", "first", "nowhere", "success"], "not found");
    refused(&["tasks", "mark", "by_hand", "first", one, "queued"], "possible values");
    cli.ok(&["tasks", "mark", "by_hand", "first", two, "skipped", "--past", "--future", "--yes"]);
    for run in &runs {
        assert_eq!(cli.ok(&["tasks", "state", "by_hand", "first", run]), "skipped\n", "{run}");
    }
    cli.ok(&["tasks", "mark", "by_hand", "last", two, "failed", "--upstream", "-y"]);
    assert!(states(cli, two).starts_with("first=failed last=failed mapped"), "{}", states(cli, two));
    cli.ok(&["tasks", "note", "by_hand", "first", two, "why it failed"]);
    refused(&["tasks", "note", "by_hand", "first", two, &"x".repeat(1001)], "at most 1000 characters");
    refused(&["tasks", "note", "by_hand", "first", two, "n", "--map-index", "7"], "no such instance");
    cli.ok(&["dags", "note", "by_hand", two, "about the run"]);
    cli.ok(&["tasks", "clear", "by_hand", "-t", "first", "--run", two, "--yes", "--note", "again"]);
    assert_eq!(cli.ok(&["tasks", "state", "by_hand", "first", two]), "None\n");
    assert_eq!(cli.ok(&["tasks", "state", "by_hand", "last", two]), "failed\n");
    cli.ok(&["tasks", "clear", "by_hand", "-t", "first", "--run", dates[1], "--past", "-y", "--run-on-latest-version"]);
    assert_eq!(cli.ok(&["tasks", "state", "by_hand", "first", one]), "None\n");
    assert_eq!(cli.ok(&["tasks", "state", "by_hand", "first", &runs[2]]), "skipped\n");
    refused(&["tasks", "clear", "by_hand", "--run", two, "-s", dates[0], "-y"], "cannot be used with");
    refused(&["tasks", "clear", "by_hand", "--past", "-y"], "--run");
    cli.ok(&["dags", "mark", "by_hand", dates[2], "failed"]);
    assert_eq!(cli.ok(&["dags", "state", "by_hand", &runs[2]]), "failed\n");
    cli.ok(&["dags", "mark", "by_hand", &runs[2], "success"]);
    assert_eq!(cli.ok(&["dags", "state", "by_hand", &runs[2]]), "success\n");
}

fn make_runs(cli: &Cli, prefix: &str) {
    for day in 1..=3 {
        let (run, date) = (format!("{prefix}{day}"), format!("2026-01-0{day}"));
        cli.ok(&["dags", "trigger", "by_hand", "-r", &run, "-l", &date]);
    }
}

fn notes(server: &Server, run: &str) -> (Value, Value) {
    let path = format!("/api/v2/dags/by_hand/dagRuns/{run}");
    let task = format!("{path}/taskInstances/first");
    (server.client.get(&path).body["note"].clone(), server.client.get(&task).body["note"].clone())
}

#[test]
fn runs_and_tasks_are_changed_without_a_server_and_through_one() {
    // The Dag stays paused: what is cleared waits, so that it can be seen.
    let cli = Cli::new();
    cli.context.write_dag("by_hand.py", DAG);
    make_runs(&cli, "alone");
    change_everything(&cli, "alone");
    let server = Server::start_with(&cli.context, &[]);
    assert_eq!(notes(&server, "alone2"), (json!("about the run"), json!("again")));
    for day in 1..=3 {
        let deleted = server.client.delete(&format!("/api/v2/dags/by_hand/dagRuns/alone{day}"));
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
    make_runs(&cli, "served");
    change_everything(&cli, "served");
    assert_eq!(notes(&server, "served2"), (json!("about the run"), json!("again")));
    cli.ok(&["dags", "note", "by_hand", "served2", ""]);
    cli.ok(&["tasks", "note", "by_hand", "first", "served2", ""]);
    assert_eq!(notes(&server, "served2"), (Value::Null, Value::Null));
}

#[test]
fn what_was_to_be_kept_until_now_is_cleaned_away() {
    let cli = Cli::new();
    let missing = cli.run(&["state-store", "clean"]);
    assert!(missing.code == 1 && missing.err.contains("there is no database"), "{missing:?}");
    cli.context.write_dag("by_hand.py", DAG);
    make_runs(&cli, "r");
    let store = store::sqlite::SqliteStore::open(&cli.context.home().join("updraft.db")).unwrap();
    let entry = |key: &str, expires_at: Option<&str>| Write::TaskState {
        ti: model::TaskInstanceKey {
            run: model::RunKey::new("by_hand", "r1"),
            task_id: "first".into(),
            map_index: model::MapIndex::NONE,
        },
        entry: store::TaskStateEntry {
            key: key.into(),
            value: json!(1),
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            expires_at: expires_at.map(|at| at.parse().unwrap()),
        },
    };
    store
        .commit(vec![
            entry("over", Some("2026-01-01T00:00:00Z")),
            entry("later", Some("2999-01-01T00:00:00Z")),
            entry("kept", None),
        ])
        .unwrap();
    drop(store);
    let said = cli.ok(&["state-store", "clean", "--dry-run"]);
    assert!(
        said.contains("Would delete 1 ") && said.contains("run r1, task first, map_index -1, key \"over\""),
        "{said}"
    );
    assert!(cli.run(&["state-store", "clean"]).err.contains("Deleted 1 "));
    assert_eq!(cli.ok(&["state-store", "clean"]), "Nothing to delete.\n");
}
