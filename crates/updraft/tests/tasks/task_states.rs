//! What tasks keep for their later tries.

use serde_json::json;
use testkit::Server;

use crate::support::{assert_states, context, dag_file};

#[test]
fn what_a_task_keeps_is_there_for_its_next_try_and_for_nobody_else() {
    let context = context();
    context.write_dag("task_states.py", &dag_file("task_states.py"));
    let server = Server::start_with(&context, &[]);
    let (run_id, state) = server.run_dag("task_states", &json!({}));
    assert_states(&context, &server, "task_states", &run_id, |_| "success");
    assert_eq!(state, "success");
    assert_eq!(server.xcom("task_states", &run_id, "resumes"), json!({"id": 7, "pages": [1, 2]}));
    assert_eq!(server.xcom("task_states", &run_id, "refuses"), json!(true));
}
