//! Writing what imports find.

use jiff::Timestamp;
use model::DagId;
use rusqlite::{OptionalExtension, params};

use super::super::column::{duration_micros, micros, texts_json};
use super::{WriteResult, Writer};
use crate::records::BundleRecord;
use crate::write::{ImportedDag, ImportedFile};

impl Writer {
    pub(super) fn imported(&mut self, file: &ImportedFile) -> WriteResult<()> {
        let dag_ids: Vec<String> = file.dags.iter().map(|dag| dag.dag_id.to_string()).collect();
        self.connection
            .prepare_cached(
                "INSERT INTO file (bundle_name, relative_fileloc, fingerprint, imported_at, duration, dag_ids)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (bundle_name, relative_fileloc) DO UPDATE SET fingerprint = excluded.fingerprint,
                     imported_at = excluded.imported_at, duration = excluded.duration, dag_ids = excluded.dag_ids",
            )?
            .execute(params![
                file.bundle_name,
                file.relative_fileloc,
                file.fingerprint.to_string(),
                micros(file.at),
                duration_micros(file.duration),
                texts_json(&dag_ids),
            ])?;
        let touches_assets = self.touches_assets(file, &dag_ids)?;
        self.set_import_errors(file)?;
        for dag in &file.dags {
            let version = self.version(file, dag)?;
            self.dag(file, dag, version)?;
            self.dag_assets(&dag.dag_id, &dag.assets, file.at)?;
            dag.aliases.iter().try_for_each(|alias| self.need_alias(alias, true))?;
            self.dag_warning(&dag.dag_id, None, file.at)?;
        }
        let has_errors = !file.errors.is_empty();
        // What a file that failed no longer shows is kept as it was: those are its last good Dags.
        let statement = if has_errors {
            "UPDATE dag SET has_import_errors = 1
             WHERE bundle_name = ?1 AND source_file = ?2 AND dag_id NOT IN (SELECT value FROM json_each(?3))"
        } else {
            "UPDATE dag SET stale = 1, has_import_errors = 0
             WHERE bundle_name = ?1 AND source_file = ?2 AND dag_id NOT IN (SELECT value FROM json_each(?3))"
        };
        self.connection.prepare_cached(statement)?.execute(params![
            file.bundle_name,
            file.relative_fileloc,
            texts_json(&dag_ids)
        ])?;
        if touches_assets { self.activate_assets() } else { Ok(()) }
    }

    /// Whether a Dag of the file has assets, or had some: most imports have nothing to do with them, and what is active is a
    /// question about all.
    fn touches_assets(&self, file: &ImportedFile, dag_ids: &[String]) -> WriteResult<bool> {
        if file.dags.iter().any(|dag| !dag.assets.is_empty()) {
            return Ok(true);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM dag JOIN dag_asset AS u ON u.dag_id = dag.dag_id
                 WHERE dag.bundle_name = ?1 AND dag.source_file = ?2)
             OR EXISTS (SELECT 1 FROM dag_asset WHERE dag_id IN (SELECT value FROM json_each(?3)))";
        let params = params![file.bundle_name, file.relative_fileloc, texts_json(dag_ids)];
        Ok(self.connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?)
    }

    /// Sets what there is to say about a Dag, or takes it back.
    pub(super) fn dag_warning(&self, dag_id: &DagId, warning: Option<&str>, at: Timestamp) -> WriteResult<()> {
        let Some(warning) = warning else {
            self.connection.prepare_cached("DELETE FROM dag_warning WHERE dag_id = ?1")?.execute([dag_id.as_str()])?;
            return Ok(());
        };
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO dag_warning (dag_id, message, at) VALUES (?1, ?2, ?3)")?
            .execute(params![dag_id.as_str(), warning, micros(at)])?;
        Ok(())
    }

