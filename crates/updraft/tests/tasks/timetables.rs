//! Timetables of classes from plugins: their runs are made when they say so, and what is wrong with one is said.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Context, Server};

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
    wait_until("the next run is asked for", || context.home().join("asked").exists());
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
