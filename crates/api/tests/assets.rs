//! Assets: what they are, what happened to them, what waits for Dags, and runs that make them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Engine, facts_to_json};
use jiff::Timestamp;
use model::timetable::Timetable;
use model::{Asset, AssetKey, Dag, DagBuilder, Task, VersionId};
use serde_json::{Value, json};
use store::{AssetAlias, AssetUse, DagAsset, ImportedDag, Write};
use support::{Dags, Server, imported, imported_file, recorded};
use uuid::Uuid;

const PRODUCER: VersionId = VersionId(Uuid::from_u128(10));
const CONSUMER: VersionId = VersionId(Uuid::from_u128(11));

fn asset(name: &str) -> Asset {
    let key = AssetKey { name: name.into(), uri: format!("s3://{name}") };
    Asset { extra: json!({"password": "hidden", "rows": 1}), ..Asset::new(key) }
}

fn part(name: &str) -> Value {
    json!({"__type": "asset", "name": name, "uri": format!("s3://{name}"), "group": "asset", "extra": {}})
}

/// Dags that the engine knows: `p` makes `a`, and `c` waits for `a` and `b`.
fn dags() -> HashMap<VersionId, Arc<Dag>> {
    let mut producer = DagBuilder::new("p", Timetable::Null);
    producer.task(Task::new("t"));
    let condition = json!({"asset_condition": {"__type": "asset_all", "objects": [part("a"), part("b")]}});
    let timetable =
        Timetable::from_serialized("airflow.timetables.simple.AssetTriggeredTimetable", &condition).unwrap();
    let mut consumer = DagBuilder::new("c", timetable);
    consumer.task(Task::new("t"));
    HashMap::from([(PRODUCER, producer.build().unwrap()), (CONSUMER, consumer.build().unwrap())])
}

fn described(dag: &Dag, version: VersionId, assets: Vec<DagAsset>, aliases: Vec<AssetAlias>) -> ImportedDag {
    let Write::Imported(file) = imported(dag.dag_id.as_str(), &format!("The {}", dag.dag_id)) else { unreachable!() };
    let condition = json!({"asset_condition": {"__type": "asset_all", "objects": [part("a"), part("b")]}});
    let timetable = match dag.timetable {
        Timetable::Null => json!({"__type": "airflow.timetables.simple.NullTimetable", "__var": {}}),
        _ => json!({"__type": "airflow.timetables.simple.AssetTriggeredTimetable", "__var": condition}),
    };
    let facts = facts_to_json(dag, &timetable, None, true, true);
    ImportedDag { version, facts, assets, aliases, ..file.dags.into_iter().next().unwrap() }
}

fn server() -> (Server, Engine) {
    let dags = dags();
    let mut server = Server::over(|_| Arc::new(Dags(self::dags())));
    let named = |name: &str, uses: Vec<AssetUse>| DagAsset { asset: asset(name), uses };
    let made = vec![
        named("a", vec![AssetUse::Outlet("t".into())]),
        named("b", vec![AssetUse::Inlet("t".into())]),
        named("other", vec![AssetUse::Inlet("t".into())]),
    ];
    let waited_for = vec![named("a", vec![AssetUse::Schedule]), named("b", vec![AssetUse::Schedule])];
    let aliases = vec![AssetAlias { name: "al".into(), group: "g".into() }];
    let all = vec![
        described(&dags[&PRODUCER], PRODUCER, made, aliases),
        described(&dags[&CONSUMER], CONSUMER, waited_for, Vec::new()),
    ];
    server.write(vec![imported_file("dags-folder", "all.py", Timestamp::UNIX_EPOCH, all, Vec::new())]);
    let engine = recorded::start_engine(&mut server, Dags(dags));
    (server, engine)
}

async fn ask(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = (!body.is_null()).then(|| body.to_string());
    let answer = server.send(method, &format!("/api/v2{path}"), body.as_deref(), &[]).await;
    let status = answer.status.as_u16();
    (status, if answer.text.is_empty() { Value::Null } else { answer.json() })
}

