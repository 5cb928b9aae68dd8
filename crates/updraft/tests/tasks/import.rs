//! Dag files: imported when they change and only then, and none of them harms another.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Context, Server};

use crate::support::{context, wait_until};

fn dag(dag_id: &str, description: &str) -> String {
    format!(
        "from airflow.providers.standard.operators.empty import EmptyOperator\nfrom airflow.sdk import DAG\n\n\
         with DAG({dag_id:?}, description={description:?}):\n    EmptyOperator(task_id=\"only\")\n"
    )
}

fn description(server: &Server, dag_id: &str) -> Option<String> {
    let reply = server.client.get(&format!("/api/v2/dags/{dag_id}"));
    (reply.status == 200).then(|| reply.body["description"].as_str().unwrap_or_default().to_owned())
}

fn wait_for_description(server: &Server, dag_id: &str, wanted: &str) {
    server.wait_for(&format!("{dag_id} is {wanted:?}"), |_| {
        (description(server, dag_id).as_deref() == Some(wanted)).then_some(())
    });
}

/// Whether a Dag is listed, as those in files are.
fn is_listed(server: &Server, dag_id: &str) -> bool {
    let dags = server.client.get("/api/v2/dags?limit=100").body;
    dags["dags"].as_array().unwrap().iter().any(|dag| dag["dag_id"] == dag_id)
}

/// The errors of files, by their names.
fn errors(server: &Server) -> BTreeMap<String, String> {
    let reply = server.client.get("/api/v2/importErrors?limit=100");
    let list = reply.body["import_errors"].as_array().unwrap_or_else(|| panic!("{reply:?}")).clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|error| (text(&error["filename"]), text(&error["stack_trace"]))).collect()
}

fn wait_for_error(server: &Server, file: &str, text: &str) {
    server.wait_for(&format!("an error of {file} with {text:?}"), |_| {
        errors(server).get(file).is_some_and(|error| error.contains(text)).then_some(())
    });
}

fn last_parsed(server: &Server, dag_id: &str) -> Value {
    server.client.get(&format!("/api/v2/dags/{dag_id}")).body["last_parsed_time"].clone()
}

#[test]
fn a_change_is_seen_within_half_a_second() {
    let context = context();
    context.write_dag("quick.py", &dag("quick", "0"));
    let server = Server::start(&context);
    wait_for_description(&server, "quick", "0");
    // The best of a few: other tests run beside this one.
    let mut best = Duration::MAX;
    for number in 1..=8 {
        let wanted = number.to_string();
        context.write_dag("quick.py", &dag("quick", &wanted));
        let start = Instant::now();
        wait_for_description(&server, "quick", &wanted);
        best = best.min(start.elapsed());
    }
    assert!(best < Duration::from_millis(500), "{best:?}");
}

#[test]
fn what_has_not_changed_is_never_imported_again() {
    let context = context();
    context.write_dag("still.py", &dag("still", "same"));
    let server = Server::start(&context);
    wait_for_description(&server, "still", "same");
    let before = last_parsed(&server, "still");
    // The same content in a new file, and files that are none of its business.
    context.write_dag("still.py", &dag("still", "same"));
    context.write_dag("data.csv", "1,2,3");
    context.write_dag("notes.py", "# nothing to see\n");
    context.write_dag("marker.py", &dag("marker", "1"));
    wait_for_description(&server, "marker", "1");
    assert_eq!(last_parsed(&server, "still"), before);
    server.kill();
    let server = Server::start(&context);
    context.write_dag("marker.py", &dag("marker", "2"));
    wait_for_description(&server, "marker", "2");
    assert_eq!(last_parsed(&server, "still"), before, "imported again after a restart");
}