    fn set_import_errors(&self, file: &ImportedFile) -> WriteResult<()> {
        self.connection
            .prepare_cached("DELETE FROM import_error WHERE bundle_name = ?1 AND source_file = ?2")?
            .execute(params![file.bundle_name, file.relative_fileloc])?;
        for (filename, stack_trace) in &file.errors {
            self.connection
                .prepare_cached(
                    "INSERT INTO import_error (bundle_name, source_file, filename, at, stack_trace)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![file.bundle_name, file.relative_fileloc, filename, micros(file.at), stack_trace])?;
        }
        Ok(())
    }

    /// The id of the Dag's current version: the last one if nothing has changed since, or a new one.
    fn version(&self, file: &ImportedFile, dag: &ImportedDag) -> WriteResult<Vec<u8>> {
        let last: Option<(Vec<u8>, i64, String, String)> = self
            .connection
            .prepare_cached(
                "SELECT id, number, hash, bundle_name FROM dag_version WHERE dag_id = ?1 ORDER BY number DESC LIMIT 1",
            )?
            .query_row(params![dag.dag_id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let number = match last {
            Some((id, _, hash, bundle)) if hash == dag.hash && bundle == file.bundle_name => {
                // The same structure in a newer version of its bundle, as Airflow has it.
                self.connection
                    .prepare_cached(
                        "UPDATE dag_version SET bundle_version = ?2 WHERE id = ?1 AND bundle_version IS NOT ?2",
                    )?
                    .execute(params![id, dag.bundle_version])?;
                return Ok(id);
            }
            Some((_, number, _, _)) => number + 1,
            None => 1,
        };
        self.connection
            .prepare_cached(
                "INSERT INTO dag_version (id, dag_id, number, hash, bundle_name, bundle_version, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                dag.version.0.as_bytes(),
                dag.dag_id.as_str(),
                number,
                dag.hash,
                file.bundle_name,
                dag.bundle_version,
                micros(file.at),
            ])?;
        self.connection
            .prepare_cached("INSERT INTO dag_document (version_id, serialized, extras) VALUES (?1, ?2, ?3)")?
            .execute(params![dag.version.0.as_bytes(), dag.serialized.to_string(), dag.extras.to_string()])?;
        Ok(dag.version.0.as_bytes().to_vec())
    }

    fn dag(&self, file: &ImportedFile, dag: &ImportedDag, version: Vec<u8>) -> WriteResult<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO dag (dag_id, display_name, description, paused, stale, bundle_name, bundle_version, source_file,
                     relative_fileloc, fileloc, owners, tags, timetable_type, timetable_summary, timetable_description,
                     max_active_tasks, max_active_runs, max_consecutive_failed_dag_runs, has_task_concurrency_limits,
                     has_import_errors, allowed_run_types, last_parsed_at, last_parse_duration, version_id, facts)
                 VALUES (?1, ?2, ?3, ?4, ?25, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                     ?22, ?23, ?24)
                 ON CONFLICT (dag_id) DO UPDATE SET display_name = excluded.display_name,
                     description = excluded.description, stale = stale AND excluded.stale, bundle_name = excluded.bundle_name,
                     bundle_version = excluded.bundle_version, source_file = excluded.source_file,
                     relative_fileloc = excluded.relative_fileloc, fileloc = excluded.fileloc, owners = excluded.owners,
                     tags = excluded.tags, timetable_type = excluded.timetable_type,
                     timetable_summary = excluded.timetable_summary,
                     timetable_description = excluded.timetable_description,
                     max_active_tasks = excluded.max_active_tasks, max_active_runs = excluded.max_active_runs,
                     max_consecutive_failed_dag_runs = excluded.max_consecutive_failed_dag_runs,
                     has_task_concurrency_limits = excluded.has_task_concurrency_limits,
                     has_import_errors = excluded.has_import_errors, allowed_run_types = excluded.allowed_run_types,
                     last_parsed_at = excluded.last_parsed_at, last_parse_duration = excluded.last_parse_duration,
                     version_id = excluded.version_id, facts = excluded.facts",
            )?
            .execute(params![
                dag.dag_id.as_str(),
                dag.display_name,
                dag.description,
                dag.paused_upon_creation,
                file.bundle_name,
                dag.bundle_version,
                file.relative_fileloc,
                dag.relative_fileloc,
                dag.fileloc,
                texts_json(&dag.owners),
                texts_json(&dag.tags),
                dag.timetable_type,
                dag.timetable_summary,
                dag.timetable_description,
                dag.max_active_tasks,
                dag.max_active_runs,
                dag.max_consecutive_failed_dag_runs,
                dag.has_task_concurrency_limits,
                !file.errors.is_empty(),
                dag.allowed_run_types.as_deref().map(texts_json),
                micros(file.at),
                duration_micros(file.duration),
                version,
                dag.facts.to_string(),
                dag.unproven,
            ])?;
        Ok(())
    }

    pub(super) fn bundle(&self, bundle: &BundleRecord) -> WriteResult<()> {
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO bundle (name, version, version_path, url, url_params) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                bundle.name,
                bundle.version,
                bundle.version_path,
                bundle.url,
                serde_json::Value::from_iter(bundle.url_params.clone()).to_string(),
            ])?;
        Ok(())
    }

    pub(super) fn bundle_advanced(
        &self,
        bundle_name: &str,
        bundle_version: Option<&str>,
        files: &[String],
    ) -> WriteResult<()> {
        for statement in [
            "UPDATE dag_version SET bundle_version = ?2 WHERE bundle_version IS NOT ?2 AND id IN
                 (SELECT version_id FROM dag WHERE bundle_name = ?1 AND NOT stale
                  AND source_file IN (SELECT value FROM json_each(?3)))",
            "UPDATE dag SET bundle_version = ?2 WHERE bundle_name = ?1 AND NOT stale
                 AND source_file IN (SELECT value FROM json_each(?3)) AND bundle_version IS NOT ?2",
        ] {
            self.connection.prepare_cached(statement)?.execute(params![
                bundle_name,
                bundle_version,
                texts_json(files)
            ])?;
        }
        Ok(())
    }

    pub(super) fn file_gone(&self, bundle_name: &str, relative_fileloc: &str) -> WriteResult<()> {
        for statement in [
            "DELETE FROM file WHERE bundle_name = ?1 AND relative_fileloc = ?2",
            "DELETE FROM import_error WHERE bundle_name = ?1 AND source_file = ?2",
            "UPDATE dag SET stale = 1 WHERE bundle_name = ?1 AND source_file = ?2",
        ] {
            self.connection.prepare_cached(statement)?.execute(params![bundle_name, relative_fileloc])?;
        }
        self.activate_assets()
    }
}