async fn get(server: &Server, path: &str) -> Value {
    let (status, body) = ask(server, "GET", path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn names(list: &Value, field: &str) -> String {
    let names = list[field].as_array().unwrap().iter();
    names.map(|one| one["name"].as_str().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

/// The number that the API gives an asset.
async fn number(server: &Server, name: &str) -> i64 {
    get(server, &format!("/assets?name_pattern={name}")).await["assets"][0]["id"].as_i64().unwrap()
}

#[tokio::test]
async fn assets_are_listed_with_who_names_them() {
    let (server, _engine) = server();
    let a = number(&server, "a").await;
    let at = "1970-01-01T00:00:00Z";
    let expected = json!({
        "id": a, "name": "a", "uri": "s3://a", "group": "asset", "extra": {"password": "***", "rows": 1},
        "created_at": at, "updated_at": at,
        "scheduled_dags": [{"dag_id": "c", "created_at": at, "updated_at": at}],
        "producing_tasks": [{"dag_id": "p", "task_id": "t", "created_at": at, "updated_at": at}],
        "consuming_tasks": [], "aliases": [], "watchers": [],
        "last_asset_event": {"id": null, "timestamp": null},
    });
    assert_eq!(get(&server, &format!("/assets/{a}")).await, expected);
    for (query, expected) in [
        ("", "a b other"),
        ("?order_by=-name", "other b a"),
        ("?order_by=-uri&limit=2&offset=1", "b a"),
        ("?name_pattern=OTH", "other"),
        ("?uri_prefix_pattern=s3://b", "b"),
        ("?dag_ids=c", "a b"),
        ("?dag_ids=c,p&order_by=name", "a b other"),
        ("?dag_ids=x&dag_ids=c&only_active=false", "a b"),
        ("?dag_ids=x", ""),
    ] {
        assert_eq!(names(&get(&server, &format!("/assets{query}")).await, "assets"), expected, "{query}");
    }
    let aliases = get(&server, "/assets/aliases?name_pattern=a").await;
    let alias = &aliases["asset_aliases"][0];
    assert_eq!((&alias["name"], &alias["group"], &aliases["total_entries"]), (&json!("al"), &json!("g"), &json!(1)));
    assert_eq!(get(&server, &format!("/assets/aliases/{}", alias["id"])).await, *alias);
    for (path, status, detail) in [
        ("/assets/99", 404, json!("The Asset with ID: `99` was not found")),
        ("/assets/aliases/99", 404, json!("The Asset Alias with ID: `99` was not found")),
        (
            "/assets?order_by=group",
            400,
            json!("Ordering with 'group' is disallowed or the attribute does not exist on the model"),
        ),
    ] {
        let (found, body) = ask(&server, "GET", path, Value::Null).await;
        assert_eq!((found, &body["detail"]), (status, &detail), "{path}");
    }
}

#[tokio::test]
async fn events_wait_for_dags_until_somebody_wants_otherwise() {
    let (server, _engine) = server();
    let (a, b) = (number(&server, "a").await, number(&server, "b").await);
    let (status, made) = ask(&server, "POST", "/assets/events", json!({"asset_id": a, "extra": {"x": [1]}})).await;
    assert_eq!(status, 200, "{made}");
    let expected = json!({
        "id": 1, "asset_id": a, "uri": "s3://a", "name": "a", "group": "asset",
        "extra": {"x": [1], "from_rest_api": true}, "source_task_id": null, "source_dag_id": null,
        "source_run_id": null, "source_map_index": -1, "created_dagruns": [], "timestamp": made["timestamp"],
        "partition_key": null,
    });
    assert_eq!(made, expected);
    assert_eq!(get(&server, "/assets/events").await, json!({"asset_events": [expected], "total_entries": 1}));
    assert_eq!(get(&server, &format!("/assets/events?asset_id={b}")).await["total_entries"], 0);
    assert_eq!(get(&server, "/assets/events?source_map_index=-1&name_pattern=A").await["total_entries"], 1);
    assert_eq!(get(&server, "/assets/events?timestamp_lt=2000-01-01T00:00:00Z").await["total_entries"], 0);

    let waits = json!({"dag_id": "c", "asset_id": a, "created_at": made["timestamp"], "dag_display_name": "The c"});
    let list = json!({"queued_events": [waits], "total_entries": 1});
    let one = format!("/dags/c/assets/{a}/queuedEvents");
    assert_eq!(get(&server, &format!("/assets/{a}/queuedEvents")).await, list);
    assert_eq!(get(&server, "/dags/c/assets/queuedEvents").await, list);
    assert_eq!(get(&server, &one).await, waits);
    assert_eq!(get(&server, "/dags/x/assets/queuedEvents").await["total_entries"], 0);
    assert_eq!(get(&server, "/dags/c/assets/queuedEvents?before=2000-01-01T00:00:00Z").await["total_entries"], 0);
    let early = "/dags/c/assets/queuedEvents?before=2000-01-01T00:00:00Z";
    assert_eq!(ask(&server, "DELETE", early, Value::Null).await.0, 404);
    assert_eq!(ask(&server, "DELETE", &one, Value::Null).await, (204, Value::Null));
    for (path, detail) in [
        (one.clone(), format!("Queued event with dag_id: `c` and asset_id: `{a}` was not found")),
        ("/dags/c/assets/queuedEvents".into(), "Queue event with dag_id: `c` was not found".into()),
        (format!("/assets/{a}/queuedEvents"), format!("Queue event with asset_id: `{a}` was not found")),
        ("/assets/99/queuedEvents".into(), "Queue event with asset_id: `99` was not found".into()),
    ] {
        let (status, body) = ask(&server, "DELETE", &path, Value::Null).await;
        assert_eq!((status, body["detail"].as_str()), (404, Some(detail.as_str())), "{path}");
    }
    assert_eq!(ask(&server, "GET", &one, Value::Null).await.0, 404);

    // What no longer waits is told of all the same, once there is a run.
    for (asset, at) in [(b, 2), (a, 3)] {
        let (status, made) = ask(&server, "POST", "/assets/events", json!({"asset_id": asset})).await;
        assert_eq!((status, &made["id"], &made["extra"]), (200, &json!(at), &json!({"from_rest_api": true})));
    }
    let runs = get(&server, "/dags/c/dagRuns").await;
    let run_id = runs["dag_runs"][0]["dag_run_id"].as_str().unwrap().replace('+', "%2B");
    let upstream = get(&server, &format!("/dags/c/dagRuns/{run_id}/upstreamAssetEvents")).await;
    let shown: Vec<_> = upstream["asset_events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["id"].as_i64().unwrap(), event["created_dagruns"][0]["triggering"].as_bool().unwrap()))
        .collect();
    assert_eq!(shown, [(1, false), (2, false), (3, true)]);
    assert_eq!(get(&server, &format!("/assets/{a}")).await["last_asset_event"]["id"], 3);
    let (status, body) = ask(&server, "GET", "/dags/c/dagRuns/x/upstreamAssetEvents", Value::Null).await;
    let detail = "The DagRun with dag_id: `c` and run_id: `x` was not found";
    assert_eq!((status, body["detail"].as_str()), (404, Some(detail)));
}

#[tokio::test]
async fn events_that_nobody_can_have_made_are_refused() {
    let (server, _engine) = server();
    let a = number(&server, "a").await;
    for (body, status, place) in [
        (json!({"asset_id": 99}), 404, json!("Asset with ID: `99` was not found")),
        (json!({}), 422, json!(["body", "asset_id"])),
        (json!({"asset_id": "x"}), 422, json!(["body", "asset_id"])),
        (json!({"asset_id": a, "extra": 1}), 422, json!(["body", "extra"])),
        (json!({"asset_id": a, "partition_key": " "}), 422, json!(["body", "partition_key"])),
        (json!({"asset_id": a, "more": 1}), 422, json!(["body", "more"])),
        (json!({"asset_id": a, "access_control": {"x": 1}}), 422, json!(["body", "access_control", "x"])),
    ] {
        let (found, answer) = ask(&server, "POST", "/assets/events", body.clone()).await;
        let detail = &answer["detail"];
        let found_at = if detail.is_array() { &detail[0]["loc"] } else { detail };
        assert_eq!((found, found_at), (status, &place), "{body}: {answer}");
    }
    assert_eq!(get(&server, "/assets/events").await["total_entries"], 0);
}

#[tokio::test]
async fn assets_are_materialized_by_the_dag_that_makes_them() {
    let (server, _engine) = server();
    let (a, b) = (number(&server, "a").await, number(&server, "b").await);
    let (status, run) = ask(&server, "POST", &format!("/assets/{a}/materialize"), Value::Null).await;
    assert_eq!(status, 200, "{run}");
    assert_eq!(
        (&run["dag_id"], &run["run_type"], &run["conf"]),
        (&json!("p"), &json!("asset_materialization"), &json!({}))
    );
    assert!(run["dag_run_id"].as_str().unwrap().starts_with("asset_materialization__20"), "{run}");
    let body = json!({"dag_run_id": "mine", "note": "n"});
    let (status, run) = ask(&server, "POST", &format!("/assets/{a}/materialize"), body.clone()).await;
    assert_eq!((status, &run["dag_run_id"], &run["note"]), (200, &json!("mine"), &json!("n")));
    assert_eq!(ask(&server, "POST", &format!("/assets/{a}/materialize"), body).await.0, 409);
    for (asset, detail) in [(b, "No Dag materializes asset with ID: "), (99, "No Dag materializes asset with ID: ")] {
        let (status, body) = ask(&server, "POST", &format!("/assets/{asset}/materialize"), Value::Null).await;
        assert_eq!((status, body["detail"].as_str().unwrap()), (404, format!("{detail}{asset}").as_str()));
    }
    let second = described(
        &dags()[&CONSUMER],
        CONSUMER,
        vec![DagAsset { asset: asset("a"), uses: vec![AssetUse::Outlet("t".into())] }],
        Vec::new(),
    );
    server.write(vec![imported_file("dags-folder", "c.py", Timestamp::UNIX_EPOCH, vec![second], Vec::new())]);
    let (status, body) = ask(&server, "POST", &format!("/assets/{a}/materialize"), Value::Null).await;
    let detail = format!("More than one Dag materializes asset with ID: {a}");
    assert_eq!((status, body["detail"].as_str()), (409, Some(detail.as_str())));
}

#[tokio::test]
async fn only_operators_change_assets() {
    let config = api::ApiConfig { secret_key: "key".into(), ..api::ApiConfig::default() };
    let mut server = Server::with(config, false);
    for role in ["viewer", "user"] {
        server.log_in(role).await;
        assert_eq!(ask(&server, "GET", "/assets", Value::Null).await.0, 200);
        for (method, path) in [
            ("POST", "/assets/events"),
            ("POST", "/assets/1/materialize"),
            ("DELETE", "/assets/1/queuedEvents"),
            ("DELETE", "/dags/c/assets/queuedEvents"),
            ("DELETE", "/dags/c/assets/1/queuedEvents"),
        ] {
            assert_eq!(ask(&server, method, path, json!({})).await.0, 403, "{role}: {method} {path}");
        }
    }
    server.log_in("op").await;
    assert_eq!(ask(&server, "POST", "/assets/events", json!({"asset_id": 1})).await.0, 404);
}
