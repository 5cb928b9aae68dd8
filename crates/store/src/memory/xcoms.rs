//! XComs.

use std::cmp::Ordering;

use jiff::Timestamp;
use model::{DagRun, MapIndex, RunKey, TaskId};

use super::order::{compare, fits, is, sort};
use super::{MemoryStore, State};
use crate::query::{Direction, Page, XComFilter, XComOrder};
use crate::records::{XCom, XComHead, XComKey};
use crate::{Result, XComStore};

fn matches(filter: &XComFilter, key: &XComKey, run: &DagRun, display_name: Option<&str>) -> bool {
    is(&key.run.dag_id, filter.dag_id.as_ref())
        && is(&key.run.run_id, filter.run_id.as_ref())
        && is(&key.task_id, filter.task_id.as_ref())
        && is(&i64::from(key.map_index.0), filter.map_index.as_ref())
        && is(&key.key, filter.key.as_ref())
        && fits(Some(&key.key), &filter.keys)
        && fits(display_name, &filter.dag_display_names)
        && fits(Some(key.run.run_id.as_str()), &filter.run_ids)
        && fits(Some(key.task_id.as_str()), &filter.task_ids)
        && filter.logical_date.contains(run.logical_date)
        && filter.run_after.contains(Some(run.run_after))
}

/// An entry that is listed, with the number of its run.
struct Found {
    run: u64,
    head: XComHead,
}

impl Found {
    /// The order in which entries stand that are equal otherwise.
    fn place(&self) -> (u64, &TaskId, MapIndex, &str) {
        (self.run, &self.head.key.task_id, self.head.key.map_index, &self.head.key.key)
    }
}

fn compared(key: XComOrder, a: &XComHead, b: &XComHead) -> Ordering {
    match key {
        XComOrder::Key => compare(&a.key.key, &b.key.key),
        XComOrder::DagId => compare(&a.key.run.dag_id, &b.key.run.dag_id),
        XComOrder::RunId => compare(&a.key.run.run_id, &b.key.run.run_id),
        XComOrder::TaskId => compare(&a.key.task_id, &b.key.task_id),
        XComOrder::MapIndex => compare(a.key.map_index, b.key.map_index),
        XComOrder::At => compare(a.at, b.at),
        XComOrder::RunAfter => compare(a.run_after, b.run_after),
    }
}

impl State {
    fn list_xcoms(&self, filter: &XComFilter) -> Vec<Found> {
        let mut found = Vec::new();
        for xcom in self.xcoms.values() {
            let Some(run) = self.runs.get(&xcom.key.run) else { continue };
            let dag = self.dags.get(&xcom.key.run.dag_id);
            let display_name = dag.map(|dag| dag.record.display_name.as_str());
            if matches(filter, &xcom.key, &run.record, display_name) {
                let (logical_date, run_after) = (run.record.logical_date, run.record.run_after);
                let head = XComHead { key: xcom.key.clone(), at: xcom.at, logical_date, run_after };
                found.push(Found { run: run.number, head });
            }
        }
        found
    }

    /// The entries of one task with one key, by map index.
    fn xcoms_of<'a>(
        &'a self,
        run: &RunKey,
        task_id: &TaskId,
        key: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a XCom> {
        let bound = |map_index| XComKey { run: run.clone(), task_id: task_id.clone(), map_index, key: String::new() };
        let of_task = self.xcoms.range(bound(MapIndex(i32::MIN))..bound(MapIndex(i32::MAX)));
        of_task.map(|(_, xcom)| xcom).filter(move |xcom| xcom.key.key == key)
    }

    /// The date by which the entries of a run are older or newer than others, and the run's number.
    fn date_of(&self, run: &RunKey) -> Option<(Timestamp, u64)> {
        self.runs.get(run).map(|run| (run.record.logical_date.unwrap_or(run.record.run_after), run.number))
    }
}

impl XComStore for MemoryStore {
    fn xcom(&self, key: &XComKey) -> Result<Option<XCom>> {
        Ok(self.read()?.xcoms.get(key).cloned())
    }

