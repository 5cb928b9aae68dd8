//! Requests whose answers were recorded from Airflow, asked again here.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{Answer, Server};

/// How old what was made just now may be.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(300);

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Whether an answer is the one that was recorded; what changes from server to server has a placeholder there.
fn matches(expected: &Value, found: &Value, server: &Server) -> bool {
    match (expected, found) {
        (Value::String(expected), _) if expected == "<any>" => true,
        (Value::String(expected), Value::String(found)) => match expected.as_str() {
            "<token>" => !found.is_empty(),
            "<in 30 days>" => {
                let at: Option<Timestamp> = found.parse().ok();
                let before = |at: Timestamp| at.saturating_sub(SignedDuration::from_hours(30 * 24)).unwrap();
                at.is_some_and(|at| Timestamp::now().duration_since(before(at)).abs() < JUST_NOW)
            }
            "<now>" => {
                let at: Option<Timestamp> = found.parse().ok();
                at.is_some_and(|at| Timestamp::now().duration_since(at) < JUST_NOW) && found.ends_with('Z')
            }
            expected if expected.contains("<id>") => {
                let (before, after) = expected.split_once("<id>").unwrap();
                let id = found.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                id.is_some_and(|id| id.parse::<uuid::Uuid>().is_ok())
            }
            expected => {
                let logs = server.logs().display().to_string();
                let temporary = std::env::temp_dir().display().to_string();
                expected.replace("<logs>", &logs).replace("<tmp>", &temporary) == *found
            }
        },
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(expected, found)| matches(expected, found, server))
        }
        // Clients print answers as they are: the order of fields is part of them.
        (Value::Object(expected), Value::Object(found)) => {
            // Where to read about Pydantic's errors depends on its version.
            let found: Map<String, Value> = found
                .iter()
                .filter(|(key, _)| *key != "url")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            expected.keys().eq(found.keys())
                && expected.iter().all(|(key, expected)| matches(expected, &found[key], server))
        }
        _ => expected == found,
    }
}

fn body_of(answer: &Answer) -> Value {
    match answer.kind() {
        kind if kind.starts_with("application/json") && !answer.text.is_empty() => answer.json(),
        kind if kind.contains("ndjson") => {
            answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
        }
        _ => Value::String(answer.text.clone()),
    }
}

/// Puts task instances that are in no order of their own into one.
fn sort(body: &mut Value) {
    let name = |ti: &Value| (ti["dag_run_id"].to_string(), ti["task_id"].to_string(), ti["map_index"].as_i64());
    if let Some(list) = body["task_instances"].as_array_mut() {
        list.sort_by_key(name);
    }
}

/// What is different, for people.
fn difference(row: &Value, answer: &Answer, server: &Server) -> Option<String> {
    let expected = u16::try_from(row["status"].as_u64().unwrap()).unwrap();
    let found = answer.status.as_u16();
    let mut body = body_of(answer);
    if row["sorted"] == true {
        sort(&mut body);
    }
    let agrees = match expected {
        // Airflow trips over these; they are the client's fault.
        500 => (400..500).contains(&found),
        _ => {
            found == expected && answer.kind().starts_with(text(&row["kind"])) && matches(&row["answer"], &body, server)
        }
    };
    (!agrees).then(|| {
        format!(
            "{} {} {}\n  expected {expected} {}\n  found    {found} {} {body}",
            text(&row["method"]),
            text(&row["path"]),
            row.get("body").map_or("", text),
            row["answer"],
            answer.kind(),
        )
    })
}

/// Asks everything again, in order, and fails with all that differs.
pub async fn replay(server: &Server, rows: &Value) {
    let empty = Map::new();
    let mut differences = Vec::new();
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        let headers = row.get("headers").map_or(&empty, |headers| headers.as_object().unwrap());
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
        let path = match text(&row["path"]) {
            // The UI's own routes stand beside the API.
            path if path.starts_with("/ui/") => path.to_owned(),
            path => format!("/api/v2{path}"),
        };
        let answer = server.send(text(&row["method"]), &path, row.get("body").map(text), &headers).await;
        differences.extend(difference(row, &answer, server));
        if answer.status.is_success() && answer.kind().starts_with("application/json") && !answer.text.is_empty() {
            let faults = super::openapi::faults(text(&row["method"]), &path, &answer.json());
            let said = |fault: String| format!("{} {path}\n  OpenAPI: {fault}", text(&row["method"]));
            differences.extend(faults.into_iter().map(said));
        }
    }
    let (bad, all) = (differences.len(), rows.len());
    assert!(differences.is_empty(), "{bad} of {all} answers differ:\n{}", differences.join("\n"));
}
