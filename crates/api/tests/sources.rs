//! The source code of Dags, read from their files.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use jiff::Timestamp;
use model::VersionId;
use serde_json::{Value, json};
use store::{ImportedDag, Write};
use support::Server;
use uuid::Uuid;

const SOURCE: &str = "# grüße\nprint(1)\n";

/// Two Dags: one whose file is there, in its second version, and one whose file is gone.
fn filled() -> (Server, tempfile::TempDir) {
    let (server, folder) = (Server::new(), tempfile::tempdir().unwrap());
    let file = folder.path().join("a.py");
    std::fs::write(&file, SOURCE).unwrap();
    let found = |dag_id: &str, fileloc: String, number: u128| {
        let Write::Imported(file) = support::imported(dag_id, &format!("The {dag_id}")) else { unreachable!() };
        let dag = file.dags.into_iter().next().unwrap();
        let version = VersionId(Uuid::from_u128(number));
        let dag = ImportedDag { fileloc, version, hash: number.to_string(), ..dag };
        support::imported_file("dags-folder", &format!("{dag_id}.py"), Timestamp::UNIX_EPOCH, vec![dag], Vec::new())
    };
    let here = file.display().to_string();
    server.write(vec![found("a", here.clone(), 11), found("a", here, 12), found("gone", "/none/gone.py".into(), 13)]);
    (server, folder)
}

#[tokio::test]
async fn sources_are_given_as_json_or_as_text() {
    let (server, _folder) = filled();
    let expected = json!({"content": SOURCE, "dag_id": "a", "version_number": 2, "dag_display_name": "The a"});
    for path in ["/api/v2/dagSources/a", "/api/v2/dagSources/a?version_number=2"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected.clone()));
        assert_eq!(support::openapi::faults("GET", path, &answer.json()), Vec::<String>::new());
    }
    let ask = async |accept: &str| server.send("GET", "/api/v2/dagSources/a", None, &[("Accept", accept)]).await;
    let text = ask("text/plain").await;
    assert_eq!((text.status.as_u16(), text.text.as_str()), (200, SOURCE));
    assert!(text.kind().starts_with("text/plain"), "{}", text.kind());
    let refused = ask("text/html").await;
    let detail = json!({"detail": "Only application/json or text/plain is supported"});
    assert_eq!((refused.status.as_u16(), refused.json()), (406, detail));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (server, _folder) = filled();
    let cases = [
        ("none", "The source code of the Dag none, version_number None was not found"),
        ("a?version_number=3", "The source code of the Dag a, version_number 3 was not found"),
        ("a?version_number=1", "Code not found. dag_id='a' version_number='1'"),
        ("gone", "Code not found. dag_id='gone' version_number='None'"),
    ];
    for (path, detail) in cases {
        let answer = server.get(&format!("/api/v2/dagSources/{path}")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (404, &Value::from(detail)), "{path}");
    }
    assert_eq!(server.get("/api/v2/dagSources/a?version_number=x").await.status.as_u16(), 422);
}
