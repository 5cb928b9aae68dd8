//! Variables, connections and pools.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use model::TaskState;

use super::order::{compare, compare_optional, fits, sort};
use super::table::Table;
use super::{MemoryStore, Numbered};
use crate::query::{ConnectionOrder, Direction, Page, PoolOrder, TextFilter, VariableOrder};
use crate::records::{Connection, Pool, PoolUsage, Variable};
use crate::{ConnectionStore, PoolStore, Result, VariableStore};

/// The records whose names match, in order.
fn list<T: Clone, O: Copy>(
    table: &Table<String, Numbered<T>>,
    names: &TextFilter,
    order: &[(O, Direction)],
    page: Page,
    compared: impl Fn(O, &Numbered<T>, &Numbered<T>) -> Ordering,
) -> (Vec<T>, u64) {
    let mut found: Vec<&Numbered<T>> =
        table.iter().filter(|(name, _)| fits(Some(name), names)).map(|(_, record)| record).collect();
    sort(&mut found, order, |a, b| a.number.cmp(&b.number), |key, a, b| compared(key, a, b));
    let (found, total) = page.cut(found);
    (found.into_iter().map(|found| found.record.clone()).collect(), total)
}

fn by_pattern(pattern: Option<&str>) -> TextFilter {
    TextFilter { pattern: pattern.map(str::to_owned), prefix: None }
}

impl VariableStore for MemoryStore {
    fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.read()?.variables.get(key).map(|variable| variable.record.clone().unlocked()).transpose()
    }

    fn variables(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Variable>, u64)> {
        self.list_variables(&by_pattern(pattern), &[(VariableOrder::Key, Direction::Ascending)], page)
    }

    fn list_variables(
        &self,
        keys: &TextFilter,
        order: &[(VariableOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<Variable>, u64)> {
        Ok(list(&self.read()?.variables, keys, order, page, |order, a, b| match order {
            VariableOrder::Created => compare(a.number, b.number),
            VariableOrder::Key => compare(&a.record.key, &b.record.key),
            VariableOrder::Value => compare(&a.record.value, &b.record.value),
            VariableOrder::Description => {
                compare_optional(a.record.description.as_ref(), b.record.description.as_ref())
            }
            VariableOrder::IsEncrypted => compare(a.record.is_encrypted, b.record.is_encrypted),
        }))
    }
}

impl ConnectionStore for MemoryStore {
    fn connection(&self, connection_id: &str) -> Result<Option<Connection>> {
        self.read()?.connections.get(connection_id).map(|connection| connection.record.clone().unlocked()).transpose()
    }

    fn connections(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Connection>, u64)> {
        self.list_connections(&by_pattern(pattern), &[(ConnectionOrder::ConnectionId, Direction::Ascending)], page)
    }

    fn list_connections(
        &self,
        ids: &TextFilter,
        order: &[(ConnectionOrder, Direction)],
        page: Page,
    ) -> Result<(Vec<Connection>, u64)> {
        Ok(list(&self.read()?.connections, ids, order, page, |order, numbered_a, numbered_b| {
            let (a, b) = (&numbered_a.record, &numbered_b.record);
            match order {
                ConnectionOrder::Created => compare(numbered_a.number, numbered_b.number),
                ConnectionOrder::ConnectionId => compare(&a.connection_id, &b.connection_id),
                ConnectionOrder::ConnType => compare(&a.conn_type, &b.conn_type),
                ConnectionOrder::Description => compare_optional(a.description.as_ref(), b.description.as_ref()),
                ConnectionOrder::Host => compare_optional(a.host.as_ref(), b.host.as_ref()),
                ConnectionOrder::Port => compare_optional(a.port, b.port),
            }
        }))
    }
}

impl PoolStore for MemoryStore {
    fn pool(&self, name: &str) -> Result<Option<Pool>> {
        Ok(self.read()?.pools.get(name).map(|pool| pool.record.clone()))
    }

    fn pools(&self, pattern: Option<&str>, page: Page) -> Result<(Vec<Pool>, u64)> {
        self.list_pools(&by_pattern(pattern), &[(PoolOrder::Name, Direction::Ascending)], page)
    }

    fn list_pools(&self, names: &TextFilter, order: &[(PoolOrder, Direction)], page: Page) -> Result<(Vec<Pool>, u64)> {
        Ok(list(&self.read()?.pools, names, order, page, |order, a, b| match order {
            PoolOrder::Created => compare(a.number, b.number),
            PoolOrder::Name => compare(&a.record.name, &b.record.name),
        }))
    }

    fn pool_usage(&self) -> Result<Vec<(String, PoolUsage)>> {
        let mut usage: BTreeMap<String, PoolUsage> = BTreeMap::new();
        for ti in self.read()?.task_instances.values() {
            let count: fn(&mut PoolUsage) -> &mut i64 = match ti.state {
                TaskState::Running | TaskState::Restarting => |usage| &mut usage.running,
                TaskState::Queued => |usage| &mut usage.queued,
                TaskState::Scheduled => |usage| &mut usage.scheduled,
                TaskState::Deferred => |usage| &mut usage.deferred,
                _ => continue,
            };
            *count(usage.entry(ti.pool.to_string()).or_default()) += i64::from(ti.pool_slots);
        }
        Ok(usage.into_iter().collect())
    }
}
