//! Files of settings: `.json`, `.yaml`, `.yml` and `.env`, as Airflow's `secrets/local_filesystem.py` reads them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::numbers::has_long_integer;
use crate::yaml;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("there is no file {0}")]
    Missing(PathBuf),
    #[error("{path} can't be read: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("Unsupported file format. The file must have one of the following extensions: .env .json .yaml .yml")]
    Extension,
    #[error("{path}, line {line}: {message}")]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{path} contains multiple values for {key}")]
    Twice { path: PathBuf, key: String },
}

/// The entries of a file, in its order.
pub fn load(path: &Path) -> Result<Map<String, Value>, FileError> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    let read = match extension.as_str() {
        "env" => read_env,
        "json" => read_json,
        "yaml" | "yml" => read_yaml,
        _ if !path.exists() => return Err(FileError::Missing(path.to_owned())),
        _ => return Err(FileError::Extension),
    };
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Unreadable { path: path.to_owned(), source },
    })?;
    read(&text, path)
}

fn syntax(path: &Path, line: usize, message: impl Into<String>) -> FileError {
    FileError::Syntax { path: path.to_owned(), line, message: message.into() }
}

fn entries(value: Value, path: &Path) -> Result<Map<String, Value>, FileError> {
    match value {
        Value::Object(entries) => Ok(entries),
        _ => Err(syntax(path, 1, "The file should contain the object.")),
    }
}

fn read_json(text: &str, path: &Path) -> Result<Map<String, Value>, FileError> {
    if text.is_empty() {
        return Err(syntax(path, 1, "The file is empty."));
    }
    let read = |error: serde_json::Error| syntax(path, error.line(), error.to_string());
    let mut entries = entries(serde_json::from_str(text).map_err(read)?, path)?;
    if has_long_integer(text) {
        let written: HashMap<String, Box<RawValue>> = serde_json::from_str(text).map_err(read)?;
        for (key, value) in &mut entries {
            keep_long_integers(value, written.get(key).map_or("", |raw| raw.get()));
        }
    }
    Ok(entries)
}

/// A value with whole numbers that 64 bits can't hold stays the text that it was written as.
fn keep_long_integers(value: &mut Value, written: &str) {
    if !has_long_integer(written) {
        return;
    }
    // What stands beside the value of a variable, or in the fields of a connection, has its own meaning.
    let fields: HashMap<String, Box<RawValue>> = serde_json::from_str(written).unwrap_or_default();
    match value.as_object_mut() {
        Some(entry) if entry.contains_key("value") || entry.contains_key("conn_type") => {
            for (key, field) in entry {
                keep_long_integers(field, fields.get(key).map_or("", |raw| raw.get()));
            }
        }
        _ => *value = written.into(),
    }
}

fn read_yaml(text: &str, path: &Path) -> Result<Map<String, Value>, FileError> {
    if text.is_empty() {
        return Err(syntax(path, 1, "The file is empty."));
    }
    entries(yaml::read(text).map_err(|error| syntax(path, error.line, error.message))?, path)
}

fn read_env(text: &str, path: &Path) -> Result<Map<String, Value>, FileError> {
    let mut entries = Map::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let wrong = |reason: &str| syntax(path, number + 1, format!("Invalid line format. {reason}"));
        let (key, value) =
            line.split_once('=').ok_or_else(|| wrong("The line should contain at least one equal sign (\"=\")."))?;
        if key.is_empty() {
            return Err(wrong("Key is empty."));
        }
        if value.is_empty() {
            return Err(wrong("Value is empty."));
        }
        if entries.insert(key.to_owned(), value.into()).is_some() {
            return Err(FileError::Twice { path: path.to_owned(), key: key.to_owned() });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(text: &str) -> Result<Value, String> {
        read_env(text, Path::new("x.env")).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn env_files_have_a_key_and_a_value_on_each_line() {
        assert_eq!(env("# c\n\nA=1=2\n  # d\nb={\"x\": 1}\n").unwrap(), json!({"A": "1=2", "b": "{\"x\": 1}"}));
        assert_eq!(
            env("A=1\nnope\n").unwrap_err(),
            "x.env, line 2: Invalid line format. The line should contain at least one equal sign (\"=\")."
        );
        assert_eq!(env("=1").unwrap_err(), "x.env, line 1: Invalid line format. Key is empty.");
        assert_eq!(env("A=").unwrap_err(), "x.env, line 1: Invalid line format. Value is empty.");
        assert_eq!(env("A=1\nA=2").unwrap_err(), "x.env contains multiple values for A");
    }

    #[test]
    fn documents_must_be_objects() {
        let json = |text: &str| read_json(text, Path::new("x.json")).map_err(|error| error.to_string());
        assert_eq!(json("{\"a\": 1}").unwrap()["a"], json!(1));
        let long = json(
            "{\"a\": 1, \"b\": [12345678901234567890123], \"c\": {\"value\": 12345678901234567890123, \"description\": \"d\"}}",
        );
        let want = json!({"a": 1, "b": "[12345678901234567890123]", "c": {"value": "12345678901234567890123", "description": "d"}});
        assert_eq!(Value::Object(long.unwrap()), want);
        assert_eq!(json("[1]").unwrap_err(), "x.json, line 1: The file should contain the object.");
        assert_eq!(json("").unwrap_err(), "x.json, line 1: The file is empty.");
        assert!(json("{\n\"a\": }").unwrap_err().starts_with("x.json, line 2: expected value"));
        let yaml = |text: &str| read_yaml(text, Path::new("x.yml")).map_err(|error| error.to_string());
        assert_eq!(yaml("a: 1\n").unwrap()["a"], json!(1));
        assert!(yaml("a: [1\n").unwrap_err().starts_with("x.yml, line "));
        assert!(matches!(load(Path::new("/nowhere.json")), Err(FileError::Missing(_))));
        assert!(matches!(load(Path::new("/dev/null")), Err(FileError::Extension)));
    }
}
