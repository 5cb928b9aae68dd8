//! What tasks keep with assets.

use serde_json::json;
use testkit::Server;

use crate::support::{assert_states, context, dag_file};

#[test]
fn what_is_kept_with_an_asset_is_there_for_every_run() {
    let context = context();
    context.write_dag("asset_states.py", &dag_file("asset_states.py"));
    let server = Server::start_with(&context, &[]);
    for round in 0..2 {
        let (run_id, state) = server.run_dag("asset_states", &json!({}));
        assert_states(&context, &server, "asset_states", &run_id, |_| "success");
        assert_eq!(state, "success");
        let returned = |task: &str| server.xcom("asset_states", &run_id, task);
        assert_eq!(returned("keeps"), json!(round));
        assert_eq!(returned("reads_by_uri"), json!([round + 1, {"pages": [1, 2.5, null]}, [1]]));
        assert_eq!(returned("clears"), json!([null, null]));
        assert_eq!(returned("refuses"), json!([true, true]));
    }
}
