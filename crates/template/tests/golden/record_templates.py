"""Records what Airflow renders, for the tests of the template crate.

Run it with a Python that has Airflow 3.3 and the standard provider installed:

    python record_templates.py

It writes templates.json next to itself: the facts of some task instances, and for each template of corpus.py the
text that Airflow renders from them, or the error that it raises. Airflow's own context and Jinja environment are
used; only the answers of its supervisor are made up here.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import warnings
from datetime import datetime
from pathlib import Path

warnings.simplefilter("ignore")
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import DagRun, TaskInstanceState, TIRunContext
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.context import context_to_airflow_vars, get_previous_dagrun_success

import corpus

HERE = Path(__file__).parent

VARIABLES = {
    "greeting": "hello",
    "empty": "",
    "number": "42",
    "config": '{"bucket": "s3://b", "sizes": [1, 2.5, null], "nested": {"a": {"b": true}}}',
    "list": '["x", "y"]',
    "broken": "{not json",
    "with.dot": "dotted",
}

CONNECTIONS = {
    "db": {
        "conn_id": "db",
        "conn_type": "my_sql",
        "host": "db.example.com",
        "schema": "sales data",
        "login": "user@corp",
        "password": "p/w:1",
        "port": 3306,
        "extra": '{"charset": "utf8", "ssl": "a b"}',
    },
    "web": {"conn_id": "web", "conn_type": "http", "host": "https://api.example.com/v1", "extra": '{"a": {"b": [1]}}'},
    "same": {"conn_id": "same", "conn_type": "https", "host": "https://x.example.com", "port": 8443},
    "port_only": {"conn_id": "port_only", "conn_type": "tcp", "port": 9},
    "bare": {"conn_id": "bare", "conn_type": "generic", "login": "me"},
    "odd": {"conn_id": "odd", "conn_type": "", "host": "h", "extra": "no json", "schema": "s"},
    "list": {"conn_id": "list", "conn_type": "generic", "host": "h", "extra": "[1, 2]"},
}

# dag_id, run_id, task_id, key, map_index, value
XCOMS = [
    ["d", None, "extract", "return_value", -1, "a text"],
    ["d", None, "extract", "rows", -1, [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]],
    ["d", None, "number", "return_value", -1, 7],
    ["d", None, "float", "return_value", -1, 2.50],
    ["d", None, "dict", "return_value", -1, {"path": "/tmp/x", "items": 3, "ok": True, "none": None}],
    ["d", None, "none", "return_value", -1, None],
    ["d", None, "mapped", "return_value", 0, "m0"],
    ["d", None, "mapped", "return_value", 1, "m1"],
    ["d", None, "mapped", "return_value", 2, "m2"],
    ["d", None, "t", "own", -1, "mine"],
    ["other", None, "extract", "return_value", -1, "from another Dag"],
    ["d", "earlier", "extract", "return_value", -1, "from an earlier run"],
    ["d", None, "chosen", "chosen_options", -1, ["yes", "no"]],
    ["d", None, "object", "return_value", -1, {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1]}],
]

PARAMS = {
    "name": "world",
    "count": 3,
    "ratio": 0.1,
    "flag": True,
    "off": False,
    "nothing": None,
    "list": ["b", "a", "C"],
    "numbers": [3, 1, 2],
    "mixed": [1, "a", None, 2.0, [True]],
    "dict": {"k": "v", "n": {"deep": [10, 20]}},
    "users": [{"name": "Bo", "age": 30, "on": True}, {"name": "al", "age": 25, "on": False}],
    "empty": "",
    "text": "Some <b>text</b> & 'quotes' \"here\"\n\ttab, é ☃ 😀",
    "path": "/a/b/c.txt",
    "date": "2024-02-29",
    "big": 12345678901234,
    "title": "of a book",
    "index": 5,
}

CONTEXTS = {
    "scheduled": {
        "dag_id": "d",
        "task_id": "t",
        "run_id": "scheduled__2024-02-29T06:07:08.123456+00:00",
        "run_type": "scheduled",
        "run_state": "running",
        "logical_date": "2024-02-29T06:07:08.123456Z",
        "data_interval_start": "2024-02-29T06:07:08.123456Z",
        "data_interval_end": "2024-03-01T06:07:08.123456Z",
        "run_after": "2024-03-01T06:07:08.123456Z",
        "start_date": "2024-03-01T06:08:00Z",
        "end_date": None,
        "conf": {},
        "triggering_user_name": None,
        "note": None,
        "team_name": None,
        "partition_key": None,
        "partition_date": None,
        "clear_number": 0,
        "params": PARAMS,
        "owner": "airflow",
        "email": [],
        "retries": 2,
        "try_number": 1,
        "max_tries": 2,
        "map_index": -1,
        "hostname": "worker-1",
        "ti_start_date": "2024-03-01T06:09:00.5Z",
        "task_reschedule_count": 0,
        "previous": {
            "data_interval_start": "2024-02-28T06:00:00Z",
            "data_interval_end": "2024-02-29T06:00:00Z",
            "start_date": "2024-02-29T06:00:10Z",
            "end_date": "2024-02-29T06:01:10.25Z",
        },
    }
}
CONTEXTS["midnight"] = CONTEXTS["scheduled"] | {
    "run_id": "backfill__2023-12-31T00:00:00+00:00",
    "run_type": "backfill",
    "logical_date": "2023-12-31T00:00:00Z",
    "data_interval_start": "2023-12-31T00:00:00Z",
    "data_interval_end": "2024-01-01T00:00:00Z",
    "email": ["a@example.com", "b@example.com"],
    "owner": "ann, bo",
    "previous": {},
    "conf": {"message": "hi", "items": [1, 2], "nested": {"x": "y"}, "get": "got"},
}
CONTEXTS["manual"] = CONTEXTS["scheduled"] | {
    "run_id": "manual__now",
    "run_type": "manual",
    "logical_date": None,
    "data_interval_start": None,
    "data_interval_end": None,
    "conf": {"message": "it's me", "count": 2},
    "triggering_user_name": "admin",
    "note": "a note",
    "team_name": "blue",
    "partition_key": "eu",
    "partition_date": "2024-02-01T00:00:00Z",
    "map_index": 1,
    "try_number": 3,
    "task_reschedule_count": 2,
    "previous": {},
}


class Supervisor:
    """Answers what a task asks, from the facts above."""

    facts: dict = {}

    def _values(self, msg):
        for dag_id, run_id, task_id, key, map_index, value in XCOMS:
            if (dag_id, task_id, key) != (msg.dag_id, msg.task_id, msg.key):
                continue
            if (run_id or self.facts["run_id"]) == msg.run_id:
                yield map_index, value

    def send(self, msg):
        if isinstance(msg, comms.GetXCom):
            wanted = -1 if msg.map_index is None else msg.map_index
            found = [value for index, value in self._values(msg) if index == wanted]
            return comms.XComResult(key=msg.key, value=found[0] if found else None)
        if isinstance(msg, comms.GetXComSequenceSlice):
            return comms.XComSequenceSliceResult(root=[value for _, value in self._values(msg)])
        if isinstance(msg, comms.GetVariable):
            if msg.key in VARIABLES:
                return comms.VariableResult(key=msg.key, value=VARIABLES[msg.key])
            return comms.ErrorResponse(error=comms.ErrorType.VARIABLE_NOT_FOUND, detail={"key": msg.key})
        if isinstance(msg, comms.GetConnection):
            if msg.conn_id in CONNECTIONS:
                fields = dict.fromkeys(comms.ConnectionResult.model_fields, None)
                del fields["type"], fields["schema_"]
                fields["schema"] = None
                return comms.ConnectionResult(**(fields | CONNECTIONS[msg.conn_id]))
            return comms.ErrorResponse(error=comms.ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": msg.conn_id})
        if isinstance(msg, comms.GetPrevSuccessfulDagRun):
            return comms.PrevSuccessfulDagRunResult(**self.facts["previous"])
        if type(msg).__name__ == "MaskSecret":
            return None
        raise NotImplementedError(type(msg).__name__)


def task_context(facts):
    """The task and the context that Airflow's task runner makes for it."""
    with DAG(facts["dag_id"], schedule=None, params=facts["params"]):
        task = BashOperator(
            task_id=facts["task_id"],
            bash_command="true",
            owner=facts["owner"],
            email=facts["email"] or None,
            retries=facts["retries"],
        )
    run = {name: facts[name] for name in DagRun.model_fields if name in facts}
    run |= {"state": facts["run_state"], "consumed_asset_events": []}
    server = TIRunContext.model_validate_json(
        json.dumps({
            "dag_run": run,
            "max_tries": facts["max_tries"],
            "task_reschedule_count": facts["task_reschedule_count"],
        })
    )
    # Params stay what they are: the conf of a run would change them.
    conf, server.dag_run.conf = server.dag_run.conf, {}
    instance = task_runner.RuntimeTaskInstance.model_construct(
        id="00000000-0000-0000-0000-000000000000",
        task=task,
        bundle_instance=None,
        _ti_context_from_server=server,
        state=TaskInstanceState.RUNNING,
        start_date=datetime.fromisoformat(facts["ti_start_date"]),
        **{name: facts[name] for name in ("dag_id", "task_id", "run_id", "try_number", "map_index", "hostname")},
        max_tries=facts["max_tries"],
    )
    context = instance.get_template_context()
    server.dag_run.conf = conf
    return task, context


