//! What the task instances above a task's instances have come to: counts that are kept up to date as states change, so
//! that nobody ever looks at all of them.

use std::ops::Range;

use model::trigger_rule::UpstreamCounts;
use model::{MapIndex, Relation, TaskState};

/// Counts of one kind of links: direct upstreams, indirect setups, or a teardown's scope.
///
/// A task that is in no mapped task group looks at every instance above it. One that is in a mapped group looks, in a
/// task of the same group, only at what came of the same item of the group: its lane.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// What matters to every instance.
    pub(crate) all: UpstreamCounts,
    /// Everything, whatever lane it is in.
    pub(crate) sum: UpstreamCounts,
    /// For each lane of the task, and there for each item of the group. Empty until the task has its instances.
    lanes: Vec<Vec<UpstreamCounts>>,
    /// The totals are of instances, and not of tasks: some task above can have several.
    pub(crate) counts_instances: bool,
}

/// How many of a task's instances belong to each item of one of its lanes. `None` until it has its instances.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneSizes {
    /// For each lane: items of the group, and instances of the task for each.
    lanes: Vec<(u32, u32)>,
}

impl LaneSizes {
    /// For a task that has `count` instances, in groups that have so many.
    pub(crate) fn new(count: u32, groups: impl Iterator<Item = u32>) -> Self {
        Self { lanes: groups.map(|items| (items, (count / items.max(1)).max(1))).collect() }
    }

    fn item(&self, lane: usize, map_index: MapIndex, further: bool) -> Option<usize> {
        let (items, width) = *self.lanes.get(lane)?;
        let index = u32::try_from(map_index.0).ok()?;
        // Airflow takes the upper task's further instances to be as many as the lower one's.
        let item = if further { index / width } else { index };
        (item < items).then_some(item as usize)
    }

    /// The item of a lane that an instance of the task belongs to.
    pub(crate) fn item_of(&self, lane: usize, map_index: MapIndex) -> Option<MapIndex> {
        let (items, width) = *self.lanes.get(lane)?;
        let item = u32::try_from(map_index.0).ok()? / width;
        (item < items).then(|| i32::try_from(item).map(MapIndex).ok())?
    }

    /// The instances of the task that belong to an item.
    pub(crate) fn instances(&self, lane: usize, item: usize) -> Range<u32> {
        let width = self.lanes.get(lane).map_or(0, |(_, width)| *width);
        let first = (item as u32).saturating_mul(width);
        first..first.saturating_add(width)
    }
}

/// Those of a task's instances for which something may be different now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Touched {
    Nobody,
    Everybody,
    /// Those with these map indexes.
    Some(Range<u32>),
}

/// What a rule can tell apart in a part of its counts. Beyond this only the numbers of what is complete matter, and they
/// do not change any more.
#[derive(PartialEq, Eq)]
struct Class {
    done: bool,
    seen: [bool; 5],
}

impl Class {
    fn of(counts: &UpstreamCounts) -> Self {
        let seen = [counts.success, counts.skipped, counts.failed, counts.upstream_failed, counts.removed];
        Self { done: counts.done() >= counts.total, seen: seen.map(|count| count > 0) }
    }
}

fn change_of(counts: &mut UpstreamCounts, change: &impl Fn(&mut UpstreamCounts)) -> bool {
    let before = Class::of(counts);
    change(counts);
    before != Class::of(counts)
}

impl Inputs {
    /// Empty counts, with room for lanes of these sizes.
    pub(crate) fn new(counts_instances: bool, sizes: Option<&LaneSizes>) -> Self {
        let lanes = sizes.into_iter().flat_map(|sizes| &sizes.lanes);
        Self {
            lanes: lanes.map(|(items, _)| vec![UpstreamCounts::default(); *items as usize]).collect(),
            counts_instances,
            ..Self::default()
        }
    }

    /// Changes the counts that one instance above is part of; says for whom that may matter.
    pub(crate) fn change(
        &mut self,
        relation: Relation,
        above: MapIndex,
        sizes: Option<&LaneSizes>,
        change: &impl Fn(&mut UpstreamCounts),
    ) -> Touched {
        let sum_changed = change_of(&mut self.sum, change);
        let lane = match relation {
            Relation::Lane { lane, further } if above.is_mapped() => Some((lane, further)),
            _ => None,
        };
        let Some((lane, further)) = lane else {
            return if change_of(&mut self.all, change) { Touched::Everybody } else { Touched::Nobody };
        };
        let Some(sizes) = sizes else {
            // The task has not got its instances: only the one that stands for them looks at this.
            return if sum_changed { Touched::Everybody } else { Touched::Nobody };
        };
        let item = sizes.item(lane, above, further);
        let counts = item.and_then(|item| self.lanes.get_mut(lane)?.get_mut(item).map(|counts| (item, counts)));
        let Some((item, counts)) = counts else { return Touched::Nobody };
        if change_of(counts, change) { Touched::Some(sizes.instances(lane, item)) } else { Touched::Nobody }
    }

    /// What matters to the instance with this map index.
    pub(crate) fn of_instance(&self, map_index: MapIndex, sizes: &LaneSizes) -> UpstreamCounts {
        let mut counts = self.all;
        let Ok(index) = u32::try_from(map_index.0) else { return counts };
        for (lane, (_, width)) in self.lanes.iter().zip(&sizes.lanes) {
            if let Some(more) = lane.get((index / width) as usize) {
                add(&mut counts, more);
            }
        }
        counts
    }
}

fn add(counts: &mut UpstreamCounts, more: &UpstreamCounts) {
    counts.total += more.total;
    counts.total_setup += more.total_setup;
    counts.success += more.success;
    counts.skipped += more.skipped;
    counts.failed += more.failed;
    counts.upstream_failed += more.upstream_failed;
    counts.removed += more.removed;
    counts.success_setup += more.success_setup;
    counts.skipped_setup += more.skipped_setup;
}

/// A change that counts one more, or one less, instance in all.
pub(crate) fn counted(by: i32, is_setup: bool) -> impl Fn(&mut UpstreamCounts) {
    move |counts| {
        counts.total = counts.total.saturating_add_signed(by);
        if is_setup {
            counts.total_setup = counts.total_setup.saturating_add_signed(by);
        }
    }
}

/// A change that counts one more, or one less, instance in a state.
pub(crate) fn in_state(state: TaskState, by: i32, is_setup: bool) -> impl Fn(&mut UpstreamCounts) {
    move |counts| if by > 0 { counts.add(state, is_setup) } else { counts.remove(state, is_setup) }
}
