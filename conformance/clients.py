#!/usr/bin/env python3
"""Drives a server with Airflow's official clients: `apache-airflow-client`, which checks every answer against its models,
and `airflowctl`.

    clients.py --url URL --user NAME --password PASSWORD [--only TEXT] [--agreeing FILE]

The server needs `dags/api` loaded, a login, and `AIRFLOW__API__EXPOSE_CONFIG=True`. Needs the packages of requirements.txt.
"""

import argparse
import datetime as dt
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

from cases import Cases

client = Cases("client")
ctl = Cases("airflowctl")

RUN = "by_client"
CTL_RUN = "by_ctl"
NOW = dt.datetime.now(dt.timezone.utc)


def refused(status, call, *arguments, **named):
    """The call must be answered with this status; the text of the answer comes back."""
    from airflow_client.client.exceptions import ApiException

    try:
        answer = call(*arguments, **named)
    except ApiException as error:
        assert error.status == status, f"{status} wanted, {error.status} got: {error.body}"
        return error.body
    raise AssertionError(f"{status} wanted, this came instead: {answer}")


def either(value):
    """A value of a field that takes several kinds of them, as the generated models want it."""
    return {"actual_instance": value}


class World:
    """The server, a client that is logged in, and a folder for files."""

    def __init__(self, url, user, password, folder):
        self.url, self.user, self.password, self.folder = url, user, password, folder
        body = json.dumps({"username": user, "password": password}).encode()
        request = urllib.request.Request(url + "/auth/token", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            token = json.load(reply)["access_token"]
        from airflow_client import client as generated

        self.generated = generated
        self.api_client = generated.ApiClient(generated.Configuration(host=url, access_token=token))
        self.models = generated

    def api(self, name):
        return getattr(self.generated, f"{name}Api")(self.api_client)

    def wait(self, dag_id, run_id):
        deadline = time.monotonic() + 60
        while True:
            run = self.api("DagRun").get_dag_run(dag_id, run_id)
            if run.state.value in ("success", "failed"):
                return run
            assert time.monotonic() < deadline, f"{dag_id}/{run_id} is {run.state.value} after 60 s"
            time.sleep(0.1)

    def ctl(self, *arguments, fails=False):
        """Runs airflowctl; what it prints is JSON, or text if it is none."""
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW_CLI_DEBUG_MODE": "true",
            "AIRFLOW_CLI_API_RETRIES": "2",
            "NO_COLOR": "1",
            "COLUMNS": "400",
        }
        program = pathlib.Path(sys.executable).with_name("airflowctl")
        done = subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
        said = f"airflowctl {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert (done.returncode != 0) == fails, said
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout


# Nothing here is in need of Dags.


@client("get_version")
def _(world):
    assert world.api("Version").get_version().version == "3.3.2"


@client("get_health")
def _(world):
    health = world.api("Monitor").get_health()
    assert health.metadatabase.status == "healthy"
    assert health.scheduler.status == "healthy" and health.scheduler.latest_scheduler_heartbeat
    assert health.dag_processor.status == "healthy"


@client("get_jobs")
def _(world):
    jobs = world.api("Job").get_jobs(is_alive=True)
    assert {"SchedulerJob", "DagProcessorJob"} <= {job.job_type for job in jobs.jobs}
    assert all(job.hostname and job.unixname for job in jobs.jobs)


@client("get_plugins")
def _(world):
    assert world.api("Plugin").get_plugins().total_entries >= 0


@client("import_errors")
def _(world):
    assert world.api("Plugin").import_errors().total_entries == 0


@client("get_providers")
def _(world):
    answer = world.api("Provider").get_providers()
    assert answer.total_entries == len(answer.providers)


@client("get_config")
def _(world):
    sections = world.api("Config").get_config().sections
    assert any(section.name == "api" for section in sections)


@client("get_config_value")
def _(world):
    config = world.api("Config")
    (option,) = config.get_config_value("api", "expose_config").sections[0].options
    assert option.key == "expose_config"
    refused(404, config.get_config_value, "api", "nothing")


