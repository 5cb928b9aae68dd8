//! Reading runs and task instances.

use jiff::Timestamp;
use model::{
    DagId, DagRun, Json, MapIndex, RunId, RunKey, TaskId, TaskInstance, TaskInstanceId, TaskInstanceKey, TaskState,
    VersionId,
};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::column::{Columns, micros, opt_micros};
use super::read::{Conditions, order_by, page};
use crate::query::{Direction, Page, RunFilter, RunOrder, TaskInstanceFilter, TaskInstanceOrder};
use crate::records::TaskTry;
use crate::{Result, RunExists, RunStore};

const RUN_COLUMNS: &str = "dag_id, run_id, run_type, triggered_by, triggering_user, state, logical_date, interval_start, \
    interval_end, run_after, queued_at, start_date, end_date, last_scheduling_decision, conf, note, clear_number, \
    version_id, bundle_version";

const TASK_COLUMNS: &str = "r.dag_id, r.run_id, t.task_id, t.map_index, t.id, t.state, t.try_number, t.max_tries, \
    t.version_id, t.operator, t.operator_name, t.pool, t.pool_slots, t.queue, t.priority_weight, t.executor, \
    t.scheduled_at, t.queued_at, t.start_date, t.end_date, t.hostname, t.unixname, t.pid, t.rendered_map_index, \
    t.retry_delay_override, t.reschedule_date";

const TASK_TABLES: &str = "dag_run AS r JOIN task_instance AS t ON t.run_rid = r.rid";

/// The last that is known to have happened to a run. SQLite's `max` of several values is null if one of them is.
const RUN_UPDATED_AT: &str = "nullif(max(coalesce(queued_at, -1), coalesce(start_date, -1), coalesce(end_date, -1), \
    coalesce(last_scheduling_decision, -1)), -1)";

fn read_run(row: &Row<'_>) -> rusqlite::Result<DagRun> {
    let mut columns = Columns::new(row);
    Ok(DagRun {
        key: RunKey { dag_id: DagId::from(columns.get::<String>()?), run_id: RunId::from(columns.get::<String>()?) },
        run_type: columns.named()?,
        triggered_by: columns.named()?,
        triggering_user: columns.get()?,
        state: columns.named()?,
        logical_date: columns.opt_moment()?,
        data_interval: columns.interval()?,
        run_after: columns.moment()?,
        queued_at: columns.opt_moment()?,
        start_date: columns.opt_moment()?,
        end_date: columns.opt_moment()?,
        last_scheduling_decision: columns.opt_moment()?,
        conf: columns.json()?.into(),
        note: columns.get()?,
        clear_number: columns.get()?,
        version: VersionId(columns.uuid()?),
        bundle_version: columns.get()?,
    })
}

fn read_task_instance(row: &Row<'_>) -> rusqlite::Result<TaskInstance> {
    let mut columns = Columns::new(row);
    Ok(TaskInstance {
        run: RunKey { dag_id: DagId::from(columns.get::<String>()?), run_id: RunId::from(columns.get::<String>()?) },
        task_id: TaskId::from(columns.get::<String>()?),
        map_index: MapIndex(columns.get()?),
        id: TaskInstanceId(columns.uuid()?),
        state: columns.opt_named()?.unwrap_or(TaskState::None),
        try_number: columns.get()?,
        max_tries: columns.get()?,
        version: VersionId(columns.uuid()?),
        operator: columns.shared()?,
        operator_name: columns.shared()?,
        pool: columns.shared()?,
        pool_slots: columns.get()?,
        queue: columns.shared()?,
        priority_weight: columns.get()?,
        executor: columns.opt_shared()?,
        scheduled_at: columns.opt_moment()?,
        queued_at: columns.opt_moment()?,
        start_date: columns.opt_moment()?,
        end_date: columns.opt_moment()?,
        hostname: columns.opt_shared()?,
        unixname: columns.opt_shared()?,
        pid: columns.get()?,
        rendered_map_index: columns.get()?,
        retry_delay_override: columns.opt_duration()?,
        reschedule_date: columns.opt_moment()?,
    })
}

/// The run that comes first among those that fulfil `condition`, whose parameters follow the Dag id.
fn first_run(
    connection: &Connection,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Option<DagRun>> {
    connection
        .prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM dag_run WHERE {condition}"))?
        .query_row(values, read_run)
        .optional()
}

fn run_order(order: RunOrder) -> &'static str {
    match order {
        RunOrder::Id => "rid",
        RunOrder::State => "state",
        RunOrder::DagId => "dag_id",
        RunOrder::RunId => "run_id",
        RunOrder::LogicalDate => "logical_date",
        RunOrder::RunAfter => "run_after",
        RunOrder::StartDate => "start_date",
        RunOrder::EndDate => "end_date",
        RunOrder::RunType => "run_type",
        RunOrder::Duration => "(end_date - start_date)",
        RunOrder::UpdatedAt => RUN_UPDATED_AT,
        RunOrder::Conf => "conf",
    }
}

