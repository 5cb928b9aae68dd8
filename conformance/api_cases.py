"""The requests that record_api.py makes, in order. Later ones see what earlier ones changed.

Every case is a method, a path and, if there is one, a body; `wait` cases only wait for a run to end. The names that the
recording uses are made from these, so a case may be added anywhere.
"""

import dataclasses
import json
from typing import Any

NO_BODY = object()


@dataclasses.dataclass(frozen=True)
class Case:
    """One request."""

    method: str
    path: str
    body: Any = NO_BODY
    headers: tuple = ()
    raw: bytes | None = None
    """The body as it goes over the wire, where it isn't JSON."""
    user: str | None = None
    """In the login suite: whose token is sent. `""` sends none, a name that is no user sends it as the token."""
    wait_for: str | None = None
    """Not recorded: repeat until the answer's `state` is one of these words."""

    @property
    def name(self):
        text = f"{self.method} {self.path}"
        if self.raw is not None:
            text += f" raw:{self.raw.decode(errors='replace')}"
        elif self.body is not NO_BODY:
            text += " " + json.dumps(self.body, ensure_ascii=False)
        for header in self.headers:
            text += f" [{header[0]}: {header[1]}]"
        if self.user is not None:
            text += f" as {self.user or 'nobody'}"
        return text


def get(path, *headers, user=None):
    return Case("GET", path, headers=headers, user=user)


def post(path, body=NO_BODY, **more):
    return Case("POST", path, body, **more)


def patch(path, body=NO_BODY, **more):
    return Case("PATCH", path, body, **more)


def delete(path, **more):
    return Case("DELETE", path, **more)


def wait(path):
    return Case("GET", path, wait_for="success failed")


V2 = "/api/v2"
DAGS = f"{V2}/dags"
RUNS = f"{DAGS}/api_runs/dagRuns"
FAILING = f"{DAGS}/api_failing/dagRuns"
QUEUE = f"{DAGS}/api_queue/dagRuns"
FIRST = f"{RUNS}/first/taskInstances"
FAILED = f"{FAILING}/bad/taskInstances"
NULL_DATE = {"logical_date": None}

SERVER = [
    get(f"{V2}/version"),
    get(f"{V2}/monitor/health"),
    post(f"{V2}/version", {}),
    get(f"{V2}/no-such-route"),
    get("/auth/token"),
]

