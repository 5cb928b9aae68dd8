//! Which files may hold Dags, against what Airflow finds (`golden/record_discovery.py`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use importer::{IgnoreSyntax, Rules, dag_files};
use serde_json::Value;

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_same_files_are_found_as_by_airflow() {
    let golden: Value = serde_json::from_str(include_str!("golden/discovery.json")).unwrap();
    let files = texts(&golden["files"]);
    let base = tempfile::tempdir().unwrap();
    for name in &files {
        let path = base.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let mut wrong = Vec::new();
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let ignores = case["ignores"].as_object().unwrap();
        let place = |folder: &str| base.path().join(folder).join(".airflowignore");
        ignores.iter().for_each(|(folder, lines)| std::fs::write(place(folder), texts(lines).join("\n")).unwrap());
        let syntax = if case["syntax"] == "glob" { IgnoreSyntax::Glob } else { IgnoreSyntax::Regexp };
        let found = dag_files(base.path(), Rules { syntax, safe_mode: false });
        ignores.keys().for_each(|folder| std::fs::remove_file(place(folder)).unwrap());
        let mut found: Vec<&str> =
            found.iter().map(|path| path.strip_prefix(base.path()).unwrap().to_str().unwrap()).collect();
        let missing = texts(&case["missing"]);
        let mut want: Vec<&str> =
            files.iter().map(String::as_str).filter(|file| !missing.iter().any(|gone| gone == file)).collect();
        found.sort_unstable();
        want.sort_unstable();
        if found != want {
            let extra: Vec<&&str> = found.iter().filter(|file| !want.contains(file)).collect();
            let lost: Vec<&&str> = want.iter().filter(|file| !found.contains(file)).collect();
            wrong.push(format!("{} {}: too many {extra:?}, too few {lost:?}", case["syntax"], case["ignores"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn links_are_followed_and_loops_end() {
    let base = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("dag.py"), "airflow dag").unwrap();
    std::fs::write(base.path().join("own.py"), "airflow dag").unwrap();
    std::os::unix::fs::symlink(outside.path(), base.path().join("linked")).unwrap();
    std::os::unix::fs::symlink(base.path(), base.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("own.py", base.path().join("same.py")).unwrap();
    std::os::unix::fs::symlink("/no/such/file.py", base.path().join("broken.py")).unwrap();
    let found = dag_files(base.path(), Rules::default());
    let names: Vec<&Path> = found.iter().map(|path| path.strip_prefix(base.path()).unwrap()).collect();
    assert_eq!(names, ["linked/dag.py", "own.py", "same.py"].map(Path::new));
}
