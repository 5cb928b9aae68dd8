//! Python environments: one that the user names, or one that is made in the home.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

/// What an environment that is made here gets: the official packages and everything they need, pinned.
const REQUIREMENTS: &str = include_str!("environment/requirements.txt");
/// The oldest Python that the pinned packages run on.
const MIN_PYTHON: (u32, u32) = (3, 11);
/// Interpreters to make an environment from, the preferred ones first.
const INTERPRETERS: [&str; 5] = ["python3.12", "python3.13", "python3.11", "python3", "python"];
/// Lines of an installer's output that an error repeats.
const SHOWN_LINES: usize = 15;

#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error("{path} is no Python interpreter and no virtual environment: {reason}")]
    NoInterpreter { path: PathBuf, reason: String },
    #[error(
        "the Python {path} has no {}: install {} into it, or leave --python away to have an environment made in the home",
        .missing.join(" and no "),
        .missing.iter().map(|name| pinned(name)).collect::<Vec<_>>().join(" ")
    )]
    MissingPackages { path: PathBuf, missing: Vec<String> },
    #[error(
        "no Python from {}.{} on was found to make an environment with: install python3 and python3-venv, or give --python PATH",
        MIN_PYTHON.0, MIN_PYTHON.1
    )]
    NoPython,
    #[error("{step} failed; the last of its output:\n{output}")]
    Step { step: String, output: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

fn pinned(name: &str) -> String {
    let line = REQUIREMENTS.lines().find(|line| line.starts_with(&format!("{name}==")));
    line.and_then(|line| line.split_whitespace().next()).unwrap_or(name).to_owned()
}

/// Packages without which nothing works, by the name that PyPI has for them.
const NEEDED: [&str; 2] = ["apache-airflow-core", "apache-airflow-task-sdk"];

/// What an interpreter says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct PythonInfo {
    /// The interpreter to run.
    #[serde(skip)]
    pub path: PathBuf,
    pub version: String,
    /// Name and version of the Airflow packages that it has.
    pub packages: std::collections::BTreeMap<String, String>,
    /// The folder of the package `airflow`, which has the web UI among others.
    pub airflow: Option<PathBuf>,
}

const PROBE: &str = r#"
import json, os, sys
from importlib import metadata, util
packages = {}
for name in ("apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk", "apache-airflow-providers-standard"):
    try:
        packages[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
spec = util.find_spec("airflow")
airflow = spec and spec.origin and os.path.dirname(spec.origin)
print(json.dumps({"version": ".".join(map(str, sys.version_info[:3])), "packages": packages, "airflow": airflow}))
"#;

/// Looks at an interpreter, or at the one of a virtual environment, and checks that it has what is needed.
pub async fn inspect(path: &Path) -> Result<PythonInfo, EnvironmentError> {
    let interpreter = if path.is_dir() { path.join("bin/python") } else { path.to_owned() };
    let fail = |reason: String| EnvironmentError::NoInterpreter { path: path.to_owned(), reason };
    let output = Command::new(&interpreter)
        .args(["-I", "-c", PROBE])
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| fail(error.to_string()))?;
    if !output.status.success() {
        return Err(fail(last_lines(&String::from_utf8_lossy(&output.stderr), 3)));
    }
    let mut info: PythonInfo = serde_json::from_slice(&output.stdout).map_err(|error| fail(error.to_string()))?;
    info.path = interpreter;
    let missing: Vec<String> =
        NEEDED.iter().filter(|name| !info.packages.contains_key(**name)).map(|name| (*name).to_owned()).collect();
    if missing.is_empty() {
        Ok(info)
    } else {
        Err(EnvironmentError::MissingPackages { path: path.to_owned(), missing })
    }
}

