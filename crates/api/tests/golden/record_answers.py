"""Records what Airflow answers to the requests in `requests_to_record.py`, for `tests/answers.rs` to replay.

Run it with the Python of an Airflow 3.3 installation; it makes a deployment of its own in a temporary folder:

    python record_answers.py > answers.json

Moments of the recording are written as `<now>` or `<in 30 days>`, the folder of logs as `<logs>`, that of temporary files as `<tmp>`,
signed tokens as `<token>`, and texts that differ from server to server as `<any>`.
"""

import datetime as dt
import json
import os
import sys
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp())
LOGS = HOME / "logs"
DAGS = HOME / "dags"
os.environ.update({
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(LOGS),
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HOME}/airflow.db",
    "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
    "AIRFLOW__API__SECRET_KEY": "y" * 32,
})

# What the Rust side builds too. Moments are ISO 8601.
FIXTURE = {
    "dag_id": "letters",
    "display_name": "The ABC",
    "tasks": ["one", "mapped", "skipped", "blocked", "lost"],
    "runs": [
        {"run_id": "first", "logical_date": "2026-01-01T00:00:00Z", "run_after": "2026-01-01T00:00:00Z"},
        {"run_id": "second", "logical_date": "2026-01-02T00:00:00Z", "run_after": "2026-01-02T00:00:00Z"},
        {"run_id": "third", "logical_date": None, "run_after": "2026-01-03T12:30:00.250000Z"},
    ],
    # Run, task, map index, state, try number, and the states of the tries before it.
    "task_instances": [
        ["first", "one", -1, "success", 2, ["failed"]],
        ["first", "mapped", 0, "success", 1, []],
        ["first", "mapped", 1, "success", 1, []],
        ["first", "skipped", -1, "skipped", 0, []],
        ["first", "blocked", -1, "upstream_failed", 0, []],
        ["first", "lost", -1, "success", 1, []],
        ["second", "one", -1, "success", 1, []],
        ["third", "one", -1, "success", 1, []],
    ],
    # Run, task, map index, key, value, moment.
    "xcoms": [
        ["first", "one", -1, "return_value", {"a": [1, "two", None, True], "b": {"c": 2.5}}, "2026-01-01T01:00:00Z"],
        ["first", "one", -1, "key/with/slash", "slashed", "2026-01-01T01:00:01Z"],
        ["first", "one", -1, "number", 5, "2026-01-01T01:00:02.000500Z"],
        ["first", "one", -1, "none", None, "2026-01-01T01:00:03Z"],
        ["first", "one", -1, "text", "it's \"text\"", "2026-01-01T01:00:04Z"],
        ["first", "one", -1, "json_in_text", "{\"a\": [1, 2]}", "2026-01-01T01:00:05Z"],
        ["first", "one", -1, "tuple",
         {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, "a", None]}, "2026-01-01T01:00:06Z"],
        ["first", "one", -1, "when",
         {"__classname__": "datetime.datetime", "__version__": 2,
          "__data__": {"timestamp": 1767225600.0, "tz": "UTC"}}, "2026-01-01T01:00:07Z"],
        ["first", "one", -1, "floats", [1.0, 1e22, 1e-7, 12345678.9], "2026-01-01T01:00:08Z"],
        ["first", "mapped", 0, "return_value", "zero", "2026-01-01T02:00:00Z"],
        ["first", "mapped", 1, "return_value", "one", "2026-01-01T02:00:01Z"],
        ["second", "one", -1, "return_value", "second", "2026-01-02T01:00:00Z"],
        ["third", "one", -1, "return_value", "third", "2026-01-03T13:00:00Z"],
    ],
    # Name, URI and id.
    "assets": [["orders", "s3://shop/orders", 1], ["other", "s3://shop/other", 2]],
    # Run, task, map index, try number, lines.
    "logs": [
        ["first", "one", -1, 1, [
            {"timestamp": "2026-01-01T01:00:00.000001Z", "level": "info", "event": "Started", "logger": "task"},
            {"timestamp": "2026-01-01T01:00:00.5Z", "level": "info", "event": "twice"},
            {"timestamp": "2026-01-01T01:00:00.5Z", "level": "info", "event": "twice"},
            {"timestamp": "2026-01-01T01:00:01+02:00", "level": "error", "event": "Failed ü",
             "error_detail": [{"exc_type": "ValueError", "exc_value": "no", "frames": [], "is_cause": False}]},
            {"event": "without a moment", "number": 1.0, "big": 123456789012},
            "a line that is no JSON",
            "[\"json\", \"but no object\"]",
            {"timestamp": "2026-01-01T01:00:02Z", "level": "info"},
            "",
            {"timestamp": None, "event": "null moment"},
            {"timestamp": "yesterday", "event": "bad moment"},
        ]],
        ["first", "one", -1, 2, [
            {"timestamp": "2026-01-01T02:00:00Z", "level": "info", "event": "Done"},
        ]],
        ["first", "mapped", 1, 1, [
            {"timestamp": "2026-01-01T02:00:00.123456Z", "level": "warning", "event": "mapped", "logger": "l"},
        ]],
    ],
    # Bundle, file name, moment, stack trace.
    "import_errors": [
        ["dags-folder", "broken.py", "2026-01-01T00:00:00Z", "Traceback: b"],
        ["dags-folder", "sub/worse.py", "2026-01-01T00:00:02Z", "Traceback: a"],
        ["other", "broken.py", "2026-01-01T00:00:01.5Z", "Traceback: c"],
    ],
}

