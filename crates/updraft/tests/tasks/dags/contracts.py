"""What the Task SDK asks for and gets. Each task checks its own answers."""

import os
import sys
from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, BaseSensorOperator, Connection, Param, TaskGroup, Variable, task
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRescheduleException, AirflowRuntimeError
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.log import mask_secret


def ask(message):
    return task_runner.SUPERVISOR_COMMS.send(message)


def says(what):
    def callback(context):
        print(f"callback {what} of try {context['ti'].try_number}: {context.get('exception')!r}")

    return callback


class Patient(BaseSensorOperator):
    """Is content at its third look."""

    def poke(self, context):
        ti = context["ti"]
        count = context["task_reschedule_count"]
        first = ti.get_first_reschedule_date(context)
        print("looked before:", count, "first:", first)
        assert (first is None) == (count == 0), (first, count)
        assert ti.try_number == 1, ti.try_number
        return count == 2


with DAG(
    "contracts",
    params={"greeting": "hello", "number": Param(5, type="integer", minimum=3)},
    tags=["b", "a"],
    default_args={"owner": "somebody"},
) as dag:

    @task
    def context(params=None, dag_run=None, ti=None, **context):
        assert params == {"greeting": "hey", "number": 7}, params
        assert dag_run.conf == {"greeting": "hey", "number": 7}, dag_run.conf
        assert (dag_run.run_type, dag_run.dag_id) == ("manual", "contracts")
        assert ti.try_number == 1 and ti.max_tries == 0 and ti.map_index == -1 and ti.task_id == "context"
        assert context["run_id"] == dag_run.run_id == ti.run_id
        assert ti.start_date <= datetime.now(timezone.utc)
        assert context["dag"].dag_id == "contracts" and context["task"].owner == "somebody"
        wanted = {
            "AIRFLOW_CTX_DAG_ID": "contracts",
            "AIRFLOW_CTX_TASK_ID": "context",
            "AIRFLOW_CTX_DAG_RUN_ID": dag_run.run_id,
            "AIRFLOW_CTX_TRY_NUMBER": "1",
            "AIRFLOW_CTX_DAG_OWNER": "somebody",
        }
        assert {name: os.environ.get(name) for name in wanted} == wanted, os.environ
        assert os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "airflow-db-not-allowed:///"
        assert os.getpgrp() == os.getpid()
        assert os.environ["FROM_THE_CALLER"] == "seen"
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.system("echo from a shell")

    @task
    def xcom_push(ti=None):
        ti.xcom_push("extra", {"n": [1, 2.5, None, True], "text": "ä\u20ac", "at": datetime(2026, 1, 2, tzinfo=timezone.utc)})
        for index in range(5):
            ask(
                comms.SetXCom(
                    key="many", value=f"v{index}", dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=index
                )
            )
        return [1, "two", {"three": 3}]

    @task(multiple_outputs=True)
    def xcom_outputs():
        return {"left": 1, "right": 2}

    @task
    def xcom_pull(ti=None):
        assert ti.xcom_pull(task_ids="xcom_push") == [1, "two", {"three": 3}]
        extra = ti.xcom_pull(task_ids="xcom_push", key="extra")
        assert extra["n"] == [1, 2.5, None, True] and extra["text"] == "ä\u20ac"
        assert extra["at"] == datetime(2026, 1, 2, tzinfo=timezone.utc), extra["at"]
        assert ti.xcom_pull(task_ids="xcom_outputs", key="left") == 1
        assert ti.xcom_pull(task_ids="xcom_outputs") == {"left": 1, "right": 2}
        assert list(ti.xcom_pull(task_ids=["xcom_push", "xcom_outputs"])) == [
            [1, "two", {"three": 3}],
            {"left": 1, "right": 2},
        ]
        assert ti.xcom_pull(task_ids="nobody") is None
        assert ti.xcom_pull(task_ids="xcom_push", key="nothing", map_indexes=-1, default="fallback") == "fallback"
        many = {"key": "many", "dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": "xcom_push"}
        assert ask(comms.GetXComCount(**many)).len == 5
        for offset, value in ((0, "v0"), (4, "v4"), (-1, "v4"), (-5, "v0")):
            assert ask(comms.GetXComSequenceItem(**many, offset=offset)).root == value
        for offset in (5, -6):
            found = ask(comms.GetXComSequenceItem(**many, offset=offset))
            assert found.error.value == "XCOM_NOT_FOUND", found
        values = [f"v{index}" for index in range(5)]
        for start in (None, 0, 1, 4, 9, -1, -3, -9):
            for stop in (None, 0, 2, 9, -1, -4):
                for step in (None, 1, 2, -1, -2):
                    request = comms.GetXComSequenceSlice(**many, start=start, stop=stop, step=step)
                    assert list(ask(request).root) == values[start:stop:step], (start, stop, step)
        assert ask(comms.GetXCom(**many, map_index=3)).value == "v3"
        BaseXCom.delete(key="many", task_id="xcom_push", dag_id=ti.dag_id, run_id=ti.run_id, map_index=3)
        assert ask(comms.GetXCom(**many, map_index=3)).value is None
        assert ask(comms.GetXComCount(**many)).len == 4

    @task
    def xcom_of_the_past(ti=None, dag_run=None):
        """The second run sees what the first one left."""
        before = ti.xcom_pull(task_ids="xcom_of_the_past", map_indexes=-1, include_prior_dates=True)
        assert ti.xcom_pull(task_ids="xcom_of_the_past", include_prior_dates=True) == before
        previous = ti.get_previous_dagrun()
        previous_ti = ti.get_previous_ti()
        print("before:", before, "previous:", previous and previous.run_id)
        if before is None:
            assert previous is None and previous_ti is None
        else:
            assert (previous.run_id, previous.state) == (before, "success"), (previous, before)
            assert (previous_ti.run_id, previous_ti.state) == (before, "success"), (previous_ti, before)
            assert ti.get_dagrun_state("contracts", before) == "success"
            assert ti.get_dr_count("contracts", states=["success"]) == 1
        assert ti.get_dr_count("contracts", run_ids=[dag_run.run_id]) == 1
        return dag_run.run_id

    @task
    def variables():
        Variable.set("fruit", "apple", description="round")
        Variable.set("document", {"a": [1]}, serialize_json=True)
        assert Variable.get("fruit") == "apple"
        assert Variable.get("document", deserialize_json=True) == {"a": [1]}
        assert Variable.get("nothing", default="x") == "x"
        assert Variable.get("from_environment") == "env wins"
        keys = ask(comms.GetVariableKeys(prefix="fru"))
        assert list(keys.keys) == ["fruit"], keys
        Variable.delete("fruit")
        assert Variable.get("fruit", default=None) is None
        try:
            Variable.get("fruit")
        except AirflowRuntimeError as error:
            assert "VARIABLE_NOT_FOUND" in str(error), error
        else:
            raise AssertionError("a variable that is not there")

    @task
    def connections():
        conn = Connection.get("from_environment")
        assert (conn.conn_type, conn.host, conn.login, conn.port) == ("postgres", "db.example", "me", 5433)
        try:
            Connection.get("nowhere")
        except AirflowNotFoundException:
            pass
        else:
            raise AssertionError("a connection that is not there")

    with TaskGroup("group"):

        @task
        def one():
            return 1

        with TaskGroup("inner"):

            @task
            def two():
                return 2

            two()
        one()

    @task
    def states(ti=None, dag_run=None):
        here = {"dag_id": "contracts", "run_ids": [dag_run.run_id]}
        assert ti.get_ti_count(**here, task_ids=["xcom_push", "states", "nobody"]) == 2
        assert ti.get_ti_count(**here, task_ids=["xcom_push", "states"], states=["running"]) == 1
        assert ti.get_ti_count(**here, task_group_id="group") == 2
        assert ti.get_ti_count(**here, task_group_id="group", states=["success"]) == 2
        found = ti.get_task_states(**here, task_ids=["xcom_push", "states"])
        assert found == {dag_run.run_id: {"xcom_push": "success", "states": "running"}}, found
        found = ti.get_task_states(**here, task_group_id="group")
        assert found == {dag_run.run_id: {"group.one": "success", "group.inner.two": "success"}}, found
        try:
            ti.get_task_states(**here, task_group_id="no_group")
        except AirflowRuntimeError as error:
            assert "404" in str(error), error
        crumbs = {crumb["task_id"]: crumb for crumb in ti.get_task_breadcrumbs("contracts", dag_run.run_id)}
        assert crumbs["xcom_push"]["state"] == "success" and "states" not in crumbs, crumbs
        assert ti.get_dagrun_state("contracts", dag_run.run_id) == "running"
        detail = ask(comms.GetDagRun(dag_id="contracts", run_id=dag_run.run_id))
        assert (detail.run_id, detail.conf) == (dag_run.run_id, {"greeting": "hey", "number": 7}), detail
        known = ti.get_dag("contracts")
        assert (known.dag_id, known.is_paused, sorted(known.tags)) == ("contracts", False, ["a", "b"]), known
        try:
            ti.get_dagrun_state("contracts", "no such run")
        except AirflowRuntimeError as error:
            assert "404" in str(error), error

    @task.bash(env={"WORD": "{{ params.greeting }}"}, append_env=True)
    def rendered_by_python():
        return "echo {{ ti.task_id }} $WORD"

    @task
    def reschedules(task_reschedule_count=None):
        if task_reschedule_count == 0:
            raise AirflowRescheduleException(datetime.now(timezone.utc) + timedelta(milliseconds=50))
        return task_reschedule_count

    @task(
        retries=1,
        retry_delay=timedelta(0),
        on_execute_callback=says("on_execute"),
        on_retry_callback=says("on_retry"),
        on_failure_callback=says("on_failure"),
        on_success_callback=says("on_success"),
    )
    def callbacks(ti=None):
        if ti.try_number == 1:
            raise ValueError("once")

    pushed = xcom_push()
    pulled = [pushed, xcom_outputs()] >> xcom_pull()
    [dag.get_task("group.one"), dag.get_task("group.inner.two"), pushed] >> states()
    context()
    xcom_of_the_past()
    variables()
    connections()
    rendered_by_python()
    reschedules()
    callbacks()
    Patient(task_id="sensor", mode="reschedule", poke_interval=0.05)

    cut = ShortCircuitOperator(task_id="short_circuit", python_callable=lambda: False)
    never = task(task_id="never")(lambda: None)()
    cut >> never >> task(task_id="never_either")(lambda: None)()


