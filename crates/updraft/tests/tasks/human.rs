//! Tasks that ask people, and people who answer through the API.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Client, Reply, Server, python};

use crate::support::{assert_states, context, dag_file, log_of, shown, wait_until};

/// A run whose tasks ask.
struct Asking {
    server: Server,
    dag_id: &'static str,
    run_id: String,
}

impl Asking {
    fn path(&self, rest: &str) -> String {
        format!("/api/v2/dags/{}/dagRuns/{}/{rest}", self.dag_id, self.run_id.replace('+', "%2B").replace(':', "%3A"))
    }

    fn of_task(&self, task: &str, map_index: i32) -> String {
        self.path(&format!("taskInstances/{task}/{map_index}/hitlDetails"))
    }

    fn state(&self, task: &str) -> Value {
        self.server.task_instances(self.dag_id, &self.run_id).get(task).map_or(Value::Null, |ti| ti["state"].clone())
    }

    fn wait_until(&self, task: &str, state: &str) {
        wait_until(&format!("{task} is {state}"), || self.state(task) == state);
    }

    fn answer_with(&self, task: &str, map_index: i32, body: &Value) -> Reply {
        self.server.client.patch(&self.of_task(task, map_index), body)
    }

    fn answer(&self, task: &str, options: &[&str]) {
        let reply = self.answer_with(task, -1, &json!({"chosen_options": options}));
        assert_eq!((reply.status, &reply.body["chosen_options"]), (200, &json!(options)), "{task}: {reply:?}");
    }

    fn detail(&self, task: &str) -> Value {
        let reply = self.server.client.get(&self.of_task(task, -1));
        assert_eq!(reply.status, 200, "{task}: {reply:?}");
        reply.body
    }

    /// Subjects and numbers of what a list has.
    fn list(&self, query: &str) -> (Vec<String>, u64) {
        let reply = self.server.client.get(&self.path(&format!("hitlDetails?{query}")));
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        let found = reply.body["hitl_details"].as_array().unwrap();
        let tasks = found.iter().map(|detail| detail["task_instance"]["task_id"].as_str().unwrap().to_owned());
        (tasks.collect(), reply.body["total_entries"].as_u64().unwrap())
    }
}

fn begin(context: &testkit::Context, dag_id: &'static str) -> Asking {
    let server = Server::start(context);
    server.wait_for_dag(dag_id);
    server.unpause(dag_id);
    let run_id = server.trigger(dag_id, &json!({}));
    Asking { server, dag_id, run_id }
}

const WAITING: [&str; 8] = ["approve", "branch", "each[0]", "each[1]", "form", "many", "picky", "old_answered"];

#[test]
fn tasks_wait_for_people_and_go_on_with_their_answers_after_a_kill() {
    let context = context();
    context.write_dag("human.py", &dag_file("human.py"));
    let asking = begin(&context, "human");
    for task in WAITING {
        asking.wait_until(task, if task == "old_answered" { "deferred" } else { "awaiting_input" });
    }
    asking.wait_until("default", "success");
    asking.wait_until("old_default", "success");
    asking.wait_until("no_default", "failed");
    let form = asking.detail("form");
    assert_eq!(form["subject"], "What about human?");
    assert_eq!(form["params"]["number"]["value"], 3);
    assert_eq!(form["params"]["text"]["schema"], json!({}));
    assert_eq!((&form["response_received"], &form["chosen_options"]), (&json!(false), &Value::Null));
    assert_eq!(asking.detail("approve")["body"], "# Read this");
    for task in ["default", "old_default"] {
        let detail = asking.detail(task);
        assert_eq!((&detail["chosen_options"], &detail["responded_by_user"]), (&json!(["no"]), &Value::Null), "{task}");
        assert!(detail["responded_at"].is_string());
    }
    assert_eq!(asking.detail("default")["params_input"], json!({"number": 3}));
    let log = shown(&log_of(&context, "human", &asking.run_id, "no_default", 1));
    assert!(log.contains("HITLTimeoutError"), "{log}");
    what_is_wrong_is_said(&asking);
    lists_have_what_is_asked_for(&asking);

    let Asking { server, dag_id, run_id } = asking;
    server.kill();
    let asking = Asking { server: Server::start(&context), dag_id, run_id };
    asking.wait_until("form", "awaiting_input");
    let reply =
        asking.answer_with("form", -1, &json!({"chosen_options": ["OK"], "params_input": {"number": 41, "text": "t"}}));
    assert_eq!((reply.status, &reply.body["responded_by"]["name"]), (200, &json!("Anonymous")), "{reply:?}");
    // An answer that was acknowledged outlives the process that took it.
    let Asking { server, dag_id, run_id } = asking;
    server.kill();
    let asking = Asking { server: Server::start(&context), dag_id, run_id };
    asking.wait_until("read", "success");
    let log = shown(&log_of(&context, "human", &asking.run_id, "read", 1));
    assert!(log.contains("number: 42 by Anonymous"), "{log}");
    asking.answer("approve", &["Reject"]);
    asking.answer("branch", &["to the left"]);
    asking.answer("many", &["c", "a"]);
    asking.answer("old_answered", &["yes"]);
    asking.answer("picky", &["bad"]);
    for index in [0, 1] {
        assert_eq!(asking.answer_with("each", index, &json!({"chosen_options": ["OK"]})).status, 200);
    }
    wait_until("picky asks again", || asking.detail("picky")["response_received"] == false);
    let first = asking.server.client.get(&format!("{}/tries/1", asking.of_task("picky", -1)));
    assert_eq!((first.status, &first.body["chosen_options"]), (200, &json!(["bad"])), "{first:?}");
    assert_eq!(first.body["task_instance"]["try_number"], 1);
    asking.wait_until("picky", "awaiting_input");
    asking.answer("picky", &["good"]);
    let second = asking.server.client.get(&format!("{}/tries/2", asking.of_task("picky", -1)));
    assert_eq!((second.status, &second.body["chosen_options"]), (200, &json!(["good"])), "{second:?}");
    assert_eq!(asking.server.wait_for_run("human", &asking.run_id), "failed");
    assert_states(&context, &asking.server, "human", &asking.run_id, |task| match task {
        "no_default" => "failed",
        "approved" | "right" => "skipped",
        _ => "success",
    });
    let many = asking.server.xcom("human", &asking.run_id, "many");
    assert_eq!(many["chosen_options"], json!(["c", "a"]), "{many}");
    asking.server.kill();
}

