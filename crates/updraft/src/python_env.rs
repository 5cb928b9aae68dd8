//! The Python environment that tasks and Dag files get.

use std::path::Path;

use anyhow::Result;
use python::environment::{self, PythonInfo};

use crate::home::Home;

/// The environment that was named, or the home's own, made if it is not there. What is being done is told on stderr.
pub async fn find(asked: Option<&Path>, home: &Home) -> Result<PythonInfo> {
    Ok(match asked {
        Some(path) => environment::inspect(path).await?,
        None => environment::prepare(&home.python(), &|line| say!("  {line}")).await?,
    })
}