@client("post_variable")
def _(world):
    variables, Body = world.api("Variable"), world.models.VariableBody
    made = variables.post_variable(Body(key="client/one", value={"a": [1, None]}, description="d"))
    assert (made.key, json.loads(made.value), made.description) == ("client/one", {"a": [1, None]}, "d")
    made = variables.post_variable(Body(key="client_secret", value="hidden-value"))
    assert made.value == "***"
    refused(409, variables.post_variable, Body(key="client/one", value="again"))


@client("get_variable")
def _(world):
    assert world.api("Variable").get_variable("client/one").description == "d"
    refused(404, world.api("Variable").get_variable, "nothing")


@client("get_variables")
def _(world):
    found = world.api("Variable").get_variables(variable_key_pattern="client", order_by=["-key"], limit=1)
    assert found.total_entries == 2 and found.variables[0].key == "client_secret"


@client("patch_variable")
def _(world):
    body = world.models.VariableBody(key="client/one", value="new", description="not this")
    changed = world.api("Variable").patch_variable("client/one", body, update_mask=["value"])
    assert (changed.value, changed.description) == ("new", "d")


@client("bulk_variables")
def _(world):
    models = world.models
    create = models.BulkCreateActionVariableBody(
        action="create", entities=[models.VariableBody(key="client/two", value="2")])
    delete = models.BulkDeleteActionVariableBody(
        action="delete", entities=[either("nothing")], action_on_non_existence="skip")
    actions = [either(create), either(delete)]
    done = world.api("Variable").bulk_variables(models.BulkBodyVariableBody(actions=actions))
    assert done.create.success == ["client/two"] and done.delete.success == [] and done.update is None


@client("delete_variable")
def _(world):
    for key in ["client/one", "client/two", "client_secret"]:
        world.api("Variable").delete_variable(key)
    refused(404, world.api("Variable").delete_variable, "client/one")


@client("post_connection")
def _(world):
    body = world.models.ConnectionBody(
        connection_id="by_client", conn_type="http", host="h", port=80, password="a-secret-password",
        extra='{"token": "t", "plain": 1}')
    made = world.api("Connection").post_connection(body)
    assert made.password == "***" and json.loads(made.extra) == {"token": "***", "plain": 1}
    refused(409, world.api("Connection").post_connection, body)


@client("get_connection")
def _(world):
    found = world.api("Connection").get_connection("by_client")
    assert (found.host, found.port, found.var_schema) == ("h", 80, None)


@client("get_connections")
def _(world):
    found = world.api("Connection").get_connections(connection_id_pattern="by_client")
    assert [connection.connection_id for connection in found.connections] == ["by_client"]


@client("patch_connection")
def _(world):
    body = world.models.ConnectionBody(connection_id="by_client", conn_type="ftp", schema="s", password="***")
    changed = world.api("Connection").patch_connection("by_client", body)
    assert (changed.conn_type, changed.var_schema, changed.host, changed.password) == ("ftp", "s", "h", "***")


@client("bulk_connections")
def _(world):
    models = world.models
    body = models.ConnectionBody(connection_id="by_client", conn_type="again")
    create = models.BulkCreateActionConnectionBody(action="create", entities=[body], action_on_existence="overwrite")
    done = world.api("Connection").bulk_connections(models.BulkBodyConnectionBody(actions=[either(create)]))
    assert done.create.success == ["by_client"]


@client("test_connection")
def _(world):
    body = world.models.ConnectionBody(connection_id="by_client", conn_type="http")
    assert "disabled" in refused(403, world.api("Connection").test_connection, body)


@client("enqueue_connection_test")
def _(world):
    body = world.models.ConnectionTestRequestBody(connection_id="by_client", conn_type="http")
    assert "disabled" in refused(403, world.api("Connection").enqueue_connection_test, body)


@client("get_connection_test")
def _(world):
    refused(404, world.api("Connection").get_connection_test, "no-such-token")


