//! What can go wrong: at import, when a template is beyond what is rendered here, and at run time.

/// Why a template can't be rendered without Python. Found when a Dag is imported; the task goes to the official
/// runner then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} (line {line}) needs Python")]
pub struct Unsupported {
    /// What was met, for people: ``the filter `pprint` ``.
    pub what: String,
    /// The line in the template, from 1.
    pub line: u32,
}

/// Why a template was not rendered.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RenderError {
    /// The error that Python raises too; rendering again gives it again. `kind` is the exception's class name and
    /// `message` what `str()` of the exception gives.
    #[error("{kind}: {message}")]
    Raised { kind: &'static str, message: String, line: u32 },
    /// A value met at run time is beyond what can be rendered exactly here; the official runner can render it.
    #[error("{what} (line {line}) needs Python")]
    NeedsPython { what: String, line: u32 },
    /// The template asks for more work or text than a task may have rendered.
    #[error("the template (line {line}) goes beyond the limit of {limit} {unit}")]
    TooMuch { limit: u64, unit: &'static str, line: u32 },
    /// The store could not answer; rendering again may succeed.
    #[error("{error} (line {line})")]
    Lookup { error: LookupError, line: u32 },
}

/// The store could not answer a question that a template asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LookupError {
    /// The deployment does not let this task read it.
    #[error("{0}")]
    Denied(String),
    /// It could not be read now.
    #[error("{0}")]
    Unavailable(String),
    /// It is where only Python reads it; what it is stands first in a sentence.
    #[error("{0} needs Python")]
    NeedsPython(String),
}

/// A [`RenderError`] before its line is known.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Failure {
    Raised { kind: &'static str, message: String },
    NeedsPython(String),
    TooMuch { limit: u64, unit: &'static str },
    Lookup(LookupError),
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub fn at(self, line: u32) -> RenderError {
        match self {
            Failure::Raised { kind, message } => RenderError::Raised { kind, message, line },
            Failure::NeedsPython(what) => RenderError::NeedsPython { what, line },
            Failure::TooMuch { limit, unit } => RenderError::TooMuch { limit, unit, line },
            Failure::Lookup(error) => RenderError::Lookup { error, line },
        }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NeedsPython(what) => Failure::NeedsPython(what),
            error => Failure::Lookup(error),
        }
    }
}

/// An exception of Python's.
pub(crate) fn raise<T>(kind: &'static str, message: impl Into<String>) -> Outcome<T> {
    Err(Failure::Raised { kind, message: message.into() })
}

pub(crate) fn type_error<T>(message: impl Into<String>) -> Outcome<T> {
    raise("TypeError", message)
}

pub(crate) fn value_error<T>(message: impl Into<String>) -> Outcome<T> {
    raise("ValueError", message)
}

/// Something that is rendered only by Python.
pub(crate) fn needs_python<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Failure::NeedsPython(what.into()))
}
