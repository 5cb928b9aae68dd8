//! The official serialized Dags as our own.
//!
//! The form is that of `airflow/serialization/schema.json`, version 3: fields that have their default are left out,
//! dates are seconds since 1970, and values that JSON does not have are wrapped as `{"__type": …, "__var": …}`.

mod deadline;
mod mapping;
mod value;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::Listeners;
use model::dag::Param;
use model::task::BashSpec;
use model::timetable::Timetable;
use model::{
    AssetLike, Dag, DagBuilder, DagError, DagLimits, Execution, ExpandInput, Json, MapValue, NativeOperator, Notices,
    StartTrigger, Task, TaskId, TriggerRule, WeightRule,
};

use mapping::MappedGroups;

pub use value::{decode, is_not_set};

/// The versions of the form that this converter reads.
const VERSIONS: [i64; 1] = [3];

/// Why a serialized Dag can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SerializedError {
    #[error("the serialized Dag has the form's version {found}, and this engine reads {VERSIONS:?}")]
    Version { found: Json },
    #[error("{place}: {field} is missing or not {expected}")]
    Field { place: String, field: String, expected: &'static str },
    #[error("{place}: {reason}")]
    Invalid { place: String, reason: String },
    #[error(transparent)]
    Dag(#[from] DagError),
}

/// What is listed of a Dag, beside what its runs need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub display_name: String,
    pub description: Option<String>,
    pub fileloc: String,
    pub relative_fileloc: String,
    pub owners: Vec<String>,
    pub tags: Vec<String>,
    pub timetable: Json,
    pub has_task_concurrency_limits: bool,
}

/// A serialized Dag's fields, with the place for messages.
struct Fields<'a> {
    place: String,
    fields: &'a serde_json::Map<String, Json>,
    /// For a mapped task: what was given to `partial`.
    partial: Option<&'a serde_json::Map<String, Json>>,
    /// For a task: what the configuration makes of fields that are left out (`client_defaults`).
    defaults: Option<&'a serde_json::Map<String, Json>>,
}