DAG_CASES = [
    get(f"{DAGS}?dag_id_prefix_pattern=api_&order_by=dag_id"),
    get(f"{DAGS}/api_runs"),
    get(f"{DAGS}/api_weekly"),
    get(f"{DAGS}/api_named"),
    get(f"{DAGS}/api_future"),
    get(f"{DAGS}/api_runs/details"),
    get(f"{DAGS}/api_weekly/details"),
    get(f"{DAGS}/api_required/details"),
    get(f"{DAGS}/no_such_dag"),
    get(f"{DAGS}/no_such_dag/details"),
    get(f"{DAGS}?tags=api&limit=2&offset=1&order_by=dag_id"),
    get(f"{DAGS}?tags=api&order_by=-dag_id&limit=2"),
    get(f"{DAGS}?tags=cron&tags=runs&order_by=dag_id&limit=5"),
    get(f"{DAGS}?tags=cron&tags=api&tags_match_mode=all&order_by=dag_id"),
    get(f"{DAGS}?tags=n%C3%A4m"),
    get(f"{DAGS}?tags=none_has_it"),
    get(f"{DAGS}?owners=ada"),
    get(f"{DAGS}?dag_id_pattern=%25_runs"),
    get(f"{DAGS}?dag_id_pattern=API_RU"),
    get(f"{DAGS}?dag_display_name_pattern=another"),
    get(f"{DAGS}?paused=false&dag_id_prefix_pattern=api_"),
    get(f"{DAGS}?tags=api&limit=0"),
    get(f"{DAGS}?tags=api&limit=1&order_by=dag_display_name"),
    get(f"{DAGS}?limit=-1"),
    get(f"{DAGS}?limit=many"),
    get(f"{DAGS}?offset=-1"),
    get(f"{DAGS}?order_by=no_such_column"),
    get(f"{DAGS}?paused=perhaps"),
    get(f"{DAGS}?tags=api&tags_match_mode=some"),
    get(f"{DAGS}?last_dag_run_state=nonsense"),
    get(f"{DAGS}?tags=api&offset=1000"),
    get(f"{DAGS}?no_such_filter=1&tags=runs"),
    patch(f"{DAGS}/api_runs", {"is_paused": False}),
    patch(f"{DAGS}/api_failing", {"is_paused": False}),
    patch(f"{DAGS}/api_named?update_mask=is_paused", {"is_paused": False}),
    patch(f"{DAGS}/api_named?update_mask=description", {"is_paused": False}),
    patch(f"{DAGS}/api_named", {"is_paused": "maybe"}),
    patch(f"{DAGS}/api_named", {}),
    patch(f"{DAGS}/api_named", {"is_paused": True, "description": "not allowed"}),
    patch(f"{DAGS}/api_named"),
    patch(f"{DAGS}/api_named", raw=b"{not json"),
    patch(f"{DAGS}/no_such_dag", {"is_paused": True}),
    patch(f"{DAGS}?dag_id_pattern=api_named", {"is_paused": True}),
    patch(f"{DAGS}", {"is_paused": False}),
    get(f"{DAGS}?paused=false&dag_id_prefix_pattern=api_&order_by=dag_id"),
    Case("PUT", f"{DAGS}/api_runs", {}),
    get(f"{DAGS}/api_runs/tasks"),
    get(f"{DAGS}/api_runs/tasks?order_by=-task_id"),
    get(f"{DAGS}/api_runs/tasks?order_by=nonsense"),
    get(f"{DAGS}/api_runs/tasks/values"),
    get(f"{DAGS}/api_runs/tasks/none"),
]

