"""Pools, priorities and limits. Pools come from prepare.py: `own_single` has one slot, `own_pair` two."""

from __future__ import annotations

import datetime
import pathlib
import tempfile
import time

from shared_helpers import START, fail

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, WeightRule, task


def dag(name, **options):
    return DAG(f"limits_{name}", schedule=None, start_date=START, tags=["own", "limits"], **options)


def record_file(context):
    name = f"own-{context['dag'].dag_id}-{context['run_id']}".replace("/", "_").replace(":", "_").replace("+", "_")
    return pathlib.Path(tempfile.gettempdir()) / name


def note(name, seconds, **context):
    """Writes down when this task starts and ends."""
    with open(record_file(context), "a") as out:
        out.write(f"+{name}\n")
    time.sleep(seconds)
    with open(record_file(context), "a") as out:
        out.write(f"-{name}\n")


def worker(name, seconds=0, **options):
    return PythonOperator(
        task_id=name, python_callable=note, op_kwargs={"name": name, "seconds": seconds}, **options
    )


def read(context):
    path = record_file(context)
    lines = path.read_text().split()
    path.unlink()
    return lines


@task
def order(**context):
    """The order in which the tasks of this run started."""
    return [line[1:] for line in read(context) if line.startswith("+")]


@task
def at_once(**context):
    """How many tasks ran at the same time at most."""
    running = most = 0
    for line in read(context):
        running += 1 if line.startswith("+") else -1
        most = max(most, running)
    return most


with dag("priority"):
    begin = EmptyOperator(task_id="begin", priority_weight=50)
    workers = [
        worker(name, pool="own_single", priority_weight=weight, weight_rule="absolute")
        for name, weight in (("five", 5), ("nine", 9), ("one", 1), ("seven", 7))
    ]
    begin >> workers >> order()

with dag("pool_of_one"):
    [worker(f"task_{number}", 0.5, pool="own_single") for number in range(3)] >> at_once()

with dag("pool_slots"):
    # Two slots, and each task takes both.
    [worker(f"task_{number}", 0.5, pool="own_pair", pool_slots=2) for number in range(3)] >> at_once()

with dag("dag_tasks", max_active_tasks=1):
    [worker(f"task_{number}", 0.5) for number in range(3)] >> at_once()

with dag("task_in_dag"):
    # A limit over all runs binds one run's mapped or repeated tries only; here it changes nothing.
    [worker(f"task_{number}", 0, max_active_tis_per_dag=1) for number in range(2)]
    worker("per_run", 0, max_active_tis_per_dagrun=1)

with dag("too_big_for_pool", dagrun_timeout=datetime.timedelta(seconds=12)):
    # Never starts: it wants more slots than its pool has. The run's time limit ends it.
    EmptyOperator(task_id="begin") >> PythonOperator(
        task_id="wants_three", python_callable=lambda: 1, pool="own_pair", pool_slots=3
    ) >> EmptyOperator(task_id="after")

with dag("no_such_pool", dagrun_timeout=datetime.timedelta(seconds=12)):
    PythonOperator(task_id="nowhere", python_callable=lambda: 1, pool="own_no_such_pool") >> EmptyOperator(
        task_id="after"
    )

with dag("run_timeout", dagrun_timeout=datetime.timedelta(seconds=12)):
    EmptyOperator(task_id="begin") >> BashOperator(task_id="slow", bash_command="sleep 120") >> EmptyOperator(
        task_id="after"
    ) >> EmptyOperator(task_id="always_after", trigger_rule="all_done")

with dag("run_timeout_not_reached", dagrun_timeout=datetime.timedelta(hours=1)):
    BashOperator(task_id="quick", bash_command="echo quick")

for rule in WeightRule:
    with dag(f"weights_{rule.value}", default_args={"weight_rule": rule}):
        a, b, c, d, e = (
            EmptyOperator(task_id=name, priority_weight=weight)
            for name, weight in (("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5))
        )
        a >> [b, c] >> d >> e
        PythonOperator(task_id="alone", python_callable=lambda ti: ti.task.weight_rule.__class__.__name__)

with dag("huge_weight"):
    EmptyOperator(task_id="huge", priority_weight=2**40, weight_rule="absolute")
    EmptyOperator(task_id="negative", priority_weight=-7)

with dag("empty_in_pool"):
    # Tasks that have nothing to do never take a slot.
    [EmptyOperator(task_id=f"empty_{number}", pool="own_pair", pool_slots=2) for number in range(3)]
    PythonOperator(task_id="failing", python_callable=fail, pool="own_pair")