@client("delete_connection")
def _(world):
    world.api("Connection").delete_connection("by_client")
    refused(404, world.api("Connection").delete_connection, "by_client")


@client("create_default_connections")
def _(world):
    connections = world.api("Connection")
    connections.create_default_connections()
    assert connections.get_connections(connection_id_pattern="_default").total_entries > 50


@client("post_pool")
def _(world):
    made = world.api("Pool").post_pool(world.models.PoolBody(name="by/client", slots=-1, include_deferred=True))
    assert (made.slots, made.open_slots, made.include_deferred) == (-1, -1, True)


@client("get_pool")
def _(world):
    assert world.api("Pool").get_pool("by/client").occupied_slots == 0


@client("get_pools")
def _(world):
    found = world.api("Pool").get_pools(order_by=["name"], limit=100)
    assert {"by/client", "default_pool"} <= {pool.name for pool in found.pools}


@client("patch_pool")
def _(world):
    body = world.models.PoolPatchBody(pool="by/client", slots=3, include_deferred=False)
    assert world.api("Pool").patch_pool("by/client", body).open_slots == 3


@client("bulk_pools")
def _(world):
    models = world.models
    create = models.BulkCreateActionPoolBody(action="create", entities=[models.PoolBody(name="by_bulk", slots=1)])
    delete = models.BulkDeleteActionPoolBody(action="delete", entities=[either("by/client")])
    done = world.api("Pool").bulk_pools(models.BulkBodyPoolBody(actions=[either(create), either(delete)]))
    assert (done.create.success, done.delete.success) == (["by_bulk"], ["by/client"])


@client("delete_pool")
def _(world):
    world.api("Pool").delete_pool("by_bulk")
    assert "can't be deleted" in refused(400, world.api("Pool").delete_pool, "default_pool")


@client("get_import_errors")
def _(world):
    assert world.api("ImportError").get_import_errors(filename_pattern="nothing").import_errors == []


@client("get_import_error")
def _(world):
    refused(404, world.api("ImportError").get_import_error, 123456)


# Dags, their runs, and what these leave.


@client("get_dags")
def _(world):
    found = world.api("DAG").get_dags(dag_id_pattern="api_", tags=["runs"], order_by=["dag_id"])
    assert [dag.dag_id for dag in found.dags] == ["api_runs"] and found.dags[0].owners == ["ada", "eve"]


@client("get_dag")
def _(world):
    assert world.api("DAG").get_dag("api_named").dag_display_name == "Shown in another way ✓"
    refused(404, world.api("DAG").get_dag, "nothing")


@client("get_dag_details")
def _(world):
    details = world.api("DAG").get_dag_details("api_runs")
    assert details.doc_md.startswith("# Runs") and details.max_active_runs == 4


@client("get_dag_tags")
def _(world):
    assert "cron" in world.api("DAG").get_dag_tags().tags


@client("patch_dag")
def _(world):
    for paused in [True, False]:
        changed = world.api("DAG").patch_dag("api_runs", world.models.DAGPatchBody(is_paused=paused))
        assert changed.is_paused is paused


@client("patch_dags")
def _(world):
    body = world.models.DAGPatchBody(is_paused=False)
    changed = world.api("DAG").patch_dags(body, dag_id_pattern="api_failing")
    assert [dag.dag_id for dag in changed.dags] == ["api_failing"]


@client("get_tasks")
def _(world):
    found = world.api("Task").get_tasks("api_runs", order_by="task_id")
    assert [task.task_id for task in found.tasks] == ["hello", "inner.last", "moment", "values"]


@client("get_task")
def _(world):
    assert world.api("Task").get_task("api_runs", "inner.last").task_display_name == "The last one"


@client("get_dag_versions")
def _(world):
    assert world.api("DagVersion").get_dag_versions("api_runs").dag_versions[0].version_number >= 1


@client("get_dag_version")
def _(world):
    assert world.api("DagVersion").get_dag_version("api_runs", 1).dag_id == "api_runs"