TRIGGERS = [
    post(RUNS, {**NULL_DATE, "dag_run_id": "first", "conf": {"name": "there", "extra": [1]}, "note": "a note"}),
    post(RUNS, {**NULL_DATE, "dag_run_id": "first"}),
    post(FAILING, {**NULL_DATE, "dag_run_id": "bad"}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": "queued_one"}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": "with space"}),
    post(QUEUE, {"logical_date": "2024-02-03T04:05:06Z"}),
    post(QUEUE, {"logical_date": "2024-02-03T04:05:06Z"}),
    post(QUEUE, {"logical_date": "2024-02-03T04:05:06+00:00", "dag_run_id": "same_date"}),
    post(QUEUE, {"logical_date": "2024-02-03T09:05:06+02:00", "dag_run_id": "with_offset"}),
    post(QUEUE, {"logical_date": "2024-02-03T04:05:06", "dag_run_id": "naive"}),
    post(QUEUE, {"logical_date": "yesterday", "dag_run_id": "no_date"}),
    post(
        QUEUE,
        {
            "logical_date": "2024-03-01T00:00:00Z",
            "data_interval_start": "2024-02-29T00:00:00Z",
            "data_interval_end": "2024-03-01T00:00:00Z",
            "dag_run_id": "with_interval",
        },
    ),
    post(QUEUE, {**NULL_DATE, "data_interval_start": "2024-02-29T00:00:00Z"}),
    post(QUEUE, {**NULL_DATE, "run_after": "2199-01-01T00:00:00Z", "dag_run_id": "much_later"}),
    post(f"{DAGS}/api_weekly/dagRuns", {"logical_date": "2024-02-03T04:05:06Z"}),
    post(f"{DAGS}/api_weekly/dagRuns", {"logical_date": "2024-02-12T06:00:00Z", "dag_run_id": "on_the_dot"}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": "scheduled__2024-01-01T00:00:00+00:00"}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": "with/slash"}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": ""}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": "../up"}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": 5}),
    post(QUEUE, {**NULL_DATE, "dag_run_id": "x" * 260}),
    post(QUEUE, {}),
    post(QUEUE),
    post(QUEUE, raw=b"[1, 2"),
    post(QUEUE, []),
    post(QUEUE, {**NULL_DATE, "unknown_field": 1}),
    post(QUEUE, {**NULL_DATE, "conf": "text"}),
    post(QUEUE, {**NULL_DATE, "conf": None, "dag_run_id": "null_conf"}),
    post(QUEUE, {**NULL_DATE, "note": 5}),
    post(QUEUE, {**NULL_DATE, "partition_key": "p1", "dag_run_id": "partition"}),
    post(RUNS, {**NULL_DATE, "conf": {"count": 100}}),
    post(RUNS, {**NULL_DATE, "conf": {"count": "three"}}),
    post(f"{DAGS}/api_required/dagRuns", {**NULL_DATE, "conf": {}}),
    post(f"{DAGS}/api_required/dagRuns", {**NULL_DATE, "conf": {"must": 1, "choice": "c"}}),
    post(f"{DAGS}/api_required/dagRuns", {**NULL_DATE, "conf": {"must": 1, "day": "tomorrow"}}),
    post(f"{DAGS}/api_required/dagRuns", {**NULL_DATE, "conf": {"must": 1}, "dag_run_id": "good"}),
    post(f"{DAGS}/no_such_dag/dagRuns", NULL_DATE),
    post(f"{DAGS}/api_future/dagRuns", {"logical_date": "2024-02-03T04:05:06Z", "dag_run_id": "before_start"}),
    post(f"{DAGS}/api_future/dagRuns", {**NULL_DATE, "dag_run_id": "no_date"}),
    wait(f"{RUNS}/first"),
    wait(f"{FAILING}/bad"),
]

RUN_CASES = [
    get(f"{RUNS}/first"),
    get(f"{FAILING}/bad"),
    get(f"{QUEUE}/queued_one"),
    get(f"{QUEUE}/manual__2024-02-03T04:05:06+00:00"),
    get(f"{RUNS}/none"),
    get(f"{DAGS}/no_such_dag/dagRuns/first"),
    get(RUNS),
    get(f"{DAGS}/no_such_dag/dagRuns"),
    get(f"{QUEUE}?order_by=run_id&limit=3"),
    get(f"{QUEUE}?order_by=-logical_date&limit=2&logical_date_gte=2024-01-01T00:00:00Z"),
    get(f"{QUEUE}?order_by=dag_run_id&limit=2&offset=2"),
    get(f"{QUEUE}?order_by=no_such_column"),
    get(f"{QUEUE}?limit=-1"),
    get(f"{QUEUE}?limit=99999&state=success"),
    get(f"{QUEUE}?state=nonsense"),
    get(f"{QUEUE}?run_type=nonsense"),
    get(f"{QUEUE}?state=success&state=failed"),
    get(f"{QUEUE}?logical_date_gte=2024-02-03T04:05:06Z&logical_date_lt=2024-02-04T00:00:00Z&order_by=logical_date"),
    get(f"{QUEUE}?logical_date_gte=someday"),
    get(f"{QUEUE}?run_id_pattern=with_"),
    get(f"{QUEUE}?run_id_prefix_pattern=with_&order_by=run_id"),
    get(f"{QUEUE}?cursor=&limit=2&order_by=run_id"),
    get(f"{QUEUE}?cursor=nonsense"),
    get(f"{DAGS}/~/dagRuns?state=failed&order_by=dag_id"),
    get(f"{DAGS}/~/dagRuns?dag_id_prefix_pattern=api_f&order_by=run_id"),
    get(f"{DAGS}?tags=api&last_dag_run_state=failed"),
    post(f"{DAGS}/~/dagRuns/list", {"dag_ids": ["api_failing", "api_runs"], "order_by": "dag_id", "page_limit": 1}),
    post(f"{DAGS}/~/dagRuns/list", {"states": ["nonsense"]}),
]

