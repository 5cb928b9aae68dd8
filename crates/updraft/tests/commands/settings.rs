//! Variables, connections, pools, users, the database and the configuration.

use serde_json::{Value, json};
use testkit::Server;

use crate::{Cli, PLAIN};

fn variables(cli: &Cli) {
    assert_eq!(cli.json(&["variables", "list"]), Vec::<Value>::new());
    let set = cli.run(&["variables", "set", "key", "-value", "--description", "what for"]);
    assert_eq!((set.code, set.out.as_str()), (0, ""), "{set:?}");
    assert_eq!(set.err, "Variable key created\n");
    assert_eq!(cli.ok(&["variables", "get", "key"]), "-value\n");
    cli.ok(&["variables", "set", "doc", "{\"a\": [1, true]}"]);
    assert_eq!(cli.ok(&["variables", "get", "doc", "--json"]), "{\"a\": [1, true]}\n");
    cli.ok(&["variables", "set", "text", "x", "--json"]);
    assert_eq!(cli.ok(&["variables", "get", "text"]), "\"x\"\n");
    assert_eq!(cli.ok(&["variables", "get", "nope", "--default", "d"]), "d\n");
    assert_eq!(
        cli.json(&["variables", "list"]),
        [json!({"key": "doc"}), json!({"key": "key"}), json!({"key": "text"})]
    );
    assert_eq!(cli.json(&["variables", "list", "--show-values"])[1], json!({"key": "key", "val": "-value"}));
    let hidden = cli.ok(&["variables", "list", "--show-values", "--hide-sensitive"]);
    assert!(hidden.starts_with("key  | val\n=====+====\n") && !hidden.contains("-value"), "{hidden}");

    let exported = cli.ok(&["variables", "export", "-"]);
    let document: Value = serde_json::from_str(&exported).unwrap();
    let described = json!({"value": "-value", "description": "what for"});
    assert_eq!(document, json!({"doc": {"a": [1, true]}, "key": described, "text": "\"x\""}));
    assert_eq!(cli.run(&["variables", "delete", "key"]).err, "Variable key deleted\n");
    let file = cli.file("variables.json", &exported);
    let failed = cli.run(&["variables", "import", &file, "--action-on-existing-key", "fail"]);
    assert_eq!((failed.code, failed.err.as_str()), (1, "error: Failed. These keys: doc, text already exist.\n"));
    let skipped = cli.run(&["variables", "import", &file, "-a", "skip"]);
    assert!(skipped.err.starts_with("1 of 3 variables successfully updated.\n"), "{skipped:?}");
    assert_eq!(cli.ok(&["variables", "get", "key"]), "-value\n");
    let yaml = cli.file("variables.yaml", "doc: yes\nother:\n  value: 1\n  description: d\n");
    cli.ok(&["variables", "import", &yaml]);
    assert_eq!(
        (cli.ok(&["variables", "get", "doc"]), cli.ok(&["variables", "get", "other"])),
        ("true\n".into(), "1\n".into())
    );
    let env = cli.file("variables.env", "# c\nfrom_env=a=b\n");
    cli.ok(&["variables", "import", &env]);
    assert_eq!(cli.ok(&["variables", "get", "from_env"]), "a=b\n");
}

