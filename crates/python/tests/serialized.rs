//! The converter, against what Airflow's own serializer made of `golden/dags.py`.
//!
//! `golden/record_dags.py` records the serialized Dags, and beside them what the Dags say of themselves in Python.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::dag::Param;
use model::task::BashSpec;
use model::{Dag, Execution, ExpandInput, Json, MapValue, NativeOperator, Task, WeightRule, XComArg};
use python::serialized::{Listing, SerializedError, read, tasks_of_group};
use serde_json::json;

fn golden() -> Vec<Json> {
    serde_json::from_str(include_str!("golden/dags.json")).unwrap()
}

fn recorded(dag_id: &str) -> Json {
    golden().into_iter().find(|recorded| recorded["serialized"]["dag"]["dag_id"] == dag_id).unwrap()
}

fn converted(dag_id: &str) -> (Arc<Dag>, Listing) {
    let recorded = recorded(dag_id);
    read(&recorded["serialized"], &recorded["extras"]).unwrap()
}

fn seconds(duration: Option<SignedDuration>) -> Json {
    duration.map_or(Json::Null, |duration| json!(duration.as_micros() as f64 / 1e6))
}

fn moment(at: Option<Timestamp>) -> Json {
    at.map_or(Json::Null, |at| json!(at.as_microsecond() as f64 / 1e6))
}

fn params(params: &[Param]) -> Json {
    let params = params.iter().map(|param| {
        let shown = json!({
            "has_value": param.value.is_some(),
            "value": param.value,
            "schema": param.schema,
            "description": param.description,
        });
        (param.name.clone(), shown)
    });
    Json::Object(params.collect())
}

fn describe_task(dag: &Dag, task: &Task) -> Json {
    let mut downstream: Vec<&str> = task.downstream.iter().map(|index| dag.task(*index).task_id.as_str()).collect();
    downstream.sort_unstable();
    let own_params = if task.params.is_empty() { &dag.params } else { &task.params };
    json!({
        "operator": task.operator,
        "operator_name": task.operator_name,
        "display_name": task.display_name.as_deref().unwrap_or(task.task_id.as_str()),
        "owner": task.owner,
        "email": task.email,
        // Dates that are the Dag's are not written again.
        "start_date": moment(task.start_date.or(dag.start_date)),
        "end_date": moment(task.end_date.or(dag.end_date)),
        "downstream": downstream,
        "trigger_rule": task.trigger_rule.name(),
        "depends_on_past": task.depends_on_past,
        "ignore_first_depends_on_past": task.ignore_first_depends_on_past,
        "wait_for_past_depends_before_skipping": task.wait_for_past_depends_before_skipping,
        "wait_for_downstream": task.wait_for_downstream,
        "is_setup": task.is_setup,
        "is_teardown": task.is_teardown,
        "on_failure_fail_dagrun": task.on_failure_fail_dagrun,
        "retries": task.retries,
        "retry_delay": seconds(Some(task.retry_delay)),
        "retry_exponential_backoff": task.retry_exponential_backoff,
        "max_retry_delay": seconds(task.max_retry_delay),
        "execution_timeout": seconds(task.execution_timeout),
        "pool": task.pool,
        "pool_slots": task.pool_slots,
        "queue": task.queue,
        "priority_weight": task.priority_weight,
        "weight_rule": match &task.weight_rule {
            WeightRule::Downstream => "downstream",
            WeightRule::Upstream => "upstream",
            WeightRule::Absolute => "absolute",
            WeightRule::Custom(name) => name,
        },
        "max_active_tis_per_dag": task.max_active_tis_per_dag,
        "max_active_tis_per_dagrun": task.max_active_tis_per_dagrun,
        "do_xcom_push": task.do_xcom_push,
        "multiple_outputs": task.multiple_outputs,
        "is_mapped": task.is_mapped(),
        "has_outlets_or_inlets": task.has_outlets_or_inlets,
        "params": if task.is_mapped() { Json::Null } else { params(own_params) },
    })
}