for row in FIXTURE["logs"]:
    row[4] = [line if isinstance(line, str) else json.dumps(line) for line in row[4]]

DAG_FILE = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("letters", dag_display_name="The ABC", schedule=None):
    for name in {tasks}:
        EmptyOperator(task_id=name)
"""


def moment(text):
    return None if text is None else dt.datetime.fromisoformat(text)


def build(session):
    """Puts the fixture into Airflow's database."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.asset import AssetModel
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.errors import ParseImportError
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    DAGS.mkdir()
    (DAGS / "letters.py").write_text(DAG_FILE.format(tasks=FIXTURE["tasks"]))
    for bundle in ["dags-folder", "other"]:
        session.merge(DagBundleModel(name=bundle))
    session.commit()
    bag = DagBag(str(DAGS), bundle_path=DAGS, bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None, session=session)
    session.commit()
    dag = DBDagBag().get_latest_version_of_dag("letters", session=session)
    for run in FIXTURE["runs"]:
        dag.create_dagrun(
            run_id=run["run_id"], logical_date=moment(run["logical_date"]), run_after=moment(run["run_after"]),
            data_interval=None, run_type=DagRunType.MANUAL, triggered_by=DagRunTriggeredByType.REST_API,
            state="success", session=session)
    session.commit()
    made = {ti.task_id: ti for ti in session.query(TaskInstance)}
    version = next(iter(made.values())).dag_version_id
    task = dag.get_task("one")
    session.query(TaskInstance).delete()
    for run_id, task_id, map_index, state, try_number, before in FIXTURE["task_instances"]:
        ti = TaskInstance(task, run_id=run_id, state=state, map_index=map_index, dag_version_id=version)
        ti.task_id, ti.try_number = task_id, 1
        session.add(ti)
        for past in before:
            ti.state = past
            session.flush()
            ti.prepare_db_for_next_try(session)
            ti.try_number += 1
        ti.state, ti.try_number = state, try_number
        ti._task_display_property_value = task_id
    session.flush()
    runs = {run.run_id: run for run in session.query(DagRun)}
    for run_id, task_id, map_index, key, value, at in FIXTURE["xcoms"]:
        session.add(XComModel(
            dag_run_id=runs[run_id].id, key=key, value=value, run_id=run_id, task_id=task_id, dag_id="letters",
            map_index=map_index, timestamp=moment(at)))
    for name, uri, number in FIXTURE["assets"]:
        session.add(AssetModel(id=number, name=name, uri=uri, group="asset"))
        session.flush()
    for bundle, filename, at, stack_trace in FIXTURE["import_errors"]:
        session.add(ParseImportError(
            bundle_name=bundle, filename=filename, timestamp=moment(at), stacktrace=stack_trace))
        session.flush()
    session.commit()
    for run_id, task_id, map_index, number, lines in FIXTURE["logs"]:
        folder = LOGS / "dag_id=letters" / f"run_id={run_id}" / f"task_id={task_id}"
        if map_index >= 0:
            folder = folder / f"map_index={map_index}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"attempt={number}.log").write_text("".join(line + "\n" for line in lines))


