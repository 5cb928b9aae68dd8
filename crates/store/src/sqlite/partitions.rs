//! Runs that wait for partitions.

use std::collections::BTreeMap;

use model::partition::{PendingPartition, Told};
use model::{AssetEvent, AssetEventId, DagId};
use rusqlite::Row;

use super::SqliteStore;
use super::assets::{EVENT, read_event};
use super::column::Columns;
use crate::records::WaitingPartition;
use crate::{PartitionStore, Result};

impl PartitionStore for SqliteStore {
    fn pending_partitions(&self, dag_id: &DagId) -> Result<Vec<WaitingPartition>> {
        let pending = "SELECT key, first_event, carried_date, fingerprint FROM partition_pending
             WHERE dag_id = ?1 ORDER BY first_event, key";
        let events = format!(
            "SELECT p.key, p.told, {EVENT} FROM partition_event AS p JOIN asset_event AS e ON e.id = p.event_id
                 JOIN asset AS a ON a.id = e.asset_id WHERE p.dag_id = ?1 ORDER BY p.key, e.id"
        );
        self.read(|connection| {
            let mut of_keys: BTreeMap<String, Vec<(AssetEvent, Option<Told>)>> = BTreeMap::new();
            let read = |row: &Row<'_>| {
                let mut columns = Columns::new(row);
                let (key, told) = (columns.get::<String>()?, columns.opt_json()?);
                Ok((key, read_event(&mut columns)?, told.as_ref().and_then(Told::from_json)))
            };
            for row in connection.prepare_cached(&events)?.query_map([dag_id.as_str()], read)? {
                let (key, event, told) = row?;
                of_keys.entry(key).or_default().push((event, told));
            }
            let read = |row: &Row<'_>| {
                let mut columns = Columns::new(row);
                Ok(PendingPartition {
                    dag_id: dag_id.clone(),
                    key: columns.get()?,
                    first: AssetEventId(columns.get()?),
                    carried: columns.opt_moment()?,
                    fingerprint: columns.get()?,
                })
            };
            let mut found = Vec::new();
            for row in connection.prepare_cached(pending)?.query_map([dag_id.as_str()], read)? {
                let pending = row?;
                let events = of_keys.remove(&pending.key).unwrap_or_default();
                found.push(WaitingPartition { pending, events });
            }
            Ok(found)
        })
    }

    fn unmapped_events(&self, dag_id: &DagId) -> Result<Vec<AssetEvent>> {
        let sql = format!(
            "SELECT {EVENT} FROM partition_unmapped AS p JOIN asset_event AS e ON e.id = p.event_id
                 JOIN asset AS a ON a.id = e.asset_id WHERE p.dag_id = ?1 ORDER BY e.id"
        );
        self.read(|connection| {
            let read = |row: &Row<'_>| read_event(&mut Columns::new(row));
            connection.prepare_cached(&sql)?.query_map([dag_id.as_str()], read)?.collect()
        })
    }
}
