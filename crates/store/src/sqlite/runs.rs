//! Reading runs.

use jiff::Timestamp;
use model::{BackfillId, DagId, DagRun, InBackfill, RunId, RunKey, TaskId, VersionId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::column::{Columns, micros};
use super::read::{Again, Conditions, Key, Lead, Source, count, order_by, rows, shorter_lead};
use crate::RunExists;
use crate::query::{Direction, Page, RunFilter, RunOrder, somewhere};

pub(super) const RUN_COLUMNS: &str = "dag_id, run_id, run_type, triggered_by, triggering_user, state, logical_date, interval_start, \
    interval_end, run_after, queued_at, start_date, end_date, last_scheduling_decision, conf, note, clear_number, \
    version_id, bundle_version, backfill_id, backfill_ordinal, partition_key, partition_date";

/// The last that is known to have happened to a run. SQLite's `max` of several values is null if one of them is.
const UPDATED_AT: &str = "nullif(max(coalesce(queued_at, -1), coalesce(start_date, -1), coalesce(end_date, -1), \
    coalesce(last_scheduling_decision, -1)), -1)";

const DURATION: &str = "(end_date - start_date)";

pub(super) fn read_run(row: &Row<'_>) -> rusqlite::Result<DagRun> {
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
        backfill: backfill(columns.get()?, columns.get()?),
        partition: columns.partition()?,
    })
}

fn backfill(id: Option<i64>, ordinal: Option<u32>) -> Option<InBackfill> {
    Some(InBackfill { id: BackfillId(id?), ordinal: ordinal? })
}

/// The run that comes first among those that fulfil `condition`.
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

fn run_order(order: RunOrder) -> Key {
    match order {
        RunOrder::Id => Key::Full("rid"),
        RunOrder::State => Key::Full("state"),
        RunOrder::DagId => Key::Full("dag_id"),
        RunOrder::RunId => Key::Full("run_id"),
        RunOrder::LogicalDate => Key::Gaps("logical_date"),
        RunOrder::RunAfter => Key::Full("run_after"),
        RunOrder::StartDate => Key::Gaps("start_date"),
        RunOrder::EndDate => Key::Gaps("end_date"),
        RunOrder::RunType => Key::Full("run_type"),
        RunOrder::Duration => Key::Gaps(DURATION),
        RunOrder::UpdatedAt => Key::Gaps(UPDATED_AT),
        RunOrder::Conf => Key::Full("conf"),
        RunOrder::IntervalEnd => Key::Gaps("interval_end"),
        RunOrder::PartitionDate => Key::Gaps("partition_date"),
    }
}

/// The table as it is read in the order that is asked for, if the rows can be taken from it one after the other.
fn in_order(order: &[(RunOrder, Direction)]) -> Option<&'static str> {
    match order.first() {
        None | Some((RunOrder::Id, _)) => Some("dag_run NOT INDEXED"),
        Some((RunOrder::RunAfter, _)) => Some("dag_run INDEXED BY dag_run_after"),
        Some((RunOrder::LogicalDate, _)) => Some("dag_run INDEXED BY dag_run_date"),
        Some((RunOrder::StartDate, _)) => Some("dag_run INDEXED BY dag_run_start"),
        _ => None,
    }
}

/// Versions are found by their numbers; `version` is the column that names one.
pub(super) fn version_numbers(conditions: &mut Conditions, version: &str, numbers: &[i64]) {
    if !numbers.is_empty() {
        let mut of_version = Conditions::default();
        of_version.fixed(&format!("v.id = {version}")).one_of("v.number", numbers.iter().copied());
        conditions.exists("dag_version AS v", of_version);
    }
}

fn conditions_of(filter: &RunFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions
        .equal("dag_id", filter.dag_id.as_ref().map(DagId::to_string))
        .one_of("dag_id", filter.dag_ids.iter().cloned())
        .texts("dag_id", filter.dag_id_pattern.as_deref(), filter.dag_id_prefix.as_deref())
        .texts("run_id", filter.run_id_pattern.as_deref(), filter.run_id_prefix.as_deref())
        .texts("triggering_user", filter.triggering_user_pattern.as_deref(), filter.triggering_user_prefix.as_deref())
        .texts("partition_key", filter.partition_key_pattern.as_deref(), filter.partition_key_prefix.as_deref())
        .span("partition_date", filter.partition_date)
        .one_of("state", filter.states.iter().map(|state| state.name().to_owned()))
        .one_of("run_type", filter.run_types.iter().map(|run_type| run_type.name().to_owned()))
        .equal("bundle_version", filter.bundle_version.clone())
        .span("logical_date", filter.logical_date)
        .span("run_after", filter.run_after)
        .span("start_date", filter.start_date)
        .span("end_date", filter.end_date)
        .span(UPDATED_AT, filter.updated_at)
        .duration(DURATION, filter.duration);
    version_numbers(&mut conditions, "version_id", &filter.version_numbers);
    if let Some(text) = &filter.conf_contains {
        conditions.with("matches_exactly(?, conf)", somewhere(text));
    }
    conditions
}

