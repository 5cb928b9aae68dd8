"""Values between tasks, in every form that they take."""

from __future__ import annotations

import collections
import datetime
import decimal
import uuid

import pendulum
from shared_helpers import START, double
from shared_types import Box, Colour, Level, Pair, Person, Point

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, XComArg, task


def dag(name, **options):
    return DAG(f"xcom_{name}", schedule=None, start_date=START, tags=["own", "xcom"], **options)


def returns(name, value, **options):
    return PythonOperator(task_id=name, python_callable=lambda: value, **options)


with dag("plain_types"):
    returns("text", "plain")
    returns("empty_text", "")
    returns("unicode", "žluťoučký kůň 🐎 \u202e end")
    returns("integer", 12)
    returns("big_integer", 2**70)
    returns("negative", -5)
    returns("real", 0.1 + 0.2)
    returns("whole_real", 2.0)
    returns("yes", True)
    returns("none", None)
    returns("list", [1, "two", None, [3.5, []]])
    returns("dict", {"b": 1, "a": {"nested": [True]}, "ü": "ö"})
    returns("empty_list", [])
    returns("empty_dict", {})
    returns("integer_keys", {1: "one", 2: "two"})
    returns("like_json", '{"looks": "like json"}')
    returns("deep", [[[[[[[[[["deep"]]]]]]]]]])

with dag("special_reals"):
    returns("not_a_number", float("nan"))
    returns("infinite", [float("inf"), float("-inf")])

with dag("rich_types"):
    returns("tuple", (1, "two"))
    returns("set", {1})
    returns("frozenset", frozenset(["a"]))
    returns("bytes", b"bytes")
    returns("decimal", decimal.Decimal("1.50"))
    returns("date", datetime.date(2024, 2, 29))
    returns("naive_datetime", datetime.datetime(2024, 2, 29, 12, 30))
    returns("datetime", datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.timezone.utc))
    returns("zoned_datetime", pendulum.datetime(2024, 7, 1, 12, tz="Europe/Prague"))
    returns("timedelta", datetime.timedelta(days=1, seconds=2, microseconds=3))
    returns("uuid", uuid.UUID(int=1))
    returns("enum", Colour.RED)
    returns("int_enum", Level.HIGH)
    returns("named_tuple", Pair(1, "b"))
    returns("dataclass", Point(1))
    returns("attrs", Box(2, [Box(1, [])]))
    returns("pydantic", Person(name="Eve"))
    returns("nested", {"when": datetime.date(2024, 1, 1), "points": [Point(1), (2, 3)]})
    returns("ordered", collections.OrderedDict(b=1, a=2))
    returns("counter", collections.Counter("aab"))

with dag("round_trip"):

    @task
    def make():
        return {
            "tuple": (1, 2),
            "set": {3},
            "day": datetime.date(2024, 2, 29),
            "moment": pendulum.datetime(2024, 7, 1, 12, tz="Europe/Prague"),
            "decimal": decimal.Decimal("1.50"),
            "delta": datetime.timedelta(hours=1),
        }

    @task
    def describe(value: dict):
        return {key: [type(item).__name__, str(item)] for key, item in value.items()}

    @task
    def not_allowed():
        return Point(1)

    describe(make())
    # Only classes on the list of allowed ones come back.
    describe.override(task_id="refused")(not_allowed())

with dag("multiple_outputs"):

    @task(multiple_outputs=True)
    def several():
        return {"one": 1, "two": [2], "none": None}

    @task
    def annotated() -> dict[str, int]:
        return {"first": 10, "second": 20}

    @task(multiple_outputs=False)
    def single() -> dict:
        return {"first": 10}

    @task(multiple_outputs=True)
    def wrong():
        return [1, 2]

    @task(multiple_outputs=True)
    def wrong_key():
        return {1: 2}

    @task
    def gather(one, two, first, whole, ti=None):
        pulled = {key: ti.xcom_pull(task_ids="several", key=key) for key in ("one", "two", "none", "three")}
        return {"values": [one, two, first, whole], "pulled": pulled, "single": ti.xcom_pull(task_ids="single", key="first")}

    parts, numbers, whole = several(), annotated(), single()
    gather(one=parts["one"], two=parts["two"], first=numbers["first"], whole=whole)
    wrong()
    wrong_key()