fn task_order(order: TaskInstanceOrder) -> &'static str {
    match order {
        TaskInstanceOrder::Id => "t.id",
        TaskInstanceOrder::State => "t.state",
        TaskInstanceOrder::Duration => "(t.end_date - t.start_date)",
        TaskInstanceOrder::StartDate => "t.start_date",
        TaskInstanceOrder::EndDate => "t.end_date",
        TaskInstanceOrder::MapIndex => "t.map_index",
        TaskInstanceOrder::TaskId => "t.task_id",
        TaskInstanceOrder::RunAfter => "r.run_after",
        TaskInstanceOrder::LogicalDate => "r.logical_date",
        TaskInstanceOrder::TryNumber => "t.try_number",
        TaskInstanceOrder::IntervalStart => "r.interval_start",
        TaskInstanceOrder::IntervalEnd => "r.interval_end",
        TaskInstanceOrder::RenderedMapIndex => "t.rendered_map_index",
        TaskInstanceOrder::Operator => "t.operator",
    }
}

impl RunStore for SqliteStore {
    fn run(&self, key: &RunKey) -> Result<Option<DagRun>> {
        self.read(|connection| {
            first_run(connection, "dag_id = ?1 AND run_id = ?2", &[&key.dag_id.as_str(), &key.run_id.as_str()])
        })
    }

    fn runs(&self, filter: &RunFilter, order: &[(RunOrder, Direction)], cut: Page) -> Result<(Vec<DagRun>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .optional("dag_id = ?", filter.dag_id.as_ref().map(DagId::to_string))
            .pattern("run_id", filter.run_id_pattern.as_deref())
            .one_of("state", filter.states.iter().map(|state| state.name().to_owned()))
            .one_of("run_type", filter.run_types.iter().map(|run_type| run_type.name().to_owned()))
            .span("logical_date", filter.logical_date)
            .span("run_after", filter.run_after)
            .span("start_date", filter.start_date)
            .span("end_date", filter.end_date);
        let order = order_by(order, run_order, "rid");
        self.read(|connection| page(connection, RUN_COLUMNS, "dag_run", &conditions, &order, cut, read_run))
    }

