//! Every command of the command line, with the real binary: without a server, against a running one, and where
//! something is wrong.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

mod by_hand;
mod dags;
mod errors;
mod settings;
mod testing;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use testkit::{Context, python};

/// The binary on one home.
struct Cli {
    context: Context,
    env: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Cli {
    fn new() -> Self {
        Self { context: Context::new(env!("CARGO_BIN_EXE_updraft")), env: Vec::new() }
    }

    /// A home whose Dags are not paused when they are new.
    fn unpaused() -> Self {
        Self::new().with("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.context.command(args);
        command
            .arg("--home")
            .arg(self.context.home())
            .env("UPDRAFT_PYTHON", python())
            .env("AIRFLOW__CORE__DAGS_FOLDER", self.context.dags())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("the binary runs"))
    }

    /// The standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    }

    /// The rows of a command that must succeed.
    fn json(&self, args: &[&str]) -> Vec<Value> {
        let out = self.ok(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.context.path(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    }

    fn env(&self) -> Vec<(&str, &str)> {
        self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().unwrap_or(-1);
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

/// A Dag of two Bash tasks, one below the other.
const PLAIN: &str = r#"
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param

with DAG("plain", schedule=None, tags=["one", "two"], description="a Dag", params={"n": Param(1, type="integer")}):
    BashOperator(task_id="first", bash_command="echo first") >> BashOperator(task_id="second", bash_command="echo second")
"#;

/// A Dag that does not allow manual runs, and one with a schedule.
const OTHERS: &str = r#"
import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("other_daily", schedule="@daily", start_date=pendulum.datetime(2030, 1, 1)):
    EmptyOperator(task_id="only")
"#;

const BROKEN: &str = "from airflow.sdk import DAG\nimport this_is_no_module\n";
