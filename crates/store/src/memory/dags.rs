//! Dags, their versions and files.

use std::collections::BTreeSet;

use model::{DagId, DagRunState, HitlDetail, TaskInstance, TaskState, VersionId};

use super::order::{among, begins, compare, compare_optional, fits, is, like, sort};
use super::{MemoryStore, State};
use crate::query::{
    DagFilter, DagOrder, Direction, ImportErrorFilter, ImportErrorOrder, Letters, Page, Pattern, TextFilter,
    VersionFilter, VersionOrder, literally, somewhere,
};
use crate::records::{BundleRecord, DagRecord, DagVersion, DagWarning, FileRecord, ImportError, VersionHead};
use crate::{DagStore, Result};

fn dag_matches(state: &State, filter: &DagFilter, dag: &DagRecord) -> bool {
    let has_run = |wanted| state.runs_of(&dag.dag_id).any(|run| run.record.state == wanted);
    let waits = |ti: &TaskInstance| matches!(ti.state, TaskState::AwaitingInput | TaskState::Deferred);
    let asks = |detail: &HitlDetail| {
        detail.key.run.dag_id == dag.dag_id
            && detail.response.is_none()
            && state.task_instances.get(&detail.key).is_some_and(waits)
    };
    let awaits_people = || state.hitl.values().any(asks);
    let has_tag = |tag: &String| dag.tags.contains(tag);
    let tags_match = if filter.all_tags {
        filter.tags.iter().all(has_tag)
    } else {
        filter.tags.is_empty() || filter.tags.iter().any(has_tag)
    };
    let owned = |part: &String| {
        let pattern = Pattern::new(&somewhere(&literally(part)), Letters::AnyCase);
        dag.owners.iter().any(|owner| pattern.matches(owner))
    };
    tags_match
        && !(filter.exclude_stale && dag.stale)
        && is(&dag.paused, filter.paused.as_ref())
        && like(Some(dag.dag_id.as_str()), filter.dag_id_pattern.as_deref())
        && begins(Some(dag.dag_id.as_str()), filter.dag_id_prefix.as_deref())
        && like(Some(&dag.display_name), filter.display_name_pattern.as_deref())
        && begins(Some(&dag.display_name), filter.display_name_prefix.as_deref())
        && (filter.owners.is_empty() || filter.owners.iter().any(owned))
        && is(&dag.bundle_name, filter.bundle_name.as_ref())
        && filter.bundle_version.as_ref().is_none_or(|version| dag.bundle_version.as_ref() == Some(version))
        && is(&dag.has_import_errors, filter.has_import_errors.as_ref())
        && among(&dag.timetable_type, &filter.timetable_types)
        && filter.last_run_state.is_none_or(|state| dag.last_run_state == Some(state))
        && among(&dag.last_run_state, &filter.last_run_states)
        && filter.last_run_start.contains(dag.last_run_start)
        && filter.last_run_end.contains(dag.last_run_end)
        && (filter.dag_ids.is_empty() || filter.dag_ids.iter().any(|id| id == dag.dag_id.as_str()))
        && filter.any_run_state.is_none_or(has_run)
        && filter.awaits_people.is_none_or(|wanted| awaits_people() == wanted)
}

fn head_of(version: &DagVersion) -> VersionHead {
    VersionHead {
        id: version.id,
        dag_id: version.dag_id.clone(),
        number: version.number,
        bundle_name: version.bundle_name.clone(),
        bundle_version: version.bundle_version.clone(),
        created_at: version.created_at,
    }
}

impl State {
    pub(super) fn newest_version(&self, dag_id: &DagId) -> Option<&DagVersion> {
        self.versions.values().filter(|version| version.dag_id == *dag_id).max_by_key(|version| version.number)
    }
}

impl DagStore for MemoryStore {
    fn dag(&self, dag_id: &DagId) -> Result<Option<DagRecord>> {
        Ok(self.read()?.dags.get(dag_id).map(|dag| dag.record.clone()))
    }

    fn dags(&self, filter: &DagFilter, order: &[(DagOrder, Direction)], page: Page) -> Result<(Vec<DagRecord>, u64)> {
        let state = self.read()?;
        let mut found: Vec<&DagRecord> =
            state.dags.values().map(|dag| &dag.record).filter(|dag| dag_matches(&state, filter, dag)).collect();
        let next_run = |dag: &DagRecord| dag.schedule.next_run.map(|next| next.run_after);
        let last_state = |dag: &DagRecord| dag.last_run_state.map(DagRunState::name);
        sort(
            &mut found,
            order,
            |a, b| a.dag_id.cmp(&b.dag_id),
            |key, a, b| match key {
                DagOrder::DagId => compare(&a.dag_id, &b.dag_id),
                DagOrder::DisplayName => compare(&a.display_name, &b.display_name),
                DagOrder::NextRun => compare_optional(next_run(a), next_run(b)),
                DagOrder::LastRunState => compare_optional(last_state(a), last_state(b)),
                DagOrder::LastRunStart => compare_optional(a.last_run_start, b.last_run_start),
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().cloned().collect(), total))
    }