fn describe_dag(dag: &Dag, listing: &Listing) -> Json {
    json!({
        "display_name": listing.display_name,
        "description": listing.description,
        "tags": listing.tags,
        "start_date": moment(dag.start_date),
        "end_date": moment(dag.end_date),
        "catchup": dag.catchup,
        "max_active_runs": dag.limits.max_active_runs,
        "max_active_tasks": dag.limits.max_active_tasks,
        "max_consecutive_failed_dag_runs": dag.limits.max_consecutive_failed_dag_runs,
        "dagrun_timeout": seconds(dag.dagrun_timeout),
        "fail_fast": dag.fail_fast,
        "disable_bundle_versioning": dag.disable_bundle_versioning,
        "render_template_as_native_obj": dag.render_template_as_native_obj,
        "has_on_success_callback": dag.has_on_success_callback,
        "has_on_failure_callback": dag.has_on_failure_callback,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "params": params(&dag.params),
    })
}

/// What differs, field by field.
fn differences(place: &str, got: &Json, want: &Json) -> Vec<String> {
    let fields = got.as_object().unwrap().iter().filter(|(name, value)| want[name.as_str()] != **value);
    fields.map(|(name, value)| format!("{place}: {name} is {value} and should be {}", want[name.as_str()])).collect()
}