@client("trigger_dag_run")
def _(world):
    body = world.models.TriggerDAGRunPostBody(
        dag_run_id=RUN, logical_date=None, conf={"count": 4, "name": "client"}, note="by hand")
    made = world.api("DagRun").trigger_dag_run("api_runs", body)
    assert (made.dag_run_id, made.run_type.value, made.note, made.conf["count"]) == (RUN, "manual", "by hand", 4)
    refused(409, world.api("DagRun").trigger_dag_run, "api_runs", body)


@client("get_dag_run")
def _(world):
    run = world.wait("api_runs", RUN)
    assert run.state.value == "success" and run.triggering_user_name == world.user
    assert run.end_date >= run.start_date >= NOW


@client("get_dag_runs")
def _(world):
    found = world.api("DagRun").get_dag_runs("~", dag_id_pattern="api_runs", state=["success"], order_by=["-start_date"])
    assert RUN in {run.dag_run_id for run in found.dag_runs}


@client("get_list_dag_runs_batch")
def _(world):
    body = world.models.DAGRunsBatchBody(dag_ids=["api_runs"], states=["success"], page_limit=5)
    found = world.api("DagRun").get_list_dag_runs_batch("~", body)
    assert RUN in {run.dag_run_id for run in found.dag_runs}


@client("patch_dag_run")
def _(world):
    changed = world.api("DagRun").patch_dag_run("api_runs", RUN, world.models.DAGRunPatchBody(note="changed"))
    assert changed.note == "changed"


@client("get_task_instances")
def _(world):
    found = world.api("TaskInstance").get_task_instances("api_runs", RUN, order_by=["id"])
    states = {ti.task_id: ti.state.value for ti in found.task_instances}
    assert states == dict.fromkeys(["hello", "inner.last", "moment", "values"], "success")


@client("get_task_instance")
def _(world):
    ti = world.api("TaskInstance").get_task_instance("api_runs", RUN, "values")
    assert (ti.try_number, ti.max_tries, ti.operator_name) == (1, 2, "@task") and ti.rendered_fields is not None


@client("get_task_instances_batch")
def _(world):
    body = world.models.TaskInstancesBatchBody(dag_ids=["api_runs"], dag_run_ids=[RUN], state=["success"])
    found = world.api("TaskInstance").get_task_instances_batch("~", "~", body)
    assert found.total_entries == 4


@client("get_task_instance_tries")
def _(world):
    found = world.api("TaskInstance").get_task_instance_tries("api_runs", RUN, "values")
    assert [ti.try_number for ti in found.task_instances] == [1]


@client("get_task_instance_try_details")
def _(world):
    ti = world.api("TaskInstance").get_task_instance_try_details("api_runs", RUN, "values", 1)
    assert ti.state.value == "success"


@client("get_log")
def _(world):
    log = world.api("TaskInstance").get_log("api_runs", RUN, "values", 1, full_content=True)
    events = [message.event for message in log.content.actual_instance]
    assert events[0] == "::group::Log message source details" and "making values" in events, events
    assert log.continuation_token is None
    refused(404, world.api("TaskInstance").get_log, "api_runs", RUN, "values", 9)


@client("get_external_log_url")
def _(world):
    refused(400, world.api("TaskInstance").get_external_log_url, "api_runs", RUN, "values", 1)


@client("get_xcom_entry")
def _(world):
    xcom = world.api("XCom").get_xcom_entry("api_runs", "values", RUN, "return_value").actual_instance
    assert xcom.value["text"] == "grüße" and xcom.task_display_name == "values"
    slashed = world.api("XCom").get_xcom_entry("api_runs", "values", RUN, "with/slash", stringify=True)
    assert slashed.actual_instance.value in (7, "7")


@client("get_xcom_entries")
def _(world):
    found = world.api("XCom").get_xcom_entries("api_runs", RUN, "~", xcom_key="return_value")
    assert {entry.task_id for entry in found.xcom_entries} == {"hello", "values", "moment"}


