"""Tasks that end badly, each in its own way, and what Airflow makes of it."""

from __future__ import annotations

import datetime
import os
import pathlib
import signal
import sys
import tempfile
import time

from shared_helpers import NOW, START, fail

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException


def dag(name, **options):
    return DAG(f"failures_{name}", schedule=None, start_date=START, tags=["own", "failures"], **options)


with dag("exceptions"):

    @task(retries=1, retry_delay=NOW)
    def airflow_exception():
        raise AirflowException("retried once")

    @task(retries=3, retry_delay=NOW)
    def fail_exception():
        raise AirflowFailException("never retried")

    @task(retries=3, retry_delay=NOW)
    def skip_exception():
        raise AirflowSkipException("not retried, skipped")

    @task
    def assertion():
        assert 1 == 2, "one is not two"

    @task
    def recursion():
        return recursion_depth(1)

    def recursion_depth(depth):
        return recursion_depth(depth + 1)

    @task
    def chained():
        try:
            fail("first")
        except ValueError as error:
            raise RuntimeError("second") from error

    @task
    def group_of_exceptions():
        raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])

    @task
    def unprintable():
        class Odd(Exception):
            def __str__(self):
                raise ValueError("cannot be printed")

        raise Odd

    airflow_exception()
    fail_exception() >> EmptyOperator(task_id="after_fail")
    skip_exception() >> EmptyOperator(task_id="after_skip")
    assertion()
    recursion()
    chained()
    group_of_exceptions()
    unprintable()

with dag("exits"):

    @task
    def exit_zero():
        sys.exit(0)

    @task
    def exit_three():
        sys.exit(3)

    @task
    def exit_text():
        sys.exit("a message")

    @task(retries=1, retry_delay=NOW)
    def hard_exit():
        os._exit(7)

    @task
    def interrupted():
        raise KeyboardInterrupt

    @task
    def base_exception():
        raise BaseException("not even an Exception")

    exit_zero() >> EmptyOperator(task_id="after_exit_zero")
    exit_three()
    exit_text()
    hard_exit()
    interrupted()
    base_exception()

with dag("signals"):

    @task
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    @task
    def aborted():
        os.abort()

    @task
    def segfault():
        os.kill(os.getpid(), signal.SIGSEGV)

    @task(retries=1, retry_delay=NOW)
    def killed_once(ti=None):
        if ti.try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "second try"

    killed() >> EmptyOperator(task_id="after_killed")
    aborted()
    segfault()
    killed_once()
    BashOperator(task_id="bash_kills_itself", bash_command="kill -9 $$")
    BashOperator(task_id="bash_terminated", bash_command="kill -TERM $$")

with dag("before_it_runs"):
    # The callable never starts: rendering fails first.
    BashOperator(task_id="undefined_filter", bash_command="echo {{ 1 | no_such_filter }}")
    BashOperator(task_id="syntax_error", bash_command="echo {% if %}")
    BashOperator(task_id="undefined_attribute", bash_command="echo {{ nothing.attribute }}")
    BashOperator(task_id="division", bash_command="echo {{ 1 / 0 }}", retries=1, retry_delay=NOW)
    BashOperator(task_id="no_such_script", bash_command="no_such_script.sh")
    PythonOperator(task_id="wrong_arguments", python_callable=lambda one: one, op_args=[1, 2])
    PythonOperator(task_id="missing_argument", python_callable=lambda one, *, two: one, op_args=[1])
    PythonOperator(task_id="template_in_kwargs", python_callable=lambda x: x, op_kwargs={"x": "{{ 1 / 0 }}"})


def noisy(context):
    raise RuntimeError("the callback fails")


with dag(
    "callbacks",
    on_failure_callback=noisy,
    default_args={"on_failure_callback": noisy, "on_success_callback": noisy, "on_retry_callback": noisy},
):
    # A callback that raises changes nothing about its task.
    PythonOperator(task_id="succeeds", python_callable=lambda: "fine", on_execute_callback=noisy)
    PythonOperator(task_id="retries", python_callable=fail, retries=1, retry_delay=NOW)
    PythonOperator(task_id="skips", python_callable=lambda: (_ for _ in ()).throw(AirflowSkipException()))
    EmptyOperator(task_id="empty", on_success_callback=noisy)
    EmptyOperator(task_id="empty_no_callback", on_success_callback=None)
    BashOperator(task_id="bash", bash_command="echo fine")
    BashOperator(task_id="bash_fails", bash_command="exit 1")

with dag("timeout"):

    @task(execution_timeout=datetime.timedelta(seconds=1))
    def too_slow():
        time.sleep(30)

    @task(execution_timeout=datetime.timedelta(seconds=1), retries=1, retry_delay=NOW)
    def slow_once(ti=None):
        if ti.try_number == 1:
            time.sleep(30)
        return "fast now"

    too_slow() >> EmptyOperator(task_id="after")
    slow_once()
    BashOperator(
        task_id="bash_too_slow", bash_command="sleep 30", execution_timeout=datetime.timedelta(seconds=1)
    )
    BashOperator(
        task_id="bash_in_time", bash_command="echo in time", execution_timeout=datetime.timedelta(seconds=30)
    )

with dag("return_values"):

    @task
    def not_serializable():
        return object()

    @task
    def a_function():
        return lambda: 1

    not_serializable() >> EmptyOperator(task_id="after")
    a_function()

with dag("fail_fast", fail_fast=True):
    # The first failure ends everything that is not done yet, running tasks too.

    def marker(run_id):
        return pathlib.Path(tempfile.gettempdir()) / f"own-fail-fast-{run_id}"

    @task
    def first(run_id=None):
        while not marker(run_id).exists():
            time.sleep(0.1)
        marker(run_id).unlink()
        fail()

    @task
    def waits(run_id=None):
        marker(run_id).touch()
        time.sleep(60)

    done_before = EmptyOperator(task_id="done_before")
    done_before >> first() >> EmptyOperator(task_id="after_failure")
    done_before >> waits() >> EmptyOperator(task_id="never")

with dag("fail_fast_after_retry", fail_fast=True):
    PythonOperator(task_id="retried", python_callable=fail, retries=1, retry_delay=NOW) >> EmptyOperator(
        task_id="after"
    )
    EmptyOperator(task_id="beside")
