"""Records what Airflow answers about Dags, runs and task instances, for `tests/dags.rs` to replay.

Run it with the Python of an Airflow 3.3 installation; it makes a deployment of its own in a temporary folder:

    python record_dags.py > dags.json

The recording has the Dags as Airflow serialized them, so that both sides speak of the same ones.
"""

import json
import sys

import record_answers as base

DAG_FILE = '''
from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup

START = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG(
    "full",
    dag_display_name="All that a Dag can have ✓",
    description="Everything",
    schedule=None,
    start_date=START,
    end_date=datetime(2030, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["b", "a", "both"],
    doc_md="""
    # Title

        code
    text
    """,
    default_args={"owner": "ada", "retries": 2, "retry_delay": timedelta(minutes=7), "depends_on_past": True},
    params={
        "count": Param(3, type="integer", minimum=1, maximum=9, description="how many"),
        "name": "world",
        "must": Param("x", type=["string", "null"], minLength=1),
    },
    dagrun_timeout=timedelta(days=1, minutes=5),
    max_active_runs=3,
    max_active_tasks=5,
    max_consecutive_failed_dag_runs=4,
    render_template_as_native_obj=True,
    owner_links={"ada": "https://example.org/ada"},
):
    first = BashOperator(task_id="first", bash_command="echo 1", doc_md="Says *1*.", execution_timeout=timedelta(seconds=90))
    with TaskGroup("group"):
        inner = EmptyOperator(task_id="inner", owner="bob", task_display_name="In the group", priority_weight=5)
        with TaskGroup("deep"):
            deepest = EmptyOperator(task_id="deepest", trigger_rule="all_done", depends_on_past=False, retries=0)
    mapped = BashOperator.partial(task_id="mapped", retry_delay=timedelta(seconds=1), pool_slots=2).expand(
        bash_command=["echo 1", "echo 2"]
    )
    linked = TriggerDagRunOperator(
        task_id="linked", trigger_dag_id="cron", queue="other", wait_for_completion=False,
        retry_exponential_backoff=2.0, weight_rule="upstream", max_active_tis_per_dag=3, params={"own": 1},
    )
    first >> [inner, mapped] >> deepest >> linked

with DAG(
    "cron", schedule="0 6 * * 1", start_date=START, catchup=False, is_paused_upon_creation=True, tags=["a", "cron"],
    default_args={"owner": "eve"},
):
    EmptyOperator(task_id="only")

with DAG("interval", schedule=CronDataIntervalTimetable("0 0 1 * *", "Europe/Paris"), start_date=START, catchup=True):
    EmptyOperator(task_id="only", wait_for_downstream=True)

with DAG("delta", schedule=timedelta(hours=6), start_date=datetime(2199, 1, 1), tags=["both"]):
    PythonOperator(task_id="only", python_callable=print)

with DAG("once", schedule="@once", start_date=START):
    EmptyOperator(task_id="only")

with DAG("continuous", schedule="@continuous", start_date=START, max_active_runs=1):
    EmptyOperator(task_id="only")

with DAG("scheduled_only", schedule="@daily", start_date=START, allowed_run_types=["scheduled"]):
    EmptyOperator(task_id="only")

with DAG("needy", schedule=None, params={"must": Param(type="integer", description="no default")}):
    EmptyOperator(task_id="only")

with DAG("quiet", schedule=None):
    EmptyOperator(task_id="only")
'''