    fn active_runs(&self) -> Result<Vec<DagRun>> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM dag_run WHERE state IN ('queued', 'running') ORDER BY rid");
        self.read(|connection| connection.prepare_cached(&sql)?.query_map([], read_run)?.collect())
    }

    fn run_exists(&self, key: &RunKey, logical_date: Option<Timestamp>) -> Result<RunExists> {
        let found = |connection: &Connection, condition: &str, value: Value| -> rusqlite::Result<bool> {
            connection
                .prepare_cached(&format!("SELECT 1 FROM dag_run WHERE dag_id = ?1 AND {condition}"))?
                .exists(params![key.dag_id.as_str(), value])
        };
        self.read(|connection| {
            if found(connection, "run_id = ?2", Value::Text(key.run_id.to_string()))? {
                return Ok(RunExists::SameId);
            }
            let Some(logical_date) = logical_date else { return Ok(RunExists::No) };
            let same = found(connection, "logical_date = ?2", Value::Integer(micros(logical_date)))?;
            Ok(if same { RunExists::SameLogicalDate } else { RunExists::No })
        })
    }

    fn run_before(&self, dag_id: &DagId, before: Timestamp, scheduled_only: bool) -> Result<Option<DagRun>> {
        let condition = if scheduled_only {
            "dag_id = ?1 AND logical_date < ?2 AND run_type != 'manual' ORDER BY logical_date DESC LIMIT 1"
        } else {
            "dag_id = ?1 AND logical_date < ?2 ORDER BY logical_date DESC LIMIT 1"
        };
        self.read(|connection| first_run(connection, condition, &[&dag_id.as_str(), &micros(before)]))
    }

    fn task_ran_before(&self, dag_id: &DagId, task_id: &TaskId, before: Timestamp) -> Result<bool> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM dag_run AS r JOIN task_instance AS t ON t.run_rid = r.rid
                     WHERE r.dag_id = ?1 AND r.logical_date < ?2 AND t.task_id = ?3 LIMIT 1",
                )?
                .exists(params![dag_id.as_str(), micros(before), task_id.as_str()])
        })
    }

    fn last_successful_run(&self, dag_id: &DagId, before: Timestamp) -> Result<Option<DagRun>> {
        let condition = "dag_id = ?1 AND logical_date < ?2 AND state = 'success' ORDER BY logical_date DESC LIMIT 1";
        self.read(|connection| first_run(connection, condition, &[&dag_id.as_str(), &micros(before)]))
    }

    fn task_instance(&self, key: &TaskInstanceKey) -> Result<Option<TaskInstance>> {
        let sql = format!(
            "SELECT {TASK_COLUMNS} FROM {TASK_TABLES}
             WHERE r.dag_id = ?1 AND r.run_id = ?2 AND t.task_id = ?3 AND t.map_index = ?4"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_row(
                    params![key.run.dag_id.as_str(), key.run.run_id.as_str(), key.task_id.as_str(), key.map_index.0],
                    read_task_instance,
                )
                .optional()
        })
    }

    fn task_instances_of(&self, run: &RunKey) -> Result<Vec<TaskInstance>> {
        let sql = format!(
            "SELECT {TASK_COLUMNS} FROM {TASK_TABLES} WHERE r.dag_id = ?1 AND r.run_id = ?2
             ORDER BY t.task_id, t.map_index"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(params![run.dag_id.as_str(), run.run_id.as_str()], read_task_instance)?
                .collect()
        })
    }

    fn task_instances(
        &self,
        filter: &TaskInstanceFilter,
        order: &[(TaskInstanceOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<TaskInstance>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .optional("r.dag_id = ?", filter.dag_id.as_ref().map(DagId::to_string))
            .optional("r.run_id = ?", filter.run_id.as_ref().map(RunId::to_string))
            .one_of("t.task_id", filter.task_ids.iter().cloned())
            .pattern("t.task_id", filter.task_id_pattern.as_deref())
            .one_of("coalesce(t.state, 'none')", filter.states.iter().map(TaskState::to_string))
            .one_of("t.pool", filter.pools.iter().cloned())
            .one_of("t.queue", filter.queues.iter().cloned())
            .one_of("t.operator", filter.operators.iter().cloned())
            .optional("t.map_index = ?", filter.map_index)
            .span("t.start_date", filter.start_date)
            .span("t.end_date", filter.end_date)
            .span("r.logical_date", filter.logical_date);
        let order = order_by(order, task_order, "t.id");
        self.read(|connection| {
            page(connection, TASK_COLUMNS, TASK_TABLES, &conditions, &order, cut, read_task_instance)
        })
    }

    fn archived_tries(&self, key: &TaskInstanceKey) -> Result<Vec<TaskTry>> {
        let sql = format!(
            "SELECT {TASK_COLUMNS} FROM dag_run AS r JOIN task_try AS t ON t.run_rid = r.rid
             WHERE r.dag_id = ?1 AND r.run_id = ?2 AND t.task_id = ?3 AND t.map_index = ?4 ORDER BY t.id"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(
                    params![key.run.dag_id.as_str(), key.run.run_id.as_str(), key.task_id.as_str(), key.map_index.0],
                    |row| read_task_instance(row).map(|task_instance| TaskTry { task_instance }),
                )?
                .collect()
        })
    }

    fn rendered_fields(&self, key: &TaskInstanceKey) -> Result<Option<Json>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT f.fields FROM dag_run AS r JOIN rendered_fields AS f ON f.run_rid = r.rid
                     WHERE r.dag_id = ?1 AND r.run_id = ?2 AND f.task_id = ?3 AND f.map_index = ?4",
                )?
                .query_row(
                    params![key.run.dag_id.as_str(), key.run.run_id.as_str(), key.task_id.as_str(), key.map_index.0],
                    |row| Columns::new(row).json(),
                )
                .optional()
        })
    }

    fn reschedules(&self, key: &TaskInstanceKey) -> Result<(u32, Option<Timestamp>)> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT min(s.start_date), count(*) FROM dag_run AS r
                     JOIN task_instance AS t ON t.run_rid = r.rid
                     JOIN task_reschedule AS s ON s.run_rid = t.run_rid AND s.task_id = t.task_id
                         AND s.map_index = t.map_index AND s.try_number = t.try_number
                     WHERE r.dag_id = ?1 AND r.run_id = ?2 AND t.task_id = ?3 AND t.map_index = ?4",
                )?
                .query_row(
                    params![key.run.dag_id.as_str(), key.run.run_id.as_str(), key.task_id.as_str(), key.map_index.0],
                    |row| {
                        let mut columns = Columns::new(row);
                        let first = columns.opt_moment()?;
                        Ok((columns.get()?, first))
                    },
                )
        })
    }
}

/// The logical date up to which entries of earlier runs count, for a run that may have none itself.
pub(super) fn logical_date_or(run: Option<DagRun>, otherwise: i64) -> i64 {
    run.and_then(|run| opt_micros(run.logical_date)).unwrap_or(otherwise)
}
