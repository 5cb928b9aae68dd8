//! Backfills, and the runs that belong to them.

use std::sync::Arc;

use model::{Backfill, BackfillId, Change, DagRun, InBackfill, Reprocess, RunType};
use serde_json::json;
use store::{Direction, Page, Store, Write};

use crate::fixtures::{at, dated_run, put_run, some};

fn backfill(id: i64, dag_id: &str) -> Backfill {
    Backfill {
        id: BackfillId(id),
        dag_id: dag_id.into(),
        from_date: at(10),
        to_date: at(20),
        conf: Some(Arc::new(json!({"b": 1, "a": [null]}))),
        is_paused: false,
        reprocess: Reprocess::Failed,
        max_active_runs: 10,
        created_at: at(30),
        updated_at: at(31),
        completed_at: None,
        triggering_user: Some("ann".into()),
    }
}

fn put(backfill: &Backfill) -> Write {
    Write::Decision(Change::Backfill(Box::new(backfill.clone())))
}

pub fn a_backfill_is_read_back_as_it_was_written(store: &dyn Store) {
    assert_eq!(store.last_backfill().unwrap(), BackfillId(0));
    let mut all = [backfill(1, "d"), backfill(2, "e"), backfill(3, "d")];
    all[1] =
        Backfill { conf: None, triggering_user: None, reprocess: Reprocess::None, is_paused: true, ..all[1].clone() };
    all[2] = Backfill { completed_at: some(40), reprocess: Reprocess::Completed, ..all[2].clone() };
    for _ in 0..2 {
        store.commit(all.iter().map(put).collect()).unwrap();
    }
    for expected in &all {
        assert_eq!(store.backfill(expected.id).unwrap().as_ref(), Some(expected));
    }
    assert_eq!(store.backfill(BackfillId(4)).unwrap(), None);
    assert_eq!(store.open_backfills().unwrap(), all[..2]);
    assert_eq!(store.last_backfill().unwrap(), BackfillId(3));
    let ids = |direction, limit, offset| {
        let (found, total) = store.backfills(Some(&"d".into()), None, direction, Page { limit, offset }).unwrap();
        (found.into_iter().map(|backfill| backfill.id.0).collect::<Vec<_>>(), total)
    };
    assert_eq!(ids(Direction::Ascending, 10, 0), (vec![1, 3], 2));
    assert_eq!(ids(Direction::Descending, 1, 0), (vec![3], 2));
    assert_eq!(ids(Direction::Ascending, 10, 1), (vec![3], 2));
    let of_all = |open| {
        let (found, total) = store.backfills(None, open, Direction::Ascending, Page::ALL).unwrap();
        assert_eq!(found.len() as u64, total);
        found.into_iter().map(|backfill| backfill.id.0).collect::<Vec<_>>()
    };
    assert_eq!((of_all(None), of_all(Some(true)), of_all(Some(false))), (vec![1, 2, 3], vec![1, 2], vec![3]));
    let changed = Backfill { is_paused: true, completed_at: some(50), updated_at: at(50), ..all[0].clone() };
    store.commit(vec![put(&changed)]).unwrap();
    assert_eq!(store.backfill(changed.id).unwrap(), Some(changed));
    // A number is not given twice, though the Dag is deleted.
    store.commit(vec![Write::Decision(Change::DagDeleted("d".into()))]).unwrap();
    assert_eq!(store.backfill(BackfillId(3)).unwrap(), None);
    assert_eq!((store.last_backfill().unwrap(), store.open_backfills().unwrap().len()), (BackfillId(3), 1));
}

pub fn runs_know_their_backfill(store: &dyn Store) {
    let made = dated_run("d", "r", 10);
    let taken = DagRun {
        backfill: Some(InBackfill { id: BackfillId(7), ordinal: 3 }),
        run_type: RunType::Backfill,
        ..made.clone()
    };
    store.commit(vec![put_run(&made)]).unwrap();
    assert_eq!(store.run(&made.key).unwrap(), Some(made.clone()));
    store.commit(vec![put_run(&taken)]).unwrap();
    assert_eq!(store.run(&made.key).unwrap(), Some(taken.clone()));
    let again = DagRun { backfill: Some(InBackfill { id: BackfillId(8), ordinal: 3 }), ..taken };
    store.commit(vec![put_run(&again)]).unwrap();
    assert_eq!(store.run(&made.key).unwrap(), Some(again));
}