MINUTE = "2026-01-01T00:{:02}:00Z"
# Dag, run id, logical date, run after, state, start, end, conf, type, user, note.
RUNS = [
    ["full", "one", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "success", MINUTE.format(1), MINUTE.format(3),
     {"a": 1}, "manual", "ann", "a note"],
    ["full", "two", "2026-01-02T00:00:00.000250Z", "2026-01-02T00:00:00Z", "failed", MINUTE.format(2),
     MINUTE.format(12), {"b": [2, "x"]}, "manual", "bob", None],
    ["full", "Three", None, "2026-01-03T12:30:00.250000Z", "running", MINUTE.format(4), None, {}, "manual", None, None],
    ["full", "scheduled__2026", "2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z", "queued", None, None, {}, "scheduled",
     None, None],
    ["cron", "one", "2026-01-01T00:00:00Z", "2026-01-01T06:00:00Z", "success", MINUTE.format(5), MINUTE.format(6), {},
     "backfill", None, None],
]
# Dag, run, task, map index, state, try number, states of the tries before, start, end, queue.
TASK_INSTANCES = [
    ["full", "one", "first", -1, "success", 2, ["failed"], MINUTE.format(1), "2026-01-01T00:01:30.500000Z", "default"],
    ["full", "one", "group.inner", -1, "success", 1, [], MINUTE.format(2), MINUTE.format(3), "default"],
    ["full", "one", "mapped", 0, "success", 1, [], MINUTE.format(2), "2026-01-01T00:02:01Z", "gpu"],
    ["full", "one", "mapped", 1, "failed", 1, [], MINUTE.format(2), "2026-01-01T00:02:02Z", "default"],
    ["full", "one", "group.deep.deepest", -1, "skipped", 0, [], None, None, "default"],
    ["full", "one", "linked", -1, "upstream_failed", 0, [], None, None, "default"],
    ["full", "two", "first", -1, "up_for_retry", 1, [], MINUTE.format(7), MINUTE.format(8), "default"],
    ["full", "two", "group.inner", -1, None, 0, [], None, None, "default"],
    ["full", "Three", "first", -1, "running", 1, [], MINUTE.format(9), None, "default"],
    ["cron", "one", "only", -1, "success", 1, [], MINUTE.format(5), MINUTE.format(6), "default"],
]
RENDERED = [["full", "one", "first", -1, {"bash_command": "echo 1", "env": None, "cwd": None}]]
LINKS = [["full", "one", "linked", -1, "_link_TriggerDagRunLink", "http://example.org/dags/cron"]]


