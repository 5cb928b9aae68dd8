//! Variables and connections: where tasks find them, and what is encrypted.

use std::process::Output;

use serde_json::json;
use testkit::{Context, Server};

use crate::support::{context, dag_file};

fn set(context: &Context, args: &[&str]) {
    let output = context.run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a command where `AIRFLOW__CORE__FERNET_KEY`, with a suffix, says something.
fn with_key(context: &Context, args: &[&str], suffix: &str, text: &str) -> Output {
    let mut command = context.command(args);
    command.arg("--home").arg(context.home()).env(format!("AIRFLOW__CORE__FERNET_KEY{suffix}"), text);
    command.output().unwrap()
}

/// What the files of the home's database hold.
fn database_has(context: &Context, text: &str) -> bool {
    ["updraft.db", "updraft.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(context.home().join(name)).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// A back end of the deployment comes first, then the environment, then the store: while a file is imported, in a task of
/// Python, and in one of Bash.
#[test]
fn secrets_are_looked_for_in_airflows_order() {
    let context = context();
    context.write_dag("secrets.py", &dag_file("secrets.py"));
    let variables = json!({"from_backend": "v-backend", "at_parse": "p-backend"});
    let connections = json!({"conn_backend": {"conn_type": "http", "login": "l-backend", "password": "c-backend"}});
    let (variables_file, connections_file) = (context.path("variables.json"), context.path("connections.json"));
    std::fs::write(&variables_file, variables.to_string()).unwrap();
    std::fs::write(&connections_file, connections.to_string()).unwrap();
    for key in ["from_backend", "from_env", "from_store", "at_parse"] {
        set(&context, &["variables", "set", key, "v-store"]);
    }
    for id in ["conn_backend", "conn_env", "conn_store"] {
        let uri = "http://l-store:c-store@h";
        set(&context, &["connections", "add", id, "--conn-uri", uri]);
    }
    let kwargs = json!({"variables_file_path": variables_file, "connections_file_path": connections_file}).to_string();
    let env = [
        ("AIRFLOW__SECRETS__BACKEND", "airflow.secrets.local_filesystem.LocalFilesystemBackend"),
        ("AIRFLOW__SECRETS__BACKEND_KWARGS", &*kwargs),
        ("AIRFLOW_VAR_FROM_BACKEND", "v-env"),
        ("AIRFLOW_VAR_FROM_ENV", "v-env"),
        ("AIRFLOW_CONN_CONN_ENV", "http://l-env:c-env@h"),
    ];
    let server = Server::start_with(&context, &env);
    let (run, state) = server.run_dag("secrets", &json!({}));
    let log = |task: &str| server.log_lines("secrets", &run, task, 1).join("\n");
    assert_eq!(state, "success", "{} {}", log("read"), log("bash"));
    let read = json!(["v-backend", "v-env", "v-store", "c-backend", "c-env", "c-store", "p-backend"]);
    assert_eq!(server.xcom("secrets", &run, "read"), read);
    assert_eq!(server.xcom("secrets", &run, "bash"), json!("v-backend v-env v-store l-backend l-env l-store"));
}

/// What one start has encrypted the next one reads, and a key that does not fit disturbs nothing else.
#[test]
fn values_are_encrypted_and_a_wrong_key_is_told_of_where_people_look() {
    let context = context();
    context.write_dag("secrets.py", &dag_file("secrets.py"));
    set(&context, &["variables", "set", "from_store", "hush-hush"]);
    assert!(!database_has(&context, "hush-hush"));
    let own_key = std::fs::read_to_string(context.home().join("fernet.key")).unwrap();

    let server = Server::start(&context);
    let (run, state) = server.run_dag("one_secret", &json!({}));
    assert_eq!(state, "success");
    assert_eq!(server.xcom("one_secret", &run, "read_one"), json!("hush-hush"));
    let added =
        json!({"connection_id": "c", "conn_type": "http", "password": "hush-too", "extra": "{\"a\": \"hush-x\"}"});
    assert_eq!(server.client.post("/api/v2/connections", &added).status, 201);
    assert_eq!(server.client.get("/api/v2/variables/from_store").body["is_encrypted"], json!(true));
    server.kill();
    // The variable is in an XCom by now, which nobody encrypts.
    assert!(!database_has(&context, "hush-too") && !database_has(&context, "hush-x"));

    // The home's own key is lost, and another one is given.
    std::fs::remove_file(context.home().join("fernet.key")).unwrap();
    let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let server = Server::start_with(&context, &[("AIRFLOW__CORE__FERNET_KEY", other)]);
    server.wait_for("a word of it", |_| server.said().contains("can't be decrypted").then_some(()));
    let said = server.said();
    assert!(said.contains("the variable \"from_store\", the connection \"c\" can't be decrypted"), "{said}");
    let reply = server.client.get("/api/v2/variables/from_store");
    assert_eq!(reply.status, 500);
    assert!(reply.body.to_string().contains("[core] fernet_key"), "{reply:?}");
    let listed = server.client.get("/api/v2/variables").body;
    assert_eq!((&listed["total_entries"], &listed["variables"][0]["value"]), (&json!(1), &json!("***")));
    let (run, state) = server.run_dag("one_secret", &json!({}));
    assert_eq!(state, "failed");
    assert_eq!(server.states("one_secret", &run), "bash_one=failed other=success read_one=failed");
    for task in ["read_one", "bash_one"] {
        let path = format!("/api/v2/dags/one_secret/dagRuns/{run}/taskInstances/{task}/logs/1").replace('+', "%2B");
        let log = server.client.get(&path).body.to_string();
        assert!(log.contains("can't be decrypted") && log.contains("[core] fernet_key"), "{task}: {log}");
    }
    server.kill();

    // With the old key behind the new one all is well again, and the old one is no longer needed after a rotation.
    let both = format!("{other},{own_key}");
    let output = with_key(&context, &["rotate-fernet-key"], "_CMD", &format!("printf %s '{both}'"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = with_key(&context, &["variables", "get", "from_store"], "", other);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "hush-hush");

    let output = with_key(&context, &["config", "get-value", "core", "fernet_key"], "_CMD", "printf %s told");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "told");
    let output = with_key(&context, &["variables", "list"], "", "no key");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(told.contains("[core] fernet_key in AIRFLOW__CORE__FERNET_KEY: key 1 of 1 is not a Fernet key"), "{told}");
}
