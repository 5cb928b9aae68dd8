//! Secrets in the file: encrypted with the first key, read with any, named where no key fits.

use model::{Change, Suspension};
use serde_json::json;
use store::sqlite::{Reencrypted, SqliteStore};
use store::{
    Commit, Connection, ConnectionStore, FernetKeys, Page, RunStore, StoreError, Variable, VariableStore, Write,
};

use crate::fixtures::{connection, put_run, run, variable};
use crate::suspensions::trigger_with;

fn keys(text: &str) -> FernetKeys {
    FernetKeys::parse(text, None).unwrap()
}

/// A task that waits for a trigger with a secret among its arguments.
fn deferred() -> (Suspension, Vec<Write>) {
    let made = run("d", "r");
    let suspension = trigger_with(&made.key, json!({"token": "hush-token"}));
    let write = Write::Decision(Change::Suspended(Box::new(suspension.clone())));
    (suspension, vec![put_run(&made), write])
}

fn settings() -> Vec<Write> {
    let bare = Connection { connection_id: "bare".into(), password: Some(String::new()), ..Connection::default() };
    let mut full = connection("full");
    full.password = Some("hush-password".into());
    full.extra = Some("hush-extra".into());
    vec![
        Write::Variable(variable("v", "hush-value")),
        Write::Connection(Box::new(full)),
        Write::Connection(Box::new(bare)),
    ]
}

/// Whether the files of a database hold a text.
fn is_in_files(folder: &std::path::Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn secrets_are_encrypted_in_the_file_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_with(&folder.path().join("db"), keys(&FernetKeys::generate())).unwrap();
    store.commit(settings()).unwrap();
    let found = store.variable("v").unwrap().unwrap();
    assert_eq!((&*found.value, found.is_encrypted, found.locked), ("hush-value", true, false));
    let found = store.connection("full").unwrap().unwrap();
    assert_eq!((found.password.as_deref(), found.extra.as_deref()), (Some("hush-password"), Some("hush-extra")));
    assert!(found.is_encrypted && found.is_extra_encrypted);
    let bare = store.connection("bare").unwrap().unwrap();
    assert_eq!((bare.password.as_deref(), bare.extra, bare.is_encrypted), (Some(""), None, false));
    drop(store);
    assert!(is_in_files(folder.path(), "gAAAAA"));
    assert!(!is_in_files(folder.path(), "hush"));
}

#[test]
fn without_keys_nothing_is_encrypted_and_keys_take_over_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).unwrap();
    store.commit(settings()).unwrap();
    assert!(!store.variable("v").unwrap().unwrap().is_encrypted);
    assert_eq!(store.reencrypt(true).unwrap(), Reencrypted::default());
    drop(store);
    let store = SqliteStore::open_with(&path, keys(&FernetKeys::generate())).unwrap();
    assert_eq!(store.variable("v").unwrap().unwrap(), variable("v", "hush-value"));
    assert_eq!(store.reencrypt(false).unwrap(), Reencrypted { changed: 3, locked: vec![] });
    let found = store.variable("v").unwrap().unwrap();
    assert_eq!((&*found.value, found.is_encrypted), ("hush-value", true));
    assert_eq!(store.connection("full").unwrap().unwrap().extra.as_deref(), Some("hush-extra"));
    assert_eq!(store.reencrypt(false).unwrap(), Reencrypted::default());
}

#[test]
fn keys_are_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let (old, new) = (FernetKeys::generate(), FernetKeys::generate());
    SqliteStore::open_with(&path, keys(&old)).unwrap().commit(settings()).unwrap();
    let both = SqliteStore::open_with(&path, keys(&format!("{new},{old}"))).unwrap();
    assert_eq!(both.reencrypt(true).unwrap(), Reencrypted { changed: 3, locked: vec![] });
    drop(both);
    let store = SqliteStore::open_with(&path, keys(&new)).unwrap();
    assert_eq!(store.variable("v").unwrap().unwrap().value, "hush-value");
    assert_eq!(store.connection("full").unwrap().unwrap().password.as_deref(), Some("hush-password"));
}