fn what_is_wrong_is_said(asking: &Asking) {
    let client = &asking.server.client;
    let cases = [
        (
            asking.of_task("approve", -1),
            json!({"chosen_options": ["Perhaps"]}),
            400,
            "Invalid options ['Perhaps']; allowed options are ['Approve', 'Reject'].",
        ),
        (
            asking.of_task("approve", -1),
            json!({"chosen_options": ["Approve", "Reject"]}),
            400,
            "Multiple options chosen but this Human-in-the-loop task accepts only a single option.",
        ),
        (
            asking.of_task("form", -1),
            json!({"chosen_options": ["OK"], "params_input": {"text": {"__classname__": "x"}}}),
            400,
            "__classname__",
        ),
        (
            asking.of_task("default", -1),
            json!({"chosen_options": ["yes"]}),
            409,
            "Human-in-the-loop detail has already been updated for Task Instance with id",
        ),
        (
            asking.of_task("left", -1),
            json!({"chosen_options": ["yes"]}),
            404,
            "Human-in-the-loop detail does not exist for Task Instance with id",
        ),
        (
            asking.of_task("nowhere", -1),
            json!({"chosen_options": ["yes"]}),
            404,
            "The Task Instance with dag_id: `human`",
        ),
        (asking.of_task("approve", 3), json!({"chosen_options": ["yes"]}), 404, "and map_index: `3` was not found"),
    ];
    for (path, body, status, detail) in cases {
        let reply = client.patch(&path, &body);
        let said = reply.body["detail"].as_str().unwrap_or_default();
        assert!(reply.status == status && said.contains(detail), "{path} {body}: {reply:?}");
    }
    for (body, kind) in [
        (json!({}), "missing"),
        (json!({"chosen_options": []}), "too_short"),
        (json!({"chosen_options": null}), "list_type"),
        (json!({"chosen_options": [1]}), "string_type"),
        (json!({"chosen_options": ["OK"], "params_input": null}), "dict_type"),
    ] {
        let reply = client.patch(&asking.of_task("form", -1), &body);
        assert_eq!((reply.status, &reply.body["detail"][0]["type"]), (422, &json!(kind)), "{body}: {reply:?}");
    }
    assert_eq!(client.get(&format!("{}/tries/7", asking.of_task("form", -1))).status, 404);
    assert_eq!(asking.detail("form")["response_received"], false);
}

fn lists_have_what_is_asked_for(asking: &Asking) {
    assert_eq!(asking.list("").1, 11);
    assert_eq!(asking.list("response_received=true&order_by=subject").0, ["default", "old_default"]);
    assert_eq!(asking.list("state=deferred").0, ["old_answered"]);
    assert_eq!(asking.list("subject_search=which&order_by=-subject").0, ["picky", "many"]);
    assert_eq!(asking.list("body_search=read"), (vec!["approve".to_owned()], 1));
    assert_eq!(asking.list("task_id=each&map_index=1").1, 1);
    assert_eq!(asking.list("limit=1").0.len(), 1);
    let reply = asking.server.client.get("/api/v2/dags/~/dagRuns/~/hitlDetails?order_by=nothing");
    assert_eq!(reply.status, 400, "{reply:?}");
}

