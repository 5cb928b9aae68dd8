//! Dynamic task mapping: what tasks and task groups map over, how many instances that makes, and which instances of one
//! task matter to which of another.
//!
//! The rules are those of Airflow 3.3: `models/expandinput.py`, `serialization/definitions/xcom_arg.py`, and
//! `_get_relevant_map_indexes` of `models/taskinstance.py`.

use std::sync::Arc;

use crate::Json;
use crate::id::{GroupIndex, TaskId};

/// What `expand` or `expand_kwargs` was given.
#[derive(Clone, PartialEq, Debug)]
pub enum ExpandInput {
    /// Every combination of the arguments' items; the last argument's change fastest.
    Product(Vec<(String, MapValue)>),
    /// One dict of arguments for each instance.
    Dicts(MapValue),
}

/// Something that is mapped over.
#[derive(Clone, PartialEq, Debug)]
pub enum MapValue {
    /// A list, or a dict whose items are mapped over as pairs.
    Literal(Arc<Json>),
    XCom(XComArg),
    /// A list some of whose items tasks leave behind.
    Mixed {
        length: u32,
        xcoms: Vec<XComArg>,
    },
}

/// What tasks leave behind, put together.
#[derive(Clone, PartialEq, Debug)]
pub enum XComArg {
    Plain {
        task_id: TaskId,
        key: String,
    },
    /// Passed through functions, which only Python can call.
    Map(Box<XComArg>),
    Zip {
        args: Vec<XComArg>,
        /// Stands for what is missing of the shorter ones; without it the shortest decides.
        fill: Option<Json>,
    },
    Concat(Vec<XComArg>),
}

impl ExpandInput {
    /// How many instances this makes. `length_of` tells the length of what a task left; without it, and where it is not
    /// known, there is no answer.
    pub fn length(&self, length_of: &impl Fn(&TaskId) -> Option<u32>) -> Option<u64> {
        match self {
            ExpandInput::Product(arguments) if arguments.is_empty() => Some(0),
            ExpandInput::Product(arguments) => {
                let mut lengths = arguments.iter().map(|(_, value)| value.length(length_of));
                lengths.try_fold(1u64, |product, length| Some(product.saturating_mul(length?)))
            }
            ExpandInput::Dicts(value) => value.length(length_of),
        }
    }

    /// Calls `visit` with each task whose XCom it needs.
    pub fn for_each_task(&self, visit: &mut impl FnMut(&TaskId)) {
        match self {
            ExpandInput::Product(arguments) => {
                arguments.iter().for_each(|(_, value)| value.for_each_task(visit));
            }
            ExpandInput::Dicts(value) => value.for_each_task(visit),
        }
    }
}

impl MapValue {
    fn length(&self, length_of: &impl Fn(&TaskId) -> Option<u32>) -> Option<u64> {
        match self {
            MapValue::Literal(value) => Some(literal_length(value)),
            MapValue::XCom(arg) => arg.length(length_of),
            MapValue::Mixed { length, .. } => Some(u64::from(*length)),
        }
    }

    fn for_each_task(&self, visit: &mut impl FnMut(&TaskId)) {
        match self {
            MapValue::Literal(_) => {}
            MapValue::XCom(arg) => arg.for_each_task(visit),
            MapValue::Mixed { xcoms, .. } => xcoms.iter().for_each(|arg| arg.for_each_task(visit)),
        }
    }
}

/// How many items a list or a dict has.
fn literal_length(value: &Json) -> u64 {
    let length = match value {
        Json::Array(items) => items.len(),
        Json::Object(fields) => fields.len(),
        _ => 0,
    };
    length as u64
}

impl XComArg {
    pub fn length(&self, length_of: &impl Fn(&TaskId) -> Option<u32>) -> Option<u64> {
        match self {
            XComArg::Plain { task_id, .. } => length_of(task_id).map(u64::from),
            XComArg::Map(arg) => arg.length(length_of),
            XComArg::Zip { args, fill } => {
                let lengths: Vec<u64> = args.iter().map(|arg| arg.length(length_of)).collect::<Option<_>>()?;
                if fill.is_some() { lengths.into_iter().max() } else { lengths.into_iter().min() }
            }
            XComArg::Concat(args) => {
                let mut lengths = args.iter().map(|arg| arg.length(length_of));
                lengths.try_fold(0u64, |sum, length| Some(sum.saturating_add(length?)))
            }
        }
    }

