"""A plugin that writes down what it is told of, and brings a macro along."""

import json
import os
from pathlib import Path

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


def tell(name, ti=None, **more):
    line = {"name": name, "task": getattr(ti, "task_id", None), "try": getattr(ti, "try_number", None), **more}
    with (Path(os.environ["AIRFLOW_HOME"]) / "heard").open("a") as file:
        file.write(json.dumps(line) + "\n")


class Listener:
    @hookimpl
    def on_starting(self, component):
        tell("starting", component=type(component).__name__)

    @hookimpl
    def before_stopping(self, component):
        tell("stopping", component=type(component).__name__)

    @hookimpl
    def on_task_instance_running(self, previous_state, task_instance):
        tell("running", task_instance)
        if task_instance.task_id == "despite_listener":
            raise ValueError("no luck in the listener")

    @hookimpl
    def on_task_instance_success(self, previous_state, task_instance):
        tell("success", task_instance)

    @hookimpl
    def on_task_instance_failed(self, previous_state, task_instance, error):
        tell("failed", task_instance, error=str(error))

    @hookimpl
    def on_task_instance_skipped(self, previous_state, task_instance):
        tell("skipped", task_instance)


def shout(text):
    return text.upper()


class OwnPlugin(AirflowPlugin):
    name = "own_listener"
    listeners = [Listener()]
    macros = [shout]
