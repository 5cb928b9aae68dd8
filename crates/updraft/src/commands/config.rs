//! `updraft config`.

use anyhow::{Result, bail};

use super::{Context, meant};
use crate::args::ConfigCommand;
use crate::config::{KNOWN, SECRETS};
use crate::output;

pub fn run(context: &Context, command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::GetValue { section, option } => get(context, &section, &option),
        ConfigCommand::List { section, show_values } => list(context, section.as_deref(), show_values),
    }
}

fn get(context: &Context, section: &str, option: &str) -> Result<()> {
    let (section, option) = (section.to_lowercase(), option.to_lowercase());
    let default = KNOWN.iter().find(|known| (known.section, known.option) == (&section, &option));
    let said = if SECRETS.contains(&(&section, &option)) {
        context.config.secret(&section, &option)?
    } else {
        context.config.text(&section, &option)
    };
    match said.or_else(|| default.map(|known| known.default.to_owned())) {
        Some(value) => output::print_line(&value),
        None => {
            let names: Vec<String> = KNOWN.iter().map(|known| format!("{}/{}", known.section, known.option)).collect();
            let hint = meant(&format!("{section}/{option}"), names.iter().map(String::as_str));
            bail!("The option [{section}/{option}] is not found in config{hint}")
        }
    }
}

fn list(context: &Context, only: Option<&str>, show_values: bool) -> Result<()> {
    if !show_values {
        say!("Values are hidden by default. Use `--show-values` to display them (may include sensitive data).");
    }
    let mut keys: Vec<(String, String, String)> = KNOWN
        .iter()
        .map(|known| (known.section.to_owned(), known.option.to_owned(), known.default.to_owned()))
        .collect();
    for (section, option) in context.config.all().into_keys() {
        if !keys.iter().any(|(known, name, _)| *known == section && *name == option) {
            keys.push((section, option, String::new()));
        }
    }
    keys.sort();
    let mut text = String::new();
    let mut current = None;
    for (section, option, default) in keys.into_iter().filter(|(section, ..)| only.is_none_or(|only| only == section)) {
        if current.as_ref() != Some(&section) {
            text.push_str(&format!("{}[{section}]\n", if current.is_some() { "\n" } else { "" }));
            current = Some(section.clone());
        }
        if show_values {
            let value = context.config.text(&section, &option).unwrap_or(default);
            text.push_str(&format!("{option} = {}\n", value.trim().replace('\n', "\n  ")));
        } else {
            text.push_str(&format!("{option}\n"));
        }
    }
    if current.is_none() {
        bail!("there is no section [{}]", only.unwrap_or_default());
    }
    output::print(&text)
}
