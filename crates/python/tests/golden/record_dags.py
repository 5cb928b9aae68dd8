"""Records what Airflow's serializer makes of `dags.py`, and what the Dags say of themselves.

    python crates/python/tests/golden/record_dags.py crates/python/tests/golden/dags.json

The first is what the converter reads, the second what it must come to.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
sys.path.insert(0, str(HERE.parents[1] / "src" / "helper"))

import updraft_import  # noqa: E402
from airflow.dag_processing.dagbag import BundleDagBag  # noqa: E402
from airflow.sdk.definitions._internal.types import is_arg_set  # noqa: E402
from airflow.sdk.definitions.mappedoperator import MappedOperator  # noqa: E402
from airflow.serialization.serialized_objects import DagSerialization  # noqa: E402


def seconds(delta):
    return None if delta is None else delta.total_seconds()


def moment(date):
    return None if date is None else date.timestamp()


def params_of(params):
    found = {}
    for name, param in params.items():
        param = params.get_param(name)
        found[name] = {
            "has_value": is_arg_set(param.value),
            "value": param.value if is_arg_set(param.value) else None,
            "schema": param.schema,
            "description": param.description,
        }
    return found


def describe_task(task):
    mapped = isinstance(task, MappedOperator)
    get = lambda name, default=None: (  # noqa: E731
        task.partial_kwargs.get(name, getattr(task, name, default)) if mapped else getattr(task, name, default)
    )
    email = get("email")
    rule = get("weight_rule")
    return {
        "operator": task.task_type,
        "operator_name": task.operator_name,
        "display_name": task.task_display_name,
        "owner": get("owner"),
        "email": [email] if isinstance(email, str) else list(email or []),
        "start_date": moment(get("start_date")),
        "end_date": moment(get("end_date")),
        "downstream": sorted(task.downstream_task_ids),
        "trigger_rule": str(getattr(get("trigger_rule"), "value", get("trigger_rule"))),
        "depends_on_past": bool(get("depends_on_past")),
        "ignore_first_depends_on_past": bool(get("ignore_first_depends_on_past")),
        "wait_for_past_depends_before_skipping": bool(get("wait_for_past_depends_before_skipping")),
        "wait_for_downstream": bool(get("wait_for_downstream")),
        "is_setup": task.is_setup,
        "is_teardown": task.is_teardown,
        "on_failure_fail_dagrun": task.on_failure_fail_dagrun,
        "retries": get("retries") or 0,
        "retry_delay": seconds(get("retry_delay")),
        "retry_exponential_backoff": float(2.0 if get("retry_exponential_backoff") is True else get("retry_exponential_backoff") or 0),
        "max_retry_delay": seconds(get("max_retry_delay")),
        "execution_timeout": seconds(get("execution_timeout")),
        "pool": get("pool"),
        "pool_slots": get("pool_slots"),
        "queue": get("queue"),
        "priority_weight": get("priority_weight"),
        "weight_rule": rule if isinstance(rule, str) else type(rule).__name__,
        "max_active_tis_per_dag": get("max_active_tis_per_dag"),
        "max_active_tis_per_dagrun": get("max_active_tis_per_dagrun"),
        "do_xcom_push": get("do_xcom_push", True),
        "multiple_outputs": bool(get("multiple_outputs", False)),
        "is_mapped": mapped,
        "has_outlets_or_inlets": bool(get("inlets") or get("outlets")),
        "params": params_of(get("params")) if not mapped else None,
    }


def describe_dag(dag):
    return {
        "display_name": dag.dag_display_name,
        "description": dag.description,
        "tags": sorted(dag.tags),
        "start_date": moment(dag.start_date),
        "end_date": moment(dag.end_date),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "max_active_tasks": dag.max_active_tasks,
        "max_consecutive_failed_dag_runs": dag.max_consecutive_failed_dag_runs,
        "dagrun_timeout": seconds(dag.dagrun_timeout),
        "fail_fast": dag.fail_fast,
        "disable_bundle_versioning": dag.disable_bundle_versioning,
        "render_template_as_native_obj": dag.render_template_as_native_obj,
        "has_on_success_callback": bool(dag.on_success_callback),
        "has_on_failure_callback": bool(dag.on_failure_callback),
        "is_paused_upon_creation": dag.is_paused_upon_creation,
        "params": params_of(dag.params),
        "groups": {
            name: sorted(task.task_id for task in group.iter_tasks())
            for name, group in dag.task_group_dict.items()
            if name
        },
        "tasks": {task.task_id: describe_task(task) for task in dag.tasks},
    }


def main():
    bag = BundleDagBag(dag_folder=HERE / "dags.py", bundle_path=HERE, bundle_name="golden", load_op_links=False)
    assert not bag.import_errors, bag.import_errors
    recorded = []
    for _, dag in sorted(bag.dags.items()):
        serialized = DagSerialization.to_dict(dag)
        serialized["dag"]["fileloc"] = "/golden/dags.py"
        serialized["dag"].pop("_processor_dags_folder", None)
        recorded.append(
            {"serialized": serialized, "extras": updraft_import.describe_dag(dag), "python": describe_dag(dag)}
        )
    lines = [json.dumps(dag, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for dag in recorded]
    Path(sys.argv[1]).write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
