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

/// The template fields, rendered.
#[derive(Clone, PartialEq, Debug)]
pub struct Rendered {
    pub bash_command: String,
    pub env: Option<Json>,
    pub cwd: Option<String>,
}

/// What is to be run.
#[derive(Clone, PartialEq, Debug)]
pub struct Command {
    pub bash_command: String,
    pub environment: Environment,
    pub cwd: Option<String>,
}

/// A field that could not be rendered.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {error}")]
pub struct FieldError {
    pub field: &'static str,
    pub template: Json,
    pub error: RenderError,
}

impl FieldError {
    /// The exception that Airflow raises for it: its class and its message.
    pub fn exception(&self) -> (&str, String) {
        match &self.error {
            RenderError::Raised { kind, message, .. } => (kind, message.clone()),
            other => ("AirflowException", other.to_string()),
        }
    }
}

/// What is wrong with a command, as the exception that Airflow raises for it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub exception: &'static str,
    pub message: String,
}

fn refused<T>(exception: &'static str, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { exception, message: message.into() })
}

/// Fields that are no templates: their values are what another task left, and a mapped task takes them as they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Plain {
    pub bash_command: bool,
    pub env: bool,
    pub cwd: bool,
}

/// Renders the template fields, in the operator's order.
pub fn render(spec: &BashSpec, plain: Plain, context: &Context<'_>) -> Result<Rendered, Box<FieldError>> {
    let render = |field, is_plain: bool, template: &str| match is_plain {
        true => Ok(template.to_owned()),
        false => template::render(template, context)
            .map_err(|error| Box::new(FieldError { field, template: template.into(), error })),
    };
    let bash_command = render("bash_command", plain.bash_command, &spec.bash_command)?;
    let env = spec.env.as_ref().map(|env| {
        if plain.env {
            return Ok(env.clone());
        }
        template::render_value(env, context)
            .map_err(|error| Box::new(FieldError { field: "env", template: env.clone(), error }))
    });
    let env = env.transpose()?;
    let cwd = spec.cwd.as_deref().map(|cwd| render("cwd", plain.cwd, cwd)).transpose()?;
    Ok(Rendered { bash_command, env, cwd })
}

impl Rendered {
    /// The fields as people see them: in the order of their names, as the task runner shows dicts.
    pub fn fields(&self) -> Json {
        let mut env = self.env.clone();
        if let Some(Json::Object(fields)) = &mut env {
            fields.sort_keys();
        }
        json!({"bash_command": self.bash_command, "env": env, "cwd": self.cwd})
    }
}

/// Works out what to run. `base` is what the environment of every task has beyond that of the engine.
pub fn command(
    spec: &BashSpec,
    rendered: &Rendered,
    context: &Context<'_>,
    base: Vec<(String, String)>,
) -> Result<Command, Refused> {
    if let Some(cwd) = &rendered.cwd {
        if !Path::new(cwd).exists() {
            return refused("AirflowException", format!("Can not find the cwd: {cwd}"));
        }
        if !Path::new(cwd).is_dir() {
            return refused("AirflowException", format!("The cwd {cwd} must be a directory"));
        }
    }
    let own = rendered.env.as_ref().map(env_pairs).transpose()?;
    let context_vars =
        template::airflow_context_vars(context).into_iter().map(|(name, value)| (name.to_owned(), value));
    let environment = match own {
        None => Environment::Inherited(base.into_iter().chain(context_vars).collect()),
        Some(own) if spec.append_env => {
            Environment::Inherited(base.into_iter().chain(own).chain(context_vars).collect())
        }
        Some(own) => Environment::Exactly(own.into_iter().chain(context_vars).collect()),
    };
    let bash_command = rendered.bash_command.clone();
    let command = Command { bash_command, environment, cwd: rendered.cwd.clone() };
    if !command.is_script() && command.bash_command.contains('\0') {
        return refused("ValueError", "embedded null byte");
    }
    Ok(command)
}

fn env_pairs(env: &Json) -> Result<Vec<(String, String)>, Refused> {
    let Some(fields) = env.as_object() else {
        return refused("TypeError", "env must be a dict");
    };
    let pairs = fields.iter().map(|(name, value)| match value.as_str() {
        Some(value) if name.contains('\0') || value.contains('\0') => refused("ValueError", "embedded null byte"),
        Some(_) if name.contains('=') => refused("ValueError", "illegal environment variable name"),
        Some(value) => Ok((name.clone(), value.to_owned())),
        None => refused("TypeError", format!("expected str, bytes or os.PathLike object, not {}", python_type(value))),
    });
    pairs.collect()
}

fn python_type(value: &Json) -> &'static str {
    match value {
        Json::Null => "NoneType",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "int",
        Json::String(_) => "str",
        Json::Array(_) => "list",
        Json::Object(_) => "dict",
    }
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
