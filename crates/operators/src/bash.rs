//! `BashOperator`: the same command, environment, exit codes and XCom as the standard provider's
//! (`airflow/providers/standard/operators/bash.py` and `hooks/subprocess.py`, version 1.21.0).

use std::path::Path;

use model::Json;
use model::task::BashSpec;
use process::Environment;
use serde_json::json;
use template::{Context, RenderError};

/// The logger that the operator's lines name.
pub const LOGGER: &str = "airflow.task.hooks.airflow.providers.standard.hooks.subprocess.SubprocessHook";
/// A command that ends like this is a script: it is written to a file, which bash runs.
const SCRIPT_ENDINGS: [&str; 2] = [".sh", ".bash"];

/// What is to be run, with all templates rendered.
#[derive(Clone, PartialEq, Debug)]
pub struct Command {
    pub bash_command: String,
    pub environment: Environment,
    pub cwd: Option<String>,
    /// The template fields as people see them.
    pub rendered_fields: Json,
}

#[derive(Debug, thiserror::Error)]
pub enum BashError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("Can not find the cwd: {0}")]
    NoCwd(String),
    #[error("The cwd {0} must be a directory")]
    CwdIsNoDirectory(String),
    #[error("env: {0}")]
    Env(String),
}

impl BashError {
    /// The name of the exception that Airflow raises for it.
    pub fn exception(&self) -> &str {
        match self {
            BashError::Render(RenderError::Raised { kind, .. }) => kind,
            BashError::Render(_) | BashError::NoCwd(_) | BashError::CwdIsNoDirectory(_) | BashError::Env(_) => {
                "AirflowException"
            }
        }
    }
}

/// Renders the operator's templates and works out what to run.
pub fn prepare(spec: &BashSpec, context: &Context<'_>) -> Result<Command, BashError> {
    let bash_command = template::render(&spec.bash_command, context)?;
    let env = spec.env.as_ref().map(|env| template::render_value(env, context)).transpose()?;
    let cwd = spec.cwd.as_ref().map(|cwd| template::render(cwd, context)).transpose()?;
    if let Some(cwd) = &cwd {
        if !Path::new(cwd).exists() {
            return Err(BashError::NoCwd(cwd.clone()));
        }
        if !Path::new(cwd).is_dir() {
            return Err(BashError::CwdIsNoDirectory(cwd.clone()));
        }
    }
    let own = env.as_ref().map(env_pairs).transpose()?;
    let context_vars =
        template::airflow_context_vars(context).into_iter().map(|(name, value)| (name.to_owned(), value));
    let environment = match own {
        None => Environment::Inherited(context_vars.collect()),
        Some(own) if spec.append_env => Environment::Inherited(own.into_iter().chain(context_vars).collect()),
        Some(own) => Environment::Exactly(own.into_iter().chain(context_vars).collect()),
    };
    // Shown in the order of their names, as the task runner shows dicts.
    let mut shown_env = env;
    if let Some(Json::Object(fields)) = &mut shown_env {
        fields.sort_keys();
    }
    let rendered_fields = json!({"bash_command": bash_command, "env": shown_env, "cwd": cwd});
    Ok(Command { bash_command, environment, cwd, rendered_fields })
}

fn env_pairs(env: &Json) -> Result<Vec<(String, String)>, BashError> {
    let fields = env.as_object().ok_or_else(|| BashError::Env("it is no mapping".into()))?;
    fields
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(value) if !name.contains(['=', '\0']) && !name.is_empty() && !value.contains('\0') => {
                Ok((name.clone(), value.to_owned()))
            }
            _ => Err(BashError::Env(format!("{name:?} is no environment variable with a text"))),
        })
        .collect()
}

impl Command {
    /// Whether the command is a script, to be run from a file.
    pub fn is_script(&self) -> bool {
        SCRIPT_ENDINGS.iter().any(|ending| self.bash_command.ends_with(ending))
    }
}

/// What an exit code means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Success,
    Skipped(String),
    Failed(String),
}

/// Judges the end of the command. `code` is as Python gives it: minus the number of the signal that ended it.
pub fn judge(spec: &BashSpec, code: i32) -> Verdict {
    if spec.skip_on_exit_code.contains(&code) {
        Verdict::Skipped(format!("Bash command returned exit code {code}. Skipping."))
    } else if code == 0 {
        Verdict::Success
    } else {
        Verdict::Failed(format!("Bash command failed. The command returned a non-zero exit code {code}."))
    }
}

/// A line of output as Python's `decode(errors="backslashreplace").rstrip()` gives it.
pub fn decode_line(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.truncate(text.trim_end_matches(is_python_space).len());
    text
}

/// What Python strips from the end of a text.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_judged_as_airflow_judges_them() {
        let spec = BashSpec { skip_on_exit_code: vec![99], ..BashSpec::default() };
        assert_eq!(judge(&spec, 0), Verdict::Success);
        assert!(matches!(judge(&spec, 99), Verdict::Skipped(text) if text.ends_with("exit code 99. Skipping.")));
        assert!(matches!(judge(&spec, -9), Verdict::Failed(text) if text.ends_with("exit code -9.")));
    }

    #[test]
    fn output_is_decoded_as_python_decodes_it() {
        assert_eq!(decode_line(b"plain  \t\r"), "plain");
        assert_eq!(decode_line(b"\xff\xe4 \xc3\xa4"), "\\xff\\xe4 ä");
        assert_eq!(decode_line(b"  "), "");
    }
}