def plain(value):
    """An answer without what changes from recording to recording."""
    if isinstance(value, dict):
        # Where to read about Pydantic's errors depends on its version.
        return {key: plain_field(key, item) for key, item in value.items() if key != "url"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        now = dt.datetime.now(dt.timezone.utc)
        try:
            if len(value) > 16 and abs(dt.datetime.fromisoformat(value) - now) < dt.timedelta(hours=1):
                return "<now>"
        except (ValueError, TypeError):
            pass
        return value.replace(str(LOGS), "<logs>").replace(tempfile.gettempdir(), "<tmp>")
    return value


def earlier(value):
    """A moment thirty days before."""
    return (dt.datetime.fromisoformat(value) - dt.timedelta(days=30)).isoformat()


def plain_field(key, value):
    if key == "continuation_token":
        return value and "<token>"
    if key == "message" and value.startswith("Serious error"):
        return "<any>"
    if key == "git_version":
        return "<any>"
    if key == "expires_at" and value and plain(earlier(value)) == "<now>":
        return "<in 30 days>"
    return plain(value)


def main():
    from airflow.utils.db import initdb

    initdb()
    from airflow.models.connection import Connection
    from airflow.models.pool import Pool
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    with create_session() as session:
        build(session)

    from fastapi.testclient import TestClient
    from airflow.api_fastapi.app import create_app
    from requests_to_record import SCENARIOS

    client = TestClient(create_app(), raise_server_exceptions=False)
    token = client.get("/auth/token").json()["access_token"]
    scenarios = {}
    for name, requests in SCENARIOS.items():
        with create_session() as session:
            for model in [Variable, Connection]:
                session.query(model).delete()
            session.query(Pool).filter(Pool.pool != "default_pool").delete()
            for pool in session.query(Pool):
                pool.slots, pool.include_deferred, pool.description = 128, False, "Default pool"
        scenarios[name] = [answer(client, token, *request) for request in requests]
    # A line for each request, so that a difference between two recordings can be read.
    lines = [f'{{"fixture": {json.dumps(FIXTURE, ensure_ascii=False)}, "scenarios": {{']
    for at, (name, rows) in enumerate(scenarios.items()):
        lines.append(f'{json.dumps(name)}: [')
        lines += [json.dumps(row, ensure_ascii=False) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if at + 1 < len(scenarios) else ""))
    sys.__stdout__.write("\n".join([*lines, "}}", ""]))


def answer(client, token, method, path, body=None, headers=None):
    content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    sent = {"Authorization": f"Bearer {token}", **(headers or {})}
    if content is not None:
        sent["Content-Type"] = "application/json"
    reply = client.request(method, "/api/v2" + path, content=content, headers=sent)
    kind = reply.headers.get("content-type", "")
    if kind.startswith("application/json") and reply.text:
        text = plain(reply.json())
    elif "ndjson" in kind:
        text = [plain(json.loads(line)) for line in reply.text.splitlines()]
    else:
        text = plain(reply.text)
    row = {"method": method, "path": path}
    if content is not None:
        row["body"] = content.decode()
    if headers:
        row["headers"] = headers
    row.update(status=reply.status_code, kind=kind, answer=text)
    return row


if __name__ == "__main__":
    main()
