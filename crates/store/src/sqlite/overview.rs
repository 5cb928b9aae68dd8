//! What pages show at a glance.

use jiff::Timestamp;
use model::{DagId, Deadline, Json, MapIndex, RunKey, TaskId};
use rusqlite::{OptionalExtension, params, params_from_iter};

use super::SqliteStore;
use super::callbacks::read_deadline;
use super::column::Columns;
use super::dags::all;
use super::read::{Conditions, Key, order_by, page};
use crate::Result;
use crate::overview::{DagCounts, Granularity, OverviewStore, RunsOfDate, StateCounts};
use crate::query::{DeadlineFilter, DeadlineOrder, Direction, Page, Span};

fn unsigned(count: i64) -> u64 {
    count.unsigned_abs()
}

impl OverviewStore for SqliteStore {
    fn states_within(&self, run_after: Span, most: u64) -> Result<StateCounts> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let counted = |table: &str, state: &str| {
            let mut conditions = Conditions::default();
            conditions.span("r.run_after", run_after);
            let (clause, values) = conditions.sql();
            let sql = format!(
                "SELECT state, count(*) FROM (SELECT {state} AS state FROM {table}{clause} LIMIT {most})
                 GROUP BY state"
            );
            (sql, values)
        };
        self.snapshot(|connection| {
            let (sql, values) = counted("dag_run AS r", "r.state");
            let runs = connection
                .prepare_cached(&sql)?
                .query_map(params_from_iter(values), |row| {
                    let mut columns = Columns::new(row);
                    Ok((columns.named()?, unsigned(columns.get()?)))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let (sql, values) = counted("dag_run AS r CROSS JOIN task_instance AS t ON t.run_rid = r.rid", "t.state");
            let task_instances = connection
                .prepare_cached(&sql)?
                .query_map(params_from_iter(values), |row| {
                    let mut columns = Columns::new(row);
                    Ok((columns.named()?, unsigned(columns.get()?)))
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(StateCounts { runs, task_instances })
        })
    }

    fn dag_counts(&self) -> Result<DagCounts> {
        self.snapshot(|connection| {
            let (active, failed) = connection
                .prepare_cached(
                    "SELECT count(*) FILTER (WHERE NOT paused),
                        count(*) FILTER (WHERE (SELECT state FROM dag_run AS r WHERE r.dag_id = dag.dag_id
                            AND logical_date IS NOT NULL ORDER BY logical_date DESC LIMIT 1) = 'failed')
                     FROM dag WHERE NOT stale",
                )?
                .query_row([], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))?;
            let mut of_state = connection.prepare_cached(
                "SELECT count(DISTINCT r.dag_id) FROM dag_run AS r JOIN dag AS d ON d.dag_id = r.dag_id AND NOT d.stale
                 WHERE r.state = ?1",
            )?;
            let mut count = |state: &str| of_state.query_row([state], |row| row.get(0).map(unsigned));
            Ok(DagCounts { active, failed, running: count("running")?, queued: count("queued")? })
        })
    }

    fn runs_by_date(&self, dag_id: &DagId, logical_date: Span, granularity: Granularity) -> Result<Vec<RunsOfDate>> {
        let length = granularity.micros();
        let mut conditions = Conditions::default();
        conditions
            .equal("dag_id", Some(dag_id.to_string()))
            .fixed("logical_date IS NOT NULL")
            .span("logical_date", logical_date);
        let (clause, values) = conditions.sql();
        // The remainder of a date before 1970 is negative.
        let sql = format!(
            "SELECT logical_date - (logical_date % {length} + {length}) % {length} AS date, state, count(*),
                max(interval_start), max(interval_end)
             FROM dag_run{clause} GROUP BY date, state ORDER BY date, state"
        );
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map(params_from_iter(values), |row| {
                    let mut columns = Columns::new(row);
                    let date: Timestamp = columns.moment()?;
                    let (state, count) = (columns.named()?, unsigned(columns.get()?));
                    Ok(RunsOfDate { date, state, count, interval: columns.interval()? })
                })?
                .collect()
        })
    }

    fn dag_dependencies(&self) -> Result<Vec<(DagId, Json)>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT dag.dag_id, json_extract(d.serialized, '$.dag.dag_dependencies') AS found
                     FROM dag CROSS JOIN dag_document AS d ON d.version_id = dag.version_id
                     WHERE NOT dag.stale AND found IS NOT NULL ORDER BY dag.dag_id",
                )?
                .query_map([], |row| {
                    let mut columns = Columns::new(row);
                    Ok((DagId::from(columns.get::<String>()?), columns.json()?))
                })?
                .collect()
        })
    }

    fn noted_task_instances(&self, run: &RunKey) -> Result<Vec<(TaskId, MapIndex)>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT n.task_id, n.map_index FROM dag_run AS r JOIN task_note AS n ON n.run_rid = r.rid
                     WHERE r.dag_id = ?1 AND r.run_id = ?2 ORDER BY n.task_id, n.map_index",
                )?
                .query_map(params![run.dag_id.as_str(), run.run_id.as_str()], |row| {
                    Ok((TaskId::from(row.get::<_, String>(0)?), MapIndex(row.get(1)?)))
                })?
                .collect()
        })
    }

    fn list_deadlines(
        &self,
        filter: &DeadlineFilter,
        order: &[(DeadlineOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<(Deadline, bool)>, u64)> {
        const TABLES: &str = "deadline AS d JOIN dag_run AS r ON r.rid = d.run_rid";
        let mut conditions = Conditions::default();
        conditions
            .fixed("d.at IS NOT NULL")
            .equal("r.dag_id", filter.dag_id.as_ref().map(DagId::to_string))
            .equal("r.run_id", filter.run_id.as_ref().map(ToString::to_string))
            .equal("d.missed", filter.missed)
            .span("d.at", filter.at);
        let key = |order| {
            Key::Full(match order {
                DeadlineOrder::Id => "d.id",
                DeadlineOrder::At => "d.at",
                DeadlineOrder::Missed => "d.missed",
                DeadlineOrder::DagId => "r.dag_id",
                DeadlineOrder::RunId => "r.run_id",
            })
        };
        let order = order_by(order, key, &["d.id"]);
        let source = all(TABLES, "d.id, r.dag_id, r.run_id, d.alert, d.at, d.missed", &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, |row| Ok((read_deadline(row)?, row.get(5)?))))
    }

    fn runs_with_missed_deadlines(&self, runs: &[RunKey]) -> Result<Vec<RunKey>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT 1 FROM dag_run AS r JOIN deadline AS d ON d.run_rid = r.rid AND d.missed
                 WHERE r.dag_id = ?1 AND r.run_id = ?2",
            )?;
            let mut found = Vec::new();
            for run in runs {
                if statement.exists(params![run.dag_id.as_str(), run.run_id.as_str()])? {
                    found.push(run.clone());
                }
            }
            Ok(found)
        })
    }

    fn run_numbers(&self, runs: &[RunKey]) -> Result<Vec<u64>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT rid FROM dag_run WHERE dag_id = ?1 AND run_id = ?2")?;
            let mut numbers = Vec::with_capacity(runs.len());
            for run in runs {
                let key = params![run.dag_id.as_str(), run.run_id.as_str()];
                numbers.extend(statement.query_row(key, |row| row.get(0).map(unsigned)).optional()?);
            }
            Ok(numbers)
        })
    }
}
