//! What the web UI asks for: requests whose answers were recorded from Airflow (`golden/record_ui.py`), and its pages.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use api::ApiConfig;
use axum::http::StatusCode;
use jiff::Timestamp;
use model::{Asset, AssetKey, Change, Deadline, DeadlineId, VersionId};
use serde_json::{Value, json};
use store::{AssetUse, DagAsset, Write};
use support::{Server, recorded};
use uuid::Uuid;

const RECORDING: &str = include_str!("golden/ui.json");

#[tokio::test]
async fn who() {
    recorded::replay(RECORDING, "who", false).await;
}

#[tokio::test]
async fn dags() {
    recorded::replay(RECORDING, "dags", false).await;
}

#[tokio::test]
async fn grid() {
    recorded::replay(RECORDING, "grid", false).await;
}

#[tokio::test]
async fn graph() {
    recorded::replay(RECORDING, "graph", false).await;
}

#[test]
fn every_scenario_is_replayed() {
    assert_eq!(recorded::scenarios(RECORDING), ["who", "dags", "grid", "graph"]);
}

#[tokio::test]
async fn deadlines_are_shown_with_the_alerts_that_they_come_from() {
    let server = Server::new();
    let alert = |name: Option<&str>, interval: Value| json!({"name": name, "reference": {"reference_type": "DagRunQueuedAtDeadline"}, "interval": interval});
    let seconds = json!({"__classname__": "datetime.timedelta", "__version__": 2, "__data__": 300.0});
    let variable = json!({"__classname__": "VariableInterval", "__version__": 0, "__data__": {"key": "k"}});
    let mut imported = support::imported("letters", "The ABC");
    if let Write::Imported(file) = &mut imported {
        file.dags[0].serialized =
            json!({"dag": {"deadline": [alert(None, seconds), alert(Some("by name"), variable)]}});
    }
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let run = support::run("letters", "one", None, at("2026-01-01T00:00:00Z"));
    let made = at("2026-01-02T03:04:05.678Z");
    let deadline = |number: u128, alert, moment: &str| {
        let id = DeadlineId(Uuid::from_u128((made.as_millisecond() as u128) << 80 | 7 << 76 | 2 << 62 | number));
        Deadline { id, run: run.key.clone(), alert, at: Some(at(moment)) }
    };
    let (first, second) = (deadline(1, 0, "2026-01-01T00:05:00Z"), deadline(2, 1, "2026-01-01T00:04:00Z"));
    let put = |deadline: &Deadline| Write::Decision(Change::Deadline(Box::new(deadline.clone())));
    let (id, put_both) = (second.id, [put(&first), put(&second)]);
    server.write(vec![imported, support::decided_run(run.clone())]);
    server.write(put_both.into());
    server.write(vec![Write::Decision(Change::DeadlineMissed(id))]);
    let alerts = server.get("/ui/dags/letters/deadlineAlerts?order_by=-id").await.json();
    assert_eq!(alerts["total_entries"], 2);
    let shown = |alert: &Value| (alert["name"].clone(), alert["interval"].clone(), alert["reference_type"].clone());
    assert_eq!(shown(&alerts["deadline_alerts"][0]), (json!("by name"), Value::Null, json!("DagRunQueuedAtDeadline")));
    assert_eq!(shown(&alerts["deadline_alerts"][1]), (Value::Null, json!(300.0), json!("DagRunQueuedAtDeadline")));
    let found = server.get("/ui/dags/~/dagRuns/~/deadlines").await.json();
    assert_eq!(found["total_entries"], 2);
    let expected = json!({
        "id": id.to_string(), "deadline_time": "2026-01-01T00:04:00Z", "missed": true,
        "created_at": "2026-01-02T03:04:05.678000Z", "dag_id": "letters", "dag_run_id": "one",
        "alert_id": alerts["deadline_alerts"][0]["id"], "alert_name": "by name",
    });
    assert_eq!(found["deadlines"][0], expected);
    let open = server.get("/ui/dags/letters/dagRuns/one/deadlines?missed=false").await.json();
    assert_eq!((&open["total_entries"], &open["deadlines"][0]["alert_name"]), (&json!(1), &Value::Null));
    let grid = server.get("/ui/grid/runs/letters?order_by=run_after").await.json();
    assert_eq!(grid[0]["has_missed_deadline"], true);
}

