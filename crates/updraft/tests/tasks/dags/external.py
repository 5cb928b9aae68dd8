import os
from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.providers.standard.triggers.file import FileTrigger
from airflow.sdk import DAG, BaseOperator


class WaitsForFile(BaseOperator):
    def execute(self, context):
        path = os.environ["AIRFLOW_HOME"] + "/go"
        self.defer(trigger=FileTrigger(path, poke_interval=0.2), method_name="go_on")

    def go_on(self, context, event=None):
        return "went on"


with DAG("child", start_date=datetime(2026, 1, 1), schedule=None):
    WaitsForFile(task_id="waits") >> BashOperator(task_id="after", bash_command="true")

with DAG("parent", start_date=datetime(2026, 1, 1), schedule=None):
    same_date = "{{ logical_date.isoformat() }}"
    TriggerDagRunOperator(
        task_id="starts_child",
        trigger_dag_id="child",
        trigger_run_id="of_parent",
        logical_date=same_date,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=1,
    )
    of_child = {"external_dag_id": "child", "poke_interval": 1, "timeout": 300}
    ExternalTaskSensor(task_id="pokes", external_task_id="after", mode="poke", **of_child)
    ExternalTaskSensor(task_id="comes_again", external_task_id="after", mode="reschedule", **of_child)
    ExternalTaskSensor(task_id="defers", external_task_id="after", deferrable=True, **of_child)
    ExternalTaskSensor(task_id="whole_run", mode="reschedule", **of_child)
    ExternalTaskSensor(
        task_id="gives_up", external_task_id="after", mode="reschedule", soft_fail=True, **{**of_child, "timeout": 3}
    )