/// As Airflow does it: an error anywhere in a file keeps its other Dags from being listed, unless they were there before
/// it.
#[test]
fn a_dag_beside_a_cycle_waits_until_that_is_gone() {
    let context = context();
    let cycle = "from airflow.providers.standard.operators.empty import EmptyOperator\nfrom airflow.sdk import DAG\n\n\
                 with DAG(\"cycle\"):\n    a, b = EmptyOperator(task_id=\"a\"), EmptyOperator(task_id=\"b\")\n    a >> b >> a\n";
    let beside = |first: &str| format!("{first}\n{}", dag("beside", first.lines().next().unwrap_or("alone")));
    context.write_dag("two.py", &beside(cycle));
    let server = Server::start(&context);
    wait_for_error(&server, "two.py", "Cycle detected in Dag: cycle. Faulty task: ");
    assert!(!is_listed(&server, "beside") && !is_listed(&server, "cycle"));
    let reply = server.client.get("/api/v2/dags/beside").body;
    assert_eq!((&reply["is_stale"], &reply["has_import_errors"]), (&json!(true), &json!(true)), "{reply}");

    context.write_dag("two.py", &beside(""));
    wait_for_description(&server, "beside", "alone");
    server.wait_for("beside is listed", |_| is_listed(&server, "beside").then_some(()));
    context.write_dag("two.py", &beside(&format!("# changed\n{cycle}")));
    wait_for_error(&server, "two.py", "Cycle detected in Dag: cycle. Faulty task: ");
    wait_for_description(&server, "beside", "# changed");
    assert!(is_listed(&server, "beside"));
}

/// Files that misbehave, and what their error says.
const HARMFUL: [(&str, &str, &str); 16] = [
    ("syntax.py", "# airflow dag\ndef broken(:\n", "SyntaxError"),
    ("raises.py", "# airflow dag\n\n1 / 0\n", "ZeroDivisionError"),
    ("missing.py", "# airflow dag\nimport no_such_module\n", "No module named 'no_such_module'"),
    ("recursion.py", "# airflow dag\ndef f():\n    f()\nf()\n", "RecursionError"),
    ("memory.py", "# airflow dag\nx = bytearray(1 << 36)\n", "MemoryError"),
    ("hangs.py", "# airflow dag\nimport time\ntime.sleep(1000)\n", "longer than"),
    (
        "spins.py",
        "# airflow dag\nimport signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass\n",
        "longer than",
    ),
    ("exits.py", "# airflow dag\nimport os\nos._exit(0)\n", "ended by itself"),
    ("exits_3.py", "# airflow dag\nimport os\nos._exit(3)\n", "ended with exit code 3"),
    ("sys_exit.py", "# airflow dag\nimport sys\nsys.exit(4)\n", ""),
    ("killed.py", "# airflow dag\nimport os\nos.kill(os.getpid(), 9)\n", "was killed"),
    ("crashes.py", "# airflow dag\nimport ctypes\nctypes.string_at(0)\n", "crashed"),
    ("nonsense.py", "# airflow dag\nimport os\nos.write(0, b'\\xff' * 100)\n", "broke the protocol"),
    ("closes.py", "# airflow dag\nimport os\nos.closerange(0, 64)\n", ""),
    (
        "prints.py",
        "# airflow dag\nfor _ in range(3000):\n    print('x' * 10000)\nraise ValueError('after all that')\n",
        "after all that",
    ),
    ("null.py", "# airflow dag\nx = '\0'\n", "null bytes"),
];