#[tokio::test]
async fn assets_hang_together_with_the_tasks_that_make_and_use_them() {
    let server = Server::new();
    let asset = |name: &str| Asset {
        key: AssetKey { name: name.into(), uri: format!("s3://{name}") },
        group: "asset".into(),
        extra: json!({}),
    };
    let uses = |name: &str, uses: &[AssetUse]| DagAsset { asset: asset(name), uses: uses.to_vec() };
    let mut maker = support::imported("maker", "Maker");
    let mut user = support::imported("user", "User");
    if let (Write::Imported(maker), Write::Imported(user)) = (&mut maker, &mut user) {
        let make = AssetUse::Outlet("make".into());
        let key = |name: &str| json!({"name": name, "uri": format!("s3://{name}")}).to_string();
        let depends = |source: &str, target: &str, kind: &str, id: &str, label: &str| json!({"source": source, "target": target, "label": label, "dependency_type": kind, "dependency_id": id});
        let task = json!({"__type": "operator", "__var": {"task_id": "make", "task_type": "EmptyOperator"}});
        maker.dags[0].serialized = json!({"dag": {
            "tasks": [task],
            "task_group": {"_group_id": null, "children": {"make": ["operator", "make"]}},
            "dag_dependencies": [
                depends("maker", "asset", "asset", &key("good"), "good"),
                depends("maker", "asset-alias", "asset-alias", "other name", "other name"),
            ],
        }});
        user.dags[0].version = VersionId(Uuid::from_u128(2));
        user.dags[0].serialized = json!({"dag": {"dag_dependencies": [
            depends("asset", "user", "asset", &key("good"), "good"),
            depends("asset-uri-ref", "user", "asset-uri-ref", "s3://apart", "s3://apart"),
            depends("asset-uri-ref", "user", "asset-uri-ref", "s3://nowhere", "s3://nowhere"),
        ]}});
        maker.dags[0].assets = vec![uses("raw", &[AssetUse::Inlet("make".into())]), uses("good", &[make])];
        user.dags[0].assets =
            vec![uses("good", &[AssetUse::Schedule]), uses("apart", &[AssetUse::Inlet("use".into())])];
    }
    server.write(vec![maker, user]);
    let found = server.get("/api/v2/assets").await.json();
    let number = |name: &str| {
        let found = found["assets"].as_array().unwrap().iter().find(|asset| asset["name"] == name);
        found.unwrap()["id"].as_i64().unwrap()
    };
    let (raw, good) = (number("raw"), number("good"));
    let graph = server.get(&format!("/ui/dependencies?dependency_type=data&node_id=asset:{good}")).await.json();
    let ids = |list: &Value, name: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[name].as_str().unwrap().to_owned()).collect()
    };
    let mut expected = vec![format!("asset:{raw}"), format!("asset:{good}"), "task:maker__SEPARATOR__make".into()];
    expected.sort();
    assert_eq!(ids(&graph["nodes"], "id"), expected);
    assert_eq!(ids(&graph["edges"], "source_id"), [format!("asset:{raw}"), "task:maker__SEPARATOR__make".into()]);
    let graph = server.get("/ui/dependencies").await.json();
    let apart = number("apart");
    let edges: Vec<(String, String)> =
        ids(&graph["edges"], "source_id").into_iter().zip(ids(&graph["edges"], "target_id")).collect();
    let edge = |source: &str, target: &str| (source.to_owned(), target.to_owned());
    let mut expected = vec![
        edge(&format!("asset:{good}"), "dag:user"),
        edge(&format!("asset:{apart}"), "dag:user"),
        edge("asset-uri-ref:s3://nowhere", "dag:user"),
        edge("dag:maker", &format!("asset:{good}")),
        edge("dag:maker", "asset-alias:other name"),
    ];
    expected.sort();
    assert_eq!(edges, expected);
    let part = server.get(&format!("/ui/dependencies?node_id=asset:{good}")).await.json();
    assert_eq!(part["nodes"].as_array().unwrap().len(), graph["nodes"].as_array().unwrap().len());
    let shown = server.get("/ui/structure/structure_data?dag_id=maker&external_dependencies=true").await.json();
    let expected = [format!("asset:{good}"), "asset-alias:other name".into()];
    assert_eq!(ids(&shown["edges"], "target_id"), expected);
    assert_eq!(ids(&shown["edges"], "source_id"), ["make", "make"]);
    let missing = server.get("/ui/dependencies?dependency_type=data&node_id=asset:999").await;
    assert_eq!(
        (missing.status, missing.json()),
        (StatusCode::NOT_FOUND, json!({"detail": "Asset with id 999 was not found"}))
    );
    let next = server.get("/ui/next_run_assets/user").await.json();
    let event = &next["events"][0];
    assert_eq!(next["events"].as_array().unwrap().len(), 1);
    assert_eq!((&event["name"], &event["id"], &event["last_update"]), (&json!("good"), &json!(good), &Value::Null));
    assert_eq!(server.get("/ui/next_run_assets/nothing").await.status, StatusCode::NOT_FOUND);
}

