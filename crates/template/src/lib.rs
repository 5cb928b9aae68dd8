//! Airflow's Jinja templates, rendered without Python.
//!
//! The rule of this crate: a template is rendered exactly as Airflow's Jinja renders it, or it is refused by
//! [`check`] when its Dag is imported, so that the task goes to the official runner. Constructs are accepted one by
//! one, where their meaning is known to be the same; everything else is refused. What only shows at run time, such
//! as an XCom that holds an object, ends in [`RenderError::NeedsPython`] and never in a guess.
//!
//! minijinja's parser reads the template. Its virtual machine is not used: Python's values differ too much from its
//! own, in arithmetic and comparisons, in how values are written, and in what their attributes are.
//!
//! Not for Dags that render to native objects, change Jinja's environment, or have macros and filters of their own
//! (`render_template_as_native_obj`, `jinja_environment_kwargs`, `template_undefined`, `user_defined_macros`,
//! `user_defined_filters`): a template does not show these, so whoever imports the Dag has to ask.

mod args;
mod builtins;
mod check;
mod connection;
mod context;
mod env;
mod error;
mod kind;
mod lookups;
mod lower;
mod objects;
pub mod python;
mod render;
mod source;
mod syntax;
mod time;
mod value;

use model::Json;

pub use context::{Context, Facts};
pub use env::airflow_context_vars;
pub use error::{LookupError, RenderError, Unsupported};
pub use lookups::{Connection, Lookups, PreviousRun, XComQuery};

/// How deep lists and dicts of templates may nest.
const MAX_JSON_DEPTH: usize = 100;

/// Checks whether a template can be rendered without Python.
pub fn check(source: &str) -> Result<(), Unsupported> {
    if source::has_markup(source) { compile(source).map(|_| ()) } else { Ok(()) }
}

/// Checks every template in a value: texts, and texts in lists and dicts. Keys are no templates.
pub fn check_value(value: &Json) -> Result<(), Unsupported> {
    each_text(value, MAX_JSON_DEPTH, &mut check)
}

/// Checks that no text in a value names a file by its end, as `.sh` does for a `BashOperator`: Airflow renders the
/// contents of the file then.
pub fn check_names_no_file(value: &Json, template_ext: &[&str]) -> Result<(), Unsupported> {
    each_text(value, MAX_JSON_DEPTH, &mut |text| match template_ext.iter().find(|end| text.ends_with(**end)) {
        Some(end) => {
            Err(source::unsupported(format!("a template in a file, named by a text that ends with `{end}`,"), 1))
        }
        None => Ok(()),
    })
}

/// Renders a template.
pub fn render(source: &str, context: &Context<'_>) -> Result<String, RenderError> {
    if !source::has_markup(source) {
        return Ok(source::unix_newlines(source).into_owned());
    }
    let tree = compile(source).map_err(|Unsupported { what, line }| RenderError::NeedsPython { what, line })?;
    render::render(&tree, context)
}

/// Renders every template in a value: texts, and texts in lists and dicts. Anything else stays as it is.
pub fn render_value(value: &Json, context: &Context<'_>) -> Result<Json, RenderError> {
    render_deep(value, context, MAX_JSON_DEPTH)
}

fn compile(source: &str) -> Result<syntax::Tree, Unsupported> {
    let text = source::unix_newlines(source);
    let tree = source::with_tree(&text, lower::lower)?;
    check::check(&tree)?;
    Ok(tree)
}

fn each_text(
    value: &Json,
    depth: usize,
    each: &mut dyn FnMut(&str) -> Result<(), Unsupported>,
) -> Result<(), Unsupported> {
    if depth == 0 {
        return Err(source::unsupported("a value nested this deep", 1));
    }
    match value {
        Json::String(text) => each(text),
        Json::Array(items) => items.iter().try_for_each(|item| each_text(item, depth - 1, each)),
        Json::Object(entries) => entries.values().try_for_each(|item| each_text(item, depth - 1, each)),
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
    }
}

fn render_deep(value: &Json, context: &Context<'_>, depth: usize) -> Result<Json, RenderError> {
    if depth == 0 {
        return Err(RenderError::NeedsPython { what: "a value nested this deep".to_owned(), line: 1 });
    }
    Ok(match value {
        Json::String(text) => Json::String(render(text, context)?),
        Json::Array(items) => {
            Json::Array(items.iter().map(|item| render_deep(item, context, depth - 1)).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let rendered = entries.iter().map(|(key, item)| Ok((key.clone(), render_deep(item, context, depth - 1)?)));
            Json::Object(rendered.collect::<Result<_, RenderError>>()?)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
    })
}
