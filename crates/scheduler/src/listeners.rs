//! What listeners of plugins are told: of runs that begin or end (`DagRun.notify_dagrun_state_changed`), and of assets that
//! tasks have updated (`AssetManager.register_asset_change`). It is owed until they were told, as callbacks are.

use jiff::Timestamp;
use model::{AssetEvent, AssetUpdate, Call, Dag, DagRun, DagRunState, TaskInstanceKey};
use serde_json::json;

use crate::Scheduler;
use crate::event::Decisions;

/// What Airflow says of a run that begins.
const STARTED: &str = "started";
/// Why a run has ended that people have ended.
pub(crate) const SET_BY_HAND: &str = "set_by_hand";

impl Scheduler {
    /// A run has begun.
    pub(crate) fn tell_of_start(&mut self, dag: &Dag, run: &DagRun, now: Timestamp, decisions: &mut Decisions) {
        if dag.listeners.run_running {
            self.call(run, Call::RunRunning, None, STARTED.to_owned(), now, decisions);
        }
    }

    /// A run has ended, for this reason.
    pub(crate) fn tell_of_end(
        &mut self,
        dag: &Dag,
        run: &DagRun,
        reason: &str,
        now: Timestamp,
        decisions: &mut Decisions,
    ) {
        let (wanted, call) = match run.state {
            DagRunState::Success => (dag.listeners.run_success, Call::RunSuccess),
            DagRunState::Failed => (dag.listeners.run_failed, Call::RunFailed),
            DagRunState::Queued | DagRunState::Running => return,
        };
        if wanted {
            let message = match reason {
                SET_BY_HAND => format!("Dag Run's state was manually set to `{}`.", run.state),
                reason => reason.to_owned(),
            };
            self.call(run, call, None, message, now, decisions);
        }
    }

    /// A task has updated an asset. Of an update without a task there is no Dag whose plugins are known.
    pub(crate) fn tell_of_asset(&mut self, event: &AssetEvent, now: Timestamp, decisions: &mut Decisions) {
        let run = |source: &TaskInstanceKey| self.runs.get(self.run_serials.get(&source.run)?);
        let Some(state) = event.source.as_ref().and_then(run).filter(|state| state.dag.listeners.assets) else {
            return;
        };
        let run = state.run.clone();
        let AssetUpdate { asset, extra, aliases, partition, .. } = &event.update;
        let source = event.source.as_ref();
        let message = json!({
            "asset": {"name": asset.key.name, "uri": asset.key.uri, "group": asset.group, "extra": asset.extra},
            "extra": extra,
            "source_dag_id": source.map(|source| source.run.dag_id.as_str()),
            "source_run_id": source.map(|source| source.run.run_id.as_str()),
            "source_task_id": source.map(|source| source.task_id.as_str()),
            "source_map_index": source.map(|source| source.map_index.0),
            "source_aliases": aliases,
            "partition_key": partition.as_ref().map(|partition| &partition.key),
        });
        self.call(&run, Call::AssetEvent, None, message.to_string(), now, decisions);
    }
}
