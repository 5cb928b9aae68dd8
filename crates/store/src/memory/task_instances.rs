//! Task instances; and the trait that has both them and runs.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::Timestamp;
use model::{
    DagId, DagRun, DagRunState, Json, MapIndex, RunKey, Suspension, TaskId, TaskInstance, TaskInstanceId,
    TaskInstanceKey, TriggerId, VersionId,
};
use uuid::Uuid;

use super::order::{among, begins, compare, compare_optional, is, like, sort};
use super::{MemoryStore, State};
use crate::query::{
    Direction, Page, RunFilter, RunOrder, TaskInstanceFilter, TaskInstanceOrder, rendered_map_index, task_updated_at,
};
use crate::records::TaskTry;
use crate::{Result, RunExists, RunStore};

fn text_matches(filter: &TaskInstanceFilter, ti: &TaskInstance) -> bool {
    let rendered = rendered_map_index(ti);
    let table = [
        (Some(ti.run.dag_id.as_str()), &filter.dag_id_pattern, &filter.dag_id_prefix),
        (Some(ti.run.run_id.as_str()), &filter.run_id_pattern, &filter.run_id_prefix),
        (Some(ti.task_id.as_str()), &filter.task_id_pattern, &filter.task_id_prefix),
        (Some(&*ti.pool), &filter.pool_pattern, &filter.pool_prefix),
        (Some(&*ti.queue), &filter.queue_pattern, &filter.queue_prefix),
        (Some(&*ti.operator_name), &filter.operator_name_pattern, &filter.operator_name_prefix),
        (rendered.as_deref(), &filter.rendered_map_index_pattern, &filter.rendered_map_index_prefix),
    ];
    table.iter().all(|(text, pattern, prefix)| like(*text, pattern.as_deref()) && begins(*text, prefix.as_deref()))
}

impl State {
    fn run_of(&self, ti: &TaskInstance) -> Option<&DagRun> {
        self.runs.get(&ti.run).map(|run| &run.record)
    }

    fn task_matches(&self, filter: &TaskInstanceFilter, ti: &TaskInstance) -> bool {
        let text_among = |text: &str, allowed: &[String]| among(&text, allowed);
        let run = self.run_of(ti);
        is(&ti.run.dag_id, filter.dag_id.as_ref())
            && text_among(ti.run.dag_id.as_str(), &filter.dag_ids)
            && is(&ti.run.run_id, filter.run_id.as_ref())
            && text_among(ti.run.run_id.as_str(), &filter.run_ids)
            && text_matches(filter, ti)
            && text_among(ti.task_id.as_str(), &filter.task_ids)
            && among(&ti.state, &filter.states)
            && text_among(&ti.pool, &filter.pools)
            && text_among(&ti.queue, &filter.queues)
            && (filter.executors.is_empty()
                || ti.executor.as_deref().is_some_and(|name| text_among(name, &filter.executors)))
            && text_among(&ti.operator, &filter.operators)
            && self.has_number(ti.version, &filter.version_numbers)
            && among(&i64::from(ti.try_number), &filter.try_numbers)
            && is(&ti.map_index.0, filter.map_index.as_ref())
            && among(&i64::from(ti.map_index.0), &filter.map_indexes)
            && !(filter.mapped_only && ti.map_index.0 < 0)
            && filter.start_date.contains(ti.start_date)
            && filter.end_date.contains(ti.end_date)
            && filter.logical_date.contains(run.and_then(|run| run.logical_date))
            && filter.run_after.contains(run.map(|run| run.run_after))
            && filter.updated_at.contains(task_updated_at(ti))
            && filter.duration.contains(ti.duration())
    }

    fn compare_tasks(&self, key: TaskInstanceOrder, a: &TaskInstance, b: &TaskInstance) -> Ordering {
        let of_run = |value: fn(&DagRun) -> Option<Timestamp>| {
            compare_optional(self.run_of(a).and_then(value), self.run_of(b).and_then(value))
        };
        match key {
            TaskInstanceOrder::Id => compare(a.id, b.id),
            TaskInstanceOrder::State => compare_optional(a.state.name(), b.state.name()),
            TaskInstanceOrder::Duration => compare_optional(a.duration(), b.duration()),
            TaskInstanceOrder::StartDate => compare_optional(a.start_date, b.start_date),
            TaskInstanceOrder::EndDate => compare_optional(a.end_date, b.end_date),
            TaskInstanceOrder::MapIndex => compare(a.map_index, b.map_index),
            TaskInstanceOrder::TaskId => compare(&a.task_id, &b.task_id),
            TaskInstanceOrder::RunAfter => of_run(|run| Some(run.run_after)),
            TaskInstanceOrder::LogicalDate => of_run(|run| run.logical_date),
            TaskInstanceOrder::TryNumber => compare(a.try_number, b.try_number),
            TaskInstanceOrder::IntervalStart => of_run(|run| run.data_interval.map(|interval| interval.start)),
            TaskInstanceOrder::IntervalEnd => of_run(|run| run.data_interval.map(|interval| interval.end)),
            TaskInstanceOrder::RenderedMapIndex => {
                compare_optional(a.rendered_map_index.as_ref(), b.rendered_map_index.as_ref())
                    .then(compare(a.map_index, b.map_index))
            }
            TaskInstanceOrder::Operator => compare(&a.operator, &b.operator),
        }
    }
}

