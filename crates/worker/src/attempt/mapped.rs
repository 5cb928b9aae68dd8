//! What an instance of a mapped task gets of what the task maps over, without Python: the rules of the Task SDK's
//! `definitions/_internal/expandinput.py` and `definitions/xcom_arg.py`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use model::task::BashSpec;
use model::{Dag, ExpandInput, Json, MapIndex, MapValue, RunKey, XComArg};
use operators::bash::Plain;
use store::{Store, StoreError, XComKey};

/// XComs that are kept: runs that have wide tasks under way at the same time are few.
const MAX_KEPT: usize = 16;

/// XComs that the instances of a task read one after the other: reading a list of thousands for each of its items would
/// take time that grows with its square.
#[derive(Default)]
pub(crate) struct Kept(Mutex<VecDeque<(XComKey, Timestamp, Arc<Json>)>>);

impl Kept {
    fn get(&self, key: &XComKey, at: Timestamp) -> Option<Arc<Json>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, pushed, _)| known == key && *pushed == at).map(|(_, _, value)| Arc::clone(value))
    }

    fn put(&self, key: XComKey, at: Timestamp, value: &Arc<Json>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _, _)| *known != key);
        kept.push_back((key, at, Arc::clone(value)));
        if kept.len() > MAX_KEPT {
            kept.pop_front();
        }
    }
}

/// An argument of an instance.
pub(super) struct Argument {
    name: String,
    value: Json,
    /// Another task left it: it is no template.
    is_plain: bool,
}

/// Where values come from.
pub(super) struct Sources<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) kept: &'a Kept,
    pub(super) run: &'a RunKey,
    pub(super) dag: &'a Dag,
}

/// What is mapped over, with its items in reach.
enum Items {
    Value(Arc<Json>),
    /// What the instances of a mapped task returned.
    Instances {
        key: XComKey,
        length: u64,
    },
    Zip {
        parts: Vec<Items>,
        fill: Option<Json>,
    },
    Concat(Vec<Items>),
}

/// Why Python must do it.
type Reason = String;

fn unreadable(error: StoreError) -> Reason {
    format!("an XCom can't be read: {error}")
}