#[test]
fn the_arguments_of_triggers_are_encrypted_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let (old, new) = (FernetKeys::generate(), FernetKeys::generate());
    let (suspension, writes) = deferred();
    // From before there was a key.
    let store = SqliteStore::open(&path).unwrap();
    store.commit(writes).unwrap();
    drop(store);
    let store = SqliteStore::open_with(&path, keys(&old)).unwrap();
    assert_eq!(store.suspension(&suspension.key).unwrap().as_ref(), Some(&suspension));
    assert_eq!(store.reencrypt(false).unwrap(), Reencrypted { changed: 1, locked: vec![] });
    assert_eq!(store.suspension(&suspension.key).unwrap().as_ref(), Some(&suspension));
    store.commit(vec![Write::Decision(Change::Suspended(Box::new(suspension.clone())))]).unwrap();
    drop(store);
    let both = SqliteStore::open_with(&path, keys(&format!("{new},{old}"))).unwrap();
    assert_eq!(both.reencrypt(true).unwrap(), Reencrypted { changed: 1, locked: vec![] });
    drop(both);
    let store = SqliteStore::open_with(&path, keys(&new)).unwrap();
    assert_eq!(store.suspensions_of(&suspension.key.run).unwrap(), std::slice::from_ref(&suspension));
    drop(store);
    // Nobody but the trigger misses them.
    let store = SqliteStore::open_with(&path, keys(&FernetKeys::generate())).unwrap();
    let found = store.suspension(&suspension.key).unwrap().unwrap();
    assert_eq!(found.trigger.unwrap().kwargs, json!(null));
    assert_eq!(
        store.reencrypt(true).unwrap().locked,
        [format!("the trigger of the task \"{}\"", suspension.key.task_id)]
    );
}

#[test]
fn the_arguments_of_triggers_are_not_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open_with(&folder.path().join("db"), keys(&FernetKeys::generate())).unwrap();
    let (suspension, writes) = deferred();
    store.commit(writes).unwrap();
    assert_eq!(store.suspension(&suspension.key).unwrap(), Some(suspension));
    drop(store);
    assert!(!is_in_files(folder.path(), "hush"));
}

/// A key that does not fit disturbs nothing but what it was needed for.
#[test]
fn what_no_key_fits_is_named_and_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut batch = settings();
    batch.push(Write::Connection(Box::new(connection("too"))));
    SqliteStore::open_with(&path, keys(&FernetKeys::generate())).unwrap().commit(batch).unwrap();
    for other in [FernetKeys::default(), keys(&FernetKeys::generate())] {
        let store = SqliteStore::open_with(&path, other).unwrap();
        let error = store.variable("v").unwrap_err();
        assert!(matches!(&error, StoreError::Locked { what } if what == "the variable \"v\""), "{error}");
        assert!(matches!(store.connection("full"), Err(StoreError::Locked { .. })));
        assert!(store.connection("bare").unwrap().is_some());
        let (variables, total) = store.variables(None, Page::ALL).unwrap();
        assert_eq!((variables[0].locked, &*variables[0].value, total), (true, "", 1));
        let (connections, _) = store.connections(None, Page::ALL).unwrap();
        let locked: Vec<(&str, bool)> = connections.iter().map(|found| (&*found.connection_id, found.locked)).collect();
        assert_eq!(locked, [("bare", false), ("full", true), ("too", true)]);
        let named =
            ["the variable \"v\"", "the connection \"full\"", "the connection \"too\""].map(str::to_owned).to_vec();
        let done = store.reencrypt(true).unwrap();
        assert_eq!((done.changed, done.locked), (0, named));
    }
    let store = SqliteStore::open_with(&path, keys(&FernetKeys::generate())).unwrap();
    store
        .commit(vec![Write::Variable(Variable { key: "v".into(), value: "anew".into(), ..Variable::default() })])
        .unwrap();
    assert_eq!(store.variable("v").unwrap().unwrap().value, "anew");
    store.commit(["full", "too"].map(|id| Write::DeleteConnection(id.into())).to_vec()).unwrap();
    assert_eq!(store.reencrypt(true).unwrap(), Reencrypted { changed: 1, locked: vec![] });
}

/// A disk that is full when everything is encrypted anew leaves all as it was, and the store able to write.
#[test]
fn a_full_disk_stops_an_encryption_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).unwrap();
    let long = "x".repeat(200_000);
    store.commit(vec![Write::Variable(variable("v", &long)), Write::Variable(variable("w", &long))]).unwrap();
    drop(store);
    let store = SqliteStore::open_with(&path, keys(&FernetKeys::generate())).unwrap();
    store.limit_pages(1).unwrap();
    assert!(matches!(store.reencrypt(false), Err(StoreError::Full { .. })));
    assert_eq!(store.variable("v").unwrap().unwrap(), variable("v", &long));
    store.limit_pages(1_000_000).unwrap();
    store.commit(vec![Write::Variable(variable("u", "1"))]).unwrap();
    assert_eq!(store.reencrypt(false).unwrap(), Reencrypted { changed: 2, locked: vec![] });
}
