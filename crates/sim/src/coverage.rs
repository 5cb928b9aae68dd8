//! What happens in histories, counted: a kind that never occurs is one that no history tests.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use model::{TaskInstanceKey, TaskState};
use scheduler::Action;
use store::{Page, RunFilter, RunStore};

use crate::world::World;

/// How often what happened, by kind.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(String, String), u64>,
    /// The states of task instances as they were seen last.
    seen: HashMap<TaskInstanceKey, TaskState>,
}

/// What must happen in a few hundred histories.
const EXPECTED: &[(&str, &[&str])] = &[
    (
        "outcome",
        &["Success", "Skipped", "Failed", "FailedForGood", "Reschedule", "Deferred", "AwaitingInput", "Interrupted"],
    ),
    (
        "action",
        &[
            "Start",
            "Start again",
            "Acknowledge",
            "Done",
            "AskTimetable",
            "Arm",
            "Arm at the start",
            "Disarm",
            "Reply",
            "Reply refused",
            "RunChanged",
            "TasksChanged",
            "HitlAnswered",
            "HitlAnswered refused",
            "BackfillChanged",
            "BackfillChanged refused",
            "Call",
            "RunFinished success",
            "RunFinished task_failure",
            "RunFinished all_tasks_deadlocked",
            "RunFinished timed_out",
            "RunFinished set_by_hand",
            "AutoPaused",
            "Stop RunTimedOut",
            "Stop FailFast",
            "Stop Removed",
            "Stop SetByHand",
            "Stop MarkedByHand",
            "Stop Cleared",
            "Refused",
        ],
    ),
    (
        "people and the world",
        &[
            "Trigger",
            "Pause",
            "Called",
            "Answer",
            "SetState",
            "Delete",
            "Clear",
            "Backfill",
            "SetBackfill",
            "Mark",
            "Pool",
            "Edit",
            "Vanish",
            "Break",
            "Repair",
            "Drain",
            "DeliverLate",
            "Fire",
            "Gone",
            "Retry",
        ],
    ),
    ("crash", &["after the commit, before acting", "while committing", "while starting"]),
    (
        "mapping",
        &["expanded", "expanded before a crash", "over nothing", "over no list", "removed", "of a mapped task"],
    ),
    (
        "state",
        &[
            "none to scheduled",
            "none to queued",
            "none to success",
            "none to skipped",
            "none to upstream_failed",
            "none to deferred",
            "scheduled to queued",
            "queued to success",
            "queued to up_for_retry",
            "queued to up_for_reschedule",
            "queued to deferred",
            "queued to awaiting_input",
            "queued to restarting",
            "deferred to queued",
            "deferred to success",
            "awaiting_input to queued",
            "up_for_retry to queued",
            "up_for_reschedule to queued",
            "restarting to queued",
            "success to none",
            "failed to none",
        ],
    ),
];

impl Coverage {
    fn add(&mut self, group: &str, kind: &str) {
        *self.counts.entry((group.to_owned(), kind.to_owned())).or_default() += 1;
    }

    /// Adds what happened in another history.
    pub fn merge(&mut self, other: &Coverage) {
        for (kind, count) in &other.counts {
            *self.counts.entry(kind.clone()).or_default() += count;
        }
    }

    fn count(&self, group: &str, kind: &str) -> u64 {
        self.counts.get(&(group.to_owned(), kind.to_owned())).copied().unwrap_or(0)
    }

    /// What should have happened and never did.
    pub fn missing(&self) -> Vec<String> {
        let kinds = EXPECTED.iter().flat_map(|(group, kinds)| kinds.iter().map(move |kind| (group, kind)));
        kinds
            .filter(|(group, kind)| self.count(group, kind) == 0)
            .map(|(group, kind)| format!("{group}: {kind}"))
            .collect()
    }

    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut last = "";
        for ((group, kind), count) in &self.counts {
            if group != last {
                let _ = writeln!(table, "{group}");
                last = group;
            }
            let _ = writeln!(table, "  {count:>8}  {kind}");
        }
        table
    }
}

/// The name at the beginning of a text that `Debug` wrote.
fn name(text: &str) -> &str {
    text.split(['(', ' ', '{']).next().unwrap_or(text)
}

impl World {
    /// Counts something by the name that its text begins with.
    pub(crate) fn count(&mut self, group: &str, text: &str) {
        if let Some(coverage) = &mut self.coverage {
            // Why the store failed does not matter.
            let kind = if group == "crash" { text.split(" (").next().unwrap_or(text) } else { name(text) };
            coverage.add(group, kind);
        }
    }

    pub(crate) fn count_action(&mut self, action: &Action) {
        let Some(coverage) = &mut self.coverage else { return };
        let refused =
            |is_refused: bool, kind: &str| if is_refused { format!("{kind} refused") } else { kind.to_owned() };
        let kind = match action {
            Action::Start(start) if start.suspension.is_some() => "Start again".to_owned(),
            Action::Arm(arm) if arm.starts_task => "Arm at the start".to_owned(),
            Action::Stop { reason, .. } => format!("Stop {reason:?}"),
            Action::RunFinished { reason, .. } => format!("RunFinished {reason}"),
            Action::Reply { answer, .. } => refused(answer.is_err(), "Reply"),
            Action::HitlAnswered { answer, .. } => refused(answer.is_err(), "HitlAnswered"),
            Action::BackfillChanged { answer, .. } => refused(answer.is_err(), "BackfillChanged"),
            other => name(&format!("{other:?}")).to_owned(),
        };
        coverage.add("action", &kind);
    }

    /// What has become of task instances since this was asked last.
    pub(crate) fn count_moves(&mut self, after_failure: bool) {
        let Some(mut coverage) = self.coverage.take() else { return };
        let runs = self.store.runs(&RunFilter::default(), &[], Page::ALL).map(|found| found.0).unwrap_or_default();
        for run in runs {
            for ti in self.store.task_instances_of(&run.key).unwrap_or_default() {
                let key = ti.key();
                let before = coverage.seen.insert(key.clone(), ti.state);
                // It got its instances when what it maps over was known.
                let stand_in = TaskInstanceKey { map_index: model::MapIndex::NONE, ..key.clone() };
                if before.is_none() && ti.map_index.0 == 0 && coverage.seen.contains_key(&stand_in) {
                    coverage.add("mapping", "expanded");
                    if after_failure {
                        coverage.add("mapping", "expanded before a crash");
                    }
                }
                if before != Some(ti.state) {
                    self.count_mapping(&mut coverage, &key, ti.state);
                    let before = before.unwrap_or(TaskState::None);
                    coverage.add("state", &format!("{before} to {}", ti.state));
                }
            }
        }
        self.coverage = Some(coverage);
    }

    fn count_mapping(&self, coverage: &mut Coverage, key: &TaskInstanceKey, state: TaskState) {
        let dag = self.dags.iter().find(|sim| sim.dag_id == key.run.dag_id).map(|sim| &sim.newest().dag);
        let Some((dag, task)) = dag.and_then(|dag| Some((dag, dag.find(key.task_id.as_str())?))) else { return };
        if !dag.task(task).needs_expansion() {
            return;
        }
        match state {
            TaskState::Skipped if !key.map_index.is_mapped() => coverage.add("mapping", "over nothing"),
            TaskState::UpstreamFailed if !key.map_index.is_mapped() => coverage.add("mapping", "over no list"),
            TaskState::Removed => coverage.add("mapping", "removed"),
            TaskState::Success if dag.map_sources(task).iter().any(|source| dag.task(*source).is_mapped()) => {
                coverage.add("mapping", "of a mapped task");
            }
            _ => {}
        }
    }
}
