"""Task groups, and the ways to write edges."""

from __future__ import annotations

from shared_helpers import NOW, START, fail

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Label, TaskGroup, chain, chain_linear, cross_downstream, task, task_group


def dag(name, **options):
    return DAG(f"groups_{name}", schedule=None, start_date=START, tags=["own", "groups"], **options)


def empty(name, **options):
    return EmptyOperator(task_id=name, **options)


with dag("nested"):
    with TaskGroup("outer", tooltip="the outer one") as outer:
        with TaskGroup("middle"):
            with TaskGroup("inner"):
                empty("leaf") >> empty("second")
            empty("beside_inner")
        empty("beside_middle")
    empty("start") >> outer >> empty("end")

with dag("prefix_off"):
    with TaskGroup("outer", prefix_group_id=False) as outer:
        empty("one") >> empty("two")
        with TaskGroup("inner"):
            empty("three")
        with TaskGroup("inner_off", prefix_group_id=False):
            empty("four")
    outer >> empty("end")

with dag("to_group"):
    with TaskGroup("a") as a:
        empty("a1") >> empty("a2")
        empty("a3")
    with TaskGroup("b") as b:
        PythonOperator(task_id="b1", python_callable=fail)
        empty("b2")
    with TaskGroup("c") as c:
        empty("c1")
        empty("c2", trigger_rule="all_done")
    a >> b >> c

with dag("default_args", default_args={"retries": 0, "owner": "dag"}):
    with TaskGroup("group", default_args={"retries": 1, "retry_delay": NOW}):
        PythonOperator(task_id="from_group", python_callable=fail)
        PythonOperator(task_id="own", python_callable=fail, retries=2, retry_delay=NOW)
        with TaskGroup("deeper", default_args={"pool_slots": 2}):
            PythonOperator(task_id="from_both", python_callable=fail)
    PythonOperator(task_id="from_dag", python_callable=fail)

with dag("empty_group"):
    with TaskGroup("nothing") as nothing:
        pass
    first, last = empty("first"), empty("last")
    first >> nothing >> last
    first >> last

with dag("decorated"):

    @task
    def add(number, more=1):
        return number + more

    @task_group
    def twice(number):
        return add(add(number))

    @task_group(group_id="named", default_args={"retries": 0})
    def both(number):
        return {"once": add.override(task_id="once")(number), "much": add(number, more=10)}

    @task
    def total(once, much, other):
        return once + much + other

    results = both(5)
    total(results["once"], results["much"], twice(twice(1)))

with dag("same_name_twice"):
    for number in range(3):
        with TaskGroup("repeated", add_suffix_on_collision=True):
            empty("task")

with dag("edges"):
    a, b, c, d, e, f = (empty(name) for name in "abcdef")
    chain(a, [b, c], [d, e], f)
    cross_downstream([empty("g"), empty("h")], [empty("i"), empty("j")])
    chain_linear(empty("k"), [empty("l"), empty("m")], [empty("n"), empty("o")], empty("p"))
    f >> Label("with a label") >> empty("labelled")
    a.set_downstream(f)
    empty("q") << [empty("r"), empty("s")]

with dag("group_and_failure"):
    with TaskGroup("work") as work:
        BashOperator(task_id="good", bash_command="echo good")
        BashOperator(task_id="bad", bash_command="exit 1") >> empty("after_bad")
    work >> empty("strict")
    work >> empty("done", trigger_rule="all_done")
    work >> empty("one_success", trigger_rule="one_success")
