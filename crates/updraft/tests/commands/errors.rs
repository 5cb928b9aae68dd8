//! What is wrong gives one clear message, the right exit code, and nothing on the standard output.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::net::TcpListener;

use nix::fcntl::{Flock, FlockArg};
use testkit::{Server, python};

use crate::{BROKEN, Cli, PLAIN, ran};

fn refused(cli: &Cli, args: &[&str], code: i32, message: &str) {
    let ran = cli.run(args);
    assert!(ran.code == code && ran.out.is_empty() && ran.err.contains(message), "{args:?}: {message}: {ran:?}");
    assert!(!ran.err.contains("panicked"), "{args:?}: {ran:?}");
}

#[test]
fn names_dates_and_documents_that_are_wrong() {
    let cli = Cli::new();
    cli.context.write_dag("plain.py", PLAIN);
    cli.ok(&["dags", "reserialize"]);
    let unknown = "error: there is no Dag \"plian\"; did you mean plain? (updraft dags list shows all)\n";
    for args in [
        &["dags", "trigger", "plian"][..],
        &["dags", "details", "plian"],
        &["dags", "pause", "plian"],
        &["dags", "unpause", "plian"],
        &["dags", "state", "plian", "x"],
        &["dags", "list-runs", "plian"],
        &["dags", "show", "plian"],
        &["tasks", "list", "plian"],
        &["tasks", "state", "plian", "first", "x"],
        &["tasks", "states-for-dag-run", "plian", "x"],
    ] {
        refused(&cli, args, 1, unknown);
    }
    refused(&cli, &["dags", "trigger", "plain", "-c", "{"], 1, "error: --conf is no JSON: {: ");
    refused(&cli, &["dags", "trigger", "plain", "-c", "[1]"], 1, "error: --conf must be a JSON object");
    refused(
        &cli,
        &["dags", "trigger", "plain", "-c", "{\"n\": \"x\"}"],
        1,
        "can't be triggered: Invalid input for param n",
    );
    refused(&cli, &["dags", "trigger", "plain", "-r", "a/b"], 1, "does not match regex pattern");
    refused(
        &cli,
        &["dags", "trigger", "plain", "-l", "soon"],
        2,
        "error: \"soon\" is no date: write it like 2026-01-31",
    );
    cli.ok(&["dags", "trigger", "plain", "-r", "taken", "-l", "2024-01-01"]);
    refused(&cli, &["dags", "trigger", "plain", "-r", "taken"], 1, "a run with the id taken of Dag plain exists");
    refused(
        &cli,
        &["dags", "trigger", "plain", "-l", "2024-01-01"],
        1,
        "with the logical date 2024-01-01T00:00:00Z exists",
    );
    refused(&cli, &["dags", "pause", "(", "--treat-dag-id-as-regex"], 2, "error: \"(\" is no regular expression");
    refused(
        &cli,
        &["dags", "list-runs", "plain", "--state", "odd"],
        2,
        "[possible values: queued, running, success, failed]",
    );
    refused(&cli, &["tasks", "state", "plain", "frist", "taken"], 1, "has no task \"frist\"; did you mean first?");
    refused(
        &cli,
        &["tasks", "state", "plain", "first", "nope"],
        1,
        "DagRun for plain with run_id or logical_date of \"nope\" not found",
    );
    refused(&cli, &["dags", "triger", "plain"], 2, "unrecognized subcommand 'triger'");
    refused(&cli, &["dags", "list", "--output", "xml"], 2, "invalid value 'xml'");
    let columns = cli.run(&["dags", "list", "--columns", "dag_id,nope", "-o", "plain"]);
    assert!(columns.out == "dag_id\nplain\n" && columns.err.contains("Ignoring the following invalid columns: nope"));
    cli.context.write_dag("plain.py", BROKEN);
    cli.ok(&["dags", "reserialize"]);
    refused(&cli, &["dags", "trigger", "plain"], 1, "the Dag plain has import errors and can't be triggered");
}

