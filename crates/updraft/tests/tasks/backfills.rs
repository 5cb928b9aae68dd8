//! Backfills, with the real binary.

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, wait_until};

/// `work` notes its date, and waits until a file lets it go on.
const DAG: &str = r#"
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "days", schedule="0 0 * * *", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    end_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, is_paused_upon_creation=False,
):
    BashOperator(
        task_id="work",
        bash_command="echo {{ ds }} {{ dag_run.conf.get('k') }} >> $PLACE/begun; while ! test -e $PLACE/go.{{ ds }}; do sleep 0.05; done",
    )

with DAG("never"):
    BashOperator(task_id="work", bash_command="true")
"#;

struct Place(std::path::PathBuf);

impl Place {
    fn new(context: &Context) -> Self {
        let place = context.path("place");
        std::fs::create_dir_all(&place).unwrap();
        context.write_dag("days.py", DAG);
        Self(place)
    }

    fn start(&self, context: &Context) -> Server {
        let server = Server::start_with(context, &[("PLACE", self.0.to_str().unwrap())]);
        server.wait_for_dag("days");
        server
    }

    fn go(&self, day: u32) {
        std::fs::write(self.0.join(format!("go.2026-01-{day:02}")), "").unwrap();
    }

    /// The days whose work has begun, in order.
    fn begun(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.0.join("begun")).unwrap_or_default();
        text.lines().map(|line| line.trim_start_matches("2026-01-").to_owned()).collect()
    }
}

