//! Several bundles at once, and those that are fetched: git repositories, by the official class of the git provider.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, wait_until};

const LOCAL: &str = "airflow.dag_processing.bundles.local.LocalDagBundle";
const GIT: &str = "airflow.providers.git.bundles.git.GitDagBundle";

/// A Dag whose only task returns what its file and the module beside it say.
fn dag(dag_id: &str, says: &str, more: &str) -> String {
    format!(
        "from airflow.sdk import DAG, task\n\nwith DAG({dag_id:?}{more}):\n\n    @task\n    def say():\n        \
         import common\n        return {says:?} + \" \" + common.WORD\n\n    say()\n"
    )
}

fn local(name: &str, path: &Path) -> Value {
    json!({"name": name, "classpath": LOCAL, "kwargs": {"path": path}})
}

/// The settings of a server with these bundles, which fetches as often as it can.
fn settings(context: &Context, bundles: &[Value]) -> Vec<(&'static str, String)> {
    vec![
        ("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", Value::from(bundles.to_vec()).to_string()),
        ("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", context.path("fetched").display().to_string()),
        ("AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL", "1".to_owned()),
        ("AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL", "1".to_owned()),
    ]
}

fn start(context: &Context, settings: &[(&'static str, String)]) -> Server {
    let env: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start_with(context, &env)
}

/// The errors of files and bundles, as `bundle file`.
fn errors(server: &Server) -> BTreeMap<String, String> {
    let reply = server.client.get("/api/v2/importErrors?limit=100");
    let list = reply.body["import_errors"].as_array().unwrap_or_else(|| panic!("{reply:?}")).clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = |error: &Value| format!("{} {}", text(&error["bundle_name"]), text(&error["filename"]));
    list.iter().map(|error| (key(error), text(&error["stack_trace"]))).collect()
}

fn wait_for_error(server: &Server, key: &str, text: &str) {
    server.wait_for(&format!("the error {key}: {text}"), |_| {
        errors(server).get(key).is_some_and(|error| error.contains(text)).then_some(())
    });
}

fn listed(server: &Server) -> BTreeMap<String, String> {
    let dags = server.client.get("/api/v2/dags?limit=100").body;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    dags["dags"].as_array().unwrap().iter().map(|dag| (text(&dag["dag_id"]), text(&dag["bundle_name"]))).collect()
}

fn said(server: &Server, dag_id: &str) -> Value {
    let (run_id, state) = server.run_dag(dag_id, &json!({}));
    assert_eq!(state, "success", "{}", server.said());
    server.xcom(dag_id, &run_id, "say")
}

/// A git repository that is somebody else's.
struct Repository(PathBuf);

impl Repository {
    fn new(context: &Context, name: &str) -> Self {
        let repository = Self(context.path(name));
        std::fs::create_dir_all(&repository.0).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn git(&self, args: &[&str]) -> String {
        let who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").arg("-C").arg(&self.0).args(who).args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits files, and gives the commit.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "a change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn bundle(&self, name: &str, reference: &str, subdir: Option<&str>) -> Value {
        let mut kwargs = json!({"repo_url": self.0, "tracking_ref": reference});
        if let Some(subdir) = subdir {
            kwargs["subdir"] = subdir.into();
        }
        json!({"name": name, "classpath": GIT, "kwargs": kwargs})
    }

    /// Nobody can reach it any more, until it is put back.
    fn hide(&self) {
        std::fs::rename(&self.0, self.0.with_extension("away")).unwrap();
    }

    fn put_back(&self) {
        std::fs::rename(self.0.with_extension("away"), &self.0).unwrap();
    }
}

fn bundle_version(server: &Server, dag_id: &str) -> Option<String> {
    server.client.get(&format!("/api/v2/dags/{dag_id}")).body["bundle_version"].as_str().map(str::to_owned)
}

fn wait_for_version(server: &Server, dag_id: &str, commit: &str) {
    server.wait_for(&format!("{dag_id} at {commit}"), |_| {
        (bundle_version(server, dag_id).as_deref() == Some(commit)).then_some(())
    });
}

/// The versions of a Dag: numbers and the versions of their bundle.
fn versions(server: &Server, dag_id: &str) -> Vec<(i64, String)> {
    let reply = server.client.get(&format!("/api/v2/dags/{dag_id}/dagVersions?order_by=version_number"));
    let list = reply.body["dag_versions"].as_array().unwrap_or_else(|| panic!("{reply:?}")).clone();
    let version = |version: &Value| {
        (version["version_number"].as_i64().unwrap(), version["bundle_version"].as_str().unwrap_or("-").to_owned())
    };
    list.iter().map(version).collect()
}

fn run_version(server: &Server, dag_id: &str, run_id: &str) -> Value {
    let run_id = run_id.replace(':', "%3A").replace('+', "%2B");
    server.client.get(&format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}")).body["bundle_version"].clone()
}

#[test]
fn folders_beside_each_other() {
    let context = context();
    let (one, two) = (context.path("one"), context.path("two"));
    for (folder, word) in [(&one, "first"), (&two, "second")] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("same.py"), dag(&format!("of_{word}"), "file", "")).unwrap();
        std::fs::write(folder.join("common.py"), format!("WORD = {word:?}\n")).unwrap();
        std::fs::write(folder.join("left.py"), dag(&format!("left_{word}"), "file", "")).unwrap();
    }
    std::fs::write(one.join(".airflowignore"), "left.py\n").unwrap();
    std::fs::write(one.join("common_id.py"), dag("contested", "one", "")).unwrap();
    let broken = json!({"name": "broken", "classpath": "no.such.Bundle", "kwargs": {}});
    let odd = json!({"name": "odd", "classpath": LOCAL, "kwargs": {"no_such": 1}});
    let two_with_page = json!({
        "name": "two", "classpath": LOCAL,
        "kwargs": {"path": two, "view_url_template": "https://example.org/{version}"},
    });
    let settings = settings(&context, &[local("one", &one), broken, two_with_page, odd]);
    let server = start(&context, &settings);
    for dag_id in ["of_first", "of_second", "left_second", "contested"] {
        server.wait_for_dag(dag_id);
    }
    wait_for_error(&server, "broken .", "its class no.such.Bundle can't be imported");
    wait_for_error(&server, "odd .", "no_such");
    let bundles = listed(&server);
    let of = |name: &str| bundles.get(name).map(String::as_str);
    assert_eq!((of("of_first"), of("of_second"), of("left_second")), (Some("one"), Some("two"), Some("two")));
    assert_eq!(of("left_first"), None, "each bundle has rules of its own");
    // Each task imports what lies beside its own file.
    assert_eq!((said(&server, "of_first"), said(&server, "of_second")), (json!("file first"), json!("file second")));
    let version = server.client.get("/api/v2/dags/of_second/dagVersions/1").body;
    assert_eq!(
        (&version["bundle_name"], &version["bundle_version"], &version["bundle_url"]),
        (&json!("two"), &json!(null), &json!("https://example.org/None"))
    );

    std::fs::write(two.join("other.py"), dag("contested", "two", "")).unwrap();
    wait_for_error(&server, "two other.py", "Dag contested is defined in common_id.py of the bundle one already");
    std::fs::remove_file(one.join("common_id.py")).unwrap();
    server.wait_for("the other file has it", |_| {
        (listed(&server).get("contested").map(String::as_str) == Some("two")).then_some(())
    });
    assert_eq!(versions(&server, "contested"), [(1, "-".to_owned()), (2, "-".to_owned())]);
    server.terminate();

    // What is no longer configured is gone, and so is what was wrong with it.
    let mut rest = settings;
    rest[0].1 = json!([local("one", &one)]).to_string();
    let server = start(&context, &rest);
    server.wait_for("only one bundle", |_| {
        (listed(&server).into_keys().collect::<Vec<_>>() == ["of_first"] && errors(&server).is_empty()).then_some(())
    });
    assert_eq!(server.client.get("/api/v2/dags/of_second").status, 200, "it is known still");
}

#[test]
fn a_list_of_bundles_that_is_none_is_told_at_once() {
    let context = context();
    let output = context
        .command(&["standalone", "--home"])
        .arg(context.home())
        .env("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", "[{\"name\": \"a\"}]")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("classpath is missing"), "{said}");
}

/// Its task waits for a file, and then says what the module beside it says by then.
fn patient(file: &Path) -> String {
    format!(
        "from airflow.sdk import DAG, task\n\nwith DAG(\"patient\"):\n\n    @task\n    def first():\n        \
         import os, time\n        while not os.path.exists({file:?}):\n            time.sleep(0.05)\n        \
         import common\n        return common.WORD\n\n    @task\n    def say(before):\n        import common\n        \
         return before + \" \" + common.WORD\n\n    say(first())\n"
    )
}

#[test]
fn a_run_keeps_the_version_of_its_repository() {
    let context = context();
    let repository = Repository::new(&context, "repository");
    let go = context.path("go");
    let one = repository.commit(&[
        ("dags/patient.py", &patient(&go)),
        ("dags/plain.py", &dag("plain", "one", "")),
        ("dags/latest.py", &dag("latest", "one", ", disable_bundle_versioning=True")),
        ("dags/common.py", "WORD = \"old\"\n"),
        ("elsewhere.py", &dag("elsewhere", "not below dags", "")),
    ]);
    let mut bundle = repository.bundle("git", "main", Some("dags"));
    bundle["kwargs"]["view_url_template"] = json!("https://example.org/{version}/{subdir}");
    let settings = settings(&context, &[bundle]);
    let server = start(&context, &settings);
    for dag_id in ["patient", "plain", "latest"] {
        wait_for_version(&server, dag_id, &one);
        server.unpause(dag_id);
    }
    assert_eq!(listed(&server).get("elsewhere"), None);
    let (first_plain, _) = server.run_dag("plain", &json!({}));
    assert_eq!(server.xcom("plain", &first_plain, "say"), json!("one old"));
    let long = server.trigger("patient", &json!({}));
    server.wait_for("the first task runs", |_| {
        (server.task_instances("patient", &long)["first"]["state"] == "running").then_some(())
    });

    // Only the code below the tasks is another one: no Dag has a new version, all of them the new code.
    let two = repository.commit(&[("dags/common.py", "WORD = \"new\"\n")]);
    for dag_id in ["patient", "plain", "latest"] {
        wait_for_version(&server, dag_id, &two);
        assert_eq!(versions(&server, dag_id), [(1, two.clone())]);
    }
    let (second_plain, _) = server.run_dag("plain", &json!({}));
    assert_eq!(server.xcom("plain", &second_plain, "say"), json!("one new"));
    assert_eq!(run_version(&server, "plain", &first_plain), json!(one));
    assert_eq!(run_version(&server, "plain", &second_plain), json!(two));
    std::fs::write(&go, "").unwrap();
    assert_eq!(server.wait_for_run("patient", &long), "success");
    assert_eq!(
        server.xcom("patient", &long, "say"),
        json!("old old"),
        "both tasks run the code of their run's version"
    );

    // A Dag with another structure has a new version; the others go on as they are.
    let more = dag("plain", "three", ", description=\"changed\"");
    let three = repository.commit(&[("dags/plain.py", &more)]);
    for dag_id in ["patient", "plain", "latest"] {
        wait_for_version(&server, dag_id, &three);
    }
    assert_eq!(versions(&server, "plain"), [(1, two.clone()), (2, three.clone())]);
    assert_eq!(versions(&server, "patient"), [(1, three.clone())]);
    let version = server.client.get("/api/v2/dags/plain/dagVersions/2").body;
    assert_eq!(version["bundle_url"], json!(format!("https://example.org/{three}/dags")));
    let source = |number: u32| {
        let reply = server.client.get(&format!("/api/v2/dagSources/plain?version_number={number}"));
        reply.body["content"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
    };
    assert_eq!((source(1), source(2)), (dag("plain", "one", ""), more));

    // A run of a Dag that wants no versions has none, and runs the newest code.
    let (run_id, _) = server.run_dag("latest", &json!({}));
    assert_eq!(run_version(&server, "latest", &run_id), json!(null));
    assert_eq!(server.xcom("latest", &run_id, "say"), json!("one new"));

    // What is cleared keeps its version, unless the newest is asked for.
    let clear = |latest: bool| {
        let body = json!({
            "dry_run": false, "dag_run_id": first_plain, "task_ids": ["say"], "only_failed": false,
            "reset_dag_runs": true, "run_on_latest_version": latest,
        });
        let reply = server.client.post("/api/v2/dags/plain/clearTaskInstances", &body);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(server.wait_for_run("plain", &first_plain), "success");
        (run_version(&server, "plain", &first_plain), server.xcom("plain", &first_plain, "say"))
    };
    assert_eq!(clear(false), (json!(one), json!("one old")));
    assert_eq!(clear(true), (json!(three), json!("three new")));
}

#[test]
fn a_repository_out_of_reach_goes_on_as_it_was() {
    let context = context();
    let repository = Repository::new(&context, "repository");
    let one = repository.commit(&[
        ("plain.py", &dag("plain", "one", "")),
        ("latest.py", &dag("latest", "one", ", disable_bundle_versioning=True")),
        ("common.py", "WORD = \"old\"\n"),
    ]);
    let here = context.path("here");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::write(here.join("near.py"), dag("near", "here", "")).unwrap();
    std::fs::write(here.join("common.py"), "WORD = \"near\"\n").unwrap();
    let settings = settings(&context, &[repository.bundle("git", "main", None), local("here", &here)]);
    let server = start(&context, &settings);
    for dag_id in ["plain", "latest"] {
        wait_for_version(&server, dag_id, &one);
    }
    repository.hide();
    wait_for_error(&server, "git .", &format!("Version {one} goes on, and it is tried again."));
    assert_eq!((said(&server, "plain"), said(&server, "latest")), (json!("one old"), json!("one old")));
    assert_eq!(said(&server, "near"), json!("here near"));
    server.terminate();

    // A server that starts meanwhile knows what it needs.
    let server = start(&context, &settings);
    wait_for_error(&server, "git .", "What was imported before goes on, and it is tried again.");
    assert_eq!((said(&server, "plain"), said(&server, "latest")), (json!("one old"), json!("one old")));
    assert_eq!(listed(&server).len(), 3);
    std::fs::write(here.join("common.py"), "WORD = \"changed\"\n").unwrap();
    assert_eq!(said(&server, "near"), json!("here changed"));
    wait_until("the error is in the log once", || server.said().contains("the bundle can't be had"));
    let log = server.said();
    let starts: Vec<&str> = log.split("is ready at").collect();
    assert_eq!(starts.len(), 3, "two servers");
    assert!(starts[1..].iter().all(|said| said.matches("the bundle can't be had").count() <= 2), "{log}");

    repository.put_back();
    let two = repository.commit(&[("plain.py", &dag("plain", "two", ""))]);
    wait_for_version(&server, "plain", &two);
    server.wait_for("the error is gone", |_| errors(&server).is_empty().then_some(()));
    assert_eq!(said(&server, "plain"), json!("two old"));
}

/// Classes of somebody's own: one that has another file each time that it is fetched, one that never comes to an end, and one
/// whose process dies.
const OWN_CLASSES: &str = r#"
import os, time
from pathlib import Path

from airflow.dag_processing.bundles.base import BaseDagBundle

DAG = """from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("number_%d"):
    BashOperator(task_id="only", bash_command="echo x")
"""


class Growing(BaseDagBundle):
    def __init__(self, *, folder, **kwargs):
        super().__init__(**kwargs)
        self.folder = Path(folder)

    @property
    def path(self):
        return self.folder

    def get_current_version(self):
        return None

    def initialize(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        super().initialize()

    def refresh(self):
        number = len(list(self.folder.glob("*.py")))
        if number < 2:
            (self.folder / f"{number}.py").write_text(DAG % number)


class Endless(Growing):
    def refresh(self):
        time.sleep(1000)


class Deadly(Growing):
    def refresh(self):
        os._exit(3)
"#;

#[test]
fn classes_of_ones_own_harm_nobody_else() {
    let context = context();
    let (classes, here) = (context.path("classes"), context.path("here"));
    for folder in [&classes, &here] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(classes.join("own_bundles.py"), OWN_CLASSES).unwrap();
    let own = |name: &str| {
        let kwargs = json!({"folder": context.path(name), "refresh_interval": 1});
        json!({"name": name, "classpath": format!("own_bundles.{name}"), "kwargs": kwargs})
    };
    let mut settings = settings(&context, &[own("Endless"), own("Deadly"), own("Growing"), local("here", &here)]);
    settings.push(("PYTHONPATH", classes.display().to_string()));
    let server = start(&context, &settings);
    std::fs::write(here.join("near.py"), dag("near", "here", "")).unwrap();
    for dag_id in ["near", "number_0", "number_1"] {
        server.wait_for_dag(dag_id);
    }
    wait_for_error(&server, "Deadly .", "ended with exit code 3");
    let (_, state) = server.run_dag("number_1", &json!({}));
    assert_eq!(state, "success");
    assert_eq!(errors(&server).len(), 1, "{:?}", errors(&server));
    std::fs::remove_file(here.join("near.py")).unwrap();
    server.wait_for("a file that is gone", |_| (!listed(&server).contains_key("near")).then_some(()));
}

#[test]
fn what_a_killed_git_has_left_is_no_obstacle() {
    let context = context();
    let repository = Repository::new(&context, "repository");
    let commit = |word: &str| {
        repository.commit(&[("plain.py", &dag("plain", "x", "")), ("common.py", &format!("WORD = {word:?}\n"))])
    };
    let one = commit("one");
    let settings = settings(&context, &[repository.bundle("git", "main", None)]);
    let server = start(&context, &settings);
    wait_for_version(&server, "plain", &one);
    server.kill();
    let two = commit("two");
    let fetched = context.path("fetched/git");
    // As it is when the process was killed: it was writing the index of one copy, and had just begun the other.
    std::fs::write(fetched.join(".updraft-fetches"), "").unwrap();
    std::fs::write(fetched.join("tracking_repo/.git/index.lock"), "").unwrap();
    std::fs::write(fetched.join("bare/packed-refs.lock"), "").unwrap();
    let cut_off = Repository(fetched.join("versions").join(&two));
    std::fs::create_dir_all(&cut_off.0).unwrap();
    cut_off.git(&["init", "-q"]);
    let server = start(&context, &settings);
    wait_for_version(&server, "plain", &two);
    assert_eq!(said(&server, "plain"), json!("x two"));
    assert!(errors(&server).is_empty());
}

#[test]
fn one_bundle_is_imported_without_a_server() {
    let context = context();
    let repository = Repository::new(&context, "repository");
    let commit = repository.commit(&[("plain.py", &dag("plain", "x", "")), ("common.py", "WORD = \"y\"\n")]);
    let here = context.path("here");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::write(here.join("near.py"), dag("near", "here", "")).unwrap();
    let settings = settings(&context, &[repository.bundle("git", "main", None), local("here", &here)]);
    let run = |args: &[&str]| {
        let mut command = context.command(args);
        command.arg("--home").arg(context.home()).envs(settings.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let python = testkit::python();
    let python = python.to_str().unwrap();
    let (success, said) = run(&["dags", "reserialize", "--python", python, "-B", "nowhere"]);
    assert!(!success && said.contains("there is no bundle nowhere; there are git, here"), "{said}");
    let (success, said) = run(&["dags", "reserialize", "--python", python, "--bundle-name", "git"]);
    assert!(success && said.contains("1 Dag files are imported"), "{said}");
    let (_, listed) = run(&["dags", "list", "--output", "json"]);
    assert!(listed.contains(&commit) && !listed.contains("near"), "{listed}");
    // And a Dag in the foreground has the code of its bundle.
    let (success, said) = run(&["dags", "test", "plain", "--python", python]);
    assert!(success, "{said}");
}

#[test]
fn branches_tags_commits_and_connections() {
    let context = context();
    let repository = Repository::new(&context, "repository");
    let file = |name: &str, says: &str| dag(&format!("of_{name}"), says, "");
    let all = ["branch", "tag", "commit", "conn"];
    let write = |says: &str| -> String {
        let files: Vec<(String, String)> =
            all.iter().map(|name| (format!("{name}/dag.py"), file(name, says))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let more = [("conn/common.py", "WORD = \"x\"\n"), ("branch/README.md", "No Dag.\n")];
        repository.commit(&[files.as_slice(), &more].concat())
    };
    let one = write("one");
    repository.git(&["tag", "v1"]);
    repository.git(&["checkout", "-q", "-b", "work"]);
    let two = write("two");
    let mut by_connection = json!({
        "name": "conn", "classpath": GIT,
        "kwargs": {"git_conn_id": "the_repository", "tracking_ref": "work", "subdir": "conn"},
    });
    by_connection["team_name"] = Value::Null;
    let bundles = [
        repository.bundle("branch", "work", Some("branch")),
        repository.bundle("tag", "v1", Some("tag")),
        repository.bundle("commit", &one, Some("commit")),
        repository.bundle("nowhere", "no-such-branch", None),
        by_connection,
        json!({
            "name": "closed", "classpath": GIT,
            "kwargs": {"repo_url": "http://me:s3cret-token@127.0.0.1:1/x.git", "tracking_ref": "main"},
        }),
    ];
    let server = start(&context, &settings(&context, &bundles));
    wait_for_version(&server, "of_branch", &two);
    wait_for_version(&server, "of_tag", &one);
    wait_for_version(&server, "of_commit", &one);
    wait_for_error(&server, "nowhere .", "no-such-branch");
    wait_for_error(&server, "conn .", "the_repository");
    wait_for_error(&server, "closed .", "unable to access");
    assert!(!errors(&server)["closed ."].contains("s3cret-token") && !server.said().contains("s3cret-token"));
    assert_eq!(listed(&server).len(), 3);

    // What was missing is there from now on.
    let connection = json!({"connection_id": "the_repository", "conn_type": "git", "host": repository.0});
    assert_eq!(server.client.post("/api/v2/connections", &connection).status, 201);
    wait_for_version(&server, "of_conn", &two);
    server.wait_for("the error is gone", |_| (!errors(&server).contains_key("conn .")).then_some(()));
    assert_eq!(said(&server, "of_conn"), json!("two x"));

    let three = write("three");
    repository.git(&["tag", "-f", "v1"]);
    for dag_id in ["of_branch", "of_conn", "of_tag"] {
        wait_for_version(&server, dag_id, &three);
    }
    assert_eq!(bundle_version(&server, "of_commit").as_deref(), Some(one.as_str()));
    assert_eq!(said(&server, "of_conn"), json!("three x"));
    // A file that is gone takes its Dag with it.
    repository.git(&["rm", "-q", "branch/dag.py"]);
    repository.commit(&[]);
    server.wait_for("of_branch is gone", |_| (!listed(&server).contains_key("of_branch")).then_some(()));
}

#[test]
fn copies_of_versions_that_nobody_needs_are_removed() {
    let context = context();
    let repository = Repository::new(&context, "repository");
    let commit = |word: &str| {
        repository.commit(&[("plain.py", &dag("plain", "x", "")), ("common.py", &format!("WORD = {word:?}\n"))])
    };
    let first = commit("0");
    let mut settings = settings(&context, &[repository.bundle("git", "main", None)]);
    let options = [("INTERVAL", "1"), ("AGE_THRESHOLD", "0"), ("MIN_VERSIONS", "1")];
    let names = [
        "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_INTERVAL",
        "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_AGE_THRESHOLD",
        "AIRFLOW__DAG_PROCESSOR__STALE_BUNDLE_CLEANUP_MIN_VERSIONS",
    ];
    settings.extend(names.into_iter().zip(options).map(|(name, (_, value))| (name, value.to_owned())));
    let server = start(&context, &settings);
    wait_for_version(&server, "plain", &first);
    // It waits for its turn, and keeps its version meanwhile.
    let waiting = server.trigger("plain", &json!({}));
    let copies = context.path("fetched/git/versions");
    let copy = |commit: &str| copies.join(commit).is_dir();
    assert!(copy(&first));
    let second = commit("1");
    wait_for_version(&server, "plain", &second);
    assert!(copy(&second));
    let third = commit("2");
    wait_for_version(&server, "plain", &third);
    wait_until("the copy of the second version goes", || !copy(&second));
    assert!(copy(&first) && copy(&third));
    server.unpause("plain");
    assert_eq!(server.wait_for_run("plain", &waiting), "success");
    assert_eq!(server.xcom("plain", &waiting, "say"), json!("x 0"));
    wait_until("nobody needs the first version any more", || !copy(&first));
}