#[test]
fn settings_that_are_wrong() {
    let cli = Cli::new();
    refused(&cli, &["variables", "get", "nope"], 1, "error: Variable nope does not exist\n");
    cli.ok(&["variables", "set", "text", "no json"]);
    refused(&cli, &["variables", "get", "text", "--json"], 1, "error: the value of variable text is no JSON: ");
    refused(
        &cli,
        &["variables", "list", "--hide-sensitive"],
        2,
        "--hide-sensitive can only be used with --show-values",
    );
    refused(&cli, &["variables", "import", "/nowhere.json"], 1, "error: there is no file /nowhere.json\n");
    let odd = cli.file("odd.txt", "");
    refused(
        &cli,
        &["variables", "import", &odd],
        1,
        "Unsupported file format. The file must have one of the following",
    );
    let bad = cli.file("bad.json", "{\n  \"a\": 1,\n}");
    refused(&cli, &["variables", "import", &bad], 1, "bad.json, line 3: ");
    let env = cli.file("bad.env", "A=1\nB\n");
    refused(&cli, &["connections", "import", &env], 1, "bad.env, line 2: Invalid line format.");
    let keys = cli.file("keys.yaml", "c:\n  hots: h\n");
    refused(&cli, &["connections", "import", &keys], 1, "the connection \"c\" in");
    refused(
        &cli,
        &["connections", "add", "c"],
        2,
        "Must supply either conn-uri or conn-json if not supplying conn-type",
    );
    refused(
        &cli,
        &["connections", "add", "c", "--conn-uri", "h/p"],
        2,
        "The URI provided to --conn-uri is invalid: h/p",
    );
    refused(
        &cli,
        &["connections", "add", "a b", "--conn-uri", "a://h"],
        2,
        "has to be made of alphanumeric characters",
    );
    let both = ["connections", "add", "c", "--conn-uri", "a://h", "--conn-host", "h"];
    refused(&cli, &both, 2, "The following args are not compatible with the --conn-uri flag: --conn-host");
    refused(
        &cli,
        &["connections", "add", "c", "--conn-type", "a", "--conn-extra", "x"],
        1,
        "Encountered non-JSON in `extra`",
    );
    cli.ok(&["connections", "add", "taken", "--conn-type", "a"]);
    refused(&cli, &["connections", "add", "taken", "--conn-type", "a"], 1, "`conn_id`=taken already exists");
    refused(
        &cli,
        &["connections", "get", "taekn"],
        1,
        "error: there is no connection \"taekn\"; did you mean taken?\n",
    );
    refused(&cli, &["connections", "delete", "taekn"], 1, "did you mean taken?");
    refused(&cli, &["connections", "export", "c.txt"], 2, "Unsupported file format.");
    refused(
        &cli,
        &["pools", "get", "defalt_pool"],
        1,
        "error: Pool defalt_pool does not exist; did you mean default_pool?\n",
    );
    refused(&cli, &["pools", "delete", "nope"], 1, "Pool nope does not exist");
    refused(&cli, &["pools", "delete", "default_pool"], 1, "default_pool cannot be deleted");
    refused(&cli, &["pools", "set", "p", "-2", ""], 2, "0 or more slots, or -1");
    refused(&cli, &["pools", "set", "p", "many", ""], 2, "invalid value 'many'");
    refused(&cli, &["users", "reset-password", "-u", "admim"], 1, "there is no user \"admim\"; did you mean admin?");
    refused(&cli, &["variables", "export", "/nowhere/x.json"], 1, "/nowhere/x.json can't be written");
}