pub(super) fn list(
    connection: &Connection,
    filter: &RunFilter,
    order: &[(RunOrder, Direction)],
    page: Page,
) -> rusqlite::Result<(Vec<DagRun>, u64)> {
    let conditions = conditions_of(filter);
    let total = count(connection, "dag_run", &conditions)?;
    if total <= page.offset {
        return Ok((Vec::new(), total));
    }
    let size: Option<i64> =
        connection.prepare_cached("SELECT max(rid) FROM dag_run")?.query_row([], |row| row.get(0))?;
    let lead = shorter_lead(total, size.unwrap_or(0).unsigned_abs(), page);
    let by_run_after = matches!(order.first(), Some((RunOrder::RunAfter, _)));
    let again = Some(Again { from: "dag_run", number: "rid" });
    let (from, lead, again) = match in_order(order) {
        // One index has a Dag's runs in this very order.
        Some(_) if by_run_after && filter.dag_id.is_some() => {
            ("dag_run INDEXED BY dag_run_of_dag", Lead::Conditions, None)
        }
        Some(from) if lead == Lead::Order => (from, lead, None),
        _ => ("dag_run", Lead::Conditions, again),
    };
    let order = order_by(order, run_order, &["rid"]);
    let source = Source { columns: RUN_COLUMNS, from, conditions: &conditions, lead, order: &order, again };
    Ok((rows(connection, &source, page, read_run)?, total))
}

/// What a list reads that is led by its order.
#[cfg(test)]
pub(super) fn led_by_order(filter: &RunFilter, order: &[(RunOrder, Direction)]) -> (&'static str, Conditions, String) {
    (in_order(order).unwrap(), conditions_of(filter), order_by(order, run_order, &["rid"]))
}

pub(super) fn active(connection: &Connection) -> rusqlite::Result<Vec<DagRun>> {
    let sql = format!("SELECT {RUN_COLUMNS} FROM dag_run WHERE state IN ('queued', 'running') ORDER BY rid");
    connection.prepare_cached(&sql)?.query_map([], read_run)?.collect()
}

pub(super) fn one(connection: &Connection, key: &RunKey) -> rusqlite::Result<Option<DagRun>> {
    first_run(connection, "dag_id = ?1 AND run_id = ?2", &[&key.dag_id.as_str(), &key.run_id.as_str()])
}

pub(super) fn exists(
    connection: &Connection,
    key: &RunKey,
    logical_date: Option<Timestamp>,
) -> rusqlite::Result<RunExists> {
    let found = |condition: &str, value: Value| -> rusqlite::Result<bool> {
        connection
            .prepare_cached(&format!("SELECT 1 FROM dag_run WHERE dag_id = ?1 AND {condition}"))?
            .exists(params![key.dag_id.as_str(), value])
    };
    if found("run_id = ?2", Value::Text(key.run_id.to_string()))? {
        return Ok(RunExists::SameId);
    }
    let Some(logical_date) = logical_date else { return Ok(RunExists::No) };
    let same = found("logical_date = ?2", Value::Integer(micros(logical_date)))?;
    Ok(if same { RunExists::SameLogicalDate } else { RunExists::No })
}

/// The newest run of a Dag before a date that fulfils `condition`.
pub(super) fn before(
    connection: &Connection,
    dag_id: &DagId,
    before: Timestamp,
    condition: &str,
) -> rusqlite::Result<Option<DagRun>> {
    let condition = format!("dag_id = ?1 AND logical_date < ?2 AND {condition} ORDER BY logical_date DESC LIMIT 1");
    first_run(connection, &condition, &[&dag_id.as_str(), &micros(before)])
}

pub(super) fn had_task_before(
    connection: &Connection,
    dag_id: &DagId,
    task_id: &TaskId,
    before: Timestamp,
) -> rusqlite::Result<bool> {
    // The newest first: that is where it is if it is anywhere.
    connection
        .prepare_cached(
            "SELECT 1 FROM dag_run AS r CROSS JOIN task_instance AS t ON t.run_rid = r.rid
             WHERE r.dag_id = ?1 AND r.logical_date < ?2 AND t.task_id = ?3 ORDER BY r.logical_date DESC LIMIT 1",
        )?
        .exists(params![dag_id.as_str(), micros(before), task_id.as_str()])
}

pub(super) fn versions_of(connection: &Connection, runs: &[RunKey]) -> rusqlite::Result<Vec<Vec<VersionId>>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.version_id FROM dag_run AS r CROSS JOIN task_instance AS t ON t.run_rid = r.rid
             WHERE r.dag_id = ?1 AND r.run_id = ?2
         UNION SELECT t.version_id FROM dag_run AS r CROSS JOIN task_try AS t ON t.run_rid = r.rid
             WHERE r.dag_id = ?1 AND r.run_id = ?2
         ORDER BY 1",
    )?;
    let versions = |run: &RunKey| {
        let key = params![run.dag_id.as_str(), run.run_id.as_str()];
        statement.query_map(key, |row| Columns::new(row).uuid().map(VersionId))?.collect()
    };
    runs.iter().map(versions).collect()
}