fn connections(cli: &Cli) {
    assert_eq!(cli.json(&["connections", "list"]), Vec::<Value>::new());
    let add = cli.run(&["connections", "add", "pg", "--conn-uri", "postgresql://me:p%40w@h:5432/db?sslmode=on"]);
    assert_eq!((add.code, add.err.as_str()), (0, "Successfully added `conn_id`=pg\n"), "{add:?}");
    cli.ok(&["connections", "add", "web", "--conn-json", "{\"conn_type\": \"http\", \"extra\": {\"token\": \"t\"}}"]);
    let parts = ["--conn-type", "ftp", "--conn-host", "f", "--conn-port", "21", "--conn-extra", "{\"a\": 1}"];
    cli.ok(&[&["connections", "add", "files"][..], &parts].concat());
    let ids: Vec<Value> = cli.json(&["connections", "list"]).iter().map(|row| row["conn_id"].clone()).collect();
    assert_eq!(ids, ["files", "pg", "web"]);
    let pg = &cli.json(&["connections", "get", "pg"])[0];
    assert_eq!((&pg["conn_type"], &pg["password"], &pg["port"]), (&json!("postgres"), &json!("p@w"), &json!("5432")));
    assert_eq!(pg["get_uri"], "postgres://me:p%40w@h:5432/db?sslmode=on");
    assert_eq!(pg["extra_dejson"], json!({"sslmode": "on"}));
    let hidden = &cli.json(&["connections", "list", "--show-values", "--hide-sensitive"])[1];
    assert_eq!((&hidden["password"], &hidden["get_uri"]), (&json!("***"), &json!("postgres://***:***@h:5432/db?***")));

    for name in ["c.json", "c.yaml", "c.env"] {
        let path = cli.context.path(name);
        let path = path.to_str().unwrap();
        let exported = cli.run(&["connections", "export", path]);
        assert_eq!((exported.code, exported.out.as_str()), (0, ""), "{exported:?}");
        let before = cli.json(&["connections", "list", "--show-values"]);
        for id in ["files", "pg", "web"] {
            assert_eq!(cli.run(&["connections", "delete", id]).code, 0);
        }
        let imported = cli.run(&["connections", "import", path]);
        assert_eq!(imported.err, "Imported connection files\nImported connection pg\nImported connection web\n");
        let uris = |rows: &[Value]| rows.iter().map(|row| row["get_uri"].clone()).collect::<Vec<_>>();
        assert_eq!(uris(&cli.json(&["connections", "list", "--show-values"])), uris(&before), "{name}");
    }
    let again = cli.run(&["connections", "import", cli.context.path("c.env").to_str().unwrap()]);
    assert!(again.err.starts_with("Could not import connection files: connection already exists.\n"), "{again:?}");
    assert_eq!(cli.run(&["connections", "import", "--overwrite", cli.context.path("c.env").to_str().unwrap()]).code, 0);
    assert!(cli.ok(&["connections", "export", "-", "--file-format", "env"]).contains("web=http:///?token=t\n"));
}

fn pools(cli: &Cli) {
    assert_eq!(cli.json(&["pools", "list"])[0]["pool"], "default_pool");
    assert_eq!(cli.run(&["pools", "set", "small", "2", "a pool", "--include-deferred"]).err, "Pool small created\n");
    let want =
        json!({"pool": "small", "slots": "2", "description": "a pool", "include_deferred": "True", "team_name": null});
    assert_eq!(cli.json(&["pools", "get", "small"]), [want]);
    cli.ok(&["pools", "set", "small", "-1", "no bound"]);
    assert_eq!(cli.json(&["pools", "get", "small"])[0]["slots"], "-1");
    cli.ok(&["pools", "set", "default_pool", "7", "Default pool"]);
    assert_eq!(cli.json(&["pools", "get", "default_pool"])[0]["slots"], "7");
    let exported = cli.ok(&["pools", "export", "-"]);
    assert_eq!(cli.run(&["pools", "delete", "small"]).err, "Pool small deleted\n");
    let file = cli.file("pools.json", &exported);
    assert_eq!(cli.run(&["pools", "import", &file]).err, "Uploaded 2 pool(s)\n");
    assert_eq!(cli.json(&["pools", "get", "small"])[0]["description"], "no bound");
    let wrong = cli.file("wrong.json", "{\"ok\": {\"slots\": 1, \"description\": \"\"}, \"bad\": {}}");
    let failed = cli.run(&["pools", "import", &wrong]);
    assert!(failed.code == 1 && failed.err.starts_with("error: Failed to update pool(s): bad"), "{failed:?}");
    assert_eq!(cli.json(&["pools", "get", "ok"])[0]["slots"], "1");
}

#[test]
fn settings_without_a_server() {
    let cli = Cli::new();
    variables(&cli);
    connections(&cli);
    pools(&cli);
}

