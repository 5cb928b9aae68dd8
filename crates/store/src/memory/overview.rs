//! What pages show at a glance.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{DagId, DagRun, DagRunState, DataInterval, Deadline, Json, MapIndex, RunKey, TaskId};

use super::order::{compare, is, sort};
use super::{MemoryStore, State};
use crate::Result;
use crate::overview::{DagCounts, Granularity, OverviewStore, RunsOfDate, StateCounts};
use crate::query::{DeadlineFilter, DeadlineOrder, Direction, Page, Span};

fn counted<S: Copy + PartialEq>(states: impl Iterator<Item = S>, most: u64) -> Vec<(S, u64)> {
    let mut counts: Vec<(S, u64)> = Vec::new();
    for state in states.take(usize::try_from(most).unwrap_or(usize::MAX)) {
        match counts.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((state, 1)),
        }
    }
    counts
}

impl State {
    fn all_runs(&self) -> impl Iterator<Item = &DagRun> {
        self.runs.values().map(|run| &run.record)
    }

    fn newest_dated(&self, dag_id: &DagId) -> Option<&DagRun> {
        let dated = self.runs_of(dag_id).map(|run| &run.record).filter(|run| run.logical_date.is_some());
        dated.max_by_key(|run| run.logical_date)
    }
}

impl OverviewStore for MemoryStore {
    fn states_within(&self, run_after: Span, most: u64) -> Result<StateCounts> {
        let state = self.read()?;
        let is_due = |run: &&DagRun| run_after.contains(Some(run.run_after));
        let of_due = |key: &RunKey| state.runs.get(key).is_some_and(|run| is_due(&&run.record));
        let instances = state.task_instances.iter().filter(|(key, _)| of_due(&key.run));
        Ok(StateCounts {
            runs: counted(state.all_runs().filter(is_due).map(|run| run.state), most),
            task_instances: counted(instances.map(|(_, ti)| ti.state), most),
        })
    }

    fn dag_counts(&self) -> Result<DagCounts> {
        let state = self.read()?;
        let there: Vec<_> = state.dags.values().map(|dag| &dag.record).filter(|dag| !dag.stale).collect();
        let has_failed =
            |dag_id: &DagId| state.newest_dated(dag_id).is_some_and(|run| run.state == DagRunState::Failed);
        let with = |wanted: DagRunState| {
            let of_state: BTreeSet<&DagId> =
                state.all_runs().filter(|run| run.state == wanted).map(|run| &run.key.dag_id).collect();
            there.iter().filter(|dag| of_state.contains(&dag.dag_id)).count() as u64
        };
        Ok(DagCounts {
            active: there.iter().filter(|dag| !dag.paused).count() as u64,
            failed: there.iter().filter(|dag| has_failed(&dag.dag_id)).count() as u64,
            running: with(DagRunState::Running),
            queued: with(DagRunState::Queued),
        })
    }

    fn runs_by_date(&self, dag_id: &DagId, logical_date: Span, granularity: Granularity) -> Result<Vec<RunsOfDate>> {
        let state = self.read()?;
        let length = granularity.micros();
        let mut found: BTreeMap<(i64, &str), RunsOfDate> = BTreeMap::new();
        for run in state.runs_of(dag_id).map(|run| &run.record) {
            let Some(date) = run.logical_date.filter(|date| logical_date.contains(Some(*date))) else { continue };
            let start = date.as_microsecond() - date.as_microsecond().rem_euclid(length);
            let of_date = found.entry((start, run.state.name())).or_insert_with(|| RunsOfDate {
                date: Timestamp::from_microsecond(start).unwrap_or(date),
                state: run.state,
                count: 0,
                interval: None,
            });
            of_date.count += 1;
            of_date.interval = match (of_date.interval, run.data_interval) {
                (Some(one), Some(other)) => {
                    Some(DataInterval { start: one.start.max(other.start), end: one.end.max(other.end) })
                }
                (one, other) => one.or(other),
            };
        }
        Ok(found.into_values().collect())
    }

    fn dag_dependencies(&self) -> Result<Vec<(DagId, Json)>> {
        let state = self.read()?;
        let there = state.dags.values().map(|dag| &dag.record).filter(|dag| !dag.stale);
        let of_dag = |version| {
            state.versions.get(version).and_then(|version| version.serialized.pointer("/dag/dag_dependencies"))
        };
        Ok(there
            .filter_map(|dag| Some((dag.dag_id.clone(), of_dag(&dag.version)?.clone())))
            .filter(|(_, found)| !found.is_null())
            .collect())
    }

    fn noted_task_instances(&self, run: &RunKey) -> Result<Vec<(TaskId, MapIndex)>> {
        let state = self.read()?;
        let of_run = state.task_notes.iter().filter(|(key, _)| key.run == *run);
        Ok(of_run.map(|(key, _)| (key.task_id.clone(), key.map_index)).collect())
    }

    fn list_deadlines(
        &self,
        filter: &DeadlineFilter,
        order: &[(DeadlineOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<(Deadline, bool)>, u64)> {
        let state = self.read()?;
        let matches = |(deadline, missed): &&(Deadline, bool)| {
            deadline.at.is_some()
                && is(&deadline.run.dag_id, filter.dag_id.as_ref())
                && is(&deadline.run.run_id, filter.run_id.as_ref())
                && is(missed, filter.missed.as_ref())
                && filter.at.contains(deadline.at)
        };
        let mut found: Vec<&(Deadline, bool)> = state.deadlines.values().filter(matches).collect();
        sort(
            &mut found,
            order,
            |(a, _), (b, _)| a.id.cmp(&b.id),
            |key, (a, a_missed), (b, b_missed)| match key {
                DeadlineOrder::Id => compare(a.id, b.id),
                DeadlineOrder::At => compare(a.at, b.at),
                DeadlineOrder::Missed => compare(a_missed, b_missed),
                DeadlineOrder::DagId => compare(&a.run.dag_id, &b.run.dag_id),
                DeadlineOrder::RunId => compare(&a.run.run_id, &b.run.run_id),
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().cloned().collect(), total))
    }

    fn runs_with_missed_deadlines(&self, runs: &[RunKey]) -> Result<Vec<RunKey>> {
        let state = self.read()?;
        let missed: BTreeSet<&RunKey> =
            state.deadlines.values().filter(|(_, missed)| *missed).map(|(deadline, _)| &deadline.run).collect();
        Ok(runs.iter().filter(|run| missed.contains(run)).cloned().collect())
    }

    fn run_numbers(&self, runs: &[RunKey]) -> Result<Vec<u64>> {
        let state = self.read()?;
        Ok(runs.iter().filter_map(|run| state.runs.get(run)).map(|run| run.number).collect())
    }
}
