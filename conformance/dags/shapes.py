"""Dags that are odd as a whole, and settings that matter over several runs."""

from __future__ import annotations

import datetime

from shared_helpers import START, fail, skip

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, dag, task


def shape(name, **options):
    options = {"schedule": None, "start_date": START, "tags": ["own", "shapes"], **options}
    return DAG(f"shapes_{name}", **options)


with shape("no_tasks"):
    pass

with shape("one_empty"):
    EmptyOperator(task_id="only")

with shape("one_failing"):
    PythonOperator(task_id="only", python_callable=fail)

with shape("wide"):
    [EmptyOperator(task_id=f"in_{number}") for number in range(30)] >> EmptyOperator(task_id="join")

with shape("long"):
    last = EmptyOperator(task_id="step_0")
    for number in range(1, 40):
        last = last >> EmptyOperator(task_id=f"step_{number}")

with shape("islands"):
    EmptyOperator(task_id="alone")
    EmptyOperator(task_id="a") >> EmptyOperator(task_id="b")
    PythonOperator(task_id="c", python_callable=lambda: 1) >> EmptyOperator(task_id="d")

with shape("diamond"):
    top, left, right, bottom = (EmptyOperator(task_id=name) for name in ("top", "left", "right", "bottom"))
    top >> [left, right] >> bottom
    top >> bottom

with shape("shown_otherwise", dag_display_name="Zobrazený jinak ✓"):
    EmptyOperator(task_id="one", task_display_name="Первая") >> PythonOperator(
        task_id="two", python_callable=lambda ti: ti.task.task_display_name, task_display_name="Second one"
    )

with shape("odd_ids"):
    EmptyOperator(task_id="with.dots") >> EmptyOperator(task_id="with-dash") >> BashOperator(
        task_id="UPPER_1", bash_command="echo {{ ti.task_id }}"
    )
    EmptyOperator(task_id="x" * 200)

with shape("past", default_args={"depends_on_past": True}):
    # A run without a logical date has no run before it.
    EmptyOperator(task_id="depends") >> PythonOperator(task_id="python", python_callable=lambda: "ran")
    PythonOperator(task_id="waits", python_callable=lambda: "ran", wait_for_downstream=True) >> EmptyOperator(
        task_id="below"
    )
    EmptyOperator(task_id="first_ignored", ignore_first_depends_on_past=True)

with shape("start_in_future", start_date=datetime.datetime(2199, 1, 1, tzinfo=datetime.timezone.utc)):
    PythonOperator(task_id="runs", python_callable=lambda: "ran")

with shape("task_dates"):
    future, past = (datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc) for year in (2199, 2001))
    PythonOperator(task_id="starts_later", python_callable=lambda: "ran", start_date=future)
    PythonOperator(task_id="ended", python_callable=lambda: "ran", end_date=past)
    EmptyOperator(task_id="empty_ended", end_date=past) >> EmptyOperator(task_id="after")

with shape("end_in_past", end_date=datetime.datetime(2024, 2, 1, tzinfo=datetime.timezone.utc)):
    PythonOperator(task_id="runs", python_callable=lambda: "ran")

with shape("no_start_date", start_date=None):
    PythonOperator(task_id="runs", python_callable=lambda dag: dag.start_date)

with shape("default_args", default_args={"owner": "eve", "retries": 2, "unknown": 1, "bash_command": "echo default"}):
    BashOperator(task_id="bash")
    BashOperator(task_id="own", bash_command="echo own")
    PythonOperator(task_id="python", python_callable=lambda ti: [ti.task.owner, ti.task.retries])

with shape("docs", doc_md="# Title", description="words", owner_links={"eve": "mailto:eve@example.test"}):
    EmptyOperator(task_id="md", doc_md="*md*", owner="eve")
    EmptyOperator(task_id="rst", doc_rst="rst") >> EmptyOperator(task_id="json", doc_json="{}")

with shape("cross_reference"):
    # Both end, though each names the other's result in a template.
    a = BashOperator(task_id="a", bash_command="echo '{{ ti.xcom_pull(task_ids=\"b\") }}'")
    b = BashOperator(task_id="b", bash_command="echo '{{ ti.xcom_pull(task_ids=\"a\") }}'")
    a >> b

with shape("blocked"):
    # Skips and failures leave nothing that could still run, in ways that contradict each other.
    skipped = PythonOperator(task_id="skipped", python_callable=skip)
    failed = PythonOperator(task_id="failed", python_callable=fail)
    good = EmptyOperator(task_id="good")
    [skipped, good] >> EmptyOperator(task_id="all_skipped", trigger_rule="all_skipped")
    [skipped, failed] >> EmptyOperator(task_id="one_success", trigger_rule="one_success") >> EmptyOperator(
        task_id="below", trigger_rule="all_failed"
    )
    [good, failed] >> EmptyOperator(task_id="all_failed", trigger_rule="all_failed") >> EmptyOperator(
        task_id="end", trigger_rule="none_skipped"
    )


@dag(dag_id="shapes_decorated", schedule=None, start_date=START, tags=["own", "shapes"], params={"n": 2})
def decorated(n=5):
    """Words about the Dag."""

    @task
    def square(number):
        return int(number) ** 2

    square(n)


decorated()


@dag(schedule=None, start_date=START, tags=["own", "shapes"])
def shapes_named_by_function():
    @task
    def inner():
        return "inner"

    inner()


shapes_named_by_function()

for letter in "ab":
    with shape(f"made_in_loop_{letter}"):
        BashOperator(task_id="say", bash_command=f"echo {letter}")

with shape("scheduled_but_run_by_hand", schedule="0 3 * * *", catchup=False, is_paused_upon_creation=True):
    # Started by a person without a date: no data interval, whatever the schedule is.
    BashOperator(task_id="interval", bash_command="echo '{{ data_interval_start }}-{{ logical_date }}'")
