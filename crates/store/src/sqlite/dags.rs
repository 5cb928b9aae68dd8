//! Reading Dags, their versions and files.

use model::timetable::NextRun;
use model::{DagId, DagRunState, DagSchedule, Json, VersionId};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row};

use super::SqliteStore;
use super::column::Columns;
use super::read::{Again, Conditions, Key, Lead, Source, order_by, page};
use crate::query::{
    DagFilter, DagOrder, Direction, ImportErrorFilter, ImportErrorOrder, Page, TextFilter, VersionFilter, VersionOrder,
    literally, somewhere,
};
use crate::records::{BundleRecord, DagRecord, DagVersion, DagWarning, FileRecord, ImportError, VersionHead};
use crate::{DagStore, Result};

const DAG_COLUMNS: &str = "dag_id, display_name, description, paused, stale, bundle_name, bundle_version, \
    relative_fileloc, fileloc, owners, tags, timetable_type, timetable_summary, timetable_description, max_active_tasks, \
    max_active_runs, max_consecutive_failed_dag_runs, has_task_concurrency_limits, has_import_errors, allowed_run_types, \
    last_parsed_at, last_parse_duration, version_id, next_run_after, next_interval_start, next_interval_end, \
    last_interval_start, last_interval_end, facts, last_run_state, last_run_start, last_run_end";

