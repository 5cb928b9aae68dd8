"""Setups and teardowns: what runs when something fails, and what the run makes of it."""

from __future__ import annotations

from shared_helpers import NOW, START, fail, skip

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, TaskGroup, setup, task, teardown


def dag(name, **options):
    return DAG(f"setup_{name}", schedule=None, start_date=START, tags=["own", "setup"], **options)


def good(name, **options):
    return EmptyOperator(task_id=name, **options)


def bad(name, **options):
    return PythonOperator(task_id=name, python_callable=fail, **options)


def skipped(name, **options):
    return PythonOperator(task_id=name, python_callable=skip, **options)


with dag("all_good"):
    begin = good("begin").as_setup()
    begin >> good("work") >> good("end").as_teardown(setups=begin) >> good("after_teardown")

with dag("setup_fails"):
    begin = bad("begin").as_setup()
    begin >> good("work") >> good("end").as_teardown(setups=begin)

with dag("setup_skipped"):
    begin = skipped("begin").as_setup()
    begin >> good("work") >> good("end").as_teardown(setups=begin)

with dag("work_fails"):
    begin = good("begin").as_setup()
    begin >> bad("work") >> good("after_work") >> good("end").as_teardown(setups=begin)

with dag("work_skipped"):
    begin = good("begin").as_setup()
    begin >> skipped("work") >> good("end").as_teardown(setups=begin)

with dag("teardown_fails"):
    # The run forgets a teardown that fails.
    begin = good("begin").as_setup()
    begin >> good("work") >> bad("end").as_teardown(setups=begin)

with dag("teardown_fails_run"):
    begin = good("begin").as_setup()
    begin >> good("work") >> bad("end").as_teardown(setups=begin, on_failure_fail_dagrun=True)

with dag("teardown_fails_upstream"):
    # A task after a teardown waits for its work, not for it.
    begin = good("begin").as_setup()
    end = bad("end").as_teardown(setups=begin)
    begin >> good("work") >> end >> good("after_teardown")

with dag("teardown_alone"):
    good("work") >> good("end").as_teardown()

with dag("teardown_alone_fails"):
    bad("work") >> good("end").as_teardown()

with dag("only"):
    begin = good("begin").as_setup()
    begin >> good("end").as_teardown(setups=begin)

with dag("only_setup"):
    good("begin").as_setup() >> good("work")

with dag("several_setups"):
    one, two = good("one").as_setup(), bad("two").as_setup()
    end = good("end").as_teardown(setups=[one, two])
    [one, two] >> good("work") >> end

with dag("several_setups_skipped"):
    one, two = good("one").as_setup(), skipped("two").as_setup()
    end = good("end").as_teardown(setups=[one, two])
    [one, two] >> good("work") >> end

with dag("several_teardowns"):
    begin = good("begin").as_setup()
    work = bad("work")
    begin >> work >> [
        good("end_one").as_teardown(setups=begin),
        bad("end_two").as_teardown(setups=begin),
        good("end_three").as_teardown(setups=begin),
    ]

with dag("nested"):
    outer = good("outer").as_setup()
    inner = good("inner").as_setup()
    inner_end = good("inner_end").as_teardown(setups=inner)
    outer_end = good("outer_end").as_teardown(setups=outer)
    outer >> inner >> bad("work") >> inner_end >> outer_end
    outer >> good("beside") >> outer_end

with dag("nested_outer_fails"):
    outer = bad("outer").as_setup()
    inner = good("inner").as_setup()
    inner_end = good("inner_end").as_teardown(setups=inner)
    outer_end = good("outer_end").as_teardown(setups=outer)
    outer >> inner >> good("work") >> inner_end >> outer_end

with dag("context_manager"):
    begin = good("begin")
    end = good("end")
    with end.as_teardown(setups=begin):
        good("one") >> [bad("two"), good("three")]
    end >> good("after")

with dag("in_group"):
    with TaskGroup("group") as group:
        begin = good("begin").as_setup()
        begin >> bad("work") >> good("end").as_teardown(setups=begin)
    # The group's teardown isn't what the next task waits for.
    group >> good("after")
    group >> good("after_anyway", trigger_rule="all_done")

with dag("group_in_scope"):
    begin = good("begin").as_setup()
    end = good("end").as_teardown(setups=begin)
    with TaskGroup("group") as group:
        good("one") >> good("two")
        bad("three")
    begin >> group >> end

with dag("decorated"):

    @setup
    def begin():
        return "a resource"

    @task
    def work(resource):
        return f"work with {resource}"

    @teardown
    def end(resource):
        return f"end of {resource}"

    resource = begin()
    work(resource) >> end(resource)

with dag("decorated_fails"):

    @setup
    def begin():
        return "a resource"

    @task
    def work(resource):
        fail(resource)

    @teardown(on_failure_fail_dagrun=True)
    def end(resource):
        return f"end of {resource}"

    resource = begin()
    work(resource) >> end(resource)

with dag("retries"):
    begin = PythonOperator(
        task_id="begin",
        python_callable=lambda ti: fail() if ti.try_number == 1 else "second",
        retries=1,
        retry_delay=NOW,
    ).as_setup()
    begin >> bad("work", retries=1, retry_delay=NOW) >> good("end").as_teardown(setups=begin)

with dag("bash"):
    begin = BashOperator(task_id="begin", bash_command="echo begun").as_setup()
    work = BashOperator(task_id="work", bash_command="exit 1")
    end = BashOperator(
        task_id="end", bash_command="echo ended {{ ti.xcom_pull(task_ids='begin') }}"
    ).as_teardown(setups=begin)
    begin >> work >> end

with dag("fail_fast", fail_fast=True):
    begin = good("begin").as_setup()
    begin >> bad("work") >> good("after_work") >> good("end").as_teardown(setups=begin)
