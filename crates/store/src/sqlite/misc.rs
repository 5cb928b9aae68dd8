//! Reading XComs, variables, connections and pools.

use model::{DagId, MapIndex, RunId, RunKey, TaskId};
use rusqlite::{OptionalExtension, Row, params};

use super::SqliteStore;
use super::column::Columns;
use super::read::{Conditions, order_by, page};
use super::runs::logical_date_or;
use super::write::far_future;
use crate::query::{ConnectionOrder, Direction, Page, PoolOrder, TextFilter, VariableOrder, XComFilter, XComOrder};
use crate::records::{Connection, Pool, PoolUsage, Variable, XCom, XComHead, XComKey};
use crate::{ConnectionStore, PoolStore, Result, RunStore, VariableStore, XComStore};

const XCOM_COLUMNS: &str =
    "r.dag_id, r.run_id, x.task_id, x.map_index, x.key, x.value, x.at, x.mapped_length, x.dag_result";

fn read_xcom_key(columns: &mut Columns<'_>) -> rusqlite::Result<XComKey> {
    Ok(XComKey {
        run: RunKey { dag_id: DagId::from(columns.get::<String>()?), run_id: RunId::from(columns.get::<String>()?) },
        task_id: TaskId::from(columns.get::<String>()?),
        map_index: MapIndex(columns.get()?),
        key: columns.get()?,
    })
}

fn read_xcom(row: &Row<'_>) -> rusqlite::Result<XCom> {
    let mut columns = Columns::new(row);
    Ok(XCom {
        key: read_xcom_key(&mut columns)?,
        value: columns.json()?,
        at: columns.moment()?,
        mapped_length: columns.get()?,
        dag_result: columns.get()?,
    })
}

fn read_xcom_head(row: &Row<'_>) -> rusqlite::Result<XComHead> {
    let mut columns = Columns::new(row);
    Ok(XComHead {
        key: read_xcom_key(&mut columns)?,
        at: columns.moment()?,
        logical_date: columns.opt_moment()?,
        run_after: columns.moment()?,
    })
}

fn xcom_order(order: XComOrder) -> &'static str {
    match order {
        XComOrder::Key => "x.key",
        XComOrder::DagId => "r.dag_id",
        XComOrder::RunId => "r.run_id",
        XComOrder::TaskId => "x.task_id",
        XComOrder::MapIndex => "x.map_index",
        XComOrder::At => "x.at",
        XComOrder::RunAfter => "r.run_after",
    }
}

impl XComStore for SqliteStore {
    fn xcom(&self, key: &XComKey) -> Result<Option<XCom>> {
        let sql = format!(
            "SELECT {XCOM_COLUMNS} FROM dag_run AS r JOIN xcom AS x ON x.run_rid = r.rid
             WHERE r.dag_id = ?1 AND r.run_id = ?2 AND x.task_id = ?3 AND x.map_index = ?4 AND x.key = ?5"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(
                    params![
                        key.run.dag_id.as_str(),
                        key.run.run_id.as_str(),
                        key.task_id.as_str(),
                        key.map_index.0,
                        key.key
                    ],
                    read_xcom,
                )
                .optional()
        })
    }

    fn xcoms(
        &self,
        run: &RunKey,
        task_id: Option<&TaskId>,
        map_index: Option<MapIndex>,
        key: Option<&str>,
    ) -> Result<Vec<XCom>> {
        let mut conditions = Conditions::default();
        conditions
            .with("r.dag_id = ?", run.dag_id.to_string())
            .with("r.run_id = ?", run.run_id.to_string())
            .optional("x.task_id = ?", task_id.map(TaskId::to_string))
            .optional("x.map_index = ?", map_index.map(|index| index.0))
            .optional("x.key = ?", key.map(str::to_owned));
        let tables = "dag_run AS r JOIN xcom AS x ON x.run_rid = r.rid";
        let order = " ORDER BY x.task_id, x.map_index, x.key";
        self.read(|connection| {
            page(connection, XCOM_COLUMNS, tables, &conditions, order, Page::ALL, read_xcom).map(|(xcoms, _)| xcoms)
        })
    }

    fn list_xcoms(
        &self,
        filter: &XComFilter,
        order: &[(XComOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<XComHead>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .optional("r.dag_id = ?", filter.dag_id.as_ref().map(DagId::to_string))
            .optional("r.run_id = ?", filter.run_id.as_ref().map(RunId::to_string))
            .optional("x.task_id = ?", filter.task_id.as_ref().map(TaskId::to_string))
            .optional("x.map_index = ?", filter.map_index)
            .optional("x.key = ?", filter.key.clone())
            .text("x.key", &filter.keys)
            .text("d.display_name", &filter.dag_display_names)
            .text("r.run_id", &filter.run_ids)
            .text("x.task_id", &filter.task_ids)
            .span("r.logical_date", filter.logical_date)
            .span("r.run_after", filter.run_after);
        let tables = "dag_run AS r JOIN xcom AS x ON x.run_rid = r.rid LEFT JOIN dag AS d ON d.dag_id = r.dag_id";
        let columns = "r.dag_id, r.run_id, x.task_id, x.map_index, x.key, x.at, r.logical_date, r.run_after";
        let mut order = order_by(order, xcom_order, "r.rid");
        order.push_str(", x.task_id, x.map_index, x.key");
        self.read(|connection| page(connection, columns, tables, &conditions, &order, cut, read_xcom_head))
    }

    fn xcom_with_prior_dates(&self, key: &XComKey) -> Result<Option<XCom>> {
        let until = logical_date_or(self.run(&key.run)?, far_future());
        let sql = format!(
            "SELECT {XCOM_COLUMNS} FROM dag_run AS r JOIN xcom AS x ON x.run_rid = r.rid
             WHERE r.dag_id = ?1 AND coalesce(r.logical_date, r.run_after) <= ?2 AND x.task_id = ?3 AND x.map_index = ?4
                 AND x.key = ?5
             ORDER BY r.logical_date DESC NULLS LAST, x.at DESC LIMIT 1"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(
                    params![key.run.dag_id.as_str(), until, key.task_id.as_str(), key.map_index.0, key.key],
                    read_xcom,
                )
                .optional()
        })
    }
}

