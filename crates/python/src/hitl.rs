//! What tasks are told of people's answers.

use model::{HitlResponse, HitlUser, Json};
use serde_json::json;

use crate::trigger::encoded_moment;

/// Names with a meaning of their own in what the Task SDK encodes; it refuses to encode a dictionary that has one.
const RESERVED: [&str; 2] = ["__classname__", "__id__"];

/// The event that the operator's method is told (`HITLTriggerEventSuccessPayload`), as the Task SDK encodes it.
pub fn payload(response: &HitlResponse, timed_out: bool) -> Json {
    json!({
        "chosen_options": response.chosen_options,
        "params_input": response.params_input,
        "responded_at": encoded_moment(response.at.as_microsecond() as f64 / 1e6),
        "responded_by_user": user(response.by.as_ref()),
        "timedout": timed_out,
    })
}

/// A person as tasks see it.
pub fn user(user: Option<&HitlUser>) -> Json {
    user.map_or(Json::Null, |user| json!({"id": user.id, "name": user.name}))
}

/// A key somewhere in a value by which the task would take its dictionary for something else.
pub fn reserved_key(value: &Json) -> Option<&'static str> {
    match value {
        Json::Object(fields) => RESERVED
            .into_iter()
            .find(|name| fields.contains_key(*name))
            .or_else(|| fields.values().find_map(reserved_key)),
        Json::Array(items) => items.iter().find_map(reserved_key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_as_the_operator_reads_it() {
        let response = HitlResponse {
            at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            by: Some(HitlUser { id: "1".into(), name: "eve".into() }),
            chosen_options: vec!["a".into()],
            params_input: json!({"p": [1]}),
        };
        let told = payload(&response, false);
        assert_eq!(told["responded_by_user"], json!({"id": "1", "name": "eve"}));
        assert_eq!(told["responded_at"]["__data__"]["timestamp"], json!(1767323045.678901));
        assert_eq!((&told["chosen_options"], &told["params_input"]), (&json!(["a"]), &json!({"p": [1]})));
        assert_eq!((&told["timedout"], &payload(&response, true)["timedout"]), (&json!(false), &json!(true)));
        assert_eq!(payload(&HitlResponse { by: None, ..response }, true)["responded_by_user"], Json::Null);
    }

    #[test]
    fn keys_that_mean_something_else_to_tasks_are_found() {
        assert_eq!(reserved_key(&json!({"a": [{"b": {"__classname__": 1}}]})), Some("__classname__"));
        assert_eq!(reserved_key(&json!({"a": [{"b": "__classname__"}], "c": null})), None);
    }
}