impl Sources<'_> {
    /// The arguments that an instance gets.
    pub(super) fn arguments(&self, expand: &ExpandInput, map_index: MapIndex) -> Result<Vec<Argument>, Reason> {
        let Ok(index) = u64::try_from(map_index.0) else {
            return Err("the task is mapped, and this is none of its instances".into());
        };
        match expand {
            ExpandInput::Product(arguments) => self.of_product(arguments, index),
            ExpandInput::Dicts(value) => self.of_dicts(value, index),
        }
    }

    fn of_product(&self, arguments: &[(String, MapValue)], index: u64) -> Result<Vec<Argument>, Reason> {
        let mut index = index;
        let mut found = Vec::with_capacity(arguments.len());
        // The last one's items change fastest.
        for (name, value) in arguments.iter().rev() {
            let items = self.items(value)?;
            let length = items.length();
            if length == 0 {
                return Err(format!("{name} has no items"));
            }
            let value_at = self.at(&items, index % length)?;
            index /= length;
            let is_plain = matches!(value, MapValue::XCom(_));
            found.push(Argument { name: name.clone(), value: value_at, is_plain });
        }
        found.reverse();
        Ok(found)
    }

    fn of_dicts(&self, value: &MapValue, index: u64) -> Result<Vec<Argument>, Reason> {
        match self.at(&self.items(value)?, index)? {
            // Airflow renders these, wherever they come from.
            Json::Object(arguments) => {
                Ok(arguments.into_iter().map(|(name, value)| Argument { name, value, is_plain: false }).collect())
            }
            _ => Err("expand_kwargs() was given something other than dicts".into()),
        }
    }

    fn items(&self, value: &MapValue) -> Result<Items, Reason> {
        match value {
            MapValue::Literal(value) => Ok(Items::Value(Arc::clone(value))),
            MapValue::XCom(arg) => self.items_of(arg),
            MapValue::Mixed { .. } => Err("some of what it maps over is the XComs of other tasks".into()),
        }
    }

    fn items_of(&self, arg: &XComArg) -> Result<Items, Reason> {
        let parts = |args: &[XComArg]| args.iter().map(|arg| self.items_of(arg)).collect::<Result<Vec<_>, _>>();
        match arg {
            XComArg::Plain { task_id, key } => self.pushed(task_id, key),
            XComArg::Map(_) => Err("what it maps over goes through functions".into()),
            XComArg::Zip { args, fill } => Ok(Items::Zip { parts: parts(args)?, fill: fill.clone() }),
            XComArg::Concat(args) => Ok(Items::Concat(parts(args)?)),
        }
    }

    fn pushed(&self, task_id: &model::TaskId, key: &str) -> Result<Items, Reason> {
        let source = self.dag.find(task_id.as_str()).map(|source| self.dag.task(source));
        let Some(source) = source else { return Err(format!("the task {task_id} is not in the Dag")) };
        let key =
            XComKey { run: self.run.clone(), task_id: task_id.clone(), map_index: MapIndex::NONE, key: key.to_owned() };
        if source.is_mapped() {
            let length = self.store.count_xcoms(self.run, task_id, &key.key, false).map_err(unreadable)?;
            return Ok(Items::Instances { key, length });
        }
        if source.mapped_group.is_some() {
            return Err("it maps over what a task in a mapped group returns".into());
        }
        let at = self.store.xcom_pushed(&key).map_err(unreadable)?;
        let at = at.ok_or_else(|| format!("the task {task_id} has pushed nothing"))?;
        if let Some(value) = self.kept.get(&key, at) {
            return Ok(Items::Value(value));
        }
        let xcom = self.store.xcom(&key).map_err(unreadable)?;
        let xcom = xcom.ok_or_else(|| format!("the task {task_id} has pushed nothing"))?;
        let value = Arc::new(xcom.value);
        self.kept.put(key, xcom.at, &value);
        Ok(Items::Value(value))
    }

    fn at(&self, items: &Items, index: u64) -> Result<Json, Reason> {
        let gone = || format!("there is no item {index} any more in what it maps over");
        let place = usize::try_from(index).map_err(|_| gone())?;
        match items {
            Items::Value(value) => match &**value {
                Json::Array(list) => list.get(place).cloned().ok_or_else(gone),
                Json::Object(fields) if is_object(fields) => Err("it maps over an object".into()),
                Json::Object(fields) => {
                    let pair = fields.iter().nth(place).ok_or_else(gone)?;
                    Ok(Json::from(vec![Json::from(pair.0.as_str()), pair.1.clone()]))
                }
                _ => Err("it maps over something other than a list or a dict".into()),
            },
            Items::Instances { key, .. } => {
                let offset = i64::try_from(index).map_err(|_| gone())?;
                let xcom = self.store.xcom_at(&key.run, &key.task_id, &key.key, offset).map_err(unreadable)?;
                xcom.map(|xcom| xcom.value).ok_or_else(gone)
            }
            Items::Zip { parts, fill } => {
                let item = |part: &Items| match fill {
                    // A dict has no items by number here, in Python no more than in zip().
                    Some(fill) if index >= part.length() => Ok(fill.clone()),
                    _ if part.is_dict() => Err("it maps over dicts that are zipped".into()),
                    _ => self.at(part, index),
                };
                Ok(Json::Array(parts.iter().map(item).collect::<Result<_, _>>()?))
            }
            Items::Concat(parts) => {
                let mut rest = index;
                for part in parts {
                    let length = part.length();
                    if rest < length {
                        return match part.is_dict() {
                            true => Err("it maps over dicts that are put together".into()),
                            false => self.at(part, rest),
                        };
                    }
                    rest -= length;
                }
                Err(gone())
            }
        }
    }
}

impl Items {
    fn length(&self) -> u64 {
        match self {
            Items::Value(value) => match &**value {
                Json::Array(list) => list.len() as u64,
                Json::Object(fields) => fields.len() as u64,
                _ => 0,
            },
            Items::Instances { length, .. } => *length,
            Items::Zip { parts, fill } => {
                let lengths = parts.iter().map(Items::length);
                if fill.is_some() { lengths.max() } else { lengths.min() }.unwrap_or(0)
            }
            Items::Concat(parts) => parts.iter().map(Items::length).sum(),
        }
    }

    fn is_dict(&self) -> bool {
        matches!(self, Items::Value(value) if value.is_object())
    }
}