TASK_CASES = [
    get(f"{FIRST}/hello"),
    get(f"{FIRST}/values"),
    get(f"{FIRST}/inner.last"),
    get(f"{FAILED}/fails"),
    get(f"{FAILED}/skips"),
    get(f"{FAILED}/after"),
    get(f"{FIRST}/none"),
    get(f"{RUNS}/none/taskInstances/hello"),
    get(f"{DAGS}/no_such_dag/dagRuns/first/taskInstances/hello"),
    get(f"{FIRST}/hello/-1"),
    get(f"{FIRST}/hello/3"),
    get(f"{FIRST}/hello/first"),
    get(FIRST),
    get(f"{FIRST}?order_by=task_id"),
    get(f"{FAILED}?order_by=operator"),
    get(f"{FAILED}?order_by=-operator&limit=2"),
    get(f"{FAILED}?order_by=-state&limit=1&offset=1"),
    get(f"{RUNS}/none/taskInstances"),
    get(f"{DAGS}/no_such_dag/dagRuns/first/taskInstances"),
    get(f"{DAGS}/no_such_dag/dagRuns/~/taskInstances"),
    get(f"{QUEUE}/queued_one/taskInstances"),
    get(f"{FAILED}?state=failed"),
    get(f"{FAILED}?state=skipped&state=upstream_failed&order_by=state"),
    get(f"{FAILED}?state=nonsense"),
    get(f"{FIRST}?operator=BashOperator"),
    get(f"{FIRST}?pool=no_pool"),
    get(f"{FIRST}?task_display_name_pattern=last"),
    get(f"{FIRST}?task_id=hello"),
    get(f"{FIRST}?try_number=2"),
    get(f"{FIRST}?order_by=no_such_column"),
    get(f"{FIRST}?limit=-5"),
    get(f"{FIRST}?limit=1&offset=1&order_by=-priority_weight"),
    get(f"{DAGS}/~/dagRuns/~/taskInstances?dag_id_prefix_pattern=api_failing&order_by=operator"),
    get(f"{DAGS}/api_failing/dagRuns/~/taskInstances?order_by=operator&limit=1"),
    post(f"{DAGS}/~/dagRuns/~/taskInstances/list", {"dag_ids": ["api_failing"], "state": ["failed"]}),
    post(f"{DAGS}/~/dagRuns/~/taskInstances/list", {"state": ["nonsense"]}),
    get(f"{FAILED}/fails/tries"),
    get(f"{FAILED}/fails/tries/1"),
    get(f"{FAILED}/fails/tries/9"),
    get(f"{FAILED}/after/tries"),
]

XCOM_CASES = [
    get(f"{FIRST}/values/xcomEntries"),
    get(f"{FIRST}/values/xcomEntries/return_value"),
    get(f"{FIRST}/values/xcomEntries/return_value?stringify=true"),
    get(f"{FIRST}/values/xcomEntries/return_value?deserialize=true"),
    get(f"{FIRST}/values/xcomEntries/custom"),
    get(f"{FIRST}/values/xcomEntries/custom?stringify=true"),
    get(f"{FIRST}/values/xcomEntries/with/slash"),
    get(f"{FIRST}/hello/xcomEntries/return_value"),
    get(f"{FIRST}/moment/xcomEntries/return_value"),
    get(f"{FIRST}/moment/xcomEntries/return_value?deserialize=true"),
    get(f"{FIRST}/moment/xcomEntries/return_value?deserialize=true&stringify=true"),
    get(f"{FIRST}/moment/xcomEntries/return_value?stringify=true"),
    get(f"{FIRST}/values/xcomEntries/none"),
    get(f"{FIRST}/values/xcomEntries/return_value?map_index=3"),
    get(f"{FIRST}/values/xcomEntries/return_value?map_index=-2"),
    get(f"{FIRST}/none/xcomEntries/return_value"),
    get(f"{RUNS}/none/taskInstances/values/xcomEntries/return_value"),
    get(f"{DAGS}/no_such_dag/dagRuns/first/taskInstances/values/xcomEntries"),
    get(f"{FIRST}/~/xcomEntries?order_by=key&limit=2"),
    get(f"{FIRST}/values/xcomEntries?xcom_key=custom"),
    get(f"{FIRST}/values/xcomEntries?xcom_key_pattern=cust"),
    get(f"{FIRST}/values/xcomEntries?order_by=no_such_column"),
    get(f"{DAGS}/~/dagRuns/~/taskInstances/~/xcomEntries?xcom_key=custom"),
]

