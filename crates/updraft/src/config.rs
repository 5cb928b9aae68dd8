//! Airflow's configuration: `AIRFLOW__SECTION__KEY` variables, then `airflow.cfg` in the home, then defaults.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};

/// A key that this program reads.
pub struct KnownOption {
    pub section: &'static str,
    pub option: &'static str,
    /// As text; empty where the default depends on the home.
    pub default: &'static str,
}

const fn known(section: &'static str, option: &'static str, default: &'static str) -> KnownOption {
    KnownOption { section, option, default }
}

/// Every key that this program reads.
pub const KNOWN: [KnownOption; 53] = [
    known("api", "auto_refresh_interval", "3"),
    known("api", "base_url", ""),
    known("api", "default_wrap", "False"),
    known("api", "enable_swagger_ui", "True"),
    known("api", "expose_config", "False"),
    known("api", "fallback_page_limit", "50"),
    known("api", "hide_paused_dags_by_default", "False"),
    known("api", "host", "127.0.0.1"),
    known("api", "instance_name", "Airflow"),
    known("api", "maximum_page_limit", "100"),
    known("api", "port", "8080"),
    known("api", "require_confirmation_dag_change", "False"),
    known("api", "secret_key", ""),
    known("api", "theme", ""),
    known("api_auth", "jwt_audience", "apache-airflow"),
    known("api_auth", "jwt_cli_expiration_time", "3600"),
    known("api_auth", "jwt_expiration_time", "86400"),
    known("api_auth", "jwt_issuer", ""),
    known("api_auth", "jwt_leeway", "10"),
    known("api_auth", "jwt_secret", ""),
    known("core", "dag_discovery_safe_mode", "True"),
    known("core", "dag_ignore_file_syntax", "glob"),
    known("core", "dagbag_import_timeout", "30"),
    known("core", "dags_are_paused_at_creation", "True"),
    known("core", "dags_folder", ""),
    known("core", "default_timezone", "utc"),
    known("core", "fernet_key", ""),
    known("core", "hide_sensitive_var_conn_fields", "True"),
    known("core", "max_map_length", "1024"),
    known("core", "max_templated_field_length", "4096"),
    known("core", "multi_team", "False"),
    known("core", "parallelism", "32"),
    known("core", "rerun_with_latest_version", ""),
    known("core", "sensitive_var_conn_names", ""),
    known("core", "simple_auth_manager_all_admins", "False"),
    known("core", "simple_auth_manager_passwords_file", ""),
    known("core", "simple_auth_manager_users", "admin:admin"),
    known("core", "task_success_overtime", "20"),
    known("core", "test_connection", "Disabled"),
    known("dag_processor", "bundle_refresh_check_interval", "5"),
    known("dag_processor", "dag_bundle_config_list", ""),
    known("dag_processor", "dag_file_processor_timeout", "50"),
    known("dag_processor", "parsing_processes", "2"),
    known("dag_processor", "refresh_interval", "300"),
    known("dag_processor", "stale_bundle_cleanup_interval", "1800"),
    known("logging", "base_log_folder", ""),
    known("logging", "min_length_masked_secret", "5"),
    known("scheduler", "partition_mapper_max_downstream_keys", "1000"),
    known("secrets", "backend", ""),
    known("state_store", "clear_on_success", "False"),
    known("state_store", "default_retention_days", "30"),
    known("state_store", "max_value_storage_bytes", "65535"),
    known("workers", "secrets_backend", ""),
];

/// Keys that are read by [`Config::secret`].
pub const SECRETS: [(&str, &str); 3] = [("api", "secret_key"), ("api_auth", "jwt_secret"), ("core", "fernet_key")];

/// What the deployment says.
#[derive(Clone, Debug, Default)]
pub struct Config {
    file: HashMap<(String, String), String>,
    path: Option<PathBuf>,
}

impl Config {
    /// Reads `airflow.cfg` of a home, if there is one.
    pub fn load(home: &Path) -> Result<Self> {
        let path = std::env::var_os("AIRFLOW_CONFIG").map_or_else(|| home.join("airflow.cfg"), PathBuf::from);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let file = parse(&text).with_context(|| format!("{} can't be read", path.display()))?;
                Ok(Self { file, path: Some(path) })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
        }
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The value of a key, as text.
    pub fn text(&self, section: &str, key: &str) -> Option<String> {
        let variable = variable_name(section, key);
        let from_env = std::env::var(&variable).ok();
        from_env
            .or_else(|| self.file.get(&(section.to_owned(), key.to_owned())).cloned())
            .filter(|text| !text.is_empty())
    }

    /// The value of a key that is a secret: as it is written, or what the command of `KEY_CMD` prints, as in Airflow. What is
    /// there and empty is an empty text.
    pub fn secret(&self, section: &str, key: &str) -> Result<Option<String>> {
        let variable = variable_name(section, key);
        let in_env = |suffix: &str| std::env::var(format!("{variable}{suffix}")).ok();
        let in_file = |suffix: &str| self.file.get(&(section.to_owned(), format!("{key}{suffix}"))).cloned();
        let places = [
            ("the environment", in_env(""), in_env("_CMD"), in_env("_SECRET")),
            ("the file", in_file(""), in_file("_cmd"), in_file("_secret")),
        ];
        for (place, text, command, path) in places {
            if text.is_some() {
                return Ok(text);
            }
            if let Some(command) = command {
                return output_of(&command)
                    .with_context(|| format!("the command of [{section}] {key}_cmd in {place}, {command:?}, failed"))
                    .map(Some);
            }
            if path.is_some() {
                bail!(
                    "[{section}] {key}_secret in {place}: this value can't be read from a secrets back end yet; give \
                     {variable}, or a command that prints it as {variable}_CMD"
                );
            }
        }
        Ok(None)
    }