def build(session):
    """Puts Dags, runs and task instances into Airflow's database, and gives back what the other side needs of them."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dag_version import DagVersion
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import text

    base.DAGS.mkdir()
    (base.DAGS / "all.py").write_text(DAG_FILE)
    session.merge(DagBundleModel(name="dags-folder"))
    session.commit()
    bag = DagBag(str(base.DAGS), bundle_path=base.DAGS, bundle_name="dags-folder")
    assert not bag.import_errors, bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None, session=session)
    session.commit()
    dags = {dag_id: DBDagBag().get_latest_version_of_dag(dag_id, session=session) for dag_id in bag.dags}
    versions = {version.dag_id: version for version in session.query(DagVersion)}
    runs = {}
    for dag_id, run_id, logical_date, run_after, state, start, end, conf, run_type, user, note in RUNS:
        run = dags[dag_id].create_dagrun(
            run_id=run_id, logical_date=base.moment(logical_date), run_after=base.moment(run_after),
            data_interval=None, run_type=DagRunType(run_type) if run_id != "one" or dag_id == "full" else DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.CLI, triggering_user_name=user, state="queued",
            conf={"must": "x", "count": 3, **conf} if dag_id == "full" else conf, session=session)
        run.run_type, run.conf = run_type, conf
        run.start_date, run.end_date, run.state = base.moment(start), base.moment(end), state
        run.queued_at = base.moment(run_after)
        run.start_date, run.end_date = base.moment(start), base.moment(end)
        run.last_scheduling_decision = None
        if note:
            run.note = (note, "ann")
        runs[dag_id, run_id] = run
    session.commit()
    session.query(TaskInstance).delete()
    for dag_id, run_id, task_id, map_index, state, number, before, start, end, queue in TASK_INSTANCES:
        task = dags[dag_id].get_task(task_id)
        ti = TaskInstance(task, run_id=run_id, state=None, map_index=map_index, dag_version_id=versions[dag_id].id)
        ti.try_number, ti._task_display_property_value = 1, task.task_display_name
        session.add(ti)
        for past in before:
            ti.state = past
            session.flush()
            ti.prepare_db_for_next_try(session)
            ti.try_number += 1
        if state == "up_for_retry":
            ti.start_date, ti.end_date = base.moment(start), base.moment(end)
            # The scheduler notes the try that failed before the task waits for the next one.
            ti.state = "failed"
            ti.set_duration()
            session.flush()
            ti.prepare_db_for_next_try(session)
        ti.state, ti.try_number, ti.queue = state, number, queue
        ti.start_date, ti.end_date = base.moment(start), base.moment(end)
        ti.set_duration()
    session.flush()
    for dag_id, run_id, task_id, map_index, fields in RENDERED:
        ti = session.query(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id).one()
        session.add(RenderedTaskInstanceFields(ti, render_templates=False, rendered_fields=fields))
    for dag_id, run_id, task_id, map_index, key, value in LINKS:
        session.add(XComModel(
            dag_run_id=runs[dag_id, run_id].id, key=key, value=value, run_id=run_id, task_id=task_id, dag_id=dag_id,
            map_index=map_index, timestamp=base.moment(MINUTE.format(1))))
    session.commit()
    known = []
    for model in session.query(DagModel).order_by(DagModel.dag_id):
        serialized = session.query(SerializedDagModel).filter_by(dag_id=model.dag_id).one().data
        iso = lambda at: at and at.isoformat()  # noqa: E731
        known.append({
            "serialized": serialized,
            "version": str(versions[model.dag_id].id),
            "paused": model.is_paused,
            "timetable_type": model.timetable_type,
            "timetable_summary": model.timetable_summary,
            "timetable_description": model.timetable_description,
            "max_active_runs": model.max_active_runs,
            "allowed_run_types": model.allowed_run_types,
            "next": [iso(model.next_dagrun_create_after), iso(model.next_dagrun_data_interval_start),
                     iso(model.next_dagrun_data_interval_end)],
        })
    intervals = {}
    for (dag_id, run_id), run in runs.items():
        intervals[f"{dag_id}/{run_id}"] = [str(at.isoformat()) for at in (run.data_interval_start, run.data_interval_end) if at]
    defaults = []
    columns = "dag_id, run_id, task_id, map_index, max_tries, pool, pool_slots, priority_weight, operator, custom_operator_name"
    for row in session.execute(text(f"SELECT {columns} FROM task_instance ORDER BY rowid")):
        defaults.append(list(row))
    return {"dags": known, "runs": RUNS, "task_instances": TASK_INSTANCES, "rendered": RENDERED, "links": LINKS,
            "intervals": intervals, "task_defaults": defaults}


ANY = {"id", "file_token", "last_parse_duration", "fileloc", "unixname", "hostname", "access_token", "relative_fileloc"}
NOW = {"last_parsed_time", "last_parsed", "created_at"}


def plain_field(key, value):
    if key == "last_parse_duration" or value is not None and (key in ANY or key in NOW):
        return "<any>"
    if key in ("next_cursor", "previous_cursor") and value is not None:
        return "<token>"
    if key == "message" and isinstance(value, str) and value.startswith("Serious error"):
        return "<any>"
    if key.startswith("next_dagrun_") and base.plain(value) == "<now>":
        return "<any>"
    # Sets in Airflow.
    return sorted(value) if key in ("owners", "downstream_task_ids") else base.plain(value)


def without_plans(value):
    if isinstance(value, dict):
        return {key: "<any>" if key.startswith("next_dagrun_") else without_plans(item) for key, item in value.items()}
    return [without_plans(item) for item in value] if isinstance(value, list) else value


def main():
    from airflow.utils.db import initdb

    initdb()
    from airflow.utils.session import create_session

    with create_session() as session:
        fixture = build(session)

    from fastapi.testclient import TestClient
    from airflow.api_fastapi.app import create_app
    from dag_requests import SCENARIOS

    base.plain_field = plain_field
    client = TestClient(create_app(), raise_server_exceptions=False)
    token = client.get("/auth/token").json()["access_token"]
    scenarios = {name: [base.answer(client, token, *request) for request in requests]
                 for name, requests in SCENARIOS.items()}
    # Nothing is planned while a Dag is paused and unpaused for the record: that is the scheduler's, which does not run.
    scenarios["dag_changes"] = [without_plans(row) for row in scenarios["dag_changes"]]
    lines = [f'{{"fixture": {json.dumps(fixture, ensure_ascii=False)}, "scenarios": {{']
    for at, (name, rows) in enumerate(scenarios.items()):
        lines.append(f"{json.dumps(name)}: [")
        lines += [json.dumps(row, ensure_ascii=False) + ("," if row is not rows[-1] else "") for row in rows]
        lines.append("]" + ("," if at + 1 < len(scenarios) else ""))
    sys.__stdout__.write("\n".join([*lines, "}}", ""]))


if __name__ == "__main__":
    main()