NDJSON = ("Accept", "application/x-ndjson")
LOG_CASES = [
    get(f"{FIRST}/hello/logs/1"),
    get(f"{FIRST}/hello/logs/1?full_content=true"),
    get(f"{FIRST}/hello/logs/1", NDJSON),
    get(f"{FIRST}/hello/logs/1", ("Accept", "text/html")),
    get(f"{FAILED}/fails/logs/1"),
    get(f"{FAILED}/fails/logs/2"),
    get(f"{FAILED}/skips/logs/1"),
    get(f"{FAILED}/after/logs/1"),
    get(f"{FAILED}/after/logs/0"),
    get(f"{FIRST}/inner.last/logs/1"),
    get(f"{FIRST}/hello/logs/9"),
    get(f"{FIRST}/hello/logs/0"),
    get(f"{FIRST}/hello/logs/-1"),
    get(f"{FIRST}/hello/logs/one"),
    get(f"{FIRST}/hello/logs/1?map_index=4"),
    get(f"{FIRST}/hello/logs/1?token=nonsense"),
    get(f"{FIRST}/none/logs/1"),
    get(f"{RUNS}/none/taskInstances/hello/logs/1"),
    get(f"{DAGS}/no_such_dag/dagRuns/first/taskInstances/hello/logs/1"),
]