#[test]
fn a_harmful_file_harms_nothing_else() {
    let context = context();
    for (name, content, _) in HARMFUL {
        context.write_dag(name, content);
    }
    std::fs::write(
        context.dags().join("junk.py"),
        [b"airflow dag".as_slice(), &[0x80, 0xff, 0xfe, 0x00, 0x01]].concat(),
    )
    .unwrap();
    std::fs::write(context.dags().join("junk.zip"), b"PK\x03\x04 this is no archive").unwrap();
    let forks = format!("import os\nos.fork()\n{}", dag("forks", "once"));
    context.write_dag("forks.py", &forks);
    let chdir = format!("import os\nos.chdir('/')\nos.environ.clear()\n{}", dag("chdir", "moved"));
    context.write_dag("chdir.py", &chdir);
    let deletes = format!("import os\nos.remove(__file__)\n{}", dag("deletes", "itself"));
    context.write_dag("deletes.py", &deletes);
    context.write_dag("good.py", &dag("good", "unharmed"));
    let server = Server::start_with(&context, &[("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", "5")]);
    for (dag_id, text) in [("good", "unharmed"), ("forks", "once"), ("chdir", "moved")] {
        wait_for_description(&server, dag_id, text);
    }
    for (name, _, text) in HARMFUL.iter().filter(|(_, _, text)| !text.is_empty()) {
        wait_for_error(&server, name, text);
    }
    wait_for_error(&server, "junk.py", "");
    let found = errors(&server);
    // An error names the file and the line.
    assert!(found["raises.py"].contains("raises.py\", line 3"), "{}", found["raises.py"]);
    assert!(found["syntax.py"].contains("syntax.py\", line 2"), "{}", found["syntax.py"]);
    wait_until("the file that deletes itself leaves no Dag", || !is_listed(&server, "deletes"));
    // And all goes on.
    context.write_dag("good.py", &dag("good", "still unharmed"));
    wait_for_description(&server, "good", "still unharmed");
    let (_, state) = server.run_dag("good", &json!({}));
    assert_eq!(state, "success");
}

#[test]
fn a_file_that_fails_keeps_its_last_good_dags() {
    let context = context();
    context.write_dag("file.py", &dag("kept", "good"));
    let server = Server::start(&context);
    wait_for_description(&server, "kept", "good");
    context.write_dag("file.py", "# airflow dag\nraise ValueError('bad day')\n");
    wait_for_error(&server, "file.py", "ValueError: bad day");
    assert!(is_listed(&server, "kept"));
    assert_eq!(server.client.get("/api/v2/dags/kept").body["has_import_errors"], true);
    context.write_dag("file.py", &dag("kept", "good again"));
    wait_for_description(&server, "kept", "good again");
    assert!(!errors(&server).contains_key("file.py"), "{:?}", errors(&server));
    assert_eq!(server.client.get("/api/v2/dags/kept").body["has_import_errors"], false);
}

#[test]
fn what_a_file_imports_counts_too() {
    let context = context();
    let using = |module: &str, dag_id: &str| {
        format!("from {module} import WORD\n{}", dag(dag_id, "WORD").replace("\"WORD\"", "WORD"))
    };
    context.write_dag("words/__init__.py", "");
    context.write_dag("words/one.py", "WORD = 'first'\n");
    context.write_dag("uses.py", &using("words.one", "uses"));
    context.write_dag("waits.py", &using("comes_later", "waits"));
    context.write_dag("apart.py", &dag("apart", "alone"));
    let listing = "import os\nNAMES = ' '.join(sorted(os.listdir(os.path.dirname(__file__) + '/conf')))\n";
    context.write_dag("conf/a.yaml", "");
    context.write_dag("lists.py", &(listing.to_owned() + &dag("lists", "NAMES").replace("\"NAMES\"", "NAMES")));
    let server = Server::start(&context);
    wait_for_description(&server, "uses", "first");
    wait_for_description(&server, "apart", "alone");
    wait_for_description(&server, "lists", "a.yaml");
    wait_for_error(&server, "waits.py", "No module named 'comes_later'");
    let apart = last_parsed(&server, "apart");
    let uses = last_parsed(&server, "uses");
    context.write_dag("comes_later.py", "WORD = 'at last'\n");
    wait_for_description(&server, "waits", "at last");
    context.write_dag("conf/b.yaml", "");
    wait_for_description(&server, "lists", "a.yaml b.yaml");
    assert_eq!(last_parsed(&server, "uses"), uses, "a new file beside it is no reason");
    context.write_dag("words/one.py", "WORD = 'second'\n");
    wait_for_description(&server, "uses", "second");
    assert_eq!(last_parsed(&server, "apart"), apart);
}

