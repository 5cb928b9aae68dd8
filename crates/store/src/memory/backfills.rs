//! Backfills.

use model::{Backfill, BackfillId, DagId};

use super::{MemoryStore, State};
use crate::query::{Direction, Page};
use crate::{BackfillStore, Result};

impl State {
    pub(super) fn backfill(&mut self, backfill: Backfill) {
        self.made.backfills = self.made.backfills.max(backfill.id.0);
        self.backfills.put(backfill.id, backfill);
    }
}

impl BackfillStore for MemoryStore {
    fn backfill(&self, id: BackfillId) -> Result<Option<Backfill>> {
        Ok(self.state().backfills.get(&id).cloned())
    }

    fn backfills(
        &self,
        dag_id: Option<&DagId>,
        open: Option<bool>,
        direction: Direction,
        page: Page,
    ) -> Result<(Vec<Backfill>, u64)> {
        let state = self.state();
        let matches = |backfill: &&Backfill| {
            dag_id.is_none_or(|dag_id| backfill.dag_id == *dag_id)
                && open.is_none_or(|open| backfill.completed_at.is_none() == open)
        };
        let mut all: Vec<&Backfill> = state.backfills.values().filter(matches).collect();
        if direction == Direction::Descending {
            all.reverse();
        }
        let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
        let take = usize::try_from(page.limit).unwrap_or(usize::MAX);
        Ok((all.iter().copied().skip(skip).take(take).cloned().collect(), all.len() as u64))
    }

    fn open_backfills(&self) -> Result<Vec<Backfill>> {
        let state = self.state();
        Ok(state.backfills.values().filter(|backfill| backfill.completed_at.is_none()).cloned().collect())
    }

    fn last_backfill(&self) -> Result<BackfillId> {
        Ok(BackfillId(self.state().made.backfills))
    }
}