VARIABLES = f"{V2}/variables"
VARIABLE_CASES = [
    get(VARIABLES),
    post(VARIABLES, {"key": "api_plain", "value": "text", "description": "what it is"}),
    post(VARIABLES, {"key": "api_plain", "value": "again"}),
    post(VARIABLES, {"key": "api_json", "value": {"a": [1, None, "ü"]}}),
    post(VARIABLES, {"key": "api_number", "value": 5}),
    post(VARIABLES, {"key": "api_null", "value": None}),
    post(VARIABLES, {"key": "api_password", "value": "hidden"}),
    post(VARIABLES, {"key": "api_secrets", "value": "{\"token\": \"hidden\", \"open\": 1}"}),
    post(VARIABLES, {"key": "api/with/slash", "value": "text"}),
    post(VARIABLES, {"key": "", "value": "empty key"}),
    post(VARIABLES, {"key": "api_no_value"}),
    post(VARIABLES, {"value": "no key"}),
    post(VARIABLES, {"key": "k" * 251, "value": "long"}),
    post(VARIABLES, {"key": "api_extra", "value": "x", "colour": "red"}),
    post(VARIABLES, {"key": 5, "value": "x"}),
    post(VARIABLES, {"key": "api_team", "value": "x", "team_name": "us"}),
    post(VARIABLES),
    post(VARIABLES, raw=b"{"),
    post(VARIABLES, raw=b"key=a", headers=(("Content-Type", "application/x-www-form-urlencoded"),)),
    get(f"{VARIABLES}?order_by=key"),
    get(f"{VARIABLES}?order_by=-key&limit=1&offset=1"),
    get(f"{VARIABLES}?variable_key_pattern=number"),
    get(f"{VARIABLES}?variable_key_prefix_pattern=api_s"),
    get(f"{VARIABLES}?order_by=nonsense"),
    get(f"{VARIABLES}?limit=-1"),
    get(f"{VARIABLES}/api_plain"),
    get(f"{VARIABLES}/api_json"),
    get(f"{VARIABLES}/api/with/slash"),
    get(f"{VARIABLES}/api_password"),
    get(f"{VARIABLES}/none"),
    patch(f"{VARIABLES}/api_plain", {"key": "api_plain", "value": "new"}),
    patch(f"{VARIABLES}/api_plain?update_mask=description", {"key": "api_plain", "value": "x", "description": "now"}),
    patch(f"{VARIABLES}/api_plain?update_mask=value", {"key": "api_plain", "value": "masked"}),
    patch(f"{VARIABLES}/api_plain", {"key": "other", "value": "x"}),
    patch(f"{VARIABLES}/none", {"key": "none", "value": "x"}),
    patch(f"{VARIABLES}/api_plain", {"value": "x"}),
    patch(f"{VARIABLES}/api_plain", {"key": "api_plain", "value": "x", "colour": "red"}),
    patch(VARIABLES, {"actions": [{"action": "create", "entities": [{"key": "api_bulk", "value": "b"}]}]}),
    patch(VARIABLES, {"actions": [{"action": "create", "entities": [{"key": "api_bulk", "value": "b"}]}]}),
    patch(VARIABLES, {"actions": [{"action": "delete", "entities": ["api_bulk", "none"]}]}),
    delete(f"{VARIABLES}/api_plain"),
    delete(f"{VARIABLES}/api_plain"),
    delete(f"{VARIABLES}/none"),
]

POOLS = f"{V2}/pools"
POOL_CASES = [
    get(POOLS),
    get(f"{POOLS}/default_pool"),
    get(f"{POOLS}/none"),
    post(POOLS, {"name": "api_pool", "slots": 3, "description": "small"}),
    post(POOLS, {"name": "api_pool", "slots": 4}),
    post(POOLS, {"name": "api_endless", "slots": -1, "include_deferred": True}),
    post(POOLS, {"name": "api_bad", "slots": -2}),
    post(POOLS, {"name": "api_bad", "slots": "many"}),
    post(POOLS, {"name": "api_bad", "slots": 1.5}),
    post(POOLS, {"name": "api_bad"}),
    post(POOLS, {"slots": 1}),
    post(POOLS, {"name": "p" * 257, "slots": 1}),
    post(POOLS, {"name": "api_bad", "slots": 1, "colour": "red"}),
    post(POOLS),
    get(f"{POOLS}?order_by=name"),
    get(f"{POOLS}?order_by=-slots&limit=2"),
    get(f"{POOLS}?pool_name_pattern=api_"),
    get(f"{POOLS}?order_by=nonsense"),
    get(f"{POOLS}?limit=-1"),
    patch(f"{POOLS}/api_pool", {"slots": 5}),
    patch(f"{POOLS}/api_pool", {"pool": "api_pool", "slots": 6, "include_deferred": True}),
    patch(f"{POOLS}/api_pool", {"pool": "api_pool", "slots": 7, "include_deferred": False, "description": "big"}),
    patch(f"{POOLS}/api_pool?update_mask=slots", {"slots": 8, "description": "not taken"}),
    patch(f"{POOLS}/api_pool", {"slots": -5}),
    patch(f"{POOLS}/api_pool", {"colour": "red"}),
    patch(f"{POOLS}/api_pool", {"pool": "other", "slots": 5, "include_deferred": False}),
    patch(f"{POOLS}/none", {"slots": 5}),
    patch(f"{POOLS}/default_pool?update_mask=slots", {"slots": 64}),
    patch(f"{POOLS}/default_pool", {"pool": "default_pool", "slots": 64, "include_deferred": True}),
    patch(f"{POOLS}/default_pool?update_mask=slots", {"slots": 128}),
    patch(POOLS, {"actions": [{"action": "delete", "entities": ["none"], "action_on_non_existence": "skip"}]}),
    get(f"{POOLS}/api_pool"),
    delete(f"{POOLS}/api_pool"),
    delete(f"{POOLS}/api_pool"),
    delete(f"{POOLS}/default_pool"),
]

