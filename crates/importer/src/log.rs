//! What Dag files print while they are imported, in Airflow's place for it.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

/// The longest log of one file and day.
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// Appends what an import printed to the file's log of the day. A log that can't be written is passed over.
pub(crate) fn append(folder: &Path, bundle: &str, relative: &str, output: &str, errors: &[(String, String)]) {
    let now = Timestamp::now();
    let day = now.strftime("%Y-%m-%d").to_string();
    let path = folder.join("dag_processor").join(day).join(bundle).join(format!("{relative}.log"));
    let is_inside = !relative.split('/').any(|part| part == "..");
    if (output.trim().is_empty() && errors.is_empty()) || !is_inside {
        return;
    }
    let written = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
        if file.metadata()?.len() > MAX_LOG {
            return Ok(());
        }
        for line in output.lines() {
            let entry = match serde_json::from_str::<model::Json>(line) {
                Ok(entry) if entry.is_object() => entry,
                _ => json!({"timestamp": format!("{now:.6}"), "level": "info", "event": line, "logger": "dag_file"}),
            };
            writeln!(file, "{entry}")?;
        }
        for (name, error) in errors {
            let event = format!("Failed to import {name}");
            writeln!(
                file,
                "{}",
                json!({"timestamp": format!("{now:.6}"), "level": "error", "event": event, "error_detail": error})
            )?;
        }
        Ok(())
    }();
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "the log of an import can't be written");
    }
}
