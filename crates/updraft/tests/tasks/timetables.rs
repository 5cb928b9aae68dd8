//! Timetables of classes from plugins: their runs are made when they say so, and what is wrong with one is said.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::kill::kill_all;
use crate::support::{context, dag_file, wait_until};

/// How long an answer may take here, in seconds.
const LIMIT: &str = "12";

fn deployment() -> Context {
    let context = context();
    let plugins = context.home().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tasks/plugins/own_timetables.py");
    std::fs::copy(plugin, plugins.join("own_timetables.py")).unwrap();
    context.write_dag("timetables.py", &dag_file("timetables.py"));
    context
}

fn start(context: &Context) -> Server {
    let server = Server::start_with(context, &[("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", LIMIT)]);
    for dag_id in ["workdays", "raises", "hangs"] {
        server.wait_for_dag(dag_id);
    }
    server
}

/// What the task of a run found the run to be about, as soon as it has said it.
fn says(server: &Server, dag_id: &str, run_id: &str) -> Value {
    assert_eq!(server.wait_for_run(dag_id, run_id), "success", "{}", server.said());
    server.xcom(dag_id, run_id, "says")
}

/// The JSON that a command of the command line prints.
fn command(context: &Context, args: &[&str]) -> Value {
    let mut command = context.command(args);
    command.args(["--output", "json"]).arg("--home").arg(context.home());
    command.env("UPDRAFT_PYTHON", testkit::python()).env("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", LIMIT);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn runs_that_somebody_asks_for_are_as_the_timetable_says() {
    let context = deployment();
    let server = start(&context);
    server.wait_for_dag("by_hand");
    let trigger = |dag_id: &str, body: Value| server.client.post(&format!("/api/v2/dags/{dag_id}/dagRuns"), &body);
    let reply = trigger("by_hand", json!({"logical_date": "2024-03-01T12:00:00Z"}));
    assert_eq!((reply.status, &reply.body["dag_run_id"]), (200, &json!("hand_manual_2024-02-29")), "{reply:?}");
    let own = json!({"logical_date": "2024-03-05T00:00:00Z", "dag_run_id": "mine",
        "data_interval_start": "2024-01-01T00:00:00Z", "data_interval_end": "2024-01-03T00:00:00Z"});
    assert_eq!(trigger("by_hand", own).status, 200);
    // What it raises is told: as Airflow does if that is a ValueError.
    let reply = trigger("by_hand", json!({"logical_date": "1999-01-01T00:00:00Z"}));
    assert_eq!((reply.status, &reply.body["detail"]), (400, &json!("there was no calendar then")));
    let reply = trigger("by_hand", json!({"logical_date": null}));
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(reply.status == 400 && detail.starts_with("AttributeError: 'NoneType' object has no"), "{reply:?}");

    // From the command line, through the server.
    let logical_date = ["dags", "trigger", "by_hand", "--logical-date", "2024-03-04"];
    assert_eq!(command(&context, &logical_date)[0]["dag_run_id"], "hand_manual_2024-03-03");

    // By a task.
    server.unpause("by_hand");
    let (run_id, _) = server.run_dag("asks", &json!({}));
    assert_eq!(server.states("asks", &run_id), "in_time=success too_early=failed");
    let log = std::fs::read_to_string(
        context.home().join(format!("logs/dag_id=asks/run_id={run_id}/task_id=too_early/attempt=1.log")),
    );
    assert!(log.unwrap().contains("there was no calendar then"));
    assert_eq!(says(&server, "by_hand", "in_time"), json!("03-01 to 03-02"));
    assert_eq!(says(&server, "by_hand", "mine"), json!("01-01 to 01-03"));
    assert_eq!(says(&server, "by_hand", "hand_manual_2024-02-29"), json!("02-29 to 03-01"));
    assert_eq!(says(&server, "by_hand", "hand_manual_2024-03-03"), json!("03-03 to 03-04"));

    // Without a server.
    server.kill();
    let logical_date = ["dags", "trigger", "by_hand", "--logical-date", "2024-03-06"];
    assert_eq!(command(&context, &logical_date)[0]["dag_run_id"], "hand_manual_2024-03-05");
    let dags = context.dags();
    let test = ["dags", "test", "by_hand", "2024-03-07", "--dags", dags.to_str().unwrap()];
    assert_eq!(command(&context, &test)["run_id"], "manual__2024-03-07T00:00:00+00:00");
}

#[test]
fn backfills_have_the_dates_of_the_timetable() {
    let context = deployment();
    let server = start(&context);
    for dag_id in ["by_hand", "endless"] {
        server.wait_for_dag(dag_id);
    }
    let body = |dag_id: &str| json!({"dag_id": dag_id, "from_date": "2024-01-05", "to_date": "2024-01-08"});
    let dry_run = |dag_id: &str| server.client.post("/api/v2/backfills/dry_run", &body(dag_id));
    let reply = dry_run("by_hand");
    let dates: Vec<&Value> =
        reply.body["backfills"].as_array().unwrap().iter().map(|run| &run["logical_date"]).collect();
    assert_eq!(dates, ["2024-01-05T00:00:00Z", "2024-01-08T00:00:00Z"]);
    let refused = |dag_id: &str| {
        let reply = dry_run(dag_id);
        (reply.status, reply.body["detail"].as_str().unwrap().to_owned())
    };
    let does_not_say = |dag_id: &str| format!("the timetable of Dag {dag_id} does not say which runs there are: ");
    assert_eq!(refused("raises"), (422, does_not_say("raises") + "there is no calendar"));
    assert_eq!(
        refused("endless"),
        (422, "The range has more than 100000 dates: make several backfills of it".to_owned())
    );

    let range = ["--dag-id", "by_hand", "--from-date", "2024-01-05", "--to-date", "2024-01-08"];
    let rows = command(&context, &[&["backfill", "create", "--dry-run"], &range[..]].concat());
    assert_eq!(rows[1], json!({"logical_date": "2024-01-08T00:00:00+00:00"}));

    server.unpause("by_hand");
    let reply = server.client.post("/api/v2/backfills", &body("by_hand"));
    assert_eq!(reply.status, 200, "{reply:?}");
    // The run after an interval's end, as Airflow names runs of backfills.
    assert_eq!(says(&server, "by_hand", "backfill__2024-01-09T00:00:00+00:00"), json!("01-08 to 01-09"));
    wait_until("the backfill is complete", || {
        let backfill = server.client.get(&format!("/api/v2/backfills/{}", reply.body["id"])).body;
        !backfill["completed_at"].is_null()
    });
    server.kill();
    // Without a server it is made, and runs when there is one.
    let range = ["--dag-id", "by_hand", "--from-date", "2024-01-09", "--to-date", "2024-01-10"];
    let rows = command(&context, &[&["backfill", "create"], &range[..]].concat());
    assert_eq!(rows[0]["dag_id"], "by_hand");
    let server = start(&context);
    assert_eq!(says(&server, "by_hand", "backfill__2024-01-11T00:00:00+00:00"), json!("01-10 to 01-11"));
}

/// Id and state of the runs of a Dag, the first one first.
fn runs(server: &Server, dag_id: &str) -> Vec<(String, String)> {
    let list = server.client.get(&format!("/api/v2/dags/{dag_id}/dagRuns?order_by=logical_date")).body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list["dag_runs"].as_array().unwrap().iter().map(|run| (text(&run["dag_run_id"]), text(&run["state"]))).collect()
}

fn warning(server: &Server, dag_id: &str) -> Option<String> {
    let list = server.client.get(&format!("/api/v2/dagWarnings?dag_id={dag_id}")).body;
    list["dag_warnings"].as_array().unwrap().first().map(|found| found["message"].as_str().unwrap().to_owned())
}

#[test]
fn runs_are_made_on_the_dates_of_a_plugin_over_a_kill_of_the_engine() {
    let context = deployment();
    std::fs::write(context.home().join("hold"), "").unwrap();
    let server = start(&context);
    for dag_id in ["workdays", "raises", "hangs"] {
        server.unpause(dag_id);
    }
    // One that raises, and one that hangs, keep nobody else from being asked.
    let done = |day: &str| (format!("own_scheduled_2024-01-{day}"), "success".to_owned());
    wait_until("the first two runs end", || runs(&server, "workdays") == [done("05"), done("08")]);
    assert_eq!(server.xcom("workdays", "own_scheduled_2024-01-08", "says"), json!("01-08 to 01-09"));
    let dag = server.client.get("/api/v2/dags/workdays").body;
    assert_eq!(
        (&dag["timetable_summary"], &dag["timetable_description"]),
        (&json!("Workdays own"), &json!("On workdays"))
    );
    wait_until("it is said what is wrong", || {
        let says = |dag_id: &str, text: &str| warning(&server, dag_id).is_some_and(|message| message.contains(text));
        says("raises", "ValueError: there is no calendar") && says("hangs", "did not answer within 12 seconds")
    });
    assert_eq!((runs(&server, "raises"), runs(&server, "hangs")), (vec![], vec![]));
    let asked = || std::fs::read_to_string(context.home().join("asked")).unwrap_or_default().lines().count();
    wait_until("the next run is asked for", || asked() > 0);
    // Whoever is killed in the middle of a question leaves it to another one.
    kill_all(&server, "updraft evaluat");
    wait_until("another one is asked", || asked() > 1);
    server.kill();
    std::fs::remove_file(context.home().join("hold")).unwrap();
    let server = start(&context);
    let all = [done("05"), done("08"), done("09"), done("10")];
    wait_until("all runs end", || runs(&server, "workdays") == all);
    assert_eq!(server.xcom("workdays", "own_scheduled_2024-01-10", "says"), json!("01-10 to 01-11"));
    assert_eq!(warning(&server, "workdays"), None);

    // A plugin that is mended is loaded anew.
    let plugin = context.home().join("plugins/own_timetables.py");
    let text = std::fs::read_to_string(&plugin).unwrap();
    let mended = text.replace("raise ValueError(\"there is no calendar\")", "return super().next_dagrun_info(\n            last_automated_data_interval=last_automated_data_interval, restriction=restriction\n        )");
    assert_ne!(mended, text);
    std::fs::write(&plugin, mended).unwrap();
    let of_mended = |day: &str| (format!("bad_scheduled_2024-01-{day}"), "success".to_owned());
    let all: Vec<_> = ["05", "08", "09", "10"].map(of_mended).into();
    wait_until("the mended one makes its runs", || runs(&server, "raises") == all);
    wait_until("nothing is wrong with it any more", || warning(&server, "raises").is_none());
}