CONNECTIONS = f"{V2}/connections"
FULL = {
    "connection_id": "api_full",
    "conn_type": "http",
    "description": "complete",
    "host": "example.test",
    "login": "me",
    "schema": "https",
    "port": 8443,
    "password": "hidden",
    "extra": '{"token": "hidden", "verify": false}',
}
CONNECTION_CASES = [
    get(f"{CONNECTIONS}?connection_id_pattern=api_"),
    post(CONNECTIONS, {"connection_id": "api_small", "conn_type": "generic"}),
    post(CONNECTIONS, {"connection_id": "api_small", "conn_type": "generic"}),
    post(CONNECTIONS, FULL),
    post(CONNECTIONS, {"connection_id": "api_bad", "conn_type": "generic", "extra": "no json"}),
    post(CONNECTIONS, {"connection_id": "api_bad", "conn_type": "generic", "extra": "[1]"}),
    post(CONNECTIONS, {"connection_id": "api_bad", "conn_type": "generic", "extra": {"a": 1}}),
    post(CONNECTIONS, {"connection_id": "api_bad", "conn_type": "generic", "port": "high"}),
    post(CONNECTIONS, {"connection_id": "api_bad", "conn_type": "generic", "port": 99999}),
    post(CONNECTIONS, {"connection_id": "api bad!", "conn_type": "generic"}),
    post(CONNECTIONS, {"connection_id": "", "conn_type": "generic"}),
    post(CONNECTIONS, {"connection_id": "c" * 201, "conn_type": "generic"}),
    post(CONNECTIONS, {"connection_id": "api_bad"}),
    post(CONNECTIONS, {"conn_type": "generic"}),
    post(CONNECTIONS, {"connection_id": "api_bad", "conn_type": "generic", "colour": "red"}),
    post(CONNECTIONS),
    get(f"{CONNECTIONS}/api_full"),
    get(f"{CONNECTIONS}/none"),
    get(f"{CONNECTIONS}?connection_id_pattern=api_&order_by=-connection_id"),
    get(f"{CONNECTIONS}?connection_id_pattern=api_&order_by=conn_type&limit=1&offset=1"),
    get(f"{CONNECTIONS}?order_by=nonsense"),
    get(f"{CONNECTIONS}?limit=-1"),
    patch(f"{CONNECTIONS}/api_small", {"connection_id": "api_small", "conn_type": "ssh", "host": "h", "port": 22}),
    patch(
        f"{CONNECTIONS}/api_full?update_mask=host&update_mask=port",
        {"connection_id": "api_full", "conn_type": "ssh", "host": "other.test", "port": 80, "login": "not taken"},
    ),
    patch(f"{CONNECTIONS}/api_full", {"connection_id": "api_full", "conn_type": "http", "extra": "no json"}),
    patch(f"{CONNECTIONS}/api_full", {"connection_id": "other", "conn_type": "http"}),
    patch(f"{CONNECTIONS}/none", {"connection_id": "none", "conn_type": "http"}),
    patch(f"{CONNECTIONS}/api_full", {"connection_id": "api_full"}),
    patch(CONNECTIONS, {"actions": [{"action": "delete", "entities": ["none"]}]}),
    post(f"{CONNECTIONS}/test", {"connection_id": "api_small", "conn_type": "generic"}),
    get(f"{CONNECTIONS}/api_full"),
    delete(f"{CONNECTIONS}/api_full"),
    delete(f"{CONNECTIONS}/api_small"),
    delete(f"{CONNECTIONS}/api_small"),
]