fn read_variable(row: &Row<'_>) -> rusqlite::Result<Variable> {
    let mut columns = Columns::new(row);
    Ok(Variable {
        key: columns.get()?,
        value: columns.get()?,
        description: columns.get()?,
        is_encrypted: columns.get()?,
    })
}

const VARIABLE_COLUMNS: &str = "key, value, description, is_encrypted";

impl VariableStore for SqliteStore {
    fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {VARIABLE_COLUMNS} FROM variable WHERE key = ?1"))?
                .query_row([key], read_variable)
                .optional()
        })
    }

    fn variables(&self, pattern: Option<&str>, cut: Page) -> Result<(Vec<Variable>, u64)> {
        let filter = TextFilter { pattern: pattern.map(str::to_owned), prefix: None };
        self.list_variables(&filter, &[(VariableOrder::Key, Direction::Ascending)], cut)
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
            VariableOrder::Created => "id",
            VariableOrder::Key => "key",
            VariableOrder::Value => "value",
            VariableOrder::Description => "description",
            VariableOrder::IsEncrypted => "is_encrypted",
        };
        let order = order_by(order, column, "id");
        self.read(|connection| page(connection, VARIABLE_COLUMNS, "variable", &conditions, &order, cut, read_variable))
    }
}

fn read_connection(row: &Row<'_>) -> rusqlite::Result<Connection> {
    let mut columns = Columns::new(row);
    Ok(Connection {
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
    })
}

const CONNECTION_COLUMNS: &str =
    "connection_id, conn_type, description, host, login, password, schema, port, extra, is_encrypted";

impl ConnectionStore for SqliteStore {
    fn connection(&self, connection_id: &str) -> Result<Option<Connection>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {CONNECTION_COLUMNS} FROM connection WHERE connection_id = ?1"))?
                .query_row([connection_id], read_connection)
                .optional()
        })
    }

    fn connections(&self, pattern: Option<&str>, cut: Page) -> Result<(Vec<Connection>, u64)> {
        let filter = TextFilter { pattern: pattern.map(str::to_owned), prefix: None };
        self.list_connections(&filter, &[(ConnectionOrder::ConnectionId, Direction::Ascending)], cut)
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
            ConnectionOrder::Created => "id",
            ConnectionOrder::ConnectionId => "connection_id",
            ConnectionOrder::ConnType => "conn_type",
            ConnectionOrder::Description => "description",
            ConnectionOrder::Host => "host",
            ConnectionOrder::Port => "port",
        };
        let order = order_by(order, column, "id");
        self.read(|connection| {
            page(connection, CONNECTION_COLUMNS, "connection", &conditions, &order, cut, read_connection)
        })
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
        let filter = TextFilter { pattern: pattern.map(str::to_owned), prefix: None };
        self.list_pools(&filter, &[(PoolOrder::Name, Direction::Ascending)], cut)
    }

    fn list_pools(&self, names: &TextFilter, order: &[(PoolOrder, Direction)], cut: Page) -> Result<(Vec<Pool>, u64)> {
        let mut conditions = Conditions::default();
        conditions.text("name", names);
        let column = |order| match order {
            PoolOrder::Created => "id",
            PoolOrder::Name => "name",
        };
        let order = order_by(order, column, "id");
        self.read(|connection| page(connection, POOL_COLUMNS, "pool", &conditions, &order, cut, read_pool))
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
                     WHERE state IN ('scheduled', 'queued', 'running', 'restarting', 'deferred') GROUP BY pool",
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