impl<'a> Fields<'a> {
    fn raw(&self, name: &str) -> Option<&'a Json> {
        let partial = self.partial.and_then(|partial| partial.get(name));
        let own = partial.or_else(|| self.fields.get(name));
        own.or_else(|| self.defaults?.get(name)).filter(|value| !value.is_null())
    }

    fn get(&self, name: &str) -> Option<Json> {
        self.raw(name).map(decode)
    }

    fn error(&self, field: &str, expected: &'static str) -> SerializedError {
        SerializedError::Field { place: self.place.clone(), field: field.to_owned(), expected }
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl Fn(&Json) -> Option<T>,
    ) -> Result<Option<T>, SerializedError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| self.error(name, expected)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, SerializedError> {
        self.typed(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, SerializedError> {
        Ok(self.typed(name, "true or false", Json::as_bool)?.unwrap_or(default))
    }

    fn count(&self, name: &str) -> Result<Option<u32>, SerializedError> {
        let read = |value: &Json| {
            // Numbers pass through Python's floats in places.
            let whole =
                value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0).map(|n| n.max(0.0) as u64));
            whole.and_then(|number| u32::try_from(number).ok())
        };
        self.typed(name, "a number from 0 to 4294967295", read)
    }

    fn float(&self, name: &str) -> Result<Option<f64>, SerializedError> {
        self.typed(name, "a number", |value| {
            value.as_f64().or_else(|| value.as_bool().map(|on| if on { 2.0 } else { 0.0 }))
        })
    }

    fn moment(&self, name: &str) -> Result<Option<Timestamp>, SerializedError> {
        self.typed(name, "a date", |value| {
            let micros = (value.as_f64()? * 1e6).round();
            Timestamp::from_microsecond(micros as i64).ok()
        })
    }

    fn duration(&self, name: &str) -> Result<Option<SignedDuration>, SerializedError> {
        self.typed(name, "a duration", |value| model::operations::from_total_seconds(value.as_f64()?))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, SerializedError> {
        let read = |value: &Json| {
            let list = value.as_array()?;
            list.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        Ok(self.typed(name, "a list of texts", read)?.unwrap_or_default())
    }
}

/// Reads a serialized Dag. `extras` is what the import found beyond it: `{"tasks": {…}, "python": REASON}`.
pub fn read(serialized: &Json, extras: &Json) -> Result<(Arc<Dag>, Listing), SerializedError> {
    let version = serialized.get("__version").cloned().unwrap_or(Json::Null);
    if !version.as_i64().is_some_and(|version| VERSIONS.contains(&version)) {
        return Err(SerializedError::Version { found: version });
    }
    let whole = Fields {
        place: "the serialized Dag".into(),
        fields: serialized.as_object().unwrap_or(&EMPTY),
        partial: None,
        defaults: None,
    };
    let defaults = serialized.pointer("/client_defaults/tasks").and_then(Json::as_object);
    let dag = serialized.get("dag").and_then(Json::as_object).ok_or_else(|| whole.error("dag", "an object"))?;
    let dag_id = dag.get("dag_id").and_then(Json::as_str).ok_or_else(|| whole.error("dag_id", "a text"))?;
    let fields = Fields { place: format!("Dag {dag_id}"), fields: dag, partial: None, defaults: None };

    let timetable = dag.get("timetable").cloned().unwrap_or(Json::Null);
    let mut builder = DagBuilder::new(dag_id, read_timetable(&fields, &timetable, extras)?);
    read_dag_fields(builder.dag_mut(), &fields)?;
    builder.dag_mut().listeners = read_listeners(extras);
    let dag_params = builder.dag_mut().params.clone();
    let mut listing = read_listing(&fields, dag_id)?;
    listing.timetable = timetable;
    let mut mapped = MappedGroups::read(&fields.place, dag.get("task_group"))?;
    builder.dag_mut().groups = std::mem::take(&mut mapped.groups);
    for task in dag.get("tasks").and_then(Json::as_array).into_iter().flatten() {
        let (mut task, downstream, limited) = read_task(&fields, defaults, &dag_params, task, extras)?;
        task.mapped_group = mapped.of_task.get(task.task_id.as_str()).copied();
        listing.has_task_concurrency_limits |= limited;
        if !listing.owners.contains(&task.owner) {
            listing.owners.push(task.owner.clone());
        }
        for below in downstream {
            builder.edge(task.task_id.clone(), below);
        }
        builder.task(task);
    }
    listing.owners.sort();
    Ok((builder.build()?, listing))
}

/// Which hooks of Airflow's listeners are implemented by some plugin, as the import found it.
fn read_listeners(extras: &Json) -> Listeners {
    let names = extras.get("listeners").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |name: &str| names.iter().any(|own| own == name);
    Listeners {
        run_running: has("on_dag_run_running"),
        run_success: has("on_dag_run_success"),
        run_failed: has("on_dag_run_failed"),
        assets: has("on_asset_changed") || has("on_asset_event_emitted"),
    }
}

/// The children of a serialized task group: name, kind, and the task's id or the inner group.
fn children(group: &Json) -> impl Iterator<Item = (&str, &str, &Json)> {
    let children = group.get("children").and_then(Json::as_object).into_iter().flatten();
    children.filter_map(|(name, child)| Some((name.as_str(), child.get(0)?.as_str()?, child.get(1)?)))
}

fn inner_groups(group: &Json) -> impl Iterator<Item = (&str, &Json)> {
    children(group).filter(|(_, kind, _)| *kind == "taskgroup").map(|(name, _, inner)| (name, inner))
}

/// The tasks below a task group of a serialized Dag, those of its inner groups included. `None` if there is no such
/// group.
pub fn tasks_of_group(serialized: &Json, group_id: &str) -> Option<Vec<String>> {
    fn find<'a>(group: &'a Json, group_id: &str) -> Option<&'a Json> {
        inner_groups(group).find_map(|(name, inner)| {
            // Where a group stands in its parent tells its whole name; its own field lacks the parent's.
            if name == group_id { Some(inner) } else { find(inner, group_id) }
        })
    }
    fn collect(group: &Json, tasks: &mut Vec<String>) {
        let direct = children(group).filter(|(_, kind, _)| *kind == "operator");
        tasks.extend(direct.filter_map(|(_, _, task)| task.as_str().map(str::to_owned)));
        inner_groups(group).for_each(|(_, inner)| collect(inner, tasks));
    }
    let found = find(serialized.get("dag")?.get("task_group")?, group_id)?;
    let mut tasks = Vec::new();
    collect(found, &mut tasks);
    Some(tasks)
}

