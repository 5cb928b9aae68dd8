//! Writing runs that wait for partitions.

use model::RunKey;
use model::partition::PartitionChange;
use rusqlite::params;

use super::super::column::opt_micros;
use super::{WriteResult, Writer};

impl Writer {
    pub(super) fn partition(&mut self, change: &PartitionChange) -> WriteResult<()> {
        match change {
            PartitionChange::Unmapped { dag_id, event } => {
                let sql = "INSERT OR IGNORE INTO partition_unmapped (dag_id, event_id) VALUES (?1, ?2)";
                self.connection.prepare_cached(sql)?.execute(params![dag_id.as_str(), event.0])?;
            }
            PartitionChange::Mapped { dag_id, event } => {
                let sql = "DELETE FROM partition_unmapped WHERE dag_id = ?1 AND event_id = ?2";
                self.connection.prepare_cached(sql)?.execute(params![dag_id.as_str(), event.0])?;
            }
            PartitionChange::Pending { pending, event, told } => {
                self.connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO partition_pending (dag_id, key, first_event, carried_date, fingerprint)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![
                        pending.dag_id.as_str(),
                        pending.key,
                        pending.first.0,
                        opt_micros(pending.carried),
                        pending.fingerprint
                    ])?;
                let told = told.as_ref().map(|told| told.to_json().to_string());
                self.connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO partition_event (dag_id, key, event_id, told) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![pending.dag_id.as_str(), pending.key, event.0, told])?;
            }
            PartitionChange::Taken { dag_id, key, run } => {
                let rid = self.rid(&RunKey { dag_id: dag_id.clone(), run_id: run.clone() })?;
                self.connection
                    .prepare_cached(
                        "INSERT OR IGNORE INTO asset_consumed (run_rid, event_id)
                             SELECT ?3, event_id FROM partition_event WHERE dag_id = ?1 AND key = ?2",
                    )?
                    .execute(params![dag_id.as_str(), key, rid])?;
                self.forget_pending(dag_id.as_str(), key)?;
            }
            PartitionChange::Dropped { dag_id, keys } => {
                for key in keys {
                    self.forget_pending(dag_id.as_str(), key)?;
                }
            }
        }
        Ok(())
    }

    fn forget_pending(&self, dag_id: &str, key: &str) -> WriteResult<()> {
        for table in ["partition_event", "partition_pending"] {
            let sql = format!("DELETE FROM {table} WHERE dag_id = ?1 AND key = ?2");
            self.connection.prepare_cached(&sql)?.execute(params![dag_id, key])?;
        }
        Ok(())
    }
}
