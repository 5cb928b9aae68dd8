"""PythonOperator and @task: arguments, context, output, processes."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import subprocess
import sys
import threading

from shared_helpers import START, double

from airflow.providers.standard.operators.python import PythonOperator, get_current_context
from airflow.sdk import DAG, BaseOperator, task


def dag(name, **options):
    return DAG(f"python_{name}", schedule=None, start_date=START, tags=["own", "python"], **options)


def everything(*args, **kwargs):
    return {"args": list(args), "context": sorted(kwargs)}


with dag("arguments"):
    PythonOperator(task_id="op_args", python_callable=lambda a, b: [a, b], op_args=["{{ 1 + 1 }}", 3])
    PythonOperator(task_id="op_kwargs", python_callable=lambda **k: k["name"], op_kwargs={"name": "{{ ti.task_id }}"})
    PythonOperator(task_id="context_key", python_callable=lambda run_id, ti: [run_id.split("__")[0], ti.task_id])
    PythonOperator(task_id="whole_context", python_callable=lambda **context: sorted(context))
    PythonOperator(
        task_id="templates_dict",
        python_callable=lambda templates_dict: templates_dict,
        templates_dict={"a": "{{ task.task_id }}", "b": ["{{ 5 }}"]},
    )
    PythonOperator(task_id="mixed", python_callable=everything, op_args=["x"], op_kwargs={"own": 1})
    PythonOperator(task_id="shadowing", python_callable=lambda ti: 1, op_kwargs={"ti": "mine"})
    PythonOperator(task_id="shared", python_callable=double, op_args=[4])
    PythonOperator(task_id="no_push", python_callable=lambda: "not kept", do_xcom_push=False)
    PythonOperator(task_id="show_return", python_callable=lambda: "quiet", show_return_value_in_logs=False)
    PythonOperator(task_id="generator", python_callable=lambda: (number for number in range(3)))
    PythonOperator(task_id="partial", python_callable=functools.partial(double, 8))

with dag("decorated"):

    @task
    def defaults(a=1, *, b="{{ 1 + 1 }}"):
        return [a, b]

    @task
    def context(ti=None, run_id=None, params=None, dag_run=None, ds=None, **kwargs):
        return [ti.task_id, run_id.split("__")[0], dict(params), dag_run.dag_id, ds, "task" in kwargs]

    @task
    def current():
        return get_current_context()["task"].task_id

    @task(task_id="renamed")
    def original():
        return "renamed"

    @task
    def template(text):
        return text

    @task
    def annotated(number: int, names: list[str] | None = None) -> list:
        return [number, names]

    @task(retries=2, owner="eve", queue="default", priority_weight=4)
    def options(ti=None):
        return [ti.task.owner, ti.task.retries, ti.task.priority_weight]

    @task
    async def asynchronous():
        return "awaited"

    @task
    def nothing():
        pass

    defaults()
    defaults.override(task_id="overridden", owner="bob")(5, b=6)
    context()
    current()
    original()
    template("{{ ti.task_id }} {{ 2 * 3 }}")
    annotated(1, names=["{{ 'a' }}"])
    options()
    asynchronous()
    first, second = nothing(), nothing()
    first >> second

with dag("logging"):

    @task
    def levels():
        log = logging.getLogger("my.logger")
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "at level %s", level)
        logging.getLogger("airflow.task").info("to the task's logger")
        logging.info("to the root logger")
        print("to stdout")
        print("to stderr", file=sys.stderr)
        sys.stdout.write("no newline")
        return "logged"

    @task
    def megabytes():
        for number in range(20_000):
            print(f"{number:>8}" + "x" * 120)
        return 20_000

    @task
    def long_line():
        print("x" * 1_000_000)
        return "long"

    @task
    def odd_bytes():
        sys.stdout.buffer.write(b"bad \xff\xfe bytes\n")
        sys.stdout.flush()
        os.write(1, b"straight to the descriptor\n")
        print("žluťoučký \x1b[31mkůň\x1b[0m \x00 end")
        return "odd"

    @task
    def exception_in_log():
        try:
            raise ValueError("caught")
        except ValueError:
            logging.getLogger(__name__).exception("it went wrong")
        return "survived"

    levels()
    megabytes()
    long_line()
    odd_bytes()
    exception_in_log()

with dag("processes"):

    @task
    def run():
        return subprocess.run(["echo", "from a child"], capture_output=True, text=True, check=True).stdout.strip()

    @task
    def left_behind():
        # The task is over although what it started is not.
        subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return "did not wait"

    @task
    def fork():
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=lambda: queue.put("from a fork"))
        child.start()
        answer = queue.get(timeout=20)
        child.join()
        return [answer, child.exitcode]

    @task
    def threads():
        results = []
        workers = [threading.Thread(target=results.append, args=(number,)) for number in range(5)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sorted(results)

    @task
    def closes_stdout():
        os.close(1)
        return "still returned"

    @task
    def changes_folder():
        os.chdir("/usr")
        return os.getcwd()

    @task
    def environment():
        return [name in os.environ for name in ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_TASK_ID", "PATH")]

    run()
    left_behind()
    fork()
    threads()
    closes_stdout()
    changes_folder()
    environment()

with dag("context_objects"):

    @task
    def task_instance(ti=None):
        return {
            "ids": [ti.dag_id, ti.task_id, ti.map_index, ti.try_number, ti.max_tries],
            "state": str(ti.state),
            "mapped": ti.is_mapped,
            "started": ti.start_date is not None,
            "ended": ti.end_date is not None,
            "hostname": bool(ti.hostname),
            "xcom": hasattr(ti, "xcom_push"),
        }

    @task
    def dag_run(dag_run=None):
        return {
            "dag_id": dag_run.dag_id,
            "type": str(dag_run.run_type),
            "state": str(dag_run.state),
            "conf": dag_run.conf,
            "logical_date": dag_run.logical_date,
            "interval": [dag_run.data_interval_start, dag_run.data_interval_end],
            "started": dag_run.start_date is not None,
            "run_after": dag_run.run_after is not None,
            "partition_key": dag_run.partition_key,
        }

    @task
    def dag_object(dag=None, task=None):
        return {
            "dag_id": dag.dag_id,
            "tasks": sorted(dag.task_ids),
            "tags": sorted(dag.tags),
            "catchup": dag.catchup,
            "operator": task.operator_class.__name__ if hasattr(task, "operator_class") else type(task).__name__,
            "upstream": sorted(task.upstream_task_ids),
        }

    @task
    def counts(ti=None):
        return {
            "dag_runs": ti.get_dr_count(dag_id="python_no_such_dag"),
            "task_instances": ti.get_ti_count(dag_id="python_context_objects", run_ids=[ti.run_id]),
            "states": list(
                ti.get_task_states(
                    dag_id="python_context_objects", run_ids=[ti.run_id], task_ids=["task_instance"]
                ).values()
            ),
            "run_state": ti.get_dagrun_state(dag_id="python_context_objects", run_id=ti.run_id),
            "previous": ti.get_previous_dagrun() is None,
        }

    about_counts = counts()
    task_instance() >> about_counts
    dag_run()
    dag_object() << about_counts


class Adder(BaseOperator):
    """Hooks before and after it runs."""

    def __init__(self, *, numbers, **kwargs):
        super().__init__(**kwargs)
        self.numbers = numbers

    def pre_execute(self, context):
        self.extra = 100

    def execute(self, context):
        self.log.info("adding %s", self.numbers)
        return sum(self.numbers) + self.extra

    def post_execute(self, context, result=None):
        context["ti"].xcom_push(key="after", value=result)


def before(context):
    context["ti"].xcom_push(key="before", value="set before")


with dag("own_operators", default_args={"retries": 0, "numbers": [7]}):
    Adder(task_id="default_argument")
    hooked = Adder(task_id="hooked", numbers=[1, 2], pre_execute=before)

    @task
    def read(ti=None):
        return [ti.xcom_pull(task_ids="hooked", key=key) for key in ("before", "after", "return_value")]

    hooked >> read()
