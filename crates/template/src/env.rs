//! The environment variables that tell a process which task instance it is.

use crate::context::Context;
use crate::time::DateTime;

/// The `AIRFLOW_CTX_*` variables of a task, as the Task SDK's `context_to_airflow_vars` gives them in the format of
/// environment variables. What is empty or zero has no variable.
///
/// Variables that a cluster policy (`get_airflow_context_vars`) adds are not known here.
pub fn airflow_context_vars(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let (run, task_instance, task) = (context.run, context.task_instance, context.task);
    let try_number = Some(task_instance.try_number).filter(|number| *number > 0);
    let vars = [
        ("AIRFLOW_CTX_DAG_EMAIL", Some(task.email.join(",")).filter(|_| !task.email.is_empty())),
        ("AIRFLOW_CTX_DAG_OWNER", present(&task.owner)),
        ("AIRFLOW_CTX_DAG_ID", present(task_instance.run.dag_id.as_str())),
        ("AIRFLOW_CTX_TASK_ID", present(task_instance.task_id.as_str())),
        ("AIRFLOW_CTX_LOGICAL_DATE", run.logical_date.map(|date| DateTime::standard(date).text('T'))),
        ("AIRFLOW_CTX_TRY_NUMBER", try_number.map(|number| number.to_string())),
        ("AIRFLOW_CTX_DAG_RUN_ID", present(run.key.run_id.as_str())),
        ("AIRFLOW_CTX_TEAM_NAME", context.facts.team_name.and_then(present)),
    ];
    vars.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn present(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}