static EMPTY: std::sync::LazyLock<serde_json::Map<String, Json>> = std::sync::LazyLock::new(serde_json::Map::new);

fn read_timetable(fields: &Fields<'_>, timetable: &Json, extras: &Json) -> Result<Timetable, SerializedError> {
    let type_name = timetable.get("__type").and_then(Json::as_str).unwrap_or("airflow.timetables.simple.NullTimetable");
    let data = timetable.get("__var").cloned().unwrap_or(Json::Null);
    Timetable::from_serialized(type_name, &data)
        .map(|timetable| timetable.with_traits(extras.get("timetable").unwrap_or(&Json::Null)))
        .map_err(|error| SerializedError::Invalid { place: fields.place.clone(), reason: error.to_string() })
}

fn read_dag_fields(dag: &mut Dag, fields: &Fields<'_>) -> Result<(), SerializedError> {
    dag.start_date = fields.moment("start_date")?;
    dag.end_date = fields.moment("end_date")?;
    dag.catchup = fields.flag("catchup", false)?;
    let defaults = DagLimits::default();
    dag.limits = DagLimits {
        max_active_runs: fields.count("max_active_runs")?.unwrap_or(defaults.max_active_runs),
        max_active_tasks: fields.count("max_active_tasks")?.unwrap_or(defaults.max_active_tasks),
        max_consecutive_failed_dag_runs: fields.count("max_consecutive_failed_dag_runs")?.unwrap_or(0),
    };
    if let Some(limit) = dag.timetable.active_runs_limit() {
        dag.limits.max_active_runs = dag.limits.max_active_runs.min(limit);
    }
    dag.dagrun_timeout = fields.duration("dagrun_timeout")?;
    dag.fail_fast = fields.flag("fail_fast", false)?;
    dag.params = read_params(fields)?;
    dag.disable_bundle_versioning = fields.flag("disable_bundle_versioning", false)?;
    dag.render_template_as_native_obj = fields.flag("render_template_as_native_obj", false)?;
    dag.has_on_success_callback = fields.flag("has_on_success_callback", false)?;
    dag.has_on_failure_callback = fields.flag("has_on_failure_callback", false)?;
    dag.deadlines = match fields.raw("deadline").and_then(Json::as_array) {
        Some(list) => {
            let read = |alert: &Json| deadline::read(alert).ok_or_else(|| fields.error("deadline", "a deadline alert"));
            list.iter().map(read).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    dag.is_paused_upon_creation = fields.typed("is_paused_upon_creation", "true or false", Json::as_bool)?;
    dag.allowed_run_types = fields.raw("allowed_run_types").map(|_| fields.texts("allowed_run_types")).transpose()?;
    Ok(())
}

fn read_listing(fields: &Fields<'_>, dag_id: &str) -> Result<Listing, SerializedError> {
    Ok(Listing {
        display_name: fields.text("dag_display_name")?.unwrap_or_else(|| dag_id.to_owned()),
        description: fields.text("description")?,
        fileloc: fields.text("fileloc")?.unwrap_or_default(),
        relative_fileloc: fields.text("relative_fileloc")?.unwrap_or_default(),
        tags: {
            let mut tags = fields.texts("tags")?;
            tags.sort();
            tags
        },
        ..Listing::default()
    })
}

/// Params are a list of `[name, param]`, in the order of their definition.
fn read_params(fields: &Fields<'_>) -> Result<Vec<Param>, SerializedError> {
    let Some(params) = fields.raw("params") else { return Ok(Vec::new()) };
    let list = params.as_array().ok_or_else(|| fields.error("params", "a list"))?;
    list.iter()
        .map(|entry| {
            let name = entry.get(0).and_then(Json::as_str).ok_or_else(|| fields.error("params", "a list of pairs"))?;
            let param = entry.get(1).unwrap_or(&Json::Null);
            let default = param.get("default").unwrap_or(&Json::Null);
            let schema = param.get("schema").map_or_else(|| Json::Object(Default::default()), decode);
            Ok(Param {
                name: name.to_owned(),
                value: (!is_not_set(default)).then(|| decode(default)),
                description: param.get("description").and_then(Json::as_str).map(str::to_owned),
                schema,
            })
        })
        .collect()
}

/// A task, the ids below it, and whether it has limits of its own.
fn read_task(
    dag: &Fields<'_>,
    defaults: Option<&serde_json::Map<String, Json>>,
    dag_params: &[Param],
    encoded: &Json,
    extras: &Json,
) -> Result<(Task, Vec<TaskId>, bool), SerializedError> {
    let object =
        encoded.get("__var").and_then(Json::as_object).ok_or_else(|| dag.error("tasks", "a list of operators"))?;
    let task_id = object.get("task_id").and_then(Json::as_str).ok_or_else(|| dag.error("task_id", "a text"))?;
    let is_mapped = object.get("_is_mapped").and_then(Json::as_bool).unwrap_or(false);
    let fields = Fields {
        place: format!("{}, task {task_id}", dag.place),
        fields: object,
        partial: object.get("partial_kwargs").filter(|_| is_mapped).and_then(Json::as_object),
        defaults,
    };
    let defaults = Task::new(task_id);
    let operator = fields.text("task_type")?.unwrap_or(defaults.operator);
    let mut task = Task {
        display_name: fields.text("_task_display_name")?.or(fields.text("task_display_name")?),
        operator_name: fields.text("_operator_name")?.unwrap_or_else(|| operator.clone()),
        operator,
        owner: fields.text("owner")?.unwrap_or(defaults.owner),
        email: read_email(&fields),
        notices: read_notices(&fields)?,
        // The Dag's dates are those of every task that has none, once it is deserialized.
        start_date: fields.moment("start_date")?.or(dag.moment("start_date")?),
        end_date: fields.moment("end_date")?.or(dag.moment("end_date")?),
        trigger_rule: read_trigger_rule(&fields)?,
        depends_on_past: fields.flag("depends_on_past", false)? || fields.flag("wait_for_downstream", false)?,
        ignore_first_depends_on_past: fields.flag("ignore_first_depends_on_past", false)?,
        wait_for_past_depends_before_skipping: fields.flag("wait_for_past_depends_before_skipping", false)?,
        wait_for_downstream: fields.flag("wait_for_downstream", false)?,
        is_setup: fields.flag("is_setup", false)?,
        is_teardown: fields.flag("is_teardown", false)?,
        on_failure_fail_dagrun: fields.flag("on_failure_fail_dagrun", false)?,
        can_skip_downstream: fields.flag("_can_skip_downstream", false)?,
        retries: fields.count("retries")?.unwrap_or(0),
        retry_delay: fields.duration("retry_delay")?.unwrap_or(defaults.retry_delay),
        retry_exponential_backoff: fields.float("retry_exponential_backoff")?.unwrap_or(0.0),
        max_retry_delay: fields.duration("max_retry_delay")?,
        execution_timeout: fields.duration("execution_timeout")?,
        pool: fields.text("pool")?.unwrap_or(defaults.pool),
        pool_slots: fields.count("pool_slots")?.unwrap_or(1).max(1),
        queue: fields.text("queue")?.unwrap_or(defaults.queue),
        executor: fields.text("executor")?,
        priority_weight: read_priority_weight(&fields)?,
        weight_rule: read_weight_rule(&fields)?,
        max_active_tis_per_dag: fields.count("max_active_tis_per_dag")?,
        max_active_tis_per_dagrun: fields.count("max_active_tis_per_dagrun")?,
        do_xcom_push: fields.flag("do_xcom_push", true)?,
        multiple_outputs: fields.flag("multiple_outputs", false)?,
        is_sensor: fields.flag("_is_sensor", false)?,
        expand: read_task_expand(&fields, is_mapped)?,
        has_outlets_or_inlets: ["inlets", "outlets"]
            .iter()
            .any(|name| fields.raw(name).and_then(Json::as_array).is_some_and(|list| !list.is_empty())),
        inlets: read_assets(&fields, "inlets"),
        outlets: read_assets(&fields, "outlets"),
        params: read_params(&fields)?,
        execution: Execution::Runner { reason: None },
        start_trigger: read_start_trigger(&fields, is_mapped)?,
        ..defaults
    };
    // Most tasks have no params but the Dag's: those need not be kept twice.
    if task.params == dag_params {
        task.params = Vec::new();
    }
    let execution = read_execution(&fields, &task, extras)?;
    let downstream = fields.texts("downstream_task_ids")?.into_iter().map(TaskId::from).collect();
    let limited = task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some();
    Ok((Task { execution, ..task }, downstream, limited))
}

/// What a task is deferred to before it runs. Airflow starts no mapped task so, either.
fn read_start_trigger(fields: &Fields<'_>, is_mapped: bool) -> Result<Option<Arc<StartTrigger>>, SerializedError> {
    let args = fields.raw("start_trigger_args").filter(|args| !args.is_null());
    let Some(args) = args.filter(|_| !is_mapped) else { return Ok(None) };
    if !fields.flag("start_from_trigger", false)? {
        return Ok(None);
    }
    let text = |name: &str| args.get(name).and_then(Json::as_str).map(str::to_owned);
    let wrong = || fields.error("start_trigger_args", "a trigger's class and the method that follows");
    let empty = || Json::Object(Default::default());
    let inner = |kwargs: &Json| kwargs.get("__var").unwrap_or(kwargs).clone();
    let given = |name: &str| args.get(name).filter(|kwargs| !kwargs.is_null());
    let timeout = args.get("timeout").and_then(Json::as_f64).and_then(model::operations::from_total_seconds);
    Ok(Some(Arc::new(StartTrigger {
        classpath: text("trigger_cls").ok_or_else(wrong)?,
        kwargs: given("trigger_kwargs").cloned().unwrap_or_else(empty),
        timeout,
        next_method: text("next_method").ok_or_else(wrong)?,
        next_kwargs: given("next_kwargs").map_or_else(empty, inner),
    })))
}

/// What a mapped task maps over; one of its fields says in which other it stands.
fn read_task_expand(fields: &Fields<'_>, is_mapped: bool) -> Result<Option<Arc<ExpandInput>>, SerializedError> {
    if !is_mapped {
        return Ok(None);
    }
    let field = fields.text("_expand_input_attr")?.unwrap_or_else(|| "expand_input".to_owned());
    let input = fields.fields.get(&field).unwrap_or(&Json::Null);
    Ok(Some(Arc::new(mapping::read_expand(&fields.place, &field, input)?)))
}

fn read_trigger_rule(fields: &Fields<'_>) -> Result<TriggerRule, SerializedError> {
    match fields.text("trigger_rule")? {
        None => Ok(TriggerRule::AllSuccess),
        Some(name) => name
            .parse()
            .map_err(|error| SerializedError::Invalid { place: fields.place.clone(), reason: format!("{error}") }),
    }
}

fn read_weight_rule(fields: &Fields<'_>) -> Result<WeightRule, SerializedError> {
    Ok(match fields.text("weight_rule")?.as_deref() {
        None | Some("downstream") => WeightRule::Downstream,
        Some("upstream") => WeightRule::Upstream,
        Some("absolute") => WeightRule::Absolute,
        Some(strategy) => WeightRule::Custom(strategy.to_owned()),
    })
}

fn read_priority_weight(fields: &Fields<'_>) -> Result<i32, SerializedError> {
    let read =
        |value: &Json| value.as_i64().map(|weight| weight.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
    Ok(fields.typed("priority_weight", "a whole number", read)?.unwrap_or(1))
}

/// Inlets or outlets, as far as they are assets.
fn read_assets(fields: &Fields<'_>, name: &str) -> Vec<AssetLike> {
    let list = fields.raw(name).and_then(Json::as_array);
    list.into_iter().flatten().filter_map(AssetLike::from_serialized).collect()
}

fn read_email(fields: &Fields<'_>) -> Vec<String> {
    match fields.get("email") {
        Some(Json::String(text)) => vec![text],
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Who wants to know of a failure. Nobody gets an e-mail where no address is.
fn read_notices(fields: &Fields<'_>) -> Result<Notices, SerializedError> {
    let has_address = !read_email(fields).is_empty();
    Ok(Notices {
        on_failure: fields.flag("has_on_failure_callback", false)?,
        on_retry: fields.flag("has_on_retry_callback", false)?,
        email_on_failure: has_address && fields.flag("email_on_failure", true)?,
        email_on_retry: has_address && fields.flag("email_on_retry", true)?,
    })
}

/// Where the task's work is done.
fn read_execution(fields: &Fields<'_>, task: &Task, extras: &Json) -> Result<Execution, SerializedError> {
    let has_callback =
        fields.flag("has_on_execute_callback", false)? || fields.flag("has_on_success_callback", false)?;
    if fields.flag("_is_empty", false)? && !has_callback {
        let is_plain = !task.has_outlets_or_inlets;
        return Ok(if is_plain { Execution::Empty } else { Execution::Native(NativeOperator::Empty) });
    }
    let found = extras.get("tasks").and_then(|tasks| tasks.get(task.task_id.as_str()));
    if let Some(reason) = found.and_then(|found| found.get("python")).and_then(Json::as_str) {
        return Ok(Execution::Runner { reason: Some(reason.to_owned()) });
    }
    let Some(bash) = found.and_then(|found| found.get("bash")) else {
        return Ok(Execution::Runner { reason: None });
    };
    if let Some(reason) = extras.get("python").and_then(Json::as_str) {
        return Ok(Execution::Runner { reason: Some(reason.to_owned()) });
    }
    let spec = read_bash(bash).ok_or_else(|| fields.error("bash", "what the import describes"))?;
    Ok(match check_bash(&spec).and_then(|()| check_mapped(task.expand.as_deref())) {
        Ok(()) => Execution::Native(NativeOperator::Bash(spec)),
        Err(reason) => Execution::Runner { reason: Some(reason) },
    })
}

fn read_bash(bash: &Json) -> Option<BashSpec> {
    let codes = bash.get("skip_on_exit_code")?.as_array()?;
    Some(BashSpec {
        bash_command: bash.get("bash_command")?.as_str()?.to_owned(),
        env: bash.get("env").filter(|env| !env.is_null()).cloned(),
        append_env: bash.get("append_env")?.as_bool()?,
        cwd: bash.get("cwd").and_then(Json::as_str).map(str::to_owned),
        given: bash
            .get("given")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .map(str::to_owned)
            .collect(),
        skip_on_exit_code: codes
            .iter()
            // Exit codes are 0 to 255, or minus a signal's number; no other number can ever match.
            .filter_map(|code| code.as_i64().and_then(|code| i32::try_from(code).ok()))
            .collect::<HashSet<i32>>()
            .into_iter()
            .collect(),
    })
}

/// The ends of names of files whose content is the template.
const BASH_TEMPLATE_EXT: [&str; 2] = [".sh", ".bash"];

/// Why templates of a task can only be rendered by Python.
fn check_bash(spec: &BashSpec) -> Result<(), String> {
    let fields = [
        ("bash_command", Some(Json::from(spec.bash_command.as_str()))),
        ("env", spec.env.clone()),
        ("cwd", spec.cwd.as_deref().map(Json::from)),
    ];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        check_field(name, &value)?;
    }
    Ok(())
}

fn check_field(name: &str, value: &Json) -> Result<(), String> {
    // The import has put the files' contents in their names' place where it found them.
    template::check_names_no_file(value, &BASH_TEMPLATE_EXT)
        .and_then(|()| template::check_value(value))
        .map_err(|error| format!("{name}: {error}"))
}

/// Why templates among what a Bash task is mapped over can only be rendered by Python. XComs are looked at when they are
/// there.
fn check_mapped(expand: Option<&ExpandInput>) -> Result<(), String> {
    let check = |name: &str, items: &Json| match items {
        Json::Array(items) => items.iter().try_for_each(|item| check_field(name, item)),
        _ => Ok(()),
    };
    match expand {
        Some(ExpandInput::Product(arguments)) => arguments.iter().try_for_each(|(name, value)| match value {
            MapValue::Literal(items) => check(name, items),
            _ => Ok(()),
        }),
        Some(ExpandInput::Dicts(MapValue::Literal(items))) => check("expand_kwargs", items),
        _ => Ok(()),
    }
}
