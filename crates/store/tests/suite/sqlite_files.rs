//! What only SQLite can get wrong: files, disks and rights.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::MapIndex;
use serde_json::json;
use store::sqlite::{SCHEMA_VERSION, SqliteStore};
use store::{
    Commit, DagStore, Page, PoolStore, RunFilter, RunStore, Store, StoreError, TaskInstanceFilter, VariableStore,
    Write, XComStore,
};

use crate::fixtures::*;

fn open_error(path: &Path) -> StoreError {
    match SqliteStore::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[test]
fn what_was_committed_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updraft.db");
    let made = dated_run("d", "r", 60);
    let task = model::TaskInstance { map_index: MapIndex(1), ..ti(&made.key, "t", 7) };
    let store = SqliteStore::open(&path).unwrap();
    store
        .commit(vec![
            imported("d.py", vec![dag("d", 1, "h")]),
            put_run(&made),
            put_ti(&task),
            put_xcom(&xcom(&made.key, "t", "k")),
            Write::RenderedFields { key: task.key(), fields: json!([1]) },
            Write::Variable(variable("v", "1")),
            Write::DeletePool("default_pool".into()),
        ])
        .unwrap();
    let dag = the_dag(&store, "d");
    drop(store);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["updraft.db"], "whoever closes it last leaves no log behind");

    for _ in 0..2 {
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(the_dag(&store, "d"), dag);
        assert_eq!(store.run(&made.key).unwrap(), Some(made.clone()));
        assert_eq!(store.task_instance(&task.key()).unwrap(), Some(task.clone()));
        assert_eq!(store.xcoms(&made.key, None, None, None).unwrap(), [xcom(&made.key, "t", "k")]);
        assert_eq!(store.rendered_fields(&task.key()).unwrap(), Some(json!([1])));
        assert_eq!(store.variable("v").unwrap(), Some(variable("v", "1")));
        assert_eq!(store.pools(None, Page::ALL).unwrap().1, 0, "what was deleted does not come back");
        assert_eq!(store.latest_version(&"d".into()).unwrap().unwrap().number, 1);
        store.check().unwrap();
    }
}

#[test]
fn a_new_database_is_its_owners_alone() {
    let (store, folder) = temporary_sqlite();
    store.commit(vec![Write::Variable(variable("a", "secret"))]).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        seen += 1;
    }
    assert!(seen > 1, "the log is there too");
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updraft.db");
    drop(SqliteStore::open(&path).unwrap());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", SCHEMA_VERSION + 4).unwrap();
    drop(raw);
    let error = open_error(&path);
    let expected = StoreError::NewerVersion { path: path.clone(), found: SCHEMA_VERSION + 4, known: SCHEMA_VERSION };
    assert_eq!(error.to_string(), expected.to_string());
    assert!(matches!(error, StoreError::NewerVersion { .. }));
}

#[test]
fn what_is_no_database_of_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.db");
    std::fs::write(&junk, "PK\u{3}\u{4} and so on, long enough to be looked at. ".repeat(100)).unwrap();
    let foreign = folder.path().join("airflow.db");
    rusqlite::Connection::open(&foreign).unwrap().execute("CREATE TABLE dag (dag_id TEXT)", []).unwrap();
    let inside = folder.path().join("nowhere/updraft.db");
    let table = [
        (junk.clone(), "is not a database"),
        (foreign.clone(), "another program"),
        (folder.path().to_owned(), "a folder"),
        (inside.clone(), "does not exist"),
    ];
    for (path, reason) in table {
        let error = open_error(&path);
        assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(&path.display().to_string()), "{text}");
    }
    assert!(std::fs::read(&junk).unwrap().starts_with(b"PK"), "and is left as it was");
    let tables = rusqlite::Connection::open(&foreign).unwrap();
    let count: i64 = tables.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

/// Run by the test below, as somebody with fewer rights.
#[test]
#[ignore = "a part of without_rights_it_says_so"]
fn opens_and_says_why_not() {
    let path = PathBuf::from(std::env::var_os("UPDRAFT_TEST_DATABASE").unwrap());
    println!("says: {}", open_error(&path));
}