fn body(first: &str, last: &str, more: Value) -> Value {
    let mut body = json!({"dag_id": "days", "from_date": first, "to_date": last});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The states of the Dag's runs, by date.
fn states(server: &Server) -> String {
    let reply = server.client.get("/api/v2/dags/days/dagRuns?order_by=logical_date");
    let runs = reply.body["dag_runs"].as_array().unwrap().clone();
    let state = |run: &Value| {
        let day = &run["logical_date"].as_str().unwrap()[8..10];
        format!("{day}={}", run["state"].as_str().unwrap())
    };
    runs.iter().filter(|run| run["run_type"] == "backfill").map(state).collect::<Vec<_>>().join(" ")
}

fn wait_for_states(server: &Server, expected: &str) {
    server.wait_for(expected, |_| (states(server) == expected).then_some(()));
}

#[test]
fn runs_of_a_backfill_begin_in_order_whatever_happens_to_the_engine() {
    let context = context();
    let place = Place::new(&context);
    let server = place.start(&context);
    let day = |day: u32| format!("2026-01-{day:02}T00:00:00Z");
    let dry = server.client.post("/api/v2/backfills/dry_run", &body(&day(2), &day(5), json!({})));
    assert_eq!((dry.status, &dry.body["total_entries"]), (200, &json!(4)), "{dry:?}");
    let made = server.client.post(
        "/api/v2/backfills",
        &body(&day(2), &day(5), json!({"max_active_runs": 2, "dag_run_conf": {"k": 7}, "run_backwards": true})),
    );
    assert_eq!(made.status, 200, "{made:?}");
    let path = format!("/api/v2/backfills/{}", made.body["id"]);
    wait_until("two have begun", || place.begun().len() == 2);
    let mut begun = place.begun();
    begun.sort();
    assert_eq!(begun, ["04 7", "05 7"]);
    assert_eq!(states(&server), "02=queued 03=queued 04=running 05=running");
    let again = server.client.post("/api/v2/backfills", &body(&day(2), &day(3), json!({})));
    assert_eq!(again.status, 409, "{again:?}");
    // The engine ends; the two run again, and the others wait on.
    server.kill();
    let server = place.start(&context);
    wait_until("two have begun again", || place.begun().len() == 4);
    assert_eq!(server.client.put(&format!("{path}/pause")).body["is_paused"], true);
    place.go(5);
    wait_for_states(&server, "02=queued 03=queued 04=running 05=success");
    server.kill();
    let server = place.start(&context);
    wait_until("one has begun again", || place.begun().len() == 5);
    assert_eq!(states(&server), "02=queued 03=queued 04=running 05=success");
    assert_eq!(server.client.put(&format!("{path}/unpause")).body["is_paused"], false);
    wait_until("the next has begun", || place.begun().last().is_some_and(|last| last == "03 7"));
    place.go(4);
    wait_for_states(&server, "02=running 03=running 04=success 05=success");
    place.go(3);
    place.go(2);
    wait_for_states(&server, "02=success 03=success 04=success 05=success");
    let done = server.client.get(&path);
    assert!(done.body["completed_at"].is_string(), "{done:?}");
    assert_eq!(server.client.put(&format!("{path}/cancel")).status, 409);
    // What has succeeded stays as it is, unless it is asked for.
    let none = server
        .client
        .post("/api/v2/backfills/dry_run", &body(&day(2), &day(5), json!({"reprocess_behavior": "failed"})));
    assert_eq!(none.body["total_entries"], 0);
    let made =
        server.client.post("/api/v2/backfills", &body(&day(2), &day(3), json!({"reprocess_behavior": "completed"})));
    assert_eq!(made.status, 200, "{made:?}");
    let path = format!("/api/v2/backfills/{}", made.body["id"]);
    server.wait_for("it is complete", |client| client.get(&path).body["completed_at"].is_string().then_some(()));
    let run = server.client.get("/api/v2/dags/days/dagRuns/backfill__2026-01-02T00:00:00%2B00:00");
    assert_eq!((&run.body["state"], &run.body["conf"]), (&json!("success"), &json!({"k": 7})), "{run:?}");
}

#[test]
fn a_backfill_is_cancelled_and_the_command_line_makes_others() {
    let context = context();
    let place = Place::new(&context);
    let server = place.start(&context);
    let run = |args: &[&str]| {
        let output = context.run(&[&["backfill"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let create = |from: &str, to: &str, more: &[&str]| {
        let args = ["create", "--dag-id", "days", "--from-date", from, "--to-date", to, "-o", "json"];
        run(&[&args, more].concat())
    };
    let (code, shown, said) = create("2026-01-02", "2026-01-03", &["--max-active-runs", "1"]);
    assert_eq!(code, 0, "{said}");
    let made: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&made[0]["id"], &made[0]["max_active_runs"]), (&json!("1"), &json!("1")), "{made}");
    wait_until("it has begun", || place.begun().len() == 1);
    let (code, _, said) = create("2026-01-02", "2026-01-03", &[]);
    assert!(code == 1 && said.contains("There is already a running backfill for dag days"), "{said}");
    assert_eq!(run(&["cancel", "1"]).2, "The backfill 1 of the Dag days is cancelled");
    assert_eq!(states(&server), "02=running 03=failed");
    place.go(2);
    wait_for_states(&server, "02=success 03=failed");
    let (code, _, said) = run(&["pause", "1"]);
    assert!(code == 1 && said.contains("already completed"), "{said}");
    let (code, _, said) = run(&["pause", "9"]);
    assert!(code == 1 && said.contains("there is no backfill 9"), "{said}");
    // What is wrong is said, with a server or without.
    for (from, to, more, expected) in [
        ("2026-01-03", "2026-01-02", vec![], "must not be after to_date"),
        ("2199-01-01", "2199-01-02", vec![], "cannot be executed for future dates"),
        ("2026-01-02T01:00:00", "2026-01-02T02:00:00", vec![], "No runs to create for Dag days"),
        ("someday", "2026-01-02", vec![], "is no date"),
        ("2026-01-02", "2026-01-03", vec!["--dag-run-conf", "["], "--dag-run-conf is no JSON"),
        ("2026-01-02", "2026-01-03", vec!["--max-active-runs", "0"], "--max-active-runs"),
    ] {
        let (code, _, said) = create(from, to, &more);
        assert!(code != 0 && said.contains(expected), "{from} {to}: {code} {said}");
    }
    let (code, _, said) = run(&["create", "--dag-id", "never", "--from-date", "2026-01-02", "--to-date", "2026-01-03"]);
    assert!(code == 1 && said.contains("non-periodic schedule"), "{said}");
    server.kill();
    let (code, shown, _) = create("2026-01-02", "2026-01-04", &["--reprocess-behavior", "failed", "--dry-run"]);
    let dates: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, dates.as_array().unwrap().len()), (0, 2), "{dates}");
    // Made without a server, it begins when there is one.
    let (code, _, said) = create("2026-01-02", "2026-01-04", &["--reprocess-behavior", "failed"]);
    assert_eq!(code, 0, "{said}");
    place.go(3);
    place.go(4);
    let server = place.start(&context);
    wait_for_states(&server, "02=success 03=success 04=success");
    let (_, shown, _) = run(&["list", "--dag-id", "days", "-o", "json"]);
    let listed: Value = serde_json::from_str(&shown).unwrap();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [&json!("2"), &json!("1")], "{listed}");
}