    fn xcoms(
        &self,
        run: &RunKey,
        task_id: Option<&TaskId>,
        map_index: Option<MapIndex>,
        key: Option<&str>,
    ) -> Result<Vec<XCom>> {
        let matches = |xcom: &&XCom| {
            xcom.key.run == *run
                && task_id.is_none_or(|task_id| *task_id == xcom.key.task_id)
                && map_index.is_none_or(|map_index| map_index == xcom.key.map_index)
                && key.is_none_or(|key| key == xcom.key.key)
        };
        Ok(self.read()?.xcoms.values().filter(matches).cloned().collect())
    }

    fn count_xcoms(&self, run: &RunKey, task_id: &TaskId, key: &str, mapped_only: bool) -> Result<u64> {
        let state = self.read()?;
        let found = state.xcoms_of(run, task_id, key);
        Ok(found.filter(|xcom| !mapped_only || xcom.key.map_index.is_mapped()).count() as u64)
    }

    fn xcom_at(&self, run: &RunKey, task_id: &TaskId, key: &str, offset: i64) -> Result<Option<XCom>> {
        let state = self.read()?;
        let mut found = state.xcoms_of(run, task_id, key);
        let at = |offset: i64| usize::try_from(offset).unwrap_or(usize::MAX);
        let xcom = if offset >= 0 { found.nth(at(offset)) } else { found.nth_back(at(-1 - offset)) };
        Ok(xcom.cloned())
    }

    fn some_xcoms(&self, run: &RunKey, task_id: &TaskId, key: &str, offset: u64, limit: u64) -> Result<Vec<XCom>> {
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(self.read()?.xcoms_of(run, task_id, key).skip(at(offset)).take(at(limit)).cloned().collect())
    }

    fn xcom_pushed(&self, key: &XComKey) -> Result<Option<Timestamp>> {
        Ok(self.read()?.xcoms.get(key).map(|xcom| xcom.at))
    }

    fn mapped_length(&self, key: &XComKey) -> Result<Option<u32>> {
        Ok(self.read()?.xcoms.get(key).and_then(|xcom| xcom.mapped_length))
    }

    fn list_xcoms(
        &self,
        filter: &XComFilter,
        order: &[(XComOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<XComHead>, u64)> {
        let mut found = self.read()?.list_xcoms(filter);
        sort(&mut found, order, |a, b| a.place().cmp(&b.place()), |key, a, b| compared(key, &a.head, &b.head));
        let (found, total) = page.cut(found);
        Ok((found.into_iter().map(|found| found.head).collect(), total))
    }

    fn xcom_with_prior_dates(&self, key: &XComKey) -> Result<Option<XCom>> {
        let state = self.read()?;
        let Some((until, _)) = state.date_of(&key.run) else { return Ok(None) };
        let of_task = |xcom: &&XCom| {
            xcom.key.run.dag_id == key.run.dag_id
                && (&xcom.key.task_id, xcom.key.map_index, &xcom.key.key) == (&key.task_id, key.map_index, &key.key)
        };
        Ok(state
            .xcoms
            .values()
            .filter(of_task)
            .filter_map(|xcom| Some((state.date_of(&xcom.key.run)?, xcom)))
            .filter(|((date, _), _)| *date <= until)
            .max_by_key(|((date, number), xcom)| (*date, xcom.at, *number))
            .map(|(_, xcom)| xcom.clone()))
    }
    fn xcoms_with_prior_dates(&self, run: &RunKey, task_id: &TaskId, key: &str) -> Result<Vec<XCom>> {
        let state = self.read()?;
        let Some((until, _)) = state.date_of(run) else { return Ok(Vec::new()) };
        let is_wanted = |xcom: &&XCom| {
            let other = &xcom.key;
            other.run.dag_id == run.dag_id && other.task_id == *task_id && other.key == key
        };
        let mut found: Vec<_> = state
            .xcoms
            .values()
            .filter(is_wanted)
            .filter_map(|xcom| Some((state.date_of(&xcom.key.run)?, xcom)))
            .filter(|((date, _), _)| *date <= until)
            .collect();
        found.sort_by_key(|(date, xcom)| (xcom.key.map_index, *date));
        Ok(found.into_iter().map(|(_, xcom)| xcom.clone()).collect())
    }
}