/// The environment below `folder`, made if it is not there or was made for other packages. `progress` hears a line for
/// each step.
pub async fn prepare(folder: &Path, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<PythonInfo, EnvironmentError> {
    let stamp = folder.join("updraft-requirements.txt");
    // Written last: an environment that was left half made has none.
    if std::fs::read_to_string(&stamp).ok().as_deref() == Some(REQUIREMENTS)
        && let Ok(info) = inspect(folder).await
    {
        return Ok(info);
    }
    let io = |source: std::io::Error| EnvironmentError::Io { path: folder.to_owned(), source };
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(io)?;
    }
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    let requirements = folder.with_extension("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).map_err(io)?;
    let base = find_python().await.ok_or(EnvironmentError::NoPython)?;
    let count = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
    progress(&format!("Making a Python environment in {} (once; {count} packages)", folder.display()));
    let python = folder.join("bin/python");
    if let Some(uv) = find_in_path("uv") {
        run(
            "making the environment",
            &uv,
            ["venv".as_ref(), "--quiet".as_ref(), "--python".as_ref(), base.as_os_str(), folder.as_os_str()],
            progress,
        )
        .await?;
        progress("Installing the Task SDK, Airflow's core and the standard provider");
        let args: [&OsStr; 7] = [
            "pip".as_ref(),
            "install".as_ref(),
            // The helper starts in half the time when it need not compile its modules; pip does so unasked.
            "--compile-bytecode".as_ref(),
            "--python".as_ref(),
            python.as_os_str(),
            "-r".as_ref(),
            requirements.as_os_str(),
        ];
        run("installing the packages", &uv, args, progress).await?;
    } else {
        run("making the environment", &base, ["-m".as_ref(), "venv".as_ref(), folder.as_os_str()], progress)
            .await
            .map_err(|error| with_hint(error, "On Debian and Ubuntu: apt-get install python3-venv"))?;
        progress("Installing the Task SDK, Airflow's core and the standard provider");
        let args: [&OsStr; 8] = [
            "-m".as_ref(),
            "pip".as_ref(),
            "install".as_ref(),
            "--disable-pip-version-check".as_ref(),
            "--progress-bar".as_ref(),
            "off".as_ref(),
            "-r".as_ref(),
            requirements.as_os_str(),
        ];
        run("installing the packages", &python, args, progress).await?;
    }
    let info = inspect(folder).await?;
    std::fs::write(&stamp, REQUIREMENTS).map_err(io)?;
    let _ = std::fs::remove_file(&requirements);
    progress("The Python environment is ready");
    Ok(info)
}

async fn find_python() -> Option<PathBuf> {
    for name in INTERPRETERS {
        let Some(path) = find_in_path(name) else { continue };
        let output = Command::new(&path)
            .args(["-I", "-c", "import sys; print(sys.version_info[0], sys.version_info[1])"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .await;
        let Ok(output) = output else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<u32>().ok());
        if numbers.next().zip(numbers.next()).is_some_and(|version| version >= MIN_PYTHON) {
            return Some(path);
        }
    }
    None
}

/// The first program of that name in `PATH`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(is_program)
}

/// Runs one step and passes its output on, line by line.
async fn run<'a>(
    step: &str,
    program: &Path,
    args: impl IntoIterator<Item = &'a OsStr>,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), EnvironmentError> {
    let failed = |output: String| EnvironmentError::Step { step: step.to_owned(), output };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (out, err) = tokio::join!(pass_on(stdout, progress), pass_on(stderr, progress));
    let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let lines: Vec<String> = out.into_iter().chain(err).collect();
    Err(failed(lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")))
}

async fn pass_on(stream: Option<impl AsyncRead + Unpin>, progress: &(dyn Fn(&str) + Send + Sync)) -> Vec<String> {
    let mut kept = Vec::new();
    let Some(stream) = stream else { return kept };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() {
            progress(line.trim_end());
        }
        kept.push(line);
        if kept.len() > 4 * SHOWN_LINES {
            kept.drain(..SHOWN_LINES);
        }
    }
    kept
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn with_hint(error: EnvironmentError, hint: &str) -> EnvironmentError {
    match error {
        EnvironmentError::Step { step, output } => EnvironmentError::Step { step, output: format!("{output}\n{hint}") },
        other => other,
    }
}