    /// Where a key is written, for people.
    pub fn place_of(&self, section: &str, key: &str) -> String {
        let variable = variable_name(section, key);
        let is_in_env = ["", "_CMD"].iter().any(|suffix| std::env::var_os(format!("{variable}{suffix}")).is_some());
        match &self.path {
            Some(path) if !is_in_env => path.display().to_string(),
            _ => variable,
        }
    }

    /// The value of a key as a number or the like.
    pub fn get<T: FromStr<Err: Display>>(&self, section: &str, key: &str, default: T) -> Result<T> {
        match self.text(section, key) {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|error| self.wrong(section, key, &text, &format!("{error}"))),
        }
    }

    /// The value of a key as a yes or no, in the words that Airflow takes.
    pub fn flag(&self, section: &str, key: &str, default: bool) -> Result<bool> {
        let Some(text) = self.text(section, key) else { return Ok(default) };
        match text.trim().to_lowercase().as_str() {
            "t" | "true" | "1" => Ok(true),
            "f" | "false" | "0" => Ok(false),
            _ => Err(self.wrong(section, key, &text, "it must be true or false")),
        }
    }

    /// Everything that the deployment says, by section and key.
    pub fn all(&self) -> BTreeMap<(String, String), String> {
        let mut all: BTreeMap<_, _> = self.file.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        for (variable, value) in std::env::vars() {
            let name = variable.strip_prefix("AIRFLOW__").and_then(|name| name.split_once("__"));
            if let Some((section, key)) = name {
                all.insert((section.to_lowercase(), key.to_lowercase()), value);
            }
        }
        all
    }

    fn wrong(&self, section: &str, key: &str, text: &str, reason: &str) -> anyhow::Error {
        let place = self.place_of(section, key);
        anyhow!("[{section}] {key} in {place} is {text:?}: {reason}")
    }
}

fn variable_name(section: &str, key: &str) -> String {
    format!("AIRFLOW__{}__{}", section.replace('.', "_").to_uppercase(), key.to_uppercase())
}

/// What a command prints, without a shell, as Airflow runs it.
fn output_of(command: &str) -> Result<String> {
    let words = shlex::split(command).context("its quotes do not match")?;
    let (program, arguments) = words.split_first().context("it is empty")?;
    let output = std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout).context("what it prints is no UTF-8")?.trim_end_matches('\n').to_owned())
}

/// The form of Python's configparser, as far as Airflow uses it: sections, keys, comments, values that go on in
/// indented lines.
fn parse(text: &str) -> Result<HashMap<(String, String), String>> {
    let mut values: HashMap<(String, String), String> = HashMap::new();
    let mut section = String::new();
    let mut last: Option<(String, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let is_continued = line.starts_with([' ', '\t']);
        if let (true, Some(value)) = (is_continued, last.as_ref().and_then(|key| values.get_mut(key))) {
            value.push('\n');
            value.push_str(trimmed);
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
            last = None;
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            let key = (section.clone(), key.trim().to_lowercase());
            values.insert(key.clone(), value.trim().replace("%%", "%"));
            last = Some(key);
        } else {
            bail!("line {}: {trimmed:?} is neither a [section] nor a key = value", number + 1);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `config list` tells of every key, and `config get-value` knows its default.
    #[test]
    fn every_key_that_is_read_is_known() {
        let call =
            regex::Regex::new(r#"config\s*\.(?:text|flag|get|secret)(?:::<[^(]*>)?\(\s*"([a-z_]+)",\s*"([a-z_]+)""#)
                .unwrap();
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut count = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry);
                    continue;
                }
                let text = std::fs::read_to_string(&entry).unwrap();
                for found in call.captures_iter(&text) {
                    let is_known = KNOWN.iter().any(|known| known.section == &found[1] && known.option == &found[2]);
                    assert!(is_known, "{}: [{}] {} is missing in config::KNOWN", entry.display(), &found[1], &found[2]);
                    count += 1;
                }
            }
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn sections_keys_comments_and_long_values_are_read() {
        let values = parse("# x\n[core]\ndags_folder = /a b\nlist =\n  one\n  two\n; y\n[api]\nPort: 1\n").unwrap();
        let get = |section: &str, key: &str| values[&(section.to_owned(), key.to_owned())].clone();
        assert_eq!((get("core", "dags_folder"), get("api", "port")), ("/a b".to_owned(), "1".to_owned()));
        assert_eq!(get("core", "list"), "\none\ntwo");
        assert_eq!(
            parse("[a]\nnonsense").unwrap_err().to_string(),
            "line 2: \"nonsense\" is neither a [section] nor a key = value"
        );
    }
}