#[test]
fn every_field_has_the_value_that_it_has_in_python() {
    let mut wrong = Vec::new();
    for recorded in golden() {
        let (dag, listing) = read(&recorded["serialized"], &recorded["extras"]).unwrap();
        let python = &recorded["python"];
        wrong.extend(differences(dag.dag_id.as_str(), &describe_dag(&dag, &listing), python));
        let names: Vec<&str> = dag.tasks().iter().map(|task| task.task_id.as_str()).collect();
        assert_eq!(names.len(), python["tasks"].as_object().unwrap().len(), "{names:?}");
        for task in dag.tasks() {
            let place = format!("{}.{}", dag.dag_id, task.task_id);
            wrong.extend(differences(&place, &describe_task(&dag, task), &python["tasks"][task.task_id.as_str()]));
        }
        for (group, tasks) in python["groups"].as_object().unwrap() {
            let mut found = tasks_of_group(&recorded["serialized"], group).unwrap();
            found.sort_unstable();
            if json!(found) != *tasks {
                wrong.push(format!("{}: the group {group} has {found:?} and should have {tasks}", dag.dag_id));
            }
        }
        assert_eq!(tasks_of_group(&recorded["serialized"], "no such group"), None);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn timetables_are_read_from_their_serialized_form() {
    let summaries: BTreeMap<String, String> = golden()
        .iter()
        .map(|recorded| read(&recorded["serialized"], &recorded["extras"]).unwrap())
        .map(|(dag, _)| (dag.dag_id.to_string(), dag.timetable.summary()))
        .collect();
    for (dag_id, summary) in [
        ("full", "30 6 * * 1-5"),
        ("daily_delta", "6:00:00"),
        ("once", "@once"),
        ("continuous", "@continuous"),
        ("plain", "None"),
    ] {
        assert_eq!(summaries[dag_id], summary, "{dag_id}");
    }
}

#[test]
fn who_does_the_work_is_chosen_at_import() {
    let (dag, _) = converted("commands");
    let execution = |task: &str| dag.task(dag.find(task).unwrap()).execution.clone();
    let bash = |spec: BashSpec| Execution::Native(NativeOperator::Bash(spec));
    let simple = BashSpec { bash_command: "echo {{ ds }}".into(), skip_on_exit_code: vec![99], ..BashSpec::default() };
    assert_eq!(execution("simple"), bash(simple));
    let Execution::Native(NativeOperator::Bash(mut all)) = execution("all_args") else { panic!("not native") };
    all.skip_on_exit_code.sort_unstable();
    let want = BashSpec {
        bash_command: "echo {{ params.word }}".into(),
        env: Some(json!({"A": "{{ run_id }}", "B": "plain"})),
        append_env: true,
        cwd: Some("/tmp/{{ ds_nodash }}".into()),
        skip_on_exit_code: vec![3, 99],
        given: Vec::new(),
    };
    assert_eq!(all, want);
    for (task, codes) in [("never_skips", 0), ("range", 3)] {
        assert!(
            matches!(execution(task), Execution::Native(NativeOperator::Bash(spec)) if spec.skip_on_exit_code.len() == codes),
            "{task}"
        );
    }
    for (task, reason) in [
        ("by_python", Some("bash_command: ")),
        ("encoding", Some("its output_encoding is latin-1")),
        ("processor", Some("it has an output_processor")),
        ("callback", Some("it has an on_success_callback")),
        ("numbers_in_env", Some("its env holds something other than texts")),
        ("user", Some("it has run_as_user")),
        ("pre", Some("it has a pre_execute hook")),
        ("outlets", Some("it has outlets")),
        ("decorated", None),
        ("subclass", None),
    ] {
        let Execution::Runner { reason: found } = execution(task) else { panic!("{task} is not the runner's") };
        assert_eq!(found.is_some(), reason.is_some(), "{task}: {found:?}");
        assert!(found.unwrap_or_default().starts_with(reason.unwrap_or_default()), "{task}");
    }
    for (dag_id, task, reason) in [
        ("macros_of_its_own", "command", "the Dag has user_defined_macros"),
        ("native_objects", "command", "the Dag renders templates as native objects"),
    ] {
        let (dag, _) = converted(dag_id);
        let execution = &dag.task(dag.find(task).unwrap()).execution;
        assert_eq!(*execution, Execution::Runner { reason: Some(reason.into()) }, "{dag_id}");
    }
    let (dag, _) = converted("native_objects");
    let with_callback = &dag.task(dag.find("empty_with_callback").unwrap()).execution;
    assert_eq!(*with_callback, Execution::Runner { reason: None });
    assert_eq!(converted("plain").0.tasks()[0].execution, Execution::Empty);
}

#[test]
fn what_tasks_and_groups_map_over_is_read() {
    let (dag, _) = converted("commands");
    assert!(dag.task(dag.find("mapped").unwrap()).is_mapped());
    let expanded = |task_id: &str, input: Json| {
        json!({"__type": "operator", "__var": {
            "task_id": task_id, "task_type": "A", "_is_mapped": true, "_expand_input_attr": "over", "over": input,
            "partial_kwargs": {},
        }})
    };
    let task = |task_id: &str| json!({"__type": "operator", "__var": {"task_id": task_id, "task_type": "A"}});
    let plain = |task_id: &str| json!({"task_id": task_id, "key": "return_value"});
    let xcom = |arg: Json| json!({"__type": "xcomref", "__var": arg});
    let zip = json!({"type": "zip", "args": [plain("c"), {"type": "map", "arg": plain("d"), "callables": ["f"]}],
        "fillvalue": null});
    let product = json!({"type": "dict-of-lists", "value": {"__type": "dict", "__var": {
        "x": {"__type": "dict", "__var": {"k": 1}}, "y": xcom(zip)}}});
    let dicts = json!({"type": "list-of-dicts", "value": [{"__type": "dict", "__var": {"x": 1}}, xcom(plain("c"))]});
    let over = json!({"type": "dict-of-lists", "value": {"__type": "dict", "__var": {"n": [1, 2, 3]}}});
    let inner = json!({"is_mapped": true, "expand_input": over, "children": {"g.h.b": ["operator", "g.h.b"]}});
    let group = json!({"is_mapped": true, "expand_input": {"type": "list-of-dicts", "value": xcom(plain("d"))},
        "children": {"g.a": ["operator", "g.a"], "g.h": ["taskgroup", inner]}});
    let root = json!({"children": {"g": ["taskgroup", group], "c": ["operator", "c"]}});
    let tasks =
        [task("g.a"), task("g.h.b"), task("c"), task("d"), expanded("product", product), expanded("dicts", dicts)];
    let serialized = json!({"__version": 3, "dag": {"dag_id": "d", "tasks": tasks, "task_group": root}});
    let (dag, _) = read(&serialized, &json!({})).unwrap();
    let find = |task: &str| dag.find(task).unwrap();
    let arg = |task_id: &str| XComArg::Plain { task_id: task_id.into(), key: "return_value".into() };
    let zip = XComArg::Zip { args: vec![arg("c"), XComArg::Map(Box::new(arg("d")))], fill: Some(Json::Null) };
    let literal = MapValue::Literal(Arc::new(json!({"k": 1})));
    let want = ExpandInput::Product(vec![("x".into(), literal), ("y".into(), MapValue::XCom(zip))]);
    assert_eq!(dag.task(find("product")).expand.as_deref(), Some(&want));
    let mixed = ExpandInput::Dicts(MapValue::Mixed { length: 2, xcoms: vec![arg("c")] });
    assert_eq!(dag.task(find("dicts")).expand.as_deref(), Some(&mixed));
    let groups = |task: &str| dag.mapped_groups_of(find(task)).map(|g| dag.groups[g.at()].group_id.clone());
    assert_eq!(groups("g.h.b").collect::<Vec<_>>(), ["g.h", "g"]);
    assert_eq!(groups("g.a").collect::<Vec<_>>(), ["g"]);
    assert_eq!(groups("c").count(), 0);
}

#[test]
fn what_the_import_asked_for_keeps_commands_from_the_engine() {
    let recorded = recorded("commands");
    let mut extras = recorded["extras"].clone();
    extras["python"] = "its Dag file asks".into();
    let (dag, _) = read(&recorded["serialized"], &extras).unwrap();
    let execution = &dag.task(dag.find("simple").unwrap()).execution;
    assert_eq!(*execution, Execution::Runner { reason: Some("its Dag file asks".into()) });
}

#[test]
fn what_a_task_leaves_out_is_as_the_configuration_has_it() {
    // As `DagSerialization.to_dict` gives it with `[core] default_task_retries = 2` and others.
    let task = |fields: Json| json!({"__type": "operator", "__var": fields});
    let named = |name: &str| json!({"task_id": name, "task_type": "BashOperator", "email": "a@b.c"});
    let mut own = named("own");
    (own["retries"], own["queue"], own["email_on_failure"]) = (json!(1), json!("q"), json!(true));
    let mut mapped = named("mapped");
    mapped["_is_mapped"] = json!(true);
    mapped["_expand_input_attr"] = json!("expand_input");
    mapped["expand_input"] = json!({"type": "dict-of-lists", "value": {"__type": "dict", "__var": {"env": [1]}}});
    mapped["partial_kwargs"] = json!({"retries": 5, "email": "a@b.c"});
    let serialized = json!({
        "__version": 3,
        "dag": {"dag_id": "d", "tasks": [task(named("plain")), task(own), task(mapped)]},
        "client_defaults": {"tasks": {"retries": 2, "queue": "zz", "retry_delay": 7.0, "email_on_failure": false}},
    });
    let (dag, _) = read(&serialized, &json!({})).unwrap();
    let found: Vec<(&str, u32, &str, i64, bool)> = dag
        .tasks()
        .iter()
        .map(|task| {
            let delay = task.retry_delay.as_secs();
            (task.task_id.as_str(), task.retries, task.queue.as_str(), delay, task.notices.email_on_failure)
        })
        .collect();
    assert_eq!(found, [("plain", 2, "zz", 7, false), ("own", 1, "q", 7, true), ("mapped", 5, "zz", 7, false)]);
}

/// Airflow's deserializer gives every task the dates of its Dag that it has not itself.
#[test]
fn tasks_have_the_dates_of_their_dag() {
    let (dag, _) = converted("full");
    let dates: Vec<_> = dag.tasks().iter().map(|task| (task.start_date, task.end_date)).collect();
    assert!(dag.start_date.is_some() && dag.end_date.is_some());
    assert!(dates[0].0 > dag.start_date, "{dates:?}");
    assert!(dates[1..].iter().all(|of_task| *of_task == (dag.start_date, dag.end_date)), "{dates:?}");
}

#[test]
fn forms_that_are_not_known_are_errors_that_name_the_place() {
    let recorded = recorded("plain");
    let with = |change: &dyn Fn(&mut Json)| {
        let mut serialized = recorded["serialized"].clone();
        change(&mut serialized);
        read(&serialized, &json!({})).unwrap_err()
    };
    let error = with(&|dag| dag["__version"] = 99.into());
    assert!(matches!(error, SerializedError::Version { .. }), "{error}");
    let error = with(&|dag| dag["dag"]["dag_id"] = Json::Null);
    assert_eq!(error.to_string(), "the serialized Dag: dag_id is missing or not a text");
    let error = with(&|dag| dag["dag"]["max_active_runs"] = "many".into());
    assert_eq!(error.to_string(), "Dag plain: max_active_runs is missing or not a number from 0 to 4294967295");
    let error = with(&|dag| dag["dag"]["tasks"][0]["__var"]["trigger_rule"] = "sometimes".into());
    assert!(error.to_string().starts_with("Dag plain, task only: "), "{error}");
    let error = with(&|dag| dag["dag"]["tasks"][0]["__var"]["downstream_task_ids"] = json!(["nobody"]));
    assert!(matches!(error, SerializedError::Dag(_)), "{error}");
    for nonsense in [json!(null), json!([]), json!({"__version": 3}), json!({"__version": 3, "dag": []})] {
        assert!(read(&nonsense, &json!({})).is_err(), "{nonsense}");
    }
}
