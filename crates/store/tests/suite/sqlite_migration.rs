//! Databases of earlier versions, brought up to date.

use jiff::Timestamp;
use model::{AssetEventId, AssetKey, QueuedAsset};
use store::AssetStore;
use store::sqlite::SqliteStore;

/// The schema before Dags had cursors.
const BEFORE_CURSORS: [&str; 12] = [
    include_str!("../../src/sqlite/schema.sql"),
    include_str!("../../src/sqlite/task_state_store.sql"),
    include_str!("../../src/sqlite/suspension.sql"),
    include_str!("../../src/sqlite/asset.sql"),
    include_str!("../../src/sqlite/hitl.sql"),
    include_str!("../../src/sqlite/task_note.sql"),
    include_str!("../../src/sqlite/callback.sql"),
    include_str!("../../src/sqlite/deadline.sql"),
    include_str!("../../src/sqlite/backfill.sql"),
    include_str!("../../src/sqlite/encryption.sql"),
    include_str!("../../src/sqlite/asset_uri.sql"),
    include_str!("../../src/sqlite/dag_warning.sql"),
];

#[test]
fn events_that_waited_wait_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("updraft.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    for script in BEFORE_CURSORS {
        raw.execute_batch(script).unwrap();
    }
    raw.execute_batch(
        r#"INSERT INTO asset (name, uri, grp, extra, active) VALUES
               ('x', 'u', 'asset', '{}', 1), ('y', 'v', 'asset', '{}', 0), ('x', 'w', 'asset', '{}', 0);
           INSERT INTO asset_event (id, asset_id, extra, at, aliases) VALUES (1, 1, '{}', 1000000, '[]'),
               (2, 1, '{}', 2000000, '[]'), (3, 2, '{}', 3000000, '["al"]'), (4, 2, '{}', 4000000, '["al", "other"]'),
               (5, 1, '{}', 5000000, '[]'), (6, 3, '{}', 6000000, '["al"]');
           INSERT INTO asset_event_alias VALUES ('al', 3), ('al', 4), ('other', 4), ('al', 6);
           INSERT INTO asset_queue VALUES ('c', 2, 1), ('c', 3, 1), ('c', 4, 1), ('c', 5, 0), ('paused', 5, 0);
           PRAGMA user_version = 12"#,
    )
    .unwrap();
    drop(raw);
    let store = SqliteStore::open(&path).unwrap();
    let key = |name: &str, uri: &str| AssetKey { name: name.into(), uri: uri.into() };
    let cursors = [("c".into(), AssetEventId(1)), ("paused".into(), AssetEventId(4))];
    assert_eq!(store.asset_cursors().unwrap(), cursors);
    let at = |second| Timestamp::from_second(second).unwrap();
    let waits = |key: AssetKey, aliases: &[&str], first: i64, last: i64| QueuedAsset {
        key,
        named: true,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        first_at: at(first),
        last_event: AssetEventId(last),
        last_at: at(last),
    };
    let queued =
        [("c".into(), waits(key("x", "u"), &[], 2, 2)), ("c".into(), waits(key("y", "v"), &["al", "other"], 3, 4))];
    assert_eq!(store.queued_assets().unwrap(), queued);
    let of_aliases = [("al", key("y", "v")), ("al", key("x", "w")), ("other", key("y", "v"))];
    assert_eq!(store.alias_assets().unwrap(), of_aliases.map(|(alias, key)| (alias.to_owned(), key)));
    let active = |key: &AssetKey| store.asset(key).unwrap().unwrap().active;
    assert_eq!([active(&key("x", "u")), active(&key("y", "v")), active(&key("x", "w"))], [true, true, false]);
}
