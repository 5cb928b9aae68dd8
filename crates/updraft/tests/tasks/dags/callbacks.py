"""Callbacks of Dags, and of tasks whose processes can't call them."""

import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Variable, task

HOME = Path(os.environ["AIRFLOW_HOME"])


def told(name):
    def note(context):
        print("this is said by", name)
        line = {
            "name": name,
            "dag": context["dag"].dag_id,
            "run_id": context["run_id"],
            "reason": context.get("reason"),
            "task": context["ti"].task_id if "ti" in context else None,
            "try": context["ti"].try_number if "ti" in context else None,
            "variable": Variable.get("from_env", default=None),
            "conf": context["dag_run"].conf if "dag_run" in context else None,
        }
        with (HOME / "called").open("a") as file:
            file.write(json.dumps(line) + "\n")

    return note


def breaks(context):
    raise ValueError("no luck in the callback")


def hangs(context):
    time.sleep(600)


def dies(context):
    os.kill(os.getpid(), signal.SIGKILL)


def slow(context):
    told("begun")(context)
    while not (HOME / "go").exists():
        time.sleep(0.05)
    told("done")(context)


with DAG("good", on_success_callback=[told("first"), breaks, told("second")], on_failure_callback=told("wrong")):

    @task
    def last():
        return "xcom"

    last()

with DAG("bad", on_failure_callback=told("bad"), on_success_callback=told("wrong")):

    @task(on_failure_callback=told("own"), email=["bob@example.org"])
    def fails():
        raise ValueError("on purpose")

    fails()

with DAG("killed"):

    @task(
        retries=1,
        retry_delay=timedelta(0),
        on_failure_callback=told("failure"),
        on_retry_callback=told("retry"),
        on_success_callback=told("wrong"),
        email="ann@example.org",
    )
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    killed()

for name, callback in (("hanging", hangs), ("dying", dies), ("slow", slow)):
    with DAG(name, on_success_callback=callback):

        @task
        def nothing():
            pass

        nothing()