#[test]
fn only_those_who_are_asked_may_answer_and_only_once() {
    let context = context();
    let users = [("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "eve:user,bob:admin,ann:viewer")];
    context.write_dag(
        "assigned.py",
        "from airflow.providers.standard.operators.hitl import HITLOperator\n\
         from airflow.sdk import DAG\n\
         with DAG('assigned'):\n\
         \x20   HITLOperator(task_id='asks', subject='May I?', options=['yes', 'no'],\n\
         \x20                assigned_users=[{'id': 'eve', 'name': 'Eve'}])\n",
    );
    let passwords: PathBuf = context.home().join("passwords.json");
    std::fs::create_dir_all(context.home()).unwrap();
    std::fs::write(&passwords, json!({"eve": "e", "bob": "b", "ann": "a"}).to_string()).unwrap();
    let env = [users[0], ("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", passwords.to_str().unwrap())];
    let mut server = Server::start_closed(&context, &env);
    let bob = server.client.clone().with_password("bob", "b");
    server.client = bob.clone();
    server.wait_for_dag("assigned");
    server.unpause("assigned");
    let run_id = server.trigger("assigned", &json!({}));
    let asking = Asking { server, dag_id: "assigned", run_id };
    asking.wait_until("asks", "awaiting_input");
    let body = json!({"chosen_options": ["yes"]});
    let refused = asking.answer_with("asks", -1, &body);
    let said = "User=bob (id=bob) is not a respondent for the task.";
    assert_eq!((refused.status, &refused.body["detail"]), (403, &json!(said)), "{refused:?}");
    let ann = asking.server.client.clone().with_password("ann", "a");
    assert_eq!(ann.patch(&asking.of_task("asks", -1), &body).status, 403);
    assert_eq!(ann.get(&asking.of_task("asks", -1)).body["assigned_users"], json!([{"id": "eve", "name": "Eve"}]));
    // Of many answers at once one is taken.
    let eve = asking.server.client.clone().with_password("eve", "e");
    let path = asking.of_task("asks", -1);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let answer = |client: Client| client.patch(&path, &body).status;
        let threads: Vec<_> = (0..8).map(|_| eve.clone()).map(|client| scope.spawn(move || answer(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!(taken == 1 && statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert_eq!(asking.server.wait_for_run("assigned", &asking.run_id), "success");
    assert_eq!(asking.detail("asks")["responded_by_user"], json!({"id": "eve", "name": "eve"}));
    let listed = |query: &str| asking.list(query).1;
    assert_eq!((listed("responded_by_user_id=eve"), listed("responded_by_user_name=bob")), (1, 0));
    asking.server.kill();
}

/// The Dag file that the standard provider brings along.
fn example() -> String {
    let library = python().parent().unwrap().parent().unwrap().join("lib");
    let versions = std::fs::read_dir(library).unwrap().map(|entry| entry.unwrap().path());
    let place = "site-packages/airflow/providers/standard/example_dags/example_hitl_operator.py";
    let found = versions.map(|version| version.join(place)).find(|path| path.exists()).unwrap();
    std::fs::read_to_string(found).unwrap()
}

#[test]
fn airflows_own_example_runs_when_people_answer() {
    let context = context();
    context.write_dag("example_hitl_operator.py", &example());
    let asking = begin(&context, "example_hitl_operator");
    for task in ["wait_for_input", "wait_for_option", "wait_for_multiple_options"] {
        asking.wait_until(task, "awaiting_input");
    }
    let form = json!({"chosen_options": ["OK"], "params_input": {"information": "all is well"}});
    assert_eq!(asking.answer_with("wait_for_input", -1, &form).status, 200);
    asking.answer("wait_for_option", &["option 2"]);
    asking.answer("wait_for_multiple_options", &["option 4", "option 6"]);
    asking.wait_until("valid_input_and_options", "awaiting_input");
    let body = asking.detail("valid_input_and_options")["body"].as_str().unwrap().to_owned();
    for part in ["Input: all is well", "['option 2']", "['option 4', 'option 6']", "['option 7']"] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    asking.answer("valid_input_and_options", &["Approve"]);
    asking.wait_until("choose_a_branch_to_run", "awaiting_input");
    asking.answer("choose_a_branch_to_run", &["task_2"]);
    assert_eq!(asking.server.wait_for_run("example_hitl_operator", &asking.run_id), "success");
    assert_states(&context, &asking.server, "example_hitl_operator", &asking.run_id, |task| match task {
        "task_1" | "task_3" => "skipped",
        _ => "success",
    });
    // The notifiers and the callbacks of the tasks were called.
    let log = shown(&log_of(&context, "example_hitl_operator", &asking.run_id, "wait_for_option", 1));
    for part in ["Url to respond http://localhost:28080/dags/example_hitl_operator", "'chosen_options': ['option 2']"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    asking.server.kill();
}
