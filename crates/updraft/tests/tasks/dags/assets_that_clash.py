"""An asset whose name another file has for another one."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, task

with DAG("clashing", schedule=None):
    other = Asset("a", uri="s3://bucket/other")
    BashOperator(task_id="bash", bash_command="true", outlets=[other])
    EmptyOperator(task_id="empty", inlets=[other])

    @task(outlets=[other])
    def py():
        pass

    py()
