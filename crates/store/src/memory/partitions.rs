//! Runs that wait for partitions.

use model::partition::PartitionChange;
use model::{AssetEvent, DagId, RunKey};

use super::{MemoryStore, State};
use crate::records::WaitingPartition;
use crate::{PartitionStore, Result};

impl State {
    pub(super) fn partition(&mut self, change: PartitionChange) -> Result<()> {
        match change {
            PartitionChange::Unmapped { dag_id, event } => self.partitions_unmapped.put((dag_id, event), ()),
            PartitionChange::Mapped { dag_id, event } => drop(self.partitions_unmapped.remove(&(dag_id, event))),
            PartitionChange::Pending { pending, event, told } => {
                let (dag_id, key) = (pending.dag_id.clone(), pending.key.clone());
                self.partition_events.put((dag_id.clone(), key.clone(), event), told);
                self.partitions_pending.put((dag_id, key), pending);
            }
            PartitionChange::Taken { dag_id, key, run } => {
                let run = RunKey { dag_id: dag_id.clone(), run_id: run };
                self.require_run(&run)?;
                let is_own = |other: &DagId, of: &String| (other, of) == (&dag_id, &key);
                for (.., event) in self.partition_events.keys_where(|(other, of, _), _| is_own(other, of)) {
                    self.asset_consumed.put((run.clone(), event), ());
                }
                self.forget_pending(&dag_id, &key);
            }
            PartitionChange::Dropped { dag_id, keys } => keys.iter().for_each(|key| self.forget_pending(&dag_id, key)),
        }
        Ok(())
    }

    fn forget_pending(&mut self, dag_id: &DagId, key: &str) {
        self.partition_events.remove_where(|(other, of, _), _| (other, of.as_str()) == (dag_id, key));
        self.partitions_pending.remove(&(dag_id.clone(), key.to_owned()));
    }
}

impl PartitionStore for MemoryStore {
    fn pending_partitions(&self, dag_id: &DagId) -> Result<Vec<WaitingPartition>> {
        let state = self.read()?;
        let mut found = Vec::new();
        for ((other, key), pending) in state.partitions_pending.iter() {
            if other != dag_id {
                continue;
            }
            let own = state.partition_events.iter().filter(|((other, of, _), _)| (other, of) == (dag_id, key));
            let events =
                own.filter_map(|((.., id), told)| Some((state.current(state.asset_events.get(id)?), told.clone())));
            found.push(WaitingPartition { pending: pending.clone(), events: events.collect() });
        }
        found.sort_by(|one, other| {
            (one.pending.first, &one.pending.key).cmp(&(other.pending.first, &other.pending.key))
        });
        Ok(found)
    }

    fn unmapped_events(&self, dag_id: &DagId) -> Result<Vec<AssetEvent>> {
        let state = self.read()?;
        let own = state.partitions_unmapped.iter().filter(|((other, _), ())| other == dag_id);
        Ok(own.filter_map(|((_, id), ())| state.asset_events.get(id).map(|event| state.current(event))).collect())
    }
}
