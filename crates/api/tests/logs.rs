//! Logs that grow, are long, or are not what they should be.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs::OpenOptions;
use std::io::Write as _;

use jiff::Timestamp;
use model::{Change, TaskInstance, TaskState};
use serde_json::{Value, json};
use store::Write;
use support::Server;

/// A server with a run that has one task instance.
fn server_with(state: TaskState) -> (Server, TaskInstance) {
    let server = Server::new();
    let run = support::run("letters", "a", None, Timestamp::UNIX_EPOCH);
    let ti = support::task_instance(&run.key, "one", -1, state, 1);
    server.write(vec![
        support::imported("letters", "letters"),
        support::decided_run(run),
        support::decided(ti.clone()),
    ]);
    (server, ti)
}

const LOG: &str = "/api/v2/dags/letters/dagRuns/a/taskInstances/one/logs/1";

fn line(number: usize) -> String {
    let (minute, second) = (number / 60 % 60, number % 60);
    let at = format!("2026-01-01T{:02}:{minute:02}:{second:02}Z", number / 3600);
    json!({"timestamp": at, "level": "info", "event": format!("line {number}")}).to_string() + "\n"
}

fn events(answer: &Value) -> Vec<&str> {
    answer["content"].as_array().unwrap().iter().map(|message| message["event"].as_str().unwrap()).collect()
}

fn append(server: &Server, ti: &TaskInstance, text: &str) {
    let mut file = OpenOptions::new().append(true).open(server.log_path(ti)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_running_task_is_followed_from_token_to_token() {
    let (server, ti) = server_with(TaskState::Running);
    // Nothing is written yet.
    let answer = server.get(LOG).await.json();
    assert_eq!(events(&answer), ["::group::Log message source details", "::endgroup::"]);
    let token = answer["continuation_token"].as_str().unwrap().to_owned();

    // A line that is not at its end is not shown.
    server.write_log(&ti, &format!("{}{}{{\"event\": \"par", line(1), line(2)));
    let answer = server.get(&format!("{LOG}?token={token}")).await.json();
    assert_eq!(events(&answer), ["line 1", "line 2"]);
    let token = answer["continuation_token"].as_str().unwrap().to_owned();

    let answer = server.get(&format!("{LOG}?token={token}")).await.json();
    assert_eq!(events(&answer), Vec::<&str>::new());

    append(&server, &ti, &format!("tial\"}}\n{}", line(3)));
    let answer = server.get(&format!("{LOG}?token={token}")).await.json();
    assert_eq!(events(&answer), ["partial", "line 3"]);
    let token = answer["continuation_token"].as_str().unwrap().to_owned();

    // At the end there is no token, and a last line without an end counts.
    append(&server, &ti, &format!("{}cut off", line(4)));
    server.write(vec![support::decided(TaskInstance { state: TaskState::Failed, ..ti.clone() })]);
    let answer = server.get(&format!("{LOG}?token={token}")).await.json();
    assert_eq!(events(&answer), ["line 4", "cut off"]);
    assert_eq!(answer["continuation_token"], Value::Null);

    // From the beginning, it is all there.
    let path = server.log_path(&ti).display().to_string();
    let all = [
        "::group::Log message source details",
        &path,
        "::endgroup::",
        "line 1",
        "line 2",
        "partial",
        "line 3",
        "line 4",
        "cut off",
    ];
    assert_eq!(events(&server.get(LOG).await.json()), all);
    let lines = server.send("GET", LOG, None, &[("accept", "application/x-ndjson")]).await;
    let found: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.iter().map(|message| message["event"].as_str().unwrap()).collect::<Vec<_>>(), all);
    assert!(found.iter().all(|message| message.as_object().unwrap().contains_key("timestamp")));
    assert!(lines.headers.contains_key("airflow-continuation-token"));
}

#[tokio::test]
async fn tokens_of_others_are_refused() {
    let (server, _) = server_with(TaskState::Running);
    let token = server.get(LOG).await.json()["continuation_token"].as_str().unwrap().to_owned();
    let (payload, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{}.{signature}", payload.replacen('e', "f", 1));
    for bad in [forged.as_str(), payload, signature, "..", "%C3%BC"] {
        let answer = server.get(&format!("{LOG}?token={bad}")).await;
        let expected = "Bad Signature. Please use only the tokens provided by the API.";
        assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (400, &json!(expected)), "{bad}");
    }
    let download = server.get(&format!("{LOG}?full_content=true")).await.json();
    assert_ne!(download["continuation_token"], json!(token));
}

/// Names of runs come from people; a link in the folder of logs may lead anywhere.
#[cfg(unix)]
#[tokio::test]
async fn nothing_outside_of_the_folder_of_logs_is_read() {
    let (server, ti) = server_with(TaskState::Success);
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "{\"event\": \"stolen\"}\n").unwrap();
    let path = server.log_path(&ti);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    let answer = server.get(LOG).await;
    assert!(!answer.text.contains("stolen"), "{}", answer.text);
    assert_eq!(answer.status.as_u16(), 200);
}

