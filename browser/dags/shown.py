"""A Dag of each kind that the pages show."""

import time
from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Asset, Label, Param, TaskGroup, dag, task

ASSET = Asset("pages_asset", uri="s3://pages/asset")

with DAG(
    "shown",
    dag_display_name="Everything shown",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md="# What this is\n\nA Dag for *pages*.",
    tags=["pages"],
    params={"name": Param("world", type="string", title="Whom to greet"), "count": Param(3, type="integer", minimum=1)},
):
    begin = EmptyOperator(task_id="begin")
    with TaskGroup("group", tooltip="some tasks"):
        greet = BashOperator(task_id="greet", bash_command="echo Hello {{ params.name }} $(( {{ params.count }} * 2 ))")

        @task
        def count(number):
            print("counting", number)
            time.sleep(0.2)
            return {"number": number}

        counted = count.expand(number=[1, 2, 3])
    end = EmptyOperator(task_id="end", trigger_rule="all_done", outlets=[ASSET])
    begin >> Label("first") >> greet >> counted >> end

with DAG("waiting", schedule=[ASSET], tags=["pages"]):
    EmptyOperator(task_id="use", inlets=[ASSET])

with DAG("asking", schedule=None, tags=["pages"]):
    ApprovalOperator(task_id="approve", subject="May it go on?") >> EmptyOperator(task_id="after")


@dag(schedule=None, tags=["pages"])
def failing():
    @task
    def fail():
        raise ValueError("this was to be")

    fail()


failing()
