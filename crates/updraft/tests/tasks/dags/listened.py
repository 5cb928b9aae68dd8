"""Tasks that a plugin listens to, and the calls that tasks have themselves."""

import json
import os
from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException


def told(name):
    def note(context):
        line = {"name": name, "task": context["ti"].task_id, "try": context["ti"].try_number}
        with (Path(os.environ["AIRFLOW_HOME"]) / "heard").open("a") as file:
            file.write(json.dumps(line) + "\n")

    return note


calls = {f"on_{name}_callback": told(f"own {name}") for name in ("execute", "success", "failure", "retry", "skipped")}

with DAG("listened", default_args={"retry_delay": timedelta(0)}):
    BashOperator(task_id="bash", bash_command="echo {{ macros.own_listener.shout('said') }}", **calls)

    @task(retries=1, **calls)
    def fails():
        raise ValueError("on purpose")

    @task(**calls)
    def skips():
        raise AirflowSkipException("not today")

    @task(retries=1, on_failure_callback=calls["on_success_callback"])
    def despite_listener():
        pass

    fails()
    skips()
    despite_listener()
