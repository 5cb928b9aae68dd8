"""The Dags that record_api.py asks the REST API about. Their ids all start with `api_`."""

from __future__ import annotations

import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param, TaskGroup, task

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)

with DAG(
    "api_runs",
    schedule=None,
    start_date=START,
    catchup=False,
    tags=["api", "runs"],
    description="Runs that succeed",
    doc_md="# Runs\n\nWith *markdown*.",
    default_args={"owner": "ada"},
    params={"count": Param(3, type="integer", minimum=1, maximum=9), "name": Param("world", type="string")},
    max_active_runs=4,
    max_active_tasks=8,
):
    hello = BashOperator(task_id="hello", bash_command="echo 'hello {{ params.name }}'; echo {{ params.count }}")

    @task(retries=2, retry_delay=datetime.timedelta(seconds=0), doc_md="Makes *values*.")
    def values(ti=None):
        print("making values")
        ti.xcom_push(key="custom", value="a text")
        ti.xcom_push(key="with/slash", value=7)
        return {"list": [1, 2, 3], "text": "grüße", "none": None, "nested": {"pi": 3.14, "yes": True}}

    @task(owner="eve", pool="default_pool", priority_weight=7, queue="default")
    def moment():
        return datetime.datetime(2020, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)

    with TaskGroup("inner") as inner:
        EmptyOperator(task_id="last", task_display_name="The last one", trigger_rule="all_done")

    hello >> [values(), moment()] >> inner

with DAG("api_failing", schedule=None, start_date=START, tags=["api"], default_args={"owner": "ben"}) as failing:

    def fail():
        print("about to fail")
        raise ValueError("on purpose")

    fails = PythonOperator(task_id="fails", python_callable=fail, retries=1, retry_delay=datetime.timedelta(seconds=0))
    skips = BashOperator(task_id="skips", bash_command="exit 99")
    after = EmptyOperator(task_id="after")
    [fails, skips] >> after

with DAG(
    "api_weekly",
    schedule="0 6 * * 1",
    start_date=START,
    catchup=False,
    is_paused_upon_creation=True,
    tags=["api", "cron"],
    description="Never unpaused",
):
    EmptyOperator(task_id="only")

with DAG("api_queue", schedule=None, start_date=START, is_paused_upon_creation=True, tags=["api"], max_active_runs=1):
    EmptyOperator(task_id="waits") >> EmptyOperator(task_id="waits_too")

with DAG("api_named", dag_display_name="Shown in another way ✓", schedule=None, start_date=START, tags=["api", "näm"]):
    EmptyOperator(task_id="one", task_display_name="Number one")

with DAG(
    "api_required",
    schedule=None,
    start_date=START,
    params={
        "must": Param(type="integer", description="has no default"),
        "choice": Param("a", type="string", enum=["a", "b"]),
        "day": Param("2024-05-06", type="string", format="date"),
    },
    tags=["api"],
):
    BashOperator(task_id="show", bash_command="echo {{ params.must }} {{ params.choice }} {{ params.day }}")

with DAG("api_future", schedule="@daily", start_date=datetime.datetime(2199, 1, 1), catchup=False, tags=["api", "cron"]):
    EmptyOperator(task_id="later")
