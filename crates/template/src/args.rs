//! The arguments of a call.

use crate::error::{Outcome, needs_python, type_error};
use crate::value::Value;

/// Arguments, evaluated.
#[derive(Debug, Default, Clone)]
pub(crate) struct Arguments {
    pub positional: Vec<Value>,
    pub named: Vec<(String, Value)>,
}

impl Arguments {
    /// The arguments in the order of the parameters; `None` for those that were not given. Calls that Python refuses
    /// are left to Python: each function words it in its own way.
    pub fn bind<const N: usize>(self, parameters: [&str; N]) -> Outcome<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            return needs_python("a call with this many arguments");
        }
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            match parameters.iter().position(|parameter| *parameter == name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                _ => return needs_python(format!("the argument `{name}`")),
            }
        }
        Ok(bound)
    }

    /// Checks that there are none.
    pub fn none(self) -> Outcome<()> {
        self.bind([]).map(|[]| ())
    }
}

/// The value of a parameter that must be given.
pub(crate) fn required(value: Option<Value>) -> Outcome<Value> {
    match value {
        Some(value) => Ok(value),
        None => needs_python("a call with an argument missing"),
    }
}

/// The text of an argument of a function in C, which calls it `what` where it is none.
pub(crate) fn str_argument(value: Option<Value>, what: &str) -> Outcome<String> {
    match required(value)? {
        Value::Str(text) => Ok(text.to_string()),
        other @ (Value::Markup(_) | Value::Enum(_)) => needs_python(format!("a {} here", other.type_name())),
        other => type_error(format!("{what} must be str, not {}", other.type_name())),
    }
}
