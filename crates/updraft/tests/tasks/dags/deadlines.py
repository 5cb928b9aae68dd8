"""A Dag whose runs are to succeed in time."""

import json
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference, SyncCallback, Variable, task
from airflow.sdk.definitions.deadline import VariableInterval

HOME = Path(os.environ["AIRFLOW_HOME"])


def note(name, context, more):
    line = {
        "name": name,
        "more": more,
        "run_id": context["dag_run"]["dag_run_id"],
        "state": context["dag_run"]["state"],
        "deadline": context["deadline"]["deadline_time"].isoformat(),
        "variable": Variable.get("said"),
    }
    with (HOME / "called").open("a") as file:
        file.write(json.dumps(line) + "\n")


def in_turn(context, text):
    note("in_turn", context, text)


async def meanwhile(context, when):
    note("meanwhile", context, when.isoformat())


def breaks():
    raise ValueError("no luck with the deadline")


soon = timedelta(seconds=5)
with DAG(
    "deadlines",
    deadline=[
        DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, soon, SyncCallback(in_turn, {"text": "hello"})),
        DeadlineAlert(
            DeadlineReference.DAGRUN_LOGICAL_DATE,
            VariableInterval("seconds"),
            AsyncCallback(meanwhile, {"when": datetime(2026, 1, 2, tzinfo=timezone.utc)}),
        ),
        DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, soon, SyncCallback(breaks)),
        DeadlineAlert(DeadlineReference.AVERAGE_RUNTIME(5, 5), soon, SyncCallback(in_turn, {"text": "never"})),
    ],
):

    @task
    def waits(dag_run=None):
        while not (HOME / "go").exists() and not dag_run.conf.get("quick"):
            time.sleep(0.05)

    waits()