def outcome(task, context, template):
    # Some of Jinja's filters change the lists that they are given.
    context = {**context, "params": copy.deepcopy(context["params"])}
    try:
        return {"rendered": task.render_template(template, context, task.dag.get_template_env())}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


def record(groups, out_path):
    supervisor = Supervisor()
    task_runner.SUPERVISOR_COMMS = supervisor
    cases = []
    environments = {}
    for name, facts in CONTEXTS.items():
        supervisor.facts = facts
        get_previous_dagrun_success.cache_clear()
        task, context = task_context(facts)
        environments[name] = context_to_airflow_vars(context, in_env_var_format=True)
        for expect, templates in groups.items():
            for template in templates:
                dated = expect == "native" and any(word in template for word in corpus.ABOUT_THE_RUN)
                if name != "scheduled" and not dated:
                    continue
                case = {"context": name, "expect": expect, "template": template}
                # What must be refused may be another text each time.
                if expect != "refused":
                    case |= outcome(task, context, template)
                cases.append(case)
    recorded = {
        "contexts": CONTEXTS,
        "variables": VARIABLES,
        "connections": CONNECTIONS,
        "xcoms": XCOMS,
        "environments": environments,
        "cases": cases,
    }
    with open(out_path, "w") as out:
        # One case on each line.
        lines = [json.dumps(case, ensure_ascii=False) for case in recorded.pop("cases")]
        head = json.dumps(recorded, indent=1, ensure_ascii=False).removesuffix("\n}")
        out.write(head + ',\n "cases": [\n' + ",\n".join(lines) + "\n ]\n}\n")
    print(f"{len(cases)} cases", file=sys.stderr)


if __name__ == "__main__":
    record(corpus.GROUPS, HERE / "templates.json")
