//! Reading task instances; and the trait that has both them and runs.

use jiff::Timestamp;
use model::{
    DagId, DagRun, Json, MapIndex, RunId, RunKey, Suspension, TaskId, TaskInstance, TaskInstanceId, TaskInstanceKey,
    TaskState, TriggerId, VersionId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::column::Columns;
use super::read::{Again, Conditions, Key, Lead, MAX_FOUND_AGAIN, Source, count, order_by, rows, shorter_lead};
use super::{SqliteStore, runs, suspensions};
use crate::query::{Direction, Page, RunFilter, RunOrder, TaskInstanceFilter, TaskInstanceOrder};
use crate::records::TaskTry;
use crate::{Result, RunExists, RunStore};

pub(super) const TASK_COLUMNS: &str = "r.dag_id, r.run_id, t.task_id, t.map_index, t.id, t.state, t.try_number, t.max_tries, \
    t.version_id, t.operator, t.operator_name, t.pool, t.pool_slots, t.queue, t.priority_weight, t.executor, \
    t.scheduled_at, t.queued_at, t.start_date, t.end_date, t.hostname, t.unixname, t.pid, t.rendered_map_index, \
    t.retry_delay_override, t.reschedule_date";

/// Runs first, then what belongs to them.
const BY_RUN: &str = "dag_run AS r CROSS JOIN task_instance AS t ON t.run_rid = r.rid";

/// Task instances first, as an index of theirs or the table has them, then their runs.
const BY_TASK: &str = "task_instance AS t CROSS JOIN dag_run AS r ON r.rid = t.run_rid";
const TASKS_ALONE: &str = "task_instance AS t";

const UPDATED_AT: &str = "nullif(max(coalesce(t.scheduled_at, -1), coalesce(t.queued_at, -1), \
    coalesce(t.start_date, -1), coalesce(t.end_date, -1)), -1)";

const DURATION: &str = "(t.end_date - t.start_date)";

/// The map index stands in where a mapped task instance has no name of its own.
const RENDERED_MAP_INDEX: &str =
    "coalesce(t.rendered_map_index, CASE WHEN t.map_index >= 0 THEN CAST(t.map_index AS TEXT) END)";

fn read_task_instance(row: &Row<'_>) -> rusqlite::Result<TaskInstance> {
    read_task_columns(&mut Columns::new(row))
}

/// Reads [`TASK_COLUMNS`].
pub(super) fn read_task_columns(columns: &mut Columns<'_>) -> rusqlite::Result<TaskInstance> {
    Ok(TaskInstance {
        run: RunKey { dag_id: DagId::from(columns.get::<String>()?), run_id: RunId::from(columns.get::<String>()?) },
        task_id: TaskId::from(columns.get::<String>()?),
        map_index: MapIndex(columns.get()?),
        id: TaskInstanceId(columns.uuid()?),
        state: columns.named()?,
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

fn task_order(order: TaskInstanceOrder) -> Key {
    match order {
        TaskInstanceOrder::Id => Key::Full("t.id"),
        TaskInstanceOrder::State => Key::Gaps("nullif(t.state, 'none')"),
        TaskInstanceOrder::Duration => Key::Gaps(DURATION),
        TaskInstanceOrder::StartDate => Key::Gaps("t.start_date"),
        TaskInstanceOrder::EndDate => Key::Gaps("t.end_date"),
        TaskInstanceOrder::MapIndex => Key::Full("t.map_index"),
        TaskInstanceOrder::TaskId => Key::Full("t.task_id"),
        TaskInstanceOrder::RunAfter => Key::Full("r.run_after"),
        TaskInstanceOrder::LogicalDate => Key::Gaps("r.logical_date"),
        TaskInstanceOrder::TryNumber => Key::Full("t.try_number"),
        TaskInstanceOrder::IntervalStart => Key::Gaps("r.interval_start"),
        TaskInstanceOrder::IntervalEnd => Key::Gaps("r.interval_end"),
        TaskInstanceOrder::RenderedMapIndex => Key::GapsThen("t.rendered_map_index", "t.map_index"),
        TaskInstanceOrder::Operator => Key::Full("t.operator"),
    }
}

/// The tables as they are read in the order that is asked for, if the rows can be taken from them one after the other.
fn in_order(order: &[(TaskInstanceOrder, Direction)]) -> Option<String> {
    let by_run = |index: &str| {
        Some(format!("dag_run AS r INDEXED BY {index} CROSS JOIN task_instance AS t ON t.run_rid = r.rid"))
    };
    let by_task = |index: &str| {
        Some(format!("task_instance AS t INDEXED BY {index} CROSS JOIN dag_run AS r ON r.rid = t.run_rid"))
    };
    match order.first() {
        None | Some((TaskInstanceOrder::Id, _)) => by_task("task_instance_id"),
        Some((TaskInstanceOrder::MapIndex, _)) => by_task("task_instance_map_index"),
        Some((TaskInstanceOrder::StartDate, _)) => by_task("task_instance_start"),
        Some((TaskInstanceOrder::EndDate, _)) => by_task("task_instance_end"),
        Some((TaskInstanceOrder::RunAfter, _)) => by_run("dag_run_after"),
        Some((TaskInstanceOrder::LogicalDate, _)) => by_run("dag_run_date"),
        _ => None,
    }
}

/// What is asked of the runs, and what of the task instances themselves. The Dag and the states stand apart: of them it
/// is known how many there are.
fn conditions_of(filter: &TaskInstanceFilter) -> (Conditions, Conditions) {
    let (mut of_run, mut of_task) = (Conditions::default(), Conditions::default());
    of_run
        .one_of("r.dag_id", filter.dag_ids.iter().cloned())
        .equal("r.run_id", filter.run_id.as_ref().map(RunId::to_string))
        .one_of("r.run_id", filter.run_ids.iter().cloned())
        .texts("r.dag_id", filter.dag_id_pattern.as_deref(), filter.dag_id_prefix.as_deref())
        .texts("r.run_id", filter.run_id_pattern.as_deref(), filter.run_id_prefix.as_deref())
        .span("r.logical_date", filter.logical_date)
        .span("r.run_after", filter.run_after);
    of_task
        .one_of("t.task_id", filter.task_ids.iter().cloned())
        .texts("t.task_id", filter.task_id_pattern.as_deref(), filter.task_id_prefix.as_deref())
        .one_of("t.pool", filter.pools.iter().cloned())
        .texts("t.pool", filter.pool_pattern.as_deref(), filter.pool_prefix.as_deref())
        .one_of("t.queue", filter.queues.iter().cloned())
        .texts("t.queue", filter.queue_pattern.as_deref(), filter.queue_prefix.as_deref())
        .one_of("t.executor", filter.executors.iter().cloned())
        .one_of("t.operator", filter.operators.iter().cloned())
        .texts("t.operator_name", filter.operator_name_pattern.as_deref(), filter.operator_name_prefix.as_deref())
        .one_of("t.try_number", filter.try_numbers.iter().copied())
        .equal("t.map_index", filter.map_index)
        .one_of("t.map_index", filter.map_indexes.iter().copied())
        .texts(
            RENDERED_MAP_INDEX,
            filter.rendered_map_index_pattern.as_deref(),
            filter.rendered_map_index_prefix.as_deref(),
        )
        .span("t.start_date", filter.start_date)
        .span("t.end_date", filter.end_date)
        .span(UPDATED_AT, filter.updated_at)
        .duration(DURATION, filter.duration);
    if filter.mapped_only {
        of_task.fixed("t.map_index >= 0");
    }
    runs::version_numbers(&mut of_task, "t.version_id", &filter.version_numbers);
    (of_run, of_task)
}

fn states_of(filter: &TaskInstanceFilter) -> impl Iterator<Item = String> {
    filter.states.iter().map(TaskState::to_string)
}

/// How many there are of a Dag, or in all, in some states or in any.
fn tally(connection: &Connection, filter: &TaskInstanceFilter) -> rusqlite::Result<u64> {
    let mut conditions = Conditions::default();
    conditions
        .fixed("kind = 'task'")
        .equal("dag_id", filter.dag_id.as_ref().map(DagId::to_string))
        .one_of("state", states_of(filter));
    super::read::sum(connection, "tally", "count", &conditions)
}

/// The tables in the order in which the conditions lead to the rows. `asks_of_run` says whether they speak of more of
/// the runs than their Dag.
fn by_conditions(
    connection: &Connection,
    filter: &TaskInstanceFilter,
    asks_of_run: bool,
) -> rusqlite::Result<&'static str> {
    Ok(match &filter.dag_id {
        _ if asks_of_run => BY_RUN,
        None => BY_TASK,
        // Of a busy Dag, few went wrong; but of all that went wrong, few are of a quiet Dag.
        Some(dag_id) if in_open_index(filter) => {
            let of_dag = TaskInstanceFilter { dag_id: Some(dag_id.clone()), ..TaskInstanceFilter::default() };
            let in_states = TaskInstanceFilter { states: filter.states.clone(), ..TaskInstanceFilter::default() };
            if tally(connection, &in_states)? < tally(connection, &of_dag)? { BY_TASK } else { BY_RUN }
        }
        Some(_) => BY_RUN,
    })
}

/// Whether all states that are asked for are in the index of what has not succeeded.
fn in_open_index(filter: &TaskInstanceFilter) -> bool {
    !filter.states.is_empty() && !filter.states.contains(&TaskState::Success)
}

fn order_needs_run(order: &[(TaskInstanceOrder, Direction)]) -> bool {
    let of_run = |order: &TaskInstanceOrder| {
        matches!(
            order,
            TaskInstanceOrder::RunAfter
                | TaskInstanceOrder::LogicalDate
                | TaskInstanceOrder::IntervalStart
                | TaskInstanceOrder::IntervalEnd
        )
    };
    order.iter().any(|(order, _)| of_run(order))
}

/// All that a filter asks for.
struct Asked {
    conditions: Conditions,
    /// It is known how many fulfil them.
    is_tallied: bool,
    /// They speak of more of the runs than their Dag.
    asks_of_run: bool,
}

fn asked(filter: &TaskInstanceFilter) -> Asked {
    let (of_run, of_task) = conditions_of(filter);
    let (is_tallied, asks_of_run) = (of_run.is_empty() && of_task.is_empty(), !of_run.is_empty());
    let mut conditions = Conditions::default();
    conditions.equal("r.dag_id", filter.dag_id.as_ref().map(DagId::to_string));
    conditions.extend(of_run);
    conditions.extend(of_task);
    conditions.one_of("t.state", states_of(filter));
    if in_open_index(filter) {
        // Says it as the index does.
        conditions.fixed("t.state <> 'success'");
    }
    Asked { conditions, is_tallied, asks_of_run }
}

/// What a list reads that is led by its order.
#[cfg(test)]
pub(super) fn led_by_order(
    filter: &TaskInstanceFilter,
    order: &[(TaskInstanceOrder, Direction)],
) -> (String, Conditions, String) {
    (in_order(order).unwrap(), asked(filter).conditions, order_by(order, task_order, &["t.id"]))
}

fn list(
    connection: &Connection,
    filter: &TaskInstanceFilter,
    order: &[(TaskInstanceOrder, Direction)],
    page: Page,
) -> rusqlite::Result<(Vec<TaskInstance>, u64)> {
    let Asked { conditions, is_tallied, asks_of_run } = asked(filter);
    let needs_run = asks_of_run || filter.dag_id.is_some();
    let by_conditions = by_conditions(connection, filter, asks_of_run)?;
    let total = match (is_tallied, needs_run) {
        (true, _) => tally(connection, filter)?,
        (false, true) => count(connection, by_conditions, &conditions)?,
        (false, false) => count(connection, TASKS_ALONE, &conditions)?,
    };
    if total <= page.offset {
        return Ok((Vec::new(), total));
    }
    let size = tally(connection, &TaskInstanceFilter::default())?;
    let again = Some(Again { from: BY_TASK, number: "t.tid" });
    let (from, lead, again) = match in_order(order).filter(|_| shorter_lead(total, size, page) == Lead::Order) {
        Some(from) => (from, Lead::Order, None),
        None if needs_run || order_needs_run(order) || page.limit > MAX_FOUND_AGAIN => {
            (by_conditions.to_owned(), Lead::Conditions, again)
        }
        None => (TASKS_ALONE.to_owned(), Lead::Conditions, again),
    };
    let order = order_by(order, task_order, &["t.id"]);
    let source = Source { columns: TASK_COLUMNS, from: &from, conditions: &conditions, lead, order: &order, again };
    Ok((rows(connection, &source, page, read_task_instance)?, total))
}

impl RunStore for SqliteStore {
    fn run(&self, key: &RunKey) -> Result<Option<DagRun>> {
        self.read(|connection| runs::one(connection, key))
    }

    fn runs(&self, filter: &RunFilter, order: &[(RunOrder, Direction)], page: Page) -> Result<(Vec<DagRun>, u64)> {
        self.snapshot(|connection| runs::list(connection, filter, order, page))
    }

    fn active_runs(&self) -> Result<Vec<DagRun>> {
        self.read(runs::active)
    }

    fn run_exists(&self, key: &RunKey, logical_date: Option<Timestamp>) -> Result<RunExists> {
        self.snapshot(|connection| runs::exists(connection, key, logical_date))
    }

    fn run_before(&self, dag_id: &DagId, before: Timestamp, scheduled_only: bool) -> Result<Option<DagRun>> {
        let condition = if scheduled_only { "run_type <> 'manual'" } else { "true" };
        self.read(|connection| runs::before(connection, dag_id, before, condition))
    }

    fn task_ran_before(&self, dag_id: &DagId, task_id: &TaskId, before: Timestamp) -> Result<bool> {
        self.read(|connection| runs::had_task_before(connection, dag_id, task_id, before))
    }

    fn last_successful_run(&self, dag_id: &DagId, before: Timestamp) -> Result<Option<DagRun>> {
        self.read(|connection| runs::before(connection, dag_id, before, "state = 'success'"))
    }

    fn task_instance(&self, key: &TaskInstanceKey) -> Result<Option<TaskInstance>> {
        let sql = format!(
            "SELECT {TASK_COLUMNS} FROM {BY_RUN}
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
            "SELECT {TASK_COLUMNS} FROM {BY_RUN} WHERE r.dag_id = ?1 AND r.run_id = ?2
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
        page: Page,
    ) -> Result<(Vec<TaskInstance>, u64)> {
        self.snapshot(|connection| list(connection, filter, order, page))
    }

    fn versions_of(&self, keys: &[RunKey]) -> Result<Vec<Vec<VersionId>>> {
        self.snapshot(|connection| runs::versions_of(connection, keys))
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

    fn task_note(&self, key: &TaskInstanceKey) -> Result<Option<String>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT n.note FROM dag_run AS r JOIN task_note AS n ON n.run_rid = r.rid
                     WHERE r.dag_id = ?1 AND r.run_id = ?2 AND n.task_id = ?3 AND n.map_index = ?4",
                )?
                .query_row(
                    params![key.run.dag_id.as_str(), key.run.run_id.as_str(), key.task_id.as_str(), key.map_index.0],
                    |row| row.get(0),
                )
                .optional()
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

    fn suspension(&self, key: &TaskInstanceKey) -> Result<Option<Suspension>> {
        self.read(|connection| suspensions::find(connection, &self.keys, key))
    }

    fn suspensions_of(&self, run: &RunKey) -> Result<Vec<Suspension>> {
        self.read(|connection| suspensions::of_run(connection, &self.keys, run))
    }

    fn last_trigger(&self) -> Result<TriggerId> {
        self.read(suspensions::last_trigger)
    }
}