#[test]
fn dags_vanish_move_and_change_hands() {
    let context = context();
    let both = dag("stays", "1") + &dag("goes", "1");
    context.write_dag("several.py", &both);
    context.write_dag("first.py", &dag("shared", "from the first"));
    let server = Server::start(&context);
    wait_for_description(&server, "stays", "1");
    wait_for_description(&server, "goes", "1");
    wait_for_description(&server, "shared", "from the first");
    context.write_dag("several.py", &dag("stays", "2"));
    wait_for_description(&server, "stays", "2");
    wait_until("the Dag that is no longer in its file goes", || !is_listed(&server, "goes"));
    // Another file with the same id is refused it.
    context.write_dag("second.py", &dag("shared", "from the second"));
    wait_for_error(&server, "second.py", "Dag shared is defined in first.py already");
    assert_eq!(description(&server, "shared").as_deref(), Some("from the first"));
    // That is known after a restart, too: when the first one goes, the second one has it.
    server.kill();
    let server = Server::start(&context);
    context.write_dag("marker.py", &dag("marker", "1"));
    wait_for_description(&server, "marker", "1");
    std::fs::remove_file(context.dags().join("first.py")).unwrap();
    wait_for_description(&server, "shared", "from the second");
    server.wait_for("the error goes", |_| (!errors(&server).contains_key("second.py")).then_some(()));
    // A file that moves takes its Dags along.
    std::fs::create_dir(context.dags().join("folder")).unwrap();
    std::fs::rename(context.dags().join("several.py"), context.dags().join("folder/moved.py")).unwrap();
    server.wait_for("the Dag is in its new file", |client| {
        let dag = client.get("/api/v2/dags/stays").body;
        (dag["relative_fileloc"] == "folder/moved.py" && dag["is_stale"] == false).then_some(())
    });
    // A folder that is ignored from now on, and no longer.
    context.write_dag(".airflowignore", "folder/\n");
    wait_until("the ignored Dag goes", || !is_listed(&server, "stays"));
    std::fs::remove_file(context.dags().join(".airflowignore")).unwrap();
    wait_until("the Dag is back", || is_listed(&server, "stays"));
    std::fs::remove_dir_all(context.dags().join("folder")).unwrap();
    wait_until("the Dag goes with its folder", || !is_listed(&server, "stays"));
}

/// A zip archive of one file, stored as it is.
fn archive(name: &str, content: &str) -> Vec<u8> {
    let (name, content) = (name.as_bytes(), content.as_bytes());
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
    let common = [&[0; 8][..], &(!crc).to_le_bytes(), &size, &size, &name_length, &[0; 2]].concat();
    let local = [b"PK\x03\x04\x14\0".as_slice(), &common, name, content].concat();
    let central = [b"PK\x01\x02\x14\0\x14\0".as_slice(), &common, &[0; 14], name].concat();
    let lengths = [central.len(), local.len()].map(|length| u32::try_from(length).unwrap().to_le_bytes()).concat();
    let mut out = local;
    out.write_all(&central).unwrap();
    out.write_all(&[b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &lengths, &[0; 2]].concat()).unwrap();
    out
}

fn write_archive(context: &Context, content: &str) {
    let temporary = context.path("archive.tmp");
    std::fs::write(&temporary, archive("inside.py", content)).unwrap();
    std::fs::rename(&temporary, context.dags().join("packed.zip")).unwrap();
}

#[test]
fn archives_and_links_hold_dags() {
    let context = context();
    let with_task = |word: &str| {
        format!(
            "from airflow.sdk import DAG, task\nwith DAG(\"packed\", description={word:?}):\n    \
             @task\n    def says():\n        return {word:?}\n    says()\n"
        )
    };
    write_archive(&context, &with_task("one"));
    let outside = context.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("linked.py"), dag("linked", "1")).unwrap();
    std::os::unix::fs::symlink(outside.join("linked.py"), context.dags().join("linked.py")).unwrap();
    let server = Server::start(&context);
    wait_for_description(&server, "packed", "one");
    wait_for_description(&server, "linked", "1");
    let (run_id, state) = server.run_dag("packed", &json!({}));
    assert_eq!((state.as_str(), server.xcom("packed", &run_id, "says")), ("success", json!("one")));
    write_archive(&context, &with_task("two"));
    wait_for_description(&server, "packed", "two");
    std::fs::write(outside.join("linked.py"), dag("linked", "2")).unwrap();
    wait_for_description(&server, "linked", "2");
}
