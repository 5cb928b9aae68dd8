"""Records what Airflow answers to its web UI, for `tests/ui.rs` to replay.

Run it with the Python of an Airflow 3.3 installation; it makes a deployment of its own in a temporary folder:

    python record_ui.py > ui.json
"""

import json
import re
import sys

import record_answers as base
import record_dags as dags

dags.DAG_FILE += '''
from airflow.sdk import Label, setup, task, task_group, teardown

with DAG("shapes", schedule=None, start_date=START):
    # Declared backwards, so that the order of declaration is not that of the edges.
    end = EmptyOperator(task_id="end")
    back = EmptyOperator(task_id="back", task_display_name="Back ✓")

    with TaskGroup("outer", tooltip="round", group_display_name="The outer one") as outer:
        late = EmptyOperator(task_id="late")
        early = EmptyOperator(task_id="early")
        with TaskGroup("inner", prefix_group_id=False) as inner:
            inner_a = EmptyOperator(task_id="inner_a")
            inner_b = EmptyOperator(task_id="inner_b")
        early >> inner >> late

    @task_group
    def over(x):
        @task
        def one(x):
            return x

        @task
        def two(x):
            return x

        two(one(x))

    mapped_group = over.expand(x=[1, 2, 3])

    @setup
    def make():
        pass

    @teardown
    def drop():
        pass

    made = make()
    worker = EmptyOperator(task_id="worker")
    made >> worker >> drop().as_teardown(setups=made)
    outer >> Label("now") >> back >> Label("then") >> end
    outer >> mapped_group
    back >> worker
'''
dags.RUNS += [
    ["shapes", "one", "2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z", "running", dags.MINUTE.format(1), None, {},
     "manual", None, None],
]
dags.TASK_INSTANCES += [
    ["shapes", "one", "outer.early", -1, "success", 1, [], dags.MINUTE.format(1), dags.MINUTE.format(2), "default"],
    ["shapes", "one", "inner_a", -1, "failed", 3, ["failed", "failed"], dags.MINUTE.format(3), dags.MINUTE.format(4), "default"],
    ["shapes", "one", "inner_b", -1, "running", 1, [], dags.MINUTE.format(3), None, "default"],
    ["shapes", "one", "outer.late", -1, None, 0, [], None, None, "default"],
    ["shapes", "one", "over.one", 0, "success", 1, [], dags.MINUTE.format(5), dags.MINUTE.format(6), "default"],
    ["shapes", "one", "over.one", 1, "success", 1, [], dags.MINUTE.format(5), dags.MINUTE.format(7), "default"],
    ["shapes", "one", "over.one", 2, "failed", 1, [], dags.MINUTE.format(5), dags.MINUTE.format(8), "default"],
    ["shapes", "one", "over.two", 0, "queued", 1, [], None, None, "default"],
    ["shapes", "one", "back", -1, "skipped", 0, [], None, None, "default"],
]


ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|Anonymous")
# Runs that still run have begun so many seconds ago at least.
LONG_AGO = 1_000_000


def with_duration(dag):
    fields = {}
    for name, value in dag.items():
        fields[name] = value
        if name == "last_parsed_time":
            fields["last_parse_duration"] = "<any>"
    return fields


def plain_field(key, value):
    if key == "expires_in_seconds":
        return "<any>"
    if key == "child_states" and value is not None:
        # Airflow counts in the order in which its database finds them.
        return dict(sorted(value.items()))
    if key == "dags":
        # Only a Dag processor knows how long a file takes; what is not known is left out.
        return [with_duration(base.plain(dag)) for dag in value]
    # Nodes of graphs have ids that matter.
    if key == "id" and isinstance(value, str) and not ID.fullmatch(value):
        return value
    if key == "duration" and isinstance(value, float) and value > LONG_AGO:
        return "<any>"
    return dags.plain_field(key, value)


def answer(client, token, method, path, body=None):
    reply = client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
    kind = reply.headers.get("content-type", "")
    row = {"method": method, "path": path}
    if body is not None:
        row["body"] = json.dumps(body)
    if "ndjson" in kind:
        text = base.plain([json.loads(line) for line in reply.text.splitlines()])
    else:
        text = base.plain(reply.json()) if kind.startswith("application/json") else base.plain(reply.text)
    row.update(status=reply.status_code, kind=kind, answer=text)
    return row


def main():
    from airflow.utils.db import initdb

    initdb()
    from airflow.utils.session import create_session

    with create_session() as session:
        fixture = dags.build(session)

    from fastapi.testclient import TestClient
    from airflow.api_fastapi.app import create_app
    from ui_requests import SCENARIOS

    base.plain_field = plain_field
    client = TestClient(create_app(), raise_server_exceptions=False)
    token = client.get("/auth/token").json()["access_token"]
    scenarios = {name: [answer(client, token, *request) for request in requests]
                 for name, requests in SCENARIOS.items()}
    lines = [f'{{"fixture": {json.dumps(fixture, ensure_ascii=False)}, "scenarios": {{']
    for at, (name, rows) in enumerate(scenarios.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, ensure_ascii=False) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if at + 1 < len(scenarios) else ""))
    sys.__stdout__.write("\n".join([*lines, "}}", ""]))


if __name__ == "__main__":
    main()