/// Whether a dict stands for an object of some class, as the SDK writes those.
fn is_object(fields: &serde_json::Map<String, Json>) -> bool {
    fields.contains_key("__classname__") || fields.contains_key("__type")
}

/// A `BashOperator` with the arguments of one instance. What the operator does with other types is Python's to say.
pub(super) fn bash(spec: &BashSpec, arguments: Vec<Argument>) -> Result<(BashSpec, Plain), Reason> {
    let mut spec = spec.clone();
    let mut plain = Plain::default();
    for Argument { name, value, is_plain } in arguments {
        if spec.given.contains(&name) {
            return Err(format!("{name} is mapped over, and given to partial() too"));
        }
        let wrong = || format!("{name} is mapped over a value of another type");
        if !is_plain {
            template::check_names_no_file(&value, &[".sh", ".bash"]).map_err(|error| format!("{name}: {error}"))?;
        }
        match (name.as_str(), value) {
            ("bash_command", Json::String(command)) => (spec.bash_command, plain.bash_command) = (command, is_plain),
            ("env", Json::Null) => (spec.env, plain.env) = (None, is_plain),
            ("env", Json::Object(env)) if !is_object(&env) && env.values().all(Json::is_string) => {
                (spec.env, plain.env) = (Some(Json::Object(env)), is_plain);
            }
            ("cwd", Json::Null) => (spec.cwd, plain.cwd) = (None, is_plain),
            ("cwd", Json::String(cwd)) => (spec.cwd, plain.cwd) = (Some(cwd), is_plain),
            ("append_env", Json::Bool(append)) => spec.append_env = append,
            ("skip_on_exit_code", Json::Null) => spec.skip_on_exit_code = Vec::new(),
            ("skip_on_exit_code", Json::Array(codes)) => {
                spec.skip_on_exit_code = codes.iter().map(exit_code).collect::<Option<_>>().ok_or_else(wrong)?;
            }
            ("skip_on_exit_code", code) => spec.skip_on_exit_code = vec![exit_code(&code).ok_or_else(wrong)?],
            ("bash_command" | "env" | "cwd" | "append_env", _) => return Err(wrong()),
            _ => return Err(format!("it maps over {name}")),
        }
    }
    Ok((spec, plain))
}

