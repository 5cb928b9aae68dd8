"""Records what Airflow answers about what tasks ask people, for `tests/hitl.rs` to replay.

Run it with the Python of an Airflow 3.3 installation; it makes a deployment of its own in a temporary folder:

    python record_hitl.py > hitl.json
"""

import json
import re
import sys

import record_answers as base
import record_dags as dags

dags.DAG_FILE = '''
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param

options = {"subject": "Which?", "options": ["yes", "no"]}
for dag_id in ("asking", "changing"):
    with DAG(dag_id, schedule=None, dag_display_name=f"The Dag {dag_id}"):
        for name in ("open", "assigned", "several", "answered", "again", "late", "deferred"):
            HITLOperator(task_id=name, **options)
        HITLOperator.partial(task_id="each", options=["a", "b"]).expand(subject=["one", "two"])
        EmptyOperator(task_id="never")
'''
DAY = "2026-01-0{}T00:00:00Z"
DAGS = ("asking", "changing")
dags.RUNS = [row for dag_id in DAGS for row in (
    [dag_id, "r1", DAY.format(1), DAY.format(1), "running", DAY.format(1), None, {}, "manual", None, None],
    [dag_id, "r2", DAY.format(2), DAY.format(2), "failed", DAY.format(2), DAY.format(3), {}, "manual", None, None],
)]


def task_instances():
    for dag_id in DAGS:
        for name, at, state, tries in (
            ("open", -1, "awaiting_input", []), ("assigned", -1, "awaiting_input", []),
            ("several", -1, "awaiting_input", []), ("answered", -1, "success", []),
            ("again", -1, "awaiting_input", ["failed"]), ("deferred", -1, "deferred", []), ("each", 0, "awaiting_input", []),
            ("each", 1, "awaiting_input", []), ("never", -1, "success", []),
        ):
            end = DAY.format(2) if state == "success" else None
            yield [dag_id, "r1", name, at, state, 1 + len(tries), tries, DAY.format(1), end, "default"]
        yield [dag_id, "r2", "late", -1, "failed", 1, [], DAY.format(2), DAY.format(3), "default"]


dags.TASK_INSTANCES = list(task_instances())
dags.RENDERED = []
dags.LINKS = []

ANN = {"id": "1", "name": "ann"}
# Run, task, map index, number of the try that gave way (or none), then the question, its moment, and the answer.
ASKED = [
    ["r1", "open", -1, None, ["yes", "no"], "Which?", None, None, False, {}, [], "2026-01-01T00:01:00Z", None],
    ["r1", "assigned", -1, None, ["yes", "no"], "And you?", "# Read\nit", ["no"], False,
     {"n": {"value": 1, "schema": {"type": "integer"}, "description": "how many"}, "plain": "text"},
     [ANN, {"id": "anonymous", "name": "Anonymous"}], "2026-01-01T00:02:00Z", None],
    ["r1", "several", -1, None, ["b", "a", "c"], "Which ones?", "100% sure", ["a", "b"], True, {}, [], "2026-01-01T00:03:00Z", None],
    ["r1", "answered", -1, None, ["yes", "no"], "Was it?", None, None, False, {}, [], "2026-01-01T00:04:00Z",
     ["2026-01-01T00:05:00.500000Z", ANN, ["yes"], {"n": [1, {"x": None}]}]],
    ["r1", "again", -1, 1, ["yes", "no"], "Again?", None, None, False, {}, [], "2026-01-01T00:06:00Z",
     ["2026-01-01T00:07:00Z", ANN, ["no"], {}]],
    ["r1", "again", -1, None, ["yes", "no"], "Again?", None, None, False, {}, [], "2026-01-01T00:06:00Z", None],
    ["r1", "deferred", -1, None, ["yes", "no"], "As before 3.3?", None, None, False, {}, [], "2026-01-01T00:08:00Z", None],
    ["r1", "each", 0, None, ["a", "b"], "one", None, None, False, {}, [], "2026-01-01T00:09:00Z", None],
    ["r1", "each", 1, None, ["a", "b"], "two", None, None, False, {}, [], "2026-01-01T00:09:00Z",
     ["2026-01-01T00:10:00Z", None, ["a"], {}]],
    ["r2", "late", -1, None, ["yes", "no"], "Too late?", None, None, False, {}, [], "2026-01-02T00:01:00Z", None],
]


def ask(session):
    from airflow.models.hitl import HITLDetail
    from airflow.models.hitl_history import HITLDetailHistory
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory

    for dag_id in DAGS:
        for run_id, task_id, map_index, of_try, options, subject, body, defaults, multiple, params, users, at, answer in ASKED:
            model = TaskInstance if of_try is None else TaskInstanceHistory
            found = session.query(model).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
            if of_try is not None:
                found = found.filter_by(try_number=of_try)
            ti = found.one()
            detail = HITLDetail(
                ti_id=ti.id if of_try is None else ti.task_instance_id, options=options, subject=subject, body=body,
                defaults=defaults, multiple=multiple, params=params, assignees=users, created_at=base.moment(at),
                params_input={})
            if answer:
                responded_at, by, chosen, given = answer
                detail.responded_at, detail.responded_by = base.moment(responded_at), by
                detail.chosen_options, detail.params_input = chosen, given
            session.add(detail if of_try is None else HITLDetailHistory(detail))
    session.commit()


ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def plain_field(key, value):
    # The moment of a question is the fixture's.
    plain = base.plain(value) if key == "created_at" else dags.plain_field(key, value)
    return ID.sub("<id>", plain) if key == "detail" and isinstance(plain, str) else plain


def main():
    from airflow.utils.db import initdb

    initdb()
    from airflow.utils.session import create_session

    with create_session() as session:
        fixture = dags.build(session)
        ask(session)
    fixture["asked"] = [[dag_id, *row] for dag_id in DAGS for row in ASKED]

    from fastapi.testclient import TestClient
    from airflow.api_fastapi.app import create_app
    from hitl_requests import SCENARIOS

    base.plain_field = plain_field
    client = TestClient(create_app(), raise_server_exceptions=False)
    token = client.get("/auth/token").json()["access_token"]
    scenarios = {name: [base.answer(client, token, *request) for request in requests]
                 for name, requests in SCENARIOS.items()}
    lines = [f'{{"fixture": {json.dumps(fixture, ensure_ascii=False)}, "scenarios": {{']
    for at, (name, rows) in enumerate(scenarios.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, ensure_ascii=False) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if at + 1 < len(scenarios) else ""))
    sys.__stdout__.write("\n".join([*lines, "}}", ""]))


if __name__ == "__main__":
    main()
