"""A plugin that writes down what it is told of runs and assets."""

import json
import os
import time
from pathlib import Path

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


def tell(name, **more):
    with (Path(os.environ["AIRFLOW_HOME"]) / "heard").open("a") as file:
        file.write(json.dumps({"name": name, **more}) + "\n")


def tell_of_run(name, dag_run, msg):
    tell(
        name,
        run=f"{dag_run.dag_id}/{dag_run.run_id}",
        msg=msg,
        state=dag_run.state,
        began=dag_run.start_date is not None,
        ended=dag_run.end_date is not None,
        conf=dag_run.conf,
        kind=type(dag_run).__name__,
        tasks=sorted(dag_run.dag.task_ids),
    )


class Listener:
    @hookimpl
    def on_dag_run_running(self, dag_run, msg):
        tell_of_run("running", dag_run, msg)
        if dag_run.conf.get("hangs"):
            time.sleep(600)
        if dag_run.conf.get("raises"):
            raise ValueError("no luck in the listener")

    @hookimpl
    def on_dag_run_success(self, dag_run, msg):
        tell_of_run("success", dag_run, msg)

    @hookimpl
    def on_dag_run_failed(self, dag_run, msg):
        tell_of_run("failed", dag_run, msg)

    @hookimpl
    def on_asset_changed(self, asset):
        tell("changed", asset=[asset.name, asset.uri, asset.group, asset.extra])

    @hookimpl
    def on_asset_event_emitted(self, asset_event):
        source = [asset_event.source_dag_id, asset_event.source_task_id, asset_event.source_map_index]
        aliases = [alias.name for alias in asset_event.source_aliases]
        tell("emitted", asset=asset_event.asset.name, extra=asset_event.extra, source=source, aliases=aliases)


class RunPlugin(AirflowPlugin):
    name = "run_listener"
    listeners = [Listener()]