/// A folder as the package `airflow` has it, with pages that say whose they are.
fn package() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sites = [("ui/dist", "ui"), ("api_fastapi/auth/managers/simple/ui/dist", "login")];
    for (site, name) in sites {
        let site = folder.path().join(site);
        std::fs::create_dir_all(site.join("assets")).unwrap();
        let page = format!("<base href=\"{{{{ backend_server_base_url }}}}\" /> {name}");
        std::fs::write(site.join("index.html"), page).unwrap();
        std::fs::write(site.join("assets/index-abc.js"), format!("// {name}\n{}", "x".repeat(5000))).unwrap();
        std::fs::write(site.join("pin_32.png"), "png").unwrap();
    }
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    folder
}

fn with_pages(config: ApiConfig) -> (Server, tempfile::TempDir) {
    let server = Server::with(config, true);
    let package = package();
    server.state.serve_pages(package.path().to_owned());
    (server, package)
}

#[tokio::test]
async fn every_other_path_is_a_page() {
    let (server, _package) = with_pages(ApiConfig::default());
    for path in ["/", "/dags", "/dags/a%2Fb/runs/manual__2026-01-01T00:00:00+00:00", "/login", "/static", "/api"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "<base href=\"/\" /> ui"), "{path}");
        assert!(answer.kind().starts_with("text/html"), "{path}: {}", answer.kind());
        assert_eq!(answer.headers["cache-control"], "no-cache", "{path}");
    }
    for path in ["/auth/login", "/auth/", "/auth/anything"] {
        assert_eq!(server.get(path).await.text, "<base href=\"/\" /> login", "{path}");
    }
    for path in ["/api/v2/nothing", "/api/v1/dags", "/health", "/ui/nothing"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.kind().starts_with("application/json"), "{path}");
    }
    assert_eq!(server.send("POST", "/dags", None, &[]).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn files_are_kept_by_browsers_and_compressed_for_them() {
    let (server, _package) = with_pages(ApiConfig::default());
    let script = server.get("/static/assets/index-abc.js").await;
    assert_eq!(script.status, StatusCode::OK);
    assert!(script.text.starts_with("// ui") && script.kind().contains("javascript"), "{}", script.kind());
    assert_eq!(script.headers["cache-control"], "public, max-age=31536000, immutable");
    assert!(server.get("/auth/static/assets/index-abc.js").await.text.starts_with("// login"));
    let small = server.response("GET", "/static/pin_32.png", None, &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (small.headers().get("content-encoding"), small.headers()["cache-control"].as_bytes()),
        (None, &b"no-cache"[..])
    );
    let zipped = server.response("GET", "/static/assets/index-abc.js", None, &[("accept-encoding", "gzip")]).await;
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let since = script.headers["last-modified"].to_str().unwrap();
    let again = server.send("GET", "/static/assets/index-abc.js", None, &[("if-modified-since", since)]).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
}

#[tokio::test]
async fn no_file_outside_of_the_pages_is_shown() {
    let (server, _package) = with_pages(ApiConfig::default());
    for file in [
        "../../secret",
        "..%2F..%2Fsecret",
        "%2e%2e/%2e%2e/secret",
        "assets/../../../secret",
        "/etc/passwd",
        "%00",
        "nothing.js",
    ] {
        let answer = server.get(&format!("/static/{file}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{file}: {}", answer.text);
        assert!(!answer.text.contains("secret"), "{file}");
    }
}

#[tokio::test]
async fn pages_know_the_path_before_the_server() {
    let (server, _package) = with_pages(ApiConfig { base_path: "/team/airflow".into(), ..ApiConfig::default() });
    for path in ["/team/airflow/dags", "/team/airflow/", "/dags"] {
        assert_eq!(server.get(path).await.text, "<base href=\"/team/airflow/\" /> ui", "{path}");
    }
    assert!(server.get("/team/airflow/static/assets/index-abc.js").await.text.starts_with("// ui"));
    for path in ["/team/airflow/api/v2/version", "/api/v2/version", "/team/airflow/ui/auth/me"] {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(server.get("/team/airflow/api/v2/nothing").await.status, StatusCode::NOT_FOUND);
    let login = server.get("/team/airflow/api/v2/auth/login?next=/team/airflow/dags").await;
    assert_eq!(login.headers["location"], "/team/airflow/auth/token/login?next=%2Fteam%2Fairflow%2Fdags");
    let cookie = server.get("/team/airflow/auth/token/login").await;
    assert_eq!(cookie.headers["location"], "/team/airflow/");
    assert!(cookie.headers["set-cookie"].to_str().unwrap().contains("Path=/team/airflow;"), "{cookie:?}");
}

#[tokio::test]
async fn what_is_missing_is_told() {
    let server = Server::new();
    let early = server.get("/").await;
    assert_eq!(early.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(early.text.contains("just started") && early.headers.contains_key("refresh"), "{early:?}");
    let empty = tempfile::tempdir().unwrap();
    server.state.serve_pages(empty.path().to_owned());
    let missing = server.get("/").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text.contains("no web UI") && missing.text.contains("apache-airflow-core"), "{}", missing.text);
}