    fn version(&self, id: VersionId) -> Result<Option<DagVersion>> {
        Ok(self.read()?.versions.get(&id).cloned())
    }

    fn latest_version(&self, dag_id: &DagId) -> Result<Option<DagVersion>> {
        Ok(self.read()?.newest_version(dag_id).cloned())
    }

    fn version_head(&self, id: VersionId) -> Result<Option<VersionHead>> {
        Ok(self.read()?.versions.get(&id).map(head_of))
    }

    fn versions(
        &self,
        filter: &VersionFilter,
        order: &[(VersionOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<VersionHead>, u64)> {
        let state = self.read()?;
        let matches = |version: &&DagVersion| {
            is(&version.dag_id, filter.dag_id.as_ref())
                && is(&i64::from(version.number), filter.number.as_ref())
                && is(&version.bundle_name, filter.bundle_name.as_ref())
                && filter.bundle_version.as_ref().is_none_or(|wanted| version.bundle_version.as_ref() == Some(wanted))
        };
        let mut found: Vec<&DagVersion> = state.versions.values().filter(matches).collect();
        sort(
            &mut found,
            order,
            |a, b| a.id.cmp(&b.id),
            |key, a, b| match key {
                VersionOrder::Id => compare(a.id, b.id),
                VersionOrder::Number => compare(a.number, b.number),
                VersionOrder::BundleName => compare(&a.bundle_name, &b.bundle_name),
                VersionOrder::BundleVersion => compare_optional(a.bundle_version.as_ref(), b.bundle_version.as_ref()),
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().map(head_of).collect(), total))
    }

    fn tags(&self, names: &TextFilter, direction: Direction, page: Page) -> Result<(Vec<String>, u64)> {
        let state = self.read()?;
        let dags = state.dags.values().map(|dag| &dag.record).filter(|dag| !dag.stale);
        let all: BTreeSet<&String> = dags.flat_map(|dag| &dag.tags).filter(|name| fits(Some(name), names)).collect();
        let mut found: Vec<&String> = all.into_iter().collect();
        if direction == Direction::Descending {
            found.reverse();
        }
        let (found, total) = page.cut(found);
        Ok((found.into_iter().cloned().collect(), total))
    }

    fn files(&self) -> Result<Vec<FileRecord>> {
        Ok(self.read()?.files.values().cloned().collect())
    }

    fn bundle(&self, name: &str) -> Result<Option<BundleRecord>> {
        Ok(self.read()?.bundles.get(&name.to_owned()).cloned())
    }

    fn dag_warnings(&self) -> Result<Vec<DagWarning>> {
        let state = self.state();
        let is_in_file = |dag_id: &DagId| state.dags.get(dag_id).is_some_and(|dag| !dag.record.stale);
        Ok(state.dag_warnings.values().filter(|warning| is_in_file(&warning.dag_id)).cloned().collect())
    }

    fn import_errors(&self, page: Page) -> Result<(Vec<ImportError>, u64)> {
        self.list_import_errors(&ImportErrorFilter::default(), &[], page)
    }

    fn import_error(&self, id: i64) -> Result<Option<ImportError>> {
        Ok(self.read()?.import_errors.get(&id).map(|(_, error)| error.clone()))
    }

    fn list_import_errors(
        &self,
        filter: &ImportErrorFilter,
        order: &[(ImportErrorOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<ImportError>, u64)> {
        let state = self.read()?;
        let matches = |error: &&ImportError| {
            is(&error.filename, filter.filename.as_ref())
                && fits(Some(&error.filename), &filter.filenames)
                && is(&error.bundle_name, filter.bundle_name.as_ref())
        };
        let mut found: Vec<&ImportError> =
            state.import_errors.values().map(|(_, error)| error).filter(matches).collect();
        sort(
            &mut found,
            order,
            |a, b| a.id.cmp(&b.id),
            |key, a, b| match key {
                ImportErrorOrder::Id => compare(a.id, b.id),
                ImportErrorOrder::At => compare(a.at, b.at),
                ImportErrorOrder::Filename => compare(&a.filename, &b.filename),
                ImportErrorOrder::BundleName => compare(&a.bundle_name, &b.bundle_name),
                ImportErrorOrder::StackTrace => compare(&a.stack_trace, &b.stack_trace),
            },
        );
        let (found, total) = page.cut(found);
        Ok((found.into_iter().cloned().collect(), total))
    }
}