#[tokio::test]
async fn a_log_of_64_mib_is_written_while_it_is_read() {
    let (server, ti) = server_with(TaskState::Success);
    let event = "x".repeat(1000);
    server.write_log(&ti, "");
    let (mut size, mut lines) = (0, 0);
    while size < 64 << 20 {
        let mut text = String::new();
        for _ in 0..100 {
            let event = format!("{lines} {event}");
            text.push_str(&json!({"timestamp": "2026-01-01T00:00:00Z", "event": event}).to_string());
            text.push('\n');
            lines += 1;
        }
        append(&server, &ti, &text);
        size += text.len();
    }
    let before = peak_memory();
    let response = server.response("GET", LOG, None, &[]).await;
    let mut body = response.into_body();
    let mut bytes = 0;
    let mut newest = Vec::new();
    while let Some(frame) = support::next_frame(&mut body).await {
        let data = frame.unwrap().into_data().unwrap();
        bytes += data.len();
        newest = data.to_vec();
    }
    assert!(bytes > 64 << 20);
    assert!(String::from_utf8_lossy(&newest).ends_with("],\"continuation_token\":null}"));
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < 48 << 20, "reading {lines} lines took {} MiB", grown >> 20);
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn lines_are_put_in_order_and_junk_does_no_harm() {
    let (server, ti) = server_with(TaskState::Success);
    let mut bytes = Vec::new();
    for number in [5, 3, 4] {
        bytes.extend_from_slice(line(number).as_bytes());
    }
    bytes.extend_from_slice(
        b"\xff\xfe not utf-8\n\0\n\n[2026-01-01T00:00:09Z] plain\n{\"event\": 5}\n{\"event\": \"no moment\"}\n",
    );
    let path = server.log_path(&ti);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    let answer = server.get(LOG).await.json();
    let found = events(&answer);
    // Lines without a moment stand where the line before them stands.
    let expected = [
        "line 3",
        "line 4",
        "\u{fffd}\u{fffd} not utf-8",
        "\0",
        "line 5",
        "[2026-01-01T00:00:09Z] plain",
        "{\"event\": 5}",
        "no moment",
    ];
    assert_eq!(found[3..], expected);
}

#[tokio::test]
async fn what_has_no_log_says_why() {
    for (state, hostname, expected) in [
        (TaskState::Success, Some("worker-1"), "Log file not found on worker 'worker-1'."),
        (TaskState::Success, None, "Could not read served logs: Hostname not available for worker."),
        (TaskState::UpForRetry, None, "Could not read served logs: Hostname not available for worker."),
        (TaskState::Queued, None, "::endgroup::"),
        (TaskState::Running, Some("worker-1"), "::endgroup::"),
    ] {
        let (server, ti) = server_with(state);
        server.write(vec![Write::Decision(Change::TaskInstance(Box::new(TaskInstance {
            hostname: hostname.map(Into::into),
            ..ti
        })))]);
        let answer = server.get(LOG).await.json();
        assert!(events(&answer)[1].starts_with(expected), "{state:?}: {answer}");
        assert_eq!(answer["continuation_token"].is_string(), state == TaskState::Running, "{state:?}");
    }
}