#[test]
fn settings_while_a_server_runs() {
    let cli = Cli::new();
    cli.context.write_dag("plain.py", PLAIN);
    let server = Server::start_closed(&cli.context, &[]);
    variables(&cli);
    connections(&cli);
    pools(&cli);
    drop(server);
}

#[test]
fn the_environment_comes_before_the_database() {
    let cli = Cli::new().with("AIRFLOW_VAR_KEY", "from env").with("AIRFLOW_CONN_WEB", "http://h");
    assert_eq!(cli.ok(&["variables", "get", "key"]), "from env\n");
    assert!(cli.run(&["variables", "set", "key", "x"]).err.starts_with("Warning: AIRFLOW_VAR_KEY"));
    assert_eq!(cli.ok(&["variables", "get", "key"]), "from env\n");
    assert_eq!(cli.json(&["connections", "get", "web"])[0]["host"], "h");
}

#[test]
fn users_have_roles_and_passwords() {
    let cli = Cli::new().with("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ann:admin,bob:viewer");
    let users = cli.json(&["users", "list"]);
    assert_eq!(users[1], json!({"username": "bob", "role": "viewer", "has_password": "False"}));
    let password = cli.ok(&["users", "reset-password", "-u", "bob"]);
    assert_eq!(password.trim().len(), 16);
    let file = cli.context.home().join("simple_auth_manager_passwords.json.generated");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(kept, json!({"bob": password.trim()}));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(cli.ok(&["users", "reset-password", "--username", "bob", "--password", "p"]), "");
    assert_eq!(cli.json(&["users", "list"])[1]["has_password"], "True");
}

#[test]
fn the_database_is_made_checked_and_emptied() {
    let cli = Cli::new();
    assert!(cli.run(&["db", "check"]).err.contains("updraft db migrate makes it"));
    assert_eq!(cli.run(&["db", "check-migrations"]).code, 1);
    assert!(cli.run(&["db", "migrate"]).err.ends_with("Database migrating done!\n"));
    assert_eq!(cli.run(&["db", "check"]).err, "Connection successful.\n");
    cli.ok(&["db", "check-migrations"]);
    cli.ok(&["variables", "set", "a", "b"]);
    let refused = cli.run(&["db", "reset"]);
    assert!(refused.code == 1 && refused.err.ends_with("Cancelled\n"), "{refused:?}");
    assert_eq!(cli.ok(&["variables", "get", "a"]), "b\n");
    cli.ok(&["db", "reset", "--yes"]);
    assert_eq!(cli.json(&["variables", "list"]), Vec::<Value>::new());
}

#[test]
fn the_configuration_and_the_installation_are_shown() {
    let cli = Cli::new().with("AIRFLOW__CORE__PARALLELISM", "3");
    assert_eq!(cli.ok(&["config", "get-value", "core", "parallelism"]), "3\n");
    assert_eq!(cli.ok(&["config", "get-value", "api", "port"]), "8080\n");
    let missing = cli.run(&["config", "get-value", "core", "paralelism"]);
    let want = "error: The option [core/paralelism] is not found in config; did you mean core/parallelism";
    assert!(missing.code == 1 && missing.err.starts_with(want), "{missing:?}");
    let list = cli.run(&["config", "list", "--section", "core", "--show-values"]);
    assert!(list.out.starts_with("[core]\n") && list.out.contains("\nparallelism = 3\n"), "{list:?}");
    assert!(!cli.ok(&["config", "list"]).contains('='));
    let info = cli.json(&["info"]);
    let value = |name: &str| info.iter().find(|row| row["property_name"] == name).unwrap()["property_value"].clone();
    assert_eq!(value("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(value("server"), "none");
    assert_eq!(cli.ok(&["version"]), format!("{}\n", env!("CARGO_PKG_VERSION")));
    for shell in ["bash", "zsh", "fish"] {
        assert!(cli.ok(&["completion", shell]).contains("list-import-errors"), "{shell}");
    }
}