    pub fn for_each_task(&self, visit: &mut impl FnMut(&TaskId)) {
        match self {
            XComArg::Plain { task_id, .. } => visit(task_id),
            XComArg::Map(arg) => arg.for_each_task(visit),
            XComArg::Zip { args, .. } | XComArg::Concat(args) => {
                args.iter().for_each(|arg| arg.for_each_task(visit));
            }
        }
    }
}

/// A task group whose tasks have an instance for each item that it maps over.
#[derive(Clone, PartialEq, Debug)]
pub struct MappedGroup {
    pub group_id: String,
    /// The mapped group that it is in, directly or not.
    pub parent: Option<GroupIndex>,
    pub expand: ExpandInput,
}

/// Whose instances matter to whose, along one dependency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Every instance of the upper task matters to every one of the lower.
    All,
    /// Both are in the same mapped group: what came of the same item of it matters.
    Lane {
        /// The lane's place in [`crate::Dag::lanes`] of the lower task.
        lane: usize,
        /// The upper task is in another mapped group inside of that one.
        further: bool,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn literal(value: Json) -> MapValue {
        MapValue::Literal(Arc::new(value))
    }

    fn plain(task_id: &str) -> XComArg {
        XComArg::Plain { task_id: task_id.into(), key: "return_value".into() }
    }

    /// `three` and `two` have left so much, `open` nothing yet.
    fn length_of(task_id: &TaskId) -> Option<u32> {
        match task_id.as_str() {
            "three" => Some(3),
            "two" => Some(2),
            _ => None,
        }
    }

    #[test]
    fn lengths_are_those_of_airflow() {
        let zip = |fill: Option<Json>| XComArg::Zip { args: vec![plain("three"), plain("two")], fill };
        let product = |values: Vec<MapValue>| {
            ExpandInput::Product(values.into_iter().enumerate().map(|(n, value)| (format!("a{n}"), value)).collect())
        };
        let xcom = MapValue::XCom;
        for (input, want) in [
            (product(vec![]), Some(0)),
            (product(vec![literal(json!([1, 2, 3]))]), Some(3)),
            (product(vec![literal(json!({"a": 1, "b": 2})), literal(json!([1, 2, 3]))]), Some(6)),
            (product(vec![literal(json!([])), xcom(plain("open"))]), None),
            (product(vec![literal(json!([1, 2])), xcom(plain("three"))]), Some(6)),
            (product(vec![xcom(XComArg::Map(Box::new(plain("two"))))]), Some(2)),
            (product(vec![xcom(zip(None))]), Some(2)),
            (product(vec![xcom(zip(Some(Json::Null)))]), Some(3)),
            (product(vec![xcom(XComArg::Concat(vec![zip(None), plain("three")]))]), Some(5)),
            (product(vec![xcom(XComArg::Concat(vec![plain("two"), plain("open")]))]), None),
            (ExpandInput::Dicts(literal(json!([{"a": 1}, {"a": 2}]))), Some(2)),
            (ExpandInput::Dicts(xcom(plain("three"))), Some(3)),
        ] {
            assert_eq!(input.length(&length_of), want, "{input:?}");
        }
    }

    #[test]
    fn every_task_whose_xcom_is_needed_is_named() {
        let zip = XComArg::Zip { args: vec![plain("a"), XComArg::Map(Box::new(plain("b")))], fill: None };
        let arguments = vec![
            ("x".to_owned(), literal(json!([1]))),
            ("y".to_owned(), MapValue::XCom(XComArg::Concat(vec![zip, plain("c")]))),
        ];
        let mut tasks = Vec::new();
        ExpandInput::Product(arguments).for_each_task(&mut |task| tasks.push(task.to_string()));
        assert_eq!(tasks, ["a", "b", "c"]);
    }
}
