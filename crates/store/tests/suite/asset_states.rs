//! What is kept with assets.

use model::{Asset, AssetKey, Change};
use serde_json::json;
use store::{AssetStateEntry, DagAsset, ImportedDag, Page, StateWriter, Store, Write};

use crate::fixtures::{at, dag, imported, put_run, run, ti_key};

fn asset(name: &str) -> Asset {
    let key = AssetKey { name: name.into(), uri: format!("s3://{name}") };
    Asset { key, group: "g".into(), extra: json!({}) }
}

fn make_assets(store: &dyn Store, names: &[&str]) {
    let assets =
        names.iter().map(|name| DagAsset { asset: asset(name), uses: vec![store::AssetUse::Schedule] }).collect();
    store.commit(vec![imported("d.py", vec![ImportedDag { assets, ..dag("d", 1, "h") }])]).unwrap();
}

fn entry(key: &str, updated: i64, updated_by: StateWriter) -> AssetStateEntry {
    AssetStateEntry { key: key.into(), value: json!({"z": [updated, null]}), updated_at: at(updated), updated_by }
}

pub fn what_is_kept_with_assets_outlives_runs(store: &dyn Store) {
    make_assets(store, &["a", "b"]);
    let made = run("d", "r");
    let (a, b) = (asset("a").key, asset("b").key);
    let by_task = StateWriter::Task(ti_key(&made.key, "t"));
    let put = |asset: &AssetKey, entry: &AssetStateEntry| {
        store.commit(vec![Write::AssetState { asset: asset.clone(), entry: entry.clone() }]).unwrap();
    };
    store.commit(vec![put_run(&made)]).unwrap();
    put(&a, &entry("k", 1, StateWriter::Api));
    put(&a, &entry("k", 2, by_task.clone()));
    put(&a, &entry("A/b", 3, StateWriter::Watcher));
    put(&b, &entry("k", 4, StateWriter::Api));
    store.commit(vec![Write::Decision(Change::RunDeleted(made.key.clone()))]).unwrap();
    assert_eq!(store.asset_state(&a, "k").unwrap(), Some(entry("k", 2, by_task.clone())));
    assert_eq!(store.asset_state(&a, "K").unwrap(), None);
    let all = store.asset_states(&a, Page::ALL).unwrap();
    assert_eq!(all, (vec![entry("A/b", 3, StateWriter::Watcher), entry("k", 2, by_task)], 2));
    let (second, total) = store.asset_states(&a, Page { limit: 1, offset: 1 }).unwrap();
    assert_eq!((second.len(), second[0].key.as_str(), total), (1, "k", 2));
    // It stays while no Dag has the asset.
    store.commit(vec![imported("d.py", vec![dag("d", 2, "i")])]).unwrap();
    let delete = || Write::DeleteAssetState { asset: a.clone(), key: "k".into() };
    store.commit(vec![delete(), delete()]).unwrap();
    assert_eq!(store.asset_states(&a, Page::ALL).unwrap().1, 1);
    store.commit(vec![Write::ClearAssetState(a.clone())]).unwrap();
    assert_eq!((store.asset_states(&a, Page::ALL).unwrap().1, store.asset_states(&b, Page::ALL).unwrap().1), (0, 1));
}

pub fn assets_have_numbers(store: &dyn Store) {
    make_assets(store, &["a", "b"]);
    let named: Vec<String> =
        (0..9).filter_map(|number| store.asset_numbered(number).unwrap()).map(|asset| asset.key.name).collect();
    assert_eq!(named, ["a", "b"]);
    assert_eq!(store.asset_numbered(1_000_000).unwrap(), None);
}
