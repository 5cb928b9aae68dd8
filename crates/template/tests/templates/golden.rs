//! Replays what Airflow rendered (`golden/record_templates.py`): each template is either refused when it is checked,
//! or rendered to the same text or the same error.

use std::collections::HashMap;

use crate::world::{Case, recorded};
use template::{Context, RenderError, airflow_context_vars, check, check_value, render, render_value};

/// What is wrong with a case, and whether it was refused only when it was rendered.
fn problem(case: &Case, context: &Context<'_>) -> (Option<String>, bool) {
    match (check(&case.template), case.expect.as_str()) {
        (Err(refused), "native") => return (Some(format!("was refused: {refused}")), false),
        (Err(_), _) => return (None, false),
        (Ok(()), "refused") => return (Some("was not refused".to_owned()), false),
        (Ok(()), _) => {}
    }
    let got = render(&case.template, context);
    let want = match (&case.rendered, &case.error, &case.message) {
        (Some(text), ..) => Ok(text.as_str()),
        (None, Some(kind), Some(message)) => Err((kind.as_str(), message.as_str())),
        _ => return (Some("was recorded without an outcome".to_owned()), false),
    };
    let same = match (&got, &want) {
        (Ok(got), Ok(want)) => got == want,
        (Err(RenderError::Raised { kind, message, .. }), Err(want)) => (*kind, message.as_str()) == *want,
        (Err(RenderError::NeedsPython { .. }), _) if case.expect == "any" => return (None, true),
        _ => false,
    };
    if same { (None, false) } else { (Some(format!("gave {got:?}, not {want:?}")), false) }
}

#[test]
fn templates_are_rendered_as_airflow_renders_them() {
    let (recorded, worlds) = recorded();
    let mut problems = Vec::new();
    let mut late = Vec::new();
    let mut refused = 0;
    for case in &recorded.cases {
        let (problem, refused_late) = problem(case, &worlds[&case.context].context());
        problems.extend(problem.map(|problem| format!("{} in {}: {problem}", case.template, case.context)));
        late.extend(refused_late.then_some(&case.template));
        refused += usize::from(case.expect == "any" && check(&case.template).is_err());
    }
    println!("{} cases, {refused} refused that may be, {} only at run time:", recorded.cases.len(), late.len());
    for template in &late {
        println!("  {template}");
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn environment_variables_are_airflows() {
    let (recorded, worlds) = recorded();
    for (name, world) in &worlds {
        let got: HashMap<String, String> =
            airflow_context_vars(&world.context()).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(got, recorded.environments[name], "{name}");
    }
}

#[test]
fn values_are_rendered_deeply() {
    let (_, worlds) = recorded();
    let value = serde_json::json!({"a": ["{{ ds }}", 1, {"{{ ds }}": "{{ params.count }}\n"}], "b": null, "c": "x\n"});
    check_value(&value).unwrap();
    assert_eq!(
        render_value(&value, &worlds["scheduled"].context()).unwrap(),
        serde_json::json!({"a": ["2024-02-29", 1, {"{{ ds }}": "3"}], "b": null, "c": "x"})
    );
    let error = check_value(&serde_json::json!([["{{ foo }}"]])).unwrap_err();
    assert_eq!(error.to_string(), "the name `foo` (line 1) needs Python");
}
