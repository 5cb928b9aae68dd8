//! Functions of Python's, Jinja's and Airflow's that templates call.

mod filters;
mod format;
mod functions;
mod json;
mod methods;
mod numeric;
mod percent;
mod select;
mod strings;
mod tests;
mod texts;

pub(crate) use filters::apply as apply_filter;
pub(crate) use functions::{dict, ds_add, ds_format, json_dumps, json_loads, namespace, range, strptime_call};
pub(crate) use json::{empty as empty_dict, float as json_float, loads, write_text as write_json_text};
pub(crate) use methods::call as call_method;
pub(crate) use percent::percent;
pub(crate) use tests::apply as apply_test;
pub(crate) use texts::quote;

use crate::value::truncate;
