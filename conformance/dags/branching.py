"""Branches and short circuits, and what they leave skipped."""

from __future__ import annotations

import datetime

from shared_helpers import START

from airflow.providers.standard.operators.datetime import BranchDateTimeOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import (
    BranchPythonOperator,
    PythonOperator,
    ShortCircuitOperator,
)
from airflow.providers.standard.operators.weekday import BranchDayOfWeekOperator
from airflow.sdk import DAG, BaseBranchOperator, TaskGroup, chain, task


def dag(name):
    return DAG(f"branch_{name}", schedule=None, start_date=START, tags=["own", "branch"])


def empties(*names, **options):
    return [EmptyOperator(task_id=name, **options) for name in names]


with dag("one_of_three"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "b")
    a, b, c = empties("a", "b", "c")
    pick >> [a, b, c]
    b >> EmptyOperator(task_id="after_b")
    c >> EmptyOperator(task_id="after_c")
    [a, b, c] >> EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    [a, b, c] >> EmptyOperator(task_id="strict_join")

with dag("several"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: ["a", "c"])
    pick >> empties("a", "b", "c")

with dag("none"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: None)
    pick >> empties("a", "b") >> EmptyOperator(task_id="join", trigger_rule="none_failed")

with dag("empty_list"):
    pick = BranchPythonOperator(task_id="pick", python_callable=list)
    pick >> empties("a", "b") >> EmptyOperator(task_id="join", trigger_rule="all_done")

with dag("unknown_task"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "nowhere", retries=0)
    pick >> empties("a", "b")

with dag("wrong_type"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: 42)
    pick >> empties("a", "b")

with dag("not_adjacent"):
    # The branch names a task two steps down; what is between is skipped, and so is the target unless it forgives.
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "far")
    near, other = empties("near", "other")
    far = EmptyOperator(task_id="far", trigger_rule="none_failed")
    pick >> [near, other]
    near >> far
    other >> EmptyOperator(task_id="after_other")

with dag("shortcut"):
    # `join` is both a branch and below another branch, which may not skip it.
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "join")
    long_way = EmptyOperator(task_id="long_way")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    pick >> long_way >> join
    pick >> join

with dag("nested"):
    outer = BranchPythonOperator(task_id="outer", python_callable=lambda: "inner")
    inner = BranchPythonOperator(task_id="inner", python_callable=lambda: "inner_b")
    inner_a, inner_b, outer_b = empties("inner_a", "inner_b", "outer_b")
    join = EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    outer >> [inner, outer_b]
    inner >> [inner_a, inner_b] >> join
    outer_b >> join

with dag("nested_skipped"):
    outer = BranchPythonOperator(task_id="outer", python_callable=lambda: "other")
    inner = BranchPythonOperator(task_id="inner", python_callable=lambda: "inner_a")
    outer >> [inner, EmptyOperator(task_id="other")]
    inner >> empties("inner_a", "inner_b")

with dag("to_group"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "left")
    with TaskGroup("left") as left:
        chain(*empties("first", "second"))
    with TaskGroup("right") as right:
        chain(*empties("first", "second"))
    pick >> [left, right] >> EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")

with dag("in_group"):
    with TaskGroup("group") as group:
        pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "group.b")
        pick >> empties("a", "b")
    group >> EmptyOperator(task_id="after", trigger_rule="none_failed")

with dag("over_failed"):
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "a")
    a, b = empties("a", "b")
    broken = PythonOperator(task_id="broken", python_callable=lambda: 1 / 0)
    pick >> [a, b]
    broken >> [a, b]


class Chooser(BaseBranchOperator):
    def choose_branch(self, context):
        return "b" if context["params"] is not None else "a"


with dag("own_operator"):
    Chooser(task_id="pick") >> empties("a", "b")

with dag("decorated"):

    @task.branch
    def pick(number: int):
        return ["high"] if number > 5 else ["low"]

    @task
    def number():
        return 7

    pick(number()) >> empties("low", "high")

with dag("calendar"):
    dates = BranchDateTimeOperator(
        task_id="dates",
        target_lower=datetime.datetime(2000, 1, 1),
        target_upper=datetime.datetime(2900, 1, 1),
        follow_task_ids_if_true=["within"],
        follow_task_ids_if_false=["outside"],
    )
    dates >> empties("within", "outside")
    week = BranchDayOfWeekOperator(
        task_id="week",
        week_day={"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"},
        follow_task_ids_if_true="any_day",
        follow_task_ids_if_false="no_day",
    )
    week >> empties("any_day", "no_day")

with dag("latest_only"):
    # A run that a person starts always counts as the latest.
    LatestOnlyOperator(task_id="latest") >> EmptyOperator(task_id="a") >> EmptyOperator(
        task_id="b", trigger_rule="all_done"
    )

with dag("short_circuit"):
    for name, answer in (("open", True), ("closed", False), ("empty", ""), ("nothing", None), ("text", "yes")):
        circuit = ShortCircuitOperator(task_id=name, python_callable=lambda answer=answer: answer)
        circuit >> EmptyOperator(task_id=f"{name}_1") >> EmptyOperator(task_id=f"{name}_2", trigger_rule="all_done")

with dag("short_circuit_gently"):
    circuit = ShortCircuitOperator(
        task_id="circuit", python_callable=lambda: False, ignore_downstream_trigger_rules=False
    )
    first, second = empties("first", "second")
    circuit >> [first, second]
    first >> EmptyOperator(task_id="forgiving", trigger_rule="all_done") >> EmptyOperator(task_id="last")
    second >> EmptyOperator(task_id="strict")

with dag("short_circuit_decorated"):

    @task.short_circuit(ignore_downstream_trigger_rules=True)
    def circuit():
        return []

    @task.short_circuit
    def passes():
        return "yes"

    circuit() >> EmptyOperator(task_id="a") >> EmptyOperator(task_id="b", trigger_rule="always")
    passes() >> EmptyOperator(task_id="c")

with dag("run_if"):

    @task.run_if(lambda context: True)
    @task
    def runs():
        return "ran"

    @task.run_if(lambda context: False, skip_message="not today")
    @task
    def skipped():
        return "ran"

    @task.skip_if(lambda context: context["run_id"].startswith("manual"))
    @task.bash
    def skipped_bash():
        return "echo ran"

    @task.skip_if(lambda context: False)
    @task
    def after(value):
        return value

    after(runs())
    skipped() >> EmptyOperator(task_id="after_skipped")
    skipped_bash()
