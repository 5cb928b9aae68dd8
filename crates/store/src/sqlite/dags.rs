//! Reading Dags, their versions and files.

use model::timetable::NextRun;
use model::{DagId, DagSchedule, VersionId};
use rusqlite::{OptionalExtension, Row};

use super::SqliteStore;
use super::column::Columns;
use super::read::{Conditions, order_by, page};
use crate::query::{DagFilter, DagOrder, Direction, ImportErrorFilter, ImportErrorOrder, Page};
use crate::records::{DagRecord, DagVersion, FileRecord, ImportError, VersionHead};
use crate::{DagStore, Result};

const DAG_COLUMNS: &str = "dag_id, display_name, description, paused, stale, bundle_name, bundle_version, \
    relative_fileloc, fileloc, owners, tags, timetable_type, timetable_summary, timetable_description, max_active_tasks, \
    max_active_runs, max_consecutive_failed_dag_runs, has_task_concurrency_limits, has_import_errors, allowed_run_types, \
    last_parsed_at, last_parse_duration, version_id, next_run_after, next_interval_start, next_interval_end, \
    last_interval_start, last_interval_end, facts, last_run_state, last_run_start";

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

const VERSION_COLUMNS: &str = "id, dag_id, number, hash, bundle_name, bundle_version, created_at, serialized, extras";

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

fn import_error_order(order: ImportErrorOrder) -> &'static str {
    match order {
        ImportErrorOrder::Id => "id",
        ImportErrorOrder::At => "at",
        ImportErrorOrder::Filename => "filename",
        ImportErrorOrder::BundleName => "bundle_name",
        ImportErrorOrder::StackTrace => "stack_trace",
    }
}

fn dag_order(order: DagOrder) -> &'static str {
    match order {
        DagOrder::DagId => "dag_id",
        DagOrder::DisplayName => "display_name",
        DagOrder::NextRun => "next_run_after",
        DagOrder::LastRunState => "last_run_state",
        DagOrder::LastRunStart => "last_run_start",
    }
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
        let mut conditions = Conditions::default();
        if filter.exclude_stale {
            conditions.fixed("stale = 0");
        }
        conditions
            .optional("paused = ?", filter.paused)
            .pattern("dag_id", filter.dag_id_pattern.as_deref())
            .pattern("display_name", filter.display_name_pattern.as_deref())
            .optional("bundle_name = ?", filter.bundle_name.clone())
            .optional("has_import_errors = ?", filter.has_import_errors)
            .optional("last_run_state = ?", filter.last_run_state.map(|state| state.name().to_owned()));
        if filter.all_tags {
            for tag in &filter.tags {
                conditions.with("? IN (SELECT value FROM json_each(tags))", tag.clone());
            }
        } else {
            conditions.any_of("tags", &filter.tags);
        }
        conditions.any_of("owners", &filter.owners);
        let order = order_by(order, dag_order, "dag_id");
        self.read(|connection| page(connection, DAG_COLUMNS, "dag", &conditions, &order, cut, read_dag))
    }

    fn version(&self, id: VersionId) -> Result<Option<DagVersion>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {VERSION_COLUMNS} FROM dag_version WHERE id = ?1"))?
                .query_row([id.0.as_bytes()], read_version)
                .optional()
        })
    }

    fn latest_version(&self, dag_id: &DagId) -> Result<Option<DagVersion>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {VERSION_COLUMNS} FROM dag_version WHERE dag_id = ?1 ORDER BY number DESC LIMIT 1"
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
                .prepare_cached(
                    "SELECT id, dag_id, number, bundle_name, bundle_version, created_at FROM dag_version WHERE id = ?1",
                )?
                .query_row([id.0.as_bytes()], |row| {
                    let mut columns = Columns::new(row);
                    Ok(VersionHead {
                        id: VersionId(columns.uuid()?),
                        dag_id: DagId::from(columns.get::<String>()?),
                        number: columns.get()?,
                        bundle_name: columns.get()?,
                        bundle_version: columns.get()?,
                        created_at: columns.moment()?,
                    })
                })
                .optional()
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
            .optional("filename = ?", filter.filename.clone())
            .text("filename", &filter.filenames)
            .optional("bundle_name = ?", filter.bundle_name.clone());
        let order = order_by(order, import_error_order, "id");
        self.read(|connection| {
            page(connection, IMPORT_ERROR_COLUMNS, "import_error", &conditions, &order, cut, read_import_error)
        })
    }
}
