//! Pools in files.

use serde_json::{Map, Value, json};
use store::Pool;

/// A pool as a file has it; `None` if the entry has no whole number of slots or no description.
pub fn pool_from_entry(name: &str, entry: &Value) -> Option<Pool> {
    let description = match entry.get("description")? {
        Value::Null => None,
        text => Some(text.as_str()?.to_owned()),
    };
    let slots = entry.get("slots")?;
    let slots = slots.as_i64().or_else(|| slots.as_str()?.trim().parse().ok()).filter(|slots| *slots >= -1)?;
    let include_deferred = entry.get("include_deferred").and_then(Value::as_bool).unwrap_or(false);
    let is_name = !name.trim().is_empty() && name.chars().count() <= 256;
    is_name.then(|| Pool { name: name.to_owned(), slots, description, include_deferred })
}

/// All pools as one document that [`pool_from_entry`] reads back.
pub fn pools_document(pools: &[Pool]) -> Value {
    let mut sorted: Vec<&Pool> = pools.iter().collect();
    sorted.sort_by_key(|pool| &pool.name);
    let entry = |pool: &Pool| json!({"description": pool.description, "include_deferred": pool.include_deferred, "slots": pool.slots});
    Value::Object(sorted.into_iter().map(|pool| (pool.name.clone(), entry(pool))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_need_slots_and_a_description() {
        let pool = pool_from_entry("p", &json!({"slots": 5, "description": "d", "include_deferred": true})).unwrap();
        assert_eq!(pool, Pool { name: "p".into(), slots: 5, description: Some("d".into()), include_deferred: true });
        assert_eq!(pool_from_entry("p", &json!({"slots": 5})), None);
        assert_eq!(pool_from_entry("p", &json!({"slots": "many", "description": ""})), None);
        assert_eq!(pool_from_entry("p", &json!({"slots": -2, "description": ""})), None);
        let document = pools_document(std::slice::from_ref(&pool));
        assert_eq!(pool_from_entry("p", &document["p"]), Some(pool));
    }
}
