"""Params with defaults and schemas, and what tasks see of them and of the run's conf."""

from __future__ import annotations

from shared_helpers import START

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, task


def dag(name, **options):
    return DAG(f"params_{name}", schedule=None, start_date=START, tags=["own", "params"], **options)


with dag(
    "types",
    params={
        "text": "plain",
        "number": Param(3, type="integer", minimum=1),
        "real": Param(1.5, type="number"),
        "flag": Param(True, type="boolean"),
        "maybe": Param(None, type=["null", "string"]),
        "list": Param([1, 2], type="array", items={"type": "integer"}),
        "object": Param({"a": {"b": 1}}, type="object"),
        "choice": Param("b", enum=["a", "b"]),
        "day": Param("2024-02-29", type="string", format="date"),
        "moment": Param("2024-02-29T12:00:00+00:00", type="string", format="date-time"),
        "const": Param("fixed", const="fixed"),
        "untyped": Param({"any": [None]}),
        "described": Param("d", description="with *words*", title="A title", section="a section"),
    },
):

    @task
    def all_of_them(params=None):
        return params.dump() if hasattr(params, "dump") else dict(params)

    @task
    def their_types(params=None):
        return {key: type(value).__name__ for key, value in params.items()}

    all_of_them()
    their_types()
    BashOperator(
        task_id="bash",
        bash_command=(
            "echo '{{ params.text }} {{ params.number + 1 }} {{ params.real }} {{ params.flag }} {{ params.maybe }} "
            "{{ params.list }} {{ params.object.a.b }} {{ params[\"day\"] }} {{ params.object | tojson }}'"
        ),
    )
    BashOperator(task_id="missing", bash_command="echo [{{ params.no_such_param }}]")
    BashOperator(
        task_id="of_the_task",
        bash_command="echo {{ params.text }} {{ params.own }} {{ params.number }}",
        params={"text": "from the task", "own": Param(7, type="integer")},
    )

with dag("no_conf", params={"text": "default"}):

    @task
    def conf(dag_run=None, params=None):
        return {"conf": dag_run.conf, "text": params["text"]}

    conf()
    BashOperator(
        task_id="bash", bash_command="echo '{{ dag_run.conf }} {{ dag_run.conf.get(\"text\", \"none\") }} {{ conf is defined }}'"
    )

with dag("child", params={"text": "default", "number": Param(1, type="integer")}, is_paused_upon_creation=False):

    @task
    def seen(dag_run=None, params=None):
        return {"conf": dag_run.conf, "params": dict(params), "type": str(dag_run.run_type)}

    @task.bash
    def bash():
        return "echo {{ params.text }} {{ params.number }} {{ dag_run.conf.extra }}"

    seen() >> bash()

with dag("parent"):
    trigger = TriggerDagRunOperator(
        task_id="trigger",
        trigger_dag_id="params_child",
        trigger_run_id="from_parent",
        conf={"text": "overridden {{ 1 + 1 }}", "number": 5, "extra": "not a param"},
        reset_dag_run=True,
        wait_for_completion=True,
        poke_interval=1,
    )
    no_such_dag = TriggerDagRunOperator(task_id="no_such_dag", trigger_dag_id="params_no_such_dag")

    @task
    def read(ti=None):
        pull = {"dag_id": "params_child", "run_id": "from_parent"}
        return [ti.xcom_pull(task_ids=name, **pull) for name in ("seen", "bash")]

    trigger >> read()

with dag("bad_conf"):
    TriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="params_child", trigger_run_id="refused", conf={"number": "three"}
    )

with dag("task_param"):
    PythonOperator(
        task_id="bounded", python_callable=lambda params: params["number"], params={"number": Param(3, maximum=5)}
    )