@client("create_xcom_entry")
def _(world):
    body = world.models.XComCreateBody(key="by_client", value={"n": [1]})
    made = world.api("XCom").create_xcom_entry("api_runs", "values", RUN, body)
    assert made.value == {"n": [1]}
    refused(409, world.api("XCom").create_xcom_entry, "api_runs", "values", RUN, body)


@client("update_xcom_entry")
def _(world):
    body = world.models.XComUpdateBody(value="changed")
    changed = world.api("XCom").update_xcom_entry("api_runs", "values", RUN, "by_client", body)
    assert changed.value == "changed"


@client("delete_xcom_entry")
def _(world):
    world.api("XCom").delete_xcom_entry("api_runs", "values", RUN, "by_client")
    refused(404, world.api("XCom").delete_xcom_entry, "api_runs", "values", RUN, "by_client")


@client("delete_dag_run")
def _(world):
    world.api("DagRun").delete_dag_run("api_runs", RUN)
    refused(404, world.api("DagRun").get_dag_run, "api_runs", RUN)


# airflowctl. Left out are `dags get-tags` and `connections create-defaults`: it can't print what Airflow answers to these.


@ctl("auth login")
def _(world):
    said = world.ctl("auth", "login", "--api-url", world.url, "--username", world.user, "--password", world.password)
    assert "Login successful" in said, said


@ctl("auth login with a wrong password")
def _(world):
    arguments = ["--api-url", world.url, "--username", world.user, "--password", "wrong"]
    world.ctl("auth", "login", "--env", "other", *arguments, fails=True)


@ctl("auth token")
def _(world):
    said = world.ctl("auth", "token", "--api-url", world.url, "--username", world.user, "--password", world.password)
    assert len(said.strip().split(".")) == 3, said


@ctl("version --remote")
def _(world):
    assert "3.3.2" in str(world.ctl("version", "--remote"))


@ctl("dags list")
def _(world):
    assert "api_runs" in {dag["dag_id"] for dag in world.ctl("dags", "list", "--output", "json")}


@ctl("dags get")
def _(world):
    assert "api_runs" in str(world.ctl("dags", "get", "api_runs"))


@ctl("dags get-details")
def _(world):
    assert "api_runs" in str(world.ctl("dags", "get-details", "api_runs"))


@ctl("dags list-version")
def _(world):
    assert "api_runs" in str(world.ctl("dags", "list-version", "api_runs"))


@ctl("dags pause and unpause")
def _(world):
    for command, paused in [("pause", True), ("unpause", False)]:
        world.ctl("dags", command, "api_runs")
        assert world.api("DAG").get_dag("api_runs").is_paused is paused, command


@ctl("dags update")
def _(world):
    world.ctl("dags", "update", "api_named", "--no-is-paused")
    assert world.api("DAG").get_dag("api_named").is_paused is False


@ctl("dags trigger")
def _(world):
    # No text is a configuration for this version of airflowctl.
    world.ctl("dags", "trigger", "api_runs", "--dag-run-id", CTL_RUN, "--note", "hello")
    run = world.wait("api_runs", CTL_RUN)
    assert (run.state.value, run.note) == ("success", "hello")


@ctl("dags next-execution")
def _(world):
    world.ctl("dags", "next-execution", "api_weekly")


@ctl("dags list-import-errors")
def _(world):
    world.ctl("dags", "list-import-errors")


@ctl("dagrun list")
def _(world):
    arguments = ["--dag-id", "api_runs", "--state", "success", "--limit", "5"]
    assert CTL_RUN in str(world.ctl("dagrun", "list", *arguments))


@ctl("dagrun get")
def _(world):
    assert CTL_RUN in str(world.ctl("dagrun", "get", "api_runs", CTL_RUN))


@ctl("xcom")
def _(world):
    place = ["api_runs", CTL_RUN, "values"]
    assert "grüße" in json.dumps(world.ctl("xcom", "get", *place, "return_value"), ensure_ascii=False)
    world.ctl("xcom", "add", *place, "ctl_key", '{"a": 1}')
    assert "ctl_key" in str(world.ctl("xcom", "list", *place))
    world.ctl("xcom", "edit", *place, "ctl_key", '"changed"')
    assert "changed" in str(world.ctl("xcom", "get", *place, "ctl_key"))
    world.ctl("xcom", "delete", *place, "ctl_key")
    assert "ctl_key" not in str(world.ctl("xcom", "list", *place))


