//! A home and a Dag folder that live as long as a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The Python with the pinned Airflow packages, which `make setup` installs.
pub fn python() -> PathBuf {
    match std::env::var_os("UPDRAFT_TEST_PYTHON") {
        Some(path) => path.into(),
        None => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
            assert!(path.exists(), "there is no Python to test with: run `make setup`, or set UPDRAFT_TEST_PYTHON");
            path
        }
    }
}

pub struct Context {
    folder: TempDir,
    binary: PathBuf,
}

impl Context {
    /// `binary` is `env!("CARGO_BIN_EXE_updraft")`, which only the binary's own tests know.
    pub fn new(binary: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("updraft-test-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("dags")).expect("a Dag folder");
        Self { folder, binary: binary.into() }
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn dags(&self) -> PathBuf {
        self.folder.path().join("dags")
    }

    /// Any file beside home and Dag folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> PathBuf {
        self.path("server.log")
    }

    /// Writes a file into the Dag folder, in one step, as editors that care do.
    pub fn write_dag(&self, name: &str, content: &str) {
        let path = self.dags().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, content).expect("a Dag file");
        std::fs::rename(&temporary, &path).expect("a Dag file");
    }

    /// The binary with its arguments, without any of the caller's Airflow settings.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AIRFLOW") || name == "UPDRAFT_PYTHON" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).arg("--home").arg(self.home()).output().expect("the binary runs")
    }
}