with dag("push_and_pull"):

    @task
    def push(ti=None):
        ti.xcom_push(key="text", value="pushed")
        ti.xcom_push(key="text", value="pushed again")
        ti.xcom_push(key="none", value=None)
        ti.xcom_push(key="odd key/ü", value=1)
        return "returned"

    @task(do_xcom_push=False)
    def silent(ti=None):
        ti.xcom_push(key="explicit", value="still there")
        return "never stored"

    @task
    def pull(ti=None):
        return {
            "returned": ti.xcom_pull(task_ids="push"),
            "text": ti.xcom_pull(task_ids="push", key="text"),
            "none": ti.xcom_pull(task_ids="push", key="none", default="default"),
            "odd": ti.xcom_pull(task_ids="push", key="odd key/ü"),
            "missing": ti.xcom_pull(task_ids="push", key="missing"),
            "default": ti.xcom_pull(task_ids="push", key="missing", default="a default"),
            "list": ti.xcom_pull(task_ids=["push", "silent", "not_run"]),
            "list_of_one": ti.xcom_pull(task_ids=["push"]),
            "list_of_keys": ti.xcom_pull(task_ids=["push", "silent"], key="explicit"),
            "empty_list": ti.xcom_pull(task_ids=[]),
            "silent": ti.xcom_pull(task_ids="silent"),
            "explicit": ti.xcom_pull(task_ids="silent", key="explicit"),
            "unknown_task": ti.xcom_pull(task_ids="no_such_task"),
            "other_dag": ti.xcom_pull(dag_id="no_such_dag", task_ids="push"),
            "map_index": ti.xcom_pull(task_ids="push", map_indexes=-1),
            "map_indexes": ti.xcom_pull(task_ids="push", map_indexes=[-1]),
            "prior": ti.xcom_pull(task_ids="no_such_task", include_prior_dates=True),
            "own": ti.xcom_pull(task_ids="pull"),
        }

    @task
    def pull_without_task(ti=None):
        return ti.xcom_pull(key="text")

    [push(), silent()] >> pull() >> pull_without_task()

with dag("arguments"):
    number = PythonOperator(task_id="number", python_callable=lambda: 21)
    table = PythonOperator(task_id="table", python_callable=lambda: {"rows": [{"name": "a"}, {"name": "b"}]})
    PythonOperator(task_id="positional", python_callable=double, op_args=[number.output])
    PythonOperator(task_id="keyword", python_callable=double, op_kwargs={"number": number.output})
    PythonOperator(
        task_id="templated", python_callable=double, op_args=["{{ ti.xcom_pull(task_ids='number') }}"]
    ) << number
    PythonOperator(
        task_id="nested",
        python_callable=lambda value: value,
        op_args=[{"list": [number.output, {"deep": number.output}], "tuple": (number.output,)}],
    )
    PythonOperator(task_id="indexed", python_callable=lambda rows: rows[1], op_args=[table.output["rows"]])
    PythonOperator(task_id="xcom_arg", python_callable=lambda value: value, op_args=[XComArg(table, key="return_value")])
    PythonOperator(task_id="missing_key", python_callable=lambda value: value, op_args=[XComArg(table, key="missing")])
    BashOperator(task_id="bash", bash_command="echo {{ ti.xcom_pull('table')['rows'][0]['name'] }}") << table
    BashOperator(task_id="bash_output", bash_command=number.output)
    BashOperator(
        task_id="bash_env_text",
        bash_command='echo "$COUNT"',
        env={"COUNT": "{{ ti.xcom_pull(task_ids=['number', 'table']) | length }}"},
    ) << [number, table]
    BashOperator(
        task_id="bash_env",
        bash_command='echo "$NUMBER and $LIST"',
        env={"NUMBER": number.output, "LIST": "{{ ti.xcom_pull(task_ids=['number', 'table']) | length }}"},
        append_env=True,
    ) << table

with dag("from_empty"):
    # A task that has nothing to do leaves no value, and a skipped one none either.
    empty = EmptyOperator(task_id="empty")
    PythonOperator(task_id="uses", python_callable=lambda value: [value], op_args=[empty.output])
    BashOperator(task_id="template", bash_command="echo '{{ ti.xcom_pull(\"empty\") }}'") << empty

with dag("large"):

    @task
    def push(ti=None):
        ti.xcom_push(key="text", value="x" * 2_000_000)
        ti.xcom_push(key="rows", value=[{"number": number, "text": "ü" * 100} for number in range(5000)])

    @task
    def measure(ti=None):
        text, rows = (ti.xcom_pull(task_ids="push", key=key) for key in ("text", "rows"))
        return [len(text), len(rows), rows[-1]["number"], len(rows[0]["text"])]

    push() >> measure()