fn read_dag(row: &Row<'_>) -> rusqlite::Result<DagRecord> {
    let mut columns = Columns::new(row);
    Ok(DagRecord {
        dag_id: DagId::from(columns.get::<String>()?),
        display_name: columns.get()?,
        description: columns.get()?,
        paused: columns.get()?,
        stale: columns.get()?,
        bundle_name: columns.get()?,
        bundle_version: columns.get()?,
        relative_fileloc: columns.get()?,
        fileloc: columns.get()?,
        owners: columns.texts()?,
        tags: columns.texts()?,
        timetable_type: columns.get()?,
        timetable_summary: columns.get()?,
        timetable_description: columns.get()?,
        max_active_tasks: columns.get()?,
        max_active_runs: columns.get()?,
        max_consecutive_failed_dag_runs: columns.get()?,
        has_task_concurrency_limits: columns.get()?,
        has_import_errors: columns.get()?,
        allowed_run_types: columns.opt_texts()?,
        last_parsed_at: columns.moment()?,
        last_parse_duration: columns.duration()?,
        version: VersionId(columns.uuid()?),
        schedule: DagSchedule {
            next_run: {
                let (run_after, data_interval) = (columns.opt_moment()?, columns.interval()?);
                run_after.zip(data_interval).map(|(run_after, data_interval)| NextRun { run_after, data_interval })
            },
            last_interval: columns.interval()?,
        },
        facts: columns.json()?,
        last_run_state: columns.opt_named()?,
        last_run_start: columns.opt_moment()?,
        last_run_end: columns.opt_moment()?,
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<DagVersion> {
    let mut columns = Columns::new(row);
    Ok(DagVersion {
        id: VersionId(columns.uuid()?),
        dag_id: DagId::from(columns.get::<String>()?),
        number: columns.get()?,
        hash: columns.get()?,
        bundle_name: columns.get()?,
        bundle_version: columns.get()?,
        created_at: columns.moment()?,
        serialized: columns.json()?,
        extras: columns.json()?,
    })
}

const VERSION_COLUMNS: &str = "v.id, v.dag_id, v.number, v.hash, v.bundle_name, v.bundle_version, v.created_at, \
    d.serialized, d.extras";
const VERSION_TABLES: &str = "dag_version AS v CROSS JOIN dag_document AS d ON d.version_id = v.id";

const IMPORT_ERROR_COLUMNS: &str = "id, bundle_name, filename, at, stack_trace";

fn read_import_error(row: &Row<'_>) -> rusqlite::Result<ImportError> {
    let mut columns = Columns::new(row);
    Ok(ImportError {
        id: columns.get()?,
        bundle_name: columns.get()?,
        filename: columns.get()?,
        at: columns.moment()?,
        stack_trace: columns.get()?,
    })
}

fn import_error_order(order: ImportErrorOrder) -> Key {
    Key::Full(match order {
        ImportErrorOrder::Id => "id",
        ImportErrorOrder::At => "at",
        ImportErrorOrder::Filename => "filename",
        ImportErrorOrder::BundleName => "bundle_name",
        ImportErrorOrder::StackTrace => "stack_trace",
    })
}

fn dag_order(order: DagOrder) -> Key {
    match order {
        DagOrder::DagId => Key::Full("dag_id"),
        DagOrder::DisplayName => Key::Full("display_name"),
        DagOrder::NextRun => Key::Gaps("next_run_after"),
        DagOrder::LastRunState => Key::Gaps("last_run_state"),
        DagOrder::LastRunStart => Key::Gaps("last_run_start"),
    }
}

const HEAD_COLUMNS: &str = "id, dag_id, number, bundle_name, bundle_version, created_at";

fn read_head(row: &Row<'_>) -> rusqlite::Result<VersionHead> {
    let mut columns = Columns::new(row);
    Ok(VersionHead {
        id: VersionId(columns.uuid()?),
        dag_id: DagId::from(columns.get::<String>()?),
        number: columns.get()?,
        bundle_name: columns.get()?,
        bundle_version: columns.get()?,
        created_at: columns.moment()?,
    })
}

fn version_order(order: VersionOrder) -> Key {
    match order {
        VersionOrder::Id => Key::Full("id"),
        VersionOrder::Number => Key::Full("number"),
        VersionOrder::BundleName => Key::Full("bundle_name"),
        VersionOrder::BundleVersion => Key::Gaps("bundle_version"),
    }
}

/// The Dag has one of these tags, if any are given.
fn one_tag(conditions: &mut Conditions, tags: &[String]) {
    // Looking for the tag's JSON in the list's is quick; what that finds is looked at closely.
    let lots = tags.iter().map(|tag| vec![Value::Text(Json::from(tag.as_str()).to_string()), Value::Text(tag.clone())]);
    conditions.any("(instr(tags, ?) > 0 AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?))", lots);
}

/// One of these owners, or a part of the name, in any case.
fn one_owner(conditions: &mut Conditions, owners: &[String]) {
    let lots = owners.iter().map(|owner| vec![Value::Text(somewhere(&literally(owner)))]);
    conditions.any("EXISTS (SELECT 1 FROM json_each(owners) WHERE matches(?, value))", lots);
}

/// One of these states, where `None` is that of a Dag without runs.
fn last_run_states(conditions: &mut Conditions, states: &[Option<DagRunState>]) {
    // No state has an empty name.
    let names = states.iter().map(|state| state.map_or("", DagRunState::name).to_owned());
    conditions.one_of("coalesce(last_run_state, '')", names);
}

/// The Dags with task instances whose questions nobody has answered.
const AWAITING: &str = "SELECT r.dag_id FROM hitl_detail AS h
    JOIN dag_run AS r ON r.rid = h.run_rid
    JOIN task_instance AS t ON t.run_rid = h.run_rid AND t.task_id = h.task_id AND t.map_index = h.map_index
    WHERE h.responded_at IS NULL AND t.state IN ('awaiting_input', 'deferred')";

fn conditions_of(filter: &DagFilter) -> Conditions {
    let mut conditions = Conditions::default();
    if filter.exclude_stale {
        conditions.fixed("stale = 0");
    }
    conditions
        .equal("paused", filter.paused)
        .texts("dag_id", filter.dag_id_pattern.as_deref(), filter.dag_id_prefix.as_deref())
        .texts("display_name", filter.display_name_pattern.as_deref(), filter.display_name_prefix.as_deref())
        .equal("bundle_name", filter.bundle_name.clone())
        .equal("bundle_version", filter.bundle_version.clone())
        .equal("has_import_errors", filter.has_import_errors)
        .one_of("timetable_type", filter.timetable_types.iter().cloned())
        .equal("last_run_state", filter.last_run_state.map(|state| state.name().to_owned()))
        .span("last_run_start", filter.last_run_start)
        .span("last_run_end", filter.last_run_end)
        .one_of("dag_id", filter.dag_ids.iter().cloned());
    match filter.any_run_state {
        // Nearly every Dag has one soon; of the other states there are few.
        Some(DagRunState::Success) => {
            conditions.fixed("EXISTS (SELECT 1 FROM dag_run AS r WHERE r.dag_id = dag.dag_id AND r.state = 'success')");
        }
        Some(state) => {
            conditions.with("dag_id IN (SELECT dag_id FROM dag_run WHERE state = ?)", state.name().to_owned());
        }
        None => {}
    }
    if let Some(awaits) = filter.awaits_people {
        let not = if awaits { "" } else { "NOT " };
        conditions.fixed(&format!("dag_id {not}IN ({AWAITING})"));
    }
    one_owner(&mut conditions, &filter.owners);
    last_run_states(&mut conditions, &filter.last_run_states);
    if filter.all_tags {
        filter.tags.iter().for_each(|tag| one_tag(&mut conditions, std::slice::from_ref(tag)));
    } else {
        one_tag(&mut conditions, &filter.tags);
    }
    conditions
}

/// What is read where the conditions lead to it.
pub(super) fn all<'a>(from: &'a str, columns: &'a str, conditions: &'a Conditions, order: &'a str) -> Source<'a> {
    Source { columns, from, conditions, lead: Lead::Conditions, order, again: None }
}

impl DagStore for SqliteStore {
    fn dag(&self, dag_id: &DagId) -> Result<Option<DagRecord>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {DAG_COLUMNS} FROM dag WHERE dag_id = ?1"))?
                .query_row([dag_id.as_str()], read_dag)
                .optional()
        })
    }

    fn dags(&self, filter: &DagFilter, order: &[(DagOrder, Direction)], cut: Page) -> Result<(Vec<DagRecord>, u64)> {
        let conditions = conditions_of(filter);
        let order = order_by(order, dag_order, &["dag_id"]);
        let again = Some(Again { from: "dag", number: "id" });
        let source = Source { again, ..all("dag", DAG_COLUMNS, &conditions, &order) };
        self.snapshot(|connection| page(connection, &source, cut, read_dag))
    }

    fn version(&self, id: VersionId) -> Result<Option<DagVersion>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {VERSION_COLUMNS} FROM {VERSION_TABLES} WHERE v.id = ?1"))?
                .query_row([id.0.as_bytes()], read_version)
                .optional()
        })
    }

    fn latest_version(&self, dag_id: &DagId) -> Result<Option<DagVersion>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {VERSION_COLUMNS} FROM {VERSION_TABLES} WHERE v.dag_id = ?1 ORDER BY v.number DESC LIMIT 1"
                ))?
                .query_row([dag_id.as_str()], read_version)
                .optional()
        })
    }

    fn files(&self) -> Result<Vec<FileRecord>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT bundle_name, relative_fileloc, fingerprint, imported_at, duration, dag_ids FROM file
                     ORDER BY bundle_name, relative_fileloc",
                )?
                .query_map([], |row| {
                    let mut columns = Columns::new(row);
                    Ok(FileRecord {
                        bundle_name: columns.get()?,
                        relative_fileloc: columns.get()?,
                        fingerprint: columns.json()?,
                        imported_at: columns.moment()?,
                        duration: columns.duration()?,
                        dag_ids: columns.texts()?.into_iter().map(DagId::from).collect(),
                    })
                })?
                .collect()
        })
    }

    fn version_head(&self, id: VersionId) -> Result<Option<VersionHead>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {HEAD_COLUMNS} FROM dag_version WHERE id = ?1"))?
                .query_row([id.0.as_bytes()], read_head)
                .optional()
        })
    }

    fn versions(
        &self,
        filter: &VersionFilter,
        order: &[(VersionOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<VersionHead>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .equal("dag_id", filter.dag_id.as_ref().map(DagId::to_string))
            .equal("number", filter.number)
            .equal("bundle_name", filter.bundle_name.clone())
            .equal("bundle_version", filter.bundle_version.clone());
        let order = order_by(order, version_order, &["id"]);
        let source = all("dag_version", HEAD_COLUMNS, &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, read_head))
    }

    fn tags(&self, names: &TextFilter, direction: Direction, cut: Page) -> Result<(Vec<String>, u64)> {
        const TAGS: &str =
            "(SELECT DISTINCT tag.value AS name FROM dag, json_each(dag.tags) AS tag WHERE dag.stale = 0)";
        let mut conditions = Conditions::default();
        conditions.text("name", names);
        let order = order_by(&[((), direction)], |()| Key::Full("name"), &["name"]);
        let source = all(TAGS, "name", &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, |row| row.get(0)))
    }

    fn bundle(&self, name: &str) -> Result<Option<BundleRecord>> {
        self.read(|connection| {
            let read = |row: &Row<'_>| {
                let mut columns = Columns::new(row);
                Ok(BundleRecord {
                    name: columns.get()?,
                    version: columns.get()?,
                    version_path: columns.get()?,
                    url: columns.get()?,
                    url_params: serde_json::from_value(columns.json()?).unwrap_or_default(),
                })
            };
            let sql = "SELECT name, version, version_path, url, url_params FROM bundle WHERE name = ?1";
            connection.prepare_cached(sql)?.query_row([name], read).optional()
        })
    }

    fn dag_warnings(&self) -> Result<Vec<DagWarning>> {
        self.read(|connection| {
            let sql =
                "SELECT w.dag_id, w.message, w.at FROM dag_warning w JOIN dag d ON d.dag_id = w.dag_id AND NOT d.stale
                ORDER BY w.dag_id";
            let read = |row: &Row<'_>| {
                let mut columns = Columns::new(row);
                let dag_id = DagId::from(columns.get::<String>()?);
                Ok(DagWarning { dag_id, message: columns.get()?, at: columns.moment()? })
            };
            connection.prepare_cached(sql)?.query_map([], read)?.collect()
        })
    }

    fn import_errors(&self, cut: Page) -> Result<(Vec<ImportError>, u64)> {
        self.list_import_errors(&ImportErrorFilter::default(), &[], cut)
    }

    fn import_error(&self, id: i64) -> Result<Option<ImportError>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {IMPORT_ERROR_COLUMNS} FROM import_error WHERE id = ?1"))?
                .query_row([id], read_import_error)
                .optional()
        })
    }

    fn list_import_errors(
        &self,
        filter: &ImportErrorFilter,
        order: &[(ImportErrorOrder, Direction)],
        cut: Page,
    ) -> Result<(Vec<ImportError>, u64)> {
        let mut conditions = Conditions::default();
        conditions
            .equal("filename", filter.filename.clone())
            .text("filename", &filter.filenames)
            .equal("bundle_name", filter.bundle_name.clone());
        let order = order_by(order, import_error_order, &["id"]);
        let source = all("import_error", IMPORT_ERROR_COLUMNS, &conditions, &order);
        self.snapshot(|connection| page(connection, &source, cut, read_import_error))
    }
}
