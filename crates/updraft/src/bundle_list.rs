//! The list of bundles in the configuration, checked before anything is started with it.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::config::Config;

const SECTION: &str = "dag_processor";
const OPTION: &str = "dag_bundle_config_list";

/// The bundle of Airflow's example Dags.
const RESERVED: &str = "example_dags";

/// Whether the configuration has a list of bundles. One that Airflow would not take is an error (`_parse_bundle_config`).
pub fn is_given(config: &Config) -> Result<bool> {
    let Some(text) = config.text("dag_processor", "dag_bundle_config_list") else { return Ok(false) };
    let has_teams = config.flag("core", "multi_team", false)?;
    check(&text, has_teams).with_context(|| {
        format!("[{SECTION}] {OPTION} in {} is no list of bundles", config.place_of(SECTION, OPTION))
    })?;
    Ok(true)
}

fn check(text: &str, has_teams: bool) -> Result<()> {
    let list: Value = serde_json::from_str(text).context("it is not JSON")?;
    let Value::Array(items) = list else { bail!("it must be a JSON list, not {list}") };
    let mut names: HashSet<&str> = HashSet::new();
    for item in &items {
        let Value::Object(fields) = item else { bail!("{item} is no object") };
        let text = |key: &str| match fields.get(key) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(other) => bail!("{key} is {other}, which is no text, in {item}"),
            None => bail!("{key} is missing in {item}"),
        };
        let name = text("name")?;
        text("classpath")?;
        if !fields.get("kwargs").is_some_and(Value::is_object) {
            bail!("kwargs must be an object, which may be empty, in {item}");
        }
        if name == RESERVED {
            bail!("the name {name} is Airflow's own; its example Dags come with [core] load_examples");
        }
        // It names folders.
        if name.is_empty() || name.contains('/') || name.contains('\0') || name == "." || name == ".." {
            bail!("{name:?} can't be the name of a bundle: it names folders, too");
        }
        if !names.insert(name) {
            bail!("there are two bundles with the name {name}");
        }
        match fields.get("team_name") {
            None | Some(Value::Null) => {}
            Some(Value::String(_)) if has_teams => {}
            Some(Value::String(team)) => {
                bail!("the bundle {name} has a team_name, {team}, and [core] multi_team is off");
            }
            Some(other) => bail!("team_name is {other}, which is no text, in {item}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_airflow_would_not_take_is_an_error() {
        let of = |text: &str| check(text, false).err().map(|error| format!("{error:#}"));
        assert_eq!(of("[]"), None);
        assert_eq!(
            of(
                r#"[{"name": "a", "classpath": "x.Y", "kwargs": {}}, {"name": "b", "classpath": "x", "kwargs": {"c": 1}, "team_name": null, "more": 1}]"#
            ),
            None
        );
        for (text, part) in [
            ("[", "it is not JSON"),
            ("{}", "it must be a JSON list, not {}"),
            ("[1]", "1 is no object"),
            (r#"[{"name": "a", "kwargs": {}}]"#, "classpath is missing"),
            (r#"[{"name": 1, "classpath": "x", "kwargs": {}}]"#, "name is 1, which is no text"),
            (r#"[{"name": "a", "classpath": "x"}]"#, "kwargs must be an object"),
            (r#"[{"name": "example_dags", "classpath": "x", "kwargs": {}}]"#, "Airflow's own"),
            (r#"[{"name": "a/b", "classpath": "x", "kwargs": {}}]"#, "can't be the name"),
            (
                r#"[{"name": "a", "classpath": "x", "kwargs": {}}, {"name": "a", "classpath": "y", "kwargs": {}}]"#,
                "two bundles with the name a",
            ),
            (r#"[{"name": "a", "classpath": "x", "kwargs": {}, "team_name": "t"}]"#, "multi_team is off"),
        ] {
            let error = of(text).unwrap_or_else(|| panic!("{text} is taken"));
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(check(r#"[{"name": "a", "classpath": "x", "kwargs": {}, "team_name": "t"}]"#, true).is_ok());
    }
}
