"""Mapped tasks and groups."""

from __future__ import annotations

from mapping_helpers import NOW, START, fail

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, task, task_group
from airflow.sdk.exceptions import AirflowSkipException


def dag(name, **options):
    return DAG(f"mapped_{name}", schedule=None, start_date=START, tags=["own", "mapped"], **options)


@task
def numbers(*values):
    return list(values)


@task
def double(number):
    return number * 2


@task
def add(a, b=100):
    return a + b


@task
def total(values):
    return sum(values)


@task
def listed(values):
    return list(values)


with dag("literal"):
    total(double.expand(number=[1, 2, 3]))
    listed.override(task_id="letters")(double.override(task_id="text").expand(number=["a", "b"]))

with dag("from_task"):
    listed(double.expand(number=numbers(3, 1, 2)))

with dag("dict"):

    @task
    def table():
        return {"one": 1, "two": 2}

    @task
    def pair(item):
        return list(item)

    listed(pair.expand(item=table()))

with dag("partial_and_product"):
    listed(add.partial(b=5).expand(a=[1, 2]))
    listed.override(task_id="product")(add.override(task_id="all_pairs").expand(a=[1, 2], b=numbers(10, 20, 30)))

with dag("expand_kwargs"):
    listed(add.expand_kwargs([{"a": 1, "b": 2}, {"a": 3}]))

    @task
    def arguments():
        return [{"a": 5, "b": 5}, {"a": 6, "b": 6}]

    listed.override(task_id="made")(add.override(task_id="add_made").expand_kwargs(arguments()))

with dag("zip_and_map"):
    one, two = numbers(1, 2, 3), numbers.override(task_id="more")(10, 20)

    @task
    def both(pair):
        return list(pair)

    listed(both.expand(pair=one.zip(two)))
    listed.override(task_id="filled")(both.override(task_id="longest").expand(pair=one.zip(two, fillvalue=0)))
    listed.override(task_id="mapped")(double.expand(number=one.map(lambda number: number + 1)))

    def only_odd(number):
        if number % 2 == 0:
            raise AirflowSkipException
        return number

    listed.override(task_id="filtered")(double.override(task_id="odd").expand(number=one.map(only_odd)))
    listed.override(task_id="concatenated")(double.override(task_id="all").expand(number=one.concat(two)))

with dag("zero_length"):
    mapped = double.expand(number=numbers())
    mapped >> EmptyOperator(task_id="after")
    mapped >> EmptyOperator(task_id="after_anyway", trigger_rule="all_done")
    listed(mapped)

with dag("bad_input"):

    @task
    def no_list():
        return 5

    @task
    def nothing():
        return None

    double.expand(number=no_list()) >> EmptyOperator(task_id="after_number")
    double.override(task_id="of_none").expand(number=nothing())
    double.override(task_id="of_text").expand(number=PythonOperator(task_id="text", python_callable=lambda: "ab").output)

with dag("some_fail"):

    @task(retries=1, retry_delay=NOW)
    def picky(number):
        if number == 2:
            fail()
        if number == 3:
            raise AirflowSkipException
        return number

    mapped = picky.expand(number=[1, 2, 3])
    for rule in ("all_success", "all_done", "one_success", "one_failed", "none_failed", "all_failed", "none_skipped"):
        mapped >> EmptyOperator(task_id=rule, trigger_rule=rule)
    listed.override(trigger_rule="all_done")(mapped)

with dag("some_skip"):

    @task
    def picky(number):
        if number == 2:
            raise AirflowSkipException
        return number

    listed.override(trigger_rule="none_failed")(picky.expand(number=[1, 2, 3]))

with dag("chained"):
    listed(add.partial(b=1).expand(a=double.expand(number=numbers(1, 2))))

with dag("operators"):
    BashOperator.partial(task_id="bash").expand(bash_command=["echo a", "echo b", "exit 99"])
    BashOperator.partial(task_id="env", bash_command='echo "$X {{ ti.map_index }}"').expand(env=[{"X": "1"}, {"X": "2"}])
    PythonOperator.partial(task_id="python", python_callable=lambda a, b=0: [a, b]).expand(op_args=[[1], [2, 3]])
    PythonSensor.partial(task_id="sensor", poke_interval=0.2, python_callable=lambda x: x > 0).expand(
        op_kwargs=[{"x": 1}, {"x": 2}]
    )
    EmptyOperator.partial(task_id="empty").expand(doc=["a", "b"])

with dag("names"):

    @task(map_index_template="{{ label }}")
    def named(number):
        from airflow.sdk import get_current_context

        get_current_context()["label"] = f"number {number}"
        return number

    named.expand(number=[7, 8])
    BashOperator.partial(task_id="bash", map_index_template="{{ task.bash_command }}").expand(bash_command=["echo x", "echo y"])

with dag("groups"):

    @task_group
    def group(number):
        return add(double(number), b=number)

    listed(group.expand(number=[1, 2, 3]))

with dag("group_of_task"):

    @task_group
    def group(number):
        first = double(number)
        last = add(first)
        first >> EmptyOperator(task_id="beside") >> last
        return last

    listed(group.expand(number=numbers(4, 5)))

with dag("group_some_fail"):

    @task
    def picky(number):
        if number == 2:
            fail()
        return number

    @task_group
    def group(number):
        return double(picky(number))

    group.expand(number=[1, 2, 3]) >> EmptyOperator(task_id="after")

with dag("group_zero_length"):

    @task_group
    def group(number):
        double(number) >> EmptyOperator(task_id="inside")

    group.expand(number=numbers()) >> EmptyOperator(task_id="after")

with dag("mapped_in_group"):

    @task_group
    def group():
        return total(double.expand(number=numbers(1, 2)))

    group() >> EmptyOperator(task_id="after")

with dag("branch"):

    @task.branch
    def pick(number):
        return "low" if number < 10 else "high"

    pick.expand(number=[1, 2]) >> [EmptyOperator(task_id="low"), EmptyOperator(task_id="high")]

with dag("pulls"):

    @task
    def read(ti=None):
        return {
            "all": list(ti.xcom_pull(task_ids="double")),
            "one": ti.xcom_pull(task_ids="double", map_indexes=1),
            "some": list(ti.xcom_pull(task_ids="double", map_indexes=[0, 2])),
        }

    double.expand(number=[1, 2, 3]) >> read()
    lazy = listed(double.override(task_id="lazy").expand(number=[4, 5]))

    @task
    def slices(values):
        return [len(values), values[0], values[-1], list(values[1:]), list(values[::2])]

    slices(double.override(task_id="sliced").expand(number=[1, 2, 3, 4]))

with dag("limits"):
    double.override(max_active_tis_per_dagrun=1).expand(number=[1, 2, 3])
    double.override(task_id="too_many").expand(number=PythonOperator(task_id="many", python_callable=lambda: list(range(2000))).output)