with DAG("secrets"):

    @task
    def secrets():
        mask_secret("top-secret-1")
        Variable.set("api_token", "top-secret-2")
        Variable.get("api_token")
        Variable.set("harmless", "not-so-secret-3")
        Variable.get("harmless")
        Connection.get("from_environment")
        for number in (1, 2, 3):
            print(f"number {number}: top-secret-{number} not-so-secret-{number}")
        print("password: pass-word-4", file=sys.stderr)
        os.system("echo shell: top-secret-1")
        raise ValueError("an exception with top-secret-2")

    secrets()


with DAG("other"):

    @task
    def answers(dag_run=None):
        assert dag_run.run_type == "operator_triggered" and dag_run.conf == {"n": 1}, dag_run
        return dag_run.conf["n"]

    answers()

with DAG("triggers"):
    first = TriggerDagRunOperator(
        task_id="first",
        trigger_dag_id="other",
        trigger_run_id="asked_for",
        conf={"n": 1},
        wait_for_completion=True,
        poke_interval=1,
    )
    again = TriggerDagRunOperator(task_id="again", trigger_dag_id="other", trigger_run_id="asked_for")
    skipped = TriggerDagRunOperator(
        task_id="skipped", trigger_dag_id="other", trigger_run_id="asked_for", skip_when_already_exists=True
    )
    reset = TriggerDagRunOperator(
        task_id="reset", trigger_dag_id="other", trigger_run_id="asked_for", reset_dag_run=True
    )
    unknown = TriggerDagRunOperator(task_id="unknown", trigger_dag_id="nobody")
    first >> [again, skipped, reset]
