//! Reading variables, connections and pools.

use rusqlite::{OptionalExtension, Row};

use super::SqliteStore;
use super::column::Columns;
use super::dags::all;
use super::read::{Conditions, Key, order_by, page};
use crate::query::{ConnectionOrder, Direction, Page, PoolOrder, TextFilter, VariableOrder};
use crate::records::{Connection, Pool, PoolUsage, Variable};
use crate::{ConnectionStore, FernetKeys, PoolStore, Result, VariableStore};

fn by_pattern(pattern: Option<&str>) -> TextFilter {
    TextFilter { pattern: pattern.map(str::to_owned), prefix: None }
}

fn read_variable(row: &Row<'_>, keys: &FernetKeys) -> rusqlite::Result<Variable> {
    let mut columns = Columns::new(row);
    let (key, stored, description, is_encrypted) = (columns.get()?, columns.get()?, columns.get()?, columns.get()?);
    let value = keys.open(stored, is_encrypted);
    Ok(Variable { key, locked: value.is_none(), value: value.unwrap_or_default(), description, is_encrypted })
}

const VARIABLE_COLUMNS: &str = "key, value, description, is_encrypted";

impl VariableStore for SqliteStore {
    fn variable(&self, key: &str) -> Result<Option<Variable>> {
        let found = self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {VARIABLE_COLUMNS} FROM variable WHERE key = ?1"))?
                .query_row([key], |row| read_variable(row, &self.keys))
                .optional()
        })?;
        found.map(Variable::unlocked).transpose()
    }

    fn variables(&self, pattern: Option<&str>, cut: Page) -> Result<(Vec<Variable>, u64)> {
        self.list_variables(&by_pattern(pattern), &[(VariableOrder::Key, Direction::Ascending)], cut)
    }

    fn list_variables(
        &self,
        keys: &TextFilter,
        order: &[(VariableOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<Variable>, u64)> {
        let mut conditions = Conditions::default();
        conditions.text("key", keys);
        let column = |order| match order {
            VariableOrder::Created => Key::Full("id"),
            VariableOrder::Key => Key::Full("key"),
            VariableOrder::Value => Key::Full("value"),
            VariableOrder::Description => Key::Gaps("description"),
            VariableOrder::IsEncrypted => Key::Full("is_encrypted"),
        };
        let order = order_by(order, column, &["id"]);
        let source = all("variable", VARIABLE_COLUMNS, &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, |row| read_variable(row, &self.keys)))
    }
}

fn read_connection(row: &Row<'_>, keys: &FernetKeys) -> rusqlite::Result<Connection> {
    let mut columns = Columns::new(row);
    let mut connection = Connection {
        connection_id: columns.get()?,
        conn_type: columns.get()?,
        description: columns.get()?,
        host: columns.get()?,
        login: columns.get()?,
        password: columns.get()?,
        schema: columns.get()?,
        port: columns.get()?,
        extra: columns.get()?,
        is_encrypted: columns.get()?,
        is_extra_encrypted: columns.get()?,
        locked: false,
    };
    for (text, is_encrypted) in
        [(&mut connection.password, connection.is_encrypted), (&mut connection.extra, connection.is_extra_encrypted)]
    {
        if let Some(stored) = text.take() {
            *text = keys.open(stored, is_encrypted);
            connection.locked |= text.is_none();
        }
    }
    Ok(connection)
}

const CONNECTION_COLUMNS: &str = "connection_id, conn_type, description, host, login, password, schema, port, extra, is_encrypted, \
     is_extra_encrypted";

impl ConnectionStore for SqliteStore {
    fn connection(&self, connection_id: &str) -> Result<Option<Connection>> {
        let found = self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {CONNECTION_COLUMNS} FROM connection WHERE connection_id = ?1"))?
                .query_row([connection_id], |row| read_connection(row, &self.keys))
                .optional()
        })?;
        found.map(Connection::unlocked).transpose()
    }

    fn connections(&self, pattern: Option<&str>, cut: Page) -> Result<(Vec<Connection>, u64)> {
        self.list_connections(&by_pattern(pattern), &[(ConnectionOrder::ConnectionId, Direction::Ascending)], cut)
    }

    fn list_connections(
        &self,
        ids: &TextFilter,
        order: &[(ConnectionOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<Connection>, u64)> {
        let mut conditions = Conditions::default();
        conditions.text("connection_id", ids);
        let column = |order| match order {
            ConnectionOrder::Created => Key::Full("id"),
            ConnectionOrder::ConnectionId => Key::Full("connection_id"),
            ConnectionOrder::ConnType => Key::Full("conn_type"),
            ConnectionOrder::Description => Key::Gaps("description"),
            ConnectionOrder::Host => Key::Gaps("host"),
            ConnectionOrder::Port => Key::Gaps("port"),
        };
        let order = order_by(order, column, &["id"]);
        let source = all("connection", CONNECTION_COLUMNS, &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, |row| read_connection(row, &self.keys)))
    }
}

fn read_pool(row: &Row<'_>) -> rusqlite::Result<Pool> {
    let mut columns = Columns::new(row);
    Ok(Pool {
        name: columns.get()?,
        slots: columns.get()?,
        description: columns.get()?,
        include_deferred: columns.get()?,
    })
}

const POOL_COLUMNS: &str = "name, slots, description, include_deferred";

impl PoolStore for SqliteStore {
    fn pool(&self, name: &str) -> Result<Option<Pool>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {POOL_COLUMNS} FROM pool WHERE name = ?1"))?
                .query_row([name], read_pool)
                .optional()
        })
    }

    fn pools(&self, pattern: Option<&str>, cut: Page) -> Result<(Vec<Pool>, u64)> {
        self.list_pools(&by_pattern(pattern), &[(PoolOrder::Name, Direction::Ascending)], cut)
    }

    fn list_pools(&self, names: &TextFilter, order: &[(PoolOrder, Direction)], cut: Page) -> Result<(Vec<Pool>, u64)> {
        let mut conditions = Conditions::default();
        conditions.text("name", names);
        let column = |order| match order {
            PoolOrder::Created => Key::Full("id"),
            PoolOrder::Name => Key::Full("name"),
        };
        let order = order_by(order, column, &["id"]);
        let source = all("pool", POOL_COLUMNS, &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, read_pool))
    }

    fn pool_usage(&self) -> Result<Vec<(String, PoolUsage)>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT pool,
                         sum(pool_slots) FILTER (WHERE state IN ('running', 'restarting')),
                         sum(pool_slots) FILTER (WHERE state = 'queued'),
                         sum(pool_slots) FILTER (WHERE state = 'scheduled'),
                         sum(pool_slots) FILTER (WHERE state = 'deferred')
                     FROM task_instance
                     WHERE state <> 'success' AND state IN ('scheduled', 'queued', 'running', 'restarting', 'deferred')
                     GROUP BY pool",
                )?
                .query_map([], |row| {
                    let count = |index: usize| row.get::<_, Option<i64>>(index).map(|count| count.unwrap_or(0));
                    let usage =
                        PoolUsage { running: count(1)?, queued: count(2)?, scheduled: count(3)?, deferred: count(4)? };
                    Ok((row.get(0)?, usage))
                })?
                .collect()
        })
    }
}
