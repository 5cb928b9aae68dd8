//! Runs.

use jiff::Timestamp;
use model::{DagId, DagRun, DagRunState, RunId, RunKey, RunType, TaskId, VersionId};

use super::order::{among, begins, compare, compare_optional, is, like, sort};
use super::{MemoryStore, Numbered, State};
use crate::query::{Direction, Letters, Page, Pattern, RunFilter, RunOrder, run_updated_at, somewhere};
use crate::records::conf_text;
use crate::{Result, RunExists};

impl State {
    /// The runs of one Dag.
    pub(super) fn runs_of(&self, dag_id: &DagId) -> impl Iterator<Item = &Numbered<DagRun>> {
        let first = RunKey { dag_id: dag_id.clone(), run_id: RunId::from("") };
        self.runs.range(first..).take_while(move |(key, _)| key.dag_id == *dag_id).map(|(_, run)| run)
    }

    fn latest_run(&self, dag_id: &DagId, before: Timestamp, matches: impl Fn(&DagRun) -> bool) -> Option<DagRun> {
        self.runs_of(dag_id)
            .map(|run| &run.record)
            .filter(|run| run.logical_date.is_some_and(|date| date < before) && matches(run))
            .max_by_key(|run| run.logical_date)
            .cloned()
    }

    /// Whether a version has one of these numbers; an empty list allows all.
    pub(super) fn has_number(&self, version: VersionId, numbers: &[i64]) -> bool {
        let number = self.versions.get(&version).map(|version| i64::from(version.number));
        numbers.is_empty() || number.is_some_and(|number| numbers.contains(&number))
    }

    fn run_matches(&self, filter: &RunFilter, run: &DagRun) -> bool {
        let (dag_id, run_id) = (Some(run.key.dag_id.as_str()), Some(run.key.run_id.as_str()));
        let user = run.triggering_user.as_deref();
        let partition_key = run.partition.as_ref().map(|partition| partition.key.as_str());
        let conf_matches =
            |text: &String| Pattern::new(&somewhere(text), Letters::Exact).matches(&conf_text(&run.conf));
        is(&run.key.dag_id, filter.dag_id.as_ref())
            && (filter.dag_ids.is_empty() || filter.dag_ids.iter().any(|id| id == run.key.dag_id.as_str()))
            && like(dag_id, filter.dag_id_pattern.as_deref())
            && begins(dag_id, filter.dag_id_prefix.as_deref())
            && like(run_id, filter.run_id_pattern.as_deref())
            && begins(run_id, filter.run_id_prefix.as_deref())
            && like(user, filter.triggering_user_pattern.as_deref())
            && begins(user, filter.triggering_user_prefix.as_deref())
            && like(partition_key, filter.partition_key_pattern.as_deref())
            && begins(partition_key, filter.partition_key_prefix.as_deref())
            && filter.partition_date.contains(partition_date(run))
            && among(&run.state, &filter.states)
            && among(&run.run_type, &filter.run_types)
            && self.has_number(run.version, &filter.version_numbers)
            && filter.bundle_version.as_ref().is_none_or(|version| run.bundle_version.as_ref() == Some(version))
            && filter.conf_contains.as_ref().is_none_or(conf_matches)
            && filter.logical_date.contains(run.logical_date)
            && filter.run_after.contains(Some(run.run_after))
            && filter.start_date.contains(run.start_date)
            && filter.end_date.contains(run.end_date)
            && filter.updated_at.contains(run_updated_at(run))
            && filter.duration.contains(run.duration())
    }
}

fn partition_date(run: &DagRun) -> Option<Timestamp> {
    run.partition.as_ref().and_then(|partition| partition.date)
}

impl MemoryStore {
    pub(super) fn list_runs(
        &self,
        filter: &RunFilter,
        order: &[(RunOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<DagRun>, u64)> {
        let state = self.read()?;
        let mut found: Vec<&Numbered<DagRun>> =
            state.runs.values().filter(|run| state.run_matches(filter, &run.record)).collect();
        sort(
            &mut found,
            order,
            |a, b| a.number.cmp(&b.number),
            |key, numbered_a, numbered_b| {
                let (a, b) = (&numbered_a.record, &numbered_b.record);
                match key {
                    RunOrder::Id => compare(numbered_a.number, numbered_b.number),
                    RunOrder::State => compare(a.state.name(), b.state.name()),
                    RunOrder::DagId => compare(&a.key.dag_id, &b.key.dag_id),
                    RunOrder::RunId => compare(&a.key.run_id, &b.key.run_id),
                    RunOrder::LogicalDate => compare_optional(a.logical_date, b.logical_date),
                    RunOrder::RunAfter => compare(a.run_after, b.run_after),
                    RunOrder::StartDate => compare_optional(a.start_date, b.start_date),
                    RunOrder::EndDate => compare_optional(a.end_date, b.end_date),
                    RunOrder::RunType => compare(a.run_type.name(), b.run_type.name()),
                    RunOrder::Duration => compare_optional(a.duration(), b.duration()),
                    RunOrder::UpdatedAt => compare_optional(run_updated_at(a), run_updated_at(b)),
                    RunOrder::PartitionDate => compare_optional(partition_date(a), partition_date(b)),
                    RunOrder::Conf => compare(conf_text(&a.conf), conf_text(&b.conf)),
                    RunOrder::IntervalEnd => {
                        let end = |run: &DagRun| run.data_interval.map(|interval| interval.end);
                        compare_optional(end(a), end(b))
                    }
                }
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().map(|run| run.record.clone()).collect(), total))
    }

    pub(super) fn find_run(&self, key: &RunKey) -> Result<Option<DagRun>> {
        Ok(self.read()?.runs.get(key).map(|run| run.record.clone()))
    }

    pub(super) fn find_same_run(&self, key: &RunKey, logical_date: Option<Timestamp>) -> Result<RunExists> {
        let state = self.read()?;
        Ok(if state.runs.contains(key) {
            RunExists::SameId
        } else if logical_date.is_some()
            && state.runs_of(&key.dag_id).any(|run| run.record.logical_date == logical_date)
        {
            RunExists::SameLogicalDate
        } else {
            RunExists::No
        })
    }

    pub(super) fn find_run_before(
        &self,
        dag_id: &DagId,
        before: Timestamp,
        scheduled_only: bool,
    ) -> Result<Option<DagRun>> {
        let counts = |run: &DagRun| !(scheduled_only && run.run_type == RunType::Manual);
        Ok(self.read()?.latest_run(dag_id, before, counts))
    }

    pub(super) fn find_successful_run(&self, dag_id: &DagId, before: Timestamp) -> Result<Option<DagRun>> {
        Ok(self.read()?.latest_run(dag_id, before, |run| run.state == DagRunState::Success))
    }

    pub(super) fn had_task_before(&self, dag_id: &DagId, task_id: &TaskId, before: Timestamp) -> Result<bool> {
        let state = self.read()?;
        let is_before = |run: &RunKey| {
            state.runs.get(run).and_then(|run| run.record.logical_date).is_some_and(|date| date < before)
        };
        let mut keys = state.task_instances.iter().map(|(key, _)| key);
        Ok(keys.any(|key| key.run.dag_id == *dag_id && key.task_id == *task_id && is_before(&key.run)))
    }
}