impl RunStore for MemoryStore {
    fn run(&self, key: &RunKey) -> Result<Option<DagRun>> {
        self.find_run(key)
    }

    fn runs(&self, filter: &RunFilter, order: &[(RunOrder, Direction)], page: Page) -> Result<(Vec<DagRun>, u64)> {
        self.list_runs(filter, order, page)
    }

    fn active_runs(&self) -> Result<Vec<DagRun>> {
        let states = vec![DagRunState::Queued, DagRunState::Running];
        Ok(self.list_runs(&RunFilter { states, ..RunFilter::default() }, &[], Page::ALL)?.0)
    }

    fn run_exists(&self, key: &RunKey, logical_date: Option<Timestamp>) -> Result<RunExists> {
        self.find_same_run(key, logical_date)
    }

    fn run_before(&self, dag_id: &DagId, before: Timestamp, scheduled_only: bool) -> Result<Option<DagRun>> {
        self.find_run_before(dag_id, before, scheduled_only)
    }

    fn task_ran_before(&self, dag_id: &DagId, task_id: &TaskId, before: Timestamp) -> Result<bool> {
        self.had_task_before(dag_id, task_id, before)
    }

    fn last_successful_run(&self, dag_id: &DagId, before: Timestamp) -> Result<Option<DagRun>> {
        self.find_successful_run(dag_id, before)
    }

    fn task_instance(&self, key: &TaskInstanceKey) -> Result<Option<TaskInstance>> {
        Ok(self.read()?.task_instances.get(key).cloned())
    }

    fn task_instances_of(&self, run: &RunKey) -> Result<Vec<TaskInstance>> {
        let first = TaskInstanceKey { run: run.clone(), task_id: TaskId::from(""), map_index: MapIndex(i32::MIN) };
        let state = self.read()?;
        let of_run = state.task_instances.range(first..).take_while(|(key, _)| key.run == *run);
        Ok(of_run.map(|(_, ti)| ti.clone()).collect())
    }

    fn task_instances(
        &self,
        filter: &TaskInstanceFilter,
        order: &[(TaskInstanceOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<TaskInstance>, u64)> {
        let state = self.read()?;
        let mut found: Vec<&TaskInstance> =
            state.task_instances.values().filter(|ti| state.task_matches(filter, ti)).collect();
        sort(&mut found, order, |a, b| a.id.cmp(&b.id), |key, a, b| state.compare_tasks(key, a, b));
        let (found, total) = page.cut(found);
        Ok((found.into_iter().cloned().collect(), total))
    }

    fn versions_of(&self, runs: &[RunKey]) -> Result<Vec<Vec<VersionId>>> {
        let state = self.read()?;
        let of = |run: &RunKey| {
            let current = state.task_instances.values().filter(|ti| ti.run == *run);
            let archived = state.tries.values().filter(|ti| ti.run == *run);
            let versions: BTreeSet<VersionId> = current.chain(archived).map(|ti| ti.version).collect();
            versions.into_iter().collect()
        };
        Ok(runs.iter().map(of).collect())
    }

    fn archived_tries(&self, key: &TaskInstanceKey) -> Result<Vec<TaskTry>> {
        let first = (key.clone(), TaskInstanceId(Uuid::nil()));
        let state = self.read()?;
        let tries = state.tries.range(first..).take_while(|((other, _), _)| other == key);
        Ok(tries.map(|(_, ti)| TaskTry { task_instance: ti.clone() }).collect())
    }

    fn task_note(&self, key: &TaskInstanceKey) -> Result<Option<String>> {
        Ok(self.state().task_notes.get(key).cloned())
    }

    fn rendered_fields(&self, key: &TaskInstanceKey) -> Result<Option<Json>> {
        Ok(self.read()?.rendered.get(key).cloned())
    }

    fn reschedules(&self, key: &TaskInstanceKey) -> Result<(u32, Option<Timestamp>)> {
        let state = self.read()?;
        let try_number = state.task_instances.get(key).map_or(0, |ti| ti.try_number);
        let starts = state.reschedules.get(&(key.clone(), try_number));
        Ok(starts.map_or((0, None), |starts| (starts.len() as u32, starts.iter().min().copied())))
    }

    fn suspension(&self, key: &TaskInstanceKey) -> Result<Option<Suspension>> {
        Ok(self.read()?.suspensions.get(key).cloned())
    }

    fn suspensions_of(&self, run: &RunKey) -> Result<Vec<Suspension>> {
        let first = TaskInstanceKey { run: run.clone(), task_id: TaskId::from(""), map_index: MapIndex(i32::MIN) };
        let state = self.read()?;
        let of_run = state.suspensions.range(first..).take_while(|(key, _)| key.run == *run);
        Ok(of_run.map(|(_, suspension)| suspension.clone()).collect())
    }

    fn last_trigger(&self) -> Result<TriggerId> {
        let state = self.read()?;
        let triggers = state.suspensions.values().filter_map(|suspension| suspension.trigger.as_ref());
        Ok(triggers.map(|trigger| trigger.id).max().unwrap_or(TriggerId(0)))
    }
}
