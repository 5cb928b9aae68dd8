//! What task instances keep for their own later tries.

use jiff::Timestamp;
use model::TaskInstanceKey;

use super::MemoryStore;
use crate::query::Page;
use crate::records::TaskStateEntry;
use crate::{Result, TaskStateStore};

impl TaskStateStore for MemoryStore {
    fn task_state(&self, ti: &TaskInstanceKey, key: &str) -> Result<Option<TaskStateEntry>> {
        Ok(self.read()?.task_states.get(&(ti.clone(), key.to_owned())).cloned())
    }

    fn task_states(&self, ti: &TaskInstanceKey, page: Page) -> Result<(Vec<TaskStateEntry>, u64)> {
        let state = self.read()?;
        let all: Vec<&TaskStateEntry> =
            state.task_states.iter().filter(|((other, _), _)| other == ti).map(|(_, entry)| entry).collect();
        let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
        Ok((all.iter().copied().skip(skip).take(take).cloned().collect(), all.len() as u64))
    }

    fn expired_task_states(&self, before: Timestamp, page: Page) -> Result<(Vec<(TaskInstanceKey, String)>, u64)> {
        let state = self.read()?;
        let is_over = |_: &_, entry: &TaskStateEntry| entry.expires_at.is_some_and(|at| at < before);
        let all = state.task_states.keys_where(is_over);
        let (skip, total) = (usize::try_from(page.offset).unwrap_or(usize::MAX), all.len() as u64);
        let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
        Ok((all.into_iter().skip(skip).take(take).collect(), total))
    }
}