@ctl("variables")
def _(world):
    world.ctl("variables", "create", "--key", "ctl", "--value", "one", "--description", "d")
    assert "one" in str(world.ctl("variables", "get", "ctl"))
    world.ctl("variables", "update", "--key", "ctl", "--value", "two")
    assert "two" in str(world.ctl("variables", "list"))
    world.ctl("variables", "delete", "ctl")
    world.ctl("variables", "get", "ctl", fails=True)


@ctl("variables import")
def _(world):
    file = world.folder / "variables.json"
    file.write_text(json.dumps({"ctl_a": "1", "ctl_b": {"value": {"x": 2}, "description": "d"}}))
    world.ctl("variables", "import", str(file))
    variables = world.api("Variable")
    assert json.loads(variables.get_variable("ctl_b").value) == {"x": 2}
    world.ctl("variables", "import", str(file), "--action-on-existing-key", "overwrite")
    for key in ["ctl_a", "ctl_b"]:
        variables.delete_variable(key)


@ctl("connections")
def _(world):
    world.ctl("connections", "create", "--connection-id", "ctl", "--conn-type", "http", "--password", "ctl-password")
    said = str(world.ctl("connections", "get", "ctl"))
    assert "http" in said and "ctl-password" not in said, said
    world.ctl("connections", "update", "--connection-id", "ctl", "--conn-type", "ftp", "--host", "h")
    assert world.api("Connection").get_connection("ctl").host == "h"
    assert "ctl" in str(world.ctl("connections", "list"))
    world.ctl("connections", "delete", "ctl")


@ctl("connections import")
def _(world):
    file = world.folder / "connections.json"
    file.write_text(json.dumps({"ctl_a": {"conn_type": "http", "host": "h", "extra": "{}"}}))
    world.ctl("connections", "import", str(file))
    assert world.api("Connection").get_connection("ctl_a").host == "h"
    world.api("Connection").delete_connection("ctl_a")


@ctl("pools")
def _(world):
    world.ctl("pools", "create", "--name", "ctl", "--slots", "3", "--description", "d", "--include-deferred")
    assert "ctl" in str(world.ctl("pools", "get", "ctl"))
    world.ctl("pools", "update", "--pool", "ctl", "--slots", "5", "--no-include-deferred")
    assert world.api("Pool").get_pool("ctl").slots == 5
    assert "ctl" in str(world.ctl("pools", "list"))
    file = world.folder / "pools.json"
    world.ctl("pools", "export", str(file))
    assert "ctl" in file.read_text()
    world.ctl("pools", "delete", "ctl")
    world.ctl("pools", "import", str(file), "--action-on-existing-key", "skip")
    assert world.api("Pool").get_pool("ctl").slots == 5
    world.api("Pool").delete_pool("ctl")


@ctl("config")
def _(world):
    assert "expose_config" in str(world.ctl("config", "get", "api", "expose_config"))
    assert "expose_config" in str(world.ctl("config", "list"))


@ctl("jobs, plugins, providers")
def _(world):
    assert "SchedulerJob" in str(world.ctl("jobs", "list"))
    for command in [("plugins", "list"), ("plugins", "list-import-errors"), ("providers", "list")]:
        world.ctl(*command)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="admin-password")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--agreeing", type=pathlib.Path, help="write the names of those that work here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="updraft-clients-") as folder:
        world = World(args.url.rstrip("/"), args.user, args.password, pathlib.Path(folder))
        works = [name for cases in (client, ctl) for name in cases.run(world, args.only)]
    if args.agreeing:
        args.agreeing.write_text("".join(f"{name}\n" for name in works))
    print(f"{len(works)} operations of the official clients work")


if __name__ == "__main__":
    main()