#[test]
fn homes_that_can_not_be_used() {
    let cli = Cli::new();
    let file = cli.file("file", "");
    let below = format!("{file}/home");
    let output = cli.context.command(&["variables", "list", "--home", &below]).output().unwrap();
    let run = ran(output);
    let want = format!("error: the home {below} can't be made: give another one with --home DIR");
    assert!(run.code == 1 && run.err.starts_with(&want), "{run:?}");

    cli.ok(&["db", "migrate"]);
    let database = cli.context.home().join("updraft.db");
    let mut file = File::options().write(true).open(&database).unwrap();
    // Where SQLite keeps `user_version`.
    file.seek(SeekFrom::Start(60)).unwrap();
    file.write_all(&999_u32.to_be_bytes()).unwrap();
    for args in [&["variables", "list"][..], &["db", "migrate"], &["db", "check-migrations"], &["standalone"]] {
        refused(&cli, args, 1, "was written by a newer version (schema 999, this version knows up to");
    }
    let nobody = |cli: &Cli, args: &[&str]| {
        let inner = cli.command(args);
        let mut command = std::process::Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(inner.get_program())
            .args(inner.get_args());
        ran(command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).output().unwrap())
    };
    if nix::unistd::geteuid().is_root() {
        let other = Cli::new();
        other.ok(&["variables", "set", "a", "b"]);
        std::fs::set_permissions(other.context.path("."), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let home = other.context.home();
        for args in [&["pools", "set", "p", "1", ""][..], &["standalone", "--port", "0"]] {
            let run = nobody(&other, args);
            let want =
                format!("error: the home {} can't be written to: give another one with --home DIR", home.display());
            assert!(run.code == 1 && run.err.starts_with(&want), "{args:?}: {run:?}");
        }
        let run = nobody(&other, &["variables", "set", "a", "c"]);
        assert!(run.code == 1 && run.err.starts_with("error: ") && run.err.contains("updraft.db"), "{run:?}");
        assert_eq!(other.ok(&["variables", "get", "a"]), "b\n");
    }
    std::fs::write(&database, "no database at all, but long enough to be looked at").unwrap();
    refused(&cli, &["variables", "list"], 1, "updraft.db");
}

#[test]
fn pythons_that_can_not_be_used() {
    let cli = Cli::new();
    cli.context.write_dag("plain.py", PLAIN);
    let list = |python: &str| {
        let mut command = cli.command(&["dags", "list"]);
        ran(command.env("UPDRAFT_PYTHON", python).output().unwrap())
    };
    let missing = list("/nowhere/python");
    let want = "/nowhere/python is no Python interpreter and no virtual environment";
    assert!(missing.code == 1 && missing.err.contains(want), "{missing:?}");
    // What the virtual environment was made from has no packages.
    let bare = python().canonicalize().unwrap();
    let without = list(bare.to_str().unwrap());
    assert!(without.code == 1 && without.err.contains("has no apache-airflow"), "{without:?}");
    assert!(without.err.contains("install") && without.out.is_empty(), "{without:?}");
}

#[test]
fn a_port_or_a_home_that_is_taken() {
    let cli = Cli::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let taken = cli.run(&["standalone", "--port", &port]);
    let want = format!("error: 127.0.0.1:{port} can't be listened on: another program may have the port");
    assert!(taken.code == 1 && taken.err.starts_with(&want), "{taken:?}");
    let server = Server::start(&cli.context);
    let second = cli.run(&["standalone", "--port", "0"]);
    let want = format!(
        "error: another Updraft (process {}, at http://localhost:{}) runs on the home",
        server.pid(),
        server.port
    );
    assert!(second.code == 1 && second.err.starts_with(&want), "{second:?}");
}

#[test]
fn a_server_that_does_not_answer() {
    let cli = Cli::new();
    cli.ok(&["db", "migrate"]);
    let mut file = File::options().write(true).truncate(true).open(cli.context.home().join("updraft.lock")).unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    write!(file, "{{\"pid\": {}, \"url\": \"http://{nobody}\"}}", std::process::id()).unwrap();
    let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    refused(
        &cli,
        &["pools", "set", "p", "1", ""],
        1,
        "see what it says, or stop it: the pool p can't be set: the server at",
    );
    // What needs no server is not held up.
    cli.ok(&["variables", "set", "a", "b"]);
}