fn exit_code(code: &Json) -> Option<i32> {
    i32::try_from(code.as_i64()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use model::{DagBuilder, Task, timetable::Timetable};
    use serde_json::json;
    use store::memory::MemoryStore;
    use store::{Commit, Write, XCom};

    use super::*;

    fn run() -> model::DagRun {
        model::DagRun {
            key: RunKey::new("d", "r"),
            run_type: model::RunType::Manual,
            triggered_by: model::TriggeredBy::RestApi,
            triggering_user: None,
            state: model::DagRunState::Running,
            logical_date: None,
            data_interval: None,
            run_after: Timestamp::UNIX_EPOCH,
            queued_at: None,
            start_date: None,
            end_date: None,
            last_scheduling_decision: None,
            conf: Arc::new(json!({})),
            note: None,
            clear_number: 0,
            backfill: None,
            partition: None,
            version: model::VersionId(uuid::Uuid::nil()),
            bundle_version: None,
        }
    }

    /// A run in which `list`, `dict` and the mapped `many` have left something.
    struct Home {
        store: MemoryStore,
        kept: Kept,
        dag: Arc<Dag>,
        run: RunKey,
    }

    impl Home {
        fn new() -> Self {
            let mut builder = DagBuilder::new("d", Timetable::Null);
            for name in ["list", "dict", "many"] {
                let mut task = Task::new(name);
                if name == "many" {
                    task.expand = Some(Arc::new(ExpandInput::Product(Vec::new())));
                }
                builder.task(task);
            }
            let run = run();
            let home = Self {
                store: MemoryStore::new(),
                kept: Kept::default(),
                dag: builder.build().unwrap(),
                run: run.key.clone(),
            };
            home.store.commit(vec![Write::Decision(model::Change::Run(Box::new(run)))]).unwrap();
            home.push("list", -1, json!(["a", "b", "c"]));
            home.push("dict", -1, json!({"k": "v", "l": "w"}));
            home.push("many", 0, json!("x"));
            home.push("many", 2, json!("z"));
            home
        }

        fn push(&self, task: &str, map_index: i32, value: Json) {
            let key = XComKey {
                run: self.run.clone(),
                task_id: task.into(),
                map_index: MapIndex(map_index),
                key: "return_value".into(),
            };
            let at = Timestamp::now();
            let xcom = XCom { key, value, at, mapped_length: None, dag_result: false };
            self.store.commit(vec![Write::XCom(Box::new(xcom))]).unwrap();
        }

        fn values(&self, expand: &ExpandInput, index: i32) -> Result<Json, Reason> {
            let sources = Sources { store: &self.store, kept: &self.kept, run: &self.run, dag: &self.dag };
            let arguments = sources.arguments(expand, MapIndex(index))?;
            Ok(Json::Object(arguments.into_iter().map(|argument| (argument.name, argument.value)).collect()))
        }
    }

    fn plain(task_id: &str) -> XComArg {
        XComArg::Plain { task_id: task_id.into(), key: "return_value".into() }
    }

    fn product(values: &[(&str, MapValue)]) -> ExpandInput {
        ExpandInput::Product(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    #[test]
    fn an_instance_gets_its_items_of_everything_that_is_mapped_over() {
        let home = Home::new();
        let xcom = |arg| MapValue::XCom(arg);
        let literal = |value| MapValue::Literal(Arc::new(value));
        let all = product(&[("x", literal(json!([1, 2]))), ("y", xcom(plain("list")))]);
        let fill = XComArg::Zip { args: vec![plain("list"), plain("many")], fill: Some(json!("-")) };
        let short = XComArg::Zip { args: vec![plain("list"), plain("many")], fill: None };
        let concat = XComArg::Concat(vec![plain("many"), plain("list")]);
        for (expand, index, want) in [
            (&all, 0, json!({"x": 1, "y": "a"})),
            (&all, 4, json!({"x": 2, "y": "b"})),
            (&product(&[("x", xcom(plain("dict")))]), 1, json!({"x": ["l", "w"]})),
            (&product(&[("x", xcom(plain("many")))]), 1, json!({"x": "z"})),
            (&product(&[("x", xcom(fill))]), 2, json!({"x": ["c", "-"]})),
            (&product(&[("x", xcom(short))]), 1, json!({"x": ["b", "z"]})),
            (&product(&[("x", xcom(concat))]), 3, json!({"x": "b"})),
            (&ExpandInput::Dicts(literal(json!([{"a": 1}, {"b": 2}]))), 1, json!({"b": 2})),
        ] {
            assert_eq!(home.values(expand, index), Ok(want), "{expand:?}");
        }
        let gone = home.values(&ExpandInput::Dicts(xcom(plain("list"))), 7);
        assert_eq!(gone, Err("there is no item 7 any more in what it maps over".into()));
        assert!(home.values(&product(&[("x", xcom(XComArg::Map(Box::new(plain("list")))))]), 0).is_err());
    }

    #[test]
    fn what_is_pushed_again_is_read_again() {
        let home = Home::new();
        let expand = product(&[("x", MapValue::XCom(plain("list")))]);
        assert_eq!(home.values(&expand, 0), Ok(json!({"x": "a"})));
        home.push("list", -1, json!(["new"]));
        assert_eq!(home.values(&expand, 0), Ok(json!({"x": "new"})));
    }

    #[test]
    fn arguments_of_other_types_are_left_to_python() {
        let spec = BashSpec { given: vec!["cwd".into()], ..BashSpec::default() };
        let with =
            |name: &str, value: Json, is_plain| bash(&spec, vec![Argument { name: name.into(), value, is_plain }]);
        let (own, plain) = with("bash_command", json!("{{ ds }}"), true).unwrap();
        assert_eq!((own.bash_command.as_str(), plain.bash_command), ("{{ ds }}", true));
        assert_eq!(with("skip_on_exit_code", json!(7), false).unwrap().0.skip_on_exit_code, [7]);
        assert_eq!(with("env", json!({"A": "1"}), false).unwrap().0.env, Some(json!({"A": "1"})));
        for (name, value) in [
            ("bash_command", json!(["a", "b"])),
            ("bash_command", json!("run.sh")),
            ("env", json!({"A": 1})),
            ("cwd", json!("/tmp")),
            ("retries", json!(1)),
        ] {
            assert!(with(name, value, false).is_err(), "{name}");
        }
    }
}