#[test]
fn without_rights_it_says_so() {
    const NOBODY: u32 = 65534;
    let folder = tempfile::tempdir().unwrap();
    let rights = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    rights(folder.path(), 0o755);
    // Root may do everything, so somebody else tries; and that somebody needs the program where it can read it.
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let (secret, fixed, new) = (closed.join("secret.db"), closed.join("fixed.db"), closed.join("new.db"));
    for (path, mode) in [(&secret, 0o000), (&fixed, 0o444)] {
        drop(SqliteStore::open(path).unwrap());
        rights(path, mode);
    }
    rights(&closed, 0o555);
    let is_root = std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() == 0;
    for path in [&secret, &fixed, &new] {
        let mut command = Command::new(&program);
        command.args(["sqlite_files::opens_and_says_why_not", "--exact", "--ignored", "--nocapture"]);
        command.env("UPDRAFT_TEST_DATABASE", path).current_dir(folder.path());
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = text.lines().find_map(|line| line.split_once("says: ")).unwrap_or_else(|| panic!("{output:?}")).1;
        let expected = format!("the database {} can't be opened: ", path.display());
        assert!(said.starts_with(&expected) && said.contains("rights"), "{said}");
    }
    rights(&closed, 0o755);
}

fn filler(number: usize) -> Vec<Write> {
    let made = run("d", &format!("r{number}"));
    let entry = store::XCom { value: json!("x".repeat(20_000)), ..xcom(&made.key, "t", "k") };
    vec![put_run(&made), put_ti(&ti(&made.key, "t", number as u128)), put_xcom(&entry)]
}

/// Writes until there is no room. Says how many batches were acknowledged.
fn fill_up(store: &SqliteStore) -> usize {
    for number in 0..10_000 {
        match store.commit(filler(number)) {
            Ok(()) => {}
            Err(StoreError::Full { .. }) => return number,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("it never got full")
}

/// Nothing that was acknowledged is lost, and nothing else is there.
fn has_exactly(store: &SqliteStore, batches: usize) {
    assert_eq!(run_ids(store, &RunFilter::default()).len(), batches);
    assert_eq!(task_ids(store, &TaskInstanceFilter::default()).len(), batches);
    assert_eq!(store.list_xcoms(&Default::default(), &[], Page::ALL).unwrap().1, batches as u64);
}

#[test]
fn a_full_database_writes_again_when_there_is_room() {
    let (store, _alive) = temporary_sqlite();
    store.limit_pages(200).unwrap();
    let acknowledged = fill_up(&store);
    assert!(acknowledged > 5, "{acknowledged}");
    has_exactly(&store, acknowledged);
    let error = store.check().unwrap_err();
    assert!(error.is_temporary() && error.to_string().contains("full"), "{error}");
    // What needs no more room still can be written, and shows that all is well again.
    store.limit_pages(2000).unwrap();
    store.commit(filler(acknowledged)).unwrap();
    store.check().unwrap();
    has_exactly(&store, acknowledged + 1);
}

#[test]
fn a_full_disk_loses_nothing_and_is_written_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let tmpfs = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
    let mounted =
        Command::new("mount").args(tmpfs).arg(folder.path()).output().is_ok_and(|mount| mount.status.success());
    if !mounted {
        println!("not tried: only root can make a disk that is small enough to be full");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let path = folder.path().join("updraft.db");
        let ballast = folder.path().join("ballast");
        std::fs::write(&ballast, vec![0; 1_500_000]).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        let acknowledged = fill_up(&store);
        assert!(acknowledged > 5, "{acknowledged}");
        has_exactly(&store, acknowledged);
        assert!(matches!(store.commit(filler(acknowledged)), Err(StoreError::Full { .. })));
        std::fs::remove_file(&ballast).unwrap();
        store.commit(filler(acknowledged)).unwrap();
        has_exactly(&store, acknowledged + 1);
        drop(store);
        has_exactly(&SqliteStore::open(&path).unwrap(), acknowledged + 1);
    });
    let unmounted = Command::new("umount").arg(folder.path()).status().unwrap();
    assert!(unmounted.success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
