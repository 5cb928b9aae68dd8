"""Records what Airflow answers when people change runs and task instances, for `tests/changes.rs` to replay.

Run it with the Python of an Airflow 3.3 installation; it makes a deployment of its own in a temporary folder:

    python record_changes.py > changes.json

Task instances that are answered in no order of their own are sorted on both sides.
"""

import json
import sys

import record_answers as base
import record_dags as dags

dags.DAG_FILE = '''
from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, task, task_group

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def bash(task_id, **kwargs):
    return BashOperator(task_id=task_id, bash_command="true", **kwargs)


for dag_id, kwargs in {
    "unscheduled": {"schedule": None},
    "once": {"schedule": "@once"},
    "picky": {"schedule": "0 0 * * *", "allowed_run_types": ["scheduled"]},
    "past": {"schedule": "0 0 * * *", "default_args": {"depends_on_past": True}},
    "choosy": {"schedule": "0 0 * * *", "params": {"count": Param(3, type="integer")}},
    "hourly": {"schedule": timedelta(hours=1)},
}.items():
    with DAG(dag_id, start_date=START, catchup=False, **kwargs):
        EmptyOperator(task_id="only")

for number in range(1, 8):
    with DAG(f"days{number}", schedule="0 0 * * *", start_date=START, catchup=False):
        setup, teardown = bash("setup").as_setup(), bash("teardown").as_teardown()
        a, b, c = bash("a"), bash("b", retries=2), bash("c")
        mapped = BashOperator.partial(task_id="mapped").expand(bash_command=["1", "2", "3"])

        @task_group
        def group(item):
            @task
            def x(item):
                return item

            @task
            def y(item):
                return item

            y(x(item))

        last = EmptyOperator(task_id="last", trigger_rule="all_done")
        setup >> a >> b >> teardown
        setup >> teardown
        b >> c >> mapped >> group.expand(item=[1, 2]) >> last
'''
DAY = "2026-01-0{}T00:00:00Z"
DAYS = [f"days{number}" for number in range(1, 8)]
dags.RUNS = [row for dag_id in DAYS for row in (
    [dag_id, "r1", DAY.format(1), DAY.format(1), "success", DAY.format(1), DAY.format(2), {}, "scheduled", None, None],
    [dag_id, "r2", DAY.format(2), DAY.format(2), "failed", DAY.format(2), DAY.format(3), {}, "scheduled", None, "a note"],
    [dag_id, "r3", DAY.format(3), DAY.format(3), "queued", None, None, {}, "scheduled", None, None],
    [dag_id, "m", None, DAY.format(4), "failed", DAY.format(4), DAY.format(5), {"k": 1}, "manual", "ann", None],
)]


def task_instances():
    """All that succeeded, all up to `c` that failed, none that began, and a short one."""
    for dag_id in DAYS:
        all_of_them = [(name, -1) for name in ("setup", "teardown", "a", "b", "c", "last")]
        all_of_them += [("mapped", 0), ("mapped", 1), ("mapped", 2)]
        all_of_them += [(f"group.{name}", at) for name in "xy" for at in (0, 1)]
        for name, at in all_of_them:
            yield [dag_id, "r1", name, at, "success", 1, [], DAY.format(1), DAY.format(2), "default"]
        for name, at in all_of_them:
            if name in ("setup", "teardown", "a", "b"):
                tries = ["failed"] if name == "b" else []
                yield [dag_id, "r2", name, at, "success", 1 + len(tries), tries, DAY.format(2), DAY.format(3), "default"]
            elif name == "c":
                yield [dag_id, "r2", name, at, "failed", 1, [], DAY.format(2), DAY.format(3), "default"]
            else:
                state = "skipped" if name == "last" else "upstream_failed"
                yield [dag_id, "r2", name, at, state, 0, [], None, None, "default"]
        for name, at in all_of_them:
            yield [dag_id, "r3", name, at, None, 0, [], None, None, "default"]
        for name, at in all_of_them[:5]:
            state = "failed" if name == "a" else "removed" if name == "c" else "success"
            yield [dag_id, "m", name, at, state, 1, [], DAY.format(4), DAY.format(5), "other"]


dags.TASK_INSTANCES = list(task_instances())
dags.RENDERED = []
dags.LINKS = []


def ordered(row):
    """The row with its task instances in an order, where they have none of their own."""
    if isinstance(row["answer"], dict) and "task_instances" in row["answer"]:
        name = lambda ti: (json.dumps(ti.get("dag_run_id")), json.dumps(ti["task_id"]), ti.get("map_index", 0))  # noqa: E731
        row["answer"]["task_instances"].sort(key=name)
        row["sorted"] = True
        if row["path"].endswith("/clearTaskInstances") or "/taskGroupInstances/" in row["path"]:
            # Airflow shows here what was written about them before.
            for ti in row["answer"]["task_instances"]:
                ti["note"] = "<any>"
    return row


def main():
    from airflow.utils.db import initdb

    initdb()
    from airflow.utils.session import create_session

    with create_session() as session:
        fixture = dags.build(session)

    from fastapi.testclient import TestClient
    from airflow.api_fastapi.app import create_app
    from change_requests import SCENARIOS

    base.plain_field = dags.plain_field
    client = TestClient(create_app(), raise_server_exceptions=False)
    token = client.get("/auth/token").json()["access_token"]
    scenarios = {name: [ordered(base.answer(client, token, *request)) for request in requests]
                 for name, requests in SCENARIOS.items()}
    lines = [f'{{"fixture": {json.dumps(fixture, ensure_ascii=False)}, "scenarios": {{']
    for at, (name, rows) in enumerate(scenarios.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, ensure_ascii=False) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if at + 1 < len(scenarios) else ""))
    sys.__stdout__.write("\n".join([*lines, "}}", ""]))


if __name__ == "__main__":
    main()