AFTERWARDS = [
    patch(f"{RUNS}/first", {"note": "another note"}),
    patch(f"{RUNS}/first", {"state": "queued", "colour": "red"}),
    patch(f"{RUNS}/first", {"state": "running"}),
    patch(f"{RUNS}/none", {"state": "failed"}),
    patch(f"{QUEUE}/queued_one", {"state": "failed"}),
    get(f"{QUEUE}/queued_one/taskInstances"),
    delete(f"{QUEUE}/queued_one"),
    get(f"{QUEUE}/queued_one"),
    delete(f"{QUEUE}/queued_one"),
]

MAIN = (
    SERVER
    + DAG_CASES
    + TRIGGERS
    + RUN_CASES
    + TASK_CASES
    + XCOM_CASES
    + LOG_CASES
    + VARIABLE_CASES
    + POOL_CASES
    + CONNECTION_CASES
    + AFTERWARDS
)

USERS = {"admin": "admin", "op": "op", "user": "user", "viewer": "viewer"}
"""The users that the login suite needs, with their roles; each one's password is `<name>-password`."""

_FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
_EACH = [
    get(f"{V2}/version"),
    get(f"{V2}/monitor/health"),
    get(f"{DAGS}?tags=runs"),
    get(f"{DAGS}/no_such_dag"),
    patch(f"{DAGS}/api_named", {"is_paused": True}),
    get(f"{DAGS}/~/dagRuns?limit=1&dag_id_prefix_pattern=none"),
    post(f"{DAGS}/no_such_dag/dagRuns", NULL_DATE),
    post(QUEUE, {}),
    get(f"{DAGS}/~/dagRuns/~/taskInstances?dag_id_prefix_pattern=none"),
    get(f"{FIRST}/values/xcomEntries/return_value"),
    get(f"{FIRST}/hello/logs/1"),
    get(f"{VARIABLES}?variable_key_pattern=none"),
    get(f"{VARIABLES}/none"),
    post(VARIABLES, {}),
    delete(f"{VARIABLES}/none"),
    get(f"{POOLS}/default_pool"),
    post(POOLS, {}),
    patch(f"{POOLS}/none", {"slots": 1}),
    delete(f"{POOLS}/none"),
    get(f"{CONNECTIONS}?connection_id_pattern=none"),
    get(f"{CONNECTIONS}/none"),
    post(CONNECTIONS, {}),
    delete(f"{CONNECTIONS}/none"),
    get(f"{V2}/no-such-route"),
]

LOGIN = [
    post("/auth/token", {"username": "admin", "password": "admin-password"}),
    post("/auth/token", {"username": "admin", "password": "wrong"}),
    post("/auth/token", {"username": "stranger", "password": "admin-password"}),
    post("/auth/token", {"username": "admin"}),
    post("/auth/token", {"username": "", "password": ""}),
    post("/auth/token", {"username": "admin", "password": "admin-password", "colour": "red"}),
    post("/auth/token", {}),
    post("/auth/token"),
    post("/auth/token", raw=b"{"),
    post("/auth/token", raw=b"username=admin&password=admin-password", headers=_FORM),
    post("/auth/token", raw=b"username=admin", headers=_FORM),
    post("/auth/token", raw=b"<xml/>", headers=(("Content-Type", "text/xml"),)),
    post("/auth/token/cli", {"username": "viewer", "password": "viewer-password"}),
    post("/auth/token/cli", {"username": "viewer", "password": "wrong"}),
    get("/auth/token"),
    get("/auth/token/login"),
    get(f"{V2}/auth/login"),
    get(f"{V2}/auth/logout"),
    *(dataclasses.replace(case, user=user) for user in ("", "no.real.token", *USERS) for case in _EACH),
]

SUITES = {"main": MAIN, "login": LOGIN}
